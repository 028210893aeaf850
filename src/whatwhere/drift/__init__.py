"""Are the pictures and answers of today those that a model was judged on?

A `Reference` is a sample of pictures as numbers, small enough for the model file; a `Judge`
compares windows of later pictures with it, at a stated rate of false alarms. NumPy and OpenCV only.
"""

from __future__ import annotations

from whatwhere.drift.features import Measured, measure
from whatwhere.drift.judge import Judge, Part, Verdict
from whatwhere.drift.learn import learn, reference_of
from whatwhere.drift.reference import Reference, answers_digest

__all__ = [
    "Judge",
    "Measured",
    "Part",
    "Reference",
    "Verdict",
    "answers_digest",
    "learn",
    "measure",
    "reference_of",
]
