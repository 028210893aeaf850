"""Read the XML files of CVAT, one picture or track at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from whatwhere.data.dataset import Dataset
from whatwhere.data.formats._cvat_columns import group_of, label_columns, parsed, unread
from whatwhere.data.formats._cvat_labels import OWN, Classes
from whatwhere.data.formats._cvat_xml import (
    SHAPES,
    SIDES,
    all_outside,
    elements,
    geometry,
    skeleton,
)
from whatwhere.data.formats._files import entries, is_picture, split_name
from whatwhere.data.formats._outlines import Box, enclosing, outlines_of
from whatwhere.data.formats._rows import Rows
from whatwhere.data.formats._values import flag, index, number, text, whole
from whatwhere.data.formats._xml import Node, XmlError
from whatwhere.errors import DataError
from whatwhere.images import IMAGE_SUFFIXES

_NO_BOX = {"points", "polyline"}
_IMAGE = {"id", "name", "width", "height", "subset", OWN + "group", OWN + "split"}
_MOST_POINTS = 1000


class Reader:
    """The data set that the files make up.

    Args:
        root: absolute; the data set's folder.
        images: absolute; the folder of the pictures if the user named one.
        name: of the format.
    """

    def __init__(self, root: Path, images: Path | None, name: str) -> None:
        self.root = root
        self.rows = Rows(name, root, images, [root / "images"])
        self.classes = Classes()
        self.ids: dict[int, int] = {}
        self.frames: dict[tuple[int, str | None, int], int] = {}
        self.shapes = False
        self.files = self.count = 0
        self.shared: str | None = None
        self._start(root / "annotations.xml", None, False)

    def _start(self, file: Path, split: str | None, several: bool) -> None:
        """Forget what one file says of all its pictures."""
        self.files += 1
        self.first_row = len(self.rows.row_of)
        self.tasks: dict[str, str] = {}
        self.task_name: str | None = None
        self.split = split
        self.video_size: tuple[int | None, int | None] = (None, None)
        self.made_ids = self.listed = False
        self.strange: dict[tuple[str, str], tuple[int, str]] = {}
        self.folder = file.parent / "images"
        base, below = self.rows.places.limit, file.parent != self.root
        if self.rows.named:
            own = base / (file.parent.name if below else file.stem)
            self.nears = [own / "images", own, base] if several or below else [base]
        elif below:
            self.nears = [file.parent / "images", file.parent]
        else:
            self.nears = [base / "images" / file.stem, base / file.stem] if several else []
            self.nears += [base / "images", base]

    def add(self, file: Path, split: str | None = None, several: bool = False) -> None:
        """Take up a file.

        Args:
            file: absolute, inside the data set's folder.
            split: of its pictures, if it does not tell.
            several: whether there are others. A picture that two of them have is `shared`.
        """
        self._start(file, split, several)
        where = self.rows.where(file)
        try:
            for node in elements(file):
                if node.tag == "meta":
                    self._meta(node, where)
                elif node.tag == "image":
                    self._image(node, where)
                elif node.tag == "track":
                    self._track(node, where)
                elif node.tag not in ("annotations", "version"):
                    self._strange(node, "annotations", f"{where}:{node.line}")
        except XmlError as error:
            if not self.rows.row_of and not several:
                raise DataError(f"{file} is {error}: export it again") from None
            message = f"{error}; what follows is lost"
            self.rows.find("damaged-annotation", message, where)
        except OSError as error:
            raise DataError(f"{file} cannot be read ({error.strerror}): check it") from None
        for (tag, parent), (count, record) in self.strange.items():
            message = f"{count} elements <{tag}> of <{parent}> are not read, this one the first"
            self.rows.find("left-out-field", message, record, "warning", "left out")
        self._other_frames()

    def _strange(self, node: Node, parent: str, record: str) -> None:
        """Count an element that is none of CVAT's; a file may have one in each shape."""
        count, first = self.strange.get((node.tag, parent), (0, record))
        self.strange[node.tag, parent] = count + 1, first

    def _meta(self, meta: Node, where: str) -> None:
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
            self.split = _split(text(owner.value("subset"))) or self.split
            size = owner.child("original_size") or meta.child("original_size")
            if size is not None:
                self.video_size = whole(size.value("width")), whole(size.value("height"))
            labels = owner.child("labels")
            for label in labels.children if labels is not None else []:
                self.classes.read(label)
        self.task_name = meta.value("source") or self.task_name
        # Our own writer's: what the elements above cannot say, and every frame.
        own = [one for one in meta.children if one.tag.startswith(OWN)]
        for one in own:
            value = parsed(one.text)
            if one.tag == OWN + "group" and isinstance(value, str):
                self.task_name = value
            if one.tag == OWN + "split" and (value is None or isinstance(value, str)):
                self.split = value
        for one in own:
            if one.tag == OWN + "frame":
                self.listed = True
                self._listed(one, f"{where}:{one.line}")

    def _listed(self, node: Node, record: str) -> None:
        """A frame that our own writer lists, whether something is seen in it or not."""
        given = node.attributes
        frame, name = index(given.get("number")), text(given.get("name"))
        if frame is None or frame < 0 or name is None:
            self.rows.find("bad-record", "the frame has no number or name", record)
            return
        extra = parsed(given.get("extra", "{}"))
        row = self._picture(
            name,
            record,
            size=(whole(given.get("width")), whole(given.get("height"))),
            split=self.split,
            group=self.task_name,
            id=index(given.get("id")),
            extra=extra if isinstance(extra, dict) else None,
        )
        if row is not None:
            self.frames[self.files, None, frame] = row

    def _picture(self, name: str, record: str, **more: Any) -> int | None:
        """Row of a picture; `Rows.image` has the arguments."""
        number_ = more.pop("id", None)
        row = self.rows.image(
            name, record, place=more.pop("place", None) or self._find(name), **more
        )
        if row is None:
            return None
        if row < self.first_row:
            self.shared = self.shared or self.rows.where(Path(self.rows.path(row)))
        if number_ is not None:
            self.ids[row] = number_
        return row

    def _find(self, name: str, subset: str | None = None) -> tuple[Path, bool] | None:
        """Where a picture of this file lies, or would lie."""
        nears = list(self.nears)
        if subset is not None and re.fullmatch(r"[\w -]+(\.[\w -]+)*", subset):
            nears[:0] = [] if self.rows.named else [self.folder / subset]
        first = None
        for near in nears:
            found = self.rows.places.find(name, near)
            if found is None or found[1]:
                return found
            first = first or found
        return first

    def _image(self, node: Node, where: str) -> None:
        record, given = f"{where}:{node.line}", node.attributes
        count = sum(one.tag in SHAPES or one.tag in ("tag", "skeleton") for one in node.children)
        name = text(given.get("name"))
        if name is None:
            self.rows.find("bad-record", "the picture has no name", record, boxes=count)
            return
        subset = text(given.get("subset"))
        split = given.get(OWN + "split") or _split(subset) or self.split
        more = {key: value for key, value in given.items() if key not in _IMAGE}
        row = self._picture(
            name,
            record,
            place=self._find(name, subset),
            size=(whole(given.get("width")), whole(given.get("height"))),
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
                self.rows.tag(row, name, record, **label_columns(one, self.classes.kinds))
            elif one.tag == "skeleton":
                self._skeleton(row, one, record)
            elif one.tag in SHAPES:
                groups.setdefault(group_of(one, place), []).append((one, record))
            elif one.tag in _NO_BOX:
                self._no_box(one, record)
            else:
                self._strange(one, "image", record)
        for parts in groups.values():
            self._label(row, [one for one, _ in parts], parts[0][1])

    def _records(self, node: Node, where: str) -> Iterator[tuple[Node, str]]:
        """The children of a picture or track, each with a record of its own."""
        self.count += 1
        last = node.line
        for place, one in enumerate(node.children):
            # Not every file has a line for each element.
            own = one.line > last
            record = f"{where}:{one.line}" if own else f"{where}#{self.count}.{place}"
            for strange, parent in unread(one):
                self._strange(strange, parent, record)
            yield one, record
            last = one.line

    def _no_box(self, node: Node, record: str) -> None:
        message = f"a {node.tag} of {node.attributes.get('label')!r} has no box"
        self.rows.find("no-box", message, record, "warning", boxes=1)

    def _skeleton(self, row: int, node: Node, record: str, **more: Any) -> None:
        """One object with key points, and the box around those that are seen."""
        name = node.attributes.get("label", "").strip()
        if name and name not in self.classes.points:
            # Not every file declares the points; then the first skeleton does.
            listed = [one.attributes.get("label", "").strip() for one in node.children]
            points = list(dict.fromkeys(one for one in listed if one))[:_MOST_POINTS]
            self.classes.points[name] = points
            if points:
                self.classes.info.setdefault(name, {}).setdefault("keypoints", points)
        found = skeleton(node, self.classes.points.get(name, []))
        if found is None or found[0] is None:
            self._no_box(node, record)
            return
        self.shapes = True
        columns = self._columns(node, more)
        self.rows.label(row, text(name), found[0], record, keypoints=found[1], **columns)

    def _columns(self, node: Node, more: dict[str, Any]) -> dict[str, Any]:
        columns = label_columns(node, self.classes.kinds) | more
        if flag(node.attributes.get("keyframe")) is False:
            columns["extra"]["keyframe"] = False
        return columns

    def _label(self, row: int, parts: list[Node], record: str, **more: Any) -> None:
        main = parts[0]
        self.shapes = True
        size = self.rows.size(row)
        if main.tag == "mask" and not all(size):
            size = self.rows.probe(row)
        found = [geometry(one.tag, one.attributes, size) for one in parts]
        if any(one is None for one in found):
            message = f"the {main.tag} has no numbers that make one"
            self.rows.find("bad-box", message, record, boxes=1)
            return
        shapes = [one for one in found if one is not None]
        box: Box = shapes[0][0] if len(shapes) == 1 else enclosing([one[0] for one in shapes])
        if main.tag in ("polygon", "mask"):
            given = [number(main.attributes.get(name)) for name in SIDES]
            if None not in given:
                # Our own writer's, where the box is not that around the outline.
                box = tuple(value or 0.0 for value in given)  # type: ignore[assignment]
        outlines = [points for _, shape in shapes for points in outlines_of(shape)]
        segmentation: Any = outlines or None
        if len(shapes) == 1 and isinstance(shapes[0][1], dict):
            segmentation = shapes[0][1]
        if main.tag == "mask" and segmentation is None:
            message = "the size of the picture is not known; the box is read without its mask"
            self.rows.find("lost-mask", message, record, "warning", "left out")
        columns = self._columns(main, more)
        if any(self._columns(one, more) != columns for one in parts[1:]):
            message = "what the parts of one object say differs; that of the first is read"
            self.rows.find("left-out-field", message, record, "warning", "left out")
        for key in ("segmentation", "keypoints"):
            if OWN + key in main.attributes:
                value = parsed(main.attributes[OWN + key])
                if isinstance(value, list) or (key == "segmentation" and isinstance(value, dict)):
                    columns[key] = value
                else:
                    message = f"{OWN}{key} is not what Whatwhere writes"
                    self.rows.find("bad-value", message, record, "warning", "left out")
        columns.setdefault("segmentation", segmentation)
        name = text(main.attributes.get("label"))
        self.rows.label(row, name, box, record, **columns)

    def _track(self, node: Node, where: str) -> None:
        given = node.attributes
        task, subset = given.get("task_id"), text(given.get("subset"))
        track = given.get("id")
        if OWN + "track" in given:
            value = parsed(given[OWN + "track"])
            track = value if value is None or isinstance(value, str) else track
        for one, record in self._records(node, where):
            if one.tag not in SHAPES | _NO_BOX | {"skeleton"}:
                self._strange(one, "track", record)
                continue
            own = one.attributes
            frame = index(own.get("frame"))
            if frame is None or frame < 0:
                message = "the shape of a track has no frame number"
                self.rows.find("bad-record", message, record, boxes=1)
                continue
            if flag(own.get("outside")) or all_outside(one):
                continue
            if one.tag in _NO_BOX:
                one.attributes.setdefault("label", given.get("label", ""))
                self._no_box(one, record)
                continue
            row = self._frame(frame, task, subset, record)
            if row is None:
                continue
            for key in ("label", "source", "group_id"):
                own.setdefault(key, given.get(key, ""))
            if one.tag == "skeleton":
                self._skeleton(row, one, record, track=track)
            else:
                self._label(row, [one], record, track=track)

    def _frame(self, frame: int, task: str | None, subset: str | None, record: str) -> int | None:
        key = (self.files, task, frame)
        if key not in self.frames:
            # CVAT itself writes PNG or, if asked for chunks as they are, JPEG.
            suffixes = (".PNG", ".png", ".jpg", ".JPG", *sorted(IMAGE_SUFFIXES - {".png", ".jpg"}))
            names = [f"frame_{frame:06d}{suffix}" for suffix in suffixes]
            if task is not None and re.fullmatch(r"\d+", task):
                names = [f"task_{task}/{name}" for name in names] + names
            places = [self._find(name, subset) for name in names]
            place = next((one for one in places if one is not None and one[1]), places[0])
            row = self._picture(
                names[0],
                record,
                size=self.video_size,
                place=place,
                split=_split(subset) or self.split,
                group=self.tasks.get(task or "") or self.task_name,
                id=frame if task is None and not self.listed else None,
            )
            if row is None:
                return None
            self.frames[key] = row
        return self.frames[key]

    def _other_frames(self) -> None:
        """Frames on disk in which nothing is seen."""
        own = [task for number_, task, _ in self.frames if number_ == self.files]
        if not own or any(task is not None for task in own):
            return
        for folder in self.nears:
            for one in entries(folder):
                found = re.fullmatch(r"frame_(\d{1,9})\.\w+", one.name, re.I)
                if found and is_picture(one.name) and one.path not in self.rows.row_of:
                    self._frame(int(found[1]), None, None, self.rows.where(folder))

    def dataset(self) -> Dataset:
        """All that was read."""
        # Of several files, each may count its pictures from 0.
        if self.files < 3 or len(set(self.ids.values())) == len(self.ids):
            for row, number_ in self.ids.items():
                self.rows.image_columns(row, id=number_)
        detect = self.shapes or not self.rows.has_tags
        names, info = list(self.classes.names), self.classes.info
        return self.rows.dataset(names, task="detect" if detect else "multilabel", class_info=info)


def _split(subset: str | None) -> str | None:
    if subset is None or subset.lower() == "default":
        return None
    return split_name(subset) or subset
