"""The client: pictures to predictions, by asking."""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from types import TracebackType
from typing import Any, Self, cast, overload
from urllib.parse import quote

from whatwhere.client.asking import LATER, Asker
from whatwhere.client.records import ServedModel, prediction_of, served_model
from whatwhere.errors import ImageError, ServerError, UsageError
from whatwhere.images import DEFAULT_MAX_PIXELS, encode_image, picture_bytes
from whatwhere.runtime.items import Source, name_of, pixels_of
from whatwhere.runtime.lanes import in_lanes
from whatwhere.runtime.streaming import Failure, is_one
from whatwhere.types import Prediction

KEY = "WHATWHERE_API_KEY"
"""Environment variable with the API key, unless it is given."""

_UNREADABLE = 422


class Client:
    """A server's model, asked over connections that are kept open; safe to use from threads.

    Args:
        address: such as "http://127.0.0.1:8000".
        key: API key; None for that in the environment variable WHATWHERE_API_KEY, if any. It is
            sent as `Authorization: Bearer KEY`.
        model: model or alias, or "NAME@VERSION"; None for the server's default.
        timeout: seconds for the answer to a question, its retries included.
        retries: how often a question is sent again that found no room (429, 502, 503) or lost
            its connection. Pauses double, are drawn at random, and are at least what the server
            asks for.
        parallel: questions at one time, when there are many pictures.

    Raises:
        UsageError: the address is none, or a number is out of its range.
    """

    def __init__(
        self,
        address: str = "http://127.0.0.1:8000",
        *,
        key: str | None = None,
        model: str | None = None,
        timeout: float = 60.0,
        retries: int = 5,
        parallel: int = 4,
    ) -> None:
        if not timeout > 0 or retries < 0 or parallel < 1:
            raise UsageError("timeout must be above 0, retries at least 0, parallel at least 1")
        self.address = address.rstrip("/")
        name, _, version = (model or "").partition("@")
        self._model, self._version = name or None, version or None
        self._parallel = parallel
        key = os.environ.get(KEY) if key is None else key
        headers = {"Accept": "application/json"}
        if key:
            if not (key.isascii() and key.isprintable()):
                raise UsageError("the API key has characters that no key has: check it")
            headers["Authorization"] = f"Bearer {key}"
        self._asker = Asker(self.address, headers, timeout, retries)
        self._about: ServedModel | None = None

    @overload
    def predict(  # type: ignore[overload-overlap]
        self, source: Source, *, threshold: float | None = None, top: int | None = None
    ) -> Prediction: ...

    @overload
    def predict(
        self, source: Iterable[Source], *, threshold: float | None = None, top: int | None = None
    ) -> Iterator[Prediction]: ...

    def predict(
        self,
        source: Source | Iterable[Source],
        *,
        threshold: float | None = None,
        top: int | None = None,
    ) -> Prediction | Iterator[Prediction]:
        """What the server says about one picture, or about each of many.

        Args:
            source: as in `Predictor.predict`. Files are sent as they are, pixels as PNG.
            threshold: lowest score, 0..1; None for the model's own.
            top: at most so many labels of a whole picture.

        Raises:
            ImageError: a picture cannot be read; `stream` gives failures as values instead.
            UsageError: the server refuses the question: an unknown model, a wrong key.
            ServerError: there was no answer in time, or it is of another server.
        """
        options = _options(threshold, top, False)
        if is_one(source):
            return self._one(cast(Source, source), options)
        return _answers(self._stream(cast("Iterable[Source]", source), options))

    def stream(
        self,
        sources: Iterable[Source],
        *,
        threshold: float | None = None,
        top: int | None = None,
        evaluation: bool = False,
    ) -> Generator[Prediction | Failure]:
        """A prediction or a failure for each source, in order; the sources are used lazily.

        Args:
            sources, threshold, top: as in `predict`.
            evaluation: give what metrics need: every label, and boxes of low scores too.

        Raises:
            UsageError, ServerError: as in `predict`.
        """
        return self._stream(sources, _options(threshold, top, evaluation))

    def model(self) -> ServedModel:
        """The model that answers.

        Raises:
            UsageError, ServerError: as in `predict`.
        """
        name = self._model
        if name is None:
            found = self._json("GET", "/models")["models"]
            name = next(str(one["name"]) for one in found if one["default"])
        return served_model(self._json("GET", f"/models/{quote(name, safe='')}"))

    def models(self) -> list[str]:
        """Names of all models of the server.

        Raises:
            UsageError, ServerError: as in `predict`.
        """
        return [str(one["name"]) for one in self._json("GET", "/models")["models"]]

    def ready(self) -> bool:
        """Whether the server is there and its models answer; asked once, without retries."""
        try:
            reply = self._asker.once("GET", "/health/ready")
        except (OSError, http.client.HTTPException):
            return False
        return reply.status == 200

    def close(self) -> None:
        """Close the connections; the next question opens new ones."""
        self._asker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.address!r})"

    def _one(self, source: Source, options: dict[str, str]) -> Prediction:
        name = name_of(source)
        data = _file(source)
        given = dict(options)
        if self._model is not None:
            given["model"] = self._model
        if self._version is not None:
            given["version"] = self._version
        if name is not None:
            given["name"] = name.encode("utf-8", "replace").decode()[-255:]
        record = self._json("POST", "/predict", data, given)
        if self._about is None:
            # Whether an answer without objects is that of a detector.
            self._about = self.model()
        try:
            return replace(prediction_of(record, self._about.task == "detect"), image=name)
        except (KeyError, TypeError, ValueError, UsageError) as error:
            raise self._strange(error) from error

    def _stream(
        self, sources: Iterable[Source], options: dict[str, str]
    ) -> Generator[Prediction | Failure]:
        def work(group: list[Source]) -> list[Prediction | Failure]:
            answers: list[Prediction | Failure] = []
            for source in group:
                try:
                    answers.append(self._one(source, options))
                except ImageError as error:
                    answers.append(Failure(name_of(source), error))
            return answers

        with closing(in_lanes(work, iter(sources), 1, self._parallel)) as answers:
            yield from answers

    def _json(
        self, method: str, path: str, body: bytes | None = None, given: dict[str, str] | None = None
    ) -> Any:
        reply = self._asker.ask(method, path, body, given or {})
        try:
            value = json.loads(reply.body)
            if not isinstance(value, dict):
                raise TypeError
            if reply.status == 200:
                return value
            sentence = str(value["error"])
        except (ValueError, KeyError, TypeError) as error:
            raise self._strange(f"status {reply.status}") from error
        if reply.status == _UNREADABLE:
            raise ImageError(sentence)
        if 400 <= reply.status < 500 and reply.status not in LATER:
            raise UsageError(f"{self.address} refuses the question: {sentence}")
        raise ServerError(f"{self.address} gave no answer: {sentence}")

    def _strange(self, error: object) -> ServerError:
        return ServerError(
            f"{self.address} does not answer as Whatwhere's server does ({error}): check the"
            " address"
        )


def _options(threshold: float | None, top: int | None, evaluation: bool) -> dict[str, str]:
    if threshold is not None and not 0 <= threshold <= 1:
        raise UsageError(f"threshold must be in 0..1, not {threshold}")
    given = {} if threshold is None else {"threshold": repr(float(threshold))}
    if top is not None:
        given["top"] = str(top)
    if evaluation:
        given["evaluation"] = "1"
    return given


def _file(source: Source) -> bytes:
    """The picture as a file; pixels become PNG, which loses nothing."""
    if isinstance(source, bytes):
        return source
    if isinstance(source, str | os.PathLike):
        return picture_bytes(source)
    return encode_image(pixels_of(source, DEFAULT_MAX_PIXELS), ".png")


def _answers(stream: Generator[Prediction | Failure]) -> Iterator[Prediction]:
    with closing(stream):
        for item in stream:
            if isinstance(item, Failure):
                raise item.error
            yield item
