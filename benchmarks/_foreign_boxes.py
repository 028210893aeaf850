"""Programs that convert between formats: Datumaro, supervision, globox, labelformat, PyLabel.

Readers return `Facts`; writers get a `Dataset` and an empty folder. Imports stand inside the
functions, so that a program that is not installed stops nothing but its own rows.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _foreign_common import SIDES, Reader, Writer, below, copy, corners, read_names, rows_of
from _foreign_facts import FLAGS, Box, Facts, stem

from whatwhere.data import Dataset

# Datumaro


def datumaro_reader(
    format: str, skip: str = "", prepare: Callable[[Path], object] | None = None
) -> Reader:
    def read(folder: Path) -> Facts:
        import datumaro
        from datumaro.components.annotation import RotatedBbox

        if prepare is not None:
            prepare(folder)
        found = datumaro.Dataset.import_from(str(folder), format)
        names = found.categories()[datumaro.AnnotationType.label]
        facts, said = Facts({}, {}), set()
        for item in found:
            if skip and item.subset == skip:
                continue
            key = stem(item.id.rpartition(":")[2] + ".jpg")
            facts.add(key)
            facts.split[key] = {"default": "", "validation": "val"}.get(item.subset, item.subset)
            for one in item.annotations:
                flags = {
                    name: bool(value)
                    for name, value in (
                        (_FLAG_NAMES.get(key, key), value) for key, value in one.attributes.items()
                    )
                    if name in FLAGS
                }
                said |= flags.keys()
                box = ()
                if isinstance(one, RotatedBbox):
                    points = np.array(one.as_polygon()).reshape(-1, 2)
                    box = (*points.min(0).tolist(), *points.max(0).tolist())
                elif isinstance(one, datumaro.Bbox):
                    box = (one.x, one.y, one.x + one.w, one.y + one.h)
                set_flags = frozenset(name for name, value in flags.items() if value)
                facts.add(key, Box(names[one.label].name, box, set_flags))
        facts.said = frozenset(said)
        return facts

    return read


_FLAG_NAMES = {"is_crowd": "iscrowd", "difficulty": "difficult"}


def datumaro_writer(format: str, turned: bool = False, **options: Any) -> Writer:
    def write(dataset: Dataset, folder: Path) -> dict[str, str] | None:
        import datumaro
        from datumaro.components.annotation import RotatedBbox

        items, count = [], 0
        for _, path, split, labels in rows_of(dataset):
            made = []
            for row in labels:
                count += 1
                marks = {name: bool(row[name]) for name in FLAGS if name != "iscrowd"}
                more = {"label": row["class_id"], "id": count, "group": count}
                if row["x1"] is None:
                    made.append(datumaro.Label(label=row["class_id"]))
                elif turned:
                    x1, y1, x2, y2 = corners(row)
                    square = [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]
                    marks = {"difficulty": int(bool(row["difficult"]))}
                    made.append(
                        RotatedBbox.from_rectangle(square, label=row["class_id"], attributes=marks)
                    )
                else:
                    x1, y1, x2, y2 = corners(row)
                    made.append(datumaro.Bbox(x1, y1, x2 - x1, y2 - y1, attributes=marks, **more))
            media = datumaro.Image.from_file(str(path))
            items.append(
                datumaro.DatasetItem(id=path.stem, subset=split, media=media, annotations=made)
            )
        made_set = datumaro.Dataset.from_iterable(
            items, categories=list(dataset.names), media_type=datumaro.Image
        )
        made_set.export(str(folder), format, save_media=True, **options)
        if format == "mot_seq_gt":
            return {item.id: f"{number:06d}" for number, item in enumerate(items, 1)}
        return None

    return write


def open_images_layout(folder: Path) -> None:
    """Datumaro wants the pictures' folders below images/."""
    for name in ("train", "validation", "test"):
        if (folder / name).is_dir():
            (folder / "images").mkdir(exist_ok=True)
            (folder / name).rename(folder / "images" / name)


# supervision


def _of_supervision(found: Any) -> Facts:
    facts = Facts({})
    for path, _, objects in found:
        facts.add(stem(path))
        for box, number in zip(objects.xyxy, objects.class_id, strict=True):
            facts.add(stem(path), Box(found.classes[int(number)], tuple(map(float, box))))
    return facts


def supervision_reader(format: str) -> Reader:
    """One split at a time: it has no word for them."""

    def read(folder: Path) -> Facts:
        import supervision

        kind = supervision.DetectionDataset
        if format == "coco":
            (labels,) = below(folder, "instances_*.json")
            pictures = below(folder, "*.jpg")[0].parent
            return _of_supervision(kind.from_coco(str(pictures), str(labels)))
        if format == "createml":
            (labels,) = below(folder, "*.json")
            return _of_supervision(kind.from_createml(str(labels.parent), str(labels)))
        if format == "yolo":
            pictures = below(folder, "*.jpg")[0].parent
            texts = below(folder / "labels", "*.txt")[0].parent
            return _of_supervision(
                kind.from_yolo(str(pictures), str(texts), str(folder / "data.yaml"))
            )
        suffix, ask = {
            "voc": ("*.xml", kind.from_pascal_voc),
            "labelme": ("*.json", kind.from_labelme),
        }[format]
        pictures, labels = below(folder, "*.jpg")[0].parent, below(folder, suffix)[0].parent
        return _of_supervision(ask(str(pictures), str(labels)))

    return read


