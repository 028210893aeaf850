"""MOTChallenge: <sequence>/gt/gt.txt, det/det.txt, seqinfo.ini, img1/000001.jpg.

Sources: https://motchallenge.net/instructions, the MOT16 paper (arXiv 1603.00831) and the
evaluation kit TrackEval. "All frame numbers, target IDs and bounding boxes are 1-based", so
left and top lose 1 in reading and gain it in writing; width and height stay.

A row is `frame, id, left, top, width, height, flag, class, visibility` since MOT16, and
`frame, id, left, top, width, height, flag, x, y, z` in MOT15, where all are pedestrians. A
flag of 0, and the classes that the kit takes for distractors, are ignored. `track` is the
id, `group` the sequence; frame number, visibility and place in the world stand in `extra`.

Detections (det/det.txt) and results are read only if their file is named, or if no sequence
has ground truth; their seventh column is the score. gt/labels.txt, with a class name a line,
is CVAT's addition, which our writer makes, too; gt/classes.txt beside it has those of the data
set, where labels.txt is the benchmark's own list.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import KEPT_OUT, Finding
from whatwhere.data.formats._class_sets import name_in
from whatwhere.data.formats._files import entries, folders_below, head, inside, relative, split_name
from whatwhere.data.formats._label_files import read_lines, report_missing, with_sizes
from whatwhere.data.formats._mot_parts import (
    CLASSES,
    DISTRACTORS,
    SequenceInfo,
    frames_of,
    is_row,
    rows,
    sequence_info,
)
from whatwhere.data.formats._mot_write import write
from whatwhere.data.tables import LABEL_COLUMNS, table, tidy_boxes
from whatwhere.errors import DataError
from whatwhere.types import Labels, Task

__all__ = ["HOLDS", "IGNORED", "LOOKS_FOR", "NAME", "TASKS", "TITLE", "read", "recognise", "write"]

NAME = "mot"
TITLE = "MOTChallenge"
TASKS: frozenset[Task] = frozenset({"detect"})
HOLDS = frozenset({"split", "group", "ignore", "track", "extra", "image_extra"})
IGNORED = DISTRACTORS
OWN_EXTRA_ONLY = True
LOOKS_FOR = "folders with gt/gt.txt or seqinfo.ini, or one text file of MOTChallenge rows"


_RAW = ("left", "top", "wide", "high")

# Farther than this from what is written, a side was cut.
_TINY = 1e-9


def _is_rows(file: Path) -> bool:
    """Whether the first line with anything in it is a row."""
    lines = head(file, 1 << 12).decode("utf-8-sig", "replace").splitlines()
    return any(is_row(line) for line in lines[:1] if line.strip())


def _is_sequence(folder: Path) -> bool:
    info = folder / "seqinfo.ini"
    if info.is_file() and b"[Sequence]" in head(info, 1 << 12):
        return True
    return any(_is_rows(folder / kind / f"{kind}.txt") for kind in ("gt", "det"))


def _sequences(path: Path) -> list[Path]:
    """Folders of sequences, train, val and test first."""
    folders = [one for one in folders_below(path, 3) if _is_sequence(one)] if path.is_dir() else []
    order = {"train": 0, "val": 1, "test": 2}
    return sorted(folders, key=lambda one: (order.get(_split(one, path) or "", 3), str(one)))


def _split(folder: Path, path: Path) -> str | None:
    if folder == path or folder.parent == path:
        return None
    return split_name(folder.parent.name) or folder.parent.name


def recognise(path: Path) -> str | None:
    """See `formats`."""
    if path.is_file():
        seen = path.suffix.lower() == ".txt" and _is_rows(path)
        return f"rows of tracks in {path.name}" if seen else None
    folders = _sequences(path)
    return f"sequence {relative(folders[0], path.parent)}" if folders else None


def read(path: Path, images: Path | None = None) -> Dataset:
    """See `formats`; `path` may be a folder of sequences, one of them, or a file of rows."""
    if path.is_file() and _is_rows(path):
        # Results are called as their sequence; det/det.txt lies in it.
        base = path.parent.parent if path.parent.name in ("gt", "det") else path.parent
        reader = _Reader(path.parent)
        folder = path.parent / path.stem if base == path.parent else path.parent
        name = path.stem if base == path.parent else base.name
        kind = "gt" if path.parent.name == "gt" else "det"
        reader.add(_Sequence(folder, None, SequenceInfo(name=name), path, kind), images, False)
        return reader.dataset()
    folders = _sequences(path)
    if not folders:
        raise DataError(f"{path} is not a MOTChallenge data set: looked for {LOOKS_FOR}")
    reader = _Reader(path)
    truth = any((folder / "gt" / "gt.txt").is_file() for folder in folders)
    for folder in folders:
        info = sequence_info(folder / "seqinfo.ini", path, reader.findings)
        kind = "gt" if truth else "det"
        file = folder / kind / f"{kind}.txt"
        sequence = _Sequence(folder, _split(folder, path), info, file, kind)
        reader.add(sequence, images, len(folders) > 1)
    reader.others(folders, truth)
    return reader.dataset()


@dataclass(frozen=True)
class _Sequence:
    """Folder, split, seqinfo.ini, the file of rows, and whether that is "gt" or "det"."""

    folder: Path
    split: str | None
    info: SequenceInfo
    file: Path
    kind: str


class _Reader:
    """Gathers rows and findings of all sequences."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.findings: list[Finding] = []
        columns = ("path", "width", "height", "split", "group", "labelled", "extra")
        self.images: dict[str, list[Any]] = {name: [] for name in columns}
        self.labels: list[pl.DataFrame] = []
        self.names: dict[str, None] = {}
        self.missing: list[tuple[str, str, int]] = []
        self.missing_paths: set[str] = set()

    def find(self, *args: Any) -> None:
        self.findings.append(Finding(*args))

    def add(self, sequence: _Sequence, images: Path | None, many: bool) -> None:
        info, where = sequence.info, relative(sequence.file, self.root)
        name = info.name or sequence.folder.name
        labelled = sequence.file.is_file()
        frame = rows([], where, self.findings)
        if labelled:
            lines = read_lines(sequence.file, where, self.findings)
            frame = rows(lines or [], where, self.findings)
        else:
            message = f"there is no {where}, so this sequence has no labels"
            self.find("missing-labels", message, relative(sequence.folder, self.root), "info")
        own = inside(sequence.folder, info.folder)
        if own is None:
            message = f"imDir {info.folder!r} leaves the sequence's folder"
            self.find("path-outside", message, where, "error", "img1 is used")
            own = sequence.folder / "img1"
        places = [own]
        if images is not None:
            inner = [one for one in (sequence.folder.name, name) if inside(images, one)]
            places = [images / one / "img1" for one in inner] + [images / one for one in inner]
            places += [images / "img1", images] if info.names or not many else []
        there = frames_of(places, info, self.root, self.findings, images is None)
        counts = dict(frame.group_by(pl.col("frame").cast(pl.Int64)).len().iter_rows())
        numbers = set(info.names) or set(there) or set(range(1, (info.length or 0) + 1))
        if there and info.length and len(there) < info.length and not info.names:
            message = f"{len(there)} of the {info.length} frames in seqinfo.ini are on disk"
            self.find("missing-image", message, relative(own, self.root), "info")
        first = {}
        for number in sorted(numbers | counts.keys()):
            place = there.get(number)
            first[number] = len(self.images["path"])
            if place is None:
                place = places[-1] / info.names.get(number, f"{number:06d}{info.suffix}")
                self.missing.append((place.name, where, counts.get(number, 0)))
                self.missing_paths.add(str(place))
            known: list[str] | None = None if labelled else []
            group = name if info.group else None
            rate = {"rate": info.rate} if info.rate else {}
            extra = json.dumps({"mot": {"frame": number, **rate}})
            row = (str(place), info.width, info.height, sequence.split, group, known, extra)
            for column, value in zip(self.images.values(), row, strict=True):
                column.append(value)
        if frame.height:
            self.labels.append(self._labels(frame, first, sequence))

    def _labels(
        self, frame: pl.DataFrame, first: dict[int, int], sequence: _Sequence
    ) -> pl.DataFrame:
        """The rows of a file as labels, with the class by name."""
        file = sequence.file.parent / "labels.txt"
        listed: list[str] = []
        if sequence.kind == "gt" and file.is_file():
            lines = read_lines(file, relative(file, self.root), self.findings) or []
            listed = [name_in(line) or f"class {at}" for at, line in enumerate(lines, 1)]
            while listed and not lines[len(listed) - 1].strip():
                listed.pop()
            chosen = file.with_name("classes.txt")
            own = listed
            if chosen.is_file():
                lines = read_lines(chosen, relative(chosen, self.root), self.findings) or []
                own = [name_in(line) for line in lines if line.strip()]
            self.names |= dict.fromkeys(own)
        names: dict[float, str] = {float(at): one for at, one in enumerate(listed or CLASSES, 1)}
        # Only rows of MOT16 and later have a class; -1 is what others put there.
        kinds = pl.col("columns") < 10
        truth = sequence.kind == "gt"
        classes = pl.when(kinds & pl.col("a").is_finite() & (pl.col("a") != -1)).then(pl.col("a"))
        number: pl.Expr = classes if truth else pl.lit(None)
        frame = frame.with_columns(number.cast(pl.Float64).alias("class"))
        for value, record in (
            frame.filter(~pl.col("class").is_in(list(names)))
            .group_by("class", maintain_order=True)
            .agg(pl.col("record").first())
            .drop_nulls()
            .iter_rows()
        ):
            message = f"class {value:g} has no name; it is called 'class {value:g}'"
            self.find("unknown-class", message, record, "warning", "kept")
            names[value] = f"class {value:g}"
        default = listed[0] if len(listed) == 1 else CLASSES[0]
        name = pl.col("class").replace_strict(
            list(names), list(names.values()), default=default, return_dtype=pl.String
        )
        crowd = pl.lit(False) if listed else name == "crowd"
        ignored = pl.lit(False) if listed else name.is_in(list(DISTRACTORS))
        if truth:
            ignored = ignored | (pl.col("conf") == 0).fill_null(False)
        conf = pl.col("conf")
        scores = frame["conf"].drop_nulls()
        scores = scores.filter(scores != -1)
        likely = not truth and bool(((scores >= 0) & (scores <= 1)).all())
        if not truth and not likely:
            message = "scores outside 0..1 are no confidences; they are kept in extra only"
            self.find("bad-value", message, relative(sequence.file, self.root), "warning")
        frame = frame.with_columns(
            name.alias("name"),
            pl.when(crowd).then(pl.lit(True)).alias("iscrowd"),
            ignored.alias("ignore"),
            pl.when(pl.lit(likely) & (conf != -1)).then(conf).alias("score"),
        )
        return frame.select(
            pl.col("frame")
            .cast(pl.Int64)
            .replace_strict(first, return_dtype=pl.UInt32)
            .alias("image"),
            "name",
            (pl.col("left") - 1).alias("x1"),
            (pl.col("top") - 1).alias("y1"),
            (pl.col("left") - 1 + pl.col("width")).alias("x2"),
            (pl.col("top") - 1 + pl.col("height")).alias("y2"),
            "ignore",
            "iscrowd",
            pl.col("score").cast(pl.Float64),
            pl.lit(None if truth else "model", pl.String).alias("source"),
            pl.when(pl.col("id") >= 0).then(_text("id")).alias("track"),
            _inner(truth, likely).alias("inner"),
            "record",
            "left",
            "top",
            pl.col("width").alias("wide"),
            pl.col("height").alias("high"),
        )

    def others(self, folders: list[Path], truth: bool) -> None:
        """Say which files of rows are not read."""
        for folder in folders if truth else ():
            file = folder / "det" / "det.txt"
            if file.is_file():
                message = "detections, not ground truth: name the file to read it"
                self.find("left-out-file", message, relative(file, self.root), "info", KEPT_OUT)
        for parent in dict.fromkeys(folder.parent for folder in folders if folder != self.root):
            for entry in entries(parent / "results"):
                message = "results, not ground truth: name the file to read it"
                where = relative(Path(entry.path), self.root)
                self.find("left-out-file", message, where, "info", KEPT_OUT)

    def dataset(self) -> Dataset:
        self.findings += report_missing(self.missing, len(self.images["path"]), "img1/")
        images, unreadable = with_sizes(self.images, self.root, self.missing_paths)
        empty = pl.DataFrame(schema={"image": pl.UInt32, "name": pl.String})
        labels = pl.concat(self.labels) if self.labels else empty
        used = set(labels["name"].unique())
        order = [*self.names, *CLASSES]
        known = [name for name in dict.fromkeys(order) if name in used or name in self.names]
        names = [*known, *sorted(used - set(known))]
        number = {name: place for place, name in enumerate(names)}
        ids = pl.col("name").replace_strict(number, default=None, return_dtype=pl.Int32)
        labels, faults = tidy_boxes(labels.with_columns(ids.alias("class_id")), images)
        if labels.height:
            labels = labels.with_columns(_extra(labels))
        return Dataset(
            images,
            table(labels.drop("name"), LABEL_COLUMNS),
            Labels(names),
            findings=[*self.findings, *unreadable, *faults],
            root=str(self.root),
            task="detect",
        )


