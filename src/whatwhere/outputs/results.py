"""Predictions as files for other programs: JSON lines, CSV and COCO; `geojson` has maps.

Writers take predictions and failures one by one, so that the number of pictures does not
matter; only COCO's form and maps keep one short record a picture until their end.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, ClassVar, Protocol, TextIO

from whatwhere.errors import DataError, UsageError
from whatwhere.runtime.predictor import Failure
from whatwhere.types import Prediction

CSV_COLUMNS = (
    *("image", "width", "height", "name", "score", "x1", "y1", "x2", "y2"),
    *("object_label", "object_label_score", "error"),
)


class ResultWriter(Protocol):
    """Writes results to an open text file; `close` ends the document, not the file."""

    suffix: ClassVar[str]

    def write(self, item: Prediction | Failure) -> None: ...

    def close(self) -> None: ...


def json_line(item: Prediction | Failure) -> str:
    """One JSON object without a line break, as `predict --json` prints it.

    A file name that is not valid Unicode keeps its odd bytes as lone surrogate escapes.
    """
    record = item.to_dict()
    line = json.dumps(record, ensure_ascii=False)
    try:
        line.encode()
    except UnicodeEncodeError:
        return json.dumps(record)
    return line


class JsonLines:
    """One JSON object a line: `Prediction.to_dict`, or `image` and `error`."""

    suffix: ClassVar[str] = ".jsonl"

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, item: Prediction | Failure) -> None:
        self._file.write(json_line(item) + "\n")

    def close(self) -> None:
        self._file.flush()


class Csv:
    """One row a label or object, columns `CSV_COLUMNS`, UTF-8.

    Labels of the whole picture have no box. A picture without any gives one row with its
    size only, an unreadable one a row with its error.

    Args:
        more: the file has its heading and goes on.
    """

    suffix: ClassVar[str] = ".csv"

    def __init__(self, file: TextIO, *, more: bool = False) -> None:
        self._file = file
        self._rows = csv.DictWriter(file, CSV_COLUMNS, restval="", lineterminator="\n")
        if not more:
            self._rows.writeheader()

    def write(self, item: Prediction | Failure) -> None:
        if isinstance(item, Failure):
            self._rows.writerow(item.to_dict())
            return
        record = item.to_dict()
        picture = {key: record[key] for key in ("image", "width", "height")}
        if not record["labels"] and not record["objects"]:
            self._rows.writerow(picture)
        for row in record["labels"]:
            self._rows.writerow(picture | row)
        for row in record["objects"]:
            corners = dict(zip(("x1", "y1", "x2", "y2"), row["box"], strict=True))
            best = row["labels"][0] if row["labels"] else {"name": "", "score": ""}
            self._rows.writerow(
                picture
                | {"name": row["name"], "score": row["score"]}
                | corners
                | {"object_label": best["name"], "object_label_score": best["score"]}
            )

    def close(self) -> None:
        self._file.flush()


@dataclass(frozen=True, slots=True)
class CocoIds:
    """The ids that a COCO annotation file gives to pictures and classes.

    Args:
        images: id by file name, with and without folders; None where two pictures share it.
        categories: id by class name.
        source: the file, for messages.
    """

    images: Mapping[str, int | None]
    categories: Mapping[str, int]
    source: str

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> CocoIds:
        """The ids in an annotation file.

        Raises:
            DataError: it cannot be read or has no pictures and categories.
        """
        try:
            document = json.loads(Path(path).read_text(encoding="utf-8"))
            images: dict[str, int | None] = {}
            for row in document["images"]:
                for name in {str(row["file_name"]), PurePath(row["file_name"]).name}:
                    images[name] = None if name in images else int(row["id"])
            categories = {str(row["name"]): int(row["id"]) for row in document["categories"]}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{os.fspath(path)} is not a COCO annotation file"
                f" ({type(error).__name__}: {error}): give one with images and categories"
            ) from error
        return cls(images, categories, os.fspath(path))

    def image(self, name: str | None) -> int:
        """Id of a picture, by its path or else its file name.

        Raises:
            UsageError: it is not in the file, or only an ambiguous file name is.
        """
        path = PurePath(name or "")
        tails = [PurePath(*path.parts[start:]).as_posix() for start in range(len(path.parts))]
        for tail in tails:
            found = self.images.get(tail)
            if found is not None:
                return found
        if path.name in self.images:
            raise UsageError(
                f"{self.source} has several pictures called {path.name}:"
                " predict from the folder that its names start in"
            )
        raise UsageError(f"{name} is not in {self.source}: predict the pictures it lists")

    def category(self, name: str) -> int:
        """Id of a class.

        Raises:
            UsageError: the file has no such class.
        """
        if name not in self.categories:
            raise UsageError(
                f"{self.source} has no category {name!r}, which the model predicts:"
                " use a model with its classes"
            )
        return self.categories[name]


class Coco:
    """Boxes in COCO's form (https://cocodataset.org/#format-results): x, y, width, height.

    With the ids of an annotation file: a results file, an array that COCO tools score
    against that file. Without: an annotation file of its own with `images`, `categories` and
    `annotations`, each with its `score`; pictures are numbered from 1 in their order.

    Args:
        names: classes of the model; category ids count from 1 in this order.
        ids: of an annotation file, or None.
    """

    suffix: ClassVar[str] = ".json"

    def __init__(self, file: TextIO, names: Sequence[str], ids: CocoIds | None = None) -> None:
        self._file = file
        self._names = tuple(names)
        self._number = {name: position + 1 for position, name in enumerate(names)}
        self._ids = ids
        self._images: list[dict[str, Any]] = []
        self._boxes = 0
        if ids is not None:
            for name in names:
                ids.category(name)
        file.write('{"annotations": [' if ids is None else "[")

    def write(self, item: Prediction | Failure) -> None:
        if isinstance(item, Failure):
            return  # said on stderr; a picture without boxes is what COCO can say of it
        image = len(self._images) + 1
        if self._ids is None:
            row = {"id": image, "file_name": item.image, "width": item.width, "height": item.height}
            self._images.append(row)
        else:
            image = self._ids.image(item.image)
        for record in item.to_dict()["objects"]:
            x1, y1, x2, y2 = record["box"]
            name = record["name"]
            category = self._number[name] if self._ids is None else self._ids.category(name)
            self._boxes += 1
            box = [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)]
            entry = {"image_id": image, "category_id": category, "bbox": box}
            entry |= {"score": record["score"]}
            if self._ids is None:
                area = round(box[2] * box[3], 2)
                entry |= {"id": self._boxes, "area": area, "iscrowd": 0}
            self._file.write(("," if self._boxes > 1 else "") + "\n" + json.dumps(entry))

    def close(self) -> None:
        if self._ids is not None:
            self._file.write("\n]\n")
        else:
            categories = [{"id": self._number[name], "name": name} for name in self._names]
            images, classes = json.dumps(self._images), json.dumps(categories)
            self._file.write(f'\n],\n"images": {images},\n"categories": {classes}}}\n')
        self._file.flush()


FORMATS = ("jsonl", "csv", "coco", "geojson")


def open_writer(
    format: str,
    file: TextIO,
    *,
    names: Sequence[str] = (),
    ids: CocoIds | None = None,
    more: bool = False,
) -> ResultWriter:
    """The writer of a format.

    Args:
        format: one of `FORMATS`.
        file: open for text, UTF-8, without newline translation.
        names, ids: as in `Coco`.
        more: as in `Csv`.

    Raises:
        UsageError: there is no such format.
        MissingExtraError: GeoJSON is asked for, and rasterio is not installed.
    """
    if format == "jsonl":
        return JsonLines(file)
    if format == "csv":
        return Csv(file, more=more)
    if format == "coco":
        return Coco(file, names, ids)
    if format == "geojson":
        from whatwhere.outputs.geojson import GeoJson

        return GeoJson(file, names)
    raise UsageError(f"unknown format {format!r}: choose one of {', '.join(FORMATS)}")
