"""Write TFRecord files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import KEPT_OUT, Finding
from whatwhere.data.formats._files import add_sizes, split_name, unique_names
from whatwhere.data.formats._label_files import folder_name
from whatwhere.data.formats._pictures import Pictures
from whatwhere.data.formats._tfrecord_names import label_map_text
from whatwhere.data.formats._tfrecord_wire import example_bytes, write_record
from whatwhere.data.tables import BOX
from whatwhere.errors import ImageError
from whatwhere.images import picture_bytes, picture_exists, shown_path, write_atomic

IMAGE_JSON = "whatwhere/image"
LABELS_JSON = "whatwhere/labels"

# What the API has no list for; the other columns have theirs.
_OWN = ("ignore", "area", "score", "source", "track", "segmentation", "keypoints", "attributes")
_OWN_IMAGE = ("group", "labelled", "complete", "extra")
_FLAGS = {
    "is_crowd": "iscrowd",
    "difficult": "difficult",
    "truncated": "truncated",
    "occluded": "occluded",
}


def write(dataset: Dataset, folder: Path, pictures: Pictures) -> list[Finding]:
    """See `formats`: <split>.tfrecord with the pictures inside, and label_map.pbtxt."""
    images, findings = add_sizes(dataset.images, Path(dataset.root))
    splits = [split or "default" for split in images["split"]]
    names = unique_names(dataset.paths, splits)
    numbers = _numbers(dataset)
    labels: dict[str, list[Any]] = dataset.labels.to_dict(as_series=False)
    known: dict[str, list[Any]] = images.to_dict(as_series=False)
    rows_of: dict[str, list[int]] = {}
    for row, split in enumerate(splits):
        rows_of.setdefault(folder_name(split, "split"), []).append(row)
    for split, rows in rows_of.items():
        with (folder / f"{split}.tfrecord").open("xb") as stream:
            for row in rows:
                if known["width"][row] is None:
                    continue
                encoded = b"" if pictures.how == "none" else _encoded(dataset.paths[row], pictures)
                if encoded is None:
                    continue
                image = {name: column[row] for name, column in known.items()}
                span = range(*dataset.rows_of(row))
                objects = {name: [column[at] for at in span] for name, column in labels.items()}
                features = _image(image, names[row], encoded)
                features |= _objects(objects, image, list(dataset.names), numbers)
                write_record(stream, example_bytes(features))
    write_atomic(folder / "label_map.pbtxt", label_map_text(list(dataset.names), numbers))
    if pictures.how in ("link", "reference"):
        message = f"the pictures are inside the records, so {pictures.how!r} is not possible"
        findings.append(Finding("copied-image", message, dataset.source, "info", "copied"))
    return findings


def _numbers(dataset: Dataset) -> list[int]:
    """Numbers of the classes; 0 is the API's background."""
    kept = list(dataset.category_ids)
    good = len(kept) == len(dataset.names) == len(set(kept)) and kept == sorted(kept)
    return kept if good and min(kept, default=1) > 0 else list(range(1, len(dataset.names) + 1))


def _encoded(path: str, pictures: Pictures) -> bytes | None:
    """The picture file's bytes; None and a finding if it cannot be read."""
    try:
        return picture_bytes(path)
    except ImageError as error:
        kind = "unreadable-image" if picture_exists(path) else "missing-image"
        where = shown_path(path)
        pictures.findings.append(Finding(kind, str(error), where, "error", KEPT_OUT))
        return None


def _image(image: dict[str, Any], name: str, encoded: bytes) -> dict[str, Any]:
    kind = "png" if encoded.startswith(b"\x89PNG") else Path(name).suffix.lower().lstrip(".")
    kind = "jpeg" if encoded.startswith(b"\xff\xd8") or kind == "jpg" else kind
    features: dict[str, Any] = {
        "image/width": [image["width"]],
        "image/height": [image["height"]],
        "image/filename": [name.encode("utf-8", "surrogateescape")],
        "image/source_id": [b"" if image["id"] is None else str(image["id"]).encode()],
        "image/format": [kind.encode()],
    }
    if encoded:
        features["image/encoded"] = [encoded]
        features["image/key/sha256"] = [hashlib.sha256(encoded).hexdigest().encode()]
    own = {name: image[name] for name in _OWN_IMAGE if image[name] is not None}
    split = image["split"]
    if split is not None and split_name(split) != split:
        own["split"] = split
    if own:
        features[IMAGE_JSON] = [json.dumps(own, ensure_ascii=False).encode()]
    return features


def _objects(
    objects: dict[str, list[Any]], image: dict[str, Any], names: Sequence[str], numbers: list[int]
) -> dict[str, Any]:
    ids = objects["class_id"]
    features: dict[str, Any] = {
        "image/object/class/text": [names[one].encode() for one in ids],
        "image/object/class/label": [numbers[one] for one in ids],
    }
    for place, side in enumerate(("xmin", "ymin", "xmax", "ymax")):
        size = image["height" if place % 2 else "width"]
        features[f"image/object/bbox/{side}"] = [one / size for one in objects[BOX[place]]]
    for key, column in _FLAGS.items():
        features[f"image/object/{key}"] = [int(bool(one)) for one in objects[column]]
    if ids and None not in objects["area"]:
        features["image/object/area"] = list(map(float, objects["area"]))
    own: dict[str, Any] = {}
    for column in (*_OWN, "extra"):
        values = objects[column]
        if column == "ignore":
            plain = zip(objects["iscrowd"], objects["difficult"], strict=True)
            if values == [bool(crowd or difficult) for crowd, difficult in plain]:
                continue
        if any(one is not None for one in values):
            own[column] = values
    if ids:
        own["box"] = list(map(list, zip(*(objects[side] for side in BOX), strict=True)))
        features[LABELS_JSON] = [json.dumps(own, ensure_ascii=False).encode()]
    return features
