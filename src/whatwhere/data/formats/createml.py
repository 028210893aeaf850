"""Apple's Create ML: one JSON list of pictures with boxes by their centres.

Source: Apple's documentation of `MLObjectDetector.DataSource`. Coordinates are pixels from
the top left corner: x and y of the centre, width and height. Roboflow writes
`_annotations.createml.json` into train/, valid/ and test/, beside the pictures.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import Finding
from whatwhere.data.formats._files import entries, relative, split_name, unique_names
from whatwhere.data.formats._pictures import Pictures
from whatwhere.data.formats._records import Record, Records, folder_of, same
from whatwhere.data.formats._rows import Rows
from whatwhere.data.formats._values import (
    json_files,
    json_keys,
    load_json,
    number,
    split_order,
    text,
)
from whatwhere.errors import DataError
from whatwhere.images import write_atomic
from whatwhere.types import Task

NAME = "createml"
TITLE = "Create ML"
TASKS: frozenset[Task] = frozenset({"detect"})
HOLDS = frozenset({"split", "extra", "image_extra"})
OWN_EXTRA_ONLY = True
LOOKS_FOR = "a JSON list of pictures whose annotations have a label and coordinates"

_FILE = "_annotations.createml.json"
_PICTURE = ("image", "imagefilename", "imageFilename", "filename")
_OBJECTS = ("annotations", "annotation")
# Keys of Label Studio's tasks, which are lists with "annotations", too.
_FOREIGN = {"data", "annotation_id", "annotator", "completions", "predictions"}


def _is_list(file: Path) -> bool:
    first, keys = json_keys(file)
    if first != "[" or not keys.isdisjoint(_FOREIGN):
        return False
    named = not keys.isdisjoint(_PICTURE) and not keys.isdisjoint(_OBJECTS)
    # A file without any box has no coordinates, so its name or its few keys must do.
    return named and ("coordinates" in keys or file.name == _FILE or keys <= {*_PICTURE, *_OBJECTS})


def _files(path: Path) -> list[Path]:
    """The file itself, those in the folder, and those in folders of splits."""
    found = [file for file in json_files(path) if _is_list(file)]
    if path.is_dir():
        for entry in entries(path):
            if entry.is_dir():
                inner = Path(entry.path, _FILE)
                found += [inner] if inner.is_file() and _is_list(inner) else []
    return sorted(found, key=lambda file: split_order(_split(file, path)))


def recognise(path: Path) -> str | None:
    """See `formats`."""
    return ", ".join(relative(file, path.parent) for file in _files(path)) or None


def read(path: Path, images: Path | None = None) -> Dataset:
    """See `formats`; `path` may be a JSON file, too. Sizes are those of the pictures."""
    files = _files(path)
    if not files:
        raise DataError(f"{path} is not a Create ML data set: looked for {LOOKS_FOR}")
    root = path if path.is_dir() else path.parent
    rows = Rows(NAME, root, images)
    if path.is_dir():
        places = [path, *(Path(one.path) for one in entries(path) if one.is_dir())]
        others = [file for place in places for file in json_files(place) if file.name == _FILE]
        rows.report_strangers([file for file in others if file not in files], TITLE)
    for file in files:
        _add(rows, file, root)
    return rows.dataset(task="detect")


def _split(file: Path, root: Path) -> str | None:
    if file.parent != root:
        return split_name(file.parent.name) or file.parent.name
    # One file out of a data set with splits, or "train.json".
    return split_name(file.parent.name if file.name == _FILE else file.stem)


def _add(rows: Rows, file: Path, root: Path) -> None:
    content, where = load_json(file), rows.where(file)
    if not isinstance(content, list):
        raise DataError(f"{file} is not a list of pictures: it is not Create ML's JSON")
    split = _split(file, root)
    for place, one in enumerate(content):
        record = f"{where}#[{place}]"
        if not isinstance(one, dict):
            message = f"the record is {type(one).__name__}, not an object"
            rows.find("bad-record", message, record)
            continue
        left = dict(one)
        name = next((found for key in _PICTURE if (found := text(left.pop(key, None)))), None)
        given = next((left.pop(key) for key in _OBJECTS if key in left), None)
        objects = given if isinstance(given, list) else []
        if not isinstance(given, list):
            message = "the record has no list of annotations"
            rows.find("bad-record", message, record, action="read as background")
        if name is None:
            rows.find("bad-record", "the record names no picture", record, boxes=len(objects))
            continue
        row = rows.image(
            name, record, near=file.parent, boxes=len(objects), split=split, extra=left
        )
        if row is not None:
            for count, annotation in enumerate(objects):
                _object(rows, row, annotation, f"{record}.{count}")


def _object(rows: Rows, row: int, annotation: Any, record: str) -> None:
    if not isinstance(annotation, dict):
        message = f"the annotation is {type(annotation).__name__}, not an object"
        rows.find("bad-record", message, record, boxes=1)
        return
    left = dict(annotation)
    name, given = text(left.pop("label", None)), left.pop("coordinates", None)
    values = given if isinstance(given, dict) else {}
    x, y, width, height = (number(values.get(key)) for key in ("x", "y", "width", "height"))
    if x is None or y is None or width is None or height is None:
        message = "coordinates have no four numbers x, y, width and height"
        rows.find("bad-box", message, record, boxes=1)
        return
    box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    rows.label(row, name, box, record, extra=left)


def write(dataset: Dataset, folder: Path, pictures: Pictures) -> list[Finding]:
    """See `formats`: as Roboflow does it, and beside the pictures if there are no splits."""
    folders = [folder_of("valid" if one == "val" else one) for one in dataset.images["split"]]
    names = unique_names(dataset.paths, folders)
    targets = [folder / place / name for place, name in zip(folders, names, strict=True)]
    there = pictures.place(dataset.paths, targets)
    records = Records(dataset, NAME)
    contents: dict[str, list[dict[str, Any]]] = {place: [] for place in folders}
    for row, (place, name) in enumerate(zip(folders, names, strict=True)):
        if there[row]:
            objects = [_written(record) for record in records.of(row)]
            one = {"image": name, "annotations": objects}
            contents[place].append(records.image_extra(row) | one)
    for place, content in contents.items():
        write_atomic(folder / place / _FILE, json.dumps(content, ensure_ascii=False))
    return []


def _written(record: Record) -> dict[str, Any]:
    x1, y1, x2, y2 = record.box or (0.0,) * 4
    x, width = _middle(x1, x2)
    y, height = _middle(y1, y2)
    coordinates = {"x": x, "y": y, "width": width, "height": height}
    return record.extra | {"label": record.name, "coordinates": coordinates}


def _middle(low: float, high: float) -> tuple[float, float]:
    """Centre and length such that the same float32 ends come out of them."""
    centre, length = (low + high) / 2, high - low
    for digits in (6, 12):
        x, side = round(centre, digits), round(length, digits)
        if same((x - side / 2, x + side / 2), (low, high)):
            return x, side
    return centre, length
