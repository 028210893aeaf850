"""Which column of a table has the pictures, and which have their labels."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from whatwhere.data.formats._label_tables import Table
from whatwhere.images import IMAGE_SUFFIXES
from whatwhere.types import TASKS, Task

_FILE = (
    *("file_name", "filename", "file", "image_path", "img_path", "path", "filepath", "file_path"),
    *("image_name", "img_name", "image", "img", "image_file", "picture", "photo", "fname"),
    *("image_index", "image_id", "imageid", "img_id", "id_code", "id"),
)
_SPLIT = ("split", "set", "subset", "partition", "data_split", "phase")
SPLIT_FLAGS = {"is_valid": "val", "is_val": "val", "is_test": "test", "is_train": "train"}
_GROUP = (
    *("group", "group_id", "patient", "patient_id", "patientid", "subject", "subject_id"),
    *("video", "video_id", "clip", "clip_id", "sequence", "case_id"),
)
_SINGULAR = (
    *("label", "class", "class_name", "classname", "category", "tag", "target", "diagnosis"),
    *("breed", "species", "dx", "y", "emotion", "finding", "ground_truth", "label_name"),
)
_PLURAL = (
    *("labels", "classes", "categories", "tags", "targets", "finding_labels", "findings"),
    *("class_names", "attributes", "label_names"),
)
# What tables of boxes, masks and predictions have; they are other formats'.
_FOREIGN = {
    *("xmin", "x_min", "x1", "xtl", "left", "bbox_x", "bbox_x1", "x_center", "cx", "roi_x1"),
    *("bbox", "box", "boxes", "bndbox", "geometry", "objects", "segmentation"),
    *("region_shape_attributes", "predictionstring", "encodedpixels", "polygon"),
    "estimatedyesno",  # points of Open Images
}

YES = frozenset({"1", "1.0", "true", "yes"})
NO = frozenset({"0", "0.0", "false", "no"})
UNKNOWN = frozenset({"-1", "-1.0", "", "nan", "na", "n/a", "null", "none"})

# A column of classes may have this share of cells that are a fault.
_FAULTS = 0.1
_LOOKED_AT = 5_000


class AmbiguousError(Exception):
    """More than one reading of a table makes sense; the message lists them."""


@dataclass(frozen=True)
class Roles:
    """What the columns of a table are, by their positions.

    Args:
        file, split, group, extra, labelled: None where there is no such column.
        label: the column with names of classes; None if each class has a column.
        classes: the columns of classes.
        separator: between names in one cell; None for one name.
        task: what the table says or, where it does not, None.
        others: columns that are kept as they are.
        mark: the column with the task, in a table that we wrote: its cells are to be taken
            as they are.
    """

    file: int
    split: int | None = None
    group: int | None = None
    extra: int | None = None
    labelled: int | None = None
    label: int | None = None
    classes: tuple[int, ...] = ()
    separator: str | None = None
    task: Task | None = None
    others: tuple[int, ...] = field(default=(), compare=False)
    mark: int | None = field(default=None, compare=False)

    @property
    def verbatim(self) -> bool:
        """Whether the table says itself what its columns are."""
        return self.mark is not None


def key_of(name: str) -> str:
    """A column's name as it is compared: lower case, one underscore between words."""
    return re.sub(r"[\s_\-.]+", "_", name.strip().lower()).strip("_")


def roles_of(table: Table) -> Roles | None:
    """What the columns are; None if there are none of pictures and labels.

    Raises:
        AmbiguousError: more than one reading makes sense.
    """
    keys = [key_of(name) for name in table.header]
    if (own := _own_roles(table)) is not None:
        return own
    if set(keys) & _FOREIGN or {"imageid", "labelname"} <= set(keys) or len(keys) < 2:
        return None
    file = _file_column(table, keys)
    if file is None:
        return None
    taken = {file}
    split = _first(keys, _SPLIT, taken)
    flags = [at for at, key in enumerate(keys) if key in SPLIT_FLAGS and at not in taken]
    if split is None and len(flags) > 1:
        both = ", ".join(repr(table.header[at]) for at in flags)
        raise AmbiguousError(f"{both} may each tell the split: keep one column 'split'")
    if split is None and flags:
        split = flags[0]
        taken.add(split)
    if split is not None and len(set(table.columns[split])) > 20:
        taken.discard(split)
        split = None
    group = _first(keys, _GROUP, taken)
    extra = next((at for at, key in enumerate(keys) if key == "extra" and at not in taken), None)
    taken.add(-1 if extra is None else extra)
    free = [at for at, key in enumerate(keys) if at not in taken and _is_named(key)]
    known = {"file": file, "split": split, "group": group, "extra": extra}
    return _labels(table, keys, free, known)


def _own_roles(table: Table) -> Roles | None:
    """Of a table that this package wrote and marked with its task: classes stand behind it."""
    header = table.header
    if header[0] != "file" or "task" not in header:
        return None
    end = header.index("task")
    said = Counter(table.columns[end])
    half = len(table.columns[end]) / 2
    task = next((one for one in TASKS if said[one] > half and one != "detect"), None)
    before = {name: at for at, name in enumerate(header[:end])}
    if task is None or not before.keys() <= {
        "file",
        "split",
        "group",
        "extra",
        "labelled",
        "label",
    }:
        return None
    return Roles(
        0,
        split=before.get("split"),
        group=before.get("group"),
        extra=before.get("extra"),
        labelled=before.get("labelled"),
        label=before.get("label"),
        classes=() if "label" in before else tuple(range(end + 1, len(header))),
        task=task,
        mark=end,
    )


