"""MNIST and its relatives: IDX files of grey pictures and of labels, plain or packed.

Source: http://yann.lecun.com/exdb/mnist. `train-images-idx3-ubyte` has the number 0x00000803,
the counts of pictures, rows and columns as big-endian int32, and the pixels; the labels' file
0x00000801, the count, and a byte each. t10k is the test split. Pictures are not taken out:
their paths say where their pixels lie.

The names of the classes are the digits, or Fashion-MNIST's where a folder is called so, or
what labels.txt says. Written are plain files (NAME-images-idx3-ubyte, for pictures of no split
images-idx3-ubyte), labels.txt, and NAME-images.files.txt with the names of the pictures.
"""

from __future__ import annotations

import gzip
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import polars as pl

from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import KEPT_OUT, Finding
from whatwhere.data.formats._class_sets import (
    is_plain_name,
    names_of,
    names_text,
    need_pictures,
    own_file,
    peek,
    png_names,
    read_text,
    say_copied,
    single_classes,
    stored_pictures,
    unlabelled,
)
from whatwhere.data.formats._files import entries, split_name
from whatwhere.data.formats._pictures import Pictures
from whatwhere.data.tables import IMAGE_COLUMNS, table
from whatwhere.errors import DataError, UsageError
from whatwhere.images import Member, write_atomic
from whatwhere.types import Image, Labels, Task

NAME = "mnist"
TITLE = "MNIST (IDX files)"
TASKS: frozenset[Task] = frozenset({"classify"})
HOLDS = frozenset({"split"})
LOOKS_FOR = "train-images-idx3-ubyte and train-labels-idx1-ubyte, plain or .gz"

FASHION = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)

_FILE = re.compile(r"(?:(.+)[-_.])?(images|labels)[-_.]idx([13])[-_.]ubyte(\.gz)?", re.S)
_FOLDERS = ("raw", *(f"{name}/raw" for name in ("MNIST", "FashionMNIST", "KMNIST", "EMNIST")))
_MAX_LABELS = 100_000_000
_CHUNK = 1 << 20


@dataclass
class _Pair:
    """The two files of a split; either may be missing."""

    images: Path | None = None
    labels: Path | None = None


def _pairs(folder: Path) -> dict[str, _Pair]:
    """The files by what their names begin with; a plain file goes before a packed one."""
    found: dict[str, _Pair] = {}
    for entry in entries(folder):
        name = _FILE.fullmatch(entry.name)
        if name is None or not entry.is_file() or not own_file(Path(entry.path), folder):
            continue
        pair = found.setdefault(name[1] or "", _Pair())
        before = getattr(pair, name[2])
        if before is None or (before.suffix == ".gz" and not name[4]):
            setattr(pair, name[2], Path(entry.path))
    return found


def _folder(path: Path) -> Path | None:
    """The folder with the files: the one given, or where torchvision puts them."""
    near = [path, *(path / name for name in _FOLDERS)] if path.is_dir() else []
    for folder in near:
        # One look at a few entries: a folder of a million pictures is not listed for this.
        few = peek(folder, 1000)
        if any(_FILE.fullmatch(entry.name) for entry in few) and _pairs(folder):
            return folder
    return None


def recognise(path: Path) -> str | None:
    """See `formats`."""
    folder = _folder(path)
    if folder is None:
        return None
    files = [one for pair in _pairs(folder).values() for one in (pair.images, pair.labels) if one]
    return ", ".join(file.name for file in files)


def read(path: Path, images: Path | None = None) -> Dataset:
    """See `formats`."""
    folder = _folder(path)
    if folder is None:
        raise DataError(f"{path} has no IDX files: looked for {LOOKS_FOR}")
    return _Reader(folder).read()


@contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    if file.suffix == ".gz":
        with gzip.open(file, "rb") as stream:
            yield stream  # type: ignore[misc]
    else:
        with file.open("rb") as stream:
            yield stream


class _DamagedError(Exception):
    """What is wrong with an IDX file."""


def _header(stream: BinaryIO, axes: int) -> tuple[int, ...]:
    """Counts of an IDX file of bytes, after its magic number."""
    data = stream.read(4 + 4 * axes)
    if len(data) < 4 + 4 * axes:
        raise _DamagedError("it ends in its header")
    if data[:4] != bytes([0, 0, 8, axes]):
        wanted = f"0x{0x0800 + axes:08x}"
        raise _DamagedError(f"it begins with 0x{data[:4].hex()}, not {wanted}")
    return struct.unpack(f">{axes}I", data[4:])