def _text(name: str) -> pl.Expr:
    """A number as JSON has it: whole ones without a point."""
    value = pl.col(name)
    whole = (value == value.floor()) & (value.abs() < 1e15)
    text = pl.when(whole).then(value.cast(pl.Int64, strict=False).cast(pl.String))
    return text.otherwise(value.cast(pl.String))


def _inner(truth: bool, likely: bool) -> pl.Expr:
    """Parts of `extra`: visibility where it is not 1, place in the world, odd scores."""
    fields = []
    if truth:
        seen = (pl.col("columns") == 9) & pl.col("b").is_finite() & (pl.col("b") != 1)
        fields.append((seen, pl.format('"visibility": {}', _text("b"))))
        # A flag other than 0 and 1 means the same as 1, but is to be written again.
        odd = pl.col("conf").is_finite() & ~pl.col("conf").is_in([0.0, 1.0])
        fields.append((odd, pl.format('"flag": {}', _text("conf"))))
    elif not likely:
        odd = pl.col("conf").is_finite() & (pl.col("conf") != -1)
        fields.append((odd, pl.format('"score": {}', _text("conf"))))
    world = pl.all_horizontal(pl.col(one).is_finite().fill_null(False) for one in "abc")
    world &= pl.any_horizontal(pl.col(one) != -1 for one in "abc") & (pl.col("columns") >= 10)
    fields.append((world, pl.format('"world": [{}, {}, {}]', *map(_text, "abc"))))
    parts = [pl.when(there.fill_null(False)).then(text) for there, text in fields]
    return pl.concat_str(parts, separator=", ", ignore_nulls=True)


def _extra(labels: pl.DataFrame) -> pl.Series:
    """The column `extra`; boxes that were cut at the picture's edge are kept as written."""
    cut = pl.any_horizontal(
        (pl.col("x1") - (pl.col("left") - 1)).abs() > _TINY,
        (pl.col("y1") - (pl.col("top") - 1)).abs() > _TINY,
        (pl.col("x2") - (pl.col("left") - 1 + pl.col("wide"))).abs() > _TINY,
        (pl.col("y2") - (pl.col("top") - 1 + pl.col("high"))).abs() > _TINY,
    )
    box = pl.when(cut).then(pl.format('"box": [{}, {}, {}, {}]', *map(_text, _RAW)))
    known = pl.when(pl.col("inner") != "").then("inner")
    inner = pl.concat_str(known, box, separator=", ", ignore_nulls=True)
    # Not `format`, which has its own use for braces.
    whole = pl.concat_str(pl.lit('{"mot": {'), inner, pl.lit("}}"))
    return labels.select(pl.when(inner != "").then(whole).alias("extra")).to_series()
