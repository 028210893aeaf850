"""Predictions as text files: YOLO's, one file a picture, and VOC's, one file a class.

- YOLO, as Ultralytics writes it with `save_txt` and `save_conf`: `class cx cy width height conf`
  a line, fractions of the picture; a track number may follow. Classes are places in the list of
  the data's classes, or in `classes.txt` beside the files.
- VOC, `comp4_det_test_CLASS.txt`: `picture score x1 y1 x2 y2` a line, pixels counted from 1, the
  last one included (VOC2012 devkit, section 5.2.2); `comp2_cls_test_CLASS.txt`: `picture score`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from whatwhere.data import Dataset
from whatwhere.errors import DataError, ImageError
from whatwhere.evaluation.gathered import Gathered
from whatwhere.images import probe_image

_CLASS_LISTS = frozenset({"classes.txt", "obj.names", "names.txt"})
_DEVKIT = re.compile(r"comp\d+_(?:det|cls)_[^_]+_(.+)")


def text_files(path: Path) -> list[Path]:
    """The files of predictions in a folder, or in its folder `labels`; or the file itself."""
    if path.is_file():
        return [path]
    for folder in (path, path / "labels"):
        found = sorted(file for file in folder.glob("*.txt") if file.name not in _CLASS_LISTS)
        if found:
            return found
    return sorted(file for file in path.rglob("*.txt") if file.name not in _CLASS_LISTS)


def class_of(file: Path, names: Sequence[str] | frozenset[str]) -> str | None:
    """The class that a file of VOC's form is about, by its name; None if it is about none."""
    devkit = _DEVKIT.fullmatch(file.stem)
    if devkit:
        return devkit[1]
    parts = file.stem.split("_")
    ends = ("_".join(parts[place:]) for place in range(len(parts)))
    return next((end for end in ends if end in names), None)


def gather_yolo(path: Path, gathered: Gathered) -> None:
    """Read YOLO's text files; a picture without a file has no boxes.

    Raises:
        DataError: a line is damaged, or the size of a picture is not known.
    """
    files = text_files(path)
    if not files:
        raise DataError(
            f"{path} has no .txt file: predict with  save_txt=True save_conf=True  and give the"
            " folder of the labels"
        )
    folder = path if path.is_dir() else path.parent
    names = _listed(files[0].parent) or list(gathered.data.names)
    ids = np.append(gathered.class_ids(names), -1)
    for file in files:
        table, numbers = _table(file, (6, 7), "class cx cy width height confidence")
        name = str(file.relative_to(folder).with_suffix(""))
        row = gathered.row_once(name, str(file), stem=True)
        if row is None:
            continue
        kind = table[:, 0]
        odd = np.flatnonzero((kind != np.floor(kind)) | (kind < 0))
        if len(odd):
            raise DataError(
                f"{file}:{numbers[odd[0]]} has the class {kind[odd[0]]:g}: give a whole number"
                " from 0"
            )
        for number in np.unique(kind[kind >= len(names)]).tolist():
            gathered.unknown.add(f"class {int(number)}")
        middle, half = table[:, 1:3], table[:, 3:5] / 2
        corners = np.concatenate([middle - half, middle + half], axis=1)
        places = [f"{file}:{number}" for number in numbers]
        gathered.add_boxes(
            row,
            ids[np.minimum(kind, len(names)).astype(np.int64)],
            table[:, 5],
            corners * np.tile(_size(gathered, row), 2),
            places,
        )


def gather_voc(path: Path, gathered: Gathered) -> None:
    """Read VOC's text files.

    Raises:
        DataError: a line is damaged, or the name of a file does not say its class.
    """
    files = text_files(path)
    if not files:
        raise DataError(f"{path} has no .txt file: name them as comp4_det_test_CLASS.txt")
    known = frozenset(gathered.data.names)
    for file in files:
        name = class_of(file, known)
        if name is None:
            raise DataError(
                f"{file.name} does not end with a class of {gathered.data.source}: name it as"
                " comp4_det_test_CLASS.txt"
            )
        pictures: list[str] = []
        table, numbers = _table(file, (5, 1), "picture score x1 y1 x2 y2", pictures)
        rows = [
            gathered.row(picture, f"{file}:{number}", stem=True)
            for picture, number in zip(pictures, numbers, strict=True)
        ]
        inside = np.array([row is not None for row in rows], dtype=bool)
        image = np.array([row for row in rows if row is not None], dtype=np.int64)
        ids = np.repeat(gathered.class_ids([name]), len(image))
        table = table[inside]
        if table.shape[1] == 1:
            gathered.add_labels(image, ids, table[:, 0])
            continue
        places = [f"{file}:{number}" for number in np.array(numbers, np.int64)[inside].tolist()]
        gathered.add_boxes(image, ids, table[:, 0], table[:, 1:] - (1, 1, 0, 0), places)


def fits_yolo(files: Sequence[Path], data: Dataset) -> int:
    """How many files are named as pictures of the data are."""
    stems = {Path(path).stem for path in data.paths}
    return sum(file.stem in stems for file in files)


def _listed(folder: Path) -> list[str] | None:
    """The classes of a list beside the files."""
    for place in (folder, folder.parent):
        for name in sorted(_CLASS_LISTS):
            if (place / name).is_file():
                text = (place / name).read_text(encoding="utf-8-sig", errors="replace")
                return [line.strip() for line in text.splitlines() if line.strip()]
    return None


def _size(gathered: Gathered, row: int) -> NDArray[np.float64]:
    size: NDArray[np.float64] = gathered.sizes[row]
    if np.isnan(size).any():
        try:
            info = probe_image(gathered.data.paths[row])
        except ImageError as error:
            raise DataError(
                f"the size of {gathered.data.paths[row]} is not known, and its boxes are fractions"
                f" of it ({error})"
            ) from error
        size[:] = info.width, info.height
    return size


def _table(
    file: Path, widths: tuple[int, int], form: str, first: list[str] | None = None
) -> tuple[NDArray[np.float64], list[int]]:
    """The numbers of a file, float64 (N, columns), and the line of each row from 1.

    Args:
        widths: how many numbers a line may have; all lines have as many as the first one.
        form: of a line, for messages.
        first: gets the first word of each line, which is no number then.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not a text file: give lines of  {form}") from error
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror}): check the path") from error
    rows: list[list[float]] = []
    numbers: list[int] = []
    for number, line in enumerate(text.split("\n"), 1):
        words = line.split()
        if not words:
            continue
        wanted = (len(rows[0]),) if rows else widths
        try:
            values = [float(word) for word in (words if first is None else words[1:])]
        except ValueError:
            values = []
        if len(values) not in wanted or not np.isfinite(values).all():
            raise DataError(
                f"{file}:{number} is {line.strip()[:60]!r}{_advice(words, form, first)}"
            )
        if first is not None:
            first.append(words[0])
        rows.append(values)
        numbers.append(number)
    columns = len(rows[0]) if rows else widths[0]
    return np.array(rows, dtype=np.float64).reshape(-1, columns), numbers


def _advice(words: Sequence[str], form: str, first: list[str] | None) -> str:
    if first is None and len(words) == 5:
        return ", which has no confidence: predict with  save_conf=True"
    return f": give finite numbers, {form}"
