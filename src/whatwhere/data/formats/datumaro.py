"""Datumaro JSON: annotations/<subset>.json, images/<subset>/.

Source: the Datumaro format of github.com/open-edge-platform/datumaro. Boxes are x, y, width,
height from 0; sizes are height, width. Annotations of one `group` are one object: its box,
outlines, mask and points. What other formats call flags are attributes there by the names
that Datumaro's own importers use (occluded, truncated, difficult, is_crowd, score, track_id).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from whatwhere.data.dataset import Dataset
from whatwhere.data.formats._datumaro_write import write
from whatwhere.data.formats._files import relative, split_name
from whatwhere.data.formats._flags import take_flags
from whatwhere.data.formats._outlines import (
    enclosing,
    mask_box,
    mask_of,
    outline,
    turned,
)
from whatwhere.data.formats._rows import Rows
from whatwhere.data.formats._values import (
    index,
    json_files,
    json_keys,
    load_json,
    number,
    plain,
    split_order,
    text,
    whole,
)
from whatwhere.errors import DataError
from whatwhere.images import IMAGE_SUFFIXES
from whatwhere.types import Task

__all__ = ["HOLDS", "LOOKS_FOR", "NAME", "TASKS", "TITLE", "read", "recognise", "write"]

NAME = "datumaro"
TITLE = "Datumaro"
TASKS: frozenset[Task] = frozenset({"classify", "multilabel", "detect"})
HOLDS = frozenset(
    {"split", "id", "ignore", "difficult", "truncated", "occluded", "iscrowd", "score", "track"}
    | {"segmentation", "keypoints", "attributes", "extra", "image_extra", "class_info", "info"}
)
OWN_EXTRA_ONLY = True
LOOKS_FOR = "annotations/*.json with 'categories' and 'items'"


def _is_items(file: Path) -> bool:
    first, keys = json_keys(file)
    return first == "{" and {"categories", "items"} <= keys and "images" not in keys


def _files(path: Path) -> list[Path]:
    found = json_files(path) if path.is_file() else json_files(path / "annotations")
    return sorted(filter(_is_items, found), key=lambda file: split_order(_split(file)))


def _split(file: Path) -> str | None:
    return None if file.stem == "default" else split_name(file.stem) or file.stem


def recognise(path: Path) -> str | None:
    """See `formats`."""
    return ", ".join(relative(file, path.parent) for file in _files(path)) or None


def read(path: Path, images: Path | None = None) -> Dataset:
    """See `formats`; `path` may be one subset's JSON file, too."""
    files = _files(path)
    if not files:
        raise DataError(f"{path} is not a Datumaro data set: looked for {LOOKS_FOR}")
    root = path
    if path.is_file():
        root = path.parent.parent if path.parent.name == "annotations" else path.parent
    reader = _Reader(root, images)
    if path.is_dir():
        others = [file for file in json_files(path / "annotations") if file not in files]
        reader.rows.report_strangers(others, TITLE)
    for file in files:
        reader.add(file)
    return reader.dataset()


