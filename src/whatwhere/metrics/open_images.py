"""Open Images' AP50 with groups, hierarchy and verified labels.

Source: https://storage.googleapis.com/openimages/web/evaluation.html (the challenge's object
detection track). Matching and area are those of Pascal VOC; beside it:

- Only classes that people verified to be in a picture, or not to be in it, count there.
- A label stands for every class above its own, too; a class that is absent is so with every
  class below it. Predicted boxes stand for their own class only: a model has to name the
  classes above it itself.
- A box around a group is found by the best box that lies in it by half of its own area. Other
  boxes in it are left out. A group that nothing lies in is missed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from whatwhere.data import Dataset
from whatwhere.data.formats._open_images_tree import ancestors, with_ancestors
from whatwhere.metrics.coco import FoundBoxes, TrueBoxes
from whatwhere.metrics.detection import found_boxes, true_boxes
from whatwhere.metrics.overlaps import overlaps
from whatwhere.metrics.partial import known_pairs
from whatwhere.metrics.voc import all_point_ap, judge
from whatwhere.types import Prediction

_INSIDE = 0.5
"""Share of a predicted box that has to lie in a group."""


def score_open_images(
    data: Dataset, predictions: Sequence[Prediction], *, classes: frozenset[str]
) -> dict[str, Any]:
    """`open_images_AP50` (see `FURTHER`), and `per_class` with `boxes`.

    `iscrowd` marks groups; other labels to be ignored are VOC's difficult objects. Without a
    hierarchy of classes each label stands for itself, and `notes` say so.
    """
    known = known_pairs(data, "labelled")
    notes = []
    if data.info.get("hierarchy") is not None and any(
        "mid" in known_of for known_of in data.class_info.values()
    ):
        whole = with_ancestors(data)
        if known is not None:
            known = _inherited(data, known)
    else:
        whole = data
        notes.append("the data has no hierarchy of classes: each label stands for itself only")
    rows = whole.labels.filter(pl.col("x1").is_not_null())
    group = rows["iscrowd"].fill_null(False).to_numpy().astype(bool)
    truth, found = true_boxes(whole), found_boxes(predictions, whole.names)
    if known is not None:
        keep = known[truth.image, truth.class_id]
        truth, group = truth.only(keep), group[keep]
        place = np.minimum(found.class_id, len(whole.names) - 1)
        found = found.only((found.class_id < len(whole.names)) & known[found.image, place])
    names = {place: name for place, name in enumerate(data.names) if name in classes}
    result = open_images_scores(names, truth, group, found)
    return result | {"notes": notes}


def _inherited(data: Dataset, known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Known pairs of picture and class, with what follows from the hierarchy.

    What is shown is known for every class above it, what is absent for every class below.
    """
    place_of = {data.class_info.get(name, {}).get("mid"): at for at, name in enumerate(data.names)}
    above = {
        place: [place_of[other] for other in mids if other in place_of and other != mid]
        for mid, mids in ancestors(data.info["hierarchy"]).items()
        if (place := place_of.get(mid)) is not None
    }
    shown = np.zeros_like(known)
    image = data.labels["image"].to_numpy().astype(np.int64)
    shown[image, data.labels["class_id"].to_numpy().astype(np.int64)] = True
    whole = shown.copy()
    for place, uppers in above.items():
        whole[:, uppers] |= shown[:, [place]]
    result = known | whole
    for place, uppers in above.items():
        result[:, place] |= (known & ~whole)[:, uppers].any(axis=1)
    return result


def open_images_scores(
    names: Mapping[int, str], truth: TrueBoxes, group: NDArray[np.bool_], found: FoundBoxes
) -> dict[str, Any]:
    """The same from arrays.

    Args:
        names: class name by class id.
        truth, found: boxes of classes and pictures that count.
        group: bool (N,), which labelled boxes are around a group; of the others, those to be
            ignored are difficult objects.
    """
    order = np.argsort(-found.score, kind="stable")
    found = FoundBoxes(
        found.image[order], found.class_id[order], found.xywh[order], found.score[order]
    )
    single, groups = truth.only(~group), truth.only(group)
    true, counted = judge(single, found)
    pairs = overlaps(groups, found, same_class=True)
    share = pairs.shared / (found.xywh[:, 2] * found.xywh[:, 3])[pairs.found]
    inside = ~true[pairs.found] & (share >= _INSIDE)
    pairs, share = pairs.only(inside), share[inside]
    # Each box belongs to the group that has most of it; of a group the first box is right.
    best = np.lexsort((pairs.truth, -share, pairs.found))
    best = best[np.unique(pairs.found[best], return_index=True)[1]]
    ours, theirs = pairs.found[best], pairs.truth[best]
    counted[ours] = False
    first = ours[np.unique(theirs, return_index=True)[1]]
    true[first], counted[first] = True, True
    per_class: dict[str, dict[str, Any]] = {}
    for class_id, name in names.items():
        positives = int(((truth.class_id == class_id) & (group | ~truth.ignore)).sum())
        hits = np.cumsum(true[(found.class_id == class_id) & counted])
        per_class[name] = {"open_images_AP50": all_point_ap(hits, positives), "boxes": positives}
    values = [row["open_images_AP50"] for row in per_class.values()]
    defined = np.array([value for value in values if value is not None], dtype=np.float64)
    mean = float(np.mean(defined)) if len(defined) else None
    return {"open_images_AP50": mean, "per_class": per_class}
