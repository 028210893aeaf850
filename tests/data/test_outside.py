"""No format reads or writes outside its folder, whatever names an annotation has."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import polars as pl
import pytest

from data_samples import pictures
from format_limits import assert_same, outcome, sample
from opened_files import opened_files, strangers
from whatwhere.data import Dataset, read
from whatwhere.data.formats import formats, writable
from whatwhere.errors import UsageError
from whatwhere.images import Member, member
from whatwhere.types import Task

TASKS: tuple[Task, ...] = ("classify", "multilabel", "detect")
CASES = [(name, task) for name in writable() for task in TASKS if task in formats()[name].TASKS]

_NAME = "bild 1 ü"
_WRITTEN: tuple[Callable[[str], str], ...] = (
    str,
    lambda text: json.dumps(text)[1:-1],
    escape,
)
"""How a name may stand in a file."""


@dataclass(frozen=True)
class Written:
    name: str
    task: Task
    sample: Dataset
    folder: Path


@pytest.fixture(scope="module", params=CASES, ids=lambda case: "-".join(case))
def written(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Written]:
    name, task = request.param
    place = tmp_path_factory.mktemp(f"outside-{name}-{task}")
    before = sample(name, task, place)
    before.write(place / "copy", name)
    yield Written(name, task, before, place / "copy")
    shutil.rmtree(place)


def _secrets(folder: Path) -> None:
    """Files that look as if they belonged to a data set, one floor above it."""
    (picture,) = pictures(folder / "made", 1)
    for suffix in (".png", ".jpg"):
        shutil.copyfile(picture, folder / f"secret{suffix}")
    shutil.rmtree(folder / "made")
    (folder / "secret.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    (folder / "secret.json").write_text("{}")
    (folder / "secret.xml").write_text("<annotation/>")
    (folder / "secret").mkdir()
    shutil.copyfile(folder / "secret.png", folder / "secret" / "secret.png")


@pytest.mark.parametrize(
    "evil",
    ["../secret", "{folder}/secret", "images/../../secret", "../copy/../secret", "..\\secret"],
)
def test_names_in_annotations_that_lead_outside(
    written: Written, evil: str, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(written.folder, tmp_path / "copy"))
    _secrets(tmp_path)
    target = evil.format(folder=tmp_path)
    changed = 0
    for file in [one for one in copy.rglob("*") if one.is_file()]:
        data = file.read_bytes()
        for as_written in _WRITTEN:
            old, new = as_written(_NAME).encode(), as_written(target).encode()
            if old in data:
                data, changed = data.replace(old, new), changed + 1
        if data != file.read_bytes():
            file.write_bytes(data)
    if not changed:
        pytest.skip("no file of this format names a picture")
    with opened_files() as found:
        dataset, _ = outcome(lambda: read(copy, written.name))
        if dataset is not None:
            dataset.check()
    assert strangers(found, copy) == []
    for path in dataset.paths if dataset is not None else ():
        inner = member(path)
        place = os.path.normpath(path if inner is None else inner.file)
        assert Path(place).is_relative_to(copy)


def test_reading_opens_nothing_else_and_changes_nothing(written: Written, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(written.folder, tmp_path / "copy"))
    before = {one: one.stat().st_mtime_ns for one in sorted(copy.rglob("*"))}
    with opened_files() as found:
        dataset = read(copy)
        dataset.check()
    assert strangers(found, copy) == []
    assert {one: one.stat().st_mtime_ns for one in sorted(copy.rglob("*"))} == before
    assert [one.name for one in tmp_path.iterdir()] == ["copy"]


def test_a_link_in_a_data_set_is_no_way_out(written: Written, tmp_path: Path) -> None:
    """A text file that is a link to a text of somebody else's is not shown to anyone."""
    copy = Path(shutil.copytree(written.folder, tmp_path / "copy"))
    secret = tmp_path / "password.txt"
    secret.write_text("correct horse battery staple\n" * 3)
    texts = [one for one in copy.rglob("*") if one.suffix in (".txt", ".xml", ".json", ".csv")]
    for file in texts:
        file.unlink()
        file.symlink_to(secret)
    dataset, error = outcome(lambda: read(copy, written.name))
    if dataset is None:
        assert "horse" not in str(error)
    else:
        # What cannot be understood may be quoted, but no class is made of it in silence.
        assert dataset.findings or not texts or "horse" not in " ".join(dataset.names)


EVIL_CLASSES = ["../../evil", "/evil", "a/b", "..", "a\nb", "a\tb", "a:b", "a,b;c|d", "0", "#x"]


@pytest.mark.parametrize("evil", EVIL_CLASSES)
def test_class_names_are_no_paths(written: Written, evil: str, tmp_path: Path) -> None:
    before = written.sample
    first = before.names[0]
    names = [evil if name == first else name for name in before.names]
    columns = {
        name: before.images[name].list.eval(pl.element().replace(first, evil))
        for name in ("labelled", "complete")
    }
    images = before.images.with_columns(**columns)
    dataset = Dataset(images, before.labels, names, root=before.root, task=written.task)
    place = tmp_path / "deep" / "down"
    place.mkdir(parents=True)
    with opened_files() as found:
        lost, error = outcome(lambda: dataset.write(place / "copy", written.name, pictures="link"))
    assert strangers(found, tmp_path, Path(before.root)) == []
    assert [one.name for one in tmp_path.iterdir()] == ["deep"]
    assert [one.name for one in (tmp_path / "deep").iterdir()] == ["down"]
    assert [one.name for one in place.iterdir()] == ([] if lost is None else ["copy"])
    if lost is None:
        assert isinstance(error, UsageError)
        assert repr(evil) in str(error)
        return
    after = read(place / "copy")
    if any(one.kind == "renamed-class" and repr(evil) in one.message for one in lost):
        return
    assert sorted(after.names) == sorted(names)
    assert_same(after, dataset, frozenset(), written.name, 0.01)


def test_names_of_pictures_inside_files_are_no_paths(written: Written, tmp_path: Path) -> None:
    before = written.sample
    place = tmp_path / "deep" / "down"
    place.mkdir(parents=True)
    paths = []
    for number, path in enumerate(before.paths):
        data = Path(path).read_bytes()
        shard = tmp_path / "deep" / f"shard {number}.tar"
        shard.write_bytes(data)
        paths.append(str(Member(str(shard), 0, (len(data),), f"../../evil {number}.png")))
    images = before.images.with_columns(path=pl.Series(paths))
    dataset = Dataset(images, before.labels, before.names, root=str(tmp_path), task=written.task)
    dataset.write(place / "copy", written.name)
    assert [one.name for one in tmp_path.iterdir()] == ["deep"]
    assert [one.name for one in place.iterdir()] == ["copy"]
    assert len(read(place / "copy")) == len(before)
