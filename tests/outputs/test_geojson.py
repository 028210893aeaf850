"""Predictions on the map, checked with rasterio's own transformation back to pixels."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import whatwhere as ww
from command_line import Run
from factories import picture, write_model
from whatwhere.errors import ImageError
from whatwhere.images import write_image
from whatwhere.outputs.geojson import GeoJson
from whatwhere.runtime import Failure
from whatwhere.types import Prediction

rasterio = pytest.importorskip("rasterio")


def write_tiff(path: Path, pixels: Any, crs: str, transform: tuple[float, ...]) -> Path:
    height, width = pixels.shape[:2]
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=width,
        height=height,
        count=3,
        dtype="uint8",
        crs=crs,
        transform=rasterio.Affine(*transform),
    ) as file:
        file.write(np.moveaxis(pixels, 2, 0))
    return path


def collected(*items: Prediction | Failure) -> tuple[dict[str, Any], GeoJson]:
    file = io.StringIO()
    writer = GeoJson(file, ["cat", "dog"])
    for item in items:
        writer.write(item)
    writer.close()
    return json.loads(file.getvalue()), writer


def found(path: Path | str | None, *boxes: tuple[float, ...]) -> Prediction:
    return Prediction(
        200,
        100,
        image=None if path is None else str(path),
        object_names=("cat",) * len(boxes),
        object_scores=np.full(len(boxes), 0.5, np.float32),
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
    )


# Metres in UTM zone 33, once turned by 20 degrees; degrees; feet in Massachusetts.
PLACES = [
    ("EPSG:32633", (0.5, 0.0, 500_000.0, 0.0, -0.5, 5_500_000.0)),
    ("EPSG:32633", (0.47, 0.171, 500_000.0, 0.171, -0.47, 5_500_000.0)),
    ("EPSG:4326", (1e-5, 0.0, 11.0, 0.0, -1e-5, 48.0)),
    ("EPSG:2249", (1.0, 0.0, 770_000.0, 0.0, -1.0, 2_950_000.0)),
]


@pytest.mark.parametrize(("crs", "transform"), PLACES)
def test_polygons_lie_where_the_boxes_do(
    crs: str, transform: tuple[float, ...], tmp_path: Path
) -> None:
    path = write_tiff(tmp_path / "map.tif", np.zeros((100, 200, 3), np.uint8), crs, transform)
    boxes = [(10.0, 20.0, 60.5, 45.25), (0.0, 0.0, 200.0, 100.0)]
    content, writer = collected(found(path, *boxes))
    assert writer.unlocated == 0
    assert len(content["features"]) == 2
    for feature, box in zip(content["features"], boxes, strict=True):
        assert feature["geometry"]["type"] == "Polygon"
        (ring,) = feature["geometry"]["coordinates"]
        assert ring[0] == ring[-1]
        assert len(ring) == 5
        x, y = np.array(ring).T
        assert (x[:-1] * y[1:] - x[1:] * y[:-1]).sum() > 0  # anticlockwise
        east, north = rasterio.warp.transform("EPSG:4326", crs, x.tolist(), y.tolist())
        back = np.array(
            [~rasterio.Affine(*transform) @ point for point in zip(east, north, strict=True)]
        )
        around = np.concatenate([back.min(0), back.max(0)])
        np.testing.assert_allclose(around, box, atol=0.01)
        assert feature["properties"] == {
            "name": "cat",
            "score": 0.5,
            "image": str(path),
            "box": list(box),
        }


def test_the_180th_meridian_is_passed_not_gone_around(tmp_path: Path) -> None:
    pixels = np.zeros((100, 200, 3), np.uint8)
    place = (10.0, 0.0, 830_000.0, 0.0, -10.0, 110_000.0)
    path = write_tiff(tmp_path / "fiji.tif", pixels, "EPSG:32660", place)
    content, _ = collected(found(path, (0, 0, 200, 100), (150, 10, 160, 20)))
    for feature in content["features"]:
        lon = np.array(feature["geometry"]["coordinates"][0])[:, 0]
        assert np.ptp(lon) < 0.1


def test_what_has_no_place_has_no_geometry_and_is_counted(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", np.zeros((100, 200, 3), np.uint8))
    gone = ImageError("gone")
    content, writer = collected(
        found(tmp_path / "a.png", (1, 2, 3, 4)),
        found(None, (1, 2, 3, 4)),
        found("clip.mp4#3", (1, 2, 3, 4)),
        found(tmp_path / "a.png"),
        Failure("b.png", gone),
    )
    assert [feature["geometry"] for feature in content["features"]] == [None] * 3
    assert writer.unlocated == 3
    assert [image["image"] for image in content["whatwhere"]["images"]] == [
        *(str(tmp_path / "a.png"), None, "clip.mp4#3", str(tmp_path / "a.png")),
    ]
    assert collected()[0]["features"] == []


def test_labels_of_pictures(tmp_path: Path) -> None:
    crs, place = PLACES[0]
    path = write_tiff(tmp_path / "map.tif", np.zeros((100, 200, 3), np.uint8), crs, place)
    scores = np.array([0.7, 0.3], np.float32)
    whole = Prediction(200, 100, str(path), label_names=("dog", "cat"), label_scores=scores)
    content, _ = collected(whole)
    (feature,) = content["features"]
    assert feature["properties"]["name"] == "dog"
    assert feature["properties"]["box"] == [0, 0, 200, 100]
    assert [row["name"] for row in feature["properties"]["labels"]] == ["dog", "cat"]


def test_the_command_reads_tiff_in_tiles_and_its_file_is_a_data_set(
    run: Run, tmp_path: Path
) -> None:
    pixels = np.zeros((200, 300, 3), np.uint8)
    pixels[16:32, 16:32, 0] = 255
    pixels[152:168, 252:268, 2] = 255
    crs, place = PLACES[0]
    path = write_tiff(tmp_path / "map.tif", pixels, crs, place)
    write_image(tmp_path / "plain.png", picture((1, 1, 1)))
    model = write_model(tmp_path / "model.onnx", "detect")
    out = tmp_path / "out.geojson"
    options = ("--model", model, "--tile", "64", "--tile-overlap", "0", "--out", out)
    outcome = run("predict", path, tmp_path / "plain.png", *options)
    assert outcome.status == 0
    assert "1 pictures have no georeference" in outcome.err
    data = ww.read(out)
    assert list(data.names) == ["red", "green", "blue"]
    content = json.loads(out.read_text())
    assert [row["properties"]["name"] for row in content["features"]][:2] == ["red", "blue"]
    red = np.array(content["features"][0]["geometry"]["coordinates"][0])
    east, north = rasterio.warp.transform("EPSG:4326", crs, *red.T.tolist())
    assert min(east) == pytest.approx(500_000 + 16 * 0.5, abs=0.01)
    assert max(north) == pytest.approx(5_500_000 - 16 * 0.5, abs=0.01)


def test_without_rasterio_it_is_said_before_any_work(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "rasterio", None)
    write_image(tmp_path / "a.png", picture((1, 1, 1)))
    model = write_model(tmp_path / "model.onnx", "detect")
    outcome = run("predict", tmp_path / "a.png", "--model", model, "--format", "geojson")
    assert outcome.status == 2
    assert "pip install 'whatwhere[geo]'" in outcome.err
