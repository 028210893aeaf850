"""Generated boxes with every kind of error, for the tests of errors and protocols."""

import numpy as np

from made_boxes import generated
from whatwhere.data import Dataset
from whatwhere.metrics.coco import FoundBoxes, TrueBoxes
from whatwhere.types import Prediction


def muddled(
    seed: int, images: int = 25, classes: int = 3, *, crowds: float = 0.0, extra: int = 4
) -> tuple[TrueBoxes, FoundBoxes]:
    """Wrong classes, shifted boxes, boxes found twice, inventions; no two scores are equal."""
    rng = np.random.default_rng(seed)
    truth, found = generated(rng, images, classes, extra=extra, crowds=crowds)
    count = len(found.image)
    wrong, shifted = rng.random(count) < 0.25, rng.random((count, 1)) < 0.4
    xywh = found.xywh + rng.normal(0, 6, (count, 4)) * shifted
    xywh[:, 2:] = np.maximum(xywh[:, 2:], 1)
    class_id = np.where(wrong, rng.integers(0, classes, count), found.class_id)
    return truth, FoundBoxes(found.image, class_id, xywh, rng.permutation(count) / count)


def corners(xywh: np.ndarray) -> np.ndarray:
    """x1, y1, x2, y2 from left, top, width, height."""
    return np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)


def as_predictions(found: FoundBoxes, images: int, names: list[str]) -> list[Prediction]:
    """One prediction a picture, best first; boxes are rounded to float32."""
    answers = []
    for image in range(images):
        rows = np.flatnonzero(found.image == image)
        rows = rows[np.argsort(-found.score[rows], kind="stable")]
        answers.append(
            Prediction(
                640,
                480,
                object_names=tuple(names[class_id] for class_id in found.class_id[rows]),
                object_scores=found.score[rows].astype(np.float32),
                boxes=corners(found.xywh[rows]).astype(np.float32),
            )
        )
    return answers


def as_dataset(truth: TrueBoxes, images: int, names: list[str], **columns: object) -> Dataset:
    """The labelled boxes as a data set; `columns` are more columns of labels."""
    x1, y1, x2, y2 = corners(truth.xywh).T
    labels = {
        "image": truth.image,
        "class_id": truth.class_id,
        "x1": x1,
        "y1": y1,
        "x2": x2,
        "y2": y2,
        "ignore": truth.ignore,
    }
    paths = {"path": [f"/nowhere/{image}.jpg" for image in range(images)]}
    order = np.argsort(truth.image, kind="stable")
    given = {name: np.asarray(column)[order] for name, column in (labels | columns).items()}
    return Dataset(paths, given, names, task="detect")
