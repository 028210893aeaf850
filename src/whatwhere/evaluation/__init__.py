"""Model and data set to numbers: run the model, match class names, score, say what was left out.

`evaluate` runs a model over pictures; `evaluate_predictions` scores a file of saved
predictions. Both give a `Result`. `calibrate` chooses what the scores of a model are to mean,
and its thresholds, and writes them into its file. `compare` says how two results differ, `advise`
what to train at all.
"""

from __future__ import annotations

from whatwhere.evaluation.advice import Advice
from whatwhere.evaluation.advisor import advise
from whatwhere.evaluation.calibrating import Calibration, calibrate
from whatwhere.evaluation.comparison import Comparison, compare
from whatwhere.evaluation.result import Result
from whatwhere.evaluation.run import evaluate
from whatwhere.evaluation.saved import evaluate_predictions

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
