"""What the formats of classification share: sizes of many pictures, lists of class names."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import KEPT_OUT, Finding
from whatwhere.data.formats._files import add_sizes, inside, is_picture, unique_names
from whatwhere.data.formats._pictures import Pictures
from whatwhere.data.tables import BOX, tidy_boxes
from whatwhere.errors import ImageError, UsageError
from whatwhere.images import member, read_image, shown_path
from whatwhere.types import Image

MAX_PROBED = 20_000
"""In a larger set without boxes only a sample of the pictures is asked for its size."""

_SAMPLE = 1_000

MAX_TEXT = 64 << 20
"""Largest text file of names or numbers that is read, in bytes."""


def some_sizes(
    images: pl.DataFrame, root: Path, there: Sequence[bool] | None = None
) -> tuple[pl.DataFrame, list[Finding]]:
    """Fill in width and height; in large sets for a sample, evenly over the rows.

    Labels without boxes need no sizes, and opening a million files takes many minutes; the
    sample is for whoever chooses the size of a model's input. `Dataset.check` opens all.

    Args:
        images: the pictures.
        root: folder that findings are relative to.
        there: whether each picture is on disk; by default all are.
    """
    rows = np.arange(images.height) if there is None else np.flatnonzero(np.asarray(there))
    if rows.size > MAX_PROBED:
        rows = rows[np.linspace(0, rows.size - 1, _SAMPLE).astype(np.int64)]
    if rows.size == images.height:
        return add_sizes(images, root)
    known, findings = add_sizes(images[rows], root)
    columns = []
    for name in ("width", "height"):
        values = images[name].to_list()
        for row, value in zip(rows.tolist(), known[name].to_list(), strict=True):
            values[row] = value
        columns.append(pl.Series(name, values, pl.Int32))
    return images.with_columns(columns), findings


def tidy_some_boxes(
    labels: pl.DataFrame, images: pl.DataFrame
) -> tuple[pl.DataFrame, list[Finding]]:
    """As `tidy_boxes`, but a label without any side of a box stays: it is the whole picture's.

    Args:
        labels: with the columns of boxes.
        images: the pictures.
    """
    columns = labels.columns
    labels = labels.with_row_index("row")
    whole = pl.all_horizontal(pl.col(name).is_null() for name in BOX)
    tidy, findings = tidy_boxes(labels.filter(~whole), images)
    parts = [part.select("row", *columns) for part in (tidy, labels.filter(whole))]
    return pl.concat(parts, how="vertical_relaxed").sort("row").drop("row"), findings


def peek(folder: Path | str, count: int) -> list[os.DirEntry[str]]:
    """A few of a folder's entries in no order, hidden ones left out; a folder may have millions."""
    try:
        with os.scandir(folder) as found:
            return [one for one in islice(found, count) if not one.name.startswith(".")]
    except OSError:
        return []


def own_file(file: Path, root: Path) -> bool:
    """Whether there is such a file and it lies, links followed, in the data set's folder."""
    try:
        return file.is_file() and file.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):
        return False


def read_text(file: Path, root: Path) -> str | None:
    """A small text of the data set; None where it is missing, too large, not UTF-8, or outside."""
    try:
        if not own_file(file, root) or file.stat().st_size > MAX_TEXT:
            return None
        return file.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return None


_HALF = re.compile(r"\\u[dD][89a-fA-F]")


def parse_json(text: str) -> Any:
    """JSON without halves of surrogate pairs, which no table and no UTF-8 file can hold.

    Raises:
        ValueError, RecursionError: it is not JSON, or too deep.
    """
    value = json.loads(text)
    return _whole(value) if _HALF.search(text) else value


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, list):
        return [_whole(one) for one in value]
    if isinstance(value, dict):
        return {_whole(key): _whole(one) for key, one in value.items()}
    return value


def lines_of(text: str) -> list[str]:
    """The lines, ended by LF or CR LF only, without empty ones at the end."""
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def names_text(names: Iterable[str]) -> str:
    """A list of class names, one a line; odd ones as JSON strings. See `names_of`."""
    return "".join(f"{_line(name)}\n" for name in names)


def _line(name: str) -> str:
    odd = name != name.strip() or name.startswith('"') or not name.isprintable()
    return json.dumps(name) if odd else name


def name_in(line: str) -> str:
    """The class name in a line of `names_text`."""
    name = line.strip()
    if not name.startswith('"'):
        return name
    try:
        return str(parse_json(name))
    except (ValueError, RecursionError):
        return name


def names_of(text: str) -> list[str] | None:
    """The class names of a list, one a line; None if a name is empty or there twice."""
    names = [name_in(line) for line in lines_of(text)]
    if not names or len(set(names)) < len(names) or not all(name.strip() for name in names):
        return None
    return names


def single_classes(dataset: Dataset) -> list[int | None]:
    """Class of each picture of a `classify` set; None for a picture without a label."""
    ids = dataset.labels["class_id"].to_list()
    found: list[int | None] = []
    for row in range(len(dataset)):
        start, end = dataset.rows_of(row)
        found.append(ids[start] if end > start else None)
    return found


def unlabelled(dataset: Dataset, row: int) -> Finding:
    """The finding for a picture of a `classify` set that has no label."""
    message = "the picture has no label, so it has no place in the copy"
    where = shown_path(dataset.paths[row])
    return Finding("missing-labels", message, where, "error", KEPT_OUT)


