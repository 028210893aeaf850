"""labelme: one JSON file a picture, beside it.

Source: labelme 6 (`labelme/_label_file.py`), and what X-AnyLabeling adds to it (score,
difficult, attributes). Points are continuous pixels from 0. Polygons of one class and
`group_id` are one object, as labelme's own export to COCO has it; flags of the file that
are true are labels of the whole picture, false ones classes that were looked for. Points and
lines have no box and are named as such, also those that share a `group_id` with a box: labelme
has no list of an object's points, so that neither their order nor the absent ones are known.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from whatwhere.data.dataset import Dataset
from whatwhere.data.formats._files import entries, folders_below, split_name
from whatwhere.data.formats._flags import take_flags
from whatwhere.data.formats._labelme_write import write
from whatwhere.data.formats._outlines import MAX_MASK, Box, enclosing, mask_runs, outline
from whatwhere.data.formats._rows import Rows
from whatwhere.data.formats._values import (
    json_files,
    json_keys,
    load_json,
    number,
    split_order,
    text,
    whole,
)
from whatwhere.errors import DataError, ImageError
from whatwhere.images import IMAGE_SUFFIXES, probe_image, read_image
from whatwhere.types import Task

__all__ = ["HOLDS", "LOOKS_FOR", "NAME", "TASKS", "TITLE", "read", "recognise", "write"]

NAME = "labelme"
TITLE = "labelme"
TASKS: frozenset[Task] = frozenset({"multilabel", "detect"})
HOLDS = frozenset(
    {"split", "labelled", "ignore", "difficult", "truncated", "occluded", "iscrowd", "score"}
    | {"segmentation", "attributes", "extra", "image_extra"}
)
OWN_EXTRA_ONLY = True
LOOKS_FOR = "JSON files with 'shapes' and 'imagePath', one a picture"

# Beside labelme's own keys: what the writer adds, which labelme keeps as it is.
_TOP = {"version", "flags", "shapes", "imagePath", "imageData", "imageHeight", "imageWidth"}
_SHAPE = {"label", "points", "group_id", "shape_type", "flags", "description", "mask"}
_SHAPE |= {"score", "difficult", "attributes", "bbox", "segmentation", "part_of"}
_DEPTH = 2


def _is_labelme(file: Path) -> bool:
    first, keys = json_keys(file)
    return first == "{" and "imagePath" in keys and not keys.isdisjoint({"shapes", "imageData"})


def _first(path: Path) -> Path | None:
    """The first labelme file at the path, if one of the first few JSON files is one."""
    if path.is_file():
        return next((file for file in json_files(path) if _is_labelme(file)), None)
    for folder in folders_below(path, _DEPTH):
        for file in json_files(folder)[:3]:
            if _is_labelme(file):
                return file
    return None


def recognise(path: Path) -> str | None:
    """See `formats`."""
    found = _first(path)
    return None if found is None else f"shapes and imagePath in {found.name}"


def read(path: Path, images: Path | None = None) -> Dataset:
    """See `formats`; JSON files may lie up to two folders deep, `path` may be one of them."""
    if _first(path) is None:
        raise DataError(f"{path} is not a labelme data set: looked for {LOOKS_FOR}")
    root = path if path.is_dir() else path.parent
    reader = _Reader(root, images)
    files = [path]
    if path.is_dir():
        folders = sorted(folders_below(path, _DEPTH), key=lambda one: _order(one, root))
        files = [file for folder in folders for file in json_files(folder)]
    for file in files:
        reader.add(file)
    return reader.dataset(dict.fromkeys(file.parent for file in files))


def _order(folder: Path, root: Path) -> tuple[bool, tuple[int, str]]:
    """The folder itself first, then those of train, val and test."""
    if folder == root:
        return False, split_order(None)
    name = folder.relative_to(root).parts[0]
    return True, split_order(split_name(name) or name)


class _Reader:
    def __init__(self, root: Path, images: Path | None) -> None:
        self.root = root
        self.rows = Rows(NAME, root, images)
        self.shapes = False
        self.looked: dict[int, list[str]] = {}
        self.flagless: list[str] = []
        self.names: dict[str, None] = {}
        file = root / "labels.txt"
        if any(one.name == file.name and one.is_file() for one in entries(root)):
            for line in file.read_text("utf-8-sig", "replace").split("\n"):
                if line.strip() and line.strip() not in ("__ignore__", "_background_"):
                    self.names.setdefault(line.strip())

    def add(self, file: Path) -> None:
        where = self.rows.where(file)
        try:
            content = load_json(file)
        except DataError as error:
            self.rows.find("damaged-annotation", str(error), where)
            return
        if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
            message = "the JSON has no list 'shapes': it is not labelme's"
            self.rows.find("stray-file", message, where, "info")
            return
        shapes = content["shapes"]
        self.shapes = self.shapes or bool(shapes)
        name = self._picture(content, file)
        known = {key: value for key, value in content.items() if key not in _TOP}
        split, labelled = known.pop("split", None), known.pop("labelled", None)
        details = _dict(known.pop("flag_details", None))
        top = self.rows.where(file).split("/")
        if not isinstance(split, str):
            split = split_name(top[0]) if len(top) > 1 else None
        row = self.rows.image(
            name,
            where,
            size=_size(content),
            near=file.parent,
            boxes=len(shapes),
            split=split,
            labelled=[one for one in labelled if isinstance(one, str)]
            if isinstance(labelled, list)
            else None,
            extra=known,
        )
        if row is None:
            return
        flags = content.get("flags")
        flags = flags if isinstance(flags, dict) else {}
        if "flags" not in content:
            self.flagless.append(where)
        if content.get("flags") is not None and content["flags"] != flags:
            self.rows.find("bad-value", "the flags are no object", where, boxes=1)
        for count, (flag, value) in enumerate(flags.items()):
            if not isinstance(value, bool):
                message = f"the flag {flag!r} is neither true nor false"
                self.rows.find("bad-value", message, f"{where}#flags[{count}]", boxes=1)
            elif value:
                more = _columns(_dict(details.get(flag)))
                self.rows.tag(row, text(flag), f"{where}#flags[{count}]", **more)
        self.looked[row] = [one for flag in flags if (one := text(flag))]
        for parts in _objects(shapes, where, self.rows):
            self._object(row, parts)

    def _picture(self, content: dict[str, Any], file: Path) -> str:
        """The name in the file; else that of a picture called as the file is."""
        name = text(content.get("imagePath")) or ""
        near = None if self.rows.named else file.parent
        found = self.rows.places.find(name, near)
        if found is not None and found[1]:
            return name
        for suffix in IMAGE_SUFFIXES:
            beside = self.rows.places.find(file.stem + suffix, near)
            if beside is not None and beside[1]:
                return file.stem + suffix
        return name

    def _object(self, row: int, parts: list[tuple[dict[str, Any], str]]) -> None:
        main, record = parts[0]
        found = [_geometry(shape) for shape, _ in parts]
        kind = main.get("shape_type") or "polygon"
        if any(one is None for one in found):
            message = f"the {kind} has no points that make one"
            self.rows.find("bad-box", message, record, boxes=1)
            return
        box = enclosing([one[0] for one in found if one])
        outlines: Any = [points for one in found if one for points in one[1]]
        given = [number(value) for value in _list(main.get("bbox"))]
        if len(given) == 4 and None not in given:
            box = tuple(value or 0.0 for value in given)  # type: ignore[assignment]
        segmentation = main.get("segmentation")
        if kind == "mask":
            size = self.rows.size(row)
            segmentation, box = _mask(main, size if all(size) else self.rows.probe(row), box)
            if segmentation is None:
                message = "the mask cannot be read or placed; the box is read without it"
                self.rows.find("lost-mask", message, record, "warning", "left out")
        elif not isinstance(segmentation, dict):
            segmentation = outlines or None
        columns = _columns(main)
        if any(_columns(shape) != columns for shape, _ in parts[1:]):
            message = "what the parts of one object say differs; that of the first is read"
            self.rows.find("left-out-field", message, record, "warning", "left out")
        if kind in ("circle", "rotation", "oriented_rectangle"):
            columns["extra"] |= {"shape_type": kind, "points": main["points"]}
        name = text(main.get("label"))
        self.rows.label(row, name, box, record, segmentation=segmentation, **columns)

    def dataset(self, folders: dict[Path, None]) -> Dataset:
        detect = self.shapes or not any(self.looked.values())
        if not detect:
            every = {name for names in self.looked.values() for name in names}
            self.names |= dict.fromkeys(name for names in self.looked.values() for name in names)
            for where in self.flagless:
                message = "the file has no flags, as the others have"
                self.rows.find("missing-labels", message, where, action="read as background")
            for row, names in self.looked.items():
                self.rows.image_columns(row, labelled=names if set(names) < every else None)
        self.rows.report_unlisted([] if self.rows.named else folders)
        return self.rows.dataset(list(self.names), task="detect" if detect else "multilabel")


def _objects(
    shapes: list[Any], where: str, rows: Rows
) -> Iterator[list[tuple[dict[str, Any], str]]]:
    """The shapes of each object, with their records."""
    groups: dict[Any, list[tuple[dict[str, Any], str]]] = {}
    for place, shape in enumerate(shapes):
        record = f"{where}#shapes[{place}]"
        if not isinstance(shape, dict):
            message = f"the shape is {type(shape).__name__}, not an object"
            rows.find("bad-record", message, record, boxes=1)
            continue
        kind = shape.get("shape_type") or "polygon"
        if kind in ("point", "points", "line", "linestrip"):
            message = f"a {kind} of {shape.get('label')!r} has no box"
            rows.find("no-box", message, record, "warning", boxes=1)
            continue
        group = shape.get("part_of", shape.get("group_id"))
        key: Any = place
        if kind == "polygon" and isinstance(group, int):
            key = (str(shape.get("label")), group)
        groups.setdefault(key, []).append((shape, record))
    yield from groups.values()


def _geometry(shape: dict[str, Any]) -> tuple[list[float], list[list[float]]] | None:
    """Points that the box encloses, and outlines; None if they are damaged."""
    kind, points = shape.get("shape_type") or "polygon", outline(shape.get("points"), 2)
    if points is None:
        return None
    if kind == "circle":
        x, y = points[0], points[1]
        radius = math.hypot(points[2] - x, points[3] - y)
        return [x - radius, y - radius, x + radius, y + radius], []
    if kind in ("rectangle", "mask"):
        return list(points), []
    return (list(points), [list(points)]) if len(points) >= 6 else None


def _columns(shape: dict[str, Any]) -> dict[str, Any]:
    """Flags, score, attributes and extra of a shape."""
    flags, attributes = _dict(shape.get("flags")), _dict(shape.get("attributes"))
    columns = take_flags(flags)
    used = set(_SHAPE)
    if isinstance(shape.get("difficult"), bool):
        columns["difficult"] = shape["difficult"] or columns.get("difficult")
    else:
        used -= {"difficult"}
    score = number(shape.get("score"))
    if score is not None and 0 <= score <= 1:
        columns["score"] = score
    else:
        used -= {"score"}
    # Of another type they are kept as they are.
    used -= {key for key in ("flags", "attributes") if not isinstance(shape.get(key), dict)}
    if shape.get("shape_type") != "mask":
        used -= {"mask"}
    extra = {
        key: value
        for key, value in shape.items()
        if key not in used and value not in (None, "", [], {})
    }
    for key in ("group_id", "description"):
        if shape.get(key) not in (None, "") and shape.get(key) != shape.get("part_of"):
            extra[key] = shape[key]
    return columns | {"attributes": attributes | flags, "extra": extra}


def _mask(shape: dict[str, Any], size: tuple[int | None, int | None], box: Box) -> tuple[Any, Box]:
    """Run lengths in the whole picture, if its size is known, of a mask inside its box.

    The first and last point are pixels of the mask, so that the box ends one further.
    """
    x1, y1 = (int(max(0, value)) for value in box[:2])
    whole_box = (box[0], box[1], box[2] + 1, box[3] + 1)
    try:
        data = base64.b64decode(shape.get("mask") or "", validate=True)
        part = read_image(data, name="the mask", max_pixels=MAX_MASK)
    except (ImageError, binascii.Error, TypeError, ValueError):
        return None, whole_box
    width, height = size
    if not width or not height or width * height > MAX_MASK:
        return None, whole_box
    mask = np.zeros((height, width), np.bool_)
    part = part[: max(0, height - y1), : max(0, width - x1)]
    mask[y1 : y1 + part.shape[0], x1 : x1 + part.shape[1]] = part[..., 0] > 0
    return mask_runs(mask), whole_box


def _size(content: dict[str, Any]) -> tuple[int | None, int | None]:
    """As recorded; else of the picture that the file itself holds."""
    width, height = whole(content.get("imageWidth")), whole(content.get("imageHeight"))
    if (width and height) or not isinstance(content.get("imageData"), str):
        return width, height
    try:
        info = probe_image(base64.b64decode(content["imageData"]), name="imageData")
    except (ImageError, binascii.Error, ValueError):
        return None, None
    return info.width, info.height


def _dict(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
