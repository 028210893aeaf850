"""WebDataset: tar shards in which the files of one name are one sample.

`0001.jpg` beside `0001.cls` (a number or a name), `0001.json` ({"label": ...}, {"labels":
[...]}, or ours with names and boxes) or `0001.txt` (a name, if many samples share it).
Numbers get their names from classnames.txt beside the shards. The split is what a shard's
name or folder says. Nothing is taken out: the pictures' paths say where they lie in a shard.
Source: the WebDataset format specification, https://github.com/webdataset/webdataset.

Ours: {"task", "names": [...], "boxes": [[x1, y1, x2, y2], ...], "width", "height"}, further
columns of the labels as lists in "columns", and those of the picture beside them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from whatwhere.data.dataset import Dataset
from whatwhere.data.formats._class_sets import (
    is_plain_name,
    names_of,
    own_file,
    parse_json,
    read_text,
)
from whatwhere.data.formats._files import entries, relative, split_name
from whatwhere.data.formats._json_labels import JsonLabels
from whatwhere.data.formats._label_json import (
    HELD,
)
from whatwhere.data.formats._tar import Entry, TarError, tar_entries
from whatwhere.data.formats._webdataset_write import write
from whatwhere.errors import DataError
from whatwhere.images import IMAGE_SUFFIXES, Member
from whatwhere.types import TASKS as EVERY_TASK
from whatwhere.types import Task

__all__ = ["HOLDS", "LOOKS_FOR", "NAME", "TASKS", "TITLE", "read", "recognise", "write"]

NAME = "webdataset"
TITLE = "WebDataset"
TASKS: frozenset[Task] = frozenset(EVERY_TASK)
HOLDS = HELD
LOOKS_FOR = "tar files with pictures beside .cls, .json or .txt of the same name"

_PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
_LABELS = ("json", "cls", "txt")
_KEYS = ("labels", "label", "class", "cls", "category", "categories", "tags")
_OWN = ("task", "names", "boxes", "columns")
_KNOWN = (
    *(*_OWN, "width", "height", "split", "image_id", "group", "labelled", "complete"),
    *_KEYS,
)
_LARGEST = {"json": 16 << 20, "cls": 1 << 12, "txt": 1 << 16}


def _shards(path: Path) -> list[Path]:
    """The tar files of the folder and of those in it; train before val before test."""
    if path.is_file():
        return [path] if path.suffix == ".tar" else []
    folders = [path, *(Path(one.path) for one in entries(path) if one.is_dir())][:200]
    files = [Path(one.path) for folder in folders for one in entries(folder)]
    shards = [file for file in files if file.suffix == ".tar" and own_file(file, path)]
    order = ("train", "val", "test")
    splits = {file: _split_of(file, path) for file in shards}
    return sorted(
        shards, key=lambda file: (order.index(s) if (s := splits[file]) in order else 3, str(file))
    )


def _packed(path: Path) -> list[Path]:
    """Packed archives, where there is nothing else."""
    files = [path] if path.is_file() else [Path(one.path) for one in entries(path)]
    packed = [file for file in files if file.name.endswith(_PACKED) and file.is_file()]
    return packed if packed and len(packed) == len(files) else []


def _split_of(file: Path, root: Path) -> str | None:
    words = re.split(r"[-_.]", file.stem)
    split = next((name for word in words if (name := split_name(word))), None)
    if split is None and file.parent != root and file != root:
        split = split_name(file.parent.name)
    return split


def _parts(name: str) -> tuple[str, str]:
    """Name of the sample, and ending of the file: WebDataset divides at the first dot."""
    folder, _, base = name.rpartition("/")
    key, _, ending = base.partition(".")
    return f"{folder}/{key}" if folder else key, ending.lower()


def _is_picture(ending: str) -> bool:
    return f".{ending.rpartition('.')[2]}" in IMAGE_SUFFIXES


def recognise(path: Path) -> str | None:
    """See `formats`."""
    shards = _shards(path)
    if not shards:
        packed = _packed(path)
        return f"packed archive {packed[0].name}" if packed else None
    found: dict[str, set[str]] = {}
    try:
        for entry in islice(tar_entries(shards[0]), 100):
            key, ending = _parts(entry.name)
            found.setdefault(key, set()).add("picture" if _is_picture(ending) else ending)
    except (TarError, OSError):
        # What there is before the damage counts.
        found = {key: some for key, some in found.items() if some}
    if not any("picture" in some and some & set(_LABELS) for some in found.values()):
        return None
    names = [relative(shard, path) if shard != path else shard.name for shard in shards]
    return f"pictures and labels in {', '.join(names[:3])}" + (
        f" and {len(names) - 3} more" if len(names) > 3 else ""
    )


def read(path: Path, images: Path | None = None) -> Dataset:
    """See `formats`; `path` may be one shard, too."""
    shards = _shards(path)
    if not shards and (packed := _packed(path)):
        raise DataError(
            f"{packed[0]} is packed: unpack it to a .tar or a folder first, because pictures are"
            " read where they lie"
        )
    if not shards:
        raise DataError(f"{path} has no tar shards: looked for {LOOKS_FOR}")
    root = path.parent if path.is_file() else path
    reader = _Reader(root)
    for shard in shards:
        reader.add(shard, _split_of(shard, root))
    return reader.read()


@dataclass
class _Sample:
    """What a sample's name has in one shard."""

    picture: Entry | None = None
    labels: dict[str, Entry] = field(default_factory=dict)


