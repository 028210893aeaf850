"""Annotation tools, records and tables: labelme, Label Studio, tfrecord, datasets, webdataset ...

Readers return `Facts`; writers get a `Dataset` and an empty folder. Imports stand inside the
functions, so that a program that is not installed stops nothing but its own rows.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from _foreign_common import SIDES, below, copy, corners, rows_of
from _foreign_facts import FLAGS, Box, Facts, stem

from whatwhere.data import Dataset

# Annotation tools


def labelme_reader(folder: Path) -> Facts:
    from labelme._label_file import read_label_file

    facts = Facts({})
    for file in below(folder, "*.json"):
        found = read_label_file(str(file))
        key = stem(found.image_path)
        facts.add(key)
        for shape in found.shapes:
            points = np.array(shape["points"])
            box = (*points.min(0).tolist(), *points.max(0).tolist())
            facts.add(key, Box(shape["label"], box))
    return facts


def labelme_writer(dataset: Dataset, folder: Path) -> None:
    from labelme._label_file import write_label_file

    copy(dataset, folder)
    for number, path, _, labels in rows_of(dataset):
        size = dataset.images.row(number, named=True)
        shapes = [
            {
                "label": row["name"],
                "points": [[row["x1"], row["y1"]], [row["x2"], row["y2"]]],
                "group_id": None,
                "description": "",
                "shape_type": "rectangle",
                "flags": {},
                "mask": None,
            }
            for row in labels
        ]
        write_label_file(
            str(folder / f"{path.stem}.json"),
            shapes=shapes,
            image_path=path.name,
            image_height=size["height"],
            image_width=size["width"],
            image_data=path.read_bytes(),
        )


def label_studio_reader(folder: Path) -> Facts:
    """Through its own export to COCO; tasks get the numbers that an import gives them."""
    from label_studio_sdk.converter import Converter

    tasks = json.loads((folder / "tasks.json").read_text("utf-8"))
    for number, task in enumerate(tasks, 1):
        task.setdefault("id", number)
    file = folder.parent / (folder.name + "_numbered.json")
    file.write_text(json.dumps(tasks), "utf-8")
    made = folder.parent / (folder.name + "_coco")
    config = (folder / "label_config.xml").read_text("utf-8")
    converter = Converter(config, str(folder), download_resources=False)
    converter.convert_to_coco(str(file), str(made), output_image_dir="images", is_dir=False)
    found = json.loads((made / "result.json").read_text("utf-8"))
    classes = {one["id"]: one["name"] for one in found["categories"]}
    keys = {one["id"]: stem(one["file_name"]) for one in found["images"]}
    facts = Facts({key: [] for key in keys.values()})
    for one in found["annotations"]:
        x, y, w, h = one["bbox"]
        facts.add(keys[one["image_id"]], Box(classes[one["category_id"]], (x, y, x + w, y + h)))
    return facts


def label_studio_writer(dataset: Dataset, folder: Path) -> None:
    """Through its own import of COCO, which is made with json alone."""
    from label_studio_sdk.converter.imports.coco import convert_coco_to_ls

    copy(dataset, folder)
    source = folder.parent / (folder.name + "_coco.json")
    images, annotations = [], []
    for number, path, _, labels in rows_of(dataset):
        size = dataset.images.row(number, named=True)
        images.append({"id": number, "file_name": path.name} | {k: size[k] for k in _SIZE})
        for row in labels:
            x1, y1, x2, y2 = corners(row)
            box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": 1, "iscrowd": 0}
            known = {"id": len(annotations) + 1, "image_id": number}
            annotations.append(known | box | {"category_id": row["class_id"]})
    classes = [{"id": number, "name": name} for number, name in enumerate(dataset.names)]
    text = {"images": images, "annotations": annotations, "categories": classes}
    source.write_text(json.dumps(text), "utf-8")
    convert_coco_to_ls(str(source), str(folder / "tasks.json"))
    for config in folder.glob("*.xml"):
        config.unlink()


_SIZE = ("width", "height")


# Records and tables


def tfrecord_reader(folder: Path) -> Facts:
    from tfrecord.reader import tfrecord_loader

    facts = Facts({}, {}, frozenset({"difficult", "truncated"}))
    sides = [f"image/object/bbox/{side}" for side in SIDES]
    for file in below(folder, "*.tfrecord*"):
        for one in tfrecord_loader(str(file), None):
            key = stem(bytes(one["image/filename"]).decode())
            facts.add(key)
            facts.split[key] = file.name.partition(".")[0].partition("-")[0]
            size = [float(one[f"image/{side}"][0]) for side in ("width", "height")] * 2
            texts = one.get("image/object/class/text", [])
            texts = [texts] if isinstance(texts, bytes) else list(texts)
            values = [np.atleast_1d(one.get(side, [])) for side in sides]
            for number, text in enumerate(texts):
                box = tuple(
                    float(side[number]) * length for side, length in zip(values, size, strict=True)
                )
                flags = frozenset(
                    flag
                    for flag in ("difficult", "truncated")
                    if f"image/object/{flag}" in one and one[f"image/object/{flag}"][number]
                )
                facts.add(key, Box(bytes(text).decode(), box, flags))
    return facts


def tfrecord_writer(dataset: Dataset, folder: Path) -> None:
    from tfrecord.writer import TFRecordWriter

    folder.mkdir(parents=True, exist_ok=True)
    names = list(dataset.names)
    items = [
        f"item {{\n  id: {number}\n  name: {json.dumps(name, ensure_ascii=False)}\n}}\n"
        for number, name in enumerate(names, 1)
    ]
    (folder / "label_map.pbtxt").write_text("".join(items), "utf-8")
    writers: dict[str, Any] = {}
    for number, path, split, labels in rows_of(dataset):
        size = dataset.images.row(number, named=True)
        if split not in writers:
            writers[split] = TFRecordWriter(str(folder / f"{split}.tfrecord"))
        record: dict[str, tuple[Any, str]] = {
            "image/encoded": (path.read_bytes(), "byte"),
            "image/format": (b"jpeg", "byte"),
            "image/filename": (path.name.encode(), "byte"),
            "image/width": (size["width"], "int"),
            "image/height": (size["height"], "int"),
        }
        if labels:
            for axis, side in enumerate(SIDES):
                length = size["height" if axis % 2 else "width"]
                values = [corners(row)[axis] / length for row in labels]
                record[f"image/object/bbox/{side}"] = (values, "float")
            texts = [row["name"].encode() for row in labels]
            record["image/object/class/text"] = (texts, "byte")
            record["image/object/class/label"] = ([row["class_id"] + 1 for row in labels], "int")
            for flag in ("difficult", "truncated"):
                values = [int(bool(row[flag])) for row in labels]
                record[f"image/object/{flag}"] = (values, "int")
        writers[split].write(record)
    for writer in writers.values():
        writer.close()


def hf_imagefolder_reader(folder: Path) -> Facts:
    from datasets import Image, load_dataset

    facts = Facts({}, {})
    found = load_dataset("imagefolder", data_dir=str(folder), cache_dir=str(folder) + "_cache")
    for split, part in found.items():
        names = {"validation": "val"}
        plain = part.cast_column("image", Image(decode=False))
        for row in plain:
            key = stem(row["image"]["path"])
            facts.add(key)
            facts.split[key] = names.get(split, split)
            if row.get("objects"):
                _add_objects(facts, key, row["objects"], part.features)
            elif "label" in row:
                label = row["label"]
                kind = part.features["label"]
                facts.add(key, Box(kind.int2str(label) if hasattr(kind, "int2str") else label))
    return facts


def _add_objects(facts: Facts, key: str, objects: Any, features: Any) -> None:
    if isinstance(objects, list):
        objects = {name: [one[name] for one in objects] for name in objects[0]}
    names = next(name for name in ("category", "categories", "label") if name in objects)
    for box, name in zip(objects["bbox"], objects[names], strict=True):
        x, y, w, h = box
        facts.add(key, Box(str(name), (x, y, x + w, y + h)))


def hf_parquet_writer(dataset: Dataset, folder: Path) -> None:
    """`Dataset.to_parquet` beside the pictures, as metadata.parquet."""
    from datasets import Dataset as Table

    for split in ("train", "val", "test"):
        names, objects = [], []
        for _, path, own, labels in rows_of(dataset):
            if own != split:
                continue
            place = folder / ("validation" if split == "val" else split)
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place)
            names.append(path.name)
            boxes = []
            for row in labels:
                x1, y1, x2, y2 = corners(row)
                boxes.append([x1, y1, x2 - x1, y2 - y1])
            objects.append({"bbox": boxes, "category": [row["name"] for row in labels]})
        Table.from_dict({"file_name": names, "objects": objects}).to_parquet(
            str(place / "metadata.parquet")
        )


def webdataset_reader(folder: Path) -> Facts:
    import webdataset

    listed = folder / "classnames.txt"
    names = listed.read_text("utf-8").split("\n") if listed.exists() else []
    facts = Facts({}, {})
    for file in below(folder, "*.tar"):
        split = file.stem.partition("-")[0]
        for one in webdataset.WebDataset(
            str(file), shardshuffle=False, nodesplitter=None, empty_check=False
        ):
            key = one["__key__"].rpartition("/")[2]
            facts.add(key)
            facts.split[key] = split
            if "cls" in one:
                text = one["cls"].decode()
                facts.add(key, Box(names[int(text)] if text.isdigit() else text))
            elif "json" in one:
                said = json.loads(one["json"])
                for name, box in zip(said["names"], said["boxes"], strict=True):
                    facts.add(key, Box(name, tuple(box)))
    return facts


def webdataset_writer(dataset: Dataset, folder: Path) -> None:
    import webdataset

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "classnames.txt").write_text("\n".join(dataset.names) + "\n", "utf-8")
    for split in ("train", "test"):
        with webdataset.TarWriter(str(folder / f"{split}-000000.tar")) as file:
            for _, path, own, labels in rows_of(dataset):
                if own == split:
                    part = {"jpg": path.read_bytes(), "cls": labels[0]["class_id"]}
                    file.write({"__key__": path.stem} | part)


def idx2numpy_reader(folder: Path) -> Facts:
    import idx2numpy

    facts = Facts({}, {})
    names = (folder / "labels.txt").read_text("utf-8").split("\n")
    for split, prefix in (("train", "train"), ("test", "t10k")):
        pictures = idx2numpy.convert_from_file(str(folder / f"{prefix}-images-idx3-ubyte"))
        labels = idx2numpy.convert_from_file(str(folder / f"{prefix}-labels-idx1-ubyte"))
        files = (folder / f"{prefix}-images.files.txt").read_text("utf-8").split("\n")
        for number in range(len(pictures)):
            facts.add(stem(files[number]), Box(names[int(labels[number])]))
            facts.split[stem(files[number])] = split
    return facts


def idx2numpy_writer(dataset: Dataset, folder: Path) -> None:
    """Pictures have no names here, so ours are put beside them."""
    import idx2numpy

    from whatwhere.images import read_image

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "labels.txt").write_text("\n".join(dataset.names) + "\n", "utf-8")
    for split, prefix in (("train", "train"), ("test", "t10k")):
        own = [(path, labels) for _, path, one, labels in rows_of(dataset) if one == split]
        pixels = np.stack([read_image(path)[:, :, 0] for path, _ in own])
        idx2numpy.convert_to_file(str(folder / f"{prefix}-images-idx3-ubyte"), pixels)
        numbers = np.array([labels[0]["class_id"] for _, labels in own], np.uint8)
        idx2numpy.convert_to_file(str(folder / f"{prefix}-labels-idx1-ubyte"), numbers)
        listed = "\n".join(path.name for path, _ in own) + "\n"
        (folder / f"{prefix}-images.files.txt").write_text(listed, "utf-8")


def pandas_reader(folder: Path) -> Facts:
    """The tables as they are: of boxes (xmin ...) or of one class a picture."""
    import pandas

    facts = Facts({}, {})
    for file in below(folder, "*.csv"):
        if file.name == "classes.csv":
            continue
        for row in pandas.read_csv(file, keep_default_na=False).to_dict("records"):
            path = next(row[name] for name in _PATHS if name in row)
            facts.add(stem(path))
            facts.split[stem(path)] = row.get("split", "")
            if row.get("label", "") != "":
                sides = [row[side] for side in SIDES] if "xmin" in row else []
                facts.add(stem(path), Box(row["label"], tuple(map(float, sides))))
    return facts


_PATHS = ("image_path", "filename", "path", "image", "file_name", "file")


def pandas_writer(dataset: Dataset, folder: Path) -> None:
    import pandas

    copy(dataset, folder / "images")
    rows = []
    for _, path, split, labels in rows_of(dataset):
        for row in labels:
            known = {"filename": f"images/{path.name}", "label": row["name"], "split": split}
            box = {} if row["x1"] is None else dict(zip(SIDES, corners(row), strict=True))
            rows.append(known | box)
    pandas.DataFrame(rows).to_csv(folder / "labels.csv", index=False)


def parquet_reader(folder: Path) -> Facts:
    """The two tables, joined by the number of the picture's row."""
    import pandas

    said = json.loads((folder / "dataset.json").read_text("utf-8"))
    images = pandas.read_parquet(folder / "images.parquet")
    labels = pandas.read_parquet(folder / "labels.parquet")
    keys = [stem(path) for path in images["path"]]
    facts = Facts({key: [] for key in keys}, dict(zip(keys, images["split"], strict=True)))
    facts.said = frozenset(FLAGS)
    for row in labels.to_dict("records"):
        flags = frozenset(flag for flag in FLAGS if row[flag])
        box = tuple(row[side] for side in ("x1", "y1", "x2", "y2"))
        facts.add(keys[row["image"]], Box(said["names"][row["class_id"]], box, flags))
    return facts
