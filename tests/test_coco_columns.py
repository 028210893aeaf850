"""Results as columns: the numbers of `json`, to the bit, or no answer at all."""

import json
import random
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from whatwhere.data import formats as formats_package
from whatwhere.data.formats import formats
from whatwhere.evaluation.coco_columns import result_columns
from whatwhere.evaluation.gathered import Few, equal_rows

GOOD = '{"image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4], "score": 0.5}'


def records(count: int, seed: int = 0) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    return [
        {
            "image_id": rng.randint(-5, 10**12),
            "category_id": rng.randint(0, 90),
            "bbox": [rng.uniform(-1, 1) * 10 ** rng.randint(-9, 9) for _ in range(4)],
            "score": rng.random() * 10 ** rng.randint(-12, 0),
        }
        for _ in range(count)
    ]


def inside(rows: list[Any], **how: Any) -> str:
    return json.dumps(rows, **how)[1:-1].strip()


@pytest.mark.parametrize("how", [{}, {"separators": (",", ":")}, {"indent": 1}, {"indent": 4}])
@pytest.mark.parametrize("more", [{}, {"id": 7, "area": 2.5}, {"points": [1, 2.5, 3]}])
def test_numbers_are_those_of_json(how: dict[str, Any], more: dict[str, Any]) -> None:
    rows = [{**more, **row} for row in records(300)]
    found = result_columns(inside(rows, **how))
    assert found is not None
    assert found.image.tolist() == [row["image_id"] for row in rows]
    assert found.class_id.tolist() == [row["category_id"] for row in rows]
    assert found.xywh.tolist() == [row["bbox"] for row in rows]
    assert found.score.tolist() == [row["score"] for row in rows]


@pytest.mark.parametrize("how", [{}, {"separators": (",", ":")}, {"indent": 1}])
@pytest.mark.parametrize("more", [{}, {"id": 7, "area": 2.5}, {"points": [1, 2.5, 3]}, {"x1": 5}])
@pytest.mark.parametrize("count", [1, 2, 3, 50])
def test_numbers_without_exponents(how: dict[str, Any], more: dict[str, Any], count: int) -> None:
    rng = random.Random(count)
    rows = [
        {
            **more,
            "image_id": rng.randint(-5, 10**12),
            "category_id": rng.randint(0, 90),
            "bbox": [round(rng.uniform(-900, 900), rng.randint(0, 12)) for _ in range(4)],
            "score": round(rng.uniform(0.1, 1), rng.randint(1, 16)),
        }
        for _ in range(count)
    ]
    found = result_columns(inside(rows, **how))
    assert found is not None
    assert found.image.tolist() == [row["image_id"] for row in rows]
    assert found.class_id.tolist() == [row["category_id"] for row in rows]
    assert found.xywh.tolist() == [row["bbox"] for row in rows]
    assert found.score.tolist() == [row["score"] for row in rows]


def test_a_digit_anywhere_else_is_noticed() -> None:
    text = f"{GOOD}, {GOOD}, {GOOD}"
    known = result_columns(text)
    assert known is not None
    for at in range(len(text) + 1):
        changed = f"{text[:at]}5{text[at:]}"
        found = result_columns(changed)
        try:
            rows = json.loads(f"[{changed}]")
        except json.JSONDecodeError:
            rows = None
        sound = rows is not None and all(row.keys() == rows[0].keys() for row in rows)
        # A digit before a number that begins with 0 gives one that JSON does not know.
        if found is not None and rows is not None:
            assert sound
            assert found.score.tolist() == [row["score"] for row in rows]
            assert found.xywh.tolist() == [row["bbox"] for row in rows]
        elif found is not None:
            assert text[at] in "0123456789."
        else:
            assert not sound or set(rows[0]) != {"image_id", "category_id", "bbox", "score"}


