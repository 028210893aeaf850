"""What the server tells those who watch it: one `Served` for each picture, or refused request.

Watchers (metrics, the prediction log, drift) implement `Observer` and are given to `create_app`.
They are called in the event loop after the answer is made, so they only take notes and leave the
work to threads of their own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from whatwhere.types import Image, Prediction


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """How one picture of a request was answered, or why a request got no answer.

    A request with several pictures gives one of these for each, with `place` 0, 1, ... and one
    `request_id`; count requests by those with `place` 0. A request that was refused as a whole
    gives one, without prediction and picture.

    Args:
        request_id: as sent by the client in `X-Request-ID`, or made by the server; also in the
            answer.
        time: when the request came, seconds since 1970-01-01 UTC.
        model, version: names in the repository, not what the client asked for; "" if the request
            was refused before a model was chosen, so that strangers cannot invent names.
        route: pattern of the address, such as "/predict" or "/v2/models/{model}/infer"; "" for an
            unknown address.
        status: HTTP status of the answer. Of a picture that cannot be read among others that can
            be, the status that it would have had alone.
        prediction: what the model said; None without an answer.
        image: the decoded picture, RGB uint8 (height, width, 3), read-only; None without one.
        request_seconds: from the request's first byte to its answer.
        queue_seconds: from acceptance to the start of the work on the picture.
        inference_seconds: in the model, postprocessing included: the share of this picture in its
            batch.
        batch: pictures that ran together; 0 if none ran.
        place: position of the picture in its request.
        client: name of the API key that was used; None without keys.
        error: the sentence that the client got instead of a prediction; None with one.
        threshold: lowest score that the client asked for; None for the model's own.
        traceparent: the client's header of this name (W3C Trace Context); None without one.
    """

    request_id: str
    time: float
    model: str
    version: str
    route: str
    status: int
    prediction: Prediction | None = None
    image: Image | None = None
    request_seconds: float = 0.0
    queue_seconds: float = 0.0
    inference_seconds: float = 0.0
    batch: int = 0
    place: int = 0
    client: str | None = None
    error: str | None = None
    threshold: float | None = None
    traceparent: str | None = None


def without_picture(served: Served) -> Served:
    """The same without its picture, which may be large."""
    return served if served.image is None else replace(served, image=None)


@runtime_checkable
class Observer(Protocol):
    """Sees what was served. Implementations are safe to call from one event loop."""

    def observe(self, served: Served) -> None:
        """Take note, in microseconds.

        It never raises and never waits: what takes longer goes to a bounded queue of the
        observer's own, and what does not fit is counted as lost.
        """
        ...

    def close(self) -> None:
        """The server has answered its last request: write what is held, then end."""
        ...
