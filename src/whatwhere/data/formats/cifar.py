"""CIFAR-10 and CIFAR-100: python batches (data_batch_1) and binary ones (data_batch_1.bin).

Source: https://www.cs.toronto.edu/~kriz/cifar.html. A record is the label (CIFAR-100: the
coarse label, then the fine one) and 3 x 32 x 32 bytes, planes of red, green and blue. The
python batches are pickles, which are not run: see `_plain_pickle`. Pictures are not taken
out: their paths say where their pixels lie. The coarse class of a fine one is in class_info.

Written are binary batches. Beyond the original there are NAME_batch.bin (NAME.bin with coarse
labels) for splits of other names, all_batch.bin for pictures of no split, and for each batch
NAME_batch.files.txt with the names of its pictures, so that they and their number are known.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import KEPT_OUT, Finding
from whatwhere.data.formats._cifar_batches import (
    Batch,
    binary_batch,
    python_batch,
    text,
    texts,
)
from whatwhere.data.formats._class_sets import (
    is_plain_name,
    names_of,
    names_text,
    need_pictures,
    own_file,
    png_names,
    read_text,
    say_copied,
    single_classes,
    stored_pictures,
    unlabelled,
)
from whatwhere.data.formats._files import entries, head
from whatwhere.data.formats._pictures import Pictures
from whatwhere.data.formats._plain_pickle import read_plain_pickle
from whatwhere.data.tables import IMAGE_COLUMNS, table
from whatwhere.errors import DataError, UsageError
from whatwhere.images import write_atomic
from whatwhere.types import Labels, Task

NAME = "cifar"
TITLE = "CIFAR"
TASKS: frozenset[Task] = frozenset({"classify"})
HOLDS = frozenset({"split"})
LOOKS_FOR = "CIFAR's batches: data_batch_1 or data_batch_1.bin, train or train.bin with meta files"

_FOLDERS = (
    *("cifar-10-batches-py", "cifar-10-batches-bin"),
    *("cifar-100-python", "cifar-100-binary"),
)
_BATCH_SIZE = 10_000
_ORDER = ("train", "val", "test")


@dataclass(frozen=True)
class _Kind:
    """One of the four layouts: its files of names and of records, by the folder's content."""

    title: str
    python: bool
    coarse: bool
    names: str
    batch: str

    def batches(self, folder: Path) -> Iterator[tuple[Path, str | None]]:
        """Files of records with their split: train, val, test, others; parts by number."""
        found = []
        for entry in entries(folder):
            name = re.fullmatch(self.batch, entry.name, re.S)
            if name is not None and entry.is_file() and own_file(Path(entry.path), folder):
                stem = name[1]
                split = {"data": "train", "all": None}.get(stem, stem)
                part = re.search(r"_(\d+)(?:\.bin)?$", entry.name)
                number = int(part[1]) if part else 0
                rank = _ORDER.index(split) if split in _ORDER else len(_ORDER)
                found.append((rank, split or "", number, Path(entry.path), split))
        yield from ((file, split) for *_, file, split in sorted(found, key=lambda one: one[:4]))


_KINDS = (
    _Kind("CIFAR-10 python", True, False, "batches.meta", r"(data|test)_batch(?:_\d+)?"),
    _Kind("CIFAR-100 python", True, True, "meta", r"(train|test)"),
    _Kind("CIFAR-10 binary", False, False, "batches.meta.txt", r"(.+)_batch(?:_\d+)?\.bin"),
    _Kind("CIFAR-100 binary", False, True, "fine_label_names.txt", r"(.+)\.bin"),
)


def _kind(folder: Path) -> _Kind | None:
    """The layout of a folder, by the names of its files."""
    if not folder.is_dir():
        return None
    for kind in _KINDS:
        batches = [file for file, _ in kind.batches(folder)]
        named = (folder / kind.names).is_file()
        if not batches:
            continue
        if kind.python and all(head(file, 1) == b"\x80" for file in batches):
            # Without its meta file, `train` could be anything.
            if named or not kind.coarse:
                return kind
        elif not kind.python and named:
            return kind
        elif not kind.python and not kind.coarse:
            sizes = [file.stat().st_size for file in batches]
            if all(size and size % 3073 == 0 for size in sizes):
                return kind
    return None


def _places(path: Path) -> list[tuple[Path, _Kind]]:
    """Folders with batches: the one given, or those that the archives unpack to."""
    near = [path, *(path / name for name in _FOLDERS)]
    found = [(folder, kind) for folder in near if (kind := _kind(folder)) is not None]
    return found[:1] if found and found[0][0] == path else found


def recognise(path: Path) -> str | None:
    """See `formats`."""
    places = _places(path) if path.is_dir() else []
    return " and ".join(
        f"{kind.title} batches, {', '.join(file.name for file, _ in kind.batches(folder))}"
        for folder, kind in places
    )


