"""Create ML: centres, key names, Roboflow's folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tool_files import again, boxes, column, kinds, picture, store
from whatwhere.data import Dataset, read
from whatwhere.errors import DataError


def box(x: Any, y: Any, width: Any, height: Any, label: Any = "cat", **more: Any) -> dict[str, Any]:
    sides = {"x": x, "y": y, "width": width, "height": height}
    return {"label": label, "coordinates": sides} | more


@pytest.mark.parametrize(
    ("image", "objects"),
    [("image", "annotations"), ("imagefilename", "annotation"), ("filename", "annotations")],
)
def test_coordinates_are_centres(image: str, objects: str, tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    store(tmp_path / "annotations.json", [{image: "a.png", objects: [box(50, 40, 20, 30)]}])
    data = read(tmp_path)
    assert boxes(data) == [("cat", 40, 25, 60, 55)]
    assert data.findings == ()


def test_folders_of_roboflow_are_splits(tmp_path: Path) -> None:
    for folder in ("train", "valid", "test"):
        picture(tmp_path / folder / "a.png")
        content = [{"image": "a.png", "annotations": [box(50, 40, 20, 30)]}]
        store(tmp_path / folder / "_annotations.createml.json", content)
    data = read(tmp_path)
    assert data.images["split"].to_list() == ["train", "val", "test"]
    after = again(data, tmp_path / "copy", "createml")
    assert after.splits == data.splits
    assert (tmp_path / "copy" / "valid" / "_annotations.createml.json").is_file()


def test_faults(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    annotations = [
        box(50, 40, 20, 30, confidence=0.5),
        box(50, 40, 20, None),
        box(50, 40, float("nan"), 3),
        box(500, 40, 20, 30),
        box(50, 40, -20, 30),
        box(50, 40, 20, 30, ""),
        "cat",
    ]
    records = [
        {"image": "a.png", "annotations": annotations},
        {"image": "../a.png", "annotations": [box(1, 2, 3, 4)]},
        {"image": "b.png", "annotations": []},
        {"annotations": [box(1, 2, 3, 4)]},
        {"image": "a.png", "annotations": []},
    ]
    store(tmp_path / "set" / "annotations.json", records)
    picture(tmp_path / "set" / "a.png")
    (tmp_path / "a.png").unlink()
    data = read(tmp_path / "set")
    # "../a.png" is taken for the a.png that lies here.
    assert boxes(data) == [("cat", 40, 25, 60, 55), ("cat", 0, 0, 2.5, 4)]
    assert column(data, "extra") == [{"createml": {"confidence": 0.5}}, None]
    expected = ["bad-box", "bad-box", "bad-record", "bad-record", "duplicate-entry"]
    expected += ["duplicate-entry", "inverted-box", "missing-image", "no-class", "outside-box"]
    assert kinds(data) == sorted(expected)
    assert data.kept_out == 7


def test_any_float32_survives(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    low = rng.uniform(0, 90, (500, 2)).astype(np.float32)
    sides = np.concatenate([low, low + rng.uniform(1e-3, 10, (500, 2)).astype(np.float32)], axis=1)
    path = str(picture(tmp_path / "source" / "a.png", 200, 101))
    labels = {"image": [0] * 500, "class_id": [0] * 500}
    labels |= {name: sides[:, place] for place, name in enumerate(("x1", "y1", "x2", "y2"))}
    images = {"path": [path], "width": [200], "height": [101]}
    for name in ("createml", "label_studio", "cvat", "labelme", "datumaro", "csv_boxes", "geo"):
        data = Dataset(images, labels, ["cat"], task="detect")
        data.write(tmp_path / name, name)
        found = read(tmp_path / name).labels.select("x1", "y1", "x2", "y2").to_numpy()
        assert (found == sides).all(), name


def test_other_lists_are_not_taken(tmp_path: Path) -> None:
    store(tmp_path / "a.json", [{"image": "a.png", "label": "cat"}])
    with pytest.raises(DataError, match="not a data set of a known format"):
        read(tmp_path)
    with pytest.raises(DataError, match="looked for"):
        read(tmp_path, format="createml")


def test_damaged_files(tmp_path: Path) -> None:
    picture(tmp_path / "train" / "a.png")
    content = json.dumps([{"image": "a.png", "annotations": [box(50, 40, 20, 30)]}])
    store(tmp_path / "train" / "_annotations.createml.json", content)
    store(tmp_path / "valid" / "_annotations.createml.json", "[{")
    data = read(tmp_path)
    assert [(one.kind, one.where) for one in data.findings] == [
        ("damaged-annotation", "valid/_annotations.createml.json")
    ]
    store(tmp_path / "train" / "_annotations.createml.json", content[:-1])
    with pytest.raises(DataError, match="not valid JSON"):
        read(tmp_path)
