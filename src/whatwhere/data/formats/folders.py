"""Class folders: <class>/*.jpg, or <split>/<class>/*.jpg.

The layout that torchvision calls ImageFolder, and ImageNet's: the folder's name is the class,
pictures may lie deeper. Classes are in alphabetical order. If all folders are called as in
Caltech-256, `001.ak47`, the number is the class's category id and the rest is its name. Words
for synset folders (n01440764) come from LOC_synset_mapping.txt, synset_words.txt or
imagenet_class_index.json.
"""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl

from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import KEPT_OUT, Finding, Severity
from whatwhere.data.formats._class_sets import (
    is_plain_name,
    need_pictures,
    peek,
    single_classes,
    some_sizes,
    unlabelled,
)
from whatwhere.data.formats._csv_labels_layout import classes_beside
from whatwhere.data.formats._files import entries, is_picture, relative, split_name, unique_names
from whatwhere.data.formats._folders_layout import (
    WORDS_FILES,
    Layout,
    find_layout,
    is_annotated,
    looks_like_classes,
    numbers_of,
    words_of,
    words_text,
)
from whatwhere.data.formats._pictures import Pictures
from whatwhere.data.tables import IMAGE_COLUMNS, table
from whatwhere.errors import DataError, UsageError
from whatwhere.images import write_atomic
from whatwhere.types import Labels, Task

NAME = "folders"
TITLE = "class folders"
TASKS: frozenset[Task] = frozenset({"classify"})
HOLDS = frozenset({"split"})
LOOKS_FOR = "one folder of pictures for each class, perhaps inside train/ and test/"

# Files that say more of the pictures; whoever reads them knows better.
_METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")


def recognise(path: Path) -> str | None:
    """See `formats`. A sample of the folders is looked at: there may be millions of files."""
    if not path.is_dir():
        return None
    layout = find_layout(path)
    folders = layout.folders
    names = {folder.name for folder in folders}
    tops = {layout.base, *(folder.parent for folder in folders)}
    if any((top / name).exists() for top in tops for name in _METADATA):
        return None
    # CVAT and Datumaro call the folder of pictures without a split "default".
    splits = all(split_name(name) or name.lower() == "default" for name in names)
    if None in layout.parts and (len(names) < 2 or splits):
        return None
    if not looks_like_classes(layout) or is_annotated(path):
        return None
    listed = classes_beside(path)
    if listed is not None and not listed & names:
        return None
    parts = ", ".join(f"{name}/" for name in layout.parts if name)
    return f"{len(names)} folders of pictures" + (f" in {parts}" if parts else "")


def read(path: Path, images: Path | None = None) -> Dataset:
    """See `formats`."""
    if not path.is_dir():
        raise DataError(f"{path} is not a folder: looked for {LOOKS_FOR}")
    layout = find_layout(path)
    if not layout.folders:
        raise DataError(f"{path} has no folders in it: looked for {LOOKS_FOR}")
    return _Reader(path, layout).read()


