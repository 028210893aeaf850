"""How scores and objects are put into words, in drawings and tables alike."""

from __future__ import annotations

from whatwhere.types import Prediction


def percent(score: float) -> str:
    """A score in 0..1 as whole percent; what is not certain never reads "100 %"."""
    if 0 < score < 0.01:
        return "<1 %"
    return f"{100 if score >= 0.9995 else min(99, round(score * 100))} %"


def object_name(prediction: Prediction, position: int) -> str:
    """Name of an object, with what a second model says of it: "animal: Egyptian cat"."""
    name = prediction.object_names[position]
    labels = prediction.object_labels[position] if prediction.object_labels else ()
    return f"{name}: {labels[0].name}" if labels else name


def object_score(prediction: Prediction, position: int) -> float:
    """Score of what `object_name` says last: of the second model's name if there is one."""
    labels = prediction.object_labels[position] if prediction.object_labels else ()
    return float(labels[0].score if labels else prediction.object_scores[position])
