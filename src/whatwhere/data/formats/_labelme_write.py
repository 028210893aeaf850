"""Write labelme's JSON files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import Finding
from whatwhere.data.formats._files import add_sizes, split_name, unique_names
from whatwhere.data.formats._flags import NAMES, flag_attributes
from whatwhere.data.formats._outlines import enclosing, outlines_of
from whatwhere.data.formats._pictures import Pictures
from whatwhere.data.formats._records import Record, Records, same
from whatwhere.images import write_atomic

_VERSION = "5.5.0"


def write(dataset: Dataset, folder: Path, pictures: Pictures) -> list[Finding]:
    """See `formats`: JSON beside the pictures, in train/, val/, test/ where there are splits.

    A split of another name stands in the file; labels.txt lists the classes, as labelme's
    option --labels wants it.
    """
    images, findings = add_sizes(dataset.images, Path(dataset.root))
    splits = images["split"].to_list()
    folders = [one if one and split_name(one) == one else "" for one in splits]
    names = unique_names(dataset.paths, folders)
    targets = [folder / place / name for place, name in zip(folders, names, strict=True)]
    there = pictures.place(dataset.paths, targets)
    records = Records(dataset, "labelme")
    sizes = list(images.select("width", "height").iter_rows())
    for row, (place, name) in enumerate(zip(folders, names, strict=True)):
        if not there[row]:
            continue
        labels, image = records.of(row), records.images[row]
        more = records.image_extra(row)
        flags = dict.fromkeys(more.pop("tags", []), True)
        if dataset.task == "multilabel":
            shown = {label.name for label in labels}
            looked = dataset.names if image["labelled"] is None else image["labelled"]
            flags = {one: one in shown for one in [*looked, *sorted(shown - set(looked))]}
            details = {label.name: one for label in labels if (one := _details(label))}
            more |= {"flag_details": details} if details else {}
        content: dict[str, Any] = {
            "version": _VERSION,
            "flags": flags,
            "shapes": [] if dataset.task == "multilabel" else _shapes(labels),
            "imagePath": name,
            "imageData": None,
            "imageHeight": sizes[row][1],
            "imageWidth": sizes[row][0],
        }
        if splits[row] and not place:
            content["split"] = splits[row]
        if image["labelled"] is not None:
            content["labelled"] = image["labelled"]
        text = json.dumps(content | more, ensure_ascii=False, indent=2)
        write_atomic(folder / place / f"{Path(name).stem}.json", text)
    # A name with a line break cannot stand in a list of lines; its shapes have it.
    listed = [name for name in dataset.names if not set(name) & {"\n", "\r"}]
    write_atomic(folder / "labels.txt", "".join(f"{name}\n" for name in listed))
    return findings


def _shapes(labels: list[Record]) -> list[dict[str, Any]]:
    groups = [label.extra.get("group_id") for label in labels]
    free = 1 + max((one for one in groups if isinstance(one, int)), default=0)
    found: list[dict[str, Any]] = []
    for label in labels:
        base = _base(label)
        box = label.box or (0.0,) * 4
        drawn = label.extra.get("points")
        if drawn and label.extra.get("shape_type") == "circle":
            found.append(base | {"points": drawn, "bbox": list(box)})
            continue
        outlines = outlines_of(label.segmentation)
        if not outlines:
            shape: dict[str, Any] = {
                "points": [list(box[:2]), list(box[2:])],
                "shape_type": "rectangle",
            }
            if isinstance(label.segmentation, dict):
                shape["segmentation"] = label.segmentation
            found.append(base | shape)
            continue
        if not same(enclosing(outlines), box):
            base["bbox"] = list(box)
        if len(outlines) > 1 or base["group_id"] is not None:
            # Parts of one object have a group; so has an object that shares its own.
            base["part_of"] = free
            if base["group_id"] is None:
                base["group_id"] = free
            free += 1
        for points in outlines:
            corners = [list(pair) for pair in zip(points[0::2], points[1::2], strict=True)]
            kind = label.extra.get("shape_type", "polygon") if len(corners) == 4 else "polygon"
            found.append(base | {"points": corners, "shape_type": kind})
    return found


def _base(label: Record) -> dict[str, Any]:
    """A shape without its points."""
    shape: dict[str, Any] = {
        "label": label.name,
        "points": [],
        "group_id": None,
        "description": "",
        "shape_type": "polygon",
        "flags": {},
        "mask": None,
    }
    return shape | _details(label)


def _details(label: Record) -> dict[str, Any]:
    """What a label says beyond class and place; X-AnyLabeling's keys where it has them."""
    found: dict[str, Any] = {}
    columns = flag_attributes(label)
    difficult = columns.pop("difficult", None)
    flags = {key: value for key, value in columns.items() if key in NAMES}
    left: dict[str, Any] = {}
    for key, value in label.attributes.items():
        (flags if isinstance(value, bool) and key not in NAMES else left)[key] = value
    if flags:
        found["flags"] = flags
    if difficult:
        found["difficult"] = True
    if "score" in label.values:
        found["score"] = label.values["score"]
    if left:
        found["attributes"] = left
    return {key: one for key, one in label.extra.items() if key != "points"} | found
