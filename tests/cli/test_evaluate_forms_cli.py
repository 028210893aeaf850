"""`evaluate --predictions` and `compare`: predictions of other tools, in each form."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from command_line import Run, sentence
from saved_forms import (
    CLASSES,
    WRITERS,
    Found,
    answers,
    as_coco,
    as_csv,
    as_lines,
    as_voc,
    as_yolo,
    name_of,
    write_truth,
)

Score = Callable[..., dict[str, Any]]


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    return write_truth(tmp_path)


@pytest.fixture
def score(run: Run, truth: Path) -> Score:
    """What the command says about predictions, as an object."""

    def scored(file: Path, *more: object, data: Path | None = None) -> dict[str, Any]:
        outcome = run(
            *("evaluate", "--predictions", file, "--data", data or truth, "--json", "--quick"),
            *more,
        )
        assert outcome.status == 0, outcome.err
        (row,) = outcome.rows
        return row

    return scored


@pytest.fixture
def fails(run: Run, truth: Path) -> Callable[..., None]:
    def failing(file: Path, *words: str, more: tuple[object, ...] = ()) -> None:
        sentence(run("evaluate", "--predictions", file, "--data", truth, "--quick", *more), *words)

    return failing


@pytest.mark.parametrize("form", WRITERS)
def test_every_form_gives_the_same_numbers(
    form: str, tmp_path: Path, truth: Path, score: Score
) -> None:
    found = answers(truth)
    expected = score(as_coco(tmp_path, found))
    assert 0.2 < expected["AP"] < 0.95
    file = WRITERS[form](tmp_path, found)
    result = score(file)
    for name in ("AP", "AP50", "AP75", "AR1", "AR100"):
        assert result[name] == pytest.approx(expected[name], abs=1e-4), name
    assert result["images"] == 12
    # The one note is about the pictures, which are not there.
    assert result["notes"] == expected["notes"]
    assert len(result["notes"]) == 1
    again = score(file, "--predictions-format", form.partition(" ")[0])
    assert again["AP"] == result["AP"]


def test_the_form_can_be_forced_and_is_checked(
    run: Run, tmp_path: Path, truth: Path, fails: Callable[..., None]
) -> None:
    found = answers(truth)
    yolo, csv = as_yolo(tmp_path, found), as_csv(tmp_path, found)
    fails(yolo, "is a folder", more=("--predictions-format", "csv"))
    fails(csv, "boxes.csv:1 is not a JSON object", more=("--predictions-format", "lines"))
    fails(csv, "use one of lines, coco, yolo, csv, voc", more=("--predictions-format", "excel"))
    sentence(
        run("evaluate", "model.onnx", truth, "--predictions-format", "csv"), "--predictions-format"
    )


def test_compare_reads_every_form(run: Run, tmp_path: Path, truth: Path) -> None:
    found = answers(truth)
    worse = [one for place, one in enumerate(found) if place % 3]
    (tmp_path / "b").mkdir()
    for one, two in (
        (as_yolo(tmp_path, found), as_csv(tmp_path / "b", worse)),
        (as_voc(tmp_path, found), as_lines(tmp_path, worse)),
    ):
        outcome = run("compare", one, two, truth, "--json", "--samples", "20")
        assert outcome.status == 0, outcome.err
        assert outcome.rows[0]["differences"]["AP"]["difference"] < -0.05


def test_string_ids_of_pictures_may_be_digits_stems_or_files(
    tmp_path: Path, truth: Path, score: Score
) -> None:
    found = answers(truth)
    expected = score(as_coco(tmp_path, found))["AP"]
    for place, spelling in enumerate(
        (str, lambda one: name_of(one), lambda one: name_of(one)[:-4])
    ):
        records = json.loads(as_coco(tmp_path, found).read_text())
        for record in records:
            record["image_id"] = spelling(record["image_id"])
        file = tmp_path / f"ids{place}.json"
        file.write_text(json.dumps(records))
        assert score(file)["AP"] == expected
    records[0]["image_id"] = "nobody"
    file.write_text(json.dumps(records))
    assert "1 pictures that are not in the data" in score(file)["notes"][0]
    assert "image_id nobody" in score(file)["notes"][0]


def test_coco_results_on_other_data(tmp_path: Path, run: Run, truth: Path, score: Score) -> None:
    """Ids are then names of pictures, and classes places in the list, as Ultralytics has it."""
    found = answers(truth)
    expected = score(as_coco(tmp_path, found))["AP50"]
    dataset = json.loads(truth.read_text())
    rows = ["image,label,x1,y1,x2,y2,width,height"]
    for row in dataset["annotations"]:
        x, y, width, height = row["bbox"]
        name = next(one["name"] for one in dataset["categories"] if one["id"] == row["category_id"])
        cells = [name_of(row["image_id"]), name, x, y, x + width, y + height, 200, 100]
        rows.append(",".join(map(str, cells)))
    table = tmp_path / "table"
    table.mkdir()
    (table / "labels.csv").write_text("\n".join(rows))
    records = json.loads(as_coco(tmp_path, found).read_text())
    for record in records:
        record["category_id"] = {3: 0, 7: 1, 20: 2}[record["category_id"]]
    file = tmp_path / "other.json"
    file.write_text(json.dumps(records))
    import numpy as np

    from whatwhere.images import write_image

    for image in range(12):
        write_image(table / name_of(image), np.zeros((100, 200, 3), np.uint8))
    result = score(file, data=table)
    assert result["AP50"] == pytest.approx(expected, abs=1e-4)
    assert "taken for places in the data's list of classes: 0 for cat" in result["notes"][0]


def test_classes_of_a_list_beside_yolos_files(tmp_path: Path, truth: Path, score: Score) -> None:
    found = answers(truth)
    expected = score(as_coco(tmp_path, found))["AP"]
    folder = as_yolo(tmp_path, found)
    (folder / "labels" / "classes.txt").write_text("dog\nzebra\ncat\nred fox\n")
    number = {"0": "2", "1": "0", "2": "3"}
    for file in (folder / "labels").glob("0*.txt"):
        lines = [line.partition(" ") for line in file.read_text().splitlines()]
        file.write_text("\n".join(f"{number[one]} {rest}" for one, _, rest in lines))
    result = score(folder)
    assert result["AP"] == pytest.approx(expected, abs=1e-4)
    assert any("zebra" in note for note in result["notes"])


def test_voc_files_count_pixels_from_1(tmp_path: Path, score: Score, truth: Path) -> None:
    dataset = json.loads(truth.read_text())
    exact = [
        Found(
            row["image_id"],
            CLASSES[[3, 7, 20].index(row["category_id"])],
            0.02,
            (
                row["bbox"][0],
                row["bbox"][1],
                row["bbox"][0] + row["bbox"][2],
                row["bbox"][1] + row["bbox"][3],
            ),
        )
        for row in dataset["annotations"]
    ]
    assert score(as_voc(tmp_path, exact))["AP"] == pytest.approx(1)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Folders of two classes, three pictures each."""
    import numpy as np

    from whatwhere.images import write_image

    for name in ("cat", "dog"):
        for row in range(3):
            place = tmp_path / "kinds" / name / f"{name}{row}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            write_image(place, np.full((8, 8, 3), 40 * row, np.uint8))
    return tmp_path / "kinds"


