"""Servers in tests: small models, a model that waits to be let go, an observer that remembers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.testclient import TestClient

from factories import picture, write_model
from whatwhere.images import encode_image
from whatwhere.runtime.predictor import PredictorBase
from whatwhere.serve.app import create_app
from whatwhere.serve.events import Served
from whatwhere.serve.service import Service
from whatwhere.serve.settings import ServeSettings, model_source, serve_settings
from whatwhere.types import Image, Prediction

PNG = encode_image(picture((0, 1, 0), (2, 2, 1)), ".png")
"""A red cell and a green one, for the models of `factories`."""


class Remembering:
    """An observer."""

    def __init__(self) -> None:
        self.served: list[Served] = []
        self.closed = False

    def observe(self, served: Served) -> None:
        self.served.append(served)

    def close(self) -> None:
        self.closed = True


class Held(PredictorBase):
    """A model whose runs wait until `go` is set; its answers are the mean of the picture."""

    def __init__(self) -> None:
        super().__init__("held")
        self.go = threading.Event()
        self.begun = threading.Semaphore(0)
        self.batches: list[int] = []
        self.error: Exception | None = None

    @property
    def threads(self) -> int:
        return 1

    def in_lanes(self, lanes: int, *, trial: bool = False) -> Held:
        return self

    def prepare(self, image: Image) -> Any:
        return image

    def infer(
        self,
        prepared: Sequence[Any],
        *,
        names: Sequence[str | None],
        threshold: float | None = None,
        evaluation: bool = False,
    ) -> list[Prediction]:
        self.batches.append(len(prepared))
        self.begun.release()
        assert self.go.wait(30)
        if self.error is not None:
            raise self.error
        return [
            Prediction(
                width=image.shape[1],
                height=image.shape[0],
                image=name,
                label_names=(f"mean {image.mean():.0f}",),
                label_scores=np.ones(1, np.float32),
                model=self.name,
            )
            for image, name in zip(prepared, names, strict=True)
        ]


def settings_for(*models: str | Path, **values: Any) -> ServeSettings:
    """Settings of a server for models as the command line takes them, with one thread each."""
    fields: dict[str, Any] = {"threads": 1, "backend": "onnxruntime", "batch": 1}
    sources = [model_source(str(model)) for model in models]
    return serve_settings(models=sources, **fields | values)


@contextmanager
def serving(
    *models: str | Path, observers: Sequence[Remembering] = (), **values: Any
) -> Iterator[TestClient]:
    """A client of a server that runs in this process."""
    app = create_app(settings_for(*models, **values), observers)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def service_of(client: TestClient) -> Service:
    """The inside of a client's server."""
    service: Service = client.app.state.service  # type: ignore[attr-defined]
    return service


def detector(folder: Path, name: str = "cells", **changes: Any) -> Path:
    """A detector of coloured cells."""
    return write_model(folder / f"{name}.onnx", "detect", **changes)


def made_up(image_name: str | None = "street.png", **changes: Any) -> Served:
    """What an observer sees of a picture with a red object; changes replace fields."""
    prediction = Prediction(
        width=64,
        height=48,
        image=image_name,
        object_names=("red",),
        object_scores=np.array([0.75], np.float32),
        boxes=np.array([[0, 0, 16, 16]], np.float32),
        model="cells",
    )
    fields: dict[str, Any] = {
        "request_id": "r",
        "time": 1_800_000_000.0,
        "model": "cells",
        "version": "1",
        "route": "/predict",
        "status": 200,
        "prediction": prediction,
        "request_seconds": 0.03,
        "queue_seconds": 0.01,
        "inference_seconds": 0.02,
        "batch": 1,
    }
    return Served(**(fields | changes))


@contextmanager
def listening(app: Starlette, **options: Any) -> Iterator[str]:
    """The address of a server in a thread of this process, behind a real socket."""
    config = uvicorn.Config(app, port=0, log_config=None, lifespan="on", ws_ping_interval=None)
    for name, value in options.items():
        setattr(config, name, value)
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            thread.join(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
        listener.close()
