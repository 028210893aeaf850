"""From one format to another and back: nothing that both can hold may change.

`tests/format_limits.py` says what a format holds in its own way. Boxes are compared to the
bit of their float32, unless it gives the format a tolerance, with the reason.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, assume, event, given, settings

from data_samples import rich
from format_limits import assert_same, columns_of, fitted, limits, outcome
from whatwhere.data import Dataset, read
from whatwhere.data.formats import formats, writable
from whatwhere.errors import UsageError
from whatwhere.images import write_image
from whatwhere.types import Task

TASKS: tuple[Task, ...] = ("classify", "multilabel", "detect")

COLUMNS = frozenset(
    {"split", "group", "id", "labelled", "complete", "ignore", "difficult", "truncated"}
    | {"occluded", "iscrowd", "area", "score", "source", "track", "attributes"}
    | {"segmentation", "keypoints"}
)


def pairs() -> list[tuple[Task, str, str]]:
    """Every ordered pair of formats that share a task and can hold the same pictures."""
    found = []
    for task in TASKS:
        names = [name for name in writable(task) if task in formats()[name].TASKS]
        for one, two in itertools.permutations(names, 2):
            shapes = {limits(one).shape, limits(two).shape} - {None}
            if len(shapes) < 2:
                found.append((task, one, two))
    return found


PAIRS = pairs()


def shape_of(*names: str) -> tuple[int, ...] | None:
    """The shape that one of the formats demands."""
    return next((shape for name in names if (shape := limits(name).shape)), None)


def fitted_to(dataset: Dataset, *names: str) -> Dataset:
    """The nearest data set that each of the formats can hold."""
    for name in (*names, *names):
        dataset = fitted(dataset, name)
    return dataset


def there_and_back(dataset: Dataset, one: str, two: str, folder: Path) -> None:
    """Write as `one`, as `two`, and as `one` again; compare at each step."""
    common = columns_of(one) & columns_of(two) & COLUMNS
    tolerance = limits(one).tolerance
    dataset.write(folder / "1", one, pictures="link")
    first = read(folder / "1", one)
    assert_same(first, dataset, columns_of(one) & COLUMNS, one, tolerance)
    tolerance += limits(two).tolerance
    first.write(folder / "2", two, pictures="link")
    second = read(folder / "2", two)
    names = one if not limits(one).picture_names else two
    assert_same(second, first, common, names, tolerance)
    second.write(folder / "3", one, pictures="link")
    assert_same(read(folder / "3", one), first, common, names, tolerance + limits(one).tolerance)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("pairs")
    yield place
    shutil.rmtree(place)


@pytest.mark.parametrize("start", sorted({pair[:2] for pair in PAIRS}), ids="-".join)
def test_every_pair(start: tuple[Task, str], workplace: Path) -> None:
    """One format into each other and back, with a value in each column."""
    failed = {}
    task, one = start
    for two in (pair[2] for pair in PAIRS if pair[:2] == start):
        folder = workplace / f"{task}-{one}-{two}"
        dataset = rich(task, folder, COLUMNS, shape_of(one, two))
        try:
            there_and_back(fitted_to(dataset, one, two), one, two, folder)
        except (AssertionError, UsageError) as error:
            failed[two] = f"{type(error).__name__}: {error}"
        shutil.rmtree(folder)
    assert not failed, "\n".join(f"{one} to {two}: {said}" for two, said in failed.items())


# What a file, a table and a line of text may have; names with control characters and with
# blanks at their ends are not common property of the formats (`test_outside` has them).
_LETTERS = st.characters(
    categories=["L", "N", "P", "S", "Mn"], include_characters=" ", exclude_characters="/\\"
)
_NAMES = st.text(_LETTERS, min_size=1, max_size=12).filter(
    lambda name: name == name.strip() and not name.startswith(".")
)
_SPLITS = st.sampled_from([(None,), ("train", "val", "test"), ("train", None), ("train", "fold 2")])
_FLAG = st.sampled_from([None, False, True])


@st.composite
def datasets(draw: st.DrawFn, task: Task, folder: Path, shape: tuple[int, ...] | None) -> Dataset:
    """Up to 8 pictures with up to 4 labels each, and perhaps something in each column."""
    # A name that begins like a drive of Windows is written as another one.
    stems = draw(st.lists(_NAMES, min_size=1, max_size=8, unique_by=str.casefold))
    assume(not any(stem[:1].isascii() and stem[1:2] == ":" for stem in stems))
    names = draw(st.lists(_NAMES, min_size=1, max_size=4, unique_by=str.casefold))
    splits = draw(_SPLITS)
    sizes, paths = [], []
    for stem in stems:
        # File names are at most 255 bytes long, and numbers are added to them.
        assume(len(stem.encode()) < 100)
        size = draw(st.sampled_from(sorted(_POOL))) if shape is None else shape
        path = folder / "source" / f"{stem}.png"
        path.parent.mkdir(exist_ok=True, parents=True)
        os.link(_picture(size, folder.parent), path)
        sizes.append(size)
        paths.append(str(path))
    labelled: list[list[str] | None] = []
    labels: list[dict[str, Any]] = []
    for image, size in enumerate(sizes):
        count = 1 if task == "classify" else draw(st.integers(0, 4 if task == "detect" else 0))
        ids = [draw(st.integers(0, len(names) - 1)) for _ in range(count)]
        if task == "multilabel":
            ids = draw(st.lists(st.integers(0, len(names) - 1), unique=True, max_size=4))
        for number in ids:
            row = draw(label_values())
            if task == "detect":
                row |= draw(box_values(size[1], size[0]))
            labels.append({"image": image, "class_id": number} | row)
        seen = {names[number] for number in ids}
        also = draw(st.none() | st.sets(st.sampled_from(names)))
        labelled.append(None if also is None else sorted(seen | also))
    counts = np.bincount([label["image"] for label in labels], minlength=len(paths))
    # Files without any label tell neither their task nor, in many formats, what they are;
    # and one label a picture is what "classify" means.
    assume(labels and (task != "multilabel" or (counts != 1).any()))
    images = {
        "path": paths,
        "width": [size[1] for size in sizes],
        "height": [size[0] for size in sizes],
        "split": [draw(st.sampled_from(splits)) for _ in paths],
        "id": draw(
            st.lists(st.integers(1, 2**53), min_size=len(paths), max_size=len(paths), unique=True)
        ),
        "group": [draw(st.sampled_from([None, "clip a", "clip b"])) for _ in paths],
        "labelled": labelled,
        "complete": [
            None if one is None else draw(st.none() | st.just(one[:1])) for one in labelled
        ],
    }
    table = pl.DataFrame(labels, infer_schema_length=None) if labels else {}
    return Dataset(images, table, names, root=str(folder / "source"), task=task)


@st.composite
def label_values(draw: st.DrawFn) -> dict[str, Any]:
    """Flags and the like, in accordance with one another."""
    row = {name: draw(_FLAG) for name in ("difficult", "truncated", "occluded", "iscrowd")}
    ignore = bool(row["difficult"] or row["iscrowd"]) or draw(st.booleans())
    score = draw(st.none() | st.integers(0, 10**6).map(lambda value: value / 10**6))
    source = "model" if score is not None else draw(st.sampled_from([None, "human", "verified"]))
    attributes = draw(st.sampled_from([None, '{"colour": "dark red"}', '{"size": "3", "ü": "ja"}']))
    return row | {
        "ignore": ignore,
        "score": score,
        "source": source,
        "attributes": attributes,
        "track": draw(st.none() | st.integers(1, 10**6).map(str)),
    }


@st.composite
def box_values(draw: st.DrawFn, width: int, height: int) -> dict[str, Any]:
    """A box of at least two pixels a side, on thousandths of a pixel, as float32.

    Smaller boxes are a fault in Pascal VOC, and the step keeps formats exact that store
    fractions of the picture or count from 1.
    """
    row: dict[str, Any] = {}
    for low, high, side in (("x1", "x2", width), ("y1", "y2", height)):
        start = draw(st.integers(0, (side - 2) * 1000))
        end = draw(st.integers(start + 2000, side * 1000))
        row[low], row[high] = (float(np.float32(value / 1000)) for value in (start, end))
    if draw(st.booleans()):
        row["area"] = draw(st.integers(1, 10**6)) / 64
    if draw(st.booleans()):
        x1, y1, x2, y2 = (row[name] for name in ("x1", "y1", "x2", "y2"))
        row["segmentation"] = f"[[{x1}, {y1}, {x2}, {y1}, {x2}, {y2}, {x1}, {(y1 + y2) / 2}]]"
    return row


_POOL = [(20, 30, 3), (7, 5, 3), (64, 48, 3)]
_made: dict[tuple[Any, ...], Path] = {}


def _picture(shape: tuple[int, ...], folder: Path) -> Path:
    """A picture file of that shape to make links to."""
    key = (shape, folder)
    if key not in _made:
        pixels = np.full(shape if len(shape) == 3 else (*shape, 3), 99, np.uint8)
        _made[key] = folder / f"pool-{'x'.join(map(str, shape))}.png"
        write_image(_made[key], pixels)
    return _made[key]


def _generated(data: st.DataObject, place: Path) -> None:
    task, one, two = data.draw(st.sampled_from(PAIRS), label="formats")
    with tempfile.TemporaryDirectory(dir=place) as name:
        folder = Path(name)
        dataset = data.draw(datasets(task, folder, shape_of(one, two)), label="data set")
        dataset = fitted_to(dataset, one, two)
        assume(len(dataset) > 0)
        # A format may refuse what it cannot hold, but not write something else.
        for number, kind in enumerate((one, two)):
            refused, error = outcome(
                lambda kind=kind, number=number: dataset.write(  # type: ignore[misc]
                    folder / f"try {number}", kind, pictures="link"
                )
            )
            if refused is None:
                assert isinstance(error, UsageError)
                event(f"{kind} refuses")
            assume(refused is not None)
            # Splits whose names no folder may have, and pictures whose names no shard may.
            kinds = {finding.kind for finding in refused}
            assume("lost-split" not in kinds)
            assume("renamed-image" not in kinds or not limits(kind).picture_names)
        there_and_back(dataset, one, two, folder)


_SETTINGS = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
}


@settings(max_examples=60, derandomize=True, **_SETTINGS)
@given(data=st.data())
def test_generated_sets(data: st.DataObject, workplace: Path) -> None:
    _generated(data, workplace)


@pytest.mark.slow
@settings(max_examples=5000, **_SETTINGS)
@given(data=st.data())
def test_many_generated_sets(data: st.DataObject, workplace: Path) -> None:
    _generated(data, workplace)