def read(path: Path, images: Path | None = None) -> Dataset:
    """See `formats`; `path` may be the folder around cifar-10-batches-py, too."""
    places = _places(path) if path.is_dir() else []
    if not places:
        raise DataError(f"{path} has no CIFAR batches: looked for {LOOKS_FOR}")
    if len(places) > 1:
        names = ", ".join(folder.name for folder, _ in places)
        raise DataError(f"{path} holds {len(places)} CIFAR data sets: give one of {names}")
    folder, kind = places[0]
    return _Reader(folder, kind).read()


@dataclass
class _Reader:
    """Gathers the pictures of one data set."""

    root: Path
    kind: _Kind
    findings: list[Finding] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    splits: list[str | None] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    coarse: list[int] = field(default_factory=list)
    records: list[str] = field(default_factory=list)

    def read(self) -> Dataset:
        names, groups = self._names()
        reasons = []
        for file, split in self.kind.batches(self.root):
            try:
                if self.kind.python:
                    batch = python_batch(file)
                else:
                    batch = binary_batch(file, self.kind.coarse)
            except DataError as error:
                reasons.append(error)
                fault = Finding("damaged-annotation", str(error), file.name, "error", KEPT_OUT)
                self.findings.append(fault)
                continue
            self._add(batch, split, len(names) or 256)
        if not self.paths and reasons:
            raise reasons[0]
        known = names or [f"class {number}" for number in range(max(self.ids, default=0) + 1)]
        if not names:
            message = f"{self.kind.names} has no names, so the classes are called by their numbers"
            self.findings.append(Finding("missing-names", message, self.kind.names))
        info, attributes = self._groups(known, groups)
        count = len(self.paths)
        images: dict[str, list[Any]] = {"path": self.paths, "split": self.splits}
        images |= {"width": [32] * count, "height": [32] * count}
        return Dataset(
            table(images, IMAGE_COLUMNS),
            pl.DataFrame(
                {
                    "image": pl.int_range(count, dtype=pl.UInt32, eager=True),
                    "class_id": pl.Series(self.ids, dtype=pl.Int32),
                    "attributes": pl.Series(attributes, dtype=pl.String),
                    "record": pl.Series(self.records, dtype=pl.String),
                }
            ),
            Labels(known),
            findings=self.findings,
            root=str(self.root),
            task="classify",
            class_info=info,
        )

    def _names(self) -> tuple[list[str], list[str]]:
        """Names of the classes and of the coarse ones; empty where there are none."""
        if not self.kind.python:
            files = (self.kind.names, "coarse_label_names.txt")
            texts_found = [read_text(self.root / file, self.root) for file in files]
            fine, coarse = (names_of(one) if one else None for one in texts_found)
            return fine or [], coarse or []
        file = self.root / self.kind.names
        if not own_file(file, self.root):
            return [], []
        try:
            meta = texts(read_plain_pickle(file))
        except DataError as error:
            fault = Finding("damaged-annotation", str(error), file.name, "error", KEPT_OUT)
            self.findings.append(fault)
            return [], []
        keys = (("fine_label_names", "label_names"), ("coarse_label_names",))
        lists: list[Any] = [next((meta[key] for key in some if key in meta), []) for some in keys]
        fine, coarse = (
            names_of("\n".join(map(text, one))) if isinstance(one, list) else None for one in lists
        )
        return fine or [], coarse or []

    def _file_names(self, batch: Batch) -> Sequence[str]:
        """Names of a batch's pictures; empty if there are none, or not one for each."""
        names = batch.names
        file = batch.file.with_suffix(".files.txt")
        if not names and (listed := read_text(file, self.root)) is not None:
            names = names_of(listed) or ()
            lost = len(names) - len(batch.labels)
            if lost > 0:
                message = f"{lost} of {len(names)} pictures are not there, the first is "
                message += names[len(batch.labels)]
                where = batch.file.name
                fault = Finding("missing-image", message, where, "error", KEPT_OUT, lost)
                self.findings.append(fault)
                names = names[: len(batch.labels)]
        plain = all(is_plain_name(name) and name.endswith(".png") for name in names)
        return names if plain and len(names) == len(batch.labels) else ()

    def _add(self, batch: Batch, split: str | None, classes: int) -> None:
        where = batch.file.name
        if batch.rest:
            message = f"the file ends in the middle of picture {len(batch.labels)}"
            self.findings.append(Finding("unreadable-image", message, where, "error", KEPT_OUT, 1))
        good = (batch.labels >= 0) & (batch.labels < classes)
        for number in (~good).nonzero()[0].tolist():
            message = f"there is no class {batch.labels[number]}, only 0 to {classes - 1}"
            record = f"{where}#{number}"
            self.findings.append(Finding("unknown-class", message, record, "error", KEPT_OUT, 1))
        rows = good.nonzero()[0].tolist()
        names = self._file_names(batch)
        self.paths += [batch.path(n, names[n] if names else f"{n:05d}.png") for n in rows]
        self.splits += [split] * len(rows)
        self.ids += batch.labels[good].tolist()
        self.coarse += [-1] * len(rows) if batch.coarse is None else batch.coarse[good].tolist()
        self.records += [f"{where}#{number}" for number in rows]

    def _groups(
        self, names: list[str], groups: list[str]
    ) -> tuple[dict[str, dict[str, Any]], list[str | None]]:
        """Coarse class of each class; of each label, if one class has more than one."""
        pairs = {(fine, group) for fine, group in zip(self.ids, self.coarse, strict=True)}
        called = {
            group: groups[group] if 0 <= group < len(groups) else f"class {group}"
            for _, group in pairs
            if group >= 0
        }
        none: list[str | None] = [None] * len(self.ids)
        if len({fine for fine, _ in pairs}) == len(pairs):
            info = {names[fine]: {"coarse": called[one]} for fine, one in sorted(pairs) if one >= 0}
            return info, none
        texts_of = {one: json.dumps({"coarse": name}) for one, name in called.items()}
        return {}, [texts_of.get(one) for one in self.coarse]