def supervision_writer(format: str) -> Writer:
    def write(dataset: Dataset, folder: Path) -> None:
        import supervision

        made = {}
        for _, path, _, labels in rows_of(dataset):
            boxes = np.array([corners(row) for row in labels], np.float32).reshape(-1, 4)
            numbers = np.array([row["class_id"] for row in labels], int)
            made[str(path)] = supervision.Detections(xyxy=boxes, class_id=numbers)
        found = supervision.DetectionDataset(list(dataset.names), dataset.paths, made)
        folder.mkdir(parents=True, exist_ok=True)
        if format == "coco":
            found.as_coco(str(folder / "images"), str(folder / "annotations.json"))
        elif format == "createml":
            found.as_createml(str(folder), str(folder / "_annotations.createml.json"))
        elif format == "labelme":
            found.as_labelme(str(folder), str(folder))
        elif format == "voc":
            found.as_pascal_voc(str(folder / "images"), str(folder / "annotations"))
        else:
            inside = (folder / "images", folder / "labels", folder / "data.yaml")
            found.as_yolo(*map(str, inside))

    return write


def supervision_folders_reader(folder: Path) -> Facts:
    import supervision

    facts = Facts({}, {})
    for split in ("train", "test"):
        found = supervision.ClassificationDataset.from_folder_structure(str(folder / split))
        for path, _, classes in found:
            facts.add(stem(path), Box(found.classes[int(classes.class_id[0])]))
            facts.split[stem(path)] = split
    return facts


def supervision_folders_writer(dataset: Dataset, folder: Path) -> None:
    import supervision

    for split in ("train", "test"):
        made = {
            str(path): supervision.Classifications(class_id=np.array([labels[0]["class_id"]]))
            for _, path, own, labels in rows_of(dataset)
            if own == split
        }
        found = supervision.ClassificationDataset(list(dataset.names), list(made), made)
        found.as_folder_structure(str(folder / split))


# globox


def _of_globox(found: Any) -> Facts:
    facts = Facts({})
    for one in found:
        facts.add(stem(one.image_id), *(Box(box.label, box.ltrb) for box in one.boxes))
    return facts


def globox_reader(format: str) -> Reader:
    def read(folder: Path) -> Facts:
        from globox import AnnotationSet

        if format == "voc":
            return _of_globox(AnnotationSet.from_pascal_voc(below(folder, "*.xml")[0].parent))
        if format == "labelme":
            return _of_globox(AnnotationSet.from_labelme(below(folder, "*.json")[0].parent))
        if format == "text_boxes":
            return _of_globox(AnnotationSet.from_txt(below(folder, "*.txt")[0].parent))
        if format == "coco":
            return _of_globox(AnnotationSet.from_coco(below(folder, "instances_*.json")[0]))
        if format == "cvat":
            return _of_globox(AnnotationSet.from_cvat(below(folder, "*.xml")[0]))
        names = dict(enumerate(read_names(folder)))
        found = AnnotationSet.from_yolo_v5(
            below(folder / "labels", "*.txt")[0].parent,
            image_folder=below(folder, "*.jpg")[0].parent,
        )
        return _of_globox(found.map_labels({str(key): name for key, name in names.items()}))

    return read


def _to_globox(dataset: Dataset) -> Any:
    from globox import Annotation, AnnotationSet, BoundingBox

    found = AnnotationSet()
    for number, path, _, labels in rows_of(dataset):
        size = dataset.images.row(number, named=True)
        boxes = [
            BoundingBox(label=row["name"], **dict(zip(SIDES, corners(row), strict=True)))
            for row in labels
        ]
        found.add(Annotation(path.name, (size["width"], size["height"]), boxes))
    return found


def globox_writer(format: str) -> Writer:
    def write(dataset: Dataset, folder: Path) -> None:
        found = _to_globox(dataset)
        folder.mkdir(parents=True, exist_ok=True)
        if format == "open_images":
            copy(dataset, folder / "train")
            found.save_openimage(folder / "train-annotations-bbox.csv")
            return
        copy(dataset, folder if format == "labelme" else folder / "images")
        if format == "voc":
            found.save_pascal_voc(folder / "annotations")
        elif format == "labelme":
            found.save_labelme(folder)
        elif format == "text_boxes":
            found.save_txt(folder / "ground-truth")
        elif format == "coco":
            found.save_coco(folder / "annotations.json", auto_ids=True)
        elif format == "cvat":
            found.save_cvat(folder / "annotations.xml")
        else:
            numbers = {name: number for number, name in enumerate(dataset.names)}
            found.save_yolo_v5(folder / "labels", label_to_id=numbers)
            (folder / "classes.txt").write_text("\n".join(dataset.names) + "\n", "utf-8")

    return write


# labelformat
