"""The HTML report: whole, safe, self-contained, and what it shows."""

import re
from pathlib import Path

import numpy as np
import pytest

import whatwhere as ww
from report_pages import EVIL, Reader, example, parse
from whatwhere.errors import DataError, WhatwhereError
from whatwhere.evaluation import Result
from whatwhere.images import write_image
from whatwhere.metrics import METRICS, score
from whatwhere.metrics.mistakes import mistakes
from whatwhere.outputs.charts import confusion_table, line_chart
from whatwhere.outputs.examples import choose
from whatwhere.outputs.report import number, read_columns, write_report
from whatwhere.types import TASKS, Prediction, Task


@pytest.mark.parametrize("task", TASKS)
def test_a_report_is_one_sound_file_with_all_its_parts(tmp_path: Path, task: Task) -> None:
    result = example(tmp_path, task)
    path = write_report(result, tmp_path / "report.html")
    page = parse(path)
    for metric in METRICS[task]:
        assert metric.definition in page.text
        assert number(result[metric.name]) in page.text
    for word in ("cat", "dog", "a note about cat", "set cat", "split test", "Examples", "Settings"):
        assert word in page.text
    assert page.tags.count("img") == (8 if task == "detect" else 4)
    assert ("svg" in page.tags) == (task != "classify")
    assert "prefers-color-scheme: dark" in path.read_text("utf-8")
    assert [file.name for file in tmp_path.iterdir() if file.suffix == ".html"] == ["report.html"]


@pytest.mark.parametrize("task", TASKS)
def test_names_cannot_run_code(tmp_path: Path, task: Task) -> None:
    result = example(tmp_path, task, (EVIL, f"{EVIL} b"))
    table = tmp_path / "metrics.csv"
    table.write_text(f"epoch,{EVIL.replace(',', '')} loss\n1,0.5\n2,0.25\n")
    path = write_report(result, tmp_path / "r.html", training=table, settings={EVIL: EVIL})
    page = parse(path)
    assert "alert('x')" in page.text
    assert "<script" not in path.read_text("utf-8")


def test_nothing_is_loaded_even_if_a_name_slipped_through(tmp_path: Path) -> None:
    text = write_report(example(tmp_path, "classify"), tmp_path / "r.html").read_text("utf-8")
    assert "default-src 'none'" in text
    assert not re.search(r"""(src|href|url)\s*[=(]\s*["']?(https?:)?//""", text)


def test_training_curves_are_those_of_the_table(tmp_path: Path) -> None:
    table = tmp_path / "metrics.csv"
    table.write_text("epoch,step,train_loss,lr,AP,seconds\n1,10,2.5,0.1,,9\n2,20,1.5,0.1,0.4,18\n")
    result = example(tmp_path, "detect")
    page = parse(write_report(result, tmp_path / "r.html", training=table))
    assert "Training" in page.text
    assert "train_loss" in page.text
    assert "seconds" not in page.text
    columns = read_columns(table)
    assert columns["train_loss"] == [2.5, 1.5]
    assert np.isnan(columns["AP"][0])


@pytest.mark.parametrize("text", ["epoch,loss\n1,high\n", "epoch,loss\n1,0.5\n2,\x00\n"])
def test_a_table_that_is_none_is_named_with_its_line(tmp_path: Path, text: str) -> None:
    table = tmp_path / "metrics.csv"
    table.write_text(text)
    with pytest.raises(DataError, match=r"metrics.csv:\d has .* in the column loss"):
        write_report(example(tmp_path, "detect"), tmp_path / "r.html", training=table)
    assert not (tmp_path / "r.html").exists()
    with pytest.raises(DataError, match="cannot be read"):
        read_columns(tmp_path / "none.csv")


def test_examples_can_be_left_out_and_unreadable_ones_are_skipped(tmp_path: Path) -> None:
    result = example(tmp_path, "classify")
    assert "img" not in parse(write_report(result, tmp_path / "r.html", examples=0)).tags
    (tmp_path / "0.png").unlink()
    page = parse(write_report(result, tmp_path / "r.html", examples=12))
    assert page.tags.count("img") == 3


def test_many_classes_list_the_most_frequent_confusions(tmp_path: Path) -> None:
    count = 30
    names = [f"kind {place}" for place in range(count)]
    data = ww.Dataset(
        {"path": [f"/nowhere/{row}.jpg" for row in range(count)]},
        {"image": range(count), "class_id": range(count)},
        names,
        task="classify",
        source="kinds",
    )
    said = ["kind 1", *names[1:]]
    predictions = [
        Prediction(9, 9, label_names=(name,), label_scores=np.ones(1, np.float32)) for name in said
    ]
    numbers = score("classify", data, predictions, curves=True)
    per_class, matrix = numbers.pop("per_class"), numbers.pop("confusion")
    result = Result("classify", count, numbers, per_class, confusion=matrix, source="kinds")
    page = parse(write_report(result, tmp_path / "r.html"))
    assert "Most frequent confusions" in page.text
    assert "kind 0 kind 1 1 100.0 %" in page.text


