"""How many pictures fit in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import whatwhere.train.memory as memory
from train_data import Notes
from whatwhere.errors import TrainError
from whatwhere.train.config import TrainConfig
from whatwhere.train.loop import State
from whatwhere.train.memory import (
    available_memory,
    cpu_most,
    fewer_at_once,
    gpu_most,
    is_out_of_memory,
    largest_batch,
    smaller,
)

Fit = Callable[..., State]


def _limited(most: int, tried: list[int]) -> Callable[[int], None]:
    def passes(size: int) -> None:
        tried.append(size)
        if size > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    return passes


@pytest.mark.parametrize(
    ("fits", "most", "expected", "tries"),
    [
        (100, 1000, 64, [4, 8, 16, 32, 64, 128]),
        (1000, 24, 24, [4, 8, 16, 24]),
        (3, 1000, 2, [4, 2]),
        (1, 1000, 1, [4, 2, 1]),
        (1000, 2, 2, [2]),
    ],
)
def test_doubling_until_it_does_not_fit(
    fits: int, most: int, expected: int, tries: list[int]
) -> None:
    tried: list[int] = []
    assert largest_batch(_limited(fits, tried), most) == expected
    assert tried == tries


def test_nothing_fits_or_something_else_is_wrong() -> None:
    with pytest.raises(TrainError, match="not even one picture"):
        largest_batch(_limited(0, []), 100)

    def wrong(size: int) -> None:
        raise RuntimeError("shapes")

    with pytest.raises(RuntimeError, match="shapes"):
        largest_batch(wrong, 100)


def test_what_memory_errors_look_like() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value), str(caught.value)
    assert not is_out_of_memory(RuntimeError("shapes"))
    assert not is_out_of_memory(MemoryError())


def test_halves() -> None:
    assert smaller(16, 1) == 8
    assert smaller(9, 1) == 3
    assert smaller(7, 1) == 1
    assert smaller(8, 2) == 4
    assert smaller(6, 2) == 2
    for batch, processes in ((1, 1), (2, 2)):
        with pytest.raises(TrainError, match="not even one picture"):
            smaller(batch, processes)


def test_fewer_pictures_at_once() -> None:
    full = torch.OutOfMemoryError("CUDA out of memory")
    assert fewer_at_once(full, 9, 2, 1)[:2] == (3, 6)
    with pytest.raises(TrainError, match=r"4 pictures at once .* --batch 4 --set accumulate=6"):
        fewer_at_once(full, 8, 3, 2)
    with pytest.raises(TrainError, match=r"3 pictures at once .* --batch 2 --set accumulate=3"):
        fewer_at_once(full, 6, 1, 2)
    with pytest.raises(RuntimeError, match="shapes"):
        fewer_at_once(RuntimeError("shapes"), 8, 1, 1)


def test_what_a_cpu_can_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass that keeps 4 kB for each picture."""
    weight = torch.ones(1000, requires_grad=True)

    def passes(size: int) -> None:
        # The product keeps `x` for the gradient of the weight, and nothing for that of `x`.
        (weight * torch.ones(size, 1000)).sum().backward()

    room = 1_000_000
    monkeypatch.setattr(memory, "available_memory", lambda: room)
    # 0.6 of the room, 1.5 times what is kept.
    assert cpu_most("classify", 10_000, passes) == int(0.6 * room / (1.5 * 4000))
    room = 100_000_000
    assert cpu_most("classify", 10_000, passes) == 256
    assert cpu_most("detect", 10_000, passes) == 64
    assert cpu_most("detect", 12, passes) == 12
    room = 10
    assert cpu_most("classify", 10_000, passes) == 1
    monkeypatch.setattr(memory, "available_memory", lambda: None)
    assert cpu_most("multilabel", 10_000, passes) == 256
    assert gpu_most(100_000) == 1024
    assert gpu_most(1) == 2


def test_this_machine_has_memory() -> None:
    found = available_memory()
    assert found is None or found > 2**20


def test_batch_0_is_chosen_and_said(
    fit: Fit, classifier_config: TrainConfig, workshop: Path, tmp_path: Path
) -> None:
    notes = Notes()
    config = replace(classifier_config, batch=0, epochs=1)
    state = fit(workshop / "animals", config, tmp_path / "run", listener=notes)
    assert (state.batch, state.plan.total) == (12, 1)
    assert "batch 12: as many as fit in memory and are of use" in notes.said
