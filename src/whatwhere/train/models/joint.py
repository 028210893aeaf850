"""One model, two answers: a detector and a classifier of the whole picture on one body.

The detector is the family `yolo`. The second head reads the body's coarsest features, averaged
over the picture, and the strongest answer of each level of the pyramid, which sees the small
objects. What teaches it is found by `train.joint`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from whatwhere.train.batch import Batch, BoxTargets
from whatwhere.train.losses.classification import LabelLoss
from whatwhere.train.models.family import DETECTOR_SETTINGS, Family
from whatwhere.train.models.yolo import Yolo, bins_for

if TYPE_CHECKING:
    from whatwhere.train.config import TrainConfig
    from whatwhere.types import Task


class Joint(Yolo):
    """The detector with a second head.

    Args:
        names: of the classes with boxes.
        label_names: of the classes of the whole picture.
        label_task: "classify" or "multilabel", of the second head.
        config: settings of both.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        label_names: tuple[str, ...],
        label_task: Task,
        config: TrainConfig,
    ) -> None:
        super().__init__(
            len(names),
            config.backbone,
            width=config.width_head,
            pretrained=config.pretrained,
            freeze=config.freeze,
            small_objects=config.small_objects,
            end_to_end=config.end_to_end,
            bins=bins_for(config.height, config.width),
        )
        self.label_names, self.label_task = label_names, label_task
        place = {name: number for number, name in enumerate(names)}
        # Class of a box of each label; -1 where boxes say nothing about it.
        columns = torch.tensor([place.get(name, -1) for name in label_names])
        self.register_buffer("label_columns", columns, persistent=False)
        self._dropout, self._label_weight = config.dropout, config.label_weight
        self._label_loss = LabelLoss(
            label_task, "", config.smoothing if label_task == "classify" else 0.0
        )
        coarsest: nn.Conv2d = self.pyramid.lateral[-1][0]  # type: ignore[index]
        inputs = coarsest.in_channels + len(self.strides) * config.width_head
        self.label = nn.Linear(inputs, len(label_names))
        # All classes begin equally likely, as in the classifier.
        nn.init.normal_(self.label.weight, std=0.01)
        nn.init.zeros_(self.label.bias)

    def whole(self, levels: list[Tensor], mixed: list[Tensor]) -> Tensor:
        """Logits (N, L) of the whole picture, from the features of body and pyramid."""
        seen = [levels[-1].mean((2, 3)), *(x.amax((2, 3)) for x in mixed)]
        x = functional.dropout(torch.cat(seen, 1), self._dropout, self.training)
        logits: Tensor = self.label(x)
        return logits.float()

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """`boxes` (N, A, 4), `scores` (N, A, C) in 0..1, and `logits` (N, L) of the picture."""
        levels = self.levels(images)
        mixed = self.pyramid(levels)
        answer = self.answer(*self.heads(mixed))
        return {**answer, "logits": self.whole(levels, mixed)}

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The detector's loss and, weighted, that of the whole picture.

        A batch without `classes` and `present` teaches the second head by its boxes. Pictures
        of which nothing is known about boxes are left out of the detector's head; if there are
        no others they pass and cost nothing, since another process may wait for this one there.
        """
        assert batch.boxes is not None
        targets = batch.boxes
        levels = self.levels(batch.images)
        mixed = self.pyramid(levels)
        logits = self.whole(levels, mixed)
        taught = _taught(targets)
        if taught.any() and not taught.all():
            mixed = [x[taught] for x in mixed]
            targets = BoxTargets(
                targets.boxes[taught],
                targets.classes[taught],
                targets.valid[taught],
                targets.ignore[taught],
                None if targets.known is None else targets.known[taught],
            )
        found = self.heads(mixed)
        if batch.classes is None and batch.present is None:
            present, known = self.by_boxes(batch.boxes)
            batch = Batch(batch.images, present=present, known=known)
        with torch.autocast(batch.images.device.type, enabled=False):
            total, parts = self.cost(*found, targets)
            label = self._label_weight * self._label_loss(logits, batch)
        return total + label, {**parts, "label_loss": label.detach()}

    def by_boxes(self, targets: BoxTargets) -> tuple[Tensor, Tensor]:
        """Which labels boxes show, float32 (N, L), and where that is known, bool (N, L).

        A class whose boxes are all to be ignored, or that nobody looked for, is unknown.
        """
        columns: Tensor = self.label_columns  # type: ignore[assignment]
        classes = functional.one_hot(targets.classes, self.classify.out_channels).bool()
        sure = (classes & (targets.valid & ~targets.ignore)[..., None]).any(1)
        unsure = (classes & (targets.valid & targets.ignore)[..., None]).any(1)
        known = ~unsure if targets.known is None else targets.known & ~unsure
        has = columns >= 0
        taken = columns.clamp(min=0)
        return sure[:, taken].float() * has, (known | sure)[:, taken] & has


def _taught(targets: BoxTargets) -> Tensor:
    """Which pictures of a batch say anything about boxes, bool (N,)."""
    if targets.known is None:
        return torch.ones(len(targets.boxes), dtype=torch.bool, device=targets.boxes.device)
    return targets.known.any(1) | targets.valid.any(1)


def _build(config: TrainConfig, names: tuple[str, ...]) -> Joint:
    # Names of the second head are settings: `train.joint` fills them in from the data, so that
    # config.json alone says how the network is built, when it is resumed or exported again.
    return Joint(
        names,
        config.label_names or names,
        "classify" if config.label_task == "classify" else "multilabel",
        config,
    )


FAMILY = Family(
    name="joint",
    title="YOLO with a second head that answers for the whole picture",
    tasks=frozenset({"detect"}),
    build=_build,
    two_heads=True,
    settings=DETECTOR_SETTINGS
    | {"dropout", "end_to_end", "small_objects", "smoothing"}
    | {"label_data", "label_names", "label_share", "label_task", "label_weight"},
)
