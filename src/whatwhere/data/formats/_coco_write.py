"""Write COCO object instances."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import Finding
from whatwhere.data.formats._files import add_sizes, unique_names
from whatwhere.data.formats._pictures import Pictures
from whatwhere.images import write_atomic


def write(dataset: Dataset, folder: Path, pictures: Pictures) -> list[Finding]:
    """See `formats`: annotations/instances_<split>.json, images/<split>/."""
    images, findings = add_sizes(dataset.images, Path(dataset.root))
    # "default" is what other tools call the one file of an undivided data set.
    splits = [split or "default" for split in images["split"]]
    names = unique_names(dataset.paths, splits)
    ids = images["id"].to_list()
    if None in ids or len(set(ids)) < len(ids):
        ids = list(range(1, len(ids) + 1))
    categories = dataset.category_ids or range(1, len(dataset.names) + 1)
    targets = [folder / "images" / split / name for split, name in zip(splits, names, strict=True)]
    there = pictures.place(dataset.paths, targets)
    contents: dict[str, dict[str, list[Any]]] = {}
    number = 0
    for row, image in enumerate(images.iter_rows(named=True)):
        if not there[row] or image["width"] is None:
            continue
        content = contents.setdefault(splits[row], {"images": [], "annotations": []})
        record = {key: image[key] for key in ("width", "height")}
        record |= {"id": ids[row], "file_name": names[row]}
        if image["labelled"] is not None:
            record["labelled_classes"] = ",".join(image["labelled"])
        if image["complete"] is not None:
            record["complete_classes"] = image["complete"]
        content["images"].append(record)
        start, end = dataset.rows_of(row)
        for label in dataset.labels[start:end].iter_rows(named=True):
            number += 1
            content["annotations"].append(
                _annotation(label, number, ids[row], categories[label["class_id"]])
            )
    for split, content in contents.items():
        content["categories"] = [
            {"id": category, "name": name}
            for category, name in zip(categories, dataset.names, strict=True)
        ]
        text = json.dumps(content, ensure_ascii=False)
        write_atomic(folder / "annotations" / f"instances_{split}.json", text)
    return findings


def _annotation(label: dict[str, Any], number: int, image: int, category: int) -> dict[str, Any]:
    x1, y1, x2, y2 = (round(label[name], 4) for name in ("x1", "y1", "x2", "y2"))
    width, height = round(x2 - x1, 4), round(y2 - y1, 4)
    crowd = bool(label["iscrowd"])
    record = {
        "id": number,
        "image_id": image,
        "category_id": category,
        "bbox": [x1, y1, width, height],
        "area": round(width * height, 4) if label["area"] is None else label["area"],
        "iscrowd": int(crowd),
    }
    if label["ignore"] and not crowd:
        record["ignore"] = 1
    if label["score"] is not None:
        record["score"] = round(label["score"], 6)
    return record
