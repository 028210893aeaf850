"""Pictures in archives by the names that results give them."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

import whatwhere as ww
from whatwhere.evaluation.names import ByName
from whatwhere.images import encode_image, member, picture_exists, read_image, result_name
from whatwhere.images.inside import find_inside
from whatwhere.types import Prediction

RGB = np.full((6, 8, 3), (200, 30, 60), np.uint8)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """An archive with two pictures of one file name."""
    with zipfile.ZipFile(tmp_path / "Photos.ZIP", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/cat.png", encode_image(RGB, ".png"))
        archive.writestr("b/cat.png", encode_image(RGB[..., ::-1], ".png"))
    return tmp_path / "Photos.ZIP"


def test_names_lead_to_pictures_and_back(photos: Path) -> None:
    name = f"{photos}!/b/cat.png"
    found = member(name)
    assert found is not None
    assert found.packed
    assert result_name(str(found)) == result_name(name) == name
    assert (read_image(name) == read_image(str(found))).all()
    assert (read_image(name)[0, 0] == (60, 30, 200)).all()
    assert picture_exists(name)
    assert ww.draw(Prediction(8, 6, image=name)).image.shape[2] == 3


def test_what_is_not_there_is_not_found(photos: Path) -> None:
    for name in (f"{photos}!/c/cat.png", f"{photos.parent}/no.zip!/a/cat.png", "x.txt!/y.png"):
        assert member(name) is None
        assert result_name(name) == name
        with pytest.raises(ww.ImageError, match=r"does not exist|not a folder|Not a directory"):
            read_image(name)
    photos.write_bytes(photos.read_bytes()[:100])
    assert find_inside(f"{photos}!/a/cat.png") is None


def test_an_archive_that_changes_is_looked_at_again(photos: Path) -> None:
    name = f"{photos}!/c.png"
    assert member(name) is None
    with zipfile.ZipFile(photos, "a") as archive:
        archive.writestr("c.png", encode_image(RGB, ".png"))
    assert (read_image(name) == RGB).all()


def test_raw_pixels_and_parts_keep_their_places(tmp_path: Path) -> None:
    for path in ("x.gz!/16+28x28/0.png", "a.jpg!/crop+1,2,3,4/a.jpg", "a.bin!/1+3x32x32/0.png"):
        assert result_name(path) == path
    # A shard of WebDataset: one tar file.
    data = encode_image(RGB, ".png")
    with tarfile.open(tmp_path / "s.tar", "w") as archive:
        entry = tarfile.TarInfo("0001.png")
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    path = f"{tmp_path / 's.tar'}!/512+{len(data)}/0001.png"
    assert result_name(path) == f"{tmp_path / 's.tar'}!/0001.png"
    assert (read_image(result_name(path)) == RGB).all()


def test_saved_predictions_find_their_pictures_by_either_name() -> None:
    paths = ["s.tar!/512+99/a/1.png", "s.tar!/9512+99/b/1.png", "t.tar!/512+99/a/1.png"]
    names = ByName(paths)
    for row, path in enumerate(paths):
        assert names.row(path, "file") == row
        assert names.row(result_name(path), "file") == row
    assert names.row("elsewhere/s.tar!/b/1.png", "file") == 1
