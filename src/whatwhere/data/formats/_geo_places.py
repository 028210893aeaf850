"""Places on Earth of the pixels of a picture, through rasterio (extra `geo`).

Only GeoTIFF, PNG and JPEG files are opened: other kinds that GDAL knows, such as VRT, can
name further files and addresses.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whatwhere.data.formats._files import head
from whatwhere.errors import MissingExtraError
from whatwhere.images import member

WGS84 = "OGC:CRS84"
"""Longitude and latitude in degrees, in this order, as RFC 7946 has them."""

_DRIVERS = {
    b"II*\0": "GTiff",
    b"MM\0*": "GTiff",
    b"II+\0": "GTiff",
    b"MM\0+": "GTiff",
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
}


def need_rasterio() -> Any:
    """The package.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import rasterio
        import rasterio._err
        import rasterio.warp
    except ImportError:
        raise MissingExtraError("geo", "Boxes by places on Earth") from None
    return rasterio


@dataclass(frozen=True)
class Place:
    """Where a picture lies.

    Args:
        crs: coordinate reference system, as "EPSG:32617" or well-known text.
        transform: a, b, c, d, e, f: from column and row to x = a column + b row + c and
            y = d column + e row + f, pixels counted continuously from the top left corner.
    """

    crs: str
    transform: tuple[float, ...]

    @classmethod
    def of(cls, path: str) -> Place | None:
        """Of a picture file, by its own header or a file beside it; None if it has none."""
        rasterio = need_rasterio()
        start = head(Path(path), 4) if member(path) is None else b""
        driver = next((name for magic, name in _DRIVERS.items() if start.startswith(magic)), None)
        if driver is None:
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            try:
                with rasterio.open(path, driver=driver) as file:
                    crs, transform = file.crs, tuple(file.transform)[:6]
            except rasterio.errors.RasterioError:
                return None
        if not crs or transform == (1.0, 0.0, 0.0, 0.0, 1.0, 0.0):
            return None
        return cls.made(crs.to_string(), transform)

    @classmethod
    def made(cls, crs: str, transform: Sequence[Any]) -> Place | None:
        """From what was recorded; None if pixels have no place by it."""
        values = tuple(float(value) for value in transform)
        if len(values) != 6 or not all(map(math.isfinite, values)):
            return None
        a, b, _, d, e, _ = values
        return cls(crs, values) if a * e - b * d != 0 else None

    def to_earth(self, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
        """Longitude and latitude of points (N, 2) in pixels; not finite where there is none."""
        a, b, c, d, e, f = self.transform
        columns, rows = pixels[:, 0], pixels[:, 1]
        with np.errstate(invalid="ignore", over="ignore"):
            xs, ys = a * columns + b * rows + c, d * columns + e * rows + f
        return reproject(np.stack([xs, ys], axis=1), self.crs, WGS84)

    def to_pixels(self, points: NDArray[np.float64], crs: str) -> NDArray[np.float64]:
        """Columns and rows of points (N, 2) that are in another reference system."""
        a, b, c, d, e, f = self.transform
        found = reproject(points, crs, self.crs)
        scale = a * e - b * d
        with np.errstate(invalid="ignore", over="ignore"):
            xs, ys = found[:, 0] - c, found[:, 1] - f
            return np.stack([(e * xs - b * ys) / scale, (a * ys - d * xs) / scale], axis=1)


def reproject(points: NDArray[np.float64], source: str, target: str) -> NDArray[np.float64]:
    """Points (N, 2) in another reference system; not finite where that has none for them."""
    if source == target or len(points) == 0:
        return points
    rasterio = need_rasterio()
    try:
        xs, ys = rasterio.warp.transform(source, target, points[:, 0], points[:, 1])
    except (rasterio.errors.RasterioError, rasterio._err.CPLE_BaseError, ValueError):
        if len(points) == 1:
            return np.full(points.shape, np.nan)
        # One point outside of the projection's domain stops all of them.
        half = len(points) // 2
        parts = [reproject(part, source, target) for part in (points[:half], points[half:])]
        return np.concatenate(parts)
    return np.stack([np.asarray(xs, np.float64), np.asarray(ys, np.float64)], axis=1)


def crs_of(content: dict[str, Any]) -> str | None:
    """The reference system of a GeoJSON object; None if it names one that is not known.

    RFC 7946 knows WGS 84 only; the GeoJSON of 2008 may name another in a member "crs".
    """
    crs = content.get("crs")
    if crs is None:
        return WGS84
    properties = crs.get("properties") if isinstance(crs, dict) else None
    name = properties.get("name") if isinstance(properties, dict) else None
    if not isinstance(name, str):
        return None
    if re.search(r"CRS84$", name):
        return WGS84
    # Numbers only: other texts may make PROJ read files.
    found = re.fullmatch(r"(?:urn:ogc:def:crs:EPSG:[\d.]*:|EPSG:)(\d{4,6})", name.strip())
    return None if found is None else f"EPSG:{found[1]}"
