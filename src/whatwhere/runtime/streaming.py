"""From sources to predictions: many pictures in several threads at once, in their order."""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from threading import Lock, Semaphore
from typing import Any, TypeAlias, cast, overload

import numpy as np

from whatwhere.errors import ImageError, UsageError, WhatwhereError
from whatwhere.images import DEFAULT_MAX_PIXELS
from whatwhere.runtime.items import Source, check_image, name_of, pixels_of
from whatwhere.runtime.lanes import in_lanes
from whatwhere.types import Image, Prediction

Watch: TypeAlias = Callable[[int, Image], None]
"""Called with the place of a source and its pixels, uint8 (height, width, 3)."""

# Loading a graph again for several lanes takes longer than so many pictures a lane gain by it.
_FEW = 4
# From so many on it is worth a second or two to find out which engine is the quickest.
MANY = 128
# Each lane holds the model's intermediate results; with more cores a lane gets several.
_MOST_LANES = 8


@dataclass(frozen=True, slots=True)
class Failure:
    """A picture that could not be read.

    Args:
        image: where it came from, as the caller named it; None for bytes and arrays.
        error: why, with the sentence to show.
    """

    image: str | None
    error: WhatwhereError

    def to_dict(self) -> dict[str, str | None]:
        """The JSON form of `predict --json`."""
        return {"image": self.image, "error": str(self.error)}


