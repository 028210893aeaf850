"""Gather the pictures and labels that a reader finds, one at a time."""

from __future__ import annotations

import json
import math
import sys
from array import array
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import KEPT_OUT, Finding, Severity
from whatwhere.data.formats._files import add_sizes, entries, is_picture, relative
from whatwhere.data.formats._places import Places
from whatwhere.data.formats._values import clean
from whatwhere.data.tables import BOX, IMAGE_COLUMNS, LABEL_COLUMNS, table, tidy_boxes
from whatwhere.errors import ImageError
from whatwhere.images import probe_image
from whatwhere.types import Labels, Task

_JSON = ("segmentation", "keypoints", "attributes")


class Rows:
    """The two tables while a format is read.

    Args:
        name: the format's own name; `extra` is stored under it.
        root: absolute; the data set's folder, that findings and records start from.
        images: absolute; the folder of the pictures if the user named one.
        folders: absolute, inside `root`: where pictures may lie otherwise.
    """

    def __init__(
        self, name: str, root: Path, images: Path | None = None, folders: Sequence[Path] = ()
    ) -> None:
        self.name, self.root = name, root
        self.named = images is not None
        self.places = Places(images, [images]) if images else Places(root, [*folders, root])
        self.findings: list[Finding] = []
        self.row_of: dict[str, int] = {}
        self._images: dict[str, list[Any]] = {name: [] for name in ("path", "width", "height")}
        # Numbers without an object each: of the three, they are most of the memory.
        self._rows, self._boxes = array("L"), array("d")
        self._names: list[str] = []
        self._records: list[str] = []
        # Most labels have nothing in most columns: row numbers and values of those that do.
        self._more: dict[str, tuple[array[int], list[Any]]] = {}
        self._image_more: dict[str, dict[int, Any]] = {}
        self._tags: list[tuple[int, str, str, dict[str, Any]]] = []
        self._absent: dict[int, str] = {}

    def find(
        self,
        kind: str,
        message: str,
        where: str,
        severity: Severity = "error",
        action: str = KEPT_OUT,
        boxes: int = 0,
    ) -> None:
        """Note what is wrong."""
        found = Finding(kind, clean(message), clean(where), severity, action, boxes)
        self.findings.append(found)

    def report_strangers(self, files: Iterable[Path], title: str) -> None:
        """Name files that stand where the format has its own and are not understood."""
        for file in files:
            message = f"the file is damaged, or not {title}'s"
            self.find("damaged-annotation", message, self.where(file))

    def where(self, path: Path) -> str:
        """The path as findings show it."""
        return relative(path, self.root)

    def image(
        self,
        name: str,
        where: str,
        *,
        size: tuple[int | None, int | None] = (None, None),
        near: Path | None = None,
        boxes: int = 0,
        place: tuple[Path, bool] | None = None,
        again: bool = False,
        **columns: Any,
    ) -> int | None:
        """Row of a picture; None, with a finding, if its name leads out of the folder.

        Args:
            name: as it is written.
            where: the record.
            size: width and height if the record tells them.
            near: a folder to look in first.
            boxes: labels that are lost if the picture is kept out.
            place: what `Places.find` gave, if the caller has asked already.
            again: whether a picture may be named more than once.
            columns: further columns of the picture; None is left out; `extra` is an object.
        """
        if near is not None and self.named:
            near = None
        found = place or self.places.find(name, near)
        if found is None:
            message = f"{name!r} is not a picture inside the data set's folder"
            self.find("path-outside", message, where, boxes=boxes)
            return None
        path, there = str(found[0]), found[1]
        row = self.row_of.get(path)
        if row is not None:
            if not again:
                message = f"{self.where(found[0])} is named a second time"
                self.find("duplicate-entry", message, where, "warning", "merged")
            return row
        row = self.row_of[path] = len(self.row_of)
        self._images["path"].append(path)
        self._images["width"].append(size[0] if all(size) else None)
        self._images["height"].append(size[1] if all(size) else None)
        if not there:
            self._absent[row] = where
        self.image_columns(row, **columns)
        return row

    def image_columns(self, row: int, **columns: Any) -> None:
        """Further columns of a picture; None is left out."""
        for column, value in columns.items():
            if value is not None and value != {}:
                value = clean(value) if isinstance(value, str) else value
                self._image_more.setdefault(column, {})[row] = value

    def is_absent(self, row: int) -> bool:
        """Whether the picture is not on disk."""
        return row in self._absent

    def path(self, row: int) -> str:
        """Absolute path of a picture."""
        return str(self._images["path"][row])

    def size(self, row: int) -> tuple[int | None, int | None]:
        """Width and height as far as they were told."""
        return self._images["width"][row], self._images["height"][row]

    def set_size(self, row: int, width: int, height: int) -> None:
        """Width and height, told later."""
        self._images["width"][row], self._images["height"][row] = width, height

    def probe(self, row: int) -> tuple[int | None, int | None]:
        """Width and height of the picture itself; as told where it cannot be read."""
        try:
            info = probe_image(self.path(row))
        except ImageError:
            return self.size(row)
        return info.width, info.height

    def report_unlisted(self, folders: Iterable[Path]) -> None:
        """Say how many pictures in these folders no annotation speaks of."""
        for folder in folders:
            more = [
                one.name
                for one in entries(folder)
                if is_picture(one.name) and one.path not in self.row_of
            ]
            if more:
                message = f"no annotation names {len(more)} pictures here, such as {more[0]}"
                self.find("unlisted-image", message, self.where(folder), "info")

    def label(
        self,
        image: int,
        name: str | None,
        box: Sequence[float | None],
        record: str,
        **columns: Any,
    ) -> None:
        """A label with a box; without a class it is kept out.

        Args:
            image: row of the picture.
            name: the class.
            box: x1, y1, x2, y2 in pixels, continuous.
            record: where it stands; unique.
            columns: further columns; None and {} are left out; JSON columns are objects, and
                `extra` is what goes under the format's name.
        """
        if not name:
            self.find("no-class", "the object has no class", record, boxes=1)
            return
        number = len(self._rows)
        self._rows.append(image)
        self._names.append(sys.intern(clean(name)))
        self._boxes.extend(math.nan if side is None else side for side in box)
        self._records.append(clean(record))
        for column, value in columns.items():
            if value is None or value == {}:
                continue
            kept = clean(value) if isinstance(value, str) else value
            if column == "extra":
                kept = dumps({self.name: value})
            elif column in _JSON:
                kept = dumps(value)
            if column in ("attributes", "extra"):
                # A million labels have a handful of these texts.
                kept = sys.intern(kept)
            rows, values = self._more.setdefault(column, (array("L"), []))
            rows.append(number)
            values.append(kept)

    @property
    def has_tags(self) -> bool:
        """Whether there is a label of a whole picture."""
        return bool(self._tags)

    def tag(self, image: int, name: str | None, record: str, **columns: Any) -> None:
        """A label of the whole picture."""
        if name:
            self._tags.append((image, name, record, columns))
        else:
            self.find("no-class", "the label has no class", record, boxes=1)

    def dataset(
        self,
        names: Sequence[str] = (),
        *,
        task: Task | None = None,
        class_info: Mapping[str, Mapping[str, Any]] | None = None,
        info: Mapping[str, Any] | None = None,
    ) -> Dataset:
        """The data set.

        Labels of whole pictures are its labels if there are no boxes. Otherwise they are
        kept in the pictures' extra as "tags", since a row of a detection set needs a box.

        Args:
            names: the classes that are listed, in their order; others follow by alphabet.
            task: where the rows do not tell; without it, one label a picture is "classify".
            class_info: as in `Dataset`.
            info: as in `Dataset`.
        """
        boxes = bool(self._rows)
        self._report_absent()
        if self._tags and (boxes or task == "detect"):
            self._keep_tags()
        elif self._tags:
            for image, name, record, more in self._tags:
                self.label(image, name, (None,) * 4, record, **more)
        images = self._image_table()
        detect = boxes or (not self._tags and task is None) or task == "detect"
        found = [*names, *sorted(set(self._names) - set(names))]
        ids = {name: number for number, name in enumerate(found)}
        count = len(self._rows)
        columns: dict[str, Any] = {"image": np.array(self._rows, np.uint32)}
        # One column after the other, so that not all are there twice.
        while self._more:
            column, (rows, values) = self._more.popitem()
            full: list[Any] = [None] * count
            for row, value in zip(rows, values, strict=True):
                full[row] = value
            columns[column] = pl.Series(full, dtype=LABEL_COLUMNS[column], strict=False)
        columns["record"] = pl.Series(self._records, dtype=pl.String)
        self._records = []
        sides = np.array(self._boxes, np.float64).reshape(-1, 4)
        columns |= {side: pl.Series(sides[:, place]) for place, side in enumerate(BOX)}
        columns["class_id"] = np.array([ids[name] for name in self._names], np.int32)
        labels = pl.DataFrame(columns, strict=False, infer_schema_length=None)
        if detect:
            labels, faults = tidy_boxes(labels, images)
            self.findings += faults
        else:
            labels = labels.with_columns(pl.lit(None, pl.Float64).alias(side) for side in BOX)
        return Dataset(
            images,
            table(labels, LABEL_COLUMNS),
            Labels(found),
            findings=self.findings,
            root=str(self.root),
            task="detect" if detect else task,
            class_info=class_info,
            info=info,
        )

    def _image_table(self) -> pl.DataFrame:
        rows: dict[str, Any] = dict(self._images)
        for column, values in self._image_more.items():
            given: Any = [values.get(row) for row in range(len(self.row_of))]
            if column == "extra":
                given = [None if one is None else dumps({self.name: one}) for one in given]
            if column in ("labelled", "complete"):
                lists = [
                    None if one is None else [clean(str(word)) for word in one] for one in given
                ]
                given = pl.Series(column, lists, IMAGE_COLUMNS[column])
            rows[column] = given
        images = table(pl.DataFrame(rows, strict=False, infer_schema_length=None), IMAGE_COLUMNS)
        absent = {self.where(Path(self.path(row))) for row in self._absent}
        images, unreadable = add_sizes(images, self.root)
        self.findings += [one for one in unreadable if one.where not in absent]
        return images

    def _report_absent(self) -> None:
        looked = f"; looked in {self.places}"
        if self._absent and len(self._absent) == len(self.row_of) > 1:
            message = f"none of {len(self._absent)} pictures is on disk{looked}"
            first = self._absent[min(self._absent)]
            self.find("missing-image", message, first.partition(":")[0], action="kept")
            return
        for row, where in self._absent.items():
            name = self.where(Path(self.path(row)))
            message = f"{name} is not on disk{looked}"
            self.find("missing-image", message, where, action="kept")

    def _keep_tags(self) -> None:
        extra = self._image_more.setdefault("extra", {})
        for image, name, _, _ in self._tags:
            extra.setdefault(image, {}).setdefault("tags", []).append(name)
        message = (
            f"{len(self._tags)} labels of whole pictures are kept beside the boxes, in the"
            " pictures' extra"
        )
        self.find("image-label", message, self._tags[0][2], "info", "kept")
        more = [(one, _said(columns)) for _, _, one, columns in self._tags]
        more = [(record, words) for record, words in more if words]
        if more:
            words = ", ".join(sorted({word for _, found in more for word in found}))
            message = f"{len(more)} of them say more than a class, which is not kept: {words}"
            self.find("left-out-field", message, more[0][0], "warning", "left out")


def _said(columns: Mapping[str, Any]) -> list[str]:
    """What a label says beside its class; labels of people are what a tool's labels are."""
    return [
        key
        for key, value in columns.items()
        if value is not None
        and value is not False
        and value != {}
        and (key, value) != ("source", "human")
    ]


def dumps(value: Any) -> str:
    """JSON text of a column."""
    found = json.dumps(value, ensure_ascii=False)
    return found if clean(found) == found else json.dumps(value)
