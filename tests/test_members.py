"""Pictures inside other files: paths, bytes, raw pixels, and what can be wrong."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from whatwhere.errors import ImageError
from whatwhere.images import (
    Member,
    encode_image,
    member,
    picture_bytes,
    picture_exists,
    probe_image,
    read_image,
    shown_path,
    unpack_gzip,
)

RGB = np.random.default_rng(0).integers(0, 255, (4, 6, 3), np.uint8)


def _store(path: Path, data: bytes) -> str:
    content = b"\x01" * 10 + data + b"\x02" * 7
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return str(path)


@pytest.mark.parametrize("suffix", [".tar", ".gz"])
def test_a_picture_file_inside_another(tmp_path: Path, suffix: str) -> None:
    data = encode_image(RGB, ".png")
    path = f"{_store(tmp_path / f'shard{suffix}', data)}!/10+{len(data)}/deep/cat.png"
    assert picture_bytes(path) == data
    assert (read_image(path) == RGB).all()
    assert (probe_image(path).width, probe_image(path).height) == (6, 4)
    assert picture_exists(path)
    assert shown_path(path).endswith(f"shard{suffix}!/deep/cat.png")
    assert str(member(path)) == path


@pytest.mark.parametrize(
    ("shape", "pixels"),
    [("4x6x3", RGB), ("3x4x6", RGB.transpose(2, 0, 1)), ("4x6", RGB[..., 0])],
)
def test_raw_pixels(tmp_path: Path, shape: str, pixels: np.ndarray) -> None:
    path = f"{_store(tmp_path / 'batch', pixels.tobytes())}!/10+{shape}/0.png"
    image = read_image(path)
    expected = RGB if len(shape) > 3 else np.repeat(RGB[..., :1], 3, axis=2)
    assert (image == expected).all()


def test_a_plain_path_is_no_member(tmp_path: Path) -> None:
    assert member("a/b.jpg") is None
    assert member("wow!/b.jpg") is None
    assert shown_path("wow!/b.jpg") == "wow!/b.jpg"
    assert not picture_exists(tmp_path)


@pytest.mark.parametrize(
    ("place", "message"),
    [("10+99999", "cut off"), ("0+99999999999999", "the path is wrong"), ("0+0x5", "no pixels")],
)
def test_a_place_that_is_not_there(tmp_path: Path, place: str, message: str) -> None:
    path = f"{_store(tmp_path / 'shard.tar', b'')}!/{place}/cat.png"
    with pytest.raises(ImageError, match=message):
        read_image(path)


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    missing = str(Member(str(tmp_path / "no.tar"), 0, (5,), "cat.png"))
    assert not picture_exists(missing)
    with pytest.raises(ImageError, match=r"no.tar!/cat.png does not exist"):
        read_image(missing)
    (tmp_path / "bad.gz").write_bytes(b"not gzip at all")
    with pytest.raises(ImageError, match="cannot be read"):
        read_image(str(Member(str(tmp_path / "bad.gz"), 0, (5,), "cat.png")))


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(bytes(1 << 20)))
    with pytest.raises(ImageError, match="unpacks to more than 1000 bytes"):
        unpack_gzip(tmp_path / "bomb.gz", limit=1000)


def test_the_last_unpacked_file_is_noticed_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b"\x05" * 4))
    first = read_image(f"{path}!/0+2x2/0.png")
    path.write_bytes(gzip.compress(b"\x09" * 5))
    assert first.max() == 5
    assert read_image(f"{path}!/0+2x2/0.png").max() == 9


def test_pixels_that_were_written_as_text(tmp_path: Path) -> None:
    pixels = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5) * 4
    text = pixels.tobytes().decode("latin-1").encode("utf-8")
    assert len(text) > pixels.size
    (tmp_path / "batch").write_bytes(b"ab" + text + b"cd")
    path = str(Member(str(tmp_path / "batch"), 2, (3, 4, 5), "0.png", text=len(text)))
    assert path.endswith(f"batch!/2+{len(text)}t3x4x5/0.png")
    assert str(member(path)) == path
    assert (read_image(path) == pixels.transpose(1, 2, 0)).all()
    for wrong, message in ((len(text) - 2, "cut off"), (len(text) - 1, "cannot be read")):
        with pytest.raises(ImageError, match=message):
            read_image(path.replace(f"+{len(text)}t", f"+{wrong}t"))
