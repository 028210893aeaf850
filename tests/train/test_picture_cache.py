"""The cache of decoded pictures: in memory, in a file, damaged, foreign, shared, without room."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import whatwhere.train.picture_cache as cache
from train_data import boxes_set
from whatwhere.images import read_image, write_image
from whatwhere.train.picture_cache import Pictures, WorkingSize
from whatwhere.train.picture_file import Writer
from whatwhere.transforms import resize

SIZE = WorkingSize((32, 48))
ROOM = 2**20


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    return list(boxes_set(tmp_path / "set", 8, splits=False).paths)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are decoded from now on."""
    seen: list[str] = []

    def count(path: str) -> Any:
        seen.append(path)
        return read_image(path)

    monkeypatch.setattr(cache, "read_image", count)
    return seen


def load(
    paths: Sequence[str], folder: Path | str, limit: int = ROOM, size: WorkingSize = SIZE
) -> Pictures:
    made = Pictures(paths, size, limit, str(folder))
    made.load_all(2)
    return made


def check(made: Pictures, paths: Sequence[str], but: int | None = None) -> None:
    for i, path in enumerate(paths):
        if i != but:
            image, original = made[i]
            assert original == (64, 96)
            assert np.array_equal(image, resize(read_image(path), (32, 48)))


@pytest.mark.parametrize("folder", ["", "cache"])
def test_a_picture_is_decoded_once(
    folder: str, paths: list[str], decoded: list[str], tmp_path: Path
) -> None:
    made = load(paths, tmp_path / folder if folder else "")
    assert sorted(decoded) == sorted(paths)
    check(made, paths)
    assert len(decoded) == len(made) == 8
    assert not made.notes


def test_a_second_run_decodes_nothing(paths: list[str], decoded: list[str], tmp_path: Path) -> None:
    load(paths, tmp_path / "cache")
    decoded.clear()
    made = load(paths, tmp_path / "cache")
    check(made, paths)
    assert not decoded
    assert not made[0][0].flags.writeable, "what a worker draws on must be a copy"


def test_unreadable_pictures_are_remembered(paths: list[str], tmp_path: Path) -> None:
    Path(paths[3]).write_bytes(b"nothing")
    first = load(paths, tmp_path / "cache")
    again = load(paths, tmp_path / "cache")
    assert list(first.unreadable) == list(again.unreadable) == [3]
    assert first.unreadable == again.unreadable
    check(again, paths, but=3)


@pytest.mark.parametrize("what", ["picture", "size", "limit", "list"])
def test_what_the_pixels_depend_on_is_noticed(
    what: str, paths: list[str], decoded: list[str], tmp_path: Path
) -> None:
    load(paths, tmp_path / "cache")
    decoded.clear()
    if what == "picture":
        write_image(paths[2], read_image(paths[2])[::-1])
        os.utime(paths[2], (1, 1))
        check(load(paths, tmp_path / "cache"), paths)
    elif what == "size":
        made = load(paths, tmp_path / "cache", size=WorkingSize((16, 24)))
        assert made[0][0].shape == (16, 24, 3)
    elif what == "limit":
        assert len(load(paths, tmp_path / "cache", limit=32 * 48 * 3 * 2)) == 2
    else:
        check(load(paths[::-1], tmp_path / "cache"), paths[::-1])
    assert len(decoded) >= 8


def _flip(file: Path, at: int) -> None:
    content = bytearray(file.read_bytes())
    content[at] ^= 0xFF
    file.write_bytes(bytes(content))


