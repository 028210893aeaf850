"""LVIS's detection numbers, computed by hotcoco.

Source: Gupta, Dollar, Girshick, LVIS: A Dataset for Large Vocabulary Instance Segmentation,
CVPR 2019, section 2, and its program lvis-api. COCO's AP with two changes: in a picture only
the classes count that it is known to show or not to show, and of a class of which not every
object is labelled, boxes that find nothing are left out; and the 300 best boxes a picture
count, all classes together. `labelled` and `complete` of the pictures say which classes these
are; a picture that says nothing was searched for all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whatwhere.data import Dataset
from whatwhere.errors import MissingExtraError
from whatwhere.metrics.coco import RECALL_LEVELS, FoundBoxes, TrueBoxes
from whatwhere.metrics.detection import found_boxes, true_boxes
from whatwhere.types import Prediction

LIMIT = 300
FREQUENCIES = ("r", "c", "f")
"""Rare, common and frequent classes, as `frequency` of a class says."""


def score_lvis(
    data: Dataset, predictions: Sequence[Prediction], *, classes: frozenset[str]
) -> dict[str, Any]:
    """The `lvis_` numbers (see `FURTHER`), and `per_class` with `lvis_AP` and `boxes`.

    Where no class says how frequent it is, `lvis_APr`, `lvis_APc` and `lvis_APf` are None:
    LVIS counts pictures of its training set, which are not here.

    Raises:
        MissingExtraError: hotcoco is not installed.
    """
    names = {place: name for place, name in enumerate(data.names) if name in classes}
    frequency = {
        place: str(data.class_info.get(name, {}).get("frequency")) for place, name in names.items()
    }
    absent, incomplete = federated(data)
    truth, found = true_boxes(data), found_boxes(predictions, data.names)
    return lvis_scores(names, frequency, absent, incomplete, truth, found)


def federated(data: Dataset) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """LVIS's two lists as tables, bool (pictures, classes).

    Returns:
        Where a class is known to be absent (`neg_category_ids`), and where not all of its
        objects are labelled (`not_exhaustive_category_ids`).
    """
    index = {name: class_id for class_id, name in enumerate(data.names)}
    shape = (len(data), len(index))
    looked, every = np.ones(shape, dtype=bool), np.ones(shape, dtype=bool)
    columns = (data.images["labelled"].to_list(), data.images["complete"].to_list())
    for row, (labelled, complete) in enumerate(zip(*columns, strict=True)):
        if labelled is not None:
            looked[row] = False
            looked[row, [index[name] for name in labelled if name in index]] = True
        if complete is not None:
            every[row] = False
            every[row, [index[name] for name in complete if name in index]] = True
    shown = np.zeros(shape, dtype=bool)
    image = data.labels["image"].to_numpy().astype(np.int64)
    shown[image, data.labels["class_id"].to_numpy().astype(np.int64)] = True
    return looked & ~shown, (looked | shown) & ~every


def lvis_scores(
    names: Mapping[int, str],
    frequency: Mapping[int, str],
    absent: NDArray[np.bool_],
    incomplete: NDArray[np.bool_],
    truth: TrueBoxes,
    found: FoundBoxes,
) -> dict[str, Any]:
    """The same from arrays.

    Args:
        names: class name by class id, a column of the tables.
        frequency: "r", "c" or "f" by class id; any other word is none of them.
        absent, incomplete: bool (pictures, classes), see `federated`.
        truth, found: pictures are rows of the tables. Labels to be ignored are crowds.

    Raises:
        MissingExtraError: hotcoco is not installed.
    """
    try:
        import hotcoco
    except ImportError as error:
        raise MissingExtraError("data", "Scoring boxes") from error
    ids = np.array(sorted(names), dtype=np.int64)
    truth, found = (
        truth.only(np.isin(truth.class_id, ids)),
        found.only(np.isin(found.class_id, ids)),
    )
    kinds, counts = np.unique(truth.class_id[~truth.ignore], return_counts=True)
    boxes = dict(zip(kinds.tolist(), counts.tolist(), strict=True))
    dataset = hotcoco.COCO.from_arrays(
        [
            {
                "id": image,
                "neg_category_ids": ids[absent[image, ids]].tolist(),
                "not_exhaustive_category_ids": ids[incomplete[image, ids]].tolist(),
            }
            for image in range(len(absent))
        ],
        [
            {"id": class_id, "name": names[class_id]}
            | ({"frequency": frequency[class_id]} if frequency[class_id] in FREQUENCIES else {})
            for class_id in ids.tolist()
        ],
        truth.image,
        truth.class_id,
        truth.xywh,
        area=truth.area,
        iscrowd=truth.ignore,
    )
    table = np.column_stack([found.image, found.xywh, found.score, found.class_id])
    results = dataset.load_res(table.astype(np.float64).reshape(-1, 7))
    results = results.cap_detections_per_image(LIMIT)
    precision = np.full((10, RECALL_LEVELS, len(ids), 4), -1.0)
    recall = np.full((10, len(ids), 4), -1.0)
    # hotcoco takes an empty list of pictures or classes for "all of them".
    if len(absent) and len(ids):
        judge = hotcoco.COCOeval(dataset, results, "bbox", lvis_style=True)
        judge.evaluate()
        judge.accumulate()
        arrays: dict[str, Any] = judge.eval or {}
        precision, recall = arrays["precision"][..., 0], arrays["recall"][..., 0]
    letters = np.array([frequency[class_id] for class_id in ids.tolist()], dtype=str)
    per_class = {
        name: {
            "lvis_AP": _mean(precision[:, :, np.searchsorted(ids, class_id), 0]),
            "boxes": boxes.get(class_id, 0),
        }
        for class_id, name in names.items()
    }
    notes = []
    if not set(letters.tolist()) & set(FREQUENCIES):
        notes.append(
            "no class has a 'frequency', so LVIS's numbers of rare, common and frequent classes"
            " are undefined"
        )
    return _summary(precision, recall, letters) | {"per_class": per_class, "notes": notes}


def _summary(
    precision: NDArray[np.float64], recall: NDArray[np.float64], letters: NDArray[np.str_]
) -> dict[str, float | None]:
    """LVIS's 13 numbers, as lvis-api takes the means.

    Args:
        precision: float64 (10, 101, K, 4), -1 where undefined; areas all, small, medium, large.
        recall: float64 (10, K, 4), likewise.
        letters: (K,), how frequent each class is.
    """
    numbers = {
        "lvis_AP": _mean(precision[..., 0]),
        "lvis_AP50": _mean(precision[0, ..., 0]),
        "lvis_AP75": _mean(precision[5, ..., 0]),
    }
    for place, size in enumerate("sml", 1):
        numbers[f"lvis_AP{size}"] = _mean(precision[..., place])
    for letter in FREQUENCIES:
        numbers[f"lvis_AP{letter}"] = _mean(precision[:, :, letters == letter, 0])
    for place, size in enumerate(("", "s", "m", "l")):
        numbers[f"lvis_AR{size}{LIMIT}"] = _mean(recall[..., place])
    return numbers


def _mean(values: NDArray[np.float64]) -> float | None:
    defined = values[values > -1]
    return float(np.mean(defined)) if defined.size else None
