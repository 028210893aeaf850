"""Run a model: backends, decoding, sources, predictors.

`load` opens a model; the result's `predict` answers for one picture, its `stream` for many.
"""

from __future__ import annotations

from whatwhere.runtime.items import Source
from whatwhere.runtime.loading import find_file, load, load_file, read_spec
from whatwhere.runtime.predictor import Failure, Predictor, PredictorBase
from whatwhere.runtime.sources import Sources, expand

__all__ = [
    "Failure",
    "Predictor",
    "PredictorBase",
    "Source",
    "Sources",
    "expand",
    "find_file",
    "load",
    "load_file",
    "read_spec",
]
