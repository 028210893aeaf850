"""CVAT XML 1.1: pictures with shapes, or a video with tracks.

Source: docs.cvat.ai, "CVAT for images 1.1" and "CVAT for video 1.1". Coordinates are pixels
from 0; boxes and ellipses are turned clockwise about their middle. Polygons of one class and
`group_id` are one object, as CVAT's own export to COCO has it. Of a video the XML has every
frame in which an object is seen (`outside` is 0); frames are called frame_000000.PNG, as CVAT
exports them, whether they are on disk or not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from whatwhere.data.dataset import Dataset
from whatwhere.data.formats._cvat_write import OWN, write
from whatwhere.data.formats._cvat_xml import SHAPES, elements, geometry
from whatwhere.data.formats._files import entries, head, relative, split_name
from whatwhere.data.formats._flags import take_flags
from whatwhere.data.formats._outlines import Box, enclosing, outlines_of
from whatwhere.data.formats._rows import Rows
from whatwhere.data.formats._values import flag, index, number, plain, text, whole
from whatwhere.data.formats._xml import Node, XmlError
from whatwhere.errors import DataError
from whatwhere.types import Task

__all__ = ["HOLDS", "LOOKS_FOR", "NAME", "TASKS", "TITLE", "read", "recognise", "write"]

NAME = "cvat"
TITLE = "CVAT"
TASKS: frozenset[Task] = frozenset({"multilabel", "detect"})
HOLDS = frozenset(
    {"split", "group", "id", "ignore", "difficult", "truncated", "occluded", "iscrowd", "score"}
    | {"source", "track", "segmentation", "attributes", "extra", "image_extra", "class_info"}
)
OWN_EXTRA_ONLY = True
LOOKS_FOR = "an XML file whose root is <annotations>"

_SOURCES = {"manual": "human", "auto": "model", "semi-auto": "verified"}
_NO_BOX = {"points", "polyline", "skeleton"}
_IMAGE = {"id", "name", "width", "height", "subset", OWN + "group", OWN + "split"}


def _is_cvat(file: Path) -> bool:
    start = head(file, 1 << 14)
    if re.search(rb"<annotations[\s>]", start) is None:
        return False
    return re.search(rb"<(version|meta|image|track)[\s>/]", start) is not None


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix.lower() == ".xml" and _is_cvat(path) else []
    # A folder with many XML files is of another format; the first few tell.
    names = [one for one in entries(path) if one.name.lower().endswith(".xml") and one.is_file()]
    files = [Path(one.path) for one in names]
    return (
        [file for file in files if _is_cvat(file)]
        if files[:3] and any(map(_is_cvat, files[:3]))
        else []
    )


def recognise(path: Path) -> str | None:
    """See `formats`."""
    files = _files(path)
    if not files:
        return None
    return f"<annotations> in {', '.join(relative(file, path.parent) for file in files)}"


def read(path: Path, images: Path | None = None) -> Dataset:
    """See `formats`; `path` may be the XML file, too."""
    files = _files(path)
    if not files:
        raise DataError(f"{path} is not a CVAT data set: looked for {LOOKS_FOR}")
    if len(files) > 1:
        names = ", ".join(relative(file, path) for file in files)
        raise DataError(f"{path} holds {len(files)} CVAT files: give one of {names}")
    root = path if path.is_dir() else path.parent
    reader = _Reader(root, images)
    reader.add(files[0])
    return reader.dataset()


class _Reader:
    def __init__(self, root: Path, images: Path | None) -> None:
        self.root = root
        self.rows = Rows(NAME, root, images, [root / "images"])
        self.class_info: dict[str, dict[str, Any]] = {}
        self.names: dict[str, None] = {}
        self.kinds: dict[tuple[str, str], str] = {}
        self.tasks: dict[str, str] = {}
        self.task_name: str | None = None
        self.video_size: tuple[int | None, int | None] = (None, None)
        self.frames: dict[tuple[str | None, int], int] = {}
        self.made_ids = False
        self.shapes = False
        self.count = 0

    def add(self, file: Path) -> None:
        where = self.rows.where(file)
        try:
            for node in elements(file):
                if node.tag == "meta":
                    self._meta(node)
                elif node.tag == "image":
                    self._image(node, where)
                elif node.tag == "track":
                    self._track(node, where)
        except XmlError as error:
            if not self.rows.row_of:
                raise DataError(f"{file} is {error}: export it again") from None
            message = f"{error}; what follows is lost"
            self.rows.find("damaged-annotation", message, where)
        except OSError as error:
            raise DataError(f"{file} cannot be read ({error.strerror}): check it") from None
        self._other_frames()

    def _meta(self, meta: Node) -> None:
        self.made_ids = meta.child(OWN + "ids") is not None
        for owner in meta.children:
            if owner.tag not in ("task", "project", "job"):
                continue
            tasks = owner.child("tasks")
            for task in [owner] if tasks is None else tasks.children:
                number_, name = task.value("id"), task.value("name")
                if number_ and name:
                    self.tasks[number_] = name
            self.task_name = owner.value("name") or owner.value("source") or self.task_name
            size = owner.child("original_size") or meta.child("original_size")
            if size is not None:
                self.video_size = whole(size.value("width")), whole(size.value("height"))
            labels = owner.child("labels")
            for label in labels.children if labels is not None else []:
                self._class(label)
        self.task_name = meta.value("source") or self.task_name

    def _class(self, label: Node) -> None:
        name = label.value("name")
        if not name:
            return
        self.names.setdefault(name)
        known: dict[str, Any] = {}
        if color := label.value("color"):
            known["color"] = color
        known |= _object(label.value(OWN + "info"))
        if known:
            self.class_info[name] = known
        declared = label.child("attributes")
        for one in declared.children if declared is not None else []:
            self.kinds[name, one.value("name") or ""] = one.value("input_type") or ""

    def _image(self, node: Node, where: str) -> None:
        record, given = f"{where}:{node.line}", node.attributes
        count = sum(one.tag in SHAPES or one.tag == "tag" for one in node.children)
        name = text(given.get("name"))
        if name is None:
            self.rows.find("bad-record", "the picture has no name", record, boxes=count)
            return
        subset = text(given.get("subset"))
        split = given.get(OWN + "split")
        if split is None and subset is not None and subset.lower() != "default":
            split = split_name(subset) or subset
        near = self._folder(subset)
        more = {key: value for key, value in given.items() if key not in _IMAGE}
        row = self.rows.image(
            name,
            record,
            size=(whole(given.get("width")), whole(given.get("height"))),
            near=near,
            boxes=count,
            split=split,
            group=given.get(OWN + "group"),
            id=None if self.made_ids else index(given.get("id")),
            extra=more,
        )
        if row is None:
            return
        groups: dict[Any, list[tuple[Node, str]]] = {}
        for place, (one, record) in enumerate(self._records(node, where)):
            if one.tag == "tag":
                name = text(one.attributes.get("label"))
                self.rows.tag(row, name, record, **self._columns(one))
            elif one.tag in SHAPES:
                groups.setdefault(_group(one, place), []).append((one, record))
            elif one.tag in _NO_BOX:
                message = f"a {one.tag} of {one.attributes.get('label')!r} has no box"
                self.rows.find("no-box", message, record, "warning", boxes=1)
        for parts in groups.values():
            self._label(row, [one for one, _ in parts], parts[0][1])

    def _records(self, node: Node, where: str) -> Iterator[tuple[Node, str]]:
        """The children of a picture or track, each with a record of its own."""
        self.count += 1
        last = node.line
        for place, one in enumerate(node.children):
            # Not every file has a line for each element.
            own = one.line > last
            yield one, f"{where}:{one.line}" if own else f"{where}#{self.count}.{place}"
            last = one.line

    def _folder(self, subset: str | None) -> Path | None:
        """Where a project's export has the pictures of a subset."""
        if subset is None or not re.fullmatch(r"[\w -]+(\.[\w -]+)*", subset):
            return None
        return self.root / "images" / subset

    def _label(self, row: int, parts: list[Node], record: str, **more: Any) -> None:
        main = parts[0]
        self.shapes = True
        size = self.rows.size(row)
        found = [geometry(one.tag, one.attributes, size) for one in parts]
        if any(one is None for one in found):
            message = f"the {main.tag} has no numbers that make one"
            self.rows.find("bad-box", message, record, boxes=1)
            return
        shapes = [one for one in found if one is not None]
        box: Box = shapes[0][0] if len(shapes) == 1 else enclosing([one[0] for one in shapes])
        if main.tag in ("polygon", "mask"):
            given = [number(main.attributes.get(name)) for name in ("xtl", "ytl", "xbr", "ybr")]
            if None not in given:
                # Our own writer's, where the box is not that around the outline.
                box = tuple(value or 0.0 for value in given)  # type: ignore[assignment]
        outlines = [points for _, shape in shapes for points in outlines_of(shape)]
        segmentation: Any = outlines or None
        if len(shapes) == 1 and isinstance(shapes[0][1], dict):
            segmentation = shapes[0][1]
        columns = self._columns(main) | more
        name = text(main.attributes.get("label"))
        self.rows.label(row, name, box, record, segmentation=segmentation, **columns)

    def _columns(self, node: Node) -> dict[str, Any]:
        """Flags, source, attributes and extra of a shape or tag."""
        given, name = node.attributes, node.attributes.get("label", "").strip()
        attributes: dict[str, Any] = {}
        typed: dict[str, Any] = {}
        for one in node.children:
            key = one.attributes.get("name")
            if one.tag != "attribute" or key is None:
                continue
            if one.attributes.get(OWN + "type") == "json":
                try:
                    typed[key] = json.loads(one.text)
                    continue
                except ValueError:
                    attributes[key] = one.text
                    continue
            attributes[key] = one.text if one.attributes.get(OWN + "type") else one.text.strip()
        columns = take_flags(attributes, words=True)
        for key, value in attributes.items():
            typed[key] = _typed(value, self.kinds.get((name, key), ""))
        occluded = flag(given.get("occluded"))
        columns["occluded"] = True if occluded else columns.get("occluded")
        columns["source"] = _SOURCES.get(given.get("source", ""))
        extra: dict[str, Any] = {}
        for key in ("z_order", "group_id"):
            value = index(given.get(key))
            if value and not (key == "group_id" and given.get(OWN + "part") == given.get(key)):
                extra[key] = value
        rotated = node.tag == "box" and number(given.get("rotation")) not in (None, 0.0)
        if rotated or node.tag in ("ellipse", "cuboid"):
            left = {"label", "occluded", "source", "z_order", "group_id"}
            left |= {"frame", "outside", "keyframe"}
            kept = {key: value for key, value in given.items() if key not in left}
            extra[node.tag] = kept
        return columns | {"attributes": typed, "extra": extra}

    def _track(self, node: Node, where: str) -> None:
        given = node.attributes
        task = given.get("task_id")
        group = self.tasks.get(task or "") or self.task_name
        subset = text(given.get("subset"))
        for one, record in self._records(node, where):
            frame = index(one.attributes.get("frame"))
            if one.tag not in SHAPES | _NO_BOX:
                continue
            if frame is None or frame < 0:
                message = "the shape of a track has no frame number"
                self.rows.find("bad-record", message, record, boxes=1)
                continue
            if flag(one.attributes.get("outside")):
                continue
            if one.tag in _NO_BOX:
                message = f"a {one.tag} of {given.get('label')!r} has no box"
                self.rows.find("no-box", message, record, "warning", boxes=1)
                continue
            row = self._frame(frame, task, group, subset, record)
            if row is None:
                continue
            one.attributes.setdefault("label", given.get("label", ""))
            one.attributes.setdefault("source", given.get("source", ""))
            keyframe = flag(one.attributes.get("keyframe"))
            columns = {"track": given.get("id")}
            extra = self._columns(one)["extra"]
            if keyframe is not None:
                extra["keyframe"] = keyframe
            self._label(row, [one], record, extra=extra, **columns)

    def _frame(
        self, frame: int, task: str | None, group: str | None, subset: str | None, record: str
    ) -> int | None:
        key = (task, frame)
        if key not in self.frames:
            near = self._folder(subset)
            names = [f"frame_{frame:06d}{suffix}" for suffix in (".PNG", ".png", ".jpg", ".JPG")]
            if task is not None and re.fullmatch(r"\d+", task):
                names = [f"task_{task}/{name}" for name in names] + names
            asked = None if self.rows.named else near
            places = [self.rows.places.find(name, asked) for name in names]
            place = next((one for one in places if one is not None and one[1]), places[0])
            split = None
            if subset is not None and subset.lower() != "default":
                split = split_name(subset) or subset
            row = self.rows.image(
                names[0],
                record,
                size=self.video_size,
                place=place,
                split=split,
                group=group,
                id=frame if task is None else None,
            )
            if row is None:
                return None
            self.frames[key] = row
        return self.frames[key]

    def _other_frames(self) -> None:
        """Frames on disk in which nothing is seen."""
        if not self.frames or any(task is not None for task, _ in self.frames):
            return
        for folder in list(self.rows.places.folders):
            for one in entries(folder):
                found = re.fullmatch(r"frame_(\d{1,9})\.(png|jpe?g)", one.name, re.I)
                if found and one.path not in self.rows.row_of:
                    self._frame(int(found[1]), None, self.task_name, None, self.rows.where(folder))

    def dataset(self) -> Dataset:
        detect = self.shapes or not self.rows.has_tags
        names, task = list(self.names), "detect" if detect else "multilabel"
        return self.rows.dataset(names, task=task, class_info=self.class_info)  # type: ignore[arg-type]


def _group(node: Node, place: int) -> Any:
    """What shapes of one object have in common; a number if it stands alone."""
    given = node.attributes
    group = index(given.get(OWN + "part")) or index(given.get("group_id"))
    if node.tag != "polygon" or not group:
        return place
    return given.get("label"), group


def _typed(value: str, kind: str) -> Any:
    """The value as the kind of field that it was typed into."""
    if kind == "checkbox":
        found = flag(value)
        return value if found is None else found
    if kind == "number":
        amount = plain(value)
        return value if amount is None else amount
    return value


def _object(value: str | None) -> dict[str, Any]:
    try:
        found = json.loads(value or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
