"""Write GeoJSON."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import Finding
from whatwhere.data.formats._files import add_sizes, unique_names
from whatwhere.data.formats._geo_places import Place, need_rasterio
from whatwhere.data.formats._outlines import outlines_of
from whatwhere.data.formats._pictures import Pictures
from whatwhere.data.formats._records import Record, Records, folder_of
from whatwhere.data.tables import FLAGS
from whatwhere.images import member, write_atomic

OWN = "whatwhere"
"""Foreign member of the collection: pictures and classes."""

KEPT: dict[str, Any] = {
    "box": list,
    **dict.fromkeys(FLAGS, bool),
    "area": (int, float),
    "score": (int, float),
    "source": str,
    "track": str,
    "segmentation": (list, dict),
    "keypoints": list,
    "attributes": dict,
}
"""Properties that have a column, and what they must be."""

_DIGITS = 12
"""Decimals of degrees: a ten-millionth of a metre, below a thousandth of any pixel."""

_BESIDE = (".tfw", ".tifw", ".pgw", ".pngw", ".jgw", ".jpgw", ".wld", ".prj")


def write(dataset: Dataset, folder: Path, pictures: Pictures) -> list[Finding]:
    """See `formats`: annotations.geojson in WGS 84 (RFC 7946), images/<split>/.

    Labels of pictures without georeference have no geometry, which the standard allows,
    and their box in pixels as the others.
    """
    need_rasterio()
    images, findings = add_sizes(dataset.images, Path(dataset.root))
    folders = [folder_of(split) for split in images["split"]]
    names = unique_names(dataset.paths, folders)
    local = ["/".join(filter(None, ("images", *pair))) for pair in zip(folders, names, strict=True)]
    there = pictures.place(dataset.paths, [folder / place for place in local])
    if pictures.how != "none":
        sources, targets = _beside(dataset.paths, [folder / place for place in local])
        pictures.place(sources, targets)
    records = Records(dataset, "geo")
    sizes = list(images.select("width", "height").iter_rows())
    features: list[dict[str, Any]] = []
    listed: list[dict[str, Any]] = []
    nowhere: list[str] = []
    for row, name in enumerate(local):
        if not there[row]:
            continue
        place = Place.of(dataset.paths[row])
        extra = records.image_extra(row)
        recorded = extra.pop("crs", None), extra.pop("transform", None)
        if place is None and pictures.how == "none" and all(recorded):
            place = Place.made(*recorded)
        if place is None:
            nowhere.append(dataset.paths[row])
        image = records.images[row]
        known: dict[str, Any] = {"image": name, "width": sizes[row][0], "height": sizes[row][1]}
        known |= {key: image[key] for key in ("split", "group", "id", "labelled", "complete")}
        if place is not None:
            known |= {"crs": place.crs, "transform": list(place.transform)}
        known |= {"extra": extra or None}
        listed.append({key: value for key, value in known.items() if value is not None})
        features += _features(records.of(row), name, place)
    content = {
        "type": "FeatureCollection",
        OWN: {"names": list(dataset.names), "images": listed},
        "features": features,
    }
    write_atomic(folder / "annotations.geojson", json.dumps(content, ensure_ascii=False))
    if nowhere:
        message = (
            f"{len(nowhere)} pictures have no georeference; their labels have boxes in pixels"
            " and no place on Earth"
        )
        findings.append(Finding("not-georeferenced", message, nowhere[0], "warning"))
    return findings


def _beside(sources: Sequence[str], targets: list[Path]) -> tuple[list[str], list[Path]]:
    """Files beside pictures that say where these lie, and where they go to."""
    pairs = []
    for source, target in zip(sources, targets, strict=True):
        if member(source) is not None:
            continue
        stem, last = os.path.splitext(source)[0], target.with_suffix("")  # noqa: PTH122
        pairs.append((f"{source}.aux.xml", target.with_name(f"{target.name}.aux.xml")))
        pairs += [(stem + suffix, last.with_name(last.name + suffix)) for suffix in _BESIDE]
    found = [(source, target) for source, target in pairs if os.path.isfile(source)]  # noqa: PTH113
    return [source for source, _ in found], [target for _, target in found]


def _features(labels: list[Record], image: str, place: Place | None) -> list[dict[str, Any]]:
    shapes = []
    for label in labels:
        x1, y1, x2, y2 = label.box or (0.0,) * 4
        outlines = outlines_of(label.segmentation)
        shapes.append(outlines or [[x1, y1, x1, y2, x2, y2, x2, y1]])
    geometries: list[Any] = [None] * len(labels)
    if place is not None and labels:
        flat = [np.array(one, np.float64).reshape(-1, 2) for shape in shapes for one in shape]
        points = place.to_earth(np.concatenate(flat))
        rings = np.split(points, np.cumsum([len(one) for one in flat])[:-1])
        start = 0
        for number, shape in enumerate(shapes):
            geometries[number] = _geometry(rings[start : start + len(shape)])
            start += len(shape)
    found = []
    for label, geometry in zip(labels, geometries, strict=True):
        properties: dict[str, Any] = {"name": label.name, "image": image}
        properties["box"] = list(label.box or (0.0,) * 4)
        properties |= dict.fromkeys(label.flags, True)
        if "iscrowd" in label.flags and "ignore" not in label.flags:
            properties["ignore"] = False
        properties |= label.values
        for key in ("segmentation", "keypoints", "attributes"):
            if value := getattr(label, key):
                properties[key] = value
        properties = {**label.extra, **properties}
        found.append({"type": "Feature", "geometry": geometry, "properties": properties})
    return found


def _geometry(rings: list[Any]) -> dict[str, Any] | None:
    """A polygon, or several; None if one has no place on Earth. Rings run anticlockwise."""
    polygons = []
    for ring in rings:
        if not np.isfinite(ring).all():
            return None
        x, y = ring[:, 0], ring[:, 1]
        if (x * np.roll(y, -1) - np.roll(x, -1) * y).sum() < 0:
            ring = ring[::-1]
        points = np.round(ring, _DIGITS).tolist()
        polygons.append([[*points, points[0]]])
    if len(polygons) == 1:
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}