def _rest(stream: BinaryIO, limit: int) -> int:
    """Bytes that are left, counted up to one more than the limit."""
    seen = 0
    while seen <= limit and (data := stream.read(min(_CHUNK, limit + 1 - seen))):
        seen += len(data)
    return seen


@dataclass
class _Reader:
    """Gathers the pictures of one data set."""

    root: Path
    findings: list[Finding] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    splits: list[str | None] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    records: list[str] = field(default_factory=list)

    def find(self, kind: str, message: str, where: Path, labels: int = 0) -> None:
        self.findings.append(Finding(kind, message, where.name, "error", KEPT_OUT, labels))

    def read(self) -> Dataset:
        names = self._names()
        order = ("train", "val", "test")
        pairs = [(self._split(stem), stem, pair) for stem, pair in _pairs(self.root).items()]
        pairs.sort(key=lambda one: (order.index(one[0]) if one[0] in order else 3, one[1]))
        for split, stem, pair in pairs:
            self._pair(split, stem, pair, len(names) if names else 256)
        count = max(self.ids, default=-1) + 1
        known = names or [str(number) for number in range(max(10, count))]
        images: dict[str, list[Any]] = {
            "path": self.paths,
            "width": [width for _, width in self.sizes],
            "height": [height for height, _ in self.sizes],
            "split": self.splits,
        }
        return Dataset(
            table(images, IMAGE_COLUMNS),
            pl.DataFrame(
                {
                    "image": pl.int_range(len(self.paths), dtype=pl.UInt32, eager=True),
                    "class_id": pl.Series(self.ids, dtype=pl.Int32),
                    "record": pl.Series(self.records, dtype=pl.String),
                }
            ),
            Labels(known),
            findings=self.findings,
            root=str(self.root),
            task="classify",
        )

    def _names(self) -> list[str] | None:
        text = read_text(self.root / "labels.txt", self.root)
        if text is not None:
            return names_of(text)
        near = " ".join(self.root.parts[-3:]).lower()
        return list(FASHION) if "fashion" in near else None

    @staticmethod
    def _split(stem: str) -> str | None:
        if not stem:
            return None
        word = re.split(r"[-_.]", stem)[-1]
        return "test" if word.lower() == "t10k" else split_name(word) or stem

    def _pair(self, split: str | None, stem: str, pair: _Pair, classes: int) -> None:
        labels = self._labels(pair.labels) if pair.labels else None
        if pair.images is None:
            if labels is not None and pair.labels:
                wanted = pair.labels.name.replace("labels", "images").replace("idx1", "idx3")
                message = f"{len(labels)} labels have no pictures, because {wanted} is not there"
                self.find("missing-image", message, pair.labels, len(labels))
            return
        count, height, width = self._images(pair.images)
        if labels is None or pair.labels is None:
            message = f"{count} pictures have no labels"
            self.find("missing-labels", message, pair.labels or pair.images)
            return
        if len(labels) != count:
            more = len(labels) - count
            what = f"{more} labels have no picture" if more > 0 else f"{-more} pictures no label"
            message = f"there are {len(labels)} labels for {count} pictures: {what}"
            kind = "missing-image" if more > 0 else "missing-labels"
            self.find(kind, message, pair.labels, max(0, more))
        files = (pair.images, pair.labels)
        self._add(split, stem, files, labels[:count], (height, width), classes)

    def _add(
        self,
        split: str | None,
        stem: str,
        files: tuple[Path, Path],
        labels: bytes,
        size: tuple[int, int],
        classes: int,
    ) -> None:
        values = np.frombuffer(labels, np.uint8)
        for number in np.flatnonzero(values >= classes).tolist():
            message = f"there is no class {values[number]}, only 0 to {classes - 1}"
            record = f"{files[1].name}#{number}"
            self.findings.append(Finding("unknown-class", message, record, "error", KEPT_OUT, 1))
        listed = read_text(self.root / f"{stem}-images.files.txt", self.root) if stem else None
        if not stem:
            listed = read_text(self.root / "images.files.txt", self.root)
        names = names_of(listed) if listed is not None else None
        if names is None or len(names) < len(values) or not all(map(_is_file_name, names)):
            names = [f"{number:05d}.png" for number in range(len(values))]
        rows = np.flatnonzero(values < classes).tolist()
        height, width = size
        file, step = str(files[0]), height * width
        self.paths += [
            str(Member(file, 16 + number * step, (height, width), names[number])) for number in rows
        ]
        self.splits += [split] * len(rows)
        self.sizes += [size] * len(rows)
        self.ids += values[rows].tolist()
        self.records += [f"{files[1].name}#{number}" for number in rows]

    def _labels(self, file: Path) -> bytes | None:
        """A byte for each label; None, with a finding, for a file that is none."""
        try:
            with _opened(file) as stream:
                (count,) = _header(stream, 1)
                if count > _MAX_LABELS:
                    raise _DamagedError(f"it says that it has {count} labels")
                parts = []
                left = count
                while left and (data := stream.read(min(_CHUNK, left))):
                    parts.append(data)
                    left -= len(data)
                if left:
                    message = f"it ends after {count - left} of {count} labels"
                    self.find("damaged-annotation", message, file)
                elif stream.read(1):
                    message = f"it goes on after its {count} labels"
                    self.find("damaged-annotation", message, file)
                return b"".join(parts)
        except (_DamagedError, OSError, EOFError, zlib.error) as error:
            self.find("damaged-annotation", f"the labels cannot be read ({error})", file)
            return None

    def _images(self, file: Path) -> tuple[int, int, int]:
        """Whole pictures in the file, and their height and width."""
        try:
            with _opened(file) as stream:
                count, height, width = _header(stream, 3)
                if not (0 < height < 1 << 16 and 0 < width < 1 << 16):
                    raise _DamagedError(f"its pictures would be {width}x{height} pixels")
                if file.suffix == ".gz":
                    have = _rest(stream, count * height * width)
                else:
                    have = file.stat().st_size - 16
        except (_DamagedError, OSError, EOFError, zlib.error) as error:
            self.find("unreadable-image", f"the pictures cannot be read ({error})", file)
            return 0, 1, 1
        whole = min(count, have // (height * width))
        if whole < count:
            message = f"it ends after {whole} of {count} pictures"
            self.find("unreadable-image", message, file)
        elif have > count * height * width:
            message = f"it goes on after its {count} pictures"
            self.find("damaged-annotation", message, file)
        return whole, height, width


def _is_file_name(name: str) -> bool:
    return is_plain_name(name) and name.endswith(".png")


def write(dataset: Dataset, folder: Path, pictures: Pictures) -> list[Finding]:
    """See `formats`; refuses pictures of colour, or of more than one size."""
    need_pictures(pictures, "MNIST")
    say_copied(dataset, pictures)
    if len(dataset.names) > 256:
        raise UsageError(f"MNIST has one byte for a class, not {len(dataset.names)} classes")
    findings: list[Finding] = []
    classes, names = single_classes(dataset), png_names(dataset.paths)
    parts: dict[str, list[int]] = {}
    for row, split in enumerate(dataset.images["split"].to_list()):
        if classes[row] is None:
            findings.append(unlabelled(dataset, row))
        else:
            parts.setdefault(_stem(split, dataset, findings), []).append(row)
    size: tuple[int, ...] | None = None
    for stem, rows in parts.items():
        done: list[int] = []
        with (folder / f"{stem}images-idx3-ubyte").open("xb") as file:
            file.write(bytes(16))
            for row, image in stored_pictures(dataset, rows, pictures):
                size = size or image.shape
                file.write(_grey(image, size, dataset.paths[row]))
                done.append(row)
            height, width = size[:2] if size else (28, 28)
            file.seek(0)
            file.write(struct.pack(">4I", 0x0803, len(done), height, width))
        labels = bytes(classes[row] or 0 for row in done)
        head = struct.pack(">2I", 0x0801, len(done))
        write_atomic(folder / f"{stem}labels-idx1-ubyte", head + labels)
        listed = names_text([names[row] for row in done])
        write_atomic(folder / f"{stem}images.files.txt", listed)
    write_atomic(folder / "labels.txt", names_text(dataset.names))
    return findings


def _grey(image: Image, size: tuple[int, ...], path: str) -> bytes:
    """The pixels of a grey picture."""
    if image.shape != size:
        one, other = (f"{shape[1]}x{shape[0]}" for shape in (image.shape, size))
        raise UsageError(
            f"MNIST holds pictures of one size, and {path} is {one}, the first {other}: resize"
            " them, or choose another format"
        )
    grey = image[..., 0]
    if (image != grey[..., None]).any():
        raise UsageError(
            f"MNIST holds grey pictures, and {path} has colours: choose another format"
        )
    return grey.tobytes()


def _stem(split: str | None, dataset: Dataset, findings: list[Finding]) -> str:
    """What the names of a split's files begin with."""
    if split is None or split == "test":
        return "" if split is None else "t10k-"
    if is_plain_name(split) and _Reader._split(split) == split:
        return f"{split}-"
    message = f"the split {split!r} is lost, because no file can be called so"
    if not any(one.message == message for one in findings):
        findings.append(Finding("lost-split", message, dataset.source, "warning", "left out"))
    return ""
