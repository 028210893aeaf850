"""Filter, sample, rename, single-label: what stays, what goes, what the new set says of itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from data_samples import NAMES, detection
from whatwhere.data import Dataset, Finding
from whatwhere.data.operations import COLUMNS
from whatwhere.errors import UsageError


def rich(folder: Path) -> Dataset:
    """`detection` with flags, numbers of classes and what is known of them."""
    plain = detection(folder)
    labels = plain.labels.with_columns(
        truncated=pl.Series([True, False, None, False, True, False, False]),
        score=pl.Series([0.9, 0.8, None, 0.7, 0.6, 0.5, 0.4], dtype=pl.Float32),
        record=pl.Series([f"a:{number}" for number in range(7)]),
    )
    images = plain.images.with_columns(
        labelled=pl.Series([NAMES, NAMES[:2], None, NAMES, None, []], dtype=pl.List(pl.String)),
        complete=pl.Series([NAMES[:1], None, None, NAMES, None, []], dtype=pl.List(pl.String)),
    )
    return Dataset(
        images,
        labels,
        NAMES,
        root=plain.root,
        source="rich",
        findings=[Finding("bad-box", "a box", "a:9", "error", "kept out", 1)],
        category_ids=[7, 3, 5],
        class_info={"ant": {"legs": 6, "wings": 0}, "käfer": {"legs": 6, "wings": 2}},
        info={"licences": ["MIT"]},
    )


def records(dataset: Dataset) -> list[str]:
    return dataset.labels["record"].to_list()


def test_filter_by_class_leaves_no_trace_of_others(tmp_path: Path) -> None:
    part = rich(tmp_path).filter(classes=["käfer", "ant"])
    assert list(part.names) == ["ant", "käfer"]
    assert part.category_ids == (7, 5)
    assert set(part.class_info) == {"ant", "käfer"}
    assert part.info == {"licences": ["MIT"]}
    assert records(part) == ["a:0", "a:2", "a:3", "a:5", "a:6"]
    assert len(part) == 4
    assert part.labels["class_id"].to_list() == [0, 1, 0, 1, 1]
    assert part.images["labelled"].to_list() == [["ant", "käfer"], ["ant"], None, None]
    assert part.findings == ()
    same = rich(tmp_path / "again").filter(without=["bee & <wasp>"])
    assert records(same) == records(part)
    everything = rich(tmp_path / "more").filter(classes=["ant"], keep_empty=True)
    assert (len(everything), everything.labels.height) == (6, 2)
    assert everything.task == "detect"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"min_size": 20}, "a:0 a:3 a:4"),
        ({"max_size": 20}, "a:2 a:5 a:6"),
        ({"min_size": 10, "max_size": 21}, "a:1 a:2 a:5"),
        ({"flags": ["no-truncated"]}, "a:1 a:2 a:3 a:5 a:6"),
        ({"flags": ["truncated", "no-ignore"]}, "a:0 a:4"),
        ({"split": "train"}, "a:0 a:1 a:2 a:3"),
        ({"split": ["val", "test"], "classes": ["käfer"]}, "a:5 a:6"),
        ({"where": 'name == "ant" and width > 50'}, "a:0"),
        ({"where": "area / (width * height) < 0.14"}, "a:6"),
        ({"where": "labels == 2"}, "a:0 a:1 a:5 a:6"),
        ({"where": 'path.endswith("0 ü.png") or box_width > 60'}, "a:0 a:1 a:4"),
        ({"where": 'split == "test" and score < 0.45'}, "a:6"),
        ({"where": "width > 500 or True", "max_size": 8}, ""),
    ],
)
def test_filter_by_size_flag_split_and_expression(
    arguments: dict[str, object], expected: str, tmp_path: Path
) -> None:
    part = rich(tmp_path).filter(**arguments)  # type: ignore[arg-type]
    assert records(part) == expected.split()
    # Every remaining label is still of its picture.
    whole = {row["record"]: row for row in rich(tmp_path / "w").labels.iter_rows(named=True)}
    for row in part.labels.iter_rows(named=True):
        picture = Path(part.paths[row["image"]]).name
        assert picture == f"bild {whole[row['record']]['image']} ü.png"


def test_what_is_about_pictures_alone_keeps_empty_ones(tmp_path: Path) -> None:
    assert len(rich(tmp_path).filter(split="test")) == 2
    assert len(rich(tmp_path).filter("width < 40")) == 2
    mixed = rich(tmp_path).filter('width < 40 and name == "käfer"', keep_empty=True)
    assert (len(mixed), records(mixed)) == (2, ["a:5", "a:6"])


def test_what_is_not_chosen_can_be_ignored_instead(tmp_path: Path) -> None:
    part = rich(tmp_path).filter(min_size=20, rest="ignore")
    assert len(part) == 3
    assert records(part) == ["a:0", "a:1", "a:3", "a:4"]
    assert part.labels["ignore"].to_list() == [False, True, False, False]


def test_filter_refuses_what_there_is_not(tmp_path: Path) -> None:
    dataset = rich(tmp_path)
    for arguments, words in [
        ({"classes": ["kafer"]}, "did you mean käfer"),
        ({"without": NAMES}, "no class is left"),
        ({"split": "tset"}, "train, val, test"),
        ({"flags": ["no-dificult"]}, "difficult, truncated, occluded, crowd"),
        ({"min_size": -1}, "min_size"),
        ({"max_size": float("nan")}, "max_size"),
        ({"where": 'split == "tset"'}, "did you mean test"),
        ({"where": 'name == "aunt"'}, "did you mean ant"),
    ]:
        with pytest.raises(UsageError, match=words):
            dataset.filter(**arguments)  # type: ignore[arg-type]


def test_every_column_of_expressions_is_there(tmp_path: Path) -> None:
    dataset = rich(tmp_path)
    for name, column in COLUMNS.items():
        test = name if column.kind == "bool" else f"{name} is not None"
        assert len(dataset.filter(test, keep_empty=True)) <= 6


def numbered(classes: list[list[int]], count: int, splits: list[str] | None = None) -> Dataset:
    image = [row for row, ids in enumerate(classes) for _ in ids]
    return Dataset(
        {"path": [f"/p/{row}.jpg" for row in range(len(classes))], "split": splits}
        if splits
        else {"path": [f"/p/{row}.jpg" for row in range(len(classes))]},
        {"image": image, "class_id": [one for ids in classes for one in ids]},
        [f"c{number}" for number in range(count)],
        task="multilabel",
    )


def test_a_sample_has_every_class_and_keeps_shares() -> None:
    rng = np.random.default_rng(1)
    classes = [[0] if row % 100 else [1] for row in range(1000)]
    for row in range(1000):
        if rng.random() < 0.3:
            classes[row].append(2)
    classes[517].append(3)
    classes[518] = []
    splits = ["train" if row % 5 else "val" for row in range(1000)]
    dataset = numbered(classes, 5, splits)
    part = dataset.sample(100, seed=4)
    assert len(part) == 100
    counts = part.stats()["classes"]
    assert counts["c3"] == 1
    assert counts["c1"] == 1
    assert counts["c4"] == 0
    assert abs(counts["c2"] - 30) <= 6
    assert abs(part.splits["train"] - 80) <= 3
    assert part.paths == dataset.sample(100, seed=4).paths
    assert part.paths != dataset.sample(100, seed=5).paths
    assert len(dataset.sample(share=0.037)) == 37
    assert dataset.sample(1000).paths == dataset.paths
    assert dataset.sample(share=1.0).digest() == dataset.digest()


def test_a_sample_is_pinned() -> None:
    """The same on every machine and with every version, or runs cannot be repeated."""
    dataset = numbered([[row % 3] for row in range(12)], 3)
    assert [Path(path).stem for path in dataset.sample(5).paths] == ["0", "2", "4", "7", "9"]


def test_a_sample_too_small_for_all_classes_takes_the_rare_ones() -> None:
    dataset = numbered([[0]] * 20 + [[1], [2]], 3)
    assert dataset.sample(2).stats()["classes"] == {"c0": 0, "c1": 1, "c2": 1}


def test_pictures_without_labels_can_be_sampled() -> None:
    dataset = numbered([[]] * 10, 1)
    assert len(dataset.sample(4)) == 4


def test_a_sample_needs_one_size() -> None:
    dataset = numbered([[0]] * 3, 1)
    for arguments in ({}, {"count": 1, "share": 0.5}):
        with pytest.raises(UsageError, match="one of them"):
            dataset.sample(**arguments)  # type: ignore[arg-type]
    for arguments in ({"count": 4}, {"count": 0}, {"share": 0.0}, {"share": 1.1}):
        with pytest.raises(UsageError, match="sample"):
            dataset.sample(**arguments)  # type: ignore[arg-type]


def test_rename_moves_all_that_is_known_of_a_class(tmp_path: Path) -> None:
    new = rich(tmp_path).rename({"ant": "ameise", "käfer": "ant"})
    assert list(new.names) == ["ameise", "bee & <wasp>", "ant"]
    assert new.category_ids == (7, 3, 5)
    assert new.class_info["ameise"] == {"legs": 6, "wings": 0}
    assert new.class_info["ant"] == {"legs": 6, "wings": 2}
    assert new.labels["class_id"].to_list() == [0, 1, 2, 0, 1, 2, 2]
    assert new.images["labelled"].to_list()[1] == ["ameise", "bee & <wasp>"]
    assert [finding.kind for finding in new.findings] == ["bad-box"]
    assert new.stats()["images"] == 6


def test_classes_that_get_one_name_become_one(tmp_path: Path) -> None:
    new = rich(tmp_path).rename({"bee & <wasp>": "käfer"})
    assert list(new.names) == ["ant", "käfer"]
    # The class that had the name keeps its number.
    assert new.category_ids == (7, 5)
    assert new.stats()["classes"] == {"ant": 2, "käfer": 5}
    # In picture 1 only one half of the new class was looked for, and the other half is there.
    both = ["ant", "käfer"]
    assert new.images["labelled"].to_list() == [both, both, None, both, None, []]
    assert new.images["complete"].to_list() == [["ant"], ["ant"], None, ["ant", "käfer"], None, []]
    insects = rich(tmp_path / "b").rename(dict.fromkeys(NAMES, "insect"))
    assert insects.category_ids == (7,)
    assert insects.class_info == {"insect": {"legs": 6, "wings": 0}}


def test_a_class_counts_once_in_a_picture_without_boxes() -> None:
    dataset = numbered([[0, 1], [1, 2], [2]], 3)
    new = dataset.rename({"c1": "c0"})
    assert new.labels.select("image", "class_id").rows() == [(0, 0), (1, 0), (1, 1), (2, 1)]
    assert new.task == "multilabel"


def test_rename_refuses_unknown_and_empty_names(tmp_path: Path) -> None:
    dataset = rich(tmp_path)
    with pytest.raises(UsageError, match="did you mean ant"):
        dataset.rename({"amt": "x"})
    with pytest.raises(UsageError, match="empty"):
        dataset.rename({"ant": " "})


def test_as_classify() -> None:
    dataset = numbered([[0], [2], [1]], 3).as_classify()
    assert dataset.task == "classify"
    assert dataset.labels["class_id"].to_list() == [0, 2, 1]
    with pytest.raises(UsageError, match=r"1\.jpg has 2 classes \('c0', 'c2'\).*1 more"):
        numbered([[0], [0, 2], []], 3).as_classify()
    with pytest.raises(UsageError, match=r"0\.jpg has 0 classes"):
        numbered([[]], 3).as_classify()


def test_boxes_of_one_class_are_one_label(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"bild 5 ü\.png has 0 classes"):
        detection(tmp_path).as_classify()
    # The ignored bee of the first picture does not count, and neither does a second beetle.
    some = detection(tmp_path / "b").select([0, 1, 4]).as_classify()
    assert (some.task, some.labels["class_id"].to_list()) == ("classify", [0, 2, 2])
    assert some.labels["x1"].null_count() == 3
    assert some.as_classify() is some


def test_multilabel_keeps_what_was_looked_for_and_scores(tmp_path: Path) -> None:
    dataset = rich(tmp_path).as_multilabel()
    assert dataset.images["labelled"].to_list() == rich(tmp_path).images["labelled"].to_list()
    beetles = dataset.labels.filter((pl.col("image") == 4) & (pl.col("class_id") == 2))
    assert beetles["score"].to_list() == [0.5]
