"""TFRecord: framing, check sums, messages, label maps, pictures inside, faults."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_samples import detection
from whatwhere.data import Dataset, read
from whatwhere.data.formats._tfrecord_names import label_map_text, read_label_map
from whatwhere.data.formats._tfrecord_wire import (
    WireError,
    crc32c,
    example_bytes,
    masked_crc,
    parse_example,
    records,
    write_record,
)
from whatwhere.errors import DataError
from whatwhere.images import member, read_image, write_image


def features(**changes: Any) -> dict[str, Any]:
    """One picture of 60 x 40 pixels with one cat, named only."""
    plain: dict[str, Any] = {
        "image/filename": [b"a.png"],
        "image/width": [60],
        "image/height": [40],
        "image/object/bbox/xmin": [0.25],
        "image/object/bbox/xmax": [0.5],
        "image/object/bbox/ymin": [0.125],
        "image/object/bbox/ymax": [0.75],
        "image/object/class/text": [b"cat"],
        "image/object/class/label": [2],
    }
    return plain | {f"image/{key.replace('__', '/')}": one for key, one in changes.items()}


def make(root: Path, *examples: dict[str, Any], labels: str = "") -> Path:
    root.mkdir(parents=True, exist_ok=True)
    write_image(root / "a.png", np.full((40, 60, 3), 9, np.uint8))
    with (root / "train.tfrecord").open("wb") as stream:
        for one in examples:
            write_record(stream, example_bytes(one))
    (root / "label_map.pbtxt").write_text(labels or "item { id: 2 name: 'cat' }")
    return root


def kinds(dataset: Dataset) -> list[tuple[str, str]]:
    return [(one.kind, one.where) for one in dataset.findings]


def test_check_sums_are_those_of_the_standard() -> None:
    # RFC 3720, B.4, and the check value of the catalogue of CRCs.
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E


@pytest.mark.parametrize("count", [4095, 4096, 4097, 65_600, (1 << 20) + 4099])
def test_lanes_and_the_plain_loop_give_the_same(count: int) -> None:
    data = np.random.default_rng(count).integers(0, 256, count, np.uint8).tobytes()
    state = 0xFFFFFFFF
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = state >> 1 ^ (0x82F63B78 if state & 1 else 0)
    assert crc32c(data) == state ^ 0xFFFFFFFF


def test_messages_of_every_type() -> None:
    given = {"bytes": [b"a", b""], "floats": [0.5, -1.25], "numbers": [3, -1, 1 << 40], "no": []}
    data = example_bytes(given)
    found = parse_example(data)
    texts = [data[one[0] : one[1]] for one in found["bytes"] if isinstance(one, tuple)]
    assert texts == [b"a", b""]
    assert (found["floats"], found["numbers"], found["no"]) == ([0.5, -1.25], [3, -1, 1 << 40], [])


def test_lists_that_are_not_packed() -> None:
    floats = b"".join(b"\x0d" + struct.pack("<f", one) for one in (0.5, 2))
    value = b"\x12" + bytes([len(floats)]) + floats
    entry = b"\x0a\x01f\x12" + bytes([len(value)]) + value
    inner = b"\x0a" + bytes([len(entry)]) + entry
    assert parse_example(b"\x0a" + bytes([len(inner)]) + inner) == {"f": [0.5, 2.0]}


@pytest.mark.parametrize("data", [b"\x0a\x7f", b"\x80" * 20, b"\x0b", b"\x0a\xff\xff\xff\xff\x0f"])
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        parse_example(data)


def test_a_length_is_never_believed(tmp_path: Path) -> None:
    length = struct.pack("<Q", 1 << 60)
    (tmp_path / "a.tfrecord").write_bytes(length + struct.pack("<I", masked_crc(length)) + b"x" * 9)
    (record,) = records(tmp_path / "a.tfrecord")
    assert record.fault == "the file ends before the record does"


def test_what_the_api_writes(tmp_path: Path) -> None:
    crowd = features(object__is_crowd=[1], object__truncated=[1], object__area=[12.5])
    group = features(object__group_of=[1], object__difficult=[0], source_id=[b"397133"])
    dataset = read(make(tmp_path, crowd, group, features(object__difficult=[1])))
    assert dataset.splits == {"train": 3}
    assert dataset.labels.select("x1", "y1", "x2", "y2").row(0) == (15, 5, 30, 30)
    assert dataset.labels["iscrowd"].to_list() == [True, True, None]
    assert dataset.labels["ignore"].to_list() == [True, True, True]
    assert dataset.labels["area"].to_list() == [12.5, None, None]
    assert dataset.images["id"].to_list() == [None, 397133, None]
    assert dataset.category_ids == (2,)
    assert dataset.findings == ()


def test_what_is_not_read_is_counted(tmp_path: Path) -> None:
    view = features(object__view=[b"front"])
    dataset = read(make(tmp_path, view, view))
    (finding,) = dataset.findings
    assert finding.message == "the feature 'image/object/view' of 2 records is not read"


def test_pictures_stay_in_their_file(tmp_path: Path) -> None:
    before = detection(tmp_path)
    before.write(tmp_path / "copy", "tfrecord")
    dataset = read(tmp_path / "copy")
    assert all(member(path) is not None for path in dataset.paths)
    by_name = {Path(path).name: path for path in dataset.paths}
    assert len(by_name) == len(before)
    for old in before.paths:
        assert (read_image(old) == read_image(by_name[Path(old).name])).all()
    # A name in a record is never a path.
    encoded = Path(before.paths[0]).read_bytes()
    odd = features(encoded=[encoded], filename=[b"../../etc/x.png"], format=[b"png"])
    (path,) = read(make(tmp_path / "odd", odd)).paths
    assert path.startswith(str(tmp_path / "odd" / "train.tfrecord!/"))
    assert path.endswith("/x.png")


def test_names_of_files_do_not_leave_the_folder(tmp_path: Path) -> None:
    write_image(tmp_path / "secret.png", np.zeros((4, 4, 3), np.uint8))
    dataset = read(make(tmp_path / "set", features(filename=[b"../secret.png"])))
    assert dataset.paths == [str(tmp_path / "set" / "secret.png")]
    assert [kind for kind, _ in kinds(dataset)] == ["missing-image"]


def test_damaged_records_are_named_and_the_rest_is_read(tmp_path: Path) -> None:
    make(tmp_path, features(), features(object__bbox__xmin=[0.1, 0.2]), features(), features())
    file = tmp_path / "train.tfrecord"
    data = bytearray(file.read_bytes())
    starts = [record.offset for record in records(file)]
    data[starts[2] + 5] ^= 1
    file.write_bytes(data)
    dataset = read(tmp_path)
    assert (len(dataset), kinds(dataset)) == (
        2,
        [("bad-record", "train.tfrecord#1"), ("bad-record", "train.tfrecord#2")],
    )
    # A wrong length loses the way.
    data[starts[3] - 12] ^= 1
    file.write_bytes(data)
    last = read(tmp_path).findings[-1]
    assert last.message.endswith("is wrong; the rest of the file cannot be read")


def test_a_cut_file(tmp_path: Path) -> None:
    file = make(tmp_path, features(), features()) / "train.tfrecord"
    file.write_bytes(file.read_bytes()[:-9])
    assert kinds(read(tmp_path)) == [("bad-record", "train.tfrecord#1")]


def test_label_maps_as_people_write_them(tmp_path: Path) -> None:
    file = tmp_path / "label_map.pbtxt"
    file.write_text(
        "# classes\nitem {\n  name: \"/m/01\"  # a MID\n  id: 3\n  display_name: 'A \\'cat\\''\n"
        "  keypoints { id: 9 label: 'nose' }\n}\nitem: <name: 'd\\303\\266g', id: 1>\n"
        "item { name: 'no number' }\nitem { id: 3 name: 'again' }\n"
    )
    findings: list[Any] = []
    found = read_label_map(file, "map", findings)
    assert found.ids == {"/m/01": 3, "dög": 1}
    assert found.shown == {"/m/01": "A 'cat'"}
    assert [(one.kind, one.where) for one in findings] == [
        ("bad-record", "map:9"),
        ("duplicate-class", "map:10"),
    ]
    names = ["it's", 'a "b"', "back\\slash", "käfer", "two\nlines"]
    file.write_text(label_map_text(names, [5, 4, 3, 2, 1]))
    assert list(read_label_map(file, "map", findings).ids) == names


def test_texts_and_numbers_that_contradict_each_other(tmp_path: Path) -> None:
    dataset = read(make(tmp_path, features(), labels="item { id: 2 name: 'dog' }"))
    assert list(dataset.names) == ["dog", "cat"]
    assert kinds(dataset) == [("contradicting-ids", "train.tfrecord#0/0")]
    unnamed = read(make(tmp_path / "two", features(object__class__text=[])))
    assert list(unnamed.names) == ["cat"]


def test_fractions_that_others_changed_win(tmp_path: Path) -> None:
    before = detection(tmp_path)
    before.write(tmp_path / "copy", "tfrecord")
    file = tmp_path / "copy" / "train.tfrecord"
    stream = io.BytesIO()
    for record in records(file):
        plain: dict[str, Any] = {}
        for key, values in parse_example(record.data).items():
            spans = [one for one in values if isinstance(one, tuple)]
            plain[key] = [record.data[a:b] for a, b in spans] if spans else values
        plain["image/object/bbox/xmin"] = [0.125 for _ in plain["image/object/bbox/xmin"]]
        write_record(stream, example_bytes(plain))
    file.write_bytes(stream.getvalue())
    first = read(tmp_path / "copy").split_named("train")
    assert first.labels["x1"].to_list() == [7.5, 7.5, 6.25, 5.0][: first.labels.height]


def test_our_own_json_is_not_trusted(tmp_path: Path) -> None:
    own = {"box": [["a", 1, 2, 3]], "score": ["high"], "track": [7], "ignore": [1], "area": [[]]}
    one = features() | {
        "whatwhere/labels": [json.dumps(own).encode()],
        "whatwhere/image": [b'{"split": 3, "labelled": "cat", "group": ["x"]}'],
    }
    dataset = read(make(tmp_path, one, features() | {"whatwhere/labels": [b"[" * 9999]}))
    assert dataset.labels.select("x1", "score", "track", "ignore", "area").row(0) == (
        (15, None, None, False, None)
    )
    assert dataset.images.select("split", "labelled", "group").row(0) == ("train", None, None)
    lost = [one.where for one in dataset.findings if "is no JSON object" in one.message]
    assert len(lost) == 1
    assert lost[0].endswith("#1")


def test_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tfrecord").write_bytes(b"image/" * 9)
    with pytest.raises(DataError, match="looked for"):
        read(tmp_path, "tfrecord")


def test_the_genuine_file(shared: Path) -> None:
    folder = shared / "many_formats" / "data" / "database"
    dataset = read(folder / "gts" / "tfrecord_format", images=folder / "images")
    assert (len(dataset), dataset.labels.height, len(dataset.names)) == (100, 273, 20)
    assert dataset.findings == ()
    without = read(folder / "gts" / "tfrecord_format")
    assert without.labels.height == 273
    assert [kind for kind, _ in kinds(without)] == ["missing-image"]


@pytest.mark.parametrize(
    "changes",
    [
        {"object__is_crowd": [1, 0]},
        {"object__truncated": [b"1"]},
        {"object__area": [1.0, 2.0]},
    ],
)
def test_lists_of_another_length_are_said(tmp_path: Path, changes: dict[str, Any]) -> None:
    dataset = read(make(tmp_path, features(**changes)))
    (finding,) = dataset.findings
    assert (finding.kind, finding.where) == ("bad-value", "train.tfrecord#0")
    assert f"image/{next(iter(changes)).replace('__', '/')} has " in finding.message


def test_a_source_id_that_is_no_number_is_counted(tmp_path: Path) -> None:
    other, same = features(source_id=[b"camera-7"]), features(source_id=[b"a.png"])
    (finding,) = read(make(tmp_path, other, same)).findings
    assert finding.message == "the feature 'image/source_id' of 1 records is not read"
