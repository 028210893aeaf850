"""What "not sure" and sets of classes, as the model file has them, do on labelled pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from whatwhere.data import Dataset
from whatwhere.evaluation.matching import Head
from whatwhere.metrics.binomial import share_interval
from whatwhere.specs import ModelSpec
from whatwhere.types import Prediction


def applied_notes(
    spec: ModelSpec, head: Head, data: Dataset, predictions: Sequence[Prediction]
) -> Iterator[str]:
    """Sentences about a single-label head that hesitates or gives sets.

    Args:
        spec: the model's.
        head: the one that is scored.
        data: labelled pictures.
        predictions: one a picture, with every label.
    """
    about = spec.calibration
    if about is not None and about.data.digest == data.digest():
        yield (
            "calibration and thresholds of the model were chosen on these very pictures, so that"
            " numbers look better than they are"
        )
    if head.task != "classify":
        return
    rows = [
        (predictions[image], data.names[class_id])
        for image, class_id, ignored in zip(
            data.labels["image"].to_list(),
            data.labels["class_id"].to_list(),
            data.labels["ignore"].fill_null(False).to_list(),
            strict=True,
        )
        if not ignored and data.names[class_id] in (head.names or ())
    ]
    said = [(one, name) for one, name in rows if one.unsure is not None and one.label_names]
    if said:
        sure = [one.label_names[0] == name for one, name in said if not one.unsure]
        wrong = f"{1 - np.mean(sure):.2%} are wrong" if sure else "none is left"
        all_wrong = 1 - np.mean([one.label_names[0] == name for one, name in said])
        yield (
            f"the model answers 'not sure' for {1 - len(sure) / len(said):.1%} of these pictures;"
            f" of its other answers {wrong} ({all_wrong:.2%} of all); the numbers here are of all"
            " pictures"
        )
    sets = [(one.label_set, name) for one, name in rows if one.label_set is not None]
    answers = spec.answers if spec.task != "detect" else spec.label_answers
    if sets and answers.conformal is not None:
        hits = [name in among for among, name in sets]
        interval = share_interval(sum(hits), len(hits))
        size = float(np.mean([len(among) for among, _ in sets]))
        assert interval is not None
        yield (
            f"sets of classes hold the right one in {np.mean(hits):.1%} of these pictures (95 %"
            f" interval {interval[0]:.1%} to {interval[1]:.1%}, promised"
            f" {answers.conformal.coverage:.1%}), with {size:.2f} classes on average"
        )
