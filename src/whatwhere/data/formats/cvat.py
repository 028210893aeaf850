"""CVAT XML 1.1: pictures with shapes, or videos with tracks.

Source: docs.cvat.ai, "CVAT for images 1.1" and "CVAT for video 1.1". Coordinates are pixels
from 0; boxes and ellipses are turned clockwise about their middle. Polygons of one class and
`group_id` are one object, as CVAT's own export to COCO has it. Of a video the XML has every
frame in which an object is seen (`outside` is 0); frames are called frame_000000.PNG, as CVAT
exports them, whether they are on disk or not.

A skeleton is one object with the key points that its class declares, and the box around those
that are seen; the names of the points are in `class_info`. An object with another box is
written as that box, and its key points in an attribute that CVAT passes over, since CVAT's
skeletons have no box of their own. Points and lines alone have no box and are named as such:
nothing says which box they belong to, nor in which order.

Several files are one data set if each has pictures of its own: train.xml and val.xml are
splits, and a folder of exports (<any>/annotations.xml beside <any>/images/) is read as a whole.

Written are pictures, or with "cvat:video" videos: see `_cvat_video`.
"""

from __future__ import annotations

import re
from pathlib import Path

from whatwhere.data.dataset import Dataset
from whatwhere.data.formats._cvat_read import Reader
from whatwhere.data.formats._cvat_write import write
from whatwhere.data.formats._files import entries, head, relative, split_name
from whatwhere.data.formats._values import split_order
from whatwhere.errors import DataError
from whatwhere.types import Task

__all__ = [
    "HOLDS",
    "LOOKS_FOR",
    "NAME",
    "TASKS",
    "TITLE",
    "WRITE_OPTIONS",
    "read",
    "recognise",
    "write",
]

NAME = "cvat"
TITLE = "CVAT"
TASKS: frozenset[Task] = frozenset({"multilabel", "detect"})
HOLDS = frozenset(
    {"split", "group", "id", "ignore", "difficult", "truncated", "occluded", "iscrowd", "score"}
    | {"source", "track", "segmentation", "keypoints", "attributes"}
    | {"extra", "image_extra", "class_info"}
)
OWN_EXTRA_ONLY = True
WRITE_OPTIONS = ("images", "video")
LOOKS_FOR = "an XML file whose root is <annotations>"

_FILE = "annotations.xml"


def _is_cvat(file: Path) -> bool:
    start = head(file, 1 << 14)
    if re.search(rb"<annotations[\s>]", start) is None:
        return False
    return re.search(rb"<(version|meta|image|track)[\s>/]", start) is not None


def _files(path: Path) -> tuple[list[Path], list[Path]]:
    """CVAT's files at a path, or else one folder deeper; and others that are called so."""
    if path.is_file():
        return [path] if path.suffix.lower() == ".xml" and _is_cvat(path) else [], []
    names = [one for one in entries(path) if one.name.lower().endswith(".xml") and one.is_file()]
    files = [Path(one.path) for one in names]
    # A folder with many XML files is of another format; the first few tell.
    if files and not any(map(_is_cvat, files[:3])):
        return [], []
    if not files:
        files = [Path(one.path, _FILE) for one in entries(path) if one.is_dir()]
        files = [file for file in files if file.is_file()]
    found = [file for file in files if _is_cvat(file)]
    return found, [file for file in files if file not in set(found)]


def recognise(path: Path) -> str | None:
    """See `formats`."""
    files, _ = _files(path)
    if not files:
        return None
    shown = ", ".join(relative(file, path.parent) for file in files[:3])
    return f"<annotations> in {shown}" + (f" and {len(files) - 3} more" if files[3:] else "")


def read(path: Path, images: Path | None = None) -> Dataset:
    """See `formats`; `path` may be the XML file, too."""
    files, others = _files(path)
    if not files:
        raise DataError(f"{path} is not a CVAT data set: looked for {LOOKS_FOR}")
    reader = Reader(path if path.is_dir() else path.parent, images, NAME)
    several = len(files) + len(others) > 1
    reader.rows.report_strangers(others, TITLE)
    for file in sorted(files, key=lambda one: split_order(_split_of(one, path))):
        reader.add(file, _split_of(file, path) if several else None, several)
        if several and reader.shared is not None:
            raise DataError(
                f"{file} annotates {reader.shared}, which another file does, too: give one of"
                f" {', '.join(relative(one, path) for one in files)}"
            )
    return reader.dataset()


def _split_of(file: Path, path: Path) -> str | None:
    """The split that a file's name, or its folder's, stands for."""
    name = file.stem if file.parent == path else file.parent.name
    words = reversed(re.split(r"[_\-. ]", name))
    return next((one for word in words if (one := split_name(word))), None)