def _is_named(key: str) -> bool:
    """Not the numbers of rows that pandas writes without a name."""
    return bool(key) and not re.fullmatch(r"unnamed:?_\d+", key)


def _first(keys: Sequence[str], words: Sequence[str], taken: set[int]) -> int | None:
    for at, key in enumerate(keys):
        if key in words and at not in taken:
            taken.add(at)
            return at
    return None


def is_picture_name(value: str) -> bool:
    """Whether a text ends as the name of a picture does."""
    return PurePosixPath(value.replace("\\", "/")).suffix.lower() in IMAGE_SUFFIXES


def _file_column(table: Table, keys: Sequence[str]) -> int | None:
    """The column with names of pictures; else the one whose own name says so."""
    named = []
    for at, column in enumerate(table.columns):
        values = [value for value in column[:_LOOKED_AT] if value]
        if values and 2 * sum(map(is_picture_name, values)) >= len(values):
            named.append(at)
    for candidates in (named, range(len(keys))):
        for word in _FILE:
            for at in candidates:
                if keys[at] == word:
                    return at
        if candidates:
            return candidates[0] if candidates is named else None
    return None


def binary(column: Sequence[str]) -> bool:
    """Whether nearly all cells are 0, 1 or unknown, and some are 0 or 1."""
    values = [value.strip().lower() for value in column[:_LOOKED_AT]]
    known = sum(value in YES or value in NO for value in values)
    faults = sum(value not in YES and value not in NO and value not in UNKNOWN for value in values)
    filled = sum(bool(value) for value in values)
    return known > 0 and faults <= _FAULTS * filled


def mostly_binary(column: Sequence[str]) -> bool:
    """Whether more than half of the cells that have something are 0 or 1."""
    values = [value.strip().lower() for value in column[:_LOOKED_AT] if value.strip()]
    return 2 * sum(value in YES or value in NO for value in values) > len(values)


def _labels(
    table: Table, keys: Sequence[str], free: list[int], known: dict[str, int | None]
) -> Roles | None:
    # A flag of the split beside a column of it is no class.
    flags = [
        at
        for at in free
        if at not in table.lists and keys[at] not in SPLIT_FLAGS and binary(table.columns[at])
    ]
    words = [at for at in free if keys[at] in _SINGULAR + _PLURAL]
    texts = [at for at in words if at not in flags]

    def called(places: Sequence[int]) -> str:
        return ", ".join(repr(table.header[at]) for at in places)

    def roles(label: int | None, classes: Sequence[int], separator: str | None = None) -> Roles:
        rest = tuple(at for at in free if at != label and at not in classes)
        return Roles(
            known["file"] or 0,
            split=known["split"],
            group=known["group"],
            extra=known["extra"],
            label=label,
            classes=tuple(classes),
            separator=separator,
            others=rest,
        )

    if len(texts) > 1:
        numbers = [at for at in texts if _whole_numbers(table.columns[at])]
        texts = [at for at in texts if at not in numbers] or texts
    if len(texts) > 1:
        raise AmbiguousError(f"{called(texts)} may each be the column of labels")
    if texts:
        return roles(texts[0], (), _separator(table, texts[0], keys[texts[0]]))
    named = [at for at in flags if at in words]
    if named and len(flags) > 1:
        raise AmbiguousError(
            f"{called(named)} may be the column of labels, or {called(flags)} a class each"
        )
    if named:
        return roles(named[0], ())
    if flags:
        return roles(None, flags)
    free_words = [at for at in free if keys[at] not in SPLIT_FLAGS]
    if len(free_words) == 1:
        return roles(free_words[0], (), _separator(table, free_words[0], keys[free_words[0]]))
    if len(free_words) > 1 and table.records:
        raise AmbiguousError(f"it does not say which of {called(free_words)} has the labels")
    return None


def _whole_numbers(column: Sequence[str]) -> bool:
    return all(re.fullmatch(r"-?\d*", value.strip()) for value in column[:_LOOKED_AT])


def _separator(table: Table, at: int, key: str) -> str | None:
    """What stands between the names in a cell, decided by the cells.

    `;` and `|` always divide; a comma or a space may be part of a name.
    """
    cells = {value.strip() for value in table.columns[at]} - {""}
    used = [sign for sign in ";|" if any(sign in cell for cell in cells)]
    if len(used) > 1:
        raise AmbiguousError(f"{table.header[at]!r} is divided by ';' or by '|', and both occur")
    if used:
        return used[0]
    for sign in (",", " "):
        if not any(sign in cell for cell in cells):
            continue
        some = sorted(cells)[:_LOOKED_AT]
        sets = [frozenset(part.strip() for part in cell.split(sign)) - {""} for cell in some]
        if _divides(sets, key, sign):
            return sign
        if key in _SINGULAR:
            return None
        names = some[:2], sorted(frozenset().union(*sets))[:3]
        raise AmbiguousError(
            f"{table.header[at]!r} has names with {sign!r} in them, such as {names[0]}, or lists"
            f" of names, such as {names[1]}: put ';' between names, or call the column 'label'"
        )
    return None


def _divides(sets: list[frozenset[str]], key: str, sign: str) -> bool:
    """Whether a comma or space stands between names: they come back in other company."""
    parts = frozenset().union(*sets)
    singular, plural = key in _SINGULAR, key in _PLURAL
    if singular and sign == " ":
        return False
    if len(parts) < len(sets) or (plural and sign == ","):
        return True
    if singular or (sign == " " and not plural):
        return False
    return any(sum(part in one for one in sets) > 1 for part in sorted(parts)[:200])
