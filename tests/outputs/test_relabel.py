"""Relabelling lists: written in three forms, and read back by the readers of these forms."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import whatwhere as ww
from whatwhere.data import Dataset
from whatwhere.errors import UsageError
from whatwhere.images import write_image
from whatwhere.metrics.doubts import label_doubts
from whatwhere.outputs.relabel import relabel_kind, write_relabel
from whatwhere.types import Prediction, Task, as_boxes

NAMES = ["cat", "dog & co"]
CELLS = [(10.0, 10.0, 40.0, 40.0), (60.0, 10.0, 90.0, 40.0), (10.0, 60.0, 40.0, 90.0)]


def result(folder: Path, task: Task, labels: Any, said: list[Prediction], **more: Any) -> Any:
    paths = []
    for row in range(len(said)):
        path = folder / "in" / f"a {row % 2}" / f"{row}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(path, np.full((100, 120, 3), 90, np.uint8))
        paths.append(str(path))
    images = {"path": paths, "split": ["train", "test"] * (len(said) // 2)}
    data = Dataset(images, labels, NAMES, task=task, root=str(folder / "in"), source="in")
    settings = {"threshold": 0.3, "model": "m", "per_class": dict.fromkeys(NAMES)} | more
    return SimpleNamespace(task=task, data=data, predictions=said, source="in", **settings)


@pytest.fixture
def boxes(tmp_path: Path) -> Any:
    """30 pictures of two cats and a dog; one label is forgotten, one has the wrong name."""
    rows = [(image, number == 2, box) for image in range(30) for number, box in enumerate(CELLS)]
    rows[7] = (2, True, CELLS[1])
    del rows[12]
    columns: dict[str, Any] = {"image": [image for image, _, _ in rows]}
    columns["class_id"] = [int(dog) for _, dog, _ in rows]
    columns["record"] = [f"labels.txt:{line}" for line in range(len(rows))]
    columns["attributes"] = [json.dumps({"colour": "red"}) for _ in rows]
    for place, side in enumerate(("x1", "y1", "x2", "y2")):
        columns[side] = [box[place] for _, _, box in rows]
    said = Prediction(
        120,
        100,
        object_names=("cat", "cat", "dog & co"),
        object_scores=np.array([0.9, 0.8, 0.7], np.float32),
        boxes=as_boxes(CELLS),
    )
    return result(tmp_path, "detect", columns, [said] * 30)


@pytest.fixture
def classes(tmp_path: Path) -> Any:
    truth = np.arange(40) % 2
    said = [
        Prediction(
            120,
            100,
            label_names=(NAMES[right], NAMES[1 - right]),
            label_scores=np.array([0.9, 0.1], np.float32),
        )
        for right in truth.tolist()
    ]
    truth[5] = 0
    return result(tmp_path, "classify", {"image": np.arange(40), "class_id": truth}, said)


def test_our_own_form_lists_labels_and_proposals(boxes: Any, tmp_path: Path) -> None:
    file = tmp_path / "relabel.json"
    count = write_relabel(boxes, file)
    written = json.loads(file.read_text("utf-8"))
    assert (written["format"], written["version"]) == ("whatwhere relabelling list", 1)
    assert written["classes"] == NAMES
    items = written["items"]
    assert [one["rank"] for one in items] == list(range(1, count + 1))
    by_kind = {one["kind"]: one for one in items[:2]}
    wrong, missing = by_kind["wrong label"], by_kind["missing label"]
    assert wrong["image"] == "a 0/2.png"
    assert wrong["label"] == {"name": "dog & co", "box": list(CELLS[1]), "record": "labels.txt:7"}
    assert wrong["proposal"] == {"name": "cat", "box": list(CELLS[1]), "score": 0.8}
    assert (wrong["width"], wrong["height"], wrong["iou"]) == (120, 100, 1)
    assert (missing["image"], missing["label"]) == ("a 0/4.png", None)
    assert missing["proposal"]["box"] == list(CELLS[0])
    assert write_relabel(boxes, file, limit=1) == 1
    assert len(json.loads(file.read_text("utf-8"))["items"]) == 1


def test_label_studio_reads_labels_and_predictions(boxes: Any, tmp_path: Path) -> None:
    file = tmp_path / "tasks.json"
    write_relabel(boxes, file, limit=2)
    tasks = json.loads(file.read_text("utf-8"))
    assert {task["data"]["image"] for task in tasks} == {
        "/data/local-files/?d=a%200/2.png",
        "/data/local-files/?d=a%200/4.png",
    }
    assert [task["data"]["rank"] for task in tasks] == [1, 2]
    for task in tasks:
        (guess,) = task["predictions"]
        assert guess["score"] == task["data"]["doubt"]
        assert len(guess["result"]) == 3
    config = (tmp_path / "tasks.config.xml").read_text("utf-8")
    assert '<Label value="dog &amp; co"/>' in config

    back = ww.read(file, format="label_studio", images=tmp_path / "in")
    sources = [Path(path).relative_to(tmp_path / "in").as_posix() for path in back.paths]
    assert sorted(sources) == ["a 0/2.png", "a 0/4.png"]
    counts = {name: len(back.targets(row).class_ids) for row, name in enumerate(sources)}
    assert counts == {"a 0/2.png": 3, "a 0/4.png": 2}
    wrong = back.targets(sources.index("a 0/2.png"))
    assert wrong.boxes is not None
    assert np.allclose(wrong.boxes, CELLS)
    assert [back.names[one] for one in wrong.class_ids] == ["cat", "dog & co", "dog & co"]

    guessed = [{key: task[key] for key in ("data", "predictions")} for task in tasks]
    file.write_text(json.dumps(guessed), "utf-8")
    model = ww.read(file, format="label_studio", images=tmp_path / "in")
    assert set(model.labels["source"]) == {"model"}
    assert model.labels.height == 6
    scores = sorted(set(model.labels["score"].round(4).to_list()))
    assert scores == pytest.approx([0.7, 0.8, 0.9])


def test_cvat_reads_marked_labels_and_proposals(boxes: Any, tmp_path: Path) -> None:
    file = tmp_path / "relabel.xml"
    write_relabel(boxes, file, limit=2)
    back = ww.read(file, format="cvat", images=tmp_path / "in")
    names = [Path(path).relative_to(tmp_path / "in").as_posix() for path in back.paths]
    assert sorted(names) == ["a 0/2.png", "a 0/4.png"]
    labels = back.labels.to_dicts()
    assert len(labels) == 3 + 1 + 2 + 1
    proposals = [row for row in labels if row["source"] == "model"]
    assert len(proposals) == 2
    for row in proposals:
        given = json.loads(row["attributes"])
        assert given["proposal"] is True
        assert given["problem"] in ("wrong label", "missing label")
    marked = [row for row in labels if row["source"] != "model" and "problem" in row["attributes"]]
    (wrong,) = marked
    assert json.loads(wrong["attributes"])["colour"] == "red"
    assert back.names[wrong["class_id"]] == "dog & co"
    assert [wrong[side] for side in ("x1", "y1", "x2", "y2")] == list(CELLS[1])


def test_classes_of_pictures_in_all_three_forms(classes: Any, tmp_path: Path) -> None:
    for name in ("list.json", "label_studio.json", "list.xml"):
        assert write_relabel(classes, tmp_path / name) == 1
    (item,) = json.loads((tmp_path / "list.json").read_text("utf-8"))["items"]
    assert (item["image"], item["label"]["name"]) == ("a 1/5.png", "cat")
    assert item["proposal"] == {"name": "dog & co", "box": None, "score": 0.9}
    (task,) = json.loads((tmp_path / "label_studio.json").read_text("utf-8"))
    assert task["annotations"][0]["result"][0]["value"] == {"choices": ["cat"]}
    assert task["predictions"][0]["result"][0]["value"] == {"choices": ["dog & co"]}
    assert task["data"]["problem"] == "wrong label cat: dog & co 0.90"
    back = ww.read(tmp_path / "label_studio.json", format="label_studio", images=tmp_path / "in")
    assert [back.names[one] for one in back.labels["class_id"]] == ["cat"]
    tags = ww.read(tmp_path / "list.xml", format="cvat", images=tmp_path / "in")
    assert [tags.names[one] for one in tags.labels["class_id"]] == ["cat", "dog & co"]
    assert tags.labels["source"].to_list()[1] == "model"


def test_sets_of_labels_are_marked_by_name(tmp_path: Path) -> None:
    shown = [(row, 0) for row in range(20)] + [(row, 1) for row in range(12)]
    said = [
        Prediction(
            120,
            100,
            label_names=tuple(NAMES),
            label_scores=np.array([0.9 if row % 20 else 0.1, 0.9 if row < 13 else 0.1], np.float32),
        )
        for row in range(40)
    ]
    columns = {"image": [row for row, _ in shown], "class_id": [one for _, one in shown]}
    made = result(tmp_path, "multilabel", columns, said)
    found = label_doubts("multilabel", made.data, said)
    assert {(one.kind, one.image) for one in found} >= {
        ("doubtful label", 0),
        ("missing label", 12),
    }
    write_relabel(made, tmp_path / "list.xml")
    back = ww.read(tmp_path / "list.xml", format="cvat", images=tmp_path / "in")
    rows = {Path(path).stem: row for row, path in enumerate(back.paths)}
    doubted = [
        row for row in back.labels.to_dicts() if row["image"] == rows["0"] and row["attributes"]
    ]
    assert json.loads(doubted[0]["attributes"])["problem"] == "doubtful label"
    write_relabel(made, tmp_path / "tasks.json")
    tasks = json.loads((tmp_path / "tasks.json").read_text("utf-8"))
    (task,) = [one for one in tasks if one["data"]["image"].endswith("/12.png")]
    assert task["predictions"][0]["result"][0]["value"] == {"choices": ["dog & co", "cat"]}


def test_without_a_doubt_every_form_is_empty(classes: Any, tmp_path: Path) -> None:
    classes.data = classes.data.select(list(range(5)))
    classes.predictions = classes.predictions[:5]
    for name in ("list.json", "tasks.json", "list.xml"):
        assert write_relabel(classes, tmp_path / name) == 0
    assert json.loads((tmp_path / "list.json").read_text("utf-8"))["items"] == []
    assert json.loads((tmp_path / "tasks.json").read_text("utf-8")) == []


def test_the_name_says_the_form(classes: Any, tmp_path: Path) -> None:
    assert relabel_kind("a/relabel.JSON") == "json"
    assert relabel_kind("a/Label-Studio.json") == relabel_kind("tasks.json") == "label_studio"
    assert relabel_kind("a/b.xml") == "cvat"
    with pytest.raises(UsageError, match=r"\.xml for CVAT"):
        relabel_kind("list.csv")
    classes.data = None
    with pytest.raises(UsageError, match="no data set"):
        write_relabel(classes, tmp_path / "list.json")
