"""Everything that can be set about a server, checked once, before anything is loaded."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from whatwhere.errors import UsageError
from whatwhere.images import DEFAULT_MAX_PIXELS
from whatwhere.runtime import shipped
from whatwhere.runtime.loading import RUN_MODEL
from whatwhere.serve.monitoring.settings import MonitorSettings

# Names stand in addresses, log lines and metrics: nothing in them has a meaning there.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_HOST = re.compile(r"[A-Za-z0-9_.:-]{1,255}")
_MEGABYTE = 1_000_000


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelSource(_Frozen):
    """A model that the server offers, and where it lies.

    Args:
        name: what clients call it: letters, digits, dots, dashes and underscores.
        path: a shipped name, a model file, a run folder, or a folder of versions: one model file
            `VERSION.onnx` or one folder `VERSION/` with `model.onnx` for each.
        version: what clients call this version; None to take it from the folder of versions, or
            from the content of the file (the first 12 digits of its SHA-256).
    """

    name: str
    path: str
    version: str | None = None

    @model_validator(mode="after")
    def _named(self) -> Self:
        for name in (self.name, self.version):
            if name is not None:
                check_name(name)
        return self


class ServeSettings(_Frozen):
    """How a server runs. Make it with `serve_settings`, which says what is wrong in a sentence.

    Args:
        models: what is offered; the first is used where a request names none.
        aliases: further names, each for `NAME` or `NAME@VERSION`.
        host, port: where it listens; port 0 takes a free one.
        workers: processes; each loads every model.
        threads: CPU threads of each worker; None for its share of the cores.
        backend: "auto", "onnxruntime" or "openvino".
        queue: pictures that may wait for each model version; more are refused with 503.
        batch: most pictures in one run of a model; None to measure when a model is loaded. A
            batch is made of what waits already, nothing waits for it to fill.
        latency_seconds: a batch is made only so large that it runs in this time.
        deadline_seconds: from a request's last byte to its answer or refusal; clients may ask
            for less.
        body_seconds: a request must have arrived whole in this time.
        upload_bytes: largest request.
        upload_bytes_together: of all requests that are held at one time, in each worker.
        max_pixels: largest picture, width x height; refused before it is decoded.
        pictures: most pictures in one request.
        concurrent: requests in work at one time, in each worker; more are refused with 503.
        connections: open ones, in each worker; more are refused with 503.
        head_bytes: of the first line and the headers of a request; more are refused with 431.
        head_seconds: from a connection, or a request's first byte, to the end of its headers.
        send_seconds: a connection whose client takes less than 64 kB of its answer in this time
            is dropped.
        watched_pixels: of decoded pictures that each model version keeps for drawing and for
            watchers until they are answered, `max_pixels` at least; watchers see no more, but
            predictions go on.
        keep_alive_seconds: a connection without a request is closed after this time.
        drain_seconds: at the end, the longest time for answering what was accepted.
        watch_seconds: how often model files are looked at for changes; 0 for never.
        keep_versions: of a folder of versions, how many of the newest are loaded.
        keys_file: file of the API keys; None for a server without keys.
        requests_per_minute: of a key that has no limit of its own; None for any number.
        hosts: names that the server answers to, and whose pages may use it; () for its own
            names on 127.0.0.1 without keys, else for any.
        insecure: listen on a public address without keys.
        log_url: of the prediction log, such as "sqlite:///served.db"; None for none.
        monitor: what else is watched and kept.
        page: whether the web page at `/` is served.
    """

    models: tuple[ModelSource, ...] = Field(min_length=1)
    aliases: dict[str, str] = Field(default_factory=dict)
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    workers: int = Field(default=1, ge=1, le=1024)
    threads: int | None = Field(default=None, ge=1)
    backend: str = "auto"
    queue: int = Field(default=64, ge=1)
    batch: int | None = Field(default=None, ge=1, le=1024)
    latency_seconds: float = Field(default=0.5, gt=0)
    deadline_seconds: float = Field(default=30.0, gt=0)
    body_seconds: float = Field(default=30.0, gt=0)
    upload_bytes: int = Field(default=32 * _MEGABYTE, ge=1)
    upload_bytes_together: int = Field(default=512 * _MEGABYTE, ge=1)
    max_pixels: int = Field(default=DEFAULT_MAX_PIXELS // 4, ge=1)
    pictures: int = Field(default=64, ge=1)
    concurrent: int = Field(default=256, ge=1)
    connections: int = Field(default=512, ge=1)
    head_bytes: int = Field(default=32_768, ge=1024)
    head_seconds: float = Field(default=10.0, gt=0)
    send_seconds: float = Field(default=30.0, gt=0)
    watched_pixels: int = Field(default=100 * _MEGABYTE, ge=0)
    keep_alive_seconds: float = Field(default=15.0, gt=0)
    drain_seconds: float = Field(default=60.0, gt=0)
    watch_seconds: float = Field(default=2.0, ge=0)
    keep_versions: int = Field(default=2, ge=1)
    keys_file: Path | None = None
    requests_per_minute: int | None = Field(default=None, ge=1, le=1_000_000)
    hosts: tuple[str, ...] = ()
    insecure: bool = False
    log_url: str | None = None
    monitor: MonitorSettings = MonitorSettings()
    page: bool = True

    @model_validator(mode="after")
    def _fits(self) -> Self:
        seen: set[tuple[str, str | None]] = set()
        for source in self.models:
            key = (source.name, source.version)
            if key in seen:
                raise ValueError(
                    f"two models are called {source.name}: give one of them another name or a"
                    " version, as  NAME@VERSION=PATH"
                )
            seen.add(key)
        names = {source.name for source in self.models}
        for alias, target in self.aliases.items():
            check_name(alias)
            if alias in names:
                raise ValueError(f"the alias {alias} is also a model: give it another name")
            if target.partition("@")[0] not in names:
                raise ValueError(
                    f"the alias {alias} is for {target}, which is not served:"
                    f" choose one of {', '.join(sorted(names))}"
                )
        if self.upload_bytes > self.upload_bytes_together:
            raise ValueError(
                "upload_bytes_together is less than upload_bytes: no request of the largest size"
                " could ever be taken"
            )
        if self.queue < self.pictures:
            raise ValueError(
                f"queue is {self.queue} and pictures {self.pictures}: a request of that many"
                " pictures could never be taken, raise the queue"
            )
        if self.requests_per_minute is not None and self.keys_file is None:
            raise ValueError("requests_per_minute counts by API key: give a file of keys")
        for host in self.hosts:
            if _HOST.fullmatch(host) is None:
                raise ValueError(f"{host!r} is no name of a server: write it without port and path")
        if is_public(self.host) and self.keys_file is None and not self.insecure:
            raise ValueError(
                f"{self.host} can be reached from other machines and there are no API keys: add"
                " keys, listen on 127.0.0.1, or say  --insecure"
            )
        return self


def serve_settings(**values: Any) -> ServeSettings:
    """Settings from plain values.

    Raises:
        UsageError: a value is unknown or does not fit; the message names it.
    """
    try:
        return ServeSettings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        words = first["msg"].removeprefix("Value error, ")
        raise UsageError(f"{where}: {words}" if where else words) from None


def model_source(given: str) -> ModelSource:
    """A model as it is given on the command line: `[NAME[@VERSION]=]PATH`.

    Without a name: that of the shipped model, of the run folder, or of the file without suffix.

    Raises:
        UsageError: the name has other characters than letters, digits, dots, dashes and
            underscores.
    """
    head, equals, tail = given.partition("=")
    if equals and not any(mark in head for mark in "/\\"):
        name, at, version = head.partition("@")
        check_name(name, UsageError)
        if at:
            check_name(version, UsageError)
        return ModelSource(name=name, version=version if at else None, path=tail)
    return ModelSource(name=_own_name(given), path=given)


def model_sources(given: Sequence[str]) -> tuple[ModelSource, ...]:
    """Each as `model_source`; the default model if there are none."""
    return tuple(model_source(one) for one in given or [shipped.DEFAULT])


def check_name(name: str, kind: type[Exception] = ValueError) -> None:
    """Refuse what cannot be the name of a model, version or alias."""
    if _NAME.fullmatch(name) is None:
        raise kind(
            f"{name!r} cannot be a name: use letters, digits, dots, dashes and underscores, at"
            " most 100, a letter or digit first"
        )


def is_public(host: str) -> bool:
    """Whether other machines can reach this address; a name other than localhost is taken so."""
    if host == "localhost":
        return False
    try:
        return not ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return True


def _own_name(given: str) -> str:
    if given in shipped.names():
        return given
    path = Path(os.path.abspath(given))  # noqa: PTH100 (links keep the name that was given)
    if path.name == RUN_MODEL:
        path = path.parent
    elif path.suffix == ".onnx":
        path = path.with_suffix("")
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.name).lstrip("._-")[:100]
    return name or "model"
