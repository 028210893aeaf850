"""Pictures that are more than they seem, and room for those that are decoded."""

from __future__ import annotations

import gc
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from starlette.testclient import TestClient

from bad_pictures import encoded
from served import PNG, Remembering, detector, service_of, serving
from whatwhere.errors import ImageError
from whatwhere.images import encode_image, read_image
from whatwhere.images.headers import check_scans
from whatwhere.serve.limits import PictureRoom

SIDE = 48


def progressive(side: int = SIDE) -> bytes:
    """A JPEG in several scans."""
    options = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]
    done, data = cv2.imencode(".jpg", np.full((side, side, 3), 90, np.uint8), options)
    assert done
    return data.tobytes()


def with_scans(data: bytes, more: int) -> bytes:
    """The last scan of a JPEG several times."""
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * more + data[-2:]


def chunk(kind: bytes, data: bytes) -> bytes:
    sum_ = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", sum_)


def with_texts(count: int, kind: bytes) -> bytes:
    """A PNG with texts of 100,000 characters each, some 100 bytes long."""
    head = b"a\0\0" if kind == b"zTXt" else b"a\0\1\0\0\0"
    text = chunk(kind, head + zlib.compress(bytes(100_000), 9))
    return PNG[:33] + text * count + PNG[33:]


def test_a_jpeg_of_endless_scans_is_refused_before_it_is_decoded() -> None:
    good = progressive()
    assert 5 < good.count(b"\xff\xda") < 20
    assert read_image(good).shape == (SIDE, SIDE, 3)
    assert read_image(with_scans(good, 20)).shape == (SIDE, SIDE, 3)
    with pytest.raises(ImageError, match="over 100 scans"):
        read_image(with_scans(good, 200))


def test_only_scans_of_the_picture_itself_count() -> None:
    good = progressive()
    scans = b"\xff\xda" * 300
    comment = b"\xff\xfe" + struct.pack(">H", 2 + len(scans)) + scans
    check_scans(good + scans)
    check_scans(good[:2] + comment + good[2:])
    # An end marker inside of a segment is none.
    ends = b"\xff\xfe" + struct.pack(">H", 6) + b"\xff\xd9\xff\xd9"
    with pytest.raises(ImageError, match="over 100 scans"):
        read_image(with_scans(good[:2] + ends + good[2:], 200))


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt"])
def test_a_png_of_endless_texts_is_refused(kind: bytes) -> None:
    assert read_image(with_texts(20, kind)).shape == read_image(PNG).shape
    with pytest.raises(ImageError, match="over 64 compressed texts"):
        read_image(with_texts(65, kind))


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    with serving(detector(tmp_path), max_pixels=200_000) as made:
        yield made


def header_of(width: int, height: int) -> bytes:
    about = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", about)


def tiff(width: int, height: int, tile: int) -> bytes:
    """A TIFF of one tile, which may be larger than the picture."""
    tags = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (277, 1)]
    tags += [(322, tile), (323, tile), (324, 200), (325, 2000)]
    rows = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + rows + bytes(3000)


