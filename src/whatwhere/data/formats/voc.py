"""Pascal VOC: one XML file a picture.

Layouts: Annotations/, JPEGImages/ and ImageSets/Main/*.txt of the VOC2012 development kit (CVAT
adds a labelmap.txt; ImageNet has folders below Annotations/ and file names without suffix);
XML files beside the pictures, as labelImg writes them; folders train/, valid/ and test/ of
such, as Roboflow writes them; XML files alone, whose pictures are in the folder `images`.

Pixels are counted from 1 and the last one belongs to the box, so x1 and y1 lose 1 in reading
and gain it in writing. A box whose first and last pixel are the same is taken for a slip of
the mouse and kept out. Elements without a column (<source>, <owner>, <pose>, <part> with its
box, <actions>) are in `extra` as {"voc": {...}}, in the file's own pixel counting; <attributes>
as Datumaro and CVAT write them are in `attributes`.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import polars as pl

from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import KEPT_OUT, Finding
from whatwhere.data.formats._files import add_sizes, inside
from whatwhere.data.formats._small_files import read_all
from whatwhere.data.formats._voc_layout import LOOKS_FOR, Found, Layout, Part, find_layout
from whatwhere.data.formats._voc_lists import read_label_map, read_lists
from whatwhere.data.formats._voc_parse import SIDES, Head, Parser
from whatwhere.data.formats._voc_write import write
from whatwhere.data.formats._xml import XmlError
from whatwhere.data.tables import BOX, IMAGE_COLUMNS, LABEL_COLUMNS, table, tidy_boxes
from whatwhere.errors import DataError
from whatwhere.types import Labels, Task

__all__ = ["HOLDS", "LOOKS_FOR", "NAME", "TASKS", "TITLE", "read", "recognise", "write"]

NAME = "voc"
TITLE = "Pascal VOC"
TASKS: frozenset[Task] = frozenset({"detect"})
HOLDS = frozenset(
    ["split", "ignore", "difficult", "truncated", "occluded", "attributes", "extra", "image_extra"]
)


def recognise(path: Path) -> str | None:
    """See `formats`."""
    try:
        layout = find_layout(path)
    except DataError:
        return "several folders with Annotations/"
    return None if layout is None else layout.seen


def read(path: Path, images: Path | None = None) -> Dataset:
    """See `formats`; the folder with Annotations/ may lie up to three levels below `path`.

    `path` may be one XML file, too.
    """
    layout = find_layout(path, images)
    if layout is None:
        raise DataError(f"{path} is not a Pascal VOC data set: looked for {LOOKS_FOR}")
    return _Reader(layout).read()


class _Reader:
    """Gathers rows and findings of one data set."""

    def __init__(self, layout: Layout) -> None:
        self.layout, self.root = layout, layout.root
        self.start = f"{self.root}{os.sep}"
        self.findings: list[Finding] = []
        self.images: dict[str, list[Any]] = {
            name: [] for name in ("path", "width", "height", "split", "extra")
        }
        self.where: list[str] = []
        self.rows: dict[str, int] = {}  # path of the picture -> row
        self.keys: dict[str, int] = {}  # name in the lists -> row
        self.absent: list[int] = []
        self.parser = Parser()
        self.unread, self.first_unread = 0, ""

    def find(self, *args: Any) -> None:
        self.findings.append(Finding(*args))

    def shown(self, path: str) -> str:
        inside = path.startswith(self.start)
        return path[len(self.start) :].replace(os.sep, "/") if inside else path

    def read(self) -> Dataset:
        frames = [frame for part in self.layout.parts for frame in self._part(part)]
        if len(self.absent) == len(self.where) > 1:
            message = f"none of the {len(self.absent)} pictures is on disk: name their folder"
            where = self.where[self.absent[0]]
            self.find("missing-image", message, where, "error", "kept")
        else:
            for row in self.absent:
                message = f"there is no picture {self.shown(self.images['path'][row])}"
                self.find("missing-image", message, self.where[row], "error", "kept")
        if self.unread:
            message = (
                f"{self.unread} XML attributes and texts between elements are not read; the first"
                " stand here"
            )
            self.find("left-out-field", message, self.first_unread, "info", "left out")
        return self._dataset(pl.concat(frames))

    def _part(self, part: Part) -> list[pl.DataFrame]:
        """The annotations of one folder, then its pictures without."""
        pictures = Found(part.pictures, part.deep)
        base = len(str(part.base)) + 1
        failed: set[str] = set()
        frames = []
        place = 0
        for answers in read_all(part.files):
            for file, answer in zip(part.files[place:], answers, strict=False):
                key = file[base:-4]
                if not self._annotation(part, pictures, key, self.shown(file), answer):
                    failed.add(pictures.get(key) or "")
            place += len(answers)
            frames.append(self._boxes(self.parser.take()))
        if part.own:
            self._strays(part, pictures, failed)
        elif len(part.files) > 1:
            count = len(set(pictures.by_path.values()) - self.rows.keys() - failed)
            if count:
                message = f"{count} pictures of the folder have no annotation"
                self.find("missing-annotation", message, str(part.pictures), "info", "left out")
        frames.append(self._boxes(self.parser.take()))
        return frames

    def _strays(self, part: Part, pictures: Found, failed: set[str]) -> None:
        """Pictures without annotation, and what is no picture."""
        for pair in pictures.clashes:
            used, other = pair if pair[1] not in self.rows else pair[::-1]
            message = f"{os.path.basename(used)} has the same name but for its ending"  # noqa: PTH119
            self.find("duplicate-name", message, self.shown(other), "warning", KEPT_OUT)
            failed.add(other)
        if part.pictures != part.base:
            for path in pictures.others:
                self.find("not-an-image", "not a picture", self.shown(path), "info")
        for key, path in sorted(pictures.by_path.items()):
            if path not in self.rows and path not in failed:
                message = "the picture has no annotation file"
                action = "read as background"
                self.find("missing-annotation", message, self.shown(path), "warning", action)
                self._image(part, key, path, Head("", "", "", None), self.shown(path))

    def _image(self, part: Part, key: str, path: str, head: Head, where: str) -> int:
        size = _whole(head.width), _whole(head.height)
        width, height = size if None not in size else (None, None)
        row = len(self.where)
        for name, value in zip(
            self.images, (path, width, height, part.split, head.extra), strict=True
        ):
            self.images[name].append(value)
        self.where.append(where)
        self.rows[path] = row
        self.keys.setdefault(key, row)
        self.keys.setdefault(key.rsplit("/", 1)[-1], row)
        return row

    def _annotation(
        self, part: Part, pictures: Found, key: str, where: str, answer: bytes | OSError
    ) -> bool:
        """Read one annotation; whether it is in the table."""
        if isinstance(answer, OSError):
            reason = answer.strerror or "it cannot be read"
            self.find("damaged-annotation", reason, where, "error", KEPT_OUT)
            return False
        row = len(self.where)
        try:
            head, count = self.parser.head_of(answer, row)
        except XmlError as error:
            self.find("damaged-annotation", str(error), where, "error", KEPT_OUT)
            return False
        path, there = self._picture(part, pictures, key, head)
        fault = None
        if not path:
            message = f"<filename> {head.filename!r} leaves the data set's folder"
            fault = Finding("path-outside", message, where, "error", KEPT_OUT, count)
        elif path in self.rows:
            message = f"its picture has an annotation already, {self.where[self.rows[path]]}"
            fault = Finding("duplicate-entry", message, where, "error", KEPT_OUT, count)
        if fault is not None:
            self.parser.drop(row)
            self.findings.append(fault)
            return False
        if not there:
            self.absent.append(row)
        self._image(part, key, path, head, where)
        if head.unread:
            self.unread += head.unread
            self.first_unread = self.first_unread or where
        return True

    def _picture(self, part: Part, pictures: Found, key: str, head: Head) -> tuple[str, bool]:
        """Where the picture is, or would be, and whether it is; "" if that is no place.

        It is found by the annotation's own name, as the format has it; else by <filename>.
        """
        found = pictures.get(key if part.split is None else f"{part.base.name}/{key}", key)
        if found is not None:
            return pictures.exact.get(head.filename, found), True
        name = head.filename.replace("\\", "/") or f"{key}.jpg"
        place = _join(str(part.pictures), name)
        if place is None:
            return "", False
        found = pictures.get(name, name.rpartition(".")[0] or name)
        if found is not None:
            return found, True
        return (place if "." in name[-6:] else f"{place}.jpg"), False

    def _boxes(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Texts to values; what is not an object with name and box becomes a finding."""
        frame = frame.with_columns(
            pl.col("name").str.strip_chars().fill_null(""),
            *(
                pl.col(name).str.strip_chars().cast(pl.Float64, strict=False).alias(column)
                for name, column in zip(SIDES, BOX, strict=True)
            ),
            *(
                pl.col(name)
                .str.strip_chars()
                .str.to_lowercase()
                .is_in(["1", "true", "yes"])
                .alias(name)
                for name in ("difficult", "truncated", "occluded", "ignore")
            ),
        )
        frame = self._with_records(self._with_corners(frame))
        finite = pl.all_horizontal(pl.col(name).is_finite().fill_null(False) for name in BOX)
        bad = (pl.col("name") == "") | ~finite
        for name, record in frame.filter(bad).select("name", "record").iter_rows():
            if not name:
                self.find("no-class", "the object has no name", record, "error", KEPT_OUT, 1)
            else:
                message = f"the object {name!r} has no box of four numbers"
                self.find("bad-box", message, record, "error", KEPT_OUT, 1)
        # As written for boxes that tidy_boxes refuses, so that it finds the same fault.
        shift = (pl.col("corners").is_null()) & (pl.col("x2") > pl.col("x1"))
        shift = (shift & (pl.col("y2") > pl.col("y1"))).cast(pl.Float64)
        difficult = pl.col("difficult").fill_null(False)
        frame = frame.filter(~bad).with_columns(
            pl.col("x1") - shift,
            pl.col("y1") - shift,
            # <ignore> is ours, see `write`; without it, difficult objects are ignored.
            ignore=pl.coalesce("ignore", "difficult").fill_null(False),
            difficult=difficult & ~pl.col("ignore").fill_null(False),
        )
        frame = frame.with_columns(pl.col("truncated").fill_null(False))
        return _with_pose(frame).select(
            "image",
            "name",
            *BOX,
            *("ignore", "difficult", "truncated", "occluded", "attributes", "extra", "record"),
        )

    def _with_records(self, frame: pl.DataFrame) -> pl.DataFrame:
        """`file:line`; of objects in one line the second is `file#2`."""
        files = pl.Series(self.where, dtype=pl.String).gather(frame["image"])
        frame = frame.with_columns(
            record=pl.concat_str(files, pl.lit(":"), frame["line"].cast(pl.String))
        )
        if frame.height and frame.select(pl.struct("image", "line").is_duplicated().any()).item():
            number = pl.int_range(pl.len()).over("image") + 1
            first = pl.struct("image", "line").is_first_distinct()
            frame = frame.with_columns(
                record=pl.when(first)
                .then("record")
                .otherwise(pl.concat_str(files, pl.lit("#"), number.cast(pl.String)))
            )
        return frame

    @staticmethod
    def _with_corners(frame: pl.DataFrame) -> pl.DataFrame:
        """Exact sides of tiny boxes, where our own writer left them."""
        rows = frame["corners"].is_not_null().arg_true().to_list()
        if not rows:
            return frame
        columns = {name: frame[name].to_list() for name in (*BOX, "corners")}
        for row in rows:
            values = [_number(word) for word in columns["corners"][row].split()]
            if len(values) == 4 and None not in values:
                for name, value in zip(BOX, values, strict=True):
                    columns[name][row] = value
            else:
                columns["corners"][row] = None
        return frame.with_columns(
            *(pl.Series(name, columns[name], pl.Float64) for name in BOX),
            pl.Series("corners", columns["corners"], pl.String),
        )

    def _dataset(self, labels: pl.DataFrame) -> Dataset:
        images = table(self.images, IMAGE_COLUMNS)
        missing = set(self.absent)
        known = pl.Series([row not in missing for row in range(len(self.where))], dtype=pl.Boolean)
        sized, unreadable = add_sizes(images.filter(known), self.root)
        self.findings += unreadable
        if missing:
            images = pl.concat(
                [
                    images.with_row_index("at").filter(~known),
                    sized.with_columns(at=known.arg_true()),
                ],
                how="diagonal",
            ).sort("at")
            images = images.drop("at")
        else:
            images = sized
        if self.layout.lists.is_dir():
            split, faults = read_lists(self.layout.lists, self.root, self.keys)
            self.findings += faults
            values = [split.get(row) or one for row, one in enumerate(self.images["split"])]
            images = images.with_columns(pl.Series("split", values, pl.String))
        listed = read_label_map(self.root / "labelmap.txt")
        seen = labels["name"].unique().to_list()
        names = [*listed, *sorted(set(seen) - set(listed))]
        ids = {name: number for number, name in enumerate(names)}
        labels = labels.with_columns(
            class_id=pl.col("name").replace_strict(ids, return_dtype=pl.Int32)
            if ids
            else pl.lit(None, pl.Int32)
        )
        labels, faults = tidy_boxes(labels.drop("name"), images)
        return Dataset(
            images,
            table(labels, LABEL_COLUMNS),
            Labels(names),
            findings=[*self.findings, *faults],
            root=str(self.root),
            task="detect",
        )


def _with_pose(frame: pl.DataFrame) -> pl.DataFrame:
    """The pose of objects that have nothing else in `extra`; few different ones."""
    poses = frame["pose"].unique().drop_nulls().to_list()
    texts = {
        pose: json.dumps({"voc": {"pose": pose.strip()}}, ensure_ascii=False)
        for pose in poses
        if pose.strip() not in ("", "Unspecified")
    }
    if not texts:
        return frame
    told = pl.col("pose").replace_strict(texts, default=None, return_dtype=pl.String)
    return frame.with_columns(extra=pl.coalesce("extra", told))


def _join(folder: str, name: str) -> str | None:
    """As `_files.inside`, quickly for a name without folders."""
    if "/" not in name and "\0" not in name and ":" not in name and name not in (".", ".."):
        return f"{folder}{os.sep}{name}"
    place = inside(Path(folder), name)
    return None if place is None else str(place)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _whole(text: str) -> int | None:
    value = _number(text)
    return int(value) if value is not None and 0 < value < 2**31 else None
