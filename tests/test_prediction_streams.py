"""Files of predictions read piece by piece: the same items, whatever the pieces."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import whatwhere as ww
from made_boxes import generated
from whatwhere.errors import DataError
from whatwhere.evaluation import stream
from whatwhere.evaluation.stream import array_blocks, first_character, lines

_plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
_nested = st.recursive(
    _plain, lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(), x, max_size=3)
)
_records = st.lists(
    st.fixed_dictionaries({"image_id": st.integers(), "segmentation": _nested}) | _nested,
    max_size=4,
)
_tricky = ["}, {", "],[", '"', "\\", "}", ",", "]"]


@settings(
    max_examples=50,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    records=_records,
    words=st.lists(st.sampled_from(_tricky), max_size=3),
    piece=st.integers(1, 60),
    indent=st.sampled_from([None, 1]),
)
def test_items_are_those_of_json(
    records: list[Any],
    words: list[str],
    piece: int,
    indent: int | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream, "_PIECE", piece)
    items = [*records, *({"text": word, "more": {"a": [{}, {}]}} for word in words)]
    file = tmp_path / "items.json"
    file.write_text("\n " + json.dumps(items, indent=indent), encoding="utf-8")
    blocks = list(array_blocks(file))
    assert [item for block in blocks for item in block] == items
    assert all(blocks)


@pytest.mark.parametrize("piece", [3, 50, 1 << 20])
@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('[{"a": 1},\n{"a": }]', 2),
        ('[{"a": 1},\n\n{"a": 2}', 3),
        ('[{"a": 1}\n{"a": 2}]', 2),
        ('[{"a": 1},\n{"a": 2},\n]', 3),
        ('[{"a": 1},\n{"a": 2}]\n{"a": 3}', 3),
        ("[", 1),
        ('\n \n[{"a": 1},\n}]', 4),
        ("[,]", 1),
        ('{"a": 1}', 1),
    ],
)
def test_damage_is_named_by_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, line: int, piece: int
) -> None:
    monkeypatch.setattr(stream, "_PIECE", piece)
    file = tmp_path / "items.json"
    file.write_text(text)
    with pytest.raises(DataError, match=rf"items\.json:{line} is not"):
        list(array_blocks(file))


def test_damage_early_in_a_long_file_ends_the_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "_PIECE", 100)
    monkeypatch.setattr(stream, "_LONGEST", 1000)
    file = tmp_path / "items.json"
    file.write_text('[{"a": 1},\n{"a": oops},\n' + ",\n".join(['{"a": 1}'] * 10_000) + "]")
    with pytest.raises(DataError, match=r"items\.json:2 is not JSON"):
        list(array_blocks(file))


def test_memory_does_not_grow_with_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "_PIECE", 1 << 14)
    file = tmp_path / "results.json"
    record = {"image_id": 1, "category_id": 2, "bbox": [1.5, 2.5, 3.5, 4.5], "score": 0.5}
    file.write_text(json.dumps([record] * 30_000))
    tracemalloc.start()
    count = sum(len(block) for block in array_blocks(file))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 30_000
    assert peak < file.stat().st_size / 4


def test_first_character_and_lines(tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    file.write_text("\ufeff\n \n{1}\n\n{2\u2028}\r\n{3}", encoding="utf-8")
    assert first_character(file) == "{"
    assert [(number, line.strip()) for number, line in lines(file)] == [
        (3, "{1}"),
        (5, "{2\u2028}"),
        (6, "{3}"),
    ]


def test_boxes_that_coco_does_not_score_are_dropped_on_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth, found = generated(np.random.default_rng(0), 3, 1, boxes=20, extra=400, levels=50)
    dataset = {
        "images": [
            {"id": image, "file_name": f"{image}.jpg", "width": 900, "height": 900}
            for image in range(3)
        ],
        "categories": [{"id": 0, "name": "thing"}],
        "annotations": [
            {
                "id": row + 1,
                "image_id": int(truth.image[row]),
                "category_id": 0,
                "bbox": truth.xywh[row].tolist(),
                "area": float(truth.area[row]),
                "iscrowd": int(truth.ignore[row]),
            }
            for row in range(len(truth.image))
        ],
    }
    results = [
        {
            "image_id": int(found.image[row]),
            "category_id": 0,
            "bbox": found.xywh[row].tolist(),
            "score": float(found.score[row]),
        }
        for row in range(len(found.image))
    ]
    (tmp_path / "truth.json").write_text(json.dumps(dataset))
    (tmp_path / "results.json").write_text(json.dumps(results))
    whole = ww.evaluate_predictions(tmp_path / "results.json", tmp_path / "truth.json")
    assert sum(len(each) for each in whole.predictions) == len(results) > 900
    monkeypatch.setattr(stream, "_PIECE", 2000)
    monkeypatch.setattr("whatwhere.evaluation.coco_results._MOST_ROWS", 150)
    part = ww.evaluate_predictions(tmp_path / "results.json", tmp_path / "truth.json")
    assert dict(part) == dict(whole)
    assert sum(len(each) for each in part.predictions) < 900
    assert any("beyond the best 100 of their picture and class" in note for note in part.notes)
    assert not any("beyond the best 100" in note for note in whole.notes)


def test_json_lines_keep_columns_of_the_boxes_that_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [str(tmp_path / f"{image}.jpg") for image in range(4)]
    box = {"x1": [0.0] * 4, "y1": [0.0] * 4, "x2": [40.0] * 4, "y2": [40.0] * 4}
    labels = {"image": [0, 1, 2, 3], "class_id": [0, 1, 0, 1], **box}
    data = ww.Dataset({"path": paths}, labels, ["cat", "dog"], task="detect", source="animals")
    rng = np.random.default_rng(0)
    file = tmp_path / "answers.jsonl"
    with file.open("w") as out:
        for image in range(4):
            rows = rng.uniform(0, 60, (700, 2)).round(1)
            objects = [
                {"name": ("cat", "dog")[place % 2], "score": round(float(score), 4), "box": each}
                for place, (score, each) in enumerate(
                    zip(
                        rng.random(700),
                        np.concatenate([rows, rows + 30], axis=1).tolist(),
                        strict=True,
                    )
                )
            ]
            out.write(json.dumps({"image": f"{image}.jpg", "objects": objects}) + "\n")
    whole = ww.evaluate_predictions(file, data)
    assert sum(map(len, whole.predictions)) == 2800
    monkeypatch.setattr("whatwhere.evaluation.gathered._MOST_ROWS", 800)
    part = ww.evaluate_predictions(file, data)
    assert dict(part) == dict(whole)
    assert 800 <= sum(map(len, part.predictions)) < 2000
    assert any("beyond the best 100 of their picture and class" in note for note in part.notes)
