"""Text files with a class and a box a line, one file a picture: ground truth or detections.

`name x1 y1 x2 y2 [difficult]` is what Cartucho's mAP tool reads from ground-truth/, and
`name confidence x1 y1 x2 y2` what it reads from detection-results/, with the pictures in
images-optional/; there the numbers are corners in pixels. Other tools (Padilla's
Object-Detection-Metrics) write other meanings of the four numbers to the same columns. They
are told apart by which of them gives boxes inside the pictures; where more than one does, it
must be said: format="text_boxes:xywh", see `OPTIONS`.

Corners are taken as they are, as continuous coordinates. A class that is a number is looked up
in a file *.names of the folder; without one, the number is the name.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import KEPT_OUT, Finding
from whatwhere.data.formats._files import add_sizes, entries, head, relative
from whatwhere.data.formats._small_files import read_all
from whatwhere.data.formats._text_encodings import OPTIONS, are_fractions, corners, only_one, shares
from whatwhere.data.formats._voc_layout import Found
from whatwhere.data.formats._yolo_layout import settings_file
from whatwhere.data.formats._yolo_lines import Lines, split_lines
from whatwhere.data.tables import BOX, IMAGE_COLUMNS, LABEL_COLUMNS, table, tidy_boxes
from whatwhere.errors import DataError, UsageError
from whatwhere.types import Labels, Task

NAME = "text_boxes"
TITLE = "Text files of boxes"
TASKS: frozenset[Task] = frozenset({"detect"})
HOLDS: frozenset[str] = frozenset()
LOOKS_FOR = "text files with lines of a class, perhaps a confidence, and four numbers"

__all__ = ["HOLDS", "LOOKS_FOR", "NAME", "OPTIONS", "TASKS", "TITLE", "read", "recognise"]

_TRUTH, _RESULTS, _PICTURES = "ground-truth", "detection-results", "images-optional"
_NUMBER = rb"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_LINE = re.compile(rb"\S+(?:[ \t]+%s){4,5}(?:[ \t]+difficult)?" % _NUMBER)


def recognise(path: Path) -> str | None:
    """See `formats`."""
    folder = path / _TRUTH if (path / _TRUTH).is_dir() else path
    if not path.is_dir() or settings_file(path) is not None:
        return None
    seen = 0
    for file in _files(folder)[:20]:
        lines = head(Path(file), 4096).splitlines()
        # The last line of what was read may be cut off.
        filled = [line.strip() for line in (lines[:-1] if len(lines) > 1 else lines)]
        filled = [line for line in filled if line]
        if not all(_LINE.fullmatch(line) for line in filled):
            return None
        seen += len(filled)
    return f"class and box a line in {relative(folder, path.parent)}" if seen else None


def _files(folder: Path) -> list[str]:
    return [e.path for e in entries(folder) if e.name.endswith(".txt") and e.is_file()]


def read(path: Path, images: Path | None = None, option: str | None = None) -> Dataset:
    """See `formats`; `option` is one of `OPTIONS`, what the four numbers mean."""
    if option is not None and option not in OPTIONS:
        known = "; ".join(f"{name} ({said})" for name, said in OPTIONS.items())
        raise UsageError(f"{option!r} is no meaning of four numbers: use one of {known}")
    folder = path / _TRUTH if (path / _TRUTH).is_dir() else path
    files = _files(folder) if path.is_dir() else []
    if not files:
        raise DataError(f"{path} is not a folder of text files: looked for {LOOKS_FOR}")
    return _Reader(path, folder, images, option).read(files)


class _Reader:
    """Gathers rows and findings of one data set."""

    def __init__(self, path: Path, folder: Path, images: Path | None, option: str | None) -> None:
        self.root, self.folder, self.option = path, folder, option
        inner = path / _PICTURES
        self.own = images is None
        self.pictures = images or (inner if inner.is_dir() else folder)
        self.findings: list[Finding] = []
        if folder != path and (path / _RESULTS).is_dir():
            message = f"{_RESULTS} beside {_TRUTH} is not read: give its own path to read it"
            self.find("not-read", message, _RESULTS, "info")

    def find(self, *args: Any) -> None:
        self.findings.append(Finding(*args))

    def shown(self, path: str) -> str:
        return relative(Path(path), self.root)

    def read(self, files: list[str]) -> Dataset:
        images, missing = self._images(files)
        contents = [one for answers in read_all(files) for one in answers]
        for file, content in zip(files, contents, strict=True):
            if isinstance(content, OSError):
                reason = content.strerror or "it cannot be read"
                self.find("damaged-annotation", reason, self.shown(file), "error", KEPT_OUT)
        lines = split_lines([b"" if isinstance(one, OSError) else one for one in contents])
        where = [self.shown(file) for file in files]
        rows = self._rows(lines, where)
        if not rows.height:
            raise DataError(f"{self.folder} has no line of a class and four numbers")
        sizes = images.select(pl.col("width", "height").cast(pl.Float64)).to_numpy()
        labels = self._boxes(rows, sizes, missing)
        names, ids = self._names(labels["name"].to_list())
        labels = labels.with_columns(class_id=pl.Series(ids, dtype=pl.Int32))
        labels, faults = tidy_boxes(labels.drop("name"), images)
        return Dataset(
            images,
            table(labels, LABEL_COLUMNS),
            Labels(names),
            findings=[*self.findings, *faults],
            root=str(self.root),
            task="detect",
        )

    def _images(self, files: list[str]) -> tuple[pl.DataFrame, list[int]]:
        """One picture a file, then those that have none; and which of them are not there."""
        found = Found(self.pictures)
        paths, missing = [], []
        for row, file in enumerate(files):
            stem = os.path.splitext(os.path.basename(file))[0]  # noqa: PTH119, PTH122
            path = found.get(stem)
            if path is None:
                missing.append(row)
                path = str(self.pictures / f"{stem}.jpg")
            paths.append(path)
        if len(missing) == len(files) > 1:
            message = f"none of the {len(files)} pictures is on disk: name their folder"
            self.find("missing-image", message, self.shown(files[0]), "error", "kept")
        else:
            for row in missing:
                message = "there is no picture for this file"
                self.find("missing-image", message, self.shown(files[row]), "error", "kept")
        rest = set(found.by_path.values()) - set(paths) if self.own else set()
        for path in sorted(rest):
            message = "there is no text file for this picture"
            where = self.shown(path)
            self.find("missing-labels", message, where, "warning", "read as background")
            paths.append(path)
        images = table({"path": paths}, IMAGE_COLUMNS)
        there = pl.Series([row not in set(missing) for row in range(len(paths))], dtype=pl.Boolean)
        sized, unreadable = add_sizes(images.filter(there), self.root)
        self.findings += unreadable
        images = pl.concat([images.filter(~there), sized])
        order = np.argsort(np.concatenate([np.flatnonzero(~there), np.flatnonzero(there)]))
        return images[order], missing

    def _rows(self, lines: Lines, where: list[str]) -> pl.DataFrame:
        """Columns image, name, v0..v3, score, difficult, record; bad lines are findings."""
        text = lines.text.str.replace_all(r"\s+", " ")
        difficult = text.str.ends_with(" difficult")
        text = text.str.strip_suffix(" difficult")
        count = text.str.count_matches(" ", literal=True) + 1
        scored = int((count == 6).sum()) > int((count == 5).sum())
        first = 2 if scored else 1
        frame = pl.DataFrame({"text": text, "difficult": difficult, "count": count})
        files = pl.Series(where, dtype=pl.String).gather(pl.Series(lines.file))
        frame = frame.with_columns(
            image=pl.Series(lines.file).cast(pl.UInt32),
            record=pl.concat_str(files, pl.lit(":"), pl.Series(lines.line).cast(pl.String)),
            parts=pl.col("text").str.splitn(" ", 6),
        ).unnest("parts")
        frame = frame.with_columns(
            *(
                pl.col(f"field_{first + at}").cast(pl.Float64, strict=False).alias(f"v{at}")
                for at in range(4)
            ),
            name=pl.col("field_0"),
            score=pl.col("field_1").cast(pl.Float64, strict=False)
            if scored
            else pl.lit(None, pl.Float64),
        )
        numbers = pl.all_horizontal(
            pl.col(f"v{at}").is_finite().fill_null(False) for at in range(4)
        )
        bad = (pl.col("count") != first + 4) | ~numbers
        wanted = "a class, a confidence and four numbers" if scored else "a class and four numbers"
        for line, record in frame.filter(bad).select("text", "record").iter_rows():
            self.find("bad-box", f"{line[:60]!r} is not {wanted}", record, "error", KEPT_OUT, 1)
        frame = frame.filter(~bad)
        if scored:
            unsure = ~pl.col("score").is_between(0, 1).fill_null(False)
            for line, record in frame.filter(unsure).select("field_1", "record").iter_rows():
                message = f"the second column, {line[:20]}, is not a confidence of 0 to 1"
                self.find("bad-value", message, record, "error", KEPT_OUT, 1)
            frame = frame.filter(~unsure)
        # What has a confidence is a model's answer.
        source = pl.lit("model" if scored else None, pl.String)
        columns = ("image", "name", "v0", "v1", "v2", "v3", "score", "difficult", "record")
        return frame.select(*columns, source=source)

    def _boxes(self, rows: pl.DataFrame, sizes: Any, missing: list[int]) -> pl.DataFrame:
        values = rows.select("v0", "v1", "v2", "v3").to_numpy()
        own = sizes[rows["image"].to_numpy()]
        option = self.option or self._meaning(values, own, rows["score"].to_numpy())
        boxes = corners(values, own, option)
        columns = [pl.Series(name, boxes[:, at]) for at, name in enumerate(BOX)]
        rows = rows.with_columns(*columns, ignore=pl.col("difficult"))
        if option.startswith("rel-"):
            unknown = np.isnan(own).any(axis=1)
            if unknown.all():
                raise DataError(
                    f"none of the pictures of {self.folder} can be read: name the folder that they"
                    " are in, since fractions mean nothing without their sizes"
                )
            for record in rows.filter(pl.Series(unknown))["record"]:
                message = "the size of the picture is not known"
                kind = "missing-image" if missing else "unreadable-image"
                self.find(kind, message, record, "error", KEPT_OUT, 1)
            rows = rows.filter(pl.Series(~unknown))
        return rows

    def _meaning(self, values: Any, sizes: Any, scores: Any) -> str:
        """What the numbers mean: by the folder's name, or by what fits."""
        cartucho = self.folder.name in (_TRUTH, _RESULTS)
        if cartucho and not are_fractions(values):
            return "xyxy"
        found = shares(values, sizes)
        scored = scores.size and not np.isnan(scores).any()
        if scored and are_fractions(values):
            # YOLO's results have the confidence behind the box.
            behind = np.concatenate([scores[:, None], values[:, :3]], axis=1)
            yolo = shares(behind, sizes)["rel-cxcywh"]
            if yolo >= max(found.values()) - 0.02:
                raise DataError(
                    f"{self.folder} may have the confidence before or behind the box: add"
                    " classes.txt and read it as yolo, or say what it is with"
                    " format='text_boxes:rel-cxcywh'"
                )
        option = only_one(found)
        if option is not None:
            return option
        count = len(values)
        said = ", ".join(
            f"{name} ({OPTIONS[name]}; {share:.0%} of {count} boxes make sense)"
            for name, share in found.items()
        )
        raise DataError(
            f"the four numbers in {self.folder} cannot be told apart: they may be {said}; say"
            f" which with format='text_boxes:{max(found, key=found.__getitem__)}'"
        )

    def _names(self, labels: list[str]) -> tuple[list[str], list[int]]:
        """The class names, and the class of each label."""
        seen = dict.fromkeys(labels)
        if seen and all(re.fullmatch(r"[0-9]{1,6}", name) for name in seen):
            listed = self._listed()
            if listed and max(map(int, seen)) < len(listed):
                names = list(dict.fromkeys(listed))
                return names, [names.index(listed[int(name)]) for name in labels]
            names = sorted(seen, key=int)
            message = "classes are numbers: a file *.names in the folder would name them"
            self.find("no-class", message, self.shown(str(self.folder)), "info", "kept")
        else:
            names = sorted(seen)
        ids = {name: number for number, name in enumerate(names)}
        return names, [ids[name] for name in labels]

    def _listed(self) -> list[str]:
        for folder in (self.folder, self.root):
            for entry in entries(folder):
                if entry.name.endswith(".names") and entry.is_file():
                    text = Path(entry.path).read_text("utf-8-sig", "replace")
                    return [line.strip() for line in text.splitlines() if line.strip()]
        return []
