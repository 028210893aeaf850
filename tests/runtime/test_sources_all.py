"""What else names pictures: lists, stdin, archives, videos, all together, and their number."""

from __future__ import annotations

import io
import os
import tarfile
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from whatwhere.errors import ImageError, UsageError
from whatwhere.images import encode_image, read_image, write_image
from whatwhere.runtime import Sources
from whatwhere.runtime.items import Item, name_of

RGB = np.random.default_rng(0).integers(0, 255, (8, 6, 3), np.uint8)
PNG = encode_image(RGB, ".png")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "p/b.png", "p/q/c.png"):
        write_image(name, RGB)
    return tmp_path


def names(items: Iterator[str | Item]) -> list[str | None]:
    return [name_of(item) for item in items]


def error_of(item: str | Item) -> str:
    assert isinstance(item, Item)
    with pytest.raises(ImageError) as found:
        item.read(10**6)
    return str(found.value)


def video(path: str, frames: int, suffix: str = "MJPG") -> None:
    """A clip of 32 x 24 pixels whose frames get brighter by 5 levels each."""
    kind = cv2.VideoWriter.fourcc(*suffix)
    writer = cv2.VideoWriter(path, cv2.CAP_FFMPEG, kind, 10, (32, 24))
    for number in range(frames):
        writer.write(np.full((24, 32, 3), 5 * number, np.uint8))
    writer.release()


def test_files_folders_and_patterns_as_before() -> None:
    sources = Sources(["p", "a.png", Path("p/*.png")])
    assert sources.count() == 4
    assert names(iter(sources)) == ["p/b.png", "p/q/c.png", "a.png", "p/b.png"]


def test_a_list() -> None:
    lines = b"\xef\xbb\xbfa.png\r\n\n  no.png\np\ngone\n" + "é[1].png\n".encode() + b"p/b.png"
    Path("list.txt").write_bytes(lines)
    for sources in (Sources("@list.txt"), Sources([], lists=["list.txt"])):
        assert sources.count() == 7
        items = list(sources)
        assert names(iter(items))[:4] == ["a.png", "  no.png", "p/b.png", "p/q/c.png"]
        assert error_of(items[4]) == "gone does not exist: check the path"
        assert "no picture matches" in error_of(items[5])
        assert items[6] == "p/b.png"


def test_lines_that_only_the_user_may_write() -> None:
    Path("list.txt").write_text("-\n@list.txt\ncamera:0\nrtsp://host/x\nhttp://host/a.png\n")
    errors = [error_of(item) for item in Sources("@list.txt")]
    assert len(errors) == 5
    assert all("does not exist" in error for error in errors[:4])
    assert "allow these with --urls" in errors[4]


def test_a_file_whose_name_begins_like_a_list() -> None:
    write_image("@x.png", RGB)
    assert list(Sources("@x.png")) == ["@x.png"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "the list list.txt does not exist"),
        (b"\n\n", "the list list.txt is empty"),
        (PNG, "does not begin with a path"),
        (b"x" * 70_000, "does not begin with a path"),
    ],
)
def test_a_wrong_list_is_found_before_any_work(content: bytes | None, words: str) -> None:
    if content is not None:
        Path("list.txt").write_bytes(content)
    with pytest.raises(UsageError, match=words):
        Sources(["a.png", "@list.txt"])


def test_a_damaged_line_is_one_picture() -> None:
    Path("list.txt").write_bytes(b"a.png\n" + b"y" * 5000 + b"\nb\0c\np/b.png\n")
    first, second, third, last = Sources("@list.txt")
    assert (first, last) == ("a.png", "p/b.png")
    assert error_of(second).startswith("'yyy")
    assert "not a usable path" in error_of(third) or "does not exist" in error_of(third)


def test_a_long_list_takes_no_memory() -> None:
    with Path("list.txt").open("w") as file:
        file.writelines(f"folder/{number:07}.jpg\n" for number in range(100_000))
    sources = Sources("@list.txt")
    tracemalloc.start()
    try:
        assert sum(1 for _ in sources) == 100_000
        assert sources.count() == 100_000
        assert tracemalloc.get_traced_memory()[1] < 500_000
    finally:
        tracemalloc.stop()


def piped(data: bytes) -> io.BufferedReader:
    return io.BufferedReader(io.BytesIO(data))  # type: ignore[arg-type]


