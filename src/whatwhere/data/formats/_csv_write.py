"""Write a table of boxes."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import Finding
from whatwhere.data.formats._csv_columns import known_names, normal
from whatwhere.data.formats._files import add_sizes, unique_names
from whatwhere.data.formats._pictures import Pictures
from whatwhere.data.formats._records import Record, Records
from whatwhere.data.tables import FLAGS
from whatwhere.images import write_atomic

_FIRST = ("image", "xmin", "ymin", "xmax", "ymax", "label", "width", "height")


def write(dataset: Dataset, folder: Path, pictures: Pictures) -> list[Finding]:
    """See `formats`: annotations.csv with a header, classes.csv, and images/.

    Columns beyond picture, box, class and size are there if a label has something in them.
    """
    images, findings = add_sizes(dataset.images, Path(dataset.root))
    names = unique_names(dataset.paths)
    there = pictures.place(dataset.paths, [folder / "images" / name for name in names])
    records = Records(dataset, "csv_boxes")
    sizes = list(images.select("width", "height").iter_rows())
    rows: list[dict[str, Any]] = []
    for row, name in enumerate(names):
        if not there[row]:
            continue
        image = records.images[row]
        known = {"image": f"images/{name}", "width": sizes[row][0], "height": sizes[row][1]}
        known |= {"split": image["split"], "group": image["group"], "image_id": image["id"]}
        known = {key: value for key, value in known.items() if value is not None}
        labels = records.of(row)
        rows += [known | _row(label) for label in labels] or [known]
    found = dict.fromkeys(key for one in rows for key in one)
    columns = [*_FIRST, *(key for key in found if key not in _FIRST)]
    write_atomic(folder / "annotations.csv", _text([columns, *_cells(rows, columns)]))
    listed = [[name, number] for number, name in enumerate(dataset.names)]
    write_atomic(folder / "classes.csv", _text(listed))
    return findings


def _row(label: Record) -> dict[str, Any]:
    x1, y1, x2, y2 = (_plain(side) for side in label.box or (0.0,) * 4)
    row: dict[str, Any] = {"xmin": x1, "ymin": y1, "xmax": x2, "ymax": y2, "label": label.name}
    row |= dict.fromkeys(label.flags, 1)
    if "iscrowd" in label.flags and "ignore" not in label.flags:
        row["ignore"] = 0
    row |= label.values
    for key in ("segmentation", "keypoints", "attributes"):
        value = getattr(label, key)
        if value:
            row[key] = json.dumps(value, ensure_ascii=False)
    known = known_names()
    for key, value in label.extra.items():
        if normal(key) not in known or key in FLAGS:
            row.setdefault(key, value if isinstance(value, str) else json.dumps(value))
    return row


def _plain(side: float) -> float | int:
    return int(side) if side.is_integer() else side


def _cells(rows: list[dict[str, Any]], columns: list[str]) -> list[list[Any]]:
    return [[row.get(column, "") for column in columns] for row in rows]


def _text(rows: list[list[Any]]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue()
