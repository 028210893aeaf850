"""Work in several threads: order, bounds, errors, and no waiting for a slow source."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from whatwhere.runtime.lanes import in_lanes


def double(group: list[int]) -> list[int]:
    time.sleep(0.001 * (group[0] % 3))
    return [2 * item for item in group]


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize("threads", [1, 4])
def test_order_is_kept(size: int, threads: int) -> None:
    assert list(in_lanes(double, iter(range(20)), size, threads)) == [2 * i for i in range(20)]
    assert list(in_lanes(double, iter([]), size, threads)) == []


def test_an_endless_source_is_held_in_part() -> None:
    taken: list[int] = []

    def endless() -> Iterator[int]:
        while True:
            taken.append(len(taken))
            yield taken[-1]

    stream = in_lanes(double, endless(), 2, 3)
    for number in range(50):
        assert next(stream) == 2 * number
        assert len(taken) <= number + 2 * 3 * 2 + 2
    stream.close()
    count = len(taken)
    time.sleep(0.02)
    assert len(taken) == count


def test_an_error_comes_in_its_place() -> None:
    def broken(group: list[int]) -> list[int]:
        if group[0] == 3:
            raise RuntimeError("three")
        return group

    stream = in_lanes(broken, iter(range(9)), 1, 2)
    assert [next(stream) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(RuntimeError, match="three"):
        next(stream)


def test_a_slow_source_does_not_hold_answers_back() -> None:
    done = threading.Event()
    given: list[int] = []

    def slow() -> Iterator[int]:
        yield 0
        assert done.wait(30)
        time.sleep(0.05)  # the answer is set right after the event
        yield 1
        # The answer to 0 was given before this one is asked for.
        given.append(len(answers))
        yield 2

    def work(group: list[int]) -> list[int]:
        done.set()
        return group

    answers: list[int] = []
    for answer in in_lanes(work, slow(), 1, 4):
        answers.append(answer)
    assert answers == [0, 1, 2]
    assert given[0] >= 1
