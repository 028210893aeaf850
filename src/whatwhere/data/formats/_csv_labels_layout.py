"""Which files of a folder are tables of labels, and what their first rows say."""

from __future__ import annotations

from pathlib import Path

from whatwhere.data.formats._class_sets import Places
from whatwhere.data.formats._csv_columns import columns_of
from whatwhere.data.formats._files import entries, split_name
from whatwhere.data.formats._label_columns import (
    AmbiguousError,
    Roles,
    is_picture_name,
    roles_of,
)
from whatwhere.data.formats._label_parts import Part
from whatwhere.data.formats._label_tables import Table, is_table, sample_of
from whatwhere.images import IMAGE_SUFFIXES


def find_tables(path: Path) -> list[tuple[Path, str]]:
    """The files that look like tables of labels, each with what was seen."""
    root = path.parent if path.is_file() else path
    files = [path] if path.is_file() else [Path(one.path) for one in entries(path) if one.is_file()]
    own = (root / "dataset.json").is_file()
    found = []
    for file in files:
        # Hugging Face's table, and our own two.
        other = file.stem.lower() == "metadata" or (own and file.stem in ("images", "labels"))
        # A table of boxes has a format of its own.
        if (
            not other
            and is_table(file)
            and columns_of(file) is None
            and (seen := _seen(file, root))
        ):
            found.append((file, seen))
    return found


def _seen(file: Path, root: Path) -> str | None:
    sample = sample_of(file, root)
    # Open Images' list of pictures has nothing to say of classes.
    if sample is None or {"ImageID", "Subset", "OriginalURL"} <= set(sample.header):
        return None
    try:
        roles = roles_of(sample)
    except AmbiguousError:
        return f"{file.name} with columns {', '.join(map(repr, sample.header[:6]))}"
    if roles is None or not (roles.verbatim or _has_pictures(sample, roles, root)):
        return None
    column = repr(sample.header[roles.file])
    if roles.label is not None:
        return f"{file.name} with pictures in {column} and labels in {sample.header[roles.label]!r}"
    return f"{file.name} with pictures in {column} and {len(roles.classes)} columns of classes"


def _has_pictures(sample: Table, roles: Roles, root: Path) -> bool:
    """Whether the column has names of pictures, with their ending or without."""
    values = [value for value in sample.columns[roles.file] if value]
    if any(is_picture_name(value) for value in values[:100]):
        return True
    places = Places(root)
    folders = [root, *(Path(one.path) for one in entries(root) if one.is_dir())][:50]
    return any(
        not places.outside(value) and (folder / f"{value}{suffix}").is_file()
        for value in values[:3]
        for folder in folders
        for suffix in sorted(IMAGE_SUFFIXES)
    )


def classes_beside(path: Path) -> set[str] | None:
    """Classes in the first rows of the tables in a folder; None if there is no table.

    Class folders are those of a table, or are none at all: CheXpert's are patients.
    """
    found: set[str] = set()
    tables = find_tables(path)
    for file, _ in tables:
        sample = sample_of(file, path)
        try:
            roles = None if sample is None else roles_of(sample)
        except AmbiguousError:
            continue
        if sample is not None and roles is not None:
            part = Part(sample, roles, None)
            found.update(part.classes)
            found.update(name for names in part.names for name in names)
    return found if tables else None


def split_of(file: Path) -> str | None:
    """The split that a table's name tells, "train" in my_train.csv."""
    words = file.stem.replace("-", "_").replace(".", "_").split("_")
    return next((name for word in words if (name := split_name(word))), None)