def test_undefined_numbers_are_a_dash(tmp_path: Path) -> None:
    assert number(None) == "–"
    assert (number(3), number(0.5), number(12345)) == ("3", "0.5000", "12,345")
    result = example(tmp_path, "detect")
    assert result["APl"] is None
    assert "–" in parse(write_report(result, tmp_path / "r.html")).text


def test_folders_are_made_and_a_place_that_is_none_is_refused(tmp_path: Path) -> None:
    result = example(tmp_path, "detect")
    assert write_report(result, tmp_path / "new" / "r.html").is_file()
    with pytest.raises((WhatwhereError, OSError)):
        write_report(result, tmp_path / "0.png" / "r.html")


def test_examples_are_the_worst_and_an_even_spread() -> None:
    wrong = [0, 0, 5, 0, 1, 0, 0, 9, 0, 0]
    chosen = choose(wrong, 4)
    assert chosen[:2] == [7, 2]
    assert chosen[2:] == [0, 9]
    assert choose([1] * 100, 4)[:2] == [0, 99]
    assert sorted(choose([0, 1, 0], 12)) == [0, 1, 2]
    assert choose([], 12) == []
    assert choose([0, 3], 1) in ([0], [1])


def test_mistakes_count_misses_and_false_answers() -> None:
    boxes = {"x1": [0, 50, 0], "y1": [0, 50, 80], "x2": [20, 90, 20], "y2": [20, 90, 99]}
    labels = {"image": [0] * 3, "class_id": [0, 1, 0], "ignore": [False, False, True], **boxes}
    data = ww.Dataset({"path": ["/nowhere/0.jpg"]}, labels, ["cat", "dog"], task="detect")
    truth, names = data.targets(0), data.names

    def said(*rows: tuple[str, float, tuple[float, ...]]) -> Prediction:
        return Prediction(
            100,
            100,
            object_names=tuple(row[0] for row in rows),
            object_scores=np.array([row[1] for row in rows], np.float32),
            boxes=np.array([row[2] for row in rows], np.float32).reshape(-1, 4),
        )

    def count(*rows: tuple[str, float, tuple[float, ...]], task: Task = "detect") -> int:
        return mistakes(task, truth, said(*rows), names, 0.3)

    cat, dog = ("cat", 0.9, (0, 0, 20, 20)), ("dog", 0.8, (50, 50, 90, 90))
    assert count(cat, dog) == 0
    assert count() == count(("cat", 0.1, (0, 0, 20, 20))) == 2
    assert count(cat, dog, ("cat", 0.5, (0, 80, 20, 99))) == 0  # the ignored one
    assert count(cat, dog, cat) == 1  # found twice
    assert count(cat, ("cat", 0.8, (50, 50, 90, 90))) == 2  # wrong class
    assert count(cat, dog, ("yak", 0.9, (0, 0, 9, 9))) == 0  # not scored at all
    assert count(cat, task="multilabel") == 1
    assert count(cat, dog, task="multilabel") == 0


def test_charts_label_their_axes_and_take_any_values() -> None:
    chart = line_chart({"a<b": [(0.0, 3.39), (39.0, 0.4)]}, x="epoch", y="loss")
    assert "a&lt;b" in chart
    ticks = re.findall(r'class="tick mid">([^<]+)<', chart)
    assert ticks == ["0", "10", "20", "30", "40"]
    assert line_chart({}, x="x", y="y") == ""
    assert "polyline" in line_chart({"flat": [(1.0, 2.0)]}, x="x", y="y")
    assert "no answer" not in confusion_table([[1, 0]], ["a"])
    assert "no answer" in confusion_table([[1, 2]], ["a"])


def test_sheets_are_inside_the_report(tmp_path: Path) -> None:
    """The file must open anywhere, and stay small: sheets are shrunk JPEGs."""
    noise = np.random.default_rng(0).integers(0, 255, (1500, 1400, 3), np.uint8)
    sheet = tmp_path / "samples-<mixed>.png"
    write_image(sheet, noise)
    result = example(tmp_path, "classify")
    plain = write_report(result, tmp_path / "a.html", examples=0)
    shown = write_report(result, tmp_path / "b.html", examples=0, sheets=[sheet])
    text = shown.read_text("utf-8")
    Reader().feed(text)
    assert "Pictures of the training" in text
    assert 'src="data:image/jpeg;base64,' in text
    assert "samples-&lt;mixed&gt;.png" in text
    assert "<mixed>" not in text
    assert 1000 < len(text) - plain.stat().st_size < sheet.stat().st_size / 2
