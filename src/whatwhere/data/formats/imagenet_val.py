"""Lists of pictures with the number of a class: ImageNet's validation set, and Caffe's lists.

Two forms. The development kit: a flat folder of ILSVRC2012_val_00000001.JPEG and so on, and
ILSVRC2012_validation_ground_truth.txt with one number, 1 to 1000, for each picture in the
order of their own numbers. Caffe's: train.txt, val.txt, test.txt with lines `name.JPEG 65`,
counted from 0. Source: the readme of the ILSVRC2012 development kit, and Caffe's
`get_ilsvrc_aux.sh`.

The kit counts classes in an order of its own, which map_clsloc.txt tells (meta.mat is not
read); Caffe counts synsets by alphabet, as in synset_words.txt, or without words in synsets.txt,
where Datumaro puts names of any kind. Written are Caffe's lists with the names in labels.txt, and
all.txt for pictures of no split.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import KEPT_OUT, Finding, Severity
from whatwhere.data.formats._class_sets import (
    Places,
    lines_of,
    missing_images,
    names_of,
    names_text,
    peek,
    read_text,
    single_classes,
    some_sizes,
    unlabelled,
)
from whatwhere.data.formats._files import entries, head, is_picture, relative, split_name
from whatwhere.data.formats._files import unique_names as unique
from whatwhere.data.formats._folders_layout import words_text
from whatwhere.data.formats._pictures import Pictures
from whatwhere.data.tables import IMAGE_COLUMNS, table
from whatwhere.errors import DataError
from whatwhere.images import IMAGE_SUFFIXES, write_atomic
from whatwhere.types import Labels, Task

NAME = "imagenet_val"
TITLE = "list of pictures and class numbers"
TASKS: frozenset[Task] = frozenset({"classify"})
HOLDS = frozenset({"split"})
LOOKS_FOR = "ILSVRC2012_validation_ground_truth.txt, or val.txt with lines 'name.JPEG 65'"

_TRUTH = re.compile(r".*validation_ground_truth\.txt", re.I)
_LINE = re.compile(r"(.*\S) (\d{1,9})")
_SYNSET = re.compile(r"n\d{8}")
_NO_SPLIT = "all"

MAX_CLASSES = 1_000_000
"""Larger numbers of classes are taken for a fault."""


def _files(folder: Path) -> list[Path]:
    return [Path(entry.path) for entry in entries(folder) if entry.is_file()]


def _truth(path: Path) -> Path | None:
    """The kit's list, beside the pictures or in the kit's own folder."""
    if path.is_file():
        return path if _TRUTH.fullmatch(path.name) else None
    folders = [Path(entry.path) for entry in entries(path) if entry.is_dir()][:50]
    near = [path, path / "data", *folders, *(folder / "data" for folder in folders)]
    for folder in near:
        for entry in peek(folder, 100):
            if _TRUTH.fullmatch(entry.name):
                return Path(entry.path)
    return None


def _is_list(file: Path) -> bool:
    """Whether the first lines are names of pictures, each with a number behind."""
    text = head(file, 1 << 12).decode("utf-8", "replace")
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    # The last line may be cut.
    lines = [line for line in (lines[:-1] or lines) if line.strip()][:20]
    found = [_LINE.fullmatch(line) for line in lines]
    return bool(found) and all(
        one is not None and Path(one[1]).suffix.lower() in IMAGE_SUFFIXES for one in found
    )


def _lists(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix == ".txt" and _is_list(path) else []
    return [file for file in _named_lists(path) if _is_list(file)]


def _named_lists(folder: Path) -> list[Path]:
    """Files that have the name of a list."""
    return [file for file in _files(folder) if file.suffix == ".txt" and _list_split(file)]


def _list_split(file: Path) -> str | None:
    return _NO_SPLIT if file.stem == _NO_SPLIT else split_name(file.stem)


def recognise(path: Path) -> str | None:
    """See `formats`."""
    if lists := _lists(path):
        return "names of pictures with class numbers in " + ", ".join(one.name for one in lists)
    truth = _truth(path)
    if truth is None:
        return None
    # With the folders of train/ beside it, it is a set of class folders.
    tops = [entry for entry in entries(path) if entry.is_dir()] if path.is_dir() else []
    split = [entry.path for entry in tops if split_name(entry.name)]
    if any(one.is_dir() for folder in split for one in peek(folder, 100)):
        return None
    return f"class numbers in {relative(truth, path.parent)}"


def read(path: Path, images: Path | None = None) -> Dataset:
    """See `formats`; `path` may be the list, too."""
    lists, truth = _lists(path), _truth(path)
    if not lists and truth is None:
        raise DataError(f"{path} has no list of pictures and classes: looked for {LOOKS_FOR}")
    root = path.parent if path.is_file() else path
    reader = _Reader(root, images)
    if lists:
        for file in lists:
            reader.add_list(file)
        if path.is_dir():
            reader.passed_over([file for file in _named_lists(path) if file not in lists])
    elif truth is not None:
        reader.add_truth(truth)
    return reader.dataset()


@dataclass
class _Reader:
    """Gathers the pictures of one data set."""

    root: Path
    images: Path | None
    findings: list[Finding] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    there: list[bool] = field(default_factory=list)
    splits: list[str | None] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    records: list[str] = field(default_factory=list)
    gone: list[tuple[str, str]] = field(default_factory=list)
    first: int = 0
    names: list[str] | None = None
    class_info: dict[str, dict[str, Any]] = field(default_factory=dict)

    def find(
        self, kind: str, message: str, where: str, severity: Severity = "error", labels: int = 1
    ) -> None:
        action = KEPT_OUT if labels else "kept"
        self.findings.append(Finding(kind, message, where, severity, action, labels))

    def _lines(self, file: Path) -> list[str]:
        text = read_text(file, self.root)
        if text is None:
            raise DataError(f"{file} cannot be read: it must be UTF-8 text inside {self.root}")
        return lines_of(text)

    def add_list(self, file: Path) -> None:
        """One of Caffe's lists."""
        where, stem = relative(file, self.root), file.stem
        split = None if stem == _NO_SPLIT else split_name(stem)
        places = Places(self.root, self.images)
        bases = [self.root, self.root / stem, *([self.root / split] if split else [])]
        bases += [self.root / "images", self.root / f"ILSVRC2012_img_{stem}"]
        known = set(self.paths)
        self._words(alphabetical=True)
        for number, line in enumerate(self._lines(file), 1):
            record = f"{where}:{number}"
            found = _LINE.fullmatch(line)
            if found is None:
                if line.strip():
                    self.find("bad-record", "the line is not a name and a number", record)
                continue
            name, label = found[1], int(found[2])
            if places.outside(name):
                self.find("path-outside", f"{name!r} leaves the data set's folder", record)
                continue
            place, there = places.find(name, bases)
            if place in known:
                self.find("duplicate-entry", f"{name} is listed before", record, "warning")
                continue
            known.add(place)
            if not there:
                self.gone.append((record, name))
            self._add(place, there, split, label, record)

    def passed_over(self, files: Sequence[Path]) -> None:
        """Report files that have the name of a list and something else in them."""
        for file in files:
            message = "the file has the name of a list, but not names of pictures and numbers"
            where = relative(file, self.root)
            self.findings.append(Finding("damaged-annotation", message, where, "error", KEPT_OUT))

    def add_truth(self, file: Path) -> None:
        """The kit's list; picture 7 has its class in line 7."""
        where = relative(file, self.root)
        self.first = 1
        self._words(alphabetical=False)
        pictures = self._kit_pictures()
        lines = self._lines(file)
        if len(lines) != len(pictures):
            message = f"there are {len(lines)} classes, but {len(pictures)} pictures"
            self.find("wrong-count", message, where, labels=0)
        for number, line in enumerate(lines, 1):
            record = f"{where}:{number}"
            if not re.fullmatch(r"\d{1,9}", line.strip()):
                self.find("bad-value", f"{line[:40]!r} is not the number of a class", record)
                continue
            name = f"ILSVRC2012_val_{number:08d}.JPEG"
            place = pictures.pop(number, "")
            if not place:
                self.gone.append((record, name))
            folder = self.images or self.root
            self._add(place or f"{folder}/{name}", bool(place), "val", int(line), record)
        for place in pictures.values():
            shown = relative(Path(place), self.root)
            self.find("missing-labels", "the picture has no line in the list", shown, labels=1)

    def _kit_pictures(self) -> dict[int, str]:
        folders = [self.images] if self.images else [self.root]
        if not self.images:
            folders += [Path(entry.path) for entry in entries(self.root) if entry.is_dir()]
        found: dict[int, str] = {}
        for folder in folders:
            for entry in entries(folder):
                number = re.search(r"(\d{1,12})\.\w+$", entry.name)
                if not is_picture(entry.name):
                    continue
                if number is None or int(number[1]) in found:
                    where = relative(Path(entry.path), self.root)
                    self.find("stray-file", "the picture has no number of its own", where, labels=0)
                    continue
                found[int(number[1])] = entry.path
        return found

    def _words(self, *, alphabetical: bool) -> None:
        """Names of the classes, by number, from the files that come with the lists."""
        if self.names is not None:
            return
        folders = [self.root, *(Path(e.path) for e in entries(self.root) if e.is_dir())][:50]
        folders += [folder / "data" for folder in folders]
        for folder in folders:
            if alphabetical and (text := read_text(folder / "labels.txt", self.root)):
                self.names = names_of(text)
            elif not alphabetical and (text := read_text(folder / "map_clsloc.txt", self.root)):
                self._mapped(text)
            elif text := read_text(folder / "synset_words.txt", self.root):
                self._synsets(text, relative(folder / "synset_words.txt", self.root), alphabetical)
            elif alphabetical and (text := read_text(folder / "synsets.txt", self.root)):
                self.names = names_of(text)
            if self.names:
                return

    def _mapped(self, text: str) -> None:
        """`n02119789 1 kit_fox`."""
        rows = [line.split(maxsplit=2) for line in lines_of(text)]
        known = {int(row[1]): row for row in rows if len(row) == 3 and row[1].isdecimal()}
        if known and sorted(known) == list(range(1, len(rows) + 1)):
            self._name([(known[n][0], known[n][2]) for n in sorted(known)])

    def _synsets(self, text: str, where: str, alphabetical: bool) -> None:
        """`n01440764 tench, Tinca tinca`."""
        rows = [tuple(line.split(maxsplit=1)) for line in lines_of(text)]
        if not all(row and _SYNSET.fullmatch(row[0]) for row in rows):
            return
        if not alphabetical and rows == sorted(rows) and len(rows) > 1:
            message = (
                "the classes stand by alphabet, not in the order of the development kit, so they"
                " are called by their numbers: put map_clsloc.txt beside the list"
            )
            self.find("class-order", message, where, "warning", labels=0)
            return
        self._name([(row[0], row[1] if len(row) > 1 else "") for row in rows])

    def _name(self, rows: list[tuple[str, str]]) -> None:
        names = [name for name, _ in rows]
        if len(set(names)) == len(names):
            self.names = names
            self.class_info = {name: {"words": words} for name, words in rows if words}

    def _add(self, path: str, there: bool, split: str | None, label: int, record: str) -> None:
        number = label - self.first
        limit = len(self.names) if self.names else MAX_CLASSES
        if not 0 <= number < limit:
            message = f"there is no class {label}, only {self.first} to {limit - 1 + self.first}"
            self.find("unknown-class", message, record)
            if self.gone and self.gone[-1][0] == record:
                self.gone.pop()
            return
        self.paths.append(path)
        self.there.append(there)
        self.splits.append(split)
        self.ids.append(number)
        self.records.append(record)

    def dataset(self) -> Dataset:
        names = self.names
        if names is None:
            count = max(self.ids, default=-1) + 1
            names = [f"class {number + self.first}" for number in range(count)]
        self.findings += missing_images(self.gone, len(self.paths), ".")
        pictures = table({"path": self.paths, "split": self.splits}, IMAGE_COLUMNS)
        pictures, unreadable = some_sizes(pictures, self.root, self.there)
        return Dataset(
            pictures,
            pl.DataFrame(
                {
                    "image": pl.int_range(len(self.paths), dtype=pl.UInt32, eager=True),
                    "class_id": pl.Series(self.ids, dtype=pl.Int32),
                    "record": pl.Series(self.records, dtype=pl.String),
                }
            ),
            Labels(names),
            findings=[*self.findings, *unreadable],
            root=str(self.root),
            task="classify",
            category_ids=[number + 1 for number in range(len(names))] if self.first else (),
            class_info=self.class_info,
        )