def is_plain_name(name: str) -> bool:
    """Whether a name can be that of one file or folder, and is not hidden."""
    place = inside(Path("/x"), name)
    plain = place is not None and place.name == name and not name.startswith(".")
    return plain and "/" not in name and "\\" not in name and _fits(name)


def _fits(name: str) -> bool:
    try:
        return len(os.fsencode(name)) <= 200 and name == name.strip()
    except UnicodeEncodeError:
        return False


def need_pictures(pictures: Pictures, title: str) -> None:
    """Refuse "none" where labels and pictures are in one file, or are one.

    Raises:
        UsageError: labels without pictures are wanted.
    """
    if pictures.how == "none":
        raise UsageError(
            f"{title} cannot hold labels without the pictures: copy, link or reference them"
        )


def stored_pictures(
    dataset: Dataset, rows: Sequence[int], pictures: Pictures
) -> Iterator[tuple[int, Image]]:
    """Row and pixels of each picture that can be read, for formats that keep pixels in a file.

    What cannot be read becomes a finding of `pictures`.

    Returns:
        RGB uint8 (height, width, 3).
    """
    for row in rows:
        path = dataset.paths[row]
        try:
            image = read_image(path)
        except ImageError as error:
            pictures.findings.append(unreadable(path, error))
        else:
            yield row, image


def png_names(paths: Sequence[str]) -> list[str]:
    """A name for each picture when it is stored as raw pixels: its own, ending in .png."""
    inner = [member(path) for path in paths]
    named = [path if one is None else one.name for path, one in zip(paths, inner, strict=True)]
    return unique_names([f"{os.path.splitext(name)[0]}.png" for name in named])  # noqa: PTH122


def say_copied(dataset: Dataset, pictures: Pictures) -> None:
    """A finding where links were asked for, and pictures go into a file with others."""
    if pictures.how != "copy":
        message = f"{len(dataset)} pictures were copied, because the format keeps them in one file"
        pictures.findings.append(Finding("copied-image", message, "", "info", "copied"))


def unreadable(path: str, error: ImageError) -> Finding:
    """The finding for a picture that cannot be written, because it cannot be read."""
    inner = member(path)
    gone = not Path(path if inner is None else inner.file).is_file()
    if gone:
        where = shown_path(path)
        return Finding("missing-image", "the picture is not on disk", where, "error", KEPT_OUT)
    return Finding("unreadable-image", str(error), shown_path(path), "error", KEPT_OUT)


_ODD = re.compile(r"^/|\.\.|//|\./|[\\:\0]")


def _simple(name: str) -> bool:
    """Whether a relative path needs no closer look: most do not, and looking takes long."""
    return _ODD.search(name) is None


class Places:
    """Finds the pictures that an annotation names; each folder is listed once.

    Args:
        root: the data set's folder; nothing outside it is looked for.
        images: a folder that the user named: pictures are looked for by their path in it,
            and then by their name alone.
    """

    def __init__(self, root: Path, images: Path | None = None) -> None:
        self.root, self.images = root, images
        self._listed: dict[str, set[str]] = {}

    def outside(self, name: str) -> bool:
        """Whether the name leads out of the data set's folder."""
        return not name or (not _simple(name) and inside(self.root, name) is None)

    def find(self, name: str, bases: Sequence[Path | str]) -> tuple[str, bool]:
        """Path of a picture, and whether it is there; else where it would lie.

        Args:
            name: relative, and not `outside`.
            bases: folders inside the root that it may be relative to, the likeliest first.
        """
        text = name.replace("\\", "/")
        if self.images is not None:
            for short in (text, os.path.basename(text)):  # noqa: PTH119
                path = os.path.normpath(f"{self.images}/{short}")
                if self._exists(path):
                    return path, True
            base = os.path.basename(text)  # noqa: PTH119
            return os.path.normpath(f"{self.images}/{base}"), False
        first = ""
        for folder in bases:
            if _simple(text):
                path = f"{folder}/{text}"
            else:
                place = inside(Path(folder), text)
                if place is None or not place.is_relative_to(self.root):
                    continue
                path = str(place)
            first = first or path
            if self._exists(path):
                return path, True
        return first or os.path.normpath(f"{self.root}/{text}"), False

    def _exists(self, path: str) -> bool:
        folder, _, name = path.rpartition("/")
        listed = self._listed.get(folder)
        if listed is None:
            try:
                listed = set(os.listdir(folder))  # noqa: PTH208
            except OSError:
                listed = set()
            self._listed[folder] = listed
        return name in listed

    def unused(self, used: Iterable[str]) -> list[str]:
        """Pictures in the folders that were listed, but not among those used."""
        known = set(used)
        return sorted(
            path
            for folder, names in self._listed.items()
            for name in names
            if is_picture(name) and (path := f"{folder}/{name}") not in known
        )


def missing_images(
    gone: Sequence[tuple[str, str]], count: int, folder: str, boxes: int = 0
) -> list[Finding]:
    """Findings for pictures that are named and not there; one for all if none is there.

    Args:
        gone: (record, name) of each.
        count: pictures that are named at all.
        folder: where they were looked for.
        boxes: labels that each loses by it; 0 where the picture stays in the table.
    """
    action = KEPT_OUT if boxes else "kept"
    if gone and len(gone) == count and count > 1:
        message = (
            f"none of the {count} pictures is there (the first is {gone[0][1]}): name their"
            " folder with --images"
        )
        return [Finding("missing-image", message, folder, "error", action, boxes * count)]
    return [
        Finding("missing-image", f"the picture {name} is not there", where, "error", action, boxes)
        for where, name in gone
    ]
