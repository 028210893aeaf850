"""Model and data set to numbers: run the model, match class names, score, say what was left out.

`evaluate` runs a model over pictures; `evaluate_predictions` scores a file of saved
predictions. Both give a `Result`. `calibrate` chooses what the scores of a model are to mean,
and its thresholds, and writes them into its file. `compare` says how two results differ, `advise`
what to train at all.

Each is loaded when it is first used: scoring saved predictions needs no runtime.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from whatwhere.evaluation.advice import Advice
    from whatwhere.evaluation.advisor import advise
    from whatwhere.evaluation.calibrating import Calibration, calibrate
    from whatwhere.evaluation.comparison import Comparison, compare
    from whatwhere.evaluation.result import Result
    from whatwhere.evaluation.run import evaluate
    from whatwhere.evaluation.saved import evaluate_predictions

# Name -> the module that defines it.
_HOME = {
    "Advice": "advice",
    "Calibration": "calibrating",
    "Comparison": "comparison",
    "Result": "result",
    "advise": "advisor",
    "calibrate": "calibrating",
    "compare": "comparison",
    "evaluate": "run",
    "evaluate_predictions": "saved",
}

__all__ = [
    "Advice",
    "Calibration",
    "Comparison",
    "Result",
    "advise",
    "calibrate",
    "compare",
    "evaluate",
    "evaluate_predictions",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'whatwhere.evaluation' has no attribute {name!r}")
    value = getattr(import_module(f"whatwhere.evaluation.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
