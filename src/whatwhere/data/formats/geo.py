"""Boxes on Earth: GeoJSON and georeferenced pictures, through rasterio (extra `geo`).

Source: RFC 7946, with the member "crs" of the GeoJSON of 2008 in reading. A feature's
polygon becomes an outline in pixels and the box around it. It belongs to the picture that
its property `image` names, else to each picture in which its middle lies. Our own writer
also keeps the box in pixels; it counts as long as it agrees with the polygon, so that a
round trip is exact; through the polygon alone it is good to a thousandth of a pixel, or
to a hundredth where the reference systems differ in their datum. A polygon's holes are filled,
with a finding, since outlines as in COCO cannot have any.

A CSV of boxes in pixels beside GeoTIFFs is read, too, if it is asked for by format="geo".
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import Finding
from whatwhere.data.formats import csv_boxes
from whatwhere.data.formats._files import entries, head, is_picture, relative, split_name
from whatwhere.data.formats._geo_features import Feature, holes_in, is_box, rings_of
from whatwhere.data.formats._geo_places import Place, crs_of, need_rasterio
from whatwhere.data.formats._geo_write import OWN, write
from whatwhere.data.formats._outlines import enclosing, outlines_of
from whatwhere.data.formats._rows import Rows, dumps
from whatwhere.data.formats._values import index, load_json, number, text, whole
from whatwhere.errors import DataError
from whatwhere.types import Task

__all__ = ["HOLDS", "LOOKS_FOR", "NAME", "TASKS", "TITLE", "read", "recognise", "write"]

NAME = "geo"
TITLE = "GeoJSON"
TASKS: frozenset[Task] = frozenset({"detect"})
HOLDS = frozenset(
    {"split", "group", "id", "labelled", "complete"}
    | {"ignore", "difficult", "truncated", "occluded", "iscrowd", "area", "score", "source"}
    | {"track", "segmentation", "keypoints", "attributes", "extra", "image_extra"}
)
OWN_EXTRA_ONLY = True
LOOKS_FOR = "a GeoJSON FeatureCollection beside georeferenced pictures"

_NAMES = ("name", "class", "label", "category", "class_name", "species", "type")
_AGREES = 0.25
"""Pixels that a recorded box and its polygon may differ by; more means that one was moved."""


def _is_features(file: Path) -> bool:
    start = head(file, 1 << 14)
    return start.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{" and b'"FeatureCollection"' in start


def _files(path: Path) -> list[Path]:
    suffixes = (".geojson", ".json")
    if path.is_file():
        files = [path] if path.suffix.lower() in suffixes else []
    else:
        files = [Path(one.path) for one in entries(path) if one.name.lower().endswith(suffixes)]
    return [file for file in files if file.is_file() and _is_features(file)]


def _shapefile(path: Path) -> Path | None:
    """A shapefile, where nothing else could be meant."""
    if path.suffix.lower() == ".shp" and path.is_file():
        return path
    names = [one.name for one in entries(path)] if path.is_dir() else []
    others = (".csv", ".tsv", ".json", ".geojson", ".xml", ".txt", ".yaml")
    if any(name.lower().endswith(others) for name in names):
        return None
    return next((path / name for name in names if name.lower().endswith(".shp")), None)


def recognise(path: Path) -> str | None:
    """See `formats`."""
    files = _files(path)
    if files:
        return f"features in {', '.join(relative(file, path.parent) for file in files)}"
    shape = _shapefile(path)
    return None if shape is None else f"the shapefile {shape.name}"


def read(path: Path, images: Path | None = None) -> Dataset:
    """See `formats`.

    Raises:
        MissingExtraError: rasterio is not installed.
        DataError: a shapefile, which is not read; or no GeoJSON.
    """
    files = _files(path)
    shape = None if files else _shapefile(path)
    if shape is not None:
        raise DataError(
            f"{shape} is a shapefile, which is not read: convert it with"
            f" 'ogr2ogr -f GeoJSON -t_srs EPSG:4326 {shape.stem}.geojson {shape.name}'"
        )
    if not files and csv_boxes.recognise(path):
        return _from_csv(csv_boxes.read(path, images))
    if not files:
        raise DataError(f"{path} is not a GeoJSON data set: looked for {LOOKS_FOR}")
    need_rasterio()
    root = path if path.is_dir() else path.parent
    reader = _Reader(root, images)
    for file in files:
        reader.add(file)
    return reader.dataset()


def _from_csv(dataset: Dataset) -> Dataset:
    """The data set with the places of its pictures."""
    places = [Place.of(path) for path in dataset.paths]
    extra = [None if one is None else dumps({NAME: _kept(one)}) for one in places]
    images = dataset.images.with_columns(pl.Series("extra", extra, pl.String))
    findings = list(dataset.findings)
    for path, place in zip(dataset.relative_paths(), places, strict=True):
        if place is None:
            message = "the picture has no georeference"
            findings.append(Finding("not-georeferenced", message, path, "warning"))
    return Dataset(
        images,
        dataset.labels,
        dataset.names,
        findings=findings,
        root=dataset.root,
        task="detect",
    )


def _kept(place: Place) -> dict[str, Any]:
    return {"crs": place.crs, "transform": list(place.transform)}


class _Reader:
    def __init__(self, root: Path, images: Path | None) -> None:
        self.root = root
        self.rows = Rows(NAME, root, images, [root / "images"])
        self.names: dict[str, None] = {}
        self.places: dict[int, Place | None] = {}
        # Transform and size that the boxes in pixels were recorded for.
        self.recorded: dict[int, tuple[Place | None, tuple[int | None, int | None]]] = {}

    def add(self, file: Path) -> None:
        content, where = load_json(file), self.rows.where(file)
        features = content.get("features") if isinstance(content, dict) else None
        if not isinstance(features, list):
            raise DataError(f"{file} has no list 'features': it is not GeoJSON of boxes")
        crs = crs_of(content)
        if crs is None:
            raise DataError(
                f"{file} is in a reference system that is not an EPSG number: convert it with"
                f" 'ogr2ogr -f GeoJSON -t_srs EPSG:4326 new.geojson {file.name}'"
            )
        own = content.get(OWN)
        self._own(own if isinstance(own, dict) else {}, file, where)
        by_row: dict[int, list[Feature]] = {}
        free: list[Feature] = []
        seen: dict[str, int] = {}
        for place, one in enumerate(features):
            feature = self._feature(one, f"{where}#{place}")
            if feature is None:
                continue
            if feature.image is None:
                free.append(feature)
                continue
            row = seen.get(feature.image)
            if row is None:
                row = self._picture(feature.image, feature.record, file)
            if row is not None:
                seen[feature.image] = row
                by_row.setdefault(row, []).append(feature)
        if free:
            self._locate(free, crs, file, by_row)
        for row, found in by_row.items():
            self._labels(row, found, crs)

    def _own(self, own: dict[str, Any], file: Path, where: str) -> None:
        """The pictures and classes that our own writer lists."""
        listed = own.get("names")
        for one in listed if isinstance(listed, list) else []:
            if name := text(one):
                self.names.setdefault(name)
        pictures = own.get("images")
        for count, one in enumerate(pictures if isinstance(pictures, list) else []):
            name = text(one.get("image")) if isinstance(one, dict) else None
            record = f"{where}#images[{count}]"
            if name is None:
                self.rows.find("bad-record", "the picture has no name", record)
                continue
            place = None
            given = one.get("transform")
            crs = one.get("crs")
            if isinstance(crs, str) and isinstance(given, list):
                values = [number(value) for value in given]
                place = None if None in values else Place.made(crs, values)
            size = whole(one.get("width")), whole(one.get("height"))
            row = self._picture(name, record, file, size=size, place=place, one=one)
            if row is not None:
                self.recorded[row] = place, size

    def _picture(
        self,
        name: str,
        record: str,
        file: Path,
        *,
        size: tuple[int | None, int | None] = (None, None),
        place: Place | None = None,
        one: dict[str, Any] | None = None,
    ) -> int | None:
        known = len(self.rows.row_of)
        row = self.rows.image(
            name, record, size=size, near=file.parent, boxes=int(one is None), again=one is None
        )
        if row is None or row < known:
            return row
        real = Place.of(self.rows.path(row)) if not self.rows.is_absent(row) else place
        self.places[row] = real
        extra = dict(one["extra"]) if one and isinstance(one.get("extra"), dict) else {}
        columns: dict[str, Any] = {}
        if one is not None:
            split = text(one.get("split"))
            columns = {
                "split": split and (split_name(split) or split),
                "group": text(one.get("group")),
                "id": index(one.get("id")),
            }
            for key in ("labelled", "complete"):
                if isinstance(one.get(key), list):
                    columns[key] = [word for word in one[key] if isinstance(word, str)]
        self.rows.image_columns(row, extra=extra | (_kept(real) if real else {}), **columns)
        return row

    def _feature(self, one: Any, record: str) -> Feature | None:
        if not isinstance(one, dict) or one.get("type") != "Feature":
            self.rows.find("bad-record", "the record is no GeoJSON feature", record, boxes=1)
            return None
        properties = one.get("properties")
        properties = dict(properties) if isinstance(properties, dict) else {}
        name = next((found for key in _NAMES if (found := text(properties.get(key)))), None)
        rings = rings_of(one.get("geometry"))
        if rings is None and one.get("geometry") is not None:
            kind = one["geometry"].get("type") if isinstance(one["geometry"], dict) else None
            fault = "bad-box" if kind in ("Polygon", "MultiPolygon") else "no-box"
            message = f"a geometry of type {kind!r} has no outline that can be read"
            severity: Any = "error" if fault == "bad-box" else "warning"
            self.rows.find(fault, message, record, severity, boxes=1)
            return None
        if rings is not None and (holes := holes_in(one["geometry"])):
            message = (
                f"the polygon has {holes} hole(s), which outlines cannot have: they are filled"
            )
            self.rows.find("filled-hole", message, record, "warning", "filled")
        for key in _NAMES:
            if text(properties.get(key)) == name and name is not None:
                del properties[key]
                break
        image = text(properties.pop("image", None))
        return Feature(name, image, rings, properties, record)

    def _locate(
        self, features: list[Feature], crs: str, file: Path, by_row: dict[int, list[Feature]]
    ) -> None:
        """Give features without a picture to those in which their middle lies."""
        for folder in [*self.rows.places.folders, *([] if self.rows.named else [file.parent])]:
            for one in entries(folder):
                if is_picture(one.name):
                    self._picture(one.name, self.rows.where(file), file)
        middles = np.array(
            [[np.nan, np.nan] if one.rings is None else one.middle() for one in features]
        )
        found = np.zeros(len(features), np.bool_)
        for row, place in self.places.items():
            width, height = self.rows.size(row)
            if place is None:
                continue
            if width is None or height is None:
                width, height = self.rows.probe(row)
            pixels = place.to_pixels(middles, crs)
            with np.errstate(invalid="ignore"):
                inside = ((pixels >= 0) & (pixels < (width or 0, height or 0))).all(axis=1)
            found |= inside
            for number_ in np.flatnonzero(inside):
                by_row.setdefault(row, []).append(features[number_].copy())
        for lost in np.flatnonzero(~found):
            message = "the feature names no picture and lies in none of them"
            self.rows.find("unknown-image", message, features[lost].record, boxes=1)

    def _labels(self, row: int, features: list[Feature], crs: str) -> None:
        place = self.places[row]
        recorded = self.recorded.get(row)
        trusted = recorded is not None and self._unchanged(row, *recorded)
        flat = [ring for one in features for ring in one.rings or []]
        pixels: list[NDArray[np.float64]] = []
        if place is not None and flat:
            points = place.to_pixels(np.concatenate(flat), crs)
            pixels = np.split(points, np.cumsum([len(ring) for ring in flat])[:-1])
        start = 0
        for one in features:
            count = len(one.rings or [])
            rings = pixels[start : start + count] if place is not None else []
            start += count
            self._label(row, one, [ring.reshape(-1).tolist() for ring in rings], trusted)

    def _unchanged(
        self, row: int, place: Place | None, size: tuple[int | None, int | None]
    ) -> bool:
        """Whether the picture still lies where it lay when its boxes were written."""
        now = self.rows.size(row) if self.rows.is_absent(row) else self.rows.probe(row)
        return self.places[row] == place and now == size

    def _label(self, row: int, one: Feature, outlines: list[list[float]], trusted: bool) -> None:
        given, left = one.kept(), one.properties
        values = [number(side) for side in given.pop("box", [])]
        recorded = tuple(side for side in values if side is not None)
        drawn = given.pop("segmentation", None)
        box: tuple[float, ...] | None = None
        around = enclosing(outlines) if outlines else None
        if len(recorded) == 4 and trusted:
            shown = enclosing(outlines_of(drawn)) if outlines_of(drawn) else recorded
            if around is None or np.abs(np.subtract(around, shown)).max() < _AGREES:
                box = recorded
                if drawn is not None:
                    given["segmentation"] = drawn
        if box is None and around is not None:
            box = around
            given.pop("area", None)
            if len(outlines) > 1 or not is_box(outlines[0], around):
                given["segmentation"] = outlines
        if box is None:
            message = "the feature has no place in the picture: the picture is not georeferenced"
            if outlines == [] and one.rings is None:
                message = "the feature has neither a geometry nor a box that is still right"
            self.rows.find("bad-box", message, one.record, boxes=1)
            return
        record = one.record if not one.copied else f"{one.record}@{row}"
        self.rows.label(row, one.name, box, record, extra=left, **given)

    def dataset(self) -> Dataset:
        return self.rows.dataset(list(self.names), task="detect")
