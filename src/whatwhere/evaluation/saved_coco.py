"""COCO results on pictures that do not come from COCO's annotations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from whatwhere.data import Dataset
from whatwhere.evaluation.coco_records import arrays_of
from whatwhere.evaluation.gathered import Gathered


def gather_coco(path: Path, blocks: Iterable[Sequence[Any]], gathered: Gathered) -> None:
    """Read COCO results; `image_id` is a picture's name, or the number in it.

    `category_id` is the format's own number of a class, else a place in the list of classes, from
    0 on; a remark says so.

    Raises:
        DataError: a record is damaged; the message names it.
    """
    data = gathered.data
    numbers = _numbers(data)
    own = {number: place for place, number in enumerate(data.category_ids)}
    before = 0
    for records in blocks:
        images, class_id, xywh, score = arrays_of(path, records, before)
        rows = []
        for place, image in enumerate(images):
            where = f"{path}: record {before + place + 1}"
            if isinstance(image, str):
                name = image
            else:
                name = data.paths[numbers[image]] if image in numbers else str(image)
            rows.append(gathered.row(name, where, stem=True))
        inside = np.array([row is not None for row in rows], dtype=bool)
        place_of = [own.get(one, -1) if own else one for one in class_id.tolist()]
        known = [one if 0 <= one < len(data.names) else -1 for one in place_of]
        for one, number in zip(known, class_id.tolist(), strict=True):
            if one < 0:
                gathered.unknown.add(f"category_id {number}")
        corners = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
        gathered.add_boxes(
            np.array([row for row in rows if row is not None], dtype=np.int64),
            np.array(known, dtype=np.int64)[inside],
            score[inside],
            corners[inside],
            [f"{path}: record {before + int(at) + 1}" for at in np.flatnonzero(inside)],
        )
        before += len(records)
    if not own and gathered.named_boxes:
        gathered.remarks.append(
            f"category_id of {path} are taken for places in the data's list of classes: 0 for"
            f" {data.names[0]}"
        )


def _numbers(data: Dataset) -> dict[int, int]:
    """Row of each picture by the number that it has, or that is its name."""
    found = {int(number): row for row, number in enumerate(data.images["id"]) if number is not None}
    if found:
        return found
    stems = (Path(path).stem for path in data.paths)
    return {int(stem): row for row, stem in enumerate(stems) if stem.isdecimal()}
