"""What teaches the second head of a model that answers for objects and for the whole picture.

Three cases. A set with boxes alone teaches both heads by the same samples: a class is in the
picture if a box of it is. Where some classes come without a box, those are the second head's,
and where another data set is given (`label_data`), its classes are: then each step has, in a
fixed share, samples of the whole picture beside those with boxes, and each kind teaches its
own head only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from whatwhere.data import Dataset, read
from whatwhere.errors import TrainError, UsageError
from whatwhere.metrics import score
from whatwhere.train.augment import Sample, affine, mirror, recolour
from whatwhere.train.batch import NO_CLASS, Batch, BoxTargets
from whatwhere.train.config import TrainConfig
from whatwhere.train.samples import Samples
from whatwhere.train.validate import Validation
from whatwhere.types import Prediction, Task

Split = Callable[[Dataset, TrainConfig], tuple[Dataset, Dataset]]


@dataclass(frozen=True, slots=True)
class LabelPart:
    """The second head's data.

    Args:
        task: "classify" or "multilabel".
        training: pictures with labels; None if the detector's boxes teach this head.
        validation: pictures with labels.
        same: `validation` has the pictures of the detector's validation, in their order.
    """

    task: Task
    training: Dataset | None
    validation: Dataset
    same: bool

    @property
    def title(self) -> str:
        """What teaches this head, for people."""
        classes, name = len(self.validation.names), self.task
        if self.training is None:
            return f"second head: {name}, {classes} classes, taught by the boxes"
        count = len(self.training)
        return f"second head: {name}, {classes} classes, taught by {count} pictures with labels"

    @property
    def about(self) -> dict[str, Any]:
        """What `config.json` says, to recognise the data again."""
        if self.training is None:
            return {}
        return {
            "label_digest": self.training.digest(),
            "label_validation_digest": self.validation.digest(),
            "label_training_pictures": len(self.training),
            "label_validation_pictures": len(self.validation),
        }

    def samples(self, data: Dataset, size: tuple[int, int], config: TrainConfig) -> Samples:
        """Training samples: of boxes alone, or of both kinds in a fixed share."""
        if self.training is None:
            return Samples(data, size, config)
        return JointSamples(data, self.training, self.task, size, config)

    def scored(self, validation: Validation, config: TrainConfig) -> JointValidation:
        """The validation, with this head's scores beside the detector's."""
        return JointValidation(validation, self, config)


class Heads(NamedTuple):
    """The data of both heads, and the settings that say what they answer.

    Args:
        config: with `label_names` and `label_task`.
        whole, training, validation: the detector's, without classes that have no box.
        labels: of the second head.
    """

    config: TrainConfig
    whole: Dataset
    training: Dataset
    validation: Dataset
    labels: LabelPart


def two_heads(
    config: TrainConfig, whole: Dataset, training: Dataset, validation: Dataset, split: Split
) -> Heads:
    """Share data out between the two heads.

    Args:
        config: settings of the run.
        whole: the detector's data set; `training` and `validation` are its parts.
        split: parts a data set into training and validation pictures.

    Raises:
        UsageError: a class of the settings is not in the data, or the settings contradict it.
        TrainError: there is nothing to learn for the second head.
        DataError: `label_data` cannot be read.
    """
    if config.label_data:
        return _from_another(config, whole, training, validation, split)
    boxed, bare = _kinds(whole)
    names = config.label_names or bare or boxed
    for name in names:
        whole.names.id(name)
    if not boxed:
        raise TrainError(
            f"{whole.source or 'the data set'} has no class with boxes: train a classifier on it"
        )
    if set(names) <= set(boxed) and not bare:
        if config.label_task == "classify":
            raise UsageError(
                "boxes say of several classes that a picture shows them: leave label_task out, or"
                " give label_data, pictures with one label each"
            )
        part = LabelPart("multilabel", None, _labels_of(validation, names), same=True)
        return Heads(_filled(config, names, "multilabel"), whole, training, validation, part)
    ours, theirs = _labels_of(training, names), _labels_of(validation, names)
    _check(ours, theirs)
    task: Task = "multilabel"
    if config.label_task == "classify" or (not config.label_task and _one_each(ours)):
        task, ours, theirs = "classify", ours.as_classify(), theirs.as_classify()
    whole, training, validation = (
        data.filter(classes=boxed, keep_empty=True) if bare else data
        for data in (whole, training, validation)
    )
    part = LabelPart(task, ours, theirs, same=True)
    return Heads(_filled(config, names, task), whole, training, validation, part)


def _from_another(
    config: TrainConfig, whole: Dataset, training: Dataset, validation: Dataset, split: Split
) -> Heads:
    data = read(config.label_data)
    task: Task = config.label_task or ("classify" if data.task == "classify" else "multilabel")  # type: ignore[assignment]
    if config.label_names and config.label_names != tuple(data.names):
        data = data.filter(classes=config.label_names, keep_empty=task == "multilabel")
    if task == "multilabel" and data.task == "detect":
        data = data.as_multilabel()
    elif task == "classify":
        data = data.as_classify()
    ours, theirs = split(data, config)
    # A picture that the detector is scored on must not teach the body that it shares.
    kept_out = set(validation.paths)
    ours = ours.select([row for row, path in enumerate(ours.paths) if path not in kept_out])
    _check(ours, theirs)
    part = LabelPart(task, ours, theirs, same=False)
    return Heads(_filled(config, tuple(data.names), task), whole, training, validation, part)


def _filled(config: TrainConfig, names: Sequence[str], task: Task) -> TrainConfig:
    source = str(Path(config.label_data).resolve()) if config.label_data else ""
    return replace(config, label_names=tuple(names), label_task=task, label_data=source)


def _kinds(data: Dataset) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Classes that have a box somewhere (or no label at all), and those that never have one."""
    ids = data.labels["class_id"].to_numpy()
    located = data.labels["x1"].is_not_null().to_numpy()
    bare = set(ids[~located].tolist()) - set(ids[located].tolist())
    names = list(enumerate(data.names))
    return (
        tuple(name for number, name in names if number not in bare),
        tuple(name for number, name in names if number in bare),
    )


