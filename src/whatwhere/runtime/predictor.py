"""From sources to predictions: read ahead in threads, run in batches, keep the order."""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, cast, overload

import numpy as np
from numpy.typing import NDArray

from whatwhere.errors import ImageError, UsageError, WhatwhereError
from whatwhere.images import DEFAULT_MAX_PIXELS, read_image
from whatwhere.runtime.backends import Backend, cores
from whatwhere.runtime.tiling import Preparation, Prepared, predict
from whatwhere.specs import ModelSpec
from whatwhere.types import Image, Prediction

Source: TypeAlias = str | os.PathLike[str] | bytes | Image
"""A picture: its path, the bytes of its file, or RGB pixels uint8 (height, width, 3)."""


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


class PredictorBase(ABC):
    """What every predictor offers; a subclass says how to prepare and how to infer.

    `prepare` runs in reading threads, one picture at a time; `infer` runs in the caller's
    thread, on a batch.

    Args:
        name: of the model, for `Prediction.model`.
        batch: pictures that go through the model at once, unless a call says otherwise.
    """

    def __init__(self, name: str, batch: int = 1) -> None:
        self.name = name
        self.batch = batch

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
            source: a path, the bytes of a picture file, or RGB pixels uint8 (H, W, 3);
                any other iterable of these gives an iterator in the same order.
            threshold: lowest score; None for the model's own.
            max_pixels: larger pictures are refused before they are decoded.

        Raises:
            ImageError: a picture cannot be read; `stream` gives failures as values instead.
            UsageError: the source is none of these, or the threshold is not in 0..1.
            ModelError: the model does not do what its spec says.
        """
        if not _is_one(source):
            many = cast(Iterable[Source], source)
            stream = self.stream(many, threshold=threshold, max_pixels=max_pixels)
            return _answers(stream)
        _check_threshold(threshold)
        return self._finish([self._read(cast(Source, source), max_pixels)], threshold)[0]

    def stream(
        self,
        sources: Iterable[Source],
        *,
        threshold: float | None = None,
        batch: int | None = None,
        readers: int | None = None,
        max_pixels: int = DEFAULT_MAX_PIXELS,
    ) -> Generator[Prediction | Failure]:
        """A prediction or a failure for each source, in order; the sources are used lazily.

        Pictures are read in threads while the model runs. At most two batches and one
        picture a thread are held at a time, so the sources may be endless.

        Args:
            sources: as in `predict`.
            threshold, max_pixels: as in `predict`.
            batch: pictures that go through the model at once.
            readers: reading threads; None for one a core, at most 8.

        Raises:
            UsageError: the threshold, batch or number of readers is out of its range.
            ModelError: the model does not do what its spec says.
        """
        size = self.batch if batch is None else batch
        threads = min(8, cores()) if readers is None else readers
        if size < 1:
            raise UsageError(f"batch must be at least 1, not {size}")
        if threads < 1:
            raise UsageError(f"readers must be at least 1, not {threads}")
        _check_threshold(threshold)
        return self._stream(iter(sources), threshold, size, threads, max_pixels)

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
        prepared = [self.prepare(_check_image(image)) for image in images]
        given = [None] * len(prepared) if names is None else list(names)
        return self.infer(prepared, names=given, threshold=threshold, evaluation=evaluation)

    def _read(self, source: Source, max_pixels: int) -> Ready:
        start = time.perf_counter()
        name = os.fspath(source) if isinstance(source, str | os.PathLike) else None
        if isinstance(source, np.ndarray):
            image = _check_image(source)
        elif isinstance(source, str | os.PathLike | bytes):
            image = read_image(source, max_pixels=max_pixels)
        else:
            raise UsageError(
                f"a picture cannot be a {type(source).__name__}:"
                " give a path, the bytes of a file, or an RGB array"
            )
        prepared = self.prepare(image)
        return Ready(name, prepared, (time.perf_counter() - start) * 1e3)

    def _try_read(self, source: Source, max_pixels: int) -> Ready | Failure:
        name = os.fspath(source) if isinstance(source, str | os.PathLike) else None
        try:
            return self._read(source, max_pixels)
        except WhatwhereError as error:
            return Failure(name, error)
        except (OSError, MemoryError, ValueError) as error:
            reason = str(error) or type(error).__name__
            return Failure(name, ImageError(f"{name or 'a picture'} cannot be read: {reason}"))

    def _finish(self, batch: Sequence[Ready], threshold: float | None) -> list[Prediction]:
        start = time.perf_counter()
        predictions = self.infer(
            [item.prepared for item in batch],
            names=[item.name for item in batch],
            threshold=threshold,
        )
        share = (time.perf_counter() - start) * 1e3 / len(batch)
        return [
            replace(prediction, ms=item.ms + share)
            for prediction, item in zip(predictions, batch, strict=True)
        ]

    def _stream(
        self,
        sources: Iterator[Source],
        threshold: float | None,
        size: int,
        threads: int,
        max_pixels: int,
    ) -> Generator[Prediction | Failure]:
        pool = ThreadPoolExecutor(threads, thread_name_prefix="whatwhere-read")
        ahead: deque[Future[Ready | Failure]] = deque()
        room = 2 * size + threads
        more = True
        try:
            while more or ahead:
                while more and len(ahead) < room:
                    source = next(sources, _END)
                    if source is _END:
                        more = False
                    else:
                        ahead.append(pool.submit(self._try_read, source, max_pixels))
                group = [ahead.popleft().result() for _ in range(min(size, len(ahead)))]
                ready = [item for item in group if isinstance(item, Ready)]
                answers = iter(self._finish(ready, threshold) if ready else [])
                for item in group:
                    yield item if isinstance(item, Failure) else next(answers)
        finally:
            # Also when the caller stops early or presses Ctrl-C: nothing more is started.
            pool.shutdown(wait=False, cancel_futures=True)


class Predictor(PredictorBase):
    """One model on one backend.

    Args:
        spec: what the model says about itself.
        backend: the loaded graph.
    """

    def __init__(self, spec: ModelSpec, backend: Backend) -> None:
        super().__init__(spec.name)
        self.spec = spec
        self.backend = backend
        self._prepare = Preparation(spec.preprocess)

    def prepare(self, image: Image) -> Any:
        """The picture at the model's size, and how to undo that; or its `tiling.Tiles`."""
        return self._prepare(image)

    def infer(
        self,
        prepared: Sequence[Prepared],
        *,
        names: Sequence[str | None],
        threshold: float | None = None,
        evaluation: bool = False,
    ) -> list[Prediction]:
        """Predictions of a batch that `prepare` made."""
        return predict(
            self.backend,
            prepared,
            self.spec,
            threshold=threshold,
            evaluation=evaluation,
            images=names,
        )

    def with_top(self, count: int) -> Predictor:
        """The same model, giving this many labels of a picture; it shares the loaded graph."""
        changed = self.spec.postprocess.model_copy(update={"top": count})
        return Predictor(self.spec.model_copy(update={"postprocess": changed}), self.backend)

    def __repr__(self) -> str:
        return f"Predictor({self.spec.name!r}, task={self.spec.task!r}, {self.backend.name})"


_END: Any = object()


def _is_one(source: object) -> bool:
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


def _check_image(image: NDArray[Any]) -> Image:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        shape = " x ".join(str(side) for side in image.shape)
        raise UsageError(
            f"an array must be RGB, uint8, height x width x 3, not {image.dtype} {shape}:"
            " convert it first"
        )
    return image
