"""Labels drawn into pictures, and sheets of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from data_samples import NAMES, classification, detection
from whatwhere.data import Dataset
from whatwhere.errors import UsageError
from whatwhere.outputs.contact import choose_rows, contact_sheet
from whatwhere.outputs.draw import PALETTE
from whatwhere.outputs.labels import (
    PictureLabels,
    draw_labels,
    many_colours,
    picture_labels,
    shrink,
    zoom,
)

RED = (255, 0, 0)


def grey(height: int = 300, width: int = 400) -> np.ndarray:
    return np.full((height, width, 3), 128, np.uint8)


def labelled(*boxes: tuple[float, ...], ignore: bool = False) -> PictureLabels:
    count = len(boxes)
    return PictureLabels(
        ["cat"] * count, np.array(boxes, np.float32).reshape(-1, 4), [ignore] * count
    )


def red_at(image: np.ndarray) -> np.ndarray:
    # Lines of one pixel are smoothed into what is around them.
    return (image[..., 0] > 180) & (image[..., 1] < 90)


def test_a_box_is_drawn_where_it_is() -> None:
    image = grey()
    drawn = draw_labels(image, labelled((100, 80, 200, 220)), colours={"cat": RED}, tags=False)
    assert (image == 128).all()
    rows, columns = np.nonzero(red_at(drawn))
    assert (abs(columns.min() - 100), abs(columns.max() - 200)) <= (2, 2)
    assert (abs(rows.min() - 80), abs(rows.max() - 220)) <= (2, 2)
    assert not red_at(drawn)[110:190, 120:180].any()


def test_ignored_boxes_are_dashed() -> None:
    box = (100, 80, 200, 220)
    solid = draw_labels(grey(), labelled(box), colours={"cat": RED}, tags=False)
    dashed = draw_labels(grey(), labelled(box, ignore=True), colours={"cat": RED}, tags=False)
    assert 0.3 < red_at(dashed).sum() / red_at(solid).sum() < 0.8


def test_names_are_written_unless_they_would_hide_small_boxes() -> None:
    few = labelled((100, 80, 200, 220))
    plain = draw_labels(grey(), few, colours={"cat": RED}, tags=False)
    named = draw_labels(grey(), few, colours={"cat": RED})
    assert red_at(named).sum() > red_at(plain).sum()
    crowd = labelled(*((20 * place, 100, 20 * place + 8, 108) for place in range(1, 15)))
    assert (
        draw_labels(grey(), crowd, colours={"cat": RED})
        == draw_labels(grey(), crowd, colours={"cat": RED}, tags=False)
    ).all()


def test_shrunk_and_small_pictures() -> None:
    small, ratio = shrink(grey(300, 400), 200)
    assert (small.shape, ratio) == ((150, 200, 3), 0.5)
    drawn = draw_labels(
        small, labelled((100, 80, 300, 220)), scale=ratio, colours={"cat": RED}, tags=False, least=1
    )
    columns = np.nonzero(red_at(drawn))[1]
    assert (abs(columns.min() - 50), abs(columns.max() - 150)) <= (2, 2)
    assert draw_labels(grey(16, 16), labelled(), least=64).shape == (64, 64, 3)
    assert draw_labels(grey(1, 10000), labelled((0, 0, 5, 1)), least=256).shape[1] <= 10000


def test_labels_without_a_box_and_odd_boxes_are_no_trouble() -> None:
    nan = float("nan")
    strange = labelled((nan, nan, nan, nan), (-5, -5, 900, 900), (10, 10, 10.01, 10.01))
    assert draw_labels(grey(), strange).shape == (300, 400, 3)
    none = PictureLabels(["cat"], None, [False])
    assert (draw_labels(grey(), none) == 128).all()


def test_outlines_replace_boxes() -> None:
    corner = np.array([[100, 80], [200, 80], [100, 220]], np.float32)
    truth = PictureLabels(["cat"], np.array([[100, 80, 200, 220]], np.float32), [False], [[corner]])
    drawn = draw_labels(grey(), truth, colours={"cat": RED}, tags=False)
    # The lower right corner of the box is not on the outline.
    assert not red_at(drawn)[200:230, 180:210].any()
    assert red_at(drawn)[150, 95:105].any()


def test_outlines_are_read_off_the_segmentation(tmp_path: Path) -> None:
    plain = detection(tmp_path)
    shapes = [json.dumps([[0, 0, 5, 0, 5, 5]]), json.dumps({"counts": "x", "size": [4, 4]})]
    column = [*shapes, None, "[[1, 2]]", None, None, None]
    labels = plain.labels.with_columns(segmentation=pl.Series(column))
    dataset = Dataset(plain.images, labels, NAMES)
    first = picture_labels(dataset, 0, outlines=True)
    assert [len(parts) for parts in first.outlines] == [1, 0]
    np.testing.assert_array_equal(first.outlines[0][0], [[0, 0], [5, 0], [5, 5]])
    assert [len(parts) for parts in picture_labels(dataset, 3, outlines=True).outlines] == [0]


def test_zoom_shows_the_smallest_object() -> None:
    truth = labelled((10, 10, 390, 290), (300, 200, 310, 206))
    part, seen = zoom(grey(), truth)
    assert part.shape == (70, 70, 3)
    assert seen.boxes is not None
    np.testing.assert_array_equal(seen.boxes[1], [30, 32, 40, 38])
    whole, same = zoom(grey(), PictureLabels(["cat"], None, [False]))
    assert (whole.shape, same.boxes) == ((300, 400, 3), None)
    ignored, _ = zoom(grey(), labelled((5, 5, 9, 9), ignore=True))
    assert ignored.shape == (300, 400, 3)


def test_colours_differ() -> None:
    names = [f"kind {place}" for place in range(60)]
    colours = many_colours(names)
    assert len({colours[name] for name in names[:48]}) == 48
    assert {colours[name] for name in names[:16]} == set(PALETTE)
    assert many_colours(names[:5]) == {name: colours[name] for name in names[:5]}


def test_rows_are_chosen(tmp_path: Path) -> None:
    dataset = detection(tmp_path)
    assert choose_rows(dataset, 10) == [0, 1, 2, 3, 4, 5]
    assert choose_rows(dataset, 3, seed=1) == choose_rows(dataset, 3, seed=1)
    assert choose_rows(dataset, 9, classes=["käfer"]) == [1, 4]
    assert choose_rows(dataset, 2, hard="crowded") == [0, 4]
    # 8 x 10, 20 x 15, 38 x 38, 63 x 34.5, 60 x 40 pixels; the ignored one does not count.
    assert choose_rows(dataset, 9, hard="smallest") == [4, 1, 2, 3, 0]
    assert choose_rows(dataset, 9, hard="smallest", classes=["ant"]) == [2, 0]
    sizes = {"width": [9, 5, 7, 8, 30, 6], "height": [9, 99, 7, 9, 2, 6]}
    plain = classification(tmp_path / "b")
    sized = Dataset({"path": plain.paths, **sizes}, plain.labels, NAMES)
    assert choose_rows(sized, 3, hard="smallest") == [4, 1, 5]


def test_a_sheet_of_classification_has_captions_and_no_legend(tmp_path: Path) -> None:
    boxes = contact_sheet(detection(tmp_path), range(6), columns=2, cell=100)
    plain = contact_sheet(classification(tmp_path / "b"), range(6), columns=2, cell=100)
    assert boxes.drawing.image.shape[1] == plain.drawing.image.shape[1] == 2 * 112 + 12
    assert boxes.drawing.image.shape[0] > plain.drawing.image.shape[0]
    assert plain.rows == (0, 1, 2, 3, 4, 5)


def test_a_sheet_needs_a_picture(tmp_path: Path) -> None:
    dataset = detection(tmp_path)
    for path in dataset.paths:
        Path(path).unlink()
    with pytest.raises(UsageError, match=r"no readable picture to show: .*does not exist"):
        contact_sheet(dataset, [0])
    with pytest.raises(UsageError, match="at most 1000"):
        contact_sheet(dataset, [0] * 1001)