@pytest.mark.parametrize(
    "damage", ["pixels", "index", "magic", "cut", "empty", "foreign", "longer"]
)
def test_a_damaged_file_is_built_again_and_said(
    damage: str, paths: list[str], decoded: list[str], tmp_path: Path
) -> None:
    load(paths, tmp_path / "cache")
    (file,) = (tmp_path / "cache").glob("*.cache")
    whole = file.read_bytes()
    if damage == "cut":
        file.write_bytes(whole[:-1])
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "longer":
        file.write_bytes(whole + b"1")
    elif damage == "foreign":
        with file.open("wb") as opened:
            Writer(opened, 8, b"0" * 32).finish({})
    else:
        _flip(file, {"pixels": 1000, "index": 8 * 32 * 48 * 3 + 5, "magic": -1}[damage])
    decoded.clear()
    made = load(paths, tmp_path / "cache")
    assert len(decoded) == 8
    check(made, paths)
    assert len(made.notes) == 1
    assert "built again" in made.notes[0]
    assert str(file) in made.notes[0]
    assert file.read_bytes() == whole


def test_without_room_on_the_disk_pictures_are_decoded(
    paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(paths[6]).write_bytes(b"nothing")

    def full(self: Writer, i: int, picture: Any) -> None:
        if i == 4:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(Writer, "add", full)
    seen: list[tuple[int, int]] = []
    made = Pictures(paths, SIZE, ROOM, str(tmp_path / "cache"))
    made.load_all(2, lambda done, count: seen.append((done, count)))
    assert len(made.notes) == 1
    assert "decoded each time" in made.notes[0]
    assert "No space left on device" in made.notes[0]
    check(made, paths, but=6)
    assert list(made.unreadable) == [6], "the rest is looked through all the same"
    assert seen[-1] == (8, 8)
    assert not list((tmp_path / "cache").glob("*.cache"))
    assert not list((tmp_path / "cache").glob(".*")), "nothing half written is left"


def test_a_folder_that_is_a_file(paths: list[str], tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("mine", encoding="utf-8")
    made = load(paths, tmp_path / "cache")
    assert "there is no cache" in made.notes[0]
    check(made, paths)
    assert (tmp_path / "cache").read_text(encoding="utf-8") == "mine"


@pytest.mark.skipif(os.name == "nt", reason="no such locks")
def test_several_at_once_build_it_once(
    paths: list[str], decoded: list[str], tmp_path: Path
) -> None:
    """Each opens the lock for itself, as processes do."""
    with ThreadPoolExecutor(3) as pool:
        made = list(pool.map(lambda _: load(paths, tmp_path / "cache"), range(3)))
    assert len(decoded) == 8
    for one in made:
        check(one, paths)


def test_the_limit_holds_in_a_file_too(paths: list[str], tmp_path: Path) -> None:
    made = load(paths, tmp_path / "cache", limit=3 * 32 * 48 * 3)
    assert len(made) == 3
    (file,) = (tmp_path / "cache").glob("*.cache")
    assert file.stat().st_size < 4 * 32 * 48 * 3
    assert "5 of 8 pictures do not fit" in made.notes[0]
    check(made, paths)


def test_no_more_pictures_are_held_than_threads_need(
    paths: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading waits for its use, so a set larger than memory passes through."""
    made = Pictures(paths * 10, SIZE, 0)
    most, begun = 0, 0

    def reading(i: int) -> str:
        nonlocal begun
        begun += 1
        return "not needed"

    monkeypatch.setattr(made, "_try", reading)

    def progress(done: int, count: int) -> None:
        nonlocal most
        most = max(most, begun - done)

    made.load_all(2, progress)
    assert begun == 80
    assert most <= 9


@pytest.mark.parametrize(
    ("size", "picture", "expected"),
    [
        (WorkingSize((100, 200)), (400, 400), (100, 100)),
        (WorkingSize((100, 200), cover=True), (400, 400), (200, 200)),
        (WorkingSize((100, 200), enlarged=2), (400, 400), (200, 200)),
        (WorkingSize((100, 200)), (50, 60), (50, 60)),
        (WorkingSize((100, 200), least=0.5), (4000, 3000), (2000, 1500)),
        (WorkingSize((100, 200), least=2.0), (4000, 3000), (4000, 3000)),
        (WorkingSize((100, 100)), (10000, 1), (100, 1)),
    ],
)
def test_working_sizes(
    size: WorkingSize, picture: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert size.of(*picture) == expected
