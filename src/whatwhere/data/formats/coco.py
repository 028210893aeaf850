"""COCO object instances: annotations/instances_<split>.json and folders of pictures.

Source: the COCO data format, https://cocodataset.org/#format-data; LVIS,
https://www.lvisdataset.org/dataset. Boxes are x, y, width, height, continuous from 0. Crowds
(`iscrowd`) and records with `ignore` are ignored in scoring. Category ids need not follow one
another; classes stand in the order of their ids.

Key points files (person_keypoints_*.json) beside instances files of the same pictures add
their key points to the same labels. A file of results, a list of image_id, category_id, bbox
and score, is read with the ground truth beside it. LVIS says which classes are verified to
be absent (`neg_category_ids`) and which are not labelled everywhere
(`not_exhaustive_category_ids`); that becomes `labelled` and `complete`. Fields that nobody
else knows stay in `extra` under "coco", and at the top of the file in `Dataset.info`.
"""

from __future__ import annotations

import re
from pathlib import Path

from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import KEPT_OUT
from whatwhere.data.formats._coco_read import Reader
from whatwhere.data.formats._coco_results import read_results
from whatwhere.data.formats._coco_write import write
from whatwhere.data.formats._files import entries, head, relative, split_name
from whatwhere.errors import DataError
from whatwhere.types import Task

__all__ = ["HOLDS", "LOOKS_FOR", "NAME", "TASKS", "TITLE", "read", "recognise", "write"]

NAME = "coco"
TITLE = "COCO"
TASKS: frozenset[Task] = frozenset({"detect"})
HOLDS = frozenset(
    {"split", "group", "id", "labelled", "complete", "image_extra", "ignore", "difficult"}
    | {"truncated", "occluded", "iscrowd", "area", "score", "source", "track", "segmentation"}
    | {"keypoints", "attributes", "extra", "class_info", "info"}
)
LOOKS_FOR = "annotations/instances_*.json, or one JSON file with images and annotations"

_ROBOFLOW = "_annotations.coco.json"


def _kind(path: Path) -> str | None:
    """What a JSON file seems to be by its start and end: "instances", "results", ..."""
    text = head(path)
    if len(text) == 1 << 16:
        # COCO 2017 has the annotations last, other writers first.
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(1 << 16, size - (1 << 16)))
            text += file.read()
    first = text.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if first == b"[":
        found = b'"image_id"' in text and (b'"score"' in text or b'"caption"' in text)
        if not found:
            return None
        return "results" if b'"category_id"' in text else "captions"
    if first != b"{":
        return None
    # One key is enough: a damaged file is to be named as such, not passed over.
    # Datumaro's items have annotations, too.
    if b'"images"' not in text and (b'"annotations"' not in text or b'"items"' in text):
        return None
    if b'"segments_info"' in text:
        return "panoptic"
    if b'"caption"' in text and b'"bbox"' not in text:
        return "captions"
    return "instances"


_REFUSED = {
    "captions": "holds captions, which have neither classes nor boxes: name an instances file",
    "panoptic": "holds panoptic segments, whose outlines are in PNG files: name an instances file",
}


def _files(path: Path) -> list[Path]:
    """The annotation files of a data set, one for each split if all is well."""
    if path.is_file():
        return [path] if _is_json(path.name) and _kind(path) == "instances" else []
    inner = [Path(entry.path) for entry in entries(path / "annotations") if _is_json(entry.name)]
    instances = [file for file in inner if file.name.startswith("instances")]
    here = [Path(entry.path) for entry in entries(path) if _is_json(entry.name)]
    below = [Path(entry.path, _ROBOFLOW) for entry in entries(path) if entry.is_dir()]
    for found in (instances, inner, here, [file for file in below if file.is_file()]):
        files = [file for file in found if _kind(file) == "instances"]
        if files:
            return files
    return []


def _passed_over(path: Path) -> list[Path]:
    """Files with the name of an annotation file that do not seem to be one."""
    inner = [Path(entry.path) for entry in entries(path / "annotations") if _is_json(entry.name)]
    named = [file for file in inner if file.name.startswith("instances")]
    named += [Path(entry.path, _ROBOFLOW) for entry in entries(path) if entry.is_dir()]
    return [file for file in named if file.is_file() and _kind(file) is None]


def _is_json(name: str) -> bool:
    return name.lower().endswith(".json")


def _split_of(file: Path) -> str | None:
    """The split in a file name, "train" in instances_train2017.json; or in its folder's."""
    if file.name == _ROBOFLOW:
        return split_name(file.parent.name)
    words = re.split(r"[_\-.]", file.stem)
    return next((name for word in reversed(words) if (name := split_name(word))), None)


def recognise(path: Path) -> str | None:
    """See `formats`."""
    files = _files(path)
    if not files and path.is_file() and _is_json(path.name) and (kind := _kind(path)):
        return f"{path.name} ({kind})"
    return ", ".join(relative(file, path.parent) for file in files) or None


def read(path: Path, images: Path | None = None) -> Dataset:
    """See `formats`; `path` may be the JSON file, too."""
    files = _files(path)
    root = path
    if path.is_file():
        root = path.parent.parent if path.parent.name == "annotations" else path.parent
        kind = _kind(path) if _is_json(path.name) else None
        if kind in _REFUSED:
            raise DataError(f"{path} {_REFUSED[kind]}")
        if kind == "results":
            return read_results(path, root, _truths(path), images)
    if not files:
        raise DataError(f"{path} is not a COCO data set: looked for {LOOKS_FOR}")
    splits = [_split_of(file) for file in files]
    reader = Reader(root, images)
    for file, split in zip(files, splits, strict=True):
        reader.add(file, split)
    if len(set(reader.splits)) < len(files):
        names = ", ".join(relative(file, path) for file in files)
        raise DataError(
            f"{path} has {len(files)} annotation files of one split: give one of {names}"
        )
    if path.is_dir():
        for file in _passed_over(path):
            message = "the file has the name of an annotation file, but is not COCO's JSON"
            where = relative(file, root)
            reader.find("damaged-annotation", message, where, "error", KEPT_OUT)
        for file in files:
            points = file.with_name(file.name.replace("instances", "person_keypoints", 1))
            if points != file and points.is_file():
                reader.add_keypoints(points)
    return reader.dataset()


def _truths(results: Path) -> list[Path]:
    """Files of ground truth beside a file of results."""
    beside = [Path(entry.path) for entry in entries(results.parent)]
    inner = [Path(entry.path) for entry in entries(results.parent / "annotations")]
    files = [file for file in beside + inner if _is_json(file.name) and file.is_file()]
    return [file for file in files if _kind(file) == "instances"]
