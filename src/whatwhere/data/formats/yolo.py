"""YOLO text labels, one file a picture.

Layouts: data.yaml as Ultralytics and Roboflow have it (train, val, test and other keys name a
folder, a list of pictures or several of them; images/ and labels/); darknet's obj.data with
obj.names, train.txt and obj_train_data/; classes.txt beside text files, as labelImg and Label
Studio write it. What a line may be stands in `_yolo_lines`.

Fractions refer to the picture as it is shown, so every picture's header is read for its size.
Where the pictures lie elsewhere (`images`), each label file's picture is found there by name.
Outlines and key points are read to a millionth of a pixel.
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
from whatwhere.data.formats._files import (
    add_sizes,
    entries,
    inside,
    is_picture,
    relative,
    split_name,
)
from whatwhere.data.formats._small_files import read_all, read_small
from whatwhere.data.formats._voc_layout import Found
from whatwhere.data.formats._yolo_layout import (
    LOOKS_FOR,
    Layout,
    find_layout,
    is_label_file,
    label_folder,
    resolve,
    settings_file,
)
from whatwhere.data.formats._yolo_lines import parse_lines, split_lines
from whatwhere.data.formats._yolo_write import holds, write
from whatwhere.data.tables import IMAGE_COLUMNS, LABEL_COLUMNS, table, tidy_boxes
from whatwhere.errors import DataError
from whatwhere.types import Labels, Task

__all__ = ["HOLDS", "LOOKS_FOR", "NAME", "TASKS", "TITLE", "holds", "read", "recognise", "write"]

NAME = "yolo"
TITLE = "YOLO"
TASKS: frozenset[Task] = frozenset({"detect"})
HOLDS = frozenset({"split"})


def recognise(path: Path) -> str | None:
    """See `formats`."""
    found = settings_file(path)
    if found is None:
        return None
    what = {"yaml": "names and splits", "data": "names and lists", "names": "class names"}
    return f"{what[found[1]]} in {relative(found[0], path.parent)}"


def read(path: Path, images: Path | None = None) -> Dataset:
    """See `formats`; `path` may be the YAML or .data file, too."""
    layout = find_layout(path)
    if layout is None:
        raise DataError(f"{path} is not a YOLO data set: looked for {LOOKS_FOR}")
    return _Reader(layout, images).read()


class _Reader:
    """Gathers rows and findings of one data set."""

    def __init__(self, layout: Layout, images: Path | None) -> None:
        self.layout, self.root = layout, layout.root
        self.start = f"{self.root}{os.sep}"
        self.findings = list(layout.findings)
        self.elsewhere = None if images is None else Found(images)
        self.splits: dict[str, str | None] = {}  # path of the picture -> split
        self.labels: dict[str, str] = {}  # path of the picture -> its label file
        self.absent: list[tuple[str, str, str]] = []  # where, message, label file
        self.folders: dict[str, None] = {}  # folders of label files
        self.known: dict[str, tuple[str, set[str]] | None] = {}
        self.doubles: dict[tuple[str, str], list[str]] = {}
        self.names = list(dict.fromkeys(layout.names))
        ids = {name: number for number, name in enumerate(self.names)}
        self.class_ids = np.array([ids[name] for name in layout.names], np.int64)

    def find(self, *args: Any) -> None:
        self.findings.append(Finding(*args))

    def shown(self, path: str) -> str:
        inside = path.startswith(self.start)
        return path[len(self.start) :].replace(os.sep, "/") if inside else path

    def read(self) -> Dataset:
        for split, name in self.layout.sources:
            self._source(split, name)
        if not self.layout.sources:
            self._below(str(self.root), None, True)
        if self.elsewhere is not None:
            count = len(self.elsewhere.by_path) - len(self.splits)
            if count > 0:
                message = f"{count} pictures of the folder have no label file"
                where = str(self.elsewhere.folder)
                self.find("missing-labels", message, where, "info", "left out")
        self._say_doubles()
        self._say_absent()
        pictures = list(self.splits)
        images = table({"path": pictures, "split": list(self.splits.values())}, IMAGE_COLUMNS)
        images, unreadable = add_sizes(images, self.root)
        self.findings += unreadable
        labels = self._read_labels([self.labels[one] for one in pictures], images)
        self._orphans()
        labels, faults = tidy_boxes(labels, images)
        more = {"yolo": dict(self.layout.more)} if self.layout.more else {}
        return Dataset(
            images,
            table(labels, LABEL_COLUMNS),
            Labels(self.names),
            findings=[*self.findings, *faults],
            root=str(self.root),
            task="detect",
            info=more,
        )

    def _source(self, split: str | None, name: str) -> None:
        place, inner = resolve(self.layout, name)
        file = relative(self.layout.file, self.root)
        key = split or "unsplit"
        if place is None and self.elsewhere is not None:
            # The pictures' folder is not there, but that of the labels may be.
            name = re.sub(r"(^|/)images(?=/|$)", r"\1labels", name)
            place, inner = resolve(self.layout, name)
        if place is None:
            message = f"{key}: {name!r} is not there, or not inside the data set's folder"
            self.find("missing-split", message, file, "error", KEPT_OUT)
            return
        if inner != name:
            message = f"{key}: {name!r} is not inside the data set's folder"
            self.find("path-outside", message, file, "info", f"{inner} is used")
        if place.is_file():
            self._listed(place, split)
        else:
            self._below(str(place), split, False)

    def _below(self, folder: str, split: str | None, named: bool) -> None:
        """The pictures in a folder and below it; `named`: folders below may say the split."""
        mapped = label_folder(self.root, folder)
        if self.elsewhere is not None:
            self._labels_below(mapped, split, named)
            return
        self.folders[mapped] = None
        for entry in entries(Path(folder)):
            if entry.is_dir():
                inner = split_name(entry.name) if named and split is None else None
                self._below(entry.path, split or inner, named)
            elif is_picture(entry.name):
                self._picture(entry.path, split, mapped)
            elif not named and not entry.name.endswith(".txt"):
                self.find("stray-file", "not a picture", self.shown(entry.path), "info")

    def _labels_below(self, folder: str, split: str | None, named: bool) -> None:
        """The label files in a folder and below it, whose pictures are elsewhere."""
        for entry in entries(Path(folder)):
            if entry.is_dir():
                inner = split_name(entry.name) if named and split is None else None
                self._labels_below(entry.path, split or inner, named)
            elif is_label_file(entry):
                self._elsewhere(entry.path, self.shown(entry.path), split)

    def _picture(self, path: str, split: str | None, labels: str) -> None:
        if path in self.splits:
            first = self.splits[path]
            # What is listed as `unsplit` belongs to no split, wherever else it is.
            if first is not None and split is not None and first != split:
                self.doubles.setdefault((first, split), []).append(path)
            return
        self.splits[path] = split
        stem = os.path.splitext(os.path.basename(path))[0]  # noqa: PTH119, PTH122
        self.labels[path] = f"{labels}{os.sep}{stem}.txt"

    def _elsewhere(self, label: str, where: str, split: str | None) -> None:
        """The picture of a label file, in the folder that the user named."""
        assert self.elsewhere is not None
        key = os.path.splitext(self.shown(label))[0]  # noqa: PTH122
        keys = [key]
        while "/" in key:
            key = key.partition("/")[2]
            keys.append(key)
        path = self.elsewhere.get(*keys)
        if path is None:
            self.absent.append((where, "there is no picture for this label file", label))
        elif path in self.splits:
            message = f"its picture has a label file already, {self.shown(self.labels[path])}"
            content = read_small(label)
            count = 0 if isinstance(content, OSError) else _count(content)
            if self.labels[path] != label:
                self.find("duplicate-entry", message, where, "error", KEPT_OUT, count)
            else:
                self._picture(path, split, "")
        else:
            self.splits[path], self.labels[path] = split, label

    def _listed(self, file: Path, split: str | None) -> None:
        """Pictures that a text file lists, one a line."""
        where = relative(file, self.root)
        for number, line in enumerate(file.read_text("utf-8-sig", "replace").splitlines(), 1):
            name = line.strip().replace("\\", "/")
            if not name:
                continue
            folder, _, last = name.rpartition("/")
            if folder not in self.known:
                self.known[folder] = self._folder(file.parent, folder)
            known = self.known[folder]
            record = f"{where}:{number}"
            if known is None:
                message = f"{name} is not inside the data set's folder"
                self.find("path-outside", message, record, "error", KEPT_OUT)
                continue
            place, pictures = known
            mapped = label_folder(self.root, place)
            if last in pictures:
                self.folders[mapped] = None
                self._picture(f"{place}{os.sep}{last}", split, mapped)
                continue
            stem = os.path.splitext(last)[0]  # noqa: PTH122
            label = f"{mapped}{os.sep}{stem}.txt"
            if self.elsewhere is not None:
                self._elsewhere(label, record, split)
            else:
                self.absent.append((record, f"{name} is not on disk", label))

    def _folder(self, start: Path, name: str) -> tuple[str, set[str]] | None:
        """The folder that a list names, and what is in it.

        Lists count from their own folder ("./images/a.jpg"), from the root, or from one that is
        not there ("data/obj_train_data/a.jpg").
        """
        layout = self.layout
        own = Layout(layout.root, layout.file, "", [], start)
        place, _ = resolve(own, name or ".")
        if place is not None and place.is_dir():
            return str(place), {entry.name for entry in entries(place)}
        inner = inside(self.root, name)
        return None if inner is None else (str(inner), set())

    def _say_doubles(self) -> None:
        """Pictures that are in two splits."""
        for (first, second), paths in self.doubles.items():
            if len(paths) == sum(split == first for split in self.splits.values()) > 1:
                file = relative(self.layout.file, self.root)
                message = (
                    f"{second} has the same {len(paths)} pictures as {first}, and counts as it"
                )
                self.find("two-splits", message, file, "error")
                continue
            for path in paths:
                message = f"the picture is in {first} and in {second}"
                self.find("two-splits", message, self.shown(path), "error")

    def _say_absent(self) -> None:
        """Pictures that are listed, or have labels, and are not there."""
        if self.absent and not self.splits:
            how = "are not in that folder" if self.elsewhere else "are not on disk"
            raise DataError(
                f"the {len(self.absent)} pictures of {self.root} {how}: name the folder that they"
                " are in, since YOLO's fractions mean nothing without their sizes"
            )
        for where, message, label in self.absent:
            content = read_small(label)
            count = 0 if isinstance(content, OSError) else _count(content)
            self.find("missing-image", message, where, "error", KEPT_OUT, count)

    def _read_labels(self, files: list[str], images: pl.DataFrame) -> pl.DataFrame:
        sizes = images.select(pl.col("width", "height").cast(pl.Float64)).to_numpy()
        frames = []
        first = 0
        for answers in read_all(files):
            rows, contents = [], []
            for row, answer in enumerate(answers, first):
                if isinstance(answer, OSError):
                    self._no_labels(images["path"][row], files[row], answer)
                elif answer:
                    rows.append(row)
                    contents.append(answer)
            first += len(answers)
            where = [self.shown(files[row]) for row in rows]
            lines = split_lines(contents)
            frame, faults = parse_lines(
                lines,
                sizes[np.array(rows, np.int64)],
                len(self.class_ids),
                self.layout.kpt_shape,
                where,
            )
            self.findings += faults
            files_of = pl.Series(where, dtype=pl.String).gather(frame["file"])
            frame = frame.with_columns(
                image=pl.Series(np.array(rows, np.uint32)[frame["file"].to_numpy()]),
                class_id=pl.Series(self.class_ids[frame["number"].to_numpy().astype(np.int64)]),
                record=pl.concat_str(files_of, pl.lit(":"), frame["line"].cast(pl.String)),
            )
            frames.append(frame.drop("file", "line", "number"))
        labels = pl.concat(frames) if frames else pl.DataFrame(schema=LABEL_COLUMNS)
        return self._of_known_size(labels, sizes)

    def _of_known_size(self, labels: pl.DataFrame, sizes: Any) -> pl.DataFrame:
        unknown = np.isnan(sizes).any(axis=1)[labels["image"].to_numpy()]
        if not unknown.any():
            return labels
        for record in labels.filter(pl.Series(unknown))["record"]:
            message = "the size of the picture is not known"
            self.find("unreadable-image", message, record, "error", KEPT_OUT, 1)
        return labels.filter(pl.Series(~unknown))

    def _no_labels(self, picture: str, file: str, error: OSError) -> None:
        where = self.shown(picture)
        if isinstance(error, FileNotFoundError):
            message = f"there is no {self.shown(file)} for this picture"
            self.find("missing-labels", message, where, "warning", "read as background")
        else:
            reason = error.strerror or "it cannot be read"
            self.find("missing-labels", reason, self.shown(file), "error", KEPT_OUT)

    def _orphans(self) -> None:
        """Label files of which the picture is not there."""
        expected = {*self.labels.values(), *(label for _, _, label in self.absent)}
        for folder in self.folders:
            for entry in entries(Path(folder)):
                if entry.path in expected or not is_label_file(entry):
                    continue
                content = read_small(entry.path)
                count = 0 if isinstance(content, OSError) else _count(content)
                message = "there is no picture for this label file"
                self.find(
                    "missing-image", message, self.shown(entry.path), "error", KEPT_OUT, count
                )


def _count(content: bytes) -> int:
    return sum(bool(line.strip()) for line in content.splitlines())
