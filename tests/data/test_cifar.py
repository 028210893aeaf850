"""CIFAR's batches: python ones of every protocol, binary ones, and pickles that are traps."""

from __future__ import annotations

import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from whatwhere.data import Dataset, read
from whatwhere.data.formats._plain_pickle import Span, read_plain_pickle
from whatwhere.errors import DataError, UsageError
from whatwhere.images import read_image, write_image

NAMES = ["airplane", "automobile", "bird"]
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (6, 3072), dtype=np.uint8)


def rgb(row: int) -> np.ndarray[Any, Any]:
    return PIXELS[row].reshape(3, 32, 32).transpose(1, 2, 0)


def python_two(value: Any) -> bytes:
    """A pickle of protocol 2 as Python 2 wrote it: texts and bytes are both byte strings."""
    out = [b"\x80\x02"]

    def put(one: Any) -> None:
        if isinstance(one, dict):
            out.append(b"}q\x01(")
            for key, inner in one.items():
                put(key)
                put(inner)
            out.append(b"u")
        elif isinstance(one, list):
            out.append(b"](")
            for inner in one:
                put(inner)
            out.append(b"e")
        elif isinstance(one, str | bytes):
            data = one.encode() if isinstance(one, str) else one
            short = len(data) < 256
            out.append(b"U" + bytes([len(data)]) if short else b"T" + struct.pack("<i", len(data)))
            out.append(data)
        elif isinstance(one, int):
            out.append(b"M" + struct.pack("<H", one))
        else:
            assert isinstance(one, np.ndarray)
            out.append(
                b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
            )
            out.append(b"(K\x01")
            out.append(b"M" + struct.pack("<H", one.shape[0]) + b"M" + struct.pack("<H", 3072))
            out.append(b"\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xff")
            out.append(b"J\xff\xff\xff\xffK\x00tb\x89")
            put(one.tobytes())
            out.append(b"tb")

    put(value)
    data = b"".join([*out, b"."])
    # Python itself understands it.
    assert pickle.loads(data, encoding="latin1").keys() == value.keys()  # noqa: S301
    return data


def ten(folder: Path, dump: Any) -> Path:
    """CIFAR-10's files: four pictures to train, two to test."""
    folder.mkdir(parents=True)
    parts = {"data_batch_1": (0, 2), "data_batch_2": (2, 4), "test_batch": (4, 6)}
    for name, (start, end) in parts.items():
        batch = {
            "batch_label": name,
            "labels": [row % 3 for row in range(start, end)],
            "data": PIXELS[start:end],
            "filenames": [f"thing_s_{row:06d}.png" for row in range(start, end)],
        }
        (folder / name).write_bytes(dump(batch))
    (folder / "batches.meta").write_bytes(dump({"num_vis": 3072, "label_names": NAMES}))
    return folder


def dumps(protocol: int) -> Any:
    return lambda value: pickle.dumps(value, protocol=protocol)


@pytest.mark.parametrize(
    "dump", [python_two, *map(dumps, (2, 3, 4, 5))], ids=["python2", "2", "3", "4", "5"]
)
def test_python_batches_of_every_protocol(dump: Any, tmp_path: Path) -> None:
    folder = ten(tmp_path / "cifar-10-batches-py", dump)
    dataset = read(tmp_path)
    assert dataset.recognised == (
        "CIFAR: CIFAR-10 python batches, data_batch_1, data_batch_2, test_batch"
    )
    assert dataset.findings == ()
    assert list(dataset.names) == NAMES
    assert dataset.splits == {"train": 4, "test": 2}
    assert [int(dataset.targets(row).class_ids[0]) for row in range(6)] == [0, 1, 2, 0, 1, 2]
    assert dataset.labels["record"][3] == "data_batch_2#1"
    assert dataset.relative_paths()[4].endswith("test_batch!/thing_s_000004.png")
    for row, path in enumerate(dataset.paths):
        assert (read_image(path) == rgb(row)).all()
    assert sorted(one.name for one in folder.iterdir()) == [
        "batches.meta",
        "data_batch_1",
        "data_batch_2",
        "test_batch",
    ]


