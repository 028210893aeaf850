"""Results for other programs: each format is read back by somebody else."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from whatwhere.errors import DataError, ImageError, UsageError
from whatwhere.outputs.folder import AnswerFolder
from whatwhere.outputs.results import CSV_COLUMNS, FORMATS, CocoIds, json_line, open_writer
from whatwhere.outputs.table import ResultTable
from whatwhere.outputs.words import percent
from whatwhere.runtime import Failure
from whatwhere.types import Label, Prediction, as_boxes

NAMES = ("animal", "person")
BOTH = Prediction(
    400,
    300,
    image='a/cat, "Mieze".jpg',
    label_names=("Egyptian cat", "tabby"),
    label_scores=np.array([0.75, 0.004], np.float32),
    object_names=("person", "animal"),
    object_scores=np.array([0.9, 0.5], np.float32),
    boxes=as_boxes([[1.234, 2, 30.5, 40], [5, 6, 7, 8.006]]),
    object_labels=((), (Label("tabby cat", 0.875),)),
    model="m",
    ms=12.345,
)
NOTHING = Prediction(20, 10, image="empty.png", boxes=as_boxes([]), model="m")
BROKEN = Failure("bad.png", ImageError("bad.png is empty: copy it again"))


def written(format: str, *items: Prediction | Failure, **options: Any) -> str:
    file = io.StringIO()
    writer = open_writer(format, file, names=NAMES, **options)
    for item in items:
        writer.write(item)
    writer.close()
    return file.getvalue()


# Every format.


def test_nothing_at_all_is_a_valid_document() -> None:
    assert written("jsonl") == ""
    assert written("csv").splitlines() == [",".join(CSV_COLUMNS)]
    document = json.loads(written("coco"))
    assert (document["images"], document["annotations"]) == ([], [])


@pytest.mark.parametrize("format", FORMATS)
def test_a_picture_is_written_before_the_next_is_known(format: str) -> None:
    file = io.StringIO()
    writer = open_writer(format, file, names=NAMES)
    writer.write(BOTH)
    assert "0.9" in file.getvalue()


def test_an_unknown_format() -> None:
    with pytest.raises(UsageError, match="choose one of jsonl, csv, coco"):
        open_writer("xml", io.StringIO())


# JSON lines.


def test_json_lines_have_the_keys_of_the_design() -> None:
    rows = [json.loads(line) for line in written("jsonl", BOTH, BROKEN, NOTHING).splitlines()]
    assert rows[0] == {
        "image": 'a/cat, "Mieze".jpg',
        "width": 400,
        "height": 300,
        "labels": [
            {"name": "Egyptian cat", "score": 0.75},
            {"name": "tabby", "score": 0.004},
        ],
        "objects": [
            {"name": "person", "score": 0.9, "box": [1.23, 2.0, 30.5, 40.0], "labels": []},
            {
                "name": "animal",
                "score": 0.5,
                "box": [5.0, 6.0, 7.0, 8.01],
                "labels": [{"name": "tabby cat", "score": 0.875}],
            },
        ],
        "model": "m",
        "ms": 12.35,
    }
    assert rows[1] == {"image": "bad.png", "error": "bad.png is empty: copy it again"}
    assert rows[2]["objects"] == []


def test_odd_file_names_survive() -> None:
    for name in ("größe 猫.jpg", "line\nbreak.jpg", "bytes \udcff.jpg"):
        line = json_line(Prediction(1, 1, image=name))
        assert "\n" not in line
        assert line.encode()
        assert json.loads(line)["image"] == name
    assert "größe" in json_line(Prediction(1, 1, image="größe"))


# CSV.


def test_csv_has_one_row_a_label_object_or_failure() -> None:
    rows = list(csv.DictReader(io.StringIO(written("csv", BOTH, NOTHING, BROKEN))))
    assert len(rows) == 6
    assert rows[0]["image"] == 'a/cat, "Mieze".jpg'
    assert [row["name"] for row in rows] == ["Egyptian cat", "tabby", "person", "animal", "", ""]
    assert (rows[0]["score"], rows[0]["x1"]) == ("0.75", "")
    assert [rows[2][key] for key in ("x1", "y1", "x2", "y2")] == ["1.23", "2.0", "30.5", "40.0"]
    assert (rows[3]["object_label"], rows[3]["object_label_score"]) == ("tabby cat", "0.875")
    assert (rows[4]["image"], rows[4]["width"], rows[4]["error"]) == ("empty.png", "20", "")
    assert rows[5]["error"] == "bad.png is empty: copy it again"


# COCO.


def annotations(path: Path, **changes: Any) -> Path:
    document = {
        "images": [
            {"id": 7, "file_name": "cat.jpg", "width": 400, "height": 300},
            {"id": 9, "file_name": "val/empty.png", "width": 20, "height": 10},
        ],
        "categories": [{"id": 17, "name": "person"}, {"id": 1, "name": "animal"}],
        "annotations": [],
    }
    path.write_text(json.dumps(document | changes), encoding="utf-8")
    return path


def test_coco_alone_is_an_annotation_file_with_scores() -> None:
    document = json.loads(written("coco", BOTH, BROKEN, NOTHING))
    assert [row["file_name"] for row in document["images"]] == [BOTH.image, "empty.png"]
    assert document["categories"] == [{"id": 1, "name": "animal"}, {"id": 2, "name": "person"}]
    first, second = document["annotations"]
    assert first["bbox"] == [1.23, 2.0, 29.27, 38.0]
    assert (first["image_id"], first["category_id"], first["score"]) == (1, 2, 0.9)
    assert (second["id"], second["area"], second["iscrowd"]) == (2, 4.02, 0)


def test_coco_alone_is_read_as_a_data_set(tmp_path: Path) -> None:
    pytest.importorskip("polars")
    from whatwhere.data import read

    file = tmp_path / "answers.json"
    file.write_text(written("coco", BOTH, NOTHING), encoding="utf-8")
    data = read(file, "coco")
    assert data.task == "detect"
    assert tuple(data.names) == NAMES
    boxes = data.targets(0).boxes
    assert boxes is not None
    assert sorted(boxes[:, 0].tolist()) == pytest.approx([1.23, 5])


def test_coco_results_have_the_ids_of_the_annotation_file(tmp_path: Path) -> None:
    from pycocotools.coco import COCO

    file = annotations(tmp_path / "instances.json")
    cat = Prediction(
        400,
        300,
        image="/photos/cat.jpg",
        object_names=BOTH.object_names,
        object_scores=BOTH.object_scores,
        boxes=BOTH.boxes,
    )
    text = written("coco", cat, NOTHING, ids=CocoIds.read(file))
    (tmp_path / "results.json").write_text(text, encoding="utf-8")
    loaded = COCO(str(file)).loadRes(str(tmp_path / "results.json"))
    rows = loaded.loadAnns(loaded.getAnnIds(imgIds=[7]))
    assert [(row["category_id"], row["score"]) for row in rows] == [(17, 0.9), (1, 0.5)]


def test_pictures_are_found_by_path_then_by_name(tmp_path: Path) -> None:
    rows = [
        {"id": number, "file_name": name}
        for number, name in enumerate(("a/x.jpg", "b/x.jpg", "y.jpg", "z.jpg"))
    ]
    ids = CocoIds.read(annotations(tmp_path / "i.json", images=rows))
    assert ids.image("/photos/a/x.jpg") == 0
    assert ids.image("b/x.jpg") == 1
    assert ids.image("elsewhere/y.jpg") == 2
    with pytest.raises(UsageError, match=r"several pictures called x\.jpg"):
        ids.image("c/x.jpg")
    with pytest.raises(UsageError, match=r"q\.jpg is not in .*i\.json"):
        ids.image("q.jpg")
    with pytest.raises(UsageError, match="is not in"):
        ids.image(None)


def test_classes_that_the_annotation_file_lacks_are_found_at_once(tmp_path: Path) -> None:
    file = annotations(tmp_path / "i.json", categories=[{"id": 1, "name": "person"}])
    with pytest.raises(UsageError, match="has no category 'animal'"):
        open_writer("coco", io.StringIO(), names=NAMES, ids=CocoIds.read(file))


@pytest.mark.parametrize("text", ["", "[1, 2]", "{}", '{"images": 3, "categories": []}', "nope"])
def test_files_without_ids(text: str, tmp_path: Path) -> None:
    (tmp_path / "i.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"i\.json is not a COCO annotation file"):
        CocoIds.read(tmp_path / "i.json")
    with pytest.raises(DataError, match=r"gone\.json is not"):
        CocoIds.read(tmp_path / "gone.json")


# For people.


def table(*items: Prediction, width: int = 100) -> str:
    file = io.StringIO()
    shown = ResultTable(Console(file=file, width=width, highlight=False))
    for item in items:
        shown.print(item)
    return file.getvalue()


def test_a_table_groups_by_picture() -> None:
    lines = [line.rstrip() for line in table(BOTH, NOTHING).splitlines()]
    assert lines[0] == 'a/cat, "Mieze".jpg  400 x 300, 12 ms'
    assert lines[1].split() == ["shows", "Egyptian", "cat", "75", "%"]
    assert lines[2].split() == ["tabby", "<1", "%"]
    assert lines[3].split() == ["where", "person", "90", "%", "1", "2", "30", "40"]
    assert lines[4].split() == ["animal:", "tabby", "cat", "88", "%", "5", "6", "7", "8"]
    assert lines[5:] == ["", "empty.png  20 x 10", "  nothing above the threshold"]


def test_a_table_takes_any_name() -> None:
    odd = Prediction(
        9,
        9,
        image="[bold]x[/nope] \udcff\x1b[31m.jpg",
        label_names=("[red]猫[/red]", "x" * 200),
        label_scores=np.array([0.5, 0.5], np.float32),
    )
    text = table(odd, width=60)
    assert "[bold]x[/nope]" in text
    assert "[red]猫[/red]" in text
    assert "\x1b" not in text
    assert text.count("x") >= 200


@pytest.mark.parametrize(
    ("score", "words"),
    [(0, "0 %"), (0.004, "<1 %"), (0.01, "1 %"), (0.126, "13 %"), (0.997, "99 %"), (1, "100 %")],
)
def test_percent(score: float, words: str) -> None:
    assert percent(score) == words


# Folders of drawings.


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("a/x.jpg", "a/sub/x.jpg", "b/x.jpg", "b/y.gif", "b/y.gif.png", "out/old.jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def places(folder: AnswerFolder, *paths: str) -> list[str]:
    return [folder.place(path).relative_to(folder.folder).as_posix() for path in paths]


def test_drawings_keep_their_place_below_a_source_folder(pictures: Path) -> None:
    folder = AnswerFolder("out", ["a"])
    assert places(folder, "a/x.jpg", "a/sub/x.jpg") == ["x.jpg", "sub/x.jpg"]


def test_drawings_never_share_a_name(pictures: Path) -> None:
    folder = AnswerFolder("new", ["a", "b/x.jpg", "b/y.gif", "b/y.gif.png"])
    found = places(folder, "a/x.jpg", "b/x.jpg", "b/X.JPG", "b/y.gif", "b/y.gif.png")
    assert found == ["x.jpg", "x-2.jpg", "X-3.JPG", "y.gif.png", "y.gif-2.png"]


def test_answers_of_an_earlier_run_are_not_read(pictures: Path) -> None:
    folder = AnswerFolder("out", ["."])
    assert list(folder.outside(iter(["a/x.jpg", "out/old.jpg", "./out/../b/x.jpg"]))) == [
        "a/x.jpg",
        "./out/../b/x.jpg",
    ]
    with pytest.raises(UsageError, match="all pictures lie in out"):
        list(folder.outside(iter(["out/old.jpg"])))


@pytest.mark.parametrize("source", ["out", "out/old.jpg", "./a/../out"])
def test_sources_in_the_folder_of_answers_are_refused(source: str, pictures: Path) -> None:
    with pytest.raises(UsageError, match="choose another folder, so that no picture"):
        AnswerFolder("out", ["a", source])


def test_a_file_is_no_folder(pictures: Path) -> None:
    with pytest.raises(UsageError, match=r"x\.jpg is not a folder"):
        AnswerFolder("a/x.jpg", ["b"])
