"""Paths and targets in a mapped file."""

from __future__ import annotations

import multiprocessing
import pickle
from pathlib import Path

import numpy as np
import pytest

from data_samples import classification, detection
from whatwhere.data import Dataset
from whatwhere.data.shared import SharedRows
from whatwhere.errors import DataError, UsageError


def _same(shared: SharedRows, dataset: Dataset) -> bool:
    assert len(shared) == len(dataset)
    assert shared.paths == dataset.paths
    for row in range(len(dataset)):
        one, two = shared.targets(row), dataset.targets(row)
        np.testing.assert_array_equal(one.class_ids, two.class_ids)
        np.testing.assert_array_equal(one.ignore, two.ignore)
        if two.boxes is None:
            assert one.boxes is None
        else:
            np.testing.assert_array_equal(one.boxes, two.boxes)
            assert one.boxes is not None
            assert one.boxes.dtype == np.float32
    return True


@pytest.mark.parametrize("make", [detection, classification])
def test_it_says_what_the_data_set_says(make, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    dataset = make(tmp_path)
    shared = SharedRows(dataset, tmp_path)
    assert _same(shared, dataset)
    sent = pickle.dumps(shared)
    assert len(sent) < 2000
    assert _same(pickle.loads(sent), dataset)  # noqa: S301 - our own bytes
    for row in (-1, 6):
        with pytest.raises(UsageError, match="there is no picture"):
            shared.targets(row)
    with pytest.raises(ValueError, match="read-only"):
        shared.targets(0).class_ids[0] = 5


def test_another_process_reads_it(tmp_path: Path) -> None:
    dataset = detection(tmp_path)
    shared = SharedRows(dataset, tmp_path)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_same, (shared, dataset))


def test_the_file_goes_with_its_maker(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    shared = SharedRows(detection(tmp_path), folder)
    (file,) = folder.iterdir()
    sent, other = pickle.dumps(shared), pickle.loads(pickle.dumps(shared))  # noqa: S301
    del shared
    assert not file.exists()
    # Who has it open keeps it; who comes later is told.
    assert other.targets(0).class_ids.tolist() == [0, 1]
    with pytest.raises(DataError, match="keep the object"):
        pickle.loads(sent)  # noqa: S301


def test_no_labels_at_all(tmp_path: Path) -> None:
    dataset = Dataset({"path": ["a", "ü"]}, {}, ["x"], task="detect")
    assert _same(SharedRows(dataset, tmp_path), dataset)
