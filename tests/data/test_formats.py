"""The same checks for every format: a new file in `data/formats` is tested here at once.

What a format holds in its own way stands in `tests/format_limits.py`. Each format's sample,
with a value in every column of its HOLDS, is written once and shared by the tests below.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from data_samples import classification, detection, rich
from format_limits import assert_same, columns_of, fitted, limits, outcome, sample
from whatwhere.data import Dataset, read
from whatwhere.data.formats import formats, writable
from whatwhere.data.formats._pictures import WAYS
from whatwhere.data.tables import FLAGS
from whatwhere.errors import DataError, UsageError, WhatwhereError
from whatwhere.images import member, read_image
from whatwhere.types import Task

TASKS: tuple[Task, ...] = ("classify", "multilabel", "detect")
EVERY = sorted(formats())
CASES = [(name, task) for name in writable() for task in TASKS if task in formats()[name].TASKS]

ALL_COLUMNS = frozenset(
    {"split", "group", "id", "labelled", "complete", *FLAGS, "area", "score", "source", "track"}
    | {"segmentation", "keypoints", "attributes"}
)


@dataclass(frozen=True)
class Written:
    """A format's sample, and where it was written; nobody may change it."""

    name: str
    task: Task
    sample: Dataset
    folder: Path
    lost: tuple[str, ...]
    dataset: Dataset

    def copy(self, place: Path) -> Path:
        """A copy that may be damaged."""
        return Path(shutil.copytree(self.folder, place, symlinks=True))


@pytest.fixture(scope="module", params=CASES, ids=lambda case: "-".join(case))
def written(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Written]:
    name, task = request.param
    place = tmp_path_factory.mktemp(f"{name}-{task}")
    before = sample(name, task, place)
    lost = before.write(place / "copy", name)
    after = read(place / "copy")
    kinds = tuple(finding.kind for finding in lost)
    yield Written(name, task, before, place / "copy", kinds, after)
    shutil.rmtree(place)


def test_the_formats_are_these() -> None:
    assert [
        *("cifar", "cityscapes", "coco", "createml", "csv_boxes", "csv_labels", "cvat"),
        *("datumaro", "dota", "folders", "geo", "hf_imagefolder", "imagenet_val", "kitti"),
        *("label_studio", "labelme", "mnist", "mot", "open_images", "parquet", "text_boxes"),
        *("tfrecord", "voc", "webdataset", "yolo"),
    ] == EVERY
    # Answers of detectors, of which there are better files to write.
    assert set(EVERY) - set(writable()) == {"text_boxes"}


@pytest.mark.parametrize("name", EVERY)
def test_a_format_module_has_all_its_parts(name: str) -> None:
    module = formats()[name]
    assert name == module.NAME
    assert module.TITLE
    assert module.LOOKS_FOR
    assert set(TASKS) >= module.TASKS > frozenset()
    known = ALL_COLUMNS | {"extra", "image_extra", "class_info", "info"}
    assert known >= module.HOLDS
    assert callable(module.recognise)
    assert callable(module.read)


def test_round_trip(written: Written) -> None:
    before, after = written.sample, written.dataset
    # A format with names of its own for pictures says so, and loses nothing else.
    renames = not limits(written.name).picture_names
    assert set(written.lost) <= limits(written.name).says | (
        {"renamed-image"} if renames else set()
    )
    assert after.format == written.name
    assert after.task == written.task
    # A small sample has not each class in each split.
    assert [one for one in after.findings if one.kind != "empty-class"] == []
    known, columns = limits(written.name), columns_of(written.name)
    assert_same(after, before, columns, written.name, known.tolerance)
    assert list(after.names) == list(before.names)
    assert after.splits == (before.splits if "split" in columns else {})
    # Sizes are known, and the pictures are the same.
    assert after.images["width"].null_count() == 0
    pairs = [sorted(one.paths, key=_order(known.picture_names)) for one in (before, after)]
    for old, new in zip(*pairs, strict=True):
        if member(new) is None and Path(old).suffix == Path(new).suffix:
            assert Path(new).read_bytes() == Path(old).read_bytes()
        else:
            assert (read_image(new) == read_image(old)).all()


def _order(by_name: bool):  # type: ignore[no-untyped-def]
    return (lambda path: Path(path).name) if by_name else (lambda path: "")