def test_one_record_and_long_decimals() -> None:
    rng = random.Random(1)
    for _ in range(200):
        digits = "".join(rng.choice("0123456789") for _ in range(rng.randint(1, 25)))
        score = f"{rng.randint(0, 9)}.{digits}e{rng.randint(-30, 30)}"
        text = f'{{"score": {score}, "bbox": [1, 2, 3, 4], "category_id": 2, "image_id": 1}}'
        found = result_columns(text)
        assert found is not None
        assert found.score.tolist() == [float(score)]


@pytest.mark.parametrize(
    "other",
    [
        '{"category_id": 2, "image_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}',
        '{"image_id": 1, "score": 1, "bbox": [1, 2, 3, 4], "category_id": 2}',
        '{"image_id": 1, "category_id": 2, "bbox": [1, 2, 3], "score": 0.5}',
        '{"image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4, 5], "score": 0.5}',
        '{"image_id": "1", "category_id": 2, "bbox": [1, 2, 3, 4], "score": 0.5}',
        '{"image_id": 1.5, "category_id": 2, "bbox": [1, 2, 3, 4], "score": 0.5}',
        '{"image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4], "score": NaN}',
        '{"image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4], "score": 1e999}',
        '{"image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4], "score": 0.5.5}',
        '{"image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4], "score": }',
        '{"image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4], "score": null}',
        '{"image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4], "score": 0.5, "note": "a}, {"}',
        '{"image_id": 1\x02 2, "bbox": [1, 2, 3, 4], "score": 0.5}',
        '{"image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4]}',
        "{}",
        "7",
        "",
    ],
)
def test_what_is_not_alike_is_left_to_json(other: str) -> None:
    assert result_columns(f"{GOOD}, {GOOD}") is not None
    assert result_columns(f"{GOOD}, {other}") is None
    assert result_columns(f"{GOOD}, {other}, {GOOD}") is None
    if "category_id" not in other or other.index("image_id") < other.index("category_id") < 40:
        assert result_columns(f"{other}, {GOOD}") is None


def test_equal_rows() -> None:
    rng = np.random.default_rng(0)
    table = rng.integers(0, 3, (400, 3)).astype(float)
    assert equal_rows(*table.T) == 400 - len(np.unique(table, axis=0))
    assert equal_rows(*rng.random((400, 3)).T) == 0
    for count in (0, 1):
        assert equal_rows(*table[:count].T) == 0
    # Equal sums are not equal rows.
    assert equal_rows(np.array([1.0, 2.0]), np.array([np.sqrt(2), 0.0])) == 0


def test_few_names_are_remembered() -> None:
    few = Few()
    for number in range(10_500):
        few.add(f"{number:05d}")
        few.add("00000")
    assert few.count == "more than 10000"
    assert str(few).startswith("00000, 00001")
    assert str(few).endswith("00007 and 9992 more")


JSON_FILES = {
    "list": [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}],
    "coco": {"images": [], "annotations": [], "categories": []},
    "labelme": {"version": "5", "shapes": [], "imagePath": "a.jpg"},
    "createml": [{"image": "a.jpg", "annotations": []}],
    "tasks": [{"data": {"image": "a.jpg"}, "annotations": []}],
    "geojson": {"type": "FeatureCollection", "features": []},
    "lines": {"file_name": "a.jpg", "label": 1},
    "ours": {"format": "whatwhere", "schema_version": 2},
}


@pytest.mark.parametrize("kind", JSON_FILES)
def test_only_some_formats_look_at_a_json_file(tmp_path: Path, kind: str) -> None:
    """The others are not imported to recognise one; so they must have nothing to say."""
    looked = {
        import_module(f"{formats_package.__name__}.{name}").NAME
        for name in formats_package._READ_JSON
    }
    for name in (f"{kind}.json", "metadata.json", "labels.json", "instances_val.json"):
        file = tmp_path / name
        file.write_text(json.dumps(JSON_FILES[kind]))
        for format in formats().values():
            if format.NAME not in looked:
                assert not format.recognise(file), format.NAME