def test_stdin_gives_paths_or_one_picture() -> None:
    assert names(iter(Sources("-", stdin=piped(b"a.png\np\n")))) == [
        "a.png",
        "p/b.png",
        "p/q/c.png",
    ]
    for suffix in (".png", ".jpg", ".bmp", ".webp", ".tif"):
        data = encode_image(RGB, suffix)
        (item,) = Sources("-", stdin=piped(data))
        assert isinstance(item, Item)
        assert item.name == "-"
        assert (item.read(100) == read_image(data)).all()
    # A folder of this name is no bitmap.
    assert list(Sources("-", stdin=piped(b"BMW.png\nRIFF.png\n"))) == ["BMW.png", "RIFF.png"]
    with pytest.raises(UsageError, match="nothing came through stdin"):
        list(Sources("-", stdin=piped(b"")))
    with pytest.raises(UsageError, match="stdin is named twice"):
        Sources(["-", "-"])
    assert Sources(["-", "p"]).count() is None


def test_stdin_is_read_line_by_line() -> None:
    inlet, outlet = os.pipe()
    with os.fdopen(inlet, "rb") as reader, os.fdopen(outlet, "wb", buffering=0) as writer:
        items = iter(Sources("-", stdin=reader))
        for name in ("1.png", "2.png"):
            writer.write(f"{name}\n".encode())
            assert next(items) == name


@pytest.fixture
def archived(here: Path) -> dict[str, bytes]:
    """The files in `x.zip` and `x.tar*`, by name; two are hidden and one is no picture."""
    files = {"deep/1.png": PNG, "2.JPG": encode_image(RGB, ".jpg"), "é.bmp": encode_image(RGB)}
    others = {".3.png": PNG, "__MACOSX/4.png": PNG, "notes.txt": b"x", "empty.png": b""}
    with zipfile.ZipFile("x.zip", "w") as archive:
        for number, (name, data) in enumerate((files | others).items()):
            archive.writestr(name, data, compress_type=(0, 8)[number % 2])
        archive.mkdir("folder.png")
    for kind in ("tar", "tar.gz", "tar.bz2", "tar.xz"):
        with tarfile.open(f"x.{kind}", f"w:{kind.partition('.')[2]}") as archive:
            for name, data in (files | others).items():
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
            link = tarfile.TarInfo("link.png")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(link)
    return files


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_archives_are_read_where_they_lie(kind: str, archived: dict[str, bytes]) -> None:
    sources = Sources(f"x.{kind}")
    assert sources.count() == (None if kind.startswith("tar.") else 4)
    items = list(sources)
    assert len(items) == 4
    for item, (name, data) in zip(items, archived.items(), strict=False):
        shown = name_of(item)
        assert shown == f"x.{kind}!/{name}"
        if kind in ("zip", "tar", "tar.gz"):
            # What a result calls a picture can be read, and given again.
            assert (read_image(shown) == read_image(data)).all()
            assert [name_of(found) for found in Sources(shown)] == [shown]
        pixels = read_image(item) if isinstance(item, str) else item.read(1000)
        assert (pixels == read_image(data)).all()
    assert not list(Path().glob("deep"))


def test_archives_that_cannot_be_read(archived: dict[str, bytes]) -> None:
    for name in ("y.zip", "y.tar", "y.tgz", "y.tar.xz"):
        Path(name).write_bytes(b"nothing of the kind" * 99)
        with pytest.raises(UsageError, match=f"{name} cannot be read as an archive"):
            Sources(name)
    with zipfile.ZipFile("none.zip", "w") as archive:
        archive.writestr("notes.txt", "x")
    with pytest.raises(UsageError, match=r"no picture in the archive none\.zip"):
        Sources("none.zip")
    Path("list.txt").write_text("y.zip\n")
    (item,) = Sources("@list.txt")
    assert "y.zip cannot be read as an archive" in error_of(item)


