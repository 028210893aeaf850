"""YOLO text labels: data.yaml, images/, labels/ with one file a picture.

A line is `class cx cy width height`, in fractions of the picture; a longer line with an odd
count is an outline `class x y x y ...`, of which the surrounding box is taken. Source: the
Darknet and Ultralytics dataset layouts. Fractions refer to the picture as it is shown, so
every picture's header is read for its size.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import polars as pl

from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import KEPT_OUT, Finding
from whatwhere.data.formats._files import (
    add_sizes,
    entries,
    inside,
    is_picture,
    relative,
    unique_names,
)
from whatwhere.data.formats._pictures import Pictures
from whatwhere.data.formats._yaml import Value, YamlError, parse_yaml
from whatwhere.data.tables import BOX, IMAGE_COLUMNS, LABEL_COLUMNS, table, tidy_boxes
from whatwhere.errors import DataError, UsageError
from whatwhere.images import write_atomic
from whatwhere.types import Labels, Task

NAME = "yolo"
TITLE = "YOLO"
TASKS: frozenset[Task] = frozenset({"detect"})
HOLDS = frozenset({"split"})
LOOKS_FOR = "data.yaml with names and train, beside images/ and labels/"


def _settings_file(path: Path) -> Path | None:
    if path.is_file():
        return path if path.suffix.lower() in (".yaml", ".yml") else None
    files = [Path(entry.path) for entry in entries(path)]
    files = [file for file in files if file.suffix.lower() in (".yaml", ".yml")]
    for file in sorted(files, key=lambda file: file.stem != "data"):
        text = file.read_text("utf-8", "replace")
        if re.search(r"^names\s*:", text, re.M) and re.search(r"^(train|val|test)\s*:", text, re.M):
            return file
    return None


def recognise(path: Path) -> str | None:
    """See `formats`."""
    file = _settings_file(path)
    return None if file is None else f"names and splits in {relative(file, path.parent)}"


def read(path: Path, images: Path | None = None) -> Dataset:
    """See `formats`; `path` may be the YAML file, too."""
    file = _settings_file(path)
    if file is None:
        raise DataError(f"{path} is not a YOLO data set: looked for {LOOKS_FOR}")
    try:
        settings = parse_yaml(file.read_text("utf-8"))
    except (YamlError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read ({error}): repair it") from None
    return _Reader(file, settings).read()


class _Reader:
    """Gathers rows and findings of one data set."""

    def __init__(self, file: Path, settings: dict[str, Value]) -> None:
        self.file, self.root, self.settings = file, file.parent, settings
        self.findings: list[Finding] = []
        self.splits: dict[Path, str] = {}
        self.folders: dict[Path, None] = {}
        listed = self._names(settings.get("names"))
        self.names = list(dict.fromkeys(listed))
        self.class_ids = [self.names.index(name) for name in listed]
        for number, name in enumerate(listed):
            if name in listed[:number]:
                message = f"class {number} is called {name!r}, as one before; they are one class"
                self.find("duplicate-class", message, file.name, "warning", "merged")

    def find(self, *args: Any) -> None:
        self.findings.append(Finding(*args))

    def _names(self, value: Value | None) -> list[str]:
        if isinstance(value, dict) and all(key.isdecimal() for key in value):
            numbers = {int(key): name for key, name in value.items()}
            count = max(numbers, default=-1) + 1
            if count <= 2 * len(numbers) + 1000:
                value = [numbers.get(number, f"class {number}") for number in range(count)]
        if not isinstance(value, list) or not value:
            raise DataError(f"{self.file} has no list of class names: add names: [first, second]")
        return [name.strip() or f"class {number}" for number, name in enumerate(value)]

    def read(self) -> Dataset:
        base = self._base()
        for split in ("train", "val", "test"):
            value = self.settings.get(split)
            for name in [value] if isinstance(value, str) else value or []:
                self._split(base, split, str(name))
        pictures = list(self.splits)
        images = table(
            {"path": [str(one) for one in pictures], "split": list(self.splits.values())},
            IMAGE_COLUMNS,
        )
        images, unreadable = add_sizes(images, self.root)
        self.findings += unreadable
        rows: dict[str, list[Any]] = {name: [] for name in ("image", "class_id", *BOX, "record")}
        sizes = zip(images["width"], images["height"], strict=True)
        for row, (picture, (width, height)) in enumerate(zip(pictures, sizes, strict=True)):
            self._labels(row, picture, width, height, rows)
        self._orphans({_label_file(one) for one in pictures})
        labels, faults = tidy_boxes(pl.DataFrame(rows), images)
        return Dataset(
            images,
            table(labels, LABEL_COLUMNS),
            Labels(self.names),
            findings=[*self.findings, *faults],
            root=str(self.root),
            task="detect",
        )

    def _base(self) -> Path:
        """`path:` if it lies in the data set's folder, else the folder of the YAML file."""
        name = self.settings.get("path", ".")
        place = inside(self.root, name) if isinstance(name, str) else None
        if place is not None and place.is_dir():
            return place
        message = f"path {name!r} is not a folder inside the data set's"
        self.find("path-outside", message, self.file.name, "info", "this folder is used")
        return self.root

    def _split(self, base: Path, split: str, name: str) -> None:
        place = inside(self.root, relative(base / name, self.root))
        if place is None or not place.exists():
            # Some exports count from a folder that the YAML file is not in.
            inner = re.sub(r"^(\.\./)+", "", name)
            place = inside(self.root, relative(base / inner, self.root))
            message = f"{split}: {name!r} is not inside the data set's folder"
            if place is not None and place.exists():
                self.find("path-outside", message, self.file.name, "info", f"{inner} is used")
        if place is None or not place.exists():
            message = f"{split}: {name!r} is not there, or not inside the data set's folder"
            self.find("missing-split", message, self.file.name, "error", KEPT_OUT)
            return
        pictures = self._listed(place) if place.is_file() else self._below(place)
        for picture in pictures:
            if self.splits.setdefault(picture, split) != split:
                message = f"the picture is in {self.splits[picture]} and in {split}"
                self.find("two-splits", message, relative(picture, self.root), "error")

    def _below(self, folder: Path) -> list[Path]:
        self.folders[folder] = None
        found = []
        for entry in entries(folder):
            place = Path(entry.path)
            if entry.is_dir():
                found += self._below(place)
            elif is_picture(entry.name):
                found.append(place)
            elif place.suffix != ".txt":
                self.find("stray-file", "not a picture", relative(place, self.root), "info")
        return found

    def _listed(self, file: Path) -> list[Path]:
        """Pictures that a text file lists, one a line."""
        found = []
        for number, line in enumerate(file.read_text("utf-8", "replace").splitlines(), 1):
            name = line.strip()
            if not name:
                continue
            record = f"{relative(file, self.root)}:{number}"
            # A list may count from its own folder ("./images/a.jpg") or from the root.
            places = [
                inside(self.root, relative(start / name, self.root))
                for start in (file.parent, self.root)
            ]
            inner = [place for place in places if place is not None]
            there = next((place for place in inner if place.is_file()), None)
            if there is not None:
                found.append(there)
                self.folders[there.parent] = None
            elif inner:
                self.find("missing-image", f"{name} is not on disk", record, "error", KEPT_OUT)
            else:
                message = f"{name} leaves the data set's folder"
                self.find("path-outside", message, record, "error", KEPT_OUT)
        return found

    def _labels(
        self, row: int, picture: Path, width: int | None, height: int | None, rows: dict[str, Any]
    ) -> None:
        file = _label_file(picture)
        try:
            lines = file.read_text("utf-8", "replace").splitlines()
        except FileNotFoundError:
            message = f"there is no {relative(file, self.root)} for this picture"
            where = relative(picture, self.root)
            self.find("missing-labels", message, where, "warning", "read as background")
            return
        except OSError as error:
            where = relative(file, self.root)
            self.find("missing-labels", f"{error.strerror}", where, "error", KEPT_OUT)
            return
        where = relative(file, self.root)
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            record = f"{where}:{number}"
            parsed = self._line(line, record)
            if parsed is None:
                continue
            if width is None or height is None:
                message = "the size of the picture is not known"
                self.find("unreadable-image", message, record, "error", KEPT_OUT, 1)
                continue
            x1, y1, x2, y2 = parsed[1:]
            values = (row, parsed[0], x1 * width, y1 * height, x2 * width, y2 * height, record)
            for name, value in zip(rows, values, strict=True):
                rows[name].append(value)

    def _line(self, line: str, record: str) -> tuple[int, float, float, float, float] | None:
        """Class and x1 y1 x2 y2 in fractions."""
        try:
            number, *values = (float(word) for word in line.split())
        except ValueError:
            number, values = math.nan, []
        outline = len(values) >= 6 and len(values) % 2 == 0
        if not (len(values) == 4 or outline) or not all(map(math.isfinite, [number, *values])):
            message = f"{line.strip()[:60]!r} is not a class and a box of four numbers"
            self.find("bad-box", message, record, "error", KEPT_OUT, 1)
            return None
        if number != int(number) or not 0 <= number < len(self.class_ids):
            message = f"class {number:g} is not one of the {len(self.class_ids)} names"
            self.find("unknown-class", message, record, "error", KEPT_OUT, 1)
            return None
        if outline:
            xs, ys = values[0::2], values[1::2]
            return self.class_ids[int(number)], min(xs), min(ys), max(xs), max(ys)
        x, y, width, height = values
        return (
            self.class_ids[int(number)],
            x - width / 2,
            y - height / 2,
            x + width / 2,
            y + height / 2,
        )

    def _orphans(self, expected: set[Path]) -> None:
        """Label files of which the picture is not there."""
        for folder in dict.fromkeys(_label_file(one / "x.jpg").parent for one in self.folders):
            for entry in entries(folder):
                file = Path(entry.path)
                if file.suffix != ".txt" or file in expected or file.name == "classes.txt":
                    continue
                if not entry.is_file():
                    continue
                text = file.read_text("utf-8", "replace")
                count = sum(bool(line.strip()) for line in text.splitlines())
                where, message = (
                    relative(file, self.root),
                    "there is no picture for this label file",
                )
                self.find("missing-image", message, where, "error", KEPT_OUT, count)


