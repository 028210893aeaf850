"""Build the training set of the shipped detector `objects-lite`.

Pictures come from several labelled sets; the classes are COCO's 12 super-categories. Where
people looked for something, their boxes are used alone. For all else a teacher answers once,
better than it could during training: on each whole picture, on its mirror image and on four
overlapping parts, fused. Its scores become the share of such answers that are right among the
pictures that people labelled completely. Written are the labels of people (`data`), and the
teacher's answers as `whatwhere predict --json` writes them (`answers.jsonl`).

    python recipes/objects_lite_data.py SHARED_DATA OUT
    whatwhere train OUT/data --task detect --size 416 --set teacher=OUT/answers.jsonl ...
    python recipes/objects_lite_ship.py RUN SHARED_DATA

The card of the model holds the whole command. COCO val 2017 pictures (`coco128/images/val2017`)
are never read here: they are the test.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

import whatwhere as ww
from whatwhere.images import read_image
from whatwhere.runtime.decode import nms
from whatwhere.runtime.fusion import fuse_boxes
from whatwhere.transforms import resize
from whatwhere.types import Boxes, Image, Scores, box_iou

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
FINE = tuple(COARSE)
KIND = np.array([SUPER.index(COARSE[name]) for name in FINE], np.int64)
# Answers below this score of the teacher, and below this share of right ones, are left out.
FAINT, LEAST = 0.02, 0.15
_SAME = 0.5


@dataclass
class Picture:
    """A picture and the boxes of people as (super-category, box, ignore)."""

    name: str
    path: Path
    boxes: list[tuple[str, Boxes, bool]] = field(default_factory=list)
    # Fine classes that people looked for, so that the teacher need not; None for all.
    seen: set[str] | None = field(default_factory=set)
    validation: bool = False

    @property
    def complete(self) -> list[str]:
        """The super-categories of which people looked for everything."""
        if self.seen is None:
            return list(SUPER)
        return [name for name in SUPER if set(GROUPS[name].split(",")) <= self.seen]


class Found(NamedTuple):
    """Boxes (N, 4) in pixels, scores (N,) and fine classes (N,)."""

    boxes: Boxes
    scores: Scores
    fine: NDArray[np.int64]

    def rows(self, keep: NDArray[Any]) -> Found:
        return Found(self.boxes[keep], self.scores[keep], self.fine[keep])


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

    def once(self, image: Image) -> Found:
        """What it finds in one picture."""
        ratio = min(416 / image.shape[0], 416 / image.shape[1])
        rows, columns = (max(1, round(side * ratio)) for side in image.shape[:2])
        canvas = np.full((416, 416, 3), 114, np.uint8)
        canvas[:rows, :columns] = resize(image, (rows, columns), "bilinear")
        tensor = canvas[:, :, ::-1].transpose(2, 0, 1)[None].astype(np.float32)
        (outputs,) = self.session.run(None, {"images": tensor})
        out = outputs[0]
        centre = (out[:, :2] + self.grid) * self.stride
        half = np.exp(out[:, 2:4]) * self.stride / 2
        boxes = (np.concatenate([centre - half, centre + half], 1) / ratio).astype(np.float32)
        scores = out[:, 4:5] * out[:, 5:]
        found = Found(boxes, scores.max(1).astype(np.float32), scores.argmax(1))
        found = found.rows(np.flatnonzero(found.scores >= FAINT))
        return found.rows(nms(found.boxes, found.scores, found.fine, 0.6))

    def __call__(self, image: Image) -> Found:
        """What the whole picture, its mirror image and four parts say together, best first."""
        height, width = image.shape[:2]
        whole = self.once(image)
        mirrored = self.once(np.ascontiguousarray(image[:, ::-1]))
        left, right = width - mirrored.boxes[:, 2], width - mirrored.boxes[:, 0]
        mirrored.boxes[:, 0], mirrored.boxes[:, 2] = left, right
        every = (whole, mirrored, self._parts(image))
        every = tuple(one.rows(nms(one.boxes, one.scores, one.fine, 0.6)) for one in every)
        joined = Found(*(np.concatenate(columns) for columns in zip(*every, strict=True)))
        of = np.repeat(np.arange(len(every)), [len(one.scores) for one in every])
        kinds = KIND[joined.fine]
        fused = fuse_boxes(
            joined.boxes, joined.scores, kinds, 0.6, weights=(1.0,) * len(every), model=of
        )
        limits = np.array([width, height] * 2, np.float32)
        boxes = np.clip(fused.boxes, 0, limits)
        return Found(boxes, fused.scores, joined.fine[fused.first])

    def _parts(self, image: Image) -> Found:
        """Four parts of 0.6 of each side; what a cut touches is left to the others."""
        height, width = image.shape[:2]
        rows, columns = max(1, int(height * 0.6)), max(1, int(width * 0.6))
        found = []
        for top in (0, height - rows):
            for left in (0, width - columns):
                one = self.once(
                    np.ascontiguousarray(image[top : top + rows, left : left + columns])
                )
                x1, y1, x2, y2 = one.boxes.T
                inside = (x2 < columns - 4) if left == 0 else (x1 > 4)
                inside &= (y2 < rows - 4) if top == 0 else (y1 > 4)
                one = one.rows(inside)
                moved = one.boxes + np.array([left, top] * 2, np.float32)
                found.append(one._replace(boxes=moved.astype(np.float32)))
        return Found(*(np.concatenate(columns) for columns in zip(*found, strict=True)))


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


def judged(picture: Picture, found: Found) -> tuple[Scores, NDArray[np.bool_]]:
    """Scores of the teacher's answers in a picture of known objects, and which are right."""
    truth = [(name, box) for name, box, ignore in picture.boxes if not ignore]
    free = np.ones(len(truth), bool)
    right = np.zeros(len(found.scores), bool)
    boxes = np.stack([box for _, box in truth]) if truth else np.zeros((0, 4), np.float32)
    kinds = np.array([SUPER.index(name) for name, _ in truth], np.int64)
    for row in np.argsort(-found.scores, kind="stable"):
        overlap = np.where(
            free & (kinds == KIND[found.fine[row]]), box_iou(found.boxes[row][None], boxes)[0], 0
        )
        if len(truth) and overlap.max() >= _SAME:
            free[overlap.argmax()] = False
            right[row] = True
    return found.scores, right


