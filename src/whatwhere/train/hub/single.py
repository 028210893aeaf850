"""torchvision's SSD and SSDLite as a graph: boxes of all anchors, scores of all classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

from whatwhere.train.models._torchvision import decode_boxes
from whatwhere.train.models.backbone import ScalePixels


class AnchorDetector(nn.Module):
    """The network without its resizing and suppression.

    Args:
        net: torchvision's `SSD`, in evaluation mode.
        columns: places of the classes to keep among its own, whose first is the background.
        size: (height, width) of the input.
    """

    columns: Tensor
    anchors: Tensor

    def __init__(self, net: Any, columns: Sequence[int], size: tuple[int, int]) -> None:
        super().__init__()
        self.scale = ScalePixels(tuple(net.transform.image_mean), tuple(net.transform.image_std))
        self.backbone, self.head, self._coder = net.backbone, net.head, net.box_coder
        self.register_buffer("columns", torch.tensor(columns))
        with torch.no_grad():
            blank = torch.zeros((1, *size, 3), dtype=torch.uint8)
            pixels = self.scale(blank)
            features = list(self.backbone(pixels).values())
            (anchors,) = net.anchor_generator(ImageList(pixels, [size]), features)
        self.register_buffer("anchors", anchors)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """`boxes` (N, A, 4) and `scores` (N, A, C) for uint8 images (N, H, W, 3)."""
        features = list(self.backbone(self.scale(images)).values())
        found = self.head(features)
        size = (images.shape[1], images.shape[2])
        return {
            "boxes": decode_boxes(self._coder, found["bbox_regression"], self.anchors, size),
            "scores": found["cls_logits"].softmax(-1).index_select(-1, self.columns),
        }
