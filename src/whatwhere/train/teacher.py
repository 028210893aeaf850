"""Learning from another model's answers on the very views that training makes.

The teacher is any model that the runtime can run. It sees each sample as the network sees it,
after mosaics, crops and colours (Beyer et al., Knowledge distillation: a good teacher is
patient and consistent, CVPR 2022), so pictures without labels are training material. Class
names are the contract: what both have by one name is taught.

A detecting teacher's boxes, down to a low score and after suppression, become objects with all
its class scores in place of a single class. Where people looked, their labels stay: of a class
that they say is complete the teacher adds nothing, and a box that is theirs already is dropped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from whatwhere.data import Dataset, merge
from whatwhere.data.contents import shared_contents
from whatwhere.errors import TrainError, UsageError
from whatwhere.runtime import Predictor, expand, find_file, load
from whatwhere.runtime.cascade import Pair
from whatwhere.runtime.decode import nms, sigmoid, softmax
from whatwhere.runtime.shipped import SHIPPED, model_bytes
from whatwhere.train.batch import Batch
from whatwhere.train.config import TrainConfig
from whatwhere.train.models.family import Family
from whatwhere.train.network import family_of
from whatwhere.train.samples import Samples
from whatwhere.train.soft_objects import FAINT, with_objects
from whatwhere.transforms import Preprocess
from whatwhere.types import Task

_MOST = 100

Array = NDArray[Any]


class Taught(Protocol):
    """A teacher of batches, with a sentence on what it teaches."""

    @property
    def note(self) -> str: ...

    def __call__(self, batch: Batch) -> Batch: ...


class Teacher:
    """A model that answers for batches.

    Args:
        config: settings with `teacher`.
        names: the student's classes.
        soft: whether the student's family learns class scores of an object (`Family.soft`).

    Raises:
        UsageError: the teacher does not fit the task, or no class has a name in common.
        ModelError: it cannot be opened.
    """

    def __init__(self, config: TrainConfig, names: Sequence[str], *, soft: bool = True) -> None:
        # One thread a call: the threads that make batches call it at the same time.
        self._model = _head(load(config.teacher, threads=1), config.task, config.teacher)
        self._task, self._soft = config.task, soft
        self._weight, self._temperature = config.teacher_weight, config.teacher_temperature
        spec = self._model.spec
        # A classifier's views are crops already: nothing more is cut off.
        fitted = spec.preprocess.build()
        self._prepare = fitted if spec.task == "detect" else Preprocess(fitted.size, "stretch")
        renamed = read_mapping(Path(config.teacher_names)) if config.teacher_names else {}
        theirs, ours = match_names(spec.names, names, renamed)
        least = 2 if config.task == "classify" else 1
        if len(set(ours)) < least:
            raise UsageError(
                f"the teacher {spec.name} and the data have {len(set(ours)) or 'no'} class name in"
                f" common (it knows {', '.join(spec.names[:6])}; the data {', '.join(names[:6])}):"
                " give teacher_names, a text file with lines 'its class = our class'"
            )
        self._theirs, self._ours, self._names = theirs, ours, tuple(names)
        taught = np.zeros(len(names), bool)
        taught[ours] = True
        self.taught = torch.from_numpy(taught)

    @property
    def note(self) -> str:
        """What it teaches, and what it does not know, for people."""
        unknown = [name for name, known in zip(self._names, self.taught, strict=True) if not known]
        said = f"teacher {self._model.spec.name}: {int(self.taught.sum())} of {len(self._names)}"
        rest = ", ".join(unknown[:8]) + (" and others" if len(unknown) > 8 else "")
        return f"{said} classes" + (f"; it does not know {rest}" if unknown else "")

    def __call__(self, batch: Batch) -> Batch:
        """The batch with what the teacher says about its pictures; a function of them alone."""
        images = batch.images.numpy()
        if self._task == "detect":
            assert batch.boxes is not None
            found = [self._objects(image) for image in images]
            batch.boxes = with_objects(
                batch.boxes, found, self.taught, self._weight, soft=self._soft
            )
        else:
            batch.soft = torch.from_numpy(np.stack([self._whole(image) for image in images]))
        return batch

    def _outputs(self, image: Array) -> tuple[Mapping[str, Array], Any]:
        canvas, geometry = self._prepare(image)
        # One by one, so that an answer does not depend on what else is in the batch.
        outputs = self._model.backend(canvas[None])
        return {name: values[0] for name, values in outputs.items()}, geometry

    def _ours_of(self, scores: Array) -> Array:
        """The student's columns (..., C) of the teacher's: the best of those of one name."""
        made = np.zeros((*scores.shape[:-1], len(self._names)), np.float32)
        for theirs, ours in zip(self._theirs, self._ours, strict=True):
            made[..., ours] = np.maximum(made[..., ours], scores[..., theirs])
        return made

    def _objects(self, image: Array) -> tuple[Array, Array]:
        """Boxes (K, 4) in pixels of the view and scores (K, C), best first."""
        outputs, geometry = self._outputs(image)
        scores = self._ours_of(outputs["scores"])
        best = scores.max(1)
        rows = np.flatnonzero(best >= FAINT)
        rows = rows[np.argsort(-best[rows], kind="stable")]
        post = self._model.spec.postprocess
        if post.end_to_end:
            rows = rows[:_MOST]
        else:
            boxes = np.asarray(outputs["boxes"][rows], np.float32)
            rows = rows[nms(boxes, best[rows], scores[rows].argmax(1), post.nms_iou, _MOST)]
        boxes = geometry.to_image(np.asarray(outputs["boxes"][rows], np.float32))
        large = (boxes[:, 2:] - boxes[:, :2] > 1).all(1)
        return boxes[large], scores[rows][large]

    def _whole(self, image: Array) -> Array:
        """Probabilities (C,) of the whole view; -1 where the teacher does not know the class."""
        outputs, _ = self._outputs(image)
        if self._model.spec.task == "detect":
            made = self._ours_of(outputs["scores"]).max(0)
        elif self._task == "multilabel":
            squash = softmax if self._model.spec.task == "classify" else sigmoid
            made = self._ours_of(squash(outputs["logits"], self._model.spec.temperature))
        else:
            logits = outputs["logits"][self._theirs] / self._model.spec.temperature
            made = np.zeros(len(self._names), np.float32)
            np.add.at(made, self._ours, softmax(logits, self._temperature))
        made[~self.taught.numpy()] = -1
        answer: Array = made.astype(np.float32)
        return answer


def _head(model: Predictor | Pair, task: Task, name: str) -> Predictor:
    """The part of a teacher that answers for a task."""
    if isinstance(model, Pair):
        model = model.detector if task == "detect" else model.classifier
    fits = {
        "detect": ("detect",),
        "classify": ("classify",),
        "multilabel": ("multilabel", "detect", "classify"),
    }[task]
    if model.spec.task not in fits:
        raise UsageError(
            f"the teacher {name} is a model for {model.spec.task} and cannot teach one for {task}:"
            f" give one for {' or '.join(fits)}"
        )
    return model


def match_names(
    theirs: Sequence[str], ours: Sequence[str], renamed: Mapping[str, str]
) -> tuple[list[int], list[int]]:
    """Class ids of a teacher and of its student that mean the same, pair by pair.

    Names are compared without regard to capitals.

    Args:
        theirs, ours: class names.
        renamed: name of ours for names of theirs, where they differ.

    Raises:
        UsageError: a renamed class is in neither list.
    """
    place = {name.casefold(): number for number, name in enumerate(ours)}
    other = {old.casefold(): new.casefold() for old, new in renamed.items()}
    lists = (set(theirs), other, "the teacher"), (set(ours), other.values(), "the data")
    for names, given, who in lists:
        known = {name.casefold() for name in names}
        if wrong := [name for name in given if name not in known]:
            raise UsageError(f"teacher_names: {who} has no class {wrong[0]!r}: correct the file")
    pairs = [
        (number, place[wanted])
        for number, name in enumerate(theirs)
        if (wanted := other.get(name.casefold(), name.casefold())) in place
    ]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def read_mapping(file: Path) -> dict[str, str]:
    """Lines 'its class = our class'; empty ones and those that begin with # are passed over.

    Raises:
        UsageError: the file cannot be read, or a line is of another form.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} cannot be read as teacher_names ({error}): check it") from error
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        theirs, equals, ours = (part.strip() for part in line.partition("="))
        if not (theirs and equals and ours) or theirs in found:
            raise UsageError(f"{file}:{number} is not a new 'its class = our class': correct it")
        found[theirs] = ours
    return found