class _Reader:
    """Gathers the pictures of one data set."""

    def __init__(self, root: Path, layout: Layout) -> None:
        self.root, self.layout = root, layout
        self.findings: list[Finding] = []
        self.paths: list[str] = []
        self.splits: list[str | None] = []
        self.ids: list[int] = []

    def find(self, kind: str, message: str, where: str, severity: Severity = "warning") -> None:
        action = "kept" if kind == "empty-class" else KEPT_OUT
        self.findings.append(Finding(kind, message, where, severity, action))

    def _named(self, path: str, what: str) -> bool:
        """Whether a name is Unicode; another kind of bytes has no place in a table."""
        if path.isascii():
            return True
        shown = path.encode("utf-8", "backslashreplace").decode("utf-8")
        if shown == path:
            return True
        where = shown[len(str(self.root)) + 1 :]
        self.find("bad-name", f"the name of the {what} is not UTF-8: rename it", where, "error")
        return False

    def read(self) -> Dataset:
        for split, parts in self.layout.parts.items():
            kept = [folder for folder in parts if self._named(str(folder), "folder")]
            self.layout.parts[split] = kept
        folders = sorted({folder.name for folder in self.layout.folders})
        numbers = numbers_of(folders)
        if numbers is not None:
            folders.sort(key=numbers.__getitem__)
        names = [numbers[one][1] for one in folders] if numbers else folders
        place_of = {folder: number for number, folder in enumerate(folders)}
        words = words_of(folders, self.layout.base, self.root, self.findings)
        self._loose()
        for split, parts in self.layout.parts.items():
            for folder in parts:
                self._class(folder, split, place_of[folder.name])
            for missing in sorted(place_of.keys() - {folder.name for folder in parts}):
                message = f"class {missing!r} has no folder in this split"
                self.find("empty-class", message, split or ".")
        pictures = table({"path": self.paths, "split": self.splits}, IMAGE_COLUMNS)
        pictures, unreadable = some_sizes(pictures, self.root)
        start = len(f"{self.root}".rstrip(os.sep)) + 1
        return Dataset(
            pictures,
            pl.DataFrame(
                {
                    "image": pl.int_range(len(self.paths), dtype=pl.UInt32, eager=True),
                    "class_id": pl.Series(self.ids, dtype=pl.Int32),
                    "record": pl.Series([path[start:] for path in self.paths], dtype=pl.String),
                }
            ),
            Labels(names),
            findings=[*self.findings, *unreadable],
            root=str(self.root),
            task="classify",
            category_ids=[numbers[one][0] for one in folders] if numbers else (),
            class_info=words,
        )

    def _loose(self) -> None:
        """Files outside all class folders."""
        places = {self.layout.base: None, **{f.parent: None for f in self.layout.folders}}
        for place in places:
            for entry in entries(place):
                if entry.is_file() and entry.name not in WORDS_FILES:
                    where = relative(Path(entry.path), self.root)
                    severity: Severity = "warning" if is_picture(entry.name) else "info"
                    self.find("stray-file", "the file lies in no class folder", where, severity)
        for folder in self.layout.flat:
            if peek(folder, 1):
                count = sum(is_picture(entry.name) for entry in entries(folder))
                message = f"{count} pictures of this split lie in no class folder"
                self.find("missing-labels", message, relative(folder, self.root), "error")
        for folder in self.layout.others:
            message = "the folder is neither a split nor a class"
            self.find("stray-file", message, relative(folder, self.root), "info")

    def _class(self, folder: Path, split: str | None, number: int) -> None:
        before = len(self.paths)
        for place, below, files in os.walk(folder):
            below[:] = sorted(name for name in below if not name.startswith("."))
            for name in sorted(files):
                path = f"{place}{os.sep}{name}"
                if not self._named(path, "file"):
                    continue
                if is_picture(name):
                    self.paths.append(path)
                elif not name.startswith("."):
                    where = relative(Path(place, name), self.root)
                    self.find("stray-file", "the file is not a picture", where, "info")
        count = len(self.paths) - before
        self.splits += [split] * count
        self.ids += [number] * count
        if not count:
            message = f"class {folder.name!r} has no pictures here"
            self.find("empty-class", message, relative(folder, self.root))


def holds(dataset: Dataset) -> frozenset[str]:
    """See `formats`: words of synsets have a file."""
    words = words_text(dataset.names, dataset.class_info)
    return HOLDS if words is None else HOLDS | {"class_info"}


def write(dataset: Dataset, folder: Path, pictures: Pictures) -> list[Finding]:
    """See `formats`; numbers go back in front of the names that were read without them."""
    need_pictures(pictures, "a set of class folders")
    findings: list[Finding] = []
    folders = _folder_names(dataset)
    split = dataset.images["split"].to_list()
    held = _splits_are_held(dataset, findings)
    rows, places = [], []
    for row, number in enumerate(single_classes(dataset)):
        if number is None:
            findings.append(unlabelled(dataset, row))
            continue
        rows.append(row)
        place = f"{split[row]}/{folders[number]}" if held else folders[number]
        places.append(f"{folder}/{place}")
    # A class without pictures has its folder all the same, in one of the splits.
    used = {os.path.basename(place) for place in places}  # noqa: PTH119
    top = f"{folder}/{next(iter(dataset.splits))}" if held else f"{folder}"
    for place in {*places, *(f"{top}/{name}" for name in folders if name not in used)}:
        Path(place).mkdir(parents=True, exist_ok=True)
    if (words := words_text(dataset.names, dataset.class_info)) is not None:
        write_atomic(folder / "synset_words.txt", words)
    paths = [dataset.paths[row] for row in rows]
    names = unique_names(paths, places)
    pictures.place(paths, [f"{a}/{b}" for a, b in zip(places, names, strict=True)])
    return findings


def _splits_are_held(dataset: Dataset, findings: list[Finding]) -> bool:
    """Whether the splits can be folders; if not, that is a finding."""
    if not dataset.splits:
        return False
    without = dataset.images["split"].null_count()
    odd = [name for name in dataset.splits if split_name(name) != name]
    if not without and not odd:
        return True
    message = f"the splits are lost, because {without} pictures have none"
    if odd:
        message = f"the splits are lost, because a folder {odd[0]!r} would be taken for a class"
    findings.append(Finding("lost-split", message, dataset.source, "warning", "left out"))
    return False


def _folder_names(dataset: Dataset) -> list[str]:
    names = list(dataset.names)
    for name in names:
        if not is_plain_name(name):
            raise UsageError(f"class {name!r} cannot be the name of a folder: rename it")
    ids = dataset.category_ids
    numbered = dataset.format == NAME and len(ids) == len(names)
    if not numbered and numbers_of(names) is None:
        return names
    # Without numbers of its own, a class `1.5` would lose its beginning in reading.
    numbers = list(ids) if numbered else list(range(1, len(names) + 1))
    digits = max(3, *(len(str(number)) for number in numbers))
    return [f"{number:0{digits}d}.{name}" for number, name in zip(numbers, names, strict=True)]
