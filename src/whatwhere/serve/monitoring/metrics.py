"""Figures for Prometheus, in base units, with label sets that cannot grow without bound.

Several worker processes write into files of one folder (`prometheus_client`'s multiprocess mode,
which the environment variable PROMETHEUS_MULTIPROC_DIR switches on before the first import), and
whichever worker is asked adds them up.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.process_collector import ProcessCollector

from whatwhere import __version__
from whatwhere.drift import Measured, Verdict
from whatwhere.serve.events import Served

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Variable that names the folder of figures; the supervisor sets it."""
MOST_CLASSES = 200
"""Classes of a model that are counted by name; others together, as "(others)"."""
MOST_VERSIONS = 50
"""Versions of models that are told apart in the life of a process; later ones are "(later)"."""

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_TENTHS = tuple(round(place / 10, 1) for place in range(1, 11))
_BATCHES = (1, 2, 4, 8, 16, 32, 64)
_PIXELS = tuple(float(4**power) for power in range(6, 15))
_SHARPNESS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0)
_OBJECTS = (0, 1, 2, 5, 10, 20, 50, 100, 200)
_MODEL = ("model", "version")


class _Series(NamedTuple):
    """Histograms of a model version."""

    request_seconds: Histogram
    queue_seconds: Histogram
    inference_seconds: Histogram
    batch: Histogram
    pixels: Histogram
    objects: Histogram
    score: Histogram


