"""Which class is taken for which: the confusion matrix of a detector, with background.

Boxes of all classes are matched with each other: in a picture, the boxes with the highest score
choose first, and each takes the free labelled box, of whatever class, that it overlaps most.
That is hotcoco's rule, and its numbers where nothing is to be ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from whatwhere.metrics.coco import FoundBoxes, TrueBoxes
from whatwhere.metrics.overlaps import NOBODY, by_score, first_come, overlaps
from whatwhere.types import limits

BACKGROUND = "background"


@dataclass(frozen=True, slots=True, eq=False)
class Confusion:
    """Counts of pairs of classes.

    Args:
        names: class names, in the order of rows and columns; the last row and column after
            them is background.
        matrix: int64 (K + 1, K + 1), row the right class, column the predicted one. Last row:
            boxes on background. Last column: missed objects. The last corner is 0.
        row: int64 (N,), rows of the predicted boxes that count.
        partner: int64 (N,), row of the labelled box that each took, -1 for background.
    """

    names: tuple[str, ...]
    matrix: NDArray[np.int64]
    row: NDArray[np.int64]
    partner: NDArray[np.int64]

    def swaps(self) -> list[tuple[str, str, int]]:
        """Right class, predicted class and count of every mistake that there is, most first."""
        wrong = self.matrix.copy()
        np.fill_diagonal(wrong, 0)
        names = (*self.names, BACKGROUND)
        rows, columns = np.nonzero(wrong)
        order = np.argsort(-wrong[rows, columns], kind="stable")
        return [
            (names[rows[at]], names[columns[at]], int(wrong[rows[at], columns[at]]))
            for at in order.tolist()
        ]


def confusion(
    names: Mapping[int, str],
    truth: TrueBoxes,
    found: FoundBoxes,
    *,
    threshold: float = 0.25,
    iou: float = 0.5,
    limit: int = 100,
) -> Confusion:
    """Count what is taken for what.

    Args:
        names: class name by class id; rows of other classes are passed over.
        truth, found: `ignore` marks regions: a box without partner that lies in one of its
            class by more than `iou` of its own area is left out.
        threshold: boxes of a lower score do not exist; a `types.Cut` for each class's own.
        iou: least overlap of partners.
        limit: boxes a picture, all classes together.
    """
    ids = np.array(list(names), dtype=np.int64)
    mine = np.isin(found.class_id, ids)
    least = limits(threshold, names.values())
    mine[mine] = found.score[mine] >= least[_places(ids, found.class_id[mine])]
    original = np.flatnonzero(mine)
    original = original[by_score(_rows(found, original), limit)]
    found = _rows(found, original)
    mine = np.isin(truth.class_id, ids)
    counted = mine & ~truth.ignore
    pairs = overlaps(truth, found)
    partner = first_come(
        pairs.only(counted[pairs.truth] & (pairs.iou >= iou)),
        found.image,
        len(found.image),
        len(truth.image),
    )
    inside = (mine & truth.ignore)[pairs.truth]
    inside &= truth.class_id[pairs.truth] == found.class_id[pairs.found]
    inside &= pairs.shared > iou * (found.xywh[:, 2] * found.xywh[:, 3])[pairs.found]
    excused = np.zeros(len(found.image), dtype=bool)
    excused[pairs.found[inside]] = True
    keep = ~(excused & (partner == NOBODY))
    original, partner, said = original[keep], partner[keep], found.class_id[keep]

    size = len(ids) + 1
    missed = np.append(counted, False)
    missed[partner] = False
    # Background has a number that no class has.
    classes = np.append(ids, ids.max(initial=0) + 1)
    whose = np.append(truth.class_id, classes[-1])[partner]
    column = _places(classes, said)
    flat = _places(classes, whose) * size + column
    matrix = np.bincount(flat, minlength=size * size).reshape(size, size).astype(np.int64)
    lost = _places(classes, truth.class_id[missed[:-1]])
    matrix[:, -1] += np.bincount(lost, minlength=size)
    return Confusion(tuple(names.values()), matrix, original, partner)


def _places(classes: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each wanted number stands in `classes`, which has them all."""
    order = np.argsort(classes)
    places: NDArray[np.int64] = order[np.searchsorted(classes[order], wanted)]
    return places


def _rows(found: FoundBoxes, rows: NDArray[np.int64]) -> FoundBoxes:
    image, class_id = found.image[rows], found.class_id[rows]
    return FoundBoxes(image, class_id, found.xywh[rows], found.score[rows])