def _labels_of(data: Dataset, names: Sequence[str]) -> Dataset:
    """Which of these classes each picture shows."""
    return data.as_multilabel().filter(classes=names, keep_empty=True)


def _one_each(data: Dataset) -> bool:
    counts = np.bincount(data.labels["image"].to_numpy(), minlength=len(data))
    return bool((counts == 1).all())


def _check(training: Dataset, validation: Dataset) -> None:
    for data, what in ((training, "training"), (validation, "validation")):
        if not len(data) or not data.labels.height:
            raise TrainError(
                f"{data.source or 'the data set'} has {len(data)} {what} pictures with"
                f" {data.labels.height} labels for the second head: add some"
            )


class WholePictures(Samples):
    """Samples for the second head: the picture on the detector's canvas, with its labels."""

    def _one(self, row: int, use_mosaic: bool, rng: np.random.Generator) -> Sample:
        image, original = self.pictures[row]
        whole = self._sample(row, image, original)
        none = np.zeros(0, np.int64)
        bare = replace(whole, classes=none, ignore=none.astype(bool))
        moved = mirror(affine(bare, self.size, self.config, rng), self.config, rng)
        coloured = recolour(moved.image, self.config.colour, rng)
        return replace(moved, image=coloured, classes=whole.classes, ignore=whole.ignore)


