"""Class folders: <class>/*.jpg, or <split>/<class>/*.jpg.

The layout that torchvision calls ImageFolder: the folder's name is the class, pictures may
lie deeper. Classes are in alphabetical order.
"""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl

from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import Finding
from whatwhere.data.formats._files import (
    add_sizes,
    entries,
    inside,
    is_picture,
    relative,
    split_name,
    unique_names,
)
from whatwhere.data.formats._pictures import Pictures
from whatwhere.data.tables import IMAGE_COLUMNS, table
from whatwhere.errors import DataError, UsageError
from whatwhere.types import Labels, Task

NAME = "folders"
TITLE = "class folders"
TASKS: frozenset[Task] = frozenset({"classify"})
HOLDS = frozenset({"split"})
LOOKS_FOR = "one folder of pictures for each class, perhaps inside train/ and test/"

# Folders of other formats; where they are, the others are not classes.
_FOREIGN = {"annotations", "labels", "images", "jpegimages", "imagesets"}


def _folders(path: Path) -> list[Path]:
    return [Path(entry.path) for entry in entries(path) if entry.is_dir()]


def _classes(path: Path) -> dict[str | None, list[Path]]:
    """The class folders of each split; split None where there are no splits."""
    top = _folders(path)
    splits = {folder: split_name(folder.name) for folder in top}
    if top and all(splits.values()) and all(_folders(folder) for folder in top):
        found: dict[str | None, list[Path]] = {}
        for folder in top:
            found.setdefault(splits[folder], []).extend(_folders(folder))
        return found
    return {None: top}


def _files(folder: Path) -> list[Path]:
    """Every file in and below a folder, by name, hidden ones left out."""
    found = []
    for place, below, files in os.walk(folder):
        below[:] = sorted(name for name in below if not name.startswith("."))
        found += [Path(place, name) for name in sorted(files) if not name.startswith(".")]
    return found


def recognise(path: Path) -> str | None:
    """See `formats`."""
    if not path.is_dir():
        return None
    parts = _classes(path)
    classes = [folder for folders in parts.values() for folder in folders]
    if any(folder.name.lower() in _FOREIGN for folder in [*_folders(path), *classes]):
        return None
    inner = [entry.name.lower() for folder in classes for entry in entries(folder)]
    # A class may have a folder "images" (Tiny ImageNet), but not these.
    if any(name.endswith(".xml") or name in _FOREIGN - {"images"} for name in inner):
        return None
    if not any(is_picture(file.name) for folder in classes for file in _files(folder)):
        return None
    names = {folder.name for folder in classes}
    if None in parts and (len(names) < 2 or all(split_name(name) for name in names)):
        return None
    splits = ", ".join(f"{name}/" for name in parts if name)
    return f"{len(names)} folders of pictures" + (f" in {splits}" if splits else "")


def read(path: Path, images: Path | None = None) -> Dataset:
    """See `formats`."""
    if not path.is_dir():
        raise DataError(f"{path} is not a folder: looked for {LOOKS_FOR}")
    findings: list[Finding] = []
    parts = _classes(path)
    names = sorted({folder.name for folders in parts.values() for folder in folders})
    if not names:
        raise DataError(f"{path} has no folders in it: looked for {LOOKS_FOR}")
    place_of = {name: number for number, name in enumerate(names)}
    paths: list[str] = []
    splits: list[str | None] = []
    ids: list[int] = []
    for folder in [path, *[one for one in _folders(path) if None not in parts]]:
        for entry in entries(folder):
            if entry.is_file():
                where = relative(Path(entry.path), path)
                lost = is_picture(entry.name)
                findings.append(_stray(where, "lies in no class folder", lost))
    for split, folders in parts.items():
        for folder in folders:
            before = len(paths)
            for file in _files(folder):
                if not is_picture(file.name):
                    findings.append(_stray(relative(file, path), "is not a picture", False))
                    continue
                paths.append(str(file))
                splits.append(split)
                ids.append(place_of[folder.name])
            if len(paths) == before:
                message = f"class {folder.name!r} has no pictures here"
                findings.append(Finding("empty-class", message, relative(folder, path)))
        for missing in sorted(set(names) - {folder.name for folder in folders}):
            message = f"class {missing!r} has no folder in this split"
            findings.append(Finding("empty-class", message, split or "."))
    pictures = table({"path": paths, "split": splits}, IMAGE_COLUMNS)
    pictures, unreadable = add_sizes(pictures, path)
    rows = pl.int_range(len(paths), dtype=pl.UInt32, eager=True)
    records = [relative(Path(one), path) for one in paths]
    return Dataset(
        pictures,
        pl.DataFrame({"image": rows, "class_id": ids, "record": records}),
        Labels(names),
        findings=[*findings, *unreadable],
        root=str(path),
        task="classify",
    )


def _stray(where: str, what: str, lost: bool) -> Finding:
    severity = "warning" if lost else "info"
    return Finding("stray-file", f"the file {what}", where, severity, "kept out")  # type: ignore[arg-type]


def write(dataset: Dataset, folder: Path, pictures: Pictures) -> list[Finding]:
    """See `formats`."""
    findings = []
    whole = any(dataset.splits) and dataset.images["split"].null_count() == 0
    split = dataset.images["split"].to_list()
    ids = [int(dataset.targets(row).class_ids[0]) for row in range(len(dataset))]
    places = []
    for row, number in enumerate(ids):
        name = dataset.names[number]
        place = inside(folder, name)
        if place is None or place.parent != folder:
            raise UsageError(f"class {name!r} cannot be the name of a folder: rename it")
        places.append(folder / split[row] / name if whole else place)
    for place in {*places, *([] if whole else [folder / name for name in dataset.names])}:
        place.mkdir(parents=True, exist_ok=True)
    names = unique_names(dataset.paths, [str(place) for place in places])
    targets = [place / name for place, name in zip(places, names, strict=True)]
    pictures.place(dataset.paths, targets)
    for row in range(len(targets)):
        if split[row] and not whole:
            message = f"split {split[row]!r} is lost, because other pictures have none"
            findings.append(Finding("lost-split", message, dataset.relative_paths()[row]))
    return findings
