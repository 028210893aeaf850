"""DOTA: labelTxt/*.txt with oriented boxes, beside images/.

Source: the DOTA pages (https://captain-whu.github.io/DOTA/dataset.html) and its development
kit. A line is `x1 y1 x2 y2 x3 y3 x4 y4 class difficult`, corners clockwise in pixels; lines
such as `imagesource:GoogleEarth` and `gsd:0.27` may stand above. The four corners are kept
in `segmentation`, and the box is the one that encloses them. Difficult objects are ignored,
as the kit does. Where all objects of a data set are upright boxes, corners from the top
left, they are taken for plain boxes: then `segmentation` is null.

Our writer adds classes.txt, a class name a line, for their order and their spaces.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import KEPT_OUT, Finding
from whatwhere.data.formats._class_sets import names_text
from whatwhere.data.formats._files import (
    entries,
    folders_below,
    head,
    relative,
    split_name,
    unique_names,
)
from whatwhere.data.formats._label_files import (
    class_order,
    folder_name,
    number_text,
    pictures_by_stem,
    read_lines,
    report_missing,
    with_sizes,
    words_of,
)
from whatwhere.data.formats._pictures import Pictures
from whatwhere.data.formats._records import own
from whatwhere.data.tables import BOX, LABEL_COLUMNS, table, tidy_boxes
from whatwhere.errors import DataError
from whatwhere.images import write_atomic
from whatwhere.types import Labels, Task

NAME = "dota"
TITLE = "DOTA"
TASKS: frozenset[Task] = frozenset({"detect"})
HOLDS = frozenset({"split", "difficult", "segmentation", "image_extra", "extra"})
OWN_EXTRA_ONLY = True
LOOKS_FOR = "labelTxt/ with lines of four corners, class and difficult, beside images/"

_FOLDER = re.compile(r"labelTxt([-_].*)?|annfiles", re.I)
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_LINE = re.compile(rf"\s*(?:{_NUMBER}\s+){{8}}\S.*")
_HEADER = re.compile(r"\s*(imagesource|gsd|acquisition dates)\s*:(.*)", re.I)


def _is_label_file(file: Path) -> bool:
    """Whether the first line with anything in it is DOTA's."""
    for line in head(file, 1 << 12).decode("utf-8-sig", "replace").splitlines():
        if line.strip():
            return bool(_HEADER.fullmatch(line) or _LINE.fullmatch(line))
    return False


def _label_folders(path: Path) -> list[Path]:
    """Folders with label files, nearest first; of two versions side by side the newest.

    One file of DOTA's kind is enough, so that a folder of damaged ones is not passed over.
    """
    found: dict[Path, Path] = {}
    seen = False
    for folder in folders_below(path, 3):
        if _FOLDER.fullmatch(folder.name) is None:
            continue
        files = [entry for entry in entries(folder) if entry.name.endswith(".txt")]
        if files:
            seen = seen or any(_is_label_file(Path(entry.path)) for entry in files[:20])
            found[folder if folder == path else folder.parent] = folder
    return list(found.values()) if seen else []


def recognise(path: Path) -> str | None:
    """See `formats`."""
    folders = _label_folders(path) if path.is_dir() else []
    if not folders:
        return None
    return f"lines of four corners in {relative(folders[0], path.parent)}"


def read(path: Path, images: Path | None = None) -> Dataset:
    """See `formats`; each folder below with labelTxt/ and images/ is a split of its name."""
    folders = _label_folders(path) if path.is_dir() else []
    if not folders:
        raise DataError(f"{path} is not a DOTA data set: looked for {LOOKS_FOR}")
    reader = _Reader(path)
    for folder in folders:
        reader.add(folder, images)
    return reader.dataset()


