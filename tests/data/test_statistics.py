"""The numbers of a data set, against slow and simple counting."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from data_samples import NAMES, classification, detection
from whatwhere.data import Dataset, Finding, read
from whatwhere.data.anchors import SIDE, find_anchors, fit, size_iou
from whatwhere.data.statistics import HEAT, statistics


def many(count: int = 400, pictures: int = 60, classes: int = 5) -> Dataset:
    """Boxes by chance, some ignored, some with an area of their own, two splits and none."""
    rng = np.random.default_rng(3)
    x1, y1 = rng.uniform(0, 500, count), rng.uniform(0, 300, count)
    wide, high = rng.uniform(2, 138, count), rng.uniform(2, 178, count)
    own = np.where(rng.random(count) < 0.3, wide * high / 2, np.nan)
    return Dataset(
        {
            "path": [f"/p/{row}.jpg" for row in range(pictures)],
            "width": [640 if row % 3 else 480 for row in range(pictures)],
            "height": [480 if row % 3 else 640 for row in range(pictures)],
            "split": [("train", "val", None)[row % 3] for row in range(pictures)],
            "group": [f"g{row // 10}" if row < 30 else None for row in range(pictures)],
        },
        pl.DataFrame(
            {
                "image": rng.integers(0, pictures - 5, count),
                "class_id": rng.integers(0, classes - 1, count),
                "x1": x1,
                "y1": y1,
                "x2": x1 + wide,
                "y2": y1 + high,
                "ignore": rng.random(count) < 0.1,
                "area": own,
                "source": ["human", None] * (count // 2),
            },
            nan_to_null=True,
        ),
        [f"c{number}" for number in range(classes)],
        findings=[Finding("bad-box", "a box", "a:1", "error", "kept out", 1)] * 2,
    )


def test_it_is_json_and_contains_the_short_form() -> None:
    dataset = many()
    full = dataset.stats(full=True)
    assert {key: full[key] for key in dataset.stats()} == dataset.stats()
    assert json.loads(json.dumps(full, allow_nan=False)) == full
    assert (full["task"], full["kept_out"], full["findings"]) == ("detect", 2, {"bad-box": 2})


def test_classes_splits_and_sizes_are_counted() -> None:
    dataset = many()
    stats = statistics(dataset)
    labels = dataset.labels.with_columns(
        split=dataset.images["split"].gather(dataset.labels["image"].cast(pl.Int64))
    )
    area = labels["area"].fill_null((labels["x2"] - labels["x1"]) * (labels["y2"] - labels["y1"]))
    for number, row in enumerate(stats["class_table"]):
        own = (labels["class_id"] == number).fill_null(False)
        assert row["labels"] == row["boxes"] == own.sum()
        assert row["images"] == labels.filter(own)["image"].n_unique()
        assert row["ignored"] == (own & labels["ignore"]).sum()
        for split in ("train", "val"):
            inside = own & (labels["split"] == split).fill_null(False)
            assert row["splits"][split] == inside.sum()
            assert row["images_by_split"][split] == labels.filter(inside)["image"].n_unique()
        assert row["sizes"] == {
            "small": (own & (area < 1024)).sum(),
            "medium": (own & (area >= 1024) & (area < 9216)).sum(),
            "large": (own & (area >= 9216)).sum(),
        }
    assert [row["split"] for row in stats["by_split"]] == ["train", "val", None]
    assert [row["images"] for row in stats["by_split"]] == [20, 20, 20]
    assert sum(row["labels"] for row in stats["by_split"]) == labels.height
    assert sum(row["empty"] for row in stats["by_split"]) == stats["per_image"]["empty"]
    assert stats["sources"] == {"human": 200}
    assert stats["groups"]["count"] == 3
    assert stats["groups"]["images"] == 30
    assert sorted(stats["groups"]["largest"]) == [["g0", 10], ["g1", 10], ["g2", 10]]


def test_pairs_positions_and_histograms() -> None:
    dataset = many()
    stats = statistics(dataset)
    pairs = stats["co_occurrence"]
    # The last class has no labels and no row.
    assert pairs["names"] == ["c0", "c1", "c2", "c3"]
    shown = [
        set(dataset.labels.filter(pl.col("image") == row)["class_id"])
        for row in range(len(dataset))
    ]
    for one in range(4):
        for two in range(4):
            assert pairs["counts"][one][two] == sum({one, two} <= ids for ids in shown)
    grid = np.array(stats["positions"])
    assert grid.shape == (HEAT, HEAT)
    assert grid.sum() == 400
    labels = dataset.labels
    down = ((labels["y1"] + labels["y2"]) / 2).to_numpy()
    heights = dataset.images["height"].gather(labels["image"].cast(pl.Int64)).to_numpy()
    assert grid[: HEAT // 2].sum() == (down / heights < 0.5).sum()
    for key in ("aspect_ratios", "relative_sizes"):
        assert sum(stats[key]["counts"]) == 400
        assert len(stats[key]["edges"]) == len(stats[key]["counts"]) + 1
    per_image = stats["per_image"]
    assert sum(per_image["counts"]) == 60
    assert per_image["counts"][0] == per_image["empty"] >= 5
    assert stats["picture_sizes"]["common"] == [[640, 480, 40], [480, 640, 20]]
    assert (stats["picture_sizes"]["landscape"], stats["picture_sizes"]["portrait"]) == (40, 20)


def test_boxes_are_judged_in_pictures_of_known_size_only(tmp_path: Path) -> None:
    dataset = detection(tmp_path)
    bare = Dataset(dataset.images.drop("width"), dataset.labels, NAMES)
    stats = statistics(bare)
    assert stats["picture_sizes"]["unknown"] == 6
    assert np.sum(stats["positions"]) == 0
    assert stats["relative_sizes"]["median"] is None
    assert sum(stats["aspect_ratios"]["counts"]) == 7
    assert stats["by_split"][0]["anchors"] == []
    assert stats["by_split"][1]["drift"]["anchor_fit"] is None


def test_partly_labelled_pictures_are_counted(tmp_path: Path) -> None:
    plain = detection(tmp_path)
    assert statistics(plain)["partly_labelled"] == 0
    lists = pl.Series([NAMES[:1], None, [], None, None, None], dtype=pl.List(pl.String))
    part = Dataset(plain.images.with_columns(labelled=lists), plain.labels, NAMES)
    assert statistics(part)["partly_labelled"] == 2


def test_sets_without_boxes_labels_or_pictures(tmp_path: Path) -> None:
    plain = statistics(classification(tmp_path))
    assert plain["boxes"] == sum(plain["box_sizes"].values()) == 0
    assert plain["by_split"][0]["drift"] is None
    assert plain["by_split"][1]["drift"]["classes"] == 0
    bare = statistics(Dataset({"path": ["/a"]}, {}, []))
    assert bare["co_occurrence"]["names"] == []
    assert bare["per_image"]["counts"] == [1]
    empty = statistics(Dataset({"path": []}, {}, ["cat"]))
    assert (empty["images"], empty["per_image"]["mean"]) == (0, None)


def test_many_labels_of_a_picture_are_binned() -> None:
    labels = {"image": [0] * 1000 + [1] * 3, "class_id": [0] * 1003}
    dataset = Dataset({"path": ["/a", "/b", "/c"]}, labels, ["c"], task="multilabel")
    per_image = statistics(dataset)["per_image"]
    assert len(per_image["counts"]) <= 40
    assert sum(per_image["counts"]) == 3
    assert per_image["edges"][-1] > 1000


def test_drift_of_classes_and_sizes() -> None:
    rows = 40
    wide = [20.0] * rows + [200.0] * rows
    labels = {
        "image": range(2 * rows),
        "class_id": [0] * rows + [0, 1] * (rows // 2),
        "x1": [0.0] * 2 * rows,
        "y1": [0.0] * 2 * rows,
        "x2": wide,
        "y2": wide,
    }
    images = {
        "path": [f"/{row}" for row in range(2 * rows)],
        "width": [640] * 2 * rows,
        "height": [640] * 2 * rows,
        "split": ["train"] * rows + ["test"] * rows,
    }
    test = statistics(Dataset(images, labels, ["a", "b"]))["by_split"][1]
    assert test["drift"]["from"] == "train"
    assert test["drift"]["classes"] == pytest.approx(0.5)
    assert test["drift"]["box_sizes"] == pytest.approx(1.0)
    assert test["anchors"] == [[200.0, 200.0]]
    assert test["anchor_fit"] == pytest.approx(1.0)
    assert test["drift"]["anchor_fit"] == pytest.approx(0.01)


def test_anchors_find_the_clusters() -> None:
    rng = np.random.default_rng(0)
    centres = np.array([[20, 40], [100, 30], [90, 120], [300, 280.0]])
    sizes = np.concatenate([centre * rng.uniform(0.93, 1.07, (50, 2)) for centre in centres])
    found = find_anchors(sizes, 4)
    order = np.argsort(centres.prod(axis=1))
    np.testing.assert_allclose(found, centres[order], rtol=0.03)
    assert (fit(sizes, found) or 0) > 0.9
    np.testing.assert_array_equal(found, find_anchors(sizes, 4))
    np.testing.assert_array_equal(find_anchors(sizes[:2], 6).shape, (2, 2))
    assert find_anchors(np.zeros((0, 2))).shape == (0, 2)
    assert fit(np.zeros((0, 2)), found) is None
    np.testing.assert_allclose(size_iou(np.array([[2.0, 2]]), np.array([[4.0, 1]])), [[2 / 6]])
    assert SIDE == 640


def test_real_sets(shared: Path) -> None:
    stats = statistics(read(shared / "bccd"))
    # The note: `verified="no"`, an attribute of labelImg, in one file only.
    assert stats["findings"] == {"zero-size-box": 2, "left-out-field": 1}
    assert stats["picture_sizes"]["common"] == [[640, 480, 364]]
    assert stats["co_occurrence"]["counts"][1][1] == 349
    assert stats["by_split"][2]["images"] == 72
    digits = statistics(read(shared / "cifar10_folders"))
    assert {row["labels"] for row in digits["class_table"]} == {1200}
