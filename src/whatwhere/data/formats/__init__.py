"""One file for each format, with its reader and its writer.

Modules are found by their place: a new file here is a new format. What a module offers is
said in `Format`; the checks that each goes through are in `tests/data/test_formats.py`.
"""

from __future__ import annotations

import difflib
import os
import pkgutil
from collections import Counter
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import Finding, shortened
from whatwhere.data.formats._files import entries, remembered_listings
from whatwhere.data.formats._losses import lost_columns
from whatwhere.data.formats._pictures import Pictures
from whatwhere.errors import DataError, UsageError
from whatwhere.images import atomic_path
from whatwhere.types import Task


class Format(Protocol):
    """What a module of this package offers.

    NAME: for `--format`. TITLE: for people. LOOKS_FOR: completes "looked for ..." in the
    message for an unknown folder. TASKS: what it can hold. HOLDS: the columns of the two
    tables, beyond picture, size, class and box, that are the same after writing and reading
    ("split", "iscrowd"; "extra" means a label's and "image_extra" a picture's, of this format;
    "class_info" and "info" belong here, too). A read-only format has no `write`. A format may
    have IGNORED: class names that are always regions to ignore (KITTI's "DontCare"); and
    `holds(dataset)`: HOLDS with or without columns for what is in them here; and OPTIONS, of
    which one may stand behind its name ("text_boxes:xywh") and is given to `read` as `option`;
    and OWN_EXTRA_ONLY = True, where "extra" of other formats does not come back; and
    WRITE_OPTIONS, of which one may stand behind its name in writing ("cvat:video").
    """

    NAME: str
    TITLE: str
    LOOKS_FOR: str
    TASKS: frozenset[Task]
    HOLDS: frozenset[str]

    def recognise(self, path: Path) -> str | None:
        """What was seen that shows this format, or None; quick, and never an error."""

    def read(self, path: Path, images: Path | None) -> Dataset:
        """The data set; DataError where it cannot be understood as a whole.

        Args:
            path: absolute; nothing outside it (of a file: outside its folder) is read.
            images: absolute; a folder where the pictures are, if the user named one.
        """

    def write(self, dataset: Dataset, folder: Path, pictures: Pictures) -> list[Finding]:
        """Write into an existing, empty folder; say what could not be written.

        Lost columns are reported by the caller, who also refuses other tasks.
        """


@cache
def formats() -> dict[str, Format]:
    """Every format by name."""
    found = {}
    for module in pkgutil.iter_modules(__path__):
        if not module.name.startswith("_"):
            format = cast(Format, import_module(f"{__name__}.{module.name}"))
            found[format.NAME] = format
    return found


_READ_JSON = (
    *("cityscapes", "coco", "createml", "datumaro", "geo", "label_studio", "labelme", "parquet"),
)
"""Modules of the formats of which a single `.json` file can be: the others are not imported, which
takes longer than many a file."""


def _looked_at(path: Path) -> dict[str, Format]:
    """The formats that a path may be of."""
    if path.suffix.lower() != ".json" or not path.is_file():
        return formats()
    found = [cast(Format, import_module(f"{__name__}.{name}")) for name in _READ_JSON]
    return {one.NAME: one for one in found}


def _format(name: str, offered: Sequence[str] | None = None) -> Format:
    """The format of that name; the message for another lists those that are offered."""
    try:
        return formats()[name]
    except KeyError:
        names = list(formats()) if offered is None else offered
        known = ", ".join(names)
        near = [one for one in names if name and name.lower() in one]
        near = near or difflib.get_close_matches(name.lower(), names, 3)
        hint = f"did you mean {' or '.join(near)}? Known are" if near else "use one of"
        raise UsageError(f"unknown data format {shortened(name)!r}: {hint} {known}") from None