def is_saved(teacher: str) -> bool:
    """Whether a teacher is a file of saved predictions, see `train.answers`."""
    return Path(teacher).suffix.lower() in (".jsonl", ".ndjson")


def make_teacher(config: TrainConfig, names: Sequence[str]) -> Teacher:
    """The teacher of a run.

    Raises:
        UsageError: the family learns from none, or the teacher does not fit.
        ModelError: it cannot be opened.
    """
    return Teacher(config, names, soft=learner(config).soft)


def learner(config: TrainConfig) -> Family:
    """The family that is to learn from a teacher.

    Raises:
        UsageError: it learns from none.
    """
    family = family_of(config)
    if family.two_heads:
        raise UsageError(
            f"model {config.model} learns from no teacher: train one of the families yolo or"
            " classifier with it, or leave teacher out"
        )
    return family


def settled(config: TrainConfig) -> TrainConfig:
    """The settings with absolute paths, so that a run can be resumed from elsewhere."""
    changes: dict[str, Any] = {
        name: str(Path(value).resolve())
        for name in ("teacher", "teacher_names", "unlabelled")
        if (value := getattr(config, name)) and not (name == "teacher" and value in SHIPPED)
    }
    return replace(config, **changes)


def file_digest(teacher: str) -> str:
    """SHA-256 of a teacher's file, or of those of a shipped model's parts.

    Raises:
        UsageError: saved predictions cannot be read.
        ModelError: there is no such model.
    """
    if teacher in SHIPPED:
        parts = SHIPPED[teacher].parts or (teacher,)
        files = [model_bytes(part) for part in parts]
    elif is_saved(teacher):
        try:
            files = [Path(teacher).read_bytes()]
        except OSError as error:
            raise UsageError(f"the teacher {teacher} cannot be read: {error}") from error
    else:
        files = [find_file(teacher).read_bytes()]
    return hashlib.sha256(b"".join(files)).hexdigest()