ROWS = zlib.compress(bytes(65_000 * 50))
BOMBS = {
    "many pixels": header_of(60_000, 60_000) + chunk(b"IDAT", ROWS) + chunk(b"IEND", b""),
    "side of 2**31": header_of(2**31 - 1, 1) + chunk(b"IDAT", ROWS) + chunk(b"IEND", b""),
    "no pixels": header_of(0, 0) + chunk(b"IDAT", ROWS) + chunk(b"IEND", b""),
    "large tile": tiff(64, 64, 1 << 20),
    "many tiles": tiff(1 << 20, 1 << 20, 16),
    "scans": with_scans(progressive(), 5000),
    "texts": with_texts(1000, b"zTXt"),
    "gif": b"GIF89a\xff\xff\xff\xff\x80\0\0" + bytes(100) + b";",
    "webp": b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff" + bytes(20),
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
    "exr": b"v/1\x01" + bytes(100),
    "path": b"/etc/passwd",
    "address": b"http://127.0.0.1:1/a.png",
    "pickle": b"cos\nsystem\n(S'true'\ntR.",
    "zip": b"PK\x03\x04" + bytes(100),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused(client: TestClient, name: str) -> None:
    answer = client.post("/predict", content=BOMBS[name])
    assert answer.status_code == 422, answer.text
    (row,) = (
        client.post("/predict", files={"a": ("a.png", BOMBS[name])})
        .json()
        .get("predictions", [{"error": "alone it is refused as a whole"}])
    )
    assert "error" in row
    assert client.post("/predict", content=PNG).status_code == 200


@pytest.mark.parametrize("name", ["path", "address"])
def test_the_inference_protocol_reads_no_paths_and_asks_no_addresses(
    client: TestClient, name: str
) -> None:
    data = BOMBS[name]
    one: dict[str, Any] = {"name": "image_files", "shape": [1], "datatype": "BYTES"}
    text = {"inputs": [one | {"data": [data.decode()]}]}
    assert client.post("/v2/models/cells/infer", json=text).status_code == 400
    assert client.post("/v2/models/cells/infer", content=data).status_code == 400
    headers = {"Inference-Header-Content-Length": "0"}
    answer = client.post("/v2/models/cells/infer", content=data, headers=headers)
    assert answer.status_code == 422


def test_files_that_are_two_things_are_taken_for_the_first(client: TestClient) -> None:
    script = b"<script>alert(1)</script>"
    jpeg = encoded(".jpg")
    comment = b"\xff\xfe" + struct.pack(">H", 2 + len(script)) + script
    both = [
        PNG + jpeg,
        jpeg + PNG,
        PNG + b"PK\x05\x06" + bytes(18),
        jpeg[:2] + comment + jpeg[2:],
        PNG[:33] + chunk(b"tEXt", b"a\0" + script) + PNG[33:],
    ]
    for data in both:
        answer = client.post("/predict", content=data)
        assert answer.status_code == 200, answer.text
        expected = read_image(PNG if data.startswith(b"\x89") else jpeg).shape
        assert (answer.json()["height"], answer.json()["width"]) == expected[:2]
        drawn = client.post("/predict?annotate=1", content=data)
        # What comes back was encoded here: nothing of the file itself is in it.
        assert drawn.content.startswith(b"\xff\xd8")
        assert b"script" not in drawn.content
    for data in (b"%PDF-1.7\n" + jpeg, script + PNG, b"\n" + PNG):
        assert client.post("/predict", content=data).status_code == 422


def test_room_is_given_back_when_nobody_looks_any_more() -> None:
    room = PictureRoom(100)
    first, second = np.zeros((6, 10, 3), np.uint8), np.zeros((5, 10, 3), np.uint8)
    assert room.keep(first) is first
    assert room.keep(second) is None
    assert room.held == 60
    del first
    gc.collect()
    assert room.held == 0
    assert room.keep(second) is second


def test_a_form_of_small_files_does_not_hold_all_of_its_pixels(tmp_path: Path) -> None:
    watcher = Remembering()
    large = encode_image(np.zeros((200, 200, 3), np.uint8), ".png")
    limits = {"watched_pixels": 100_000, "max_pixels": 50_000}
    with serving(detector(tmp_path), observers=[watcher], **limits) as client:
        files = [("a", (f"{number}.png", large)) for number in range(8)]
        rows = client.post("/predict", files=files).json()["predictions"]
        assert [row["width"] for row in rows] == [200] * 8
        assert sum(one.image is not None for one in watcher.served) == 2
        # They are held by the watcher, so nothing can be drawn meanwhile; but all is predicted.
        refused = client.post("/predict?annotate=1", content=large)
        assert refused.status_code == 503
        assert refused.json()["retry_seconds"] == 1
        assert client.post("/predict", content=large).status_code == 200
        watcher.served.clear()
        gc.collect()
        assert client.post("/predict?annotate=1", content=large).status_code == 200
        watcher.served.clear()
        gc.collect()
        room = service_of(client).repository.resolve().engine.room
        assert room.held == 0
