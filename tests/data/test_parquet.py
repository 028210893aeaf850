"""The two tables as Parquet: versions, paths, damaged files, Arrow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from data_samples import detection, rich
from whatwhere.data import Dataset, read
from whatwhere.data.formats.parquet import HOLDS
from whatwhere.errors import DataError


def written(folder: Path, dataset: Dataset | None = None) -> Path:
    (dataset or detection(folder)).write(folder / "copy", "parquet")
    return folder / "copy"


def change(folder: Path, **values: Any) -> None:
    file = folder / "dataset.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def images(folder: Path, **columns: pl.Series | pl.Expr) -> None:
    file = folder / "images.parquet"
    pl.read_parquet(file).with_columns(**columns).write_parquet(file)


def labels(folder: Path, **columns: pl.Series | pl.Expr) -> None:
    file = folder / "labels.parquet"
    pl.read_parquet(file).with_columns(**columns).write_parquet(file)


def kinds(dataset: Dataset) -> list[tuple[str, str, int]]:
    return [(one.kind, one.where, one.boxes) for one in dataset.findings]


def test_every_column_is_the_same_to_the_bit(tmp_path: Path) -> None:
    before = rich("detect", tmp_path, HOLDS)
    after = read(written(tmp_path, before))
    assert after.findings == ()
    skipped = ["path"]
    assert after.images.drop(skipped).equals(before.images.drop(skipped))
    assert after.labels.drop("record").equals(before.labels.drop("record"))


def test_a_label_without_a_box_stays_in_a_set_of_boxes(tmp_path: Path) -> None:
    dataset = detection(tmp_path)
    boxless = dataset.labels["image"] == 1
    columns = [pl.when(~boxless).then(pl.col(name)).alias(name) for name in ("x1", "y1")]
    columns += [pl.when(~boxless).then(pl.col(name)).alias(name) for name in ("x2", "y2")]
    dataset.labels = dataset.labels.with_columns(columns)
    after = read(written(tmp_path, dataset))
    assert after.findings == ()
    assert after.labels.drop("record").equals(dataset.labels.drop("record"))


def test_arrow_files_are_read(tmp_path: Path) -> None:
    folder = written(tmp_path)
    before = read(folder)
    for stem, suffix in (("images", "arrow"), ("labels", "feather")):
        pl.read_parquet(folder / f"{stem}.parquet").write_ipc(folder / f"{stem}.{suffix}")
        (folder / f"{stem}.parquet").unlink()
    after = read(folder)
    assert after.recognised.endswith("dataset.json and images.arrow and labels.feather")
    assert after.digest() == before.digest()


def test_the_json_file_may_be_named(tmp_path: Path) -> None:
    folder = written(tmp_path)
    assert read(folder / "dataset.json").digest() == read(folder).digest()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"schema_version": 99}, "schema_version 99, this program knows up to 2: update"),
        ({"schema_version": "2"}, "has no schema_version"),
        ({"names": ["a", "a"]}, "occurs twice"),
        ({"names": [1, 2, 3]}, "names must be texts"),
        ({"names": []}, "no list of class names"),
        ({"task": "dance"}, "the task 'dance'"),
        ({"category_ids": [1]}, "category_ids must be 3 numbers"),
        ({"info": 3}, "must be objects"),
        ({"class_info": {"ant": 3}}, "must be objects"),
    ],
)
def test_what_dataset_json_says_is_checked(
    values: dict[str, Any], message: str, tmp_path: Path
) -> None:
    folder = written(tmp_path)
    change(folder, **values)
    with pytest.raises(DataError, match=message):
        read(folder)


def test_an_older_schema_is_read(tmp_path: Path) -> None:
    folder = written(tmp_path)
    change(folder, schema_version=1)
    for stem in ("images", "labels"):
        file = folder / f"{stem}.parquet"
        pl.read_parquet(file).drop("extra").write_parquet(file)
    assert read(folder).findings == ()


@pytest.mark.parametrize("evil", ["../a.png", "/etc/passwd", "images/../../a.png", "c:/a.png", ""])
def test_paths_that_lead_outside_are_kept_out(evil: str, tmp_path: Path) -> None:
    folder = written(tmp_path)
    before = read(folder)
    paths = pl.read_parquet(folder / "images.parquet")["path"].to_list()
    paths[0] = evil
    images(folder, path=pl.Series(paths))
    after = read(folder)
    assert kinds(after) == [("path-outside", "images.parquet#0", 2)]
    assert (len(after), after.labels.height) == (len(before) - 1, before.labels.height - 2)
    assert after.paths == before.paths[1:]
    assert after.targets(0).boxes.tolist() == before.targets(1).boxes.tolist()  # type: ignore[union-attr]


def test_rows_that_point_nowhere_are_kept_out(tmp_path: Path) -> None:
    folder = written(tmp_path)
    labels(
        folder,
        image=pl.Series([0, 99, 1, 2, 3, 4, 4], dtype=pl.Int64),
        class_id=pl.Series([0, 1, -1, 3, None, 2, 2], dtype=pl.Int32),
    )
    dataset = read(folder)
    assert kinds(dataset) == [("bad-record", f"labels.parquet#{row}", 1) for row in (1, 2, 3, 4)]
    assert dataset.labels["record"].to_list() == [f"labels.parquet#{row}" for row in (0, 5, 6)]


def test_faulty_boxes_are_kept_out(tmp_path: Path) -> None:
    folder = written(tmp_path)
    labels(folder, x2=pl.Series([None, float("nan"), 10.0, 500.0, 63.5, 25.0, 1.0]))
    found = [one.kind for one in read(folder).findings]
    assert sorted(found) == ["bad-box", "bad-box", "clipped-box", "inverted-box", "zero-size-box"]


def test_values_of_a_wrong_kind_are_left_out_and_said(tmp_path: Path) -> None:
    folder = written(tmp_path)
    labels(folder, score=pl.lit("high"), attributes=pl.lit("{half"), keypoints=pl.lit("[1, 2, 1]"))
    images(folder, shoe_size=pl.lit(43))
    dataset = read(folder)
    messages = [one.message for one in dataset.findings]
    assert messages[0] == "the column 'shoe_size' is not one of ours"
    assert messages[1] == "7 values of 'score' are of the wrong kind (String)"
    assert messages[2] == "'attributes' is '{half', not the JSON that it should be"
    assert dataset.labels["score"].null_count() == 7
    assert dataset.labels["attributes"].null_count() == 7
    assert set(dataset.labels["keypoints"]) == {"[1, 2, 1]"}


@pytest.mark.parametrize("cut", [5, 100, -1])
def test_a_damaged_table_is_refused_in_one_sentence(cut: int, tmp_path: Path) -> None:
    folder = written(tmp_path)
    file = folder / "labels.parquet"
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(DataError, match=r"labels\.parquet cannot be read"):
        read(folder)


def test_a_table_of_endless_rows_is_refused(tmp_path: Path) -> None:
    folder = written(tmp_path)
    many = pl.DataFrame({"image": pl.zeros(3_000_000, pl.UInt32, eager=True)})
    many.with_columns(class_id=pl.lit(0)).write_parquet(folder / "labels.parquet")
    with pytest.raises(DataError, match="3000000 rows, more than its size allows"):
        read(folder)


def test_without_its_columns_it_is_refused(tmp_path: Path) -> None:
    folder = written(tmp_path)
    pl.DataFrame({"a": [1]}).write_parquet(folder / "labels.parquet")
    with pytest.raises(DataError, match="no column 'image'"):
        read(folder)
