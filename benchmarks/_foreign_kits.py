"""The formats' own kits, and torchvision: COCO, LVIS, Cityscapes, DOTA, MOTChallenge.

Readers return `Facts`; writers get a `Dataset` and an empty folder. Imports stand inside the
functions, so that a program that is not installed stops nothing but its own rows.
"""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
from _foreign_common import SIDES, below, corners, rows_of
from _foreign_facts import Box, Facts, stem

from whatwhere.data import Dataset

# torchvision


def _linked(folder: Path, name: str) -> Path:
    """A new folder in which a data set lies as torchvision wants it."""
    home = Path(tempfile.mkdtemp(prefix="foreign"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    (home / name).parent.mkdir(parents=True)
    (home / name).symlink_to(folder.resolve())
    return home


def torchvision_voc(folder: Path) -> Facts:
    """Its dictionary has the file's own numbers; nothing is taken off them."""
    from torchvision.datasets import VOCDetection

    facts = Facts({}, {}, frozenset({"difficult", "truncated"}))
    home = _linked(folder, "VOCdevkit/VOC2012")
    for split in ("train", "val"):
        found = VOCDetection(str(home), year="2012", image_set=split)
        for number in range(len(found)):
            one = found[number][1]["annotation"]
            key = stem(one["filename"])
            facts.add(key)
            facts.split[key] = split
            for thing in one.get("object", []):
                flags = frozenset(
                    flag for flag in ("difficult", "truncated") if thing.get(flag) == "1"
                )
                box = tuple(float(thing["bndbox"][side]) for side in SIDES)
                facts.add(key, Box(thing["name"], box, flags))
    return facts


def torchvision_folders(folder: Path) -> Facts:
    from torchvision.datasets import ImageFolder

    facts = Facts({}, {})
    for split in ("train", "test"):
        found = ImageFolder(str(folder / split))
        for path, number in found.samples:
            facts.add(stem(path), Box(found.classes[number]))
            facts.split[stem(path)] = split
    return facts


def torchvision_kitti(folder: Path) -> Facts:
    from torchvision.datasets import Kitti

    found = Kitti(str(_linked(folder, "Kitti/raw")))
    facts = Facts({}, None, frozenset({"truncated"}))
    for number, path in enumerate(found.images):
        facts.add(stem(path))
        for one in found[number][1]:
            flags = frozenset({"truncated"} if one["truncated"] > 0 else ())
            facts.add(stem(path), Box(one["type"], tuple(one["bbox"]), flags))
    return facts


def torchvision_mnist(folder: Path) -> Facts:
    """Pictures have no names there: they are counted as in our own list of names."""
    from torchvision.datasets import MNIST

    home = _linked(folder, "MNIST/raw")
    facts = Facts({}, {})
    names = (folder / "labels.txt").read_text("utf-8").split("\n")
    for split, prefix in (("train", "train"), ("test", "t10k")):
        found = MNIST(str(home), train=split == "train")
        files = (folder / f"{prefix}-images.files.txt").read_text("utf-8").split("\n")
        for number in range(len(found)):
            key = stem(files[number])
            facts.add(key, Box(names[int(found.targets[number])]))
            facts.split[key] = split
    return facts


# COCO's own programs


def pycocotools_reader(folder: Path) -> Facts:
    from pycocotools.coco import COCO

    facts = Facts({}, {}, frozenset({"iscrowd"}))
    for file in below(folder, "instances_*.json"):
        found = COCO(str(file))
        for image in found.loadImgs(found.getImgIds()):
            key = stem(image["file_name"])
            facts.add(key)
            facts.split[key] = file.stem.removeprefix("instances_").rstrip("0123456789")
            for one in found.loadAnns(found.getAnnIds(image["id"])):
                x, y, w, h = one["bbox"]
                name = found.loadCats(one["category_id"])[0]["name"]
                flags = frozenset({"iscrowd"} if one["iscrowd"] else ())
                facts.add(key, Box(name, (x, y, x + w, y + h), flags))
    return facts


def lvis_reader(folder: Path) -> Facts:
    from lvis import LVIS

    facts = Facts({})
    for file in below(folder, "instances_*.json"):
        found = LVIS(str(file))
        for number, image in found.imgs.items():
            facts.add(stem(image["file_name"]))
            for one in found.load_anns(found.get_ann_ids(img_ids=[number])):
                x, y, w, h = one["bbox"]
                name = found.cats[one["category_id"]]["name"]
                facts.add(stem(image["file_name"]), Box(name, (x, y, x + w, y + h)))
    return facts


# Driving and aerial pictures


def cityscapes_reader(folder: Path) -> Facts:
    from cityscapesscripts.helpers.annotation import Annotation

    facts = Facts({}, {}, frozenset({"iscrowd"}))
    for file in below(folder, "*_polygons.json"):
        found = Annotation()
        found.fromJsonFile(str(file))
        key = file.name.removesuffix("_gtFine_polygons.json") + "_leftImg8bit"
        facts.add(key)
        facts.split[key] = file.parent.parent.name
        for one in found.objects:
            points = np.array([(point.x, point.y) for point in one.polygon])
            box = (*points.min(0).tolist(), *points.max(0).tolist())
            crowd = frozenset({"iscrowd"} if one.label.endswith("group") else ())
            facts.add(key, Box(one.label.removesuffix("group"), box, crowd))
    return facts


def cityscapes_writer(dataset: Dataset, folder: Path) -> dict[str, str]:
    from cityscapesscripts.helpers.annotation import Annotation, CsPoly, Point

    keys = {}
    for number, path, split, labels in rows_of(dataset):
        size = dataset.images.row(number, named=True)
        found = Annotation()
        found.imgWidth, found.imgHeight = size["width"], size["height"]
        for row in labels:
            one = CsPoly()
            one.label = row["name"]
            x1, y1, x2, y2 = corners(row)
            one.polygon = [Point(x1, y1), Point(x2, y1), Point(x2, y2), Point(x1, y2)]
            found.objects.append(one)
        name = f"aachen_000000_{number:06d}"
        place = folder / "gtFine" / split / "aachen"
        place.mkdir(parents=True, exist_ok=True)
        text = json.dumps(found.toJsonText())
        (place / f"{name}_gtFine_polygons.json").write_text(text, "utf-8")
        pictures = folder / "leftImg8bit" / split / "aachen"
        pictures.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, pictures / f"{name}_leftImg8bit{path.suffix}")
        keys[path.stem] = f"{name}_leftImg8bit"
    return keys


def dota_reader(folder: Path) -> Facts:
    from dotadevkit.misc.dota_utils import parse_dota_poly

    facts = Facts({}, {}, frozenset({"difficult"}))
    for file in below(folder, "labelTxt/*.txt"):
        facts.add(file.stem)
        facts.split[file.stem] = file.parent.parent.name
        for one in parse_dota_poly(str(file)):
            points = np.array(one["poly"])
            box = (*points.min(0).tolist(), *points.max(0).tolist())
            flags = frozenset({"difficult"} if one["difficult"] == "1" else ())
            facts.add(file.stem, Box(one["name"], box, flags))
    return facts


def trackeval_reader(folder: Path) -> Facts:
    """Frames of every sequence; classes by the number that the kit gives them."""
    from trackeval.datasets import MotChallenge2DBox

    facts = Facts({})
    for file in below(folder, "gt.txt"):
        sequence = file.parent.parent
        config = {
            "GT_FOLDER": str(sequence.parent),
            "TRACKERS_FOLDER": str(sequence.parent),
            "TRACKERS_TO_EVAL": [],
            "SKIP_SPLIT_FOL": True,
            "SEQ_INFO": {sequence.name: None},
            "DO_PREPROC": False,
            "PRINT_CONFIG": False,
        }
        kit = MotChallenge2DBox(config)
        found = kit._load_raw_file(None, sequence.name, is_gt=True)
        names = {number: name for name, number in kit.class_name_to_class_id.items()}
        for number in range(found["num_timesteps"]):
            key = f"{sequence.name}/{number + 1:06d}"
            facts.add(key)
            classes = found["gt_classes"][number]
            for box, kind in zip(found["gt_dets"][number], classes, strict=True):
                x, y, w, h = box.tolist()
                facts.add(key, Box(names.get(int(kind), "pedestrian"), (x, y, x + w, y + h)))
    return facts


def motmetrics_reader(folder: Path) -> Facts:
    import motmetrics

    facts = Facts({})
    for file in below(folder, "gt.txt"):
        sequence = file.parent.parent
        # Until 2015 the eighth column was a place in the world.
        old = len(file.read_text("utf-8").partition("\n")[0].split(",")) == 10
        fmt = "mot15-2D" if old else "mot16"
        found = motmetrics.io.loadtxt(str(file), fmt=fmt, min_confidence=-1)
        listed = file.parent / "labels.txt"
        names = listed.read_text("utf-8").split("\n") if listed.exists() else ["pedestrian"] * 13
        facts.boxes |= {f"{sequence.name}/{one.stem}": [] for one in sequence.glob("img1/*")}
        for (frame, _), row in found.iterrows():
            box = (row.X, row.Y, row.X + row.Width, row.Y + row.Height)
            facts.add(
                f"{sequence.name}/{frame:06d}", Box(names[0 if old else int(row.ClassId) - 1], box)
            )
    return facts