class _Reader:
    def __init__(self, root: Path, images: Path | None) -> None:
        self.root = root
        self.rows = Rows(NAME, root, images, [root / "images"])
        self.names: dict[str, None] = {}
        self.class_info: dict[str, dict[str, Any]] = {}
        self.info: dict[str, Any] = {}
        self.shapes = False

    def add(self, file: Path) -> None:
        content, where = load_json(file), self.rows.where(file)
        if not isinstance(content, dict) or not isinstance(content.get("items"), list):
            raise DataError(f"{file} has no list 'items': it is not Datumaro's JSON")
        subset = file.stem
        split = _split(file)
        names = self._names(content.get("categories"), where)
        if isinstance(content.get("info"), dict):
            self.info = {**content["info"], **self.info}
        near = self.root / "images" / subset
        for place, item in enumerate(content["items"]):
            record = f"{where}#{place}"
            if not isinstance(item, dict):
                message = f"the item is {type(item).__name__}, not an object"
                self.rows.find("bad-record", message, record)
                continue
            self._item(item, split, near, names, where, record)

    def _names(self, categories: Any, where: str) -> list[str | None]:
        categories = categories if isinstance(categories, dict) else {}
        labels = categories.get("label")
        listed = labels.get("labels") if isinstance(labels, dict) else None
        names: list[str | None] = []
        for place, one in enumerate(listed if isinstance(listed, list) else []):
            name = text(one.get("name")) if isinstance(one, dict) else None
            record = f"{where}#categories.label[{place}]"
            if name is None:
                self.rows.find("bad-record", "the class has no name", record)
            elif name in names:
                message = f"two classes are called {name!r}; they are read as one"
                self.rows.find("duplicate-class", message, record, "warning", "merged")
            names.append(name)
            if name is None:
                continue
            self.names.setdefault(name)
            known = {key: one[key] for key in ("parent", "attributes") if one.get(key)}
            more = one.get("info")
            known |= more if isinstance(more, dict) else {}
            if known:
                self.class_info.setdefault(name, known)
        others = {key: value for key, value in categories.items() if key != "label"}
        if others:
            self.info.setdefault("datumaro", {}).setdefault("categories", others)
        return names

    def _item(
        self,
        item: dict[str, Any],
        split: str | None,
        near: Path,
        names: list[str | None],
        where: str,
        record: str,
    ) -> None:
        given = item.get("annotations")
        annotations = given if isinstance(given, list) else []
        if not isinstance(given, list):
            message = "the item has no list of annotations"
            self.rows.find("bad-record", message, record, action="read as background")
        name = text(item.get("id"))
        if name is None:
            message = "the item has no id"
            self.rows.find("bad-record", message, record, boxes=len(annotations))
            return
        both = (item.get("image"), item.get("media"))
        media: dict[str, Any] = next((one for one in both if isinstance(one, dict)), {})
        size = media.get("size")
        height, width = size if isinstance(size, list) and len(size) == 2 else (None, None)
        attributes = item.get("attr")
        attributes = dict(attributes) if isinstance(attributes, dict) else {}
        number_ = index(attributes.pop("id")) if "id" in attributes else None
        row = self.rows.image(
            self._file(text(media.get("path")) or name, near),
            record,
            size=(whole(width), whole(height)),
            near=near,
            boxes=len(annotations),
            split=split,
            id=number_,
            extra=attributes,
        )
        if row is None:
            return
        for one in _objects(annotations, record, self.rows):
            self._object(row, one, names)

    def _file(self, name: str, near: Path) -> str:
        """The name with the ending of the file that there is, if it has none."""
        if Path(name).suffix.lower() in IMAGE_SUFFIXES:
            return name
        for suffix in IMAGE_SUFFIXES:
            found = self.rows.places.find(name + suffix, None if self.rows.named else near)
            if found is not None and found[1]:
                return name + suffix
        return name

    def _object(self, row: int, one: _Object, names: list[str | None]) -> None:
        main, record = one.main, one.record
        label = index(main.get("label_id"))
        name = names[label] if label is not None and 0 <= label < len(names) else None
        if name is None:
            shown = main.get("label_id")
            message = f"label_id {shown!r} is not the number of one of {len(names)} classes"
            self.rows.find(
                "unknown-class" if shown is not None else "no-class", message, record, boxes=1
            )
            return
        columns = _columns(main.get("attributes"))
        extra = {key: main[key] for key in ("z_order",) if main.get(key)}
        group = index(main.get("joint_group")) or one.group
        if group:
            extra["group"] = group
        if main.get("type") == "label":
            self.rows.tag(row, name, record, extra=extra, **columns)
            return
        self.shapes = True
        box = self._geometry(one, columns, extra)
        if box is None:
            message = f"the {main.get('type')} has no box, outline or mask that can be read"
            self.rows.find("bad-box", message, record, boxes=1)
            return
        self.rows.label(row, name, box, record, extra=extra, **columns)

    def _geometry(
        self, one: _Object, columns: dict[str, Any], extra: dict[str, Any]
    ) -> tuple[float | None, ...] | None:
        box: tuple[float | None, ...] | None = None
        outlines, turned_box, mask = [], False, None
        for part in one.parts:
            kind = part.get("type")
            if kind == "bbox":
                values = part.get("bbox")
                values = values if isinstance(values, list) and len(values) == 4 else [None] * 4
                x, y, width, height = (number(value) for value in values)
                if x is None or y is None or width is None or height is None:
                    return None
                box = (x, y, x + width, y + height)
            elif kind == "rotated_bbox":
                values = [number(value) for value in part.get("rotated_bbox") or []]
                if len(values) != 5 or None in values:
                    return None
                cx, cy, w, h, degrees = (value or 0.0 for value in values)
                corners = [cx - w / 2, cy - h / 2, cx + w / 2, cy - h / 2]
                corners += [cx + w / 2, cy + h / 2, cx - w / 2, cy + h / 2]
                outlines.append(turned(corners, (cx, cy), degrees))
                turned_box = True
                extra["rotated_bbox"] = part["rotated_bbox"]
            elif kind == "polygon":
                points = outline(part.get("points"))
                if points is None:
                    return None
                outlines.append(points)
            elif kind == "mask":
                if "segmentation" in columns:
                    self._left_out("a second mask of one object", one.record)
                elif not isinstance(part.get("rle"), dict):
                    message = "the mask has no run lengths; the object is read without it"
                    self.rows.find("lost-mask", message, one.record, "warning", "left out")
                else:
                    columns["segmentation"] = part["rle"]
                    mask = mask_of(part["rle"])
            elif kind == "points":
                points = _keypoints(part)
                if points is None:
                    message = "the points are no pairs of numbers; the object is read without them"
                    self.rows.find("bad-value", message, one.record, "warning", "left out")
                elif "keypoints" in columns:
                    self._left_out("a second list of points of one object", one.record)
                else:
                    columns["keypoints"] = points
        if len(one.parts) > 1:
            self._attributes(one)
        if "segmentation" in columns:
            if len(outlines) > turned_box:
                self._left_out("an outline beside a mask of one object", one.record)
            around = None if mask is None else mask_box(mask)
            box = box or (enclosing(outlines) if turned_box else around)
        elif outlines:
            columns["segmentation"] = outlines
        return box or (enclosing(outlines) if outlines else None)

    def _attributes(self, one: _Object) -> None:
        """Name what the other annotations of an object say and its first does not."""
        given = [part.get("attributes") for part in (one.main, *one.parts)]
        main, *others = [value if isinstance(value, dict) else {} for value in given]
        for key in dict.fromkeys(key for other in others for key in other):
            if any(key in other and other[key] != main.get(key) for other in others):
                self._left_out(f"the attribute {key!r} of a part of one object", one.record)

    def _left_out(self, what: str, record: str) -> None:
        self.rows.find("left-out-field", f"{what} is not read", record, "warning", "left out")

    def dataset(self) -> Dataset:
        wanted = self.info.pop("task", None)
        task: Task | None = wanted if wanted in ("classify", "multilabel") else None
        names = list(self.names)
        return self.rows.dataset(
            names, task=None if self.shapes else task, class_info=self.class_info, info=self.info
        )


