"""A teacher that answered beforehand: its saved predictions move with the pictures.

What is too slow to ask on every view can be asked once: a large model, tiles, several models
fused. The objects and scores of `whatwhere predict --json` become objects with soft scores, as
those of a teacher that answers on the views (`train.teacher`), and are cropped, mirrored and put
together with their pictures.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from whatwhere.data import Dataset, Targets
from whatwhere.errors import UsageError
from whatwhere.evaluation.gathered import Gathered
from whatwhere.evaluation.saved_lines import gather_lines
from whatwhere.metrics.partial import known_pairs
from whatwhere.train.batch import Batch
from whatwhere.train.config import TrainConfig
from whatwhere.train.samples import Objects
from whatwhere.train.soft_objects import SURE, added
from whatwhere.train.teacher import learner, read_mapping


class SavedAnswers:
    """The saved predictions of a teacher for the pictures of a training set.

    Args:
        config: settings with `teacher`.
        data: all pictures that are trained on. Where people say that they looked for a class,
            or marked the same object, the teacher's answer is dropped.
        soft: whether the student's family learns class scores of an object (`Family.soft`);
            otherwise sure answers become labels, and others regions to be ignored.

    Raises:
        UsageError: the task is not to detect, a picture that people did not label wholly
            has no answer, or a score is not in 0..1.
        DataError: the file is damaged.
    """

    def __init__(self, config: TrainConfig, data: Dataset, *, soft: bool = True) -> None:
        if config.task != "detect":
            raise UsageError(
                f"the saved predictions {config.teacher} can teach a detector, and this is"
                f" {config.task}: give a model as teacher"
            )
        path = Path(config.teacher)
        renamed = read_mapping(Path(config.teacher_names)) if config.teacher_names else {}
        gathered = Gathered(data, str(path), renamed)
        gather_lines(path, gathered)
        gathered.check()
        known = known_pairs(data, "complete")
        if known is None:
            known = np.ones((len(data), len(data.names)), bool)
        # Silence about a picture that is not labelled wholly would teach that nothing is there.
        asked = np.flatnonzero(~known.all(1))
        silent = asked[~gathered.seen[asked]]
        failed = gathered.unreadable
        if len(silent) or failed:
            count = len(silent) + len(failed)
            first = failed[0] if failed else data.paths[int(silent[0])]
            raise UsageError(
                f"{path} has no answer for {count} of the {len(asked)} training pictures in which"
                f" people did not look for everything (the first is {first}): predict all of them"
            )
        low, high = gathered.span["objects"]
        if low < 0 or high > 1:
            raise UsageError(f"scores in {path} go from {low:.3g} to {high:.3g}, not 0 to 1")
        self._soft, self._weight = soft, config.teacher_weight
        image, classes, scores, boxes = gathered.boxes()
        taught = np.zeros(len(data.names), bool)
        taught[classes] = True
        self.taught = torch.from_numpy(taught)
        order = np.lexsort((-scores, image))
        # Without width or height it is no object.
        order = order[(boxes[order, 2:] > boxes[order, :2]).all(1)]
        starts = np.searchsorted(image[order], np.arange(len(data) + 1))
        parts = [order[start:end] for start, end in pairwise(starts)]
        # Of each picture what its labels lack.
        self.objects = [
            _lacking(
                data.targets(row).located(),
                known[row],
                Objects(boxes[mine], classes[mine].astype(np.int64), scores[mine]),
            )
            for row, mine in enumerate(parts)
        ]
        self.note = _note(gathered, taught, len(order), int(sum(map(_count, self.objects))))

    def __call__(self, batch: Batch) -> Batch:
        """The batch with the scores of its objects (`BoxTargets.said`) as targets."""
        targets = batch.boxes
        assert targets is not None
        assert targets.said is not None
        theirs = ~targets.said.isnan()
        known = targets.known
        if known is None:
            known = torch.ones(len(theirs), len(self.taught), dtype=torch.bool)
        made = replace(targets, known=known | self.taught, said=None)
        if not self._soft:
            made = replace(made, ignore=made.ignore | (theirs & (targets.said < SURE)))
        else:
            scores = torch.zeros(*theirs.shape, len(self.taught))
            value = targets.said.nan_to_num(1.0)
            scores.scatter_(2, targets.classes.unsqueeze(-1), value.unsqueeze(-1))
            counts = torch.where(theirs, self._weight, 1.0)
            trust = known.float() + (self.taught & ~known).float() * self._weight
            made = replace(made, soft=scores, counts=counts, trust=trust)
        batch.boxes = made
        return batch


def _lacking(targets: Targets, known: NDArray[np.bool_], said: Objects) -> Objects:
    """What a picture's labels lack.

    Args:
        targets: its labels, with boxes in pixels of the file.
        known: bool (C,), classes that people looked for.
        said: by the teacher.
    """
    boxes = np.zeros((0, 4), np.float32) if targets.boxes is None else targets.boxes
    scores = np.zeros((len(said.scores), len(known)), np.float32)
    scores[np.arange(len(scores)), said.classes] = said.scores
    kept, scores = added(said.boxes, scores, known, boxes[~targets.ignore], boxes[targets.ignore])
    return Objects(kept, scores.argmax(1).astype(np.int64), scores.max(1, initial=0.0))


def _count(objects: Objects) -> int:
    return len(objects.scores)


def _note(gathered: Gathered, taught: NDArray[np.bool_], found: int, used: int) -> str:
    """What is taught, and what is not, for people."""
    names = gathered.data.names
    said = [
        f"saved answers of a teacher, {Path(gathered.source).name}: {found} objects of"
        f" {int(taught.sum())} of {len(names)} classes, {used} of them beside what people said"
    ]
    missing = [name for name, known in zip(names, taught, strict=True) if not known]
    if missing:
        rest = " and others" if len(missing) > 8 else ""
        said.append(f"it says nothing about {', '.join(missing[:8])}{rest}")
    if len(gathered.unknown):
        said.append(
            f"{gathered.lost} objects of {gathered.unknown.count} classes that the data do not have"
            f" are left out ({gathered.unknown}): teacher_names can rename them"
        )
    if gathered.flat:
        said.append(
            f"{gathered.flat} boxes without width or height are left out (first:"
            f" {gathered.first_flat})"
        )
    if gathered.far:
        said.append(
            f"{gathered.far} boxes lie outside of their pictures (first: {gathered.first_far})"
        )
    return "; ".join(said)


def make_answers(config: TrainConfig, data: Dataset) -> SavedAnswers:
    """The saved predictions that `config.teacher` names, for all pictures that are trained on.

    Raises:
        UsageError, DataError: as by `SavedAnswers`, or the family learns from no teacher.
    """
    return SavedAnswers(config, data, soft=learner(config).soft)
