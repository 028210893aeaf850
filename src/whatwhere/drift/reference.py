"""The pictures that a model was judged on, as a small sample of numbers."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from whatwhere.drift.features import EMBEDDING, Measured
from whatwhere.errors import ModelError, UsageError
from whatwhere.specs import ModelSpec

ROWS = 256
"""Pictures in a reference, at most."""
LEAST = 30
"""Pictures in a reference, at least: with fewer, nothing is known about its tails."""

SCALARS = ("brightness", "contrast", "sharpness", "objects", "score")
"""One number a picture: how it looks, how many answers it has, how sure the best one is."""
PIXELS = 3
"""The first so many of `SCALARS` do not depend on the answers."""

SIZE_EDGES = (1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2)
"""Between classes of box size (square root of the share of the picture), ascending."""
SCORE_BINS = 10
CLASSES = 31
"""Classes that are counted by name, the most frequent ones; others together."""
OTHER = "(others)"

_MARGIN = 0.25
_WIDTHS = (len(SCALARS), EMBEDDING, len(SIZE_EDGES) + 1, SCORE_BINS)
_Codes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """N pictures in the codes of a reference.

    Args:
        scalars: uint8 (N, 5), each of `SCALARS` on the reference's scale.
        embeddings: uint8 (N, 22), likewise.
        sizes: uint8 (N, 7), boxes of each class of size.
        scores: uint8 (N, 10), answers in each tenth of the score.
        classes: uint8 (N, C + 1), answers of each class of the reference, and of others.
    """

    scalars: _Codes
    embeddings: _Codes
    sizes: _Codes
    scores: _Codes
    classes: _Codes

    def __len__(self) -> int:
        return len(self.scalars)


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """What is compared with.

    Args:
        rows: at most `ROWS` pictures.
        classes: names counted, the most frequent first; "(others)" follows in `rows.classes`.
        low, high: float64 (27,), ends of the scales of `SCALARS` and of the embedding's numbers.
        answers: `answers_digest` of the model; where it differs, only the pixels are comparable.
        pictures: from which the rows were chosen.
        source: where these come from, for people.
    """

    rows: Rows
    classes: tuple[str, ...]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    answers: str
    pictures: int
    source: str

    @classmethod
    def of(cls, measured: Sequence[Measured], spec: ModelSpec, source: str) -> Self:
        """From measured pictures, evenly chosen where they are more than `ROWS`.

        Raises:
            UsageError: there are fewer than `LEAST`.
        """
        if len(measured) < LEAST:
            raise UsageError(
                f"{len(measured)} pictures are too few for a drift reference: give at least {LEAST}"
            )
        places = np.unique(np.linspace(0, len(measured) - 1, min(ROWS, len(measured))).astype(int))
        chosen = [measured[place] for place in places]
        values = np.array([_values(one) for one in chosen])
        span = values.max(axis=0) - values.min(axis=0)
        # Of a constant there is no scale; any deviation from it shall be seen.
        margin = np.where(span > 0, span * _MARGIN, np.maximum(np.abs(values[0]) * _MARGIN, 0.05))
        # Rounded as they are stored.
        low = (values.min(axis=0) - margin).astype(np.float32).astype(np.float64)
        high = (values.max(axis=0) + margin).astype(np.float32).astype(np.float64)
        frequent = Counter(name for one in chosen for name in one.names)
        classes = tuple(name for name, _ in frequent.most_common(CLASSES))
        rows = _coded(chosen, classes, low, high)
        return cls(rows, classes, low, high, answers_digest(spec), len(measured), source)

    def code(self, measured: Sequence[Measured]) -> Rows:
        """These pictures on the scales of the reference."""
        return _coded(measured, self.classes, self.low, self.high)

    def scalar(self, place: int, code: float) -> float:
        """The number that a code of `SCALARS[place]` stands for."""
        low, high = self.low[place], self.high[place]
        value = float(low + code / 255 * (high - low))
        return 2**value - 1 if SCALARS[place] == "objects" else value

    def to_text(self) -> str:
        """JSON for the metadata of a model file, about 10 kB: numbers, class names, no picture."""
        rows = self.rows
        parts = (rows.scalars, rows.embeddings, rows.sizes, rows.scores, rows.classes)
        # By columns, which compress better.
        raw = b"".join(np.ascontiguousarray(part.T).tobytes() for part in parts)
        stored = _Stored(
            source=self.source,
            pictures=self.pictures,
            rows=len(rows),
            answers=self.answers,
            classes=self.classes,
            low=tuple(float(np.float32(value)) for value in self.low),
            high=tuple(float(np.float32(value)) for value in self.high),
            codes=base64.b64encode(zlib.compress(raw, 9)).decode(),
        )
        return stored.model_dump_json()

    @classmethod
    def from_text(cls, text: str, where: str) -> Self:
        """The counterpart of `to_text`.

        Args:
            where: the file, for the message.

        Raises:
            ModelError: it is damaged, or of a newer version.
        """
        try:
            stored = _Stored.model_validate_json(text)
            widths = (*_WIDTHS, len(stored.classes) + 1)
            size = stored.rows * sum(widths)
            reader = zlib.decompressobj()
            raw = reader.decompress(base64.b64decode(stored.codes, validate=True), size + 1)
            if len(raw) != size:
                raise ValueError(f"{len(raw)} bytes instead of {size}")
        except (ValidationError, ValueError, binascii.Error, zlib.error) as error:
            reason = str(error).splitlines()[0]
            raise ModelError(
                f"{where} has a damaged or newer drift reference ({reason}): make it again with"
                " 'whatwhere drift MODEL PICTURES --save FILE'"
            ) from error
        parts, start = [], 0
        for width in widths:
            flat = np.frombuffer(raw, np.uint8, stored.rows * width, start)
            parts.append(np.ascontiguousarray(flat.reshape(width, stored.rows).T))
            start += flat.size
        return cls(
            Rows(*parts),
            stored.classes,
            np.array(stored.low),
            np.array(stored.high),
            stored.answers,
            stored.pictures,
            stored.source,
        )


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: int = Field(default=1, ge=1, le=1)
    source: str = Field(max_length=4096)
    pictures: int = Field(ge=LEAST)
    rows: int = Field(ge=LEAST, le=ROWS)
    answers: str
    classes: tuple[str, ...] = Field(max_length=CLASSES)
    low: tuple[float, ...] = Field(min_length=sum(_WIDTHS[:2]), max_length=sum(_WIDTHS[:2]))
    high: tuple[float, ...] = Field(min_length=sum(_WIDTHS[:2]), max_length=sum(_WIDTHS[:2]))
    codes: str


def answers_digest(spec: ModelSpec) -> str:
    """What changes the answers of one and the same graph, in 16 hexadecimal digits."""
    # Without defaults, so that a later version with more fields finds the same.
    parts: dict[str, Any] = {
        "names": spec.names,
        "answers": spec.answers.model_dump(
            mode="json", exclude_defaults=True, exclude={"conformal"}
        ),
        "postprocess": spec.postprocess.model_dump(
            mode="json", exclude_defaults=True, exclude={"evaluation_threshold", "top"}
        ),
    }
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def scalar_of(one: Measured, name: str) -> float:
    """One of `SCALARS`, as a number."""
    if name == "objects":
        return float(len(one.names))
    if name == "score":
        return float(one.scores.max()) if len(one.scores) else 0.0
    return float(getattr(one, name))


def _values(one: Measured) -> NDArray[np.float64]:
    """The numbers that have a scale; of counts the logarithm, since 1 and 2 differ as 10 and 20."""
    scalars = [scalar_of(one, name) for name in SCALARS]
    scalars[SCALARS.index("objects")] = math.log2(1 + len(one.names))
    return np.concatenate([scalars, one.embedding]).astype(np.float64)


def _coded(
    measured: Sequence[Measured],
    classes: Sequence[str],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
) -> Rows:
    values = np.array([_values(one) for one in measured]).reshape(len(measured), len(low))
    codes = np.clip(np.rint((values - low) / (high - low) * 255), 0, 255).astype(np.uint8)
    place = {name: column for column, name in enumerate(classes)}
    sizes = [np.searchsorted(SIZE_EDGES, one.sizes, side="right") for one in measured]
    scores = [np.minimum(one.scores * SCORE_BINS, SCORE_BINS - 1).astype(int) for one in measured]
    names = [
        np.array([place.get(name, len(classes)) for name in one.names], int) for one in measured
    ]
    return Rows(
        codes[:, : len(SCALARS)],
        codes[:, len(SCALARS) :],
        _counts(sizes, len(SIZE_EDGES) + 1),
        _counts(scores, SCORE_BINS),
        _counts(names, len(classes) + 1),
    )


def _counts(columns: Sequence[NDArray[Any]], width: int) -> _Codes:
    table = [np.minimum(np.bincount(one, minlength=width), 255) for one in columns]
    return np.array(table, np.uint8).reshape(len(columns), width)
