"""Tables of labels that were written are read as what they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from whatwhere.data import Dataset, read
from whatwhere.images import write_image


def pictures(folder: Path, *names: str) -> None:
    for number, name in enumerate(names):
        write_image(folder / name, np.full((4, 5, 3), number, np.uint8))


def multilabel(folder: Path, names: list[str], rows: list[list[int]], **columns: Any) -> Dataset:
    pictures(folder, *(f"{number}.png" for number in range(len(rows))))
    return Dataset(
        {"path": [str(folder / f"{number}.png") for number in range(len(rows))], **columns},
        {
            "image": [image for image, ids in enumerate(rows) for _ in ids],
            "class_id": [number for ids in rows for number in ids],
        },
        names,
        task="multilabel",
    )


@pytest.mark.parametrize(
    ("names", "rows"),
    [
        (["cat", "dog"], [[0], [1], [0, 1]]),
        (["cat", "dog"], [[0], [1], [1]]),  # looks like single labels
        (["cat"], [[0], [], []]),
        (["label"], [[0], [], []]),
        (["file", "split", "group", "task", "label"], [[0, 1], [2, 3], [4]]),
        (["Patient ID", "is_valid", "xmin"], [[0, 1], [2], []]),
        (["a;b", "c|d", " e", 'f"', "g\nh\r", "1", "0"], [[0, 1, 2], [3, 4], [5, 6]]),
        (["unnamed: 0", "images/0.png", "none"], [[0], [1, 2], []]),
        (["cat", "dog"], [[], [], []]),
    ],
)
def test_multilabel_sets_survive(names: list[str], rows: list[list[int]], tmp_path: Path) -> None:
    before = multilabel(tmp_path, names, rows)
    before.write(tmp_path / "copy", "csv_labels")
    after = read(tmp_path / "copy")
    assert after.findings == ()
    assert (after.task, list(after.names)) == ("multilabel", names)
    assert [after.targets(row).class_ids.tolist() for row in range(3)] == rows


@pytest.mark.parametrize(
    "names",
    [
        ["cat", "dog", "emu"],
        ["emu", "dog", "cat"],
        ["cat", "dog", "emu", "never seen"],
        ["0", "1", "2"],
        ["a;b", "c,d", "e f"],
        [" a", "b ", "c\r\n"],
        ["nan", "none", "-1"],
    ],
)
def test_single_label_sets_survive(names: list[str], tmp_path: Path) -> None:
    before = multilabel(tmp_path, names, [[2], [0], [1]])
    before = Dataset(before.images, before.labels, names, task="classify")
    before.write(tmp_path / "copy", "csv_labels")
    after = read(tmp_path / "copy")
    assert after.findings == ()
    assert (after.task, list(after.names)) == ("classify", names)
    assert after.labels["class_id"].to_list() == [2, 0, 1]


def test_a_plain_table_has_no_mark(tmp_path: Path) -> None:
    before = multilabel(tmp_path, ["cat", "dog"], [[0], [], [0, 1]], split=["train", "val", "val"])
    before.write(tmp_path / "copy", "csv_labels")
    assert (tmp_path / "copy" / "labels.csv").read_text() == (
        "file,split,cat,dog\nimages/0.png,train,1,0\nimages/1.png,val,0,0\nimages/2.png,val,1,1\n"
    )


def test_splits_of_odd_names_survive(tmp_path: Path) -> None:
    splits = ["TRAIN", "validation", " x"]
    before = multilabel(tmp_path, ["cat", "dog"], [[0], [], [0, 1]], split=splits)
    before.write(tmp_path / "copy", "csv_labels")
    assert read(tmp_path / "copy").images["split"].to_list() == splits


def test_all_looked_for_is_not_the_same_as_no_list(tmp_path: Path) -> None:
    known = [None, ["cat", "dog"], ["dog"]]
    before = multilabel(tmp_path, ["cat", "dog"], [[0], [], [1]], labelled=known)
    before.write(tmp_path / "copy", "csv_labels")
    assert read(tmp_path / "copy").images["labelled"].to_list() == known


def test_a_damaged_mark_does_not_change_the_columns(tmp_path: Path) -> None:
    before = multilabel(tmp_path, ["cat", "dog"], [[0], [1], [1]])
    before.write(tmp_path / "copy", "csv_labels")
    file = tmp_path / "copy" / "labels.csv"
    file.write_text(file.read_text().replace("multilabel", "multi", 1))
    after = read(tmp_path / "copy")
    assert [(one.kind, one.where) for one in after.findings] == [("bad-value", "labels.csv:2")]
    assert after.labels["class_id"].to_list() == [0, 1, 1]
