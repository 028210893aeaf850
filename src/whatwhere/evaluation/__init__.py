"""Model and data set to numbers: run the model, match class names, score, say what was left out.

`evaluate` runs a model over pictures; `evaluate_predictions` scores a file of saved
predictions. Both give a `Result`. `calibrate` chooses what the scores of a model are to mean,
and its thresholds, and writes them into its file.
"""

from __future__ import annotations

from whatwhere.evaluation.calibrate import Calibration, calibrate
from whatwhere.evaluation.result import Result
from whatwhere.evaluation.run import evaluate
from whatwhere.evaluation.saved import evaluate_predictions

__all__ = ["Calibration", "Result", "calibrate", "evaluate", "evaluate_predictions"]
