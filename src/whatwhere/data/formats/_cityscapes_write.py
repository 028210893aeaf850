"""Write Cityscapes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import Finding
from whatwhere.data.formats._cityscapes_parts import (
    ENDINGS,
    PICTURE,
    Meaning,
    group_of,
    label_of,
    meaning,
    person_meaning,
)
from whatwhere.data.formats._class_sets import names_text
from whatwhere.data.formats._files import add_sizes, picture_name, unique_names
from whatwhere.data.formats._label_files import folder_name, number_text
from whatwhere.data.formats._pictures import Pictures
from whatwhere.data.formats._records import own
from whatwhere.data.tables import BOX
from whatwhere.images import write_atomic


def write(dataset: Dataset, folder: Path, pictures: Pictures) -> list[Finding]:
    """See `formats`: leftImg8bit/<split>/<city>/ and gtFine/, or gtBbox3d/ for boxes in space.

    Names of pictures end in _leftImg8bit, as the format has it. The key "whatwhere" of an
    object or a file has what the label and the name do not say.
    """
    images, findings = add_sizes(dataset.images, Path(dataset.root))
    labels: dict[str, list[Any]] = dataset.labels.to_dict(as_series=False)
    owns = [own(extra, "cityscapes") for extra in labels["extra"]]
    kind = _kind(owns)
    places, stems, targets = _places(dataset, folder, images["split"].to_list())
    there = pictures.place(dataset.paths, targets)
    renamed = sum(
        picture_name(path) != target.name
        for path, target in zip(dataset.paths, targets, strict=True)
    )
    if renamed and pictures.how != "none":
        message = f"{renamed} pictures got a name that ends in {PICTURE}"
        findings.append(Finding("renamed-image", message, dataset.source, "info", "renamed"))
    writer = _Objects(list(dataset.names), labels, owns, kind)
    for row, image in enumerate(images.iter_rows(named=True)):
        if not there[row] or image["width"] is None:
            continue
        content: dict[str, Any] = dict(own(image["extra"], "cityscapes"))
        content |= {"imgWidth": image["width"], "imgHeight": image["height"], "objects": []}
        city = places[row].rpartition("/")[2]
        if group_of(city, stems[row]) != image["group"]:
            content["whatwhere"] = {"group": image["group"]}
        for at in range(*dataset.rows_of(row)):
            section = "ignore" if kind == "gtBbox3d" and owns[at].get("region") else "objects"
            content.setdefault(section, []).append(writer.one(at))
        file = folder / kind / places[row] / f"{stems[row]}{ENDINGS[kind]}.json"
        write_atomic(file, json.dumps(content, ensure_ascii=False))
    write_atomic(folder / "classes.txt", names_text(dataset.names))
    for column, count in writer.lost.items():
        if count:
            message = f"{kind} has no place for the {column!r} of {count} labels"
            findings.append(Finding("lost-column", message, dataset.source, "warning", "left out"))
    return findings


def _kind(owns: list[dict[str, Any]]) -> str:
    """The kind of annotation that all labels come from; else polygons."""
    for key, kind in (("2d", "gtBbox3d"), ("bboxVis", "gtBboxCityPersons")):
        if owns and all(key in own for own in owns):
            return kind
    return "gtFine"


def _places(
    dataset: Dataset, folder: Path, splits: list[str | None]
) -> tuple[list[str], list[str], list[Path]]:
    """For each picture <split>/<city>, the start of its name, and where it goes."""
    places, bases = [], []
    for path, split, group in zip(dataset.paths, splits, dataset.images["group"], strict=True):
        name = Path(picture_name(path))
        stem = name.stem.removesuffix(PICTURE)
        named = re.fullmatch(r"(.+)_\d{6}_\d{6}", stem)
        city = named[1] if named and group == group_of(named[1], stem) else group or "default"
        city = re.sub(r"[^\w .()+-]", "_", city).strip(" .") or "default"
        start = "" if split is None else folder_name(split, "split") + "/"
        places.append(start + city)
        bases.append(stem + name.suffix)
    names = [Path(one) for one in unique_names(bases, places)]
    targets = [
        folder / "leftImg8bit" / place / f"{name.stem}{PICTURE}{name.suffix}"
        for place, name in zip(places, names, strict=True)
    ]
    return places, [name.stem for name in names], targets


class _Objects:
    """Makes the JSON of labels; counts what has no place.

    Args:
        names: of the classes; labels: the columns of the table; owns: what this format kept.
        kind: of annotation.
    """

    def __init__(
        self, names: list[str], labels: dict[str, list[Any]], owns: list[dict[str, Any]], kind: str
    ) -> None:
        self.names, self.labels, self.owns, self.kind = names, labels, owns, kind
        self.lost = {"segmentation": 0, "extra": 0}

    def one(self, at: int) -> dict[str, Any]:
        """The object at a row."""
        name = self.names[self.labels["class_id"][at]]
        crowd, ignore = bool(self.labels["iscrowd"][at]), bool(self.labels["ignore"][at])
        said = Meaning(name, crowd, ignore)
        box = [float(self.labels[side][at]) for side in BOX]
        if self.kind == "gtFine":
            return self._polygon(at, said, box)
        found = {key: value for key, value in self.owns[at].items() if key != "region"}
        self.lost["segmentation"] += self.labels["segmentation"][at] is not None
        x1, y1, x2, y2 = box
        xywh = [_short(x1), _short(y1), _short(x2 - x1), _short(y2 - y1)]
        if self.kind == "gtBbox3d":
            region = bool(self.owns[at].get("region"))
            label = name
            default = Meaning(name, False, region)
            sides = found.get("2d")
            kept = sides if region else sides.get("modal") if isinstance(sides, dict) else None
            if not same_box(kept, box):
                found["2d"] = (
                    xywh if region or not isinstance(sides, dict) else {**sides, "modal": xywh}
                )
        else:
            label = "person group" if name == "person" and crowd else name
            default = person_meaning(label)
            if not same_box(found.get("bbox"), box):
                found["bbox"] = xywh
        more = self._more(at, said, default)
        return {"label": label} | found | ({"whatwhere": more} if more else {})

    def _polygon(self, at: int, said: Meaning, box: list[float]) -> dict[str, Any]:
        label = label_of(said.name, said.crowd)
        more = self._more(at, said, meaning(label))
        polygon = _outline(self.labels["segmentation"][at], box)
        if polygon is None:
            self.lost["segmentation"] += self.labels["segmentation"][at] is not None
            x1, y1, x2, y2 = map(_short, box)
            polygon = [[x1, y1], [x2, y1], [x2, y2], [x1, y2]]
            more["box"] = True
        own = self.owns[at]
        self.lost["extra"] += bool({"2d", "bboxVis"} & own.keys())
        found = {key: own[key] for key in own.keys() - {"2d", "3d", "bbox", "bboxVis", "region"}}
        return {"label": label, "polygon": polygon} | found | ({"whatwhere": more} if more else {})

    def _more(self, at: int, said: Meaning, default: Meaning | None) -> dict[str, Any]:
        """What the label alone would not say."""
        more: dict[str, Any] = {}
        if said != default:
            more = {"class": said.name, "iscrowd": said.crowd, "ignore": said.ignore}
        own = self.owns[at] if self.kind == "gtBbox3d" else {}
        for column, key in (("truncated", "truncation"), ("occluded", "occlusion")):
            known = bool(self.labels[column][at])
            if known != (
                own.get(key, 0) > 0 if isinstance(own.get(key, 0), int | float) else False
            ):
                more[column] = known
        return more


def same_box(kept: Any, box: list[float]) -> bool:
    """Whether x, y, width, height that were read gave this box, uncut or cut at 0."""
    if not (isinstance(kept, list) and len(kept) == 4):
        return False
    if not all(isinstance(one, int | float) for one in kept):
        return False
    x, y, width, height = kept
    sides = np.array(box, np.float32)
    start = np.maximum(np.array([x, y], np.float64), 0).astype(np.float32)
    end = np.array([x + width, y + height], np.float64).astype(np.float32)
    return bool((start == sides[:2]).all() and (sides[2:] <= end).all())


def _short(value: float) -> int | float:
    """The number with few digits that is the same float32."""
    single = np.float32(value)
    return json_number(float(np.format_float_positional(single)) if single == value else value)


def json_number(value: float) -> int | float:
    """Whole numbers without a point."""
    return int(number_text(value)) if value == int(value) and abs(value) < 1e15 else value


def _outline(segmentation: str | None, box: list[float]) -> list[list[float]] | None:
    """The corners, if the segmentation is one outline and the box encloses it."""
    try:
        outlines = json.loads(segmentation) if segmentation else None
    except (ValueError, RecursionError):
        return None
    if not (isinstance(outlines, list) and len(outlines) == 1 and isinstance(outlines[0], list)):
        return None
    flat = outlines[0]
    if len(flat) < 2 or len(flat) % 2 or not all(isinstance(one, int | float) for one in flat):
        return None
    xs, ys = flat[0::2], flat[1::2]
    x, y = min(xs), min(ys)
    if not same_box([x, y, max(xs) - x, max(ys) - y], box):
        return None
    return [[x, y] for x, y in zip(xs, ys, strict=True)]