class _Reader:
    """Gathers rows and findings of all splits."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.findings: list[Finding] = []
        self.images: dict[str, list[Any]] = {name: [] for name in ("path", "split", "extra")}
        self.labels: dict[str, list[Any]] = {
            name: []
            for name in ("image", "word", *BOX, "difficult", "segmentation", "extra", "record")
        }
        self.missing: list[tuple[str, str, int]] = []
        self.missing_paths: set[str] = set()
        self.upright = True
        self.places: list[Path] = []

    def find(self, *args: Any) -> None:
        self.findings.append(Finding(*args))

    def add(self, folder: Path, images: Path | None) -> None:
        base = self.root if folder == self.root else folder.parent
        name = None if base == self.root else (split_name(base.name) or base.name)
        others = [
            entry.name
            for entry in entries(base)
            if folder != base and entry.name != folder.name and _FOLDER.fullmatch(entry.name)
        ]
        if others:
            message = f"{folder.name} is read, not {', '.join(others)} beside it"
            self.find("left-out-folder", message, relative(base, self.root) or ".", "info")
        if images is None:
            places = [base / "images"]
        else:
            places = [images / one for one in (base.name, name or "") if one]
            places = [*places, images / "images", images]
        self.places += [place for place in places if place not in self.places]
        pictures = pictures_by_stem(places, self.root, self.findings, own=images is None)
        for entry in entries(folder):
            file = Path(entry.path)
            where = relative(file, self.root)
            if not entry.name.endswith(".txt"):
                self.find("stray-file", "not a label file", where, "info")
                continue
            lines = read_lines(file, where, self.findings)
            place = pictures.pop(file.stem, None)
            if place is None and lines is None:
                continue
            row = len(self.images["path"])
            before = len(self.labels["image"])
            extra = self._lines(lines or [], row, where)
            if place is None:
                place = places[-1] / f"{file.stem}.png"
                self.missing.append((place.name, where, len(self.labels["image"]) - before))
                self.missing_paths.add(str(place))
            self._image(place, name, extra)
        for place in pictures.values() if images is None else ():
            message = f"there is no {folder.name}/{place.stem}.txt for this picture"
            where = relative(place, self.root)
            self.find("missing-labels", message, where, "warning", "read as background")
            self._image(place, name, None)

    def _image(self, place: Path, split: str | None, extra: str | None) -> None:
        self.images["path"].append(str(place))
        self.images["split"].append(split)
        self.images["extra"].append(extra)

    def _lines(self, lines: Sequence[str], row: int, where: str) -> str | None:
        """Add the labels of a file; its header lines as JSON."""
        header: dict[str, Any] = {}
        for number, line in enumerate(lines, 1):
            found = _HEADER.fullmatch(line)
            if found is not None:
                value = _plain(found[2].strip())
                header[found[1]] = value
                if found[1].lower() == "gsd" and not _is_gsd(value):
                    message = f"gsd is {value[:40]!r}, not a number"
                    self.find("bad-value", message, f"{where}:{number}", "warning", "kept")
            elif line.strip():
                self._label(line.split(), row, f"{where}:{number}")
        return json.dumps({"dota": header}, ensure_ascii=False) if header else None

    def _label(self, words: list[str], row: int, record: str) -> None:
        try:
            corners = [float(word) for word in words[:8]]
        except ValueError:
            corners = []
        if len(corners) < 8 or not all(map(math.isfinite, corners)):
            text = " ".join(words)[:60]
            message = f"{text!r} does not begin with eight coordinates"
            self.find("bad-box", message, record, "error", KEPT_OUT, 1)
            return
        rest = words[8:]
        level = int(rest.pop()) if len(rest) > 1 and re.fullmatch(r"\d{1,3}", rest[-1]) else None
        if not rest:
            self.find("no-class", "the object has no class", record, "error", KEPT_OUT, 1)
            return
        xs, ys = corners[0::2], corners[1::2]
        box = (min(xs), min(ys), max(xs), max(ys))
        x1, y1, x2, y2 = box
        self.upright &= corners == [x1, y1, x2, y1, x2, y2, x1, y2]
        plain = [int(one) if one == int(one) else one for one in corners]
        values = (
            row,
            " ".join(rest),
            *box,
            None if level is None else level != 0,
            json.dumps([plain]),
            None if level in (None, 0, 1) else json.dumps({"dota": {"difficult": level}}),
            record,
        )
        for column, value in zip(self.labels.values(), values, strict=True):
            column.append(value)

    def dataset(self) -> Dataset:
        looked = ", ".join(relative(place, self.root) for place in self.places)
        self.findings += report_missing(self.missing, len(self.images["path"]), looked)
        images, unreadable = with_sizes(self.images, self.root, self.missing_paths)
        self.findings += unreadable
        listed = class_order(self.root / "classes.txt", self.root, "-", self.findings)
        words = [listed.get(word, word) for word in self.labels.pop("word")]
        names = list(dict.fromkeys([*listed.values(), *sorted(set(words))]))
        number = {name: place for place, name in enumerate(names)}
        rows = pl.DataFrame(self.labels | {"class_id": [number[word] for word in words]})
        rows = rows.with_columns(pl.col("difficult").cast(pl.Boolean).alias("ignore"))
        if self.upright:
            rows = rows.with_columns(pl.lit(None, pl.String).alias("segmentation"))
        labels, faults = tidy_boxes(rows, images)
        return Dataset(
            images,
            table(labels, LABEL_COLUMNS),
            Labels(names),
            findings=[*self.findings, *faults],
            root=str(self.root),
            task="detect",
        )


def _is_gsd(value: Any) -> bool:
    """Metres a pixel, or one of the words for "not known"."""
    if not isinstance(value, str):
        return True
    return value in ("", "null", "None", "nan") or re.fullmatch(_NUMBER, value) is not None


def _plain(text: str) -> Any:
    """A number where that loses nothing, else the text."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if number and json.dumps(value) == text else text


