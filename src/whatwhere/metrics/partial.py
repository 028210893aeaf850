"""What a partly labelled data set does not know.

A picture may say which classes were looked for in it (`labelled`) and of which every object
is labelled (`complete`; where it does not say, all that were looked for). Elsewhere a missing
label says nothing, so such pairs of picture and class are left out, as LVIS does (Gupta et
al., LVIS, CVPR 2019, section 2).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from whatwhere.data import Dataset


def known_pairs(data: Dataset, column: Literal["labelled", "complete"]) -> NDArray[np.bool_] | None:
    """Where a missing label means absence: bool (pictures, classes), or None for everywhere.

    Args:
        column: "complete" for boxes, each of which counts; "labelled" for whole pictures.
    """
    lists = data.images["labelled"]
    if column == "complete":
        lists = data.images.select(pl.coalesce("complete", "labelled")).to_series()
    nowhere = data.labels.filter(pl.col("x1").is_null()) if column == "complete" else None
    if nowhere is not None and (nowhere.height == data.labels.height or not nowhere.height):
        nowhere = None
    if lists.null_count() == len(data) and nowhere is None:
        return None
    known = np.ones((len(data), len(data.names)), dtype=bool)
    index = {name: class_id for class_id, name in enumerate(data.names)}
    for row, names in enumerate(lists.to_list()):
        if names is not None:
            known[row] = False
            known[row, [index[name] for name in names if name in index]] = True
    if nowhere is not None:
        # The class is in the picture, and nobody said where: finding it is no mistake.
        known[nowhere["image"].to_numpy(), nowhere["class_id"].to_numpy()] = False
    return known