def hundred(folder: Path, coarse: list[int]) -> Path:
    folder.mkdir(parents=True)
    for name, (start, end) in {"train": (0, 4), "test": (4, 6)}.items():
        batch = {
            b"fine_labels": [row % 3 for row in range(start, end)],
            b"coarse_labels": coarse[start:end],
            b"data": PIXELS[start:end],
            b"filenames": [b"x.png"] * (end - start),
        }
        (folder / name).write_bytes(pickle.dumps(batch, protocol=3))
    meta = {b"fine_label_names": NAMES, b"coarse_label_names": ["machines", "animals"]}
    (folder / "meta").write_bytes(pickle.dumps(meta, protocol=3))
    return folder


def test_coarse_classes(tmp_path: Path) -> None:
    dataset = read(hundred(tmp_path / "a", [0, 0, 1, 0, 0, 1]))
    assert dataset.class_info == {
        "airplane": {"coarse": "machines"},
        "automobile": {"coarse": "machines"},
        "bird": {"coarse": "animals"},
    }
    assert dataset.splits == {"train": 4, "test": 2}
    lost = dataset.write(tmp_path / "b", "cifar")
    assert lost == ()
    assert sorted(one.name for one in (tmp_path / "b").iterdir()) == [
        "coarse_label_names.txt",
        "fine_label_names.txt",
        "test.bin",
        "test.files.txt",
        "train.bin",
        "train.files.txt",
    ]
    # A record is the coarse label (by alphabet: animals, machines), the fine one, the pixels.
    assert (tmp_path / "b" / "test.bin").read_bytes() == (
        b"\x01\x01" + PIXELS[4].tobytes() + b"\x00\x02" + PIXELS[5].tobytes()
    )
    after = read(tmp_path / "b")
    assert (after.class_info, after.splits) == (dataset.class_info, dataset.splits)
    assert (read_image(after.paths[5]) == read_image(dataset.paths[5])).all()


def test_coarse_labels_that_differ_go_to_the_labels(tmp_path: Path) -> None:
    dataset = read(hundred(tmp_path / "a", [0, 0, 1, 1, 0, 1]))
    assert dataset.class_info == {}
    assert dataset.labels["attributes"][3] == '{"coarse": "animals"}'


def test_binary_batches(tmp_path: Path) -> None:
    for name, rows in {"data_batch_1.bin": (0, 1, 2), "test_batch.bin": (3,)}.items():
        records = [bytes([row % 3]) + PIXELS[row].tobytes() for row in rows]
        (tmp_path / name).write_bytes(b"".join(records))
    (tmp_path / "batches.meta.txt").write_text("\n".join(NAMES) + "\n\n")
    dataset = read(tmp_path)
    assert dataset.findings == ()
    assert dataset.splits == {"train": 3, "test": 1}
    assert (read_image(dataset.paths[1]) == rgb(1)).all()
    assert dataset.paths[1].endswith("data_batch_1.bin!/3074+3x32x32/00001.png")
    assert set(dataset.images["width"]) == {32}


def test_faults_of_binary_batches(tmp_path: Path) -> None:
    good = b"\x01" + PIXELS[0].tobytes()
    (tmp_path / "data_batch_1.bin").write_bytes(good + b"\x09" + PIXELS[1].tobytes() + good[:100])
    (tmp_path / "data_batch_2.bin").write_bytes(good[:100])
    (tmp_path / "batches.meta.txt").write_text("\n".join(NAMES))
    dataset = read(tmp_path)
    assert [(one.kind, one.where, one.boxes) for one in dataset.findings] == [
        ("unreadable-image", "data_batch_1.bin", 1),
        ("unknown-class", "data_batch_1.bin#1", 1),
        ("damaged-annotation", "data_batch_2.bin", 0),
    ]
    assert len(dataset) == 1


def test_without_names_there_are_numbers(tmp_path: Path) -> None:
    ten(tmp_path / "a", dumps(2))
    (tmp_path / "a" / "batches.meta").unlink()
    dataset = read(tmp_path / "a")
    assert list(dataset.names) == ["class 0", "class 1", "class 2"]
    assert [one.kind for one in dataset.findings] == ["missing-names"]


