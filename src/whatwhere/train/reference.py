"""What the server compares later pictures with: a sample of the validation, in the model file."""

from __future__ import annotations

import numpy as np

from whatwhere.data import Dataset
from whatwhere.drift import Reference, learn, reference_of
from whatwhere.drift.reference import ROWS
from whatwhere.errors import UsageError
from whatwhere.evaluation import Result
from whatwhere.runtime import Predictor
from whatwhere.specs import DRIFT_KEY
from whatwhere.train.watch import Listener


def drift_entry(
    predictor: Predictor, validation: Dataset, result: Result, listener: Listener
) -> dict[str, str]:
    """The entry of a model file's metadata; empty if there are too few pictures, which is said.

    Args:
        predictor: of the exported model.
        validation: pictures that it was scored on.
        result: of that, with a prediction a picture.
        listener: is told why there is none.
    """
    spec, paths = predictor.spec, list(validation.paths)
    source = f"validation pictures of {spec.name}"
    try:
        if spec.calibration is None:
            reference = reference_of(spec, paths, result.predictions, source)
        else:
            # Evaluation gives scores of boxes without their calibration.
            places = np.unique(np.linspace(0, len(paths) - 1, min(ROWS, len(paths))).astype(int))
            measured = list(learn(predictor, [paths[place] for place in places]))
            reference = Reference.of(measured, spec, source)
    except UsageError as error:
        listener.note(f"the model file gets no drift reference: {error}")
        return {}
    return {DRIFT_KEY: reference.to_text()}
