"""From a model's raw outputs to predictions, in NumPy.

Validation during training, evaluation, prediction and serving all decode here, so the
score that is measured is the score that ships.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from whatwhere.errors import ModelError
from whatwhere.runtime.reading import (
    class_limits,
    lowest_score,
    mapped_table,
    object_limits,
    read_scores,
    unsure_rows,
)
from whatwhere.runtime.suppress import nms, reduce_boxes
from whatwhere.specs import AnswerSpec, ModelSpec
from whatwhere.transforms import Geometry
from whatwhere.types import Boxes, Prediction, Scores, as_boxes

__all__ = [
    "Found",
    "checked_output",
    "decode",
    "find_objects",
    "lowest_score",
    "nms",
    "sigmoid",
    "softmax",
]

FloatArray: TypeAlias = NDArray[Any]
IdArray: TypeAlias = NDArray[np.int64]

# Greedy suppression stops early once enough boxes are kept; this bound only matters when
# a picture has more candidates than that above a threshold near 0.
MAX_CANDIDATES = 30_000


def softmax(logits: FloatArray, temperature: float = 1.0) -> FloatArray:
    """Probabilities over the last axis, float64, same shape; large logits do not overflow."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    grown = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    shares: FloatArray = grown / grown.sum(axis=-1, keepdims=True)
    return shares