class _Reader(JsonLabels):
    """Gathers the samples of all shards."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, NAME)
        self.texts: list[tuple[int, str, str]] = []
        self.bare: list[str] = []
        self.unused: dict[str, list[str]] = {}

    def add(self, shard: Path, split: str | None) -> None:
        """Read one shard."""
        where = relative(shard, self.root)
        samples: dict[str, _Sample] = {}
        others: dict[str, int] = {}
        try:
            for entry in tar_entries(shard):
                self._entry(entry, samples, others, where)
        except (TarError, OSError) as error:
            self.find("damaged-annotation", f"the shard is damaged: {error}", where)
        for ending, count in others.items():
            message = f"{count} files that end in {ending!r} are not read"
            self.find("stray-file", message, where, "info")
        with shard.open("rb") as stream:
            for key, sample in samples.items():
                if sample.picture is None:
                    message = f"the sample {key!r} has labels, but no picture"
                    self.find("missing-image", message, f"{where}#{key}", labels=1)
                    continue
                contents: dict[str, bytes] = {}
                for ending, entry in sample.labels.items():
                    if entry.size > _LARGEST[ending]:
                        message = f"{entry.size} bytes are too many for labels"
                        self.find("bad-record", message, f"{where}#{entry.name}")
                        continue
                    stream.seek(entry.offset)
                    contents[ending] = stream.read(entry.size)
                self._sample(shard, where, key, sample.picture, contents, split)

    def _entry(
        self, entry: Entry, samples: dict[str, _Sample], others: dict[str, int], where: str
    ) -> None:
        name = entry.name.removeprefix("./")
        record = f"{where}#{name}"
        if entry.kind != "file":
            self.find("bad-record", f"the member is a {entry.kind}, not a file", record, "warning")
            return
        if name.startswith("/") or ".." in name.replace("\\", "/").split("/"):
            self.find("path-outside", f"the name {name!r} leaves the archive", record)
            return
        key, ending = _parts(name)
        picture = _is_picture(ending)
        if not key or not (picture or ending in _LABELS):
            others[ending or name] = others.get(ending or name, 0) + 1
            return
        sample = samples.setdefault(key, _Sample())
        if picture and sample.picture is not None and "." in ending:
            others[ending] = others.get(ending, 0) + 1  # "0001.seg.png" beside "0001.png"
        elif picture:
            before = sample.picture
            if before is not None and "." not in _parts(before.name)[1]:
                self.find("duplicate-entry", f"{key!r} has a picture already", record)
                return
            if before is not None:
                others[_parts(before.name)[1]] = others.get(_parts(before.name)[1], 0) + 1
            sample.picture = entry
        elif ending in sample.labels:
            self.find("duplicate-entry", f"{key!r} has a file {ending!r} already", record, labels=1)
        else:
            sample.labels[ending] = entry

    def _sample(
        self,
        shard: Path,
        where: str,
        key: str,
        picture: Entry,
        contents: dict[str, bytes],
        split: str | None,
    ) -> None:
        record = f"{where}#{key}"
        said = self._json(contents["json"], f"{record}.json") if "json" in contents else {}
        base = picture.name.rpartition("/")[2]
        suffix = base[base.rfind(".") :]
        name = base if is_plain_name(base) else f"{len(self.rows):08d}{suffix}"
        path = str(Member(str(shard), picture.offset, (picture.size,), name))
        own = isinstance(said.get("names"), list)
        used = None if own else next((one for one in _KEYS if said.get(one) is not None), None)
        # Of several keys with labels one is read; the others stay as they are.
        unused = {one for one in _KEYS if one != used and said.get(one) is not None}
        if not own:
            unused.update(_OWN)
        if said.get("boxes") is not None and not isinstance(said["boxes"], list):
            unused.add("boxes")
        if said.get("columns") is not None and not isinstance(said["columns"], dict):
            unused.add("columns")
        image = self.picture(path, split, said, set(_KNOWN) - unused, f"{record}.json")
        self._beside(contents, said, used, record)
        if self._own_labels(said, image, f"{record}.json"):
            return
        value = None if used is None else said[used]
        if value is None and "cls" in contents:
            text = contents["cls"].decode("utf-8", "replace").strip()
            value, record = (int(text) if re.fullmatch(r"\d{1,9}", text) else text), f"{record}.cls"
        elif value is None and "txt" in contents:
            text = contents["txt"].decode("utf-8", "replace").strip()
            self.texts.append((image, text, f"{record}.txt"))
            return
        else:
            record = f"{record}.json"
        if value is None:
            self.bare.append(record)
            return
        many = isinstance(value, list)
        self.tasks.add("multilabel" if many else "classify")
        for number, one in enumerate(value if many else [value]):
            self.label(image, one, None, f"{record}#{number}" if many else record)

    def _beside(
        self, contents: Mapping[str, bytes], said: Mapping[str, Any], used: str | None, record: str
    ) -> None:
        """Remember files with labels beside those that are read, unless they say the same."""
        own = isinstance(said.get("names"), list)
        order = (
            [] if own or used is not None else [one for one in ("cls", "txt") if one in contents]
        )
        value = said.get(used) if used is not None else None
        if order:
            value = contents[order[0]].decode("utf-8", "replace").strip()
        for ending in ("cls", "txt"):
            if ending not in contents or ending in order[:1]:
                continue
            text = contents[ending].decode("utf-8", "replace").strip()
            # Ours has the class's number beside its name.
            ours = own and ending == "cls" and said.get("task") == "classify"
            if text and not ours and text != str(value):
                self.unused.setdefault(ending, []).append(f"{record}.{ending}")

    def _json(self, data: bytes, where: str) -> dict[str, Any]:
        try:
            found = parse_json(data.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            message = f"the file is not JSON ({str(error)[:100]})"
            self.find("damaged-annotation", message, where)
            return {}
        if not isinstance(found, dict):
            self.find("damaged-annotation", "the JSON is not an object", where)
            return {}
        return found

    def _own_labels(self, said: Mapping[str, Any], image: int, where: str) -> bool:
        """Names and boxes as lists; False if there are none."""
        names, boxes, task = said.get("names"), said.get("boxes"), said.get("task")
        if not isinstance(names, list):
            return False
        boxed = isinstance(boxes, list)
        known = next((one for one in EVERY_TASK if one == task), None)
        self.tasks.add(known or ("detect" if boxed else "multilabel"))
        if known == "classify" and not names:
            self.bare.append(where)
        if isinstance(boxes, list) and len(boxes) != len(names):
            message = f"there are {len(boxes)} boxes for {len(names)} names"
            self.find("bad-record", message, where, labels=max(len(boxes), len(names)))
            return True
        found = said.get("columns")
        lists = found if isinstance(found, dict) else {}
        self.unequal(lists, len(names), where, None)
        for number, name in enumerate(names):
            record = where if known == "classify" else f"{where}#{number}"
            box = boxes[number] if isinstance(boxes, list) else None
            corners = None if box is None else self.box(box, record)
            if box is None or corners is not None:
                values = self.columns(lists, number, record, set(lists))
                self.label(image, name, corners, record, **values)
        return True

    def read(self) -> Dataset:
        """The data set of all samples; texts are classes if most are not the first of theirs."""
        if self.texts:
            distinct = {text for _, text, _ in self.texts}
            named = all(text and "\n" not in text and len(text) <= 100 for text in distinct)
            if not self.tasks and named and 2 * len(distinct) <= max(4, len(self.texts)):
                self.tasks.add("classify")
                for image, text, where in self.texts:
                    self.label(image, text, None, where)
            else:
                for _, _, where in self.texts:
                    message = "the text is a description, not a class"
                    self.find("missing-labels", message, where)
        for ending, places in self.unused.items():
            message = (
                f"{len(places)} files .{ending} beside other labels of their sample are not read"
            )
            self.find("left-out-field", message, places[0], "info")
        for where in self.bare:
            self.find("missing-labels", "the sample has no labels", where)
        if not self.tasks:
            raise DataError(f"{self.root} has no samples with labels: looked for {LOOKS_FOR}")
        listed = read_text(self.root / "classnames.txt", self.root)
        return self.dataset((names_of(listed) or []) if listed else [])