def test_writing_again_gives_the_same_digest(written: Written, tmp_path: Path) -> None:
    written.dataset.write(tmp_path / "second", written.name)
    assert read(tmp_path / "second").digest() == written.dataset.digest()


def test_moved_data_have_the_same_digest(written: Written, tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    written.copy(tmp_path / "far" / "away")
    assert read(tmp_path / "far" / "away").digest() == written.dataset.digest()


def test_only_one_format_recognises_it(written: Written) -> None:
    seen = {other for other in EVERY if formats()[other].recognise(written.folder)}
    assert seen == {written.name}


def test_recognised_says_what_was_seen(written: Written) -> None:
    dataset = written.dataset
    assert dataset.recognised.startswith(formats()[written.name].TITLE + ": ")
    assert dataset.source == str(written.folder)


def test_paths_are_absolute(
    written: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written.copy(tmp_path / "copy")
    monkeypatch.chdir(tmp_path)
    dataset = read("copy")
    for path in dataset.paths:
        inner = member(path)
        file = Path(path if inner is None else inner.file)
        assert file.is_absolute()
        assert file.is_file()
    assert not any(path.startswith(("/", "..")) for path in dataset.relative_paths())


def test_every_label_has_its_record(written: Written) -> None:
    records = written.dataset.labels["record"]
    assert records.null_count() == 0
    assert records.n_unique() == len(records)
    assert not any(record.startswith("/") for record in records)


def test_a_sound_data_set_has_no_errors(written: Written) -> None:
    found = {finding.kind: finding.severity for finding in written.dataset.check()}
    found.pop("empty-class", None)
    assert "error" not in found.values(), found


def test_what_a_format_cannot_hold_is_said(written: Written, tmp_path: Path) -> None:
    everything = rich(written.task, tmp_path, ALL_COLUMNS, limits(written.name).shape)
    everything = fitted(everything, written.name)
    columns = {"labelled", "complete", "split", "group"}
    columns |= ALL_COLUMNS & {
        name for name in everything.labels.columns if everything.labels[name].drop_nulls().len()
    }
    everything.class_info = {everything.names[0]: {"no such": "knowledge"}}
    everything.info = {"no such": "knowledge"}
    lost = everything.write(tmp_path / "copy", written.name, pictures="link")
    said = " ".join(finding.message for finding in lost if finding.kind == "lost-column")
    for name in sorted(columns):
        assert (repr(name) in said) == (name not in columns_of(written.name)), name
    for name in ("class_info", "info"):
        if name not in columns_of(written.name):
            assert name in said or "no such of the whole" in said


@pytest.mark.parametrize("how", WAYS)
def test_every_way_of_bringing_pictures(written: Written, how: str, tmp_path: Path) -> None:
    name = written.name
    if how == "none" and limits(name).stored:
        # There would be nothing left to read; saying so is better than an empty folder.
        with pytest.raises(UsageError, match="picture"):
            written.sample.write(tmp_path / "copy", name, pictures=how)
        assert not (tmp_path / "copy").exists()
        return
    written.sample.write(tmp_path / "copy", name, pictures=how)
    if how == "none":
        source = Path(written.sample.root)
        dataset = read(tmp_path / "copy", images=source)
        assert {Path(path).parent for path in dataset.paths} == {source}
        suffixes = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
        assert not [one for one in (tmp_path / "copy").rglob("*") if one.suffix in suffixes]
    else:
        dataset = read(tmp_path / "copy")
        if not any(member(path) for path in dataset.paths):
            files = [Path(path) for path in dataset.paths]
            assert all(file.is_symlink() for file in files) == (how == "reference")
            assert all(file.stat().st_nlink > 1 for file in files) == (how != "copy")
    assert_same(dataset, written.sample, columns_of(name), name, limits(name).tolerance)


def test_labels_without_pictures_are_said_to_be(written: Written, tmp_path: Path) -> None:
    if limits(written.name).stored:
        pytest.skip("no labels without pictures")
    written.sample.write(tmp_path / "copy", written.name, pictures="none")
    seen = {other for other in EVERY if formats()[other].recognise(tmp_path / "copy")}
    assert seen == {written.name}
    dataset, error = outcome(lambda: read(tmp_path / "copy"))
    if dataset is None:
        assert "picture" in str(error)
        return
    errors = [one for one in dataset.findings if one.severity == "error"]
    assert "missing-image" in {one.kind for one in errors}
    if not limits(written.name).plain_only:
        assert dataset.labels.height == written.sample.labels.height
    assert dataset.labels.height + dataset.kept_out >= written.sample.labels.height


def test_pictures_in_a_folder_that_the_user_names(written: Written, tmp_path: Path) -> None:
    if limits(written.name).stored:
        pytest.skip("no labels without pictures")
    written.sample.write(tmp_path / "copy", written.name, pictures="none")
    # Deeper, with one missing and a stranger among them.
    folder = tmp_path / "elsewhere"
    shutil.copytree(written.sample.root, folder / "sub")
    (folder / "sub" / "bild 1 ü.png").unlink()
    dataset = read(tmp_path / "copy", written.name, images=folder / "sub")
    assert any(
        one.kind == "missing-image" and "bild 1 ü" in one.message + one.where
        for one in dataset.findings
    )
    assert dataset.labels.height + dataset.kept_out >= written.sample.labels.height
    with pytest.raises(DataError, match="not a folder"):
        read(tmp_path / "copy", images=tmp_path / "nowhere")


def _victim(dataset: Dataset) -> Path:
    """The file of the second picture."""
    paths = [Path(path) for path in dataset.paths]
    return next((path for path in paths if path.name == "bild 1 ü.png"), paths[1])


def test_a_removed_picture_is_found(written: Written, tmp_path: Path) -> None:
    if any(member(path) for path in written.dataset.paths):
        pytest.skip("the pictures are not files of their own")
    copy = written.copy(tmp_path / "copy")
    victim = _victim(read(copy))
    victim.unlink()
    dataset = read(copy)
    if not limits(written.name).lists_pictures:
        assert len(dataset) == len(written.dataset) - 1
        return
    found = [finding for finding in dataset.check() if finding.severity == "error"]
    assert any(victim.stem in finding.where + finding.message for finding in found)
    assert dataset.labels.height + dataset.kept_out >= written.dataset.labels.height


def test_a_damaged_picture_is_found(written: Written, tmp_path: Path) -> None:
    if any(member(path) for path in written.dataset.paths):
        pytest.skip("the pictures are not files of their own")
    copy = written.copy(tmp_path / "copy")
    bad = _victim(read(copy))
    bad.write_bytes(bad.read_bytes()[: bad.stat().st_size // 2])
    found = [one for one in read(copy).check() if one.kind == "unreadable-image"]
    assert any("cut off" in finding.message for finding in found)
    assert {finding.severity for finding in found} == {"error"}


def test_a_shortened_file_of_pictures_is_found(written: Written, tmp_path: Path) -> None:
    if not any(member(path) for path in written.dataset.paths):
        pytest.skip("each picture is a file of its own")
    copy = written.copy(tmp_path / "copy")
    inner = member(read(copy).paths[-1])
    assert inner is not None
    file = Path(inner.file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    dataset, error = outcome(lambda: read(copy))
    if dataset is None:
        assert file.name in str(error)
    else:
        assert any(one.severity == "error" for one in dataset.check())


@pytest.mark.parametrize("name", EVERY)
def test_asking_for_the_format_of_another(name: str, tmp_path: Path) -> None:
    if name == "folders":
        pytest.skip("any folder of folders can be read as classes by someone who insists")
    other, dataset = ("folders", classification) if name == "coco" else ("coco", detection)
    dataset(tmp_path).write(tmp_path / "copy", other)
    with pytest.raises(DataError, match="looked for"):
        read(tmp_path / "copy", format=name)


@pytest.mark.parametrize(
    ("name", "task"),
    [(name, task) for name in writable() for task in TASKS if task not in formats()[name].TASKS],
)
def test_the_wrong_task_cannot_be_written(name: str, task: Task, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="data set"):
        rich(task, tmp_path, ()).write(tmp_path / "copy", name)
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("how", ["copy", "none"])
def test_a_full_disk_leaves_nothing(written: Written, how: str, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    if how == "none" and limits(written.name).stored:
        pytest.skip("no labels without pictures")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The system refuses to make a file larger than this, as it does where the disk is full.
    resource.setrlimit(resource.RLIMIT_FSIZE, (8, before[1]))
    try:
        with pytest.raises(WhatwhereError, match="free some space"):
            written.sample.write(tmp_path / "out" / "copy", written.name, pictures=how)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list((tmp_path / "out").iterdir()) == []


def test_writing_over_something_is_refused(written: Written, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "precious.txt").write_text("keep")
    with pytest.raises(UsageError, match="has content"):
        written.sample.write(tmp_path / "copy", written.name)
    assert (tmp_path / "copy" / "precious.txt").read_text() == "keep"


def test_an_empty_target_is_used(written: Written, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    written.sample.write(tmp_path / "copy", written.name, pictures="link")
    assert len(read(tmp_path / "copy")) == len(written.sample)


def test_pictures_of_one_name_do_not_overwrite_each_other(written: Written, tmp_path: Path) -> None:
    one = written.sample
    moved = shutil.copytree(one.root, tmp_path / "source")
    paths = [str(Path(moved) / Path(path).name) for path in one.paths]
    images = one.images.with_columns(path=pl.Series(paths), id=pl.col("id") + 1_000_000)
    shifted = (one.labels["image"] + len(one)).cast(pl.UInt32)
    labels = one.labels.vstack(one.labels.with_columns(shifted))
    both = Dataset(one.images.vstack(images), labels, one.names, task=one.task)
    both.write(tmp_path / "copy", written.name)
    after = read(tmp_path / "copy")
    assert len(after) == 2 * len(one)
    assert len(set(after.paths)) == len(after)
    assert after.labels.height == 2 * one.labels.height


def test_pictures_that_are_gone_are_reported_by_the_writer(
    written: Written, tmp_path: Path
) -> None:
    source = shutil.copytree(written.sample.root, tmp_path / "source")
    paths = [str(Path(source) / Path(path).name) for path in written.sample.paths]
    (Path(source) / "bild 1 ü.png").unlink()
    images = written.sample.images.with_columns(path=pl.Series(paths))
    dataset = Dataset(images, written.sample.labels, written.sample.names, task=written.task)
    lost = dataset.write(tmp_path / "copy", written.name)
    assert any("bild 1 ü.png" in finding.where for finding in lost)
    assert len(read(tmp_path / "copy")) == len(dataset) - 1


@pytest.mark.parametrize("split", ["fold 3", "../evil", "a/b"])
def test_a_split_of_any_name_is_kept_or_refused(
    written: Written, split: str, tmp_path: Path
) -> None:
    images = written.sample.images.with_columns(pl.lit(split).alias("split"))
    dataset = Dataset(images, written.sample.labels, written.sample.names, task=written.task)
    place = tmp_path / "deep" / "down"
    place.mkdir(parents=True)
    lost, error = outcome(lambda: dataset.write(place / "copy", written.name, pictures="link"))
    if lost is None:
        assert split in str(error)
        assert list(place.iterdir()) == []
    else:
        if "split" in columns_of(written.name) and not any("split" in one.message for one in lost):
            assert read(place / "copy").splits == {split: len(images)}
        assert [one.name for one in place.iterdir()] == ["copy"]
    assert [one.name for one in tmp_path.iterdir()] == ["deep"]
    assert [one.name for one in (tmp_path / "deep").iterdir()] == ["down"]


@pytest.mark.parametrize("depth", ["", "no/such/folder"])
def test_missing_and_empty(depth: str, tmp_path: Path) -> None:
    word = "does not exist" if depth else "empty folder"
    with pytest.raises(DataError, match=word):
        read(tmp_path / depth)


def test_an_unknown_folder_says_what_is_in_it_and_what_is_known(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    (tmp_path / "deep").mkdir()
    with pytest.raises(DataError, match=r"\(it has 1 \.txt files and a folder deep\)") as caught:
        read(tmp_path)
    assert ", ".join(formats()) in str(caught.value)


def test_an_unknown_format_lists_the_known(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(UsageError, match=", ".join(formats())):
        read(tmp_path, format="vco")
    with pytest.raises(UsageError, match=r"did you mean csv_boxes or csv_labels\?"):
        read(tmp_path, format="CSV")
    with pytest.raises(UsageError, match="'such': use one of"):
        read(tmp_path, format="such")


def test_two_formats_in_one_folder_are_not_guessed(tmp_path: Path) -> None:
    dataset = detection(tmp_path)
    dataset.write(tmp_path / "both", "yolo")
    dataset.write(tmp_path / "voc", "voc")
    for folder in ("Annotations", "JPEGImages"):
        (tmp_path / "voc" / folder).rename(tmp_path / "both" / folder)
    with pytest.raises(DataError, match=r"looks like voc .* and yolo"):
        read(tmp_path / "both")
    assert read(tmp_path / "both", format="voc").format == "voc"