class Trap:
    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> Any:
        return open, (str(self.place), "w")


class System:
    def __reduce__(self) -> Any:
        return os.system, ("true",)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_that_wants_to_run_is_refused(protocol: int, tmp_path: Path) -> None:
    ten(tmp_path / "a", dumps(protocol))
    trap = {"data": PIXELS, "labels": Trap(tmp_path / "ran")}
    (tmp_path / "a" / "data_batch_1").write_bytes(pickle.dumps(trap, protocol=protocol))
    (tmp_path / "a" / "batches.meta").write_bytes(pickle.dumps(System(), protocol=protocol))
    dataset = read(tmp_path / "a")
    found = [one for one in dataset.findings if one.kind == "damaged-annotation"]
    assert [one.where for one in found] == ["batches.meta", "data_batch_1"]
    assert "'posix.system', which is more than plain data" in found[0].message
    assert "open', which is more than plain data" in found[1].message
    assert not (tmp_path / "ran").exists()
    assert len(dataset) == 4


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "0 bytes"),
        (b"hello", "not a pickle of protocol 2 to 5"),
        (b"\x80\x02", "cut off at byte 2"),
        (b"\x80\x02K", "cut off"),
        (b"\x80\x02T\xff\xff\xff\x7f", "cut off"),
        (b"\x80\x02T\xff\xff\xff\xff", "cut off"),
        (b"\x80\x02u.", "damaged at byte"),
        (b"\x80\x02a.", "damaged at byte"),
        (b"\x80\x02h\x05.", "damaged at byte"),
        (b"\x80\x02cos\nsystem\n.", "'os.system'"),
        (b"\x80\x02c" + b"a" * 600, "damaged"),
        (b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.", "'builtins.eval'"),
        (b"\x80\x02K\x01K\x02R.", "calls what is not a function"),
        (b"\x80\x02}K\x01b.", "sets the state"),
        (b"\x80\x02I1\n.", "the step b'I'"),
        (b"\x80\x02P1\n.", "the step b'P'"),
        (b"\x80\x02\x8a\xff" + b"\x01" * 255 + b".", "a number of 255 bytes"),
        (b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R.", "rot13"),
        (b"\x80\x02}]K\x01s.", "damaged"),
        (b"\x80\x02" + b"N0" * 1_000_001, "more than 2000000 steps"),
    ],
)
def test_what_is_not_plain_is_refused(data: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(DataError) as caught:
        read_plain_pickle(tmp_path / "x")
    assert reason in str(caught.value)


def test_plain_values_are_as_pickle_reads_them(tmp_path: Path) -> None:
    inner = {"a": 1, "b": [True, None, -5, 70000, 2.5, 1 << 70], "c": (), "d": (1, "ü", b"\xff")}
    value = {**inner, "again": [inner, inner["b"]], 5: {"x": ("y",) * 5}, "n": np.int64(-7)}
    for protocol in (2, 3, 4, 5):
        (tmp_path / "x").write_bytes(pickle.dumps(value, protocol=protocol))
        assert read_plain_pickle(tmp_path / "x") == value


def test_long_strings_stay_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(pickle.dumps([b"a" * 5000], protocol=3))
    (span,) = read_plain_pickle(tmp_path / "x")
    assert isinstance(span, Span)
    assert (tmp_path / "x").read_bytes()[span.offset :][: span.length] == b"a" * 5000


@pytest.mark.parametrize(
    "batch",
    [
        {"labels": [0]},
        {"data": PIXELS[:1].astype(np.int16), "labels": [0]},
        {"data": PIXELS.reshape(3, -1), "labels": [0, 1, 2]},
        {"data": np.asfortranarray(PIXELS), "labels": [0] * 6},
        {"data": PIXELS, "labels": [0] * 5},
        {"data": PIXELS, "labels": ["a"] * 6},
        {"data": PIXELS},
        [PIXELS],
    ],
)
def test_batches_of_another_kind_are_refused(batch: Any, tmp_path: Path) -> None:
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps(batch, protocol=4))
    with pytest.raises(DataError, match="data_batch_1"):
        read(tmp_path)


