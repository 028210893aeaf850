"""A bounded folder of pictures that a person should look at."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from whatwhere.drift import Measured
from whatwhere.drift.features import counted
from whatwhere.images import encode_image, write_atomic
from whatwhere.serve.events import Served
from whatwhere.specs import ModelSpec
from whatwhere.types import Prediction

_LOG = logging.getLogger(__name__)

LEAST = 0.5
"""Doubt from which a picture is worth a look."""

_DAY = 86_400.0
_SAY_SECONDS = 60.0
_NEAR = 6.0
_REMEMBERED = 64


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why a picture is worth a look.

    Args:
        value: 0 not at all, to 1.
        reason: "unsure", "uncertain score", "close classes", "surprising picture".
    """

    value: float
    reason: str


def doubt_of(prediction: Prediction, spec: ModelSpec, surprise: float) -> Doubt:
    """How much a person's answer would teach, from scores and looks alone.

    - a single-label answer: 1 less the margin between the two best scores (Scheffer et al., Active
      hidden Markov models, 2001); 1 if the model says "not sure";
    - boxes and several labels: the score nearest to its threshold, 1 on it, 0 from 0.25 away on;
    - a picture farther from the reference than its farthest hundredth: from 0.5 up.

    Args:
        surprise: of `DriftWatch.surprise`.
    """
    found = [
        Doubt(float(np.clip(surprise / 2, 0, 1)) if surprise > 1 else 0.0, "surprising picture")
    ]
    scores = prediction.label_scores
    if spec.task == "classify" and prediction.boxes is None:
        if prediction.unsure:
            found.append(Doubt(1.0, "unsure"))
        elif len(scores) > 1:
            found.append(Doubt(1 - float(scores[0] - scores[1]), "close classes"))
    else:
        usual = spec.postprocess.score_threshold
        for name, score in zip(prediction.names, prediction.scores.tolist(), strict=True):
            limit = spec.thresholds.get(name, usual)
            found.append(Doubt(max(0.0, 1 - abs(score - limit) / 0.25), "uncertain score"))
    return max(found, key=lambda one: one.value)


class ReviewFolder:
    """Keeps the most doubtful pictures, not two that look the same, never more than so many.

    Each picture is `<name>.jpg` with `<name>.json` beside it. Several processes may keep pictures
    in one folder.

    Args:
        folder: made if it is missing.
        most: pictures.
        days: they are deleted after so many days; 0 for never.
    """

    def __init__(self, folder: Path, most: int = 200, days: float = 30.0) -> None:
        self._folder, self._most, self._days = folder, most, days
        self._recent: list[np.ndarray[Any, np.dtype[np.float32]]] = []
        self._said = float("-inf")
        folder.mkdir(parents=True, exist_ok=True)

    def offer(self, served: Served, one: Measured, spec: ModelSpec, surprise: float) -> bool:
        """Keep a picture if it is doubtful enough; whether it was kept."""
        if served.prediction is None or served.image is None:
            return False
        doubt = doubt_of(served.prediction, spec, surprise)
        if doubt.value < LEAST or any(_near(one, other) for other in self._recent):
            return False
        try:
            held = self._held()
            full = len(held) >= self._most
            if full and held[0][0] >= doubt.value:
                return False
            self._write(served, doubt, spec)
            for _, path in held[: len(held) + 1 - self._most]:
                remove(path)
        except OSError as error:
            now = time.monotonic()
            if now - self._said > _SAY_SECONDS:
                self._said = now
                _LOG.error("pictures for review cannot be kept in %s: %s", self._folder, error)
            return False
        self._recent = [*self._recent[-_REMEMBERED:], one.embedding]
        return True

    def __len__(self) -> int:
        return sum(1 for _ in self._folder.glob("*.json"))

    def _held(self) -> list[tuple[float, Path]]:
        """Pictures that stay, the least doubtful first; their doubt is in their names."""
        oldest = time.time() - self._days * _DAY if self._days else 0.0
        held = []
        for path in self._folder.glob("*.json"):
            with contextlib.suppress(FileNotFoundError, ValueError):
                if path.stat().st_mtime < oldest:
                    remove(path)
                else:
                    held.append((int(path.name.partition("-")[0]) / 1000, path))
        return sorted(held)

    def _write(self, served: Served, doubt: Doubt, spec: ModelSpec) -> None:
        assert served.prediction is not None
        assert served.image is not None
        name = f"{round(doubt.value * 1000):04d}-{time.time_ns():x}-{os.getpid()}"
        about = {
            "picture": f"{name}.jpg",
            "doubt": round(doubt.value, 4),
            "reason": doubt.reason,
            "time": served.time,
            "request_id": served.request_id,
            "model": served.model,
            "version": served.version,
            "task": spec.task,
            "classes": list(spec.names),
            "counted": len(counted(served.prediction, spec)[0]),
            "prediction": served.prediction.to_dict(),
        }
        # The picture first, so that whoever sees the entry has it.
        write_atomic(self._folder / f"{name}.jpg", encode_image(served.image, ".jpg", 92))
        text = json.dumps(about, ensure_ascii=False, indent=1)
        write_atomic(self._folder / f"{name}.json", text + "\n")


def remove(entry: Path) -> None:
    """Take a picture out of the folder; another process may have done so."""
    entry.unlink(missing_ok=True)
    entry.with_suffix(".jpg").unlink(missing_ok=True)


def _near(one: Measured, other: np.ndarray[Any, np.dtype[np.float32]]) -> bool:
    return float(np.abs(one.embedding - other)[:15].max()) < _NEAR