class JointSamples(Samples):
    """Samples with boxes, and in a fixed share of each step samples of the whole picture.

    Args:
        data: with boxes.
        labels: for the second head.
        task: of that head.
        size: (height, width) of the input.
        config: settings.

    Raises:
        UsageError: a step is too small for both kinds.
        TrainError: no picture can be read.
    """

    def __init__(
        self,
        data: Dataset,
        labels: Dataset,
        task: Task,
        size: tuple[int, int],
        config: TrainConfig,
    ) -> None:
        if config.batch * config.accumulate == 1:
            raise UsageError(
                "a step of one picture cannot teach both heads: use --batch 2 or more, or"
                " --set accumulate=2"
            )
        # Both kinds keep pictures in memory; together they stay within the limit.
        half = replace(config, cache=config.cache // 2)
        super().__init__(data, size, half)
        plain = replace(half, task=task, mixup=0.0, cutmix=0.0, loss="", tile=0)
        self.whole = WholePictures(labels, size, plain)
        self.notes += self.whole.notes

    def __len__(self) -> int:
        """Pictures of both kinds that pass while each picture with boxes passes once."""
        return round(len(self.rows) / (1 - self.config.label_share))

    def files(self, rows: Sequence[int]) -> list[str]:
        """The files of pictures, by `Batch.rows`; those of the second head count on."""
        count = len(self._data)
        return [
            (
                super(JointSamples, self).files([row])
                if row < count
                else self.whole.files([row - count])
            )[0]
            for row in rows
        ]

    def epoch(
        self,
        epoch: int,
        steps: int,
        use_mosaic: bool,
        *,
        pictures: int = 0,
        rank: int = 0,
        ranks: int = 1,
    ) -> Iterator[Batch]:
        """The batches of an epoch's steps, as `Samples.epoch`; both kinds are spread evenly."""
        # One of each kind at least, in each process.
        each = max(2, (pictures or self.config.batch) // ranks)
        share = min(each - 1, max(1, round(each * self.config.label_share)))
        places = {"rank": rank, "ranks": ranks}
        boxes = super().epoch(epoch, steps, use_mosaic, pictures=ranks * (each - share), **places)
        labels = self.whole.epoch(epoch, steps, False, pictures=ranks * share, **places)
        for one, other in zip(boxes, labels, strict=True):
            yield self._together(one, other)

    def _together(self, one: Batch, other: Batch) -> Batch:
        """Both kinds as one batch, in which nothing is known of what a picture does not say."""
        assert one.boxes is not None
        first, second = len(one.images), len(other.images)
        # Evenly spread, so that a step that passes in several parts has both kinds in each.
        at = np.concatenate([(np.arange(n) + 0.5) / n for n in (first, second)])
        order = torch.from_numpy(np.argsort(at, kind="stable"))
        known = one.boxes.known
        if known is None:
            known = torch.ones(first, self._classes, dtype=torch.bool)
        boxes = BoxTargets(
            _padded(one.boxes.boxes, second)[order],
            _padded(one.boxes.classes, second)[order],
            _padded(one.boxes.valid, second)[order],
            _padded(one.boxes.ignore, second)[order],
            _padded(known, second)[order],
        )
        count = len(self._data)
        rows = (*one.rows, *(row + count for row in other.rows))
        batch = Batch(
            torch.cat([one.images, other.images])[order],
            boxes=boxes,
            rows=tuple(rows[place] for place in order.tolist()),
        )
        if other.classes is not None:
            nothing = other.classes.new_full((first,), NO_CLASS)
            batch.classes = torch.cat([nothing, other.classes])[order]
        else:
            assert other.present is not None
            assert other.known is not None
            batch.present = _behind(other.present, first)[order]
            batch.known = _behind(other.known, first)[order]
        return batch


def _padded(x: Tensor, count: int) -> Tensor:
    """Rows of zeros after those of a tensor."""
    return torch.cat([x, x.new_zeros((count, *x.shape[1:]))])


def _behind(x: Tensor, count: int) -> Tensor:
    """Rows of zeros before those of a tensor."""
    return torch.cat([x.new_zeros((count, *x.shape[1:])), x])


class JointValidation(Validation):
    """A validation with the second head's numbers, as `label_mAP`, `label_accuracy` and so on.

    Args:
        base: the detector's.
        part: the second head's data.
        config: settings.
    """

    def __init__(self, base: Validation, part: LabelPart, config: TrainConfig) -> None:
        limit = config.cache * 2**20 // 8
        super().__init__(base.data, base._spec, limit, config.metric)
        self._part = part
        self._others = None if part.same else Validation(part.validation, base._spec, limit)

    def _numbers(self, net: nn.Module, fabric: Fabric, batch: int) -> dict[str, float]:
        numbers = super()._numbers(net, fabric, batch)
        answers: Sequence[Prediction] = self.predicted
        if self._others is not None:
            answers = self._others.predictions(net, fabric, batch)
            self.unreadable |= {
                len(self.data) + row: text for row, text in self._others.unreadable.items()
            }
        return numbers | label_numbers(score(self._part.task, self._part.validation, answers))


def label_numbers(numbers: Any) -> dict[str, float]:
    """Numbers of the second head under names of their own."""
    return {
        f"label_{name}": float(value)
        for name, value in numbers.items()
        if isinstance(value, int | float)
    }
