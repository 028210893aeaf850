"""Pascal VOC's average precision at IoU 0.5.

Source: Everingham and Winn, The PASCAL Visual Object Classes Challenge 2012 Development Kit,
VOCevaldet.m and VOCap.m. The rules differ from COCO's: a predicted box is held against the one
labelled box that it overlaps most, taken or not; of several on one object the first by score is
right and the others are wrong; a box whose labelled box is difficult is left out, and a
difficult object is no miss. There is no limit of boxes a picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from whatwhere.data import Dataset
from whatwhere.metrics.coco import FoundBoxes, TrueBoxes
from whatwhere.metrics.detection import found_boxes, known_boxes, true_boxes
from whatwhere.metrics.overlaps import overlaps
from whatwhere.types import Prediction

_LEVELS = 10


def score_voc(
    data: Dataset, predictions: Sequence[Prediction], *, classes: frozenset[str]
) -> dict[str, Any]:
    """`voc_AP50` and `voc_AP50_11` (see `FURTHER`), and both `per_class` with `boxes`; `notes`.

    Labels that are marked as difficult or to be ignored are VOC's difficult objects. Boxes of
    our frame give the devkit's IoU, whose +1 makes up for end pixels that are included.
    """
    names = {place: name for place, name in enumerate(data.names) if name in classes}
    rows = data.labels.filter(pl.col("x1").is_not_null())
    hard = (rows["ignore"] | rows["difficult"].fill_null(False)).to_numpy().astype(bool)
    truth = replace(true_boxes(data), ignore=hard)
    truth, found = known_boxes(data, truth, found_boxes(predictions, data.names))
    return voc_scores(names, truth, found) | {"notes": []}


def voc_scores(
    names: Mapping[int, str], truth: TrueBoxes, found: FoundBoxes, *, iou: float = 0.5
) -> dict[str, Any]:
    """The same from arrays; `ignore` marks difficult objects, `names` is by class id."""
    order = np.argsort(-found.score, kind="stable")
    found = FoundBoxes(
        found.image[order], found.class_id[order], found.xywh[order], found.score[order]
    )
    true, counted = judge(truth, found, iou)
    per_class = {}
    for class_id, name in names.items():
        positives = int(((truth.class_id == class_id) & ~truth.ignore).sum())
        mine = (found.class_id == class_id) & counted
        hits = np.cumsum(true[mine])
        per_class[name] = {
            "voc_AP50": all_point_ap(hits, positives),
            "voc_AP50_11": eleven_point_ap(hits, positives),
            "boxes": positives,
        }
    result: dict[str, Any] = {}
    for key in ("voc_AP50", "voc_AP50_11"):
        values = [row[key] for row in per_class.values() if row[key] is not None]
        result[key] = float(np.mean(np.array(values, dtype=np.float64))) if values else None
    return result | {"per_class": per_class}


def judge(
    truth: TrueBoxes, found: FoundBoxes, iou: float = 0.5
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which predicted boxes are right, and which count at all; both bool (N,).

    Args:
        truth: `ignore` marks difficult objects.
        found: sorted by descending score.
    """
    pairs = overlaps(truth, found, same_class=True)
    # Of each predicted box the pair with most overlap; of equal ones the first, as there.
    best = np.lexsort((pairs.truth, -pairs.iou, pairs.found))
    best = best[np.unique(pairs.found[best], return_index=True)[1]]
    best = best[pairs.iou[best] >= iou]
    ours, theirs = pairs.found[best], pairs.truth[best]
    hard = truth.ignore[theirs]
    counted = np.ones(len(found.score), dtype=bool)
    counted[ours[hard]] = False
    ours, theirs = ours[~hard], theirs[~hard]
    true = np.zeros(len(found.score), dtype=bool)
    true[ours[np.unique(theirs, return_index=True)[1]]] = True
    return true, counted


def all_point_ap(hits: NDArray[Any], positives: int) -> float | None:
    """Area under the precision-recall curve after making precision fall (VOC 2010 on).

    Args:
        hits: int (N,), right boxes among the first 1, 2, … N by score.
        positives: number of objects; without any the AP is undefined.
    """
    if not positives:
        return None
    if not len(hits):
        return 0.0
    precision = hits / np.arange(1, len(hits) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(hits, prepend=0) * best) / positives)


def eleven_point_ap(hits: NDArray[Any], positives: int) -> float | None:
    """Mean of the best precision at recall 0, 0.1, … 1 or above (VOC until 2009).

    Recall is compared in whole numbers: 3 of 10 reach 0.3, which it does not in old code
    whose steps of 0.1 add up to more. Arguments as in `all_point_ap`.
    """
    if not positives:
        return None
    if not len(hits):
        return 0.0
    precision = hits / np.arange(1, len(hits) + 1)
    best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    at = np.searchsorted(hits * _LEVELS, np.arange(_LEVELS + 1) * positives, side="left")
    return float(best[at].sum() / (_LEVELS + 1))