def _label_file(picture: Path) -> Path:
    """The last folder "images" in the path becomes "labels"; else beside the picture."""
    parts = list(picture.parts)
    for place in range(len(parts) - 2, -1, -1):
        if parts[place] == "images":
            parts[place] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def write(dataset: Dataset, folder: Path, pictures: Pictures) -> list[Finding]:
    """See `formats`: images/<split>/, labels/<split>/, data.yaml; no split is "train"."""
    images, findings = add_sizes(dataset.images, Path(dataset.root))
    splits = [split or "train" for split in images["split"]]
    odd = sorted(set(splits) - {"train", "val", "test"})
    if odd:
        raise UsageError(f"data.yaml knows train, val and test, not {', '.join(odd)}: split anew")
    names = unique_names(dataset.paths, splits)
    targets = [folder / "images" / split / name for split, name in zip(splits, names, strict=True)]
    there = pictures.place(dataset.paths, targets)
    for row, image in enumerate(images.iter_rows(named=True)):
        if not there[row] or image["width"] is None:
            continue
        start, end = dataset.rows_of(row)
        size = (image["width"], image["height"])
        lines = [_text(label, size) for label in dataset.labels[start:end].iter_rows(named=True)]
        name = f"{Path(names[row]).stem}.txt"
        write_atomic(folder / "labels" / splits[row] / name, "".join(lines))
    quoted = [name.replace("'", "''") for name in dataset.names]
    text = "path: .\n"
    # The key train must be there, even if it is the wrong picture of the whole.
    for split in dict.fromkeys(["train", "val", *splits]):
        (folder / "images" / split).mkdir(parents=True, exist_ok=True)
        text += f"{split}: images/{split}\n"
    text += "names:\n" + "".join(f"  {i}: '{name}'\n" for i, name in enumerate(quoted))
    write_atomic(folder / "data.yaml", text)
    return findings


def _text(label: dict[str, Any], size: tuple[int, int]) -> str:
    x1, y1, x2, y2 = (label[name] / size[place % 2] for place, name in enumerate(BOX))
    box = (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1
    return f"{label['class_id']} " + " ".join(f"{value:.8f}" for value in box) + "\n"
