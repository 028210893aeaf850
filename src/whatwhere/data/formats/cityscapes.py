"""Cityscapes: gtFine, gtCoarse, gtBbox3d or CityPersons JSON, beside leftImg8bit/.

Source: cityscapesScripts, helpers/annotation.py and helpers/labels.py. A file is
<kind>/<split>/<city>/<city>_<sequence>_<frame>_<kind>....json; `group` is "city/sequence".

- Polygons (gtFine, gtCoarse): the box encloses the corners, which `segmentation` keeps.
  Only labels of single objects become boxes; road, sky and the like are counted in a finding.
  "cargroup" is a crowd of cars, ignored; caravan and trailer are ignored, as in the
  benchmark. Labels that Cityscapes does not have are classes of their own.
- Boxes in space (gtBbox3d): the box is the visible part ("modal"); the whole object stands
  in `extra`, the camera in that of the picture, regions to ignore are labels to be ignored.
- CityPersons: the box is the whole body; the visible part stands in `extra`.

One kind is read, polygons first; name the folder of another to read that. Pictures whose
annotation has nothing but the camera's own frame, as in the test split, count as unlabelled.
Our writer adds classes.txt, a class name a line, for their order.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl

from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import KEPT_OUT, Finding
from whatwhere.data.formats._cityscapes_parts import (
    ENDINGS,
    FRAME,
    INSTANCES,
    PICTURE,
    Meaning,
    group_of,
    meaning,
    person_meaning,
)
from whatwhere.data.formats._cityscapes_write import json_number, write
from whatwhere.data.formats._files import entries, folders_below, relative, split_name
from whatwhere.data.formats._label_files import (
    class_order,
    pictures_by_stem,
    report_missing,
    with_sizes,
)
from whatwhere.data.tables import BOX, LABEL_COLUMNS, table, tidy_boxes
from whatwhere.errors import DataError
from whatwhere.types import Labels, Task

__all__ = ["HOLDS", "IGNORED", "LOOKS_FOR", "NAME", "TASKS", "TITLE", "read", "recognise", "write"]

NAME = "cityscapes"
TITLE = "Cityscapes"
TASKS: frozenset[Task] = frozenset({"detect"})
HOLDS = frozenset(
    {"split", "group", "ignore", "iscrowd", "truncated", "occluded", "segmentation"}
    | {"extra", "image_extra"}
)
IGNORED = frozenset({"ignore"})
OWN_EXTRA_ONLY = True
LOOKS_FOR = "gtFine/<split>/<city>/*_gtFine_polygons.json, or gtBbox3d, beside leftImg8bit/"

# The largest file of the original has 300 kB.
_MOST_BYTES = 1 << 27


def _bases(path: Path) -> dict[str, Path]:
    """Folder of each kind of annotation, in the order of `ENDINGS`."""
    if not path.is_dir():
        return {}
    found: dict[str, Path] = {}
    near = [one for one in folders_below(path, 2) if one.name in ENDINGS and one != path]
    for kind, ending in ENDINGS.items():
        for base in [path, *(one for one in near if one.name == kind)]:
            depth = 0 if base == path and near else 2
            folders = folders_below(base, depth)
            if any(
                entry.name.endswith(f"{ending}.json")
                for folder in folders
                for entry in entries(folder)
            ):
                found.setdefault(kind, base)
    return found


def recognise(path: Path) -> str | None:
    """See `formats`."""
    for kind, base in _bases(path).items():
        return f"*{ENDINGS[kind]}.json in {relative(base, path.parent)}"
    return None


def read(path: Path, images: Path | None = None) -> Dataset:
    """See `formats`; `path` may be the folder of one kind of annotation, too."""
    bases = _bases(path)
    if not bases:
        raise DataError(f"{path} is not a Cityscapes data set: looked for {LOOKS_FOR}")
    (kind, base), *others = bases.items()
    reader = _Reader(path, kind, base, images)
    for other, folder in others:
        message = f"{kind} is read, not {other}: name its folder, and that of the pictures, for it"
        where = relative(folder, path)
        reader.find("left-out-folder", message, where, "info", KEPT_OUT)
    return reader.dataset()


class _Reader:
    """Gathers rows and findings of all cities."""

    def __init__(self, root: Path, kind: str, base: Path, images: Path | None) -> None:
        self.root, self.kind, self.base, self.pictures = root, kind, base, images
        self.findings: list[Finding] = []
        columns = ("path", "width", "height", "split", "group", "labelled", "extra")
        self.images: dict[str, list[Any]] = {name: [] for name in columns}
        self.labels: dict[str, list[Any]] = {
            name: []
            for name in ("image", "name", *BOX, "ignore", "truncated", "occluded", "iscrowd")
        } | {name: [] for name in ("segmentation", "extra", "record")}
        self.missing: list[tuple[str, str, int]] = []
        self.missing_paths: set[str] = set()
        self.stuff: Counter[str] = Counter()
        self.withheld = 0

    def find(self, *args: Any) -> None:
        self.findings.append(Finding(*args))

    def dataset(self) -> Dataset:
        order = {"train": 0, "val": 1, "test": 2}
        ending = f"{ENDINGS[self.kind]}.json"
        cities: dict[tuple[str, str], Path] = {}
        starts = [self.base]
        if self.pictures is None and self.base != self.root:
            starts.append(self.base.parent / "leftImg8bit")
        for start in starts:
            for folder in folders_below(start, 2):
                parts = folder.relative_to(start).parts
                if any(not entry.is_dir() for entry in entries(folder)):
                    split, city = ("", *parts) if len(parts) == 1 else (parts or ("", ""))
                    cities.setdefault((split, city), folder)
        annotated = {
            split
            for split, city in cities
            if any(one.name.endswith(ending) for one in entries(self.base / split / city))
        }
        for split, city in sorted(
            cities, key=lambda key: (order.get(split_name(key[0]) or "", 3), *key)
        ):
            self._city(split, city, ending, split in annotated)
        return self._finish()

    def _city(self, split: str, city: str, ending: str, annotated: bool) -> None:
        folder = self.base / split / city
        name = (split_name(split) or split) if split else None
        if self.pictures is None:
            places = [self.base.parent / "leftImg8bit" / split / city]
            places = places if self.base != self.root else [folder]
        else:
            places = [self.pictures / "leftImg8bit" / split / city, self.pictures / split / city]
            places += [self.pictures / city, self.pictures]
        pictures = pictures_by_stem(places, self.root, self.findings, own=False)
        for entry in entries(folder):
            if entry.is_dir() or not entry.name.endswith(ending):
                known = any(entry.name.endswith(f"{one}.json") for one in ENDINGS.values())
                raster = entry.name.endswith(".png")
                if not entry.is_dir() and not known and not raster:
                    where = relative(Path(entry.path), self.root)
                    self.find("stray-file", "not an annotation of this kind", where, "info")
                continue
            stem = entry.name.removesuffix(ending)
            place = pictures.pop(stem + PICTURE, None) or pictures.pop(stem, None)
            self._file(Path(entry.path), stem, name, city, place, places[-1])
        if self.pictures is not None:
            return
        rest = {stem: place for stem, place in pictures.items() if stem.endswith(PICTURE)}
        for stem, place in rest.items():
            self._image(
                place, None, None, name, group_of(city, stem.removesuffix(PICTURE)), annotated
            )
            if annotated:
                message = f"the picture has no {self.kind} annotation"
                where = relative(place, self.root)
                self.find("missing-annotation", message, where, "warning", "read as background")
        if rest and not annotated:
            message = f"{len(rest)} pictures have no {self.kind} annotation"
            where = relative(next(iter(rest.values())).parent, self.root)
            self.find("missing-annotation", message, where, "info", "read as unlabelled")

    def _image(
        self,
        place: Path,
        width: int | None,
        height: int | None,
        split: str | None,
        group: str | None,
        labelled: bool,
        extra: str | None = None,
    ) -> None:
        known: list[str] | None = None if labelled else []
        values = (str(place), width, height, split, group, known, extra)
        for column, value in zip(self.images.values(), values, strict=True):
            column.append(value)

    def _file(
        self,
        file: Path,
        stem: str,
        split: str | None,
        city: str,
        place: Path | None,
        folder: Path,
    ) -> None:
        where = relative(file, self.root)
        content = self._load(file, where)
        if content is None:
            return
        size = [content.get(key) for key in ("imgWidth", "imgHeight")]
        good = all(isinstance(side, int) and 0 < side < 2**31 for side in size)
        width, height = size if good else (None, None)
        if not good:
            message = f"imgWidth and imgHeight are {size[0]!r} and {size[1]!r}"
            self.find("bad-value", message, where, "warning", "the picture's own size is used")
        row, before = len(self.images["path"]), len(self.labels["image"])
        seen: set[str] = set()
        for section in ("objects", "ignore") if self.kind == "gtBbox3d" else ("objects",):
            objects = content.get(section, [])
            if not isinstance(objects, list):
                message = f"{section!r} is no list"
                self.find("damaged-annotation", message, where, "error", KEPT_OUT)
                continue
            for at, one in enumerate(objects):
                record = f"{where}#{section}[{at}]" if section == "ignore" else f"{where}#{at}"
                self._object(one, row, record, section == "ignore", seen)
        count = len(self.labels["image"]) - before
        withheld = bool(seen) and seen <= FRAME and not count
        self.withheld += withheld
        own = content.get("whatwhere")
        own = own if isinstance(own, dict) else {}
        group = own.get("group") if "group" in own else group_of(city or None, stem)
        group = group if isinstance(group, str) else None
        known = {"imgWidth", "imgHeight", "objects", "ignore", "whatwhere"}
        rest = {key: value for key, value in content.items() if key not in known}
        extra = json.dumps({"cityscapes": rest}, ensure_ascii=False) if rest else None
        if place is None:
            place = folder / f"{stem}{PICTURE}.png"
            self.missing.append((place.name, where, count))
            self.missing_paths.add(str(place))
        self._image(place, width, height, split, group, not withheld, extra)

    def _load(self, file: Path, where: str) -> dict[str, Any] | None:
        try:
            if file.stat().st_size > _MOST_BYTES:
                raise ValueError(f"it is larger than {_MOST_BYTES} bytes")
            content = json.loads(file.read_bytes())
            if isinstance(content, dict) and "objects" in content:
                return content
            reason = "it has no objects"
        except (ValueError, RecursionError, OSError) as error:
            reason = str(error)
        message = f"no {self.kind} annotation ({reason})"
        self.find("damaged-annotation", message, where, "error", KEPT_OUT)
        return None

    def _object(self, one: Any, row: int, record: str, region: bool, seen: set[str]) -> None:
        if not isinstance(one, dict):
            self.find("bad-record", "the object is no JSON object", record, "error", KEPT_OUT, 1)
            return
        label = one.get("label")
        if region and label is None:
            label = "ignore"
        if not isinstance(label, str) or not label.strip():
            self.find("no-class", "the object has no label", record, "error", KEPT_OUT, 1)
            return
        seen.add(label)
        if one.get("deleted"):
            self.stuff["(deleted)"] += 1
            return
        own = one.get("whatwhere")
        own = own if isinstance(own, dict) else {}
        said = self._meaning(label, own, region)
        if said is None:
            self.stuff[label] += 1
            return
        outline, box = self._box(one, region)
        if box is None:
            message = f"the object {label!r} has no box or polygon of finite numbers"
            self.find("bad-box", message, record, "error", KEPT_OUT, 1)
            return
        drawn = {"label", "whatwhere", "polygon", "deleted"}
        rest = {key: value for key, value in one.items() if key not in drawn}
        rest |= {"region": True} if region else {}
        values = {
            "image": row,
            "name": said.name,
            **dict(zip(BOX, box, strict=True)),
            "ignore": said.ignore,
            "truncated": self._flag(one, own, "truncated", "truncation"),
            "occluded": self._flag(one, own, "occluded", "occlusion"),
            "iscrowd": said.crowd,
            "segmentation": None if outline is None or own.get("box") else json.dumps([outline]),
            "extra": json.dumps({"cityscapes": rest}, ensure_ascii=False) if rest else None,
            "record": record,
        }
        for name, column in self.labels.items():
            column.append(values[name])

    def _meaning(self, label: str, own: dict[str, Any], region: bool) -> Meaning | None:
        name = own.get("class")
        if isinstance(name, str) and name.strip():
            return Meaning(name, own.get("iscrowd") is True, own.get("ignore") is True)
        if self.kind == "gtBboxCityPersons":
            return person_meaning(label)
        if self.kind == "gtBbox3d":
            return Meaning(label, False, region)
        return meaning(label)

    def _flag(self, one: dict[str, Any], own: dict[str, Any], name: str, key: str) -> bool | None:
        if isinstance(own.get(name), bool):
            return bool(own[name])
        value = one.get(key) if self.kind == "gtBbox3d" else None
        return value > 0 if isinstance(value, int | float) else None

    def _box(
        self, one: dict[str, Any], region: bool
    ) -> tuple[list[int | float] | None, tuple[float, ...] | None]:
        """Outline and box of an object; None where it has none."""
        if self.kind in ("gtFine", "gtCoarse"):
            points = one.get("polygon")
            if not isinstance(points, list) or not points:
                return None, None
            pairs = [one for one in points if isinstance(one, list) and len(one) == 2]
            flat = _numbers([value for pair in pairs for value in pair])
            if flat is None or len(pairs) < len(points):
                return None, None
            xs, ys = flat[0::2], flat[1::2]
            outline = [json_number(value) for value in flat]
            return outline, (min(xs), min(ys), max(xs), max(ys))
        sides = one.get("bbox" if self.kind == "gtBboxCityPersons" else "2d")
        if isinstance(sides, dict) and not region:
            sides = sides.get("modal") or sides.get("amodal")
        values = _numbers(sides) if isinstance(sides, list) and len(sides) == 4 else None
        if values is None:
            return None, None
        x, y, width, height = values
        return None, (x, y, x + width, y + height)

    def _finish(self) -> Dataset:
        if self.stuff:
            shown = ", ".join(f"{name} {count}" for name, count in sorted(self.stuff.items()))
            message = f"{self.stuff.total()} objects are no single things: {shown[:1000]}"
            self.find("left-out-class", message, relative(self.base, self.root), "info", KEPT_OUT)
        if self.withheld:
            message = f"{self.withheld} pictures have labels of the camera's own frame only"
            where = relative(self.base, self.root)
            self.find("missing-labels", message, where, "info", "read as unlabelled")
        self.findings += report_missing(self.missing, len(self.images["path"]), "leftImg8bit/")
        images, unreadable = with_sizes(self.images, self.root, self.missing_paths)
        words = self.labels.pop("name")
        listed = class_order(self.root / "classes.txt", self.root, " ", self.findings)
        used = sorted(set(words), key=lambda name: (name not in INSTANCES, name))
        names = list(dict.fromkeys([*listed.values(), *used]))
        number = {name: place for place, name in enumerate(names)}
        kinds = {name: LABEL_COLUMNS[name] for name in self.labels if name not in BOX}
        kinds |= dict.fromkeys(BOX, pl.Float64())
        rows = pl.DataFrame(
            self.labels | {"class_id": [number[word] for word in words]},
            schema_overrides=kinds,
            strict=False,
        )
        labels, faults = tidy_boxes(rows, images)
        return Dataset(
            images,
            table(labels, LABEL_COLUMNS),
            Labels(names),
            findings=[*self.findings, *unreadable, *faults],
            root=str(self.root),
            task="detect",
        )


def _numbers(values: list[Any]) -> list[float] | None:
    """The numbers, if that is what they all are."""
    good = all(isinstance(one, int | float) and not isinstance(one, bool) for one in values)
    try:
        numbers = [float(one) for one in values] if good else []
    except OverflowError:
        return None
    return numbers if good and all(map(math.isfinite, numbers)) else None
