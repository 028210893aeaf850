"""`evaluate --predictions` on bad input: named where it stands, never a traceback or silence."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from command_line import Run, sentence
from saved_forms import (
    CLASSES,
    IDS,
    SIZE,
    WRITERS,
    Found,
    answers,
    as_coco,
    as_csv,
    as_lines,
    as_yolo,
    name_of,
    write_truth,
)

Score = Callable[..., dict[str, Any]]
Fails = Callable[..., None]
FORMS = ("lines", "coco", "yolo", "csv", "voc")


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    return write_truth(tmp_path)


@pytest.fixture
def found(truth: Path) -> list[Found]:
    return answers(truth)


@pytest.fixture
def score(run: Run, truth: Path) -> Score:
    def scored(file: Path) -> dict[str, Any]:
        outcome = run("evaluate", "--predictions", file, "--data", truth, "--json", "--quick")
        assert outcome.status == 0, outcome.err
        (row,) = outcome.rows
        return row

    return scored


@pytest.fixture
def fails(run: Run, truth: Path) -> Fails:
    def failing(file: Path, *words: str) -> None:
        sentence(run("evaluate", "--predictions", file, "--data", truth, "--quick"), *words)

    return failing


def boxes_only(found: Sequence[Found], change: Callable[[tuple[float, ...]], Any]) -> list[Found]:
    return [one._replace(box=tuple(change(one.box))) for one in found]


@pytest.mark.parametrize("form", FORMS)
def test_unknown_pictures(
    form: str, tmp_path: Path, found: list[Found], score: Score, fails: Fails
) -> None:
    (tmp_path / "plain").mkdir()
    plain = score(WRITERS[form](tmp_path / "plain", found))
    some = [*found, *(one._replace(image=777) for one in found[:4])]
    (tmp_path / "some").mkdir()
    result = score(WRITERS[form](tmp_path / "some", some))
    assert result["AP"] == plain["AP"]
    (note,) = (note for note in result["notes"] if "not in the data" in note)
    assert note.startswith(("1 pictures of", "4 boxes belong to 1 pictures"))
    assert "777" in note
    (tmp_path / "all").mkdir()
    nowhere = WRITERS[form](tmp_path / "all", [one._replace(image=777) for one in found])
    fails(nowhere, "000777" if form == "yolo" else "777", "truth.json")


@pytest.mark.parametrize("form", ["lines", "csv"])
def test_unknown_classes(
    form: str, tmp_path: Path, found: list[Found], score: Score, fails: Fails
) -> None:
    plain = score(WRITERS[form](tmp_path, found))
    some = [*found, *(one._replace(name="yak") for one in found[:3])]
    result = score(WRITERS[form](tmp_path, some))
    assert result["AP"] == plain["AP"]
    assert any(
        "1 classes of the predictions are unknown to the data" in note and note.endswith(": yak")
        for note in result["notes"]
    )
    others = {"cat": "chat", "dog": "chien", "red fox": "renard"}
    fails(
        WRITERS[form](tmp_path, [one._replace(name=others[one.name]) for one in found]),
        "no class of",
        "it says chat, chien, renard; the data have cat, dog, red fox",
    )


def test_category_ids_of_another_list(
    tmp_path: Path, found: list[Found], score: Score, fails: Fails
) -> None:
    """Equal names, other numbers: as a whole, or in another order."""
    file = as_coco(tmp_path, found)
    records = json.loads(file.read_text())
    places = {number: place for place, number in enumerate(IDS)}
    from_zero = [dict(one, category_id=places[one["category_id"]]) for one in records]
    file.write_text(json.dumps(from_zero))
    fails(file, "its category_id are 0, 1, 2", "those of the data 3 (cat), 7 (dog), 20 (red fox)")
    turned = {IDS[place]: IDS[place - 1] for place in range(3)}
    file.write_text(
        json.dumps([dict(one, category_id=turned[one["category_id"]]) for one in records])
    )
    note = score(file)["notes"][0]
    assert "numbers of classes" in note
    assert "look like those of another list: 3 (cat) lies on 7 (dog)" in note


def test_yolo_numbers_in_another_order(tmp_path: Path, found: list[Found], score: Score) -> None:
    turned = dict(zip(CLASSES, (*CLASSES[1:], CLASSES[0]), strict=True))
    result = score(as_yolo(tmp_path, [one._replace(name=turned[one.name]) for one in found]))
    assert "1 (dog) lies on 0 (cat)" in result["notes"][0]


@pytest.mark.parametrize("form", FORMS)
def test_equal_rows_count_twice_and_are_said(
    form: str, tmp_path: Path, found: list[Found], score: Score
) -> None:
    result = score(WRITERS[form](tmp_path, [*found, *found[:5]]))
    assert any("5 boxes are there twice" in note for note in result["notes"])
    (tmp_path / "plain").mkdir()
    assert result["AP"] < score(WRITERS[form](tmp_path / "plain", found))["AP"]


def test_the_same_picture_in_two_lines(tmp_path: Path, found: list[Found], fails: Fails) -> None:
    file = as_lines(tmp_path, found)
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines, lines[2]]))
    fails(file, f"answers.jsonl:{len(lines) + 1} is a second answer for {name_of(2)}")
    folder = as_yolo(tmp_path, found) / "labels"
    (folder / "000002.jpg.txt").write_text((folder / "000002.txt").read_text())
    fails(folder, "000002.txt is a second answer for 000002")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_scores_that_are_no_numbers(
    form: str, value: float, tmp_path: Path, found: list[Found], fails: Fails
) -> None:
    broken = [one._replace(score=value) if place == 3 else one for place, one in enumerate(found)]
    place = {"coco": "record 4", "csv": ":5", "lines": ":", "yolo": ".txt:", "voc": ".txt:"}[form]
    fails(WRITERS[form](tmp_path, broken), place, str(value).lower()[-3:])


@pytest.mark.parametrize("form", FORMS)
def test_inverted_boxes_and_boxes_outside(
    form: str, tmp_path: Path, found: list[Found], score: Score
) -> None:
    flipped = found[0]._replace(box=(90, 80, 20, 10), score=0.001)
    far = found[1]._replace(box=(500, 20, 560, 90), score=0.001)
    result = score(WRITERS[form](tmp_path, [*found, flipped, far]))
    text = "\n".join(result["notes"])
    assert "1 boxes have no width or height, or are inverted (first: " in text
    assert "1 boxes lie outside of their pictures (first: " in text


@pytest.mark.parametrize("form", ["lines", "coco", "csv"])
def test_predictions_that_say_nothing(form: str, tmp_path: Path, score: Score) -> None:
    file = tmp_path / "nothing"
    texts = {
        "lines": "\n".join(
            json.dumps({"image": name_of(image), "objects": []}) for image in range(12)
        ),
        "coco": "[]",
        "csv": "image,label,score,x1,y1,x2,y2\n",
    }
    file.write_text(texts[form])
    result = score(file)
    assert (result["AP"], result["AR100"]) == (0, 0)
    assert "the file says nothing about any picture" in result["notes"]


def test_an_empty_file(tmp_path: Path, fails: Fails) -> None:
    file = tmp_path / "nothing.csv"
    file.write_text(" \n")
    fails(file, "nothing.csv is empty")


@pytest.mark.parametrize("form", FORMS)
def test_data_without_labels(form: str, tmp_path: Path, found: list[Found], run: Run) -> None:
    file = WRITERS[form](tmp_path, found)
    empty = write_truth(tmp_path, empty=True)
    outcome = run("evaluate", "--predictions", file, "--data", empty)
    sentence(outcome, "truth.json has no label to compare with")


@pytest.mark.parametrize("form", FORMS)
def test_a_class_without_positives_is_undefined(
    form: str, tmp_path: Path, truth: Path, found: list[Found], run: Run
) -> None:
    dataset = json.loads(truth.read_text())
    dataset["annotations"] = [row for row in dataset["annotations"] if row["category_id"] != 20]
    truth.write_text(json.dumps(dataset))
    file = WRITERS[form](tmp_path, found)
    outcome = run(
        *("evaluate", "--predictions", file, "--data", truth, "--json", "--samples", "20")
    )
    assert outcome.status == 0, outcome.err
    (row,) = outcome.rows
    assert row["per_class"]["red fox"]["AP"] is None
    two = [row["per_class"][name]["AP"] for name in ("cat", "dog")]
    assert row["AP"] == pytest.approx(np.mean(two))
    assert any("no label counts of red fox: undefined" in note for note in row["notes"])


def _fractions(box: Sequence[float]) -> tuple[float, ...]:
    return tuple(value / side for value, side in zip(box, SIZE * 2, strict=True))


def _sides(box: Sequence[float]) -> tuple[float, ...]:
    return (box[0], box[1], box[2] - box[0], box[3] - box[1])


def _middle(box: Sequence[float]) -> tuple[float, ...]:
    x, y, width, height = _sides(box)
    return (x + width / 2, y + height / 2, width, height)


@pytest.mark.parametrize(
    ("form", "change", "words"),
    [
        ("lines", _fractions, "x1, y1, x2, y2 in fractions of the picture"),
        ("lines", _sides, "left, top, width, height in pixels"),
        ("lines", _middle, "centre x, centre y, width, height in pixels"),
        ("csv", _fractions, "x1, y1, x2, y2 in fractions of the picture"),
        ("csv", lambda box: _fractions(_middle(box)), "centre x, centre y, width, height in frac"),
        ("csv", _sides, "left, top, width, height in pixels"),
        (
            "csv",
            lambda box: [1000 * one for one in _fractions(box)],
            "x1, y1, x2, y2 in thousandths of the picture",
        ),
        ("csv", lambda box: (box[1], box[0], box[3], box[2]), "y1, x1, y2, x2 in pixels"),
        ("voc", _sides, "left, top, width, height in pixels"),
    ],
)
def test_boxes_in_other_units_are_named(
    form: str,
    change: Callable[[Sequence[float]], Any],
    words: str,
    tmp_path: Path,
    found: list[Found],
    score: Score,
) -> None:
    note = score(WRITERS[form](tmp_path, boxes_only(found, change)))["notes"][0]
    assert f"look like {words}" in note
    assert ", but were read as x1, y1, x2, y2 in pixels" in note


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda box: box, "x1, y1, x2, y2 in pixels"),
        (lambda box: _fractions(_sides(box)), "left, top, width, height in fractions"),
        (_fractions, "x1, y1, x2, y2 in fractions of the picture"),
    ],
)
def test_boxes_in_other_units_in_coco_results(
    change: Any, words: str, tmp_path: Path, found: list[Found], score: Score
) -> None:
    file = as_coco(tmp_path, found)
    records = json.loads(file.read_text())
    for record, one in zip(records, found, strict=True):
        record["bbox"] = list(change(one.box))
    file.write_text(json.dumps(records))
    note = score(file)["notes"][0]
    assert f"look like {words}" in note
    assert "but were read as left, top, width, height in pixels" in note


def test_pixels_in_yolos_files_are_named(tmp_path: Path, found: list[Found], score: Score) -> None:
    large = boxes_only(
        found, lambda box: [one * side for one, side in zip(box, SIZE * 2, strict=True)]
    )
    note = score(as_yolo(tmp_path, large))["notes"][0]
    assert "look like centre x, centre y, width, height in pixels" in note
    assert "read as centre x, centre y, width, height in fractions" in note


def test_small_boxes_that_lie_nowhere_are_named_by_their_range(
    tmp_path: Path, found: list[Found], score: Score
) -> None:
    rng = np.random.default_rng(0)
    lost = boxes_only(found, lambda box: np.sort(rng.uniform(0, 0.05, (2, 2)), 0).ravel().tolist())
    note = score(as_csv(tmp_path, lost))["notes"][0]
    assert "look like fractions of the picture" in note
    assert "none of the" in note


def test_a_poor_detector_is_not_taken_for_other_units(
    tmp_path: Path, found: list[Found], score: Score
) -> None:
    rng = np.random.default_rng(1)

    def anywhere(_: Any) -> list[float]:
        x, y = rng.uniform(0, 150), rng.uniform(0, 60)
        return [x, y, x + rng.uniform(10, 50), y + rng.uniform(10, 40)]

    result = score(as_csv(tmp_path, boxes_only(found, anywhere)))
    assert not any("look like" in note for note in result["notes"])
    # One class for everything is a poor answer, not another list.
    result = score(as_yolo(tmp_path, [one._replace(name="cat") for one in found]))
    assert not any("look like" in note for note in result["notes"])
