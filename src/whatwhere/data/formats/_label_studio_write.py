"""Write tasks that Label Studio imports."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import Finding
from whatwhere.data.formats._files import add_sizes, unique_names
from whatwhere.data.formats._label_studio_regions import OWN, percent_ellipse
from whatwhere.data.formats._outlines import enclosing, outlines_of
from whatwhere.data.formats._pictures import Pictures
from whatwhere.data.formats._records import Record, Records, folder_of, same
from whatwhere.images import write_atomic

CONFIG = "label_config.xml"

_ORIGINS = {"human": "manual", "verified": "prediction-changed"}


def write(dataset: Dataset, folder: Path, pictures: Pictures) -> list[Finding]:
    """See `formats`: tasks.json, label_config.xml, and images/<split>/.

    The tasks name pictures as files of local storage (`/data/local-files/?d=`), whose root
    is this folder. Tasks whose labels all come from a model are predictions.
    """
    images, findings = add_sizes(dataset.images, Path(dataset.root))
    folders = [folder_of(split) for split in images["split"]]
    names = unique_names(dataset.paths, folders)
    places = [
        "/".join(filter(None, ("images", *pair))) for pair in zip(folders, names, strict=True)
    ]
    there = pictures.place(dataset.paths, [folder / place for place in places])
    records = Records(dataset, "label_studio")
    sizes = list(images.select("width", "height").iter_rows())
    tasks: list[dict[str, Any]] = []
    clashes: list[str] = []
    for row, place in enumerate(places):
        width, height = sizes[row]
        if not there[row]:
            continue
        if (width is None or height is None) and dataset.task == "detect":
            # The picture cannot be read, which is a finding already.
            continue
        tasks.append(_task(records, row, place, width, height, dataset, clashes))
    if clashes:
        message = f"{len(clashes)} own fields are replaced by ours of the same name: {clashes[0]}"
        findings.append(Finding("left-out-field", message, dataset.source, "warning", "left out"))
    write_atomic(folder / "tasks.json", json.dumps(tasks, ensure_ascii=False, indent=1))
    write_atomic(folder / CONFIG, _config(dataset))
    return findings


def _task(
    records: Records,
    row: int,
    place: str,
    width: int,
    height: int,
    dataset: Dataset,
    clashes: list[str],
) -> dict[str, Any]:
    image, labels = records.images[row], records.of(row)
    extra = records.image_extra(row)
    data = dict(extra.get("data", {})) | {"image": f"/data/local-files/?d={quote(place)}"}
    known = {"width": width, "height": height, "split": image["split"], "group": image["group"]}
    known |= {"labelled": image["labelled"], "complete": image["complete"]}
    if dataset.task != "detect":
        known["task"] = dataset.task
    known = {key: value for key, value in known.items() if value is not None}
    clashes += [key for key in known if key in data]
    data |= known
    task: dict[str, Any] = {} if image["id"] is None else {"id": image["id"]}
    task["data"] = data
    guessed = bool(labels) and all(one.values.get("source") == "model" for one in labels)
    tags = [Record(name, None) for name in extra.get("tags", [])]
    results = []
    if dataset.task == "detect":
        results = [
            _region(label, number, width, height, guessed) for number, label in enumerate(labels)
        ]
    if tags or dataset.task != "detect":
        chosen = [*tags, *labels] if dataset.task != "detect" else tags
        results += _choices(chosen, guessed) if chosen else []
    if guessed:
        scores = [one.values["score"] for one in labels if "score" in one.values]
        one = {"model_version": "whatwhere", "result": results}
        task["predictions"] = [one | ({"score": sum(scores) / len(scores)} if scores else {})]
    else:
        task["annotations"] = [{"result": results}]
    return task


def _region(label: Record, number: int, width: int, height: int, guessed: bool) -> dict[str, Any]:
    box = label.box or (0.0,) * 4
    outlines = outlines_of(label.segmentation)
    own = _own(label, guessed)
    turned, ellipse = label.extra.get("rectangle"), label.extra.get("ellipse")
    value: dict[str, Any]
    if turned and outlines and same(enclosing(outlines), box):
        kind, value = "rectanglelabels", dict(turned)
    elif ellipse and not outlines and same(percent_ellipse(ellipse, width, height), box):
        kind, value = "ellipselabels", dict(ellipse)
    elif len(outlines) == 1 and same(enclosing(outlines), box):
        kind = "polygonlabels"
        points = [
            [_percent(x, width), _percent(y, height)]
            for x, y in zip(outlines[0][0::2], outlines[0][1::2], strict=True)
        ]
        value = {"points": points, "closed": True}
        own["segmentation"] = label.segmentation
    else:
        kind = "rectanglelabels"
        x, w = _span(box[0], box[2], width)
        y, h = _span(box[1], box[3], height)
        value = {"x": x, "y": y, "width": w, "height": h, "rotation": 0}
        if label.segmentation is not None:
            own["segmentation"] = label.segmentation
    if not own.keys().isdisjoint({"segmentation", "keypoints", "area"}):
        own["box"] = list(box)
    result: dict[str, Any] = {
        "id": f"r{number}",
        "type": kind,
        "from_name": "polygon" if kind == "polygonlabels" else kind.removesuffix("labels"),
        "to_name": "image",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": value | {kind: [label.name]},
    }
    return result | _said(label, own)


def _said(label: Record, own: dict[str, Any]) -> dict[str, Any]:
    """Score, origin and what Label Studio carries along without looking at it."""
    found: dict[str, Any] = {}
    if "score" in label.values:
        found["score"] = label.values["score"]
    if label.values.get("source") in _ORIGINS:
        found["origin"] = _ORIGINS[label.values["source"]]
    meta = dict(label.extra.get("meta", {}))
    if own:
        meta[OWN] = own
    return found | ({"meta": meta} if meta else {})


def _own(label: Record, guessed: bool) -> dict[str, Any]:
    """Columns without a place in Label Studio."""
    own: dict[str, Any] = dict.fromkeys(label.flags, True)
    for column in ("area", "track"):
        if column in label.values:
            own[column] = label.values[column]
    source = label.values.get("source")
    if source is not None and source not in _ORIGINS and not guessed:
        own["source"] = source
    if label.keypoints is not None:
        own["keypoints"] = label.keypoints
    if label.attributes:
        own["attributes"] = label.attributes
    return own


def _choices(labels: list[Record], guessed: bool) -> list[dict[str, Any]]:
    details = {}
    for label in labels:
        own = _own(label, guessed)
        own |= {key: label.values[key] for key in ("score", "source") if key in label.values}
        own |= {"extra": label.extra} if label.extra else {}
        if label.segmentation is not None:
            own["segmentation"] = label.segmentation
        if own:
            details[label.name] = own
    names = [label.name for label in labels]
    result: dict[str, Any] = {
        "id": "choices",
        "type": "choices",
        "from_name": "choice",
        "to_name": "image",
        "value": {"choices": names},
    }
    return [result | ({"meta": {OWN: {"choices": details}}} if details else {})]


def _percent(value: float, side: int) -> float:
    """Percent of the side, in as few digits as give the same float32 again."""
    for digits in (4, 8, 12):
        found = round(value / side * 100, digits)
        if same(found * side / 100, value):
            return found
    return value / side * 100


def _span(low: float, high: float, side: int) -> tuple[float, float]:
    """Start and length in percent such that both ends are the same float32 again."""
    start = _percent(low, side)
    for digits in (4, 8, 12):
        length = round((high - low) / side * 100, digits)
        if same(start * side / 100 + length * side / 100, high):
            return start, length
    return start, (high - start * side / 100) / side * 100


def _config(dataset: Dataset) -> str:
    """The labelling configuration of a project that these tasks fit."""
    names = [name for name in dataset.names if not re.search(r"[\x00-\x1f\ufffe\uffff]", name)]
    kinds = [
        ("RectangleLabels", "rectangle", "Label"),
        ("PolygonLabels", "polygon", "Label"),
        ("EllipseLabels", "ellipse", "Label"),
    ]
    if dataset.task != "detect":
        kinds = [("Choices", "choice", "Choice")]
    lines = ["<View>", '  <Image name="image" value="$image"/>']
    for tag, name, item in kinds:
        how = ' choice="single"' if dataset.task == "classify" else ' choice="multiple"'
        lines.append(f'  <{tag} name="{name}" toName="image"{how if item == "Choice" else ""}>')
        lines += [f"    <{item} value={quoteattr(one)}/>" for one in names]
        lines.append(f"  </{tag}>")
    return "\n".join([*lines, "</View>", ""])
