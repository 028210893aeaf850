"""Parts of pictures, named by a path."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from whatwhere.errors import ImageError
from whatwhere.images import (
    member,
    picture_bytes,
    picture_exists,
    probe_image,
    read_image,
    shown_path,
    write_image,
)


def picture(folder: Path, name: str = "street.png") -> tuple[Path, np.ndarray]:
    pixels = np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8)
    write_image(folder / name, pixels)
    return folder / name, pixels


def test_a_part_is_read_probed_and_named(tmp_path: Path) -> None:
    path, pixels = picture(tmp_path)
    part = f"{path}!/crop+5,10,25,28/car.png"
    np.testing.assert_array_equal(read_image(part), pixels[10:28, 5:25])
    info = probe_image(part)
    assert (info.width, info.height, info.format) == (20, 18, "png")
    assert shown_path(part) == f"{path}!/car.png"
    assert picture_exists(part)
    assert not picture_exists(part.replace("street", "nowhere"))
    found = member(part)
    assert found is not None
    assert str(found) == part
    assert (found.crop, found.shape) == ((5, 10, 25, 28), (18, 20, 3))
    np.testing.assert_array_equal(read_image(picture_bytes(part)), pixels[10:28, 5:25])


def test_a_part_of_a_picture_inside_a_file(tmp_path: Path) -> None:
    path, pixels = picture(tmp_path)
    data = path.read_bytes()
    (tmp_path / "shard.tar").write_bytes(b"x" * 100 + data)
    part = f"{tmp_path}/shard.tar!/100+{len(data)}/street.png!/crop+0,0,7,9/a.png"
    np.testing.assert_array_equal(read_image(part), pixels[:9, :7])
    assert shown_path(part) == f"{tmp_path}/shard.tar!/street.png!/a.png"
    assert picture_exists(part)


@pytest.mark.parametrize("box", ["0,0,41,5", "0,0,5,31", "9,5,9,8", "9,8,5,9"])
def test_a_part_that_is_not_in_the_picture(box: str, tmp_path: Path) -> None:
    path, _ = picture(tmp_path)
    for call in (read_image, probe_image, picture_bytes):
        with pytest.raises(ImageError, match="of a picture of 40x30 pixels"):
            call(f"{path}!/crop+{box}/a.png")


def test_a_part_of_a_missing_picture(tmp_path: Path) -> None:
    for call in (read_image, probe_image, picture_bytes):
        with pytest.raises(ImageError, match="does not exist"):
            call(f"{tmp_path}/none.png!/crop+0,0,5,5/a.png")
