"""KITTI object detection: training/{image_2, label_2, calib}, testing/, ImageSets/.

Source: the development kit of the KITTI object benchmark (readme.txt). A line of a label
file has a class and 14 numbers: truncation, occlusion, alpha, the box in pixels from 0,
height, width and length in metres, location, rotation_y, and in results a score. All of it
is kept and written back digit by digit: what no other column says stands in `extra`,
calibration in that of the picture.

Regions called DontCare hold objects that nobody labelled. They stay, as a class of that name
of which every label is a crowd to be ignored.

`truncated` is a truncation above 0, `occluded` an occlusion of 1 or 2 (3 is unknown). Other
sensors (velodyne/, image_3/) are passed over. training/ is the split "train", testing/ is
"test", default/ is none, and lists in ImageSets/ divide them further. Our writer adds
classes.txt, a class name a line, for their order and their spaces.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import KEPT_OUT, Finding
from whatwhere.data.formats._class_sets import names_text
from whatwhere.data.formats._files import (
    entries,
    folders_below,
    is_picture,
    relative,
    split_name,
    unique_names,
)
from whatwhere.data.formats._kitti_text import (
    DONT_CARE,
    calibration_json,
    calibration_text,
    kept_texts,
    label_json,
    line_texts,
    parse_line,
)
from whatwhere.data.formats._label_files import (
    class_order,
    folder_name,
    pictures_by_stem,
    read_lines,
    report_missing,
    with_sizes,
    words_of,
)
from whatwhere.data.formats._pictures import Pictures
from whatwhere.data.tables import BOX, LABEL_COLUMNS, table, tidy_boxes
from whatwhere.errors import DataError
from whatwhere.images import write_atomic
from whatwhere.types import Labels, Task

NAME = "kitti"
TITLE = "KITTI"
TASKS: frozenset[Task] = frozenset({"detect"})
HOLDS = frozenset({"split", "truncated", "occluded", "score", "extra", "image_extra"})
IGNORED = frozenset({DONT_CARE})
OWN_EXTRA_ONLY = True
LOOKS_FOR = "label_2/ with text files, beside image_2/"

# Calibration is a dozen lines; a larger file is none.
_MAX_CALIBRATION = 1 << 16


def _bases(path: Path) -> list[Path]:
    """Folders with label_2/, and those with image_2/ beside one of them."""
    folders = list(folders_below(path, 3)) if path.is_dir() else []
    labelled = [
        folder
        for folder in folders
        if any(entry.name.endswith(".txt") for entry in entries(folder / "label_2"))
    ]
    return labelled + [
        folder
        for folder in folders
        if folder not in labelled
        and any(is_picture(one.name) for one in entries(folder / "image_2"))
    ]


def recognise(path: Path) -> str | None:
    """See `formats`."""
    bases = _bases(path)
    if not bases:
        return None
    kind = "label_2" if (bases[0] / "label_2").is_dir() else "image_2"
    return f"{kind}/ in {relative(bases[0], path.parent)}"


def read(path: Path, images: Path | None = None) -> Dataset:
    """See `formats`."""
    bases = _bases(path)
    if not bases:
        raise DataError(f"{path} is not a KITTI data set: looked for {LOOKS_FOR}")
    reader = _Reader(path)
    for base in sorted(bases):
        reader.add(base, images)
    return reader.dataset()


class _Reader:
    """Gathers rows and findings of all folders."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.findings: list[Finding] = []
        columns = ("path", "split", "labelled", "extra")
        self.images: dict[str, list[Any]] = {name: [] for name in columns}
        self.labels: dict[str, list[Any]] = {
            name: []
            for name in ("image", "word", *BOX, "truncated", "occluded", "score", "extra", "record")
        }
        self.missing: list[tuple[str, str, int]] = []
        self.missing_paths: set[str] = set()
        self.listed = class_order(self.root / "classes.txt", self.root, "_", self.findings)
        self.strange = False

    def find(self, *args: Any) -> None:
        self.findings.append(Finding(*args))

    def add(self, base: Path, images: Path | None) -> None:
        places = [base / "image_2"]
        if images is not None:
            places = [images / base.name / "image_2", images / base.name]
            places += [images / "image_2", images]
        pictures = pictures_by_stem(places, self.root, self.findings, own=images is None)
        self._others(base)
        first = len(self.images["path"])
        stems: list[str] = []
        labelled = (base / "label_2").is_dir()
        for entry in entries(base / "label_2"):
            file = Path(entry.path)
            where = relative(file, self.root)
            if not entry.name.endswith(".txt"):
                self.find("stray-file", "not a label file", where, "info")
                continue
            place = pictures.pop(file.stem, None)
            lines = read_lines(file, where, self.findings)
            if lines is None and place is None:
                continue
            before = len(self.labels["image"])
            self._lines(lines or [], where)
            if place is None:
                place = places[-1] / f"{file.stem}.png"
                self.missing.append((place.name, where, len(self.labels["image"]) - before))
                self.missing_paths.add(str(place))
            self._image(place, base, file.stem, None)
            stems.append(file.stem)
        if pictures and not labelled and images is None:
            message = f"{len(pictures)} pictures have no labels, since there is no label_2/"
            self.find("missing-labels", message, relative(base, self.root), "info")
        for stem, place in pictures.items() if images is None else ():
            if labelled:
                message = f"there is no label_2/{stem}.txt for this picture"
                where = relative(place, self.root)
                self.find("missing-labels", message, where, "warning", "read as background")
            self._image(place, base, stem, None if labelled else [])
            stems.append(stem)
        self.images["split"] += self._splits(base, stems)
        assert len(self.images["path"]) - first == len(stems)

    def _image(self, place: Path, base: Path, stem: str, labelled: list[str] | None) -> None:
        self.images["path"].append(str(place))
        self.images["labelled"].append(labelled)
        file = base / "calib" / f"{stem}.txt"
        extra, where = None, relative(file, self.root)
        if file.is_file():
            if file.stat().st_size > _MAX_CALIBRATION:
                message = f"larger than {_MAX_CALIBRATION} bytes, so no calibration"
                self.find("bad-record", message, where, "warning", KEPT_OUT)
            else:
                extra = calibration_json(read_lines(file, where, self.findings) or [])
        self.images["extra"].append(extra)

    def _others(self, base: Path) -> None:
        """Pictures that lie about, and folders of other sensors."""
        known = {"image_2", "label_2", "calib"}
        sensors = [one.name for one in entries(base) if one.is_dir() and one.name not in known]
        if sensors and base != self.root:
            message = f"not read: {', '.join(sensors[:5])}"
            self.find("left-out-folder", message, relative(base, self.root), "info")
        for folder in {base, self.root}:
            for entry in entries(folder):
                where = relative(Path(entry.path), self.root)
                known_already = any(one.where == where for one in self.findings)
                if entry.is_file() and is_picture(entry.name) and not known_already:
                    message = "the picture lies outside image_2/, so it has no labels"
                    self.find("missing-labels", message, where, "warning", KEPT_OUT)

    def _lines(self, lines: list[str], where: str) -> None:
        row = len(self.images["path"])
        for number, text in enumerate(lines, 1):
            if not text.strip():
                continue
            record = f"{where}:{number}"
            line = parse_line(text)
            if isinstance(line, str):
                self.find("bad-box", line, record, "error", KEPT_OUT, 1)
                continue
            score = None if line.score is None or not 0 <= line.score <= 1 else line.score
            self.strange |= line.score is not None and score is None
            values = (
                row,
                self.listed.get(line.word, line.word),
                *line.box,
                line.truncated,
                line.occluded,
                score,
                label_json(line, score),
                record,
            )
            for column, value in zip(self.labels.values(), values, strict=True):
                column.append(value)

    def _splits(self, base: Path, stems: list[str]) -> list[str | None]:
        """By the lists in ImageSets/, else by the folder's name."""
        own = None if base == self.root else (split_name(base.name) or base.name)
        own = None if own == "default" else own
        folder = base / "ImageSets"
        if base != self.root and not folder.is_dir():
            folder = base.parent / "ImageSets"
        lists = {
            Path(entry.name).stem: Path(entry.path)
            for entry in entries(folder)
            if entry.name.endswith(".txt")
        }
        # test.txt counts the pictures of testing/, the others those of training/.
        names = [name for name in lists if (name == "test") == (own == "test")]
        if (own is None and base != self.root) or not names:
            return [own] * len(stems)
        known = set(stems)
        split: dict[str, str] = {}
        for name in sorted(names, key=lambda name: name == "trainval"):
            where = relative(lists[name], self.root)
            for number, line in enumerate(read_lines(lists[name], where, self.findings) or [], 1):
                stem, record = line.strip(), f"{where}:{number}"
                if not stem:
                    continue
                if stem not in known:
                    message = f"{stem} is listed, but has neither picture nor labels"
                    self.find("missing-image", message, record, "error", KEPT_OUT)
                elif stem not in split:
                    split[stem] = name
                elif split[stem] == name:
                    message = f"{stem} is listed twice"
                    self.find("duplicate-entry", message, record, "warning", KEPT_OUT)
                elif name != "trainval":
                    message = f"{stem} is in {split[stem]} and in {name}; {split[stem]} counts"
                    self.find("two-splits", message, record, "error")
        unlisted = [stem for stem in stems if stem not in split]
        if unlisted:
            message = f"{len(unlisted)} pictures are in no list, such as {unlisted[0]}"
            self.find("missing-split", message, relative(folder, self.root), "warning")
        return [split.get(stem) for stem in stems]

    def dataset(self) -> Dataset:
        looked = "image_2/ beside label_2/"
        self.findings += report_missing(self.missing, len(self.images["path"]), looked)
        images, unreadable = with_sizes(self.images, self.root, self.missing_paths)
        if self.strange:
            message = "scores outside 0..1 are no confidences; they are kept in extra only"
            self.find("bad-value", message, "label_2", "warning")
        words = self.labels.pop("word")
        names = list(dict.fromkeys([*self.listed.values(), *sorted(set(words) - {DONT_CARE})]))
        if DONT_CARE in words and DONT_CARE not in names:
            names.append(DONT_CARE)
        number = {name: place for place, name in enumerate(names)}
        ids = [number[word] for word in words]
        rows = pl.DataFrame(self.labels | {"class_id": ids}).with_columns(
            pl.col("truncated", "occluded").cast(pl.Boolean),
            pl.when(pl.col("score").is_not_null()).then(pl.lit("model")).alias("source"),
            (pl.col("class_id") == number.get(DONT_CARE, -1)).alias("ignore"),
        )
        crowd = pl.when(pl.col("ignore")).then(pl.lit(True)).alias("iscrowd")
        labels, faults = tidy_boxes(rows.with_columns(crowd), images)
        return Dataset(
            images,
            table(labels, LABEL_COLUMNS),
            Labels(names),
            findings=[*self.findings, *unreadable, *faults],
            root=str(self.root),
            task="detect",
        )


