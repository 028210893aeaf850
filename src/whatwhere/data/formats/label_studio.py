"""Label Studio: a JSON list of tasks, as exported ("JSON" and "JSON_MIN") and imported.

Source: labelstud.io/guide/export and /tags/rectanglelabels. Coordinates are percent of the
picture's sides; a box is turned clockwise, in degrees, about its top left corner. Of several
finished annotations of a task the one marked as ground truth counts, else the one that was
changed last; cancelled ones never do. Predictions are read where nobody annotated, with
source "model". Several exports in a folder are one data set if each has pictures of its own;
train.json and val.json are splits.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from whatwhere.data.dataset import Dataset
from whatwhere.data.formats._files import entries, relative, split_name
from whatwhere.data.formats._label_studio_regions import Region, regions
from whatwhere.data.formats._label_studio_write import CONFIG, write
from whatwhere.data.formats._rows import Rows
from whatwhere.data.formats._values import (
    index,
    json_files,
    json_keys,
    load_json,
    split_order,
    text,
    whole,
)
from whatwhere.data.formats._xml import XmlError, parse_xml
from whatwhere.errors import DataError, ImageError
from whatwhere.images import IMAGE_SUFFIXES, probe_image
from whatwhere.types import Task

__all__ = ["HOLDS", "LOOKS_FOR", "NAME", "TASKS", "TITLE", "read", "recognise", "write"]

NAME = "label_studio"
TITLE = "Label Studio"
TASKS: frozenset[Task] = frozenset({"classify", "multilabel", "detect"})
HOLDS = frozenset(
    {"split", "group", "id", "labelled", "complete"}
    | {"ignore", "difficult", "truncated", "occluded", "iscrowd", "area", "score", "source"}
    | {"track", "segmentation", "keypoints", "attributes", "extra", "image_extra"}
)
OWN_EXTRA_ONLY = True
LOOKS_FOR = "a JSON list of tasks with 'data' and 'annotations'"

_MIN = {"annotation_id", "annotator", "lead_time"}
_RESULTS = ("annotations", "completions")


def _is_tasks(file: Path) -> bool:
    first, keys = json_keys(file)
    if first != "[" or "coordinates" in keys:
        return False
    full = "data" in keys and not keys.isdisjoint({*_RESULTS, "predictions"})
    return full or len(keys & _MIN) > 1


def _files(path: Path) -> list[Path]:
    return [file for file in json_files(path) if _is_tasks(file)]


def recognise(path: Path) -> str | None:
    """See `formats`."""
    files = _files(path)
    return f"tasks in {', '.join(relative(file, path.parent) for file in files)}" if files else None


def read(path: Path, images: Path | None = None) -> Dataset:
    """See `formats`; `path` may be the JSON file. Uploaded pictures are found by their names."""
    files = _files(path)
    if not files:
        raise DataError(f"{path} is not a Label Studio export: looked for {LOOKS_FOR}")
    root = path if path.is_dir() else path.parent
    reader = _Reader(root, images)
    several = len(files) > 1
    for other in json_files(path):
        if other not in files:
            message = "the JSON is not read: it has no tasks of Label Studio"
            reader.rows.find("not-read", message, reader.rows.where(other), "info", "left out")
    for file in sorted(files, key=lambda one: split_order(_split_of(one))):
        reader.add(file, _split_of(file) if several else None, several)
        if several and reader.shared is not None:
            names = ", ".join(relative(one, path) for one in files)
            raise DataError(
                f"{file} annotates {reader.shared}, which another file does, too: give one of"
                f" {names}"
            )
    return reader.dataset(_listed(root))


def _split_of(file: Path) -> str | None:
    """The split that a file's name stands for."""
    words = reversed(re.split(r"[_\-. ]", file.stem))
    return next((one for word in words if (one := split_name(word))), None)


def _listed(root: Path) -> list[str]:
    """The classes in the labelling configuration beside the export, in their order."""
    found: dict[str, None] = {}
    if not any(one.name == CONFIG and one.is_file() for one in entries(root)):
        return []
    try:
        tree = parse_xml(root / CONFIG)
    except (XmlError, OSError):
        # It only tells the order of the classes, and that of those without labels.
        return []
    stack = [tree]
    while stack:
        node = stack.pop()
        if node.tag in ("Label", "Choice") and (name := node.attributes.get("value", "").strip()):
            found.setdefault(name)
        stack += reversed(node.children)
    return list(found)


