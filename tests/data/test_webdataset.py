"""WebDataset shards: kinds of labels, kinds of tar, damage, and what is written."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from data_samples import classification, detection
from whatwhere.data import Dataset, read
from whatwhere.data.formats import _webdataset_write
from whatwhere.data.formats._tar import TarError, tar_entries
from whatwhere.errors import DataError, UsageError
from whatwhere.images import encode_image, picture_bytes, read_image


def picture(number: int = 0) -> bytes:
    return encode_image(np.full((40, 50, 3), number, np.uint8), ".png")


def shard(file: Path, members: dict[str, Any], format: int = tarfile.PAX_FORMAT) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w", format=format) as tar:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
                continue
            data = content if isinstance(content, bytes) else str(content).encode()
            if isinstance(content, dict | list):
                data = json.dumps(content).encode()
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return file


def labels(dataset: Dataset) -> list[list[str]]:
    return [
        [dataset.names[number] for number in dataset.targets(row).class_ids]
        for row in range(len(dataset))
    ]


def found(dataset: Dataset) -> list[tuple[str, str, int]]:
    return [(one.kind, one.where, one.boxes) for one in dataset.findings]


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_numbers_of_classes(format: int, tmp_path: Path) -> None:
    members: dict[str, Any] = {f"{number:04d}.png": picture(number) for number in range(4)}
    members |= {f"{number:04d}.cls": number % 2 for number in range(4)}
    shard(tmp_path / "imagenet-train-000000.tar", members, format)
    shard(tmp_path / "val" / "000001.tar", {"./a/b.JPG": picture(9), "./a/b.cls": "1\n"}, format)
    dataset = read(tmp_path)
    assert dataset.recognised == (
        "WebDataset: pictures and labels in imagenet-train-000000.tar, val/000001.tar"
    )
    assert dataset.findings == ()
    assert (dataset.task, dataset.splits) == ("classify", {"train": 4, "val": 1})
    assert labels(dataset) == [[f"class {n % 2}"] for n in range(4)] + [["class 1"]]
    assert (read_image(dataset.paths[3]) == 3).all()
    assert dataset.relative_paths()[4] == "val/000001.tar!/b.JPG"
    assert dataset.labels["record"][0] == "imagenet-train-000000.tar#0000.cls"
    (tmp_path / "classnames.txt").write_text("cat\ndog\nemu\n")
    assert list(read(tmp_path).names) == ["cat", "dog", "emu"]


@pytest.mark.parametrize(
    ("contents", "task", "expected"),
    [
        ([{"cls": "cat"}, {"cls": "dog"}], "classify", [["cat"], ["dog"]]),
        ([{"json": {"label": "cat"}}, {"json": {"label": 3}}], "classify", [["cat"], ["class 3"]]),
        (
            [{"json": {"labels": ["a", "b"]}}, {"json": {"labels": []}}],
            "multilabel",
            [["a", "b"], []],
        ),
        ([{"txt": "cat"}, {"txt": "cat\n"}], "classify", [["cat"], ["cat"]]),
        ([{"json": {"url": "x"}, "cls": 1}, {"cls": 0}], "classify", [["class 1"], ["class 0"]]),
        (
            [
                {"json": {"names": ["a"], "boxes": [[1, 2, 3, 4]]}},
                {"json": {"names": [], "boxes": []}},
            ],
            "detect",
            [["a"], []],
        ),
    ],
)
def test_kinds_of_labels(
    contents: list[dict[str, Any]], task: str, expected: list[list[str]], tmp_path: Path
) -> None:
    members = {}
    for number, one in enumerate(contents):
        members[f"{number}.jpg"] = picture(number)
        members |= {f"{number}.{ending}": content for ending, content in one.items()}
    shard(tmp_path / "0.tar", members)
    dataset = read(tmp_path)
    assert (dataset.task, labels(dataset)) == (task, expected)
    assert dataset.findings == ()


def test_descriptions_are_no_classes(tmp_path: Path) -> None:
    members: dict[str, Any] = {}
    for number in range(6):
        members[f"{number}.jpg"] = picture(number)
        members[f"{number}.txt"] = f"picture {number} of a cat"
    shard(tmp_path / "0.tar", members)
    with pytest.raises(DataError, match="no samples with labels"):
        read(tmp_path)


def test_further_pictures_and_files(tmp_path: Path) -> None:
    members = {
        "1.seg.png": picture(5),
        "1.png": picture(1),
        "1.cls": 0,
        "1.depth.png": picture(6),
        "1.npy": b"x",
        "2.left.png": picture(2),
        "2.cls": 1,
    }
    dataset = read(shard(tmp_path / "a.tar", members))
    assert [one.message for one in dataset.findings] == [
        "1 files that end in 'seg.png' are not read",
        "1 files that end in 'depth.png' are not read",
        "1 files that end in 'npy' are not read",
    ]
    assert [read_image(path).max() for path in dataset.paths] == [1, 2]


def link(name: str, target: str) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = tarfile.SYMTYPE, target
    return entry


def test_every_fault_is_named(tmp_path: Path) -> None:
    device = tarfile.TarInfo("dev.png")
    device.type = tarfile.CHRTYPE
    folder = tarfile.TarInfo("folder")
    folder.type = tarfile.DIRTYPE
    two = {"names": ["a", "b"], "boxes": [[1, 2, 3, 4]]}
    members = {
        "folder": folder,
        "0.png": picture(),
        "0.json": {
            "names": ["a", 3, None],
            "boxes": [[1, 1, 9, 9], [90, 90, 99, 99], [1, 1, 2, 2]],
        },
        "1.png": picture(),
        "1.json": "{half",
        "2.png": picture(),
        "2.json": two,
        "3.json": two,
        "4.png": picture(),
        "../5.png": picture(),
        "/6.png": picture(),
        "7.png": link("7.png", "/etc/passwd"),
        "dev.png": device,
        "8.png": b"no picture",
        "8.json": {"names": ["a"], "boxes": [[1, 2, 3, "4"]], "columns": {"score": ["high"]}},
        "9.png": picture(),
        "9.json": {"names": ["a"], "boxes": [[1, 2, 3, 4]], "columns": {"score": ["high"]}},
    }
    shard(tmp_path / "0.tar", members)
    with tarfile.open(tmp_path / "0.tar", "a") as tar:
        for name, data in (("9.jpg", picture()), ("9.json", b"{}")):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    dataset = read(tmp_path)
    assert sorted(found(dataset)) == sorted(
        [
            ("outside-box", "0.tar#0.json#1", 1),
            ("no-class", "0.tar#0.json#2", 1),
            ("damaged-annotation", "0.tar#1.json", 0),
            ("missing-labels", "0.tar#1.json", 0),
            ("bad-record", "0.tar#2.json", 2),
            ("missing-image", "0.tar#3", 1),
            ("missing-labels", "0.tar#4.json", 0),
            ("path-outside", "0.tar#../5.png", 0),
            ("path-outside", "0.tar#/6.png", 0),
            ("bad-record", "0.tar#7.png", 0),
            ("bad-record", "0.tar#dev.png", 0),
            ("bad-box", "0.tar#8.json#0", 1),
            ("unreadable-image", "0.tar!/8.png", 0),
            ("bad-value", "0.tar#9.json#0", 0),
            ("duplicate-entry", "0.tar#9.jpg", 0),
            ("duplicate-entry", "0.tar#9.json", 1),
        ]
    )
    assert dataset.labels.height == 2


def test_a_cut_shard_keeps_what_is_whole(tmp_path: Path) -> None:
    members: dict[str, Any] = {}
    for number in range(4):
        members |= {f"{number}.png": picture(number), f"{number}.cls": 0}
    file = shard(tmp_path / "0.tar", members)
    data = file.read_bytes()
    for cut in (len(data) // 3, 1024 + 512 * 3 + 17):
        file.write_bytes(data[:cut])
        dataset = read(tmp_path)
        damage = [one for one in dataset.findings if one.kind == "damaged-annotation"]
        assert [one.where for one in damage] == ["0.tar"]
        assert f"cut off at byte {cut}" in damage[0].message
        assert 0 < len(dataset) < 4


def test_damaged_headers(tmp_path: Path) -> None:
    file = shard(tmp_path / "0.tar", {"a.png": picture(), "a.cls": 1})
    data = bytearray(file.read_bytes())
    for place, value in ((0, 0xFF), (124, 0x39), (150, 0x41), (156, 0x53)):
        broken = bytearray(data)
        broken[place] = value
        file.write_bytes(broken)
        with pytest.raises(TarError, match="header at byte 0 is damaged"):
            list(tar_entries(file))
    file.write_bytes(b"short")
    with pytest.raises(TarError, match="shorter than one header"):
        list(tar_entries(file))


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
@pytest.mark.parametrize(
    "name", ["a" * 99, "a" * 100, "b" * 180 + "/" + "c" * 200, "é" * 300, "d" * 5000, "x/ü.png"]
)
def test_long_names(name: str, format: int, tmp_path: Path) -> None:
    file = shard(tmp_path / "0.tar", {name: b"one", "short": b"two"}, format)
    with tarfile.open(file) as tar:
        expected = [(one.name, one.offset_data, one.size) for one in tar]
    assert [(one.name, one.offset, one.size) for one in tar_entries(file)] == expected
    assert expected[0][0] == name


@pytest.mark.parametrize("only", [True, False])
def test_packed_archives_are_refused(only: bool, tmp_path: Path) -> None:
    file = tmp_path / "0.tar.gz"
    inner = shard(tmp_path / "0.tar", {"a.png": picture(), "a.cls": 1})
    file.write_bytes(gzip.compress(inner.read_bytes()))
    if only:
        inner.unlink()
        with pytest.raises(DataError, match=r"0\.tar\.gz is packed: unpack it"):
            read(tmp_path)
    else:
        assert len(read(tmp_path)) == 1
    with pytest.raises(DataError, match=r"0\.tar\.gz is packed: unpack it"):
        read(file)


def test_other_archives_are_not_taken(tmp_path: Path) -> None:
    shard(tmp_path / "code.tar", {"a.py": b"", "a.txt": b"", "b.png": picture()})
    with pytest.raises(DataError, match="not a data set of a known format"):
        read(tmp_path)


def test_what_is_written(tmp_path: Path) -> None:
    before = classification(tmp_path)
    before.write(tmp_path / "copy", "webdataset")
    names = sorted(one.name for one in (tmp_path / "copy").iterdir())
    assert names == ["classnames.txt", "test-000000.tar", "train-000000.tar"]
    with tarfile.open(tmp_path / "copy" / "train-000000.tar") as tar:
        assert tar.getnames()[:3] == ["bild 0 ü.png", "bild 0 ü.json", "bild 0 ü.cls"]
        content = tar.extractfile("bild 1 ü.cls")
        assert content is not None
        assert content.read() == b"1"
    before.write(tmp_path / "again", "webdataset")
    for name in names:
        one, two = (tmp_path / folder / name for folder in ("copy", "again"))
        assert one.read_bytes() == two.read_bytes()


def test_shards_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = classification(tmp_path)
    monkeypatch.setattr(_webdataset_write, "MAX_SAMPLES", 2)
    before.write(tmp_path / "two", "webdataset")
    assert len(list((tmp_path / "two").glob("*.tar"))) == 4
    monkeypatch.setattr(_webdataset_write, "MAX_SHARD", 1)
    before.write(tmp_path / "one", "webdataset")
    assert len(list((tmp_path / "one").glob("*.tar"))) == 6
    after = read(tmp_path / "one")
    assert {picture_bytes(path) for path in after.paths} == {
        Path(path).read_bytes() for path in before.paths
    }


def test_names_with_dots_and_splits_of_any_name(tmp_path: Path) -> None:
    dataset = detection(tmp_path)
    paths = []
    for number, path in enumerate(dataset.paths):
        new = Path(path).with_name(f"a.b.{number}.png" if number else "a_b_1.png")
        paths.append(str(Path(path).rename(new)))
    splits = ["train", "Train", None, "a/b", "validation", "fold 3"]
    images = dataset.images.with_columns(path=pl.Series(paths), split=pl.Series(splits))
    before = Dataset(images, dataset.labels, dataset.names)
    before.write(tmp_path / "copy", "webdataset")
    after = read(tmp_path / "copy")
    assert after.findings == ()
    assert sorted(after.images["split"].to_list(), key=str) == sorted(splits, key=str)
    assert len(set(after.paths)) == 6
    assert after.labels.height == before.labels.height


def test_labels_alone_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="without the pictures"):
        detection(tmp_path).write(tmp_path / "copy", "webdataset", pictures="none")


def test_as_tarfile_reads_it(tmp_path: Path) -> None:
    detection(tmp_path).write(tmp_path / "copy", "webdataset")
    for file in sorted((tmp_path / "copy").glob("*.tar")):
        with tarfile.open(file) as tar:
            expected = [(one.name, one.offset_data, one.size) for one in tar]
        assert [(one.name, one.offset, one.size) for one in tar_entries(file)] == expected


def test_labels_beside_those_that_are_read(tmp_path: Path) -> None:
    said = {"label": "cat", "tags": ["x"], "boxes": [[1, 2, 3, 4]]}
    members = {"a.jpg": picture(), "a.json": said, "a.cls": "7", "a.txt": "cat"}
    shard(tmp_path / "train-0.tar", members)
    dataset = read(tmp_path)
    assert labels(dataset) == [["cat"]]
    kept = {"webdataset": {"tags": ["x"], "boxes": [[1, 2, 3, 4]]}}
    assert json.loads(dataset.images["extra"][0]) == kept
    # The text says the same as the label.
    assert found(dataset) == [("left-out-field", "train-0.tar#a.cls", 0)]
    shard(tmp_path / "two/train-0.tar", {"a.jpg": picture(), "a.cls": "7", "a.txt": "a cat"})
    assert found(read(tmp_path / "two")) == [("left-out-field", "train-0.tar#a.txt", 0)]
