"""Drawings: what is painted where, in which colours, and that words stay readable."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whatwhere.errors import ImageError, UsageError
from whatwhere.images import read_image, write_image
from whatwhere.outputs import draw as module
from whatwhere.outputs.draw import PALETTE, Tag, class_colours, draw
from whatwhere.outputs.pen import Pen
from whatwhere.types import Image, Label, Prediction, as_boxes

GREY = np.full((400, 600, 3), 128, np.uint8)


def prediction(
    boxes: Any = (), names: tuple[str, ...] | None = None, image: Image = GREY, **fields: Any
) -> Prediction:
    """Objects called "thing" on a picture."""
    rows = as_boxes(boxes)
    return Prediction(
        image.shape[1],
        image.shape[0],
        object_names=("thing",) * len(rows) if names is None else names,
        object_scores=np.full(len(rows), 0.9, np.float32),
        boxes=rows,
        **fields,
    )


def changed(drawing: Image, original: Image = GREY) -> Any:
    """Which pixels a drawing changed, (height, width)."""
    return (drawing != original).any(axis=2)


def tags(found: Prediction, image: Image, monkeypatch: pytest.MonkeyPatch) -> list[Tag]:
    """Where the names of the objects lie."""
    kept: list[list[Tag]] = []
    real = module._draw_tags

    def spy(*arguments: Any) -> Any:
        answer = real(*arguments)
        kept.append(answer[0])
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(module, "_draw_tags", spy)
        draw(found, image)
    return kept[0]


def test_a_box_is_outlined_in_its_colour_and_its_inside_kept() -> None:
    drawing = draw(prediction([[100, 100, 300, 300]]), GREY).image
    colour = class_colours(["thing"])["thing"]
    for y, x in ((200, 100), (200, 298), (298, 200)):
        assert tuple(drawing[y, x]) == colour
    assert not changed(drawing)[140:280, 110:290].any()
    assert not changed(drawing)[320:].any()
    assert (GREY == 128).all(), "the caller's picture stays as it was"


def test_nothing_to_draw_changes_nothing() -> None:
    assert np.array_equal(draw(prediction(), GREY).image, GREY)
    assert np.array_equal(draw(Prediction(600, 400), GREY).image, GREY)


def test_boxes_at_the_border_stay_visible() -> None:
    drawing = draw(prediction([[0, 0, 600, 400]]), GREY).image
    mask = changed(drawing)
    assert mask[-3:, 300].any()
    assert mask[200, :3].any()
    assert mask[200, -3:].any()


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 600), st.floats(0, 400), st.floats(0, 600), st.floats(0, 400)),
        max_size=12,
    )
)
def test_names_stay_inside_the_picture_and_hardly_touch(
    corners: list[tuple[float, float, float, float]],
) -> None:
    boxes = [(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in corners]
    with pytest.MonkeyPatch.context() as patch:
        placed = tags(prediction(boxes), GREY, patch)
    for position, tag in enumerate(placed):
        assert tag.left >= 0
        assert tag.top >= 0
        assert tag.left + tag.width <= 600
        assert tag.top + tag.height <= 400
        covered = sum(tag.overlap(other) for other in placed[:position])
        assert covered <= 0.25 * tag.width * tag.height


def test_names_avoid_each_other_where_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = [[100, 100, 300, 250], [104, 104, 296, 246], [98, 98, 304, 254]]
    placed = tags(prediction(boxes), GREY, monkeypatch)
    assert len(placed) == 3
    assert all(a.overlap(b) == 0 for a in placed for b in placed if a is not b)


def test_a_name_lies_on_top_of_its_box(monkeypatch: pytest.MonkeyPatch) -> None:
    (tag,) = tags(prediction([[100, 100, 300, 250]]), GREY, monkeypatch)
    assert abs(tag.left - 100) < 6
    assert 92 <= tag.top + tag.height <= 101
    (tag,) = tags(prediction([[100, 0, 300, 250]]), GREY, monkeypatch)
    assert tag.top == 0 or tag.top >= 250


def test_crowded_names_are_left_out_and_the_colours_explained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    boxes = [[250 + k, 150 + k, 290 + k, 190 + k] for k in range(40)]
    crowded = prediction(boxes, names=("left",) * 20 + ("right",) * 20)
    assert len(tags(crowded, GREY, monkeypatch)) < 40
    written: list[str] = []
    monkeypatch.setattr(Pen, "write", lambda self, image, text, *rest: written.append(text))
    draw(crowded, GREY)
    assert {"left: 20", "right: 20"} <= set(written)


def test_what_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    monkeypatch.setattr(Pen, "write", lambda self, image, text, *rest: written.append(text))
    found = prediction(
        [[10, 60, 200, 200], [300, 100, 500, 300]],
        names=("animal", "person"),
        object_labels=((Label("Egyptian cat", 0.874),), ()),
        label_names=("cat", "dog", "fox", "cow"),
        label_scores=np.array([0.9996, 0.996, 0.049, 0.01], np.float32),
    )
    draw(found, GREY)
    assert written == ["animal: Egyptian cat 87 %", "person 90 %", "cat  100 %", "dog  99 %"]


def test_a_caption_keeps_off_names_and_boxes() -> None:
    labels = {"label_names": ("cat",), "label_scores": np.array([0.8], np.float32)}
    # Three corners are taken by objects.
    boxes = [[0, 0, 250, 180], [350, 0, 600, 180], [0, 220, 250, 400]]
    drawing = draw(prediction(boxes, **labels), GREY).image
    assert changed(drawing)[360:, 500:].any()
    assert not changed(draw(prediction(boxes), GREY).image)[360:, 500:].any()


def test_colours_belong_to_names() -> None:
    both = class_colours(["cat", "dog"])
    assert both["cat"] != both["dog"]
    assert class_colours(["dog"])["dog"] == both["dog"]
    many = class_colours([f"class {number}" for number in range(40)])
    assert set(many.values()) == set(PALETTE)
    sixteen = class_colours([f"class {number}" for number in range(len(PALETTE))])
    assert len(set(sixteen.values())) == len(PALETTE)


def test_colours_are_the_same_in_every_process() -> None:
    code = "from whatwhere.outputs.draw import class_colours; print(class_colours(['dog', 'Maß']))"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert outputs == {f"{class_colours(['dog', 'Maß'])}\n"}


@pytest.mark.parametrize("colour", PALETTE, ids=str)
def test_letters_stand_out_from_every_colour(colour: tuple[int, int, int]) -> None:
    def luminance(values: tuple[int, int, int]) -> float:
        shares = [(value / 255) ** 2.2 for value in values]
        return 0.2126 * shares[0] + 0.7152 * shares[1] + 0.0722 * shares[2]

    light, dark = sorted((luminance(colour), luminance(module.ink_on(colour))), reverse=True)
    # WCAG 2 asks for 3 : 1 of bold letters.
    assert (light + 0.05) / (dark + 0.05) >= 3


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((32, 32), (256, 256)),
        ((100, 300), (300, 900)),
        ((255, 400), (510, 800)),
        ((256, 256), (256, 256)),
        ((1, 1), (256, 256)),
        ((1, 5000), (1, 5000)),
        ((300, 20), (900, 60)),
    ],
)
def test_small_pictures_are_enlarged(size: tuple[int, int], expected: tuple[int, int]) -> None:
    image = np.zeros((*size, 3), np.uint8)
    label = {"label_names": ("cat",), "label_scores": np.ones(1, np.float32)}
    found = prediction([[0, 0, size[1], size[0]]], image=image, **label)
    assert draw(found, image).image.shape == (*expected, 3)


def test_lines_grow_with_the_picture() -> None:
    def width(side: int) -> int:
        image = np.full((side, side, 3), 128, np.uint8)
        found = prediction([[side // 4, side // 4, side // 2, side // 2]], image=image)
        colour = class_colours(["thing"])["thing"]
        row = draw(found, image).image[int(side * 0.4)]
        return int((row == colour).all(axis=1).sum())

    assert width(256) < width(1000) < width(4000)


def test_names_of_any_alphabet_and_length() -> None:
    pen = Pen(20)
    names = ("Größe", "кошка", "猫", "قط", "e\u0301", "🐱", "a\nb", "x" * 500)
    for name in names:
        drawing = draw(prediction([[100, 200, 300, 300]], names=(name,)), GREY).image
        assert changed(drawing).any()
        assert pen.width(name) > 0


def test_cutting_a_text() -> None:
    pen = Pen(20)
    assert pen.fit("cat", 1000) == "cat"
    cut = pen.fit("a very long name of a class", 100)
    assert cut.endswith("…")
    assert pen.width(cut) <= 100
    assert pen.fit("cat", 1) == ""


def test_without_a_truetype_font(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cv2, "FontFace", raising=False)
    pen = Pen(20, bold=True)
    assert pen.width("Größe…") == pen.width("Große...".replace("ß", "?"))
    drawing = draw(prediction([[100, 200, 300, 300]], names=("Größe",)), GREY).image
    assert changed(drawing)[170:199, 100:200].any()


def test_the_picture_is_read_where_the_prediction_says(tmp_path: Path) -> None:
    path = tmp_path / "ein bild é.png"
    write_image(path, GREY)
    drawn = draw(replace(prediction([[9, 9, 99, 99]]), image=str(path)))
    assert np.array_equal(drawn.image, draw(prediction([[9, 9, 99, 99]]), path.read_bytes()).image)
    assert changed(drawn.image).any()
    target = tmp_path / "new folder" / "out.png"
    drawn.save(target)
    assert np.array_equal(read_image(target), drawn.image)


def test_a_prediction_without_a_picture(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give draw the picture"):
        draw(prediction())
    gone = Prediction(600, 400, image=str(tmp_path / "gone.png"))
    with pytest.raises(ImageError, match=r"gone\.png"):
        draw(gone)
    with pytest.raises(UsageError, match="600x400 pixels, but this one has 30x20"):
        draw(prediction(), np.zeros((20, 30, 3), np.uint8))
    with pytest.raises(UsageError, match="must be uint8"):
        draw(prediction(), np.zeros((400, 600), np.uint8))
