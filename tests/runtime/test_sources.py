"""Files, folders and patterns become paths of pictures."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from whatwhere.errors import UsageError
from whatwhere.runtime import expand, sources

Make = Callable[..., None]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes empty files in the current folder."""
    monkeypatch.chdir(tmp_path)

    def files(*names: str) -> None:
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    return files


def test_a_file_is_taken_whatever_it_is_called(make: Make) -> None:
    make("a.jpg", "no suffix", "x[1].dat")
    assert list(expand("a.jpg")) == ["a.jpg"]
    # A name with the signs of a pattern is a file first.
    assert list(expand(["x[1].dat", Path("no suffix")])) == ["x[1].dat", "no suffix"]


def test_a_folder_is_walked_in_order_without_hidden_files(make: Make) -> None:
    make("p/b.JPG", "p/a/z.png", "p/a/é 日本.webp", "p/.hidden.jpg", "p/.git/x.jpg", "p/notes.txt")
    assert list(expand("p")) == [
        str(Path("p", name)) for name in ("a/z.png", "a/é 日本.webp", "b.JPG")
    ]


def test_patterns(make: Make) -> None:
    make("p/b.jpg", "p/a.jpg", "p/a.txt", "p/q/c.jpg", "p/q/.d.jpg")
    assert list(expand("p/*.jpg")) == ["p/a.jpg", "p/b.jpg"]
    assert list(expand("p/*")) == ["p/a.jpg", "p/b.jpg"]
    assert list(expand("**/[bc].jpg")) == ["p/b.jpg", "p/q/c.jpg"]


def test_sources_keep_their_order(make: Make) -> None:
    make("2/x.jpg", "1/y.jpg", "z.jpg")
    assert list(expand(["z.jpg", "2", "1/*"])) == ["z.jpg", str(Path("2/x.jpg")), "1/y.jpg"]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("gone.jpg", "gone.jpg does not exist: check the path"),
        ("empty", "no picture in the folder empty: pictures end in .bmp"),
        ("*.png", r"no picture matches '\*.png'"),
        ("http://x.org/a.jpg", "is a web address"),
        ("a\0b", "not a usable path|does not exist"),
        ("", "a source is empty"),
    ],
)
def test_a_wrong_source_is_found_before_any_work(source: str, words: str, make: Make) -> None:
    make("a.jpg", "empty/notes.txt")
    with pytest.raises(UsageError, match=words):
        expand(["a.jpg", source])


def test_no_source() -> None:
    with pytest.raises(UsageError, match="no picture was named"):
        expand([])


def test_links_are_followed_but_not_in_a_circle(make: Make, tmp_path: Path) -> None:
    make("p/a/x.jpg", "elsewhere/y.jpg")
    try:
        (tmp_path / "p" / "a" / "up").symlink_to(tmp_path / "p", target_is_directory=True)
        (tmp_path / "p" / "b").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
        (tmp_path / "p" / "broken.jpg").symlink_to(tmp_path / "gone.jpg")
    except OSError:
        pytest.skip("this system gives no right to make links")
    assert list(expand("p")) == [str(Path("p/a/x.jpg")), str(Path("p/b/y.jpg"))]


def test_folders_are_walked_while_paths_are_used(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(*(f"p/{k}/x.jpg" for k in range(9)))
    seen: list[str] = []
    real = os.scandir

    def watched(folder: str) -> object:
        seen.append(folder)
        return real(folder)

    monkeypatch.setattr(sources.os, "scandir", watched)
    paths = expand("p")
    assert len(seen) == 2
    assert len(list(paths)) == 9
    assert len(seen) == 10