def test_labels_may_be_an_array(tmp_path: Path) -> None:
    pixels = np.tile(PIXELS, (200, 1))
    labels = np.arange(1200, dtype=">i4") % 3
    for protocol in (2, 4):
        batch = {"data": pixels, "labels": labels}
        (tmp_path / "data_batch_1").write_bytes(pickle.dumps(batch, protocol=protocol))
        dataset = read(tmp_path)
        assert dataset.labels["class_id"].to_list() == labels.tolist()
        assert (read_image(dataset.paths[1199]) == rgb(5)).all()


def test_only_pictures_of_this_size_are_written(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", np.zeros((32, 33, 3), np.uint8))
    dataset = Dataset({"path": [str(tmp_path / "a.png")]}, {"image": [0], "class_id": [0]}, ["cat"])
    with pytest.raises(UsageError, match=r"a\.png is 33x32: resize it"):
        dataset.write(tmp_path / "copy", "cifar")
    assert not (tmp_path / "copy").exists()


def test_more_classes_than_a_byte_are_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", np.zeros((32, 32, 3), np.uint8))
    names = [f"class {number}" for number in range(257)]
    dataset = Dataset({"path": [str(tmp_path / "a.png")]}, {"image": [0], "class_id": [0]}, names)
    with pytest.raises(UsageError, match="one byte for a class, not 257"):
        dataset.write(tmp_path / "copy", "cifar")


def test_large_sets_are_written_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("whatwhere.data.formats.cifar._BATCH_SIZE", 3)
    before = read(ten(tmp_path / "a", dumps(4)))
    before.write(tmp_path / "b", "cifar")
    assert sorted(one.name for one in (tmp_path / "b").iterdir()) == [
        "batches.meta.txt",
        "data_batch_1.bin",
        "data_batch_1.files.txt",
        "data_batch_2.bin",
        "data_batch_2.files.txt",
        "test_batch.bin",
        "test_batch.files.txt",
    ]
    after = read(tmp_path / "b")
    for one, two in zip(before.paths, after.paths, strict=True):
        assert (read_image(one) == read_image(two)).all()


def test_pictures_that_are_cut_off_are_counted(tmp_path: Path) -> None:
    before = read(ten(tmp_path / "a", dumps(4)))
    before.write(tmp_path / "b", "cifar")
    file = tmp_path / "b" / "test_batch.bin"
    file.write_bytes(file.read_bytes()[:3073])
    after = read(tmp_path / "b")
    (found,) = after.findings
    assert (found.kind, found.where, found.boxes) == ("missing-image", "test_batch.bin", 1)
    assert "1 of 2 pictures are not there, the first is thing_s_000005.png" in found.message
    assert after.relative_paths() == [
        path.replace("batch_2!", "batch_1!").replace("!", ".bin!")
        for path in before.relative_paths()[:5]
    ]


def test_two_sets_in_one_folder_are_not_guessed(tmp_path: Path) -> None:
    ten(tmp_path / "cifar-10-batches-py", dumps(2))
    hundred(tmp_path / "cifar-100-python", [0] * 6)
    with pytest.raises(DataError, match="give one of cifar-10-batches-py, cifar-100-python"):
        read(tmp_path)


def test_as_torchvision_reads_it(tmp_path: Path) -> None:
    datasets = pytest.importorskip("torchvision.datasets")
    ten(tmp_path / "cifar-10-batches-py", dumps(4))

    class Generated(datasets.CIFAR10):  # type: ignore[misc, name-defined]
        train_list = (("data_batch_1", ""), ("data_batch_2", ""))
        test_list = (("test_batch", ""),)

        def _check_integrity(self) -> bool:
            return True

        def _load_meta(self) -> None:
            pass

    dataset = read(tmp_path)
    theirs = [*Generated(str(tmp_path), train=True), *Generated(str(tmp_path), train=False)]
    for path, target, (image, label) in zip(
        dataset.paths, dataset.labels["class_id"], theirs, strict=True
    ):
        assert (read_image(path) == np.asarray(image)).all()
        assert target == label