def holds(dataset: Dataset) -> frozenset[str]:
    """See `formats`: words of synsets have a file."""
    words = words_text(dataset.names, dataset.class_info)
    return HOLDS if words is None else HOLDS | {"class_info"}


def write(dataset: Dataset, folder: Path, pictures: Pictures) -> list[Finding]:
    """See `formats`."""
    findings: list[Finding] = []
    classes = single_classes(dataset)
    splits = dataset.images["split"].to_list()
    odd = {name for name in dataset.splits if split_name(name) != name}
    for name in sorted(odd):
        message = f"the split {name!r} is lost, because no list can be called so"
        findings.append(Finding("lost-split", message, dataset.source, "warning", "left out"))
    stems = [_NO_SPLIT if split is None or split in odd else split for split in splits]
    names = [re.sub(r"[\r\n]", "_", name) for name in unique(dataset.paths)]
    targets = [f"{folder}/images/{name}" for name in names]
    rows = [row for row, number in enumerate(classes) if number is not None]
    findings += [unlabelled(dataset, row) for row, number in enumerate(classes) if number is None]
    there = np.zeros(len(dataset), dtype=np.bool_)
    there[rows] = pictures.place([dataset.paths[r] for r in rows], [targets[r] for r in rows])
    lines: dict[str, list[str]] = {}
    for row in np.flatnonzero(there).tolist():
        lines.setdefault(stems[row], []).append(f"{names[row]} {classes[row]}\n")
    for stem, listed in lines.items():
        write_atomic(folder / f"{stem}.txt", "".join(listed))
    words = words_text(dataset.names, dataset.class_info)
    if words is None:
        write_atomic(folder / "labels.txt", names_text(dataset.names))
    else:
        write_atomic(folder / "synset_words.txt", words)
    return findings