def _coarse_names(dataset: Dataset) -> list[str] | None:
    """Coarse class of each class, if all have one and there is nothing else to know."""
    known = [dataset.class_info.get(name) or {} for name in dataset.names]
    found = [one.get("coarse") for one in known if set(one) == {"coarse"}]
    names = [name for name in found if isinstance(name, str) and name.strip()]
    return names if len(names) == len(dataset.names) else None


def holds(dataset: Dataset) -> frozenset[str]:
    """See `formats`: coarse classes can be written."""
    return HOLDS | ({"class_info"} if _coarse_names(dataset) else set())


def write(dataset: Dataset, folder: Path, pictures: Pictures) -> list[Finding]:
    """See `formats`; refuses pictures of another size than 32 x 32."""
    need_pictures(pictures, "CIFAR")
    say_copied(dataset, pictures)
    if len(dataset.names) > 256:
        raise UsageError(f"CIFAR has one byte for a class, not {len(dataset.names)} classes")
    coarse = _coarse_names(dataset)
    groups = sorted(set(coarse or ()))
    group_of = [groups.index(name) for name in coarse] if coarse else None
    findings: list[Finding] = []
    classes = single_classes(dataset)
    names = png_names(dataset.paths)
    parts: dict[str, list[int]] = {}
    for row, split in enumerate(dataset.images["split"].to_list()):
        if classes[row] is None:
            findings.append(unlabelled(dataset, row))
        else:
            parts.setdefault(_stem(split, dataset, findings), []).append(row)
    for stem, rows in parts.items():
        # The original's train is in parts of 10,000 pictures, in CIFAR-10.
        whole = coarse is not None or stem != "data"
        step = len(rows) if whole else _BATCH_SIZE
        for number, start in enumerate(range(0, len(rows), step), 1):
            name = f"{'train' if stem == 'data' else stem}.bin" if coarse else f"{stem}_batch.bin"
            if stem == "data" and not coarse:
                name = f"data_batch_{number}.bin"
            done = []
            with (folder / name).open("xb") as file:
                for row, image in stored_pictures(dataset, rows[start : start + step], pictures):
                    if image.shape != (32, 32, 3):
                        size = f"{image.shape[1]}x{image.shape[0]}"
                        raise UsageError(
                            f"CIFAR holds pictures of 32x32 pixels, and {dataset.paths[row]} is"
                            f" {size}: resize it, or choose another format"
                        )
                    number_of = classes[row] or 0
                    ahead = [group_of[number_of], number_of] if group_of else [number_of]
                    file.write(bytes(ahead) + image.transpose(2, 0, 1).tobytes())
                    done.append(names[row])
            write_atomic(folder / f"{name.removesuffix('.bin')}.files.txt", names_text(done))
    kind = _KINDS[3] if coarse else _KINDS[2]
    write_atomic(folder / kind.names, names_text(dataset.names))
    if coarse:
        write_atomic(folder / "coarse_label_names.txt", names_text(groups))
    return findings


def _stem(split: str | None, dataset: Dataset, findings: list[Finding]) -> str:
    """How the files of a split begin."""
    if split is None or split == "train":
        return "all" if split is None else "data"
    if is_plain_name(split) and split not in ("data", "all") and not re.search(r"_batch", split):
        return split
    message = f"the split {split!r} is lost, because no file can be called so"
    if not any(one.message == message for one in findings):
        findings.append(Finding("lost-split", message, dataset.source, "warning", "left out"))
    return "all"