def read(
    path: str | os.PathLike[str],
    format: str | None = None,
    *,
    images: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Read a data set; the format is recognised unless it is given.

    Args:
        path: a folder, or an annotation file of a format that has one (COCO's JSON).
        format: such as "coco"; `whatwhere.data.formats.formats()` has all of them. What a
            format cannot know may stand behind its name ("text_boxes:xywh").
        images: folder of the pictures, where they are not beside the labels.

    Returns:
        The data set; `recognised` says what was seen, `findings` what was wrong.

    Raises:
        DataError: the path is missing, empty, of no known format, of more than one, or
            damaged as a whole.
        UsageError: the format name is unknown.
    """
    place = Path(path)
    if not place.exists():
        raise DataError(f"{place} does not exist: check the path")
    if place.is_dir() and not any(place.iterdir()):
        raise DataError(f"{place} is an empty folder: put a data set into it")
    folder = None if images is None else Path(images).resolve()
    if folder is not None and not folder.is_dir():
        raise DataError(f"{images} is not a folder: name the folder of the pictures")
    absolute = place.resolve()
    name, _, option = (format or "").partition(":")
    chosen = None if format is None else _format(name)
    if option and option not in getattr(chosen, "OPTIONS", ()):
        known = ", ".join(f"{name}:{one}" for one in getattr(chosen, "OPTIONS", ())) or name
        raise UsageError(f"unknown data format {shortened(format or '')!r}: use {known}")
    try:
        with remembered_listings():
            if chosen is not None:
                seen = _seen(chosen, absolute) or "as asked"
            else:
                chosen, seen = _recognise(absolute, place)
            dataset = _read(chosen, absolute, folder, option)
    except OSError as error:
        # Links that lead to themselves, names that are too long, files without permission.
        reason = error.strerror or str(error)
        raise DataError(
            f"{shortened(str(error.filename or place))} cannot be read ({reason}): check it and"
            " its permissions"
        ) from None
    dataset.source = os.fspath(path)
    dataset.format = f"{chosen.NAME}:{option}" if option else chosen.NAME
    dataset.recognised = f"{chosen.TITLE}: {seen}"
    dataset.images_folder = "" if images is None else os.fspath(images)
    if len(dataset) == 0:
        raise DataError(f"{place} was read as {dataset.recognised}, but holds no pictures")
    return dataset


def _read(format: Format, path: Path, images: Path | None, option: str) -> Dataset:
    more = {"option": option} if option else {}
    try:
        return format.read(path, images, **more)
    except DataError as error:
        # A message may quote the file, and a line of a damaged file may be endless.
        raise DataError(shortened(str(error), 1000)) from error.__cause__
    except UnicodeEncodeError as error:
        # JSON can spell halves of characters ("\\ud800"), which no table can hold.
        text = shortened(repr(error.object), 100)
        raise DataError(f"{path} has the text {text}, which is not Unicode: repair it") from None


def _seen(format: Format, path: Path) -> str | None:
    try:
        return format.recognise(path)
    except OSError:
        return None


def _content(path: Path) -> str:
    """What there is, in a few words, for those who meant another folder."""
    if path.is_file():
        return f"a file of {path.stat().st_size} bytes"
    found = entries(path)
    folders = [entry.name for entry in found if entry.is_dir()]
    kinds = Counter(Path(entry.name).suffix.lower() or "unnamed" for entry in found)
    kinds.subtract(Path(name).suffix.lower() or "unnamed" for name in folders)
    parts = [f"{count} {kind} files" for kind, count in kinds.most_common(3) if count > 0]
    if folders:
        shown = ", ".join(folders[:3]) + (", ..." if len(folders) > 3 else "")
        parts.append(f"folders {shown}" if len(folders) > 1 else f"a folder {shown}")
    return "it has " + (" and ".join(parts) or "hidden files only")


def _recognise(path: Path, shown: Path) -> tuple[Format, str]:
    known = _looked_at(path)
    seen = {name: phrase for name, one in known.items() if (phrase := _seen(one, path))}
    if not seen:
        raise DataError(
            f"{shown} is not a data set of a known format ({_content(path)}): known are"
            f" {', '.join(formats())}; 'whatwhere data formats' says what each looks like"
        )
    if len(seen) > 1:
        both = " and ".join(f"{name} ({shortened(phrase, 120)})" for name, phrase in seen.items())
        raise DataError(
            f"{shown} looks like {both}: name one with --format (format= in Python), or a folder"
            " or file inside it"
        )
    ((name, phrase),) = seen.items()
    return known[name], phrase


def writable(task: Task | None = None) -> list[str]:
    """Names of the formats that can be written, perhaps only those for a task."""
    return [
        name
        for name, one in formats().items()
        if hasattr(one, "write") and (task is None or task in one.TASKS)
    ]


def write(
    dataset: Dataset,
    folder: str | os.PathLike[str],
    format: str,
    pictures: str = "copy",
) -> tuple[Finding, ...]:
    """See `Dataset.write`."""
    chosen, option, placed = prepared(dataset, folder, format, pictures)
    target = Path(folder)
    if target.is_dir():
        try:
            target.rmdir()
        except OSError as error:
            raise UsageError(
                f"{target} cannot be replaced ({error.strerror}): name a folder that does not exist"
            ) from None
    with atomic_path(target) as temporary:
        temporary.mkdir()
        more = {"option": option} if option else {}
        findings = chosen.write(dataset, temporary, placed, **more)
    ignored: frozenset[str] = getattr(chosen, "IGNORED", frozenset())
    held: frozenset[str] = getattr(chosen, "holds", lambda _: chosen.HOLDS)(dataset)
    own: str | None = chosen.NAME if getattr(chosen, "OWN_EXTRA_ONLY", False) else None
    lost = lost_columns(dataset, held, chosen.TITLE, ignored, own)
    return (*findings, *placed.findings, *lost)


def prepared(
    dataset: Dataset, folder: str | os.PathLike[str], format: str, pictures: str = "copy"
) -> tuple[Format, str, Pictures]:
    """What `write` needs; to be asked before work that takes long.

    Raises:
        UsageError: the folder has content, or the format or the way of bringing pictures is
            unknown, or the format cannot hold the data set.
    """
    name, _, option = format.partition(":")
    chosen = _format(name, writable(dataset.task))
    if option and option not in getattr(chosen, "WRITE_OPTIONS", ()):
        ways = ", ".join([name, *(f"{name}:{one}" for one in getattr(chosen, "WRITE_OPTIONS", ()))])
        raise UsageError(f"{shortened(format)!r} cannot be written: use {ways}")
    known = ", ".join(writable(dataset.task))
    if not hasattr(chosen, "write"):
        raise UsageError(f"{chosen.TITLE} can only be read: write one of {known}")
    if dataset.task not in chosen.TASKS:
        raise UsageError(
            f"{chosen.TITLE} cannot hold this {dataset.task} data set: write one of {known}"
        )
    target = Path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} has content already: choose a new folder")
    return chosen, option, Pictures(pictures)