def sigmoid(logits: FloatArray, temperature: float = 1.0) -> FloatArray:
    """1 / (1 + exp(-logits / temperature)), float64, same shape; never overflows."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    small = np.exp(-np.abs(scaled))
    values: FloatArray = np.where(scaled >= 0, 1.0, small) / (1.0 + small)
    return values


class Found(NamedTuple):
    """Objects of one picture, best first, with scores as the model gives them.

    Args:
        boxes: float32 (K, 4), pixels of the picture, inside it.
        ids: int64 (K,), classes.
        scores: float32 (K,), not calibrated.
    """

    boxes: Boxes
    ids: IdArray
    scores: Scores


def decode(
    outputs: Mapping[str, FloatArray],
    geometries: Sequence[Geometry],
    spec: ModelSpec,
    *,
    threshold: float | None = None,
    evaluation: bool = False,
    images: Sequence[str | None] | None = None,
    found: Sequence[Found] | None = None,
) -> list[Prediction]:
    """One prediction for each picture of a batch.

    Args:
        outputs: `logits` (N, C) before softmax or sigmoid; `boxes` (N, A, 4), x1 y1 x2 y2 in
            input pixels, with `scores` (N, A, C) after the sigmoid; or all three.
        geometries: how each picture lies in the input, N of them.
        spec: the model's.
        threshold: replaces the spec's score thresholds, those of single classes and the score
            below which the answer is "not sure" too. Without it `classify` gives the best `top`
            labels whatever their score, or none if it is not sure.
        evaluation: give what metrics need: every label with its score, and every class of
            an anchor above the spec's `evaluation_threshold`. Otherwise an anchor gives one
            box, of its best class, if that reaches its threshold.
        images: name of each picture, for `Prediction.image`.
        found: the objects of each picture, in place of those in `outputs`.

    Raises:
        ModelError: an output is missing, has another shape than the spec says, or is not finite.
    """
    count = len(geometries)
    labels = _decode_labels(outputs, count, spec, threshold, evaluation)
    objects: list[tuple[Boxes | None, IdArray, Scores]]
    if spec.task != "detect":
        objects = [(None, np.zeros(0, np.int64), np.zeros(0, np.float32))] * count
    else:
        if found is None:
            found = find_objects(outputs, geometries, spec, threshold, evaluation)
        objects = [_calibrated(one, spec) for one in found]
    predictions = []
    for index, geometry in enumerate(geometries):
        said = labels[index]
        boxes, object_ids, object_scores = objects[index]
        height, width = geometry.image_size
        label_names = spec.label_names if spec.task == "detect" else spec.names
        predictions.append(
            Prediction(
                width=width,
                height=height,
                image=None if images is None else images[index],
                label_names=tuple([label_names[position] for position in said.ids]),
                label_scores=said.scores,
                object_names=tuple([spec.names[position] for position in object_ids]),
                object_scores=object_scores,
                boxes=boxes,
                model=spec.name,
                unsure=said.unsure,
                label_set=None
                if said.among is None
                else tuple([label_names[position] for position in said.among]),
            )
        )
    return predictions


class _Said(NamedTuple):
    """Labels of one picture: class ids and scores, best first; see `Prediction` for the rest."""

    ids: IdArray
    scores: Scores
    unsure: bool | None = None
    among: IdArray | None = None


def _decode_labels(
    outputs: Mapping[str, FloatArray],
    count: int,
    spec: ModelSpec,
    threshold: float | None,
    evaluation: bool,
) -> list[_Said]:
    """For each picture what is said of it as a whole."""
    main = spec.task != "detect"
    names = spec.names if main else spec.label_names
    if not names:
        return [_Said(np.zeros(0, np.int64), np.zeros(0, np.float32))] * count
    kind = spec.task if main else spec.label_task
    answers = spec.answers if main else spec.label_answers
    logits = checked_output(outputs, "logits", (count, len(names)), spec)
    if not np.isfinite(logits).all():
        raise _not_finite("logits", spec)
    if kind == "classify":
        return _classes(logits, names, answers, spec.postprocess.top, threshold, evaluation)
    scores = mapped_table(sigmoid(logits, answers.temperature), names, answers.maps)
    limits = class_limits(answers, names, spec.postprocess.score_threshold, threshold)
    # float64 order: scores that round to the same float32 keep their true order, and so do
    # logits that give the same score.
    order = np.lexsort((-np.asarray(logits, np.float64), -scores), axis=1)
    rows = []
    for ids, row in zip(order, scores, strict=True):
        if not evaluation:
            ids = ids[row[ids] >= limits[ids]]
        rows.append(_Said(ids, row[ids].astype(np.float32)))
    return rows


def _classes(
    logits: FloatArray,
    names: Sequence[str],
    answers: AnswerSpec,
    top: int,
    threshold: float | None,
    evaluation: bool,
) -> list[_Said]:
    """One class a picture, or "not sure"; logits (N, C)."""
    scores = softmax(logits, answers.temperature)
    order = np.argsort(-np.asarray(logits, np.float64), axis=1, kind="stable")
    least = 0.0 if threshold is None else threshold
    unsure = None
    if answers.hesitates:
        first = order[:, 0]
        best = scores[np.arange(len(scores)), first].astype(np.float32)
        asked = threshold is None or evaluation
        unsure = unsure_rows(answers, names, first, best) & asked
    # Rounded as in the prediction, so that the rule is the same for saved predictions.
    inside = (
        None
        if answers.conformal is None
        else answers.conformal.build().sets(scores.astype(np.float32))
    )
    rows = []
    for index, (ids, row) in enumerate(zip(order, scores, strict=True)):
        among = None if inside is None else ids[inside[index][ids]]
        lost = None if unsure is None else bool(unsure[index])
        if not evaluation:
            ids = ids[:0] if lost else ids[:top]
            ids = ids[row[ids] >= least]
        rows.append(_Said(ids, row[ids].astype(np.float32), lost, among))
    return rows


def find_objects(
    outputs: Mapping[str, FloatArray],
    geometries: Sequence[Geometry],
    spec: ModelSpec,
    threshold: float | None,
    evaluation: bool,
) -> list[Found]:
    """The objects of each picture of a batch; arguments and errors as of `decode`."""
    count, classes = len(geometries), len(spec.names)
    boxes = checked_output(outputs, "boxes", (count, -1, 4), spec)
    scores = checked_output(outputs, "scores", (count, boxes.shape[1], classes), spec)
    if scores.size:
        low, high = float(scores.min()), float(scores.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise _not_finite("scores", spec)
        if low < -1e-3 or high > 1 + 1e-3:
            raise ModelError(
                f"model {spec.name}: output 'scores' goes from {low:.3g} to {high:.3g}:"
                " it must be in 0..1, after the sigmoid; export the model again"
            )
    if not np.isfinite(boxes).all():
        raise _not_finite("boxes", spec)
    limits = object_limits(spec, threshold, evaluation)
    return [
        _objects(boxes[index], scores[index], geometry, limits, spec, evaluation)
        for index, geometry in enumerate(geometries)
    ]


def _objects(
    boxes: FloatArray,
    scores: FloatArray,
    geometry: Geometry,
    limits: FloatArray,
    spec: ModelSpec,
    every_class: bool,
) -> Found:
    """Boxes of one picture from (A, 4) boxes and (A, C) scores.

    Everything is chosen by the scores as the model gives them, which `limits` (C,) refer to, and
    the chosen ones are calibrated: so calibration changes what scores say and where a threshold
    lies, but not which boxes there are to choose from.
    """
    above = scores >= limits
    if every_class:
        anchors, class_ids = np.nonzero(above)
    else:
        anchors = np.flatnonzero(above.any(axis=1))
        class_ids = scores[anchors].argmax(axis=1)
        # A box whose best class does not reach its threshold is none of the second best.
        reached = above[anchors, class_ids]
        anchors, class_ids = anchors[reached], class_ids[reached]
    values = scores[anchors, class_ids]
    if len(values) > MAX_CANDIDATES:
        border = np.partition(values, len(values) - MAX_CANDIDATES)[-MAX_CANDIDATES]
        best = np.flatnonzero(values >= border)
        anchors, class_ids, values = anchors[best], class_ids[best], values[best]
    order = np.argsort(-values, kind="stable")[:MAX_CANDIDATES]
    candidates = as_boxes(boxes[anchors[order]])
    restored = geometry.to_image(candidates)
    # A box that lies in the letterbox border has no area in the picture.
    real = np.flatnonzero((restored[:, 2:] > restored[:, :2]).all(axis=1))
    candidates, order = candidates[real], order[real]
    ids = class_ids[order].astype(np.int64)
    kept = reduce_boxes(candidates, values[order], ids, limits[ids], spec.postprocess)
    return Found(geometry.to_image(kept.boxes), ids[kept.rows], kept.scores)


def _calibrated(found: Found, spec: ModelSpec) -> tuple[Boxes, IdArray, Scores]:
    """Boxes, class ids and scores as predictions have them, best first."""
    boxes, ids = found.boxes, found.ids
    final = read_scores(found.scores, ids, spec.names, spec.answers)
    if spec.maps:
        # Maps of different classes can change the order between them.
        again = np.argsort(-final, kind="stable")
        boxes, ids, final = boxes[again], ids[again], final[again]
    return boxes, ids, final


def checked_output(
    outputs: Mapping[str, FloatArray], name: str, shape: tuple[int, ...], spec: ModelSpec
) -> FloatArray:
    """One output as float32; -1 in the shape stands for any length.

    Raises:
        ModelError: it is missing or has another shape.
    """
    if name not in outputs:
        raise ModelError(
            f"model {spec.name} has no output '{name}' (it has {', '.join(outputs) or 'none'}):"
            " export the model again"
        )
    values = np.asarray(outputs[name])
    fits = len(values.shape) == len(shape) and all(
        wanted in (-1, found) for wanted, found in zip(shape, values.shape, strict=True)
    )
    if not fits:
        wanted = " x ".join("any" if side == -1 else str(side) for side in shape)
        found = " x ".join(str(side) for side in values.shape)
        raise ModelError(
            f"model {spec.name}: output '{name}' is {found}, but its spec needs {wanted}:"
            " export the model again"
        )
    return values if values.dtype == np.float32 else values.astype(np.float32)


def _not_finite(name: str, spec: ModelSpec) -> ModelError:
    return ModelError(
        f"model {spec.name}: output '{name}' has values that are not finite (NaN or infinite):"
        " its weights are damaged or its training diverged; use another checkpoint"
    )