WIDE = """file,p_cat,p_dog,note
cat0.png,.9,.1,
cat1.png,.4,.6,
cat2.png,.8,.2,x
dog0.png,.3,.7,
dog1.png,.2,.8,
dog2.png,.45,.55,
"""


def test_tables_of_labels_long_and_wide(tmp_path: Path, pictures: Path, score: Score) -> None:
    wide = tmp_path / "wide.csv"
    wide.write_text(WIDE)
    result = score(wide, data=pictures)
    assert result["accuracy"] == pytest.approx(5 / 6)
    assert result["task"] == "classify"
    assert "no class of the data are not read: note" in result["notes"][0]
    long = tmp_path / "long.csv"
    rows = [line.split(",") for line in WIDE.splitlines()[1:]]
    lines = [
        f"{one},{name},{value}"
        for one, *values, _ in rows
        for name, value in zip(("cat", "dog"), values, strict=True)
    ]
    long.write_text("\n".join(["image,prediction,probability", *lines, lines[0]]))
    again = score(long, data=pictures)
    assert again["accuracy"] == result["accuracy"]
    assert again["notes"] == ["1 labels are there twice, with the same score; they count once"]
    devkit = tmp_path / "devkit"
    devkit.mkdir()
    for place, name in ((1, "cat"), (2, "dog")):
        text = "\n".join(f"{row[0][:-4]} {row[place]}" for row in rows)
        (devkit / f"comp2_cls_test_{name}.txt").write_text(text)
    assert score(devkit, data=pictures)["accuracy"] == result["accuracy"]


