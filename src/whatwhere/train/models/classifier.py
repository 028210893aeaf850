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
        dropout: before the last layer.
    """

    def __init__(
        self,
        classes: int,
        backbone: str,
        *,
        pretrained: bool = True,
        freeze: bool = True,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        made = create_backbone(
            backbone, pretrained=pretrained, num_classes=classes, drop_rate=dropout
        )
        self.source, self.license = made.source, made.license
        self.scale = ScalePixels(made.mean, made.std)
        self.backbone = made.net
        if pretrained and freeze:
            freeze_early(self.backbone)
            fold_norms(self.backbone)

    def train(self, mode: bool = True) -> Classifier:
        super().train(mode)
        keep_frozen(self.backbone)
        return self

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """The outputs of the model file: `logits` (N, C) for uint8 images (N, H, W, 3)."""
        x = self.scale(images).contiguous(memory_format=torch.channels_last)
        return {"logits": self.backbone(x).float()}
