"""How wrong a prediction is about one picture, to find those worth a look."""

from __future__ import annotations

import numpy as np

from whatwhere.data import Targets
from whatwhere.types import Labels, Prediction, Task, box_iou, limit_of


def mistakes(
    task: Task, truth: Targets, prediction: Prediction, names: Labels, threshold: float
) -> int:
    """Number of labels missed and answers that are wrong.

    Args:
        truth: labels of the picture; class ids are positions in `names`.
        threshold: answers with a lower score do not count (not for `classify`, whose best
            class always counts).
    """
    if task == "detect":
        truth = truth.located()
    counted = ~truth.ignore
    wanted = {names[class_id] for class_id in truth.class_ids[counted]}
    unsure = {names[class_id] for class_id in truth.class_ids[truth.ignore]}
    if task == "classify":
        return int(bool(wanted) and not wanted & set(prediction.label_names[:1]))
    if task == "multilabel":
        by_box = not prediction.label_names and prediction.boxes is not None
        said_names = prediction.object_names if by_box else prediction.label_names
        scores = prediction.object_scores if by_box else prediction.label_scores
        said = {n for n, s in zip(said_names, scores, strict=True) if s >= limit_of(threshold, n)}
        said = {name for name in said if name in names}
        return len(wanted - said) + len(said - wanted - unsure)
    if truth.boxes is None or prediction.boxes is None:
        return len(truth.class_ids)
    iou = box_iou(prediction.boxes, truth.boxes)
    open_rows = np.ones(len(truth.class_ids), dtype=bool)
    wrong = 0
    for row, name in enumerate(prediction.object_names):
        if prediction.object_scores[row] < limit_of(threshold, name) or name not in names:
            continue
        same = (truth.class_ids == names.id(name)) & (iou[row] >= 0.5)
        fitting = np.flatnonzero(same & open_rows & counted)
        if len(fitting):
            open_rows[fitting[iou[row, fitting].argmax()]] = False
        elif not (same & truth.ignore).any():
            wrong += 1
    return wrong + int((open_rows & counted).sum())