def test_two_scores_of_one_label_are_refused(tmp_path: Path, pictures: Path, run: Run) -> None:
    file = tmp_path / "long.csv"
    file.write_text("image,label,score\ncat0.png,cat,.9\ndog0.png,dog,.9\ncat0.png,cat,.8\n")
    outcome = run("evaluate", "--predictions", file, "--data", pictures)
    sentence(outcome, "two scores, 0.9 and 0.8, of cat in", "cat0.png")
    file.write_text("image,cat,dog\ncat0.png,.9,.1\ncat0.png,.9,.1\n")
    outcome = run("evaluate", "--predictions", file, "--data", pictures)
    sentence(outcome, "long.csv:3 is a second answer for cat0.png")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image,label,x1,y1,x2,y2\n", (":1 names no column 'score'",)),
        ("picture,colour,score\n1,2,3\n", ("gone.csv:1 is not the header",)),
        ("{image},cat,high,1,2,3,4", (":2 has 'high': give a finite number",)),
        ("{image},cat,nan,1,2,3,4", (":2 has 'nan'",)),
        ("{image},cat,inf,1,2,3,4", (":2 has 'inf'",)),
        ("{image},cat,.5,1,2,3,", (":2 has ''",)),
        ("{image},cat,.5,1,2,3", (":2 has 6 cells",)),
        (",cat,.5,1,2,3,4", (":2 names no picture",)),
        ("{image},,.5,1,2,3,4", (":2 names no class",)),
        ("zoo.jpg,cat,.5,1,2,3,4", ("no picture of", "the first is zoo.jpg")),
        ("{image},yak,.5,1,2,3,4", ("no class of", "it says yak", "cat, dog, red fox")),
    ],
)
def test_faults_of_tables_are_named(
    text: str, words: tuple[str, ...], tmp_path: Path, fails: Callable[..., None]
) -> None:
    file = tmp_path / "gone.csv"
    head = "" if text.endswith("\n") else "image,label,score,x1,y1,x2,y2\n"
    file.write_text(head + text.format(image=name_of(0)))
    fails(file, *words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 .5 .5 .2 .2", (":1 is '0 .5 .5 .2 .2', which has no confidence", "save_conf=True")),
        ("0 .5 .5 .2 .2 .9\n\n0 .5 .5 .2 .2", (":3 is", "save_conf")),
        ("0 .5 .5 .2 .2 nan", (":1 is", "give finite numbers")),
        ("0.5 .5 .5 .2 .2 .9", (":1 has the class 0.5",)),
        ("-1 .5 .5 .2 .2 .9", (":1 has the class -1",)),
        ("0 .1 .1 .2 .2 .3 .4 .5 .6", (":1 is",)),
        ("7 .5 .5 .2 .2 .9", ("no class of", "it says class 7")),
    ],
)
def test_faults_of_yolo_files_are_named(
    text: str, words: tuple[str, ...], tmp_path: Path, fails: Callable[..., None]
) -> None:
    folder = tmp_path / "labels"
    folder.mkdir()
    (folder / "000001.txt").write_text(text)
    fails(folder, *words)


def test_faults_of_folders_are_named(
    tmp_path: Path, truth: Path, fails: Callable[..., None]
) -> None:
    folder = tmp_path / "answers"
    folder.mkdir()
    fails(folder, "holds no .txt file of predictions")
    (folder / "unknown.txt").write_text("0 .5 .5 .2 .2 .9")
    fails(folder, "is named neither as a picture nor as a class of")
    (folder / "unknown.txt").rename(folder / "comp4_det_test_cat.txt")
    (folder / "comp4_det_test_cat.txt").write_text("000001 .5 1 2 3 4\n000001 .5 1 2 inf 4\n")
    fails(folder, "comp4_det_test_cat.txt:2 is", "picture score x1 y1 x2 y2")
    (folder / "comp4_det_test_cat.txt").write_bytes(b"\xff\xfe\x00")
    fails(folder, "is not a text file")