def write(dataset: Dataset, folder: Path, pictures: Pictures) -> list[Finding]:
    """See `formats`: <split>/images/, <split>/labelTxt/, classes.txt."""
    splits = ["" if one is None else folder_name(one, "split") for one in dataset.images["split"]]
    names = unique_names(dataset.paths, splits)
    targets = [folder / split / "images" / name for split, name in zip(splits, names, strict=True)]
    there = pictures.place(dataset.paths, targets)
    words = words_of(list(dataset.names), "-")
    columns = {name: dataset.labels[name].to_list() for name in LABEL_COLUMNS if name != "image"}
    boxes = dataset.labels.select(BOX).to_numpy().astype(np.float32)
    extras = dataset.images["extra"].to_list()
    lost = 0
    for row, (split, name) in enumerate(zip(splits, names, strict=True)):
        if not there[row]:
            continue
        lines = [f"{key}:{value}" for key, value in _own(extras[row]).items()]
        lines = [line for line in lines if _HEADER.fullmatch(line)]
        for place in range(*dataset.rows_of(row)):
            corners = _corners(columns["segmentation"][place], boxes[place])
            if corners is None:
                lost += columns["segmentation"][place] is not None
                x1, y1, x2, y2 = boxes[place].tolist()
                corners = [x1, y1, x2, y1, x2, y2, x1, y2]
            level = int(bool(columns["difficult"][place]))
            if columns["extra"][place] is not None and level:
                kept = _own(columns["extra"][place]).get("difficult")
                level = kept if isinstance(kept, int) and 0 < kept < 1000 else level
            text = " ".join(map(_short, corners))
            lines.append(f"{text} {words[columns['class_id'][place]]} {level}")
        file = folder / split / "labelTxt" / f"{Path(name).stem}.txt"
        write_atomic(file, "".join(f"{line}\n" for line in lines))
    write_atomic(folder / "classes.txt", names_text(dataset.names))
    if not lost:
        return []
    message = (
        f"{TITLE} holds a 'segmentation' of four corners in its box only; {lost} labels have"
        " another and are written as boxes"
    )
    return [Finding("lost-column", message, dataset.source, "warning", "left out")]


def _own(extra: str | None) -> dict[str, Any]:
    """What this format kept in a JSON column."""
    # A value with a line break would be read as something else.
    return {
        key: one
        for key, one in own(extra, "dota").items()
        if not re.search(r"[\r\n]", f"{key}{one}")
    }


def _corners(segmentation: str | None, box: Any) -> list[float] | None:
    """The four corners, if that is what the segmentation has and the box encloses them.

    A box that was cut at the picture's edge may be smaller than its corners.
    """
    try:
        outlines = json.loads(segmentation) if segmentation else None
    except ValueError:
        return None
    if not (isinstance(outlines, list) and len(outlines) == 1 and isinstance(outlines[0], list)):
        return None
    corners = outlines[0]
    if len(corners) != 8 or not all(isinstance(one, int | float) for one in corners):
        return None
    xs, ys = corners[0::2], corners[1::2]
    outer = np.array([min(xs), min(ys), max(xs), max(ys)], np.float32)
    cut = np.array([max(outer[0], 0), max(outer[1], 0), outer[2], outer[3]], np.float32)
    same = (box[:2] == cut[:2]).all() and (box[2:] <= outer[2:]).all()
    return corners if same else None


def _short(value: float) -> str:
    """Few digits for what was float32, all digits for what was not."""
    if float(np.float32(value)) != value:
        return number_text(value)
    return np.format_float_positional(np.float32(value), unique=True, trim="-")
