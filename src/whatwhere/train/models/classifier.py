"""A classifier: any timm network; softmax over classes, or a sigmoid for each of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from whatwhere.train.batch import Batch
from whatwhere.train.depthwise import quicken
from whatwhere.train.losses.classification import LabelLoss
from whatwhere.train.losses.distillation import Distillation
from whatwhere.train.models.backbone import (
    ScalePixels,
    create_backbone,
    fold_norms,
    freeze_early,
    keep_frozen,
)
from whatwhere.train.models.family import Family, Network

if TYPE_CHECKING:
    from whatwhere.train.config import TrainConfig


class Classifier(Network):
    """One score a class for the whole picture.

    Args:
        classes: number of classes, C.
        backbone: name for timm.
        pretrained: start from ImageNet weights.
        freeze: freeze early layers and batch norms of a pretrained backbone.
        freeze_stride: how far the early layers reach; 0 for none of them.
        size: (height, width) of the input, for backbones that are built for one size.
        dropout: before the last layer.
        loss: what mistakes cost.
        distillation: what it costs to differ from a teacher, where there is one.
    """

    def __init__(
        self,
        classes: int,
        backbone: str,
        *,
        pretrained: bool = True,
        freeze: bool = True,
        freeze_stride: int = 4,
        size: tuple[int, int] | None = None,
        dropout: float = 0.2,
        loss: LabelLoss | None = None,
        distillation: Distillation | None = None,
    ) -> None:
        super().__init__()
        made = create_backbone(
            backbone, pretrained=pretrained, size=size, num_classes=classes, drop_rate=dropout
        )
        self._cost = loss or LabelLoss("classify")
        self._distillation = distillation or Distillation(self._cost.task)
        self.source, self.license = made.source, made.license
        self.scale = ScalePixels(made.mean, made.std)
        self.backbone = made.net
        if not (pretrained and classes == made.classes):
            _start_undecided(self.backbone.get_classifier())  # type: ignore[operator]
        if pretrained and freeze:
            freeze_early(self.backbone, freeze_stride, probe=made.probe)
            fold_norms(self.backbone, probe=made.probe)
        quicken(self.backbone)

    def train(self, mode: bool = True) -> Classifier:
        super().train(mode)
        keep_frozen(self.backbone)
        return self

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """The outputs of the model file: `logits` (N, C) for uint8 images (N, H, W, 3)."""
        x = self.scale(images).contiguous(memory_format=torch.channels_last)
        return {"logits": self.backbone(x).float()}

    def last_layer(self) -> nn.Linear | None:
        """The layer that gives the logits, where it is a plain one."""
        head = self.backbone.get_classifier()  # type: ignore[operator]
        return head if isinstance(head, nn.Linear) and head.bias is not None else None

    def pooled(self, images: Tensor) -> Tensor:
        """Pooled features (N, D), what the last layer reads."""
        x = self.scale(images).contiguous(memory_format=torch.channels_last)
        body = self.backbone
        found: Tensor = body.forward_head(body.forward_features(x), pre_logits=True)  # type: ignore[operator]
        return found

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of the settings, and itself as the only part."""
        logits = self(batch.images)["logits"]
        total = self._cost(logits, batch)
        if batch.soft is None:
            return total, {"loss": total.detach()}
        taught = self._distillation(logits, batch.soft)
        total = total + taught
        return total, {"loss": total.detach(), "teacher_loss": taught.detach()}

    def body(self) -> Iterable[nn.Parameter]:
        """All but the last layer, which is new."""
        head = {id(p) for p in self.backbone.get_classifier().parameters()}  # type: ignore[operator]
        return [p for p in self.backbone.parameters() if id(p) not in head]


def _start_undecided(head: nn.Module) -> None:
    """Give a new last layer small weights, so that all classes begin equally likely.

    Some networks start it so wide for few classes that the first gradients, several times
    too large, harm the pretrained body.
    """
    if isinstance(head, nn.Linear):
        nn.init.normal_(head.weight, std=0.01)
        nn.init.zeros_(head.bias)


def _build(config: TrainConfig, names: tuple[str, ...]) -> Classifier:
    return Classifier(
        len(names),
        config.backbone,
        pretrained=config.pretrained,
        freeze=config.freeze,
        freeze_stride=config.freeze_stride,
        size=(config.height, config.width) if config.height else None,
        dropout=config.dropout,
        loss=LabelLoss(
            config.task, config.loss, config.smoothing if config.task == "classify" else 0.0
        ),
        distillation=Distillation(config.task, config.teacher_temperature, config.teacher_weight),
    )


FAMILY = Family(
    name="classifier",
    title="Any timm network with a softmax over classes, or a sigmoid for each",
    tasks=frozenset({"classify", "multilabel"}),
    settings=frozenset(
        {
            "cutmix",
            "distort",
            "dropout",
            "freeze_stride",
            "head_start",
            "loss",
            "smoothing",
            "teacher_temperature",
        }
    ),
    build=_build,
    # On CIFAR-10 (9,000 pictures at 96 px) these rates with early layers that learn were at 0.88
    # after 4 of 8 epochs; a rate of 3e-3 and 0.3 with frozen ones ended there after 8.
    recipe={
        "batch": 64,
        "rate": 1e-3,
        "backbone_rate": 0.5,
        "freeze_stride": 0,
        "colour": 0.3,
        "zoom": 1.6,
    },
)
