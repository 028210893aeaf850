"""What formats with text files beside their pictures share: KITTI, MOTChallenge, DOTA, ..."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from whatwhere.data.findings import KEPT_OUT, Finding
from whatwhere.data.formats._class_sets import name_in
from whatwhere.data.formats._files import add_sizes, entries, inside, is_picture, relative
from whatwhere.data.tables import IMAGE_COLUMNS, table
from whatwhere.errors import UsageError

# More findings of one kind tell nothing new; the rest are counted in one.
_MOST = 1000


def read_lines(file: Path, where: str, findings: list[Finding]) -> list[str] | None:
    """The lines of a text file, UTF-8; None and a finding where it cannot be read.

    Bytes that are no UTF-8 are replaced and reported, since they may be part of a name.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
        findings.append(Finding("damaged-annotation", message, where, "error", KEPT_OUT))
        return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"byte {error.start} is not UTF-8; such bytes are replaced"
        findings.append(Finding("damaged-annotation", message, where, "error", "replaced"))
        text = data.decode("utf-8-sig", "replace")
    # Not splitlines: it divides at characters that a class name may have.
    return re.split(r"\r\n|\n|\r", text)


def pictures_by_stem(
    folders: Iterable[Path], root: Path, findings: list[Finding], *, own: bool = True
) -> dict[str, Path]:
    """Pictures of some folders by their name without the ending; the first folder wins.

    Args:
        folders: where to look; those that are not there are passed over.
        root: findings show paths from here.
        findings: gets what is no picture, and pictures of one name.
        own: the folders belong to the data set, so that strangers there are worth a report.
    """
    found: dict[str, Path] = {}
    for folder in dict.fromkeys(folders):
        for entry in entries(folder):
            place = Path(entry.path)
            if entry.is_dir():
                continue
            if not is_picture(entry.name):
                if own:
                    where = relative(place, root)
                    findings.append(Finding("not-an-image", "not a picture", where, "info"))
            elif place.stem not in found:
                found[place.stem] = place
            elif found[place.stem].parent == folder:
                message = f"{found[place.stem].name} has the same name but for its ending"
                where = relative(place, root)
                findings.append(Finding("duplicate-name", message, where, "warning", KEPT_OUT))
    return found


def report_missing(
    missing: Sequence[tuple[str, str, int]], total: int, place: str, kept: bool = True
) -> list[Finding]:
    """Findings for pictures that are not on disk; one for all if none is there at all.

    Args:
        missing: name of each, where it is spoken of, and its number of labels.
        total: how many pictures there should be.
        place: where they were looked for.
        kept: whether they and their labels are in the data set all the same.
    """
    action = "kept" if kept else KEPT_OUT
    if missing and len(missing) == total:
        boxes = 0 if kept else sum(count for _, _, count in missing)
        message = f"none of {total} pictures is on disk, such as {missing[0][0]}; looked in {place}"
        return [Finding("missing-image", message, missing[0][1], "error", action, boxes)]
    found = [
        Finding(
            "missing-image",
            f"{name} is not on disk; looked in {place}",
            where,
            "error",
            action,
            0 if kept else count,
        )
        for name, where, count in missing[:_MOST]
    ]
    rest = missing[_MOST:]
    if rest:
        boxes = 0 if kept else sum(count for _, _, count in rest)
        message = f"{len(rest)} more pictures are not on disk, such as {rest[0][0]}"
        found.append(Finding("missing-image", message, rest[0][1], "error", action, boxes))
    return found


def with_sizes(
    images: dict[str, list[Any]], root: Path, missing: set[str]
) -> tuple[pl.DataFrame, list[Finding]]:
    """The table of pictures with sizes from their headers.

    Pictures in `missing` have been reported already, so they give no second finding.
    """
    frame = table(images, IMAGE_COLUMNS)
    there = pl.Series([path not in missing for path in frame["path"]], dtype=pl.Boolean)
    rows = pl.Series("row", range(frame.height), pl.UInt32)
    known, findings = add_sizes(frame.with_columns(row=rows).filter(there), root)
    widths, heights = frame["width"].to_list(), frame["height"].to_list()
    for row, width, height in known.select("row", "width", "height").iter_rows():
        widths[row], heights[row] = width, height
    return frame.with_columns(
        pl.Series("width", widths, pl.Int32), pl.Series("height", heights, pl.Int32)
    ), findings


def folder_name(name: str, what: str) -> str:
    """The name, if it can be that of a folder or file inside the data set.

    Raises:
        UsageError: it would leave the folder, or be hidden.
    """
    plain = name and not name.startswith(".") and not re.search(r"[/\\\0\n\r]", name)
    if not plain or inside(Path("/x"), name) != Path("/x") / name:
        raise UsageError(f"{what} {name!r} cannot be the name of a folder: rename it")
    return name


def words_of(names: Sequence[str], space: str) -> list[str]:
    """One word for each class name, for formats whose columns are divided by spaces.

    White space becomes `space`; names that would be the same word get a number.
    """
    words: list[str] = []
    taken = {name for name in names if not re.search(r"\s", name)}
    for name in names:
        word = re.sub(r"\s+", space, name.strip()) or space
        if word != name:
            first, number = word, 1
            while word in taken:
                number += 1
                word = f"{first}{space}{number}"
            taken.add(word)
        words.append(word)
    return words


def class_order(file: Path, root: Path, space: str, findings: list[Finding]) -> dict[str, str]:
    """Class name of each word, in the order of a list of names, one a line (`names_text`).

    Empty where there is no such file: it is our addition, to keep order and spaces.
    """
    if not file.is_file():
        return {}
    lines = read_lines(file, relative(file, root), findings) or []
    names = list(dict.fromkeys(name_in(line) for line in lines if line.strip()))
    return dict(zip(words_of(names, space), names, strict=True))


def shortest(
    values: NDArray[np.float64], same: Callable[[NDArray[np.float64]], NDArray[np.bool_]]
) -> NDArray[np.float64]:
    """Each value with as few decimals as read back the same, in any shape.

    Args:
        values: exact.
        same: for rounded values, whether each one still means the same.
    """
    result = values.copy()
    open_ = np.ones(values.shape, dtype=np.bool_)
    for digits in range(13):
        rounded = np.round(values, digits)
        good = open_ & same(rounded)
        result[good] = rounded[good]
        open_ &= ~good
        if not open_.any():
            break
    return result


def number_text(value: float) -> str:
    """Plain decimal text that reads back to the same float64: "12", "0.1"."""
    if value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return np.format_float_positional(value, unique=True, trim="-")
