"""Named pictures and Pillow images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from factories import picture, write_model
from whatwhere.errors import ImageError, UsageError
from whatwhere.images import encode_image, read_image
from whatwhere.runtime import Failure, Predictor, load
from whatwhere.runtime.items import Item, broken, file_item, name_of, pixels_of
from whatwhere.types import Prediction

Pillow = pytest.importorskip("PIL.Image")
RGB = np.random.default_rng(0).integers(0, 255, (5, 7, 3), np.uint8)


@pytest.fixture
def model(tmp_path: Path) -> Predictor:
    write_model(tmp_path / "detect.onnx", "detect")
    found = load(tmp_path / "detect.onnx")
    assert isinstance(found, Predictor)
    return found


def test_items_are_sources_with_a_name(model: Predictor) -> None:
    shown = picture((1, 1, 0))
    limits: list[int] = []

    def read(max_pixels: int) -> np.ndarray:
        limits.append(max_pixels)
        return shown

    sources = [Item("a#1", read), broken("a#2", ImageError("a#2 is damaged"))]
    found, failed = model.stream(sources, max_pixels=5000)
    assert isinstance(found, Prediction)
    assert isinstance(failed, Failure)
    assert (found.image, found.object_names, limits) == ("a#1", ("red",), [5000])
    assert failed.to_dict() == {"image": "a#2", "error": "a#2 is damaged"}
    assert model.predict(Item("b", read)).image == "b"
    with pytest.raises(ImageError, match="a#2 is damaged"):
        model.predict(sources[1])


def test_a_file_in_memory_has_the_same_limits() -> None:
    item = file_item("x.png", encode_image(RGB, ".png"))
    assert (item.read(35) == RGB).all()
    with pytest.raises(ImageError, match=r"x\.png is 7x5 pixels, over the limit of 34"):
        item.read(34)


def test_names() -> None:
    assert name_of(Path("a/b.jpg")) == str(Path("a/b.jpg"))
    assert name_of(broken("c", ImageError("no"))) == "c"
    assert [name_of(one) for one in (b"x", RGB, Pillow.new("L", (1, 1)))] == [None] * 3


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "1", "P", "CMYK"])
def test_a_pillow_image_gives_what_its_file_gives(tmp_path: Path, mode: str) -> None:
    image = Pillow.fromarray(RGB).convert(mode)
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    image.save(path)
    pixels = pixels_of(image)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (5, 7, 3)
    if mode != "CMYK":  # whose conversion is no standard
        assert (pixels == read_image(path)).all()
    assert image.mode == mode


def test_a_deep_pillow_image_drops_the_lower_byte(tmp_path: Path) -> None:
    deep = np.array([[0x1234, 0xFF00], [0x00FF, 0x8000]], np.uint16)
    image = Pillow.fromarray(deep)
    assert image.mode == "I;16"
    image.save(tmp_path / "deep.png")
    assert (pixels_of(image)[..., 0] == deep >> 8).all()
    assert (pixels_of(image) == read_image(tmp_path / "deep.png")).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_pillow_image_is_turned_as_its_tag_says(tmp_path: Path, orientation: int) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.jpg"
    blocks = RGB.repeat(16, axis=0).repeat(16, axis=1)
    Pillow.fromarray(blocks).save(path, exif=exif, quality=100, subsampling=0)
    with Pillow.open(path) as image:
        pixels, expected = pixels_of(image), read_image(path)
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).max() <= 3


def test_pillow_images_that_cannot_be_read(tmp_path: Path, model: Predictor) -> None:
    with pytest.raises(UsageError, match="mode F has no fixed range"):
        model.predict(Pillow.new("F", (3, 3)))
    with pytest.raises(ImageError, match="over the limit of 8 pixels"):
        model.predict(Pillow.new("RGB", (3, 3)), max_pixels=8)
    with pytest.raises(ImageError, match="no pixels"):
        model.predict(Pillow.new("RGB", (0, 3)))
    whole = encode_image(RGB.repeat(40, axis=0), ".png")
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    with Pillow.open(tmp_path / "cut.png") as image:
        (failed,) = model.stream([image])
    assert isinstance(failed, Failure)
    assert "cannot be read" in str(failed.error)


def test_pillow_and_array_answers_agree(model: Predictor) -> None:
    shown = picture((2, 1, 1))
    expected = model.predict(shown)
    answers = model.predict([Pillow.fromarray(shown), shown])
    for answer in answers:
        assert answer.object_names == expected.object_names == ("green",)
        assert answer.boxes is not None
        assert expected.boxes is not None
        assert (answer.boxes == expected.boxes).all()
