"""The same checks for every format: a new file in `data/formats` is tested here at once."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_samples import NAMES, classification, detection
from whatwhere.data import Dataset, read
from whatwhere.data.formats import formats
from whatwhere.errors import DataError, UsageError, WhatwhereError

EVERY = sorted(formats())


def sample(name: str, folder: Path) -> Dataset:
    """A data set that the format can hold."""
    tasks = formats()[name].TASKS
    return detection(folder) if "detect" in tasks else classification(folder)


def rows(dataset: Dataset) -> list[Any]:
    """What a data set says, whatever the order of pictures and classes."""
    found = []
    for row, path in enumerate(dataset.paths):
        targets = dataset.targets(row)
        labels = [dataset.names[number] for number in targets.class_ids]
        if targets.boxes is not None:
            boxes = np.round(targets.boxes.astype(float), 2).tolist()
            labels = list(zip(labels, map(tuple, boxes), strict=True))
        image = dataset.images.row(row, named=True)
        found.append((Path(path).name, image["split"], sorted(labels)))
    return sorted(found)


@pytest.fixture(params=EVERY)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_formats_are_these() -> None:
    assert EVERY == ["coco", "folders", "voc", "yolo"]


def test_a_format_module_has_all_its_parts(name: str) -> None:
    module = formats()[name]
    assert name == module.NAME
    assert module.TITLE
    assert module.LOOKS_FOR
    assert all(callable(part) for part in (module.recognise, module.read, module.write))


def test_round_trip(name: str, tmp_path: Path) -> None:
    before = sample(name, tmp_path)
    lost = before.write(tmp_path / "copy", name)
    assert {finding.kind for finding in lost} <= {"lost-column"}
    after = read(tmp_path / "copy")
    assert after.format == name
    assert after.findings == ()
    assert after.task == before.task
    assert rows(after) == rows(before)
    assert sorted(after.names) == sorted(NAMES)
    assert after.splits == before.splits
    # Sizes are known, and the pictures are the same files.
    assert after.images["width"].null_count() == 0
    originals = {Path(path).name: Path(path).read_bytes() for path in before.paths}
    assert {Path(path).name: Path(path).read_bytes() for path in after.paths} == originals


def test_writing_again_gives_the_same_digest(name: str, tmp_path: Path) -> None:
    sample(name, tmp_path).write(tmp_path / "first", name)
    first = read(tmp_path / "first")
    first.write(tmp_path / "second", name)
    assert read(tmp_path / "second").digest() == first.digest()


def test_moved_data_have_the_same_digest(name: str, tmp_path: Path) -> None:
    sample(name, tmp_path).write(tmp_path / "here", name)
    before = read(tmp_path / "here").digest()
    (tmp_path / "far").mkdir()
    (tmp_path / "here").rename(tmp_path / "far" / "away")
    assert read(tmp_path / "far" / "away").digest() == before


def test_only_one_format_recognises_it(name: str, tmp_path: Path) -> None:
    sample(name, tmp_path).write(tmp_path / "copy", name)
    seen = {other for other in EVERY if formats()[other].recognise(tmp_path / "copy")}
    assert seen == {name}


def test_recognised_says_what_was_seen(name: str, tmp_path: Path) -> None:
    sample(name, tmp_path).write(tmp_path / "copy", name)
    dataset = read(tmp_path / "copy")
    assert dataset.recognised.startswith(formats()[name].TITLE + ": ")
    assert dataset.source == str(tmp_path / "copy")


def test_paths_are_absolute(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sample(name, tmp_path).write(tmp_path / "copy", name)
    monkeypatch.chdir(tmp_path)
    dataset = read("copy")
    assert all(Path(path).is_absolute() and Path(path).is_file() for path in dataset.paths)
    assert not any(path.startswith(("/", "..")) for path in dataset.relative_paths())


def test_every_label_has_its_record(name: str, tmp_path: Path) -> None:
    sample(name, tmp_path).write(tmp_path / "copy", name)
    records = read(tmp_path / "copy").labels["record"]
    assert records.null_count() == 0
    assert records.n_unique() == len(records)
    assert not any(record.startswith("/") for record in records)


def test_a_removed_picture_is_found(name: str, tmp_path: Path) -> None:
    sample(name, tmp_path).write(tmp_path / "copy", name)
    whole = read(tmp_path / "copy")
    gone = next(path for path in whole.paths if path.endswith("bild 1 ü.png"))
    Path(gone).unlink()
    dataset = read(tmp_path / "copy")
    if name == "folders":
        # Nothing else knows of the picture.
        assert len(dataset) == len(whole) - 1
        return
    found = [finding for finding in dataset.check() if finding.severity == "error"]
    assert any("bild 1 ü" in finding.where + finding.message for finding in found)


def test_a_damaged_picture_is_found(name: str, tmp_path: Path) -> None:
    sample(name, tmp_path).write(tmp_path / "copy", name)
    bad = next(path for path in read(tmp_path / "copy").paths if path.endswith("bild 1 ü.png"))
    data = Path(bad).read_bytes()
    Path(bad).write_bytes(data[: len(data) // 2])
    found = [one for one in read(tmp_path / "copy").check() if one.kind == "unreadable-image"]
    assert any("cut off" in finding.message for finding in found)
    assert {finding.severity for finding in found} == {"error"}


def test_a_sound_data_set_has_no_errors(name: str, tmp_path: Path) -> None:
    sample(name, tmp_path).write(tmp_path / "copy", name)
    assert {finding.severity for finding in read(tmp_path / "copy").check()} <= {"info"}


def test_asking_for_the_format_of_another(name: str, tmp_path: Path) -> None:
    other = "folders" if name == "coco" else "coco"
    sample(other, tmp_path).write(tmp_path / "copy", other)
    if name == "folders":
        return  # any folder of folders can be read as classes by someone who insists
    with pytest.raises(DataError, match="looked for"):
        read(tmp_path / "copy", format=name)


def test_the_wrong_task_cannot_be_written(name: str, tmp_path: Path) -> None:
    wrong = detection(tmp_path) if name == "folders" else classification(tmp_path)
    with pytest.raises(UsageError, match="data set"):
        wrong.write(tmp_path / "copy", name)
    assert not (tmp_path / "copy").exists()


def test_a_full_disk_leaves_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = sample(name, tmp_path)
    (tmp_path / "out").mkdir()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("shutil.copyfileobj", full)
    with pytest.raises(WhatwhereError, match="free some space"):
        dataset.write(tmp_path / "out" / "copy", name)
    assert list((tmp_path / "out").iterdir()) == []


def test_writing_over_something_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "precious.txt").write_text("keep")
    with pytest.raises(UsageError, match="has content"):
        sample(name, tmp_path).write(tmp_path / "copy", name)
    assert (tmp_path / "copy" / "precious.txt").read_text() == "keep"


def test_an_empty_target_is_used(name: str, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    sample(name, tmp_path).write(tmp_path / "copy", name)
    assert len(read(tmp_path / "copy")) == 6


def test_pictures_of_one_name_do_not_overwrite_each_other(name: str, tmp_path: Path) -> None:
    one, two = sample(name, tmp_path / "a"), sample(name, tmp_path / "b")
    images = one.images.vstack(two.images)
    labels = one.labels.vstack(
        two.labels.with_columns((two.labels["image"] + len(one)).cast(two.labels["image"].dtype))
    )
    Dataset(images, labels, NAMES).write(tmp_path / "copy", name)
    both = read(tmp_path / "copy")
    assert len(both) == 12
    assert both.labels.height == 2 * one.labels.height


def test_pictures_that_are_gone_are_reported_by_the_writer(name: str, tmp_path: Path) -> None:
    dataset = sample(name, tmp_path)
    Path(dataset.paths[1]).unlink()
    lost = dataset.write(tmp_path / "copy", name)
    assert any("bild 1 ü.png" in finding.where for finding in lost)
    assert len(read(tmp_path / "copy")) == 5


@pytest.mark.parametrize("depth", ["", "no/such/folder"])
def test_missing_and_empty(depth: str, tmp_path: Path) -> None:
    word = "does not exist" if depth else "empty folder"
    with pytest.raises(DataError, match=word):
        read(tmp_path / depth)


def test_an_unknown_folder_says_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    for name in EVERY:
        assert f"({name})" in str(caught.value)


def test_an_unknown_format_lists_the_known(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(UsageError, match="coco, folders, voc, yolo"):
        read(tmp_path, format="vco")


def test_two_formats_in_one_folder_are_not_guessed(tmp_path: Path) -> None:
    dataset = detection(tmp_path)
    dataset.write(tmp_path / "both", "yolo")
    dataset.write(tmp_path / "voc", "voc")
    for folder in ("Annotations", "JPEGImages"):
        (tmp_path / "voc" / folder).rename(tmp_path / "both" / folder)
    with pytest.raises(DataError, match=r"looks like voc .* and yolo"):
        read(tmp_path / "both")
    assert read(tmp_path / "both", format="voc").format == "voc"


@pytest.mark.parametrize("kind", ["voc", "coco", "yolo"])
@pytest.mark.parametrize("target", ["voc", "coco", "yolo"])
def test_every_format_into_every_other(kind: str, target: str, tmp_path: Path) -> None:
    before = detection(tmp_path)
    before.write(tmp_path / "one", kind)
    read(tmp_path / "one").write(tmp_path / "two", target)
    assert rows(read(tmp_path / "two")) == rows(before)
