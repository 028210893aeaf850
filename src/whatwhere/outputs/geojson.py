"""Predictions on the map: GeoJSON (RFC 7946) of what was found in georeferenced pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TextIO

import numpy as np
from numpy.typing import NDArray

from whatwhere.runtime.predictor import Failure
from whatwhere.types import Prediction

if TYPE_CHECKING:
    from whatwhere.data.formats._geo_places import Place

# A ten-millionth of a degree is a centimetre.
_DIGITS = 9


class GeoJson:
    """A collection of one polygon an object, longitude and latitude in WGS 84.

    Polygons are the boxes' four corners, reprojected by rasterio (extra `geo`) from the reference
    system of the picture's file, anticlockwise. Across the 180th meridian longitudes go on beyond
    180. What is in a picture without georeference has no geometry, which the standard allows, and
    is counted in `unlocated`. A model without boxes gives a polygon around each picture, with its
    labels, the best as name.

    Properties: `name`, `score`, `image`, `box` (x1 y1 x2 y2 in pixels) and, where there are any,
    `labels`. The member "whatwhere" lists the classes and pictures, as `data` reads them, with
    the labels of whole pictures.

    Args:
        file: open for text.
        names: classes of the model.

    Attributes:
        unlocated: pictures without georeference in which something was found.

    Raises:
        MissingExtraError: rasterio is not installed.
    """

    suffix: ClassVar[str] = ".geojson"

    def __init__(self, file: TextIO, names: Sequence[str]) -> None:
        from whatwhere.data.formats._geo_places import Place, need_rasterio

        need_rasterio()
        self._place = Place
        self._file = file
        self._names = list(names)
        self._images: list[dict[str, Any]] = []
        self._features = 0
        self.unlocated = 0
        file.write('{"type": "FeatureCollection",\n"features": [')

    def write(self, item: Prediction | Failure) -> None:
        if isinstance(item, Failure):
            return  # said on stderr; a map does not show it
        record = item.to_dict()
        place = None if item.image is None else self._located(item.image)
        listed = {key: record[key] for key in ("image", "width", "height")}
        if record["labels"]:
            listed["labels"] = record["labels"]
        if place is not None:
            listed |= {"crs": place.crs, "transform": list(place.transform)}
        self._images.append(listed)
        found = [
            {
                "name": row["name"],
                "score": row["score"],
                "image": record["image"],
                "box": row["box"],
                **({"labels": row["labels"]} if row["labels"] else {}),
            }
            for row in record["objects"]
        ]
        boxes = np.zeros((0, 4)) if item.boxes is None else np.asarray(item.boxes, np.float64)
        if record["labels"] and item.boxes is None:
            whole = [0.0, 0.0, float(item.width), float(item.height)]
            best = record["labels"][0] | {"image": record["image"], "box": whole}
            found.append(best | {"labels": record["labels"]})
            boxes = np.array([whole])
        self.unlocated += place is None and bool(found)
        for properties, geometry in zip(found, polygons(boxes, place), strict=True):
            feature = {"type": "Feature", "geometry": geometry, "properties": properties}
            self._file.write(("," if self._features else "") + "\n" + _text(feature))
            self._features += 1

    def _located(self, image: str) -> Place | None:
        # Frames of a video and what came through stdin are no files.
        return self._place.of(image) if Path(image).is_file() else None

    def close(self) -> None:
        own = {"names": self._names, "images": self._images}
        self._file.write(f'\n],\n"whatwhere": {_text(own)}}}\n')
        self._file.flush()


def polygons(boxes: NDArray[np.float64], place: Place | None) -> list[dict[str, Any] | None]:
    """GeoJSON geometries of boxes (N, 4) in pixels; None where there is no place on Earth."""
    if place is None or not len(boxes):
        return [None] * len(boxes)
    x1, y1, x2, y2 = boxes.T
    corners = np.stack([x1, y1, x1, y2, x2, y2, x2, y1], axis=1).reshape(-1, 2)
    return [_polygon(ring) for ring in place.to_earth(corners).reshape(-1, 4, 2)]


def _polygon(ring: NDArray[np.float64]) -> dict[str, Any] | None:
    if not np.isfinite(ring).all():
        return None
    ring = ring.copy()
    # Else a box on the 180th meridian would reach around the Earth.
    ring[ring[:, 0] < ring[:, 0].max() - 180, 0] += 360
    x, y = ring.T
    if (x * np.roll(y, -1) - np.roll(x, -1) * y).sum() < 0:
        ring = ring[::-1]
    points = np.round(ring, _DIGITS).tolist()
    return {"type": "Polygon", "coordinates": [[*points, points[0]]]}


def _text(value: Any) -> str:
    """JSON; odd bytes of file names are kept as escapes."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value)
    return text
