"""Places on Earth: exact in pixels, a hundredth of a pixel through WGS 84."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tool_files import again, boxes, column, kinds, picture, store
from whatwhere.data import Dataset, read
from whatwhere.errors import DataError, MissingExtraError

rasterio = pytest.importorskip("rasterio")
rasterio_shutil = pytest.importorskip("rasterio.shutil")

CRS = ["EPSG:32617", "EPSG:4326", "EPSG:3857", "EPSG:28992"]
CORNERS = {
    "EPSG:32617": (404211.9, 3285142.9, 0.1),
    "EPSG:4326": (-81.99, 29.69, 1e-6),
    "EPSG:3857": (-9127000.0, 3464000.0, 0.5),
    "EPSG:28992": (127375.0, 428250.0, 0.25),
}


def tile(path: Path, crs: str = "EPSG:32617", shift: int = 0, turned: float = 0.0) -> Path:
    """A georeferenced picture of 200 by 100 pixels, `shift` pictures to the east."""
    path.parent.mkdir(parents=True, exist_ok=True)
    x, y, pixel = CORNERS[crs]
    along, across = pixel * np.cos(np.radians(turned)), pixel * np.sin(np.radians(turned))
    left = x + shift * 200 * pixel
    transform = rasterio.Affine(along, -across, left, -across, -along, y)
    driver = {".png": "PNG", ".tif": "GTiff"}[path.suffix]
    known = {"width": 200, "height": 100, "count": 3, "dtype": "uint8"}
    with rasterio.open(path, "w", driver=driver, crs=crs, transform=transform, **known) as file:
        file.write(np.zeros((3, 100, 200), np.uint8))
    return path


def sample(path: Path) -> Dataset:
    """Three boxes, one with two outlines, of a picture."""
    labels = {
        "image": [0, 0, 0],
        "class_id": [0, 1, 0],
        "x1": [0.0, 10.123456, 50.0],
        "y1": [0.0, 20.654321, 5.0],
        "x2": [200.0, 60.333333, 90.0],
        "y2": [100.0, 80.999999, 40.0],
        "segmentation": [None, None, "[[50, 5, 60, 5, 60, 40], [70, 7, 90, 7, 90, 9]]"],
        "difficult": [None, True, None],
        "score": [None, 0.5, 0.25],
    }
    images = {"path": [str(path)], "width": [200], "height": [100]}
    return Dataset(images, labels, ["tree", "bird"], root=str(path.parent), task="detect")


def features(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "annotations.geojson").read_text())
    return content


@pytest.mark.parametrize("turned", [0.0, 17.0])
@pytest.mark.parametrize("crs", CRS)
def test_a_round_trip_is_exact(crs: str, turned: float, tmp_path: Path) -> None:
    before = sample(tile(tmp_path / "source" / "a.tif", crs, turned=turned))
    data = again(before, tmp_path / "copy", "geo")
    place = json.loads(data.images["extra"][0])["geo"]
    assert place["crs"] == crs
    assert len(place["transform"]) == 6


@pytest.mark.parametrize("crs", CRS)
def test_through_the_polygons_alone_boxes_are_good_to_a_hundredth(crs: str, tmp_path: Path) -> None:
    before = sample(tile(tmp_path / "source" / "a.tif", crs))
    before.write(tmp_path / "copy", "geo")
    content = features(tmp_path / "copy")
    del content["whatwhere"]
    for one in content["features"]:
        one["properties"] = {"name": one["properties"]["name"]}
    store(tmp_path / "copy" / "annotations.geojson", content)
    after = read(tmp_path / "copy")
    assert after.findings == ()
    sides = ["x1", "y1", "x2", "y2"]
    apart = after.labels.select(sides).to_numpy() - before.labels.select(sides).to_numpy()
    # PROJ's own way there and back is not exact where the datum changes.
    assert np.abs(apart).max() < (1e-2 if crs == "EPSG:28992" else 1e-3)
    outlines = column(after, "segmentation")
    assert outlines[:2] == [None, None]
    expected = column(before, "segmentation")[2]
    # Rings on Earth run anticlockwise, so corners may come in another order.
    assert [sorted(np.round(one, 2)) for one in outlines[2]] == [sorted(one) for one in expected]


def test_holes_of_polygons_are_named(tmp_path: Path) -> None:
    tile(tmp_path / "a.tif", "EPSG:4326")
    x, y, pixel = CORNERS["EPSG:4326"]

    def ring(left: int, top: int, side: int) -> list[list[float]]:
        corners = [(0, 0), (0, side), (side, side + 1), (side, 0), (0, 0)]
        return [[x + (left + a) * pixel, y - (top + b) * pixel] for a, b in corners]

    shapes = [
        {"type": "Polygon", "coordinates": [ring(10, 10, 40), ring(20, 20, 5)]},
        {"type": "MultiPolygon", "coordinates": [[ring(60, 10, 9)], [ring(80, 10, 9)]]},
    ]
    found = [{"type": "Feature", "geometry": one, "properties": {"name": "tree"}} for one in shapes]
    store(tmp_path / "a.geojson", {"type": "FeatureCollection", "features": found})
    data = read(tmp_path)
    assert [len(one) for one in column(data, "segmentation")] == [1, 2]
    (finding,) = data.findings
    assert (finding.kind, finding.where, finding.boxes) == ("filled-hole", "a.geojson#0", 0)
    assert "1 hole" in finding.message


def test_the_standard_is_kept(tmp_path: Path) -> None:
    sample(tile(tmp_path / "source" / "a.tif")).write(tmp_path / "copy", "geo")
    content = features(tmp_path / "copy")
    assert content["type"] == "FeatureCollection"
    assert "crs" not in content
    for one in content["features"]:
        shape = one["geometry"]
        polygons = shape["coordinates"]
        for (ring,) in [polygons] if shape["type"] == "Polygon" else polygons:
            assert ring[0] == ring[-1]
            points = np.array(ring)
            assert (np.abs(points) <= (180, 90)).all()
            x, y = points[:, 0] - points[0, 0], points[:, 1] - points[0, 1]
            assert (x[:-1] * y[1:] - x[1:] * y[:-1]).sum() > 0, "anticlockwise"


def test_what_was_moved_on_the_map_has_moved(tmp_path: Path) -> None:
    sample(tile(tmp_path / "source" / "a.tif", "EPSG:4326")).write(tmp_path / "copy", "geo")
    content = features(tmp_path / "copy")
    ring = content["features"][1]["geometry"]["coordinates"][0]
    content["features"][1]["geometry"]["coordinates"] = [[[x + 5e-6, y] for x, y in ring]]
    store(tmp_path / "copy" / "annotations.geojson", content)
    moved = boxes(read(tmp_path / "copy"))
    assert moved[1] == ("bird", 15.12, 20.65, 65.33, 81)
    assert moved[0] == ("tree", 0, 0, 200, 100)


def test_a_picture_that_lies_elsewhere_now_has_other_pixels(tmp_path: Path) -> None:
    sample(tile(tmp_path / "source" / "a.tif")).write(tmp_path / "copy", "geo")
    tile(tmp_path / "copy" / "images" / "a.tif", shift=0).unlink()
    x, y, pixel = CORNERS["EPSG:32617"]
    transform = rasterio.Affine(pixel, 0, x - 4 * pixel, 0, -pixel, y)
    known = {"width": 220, "height": 100, "count": 1, "dtype": "uint8", "driver": "GTiff"}
    place = tmp_path / "copy" / "images" / "a.tif"
    with rasterio.open(place, "w", crs="EPSG:32617", transform=transform, **known) as file:
        file.write(np.zeros((1, 100, 220), np.uint8))
    found = boxes(read(tmp_path / "copy"))
    assert found[1] == ("bird", 14.12, 20.65, 64.33, 81)


def test_features_without_a_picture_belong_to_where_they_lie(tmp_path: Path) -> None:
    for number in range(2):
        tile(tmp_path / f"tile{number}.tif", shift=number)
    x, y, pixel = CORNERS["EPSG:32617"]

    def square(column: float, **more: Any) -> dict[str, Any]:
        left, right, top = x + column * pixel, x + (column + 10) * pixel, y - 20 * pixel
        ring = [[left, top], [right, top], [right, top - 1], [left, top - 1], [left, top]]
        shape = {"type": "Polygon", "coordinates": [ring]}
        return {"type": "Feature", "geometry": shape, "properties": {"label": "tree"} | more}

    content: dict[str, Any] = {"type": "FeatureCollection"}
    content["crs"] = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32617"}}
    content["features"] = [square(5), square(250, height=7), square(900), square(197)]
    data = read(store(tmp_path / "trees.geojson", content).parent)
    assert [Path(path).name for path in data.paths] == ["tile0.tif", "tile1.tif"]
    assert data.labels["image"].to_list() == [0, 1, 1]
    assert [box[1:] for box in boxes(data)] == [
        (5, 20, 15, 30),
        (50, 20, 60, 30),
        (0, 20, 7, 30),
    ]
    assert column(data, "extra")[1] == {"geo": {"height": 7}}
    assert kinds(data) == ["clipped-box", "unknown-image"]


def test_pictures_without_georeference_are_listed_and_keep_their_boxes(tmp_path: Path) -> None:
    before = sample(picture(tmp_path / "source" / "a.png"))
    (said,) = before.write(tmp_path / "copy", "geo")
    assert said.kind == "not-georeferenced"
    assert [one["geometry"] for one in features(tmp_path / "copy")["features"]] == [None] * 3
    after = read(tmp_path / "copy")
    assert boxes(after) == boxes(before)
    assert after.findings == ()


def test_files_beside_a_picture_that_say_where_it_lies_are_copied(tmp_path: Path) -> None:
    before = sample(tile(tmp_path / "source" / "a.png"))
    assert (tmp_path / "source" / "a.png.aux.xml").is_file()
    again(before, tmp_path / "copy", "geo")
    assert (tmp_path / "copy" / "images" / "a.png.aux.xml").is_file()


def test_faults(tmp_path: Path) -> None:
    tile(tmp_path / "a.tif")
    good = {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}
    near = good | {"coordinates": [[[-82, 29.7], [-82, 29.8], [-82.1, 29.7], [-82, 29.7]]]}
    records: list[Any] = [
        "no feature",
        {"type": "Feature", "geometry": {"type": "Point", "coordinates": [0, 0]}},
        {"type": "Feature", "geometry": good | {"coordinates": [[[0, 0], ["x", 0], [1, 1]]]}},
        {"type": "Feature", "geometry": None, "properties": {"image": "a.tif", "name": "b"}},
        {"type": "Feature", "geometry": None, "properties": {"name": "b"}},
        {"type": "Feature", "geometry": good, "properties": {"name": "b", "image": "../../c.tif"}},
        # Half a world away, where the projection has no pixels; and a mile away.
        {"type": "Feature", "geometry": good, "properties": {"name": "b", "image": "a.tif"}},
        {"type": "Feature", "geometry": near, "properties": {"name": "b", "image": "a.tif"}},
    ]
    store(tmp_path / "a.geojson", {"type": "FeatureCollection", "features": records})
    data = read(tmp_path)
    expected = ["bad-record", "no-box", *["bad-box"] * 3, "unknown-image", "path-outside"]
    assert kinds(data) == sorted([*expected, "outside-box"])
    assert data.kept_out == len(records)


@pytest.mark.parametrize("name", ["EPSG:99999999", "+proj=longlat +nadgrids=/etc/x", 5, "WGS84"])
def test_reference_systems_are_numbers(name: Any, tmp_path: Path) -> None:
    crs = {"type": "name", "properties": {"name": name}}
    content = {"type": "FeatureCollection", "crs": crs, "features": []}
    with pytest.raises(DataError, match="EPSG number"):
        read(store(tmp_path / "a.geojson", content))


def test_files_that_name_others_are_not_opened(tmp_path: Path) -> None:
    """GDAL would take a virtual raster for a picture, and read what it names."""
    from whatwhere.data.formats._geo_places import Place

    tile(tmp_path / "a.tif")
    with rasterio.open(tmp_path / "a.tif") as file:
        rasterio_shutil.copy(file, tmp_path / "b.vrt", driver="VRT")
    (tmp_path / "b.vrt").rename(tmp_path / "b.tif")
    assert Place.of(str(tmp_path / "b.tif")) is None
    assert Place.of(str(tmp_path / "a.tif")) is not None


def test_a_shapefile_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "trees.shp").write_bytes(b"\0\0\x27\x0a" + bytes(96))
    for place in (tmp_path, tmp_path / "trees.shp"):
        with pytest.raises(DataError, match="ogr2ogr -f GeoJSON"):
            read(place)


def test_without_rasterio_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = sample(tile(tmp_path / "source" / "a.tif"))
    data.write(tmp_path / "copy", "geo")
    monkeypatch.setitem(sys.modules, "rasterio", None)
    with pytest.raises(MissingExtraError, match=r"whatwhere\[geo\]"):
        read(tmp_path / "copy")
    with pytest.raises(MissingExtraError, match=r"whatwhere\[geo\]"):
        data.write(tmp_path / "second", "geo")
    assert not (tmp_path / "second").exists()


def test_neon_trees(shared: Path, tmp_path: Path) -> None:
    data = read(shared / "neon_trees" / "OSBS_029.csv", format="geo")
    assert (len(data), data.labels.height) == (1, 61)
    place = json.loads(data.images["extra"][0])["geo"]
    assert place["crs"] == "EPSG:32617"
    again(data, tmp_path / "copy", "geo")
    with pytest.raises(DataError, match=r"australia\.shp is a shapefile"):
        read(shared / "neon_trees" / "australia.shp")