def unlabelled_pictures(config: TrainConfig, training: Dataset, validation: Dataset) -> Dataset:
    """The pictures of the folder `unlabelled`, of which nothing is known.

    Those that are among the training or validation pictures, byte for byte, are left out.

    Raises:
        UsageError: the folder does not exist or has no picture.
        TrainError: all its pictures are in the data set.
    """
    paths = list(expand(config.unlabelled))
    nothing: list[list[str]] = [[] for _ in paths]
    about: dict[str, list[Any]] = {"path": paths, "labelled": nothing, "complete": nothing}
    labels: dict[str, list[int]] = {"image": [], "class_id": []}
    made = Dataset(about, labels, training.names, root=config.unlabelled, task=training.task)
    twins = shared_contents([made, training, validation])[0]
    kept = [row for row in range(len(made)) if row not in twins]
    if not kept:
        raise TrainError(
            f"all {len(paths)} pictures of {config.unlabelled} are in the data set: leave"
            " unlabelled out, or give others"
        )
    return made.select(kept)


def with_unlabelled(training: Dataset, extra: Dataset) -> Dataset:
    """Training pictures with those without labels behind them."""
    return merge([training, extra], same=False)


def attach(teacher: Taught, samples: Samples, labelled: int) -> str:
    """Let a teacher answer for samples; labelled pictures make up at least half of each epoch.

    Args:
        teacher: who answers.
        samples: of the training set.
        labelled: how many of its pictures, the first ones, have labels.

    Returns:
        What is done, for people.
    """
    samples.teach = teacher
    ours = samples.rows < labelled
    few, many = int(ours.sum()), int((~ours).sum())
    if few and many > few:
        samples.weigh(np.where(ours, many / few, 1.0))
    if not many:
        return teacher.note
    share = 1.0 if not few else max(0.5, few / (few + many))
    return f"{teacher.note}; {many} pictures without labels, {1 - share:.0%} of each epoch"
