"""Which form a file of predictions is in, read off its content."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from whatwhere.data import Dataset
from whatwhere.errors import DataError, UsageError
from whatwhere.evaluation.gathered import Gathered
from whatwhere.evaluation.saved_csv import gather_csv, header_of
from whatwhere.evaluation.saved_lines import gather_lines
from whatwhere.evaluation.saved_text import class_of, fits_yolo, gather_voc, gather_yolo, text_files
from whatwhere.evaluation.stream import first_character

FORMS = ("lines", "coco", "yolo", "csv", "voc")
"""Forms of saved predictions: our JSON lines, COCO results, YOLO text, tables, VOC text."""

GATHER: dict[str, Callable[[Path, Gathered], None]] = {
    "lines": gather_lines,
    "yolo": gather_yolo,
    "csv": gather_csv,
    "voc": gather_voc,
}


def form_of(path: Path, data: Dataset, wanted: str | None = None) -> str:
    """One of `FORMS`.

    Args:
        path: the file or folder.
        data: the labelled pictures: names of pictures and classes tell text files apart.
        wanted: what the user says it is.

    Raises:
        UsageError: an unknown form is wanted, or the path is missing.
        DataError: it is none of them, or empty.
    """
    if wanted is not None and wanted not in FORMS:
        raise UsageError(f"unknown form of predictions {wanted!r}: use one of {', '.join(FORMS)}")
    if path.is_dir():
        if wanted in ("lines", "coco", "csv"):
            raise UsageError(f"{path} is a folder, and predictions of the form {wanted} are a file")
        return wanted or _of_folder(path, data)
    first = first_character(path)
    if wanted is not None:
        return wanted
    if first in "[{":
        return "coco" if first == "[" else "lines"
    if header_of(path, data) is not None:
        return "csv"
    words = _first_words(path)
    if path.suffix.lower() == ".txt" and len(words) in (2, 5, 6, 7):
        return _of_text([path], data)
    # The table names what is missing in a header; other files are damaged JSON lines.
    return "csv" if path.suffix.lower() in (".csv", ".tsv") else "lines"


def _of_folder(path: Path, data: Dataset) -> str:
    files = text_files(path)
    if not files:
        raise DataError(
            f"{path} holds no .txt file of predictions: give YOLO's labels (save_txt=True"
            " save_conf=True), VOC's comp4_det_test_CLASS.txt, or one file of another form"
        )
    return _of_text(files, data)


def _of_text(files: list[Path], data: Dataset) -> str:
    known = frozenset(data.names)
    pictures = fits_yolo(files, data)
    classes = sum(class_of(file, known) is not None for file in files)
    if not pictures and not classes:
        raise DataError(
            f"{files[0]} is named neither as a picture nor as a class of {data.source}: give the"
            " data set that was predicted, or say what it is by --predictions-format yolo or voc"
        )
    return "yolo" if pictures >= classes else "voc"


def _first_words(path: Path) -> list[str]:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        for line in file:
            if line.strip():
                return line.split()
    return []
