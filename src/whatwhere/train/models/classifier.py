"""A classifier: any timm network; softmax over classes, or a sigmoid for each of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from whatwhere.train.models.backbone import (
    ScalePixels,
    create_backbone,
    fold_norms,
    freeze_early,
    keep_frozen,
)


class Classifier(nn.Module):
    """One score a class for the whole picture.

    Args:
        classes: number of classes, C.
        backbone: name for timm.
        pretrained: start from ImageNet weights.
        freeze: freeze early layers and batch norms of a pretrained backbone.
        size: (height, width) of the input, for backbones that are built for one size.
        dropout: before the last layer.
    """

    def __init__(
        self,
        classes: int,
        backbone: str,
        *,
        pretrained: bool = True,
        freeze: bool = True,
        size: tuple[int, int] | None = None,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        made = create_backbone(
            backbone, pretrained=pretrained, size=size, num_classes=classes, drop_rate=dropout
        )
        self.source, self.license = made.source, made.license
        self.scale = ScalePixels(made.mean, made.std)
        self.backbone = made.net
        if not (pretrained and classes == made.classes):
            _start_undecided(self.backbone.get_classifier())  # type: ignore[operator]
        if pretrained and freeze:
            freeze_early(self.backbone, probe=made.probe)
            fold_norms(self.backbone, probe=made.probe)

    def train(self, mode: bool = True) -> Classifier:
        super().train(mode)
        keep_frozen(self.backbone)
        return self

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """The outputs of the model file: `logits` (N, C) for uint8 images (N, H, W, 3)."""
        x = self.scale(images).contiguous(memory_format=torch.channels_last)
        return {"logits": self.backbone(x).float()}


def _start_undecided(head: nn.Module) -> None:
    """Give a new last layer small weights, so that all classes begin equally likely.

    Some networks start it so wide for few classes that the first gradients, several times
    too large, harm the pretrained body.
    """
    if isinstance(head, nn.Linear):
        nn.init.normal_(head.weight, std=0.01)
        nn.init.zeros_(head.bias)
