"""What a file of results holds: names, ends, cuts, and files of others."""

from __future__ import annotations

import io
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from whatwhere.errors import ImageError, UsageError
from whatwhere.outputs.results import Csv, JsonLines
from whatwhere.outputs.resume import Done, read_done
from whatwhere.runtime import Failure
from whatwhere.types import Prediction

NAMES = ["a.jpg", 'odd "name", é.png', "line\nbreak.jpg", "\udcff.jpg", "a.jpg"]


def prediction(name: str, objects: int = 2) -> Prediction:
    return Prediction(
        8,
        6,
        name,
        object_names=("cat",) * objects,
        object_scores=np.ones(objects, np.float32),
        boxes=np.ones((objects, 4), np.float32),
        model="m",
    )


def results(format: str, *items: Prediction | Failure) -> bytes:
    file = io.StringIO()
    writer = JsonLines(file) if format == "jsonl" else Csv(file)
    for item in items:
        writer.write(item)
    return file.getvalue().encode("utf-8", "backslashreplace")


@pytest.mark.parametrize("format", ["jsonl", "csv"])
def test_what_is_done_is_known_by_name(tmp_path: Path, format: str) -> None:
    items = [*(prediction(name) for name in NAMES[:4]), Failure("bad.jpg", ImageError("no"))]
    whole = results(format, *items, prediction("a.jpg", 0), prediction("last.jpg"))
    path = tmp_path / "r"
    path.write_bytes(whole)
    done = read_done(path, format, "m")
    # CSV does not say whether the last picture is whole.
    last = format == "jsonl"
    assert (done.pictures, done.failures) == (6 + last, 1)
    assert done.end == len(whole if last else results(format, *items, prediction("a.jpg", 0)))
    taken = [done.take(name) for name in [*NAMES, "bad.jpg", "a.jpg", "b.jpg", "last.jpg"]]
    assert taken == [True] * 6 + [False, False, last]


@pytest.mark.parametrize("format", ["jsonl", "csv"])
def test_every_cut_leaves_whole_pictures(tmp_path: Path, format: str) -> None:
    items = [prediction(name, 2) for name in ("a\n.jpg", "b.jpg")]
    whole = results(format, *items)
    ends = [len(results(format, *items[:count])) for count in range(3)]
    path = tmp_path / "r"
    for length in {*range(0, len(whole), 11), *ends, *(end + 1 for end in ends[:-1])}:
        path.write_bytes(whole[:length])
        done = read_done(path, format, "m")
        assert done.end in (0, *ends)
        assert done.end <= length
        if format == "jsonl":
            assert done.end == max(end for end in ends if end <= length)
        assert done.pictures == (ends.index(done.end) if done.end else 0)


def test_no_file_and_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for name in ("gone", "empty"):
        for format in ("jsonl", "csv"):
            done = read_done(tmp_path / name, format, "m")
            assert (done.pictures, done.end, done.take("a")) == (0, 0, False)


@pytest.mark.parametrize(
    ("format", "content", "words"),
    [
        ("jsonl", b"image,width\na,3\n", "r:1 is not a result"),
        ("jsonl", b'{"image": null, "error": "x"}\n', "r:1 is not a result"),
        ("jsonl", b"[]\n", "r:1 is not a result"),
        ("jsonl", b'{"image": "a", "error": "x"}\n\xff\n', "r:2 is not a result"),
        ("jsonl", b'{"image": "a", "model": "other"}\n', "results of other, not of m"),
        ("csv", b'{"image": "a"}\n', "r:1 is not a result"),
        ("csv", b"a,b\n1,2\n", "r:1 is not a result"),
        ("csv", results("csv") + b"a,b\n", "r:2 is not a result"),
        ("csv", results("csv") + b"\n", "r:2 is not a result"),
        ("csv", results("csv") + b'"a"b,"c"\n', "r:2 is not a result"),
    ],
)
def test_files_of_others_are_not_touched(
    tmp_path: Path, format: str, content: bytes, words: str
) -> None:
    (tmp_path / "r").write_bytes(content)
    with pytest.raises(UsageError, match=words):
        read_done(tmp_path / "r", format, "m")
    assert (tmp_path / "r").read_bytes() == content


def test_eight_bytes_a_picture(tmp_path: Path) -> None:
    one = results("jsonl", prediction("folder/%07d.jpg", 1)).decode()
    count = 20_000
    with (tmp_path / "r").open("w", encoding="utf-8") as file:
        file.writelines(one.replace("%07d", f"{number:07}") for number in range(count))
    tracemalloc.start()
    try:
        done: Done = read_done(tmp_path / "r", "jsonl", "m")
        kept, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert done.pictures == count
    assert kept < 20 * count  # and the number of times that each is there
    assert most < 100 * count
    assert done.take("folder/0000000.jpg")
    assert done.take(f"folder/{count - 1:07}.jpg")
    assert not done.take(f"folder/{count:07}.jpg")