class _Object:
    """The annotations of one object: the one that stands for it, first of all."""

    __slots__ = ("group", "main", "parts", "record")

    def __init__(self, parts: list[dict[str, Any]], record: str, group: int | None) -> None:
        self.parts, self.record, self.group = parts, record, group
        kinds = ("bbox", "rotated_bbox", "polygon", "mask")
        self.main = next((one for kind in kinds for one in parts if one["type"] == kind), parts[0])


_BOXES = {"bbox", "rotated_bbox"}
_PARTS = _BOXES | {"polygon", "mask", "points"}


def _objects(annotations: list[Any], where: str, rows: Rows) -> Iterator[_Object]:
    """Each object, from annotations that share a group or stand alone."""
    groups: dict[Any, list[tuple[int, dict[str, Any]]]] = {}
    for place, one in enumerate(annotations):
        record = f"{where}[{place}]"
        kind = one.get("type") if isinstance(one, dict) else None
        kind = kind if isinstance(kind, str) else None
        if kind == "label":
            groups[("label", place)] = [(place, one)]
        elif kind in _PARTS:
            group = index(one.get("group")) or 0
            key = (group, index(one.get("label_id"))) if group else ("alone", place)
            groups.setdefault(key, []).append((place, one))
        else:
            message = f"an annotation of type {kind!r} has no box and no class of the picture"
            rows.find("no-box", message, record, "warning", boxes=1)
    for (group, _), members in groups.items():
        parts = [one for _, one in members]
        boxes = sum(one["type"] in _BOXES for one in parts)
        number_ = group if isinstance(group, int) else None
        if len(parts) > 1 and boxes < 2:
            yield from _unless_points(parts, f"{where}[{members[0][0]}]", None, rows)
            continue
        for place, one in members:
            own = number_ or index(one.get("group")) or None
            yield from _unless_points([one], f"{where}[{place}]", own, rows)


def _unless_points(
    parts: list[dict[str, Any]], record: str, group: int | None, rows: Rows
) -> Iterator[_Object]:
    if all(one["type"] == "points" for one in parts):
        rows.find("no-box", "points of no box or outline", record, "warning", boxes=1)
    else:
        yield _Object(parts, record, group)


def _columns(attributes: Any) -> dict[str, Any]:
    """Columns of the table, and the other attributes."""
    left = dict(attributes) if isinstance(attributes, dict) else {}
    columns = take_flags(left)
    return columns | {"attributes": left}


def _keypoints(part: dict[str, Any]) -> list[Any] | None:
    points, seen = part.get("points"), part.get("visibility")
    if not isinstance(points, list) or len(points) % 2:
        return None
    count = len(points) // 2
    shown = seen if isinstance(seen, list) and len(seen) == count else [2] * count
    found = [plain(value) for value in points]
    if None in found:
        return None
    return [
        value
        for place in range(count)
        for value in (found[2 * place], found[2 * place + 1], shown[place])
    ]
