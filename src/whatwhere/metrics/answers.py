"""Predictions of single-label pictures as one table of scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from whatwhere.data import Dataset
from whatwhere.errors import DataError
from whatwhere.metrics.classification import NOTHING
from whatwhere.types import Prediction


@dataclass(frozen=True, slots=True, eq=False)
class ClassAnswers:
    """One row a picture that counts; classes are those that are scored, by place in `names`.

    Args:
        names: the classes, C of them.
        image: int64 (N,), the picture's row in the data.
        truth: int64 (N,), the right class.
        first: int64 (N,), the class that the prediction names first; -1 if it names none.
        rank: int64 (N,), the place of the right class among those named, 0 is best; -1 if it
            is not named.
        scores: float64 (N, C), 0 where a class is not named. Where every class is named,
            rows sum to 1: what a model thinks of classes that the data do not have is taken
            out, as if they did not exist.
        complete: bool (N,), whether the prediction names every class.
    """

    names: tuple[str, ...]
    image: NDArray[np.int64]
    truth: NDArray[np.int64]
    first: NDArray[np.int64]
    rank: NDArray[np.int64]
    scores: NDArray[np.float64]
    complete: NDArray[np.bool_]

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether the first class is the right one, (N,)."""
        right: NDArray[np.bool_] = self.first == self.truth
        return right

    @property
    def answered(self) -> NDArray[np.bool_]:
        """Whether any class is named, (N,)."""
        answered: NDArray[np.bool_] = self.first != NOTHING
        return answered

    @property
    def confidence(self) -> NDArray[np.float64]:
        """Score of the class that is named first, (N,); 0 where there is none."""
        rows = np.arange(len(self.first))
        if not self.names:
            return np.zeros(len(rows))
        return np.where(self.answered, self.scores[rows, np.maximum(self.first, 0)], 0.0)

    def only(self, keep: NDArray[np.bool_]) -> ClassAnswers:
        """The pictures that `keep`, bool (N,), says."""
        return ClassAnswers(
            self.names,
            self.image[keep],
            self.truth[keep],
            self.first[keep],
            self.rank[keep],
            self.scores[keep],
            self.complete[keep],
        )


def class_answers(
    data: Dataset, predictions: Sequence[Prediction], classes: frozenset[str] | None = None
) -> ClassAnswers:
    """Predictions of a single-label data set as a table.

    Pictures of other classes and those with ignored labels are left out.

    Args:
        data: the truth.
        predictions: one a picture of `data`, in its order, best labels first.
        classes: these classes only; None for all of the data.

    Raises:
        DataError: a score is negative or not finite; the message names the picture.
    """
    names = tuple(name for name in data.names if classes is None or name in classes)
    index = {name: place for place, name in enumerate(names)}
    place_of = np.array([index.get(name, NOTHING) for name in data.names], dtype=np.int64)
    ignore = data.labels["ignore"].fill_null(False).to_numpy().astype(bool)
    truth = place_of[data.labels["class_id"].to_numpy().astype(np.int64)]
    keep = ~ignore & (truth != NOTHING)
    image, truth = data.labels["image"].to_numpy().astype(np.int64)[keep], truth[keep]
    said = [predictions[picture] for picture in image]
    counts = [len(one.label_names) for one in said]
    place = np.fromiter(
        (index.get(name, NOTHING) for one in said for name in one.label_names),
        dtype=np.int64,
        count=sum(counts),
    )
    value = np.concatenate([np.zeros(0), *(one.label_scores for one in said)]).astype(np.float64)
    row = np.repeat(np.arange(len(image)), counts)
    wrong = np.flatnonzero(~(np.isfinite(value) & (value >= 0)) & (place != NOTHING))
    if len(wrong):
        raise DataError(
            f"the prediction for {data.paths[image[row[wrong[0]]]]} has a score that is negative"
            " or not a number: write the predictions again"
        )
    row, place, value = (part[place != NOTHING] for part in (row, place, value))
    named = np.zeros((len(image), len(names)), dtype=bool)
    named[row, place] = True
    if named.sum() != len(row):
        # A class that is named twice counts by its first, best score.
        once = np.sort(np.unique(row * len(names) + place, return_index=True)[1])
        row, place, value = row[once], place[once], value[once]
    scores = np.zeros((len(image), len(names)), dtype=np.float64)
    scores[row, place] = value
    complete = np.asarray(named.all(axis=1) & named.any(axis=1))
    total = scores.sum(axis=1)
    scores /= np.where(complete & (total > 0), total, 1.0)[:, None]
    starts = np.searchsorted(row, np.arange(len(image)))
    first, rank = np.full(len(image), NOTHING), np.full(len(image), NOTHING)
    some = named.any(axis=1)
    first[some] = place[starts[some]]
    hits = np.flatnonzero(place == truth[row])
    rank[row[hits]] = hits - starts[row[hits]]
    return ClassAnswers(names, image, truth, first, rank, scores, complete)
