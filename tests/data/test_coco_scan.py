"""Reading COCO in blocks: the quick way says what `json` says, or hands over to it."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import polars as pl
import pytest
from hypothesis import event, given, settings

from whatwhere.data.formats import _coco_rows, _coco_scan, _coco_source
from whatwhere.data.formats._coco_tables import Tables, load
from whatwhere.errors import DataError

JSON_COLUMNS = (
    *("segmentation", "keypoints", "attributes", "extra", "whatwhere", "labelled_classes"),
    *("complete_classes", "neg_category_ids", "not_exhaustive_category_ids", "bbox"),
)

# What a reader that looks for marks in the text may stumble over.
TRAPS = [
    *("]]", "}", "{", "},{", '"segmentation":', '","id":7,"x":"', "\\", '\\"', "\x00", "\x01"),
    *("\x1e", "\n", " ", "", "ü", "日", "\ud800", "null", "[[1,2]]", '{"id": 3}', "}]"),
]
STYLES: list[dict[str, Any]] = [
    {},
    {"separators": (",", ":")},
    {"separators": (",", ": ")},
    {"indent": 1},
    {"indent": "\t"},
    {"separators": (" ,\r\n ", " : ")},
    {"ensure_ascii": False},
]

TEXTS = st.lists(st.sampled_from(TRAPS) | st.text(max_size=4), max_size=3).map("".join)
NUMBERS = (
    st.integers(-5, 700)
    | st.floats(-1, 700, allow_nan=False)
    | st.sampled_from([1e-7, 2.5e20, 0.1, -0.0, 1765.1486500000005, 2**53, 2**63, -(2**70)])
)
OUTLINES = st.lists(st.lists(NUMBERS, min_size=6, max_size=8), min_size=1, max_size=2)
RUNS = st.fixed_dictionaries(
    {"counts": st.lists(st.integers(0, 99), max_size=5) | TEXTS, "size": st.just([40, 60])}
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
OTHER_KEYS = st.sampled_from(["license", "note", "}", "a:b", 'q"', "ü", "id ", "", "extra", "c1"])

SOUND = {
    "image_id": st.integers(1, 5),
    "category_id": st.integers(1, 2),
    "bbox": st.lists(NUMBERS, min_size=4, max_size=4),
    "area": NUMBERS,
    "iscrowd": st.sampled_from([0, 1]),
    "segmentation": OUTLINES | RUNS,
    "attributes": st.dictionaries(TEXTS, ANYTHING, min_size=1, max_size=2),
    "score": st.floats(0, 1),
    "track": TEXTS,
}


@st.composite
def records(draw: st.DrawFn, fields: dict[str, Any], sound: bool) -> list[dict[str, Any]]:
    """Records of one shape, but perhaps for a few."""
    keys = draw(st.permutations(sorted(fields)))[: draw(st.integers(0, len(fields)))]
    others = draw(st.lists(OTHER_KEYS, max_size=2, unique=True))
    found = []
    for number in range(draw(st.integers(0, 12))):
        record: dict[str, Any] = {"id": number + 1}
        for key in keys:
            if draw(st.integers(0, 9)) or sound:
                record[key] = draw(fields[key])
            else:
                record[key] = draw(ANYTHING)
        record |= {key: draw(ANYTHING) for key in others}
        if draw(st.integers(0, 5)) == 0:
            record[draw(OTHER_KEYS)] = draw(ANYTHING)
        if draw(st.integers(0, 9)) == 0:
            record = dict(draw(st.permutations(list(record.items()))))
        found.append(record)
    return found


@st.composite
def documents(draw: st.DrawFn, sound: bool) -> tuple[dict[str, Any], str]:
    """A COCO file as values and as text."""
    image = {"file_name": TEXTS, "width": st.integers(1, 99), "coco_url": TEXTS}
    content = {
        "images": draw(records(image, sound)),
        "annotations": draw(records(SOUND, sound)),
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": draw(TEXTS)}],
        "info": draw(ANYTHING),
    }
    content = dict(draw(st.permutations(list(content.items()))))
    text = json.dumps(content, **draw(st.sampled_from(STYLES)))
    # Half a surrogate pair is not UTF-8; as an escape it is sound JSON.
    return content, json.dumps(content) if sound and "\ud800" in text else text


def said(tables: Tables) -> dict[str, Any]:
    """All that was read, with JSON as values; -0.0 and 0.0 are the same number."""
    frames = {}
    for name in ("images", "annotations"):
        frame: pl.DataFrame = getattr(tables, name)
        rows = frame.to_dicts()
        for row in rows:
            for key in JSON_COLUMNS:
                if row.get(key) is not None:
                    row[key] = json.loads(row[key])
        frames[name] = rows
    findings = sorted((one.kind, one.where, one.message) for one in tables.findings)
    return {**frames, "findings": findings, "info": tables.info, "ours": tables.ours}


def read(text: str | bytes, folder: Path, **how: Any) -> Tables:
    handle, name = tempfile.mkstemp(dir=folder)
    with os.fdopen(handle, "wb") as file:
        file.write(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    return load(Path(name), "w.json", **how)


def outcome(text: str | bytes, folder: Path, **how: Any) -> Any:
    try:
        return said(read(text, folder, **how))
    except DataError as error:
        return str(error).partition(" ")[2]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scan")


BLOCKS = st.sampled_from([64, 256, 1024, 1 << 16])


FEW = settings(max_examples=40, deadline=None, derandomize=True)
MANY = settings(max_examples=5000, deadline=None)


def same(document: tuple[Any, str], block: int, place: Path) -> None:
    text = document[1]
    assert repr(outcome(text, place, block=block)) == repr(outcome(text, place, exact=True))


@FEW
@given(document=documents(sound=False), block=BLOCKS)
def test_both_ways_say_the_same(document: tuple[Any, str], block: int, place: Path) -> None:
    same(document, block, place)


@pytest.mark.slow
@MANY
@given(document=documents(sound=False), block=BLOCKS)
def test_both_ways_say_the_same_of_many(document: tuple[Any, str], block: int, place: Path) -> None:
    same(document, block, place)


def same_damaged(document: tuple[Any, str], data: st.DataObject, place: Path) -> None:
    content = bytearray(document[1].encode("utf-8", "surrogatepass"))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content)))
        end = at + data.draw(st.integers(0, 3))
        content[at:end] = data.draw(
            st.sampled_from([b"", b'"', b"{", b"}", b"]", b",", b":", b"0", b"+1", b".5", b"\xff"])
        )
    quick, slow = (outcome(bytes(content), place, **how) for how in ({}, {"exact": True}))
    assert repr(quick) == repr(slow)
    event(f"error: {isinstance(quick, str)}")


@FEW
@given(document=documents(sound=False), data=st.data())
def test_so_they_do_of_damaged_files(
    document: tuple[Any, str], data: st.DataObject, place: Path
) -> None:
    same_damaged(document, data, place)


@pytest.mark.slow
@MANY
@given(document=documents(sound=False), data=st.data())
def test_so_they_do_of_many_damaged_files(
    document: tuple[Any, str], data: st.DataObject, place: Path
) -> None:
    same_damaged(document, data, place)


@FEW
@given(document=documents(sound=True), block=BLOCKS)
def test_nothing_is_lost_and_nothing_invented(
    document: tuple[dict[str, Any], str], block: int, place: Path
) -> None:
    """Each record can be put together again from its columns."""
    content, text = document
    tables = said(read(text, place, block=block))
    # Half a surrogate pair cannot be in a column; it is reported.
    bad = {where for kind, where, _ in tables["findings"] if kind == "bad-value"}
    for name in ("images", "annotations"):
        assert len(tables[name]) == len(content[name])
        for position, (row, record) in enumerate(zip(tables[name], content[name], strict=True)):
            if f"w.json#{name}[{position}]" not in bad:
                # Without a box, there is one around the outline.
                derived = {} if record.get("bbox") else {"x": None}
                assert rebuilt(row | derived) == wanted(record)


def rebuilt(row: dict[str, Any]) -> dict[str, Any]:
    """The record that a row came from."""
    record = {key: value for key, value in row.items() if value is not None and key in KNOWN}
    if row.get("x") is not None:
        record["bbox"] = [row[name] for name in "xywh"]
    if "iscrowd" in record:
        record["iscrowd"] = int(record["iscrowd"])
    occluded = (row.get("attributes") or {}).get("occluded")
    if isinstance(occluded, bool):
        record.pop("occluded", None)
    return record | (row["extra"] or {}).get("coco", {})


KNOWN = {*SOUND, "id", "file_name", "width", "occluded"}


def wanted(record: dict[str, Any]) -> dict[str, Any]:
    """The record without keys whose value says nothing."""
    said = {**record}
    return {key: value for key, value in said.items() if value is not None or key not in KNOWN}


@pytest.mark.parametrize("style", STYLES, ids=str)
def test_the_quick_way_is_taken(
    style: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files of all usual styles, with crowds, attributes and missing keys, need no `json`."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("parsed record by record")

    monkeypatch.setattr(_coco_scan, "as_texts", refuse)
    labels: list[dict[str, Any]] = [
        {
            "segmentation": [[1.5, 2, 30, 4.25, 5, 6e1]],
            "area": 12.5,
            "iscrowd": 0,
            "image_id": number,
            "bbox": [1, 2.5, 3, 4],
            "category_id": 1,
            "attributes": {"occluded": bool(number % 2), "tags": ["a", {"b": "c"}]},
            "id": number,
        }
        for number in range(1, 400)
    ]
    labels[7]["segmentation"] = {"counts": [1, 2, 3], "size": [4, 5]}
    labels[8]["segmentation"] = {"counts": "a\\b`", "size": [4, 5]}
    labels[9]["segmentation"] = []
    labels[10]["area"] = None
    for label in labels[20:40]:
        label["caption"] = "a text: \\ with ü"
    images = [{"file_name": f"a/{n} ü.jpg", "url": "", "id": n} for n in range(1, 400)]
    text = json.dumps({"images": images, "annotations": labels, "categories": []}, **style)
    tables = read(text, tmp_path, block=5000)
    assert tables.findings == []
    assert said(tables)["annotations"][8]["segmentation"]["counts"] == "a\\b`"
    assert tables.annotations["occluded"].to_list() == [bool(n % 2) for n in range(1, 400)]
    assert tables.annotations["extra"].is_not_null().arg_true().to_list() == list(range(20, 40))


def test_a_key_that_occurs_twice_is_said(tmp_path: Path) -> None:
    text = '{"images": [{"id": 1, "id": 2, "file_name": "a"}], "annotations": [], "info": 1}'
    tables = read(text, tmp_path)
    assert tables.images["id"].to_list() == [2]
    found = [(one.kind, one.where) for one in tables.findings]
    assert found == [("duplicate-key", "w.json#images[0]")]


def test_two_lists_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="two lists 'images'"):
        read('{"images": [], "images": [], "annotations": []}', tmp_path)


def test_a_mark_of_byte_order_is_skipped(tmp_path: Path) -> None:
    tables = read(b'\xef\xbb\xbf{"images": [{"id": 3}], "annotations": []}', tmp_path)
    assert tables.images["id"].to_list() == [3]


def test_memory_is_bounded_by_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a long file, only a block and a few in work are held, however long it is."""
    longest = 0
    want = _coco_source.Source.want

    def noted(source: _coco_source.Source, count: int) -> None:
        nonlocal longest
        want(source, count)
        longest = max(longest, len(source.data))

    monkeypatch.setattr(_coco_source.Source, "want", noted)
    labels = [{"id": n, "image_id": 1, "bbox": [1, 2, 3, 4]} for n in range(5000)]
    text = json.dumps({"images": [], "annotations": labels})
    assert read(text, tmp_path, block=4096).annotations.height == 5000
    assert longest < 3 * 4096 < len(text)


def test_a_record_that_is_longer_than_a_block(tmp_path: Path) -> None:
    outline = [[float(n) for n in range(2000)]]
    labels = [{"id": n, "segmentation": outline} for n in range(3)]
    tables = read(json.dumps({"images": [], "annotations": labels}), tmp_path, block=256)
    assert [json.loads(one) for one in tables.annotations["segmentation"]] == [outline] * 3


def test_rows_are_cut_only_where_they_are_alike() -> None:
    block = bytearray(b'{"id": 1, "x": 2}, {"x": 3, "id": 4}')
    parsed = []

    def parse(text: str, row: int) -> dict[str, str]:
        parsed.append(row)
        return {key: json.dumps(value) for key, value in json.loads(text).items()}

    frame = _coco_rows.columns(block, _coco_rows.cut(block), ["id", "x"], parse)
    assert frame.rows() == [("1", "2", None), ("4", "3", None)]
    assert parsed == [0, 1]
