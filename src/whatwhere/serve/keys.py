"""API keys: made here, kept in a file as hashes, and found again in constant time.

A key is `ww_ID_SECRET` with 256 random bits in its secret. So one SHA-256 is as hard to undo as
any slow hash would be: those are for passwords, which can be guessed.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import secrets
import stat
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from whatwhere.errors import UsageError
from whatwhere.serve.auth import Scope
from whatwhere.serve.settings import check_name

_LOG = logging.getLogger(__name__)
_PREFIX = "ww"
_ID_BYTES = 8
_SECRET_BYTES = 32
# A key is 62 characters long; longer ones are not hashed at all.
_MOST_CHARACTERS = 128
_MOST_FILE_BYTES = 4_000_000
# As many places as `rates.Rates` has.
MOST_KEYS = 4096
_LOOK_SECONDS = 1.0
_NOBODY = bytes(32)


class Key(BaseModel):
    """What a file keeps of a key; the key itself stands nowhere.

    Args:
        name: who uses it; stands in logs and figures.
        id: the part of the key that finds it, 16 hexadecimal digits.
        sha256: of the whole key, as it is sent, in hexadecimal digits.
        scopes: what it allows; none implies another.
        per_minute: most requests; None for the server's own limit.
        created, expires: seconds since 1970-01-01 UTC; it expires never if that is None.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    id: str = Field(pattern=r"^[0-9a-f]{16}$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    scopes: tuple[Scope, ...] = Field(min_length=1)
    per_minute: int | None = Field(default=None, ge=1, le=1_000_000)
    created: float = 0.0
    expires: float | None = None

    @model_validator(mode="after")
    def _named(self) -> Self:
        check_name(self.name)
        return self


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = Field(default=1, ge=1, le=1)
    keys: tuple[Key, ...] = Field(max_length=MOST_KEYS)


class Found(NamedTuple):
    """A key that was given rightly, and its place in the file."""

    key: Key
    place: int


def new_key(
    name: str,
    scopes: Sequence[Scope] = ("predict",),
    *,
    per_minute: int | None = None,
    seconds: float | None = None,
) -> tuple[Key, str]:
    """A new key: what the file keeps, and what the client gets, which exists nowhere else.

    Args:
        name: who uses it.
        scopes: what it allows.
        per_minute: most requests.
        seconds: how long it is valid; None for ever.

    Raises:
        UsageError: the name has other characters than names may have, or a number does not fit.
    """
    id_ = secrets.token_hex(_ID_BYTES)
    text = f"{_PREFIX}_{id_}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    now = time.time()
    try:
        key = Key(
            name=name,
            id=id_,
            sha256=hashlib.sha256(text.encode()).hexdigest(),
            scopes=tuple(dict.fromkeys(scopes)),
            per_minute=per_minute,
            created=round(now, 3),
            expires=None if seconds is None else round(now + seconds, 3),
        )
    except ValidationError as error:
        raise UsageError(_first(error)) from None
    return key, text


def read_keys(path: Path) -> tuple[Key, ...]:
    """The keys of a file.

    Raises:
        UsageError: it is missing or damaged, two keys have one name or id, or others than its
            owner and group may write to it.
    """
    try:
        with path.open("rb") as file:
            state = os.fstat(file.fileno())
            data = file.read(_MOST_FILE_BYTES + 1)
    except FileNotFoundError:
        raise UsageError(
            f"{path} does not exist: make a key with  whatwhere serve keys add NAME --keys {path}"
        ) from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}): check it") from None
    if sys.platform != "win32" and state.st_mode & stat.S_IWOTH:
        raise UsageError(f"{path} may be written by anybody: run  chmod o-w {path}")
    if len(data) > _MOST_FILE_BYTES:
        raise UsageError(f"{path} is larger than {_MOST_FILE_BYTES} bytes: this is no file of keys")
    try:
        keys = _File.model_validate_json(data).keys
    except ValidationError as error:
        raise UsageError(f"{path} is no file of API keys: {_first(error)}") from None
    for what in ("name", "id"):
        seen: set[str] = set()
        for key in keys:
            value = getattr(key, what)
            if value in seen:
                raise UsageError(f"{path} has two keys with the {what} {value}: remove one")
            seen.add(value)
    return keys


def write_keys(path: Path, keys: Sequence[Key]) -> None:
    """Write a file of keys, whole or not at all; a new one is for its owner only.

    Raises:
        UsageError: it cannot be written, or there are too many keys.
    """
    if len(keys) > MOST_KEYS:
        raise UsageError(f"{path} can hold {MOST_KEYS} keys: revoke some first")
    value = {"version": 1, "keys": [key.model_dump(mode="json") for key in keys]}
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o600
        place = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(place, "w", encoding="utf-8") as file:
                file.write(json.dumps(value, indent=1) + "\n")
                file.flush()
                os.fsync(file.fileno())
            beside.chmod(mode)
            beside.replace(path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror}): check the folder") from None


class KeyRing:
    """The keys of a file, read anew when it changes; called from one event loop.

    A change is seen within a second. A file that is gone or damaged then is said on the log, and
    the keys before stay valid: an editor's half-written file must not turn every client away.

    Args:
        path: of the file.

    Raises:
        UsageError: as `read_keys`, or it holds no key.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = _stamp(path)
        self._looked = time.monotonic()
        self._keys = _by_id(read_keys(path))
        if not self._keys:
            raise UsageError(
                f"{path} holds no key: make one with  whatwhere serve keys add NAME --keys {path}"
            )

    def find(self, text: str) -> Found | None:
        """The key that this is; None for an unknown one. Expired ones are found, too.

        What it takes depends on the id only, which is no secret.
        """
        self._look()
        if len(text) > _MOST_CHARACTERS:
            return None
        parts = text.split("_", 2)
        found = self._keys.get(parts[1]) if len(parts) == 3 else None
        given = hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
        kept = _NOBODY if found is None else bytes.fromhex(found.key.sha256)
        return found if hmac.compare_digest(given, kept) and found is not None else None

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked < _LOOK_SECONDS:
            return
        self._looked = now
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._keys = _by_id(read_keys(self._path))
        except UsageError as error:
            _LOG.error("the API keys stay as they were: %s", error)
        else:
            _LOG.info("%s has changed: %d API keys", self._path, len(self._keys))


def _by_id(keys: Sequence[Key]) -> dict[str, Found]:
    return {key.id: Found(key, place) for place, key in enumerate(keys)}


def _stamp(path: Path) -> tuple[int, ...]:
    """Changes when the file does; () while it is missing."""
    try:
        state = path.stat()
    except OSError:
        return ()
    return state.st_mtime_ns, state.st_size, state.st_ino


def _first(error: ValidationError) -> str:
    """The first thing that is wrong; never the value, which may be a secret in the wrong place."""
    first: Any = error.errors(include_input=False, include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    words = first["msg"].removeprefix("Value error, ")
    return f"{where}: {words}" if where else words
