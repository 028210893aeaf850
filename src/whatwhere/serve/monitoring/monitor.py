"""The observer that feeds all others: figures at once, everything else in a thread of its own."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

import cv2
import numpy as np

from whatwhere.drift import Measured, measure
from whatwhere.drift.features import shrink
from whatwhere.errors import UsageError
from whatwhere.images import encode_image
from whatwhere.serve.events import Served, without_picture
from whatwhere.serve.monitoring.access import note_request, notes_requests
from whatwhere.serve.monitoring.alerts import Webhook, drift_alert
from whatwhere.serve.monitoring.drifting import DriftWatch
from whatwhere.serve.monitoring.log import PredictionLog
from whatwhere.serve.monitoring.log_table import row_of
from whatwhere.serve.monitoring.metrics import Metrics
from whatwhere.serve.monitoring.review import ReviewFolder
from whatwhere.serve.monitoring.settings import MonitorSettings
from whatwhere.serve.monitoring.tracing import Tracer
from whatwhere.specs import ModelSpec
from whatwhere.types import Image

_LOG = logging.getLogger(__name__)

MOST_WAITING = 10_000
"""Answers without their pictures that wait for the thread."""
MOST_PICTURES = 4
"""Pictures among them: each may take hundreds of megabytes."""

_THUMBNAIL = 256
_SAMPLE_SECONDS = 1.0
_CLOSE_SECONDS = 3.0
_MOST_MODELS = 100


class Model(Protocol):
    """What is asked of a loaded model version."""

    @property
    def spec(self) -> ModelSpec:
        """Of the model; of a pair that of its detector."""
        ...

    @property
    def label_names(self) -> tuple[str, ...]:
        """Classes that a detector or pair gives whole pictures."""
        ...

    @property
    def drift(self) -> str:
        """Text of its reference (`specs.DRIFT_KEY`); "" if it has none."""
        ...


Lookup = Callable[[str, str], "Model | None"]
"""The loaded model of a name and version; None if it has gone."""


class Monitor:
    """Counts, logs, compares, keeps and tells; an `Observer`.

    `observe` counts, and puts the rest into a bounded queue. What finds no place there is lost and
    counted: of the log as lost entries, of pictures as not looked at.

    Args:
        settings: what is watched and kept.
        log_url: of the prediction log; None for none.
        metrics: where figures are counted.

    Raises:
        UsageError: the log's address means no database, or the review folder cannot be made.
        MissingExtraError: OpenTelemetry is asked for and not installed.
    """

    def __init__(
        self,
        settings: MonitorSettings,
        log_url: str | None = None,
        *,
        metrics: Metrics | None = None,
    ) -> None:
        self.settings = settings
        self.metrics = metrics or Metrics()
        # What may be refused comes before what starts threads.
        self._tracer = Tracer() if settings.otel else None
        self.review = review_folder(settings)
        entries = self.metrics.log_entries
        self.log = (
            None
            if log_url is None
            else PredictionLog(
                log_url,
                days=settings.log_days,
                rows=settings.log_rows,
                count=lambda result, count: entries.labels(result).inc(count),
            )
        )
        self._webhook = (
            None
            if settings.webhook is None
            else Webhook(settings.webhook, lambda result: self.metrics.alerts.labels(result).inc())
        )
        self._lookup: Lookup = lambda model, version: None
        self._sample: Callable[[], None] = lambda: None
        self._queue: queue.Queue[Served | None] = queue.Queue(MOST_WAITING)
        self._pictures = threading.BoundedSemaphore(MOST_PICTURES)
        self._next: dict[tuple[str, str], float] = {}
        self._watches: dict[tuple[str, str], tuple[Model, DriftWatch]] = {}
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="monitor", daemon=True)
        self._thread.start()

    def attach(self, lookup: Lookup, sample: Callable[[], None] = lambda: None) -> None:
        """Say where models are found.

        Args:
            lookup: finds a loaded version.
            sample: called every second in the thread, for figures that are states.
        """
        self._lookup, self._sample = lookup, sample

        def classes_of(name: str, version: str) -> tuple[str, ...]:
            model = lookup(name, version)
            return () if model is None else (*model.spec.names, *model.label_names)

        self.metrics.classes_of = classes_of

    def observe(self, served: Served) -> None:
        """Count, and hand over; microseconds."""
        self.metrics.observe(served)
        if served.image is not None and not self._takes_picture(served):
            served = without_picture(served)
        if served.image is None and not self._noted():
            return
        try:
            self._queue.put_nowait(served)
        except queue.Full:
            if served.image is not None:
                self._pictures.release()
            if self.log is not None:
                self.metrics.log_entries.labels("lost").inc()
            self.metrics.unmeasured.labels("queue").inc()

    def close(self) -> None:
        """Write what is held, in some seconds at most."""
        self._closed.set()
        try:
            self._queue.put_nowait(None)
        except queue.Full:
            # The thread sees `_closed` when the queue is empty.
            _LOG.warning("%d answers wait for the monitor", MOST_WAITING)
        self._thread.join(_CLOSE_SECONDS)
        left = self._queue.qsize()
        if self._thread.is_alive() and left:
            _LOG.error("%d answers were not looked at or logged before the end", left)
            if self.log is not None:
                self.metrics.log_entries.labels("lost").inc(left)
        for part in (self.log, self._webhook, self._tracer):
            if part is not None:
                part.close()

    def states(self) -> list[dict[str, Any]]:
        """Drift of each model version that has served, in this process."""
        return [
            {"model": model, "version": version, **watch.to_dict()}
            for (model, version), (_, watch) in list(self._watches.items())
        ]

    def _takes_picture(self, served: Served) -> bool:
        """Whether this picture is looked at: not too soon after the last, and there is room."""
        if served.prediction is None:
            return False
        if not (self.settings.drift or self.review is not None or self.settings.log_thumbnails):
            return False
        now = time.monotonic()
        key = (served.model, served.version)
        if not self.settings.log_thumbnails and now < self._next.get(key, 0.0):
            return False
        if not self._pictures.acquire(blocking=False):
            self.metrics.unmeasured.labels("busy").inc()
            return False
        if len(self._next) > _MOST_MODELS:
            self._next.clear()
        self._next[key] = now + self.settings.drift_spacing_seconds
        return True

    def _noted(self) -> bool:
        """Whether more than counting is done with an answer of which no picture is looked at."""
        return self.log is not None or self._tracer is not None or notes_requests()

    def _run(self) -> None:
        sampled = 0.0
        while True:
            try:
                served = self._queue.get(timeout=_SAMPLE_SECONDS)
            except queue.Empty:
                if self._closed.is_set():
                    return
                served = None
            else:
                if served is None:
                    return
            try:
                if served is not None:
                    self._take(served)
                if time.monotonic() - sampled > _SAMPLE_SECONDS:
                    sampled = time.monotonic()
                    self._sample()
            except Exception:  # a defect here must not end the watching
                _LOG.exception("the monitor failed on a request")

    def _take(self, served: Served) -> None:
        thumbnail = None
        if served.image is not None:
            try:
                thumbnail = self._look(served, served.image)
            finally:
                self._pictures.release()
        if self.log is not None:
            self.log.put(row_of(served, private=self.settings.log_private, thumbnail=thumbnail))
        if served.place == 0:
            note_request(served, private=self.settings.log_private)
        if self._tracer is not None:
            self._tracer.trace(served)

    def _look(self, served: Served, image: Image) -> bytes | None:
        """Compare a picture, keep it if it is doubtful; its thumbnail if these are wanted."""
        found = self._watch_of(served.model, served.version)
        small = shrink(image)
        if found is not None and served.prediction is not None:
            model, watch = found
            one = measure(small, served.prediction, model.spec)
            self.metrics.measured(served.model, served.version, one)
            if self.settings.drift and not _stricter(served, model.spec):
                self._compare(served, watch, one)
            if self.review is not None and self.review.offer(
                served, one, model.spec, watch.surprise(one)
            ):
                self.metrics.review.set(len(self.review))
        return _thumbnail(small) if self.settings.log_thumbnails else None

    def _compare(self, served: Served, watch: DriftWatch, one: Measured) -> None:
        change = watch.add(one)
        if change is None:
            return
        self.metrics.judged(served.model, served.version, change.verdict)
        if not (change.began or change.ended):
            return
        words = change.verdict.sentence()
        log = _LOG.warning if change.began else _LOG.info
        log("%s@%s: %s", served.model, served.version, words)
        if self._webhook is not None:
            parts = [part.to_dict() for part in change.verdict.parts if part.drifted]
            event = drift_alert(
                "drift" if change.began else "drift ended",
                served.model,
                served.version,
                words,
                parts,
            )
            self._webhook.send(event)

    def _watch_of(self, name: str, version: str) -> tuple[Model, DriftWatch] | None:
        key = (name, version)
        if key not in self._watches:
            model = self._lookup(name, version)
            if model is None:
                return None
            if len(self._watches) >= _MOST_MODELS:
                # The oldest: versions come and go, their watches must not stay for ever.
                del self._watches[next(iter(self._watches))]
            watch = DriftWatch(f"{name}@{version}", model.spec, model.drift, self.settings)
            self._watches[key] = (model, watch)
        return self._watches[key]


def _stricter(served: Served, spec: ModelSpec) -> bool:
    """Whether the client asked for fewer answers than the model gives by itself."""
    own = (spec.postprocess.score_threshold, *spec.thresholds.values())
    return served.threshold is not None and served.threshold > min(own)


def review_folder(settings: MonitorSettings) -> ReviewFolder | None:
    """The folder for doubtful pictures.

    Raises:
        UsageError: it cannot be made.
    """
    if settings.review is None:
        return None
    try:
        return ReviewFolder(settings.review, settings.review_pictures, settings.review_days)
    except OSError as error:
        raise UsageError(
            f"the review folder {settings.review} cannot be used ({error.strerror}): choose another"
        ) from error


def _thumbnail(small: Image) -> bytes:
    height, width = small.shape[:2]
    ratio = min(1.0, _THUMBNAIL / max(height, width))
    size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    made = np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_AREA), np.uint8)
    return encode_image(made, ".jpg", 80)