class _Reader:
    def __init__(self, root: Path, images: Path | None) -> None:
        self.root = root
        # Exports with pictures have them in images/, servers in media/upload/<project>/.
        folders = [root / name for name in ("images", "upload", "media/upload")]
        folders += [Path(one.path) for one in entries(root / "media" / "upload") if one.is_dir()]
        self.rows = Rows(NAME, root, images, folders)
        self.shapes = False
        self.task: Task | None = None
        self.unlabelled: list[str] = []
        self.several: list[str] = []
        self.ids: dict[int, int] = {}
        self.files = self.first_row = 0
        self.split: str | None = None
        self.shared: str | None = None

    def add(self, file: Path, split: str | None, several: bool) -> None:
        """Take up an export; `shared` is a picture that another one has, too."""
        self.files += 1
        self.first_row, self.split = len(self.rows.row_of), split
        self.several, self.unlabelled = [], []
        where = self.rows.where(file)
        try:
            content = load_json(file)
        except DataError as error:
            if not several:
                raise
            self.rows.find("damaged-annotation", str(error), where)
            return
        if not isinstance(content, list):
            raise DataError(f"{file} is not a list of tasks: export it as JSON")
        seen: set[int] = set()
        for place, task in enumerate(_tasks(content)):
            record = f"{where}#[{place}]"
            if not isinstance(task, dict) or not isinstance(task.get("data"), dict):
                self.rows.find("bad-record", "the task has no 'data'", record)
                continue
            number = index(task.get("id"))
            if number is not None and number not in seen:
                seen.add(number)
                record = f"{where}#{number}"
            self._task(task, record, number)
        self._summaries(where)

    def _summaries(self, where: str) -> None:
        if self.several:
            message = (
                f"{len(self.several)} tasks have several annotations, such as {self.several[0]};"
                " the ground truth or else the latest of each counts"
            )
            self.rows.find("several-annotations", message, where, "warning")
        if self.unlabelled:
            message = (
                f"{len(self.unlabelled)} tasks are not annotated, or were skipped, such as"
                f" {self.unlabelled[0]}"
            )
            self.rows.find("missing-annotation", message, where, "warning")

    def _task(self, task: dict[str, Any], record: str, number: int | None) -> None:
        chosen, source = self._chosen(task, record)
        if chosen is None:
            self.unlabelled.append(record)
            return
        results = chosen.get("result")
        results = results if isinstance(results, list) else []
        data = dict(task["data"])
        key = _picture_key(data, results)
        if key is None:
            message = "no field of the task's data names a picture"
            self.rows.find("bad-record", message, record, boxes=len(results))
            return
        name, place = str(data.pop(key)), None
        for one in _names(name, text(task.get("file_upload"))):
            found = self.rows.places.find(one)
            if found is not None and (place is None or found[1]):
                place = found
                if found[1]:
                    break
        # Of another type they are the user's own fields, which stay in the data.
        known = {"split": text, "group": text, "width": whole, "height": whole}
        ours: dict[str, Any] = {key: take(data.get(key)) for key, take in known.items()}
        classes = {key: data[key] for key in ("labelled", "complete") if _is_names(data.get(key))}
        wanted = data.get("task")
        if wanted in ("classify", "multilabel"):
            self.task, ours["task"] = wanted, wanted
        for key in (*classes, *(key for key, value in ours.items() if value is not None)):
            del data[key]
        size = ours.get("width"), ours.get("height")
        for result in results:
            if not all(size) and isinstance(result, dict):
                size = whole(result.get("original_width")), whole(result.get("original_height"))
        row = self.rows.image(
            name,
            record,
            size=size,
            boxes=len(results),
            place=place,
            split=ours.get("split") or self.split,
            group=ours.get("group"),
            extra={"data": data} if data else None,
        )
        if row is not None:
            if row < self.first_row:
                self.shared = self.shared or self.rows.where(Path(self.rows.path(row)))
            if number is not None:
                self.ids.setdefault(row, number)
            self.rows.image_columns(row, **classes)
            self._labels(row, results, record, source)

    def _chosen(self, task: dict[str, Any], record: str) -> tuple[dict[str, Any] | None, str]:
        """The annotation that counts, or else the prediction; and where its labels come from."""
        found = [task[key] for key in _RESULTS if isinstance(task.get(key), list)]
        given: list[Any] = found[0] if found else []
        done = [
            one
            for one in given
            if isinstance(one, dict)
            and not (one.get("was_cancelled") or one.get("skipped"))
            and isinstance(one.get("result"), list)
        ]
        if len(done) > 1:
            self.several.append(record)
        if done:
            return max(done, key=_lateness), "human"
        guesses = task.get("predictions")
        guesses = [
            one
            for one in (guesses if isinstance(guesses, list) else [])
            if isinstance(one, dict) and isinstance(one.get("result"), list)
        ]
        # A skipped task was seen, and the predictions were not accepted.
        return (max(guesses, key=_lateness), "model") if guesses and not given else (None, "")

    def _labels(self, row: int, results: list[Any], record: str, source: str) -> None:
        size = self.rows.size(row)
        if not all(size) and not self.rows.is_absent(row):
            try:
                info = probe_image(self.rows.path(row))
                size = info.width, info.height
                self.rows.set_size(row, *size)
            except ImageError:
                # Named with the other pictures; without a size there is nothing to scale by.
                size = None, None
        for region in regions(results, size, record, source, self.rows):
            self._label(row, region)

    def _label(self, row: int, region: Region) -> None:
        self.shapes = self.shapes or region.box is not None
        for place, name in enumerate(region.names or [""]):
            record = region.record if place == 0 else f"{region.record}.{place}"
            if region.box is None:
                self.rows.tag(row, name, record, **region.columns)
            else:
                self.rows.label(row, name, region.box, record, **region.columns)

    def dataset(self, names: list[str]) -> Dataset:
        # Of several exports, each may count its tasks from 1.
        if self.files == 1 or len(set(self.ids.values())) == len(self.ids):
            for row, number in self.ids.items():
                self.rows.image_columns(row, id=number)
        return self.rows.dataset(names, task=None if self.shapes else self.task)


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _tasks(content: list[Any]) -> list[Any]:
    """Tasks as in the full export; of JSON_MIN, one record an annotation, they are made."""
    found: list[Any] = []
    by_id: dict[Any, dict[str, Any]] = {}
    for one in content:
        if not isinstance(one, dict) or "data" in one or not one.keys() & _MIN:
            found.append(one)
            continue
        data, result = {}, []
        for key, value in one.items():
            if key in _ADMIN:
                continue
            regions_ = _min_results(key, value)
            if regions_ is None:
                data[key] = value
            result += regions_ or []
        done = {"result": result} | {key: one.get(key) for key in ("updated_at", "created_at")}
        done["id"] = one.get("annotation_id")
        task = by_id.get(one.get("id")) if isinstance(one.get("id"), int) else None
        if task is None:
            task = {"id": one.get("id"), "data": data, "annotations": []}
            found.append(task)
            if isinstance(one.get("id"), int):
                by_id[one["id"]] = task
        task["annotations"].append(done)
    return found


