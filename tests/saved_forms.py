"""A small labelled set with boxes, and predictions on it written in each form."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

CLASSES = ("cat", "dog", "red fox")
SIZE = (200, 100)
IDS = (3, 7, 20)


class Found(NamedTuple):
    """One predicted box: picture number, class, score, x1, y1, x2, y2 in pixels."""

    image: int
    name: str
    score: float
    box: tuple[float, float, float, float]


def name_of(image: int) -> str:
    """File name of a picture."""
    return f"{image:06d}.jpg"


def write_truth(folder: Path, images: int = 12, boxes: int = 3, *, empty: bool = False) -> Path:
    """A COCO file without pictures; boxes in steps of a quarter, which every form can hold."""
    rng = np.random.default_rng(5)
    rows: list[dict[str, Any]] = []
    for image in range(images):
        for _ in range(0 if empty else boxes):
            width, height = (rng.integers(60, 200, 2) / 4).tolist()
            x, y = (rng.integers(4, 500) / 4, rng.integers(4, 180) / 4)
            rows.append(
                {
                    "id": len(rows) + 1,
                    "image_id": image,
                    "category_id": int(rng.choice(IDS)),
                    "bbox": [x, y, width, height],
                    "area": width * height,
                    "iscrowd": 0,
                }
            )
    dataset = {
        "images": [
            {"id": image, "file_name": name_of(image), "width": SIZE[0], "height": SIZE[1]}
            for image in range(images)
        ],
        "annotations": rows,
        "categories": [{"id": one, "name": name} for one, name in zip(IDS, CLASSES, strict=True)],
    }
    file = folder / "truth.json"
    file.write_text(json.dumps(dataset))
    return file


def answers(truth: Path) -> list[Found]:
    """A box near each labelled one, some of the wrong class, and some beside them."""
    dataset = json.loads(truth.read_text())
    rng = np.random.default_rng(6)
    found = []
    for place, row in enumerate(dataset["annotations"]):
        x, y, width, height = row["bbox"]
        moved = (rng.integers(-12, 13, 4) / 4).tolist()
        box = (x + moved[0], y + moved[1], x + width + moved[2], y + height + moved[3])
        name = CLASSES[IDS.index(row["category_id"])] if place % 6 else "cat"
        found.append(Found(row["image_id"], name, round(0.02 + 0.9 * rng.random(), 4), box))
        if place % 4 == 0:
            beside = (150.0, 60.25, 190.5, 95.0)
            found.append(Found(row["image_id"], "dog", round(0.5 * rng.random(), 4), beside))
    return found


def _by_image(found: Sequence[Found]) -> dict[int, list[Found]]:
    rows: dict[int, list[Found]] = {}
    for one in found:
        rows.setdefault(one.image, []).append(one)
    return rows


def _sides(box: Sequence[float]) -> tuple[float, ...]:
    return (box[0], box[1], box[2] - box[0], box[3] - box[1])


def as_lines(folder: Path, found: Sequence[Found]) -> Path:
    """Our JSON lines."""
    file = folder / "answers.jsonl"
    records = [
        {
            "image": name_of(image),
            "width": SIZE[0],
            "height": SIZE[1],
            "labels": [],
            "objects": [
                {"name": one.name, "score": one.score, "box": list(one.box)} for one in rows
            ],
        }
        for image, rows in _by_image(found).items()
    ]
    file.write_text("\n".join(map(json.dumps, records)))
    return file


def coco_records(found: Sequence[Found]) -> list[dict[str, Any]]:
    """Records of COCO results."""
    return [
        {
            "image_id": one.image,
            "category_id": IDS[CLASSES.index(one.name)],
            "bbox": list(_sides(one.box)),
            "score": one.score,
        }
        for one in found
    ]


def as_coco(folder: Path, found: Sequence[Found]) -> Path:
    """COCO results."""
    file = folder / "results.json"
    file.write_text(json.dumps(coco_records(found)))
    return file


def as_coco_names(folder: Path, found: Sequence[Found]) -> Path:
    """COCO results with names of pictures for ids, as Ultralytics writes them."""
    file = folder / "named.json"
    records = coco_records(found)
    for record in records:
        record["image_id"] = Path(name_of(record["image_id"])).stem
    file.write_text(json.dumps(records))
    return file


def as_yolo(folder: Path, found: Sequence[Found]) -> Path:
    """Ultralytics' folder of labels, with confidence."""
    place = folder / "predict" / "labels"
    place.mkdir(parents=True)
    for image, rows in _by_image(found).items():
        lines = []
        for one in rows:
            x, y, width, height = _sides(one.box)
            numbers = [(x + width / 2) / SIZE[0], (y + height / 2) / SIZE[1]]
            numbers += [width / SIZE[0], height / SIZE[1], one.score]
            lines.append(" ".join(map(str, [CLASSES.index(one.name), *numbers])))
        (place / name_of(image)).with_suffix(".txt").write_text("\n".join(lines) + "\n")
    return place.parent


def as_csv(folder: Path, found: Sequence[Found]) -> Path:
    """A table of corners."""
    file = folder / "boxes.csv"
    rows = [
        ",".join([name_of(one.image), one.name, str(one.score), *map(str, one.box)])
        for one in found
    ]
    file.write_text("\n".join(["image,label,score,x1,y1,x2,y2", *rows]))
    return file


def as_csv_sides(folder: Path, found: Sequence[Found]) -> Path:
    """A table of left, top, width and height, with other words and signs."""
    file = folder / "sides.csv"
    rows = [
        ";".join([one.name, *map(str, _sides(one.box)), str(one.score), name_of(one.image)])
        for one in found
    ]
    head = "Class;bbox_x;bbox_y;bbox_width;bbox_height;Confidence;File Name"
    file.write_text("\n".join([head, *rows]), encoding="utf-8-sig")
    return file


def as_voc(folder: Path, found: Sequence[Found]) -> Path:
    """VOC's results, one file a class, pixels from 1."""
    place = folder / "Main"
    place.mkdir()
    for name in CLASSES:
        lines = []
        for one in found:
            if one.name == name:
                x1, y1, x2, y2 = one.box
                numbers = [one.score, x1 + 1, y1 + 1, x2, y2]
                lines.append(" ".join([Path(name_of(one.image)).stem, *map(str, numbers)]))
        (place / f"comp4_det_test_{name}.txt").write_text("\n".join(lines) + "\n")
    return place


WRITERS: dict[str, Callable[[Path, Sequence[Found]], Path]] = {
    "lines": as_lines,
    "coco": as_coco,
    "coco names": as_coco_names,
    "yolo": as_yolo,
    "csv": as_csv,
    "csv sides": as_csv_sides,
    "voc": as_voc,
}