def left_over(picture: Picture, found: Found) -> Found:
    """The answers of the teacher about what people did not look for, or did not mark."""
    keep = np.ones(len(found.scores), bool)
    if picture.seen is not None:
        fine = np.array([name in picture.seen for name in FINE])
        keep &= ~fine[found.fine]
    for name, box, _ in picture.boxes:
        same = KIND[found.fine] == SUPER.index(name)
        keep &= ~(same & (box_iou(found.boxes, box[None])[:, 0] > _SAME))
    return found.rows(keep)


def record(picture: Picture, file: Path, found: Found, shares: Scores) -> dict[str, Any]:
    """A line of the teacher's answers."""
    objects = [
        {
            "name": SUPER[KIND[fine]],
            "score": round(float(share), 4),
            "box": [round(float(value), 2) for value in box],
        }
        for box, share, fine in zip(found.boxes, shares, found.fine, strict=True)
        if share >= LEAST
    ]
    return {"image": str(file), "objects": objects}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path, help="folder of the labelled sets")
    parser.add_argument("out", type=Path, help="new folder")
    arguments = parser.parse_args()
    pictures = gather(arguments.shared)
    teacher = Teacher(arguments.shared / "teacher" / "yolox_nano.onnx")
    folder = arguments.out / "data"
    parts: dict[str, dict[str, list[dict[str, object]]]] = {
        part: {
            "images": [],
            "annotations": [],
            "categories": [{"id": i + 1, "name": name} for i, name in enumerate(SUPER)],
        }
        for part in ("train", "val")
    }
    answers: list[tuple[Picture, Path, Found]] = []
    tried: list[tuple[Scores, NDArray[np.bool_]]] = []
    for number, picture in enumerate(pictures, 1):
        part = "val" if picture.validation else "train"
        target = folder / part / picture.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(picture.path, target)
        image = read_image(picture.path)
        found = teacher(image)
        if picture.seen is None and not picture.validation:
            tried.append(judged(picture, found))
        if not picture.validation:
            answers.append((picture, target, left_over(picture, found)))
        about = {"id": number, "file_name": picture.name, "complete_classes": picture.complete}
        parts[part]["images"].append(about | {"width": image.shape[1], "height": image.shape[0]})
        for name, box, ignore in picture.boxes:
            x1, y1, x2, y2 = (round(float(value), 2) for value in box)
            parts[part]["annotations"].append(
                {
                    "id": sum(len(p["annotations"]) for p in parts.values()) + 1,
                    "image_id": number,
                    "category_id": SUPER.index(name) + 1,
                    "bbox": [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)],
                    "area": round((x2 - x1) * (y2 - y1), 2),
                    "iscrowd": int(ignore),
                }
            )
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    for part, content in parts.items():
        file = folder / "annotations" / f"instances_{part}.json"
        file.write_text(json.dumps(content), encoding="utf-8")
        print(f"{part}: {len(content['images'])} pictures, {len(content['annotations'])} boxes")
    # The share of right answers by score: a logistic curve over the logit.
    logit = logits(np.concatenate([scores for scores, _ in tried]))
    curve = LogisticRegression(C=1e6).fit(logit, np.concatenate([right for _, right in tried]))
    lines = []
    for picture, target, found in answers:
        shares = np.zeros(0, np.float32)
        if len(found.scores):
            shares = curve.predict_proba(logits(found.scores))[:, 1].astype(np.float32)
        lines.append(record(picture, target, found, shares))
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (arguments.out / "answers.jsonl").write_text(text, encoding="utf-8")
    count = sum(len(line["objects"]) for line in lines)
    print(
        f"answers: {count} objects in {len(lines)} pictures; share of right ones"
        f" sigmoid({curve.coef_[0, 0]:.2f} logit + {curve.intercept_[0]:.2f})"
    )


def logits(scores: Scores) -> NDArray[np.float64]:
    """Of scores (N,), as one column."""
    inside = np.clip(scores.astype(np.float64), 1e-3, 1 - 1e-3)
    return np.log(inside / (1 - inside))[:, None]


if __name__ == "__main__":
    main()