_ADMIN = {"id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time"}


def _min_results(key: str, value: Any) -> list[dict[str, Any]] | None:
    """Results of a field of JSON_MIN; None if it is the task's own data."""
    if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        found = []
        for one in value:
            kind = next((name for name in one if name.endswith("labels")), None)
            if kind is None:
                return None
            sides = {side: one.get(side) for side in ("original_width", "original_height")}
            found.append({"type": kind, "from_name": key, "value": one} | sides)
        return found
    if isinstance(value, dict) and isinstance(value.get("choices"), list):
        return [{"type": "choices", "from_name": key, "value": value}]
    if key in ("choice", "choices", "class", "label") and isinstance(value, str):
        return [{"type": "choices", "from_name": key, "value": {"choices": [value]}}]
    return None


def _lateness(one: dict[str, Any]) -> tuple[bool, str, int]:
    date = text(one.get("updated_at")) or text(one.get("created_at")) or ""
    return one.get("ground_truth") is True, date, index(one.get("id")) or 0


def _picture_key(data: dict[str, Any], results: list[Any]) -> str | None:
    """The field that names the picture."""
    texts = [key for key, value in data.items() if isinstance(value, str) and value.strip()]
    for key in ("image", "img", "picture", "photo", "url"):
        if key in texts:
            return key
    for key in texts:
        if Path(urlsplit_path(data[key])).suffix.lower() in IMAGE_SUFFIXES:
            return key
    return None


def urlsplit_path(name: str) -> str:
    """The path in an address; the text itself if it is none."""
    try:
        return urlsplit(name).path if re.match(r"\w+://", name) else name
    except ValueError:
        return name


def _names(name: str, upload: str | None) -> list[str]:
    """What the picture may be called inside the folder, the likeliest first."""
    found = []
    if "/data/local-files/" in name and "?" in name:
        query = name.partition("?")[2]
        found += [one.lstrip("/") for one in parse_qs(query).get("d", [])]
        found += [query.removeprefix("d=").lstrip("/")]
    path = unquote(urlsplit_path(name)).partition("?")[0] if found == [] else found[0]
    found += [path.lstrip("/") if path.startswith("/data/") else path, path.rsplit("/", 1)[-1]]
    if upload:
        found.append(upload.rsplit("/", 1)[-1])
    base = path.rsplit("/", 1)[-1]
    # Uploading puts eight hexadecimal digits before the name.
    bare = re.sub(r"^[0-9a-f]{8}-", "", base)
    return [*found, bare] if bare != base else found
