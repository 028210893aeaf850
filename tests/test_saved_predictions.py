"""Scoring files of predictions: our JSON lines, and COCO results bit for bit."""

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import whatwhere as ww
from whatwhere.errors import DataError, UsageError

Lines = Callable[..., Path]


@pytest.fixture
def data(tmp_path: Path) -> ww.Dataset:
    paths = [str(tmp_path / "a" / "1.jpg"), str(tmp_path / "b" / "1.jpg"), str(tmp_path / "2.jpg")]
    boxes = {"x1": [0, 5, 10], "y1": [0, 5, 10], "x2": [40, 45, 50], "y2": [40, 45, 50]}
    labels = {"image": [0, 1, 2], "class_id": [0, 1, 0], **boxes}
    return ww.Dataset({"path": paths}, labels, ["cat", "dog"], task="detect", source="animals")


def line(image: str, *objects: tuple[str, float, list[float]], **more: Any) -> dict[str, Any]:
    rows = [{"name": name, "score": score, "box": box} for name, score, box in objects]
    return {"image": image, "width": 64, "height": 64, "labels": [], "objects": rows, **more}


@pytest.fixture
def write(tmp_path: Path) -> Lines:
    def to_file(*records: Any) -> Path:
        file = tmp_path / "answers.jsonl"
        texts = [record if isinstance(record, str) else json.dumps(record) for record in records]
        file.write_text("\n".join(texts), encoding="utf-8")
        return file

    return to_file


RIGHT = (
    line("a/1.jpg", ("cat", 0.9, [0, 0, 40, 40])),
    line("b/1.jpg", ("dog", 0.02, [5, 5, 45, 45])),
    line("2.jpg", ("cat", 0.7, [10, 10, 50, 50])),
)


def test_lines_are_matched_by_the_end_of_the_path(data: ww.Dataset, write: Lines) -> None:
    result = ww.evaluate_predictions(write(*RIGHT), data)
    assert result["AP"] == pytest.approx(1)
    assert result.notes == ()
    assert (result.task, result.images, result.model) == ("detect", 3, None)


def test_the_order_of_lines_and_of_objects_does_not_matter(data: ww.Dataset, write: Lines) -> None:
    wrong = ("cat", 0.1, [30.0, 30, 60, 60])
    best_last = line("2.jpg", wrong, ("cat", 0.7, [10, 10, 50, 50]))
    result = ww.evaluate_predictions(write("", best_last, RIGHT[1], RIGHT[0]), data)
    assert result["AP"] == pytest.approx(1)
    assert result.predictions[2].object_scores.tolist() == pytest.approx([0.7, 0.1])


def test_windows_paths_and_a_byte_order_mark(data: ww.Dataset, tmp_path: Path) -> None:
    records = [
        dict(record, image="C:\\set\\" + record["image"].replace("/", "\\")) for record in RIGHT
    ]
    file = tmp_path / "windows.jsonl"
    file.write_text("\n".join(map(json.dumps, records)), encoding="utf-8-sig")
    assert ww.evaluate_predictions(file, data)["AP"] == pytest.approx(1)


def test_a_name_that_fits_two_pictures_is_refused(data: ww.Dataset, write: Lines) -> None:
    with pytest.raises(DataError, match=r"answers.jsonl:2: 1.jpg can be 2 pictures"):
        ww.evaluate_predictions(write(RIGHT[2], line("1.jpg")), data)


def test_pictures_on_one_side_only_are_said(data: ww.Dataset, write: Lines) -> None:
    result = ww.evaluate_predictions(write(RIGHT[0], RIGHT[1], line("zoo.jpg")), data)
    text = "\n".join(result.notes)
    assert "1 pictures of" in text
    assert "are not in the data and are left out: zoo.jpg" in text
    assert "1 of 3 pictures have no line" in text
    assert result.per_class["cat"]["AP50"] == pytest.approx(0.505, abs=0.001)


def test_no_common_picture_is_refused(data: ww.Dataset, write: Lines) -> None:
    with pytest.raises(UsageError, match=r"no picture of .* belongs to animals"):
        ww.evaluate_predictions(write(line("zoo.jpg")), data)


