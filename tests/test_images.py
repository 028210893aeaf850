"""Pictures of every kind against Pillow, and damaged ones against a sentence."""

from __future__ import annotations

import errno
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageOps, ImageSequence

from whatwhere.errors import ImageError
from whatwhere.images import (
    ImageInfo,
    probe_image,
    read_image,
    read_thumbnail,
)
from whatwhere.images.headers import exif_orientation

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF")


def picture(width: int = 37, height: int = 23) -> Pillow.Image:
    rng = np.random.default_rng(0)
    small = Pillow.fromarray(rng.integers(0, 255, (5, 7, 3), np.uint8))
    return small.resize((width, height), Pillow.Resampling.BILINEAR)


def saved(image: Pillow.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def by_pillow(data: bytes) -> NDArray[np.uint8]:
    with Pillow.open(io.BytesIO(data)) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def assert_like_pillow(data: bytes, tolerance: int = 0) -> None:
    wanted = by_pillow(data)
    got = read_image(data)
    assert got.dtype == np.uint8
    assert got.shape == wanted.shape
    assert np.abs(got.astype(int) - wanted).max() <= tolerance
    info = probe_image(data)
    assert (info.height, info.width) == wanted.shape[:2]


# What Pillow can write.
MODES = {
    "JPEG": ["RGB", "L", "1", "CMYK"],
    "PNG": ["RGB", "L", "1", "P", "RGBA", "LA"],
    "BMP": ["RGB", "L", "1", "P", "RGBA"],
    "GIF": ["RGB", "L", "1", "P", "RGBA", "LA"],
    "WEBP": ["RGB", "L", "1", "P", "RGBA", "LA", "CMYK"],
    "TIFF": ["RGB", "L", "1", "P", "RGBA", "LA", "CMYK"],
}


@pytest.mark.parametrize(("kind", "mode"), [(kind, mode) for kind in MODES for mode in MODES[kind]])
def test_modes_are_read_as_rgb(kind: str, mode: str) -> None:
    image = picture().convert(mode)
    data = saved(image, kind, **({"lossless": True} if kind == "WEBP" else {}))
    # CMYK goes through different roundings.
    assert_like_pillow(data, tolerance=1 if mode == "CMYK" else 0)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_alpha_is_dropped_without_blending(kind: str) -> None:
    image = picture().convert("RGBA")
    ramp = np.linspace(0, 255, 37 * 23).reshape(23, 37).astype(np.uint8)
    image.putalpha(Pillow.fromarray(ramp))
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    assert_like_pillow(saved(image, kind, **options))


def test_thumbnails_drop_alpha_as_pictures_do() -> None:
    image = picture().convert("RGBA")
    image.putalpha(0)
    for data in (saved(image, "PNG"), saved(image, "TIFF")):
        whole = read_image(data)
        small = read_thumbnail(data, 8)
        assert abs(float(small.mean()) - float(whole.mean())) < 5
        assert small.std() > 5


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientations(kind: str, orientation: int) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    data = saved(picture(), kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    assert_like_pillow(data)
    assert probe_image(data).orientation == orientation


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientations_of_16_bit_tiff(orientation: int) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    values = np.arange(30 * 20, dtype=np.uint16).reshape(30, 20) * 100
    with Pillow.open(io.BytesIO(saved(Pillow.fromarray(values), "TIFF", exif=exif))) as image:
        wanted = np.asarray(ImageOps.exif_transpose(image)) >> 8
    got = read_image(saved(Pillow.fromarray(values), "TIFF", exif=exif))
    np.testing.assert_array_equal(got[..., 0], wanted)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bits_become_8_over_the_whole_range(kind: str) -> None:
    values = np.linspace(0, 65535, 600).astype(np.uint16).reshape(20, 30)
    got = read_image(saved(Pillow.fromarray(values), kind))
    assert (got.min(), got.max()) == (0, 255)
    assert np.abs(got[..., 0] - values / 257).max() <= 1
    assert (got[..., 0] == got[..., 1]).all()
    assert (got[..., 0] == got[..., 2]).all()


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_first_frame_of_animated_files(kind: str) -> None:
    frames = [picture().rotate(90 * turn) for turn in range(3)]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert_like_pillow(data)
    with Pillow.open(io.BytesIO(data)) as image:
        assert probe_image(data).frames == len(list(ImageSequence.Iterator(image))) == 3


@pytest.mark.parametrize("options", [{"progressive": True}, {"subsampling": 0}, {"quality": 30}])
def test_kinds_of_jpeg(options: dict[str, Any]) -> None:
    assert_like_pillow(saved(picture(), "JPEG", **options))


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"])
def test_kinds_of_tiff(compression: str) -> None:
    assert_like_pillow(saved(picture(), "TIFF", compression=compression))


def test_big_tiff() -> None:
    data = saved(picture(), "TIFF", big_tiff=True)
    assert data[2] == 43
    assert_like_pillow(data)


@pytest.mark.parametrize("name", ["two words.png", "übung 写真 №1.png", "a'b\"c#%.png"])
def test_names(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(saved(picture(), "PNG"))
    assert read_image(path).shape == (23, 37, 3)
    assert probe_image(str(path)) == ImageInfo(37, 23, "png")


def test_the_suffix_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "really.jpg"
    path.write_bytes(saved(picture(), "PNG"))
    assert probe_image(path).format == "png"
    assert read_image(path).shape == (23, 37, 3)


def refused(data: bytes | Path, word: str, **options: Any) -> None:
    """Both functions refuse it with one sentence that names it and says why."""
    for read in (probe_image, read_image):
        with pytest.raises(ImageError) as caught:
            read(data, name="odd.jpg", **options)
        message = str(caught.value)
        assert message.startswith("odd.jpg ")
        assert word in message
        assert "\n" not in message


@pytest.mark.parametrize("kind", FORMATS)
def test_cut_files(kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    data = saved(picture(300, 200), kind)
    for length in (*range(20, len(data) - 2, max(1, len(data) // 23)), len(data) - 2):
        with pytest.raises(ImageError, match=r"cut off|damaged"):
            read_image(data[:length])
    refused(data[: len(data) * 3 // 4], "cut off")
    assert capfd.readouterr() == ("", "")


def test_an_end_marker_in_the_thumbnail_is_not_the_end() -> None:
    exif = Pillow.Exif()
    exif[0x010E] = "\u00ff\u00d9"
    data = saved(picture(300, 200), "JPEG", exif=exif)
    start = data.index(b"\xff\xdb")
    thumbnail = b"Exif\0\0" + saved(picture(), "JPEG")
    block = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    whole = data[:start] + block + data[start:]
    assert read_image(whole).shape == (200, 300, 3)
    refused(whole[:-2], "cut off")


def test_bytes_after_the_end_do_no_harm() -> None:
    assert_like_pillow(saved(picture(), "JPEG") + b"\0" * 10_000)
    assert_like_pillow(saved(picture(), "PNG") + b"more")


def test_empty_unknown_missing_folder(tmp_path: Path) -> None:
    refused(b"", "is empty")
    refused(b"\xff\xd8", "known kind")
    refused(b"hello, this is a text and no picture", "known kind")
    refused(b"RIFF\x24\0\0\0WAVEfmt ", "known kind")
    refused(tmp_path / "nothing.png", "does not exist")
    refused(tmp_path, "folder")


def test_a_file_that_must_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", deny)
    refused(tmp_path / "a.png", "Permission denied")


def png(width: int, height: int) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + crc

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    parts = header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def resized(kind: str, width: int, height: int) -> bytes:
    """A small file whose header claims another size."""
    data = bytearray(saved(picture(), kind))
    if kind == "JPEG":
        place = data.index(b"\xff\xc0") + 5
        data[place : place + 4] = struct.pack(">HH", height, width)
    elif kind == "GIF":
        data[6:10] = struct.pack("<HH", width, height)
    elif kind == "BMP":
        data[18:26] = struct.pack("<ii", width, height)
    elif kind == "TIFF":
        for tag, value in ((256, width), (257, height)):
            place = data.index(struct.pack("<HHI", tag, 4, 1))
            data[place + 8 : place + 12] = struct.pack("<I", value)
    return bytes(data)


@pytest.mark.parametrize("kind", ["JPEG", "GIF", "BMP", "TIFF"])
def test_bombs_and_empty_sizes(kind: str) -> None:
    refused(resized(kind, 40_000, 40_000), "over the limit of 200000000")
    refused(resized(kind, 0, 0), "0x0 pixels")


def test_bombs_and_empty_sizes_of_png() -> None:
    refused(png(40_000, 40_000), "over the limit")
    refused(png(0, 10), "0x10 pixels")


def test_nothing_is_decoded_before_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(*_: object) -> None:
        raise AssertionError("a bomb reached the decoder")

    monkeypatch.setattr("cv2.imdecode", decode)
    refused(png(40_000, 40_000), "over the limit")


def test_the_limit_can_be_set() -> None:
    data = saved(picture(), "PNG")
    refused(data, "over the limit of 850 pixels", max_pixels=37 * 23 - 1)
    assert read_image(data, max_pixels=37 * 23).shape == (23, 37, 3)


def test_a_wrong_checksum_is_damage(capfd: pytest.CaptureFixture[str]) -> None:
    data = bytearray(saved(picture(), "PNG"))
    data[data.index(b"IDAT") + 30] ^= 0x55
    with pytest.raises(ImageError, match="wrong checksum"):
        read_image(bytes(data))
    assert capfd.readouterr() == ("", "")


def test_a_decoder_that_gives_another_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cv2.imdecode", lambda *_: np.zeros((5, 6, 3), np.uint8))
    with pytest.raises(ImageError, match="its header says 37x23 pixels, its data 6x5"):
        read_image(saved(picture(), "PNG"))


@pytest.mark.parametrize("kind", FORMATS)
def test_fuzz(kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Changed, cut, doubled and spliced files: a picture or an ImageError, nothing else."""
    rng = np.random.default_rng(FORMATS.index(kind))
    exif = Pillow.Exif()
    exif[0x0112] = 6
    whole = saved(picture(), kind, **({"exif": exif} if kind in ("JPEG", "PNG", "TIFF") else {}))
    read, messages = 0, []
    for _ in range(600):
        data = bytearray(whole)
        # Most places that decide are near the start.
        limit = len(data) if rng.random() < 0.5 else min(len(data), 200)
        for _ in range(int(rng.integers(1, 6))):
            place = int(rng.integers(limit))
            what = rng.integers(4)
            if what == 0:
                data[place] = int(rng.integers(256))
            elif what == 1:
                data[place : place + 4] = rng.choice([b"\0" * 4, b"\xff" * 4, b"\x80\0\0\0"])
            elif what == 2:
                del data[place : place + int(rng.integers(1, 50))]
            else:
                data[place:place] = data[: int(rng.integers(1, 50))]
            limit = max(1, min(limit, len(data)))
        try:
            info = probe_image(bytes(data), max_pixels=1_000_000)
            image = read_image(bytes(data), max_pixels=1_000_000)
        except ImageError as error:
            messages.append(str(error))
            continue
        assert image.shape == (info.height, info.width, 3)
        read += 1
    capfd.readouterr()
    assert 0 < len(messages) == 600 - read
    assert not [message for message in messages if "\n" in message]


def test_orientation_of_damaged_exif_is_1() -> None:
    whole = b"MM\x00*" + struct.pack(">IH", 8, 1) + struct.pack(">HHIHH", 0x112, 3, 1, 6, 0)
    assert exif_orientation(whole) == 6
    assert {exif_orientation(whole[:length]) for length in range(len(whole))} == {1}
    assert exif_orientation(whole.replace(b"\0\x06\0\0", b"\0\x09\0\0")) == 1
    assert exif_orientation(b"MM\x00*\xff\xff\xff\xff\0\0") == 1


def test_real_photographs(shared: Path) -> None:
    for folder in ("coco128/images/train2017", "coco_tiny/train2017"):
        for path in sorted((shared / folder).iterdir())[:20]:
            assert_like_pillow(path.read_bytes())
