"""A teacher that answered beforehand: its saved predictions move with the pictures.

What is too slow to ask on every view can be asked once: a large model, tiles, several models
fused. The objects and scores of `whatwhere predict --json` become objects with soft scores, as
those of a teacher that answers on the views (`train.teacher`), and are cropped, mirrored and put
together with their pictures.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from whatwhere.data import Dataset
from whatwhere.errors import UsageError
from whatwhere.evaluation.gathered import Gathered
from whatwhere.evaluation.saved_lines import gather_lines
from whatwhere.train.batch import Batch
from whatwhere.train.config import TrainConfig
from whatwhere.train.samples import Objects
from whatwhere.train.soft_objects import SURE, added
from whatwhere.train.teacher import learner, read_mapping
from whatwhere.types import Boxes


class SavedAnswers:
    """The saved predictions of a teacher for the pictures of a training set.

    Args:
        config: settings with `teacher`.
        data: all pictures that are trained on. Where people say that they looked for a class,
            or marked the same object, the teacher's answer is dropped.
        soft: whether the student's family learns class scores of an object (`Family.soft`);
            otherwise sure answers become labels, and others regions to be ignored.

    Raises:
        UsageError: the task is not to detect, a picture has no answer, or a score is not in 0..1.
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
        silent = np.flatnonzero(~gathered.seen)
        failed = gathered.unreadable
        if len(silent) or failed:
            count = len(silent) + len(failed)
            first = failed[0] if failed else data.paths[int(silent[0])]
            raise UsageError(
                f"{path} has no answer for {count} of {len(data)} training pictures (the first is"
                f" {first}): predict all of them, each with a line"
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
        starts = np.searchsorted(image[order], np.arange(len(data) + 1))
        self._of = [
            Objects(boxes[rows], classes[rows].astype(np.int64), scores[rows])
            for row in range(len(data))
            for rows in (order[starts[row] : starts[row + 1]],)
        ]
        unknown = [name for name, known in zip(data.names, taught, strict=True) if not known]
        rest = ", ".join(unknown[:8]) + (" and others" if len(unknown) > 8 else "")
        # For people.
        self.note = (
            f"saved answers of a teacher, {path.name}: {len(image)} objects of"
            f" {int(taught.sum())} of {len(data.names)} classes"
        ) + (f"; it says nothing about {rest}" if unknown else "")

    def of(
        self,
        row: int,
        known: NDArray[np.bool_] | None,
        labelled: Boxes,
        ignored: Boxes,
    ) -> Objects:
        """What a picture's labels lack.

        Args:
            row: which picture.
            known: bool (C,), classes that people looked for; None for all.
            labelled, ignored: (G, 4), their objects and their regions to be ignored, in pixels
                of the file.
        """
        said = self._of[row]
        scores = np.zeros((len(said.scores), len(self.taught)), np.float32)
        scores[np.arange(len(scores)), said.classes] = said.scores
        looked = np.ones(len(self.taught), bool) if known is None else known
        boxes, scores = added(said.boxes, scores, looked, labelled, ignored)
        return Objects(boxes, scores.argmax(1).astype(np.int64), scores.max(1, initial=0.0))

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


def make_answers(config: TrainConfig, data: Dataset) -> SavedAnswers:
    """The saved predictions that `config.teacher` names, for all pictures that are trained on.

    Raises:
        UsageError, DataError: as by `SavedAnswers`, or the family learns from no teacher.
    """
    return SavedAnswers(config, data, soft=learner(config).soft)