class Metrics:
    """All figures of a process.

    Args:
        registry: where they are kept; one for each server, so that tests do not meet.

    Attributes:
        classes_of: gives the class names of a model and version; asked once for each.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self.classes_of: Callable[[str, str], tuple[str, ...]] = lambda model, version: ()
        self._classes: dict[tuple[str, str], set[str]] = {}
        self._series: dict[tuple[str, str], _Series] = {}
        self._counts: dict[tuple[Counter | str, ...], Counter] = {}

        def counter(name: str, about: str, labels: tuple[str, ...] = _MODEL) -> Counter:
            return Counter(f"whatwhere_{name}", about, labels, registry=self.registry)

        def histogram(
            name: str, about: str, buckets: tuple[float, ...], labels: tuple[str, ...] = _MODEL
        ) -> Histogram:
            return Histogram(
                f"whatwhere_{name}", about, labels, buckets=buckets, registry=self.registry
            )

        def gauge(name: str, about: str, labels: tuple[str, ...], mode: str) -> Gauge:
            return Gauge(
                f"whatwhere_{name}",
                about,
                labels,
                registry=self.registry,
                multiprocess_mode=mode,  # type: ignore[arg-type]
            )

        self.requests = counter(
            "requests", "Requests that were answered or refused.", (*_MODEL, "route", "status")
        )
        self.pictures = counter("pictures", "Pictures that were answered.", (*_MODEL, "status"))
        self.request_seconds = histogram(
            "request_seconds", "From a request's first byte to its answer.", _SECONDS
        )
        self.queue_seconds = histogram(
            "queue_seconds", "From acceptance to the start of the work on a picture.", _SECONDS
        )
        self.inference_seconds = histogram(
            "inference_seconds", "In the model, a picture's share of its batch.", _SECONDS
        )
        self.batch = histogram("batch_pictures", "Pictures that ran together.", _BATCHES)
        self.detections = counter(
            "detections", "Objects, or labels of whole pictures, by class.", (*_MODEL, "class")
        )
        self.objects = histogram("objects", "Objects or labels in a picture.", _OBJECTS)
        self.score = histogram("score_ratio", "Scores of objects and labels.", _TENTHS)
        self.pixels = histogram("picture_pixels", "Width times height of pictures.", _PIXELS)
        self.brightness = histogram(
            "picture_brightness_ratio", "Mean grey level, 0 black to 1 white.", _TENTHS
        )
        self.sharpness = histogram(
            "picture_sharpness_ratio", "Spread of the Laplacian by that of the greys.", _SHARPNESS
        )
        self.drift = gauge(
            "drift_ratio",
            "Difference from the reference in the last window; an alarm from 1 on.",
            (*_MODEL, "part"),
            "livemax",
        )
        self.windows = counter(
            "drift_windows", "Windows compared with the reference.", (*_MODEL, "drifted")
        )
        self.waiting = gauge("queue_pictures", "Pictures that wait for a lane.", _MODEL, "livesum")
        self.unmeasured = counter(
            "pictures_unmeasured", "Pictures that were not looked at, by reason.", ("reason",)
        )
        self.log_entries = counter(
            "log_entries", "Entries of the prediction log, written or lost.", ("result",)
        )
        self.alerts = counter("alerts", "Alerts, sent, failed or dropped.", ("result",))
        self.review = gauge(
            "review_pictures", "Pictures kept for a person to look at.", (), "livemax"
        )
        self.info = gauge("info", "The version of Whatwhere.", ("version",), "livemax")
        self.info.labels(__version__).set(1)
        # So that a rate of losses can be asked for before the first.
        for result in ("written", "lost"):
            self.log_entries.labels(result)
        if FOLDER not in os.environ:
            ProcessCollector(registry=self.registry)

    def observe(self, served: Served) -> None:
        """Count an answer or a refusal."""
        key = self._labels(served.model, served.version)
        status = str(served.status)
        count = self._series_of(key)
        if served.place == 0:
            self._count(self.requests, *key, served.route, status).inc()
            count.request_seconds.observe(served.request_seconds)
        prediction = served.prediction
        if prediction is None and served.image is None and not served.batch:
            return
        self._count(self.pictures, *key, status).inc()
        count.queue_seconds.observe(served.queue_seconds)
        if prediction is None:
            return
        count.inference_seconds.observe(served.inference_seconds)
        count.batch.observe(served.batch)
        count.pixels.observe(prediction.width * prediction.height)
        count.objects.observe(len(prediction))
        classes = self._classes.get(key, set())
        counts: dict[str, int] = {}
        score = count.score.observe
        for name, value in zip(prediction.names, prediction.scores.tolist(), strict=True):
            counts[name] = counts.get(name, 0) + 1
            score(value)
        for name, times in counts.items():
            shown = name if name in classes else "(others)"
            self._count(self.detections, *key, shown).inc(times)

    def measured(self, model: str, version: str, one: Measured) -> None:
        """Count how a picture looks."""
        key = self._labels(model, version)
        self.brightness.labels(*key).observe(one.brightness)
        self.sharpness.labels(*key).observe(one.sharpness)

    def judged(self, model: str, version: str, verdict: Verdict) -> None:
        """Count a window."""
        key = self._labels(model, version)
        self.windows.labels(*key, str(verdict.drifted).lower()).inc()
        for part in verdict.parts:
            self.drift.labels(*key, part.name).set(max(0.0, part.value / part.limit))

    def text(self) -> bytes:
        """All figures in Prometheus's text form, those of all worker processes together."""
        if FOLDER not in os.environ:
            return generate_latest(self.registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)

    def _count(self, counter: Counter, *labels: str) -> Counter:
        """A counter with its labels, which are a bounded set; finding it anew takes longer."""
        key: tuple[Counter | str, ...] = (counter, *labels)
        found = self._counts.get(key)
        if found is None:
            found = self._counts[key] = counter.labels(*labels)
        return found

    def _series_of(self, key: tuple[str, str]) -> _Series:
        """Finding each histogram by its labels takes longer than counting."""
        found = self._series.get(key)
        if found is None:
            found = self._series[key] = _Series(
                *(
                    histogram.labels(*key)
                    for histogram in (
                        self.request_seconds,
                        self.queue_seconds,
                        self.inference_seconds,
                        self.batch,
                        self.pixels,
                        self.objects,
                        self.score,
                    )
                )
            )
        return found

    def _labels(self, model: str, version: str) -> tuple[str, str]:
        key = (model, version)
        if key not in self._classes:
            if len(self._classes) >= MOST_VERSIONS:
                return (model, "(later)")
            self._classes[key] = set(self.classes_of(model, version)[:MOST_CLASSES])
        return key
