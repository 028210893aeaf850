"""What the columns of a table of boxes mean, by their names; and well-known text."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from whatwhere.data.formats._files import head
from whatwhere.data.formats._outlines import outline
from whatwhere.data.formats._values import number
from whatwhere.images import IMAGE_SUFFIXES

PICTURE = (
    *("imagepath", "image", "filename", "imagefilename", "imagename", "imagefile", "filepath"),
    *("path", "file", "img", "imgpath", "imgname", "picture", "imageid"),
)
LABEL = ("label", "labels", "class", "classname", "labelname", "category", "categoryname", "name")
CORNERS = (
    ("xmin", "ymin", "xmax", "ymax"),
    ("x1", "y1", "x2", "y2"),
    ("xtl", "ytl", "xbr", "ybr"),
    ("left", "top", "right", "bottom"),
    ("minx", "miny", "maxx", "maxy"),
    ("bboxx1", "bboxy1", "bboxx2", "bboxy2"),
)
LENGTHS = (("bboxx", "bboxy", "bboxwidth", "bboxheight"), ("x", "y", "w", "h"))
_SIZES = (("imagewidth", "imageheight"), ("imgwidth", "imgheight"), ("width", "height"))
_OTHERS = {
    "score": ("score", "scores", "confidence", "conf"),
    "split": ("split", "subset"),
    "geometry": ("geometry", "wkt"),
    "id": ("imageid",),
}
_SAME = (
    *("group", "source", "track", "area", "segmentation", "keypoints", "attributes"),
    *("ignore", "difficult", "truncated", "occluded", "iscrowd"),
)


@dataclass
class Columns:
    """Which column is what: positions in a row.

    Args:
        delimiter: between the cells.
        picture, label: where they stand.
        sides: x1, y1, x2, y2, or x, y, width, height if `lengths`; None without them.
        lengths: whether the last two of `sides` are lengths.
        size: width and height of the picture.
        more: other columns that are known, by their names here.
        unknown: the others, by their names in the file.
        header: whether the first row has names.
        twice: names of `unknown` that several columns have; the last of them is read.
    """

    delimiter: str
    picture: int
    label: int
    sides: tuple[int, int, int, int] | None
    lengths: bool = False
    size: tuple[int, int] | None = None
    more: dict[str, int] = field(default_factory=dict)
    unknown: dict[str, int] = field(default_factory=dict)
    header: bool = True
    twice: tuple[str, ...] = ()


def columns_of(file: Path) -> Columns | None:
    """The columns of a table of boxes; None if the file is none. Never an error."""
    text = head(file).decode("utf-8-sig", "replace")
    line = text.lstrip("\r\n").partition("\n")[0]
    best = max(",;\t|", key=line.count)
    try:
        names = next(iter(csv.reader([line.rstrip("\r")], delimiter=best)), [])
    except csv.Error:
        return None
    return _headless(names, best) or _named(names, best)


def _headless(cells: Sequence[str], delimiter: str) -> Columns | None:
    """keras-retinanet's: path, x1, y1, x2, y2, class; all empty but the path without boxes."""
    if len(cells) != 6 or Path(cells[0].strip()).suffix.lower() not in IMAGE_SUFFIXES:
        return None
    numbers = [number(cell) for cell in cells[1:5]]
    empty = not any(cell.strip() for cell in cells[1:])
    if not empty and None in numbers:
        return None
    return Columns(delimiter, 0, 5, (1, 2, 3, 4), header=False)


def _named(names: Sequence[str], delimiter: str) -> Columns | None:
    known: dict[str, int] = {}
    for place, name in enumerate(names):
        known.setdefault(re.sub(r"[^a-z0-9]", "", name.lower()), place)
    # Open Images has a format of its own.
    if {"imageid", "labelname"} <= known.keys():
        return None
    picture = next((known[name] for name in PICTURE if name in known), None)
    label = next((known[name] for name in LABEL if name in known), None)
    if picture is None or label is None or picture == label:
        return None
    corners = next((one for one in CORNERS if set(one) <= known.keys()), None)
    spans = next((one for one in LENGTHS if set(one) <= known.keys()), None)
    chosen = corners or spans
    if chosen is None and known.keys().isdisjoint(_OTHERS["geometry"]):
        return None
    sides = None if chosen is None else tuple(known[name] for name in chosen)
    size = next((one for one in _SIZES if set(one) <= known.keys()), None)
    found = Columns(delimiter, picture, label, sides, corners is None and spans is not None)  # type: ignore[arg-type]
    found.size = None if size is None else (known[size[0]], known[size[1]])
    used = {picture, label, *(sides or ()), *(found.size or ())}
    wanted = _OTHERS | {name: (name,) for name in _SAME}
    for name, spellings in wanted.items():
        at = next((known[one] for one in spellings if one in known), None)
        if at is not None and at not in used:
            found.more[name] = at
            used.add(at)
    rest = [
        (name.strip(), place)
        for place, name in enumerate(names)
        if place not in used and name.strip() and not name.strip().lower().startswith("unnamed")
    ]
    found.unknown = dict(rest)
    counts = Counter(name for name, _ in rest)
    found.twice = tuple(name for name, count in counts.items() if count > 1)
    return found


def normal(name: str) -> str:
    """A column's name as it is compared."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def known_names() -> frozenset[str]:
    """Every name of a column that means something here."""
    groups = [PICTURE, LABEL, *CORNERS, *LENGTHS, *_SIZES, *_OTHERS.values(), _SAME]
    return frozenset(name for group in groups for name in group)


def polygons(text: str) -> list[list[int | float]] | None:
    """Outlines of a POLYGON or MULTIPOLYGON in well-known text, holes filled.

    Returns:
        None if it is something else, or damaged.
    """
    found = re.fullmatch(r"\s*(MULTI)?POLYGON\s*(?:(?:Z|M|ZM)\s*)?\((.*)\)\s*", text, re.I | re.S)
    if found is None:
        return None
    parts = [found[2]]
    if found[1]:
        parts = re.split(r"\)\s*\)\s*,\s*\(\s*\(", found[2])
    outlines = []
    for part in parts:
        ring = part.strip().lstrip("(").partition(")")[0]
        pairs = [point.split()[:2] for point in ring.split(",")]
        points = outline([list(pair) for pair in pairs])
        if points is None:
            return None
        outlines.append(points[:-2] if points[:2] == points[-2:] and len(points) > 6 else points)
    return outlines


def holes(text: str) -> int:
    """Number of holes in what `polygons` understood."""
    return len(re.findall(r"\([^()]+\)", text)) - len(polygons(text) or [])
