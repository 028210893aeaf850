"""The monitor: figures, drift, alerts, doubtful pictures, and never a word to the requests."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from alert_server import Hook
from factories import spec_of
from served import made_up
from whatwhere.drift import Measured, Reference, measure
from whatwhere.errors import UsageError
from whatwhere.images import read_image
from whatwhere.serve.events import Observer, Served
from whatwhere.serve.monitoring import monitor as monitor_module
from whatwhere.serve.monitoring.access import ACCESS, JsonFormatter, note_request
from whatwhere.serve.monitoring.log_table import LogReader
from whatwhere.serve.monitoring.metrics import MOST_CLASSES, MOST_VERSIONS, Metrics
from whatwhere.serve.monitoring.monitor import Monitor
from whatwhere.serve.monitoring.review import ReviewFolder, doubt_of
from whatwhere.serve.monitoring.settings import MonitorSettings
from whatwhere.types import Image

SPEC = spec_of("detect")
EVERY = {"drift_spacing_seconds": 0.0, "drift_window": 20}


def until(true: Callable[[], bool]) -> None:
    """Wait for a thread, but not for ever."""
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.002)


def scene(seed: int, dim: float = 1.0) -> Image:
    cells = np.random.default_rng(seed).integers(0, 255, (6, 8, 3)) * dim
    return cells.repeat(8, axis=0).repeat(8, axis=1).astype(np.uint8)


class Known:
    """A loaded model."""

    spec = SPEC
    label_names: tuple[str, ...] = ()

    def __init__(self, drift: str = "") -> None:
        self.drift = drift


def reference() -> str:
    rows: list[Measured] = []
    for seed in range(60):
        prediction = made_up().prediction
        assert prediction is not None
        rows.append(measure(scene(seed), prediction, SPEC))
    return Reference.of(rows, SPEC, "made").to_text()


def values(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Figures by name and values of labels: model and version, then the others by name."""
    found = {}
    first = {"model": 0, "version": 1}
    for family in text_string_to_metric_families(metrics.text().decode()):
        for sample in family.samples:
            labels = sorted(sample.labels, key=lambda name: (first.get(name, 2), name))
            found[(sample.name, *(sample.labels[name] for name in labels))] = sample.value
    return found


def watching(settings: dict[str, Any], log_url: str | None = None, drift: str = "") -> Monitor:
    made = Monitor(MonitorSettings(**(EVERY | settings)), log_url)
    known = Known(drift)
    made.attach(lambda name, version: known if name == "cells" else None)
    return made


def feed(monitor: Monitor, images: list[Image], **changes: Any) -> None:
    """Serve pictures, each after the one before was looked at."""
    for number, image in enumerate(images):
        monitor.observe(made_up(request_id=f"r{number}", image=image, **changes))
        until(lambda: monitor._pictures._value == monitor_module.MOST_PICTURES)


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook()
    yield made
    made.close()


def test_it_is_an_observer() -> None:
    monitor = watching({})
    assert isinstance(monitor, Observer)
    monitor.close()


def test_figures_are_in_base_units_and_count_what_was_served() -> None:
    metrics = Metrics()
    metrics.classes_of = lambda model, version: ("red", "green")
    metrics.observe(made_up())
    metrics.observe(made_up(place=1, request_seconds=9.0))
    metrics.observe(made_up(prediction=None, status=503, batch=0, request_seconds=0.001))
    metrics.observe(made_up(prediction=None, model="", version="", route="", status=404, batch=0))
    found = values(metrics)
    assert found["whatwhere_requests_total", "cells", "1", "/predict", "200"] == 1
    assert found["whatwhere_requests_total", "cells", "1", "/predict", "503"] == 1
    assert found["whatwhere_requests_total", "", "", "", "404"] == 1
    assert found["whatwhere_pictures_total", "cells", "1", "200"] == 2
    assert found["whatwhere_request_seconds_sum", "cells", "1"] == pytest.approx(0.031)
    assert found["whatwhere_inference_seconds_sum", "cells", "1"] == pytest.approx(0.04)
    assert found["whatwhere_detections_total", "cells", "1", "red"] == 2
    assert found["whatwhere_score_ratio_bucket", "cells", "1", "0.7"] == 0
    assert found["whatwhere_score_ratio_bucket", "cells", "1", "0.8"] == 2
    assert found["whatwhere_picture_pixels_sum", "cells", "1"] == 2 * 64 * 48


