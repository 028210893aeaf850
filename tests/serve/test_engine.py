"""The queue: nothing is lost, nothing waits beyond its deadline, what is too much is refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future

import numpy as np
import pytest

from served import Held
from whatwhere.errors import ImageError, ModelError
from whatwhere.serve.engine import (
    Answer,
    BusyError,
    ClosedError,
    Engine,
    EngineState,
    Job,
    LateError,
)

GREY = np.full((4, 6, 3), 7, np.uint8)


def job(**changes: object) -> Job:
    fields: dict[str, object] = {"source": GREY, "deadline": time.monotonic() + 60}
    return Job(**fields | changes)  # type: ignore[arg-type]


@pytest.fixture
def held() -> Iterator[Held]:
    model = Held()
    yield model
    model.go.set()


def engine_of(held: Held, **changes: int) -> Engine:
    fields: dict[str, int] = {"lanes": 1, "queue": 3, "batch": 1}
    return Engine(held, **fields | changes)


def test_an_answer_says_what_was_found_and_where_the_time_went(held: Held) -> None:
    engine = engine_of(held)
    (future,) = engine.submit([job(name="a.png")])
    assert held.begun.acquire(timeout=30)
    assert engine.state.running == 1
    held.go.set()
    answer = future.result(30)
    assert answer.prediction is not None
    assert answer.prediction.label_names == ("mean 7",)
    assert answer.prediction.image == "a.png"
    assert answer.prediction.ms is not None
    assert 1e3 * answer.inference_seconds <= answer.prediction.ms
    assert answer.batch == 1
    assert answer.image is not None
    assert not answer.image.flags.writeable
    assert engine.close()
    assert engine.state.done == 1
    assert engine.state.service_seconds > 0


def test_what_does_not_fit_is_refused_as_a_whole_with_a_time(held: Held) -> None:
    engine = engine_of(held)
    first = engine.submit([job()])
    assert held.begun.acquire(timeout=30)
    waiting = engine.submit([job(), job()])
    with pytest.raises(BusyError) as refused:
        engine.submit([job(), job()])
    assert refused.value.retry_seconds is not None
    assert engine.state.waiting == 2
    assert engine.state.refused == 2
    more = engine.submit([job()])
    held.go.set()
    futures = [*first, *waiting, *more]
    assert all(future.result(30).error is None for future in futures)
    assert engine.close()


def test_a_request_that_cannot_be_in_time_is_refused_at_once(held: Held) -> None:
    engine = engine_of(held, queue=100)
    held.go.set()
    engine.submit([job()])[0].result(30)
    while engine.state.running:
        time.sleep(0.001)
    held.go.clear()
    engine._state.service_seconds = 10.0
    engine.submit([job()])
    assert held.begun.acquire(timeout=30)
    with pytest.raises(BusyError) as refused:
        engine.submit([job(deadline=time.monotonic() + 5)])
    assert refused.value.retry_seconds == pytest.approx(10.0)
    assert "the wait of about 10 s" in str(refused.value)
    (future,) = engine.submit([job(deadline=time.monotonic() + 15)])
    held.go.set()
    assert future.result(30).error is None


def test_a_request_without_any_time_is_late_and_not_one_too_many(held: Held) -> None:
    engine = engine_of(held)
    (late,) = engine.submit([job(deadline=time.monotonic() - 1)])
    with pytest.raises(LateError):
        late.result(30)
    assert engine.state.refused == 0
    assert engine.close()


def test_a_deadline_that_passes_in_the_queue_costs_no_run(held: Held) -> None:
    engine = engine_of(held)
    engine.submit([job()])
    assert held.begun.acquire(timeout=30)
    (late,) = engine.submit([job(deadline=time.monotonic() + 0.01)])
    (left,) = engine.submit([job()])
    assert left.cancel()
    time.sleep(0.02)
    held.go.set()
    with pytest.raises(LateError):
        late.result(30)
    assert engine.close()
    assert held.batches == [1]
    assert engine.state.late == 1


def test_batches_are_made_of_what_waits_for_the_same_threshold(held: Held) -> None:
    engine = engine_of(held, queue=10, batch=3)
    engine.submit([job()])
    assert held.begun.acquire(timeout=30)
    engine.submit([job() for _ in range(4)])
    futures = engine.submit([job(threshold=0.5), job(threshold=0.5)])
    held.go.set()
    assert [future.result(30).batch for future in futures] == [2, 2]
    assert engine.close()
    assert held.batches == [1, 3, 1, 2]


def test_a_bad_picture_is_its_own_fault_and_the_batch_goes_on(held: Held) -> None:
    engine = engine_of(held, batch=3)
    held.go.set()
    bad, good = engine.submit([job(source=b"no picture"), job()])
    assert isinstance(bad.result(30).error, ImageError)
    assert bad.result().prediction is None
    assert good.result(30).prediction is not None
    assert engine.close()


@pytest.mark.parametrize("error", [ModelError("it does not fit"), RuntimeError("defect")])
def test_a_lane_outlives_a_failing_model(held: Held, error: Exception) -> None:
    engine = engine_of(held)
    held.go.set()
    held.error = error
    (future,) = engine.submit([job()])
    if isinstance(error, ModelError):
        assert future.result(30).error is error
    else:
        with pytest.raises(RuntimeError, match="defect"):
            future.result(30)
    held.error = None
    assert engine.submit([job()])[0].result(30).error is None
    assert engine.close()


def test_closing_answers_what_was_accepted(held: Held) -> None:
    engine = engine_of(held)
    futures = engine.submit([job(), job()])
    assert held.begun.acquire(timeout=30)
    closing = threading.Thread(target=engine.close)
    closing.start()
    while True:
        try:
            futures += engine.submit([job()])
        except ClosedError:
            break
        except BusyError:
            continue
    held.go.set()
    closing.join(30)
    assert all(future.result(0).error is None for future in futures)


def test_closing_in_a_hurry_refuses_what_is_left(held: Held) -> None:
    engine = engine_of(held)
    futures: list[Future[Answer]] = engine.submit([job(), job()])
    assert held.begun.acquire(timeout=30)
    assert not engine.close(0.01)
    with pytest.raises(ClosedError):
        futures[1].result(0)
    held.go.set()
    assert futures[0].result(30).error is None


def test_many_clients_get_every_answer_once(held: Held) -> None:
    """Four lanes, eight threads of clients, more than fits: answered or refused, none lost."""
    engine = engine_of(held, lanes=4, queue=5, batch=2)
    held.go.set()
    answered, refused = [], []

    def client(number: int) -> None:
        for turn in range(50):
            name = f"{number}-{turn}"
            try:
                (future,) = engine.submit([job(name=name)])
            except BusyError:
                refused.append(name)
            else:
                prediction = future.result(30).prediction
                assert prediction is not None
                answered.append(prediction.image)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert engine.close()
    every = {f"{number}-{turn}" for number in range(8) for turn in range(50)}
    assert sorted(answered + refused) == sorted(every)
    assert engine.state.done == len(answered) > 0
    assert engine.state.refused == len(refused)


def test_the_estimate_of_the_wait_counts_lanes() -> None:
    state = EngineState(waiting=3, running=2, lanes=2, service_seconds=0.1)
    assert state.wait_seconds() == pytest.approx(0.2)
    assert state.wait_seconds(2) == pytest.approx(0.3)
    assert EngineState(running=1, lanes=2, service_seconds=0.1).wait_seconds() == 0
