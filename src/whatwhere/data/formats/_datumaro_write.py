"""Write Datumaro JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import Finding
from whatwhere.data.formats._files import add_sizes, split_name, unique_names
from whatwhere.data.formats._flags import flag_attributes
from whatwhere.data.formats._outlines import enclosing, outlines_of
from whatwhere.data.formats._pictures import Pictures
from whatwhere.data.formats._records import Record, Records, folder_of, same
from whatwhere.images import write_atomic


def write(dataset: Dataset, folder: Path, pictures: Pictures) -> list[Finding]:
    """See `formats`: annotations/<subset>.json and images/<subset>/, "default" for no split."""
    images, findings = add_sizes(dataset.images, Path(dataset.root))
    subsets = [folder_of(split) or "default" for split in images["split"]]
    for split in dict.fromkeys(images["split"]):
        after = None if split == "default" else split_name(split or "") or split
        if after != split:
            message = f"the split {split!r} is read again as {after or 'no split'}"
            findings.append(Finding("lost-split", message, dataset.source, "warning", "left out"))
    names = unique_names(dataset.paths, subsets)
    targets = [folder / "images" / sub / name for sub, name in zip(subsets, names, strict=True)]
    there = pictures.place(dataset.paths, targets)
    records = Records(dataset, "datumaro")
    items: dict[str, list[dict[str, Any]]] = {subset: [] for subset in subsets}
    sizes = list(images.select("height", "width", "id").iter_rows())
    for row, (subset, name) in enumerate(zip(subsets, names, strict=True)):
        if not there[row]:
            continue
        height, width, number = sizes[row]
        image: dict[str, Any] = {"path": name}
        if height and width:
            image["size"] = [height, width]
        attributes = records.image_extra(row)
        tags = attributes.pop("tags", [])
        if number is not None:
            attributes["id"] = number
        annotations = _annotations(records.of(row), dataset)
        for tag in tags:
            if tag in dataset.names:
                label = dataset.names.index(tag)
                annotations.append(
                    {"id": 0, "type": "label", "attributes": {}, "group": 0, "label_id": label}
                )
        for count, one in enumerate(annotations):
            one["id"] = count
        identity = name.rpartition(".")[0] or name
        items[subset].append(
            {"id": identity, "annotations": annotations, "attr": attributes, "image": image}
        )
    info, categories = _heads(dataset)
    for subset, found in items.items():
        content = {
            "dm_format_version": "1.0",
            "media_type": 2,
            "info": info,
            "categories": categories,
            "items": found,
        }
        text = json.dumps(content, ensure_ascii=False)
        write_atomic(folder / "annotations" / f"{subset}.json", text)
    return findings


def _heads(dataset: Dataset) -> tuple[dict[str, Any], dict[str, Any]]:
    """`info` and `categories`, the same in each file."""
    info = dict(dataset.info)
    kept = info.get("datumaro")
    others = kept.get("categories") if isinstance(kept, dict) else None
    if isinstance(kept, dict) and isinstance(others, dict):
        info["datumaro"] = {key: value for key, value in kept.items() if key != "categories"}
        if not info["datumaro"]:
            del info["datumaro"]
    if dataset.task != "detect":
        # The rows alone do not tell multi-label from single-label if each picture has one.
        info["task"] = dataset.task
    labels = []
    for name in dataset.names:
        known = dict(dataset.class_info.get(name, {}))
        parent = known.pop("parent", "")
        attributes = known.pop("attributes", [])
        one = {"name": name, "parent": parent, "attributes": attributes}
        labels.append(one | ({"info": known} if known else {}))
    return info, {"label": {"labels": labels, "attributes": []}, **(others or {})}


def _annotations(records: list[Record], dataset: Dataset) -> list[dict[str, Any]]:
    numbers = {name: number for number, name in enumerate(dataset.names)}
    groups = [record.extra.get("group") for record in records]
    free = 1 + max((group for group in groups if isinstance(group, int)), default=0)
    found = []
    for record in records:
        attributes = record.attributes | flag_attributes(record)
        base = {
            "id": 0,
            "type": "label",
            "attributes": attributes,
            "group": record.extra.get("group", 0),
            "label_id": numbers[record.name],
            "z_order": record.extra.get("z_order", 0),
        }
        if record.box is None:
            found.append(base)
            continue
        outlines = outlines_of(record.segmentation)
        rotated = record.extra.get("rotated_bbox")
        if rotated and outlines and same(enclosing(outlines), record.box):
            found.append(base | {"type": "rotated_bbox", "rotated_bbox": rotated})
            continue
        parts = _parts(record)
        if parts:
            # A group of its own for the parts; the one of several objects stands beside it.
            if base["group"]:
                base["joint_group"] = base["group"]
            base["group"] = free
            free += 1
        x1, y1, x2, y2 = record.box
        # Differences of short decimals, rounded where they are exact again.
        box = {"type": "bbox", "bbox": [x1, y1, _side(x1, x2), _side(y1, y2)]}
        found.append(base | box)
        found += [base | {"attributes": {}} | part for part in parts]
    return found


def _parts(record: Record) -> list[dict[str, Any]]:
    """What belongs to the box: outlines, mask, points."""
    parts: list[dict[str, Any]] = []
    if isinstance(record.segmentation, dict):
        parts.append({"type": "mask", "rle": record.segmentation})
    else:
        outlines = outlines_of(record.segmentation)
        parts += [{"type": "polygon", "points": points} for points in outlines]
    if record.keypoints:
        points = [value for place, value in enumerate(record.keypoints) if place % 3 < 2]
        parts.append({"type": "points", "points": points, "visibility": record.keypoints[2::3]})
    return parts


def _side(low: float, high: float) -> float:
    """Width or height such that adding it to `low` gives `high` again."""
    side = round(high - low, 10)
    return side if low + side == high else high - low