def write(dataset: Dataset, folder: Path, pictures: Pictures) -> list[Finding]:
    """See `formats`: training/ and testing/, ImageSets/, classes.txt; default/ without split."""
    splits = [None if one is None else folder_name(one, "split") for one in dataset.images["split"]]
    bases = [_base(split) for split in splits]
    names = unique_names(dataset.paths, bases)
    targets = [folder / base / "image_2" / name for base, name in zip(bases, names, strict=True)]
    there = pictures.place(dataset.paths, targets)
    words = words_of(list(dataset.names), "_")
    columns: Mapping[str, list[Any]] = dataset.labels.to_dict(as_series=False)
    extras = dataset.images["extra"].to_list()
    lists: dict[str, list[str]] = {}
    for row, (split, base, name) in enumerate(zip(splits, bases, names, strict=True)):
        if not there[row]:
            continue
        lines = []
        for place in range(*dataset.rows_of(row)):
            word = words[columns["class_id"][place]]
            fields = line_texts(
                word,
                [columns[side][place] for side in BOX],
                columns["truncated"][place],
                columns["occluded"][place],
                columns["score"][place],
                kept_texts(columns["extra"][place]),
            )
            lines.append(" ".join([word, *(text for one in fields.values() for text in one)]))
        stem = Path(name).stem
        text = "".join(f"{line}\n" for line in lines)
        write_atomic(folder / base / "label_2" / f"{stem}.txt", text)
        calibration = calibration_text(kept_texts(extras[row]))
        if calibration is not None:
            write_atomic(folder / base / "calib" / f"{stem}.txt", calibration)
        if split is not None:
            lists.setdefault(split, []).append(stem)
    for split, stems in lists.items():
        write_atomic(folder / "ImageSets" / f"{split}.txt", "".join(f"{one}\n" for one in stems))
    write_atomic(folder / "classes.txt", names_text(dataset.names))
    return []


def _base(split: str | None) -> str:
    return {None: "default", "test": "testing"}.get(split, "training")
