"""Build the training set of the shipped detector `objects-lite`.

Pictures come from several labelled sets; the classes are COCO's 12 super-categories. Where
people labelled everything, their boxes are used alone. Where they labelled some classes, or
none, a teacher fills the gaps: its confident boxes become labels, its doubtful ones regions
to ignore, so that they teach neither object nor background.

    python recipes/objects_lite_data.py SHARED_DATA OUT
    whatwhere train OUT --task detect --budget 55m --size 320 --out runs/objects-lite
    python recipes/objects_lite_ship.py runs/objects-lite SHARED_DATA

COCO val 2017 pictures (`coco128/images/val2017`) are never read here: they are the test.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

import whatwhere as ww
from whatwhere.images import read_image
from whatwhere.runtime.decode import nms
from whatwhere.transforms import resize
from whatwhere.types import Boxes, box_iou

SUPER = (
    "person", "vehicle", "outdoor", "animal", "accessory", "sports",
    "kitchen", "food", "furniture", "electronic", "appliance", "indoor",
)  # fmt: skip
# COCO's 80 classes in the order of their ids, by super-category.
GROUPS = {
    "person": "person",
    "vehicle": "bicycle,car,motorcycle,airplane,bus,train,truck,boat",
    "outdoor": "traffic light,fire hydrant,stop sign,parking meter,bench",
    "animal": "bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe",
    "accessory": "backpack,umbrella,handbag,tie,suitcase",
    "sports": "frisbee,skis,snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,"
    "surfboard,tennis racket",
    "kitchen": "bottle,wine glass,cup,fork,knife,spoon,bowl",
    "food": "banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake",
    "furniture": "chair,couch,potted plant,bed,dining table,toilet",
    "electronic": "tv,laptop,mouse,remote,keyboard,cell phone",
    "appliance": "microwave,oven,toaster,sink,refrigerator",
    "indoor": "book,clock,vase,scissors,teddy bear,hair drier,toothbrush",
}
# Names that Pascal VOC spells in its own way.
VOC = {
    "aeroplane": "airplane", "diningtable": "dining table", "motorbike": "motorcycle",
    "pottedplant": "potted plant", "sofa": "couch", "tvmonitor": "tv",
}  # fmt: skip
COARSE = {fine: name for name, fines in GROUPS.items() for fine in fines.split(",")}
CONFIDENT, DOUBTFUL = 0.35, 0.12


@dataclass
class Picture:
    """A picture and its boxes as (super-category, box, ignore)."""

    name: str
    path: Path
    boxes: list[tuple[str, NDArray[np.float32], bool]] = field(default_factory=list)
    # Fine classes that people looked for, so that the teacher need not; None for all.
    seen: set[str] | None = field(default_factory=set)
    validation: bool = False


class Teacher:
    """YOLOX-nano: 416 px, BGR 0..255, letterboxed to the top left with 114."""

    def __init__(self, file: Path) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 2
        self.session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        grids, strides = [], []
        for stride in (8, 16, 32):
            side = 416 // stride
            y, x = np.mgrid[:side, :side]
            grids.append(np.stack([x, y], -1).reshape(-1, 2))
            strides.append(np.full(side * side, stride))
        self.grid, self.stride = np.concatenate(grids), np.concatenate(strides)[:, None]

    def __call__(self, path: Path, skip: set[str]) -> Iterator[tuple[str, Boxes, float]]:
        """Super-category, box and score of everything of which no fine class is in `skip`."""
        image = read_image(path)
        ratio = min(416 / image.shape[0], 416 / image.shape[1])
        rows, columns = round(image.shape[0] * ratio), round(image.shape[1] * ratio)
        canvas = np.full((416, 416, 3), 114, np.uint8)
        canvas[:rows, :columns] = resize(image, (rows, columns), "bilinear")
        tensor = canvas[:, :, ::-1].transpose(2, 0, 1)[None].astype(np.float32)
        (output,) = self.session.run(None, {"images": tensor})
        out = output[0]
        centre = (out[:, :2] + self.grid) * self.stride
        half = np.exp(out[:, 2:4]) * self.stride / 2
        boxes = (np.concatenate([centre - half, centre + half], 1) / ratio).astype(np.float32)
        scores = out[:, 4:5] * out[:, 5:]
        fine = list(COARSE)
        best = scores.argmax(1)
        top = scores.max(1)
        rows_kept = np.flatnonzero(top >= DOUBTFUL)
        ids = np.array([SUPER.index(COARSE[fine[i]]) for i in best[rows_kept]], np.int64)
        kept = nms(boxes[rows_kept], top[rows_kept].astype(np.float32), ids, 0.55)
        limits = np.array([image.shape[1], image.shape[0]] * 2, np.float32)
        for k in kept:
            row = rows_kept[k]
            name = fine[best[row]]
            if name not in skip:
                yield COARSE[name], np.clip(boxes[row], 0, limits), float(top[row])


def human(data: ww.Dataset, prefix: str, seen: set[str] | None) -> Iterator[Picture]:
    """Pictures of a labelled set with its boxes."""
    for i, path in enumerate(data.paths):
        targets = data.targets(i)
        picture = Picture(f"{prefix}__{Path(path).name}", Path(path), seen=seen)
        assert targets.boxes is not None
        for class_id, box, ignore in zip(
            targets.class_ids, targets.boxes, targets.ignore, strict=True
        ):
            name = data.names[int(class_id)]
            picture.boxes.append((COARSE[VOC.get(name, name)], box, bool(ignore)))
        yield picture


def gather(shared: Path) -> list[Picture]:
    """All pictures with what people said about them."""
    pictures = list(human(ww.read(shared / "coco_tiny"), "tiny", None))
    pictures += human(ww.read(shared / "coco128").split_named("train"), "coco128", None)
    voc = ww.read(shared / "voc2012_mini")
    pictures += human(voc, "voc", {VOC.get(name, name) for name in voc.names})
    photos = ww.read(shared / "photos" / "human_boxes.json", format="coco")
    listed = {Path(picture).name: i for i, picture in enumerate(photos.paths)}
    labelled = {picture.path.name: picture for picture in human(photos, "photos", set())}
    complete = photos.images["complete"].to_list()
    for path in sorted((shared / "photos" / "images").iterdir()):
        picture = labelled.get(path.name) or Picture(f"photos__{path.name}", path)
        if path.name in listed:
            known = complete[listed[path.name]]
            every = known is None or len(known) >= 80
            picture.seen = None if every else set(known or ())
        pictures.append(picture)
    for path in sorted((shared / "photos_machine_boxes" / "images").iterdir()):
        pictures.append(Picture(f"imagenet__{path.name}", path))
    # A quarter of the completely labelled pictures chooses the best epoch.
    full = [picture for picture in pictures if picture.seen is None]
    for picture in full[::4]:
        picture.validation = True
    return pictures


def fill(picture: Picture, teacher: Teacher) -> None:
    """Add the teacher's boxes where people did not look."""
    if picture.seen is None:
        return
    known = [(name, box) for name, box, _ in picture.boxes]
    for name, box, score in teacher(picture.path, picture.seen):
        near = [other for label, other in known if label == name]
        if near and box_iou(box[None], np.stack(near)).max() > 0.5:
            continue
        picture.boxes.append((name, box, score < CONFIDENT))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path, help="folder of the labelled sets")
    parser.add_argument("out", type=Path, help="new folder, COCO layout")
    arguments = parser.parse_args()
    pictures = gather(arguments.shared)
    teacher = Teacher(arguments.shared / "teacher" / "yolox_nano.onnx")
    parts: dict[str, dict[str, list[dict[str, object]]]] = {
        part: {
            "images": [],
            "annotations": [],
            "categories": [{"id": i + 1, "name": name} for i, name in enumerate(SUPER)],
        }
        for part in ("train", "val")
    }
    for number, picture in enumerate(pictures, 1):
        fill(picture, teacher)
        part = "val" if picture.validation else "train"
        target = arguments.out / part / picture.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(picture.path, target)
        height, width = read_image(picture.path).shape[:2]
        parts[part]["images"].append(
            {"id": number, "file_name": picture.name, "width": width, "height": height}
        )
        for name, box, ignore in picture.boxes:
            x1, y1, x2, y2 = (round(float(value), 2) for value in box)
            annotations = parts[part]["annotations"]
            annotations.append(
                {
                    "id": sum(len(p["annotations"]) for p in parts.values()) + 1,
                    "image_id": number,
                    "category_id": SUPER.index(name) + 1,
                    "bbox": [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)],
                    "area": round((x2 - x1) * (y2 - y1), 2),
                    "iscrowd": int(ignore),
                }
            )
    (arguments.out / "annotations").mkdir(parents=True, exist_ok=True)
    for part, content in parts.items():
        file = arguments.out / "annotations" / f"instances_{part}.json"
        file.write_text(json.dumps(content), encoding="utf-8")
        real = sum(not a["iscrowd"] for a in content["annotations"])
        print(
            f"{part}: {len(content['images'])} pictures, {real} boxes,"
            f" {len(content['annotations']) - real} regions to ignore"
        )


if __name__ == "__main__":
    main()
