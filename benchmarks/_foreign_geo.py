"""GeoJSON through geopandas."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from _foreign_common import corners, rows_of
from _foreign_facts import Box, Facts, stem

from whatwhere.data import Dataset


def geo_place(folder: Path, dataset: Dataset) -> list[str]:
    """The pictures of a data set as GeoTIFF, half a metre a pixel in UTM zone 17."""
    import rasterio

    from whatwhere.images import read_image

    paths = []
    for number, path in enumerate(dataset.paths):
        pixels = read_image(path).transpose(2, 0, 1)
        place = rasterio.Affine(0.5, 0, 400000 + 1000 * number, 0, -0.5, 3286000)
        size = {"count": 3, "height": pixels.shape[1], "width": pixels.shape[2]}
        known = {"driver": "GTiff", "dtype": "uint8", "crs": "EPSG:32617", "transform": place}
        paths.append(str(Path(path).with_suffix(".tif")))
        with rasterio.open(paths[-1], "w", **size, **known) as file:
            file.write(pixels)
    return paths


def geopandas_reader(folder: Path) -> Facts:
    """Polygons, brought back to pixels by rasterio and the picture's own place."""
    import geopandas
    import rasterio

    facts = Facts({})
    found = geopandas.read_file(folder / "annotations.geojson")
    for name, rows in found.groupby("image"):
        with rasterio.open(folder / name) as file:
            back, crs = ~file.transform, file.crs
        facts.add(stem(name))
        for geometry, label in zip(rows.to_crs(crs).geometry, rows["name"], strict=True):
            points = np.array([back * point for point in geometry.exterior.coords])
            box = (*points.min(0).tolist(), *points.max(0).tolist())
            facts.add(stem(name), Box(label, box))
    return facts


def geopandas_writer(dataset: Dataset, folder: Path) -> None:
    import geopandas
    import rasterio
    from shapely.geometry import Polygon

    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for _, path, _, labels in rows_of(dataset):
        shutil.copy(path, folder)
        with rasterio.open(path) as file:
            forward, crs = file.transform, file.crs
        shapes = []
        for row in labels:
            x1, y1, x2, y2 = corners(row)
            square = [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]
            shapes.append(Polygon([forward * point for point in square]))
        known = {"image": [path.name] * len(labels), "name": [row["name"] for row in labels]}
        if labels:
            parts.append(geopandas.GeoDataFrame(known, geometry=shapes, crs=crs).to_crs(4326))
    import pandas

    table = pandas.concat(parts)
    table.to_file(folder / "annotations.geojson", driver="GeoJSON", COORDINATE_PRECISION=12)
