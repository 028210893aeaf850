"""Drift of one model version: pictures in, a verdict for each window."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np

from whatwhere.drift import Judge, Measured, Reference, Verdict, answers_digest
from whatwhere.drift.reference import ROWS
from whatwhere.errors import ModelError
from whatwhere.serve.monitoring.settings import MonitorSettings
from whatwhere.specs import ModelSpec

_LOG = logging.getLogger(__name__)
_QUIET = 3
# Of the reference's own pictures, this share is called usual.
_USUAL = 0.99


@dataclass(frozen=True, slots=True)
class Change:
    """What a window changed.

    Args:
        verdict: of the window.
        began: it is the first with an alarm, after quiet ones.
        ended: it is the third quiet one after an alarm.
    """

    verdict: Verdict
    began: bool
    ended: bool


class DriftWatch:
    """Compares the pictures of one model version with its reference, window by window.

    Args:
        name: model and version, for the log.
        spec: of the model.
        text: its reference (`Reference.to_text`); "" if it has none.
        settings: window, rate, and whether the first pictures become the reference.
    """

    def __init__(self, name: str, spec: ModelSpec, text: str, settings: MonitorSettings) -> None:
        self._name = name
        self._spec = spec
        self._settings = settings
        self._rows: list[Measured] = []
        self._judge: Judge | None = None
        self.last: Verdict | None = None
        self.windows = 0
        self.alarm = False
        self._quiet = 0
        self.problem = ""
        self.reference: Reference | None = None
        if text:
            try:
                self._start(Reference.from_text(text, name))
            except ModelError as error:
                self.problem = str(error)
                _LOG.error("no drift detection: %s", error)
        elif not settings.drift_learn:
            self.problem = "the model has no drift reference"

    def _start(self, reference: Reference) -> None:
        answers = reference.answers == answers_digest(self._spec)
        if not answers:
            _LOG.warning(
                "%s: thresholds or calibration have changed since its drift reference was made, so"
                " only pictures are compared, not answers; make it again with 'whatwhere drift'",
                self._name,
            )
        self.reference = reference
        self._judge = Judge(
            reference, self._settings.drift_window, self._settings.drift_rate, answers=answers
        )
        codes = reference.rows.embeddings.astype(np.float64)
        self._middle, self._spread = codes.mean(axis=0), np.maximum(codes.std(axis=0), 1.0)
        self._far = float(np.quantile(self._distance(codes), _USUAL))

    def _distance(self, codes: Any) -> Any:
        return np.sqrt((((codes - self._middle) / self._spread) ** 2).mean(axis=-1))

    def surprise(self, one: Measured) -> float:
        """How far a picture is from the reference: 1 as far as its farthest hundredth, 0 near."""
        if self.reference is None:
            return 0.0
        codes = self.reference.code([one]).embeddings.astype(np.float64)
        return float(self._distance(codes)[0]) / max(self._far, 1e-6)

    def add(self, one: Measured) -> Change | None:
        """Take a picture; at the end of a window say what changed."""
        if self.problem:
            return None
        self._rows.append(one)
        if self._judge is None:
            if len(self._rows) == ROWS:
                rows, self._rows = self._rows, []
                self._start(Reference.of(rows, self._spec, "the first pictures that were served"))
                _LOG.info("%s: the first %d pictures are its drift reference", self._name, ROWS)
            return None
        if len(self._rows) < self._judge.window:
            return None
        rows, self._rows = self._rows, []
        verdict = self._judge.judge(rows)
        self.last, self.windows = verdict, self.windows + 1
        began = verdict.drifted and not self.alarm
        self._quiet = 0 if verdict.drifted else self._quiet + 1
        ended = self.alarm and self._quiet >= _QUIET
        self.alarm = verdict.drifted or (self.alarm and not ended)
        return Change(verdict, began, ended)

    def to_dict(self) -> dict[str, Any]:
        """The state, for people and the page."""
        reference = self.reference
        return {
            "state": self._state(),
            "alarm": self.alarm,
            "windows": self.windows,
            "pictures": len(self._rows),
            "window": self._settings.drift_window if reference is not None else ROWS,
            "rate": self._settings.drift_rate,
            "reference": None if reference is None else reference.source,
            "reference_pictures": None if reference is None else reference.pictures,
            "answers": None if self._judge is None else self._judge.answers,
            "problem": self.problem or None,
            "last": None if self.last is None else self.last.to_dict(),
        }

    def _state(self) -> str:
        if self.problem:
            return "off"
        return "learning" if self._judge is None else "watching"