@dataclass(frozen=True, slots=True)
class Ready:
    """A picture that was read and fitted for the model.

    Args:
        name: where it came from.
        prepared: what `PredictorBase.prepare` gave.
        ms: milliseconds that reading and fitting took.
    """

    name: str | None
    prepared: Any
    ms: float


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a caller wants of all pictures; see `PredictorBase.stream`."""

    threshold: float | None
    evaluation: bool
    max_pixels: int
    watch: Watch | None


class PredictorBase(ABC):
    """What every predictor offers; a subclass says how to prepare and how to infer.

    `prepare` gets one picture at a time, `infer` a batch; of many pictures both run in several
    threads at once.

    Args:
        name: of the model, for `Prediction.model`.
        batch: pictures that go through the model at once, unless a call says otherwise.
    """

    def __init__(self, name: str, batch: int = 1) -> None:
        self.name = name
        self.batch = batch

    @abstractmethod
    def in_lanes(self, lanes: int, *, trial: bool = False) -> PredictorBase:
        """The same model, loaded for `infer` in so many threads at once.

        Args:
            lanes: threads.
            trial: as in `Backend.with_lanes`.
        """

    @property
    @abstractmethod
    def threads(self) -> int:
        """CPU threads that the model may use."""

    @abstractmethod
    def prepare(self, image: Image) -> Any:
        """What `infer` needs of one picture, uint8 (height, width, 3), RGB."""

    @abstractmethod
    def infer(
        self,
        prepared: Sequence[Any],
        *,
        names: Sequence[str | None],
        threshold: float | None = None,
        evaluation: bool = False,
    ) -> list[Prediction]:
        """Predictions of a batch; `threshold` and `evaluation` as in `decode`."""

    @overload
    def predict(  # type: ignore[overload-overlap]
        self, source: Source, *, threshold: float | None = None, max_pixels: int = ...
    ) -> Prediction: ...

    @overload
    def predict(
        self, source: Iterable[Source], *, threshold: float | None = None, max_pixels: int = ...
    ) -> Iterator[Prediction]: ...

    def predict(
        self,
        source: Source | Iterable[Source],
        *,
        threshold: float | None = None,
        max_pixels: int = DEFAULT_MAX_PIXELS,
    ) -> Prediction | Iterator[Prediction]:
        """What the model says about one picture, or about each of many.

        Args:
            source: a path, the bytes of a picture file, RGB pixels uint8 (H, W, 3), a Pillow
                image (turned as its EXIF tag says) or an item of `Sources`; any other iterable
                of these gives an iterator in the same order.
            threshold: lowest score; None for the model's own.
            max_pixels: larger pictures are refused before they are decoded.

        Raises:
            ImageError: a picture cannot be read; `stream` gives failures as values instead.
            UsageError: the source is none of these, or the threshold is not in 0..1.
            ModelError: the model does not do what its spec says.
        """
        if not is_one(source):
            many = cast(Iterable[Source], source)
            stream = self.stream(many, threshold=threshold, max_pixels=max_pixels)
            return _answers(stream)
        _check_threshold(threshold)
        asked = _Asked(threshold, False, max_pixels, None)
        return self._finish([self._read(0, cast(Source, source), asked)], asked)[0]

    def stream(
        self,
        sources: Iterable[Source],
        *,
        threshold: float | None = None,
        batch: int | None = None,
        readers: int | None = None,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        evaluation: bool = False,
        watch: Watch | None = None,
    ) -> Generator[Prediction | Failure]:
        """A prediction or a failure for each source, in order; the sources are used lazily.

        Each picture is read, run and decoded by one thread, and as many of them are in work at
        once as the model has cores; a further thread reads where the others wait for a disk.
        At most two batches a thread are held at a time, so the sources may be endless.

        Args:
            sources: as in `predict`.
            threshold, max_pixels: as in `predict`.
            batch: pictures that go through the model at once.
            readers: threads; None for one more than the model runs in.
            evaluation: as in `decode`.
            watch: sees every picture that can be read, in one of the threads.

        Raises:
            UsageError: the threshold, batch or number of readers is out of its range.
            ModelError: the model does not do what its spec says.
        """
        size = self.batch if batch is None else batch
        if size < 1:
            raise UsageError(f"batch must be at least 1, not {size}")
        if readers is not None and readers < 1:
            raise UsageError(f"readers must be at least 1, not {readers}")
        _check_threshold(threshold)
        asked = _Asked(threshold, evaluation, max_pixels, watch)
        return self._stream(iter(sources), asked, size, readers)

    @property
    def lanes(self) -> int:
        """Threads that run the model at once on many pictures."""
        return min(_MOST_LANES, self.threads)

    def predict_images(
        self,
        images: Sequence[Image],
        *,
        names: Sequence[str | None] | None = None,
        threshold: float | None = None,
        evaluation: bool = False,
    ) -> list[Prediction]:
        """Predictions for pictures in memory, as one batch.

        Args:
            images: RGB, uint8 (height, width, 3) each, of any sizes.
            names: what to call them, for `Prediction.image`.
            threshold, evaluation: as in `decode`.
        """
        if not len(images):
            return []
        prepared = [self.prepare(check_image(image)) for image in images]
        given = [None] * len(prepared) if names is None else list(names)
        return self.infer(prepared, names=given, threshold=threshold, evaluation=evaluation)

    def _read(self, place: int, source: Source, asked: _Asked) -> Ready:
        start = time.perf_counter()
        name = name_of(source)
        image = pixels_of(source, asked.max_pixels)
        if asked.watch is not None:
            asked.watch(place, image)
        prepared = self.prepare(image)
        return Ready(name, prepared, (time.perf_counter() - start) * 1e3)

    def _try_read(self, place: int, source: Source, asked: _Asked) -> Ready | Failure:
        name = name_of(source)
        try:
            return self._read(place, source, asked)
        except WhatwhereError as error:
            return Failure(name, error)
        except (OSError, MemoryError, ValueError) as error:
            reason = str(error) or type(error).__name__
            return Failure(name, ImageError(f"{name or 'a picture'} cannot be read: {reason}"))

    def _finish(self, batch: Sequence[Ready], asked: _Asked) -> list[Prediction]:
        start = time.perf_counter()
        predictions = self.infer(
            [item.prepared for item in batch],
            names=[item.name for item in batch],
            threshold=asked.threshold,
            evaluation=asked.evaluation,
        )
        share = (time.perf_counter() - start) * 1e3 / len(batch)
        return [
            replace(prediction, ms=item.ms + share)
            for prediction, item in zip(predictions, batch, strict=True)
        ]

    def _stream(
        self, sources: Iterator[Source], asked: _Asked, size: int, readers: int | None
    ) -> Generator[Prediction | Failure]:
        lanes = self.lanes
        # More threads than lanes read ahead, but never run the model.
        gate, once = Semaphore(lanes), Lock()
        # By the place of the first picture that each is for.
        engines: dict[int, PredictorBase] = {0: self}

        def chosen(place: int) -> PredictorBase:
            first = MANY if place >= MANY else _FEW * lanes * (place >= _FEW * lanes)
            with once:
                if first not in engines:
                    engines[first] = self.in_lanes(lanes, trial=first == MANY)
                return engines[first]

        def work(group: list[tuple[int, Source]]) -> list[Prediction | Failure]:
            items = [self._try_read(place, source, asked) for place, source in group]
            ready = [item for item in items if isinstance(item, Ready)]
            if not ready:
                return [item for item in items if isinstance(item, Failure)]
            with gate:
                answers = iter(chosen(group[0][0])._finish(ready, asked))
            return [item if isinstance(item, Failure) else next(answers) for item in items]

        threads = lanes + 1 if readers is None else readers
        with closing(in_lanes(work, enumerate(sources), size, threads)) as answers:
            yield from answers


def is_one(source: object) -> bool:
    """Whether this is one picture, not many."""
    if isinstance(source, np.ndarray):
        return source.ndim != 4
    return isinstance(source, str | os.PathLike | bytes) or not isinstance(source, Iterable)


def _answers(stream: Generator[Prediction | Failure]) -> Iterator[Prediction]:
    # Closed at once, not when it is collected, so that no thread reads on after an error.
    with closing(stream):
        for item in stream:
            if isinstance(item, Failure):
                raise item.error
            yield item


def _check_threshold(threshold: float | None) -> None:
    if threshold is not None and not 0 <= threshold <= 1:
        raise UsageError(f"threshold must be in 0..1, not {threshold}")