def test_labels_of_figures_are_bounded() -> None:
    metrics = Metrics()
    names = tuple(f"class {number}" for number in range(500))
    metrics.classes_of = lambda model, version: names
    for number in range(500):
        one = made_up(version=str(number))
        assert one.prediction is not None
        object.__setattr__(one.prediction, "object_names", (names[number],))
        metrics.observe(one)
    found = values(metrics)
    versions = {key[2] for key in found if key[0] == "whatwhere_pictures_total"}
    assert len(versions) == MOST_VERSIONS + 1
    assert found["whatwhere_pictures_total", "cells", "(later)", "200"] == 500 - MOST_VERSIONS
    metrics = Metrics()
    metrics.classes_of = lambda model, version: names
    for name in names:
        one = made_up()
        assert one.prediction is not None
        object.__setattr__(one.prediction, "object_names", (name,))
        metrics.observe(one)
    counts = {key[3]: value for key, value in values(metrics).items()
              if key[0] == "whatwhere_detections_total"}  # fmt: skip
    assert len(counts) == MOST_CLASSES + 1
    assert counts["(others)"] == 500 - MOST_CLASSES


def test_darker_pictures_raise_an_alarm_once_and_end_it_after_three_quiet_windows(
    hook: Hook,
) -> None:
    monitor = watching({"webhook": hook.url}, drift=reference())
    feed(monitor, [scene(100 + seed) for seed in range(20)])
    assert hook.bodies.empty()
    feed(monitor, [scene(200 + seed, dim=0.5) for seed in range(40)])
    alert = hook.bodies.get(timeout=20)
    assert (alert["event"], alert["model"], alert["version"]) == ("drift", "cells", "1")
    assert "darker (brightness 0." in alert["words"]
    assert "street.png" not in json.dumps(alert)
    (state,) = monitor.states()
    assert (state["state"], state["alarm"], state["windows"]) == ("watching", True, 3)
    found = values(monitor.metrics)
    assert found["whatwhere_drift_ratio", "cells", "1", "brightness"] > 1
    assert found["whatwhere_drift_windows_total", "cells", "1", "true"] == 2
    feed(monitor, [scene(300 + seed) for seed in range(60)])
    assert hook.bodies.get(timeout=20)["event"] == "drift ended"
    monitor.close()
    assert hook.bodies.empty()
    assert values(monitor.metrics)["whatwhere_alerts_total", "sent"] == 2


def test_a_model_without_a_reference_learns_one() -> None:
    monitor = watching({})
    feed(monitor, [scene(seed) for seed in range(255)])
    assert monitor.states()[0]["state"] == "learning"
    feed(monitor, [scene(1000)])
    feed(monitor, [scene(2000 + seed) for seed in range(20)])
    feed(monitor, [scene(3000 + seed, dim=0.4) for seed in range(20)])
    (state,) = monitor.states()
    assert (state["state"], state["windows"], state["alarm"]) == ("watching", 2, True)
    assert state["reference"] == "the first pictures that were served"
    monitor.close()


@pytest.mark.parametrize(
    ("settings", "drift", "words"),
    [
        ({"drift_learn": False}, "", "has no drift reference"),
        ({}, "damaged", "has a damaged or newer drift reference"),
    ],
)
def test_without_a_usable_reference_drift_is_off(
    settings: dict[str, Any], drift: str, words: str
) -> None:
    monitor = watching(settings, drift=drift)
    feed(monitor, [scene(seed) for seed in range(3)])
    (state,) = monitor.states()
    assert state["state"] == "off"
    assert words in state["problem"]
    monitor.close()


def test_answers_to_a_stricter_threshold_do_not_count() -> None:
    monitor = watching({}, drift=reference())
    feed(monitor, [scene(seed) for seed in range(30)], threshold=0.9)
    assert monitor.states()[0]["pictures"] == 0
    feed(monitor, [scene(seed) for seed in range(5)], threshold=0.1)
    assert monitor.states()[0]["pictures"] == 5
    monitor.close()


def test_its_thread_gets_only_what_it_works_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def handed(monitor: Monitor) -> list[Served]:
        taken: list[Served] = []
        monkeypatch.setattr(monitor, "_take", taken.append)
        monitor.observe(made_up())
        monitor.observe(made_up(image=scene(1)))
        monitor.close()
        return taken

    bare = watching({"drift": False})
    assert not handed(bare)
    assert values(bare.metrics)["whatwhere_pictures_total", "cells", "1", "200"] == 2
    compared = handed(watching({}, drift=reference()))
    assert [one.image is None for one in compared] == [False]
    logged = handed(watching({"drift": False}, f"sqlite:///{tmp_path / 'log.db'}"))
    assert [one.image for one in logged] == [None, None]