def test_pictures_that_could_not_be_read_count_as_missed(data: ww.Dataset, write: Lines) -> None:
    broken = {"image": "2.jpg", "error": "2.jpg is empty"}
    result = ww.evaluate_predictions(write(RIGHT[0], RIGHT[1], broken), data)
    assert result.unreadable == ("2.jpg",)
    assert any("could not be read when" in note for note in result.notes)
    assert result["AP"] is not None
    assert result["AP"] < 1


def test_unknown_classes_inverted_boxes_and_thresholds_are_said(
    data: ww.Dataset, write: Lines
) -> None:
    odd = line("2.jpg", ("cat", 0.7, [50, 50, 10, 10]), ("yak", 0.5, [0, 0, 9, 9]))
    notes = "\n".join(ww.evaluate_predictions(write(RIGHT[0], odd), data).notes)
    assert "1 boxes have no width or height, or are inverted" in notes
    assert "1 classes of the predictions are unknown to the data" in notes
    assert "yak" in notes
    assert "no score is below 0.5: predictions look cut off by a threshold" in notes


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("{", r":2 is not a JSON object"),
        ("[1]", r":2 has no 'image'"),
        ({"objects": []}, r":2 has no 'image'"),
        (
            line("2.jpg", ("cat", float("nan"), [0, 0, 1, 1])),
            r":2: entry 1 \(cat\) has the score nan",
        ),
        (line("2.jpg", ("cat", "high", [0, 0, 1, 1])), r"has the score 'high'"),  # type: ignore[arg-type]
        (line("2.jpg", ("cat", True, [0, 0, 1, 1])), r"has the score True"),
        (line("2.jpg", ("cat", 0.5, [0, 0, 1])), r":2: object 1 has no 'box' of four"),
        (line("2.jpg", ("cat", 0.5, [0, 0, 1, float("inf")])), r"object 1 has no 'box'"),
        ({"image": "2.jpg", "objects": [{"score": 1}]}, r"entry 1 of 'objects' has no 'name'"),
        ({"image": "2.jpg", "objects": 7}, r"'objects' is not a list"),
        (line("a/1.jpg"), r":2 is a second answer for a/1.jpg"),
    ],
)
def test_damaged_lines_are_named(data: ww.Dataset, write: Lines, record: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ww.evaluate_predictions(write(RIGHT[0], record), data)


def test_files_that_are_none(data: ww.Dataset, tmp_path: Path, write: Lines) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        ww.evaluate_predictions(tmp_path / "none.jsonl", data)
    with pytest.raises(DataError, match="is empty"):
        ww.evaluate_predictions(write(""), data)
    picture = tmp_path / "picture.jpg"
    picture.write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF")
    with pytest.raises(DataError, match="is not a text file"):
        ww.evaluate_predictions(picture, data)


def test_labels_of_whole_pictures(tmp_path: Path, write: Lines) -> None:
    paths = [str(tmp_path / f"{row}.jpg") for row in range(3)]
    labels = {"image": [0, 1, 2], "class_id": [0, 1, 1]}
    data = ww.Dataset({"path": paths}, labels, ["cat", "dog"], task="classify")
    said = [("cat", 0.9), ("dog", 0.8), ("cat", 0.6)]
    records = [
        {"image": f"{row}.jpg", "labels": [{"name": name, "score": score}]}
        for row, (name, score) in enumerate(said)
    ]
    assert ww.evaluate_predictions(write(*records), data)["accuracy"] == pytest.approx(2 / 3)
    result = ww.evaluate_predictions(write(*records), data.as_multilabel())
    assert result.task == "multilabel"


def test_what_a_model_answers_scores_the_same_from_its_lines(
    data: ww.Dataset, write: Lines
) -> None:
    rng = np.random.default_rng(0)
    records = []
    for path in data.paths:
        boxes = np.sort(rng.uniform(0, 64, (20, 2, 2)), axis=1).reshape(-1, 4).round(2)
        near = data.targets(len(records)).boxes[0] + rng.normal(0, 2, (3, 4)).round(2)  # type: ignore[index]
        rows = np.concatenate([boxes, near])
        names = [str(name) for name in rng.choice(["cat", "dog"], len(rows))]
        scores = np.linspace(0.001, 1, len(rows))[rng.permutation(len(rows))]
        objects = zip(names, scores.round(6).tolist(), rows.tolist(), strict=True)
        records.append(line(path, *objects))
    result = ww.evaluate_predictions(write(*records), data)
    from whatwhere.metrics import score

    again = score("detect", data, result.predictions)
    del again["per_class"]
    assert dict(result) == again
    assert 0 < (result["AP50"] or 0) < 1


# COCO results --------------------------------------------------------------------------


def pycocotools_numbers(truth: Path, results: Path) -> list[float]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        dataset = COCO(str(truth))
        judge = COCOeval(dataset, dataset.loadRes(str(results)), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    numbers: list[float] = judge.stats.tolist()
    return numbers


def ours(result: ww.Result) -> list[float]:
    return [-1.0 if value is None else value for value in result.values()]


def coco_set(seed: int, images: int = 12) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Boxes in decimals that float32 cannot hold, many of them exactly on an IoU threshold."""
    rng = np.random.default_rng(seed)
    annotations, results = [], []
    ids = rng.permutation(5000)[:images].tolist()
    for image_id in ids:
        for _ in range(int(rng.integers(0, 6))):
            x, y = rng.uniform(0, 200, 2).round(1).tolist()
            side = float(rng.choice([10.1, 20.3, 40.7, 120.9]))
            category = int(rng.choice([3, 8, 44]))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": category,
                    "bbox": [x, y, side, side],
                    "area": side * side,
                    "iscrowd": int(rng.random() < 0.1),
                }
            )
            # Part of the box, as tall: the IoU is the share, 0.5, 0.55, … up to rounding.
            share = float(rng.choice([0.5, 0.55, 0.6, 0.7, 0.75, 0.9, 1.0]))
            results.append(
                {
                    "image_id": image_id,
                    "category_id": category,
                    "bbox": [x, y, side * share, side],
                    "score": round(float(rng.random()), 2),
                }
            )
    dataset = {
        "images": [
            {"id": image_id, "file_name": f"{image_id}.jpg", "width": 640, "height": 480}
            for image_id in ids
        ],
        "annotations": annotations,
        "categories": [{"id": number, "name": f"kind {number}"} for number in (44, 3, 8)],
    }
    return dataset, results


def save(folder: Path, dataset: Any, results: Any) -> tuple[Path, Path]:
    truth, answers = folder / "instances_val.json", folder / "results.json"
    truth.write_text(json.dumps(dataset))
    answers.write_text(json.dumps(results))
    return truth, answers


@pytest.mark.parametrize("seed", range(6))
def test_coco_results_equal_pycocotools_to_the_bit(tmp_path: Path, seed: int) -> None:
    truth, answers = save(tmp_path, *coco_set(seed))
    result = ww.evaluate_predictions(answers, truth)
    assert ours(result) == pycocotools_numbers(truth, answers)
    assert list(result.per_class) == ["kind 3", "kind 8", "kind 44"]


def test_golden_numbers(shared: Path) -> None:
    truth = shared / "coco_eval" / "sampled_gts_bbox_area.json"
    answers = shared / "coco_eval" / "instances_val2014_fakebbox100_results.json"
    result = ww.evaluate_predictions(answers, truth)
    assert ours(result) == pycocotools_numbers(truth, answers)
    assert [round(value, 4) for value in ours(result)] == [
        0.5036, 0.6970, 0.5717, 0.5933, 0.5580, 0.4894,
        0.3868, 0.5937, 0.5954, 0.6548, 0.6031, 0.5537,
    ]  # fmt: skip


def test_faulty_truth_is_scored_as_pycocotools_scores_it(tmp_path: Path) -> None:
    dataset, results = coco_set(3)
    rows = dataset["annotations"]
    rows[0]["bbox"][2] = 0.0
    rows[1]["bbox"] = [900.0, 900.0, 10.0, 10.0]
    rows[2]["bbox"][3] = -5.0
    truth, answers = save(tmp_path, dataset, results)
    result = ww.evaluate_predictions(answers, truth)
    assert ours(result) == pycocotools_numbers(truth, answers)
    assert any("findings" in note for note in result.notes)


def test_coco_results_on_some_pictures_of_the_set(tmp_path: Path) -> None:
    dataset, results = coco_set(4)
    truth, answers = save(tmp_path, dataset, results)
    part = ww.read(truth).select(range(0, 12, 2))
    kept = {row["id"] for row in dataset["images"][::2]}
    smaller = dict(dataset, images=dataset["images"][::2])
    for key in ("annotations",):
        smaller[key] = [row for row in dataset[key] if row["image_id"] in kept]
    inner = tmp_path / "inner"
    inner.mkdir()
    expected = pycocotools_numbers(
        *save(inner, smaller, [row for row in results if row["image_id"] in kept])
    )
    result = ww.evaluate_predictions(answers, part)
    assert ours(result) == expected
    assert "pictures that are not in the data" in result.notes[0]
    assert result.images == 6


def test_unknown_ids_inverted_boxes_and_odd_scores_are_said(tmp_path: Path) -> None:
    dataset, results = coco_set(1)
    plain = ours(ww.evaluate_predictions(*reversed(save(tmp_path, dataset, results))))
    image = dataset["images"][0]["id"]
    odd = [
        {"image_id": 9999, "category_id": 3, "bbox": [0, 0, 5, 5], "score": 0.5},
        {"image_id": image, "category_id": 77, "bbox": [0, 0, 5, 5], "score": 0.5},
        {"image_id": image, "category_id": 3, "bbox": [400, 400, -5, 5], "score": -7.5},
    ]
    truth, answers = save(tmp_path, dataset, results + odd)
    result = ww.evaluate_predictions(answers, truth)
    text = "\n".join(result.notes)
    assert "1 boxes belong to 1 pictures that are not in the data" in text
    assert "image_id 9999" in text
    assert "category_id 77" in text
    assert f"(first: record {len(results) + 3})" in text
    assert "scores go from -7.5" in text
    # The last box is a false positive with the lowest score: it lowers nothing.
    assert ours(result) == plain


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": float("nan")}, r"record 2 has the score nan"),
        ({"score": None}, r"record 2 has the score None"),
        ({"bbox": [1, 2, 3]}, r"record 2 has the bbox"),
        ({"bbox": [1, 2, 3, float("inf")]}, r"record 2 has the bbox"),
        ({"image_id": ["a.jpg"]}, r"record 2 has the image_id \['a.jpg'\]"),
        ({"image_id": True}, r"record 2 has the image_id True"),
        ({"image_id": 1.5}, r"record 2 has the image_id 1.5"),
        ({"category_id": None}, r"record 2 has the category_id None"),
    ],
)
def test_damaged_records_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    dataset, results = coco_set(1)
    results[1] = {**results[1], **change}
    truth, answers = save(tmp_path, dataset, results)
    with pytest.raises(DataError, match=message):
        ww.evaluate_predictions(answers, truth)


def test_damaged_files_and_sets_without_ids(tmp_path: Path, data: ww.Dataset) -> None:
    truth, answers = save(tmp_path, *coco_set(1))
    with pytest.raises(UsageError, match=r"no picture of .*results.json belongs to animals"):
        ww.evaluate_predictions(answers, data)
    with pytest.raises(UsageError, match="scored as detect"):
        ww.evaluate_predictions(answers, truth, task="multilabel")
    answers.write_text('[{"image_id": 1},\n oops]')
    with pytest.raises(DataError, match=r"results.json:2 is not JSON"):
        ww.evaluate_predictions(answers, truth)
    answers.write_text("[7]")
    with pytest.raises(DataError, match="record 1 is not an object"):
        ww.evaluate_predictions(answers, truth)
    answers.write_text("[]")
    empty = ww.evaluate_predictions(answers, truth)
    assert empty["AP"] == 0
    assert "the file says nothing about any picture" in empty.notes
