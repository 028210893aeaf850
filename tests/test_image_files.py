"""Pictures and other files are written whole or not at all."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from whatwhere.errors import UsageError, WhatwhereError
from whatwhere.images import (
    IMAGE_SUFFIXES,
    atomic_path,
    encode_image,
    read_image,
    write_atomic,
    write_image,
)


def picture() -> NDArray[np.uint8]:
    """A smooth picture of 37 x 23 pixels."""
    rows, columns = np.mgrid[0:23, 0:37]
    return np.stack([columns * 6, rows * 10, 255 - columns * 6], axis=2).astype(np.uint8)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
def test_encode_and_read_back(suffix: str) -> None:
    image = picture()
    again = read_image(encode_image(image, suffix, quality=100))
    assert again.shape == image.shape
    lossless = suffix in (".png", ".bmp", ".dib", ".tif", ".tiff")
    # A GIF has 256 colours, JPEG and WebP have less colour than pixels.
    assert np.abs(again.astype(int) - image).mean() <= (0 if lossless else 20)


def test_lossless_encoding_keeps_red_and_blue_apart() -> None:
    image = np.zeros((4, 5, 3), np.uint8)
    image[..., 0] = 200
    np.testing.assert_array_equal(read_image(encode_image(image, ".png")), image)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 5), np.uint8),
        np.zeros((4, 5, 4), np.uint8),
        np.zeros((4, 5, 3), np.float32),
        np.zeros((0, 5, 3), np.uint8),
    ],
)
def test_encode_refuses_what_is_no_picture(image: Any) -> None:
    with pytest.raises(UsageError, match="uint8 of shape"):
        encode_image(image)


def test_encode_refuses_an_unknown_suffix() -> None:
    with pytest.raises(UsageError, match=r"\.psd"):
        encode_image(np.zeros((4, 5, 3), np.uint8), ".psd")


def test_write_image_makes_folders(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deeper" / "a.png"
    write_image(path, picture())
    np.testing.assert_array_equal(read_image(path), picture())
    assert names(path.parent) == ["a.png"]


def test_write_atomic_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_atomic(path, "old")
    write_atomic(path, "grün")
    assert path.read_text("utf-8") == "grün"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    real = Path.open

    class Full(io.FileIO):
        def write(self, data: Any) -> int:
            super().write(bytes(data)[:10])
            raise OSError(code, os.strerror(code))

    def open_full(self: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        return Full(self, "w") if "w" in mode else real(self, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", open_full)
    with pytest.raises(WhatwhereError, match=r"a\.png was not written") as caught:
        write_image(path, picture())
    assert "free some space" in str(caught.value)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.png"]


def test_an_error_in_the_block_passes_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"

    def fail() -> None:
        with atomic_path(path) as temporary:
            temporary.write_bytes(b"half")
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        fail()
    assert names(tmp_path) == []


def test_an_error_about_another_file_is_not_ours(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a.bin"):
        (tmp_path / "other.bin").read_bytes()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(WhatwhereError, match="cannot be written"):
        write_atomic(tmp_path / "file" / "a.txt", "text")


def test_atomic_folder(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "set") as temporary:
        temporary.mkdir()
        (temporary / "a").write_bytes(b"1")
    assert (tmp_path / "set" / "a").read_bytes() == b"1"

    def fail() -> None:
        with atomic_path(tmp_path / "other") as temporary:
            temporary.mkdir()
            (temporary / "a").write_bytes(b"1")
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        fail()
    assert names(tmp_path) == ["set"]
