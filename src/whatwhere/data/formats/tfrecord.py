"""TFRecord files of the TensorFlow object detection API, with label_map.pbtxt.

Source: `TfExampleFields` in object_detection/core/standard_fields.py of the API. A record is
a picture: image/encoded, image/filename, image/width and height, and lists of the same length
such as image/object/bbox/xmin (fractions), image/object/class/text and label. Crowds, groups
and difficult objects are ignored, as the API's evaluators do.

Pictures stay in their file: a path names the bytes there. Check sums are checked. A record
may have features of any name; our writer puts what the API has no feature for, and boxes to
the last digit, into whatwhere/labels and whatwhere/image, as JSON, which others pass over.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl

from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import KEPT_OUT, Finding
from whatwhere.data.formats._files import entries, folders_below, head, inside, relative, split_name
from whatwhere.data.formats._label_files import report_missing, with_sizes
from whatwhere.data.formats._tfrecord_features import Features, checked, exact
from whatwhere.data.formats._tfrecord_names import LabelMap, read_label_map
from whatwhere.data.formats._tfrecord_wire import (
    Feature,
    Record,
    WireError,
    first_length_is_right,
    parse_example,
    records,
)
from whatwhere.data.formats._tfrecord_write import IMAGE_JSON, LABELS_JSON, write
from whatwhere.data.tables import BOX, LABEL_COLUMNS, table, tidy_boxes
from whatwhere.errors import DataError
from whatwhere.images import IMAGE_SUFFIXES, Member
from whatwhere.types import Labels, Task

__all__ = ["HOLDS", "LOOKS_FOR", "NAME", "TASKS", "TITLE", "read", "recognise", "write"]

NAME = "tfrecord"
TITLE = "TFRecord (object detection API)"
TASKS: frozenset[Task] = frozenset({"detect"})
HOLDS = frozenset(
    {"split", "group", "id", "labelled", "complete", "image_extra", "ignore", "difficult"}
    | {"truncated", "occluded", "iscrowd", "area", "score", "source", "track", "segmentation"}
    | {"keypoints", "attributes", "extra"}
)
LOOKS_FOR = "*.tfrecord files with image/... features, beside label_map.pbtxt"

_SIDES = ("xmin", "ymin", "xmax", "ymax")
_FLAGS = ("is_crowd", "group_of", "difficult", "truncated", "occluded")
_READ = {
    *(
        f"image/{name}"
        for name in ("encoded", "format", "filename", "source_id", "width", "height")
    ),
    *(f"image/object/bbox/{side}" for side in _SIDES),
    *(f"image/object/{name}" for name in (*_FLAGS, "area", "class/text", "class/label")),
    # What follows from the rest, or says nothing of the labels.
    "image/key/sha256",
    "image/channels",
    "image/colorspace",
    IMAGE_JSON,
    LABELS_JSON,
}


def _named(name: str) -> bool:
    return (
        re.search(r"\.tfrecords?$|\.record$|\.?(tf)?records?-\d+-of-\d+$", name.lower()) is not None
    )


def _is_file(file: Path) -> bool:
    start = head(file)
    return first_length_is_right(start) and b"image/" in start


def _files(path: Path) -> list[Path]:
    """Files of records; those with a right name and wrong start only beside others."""
    if path.is_file():
        return [path] if _named(path.name) and _is_file(path) else []
    found = [
        Path(entry.path)
        for folder in folders_below(path, 2)
        for entry in entries(folder)
        if _named(entry.name) and entry.is_file()
    ]
    return found if any(map(_is_file, found)) else []


def recognise(path: Path) -> str | None:
    """See `formats`."""
    files = _files(path)
    return f"records of pictures in {relative(files[0], path.parent)}" if files else None


def read(path: Path, images: Path | None = None) -> Dataset:
    """See `formats`; `path` may be one file of records."""
    files = _files(path)
    if not files:
        raise DataError(f"{path} is not a TFRecord data set: looked for {LOOKS_FOR}")
    reader = _Reader(path if path.is_dir() else path.parent, images)
    for file in files:
        reader.add(file)
    return reader.dataset()


def _split_of(file: Path, root: Path) -> str | None:
    """By the file's name, else its folder's."""
    words = re.split(r"[_\-.]", file.name)
    found = next((name for word in words if (name := split_name(word))), None)
    return found or (None if file.parent == root else split_name(file.parent.name))


class _Reader:
    """Gathers rows and findings of all files."""

    def __init__(self, root: Path, images: Path | None) -> None:
        self.root, self.pictures = root, images
        self.findings: list[Finding] = []
        columns = (
            "path",
            "width",
            "height",
            "split",
            "group",
            "id",
            "labelled",
            "complete",
            "extra",
        )
        self.images: dict[str, list[Any]] = {name: [] for name in columns}
        self.labels: dict[str, list[Any]] = {
            name: [] for name in LABEL_COLUMNS if name != "class_id"
        } | {"name": []}
        self.map = LabelMap()
        self.map_files: dict[Path, None] = {}
        self.missing: list[tuple[str, str, int]] = []
        self.missing_paths: set[str] = set()
        self.unread: Counter[str] = Counter()
        self.contradictions: set[tuple[str, int]] = set()

    def find(self, *args: Any) -> None:
        self.findings.append(Finding(*args))

    def _names(self, folder: Path) -> dict[int, str]:
        """Class of each number, by the label map beside the file, or that of the root."""
        for place in (folder, self.root):
            maps = [one for one in entries(place) if one.name.endswith((".pbtxt", ".pbtxt.txt"))]
            if maps:
                file = Path(maps[0].path)
                if file not in self.map_files:
                    self.map_files[file] = None
                    more = read_label_map(file, relative(file, self.root), self.findings)
                    self.map.ids = more.ids | self.map.ids
                    self.map.shown = more.shown | self.map.shown
                break
        return {number: name for name, number in self.map.ids.items()}

    def add(self, file: Path) -> None:
        where, split = relative(file, self.root), _split_of(file, self.root)
        names = self._names(file.parent)
        try:
            for record in records(file):
                fault = record.fault
                if fault is None:
                    try:
                        fault = self._record(file, record, parse_example(record.data), split, names)
                    except WireError as error:
                        fault = f"no Example ({error})"
                if fault is not None:
                    rest = "" if record.data else "; the rest of the file cannot be read"
                    place = f"{where}#{record.number}"
                    self.find("bad-record", f"{fault}{rest}", place, "error", KEPT_OUT)
        except OSError as error:
            self.find("damaged-annotation", f"{error.strerror}", where, "error", KEPT_OUT)

    def _record(
        self,
        file: Path,
        record: Record,
        features: dict[str, Feature],
        split: str | None,
        names: dict[int, str],
    ) -> str | None:
        """Add one picture and its labels; or what is wrong with it."""
        reader = Features(record, features)
        place = f"{relative(file, self.root)}#{record.number}"
        sides = [reader.numbers(f"image/object/bbox/{side}") for side in _SIDES]
        labels, texts = (
            reader.numbers("image/object/class/label"),
            reader.texts("image/object/class/text"),
        )
        count = len(sides[0])
        lengths = {len(one) for one in sides} | {len(one) for one in (labels, texts) if one}
        if lengths != {count} or (count and not labels and not texts):
            return f"its lists have {', '.join(map(str, sorted(lengths)))} objects"
        size = [next(iter(reader.numbers(f"image/{side}")), 0) for side in ("width", "height")]
        known = all(0 < side < 2**31 for side in size)
        if count and not known:
            return "it has boxes, but no image/width and image/height"
        picture = self._picture(file, record, reader, place, count)
        if picture is None:
            return "it has neither a picture nor a name of one"
        width, height = (int(side) if known else None for side in size)
        own = reader.json(IMAGE_JSON, dict)
        source = next(iter(reader.texts("image/source_id")), "")
        number = int(source) if re.fullmatch(r"\d{1,18}", source) else None
        file_name = next(iter(reader.texts("image/filename")), "").replace("\\", "/")
        base = Path(picture).name
        if number is None and source not in ("", file_name, base, Path(base).stem):
            self.unread["image/source_id"] += 1
        image = {
            "path": picture,
            "width": width,
            "height": height,
            "split": checked("split", own.get("split")) or split,
            "group": own.get("group"),
            "id": number,
            "labelled": own.get("labelled"),
            "complete": own.get("complete"),
            "extra": own.get("extra"),
        }
        row = len(self.images["path"])
        for name, column in self.images.items():
            column.append(checked(name, image[name]))
        self._objects(reader, row, count, sides, labels, texts, size, names, place)
        for key in reader.damaged:
            message = f"{key} is no JSON object, so what our writer kept there is lost"
            self.find("bad-value", message, place, "warning", KEPT_OUT)
        self.unread.update(key for key in features if key not in _READ and features[key])
        return None

    def _picture(
        self, file: Path, record: Record, reader: Features, place: str, count: int
    ) -> str | None:
        """The path: bytes in the record, or a file that the record names."""
        name = next(iter(reader.texts("image/filename")), "").replace("\\", "/")
        base = re.sub(r"[\0\r\n]", "_", name.rpartition("/")[2])
        start, end = reader.span("image/encoded")
        if end > start:
            kind = next(iter(reader.texts("image/format")), "").lower() or "jpeg"
            suffix = ".jpg" if kind == "jpeg" else f".{kind}"
            base = base or str(record.number)
            if Path(base).suffix.lower() not in IMAGE_SUFFIXES:
                base += suffix if suffix in IMAGE_SUFFIXES else ".jpg"
            return str(Member(str(file), record.offset + start, (end - start,), base))
        if not base:
            return None
        folders = [self.pictures] if self.pictures else [file.parent, file.parent / "images"]
        folders += [] if self.pictures else [self.root, self.root / "images"]
        places = [one for folder in folders for one in (inside(folder, name), folder / base) if one]
        found = next((one for one in places if one.is_file()), None)
        if found is None:
            found = places[0]
            self.missing.append((base, place, count))
            self.missing_paths.add(str(found))
        return str(found)

    def _objects(
        self,
        reader: Features,
        row: int,
        count: int,
        sides: list[list[float]],
        labels: list[float],
        texts: list[str],
        size: list[float],
        names: dict[int, str],
        place: str,
    ) -> None:
        flags = {name: reader.numbers(f"image/object/{name}") for name in _FLAGS}
        areas = reader.numbers("image/object/area")
        own = reader.json(LABELS_JSON, dict)
        for key, numbers in (*flags.items(), ("area", areas)):
            if reader.count(f"image/object/{key}") and len(numbers) != count:
                self._unequal(f"image/object/{key}", len(numbers), count, place)
        for key, one in own.items():
            if one is not None and not (isinstance(one, list) and len(one) == count):
                amount = len(one) if isinstance(one, list) else 0
                self._unequal(f"{LABELS_JSON}[{key[:40]!r}]", amount, count, place)
        flags = {name: one if len(one) == count else [] for name, one in flags.items()}
        own = {
            name: one for name, one in own.items() if isinstance(one, list) and len(one) == count
        }
        for at in range(count):
            box = [one[at] * size[side % 2] for side, one in enumerate(sides)]
            box = exact(own["box"][at] if "box" in own else None, box, size)
            text = texts[at] if texts else ""
            number = int(labels[at]) if labels and math.isfinite(labels[at]) else -1
            mapped = names.get(number)
            if text and mapped and text != mapped and self.map.shown.get(mapped) != text:
                pair = (text, number)
                if pair not in self.contradictions and len(self.contradictions) < 1000:
                    message = f"class {number} is {mapped!r} in the label map, {text!r} here"
                    self.find("contradicting-ids", message, f"{place}/{at}", "warning", "kept")
                self.contradictions.add(pair)
            name = text.strip() or mapped or f"class {number}"
            raised = {key: bool(one[at]) if one else None for key, one in flags.items()}
            crowd = raised["is_crowd"] or raised["group_of"]
            ignore = bool(crowd or raised["difficult"])
            values: dict[str, Any] = {
                "image": row,
                "name": self.map.shown.get(name, name),
                **dict(zip(BOX, box, strict=True)),
                "ignore": ignore,
                "difficult": raised["difficult"],
                "truncated": raised["truncated"],
                "occluded": raised["occluded"],
                "iscrowd": crowd,
                "area": areas[at] if len(areas) == count else None,
                "record": f"{place}/{at}",
            }
            for key, column in self.labels.items():
                value = own[key][at] if key in own and key not in ("box", *BOX) else None
                value = checked(key, value)
                column.append(values.get(key) if value is None else value)

    def _unequal(self, key: str, found: int, count: int, place: str) -> None:
        message = f"{key} has {found} values that can be read for {count} objects"
        self.find("bad-value", message, place, "warning", "left out")

    def dataset(self) -> Dataset:
        looked = "the records, beside them and in images/"
        self.findings += report_missing(self.missing, len(self.images["path"]), looked)
        for key, count in sorted(self.unread.items())[:100]:
            message = f"the feature {key!r} of {count} records is not read"
            self.find("left-out-field", message, ".", "info", KEPT_OUT)
        images, unreadable = with_sizes(self.images, self.root, self.missing_paths)
        listed = sorted(self.map.ids, key=lambda name: self.map.ids[name])
        order = dict.fromkeys(self.map.shown.get(name, name) for name in listed)
        words = self.labels.pop("name")
        names = [*order, *sorted(set(words) - order.keys())]
        number = {name: place for place, name in enumerate(names)}
        kinds = {name: kind for name, kind in LABEL_COLUMNS.items() if name not in BOX}
        kinds |= dict.fromkeys((*BOX, "score"), pl.Float64())
        rows = pl.DataFrame(
            self.labels | {"class_id": [number[word] for word in words]},
            schema_overrides=kinds,
            strict=False,
        )
        labels, faults = tidy_boxes(rows, images)
        ids = [self.map.ids[name] for name in listed] if len(order) == len(names) else []
        return Dataset(
            images,
            table(labels, LABEL_COLUMNS),
            Labels(names),
            findings=[*self.findings, *unreadable, *faults],
            root=str(self.root),
            task="detect",
            category_ids=ids if len(ids) == len(names) else (),
        )
