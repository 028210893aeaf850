"""Detection formats through labelformat and PyLabel."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _foreign_common import SIDES, Reader, Writer, below, copy, corners, rows_of
from _foreign_facts import Box, Facts, stem

from whatwhere.data import Dataset


def _of_labelformat(found: Any) -> Facts:
    facts = Facts({})
    for one in found.get_labels():
        key = stem(one.image.filename)
        facts.add(key)
        for thing in one.objects:
            box = (thing.box.xmin, thing.box.ymin, thing.box.xmax, thing.box.ymax)
            facts.add(key, Box(thing.category.name, box))
    return facts


def labelformat_reader(format: str, names: Callable[[Path], list[str]] | None = None) -> Reader:
    def read(folder: Path) -> Facts:
        from labelformat.formats import (
            COCOObjectDetectionInput,
            KittiObjectDetectionInput,
            PascalVOCObjectDetectionInput,
            YOLOv8ObjectDetectionInput,
        )
        from labelformat.formats.cvat import CVATObjectDetectionInput

        if format == "coco":
            return _of_labelformat(COCOObjectDetectionInput(below(folder, "instances_*.json")[0]))
        if format == "cvat":
            return _of_labelformat(CVATObjectDetectionInput(below(folder, "*.xml")[0]))
        if format == "yolo":
            return _of_labelformat(YOLOv8ObjectDetectionInput(folder / "data.yaml", "train"))
        if format == "kitti":
            texts = below(folder / "training/label_2", "*.txt")
            lines = [line for file in texts for line in file.read_text("utf-8").splitlines()]
            listed = ",".join(sorted({line.rsplit(" ", 14)[0] for line in lines}))
            return _of_labelformat(
                KittiObjectDetectionInput(folder / "training/label_2", listed, "../image_2")
            )
        files = below(folder, "*.xml")
        listed = ",".join(
            sorted({one.text or "" for file in files for one in ET.parse(file).iter("name")})
        )
        return _of_labelformat(PascalVOCObjectDetectionInput(files[0].parent, listed))

    return read


def labelformat_writer(format: str) -> Writer:
    def write(dataset: Dataset, folder: Path) -> None:
        from labelformat.formats import (
            COCOObjectDetectionOutput,
            KittiObjectDetectionOutput,
            PascalVOCObjectDetectionOutput,
            YOLOv8ObjectDetectionOutput,
        )
        from labelformat.formats.cvat import CVATObjectDetectionOutput
        from labelformat.model.bounding_box import BoundingBox
        from labelformat.model.category import Category
        from labelformat.model.image import Image
        from labelformat.model.object_detection import ImageObjectDetection, SingleObjectDetection

        classes = [Category(number, name) for number, name in enumerate(dataset.names)]
        made = []
        for number, path, _, labels in rows_of(dataset):
            size = dataset.images.row(number, named=True)
            image = Image(number + 1, path.name, size["width"], size["height"])
            things = [
                SingleObjectDetection(classes[row["class_id"]], BoundingBox(*corners(row)))
                for row in labels
            ]
            made.append(ImageObjectDetection(image, things))

        class Source:
            def get_categories(self) -> list[Any]:
                return classes

            def get_images(self) -> list[Any]:
                return [one.image for one in made]

            def get_labels(self) -> list[Any]:
                return made

        folder.mkdir(parents=True, exist_ok=True)
        if format == "kitti":
            copy(dataset, folder / "training/image_2")
            KittiObjectDetectionOutput(folder / "training/label_2").save(Source())
        elif format == "yolo":
            copy(dataset, folder / "images")
            YOLOv8ObjectDetectionOutput(folder / "data.yaml", "train").save(Source())
        elif format == "coco":
            copy(dataset, folder / "images")
            COCOObjectDetectionOutput(folder / "annotations.json").save(Source())
        elif format == "cvat":
            copy(dataset, folder / "images")
            CVATObjectDetectionOutput(folder).save(Source())
        else:
            copy(dataset, folder / "images")
            PascalVOCObjectDetectionOutput(folder / "annotations").save(Source())

    return write


# PyLabel


def pylabel_reader(format: str) -> Reader:
    def read(folder: Path) -> Facts:
        from pylabel import importer

        if format == "coco":
            (file,) = below(folder, "instances_*.json")
            found = importer.ImportCoco(str(file))
        else:
            place = below(folder, "*.xml")[0].parent
            found = importer.ImportVOC(str(place))
        facts = Facts({})
        for row in found.df.to_dict("records"):
            key = stem(row["img_filename"])
            facts.add(key)
            sides = [row[f"ann_bbox_{one}"] for one in SIDES]
            if row["cat_name"] and not any(one in ("", None) for one in sides):
                facts.add(key, Box(row["cat_name"], tuple(map(float, sides))))
        return facts

    return read