@pytest.mark.parametrize("kind", ["tar", "tar.gz"])
def test_an_archive_that_is_cut_off_gives_what_it_has(kind: str) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (3, 99, 99, 3), np.uint8)
    with tarfile.open(f"x.{kind}", f"w:{kind.partition('.')[2]}") as archive:
        for number, large in enumerate(encode_image(one, ".png") for one in noise):
            entry = tarfile.TarInfo(f"deep/{number}.png")
            entry.size = len(large)
            archive.addfile(entry, io.BytesIO(large))
    whole = Path(f"x.{kind}").read_bytes()
    Path(f"cut.{kind}").write_bytes(whole[: len(whole) // 2])
    first, *_, last = Sources(f"cut.{kind}")
    assert (name_of(first) or "").endswith("deep/0.png")
    assert "cannot be read as an archive" in error_of(last)


def test_odd_entries_of_a_zip_file() -> None:
    with zipfile.ZipFile("x.zip", "w") as archive:
        archive.writestr("lzma.png", PNG, compress_type=zipfile.ZIP_LZMA)
        archive.writestr("zeros.png", bytes(10_000), compress_type=zipfile.ZIP_DEFLATED)
        archive.writestr("locked.png", PNG)
    data = bytearray(Path("x.zip").read_bytes())
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    Path("x.zip").write_bytes(data)
    packed, zeros, locked = Sources("x.zip")
    assert "packed with method 14" in error_of(packed)
    assert "needs a password" in error_of(locked)
    assert isinstance(zeros, str)
    with pytest.raises(ImageError, match=r"x.zip!/zeros.png is not a picture"):
        read_image(zeros)
    # Whatever the path says, no more is unpacked than it says.
    with pytest.raises(ImageError, match=r"would be|cut off"):
        read_image(zeros.replace("z10000/", "z99999999999999/"))


@pytest.mark.parametrize(("suffix", "kind"), [(".avi", "MJPG"), (".mp4", "mp4v")])
@pytest.mark.parametrize("every", [1, 4])
def test_frames_of_a_video(suffix: str, kind: str, every: int) -> None:
    path = f"clip{suffix}"
    video(path, 30, kind)
    sources = Sources([path, "a.png"], every=every)
    numbers = range(0, 30, every)
    assert sources.count() == len(numbers) + 1
    items = list(sources)
    assert names(iter(items)) == [*(f"{path}#{number}" for number in numbers), "a.png"]
    for item, number in zip(items, numbers, strict=False):
        assert isinstance(item, Item)
        frame = item.read(10**6)
        assert (frame.shape, frame.dtype) == ((24, 32, 3), np.uint8)
        assert abs(float(frame.mean()) - 5 * number) < 4
    assert isinstance(items[0], Item)
    with pytest.raises(ImageError, match="over the limit of 100 pixels"):
        items[0].read(100)


def test_frames_are_red_first() -> None:
    writer = cv2.VideoWriter("r.avi", cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 10, (32, 24))
    writer.write(np.full((24, 32, 3), (0, 0, 250), np.uint8))
    writer.release()
    (item,) = Sources("r.avi")
    assert isinstance(item, Item)
    assert item.read(10**6).mean(axis=(0, 1))[0] > 200


def test_videos_that_cannot_be_read() -> None:
    Path("no.mp4").write_bytes(b"nothing of the kind" * 99)
    video("whole.avi", 30)
    whole = Path("whole.avi").read_bytes()
    Path("cut.avi").write_bytes(whole[: len(whole) * 2 // 3])
    (item,) = Sources("no.mp4")
    assert error_of(item) == "no.mp4 is not a video that can be read: check the file"
    assert Sources("no.mp4").count() == 1
    *frames, last = Sources("cut.avi")
    assert 0 < len(frames) < 27
    assert f"ends after {len(frames)} of about 30 frames" in error_of(last)


def test_patterns_of_videos_and_archives(archived: dict[str, bytes]) -> None:
    video("1.avi", 2)
    video("2.avi", 1)
    sources = Sources(["*.avi", "*.tar.gz", "*"])
    assert names(iter(sources))[:3] == ["1.avi#0", "1.avi#1", "2.avi#0"]
    # A pattern that does not name them leaves them out, as a folder does.
    assert names(iter(Sources("*"))) == ["a.png"]
    assert Sources("*.avi").count() == 3
    with pytest.raises(UsageError, match="no picture matches"):
        Sources("*.mp4")


def test_a_folder_that_cannot_be_listed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.scandir

    def scan(folder: str) -> object:
        if folder.endswith("q"):
            raise PermissionError(13, "Permission denied")
        return real(folder)

    monkeypatch.setattr(os, "scandir", scan)
    first, second = Sources("p")
    assert first == "p/b.png"
    assert error_of(second).startswith(f"{Path('p/q')} cannot be listed (Permission denied)")


@pytest.mark.parametrize(("every", "words"), [(0, "every must be at least 1"), (-1, "at least 1")])
def test_a_wrong_step(every: int, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Sources("a.png", every=every)


def test_what_takes_long_to_load_is_loaded_late() -> None:
    import subprocess
    import sys

    code = (
        "import sys\nfrom whatwhere.runtime import Sources\nlist(Sources('p'))\n"
        "late = {'ssl', 'http.client', 'tarfile', 'PIL'} & set(sys.modules)\n"
        "sys.exit(repr(late) if late else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
