"""The models of a server: names, versions, aliases, and new versions without a lost request."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

from whatwhere.errors import ModelError, WhatwhereError
from whatwhere.runtime.backends import cores
from whatwhere.serve.engine import Answer, ClosedError, Job
from whatwhere.serve.errors import RefusedError
from whatwhere.serve.loading import Loaded, Place, find_places, open_version
from whatwhere.serve.settings import ModelSource, ServeSettings

_LOG = logging.getLogger(__name__)
_SIGNAL_SECONDS = 0.5
_SHOWN = 100


class Count(Protocol):
    """A number that the worker processes of a server share, such as `multiprocessing.Value`."""

    value: int


@dataclass(slots=True)
class _Model:
    """A name in the repository.

    Args:
        sources: where its versions come from.
        versions: loaded ones by name, the one for requests that name none last.
        problems: by place, why it could not be loaded; not tried again until it changes.
    """

    sources: list[ModelSource]
    versions: dict[str, Loaded] = field(default_factory=dict)
    problems: dict[Place, str] = field(default_factory=dict)


class Repository:
    """All models of one process.

    Args:
        settings: which models, where, and how they run.
        asked: counts the calls for a reload in all worker processes; None for a single one.
    """

    def __init__(self, settings: ServeSettings, asked: Count | None = None) -> None:
        self.settings = settings
        self._models: dict[str, _Model] = {}
        for source in settings.models:
            self._models.setdefault(source.name, _Model([])).sources.append(source)
        self._asked = asked
        self._seen = asked.value if asked is not None else 0
        self._lock = threading.Lock()
        self._loading = threading.Lock()
        self._stop = threading.Event()
        self._watcher: threading.Thread | None = None
        self._retiring: list[threading.Thread] = []
        self._closed = False

    @property
    def threads(self) -> int:
        """CPU threads of each model: this worker's share of the cores."""
        if self.settings.threads is not None:
            return self.settings.threads
        return max(1, cores() // self.settings.workers)

    @property
    def default(self) -> str:
        """The model of requests that name none."""
        return self.settings.models[0].name

    @property
    def names(self) -> tuple[str, ...]:
        """Of all models, the default first; without aliases."""
        return tuple(self._models)

    @property
    def ready(self) -> bool:
        """Whether every model has a version that answers."""
        return not self._closed and all(model.versions for model in self._models.values())

    def load(self) -> None:
        """Load every model that is not loaded yet.

        Raises:
            ModelError, UsageError, MissingExtraError: one of them cannot be loaded.
        """
        with self._loading:
            for name, model in self._models.items():
                if not model.versions:
                    self._swap(model, self._changed(name, model, strict=True))

    def watch(self) -> None:
        """Look at the model files from time to time, in a thread."""
        if self._watcher is None and (self.settings.watch_seconds or self._asked is not None):
            self._watcher = threading.Thread(target=self._watch, name="watch-models", daemon=True)
            self._watcher.start()

    def versions(self, name: str) -> list[Loaded]:
        """Loaded versions of a model or alias, the one for requests that name none last.

        Raises:
            RefusedError: 404, there is no such model.
        """
        name, _ = self._unaliased(name, None)
        with self._lock:
            return list(self._models[name].versions.values())

    def problems(self, name: str) -> list[str]:
        """Why files of a model could not be loaded.

        The sentences name paths of this machine.
        """
        with self._lock:
            return list(self._models[name].problems.values())

    def resolve(self, name: str | None = None, version: str | None = None) -> Loaded:
        """The version of a model that answers now.

        Args:
            name: of a model or an alias; None for the default.
            version: None for the newest, or the one that the alias names.

        Raises:
            RefusedError: 404, there is no such model or version; 503, none is loaded.
        """
        name, version = self._unaliased(name, version)
        with self._lock:
            found = self._models[name].versions
            if not found:
                raise RefusedError(503, f"the model {name} is not loaded yet", retry_seconds=1)
            if version is None:
                return found[next(reversed(found))]
            if version not in found:
                raise RefusedError(
                    404,
                    f"{name} has no version {version[:_SHOWN]!r}:"
                    f" choose one of {', '.join(reversed(found))}",
                )
            return found[version]

    def submit(
        self, name: str | None, version: str | None, jobs: Sequence[Job]
    ) -> tuple[Loaded, list[Future[Answer]]]:
        """Give pictures to the engine of a model; see `Engine.submit`.

        Raises:
            RefusedError: as `resolve`.
            BusyError: too much waits already.
            ClosedError: the server ends.
        """
        while True:
            loaded = self.resolve(name, version)
            try:
                return loaded, loaded.engine.submit(jobs)
            except ClosedError:
                # A newer version took over between the two lines: ask that one.
                if self._closed:
                    raise

    def reload(self, name: str) -> Loaded:
        """Look at the files of a model now, load what changed, in every worker process.

        Returns:
            The version that answers now, here; other processes follow in half a second and the
            time that loading takes.

        Raises:
            RefusedError: 404, there is no such model; 409, its file cannot be loaded and the
                version before goes on.
        """
        name, _ = self._unaliased(name, None)
        if self._asked is not None:
            with self._lock:
                self._asked.value += 1
        self.refresh(name, again=True)
        if self.problems(name):
            raise RefusedError(
                409, f"{name} cannot be loaded, the version before goes on: see the server's log"
            )
        return self.resolve(name)

    def refresh(self, name: str, *, again: bool = False) -> None:
        """Load what changed of a model; what cannot be loaded is said on the log.

        Args:
            again: also try files that could not be loaded and have not changed since.
        """
        with self._loading:
            if not self._closed:
                model = self._models[name]
                if again:
                    model.problems = {}
                self._swap(model, self._changed(name, model, strict=False))

    def close(self, seconds: float | None = None) -> bool:
        """Answer what was accepted, then end everything.

        Args:
            seconds: longest time for that; None to wait for ever.

        Returns:
            Whether everything was answered.
        """
        until = None if seconds is None else time.monotonic() + seconds
        self._stop.set()
        with self._loading, self._lock:
            self._closed = True
            loaded = [one for model in self._models.values() for one in model.versions.values()]
        done = True
        for one in loaded:
            done &= one.engine.close(None if until is None else max(0.0, until - time.monotonic()))
        for thread in self._retiring:
            thread.join(None if until is None else max(0.0, until - time.monotonic()))
            done &= not thread.is_alive()
        return done

    def _unaliased(self, name: str | None, version: str | None) -> tuple[str, str | None]:
        if name is None:
            return self.default, version
        if name in self.settings.aliases:
            name, at, pinned = self.settings.aliases[name].partition("@")
            version = version or (pinned if at else None)
        if name not in self._models:
            known = ", ".join([*self._models, *self.settings.aliases])
            raise RefusedError(
                404, f"there is no model {name[:_SHOWN]!r} here: choose one of {known}"
            )
        return name, version

    def _changed(self, name: str, model: _Model, *, strict: bool) -> dict[str, Loaded]:
        """The versions that a model should have now; those that stay are not loaded again."""
        current = {loaded.place: loaded for loaded in model.versions.values()}
        problems: dict[Place, str] = {}
        result: dict[str, Loaded] = {}
        for source in model.sources:
            try:
                places = find_places(source, self.settings.keep_versions)
            except WhatwhereError as error:
                if strict:
                    raise
                # The file is being replaced, or was deleted: what is loaded goes on.
                gone = Place(source.version, source.path, ())
                problems[gone] = str(error)
                kept = [one for one in current.values() if _of(one, source)]
                result |= {loaded.version: loaded for loaded in kept}
                continue
            for place in places:
                loaded = current.get(place)
                if loaded is None and place in model.problems:
                    problems[place] = model.problems[place]
                elif loaded is None:
                    try:
                        loaded = open_version(name, place, self.settings, self.threads)
                    except WhatwhereError as error:
                        if strict:
                            raise
                        _LOG.error("%s is not loaded: %s", name, error)
                        problems[place] = str(error)
                    else:
                        _LOG.info("%s@%s is loaded", name, loaded.version)
                if loaded is None:
                    kept = [one for one in current.values() if one.place.path == place.path]
                    result |= {one.version: one for one in kept}
                else:
                    # Taken out first, so that the order is that of the places.
                    result.pop(loaded.version, None)
                    result[loaded.version] = loaded
        with self._lock:
            model.problems = problems
        if strict and not result:
            raise ModelError(f"{name} has no version: give a model file")
        return result

    def _swap(self, model: _Model, versions: dict[str, Loaded]) -> None:
        """From here on requests go to these; those before answer what they have, then end."""
        with self._lock:
            kept = set(map(id, versions.values()))
            old = [loaded for loaded in model.versions.values() if id(loaded) not in kept]
            model.versions = versions
        self._retiring = [thread for thread in self._retiring if thread.is_alive()]
        for loaded in old:
            _LOG.info("%s@%s is retired", loaded.name, loaded.version)
            thread = threading.Thread(target=loaded.engine.close, daemon=True)
            thread.start()
            self._retiring.append(thread)

    def _watch(self) -> None:
        every = self.settings.watch_seconds
        step = min(every or _SIGNAL_SECONDS, _SIGNAL_SECONDS if self._asked is not None else every)
        stamps = self._stamps()
        looked = time.monotonic()
        while not self._stop.wait(step):
            if self._asked is not None and self._asked.value != self._seen:
                self._seen = self._asked.value
                for name in self._models:
                    self.refresh(name)
            if every and time.monotonic() - looked >= every:
                looked = time.monotonic()
                now = self._stamps()
                for name in self._models:
                    # Loaded when it has stopped changing, not in the middle of a copy.
                    if now[name] == stamps[name] and now[name] != self._loaded_stamps(name):
                        self.refresh(name)
                stamps = now

    def _stamps(self) -> dict[str, frozenset[Place] | None]:
        result: dict[str, frozenset[Place] | None] = {}
        for name, model in self._models.items():
            try:
                result[name] = frozenset(
                    place
                    for source in model.sources
                    for place in find_places(source, self.settings.keep_versions)
                )
            except (WhatwhereError, OSError):
                result[name] = None
        return result

    def _loaded_stamps(self, name: str) -> frozenset[Place]:
        with self._lock:
            model = self._models[name]
            return frozenset([loaded.place for loaded in model.versions.values()])


def _of(loaded: Loaded, source: ModelSource) -> bool:
    """Whether a version came from this source: its file, or a file in its folder."""
    return loaded.place.path == source.path or loaded.place.path.startswith(f"{source.path}/")
