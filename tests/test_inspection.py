"""Decoding many pictures in helper processes, and thumbnails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import bad_pictures
from whatwhere.errors import ImageError
from whatwhere.images import encode_image, inspection, read_image, read_thumbnail
from whatwhere.images.inspection import inspect_all


def pattern(height: int = 300, width: int = 400) -> np.ndarray:
    rows, columns = np.mgrid[0:height, 0:width]
    waves = 90 + 50 * np.sin(columns / 31) + 40 * np.cos(rows / 23) + rows / 5
    return np.stack([waves, waves * 0.8, waves * 0.6], axis=2).astype(np.uint8)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".tif"])
def test_a_thumbnail_is_the_mean_of_the_parts(suffix: str) -> None:
    data = encode_image(pattern(), suffix)
    wanted = cv2.resize(read_image(data), (32, 32), interpolation=cv2.INTER_AREA)
    small = read_thumbnail(data)
    assert small.shape == (32, 32, 3)
    assert np.abs(small.astype(int) - wanted).mean() < 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_thumbnail_is_turned_as_exif_says(orientation: int) -> None:
    picture = bad_pictures.with_orientation(encode_image(pattern(), ".jpg"), orientation)
    wanted = cv2.resize(read_image(picture), (16, 16), interpolation=cv2.INTER_AREA)
    # An eighth of 300 rows is 38, which are 4 rows more than there are.
    assert np.abs(read_thumbnail(picture, 16).astype(int) - wanted).mean() < 4
    assert np.abs(read_thumbnail(picture, 16)[::-1].astype(int) - wanted).mean() > 10


def test_a_thumbnail_of_what_is_no_picture() -> None:
    for name, data in bad_pictures.broken().items():
        with pytest.raises(ImageError, match=name):
            read_thumbnail(data, name=name)


def test_looks_come_in_order_and_say_what_is_wrong(tmp_path: Path) -> None:
    paths = []
    for number in range(50):
        path = tmp_path / f"picture {number} ü.jpg"
        path.write_bytes(
            b"junk" if number % 7 == 3 else encode_image(pattern() // (1 + number % 5))
        )
        paths.append(str(path))
    looks = list(inspect_all([*paths, str(tmp_path / "absent.jpg")], workers=2))
    assert len(looks) == 51
    mean = cv2.cvtColor(pattern(), cv2.COLOR_RGB2GRAY).mean()
    for number, look in enumerate(looks[:50]):
        if number % 7 == 3:
            assert look.thumbnail is None
            assert f"picture {number} ü.jpg is not a picture" in look.error
        else:
            assert look.thumbnail is not None
            assert look.thumbnail.mean() == pytest.approx(mean / (1 + number % 5), abs=3)
            assert look.damage == look.error == ""
    assert "does not exist" in looks[50].error


def test_a_decoder_that_crashes_costs_one_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = []
    for number in range(5):
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(encode_image(pattern()))
        paths.append(str(path))
    ask = inspection._Helper.ask

    def crash(helper: inspection._Helper, path: str) -> inspection.Look:
        if path == paths[2]:
            helper.process.kill()
            helper.process.wait()
        return ask(helper, path)

    monkeypatch.setattr(inspection._Helper, "ask", crash)
    looks = list(inspect_all(paths, workers=1))
    assert [bool(look.error) for look in looks] == [False, False, True, False, False]
    assert "made the decoder crash" in looks[2].error


def test_the_helpers_end_with_their_process() -> None:
    code = (
        "from whatwhere.images import inspection\n"
        "list(inspection.inspect_all(['nothing.jpg']))\n"
        "print(inspection._idle[0].process.pid)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    with pytest.raises(ProcessLookupError):
        os.kill(int(done.stdout), 0)


def test_a_part_of_a_picture_and_grey_pictures(tmp_path: Path) -> None:
    picture = pattern()
    picture[50:150, 100:300] = (200, 30, 30)
    path = tmp_path / "a.png"
    path.write_bytes(encode_image(picture, ".png"))
    part = f"{path}!/crop+100,50,300,150/a-1.png"
    assert (read_thumbnail(part) == (200, 30, 30)).all()
    grey = tmp_path / "grey.jpg"
    grey.write_bytes(encode_image(np.repeat(pattern()[..., :1], 3, axis=2), ".jpg"))
    looks = list(inspect_all([str(path), part, str(grey)]))
    assert [look.colour for look in looks] == [True, True, False]
    assert looks[1].thumbnail is not None
    assert looks[1].thumbnail.std() == 0