def test_requests_never_wait_for_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With its thread held up, what does not fit is lost and counted."""
    gate = threading.Event()
    real = monitor_module.measure

    def held(*given: Any) -> Measured:
        gate.wait(30)
        return real(*given)

    monkeypatch.setattr(monitor_module, "measure", held)
    monkeypatch.setattr(monitor_module, "MOST_WAITING", 50)
    monitor = watching({}, f"sqlite:///{tmp_path / 'log.db'}", drift=reference())
    start = time.monotonic()
    for number in range(200):
        monitor.observe(made_up(request_id=f"r{number}", image=scene(number)))
    assert time.monotonic() - start < 5
    found = values(monitor.metrics)
    assert found["whatwhere_pictures_total", "cells", "1", "200"] == 200
    assert (
        found["whatwhere_pictures_unmeasured_total", "busy"] == 200 - monitor_module.MOST_PICTURES
    )
    lost = found["whatwhere_log_entries_total", "lost"]
    assert lost in (149, 150)
    gate.set()
    monitor.close()
    assert values(monitor.metrics)["whatwhere_log_entries_total", "written"] == 200 - lost


def test_thumbnails_are_small_jpegs(tmp_path: Path) -> None:
    monitor = watching({"log_thumbnails": True}, f"sqlite:///{tmp_path / 'log.db'}")
    large = np.zeros((900, 1800, 3), np.uint8)
    feed(monitor, [large])
    monitor.close()
    assert monitor.log is not None
    reader = LogReader(monitor.log.engine)
    (entry,) = reader.recent()
    small = reader.thumbnail(entry["id"])
    assert small is not None
    assert read_image(small).shape == (128, 256, 3)


def test_a_defect_of_a_part_does_not_end_the_thread(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(*given: Any) -> Measured:
        raise RuntimeError("broken")

    monitor = watching({}, f"sqlite:///{tmp_path / 'log.db'}")
    monkeypatch.setattr(monitor_module, "measure", broken)
    feed(monitor, [scene(0)])
    monitor.observe(made_up(request_id="next"))
    monitor.close()
    assert monitor.log is not None
    assert monitor.log.written == 1


def test_doubt_follows_margins_and_thresholds() -> None:
    found = made_up().prediction
    assert found is not None
    assert doubt_of(found, spec_of("detect"), 0.0).value == pytest.approx(0)
    near = spec_of("detect", thresholds={"red": 0.7})
    doubt = doubt_of(found, near, 0.0)
    assert (doubt.reason, doubt.value) == ("uncertain score", pytest.approx(0.8))
    assert doubt_of(found, SPEC, 1.5) == doubt_of(found, SPEC, 1.5)
    assert doubt_of(found, SPEC, 1.5).reason == "surprising picture"
    assert doubt_of(found, SPEC, 0.99).value == pytest.approx(0)


def test_the_review_folder_keeps_the_most_doubtful_and_stays_bounded(tmp_path: Path) -> None:
    folder = ReviewFolder(tmp_path / "review", most=3)
    spec = spec_of("detect")

    def offer(seed: int, surprise: float) -> bool:
        served = made_up(image=scene(seed), request_id=f"r{seed}")
        assert served.prediction is not None
        one = measure(scene(seed), served.prediction, spec)
        return folder.offer(served, one, spec, surprise)

    assert [offer(seed, 1.2 + seed / 10) for seed in range(5)] == [True] * 5
    assert not offer(5, 1.25)
    assert not offer(4, 1.9)
    assert not offer(6, 0.9)
    entries = [json.loads(path.read_text()) for path in (tmp_path / "review").glob("*.json")]
    assert sorted(entry["request_id"] for entry in entries) == ["r2", "r3", "r4"]
    assert len(list((tmp_path / "review").glob("*.jpg"))) == len(folder) == 3
    one = next(entry for entry in entries if entry["request_id"] == "r4")
    kept = read_image(str(tmp_path / "review" / one["picture"]))
    assert np.abs(kept.astype(int) - scene(4)).mean() < 12
    assert one["reason"] == "surprising picture"


def test_a_review_folder_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="review folder"):
        Monitor(MonitorSettings(review=tmp_path / "file" / "review"))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"webhook": "ftp://x"}, "no http or https address"),
        ({"log_private": True, "log_thumbnails": True}, "keeps no thumbnails"),
        ({"log_private": True, "review": "x"}, "keeps whole pictures"),
        ({"drift_window": 5}, "greater than or equal to 20"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        MonitorSettings(**settings)


def test_lines_of_the_log_are_json_with_the_request(caplog: pytest.LogCaptureFixture) -> None:
    served: Served = made_up(client="anna", error="line\nbreak")
    with caplog.at_level(logging.INFO, ACCESS):
        note_request(served)
        note_request(served, private=True)
    first, second = (JsonFormatter().format(record) for record in caplog.records)
    assert "\n" not in first
    line = json.loads(first)
    assert (line["request_id"], line["status"], line["objects"]) == ("r", 200, 1)
    assert (line["level"], line["logger"], line["client"]) == ("info", ACCESS, "anna")
    assert line["time"].endswith("+00:00")
    assert "anna" not in second
