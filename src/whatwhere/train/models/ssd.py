"""SSD: default boxes of fixed shapes at each point of several levels, without a pyramid.

Liu et al., SSD: Single Shot MultiBox Detector (ECCV 2016), in torchvision's implementation:
its default boxes, matching, hard negative mining and losses. The body is one of timm's, so
its levels are brought to one width first, as bodies of today give thin features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.ssd import SSD, SSDHead
from torchvision.ops import Conv2dNormActivation, box_iou

from whatwhere.train.batch import BoxTargets
from whatwhere.train.losses.share import shared
from whatwhere.train.models._torchvision import (
    TorchvisionNetwork,
    decode_boxes,
    float32,
    hush,
    target_list,
)
from whatwhere.train.models.family import Family

if TYPE_CHECKING:
    from whatwhere.train.config import TrainConfig

# Sides of the default boxes as shares of the picture's, for strides 8 to 128; a fifth more than
# twice the stride in a picture of 320 pixels.
SCALES = (0.06, 0.12, 0.24, 0.45, 0.7, 1.0)
RATIOS = ((2,), (2, 3), (2, 3), (2, 3), (2,))
FURTHER = 2
"""Levels beyond those of the body, each half the size of the one before."""


class Levels(nn.Module):
    """The body's levels at one width, and further ones; stands in torchvision's backbone's place.

    Args:
        channels: of the body's levels.
        width: channels of all levels that it gives.
        light: with depthwise convolutions, as in SSDLite.
    """

    def __init__(self, channels: Sequence[int], width: int, *, light: bool = False) -> None:
        super().__init__()
        self.out_channels = [width] * (len(channels) + FURTHER)
        self.widen = nn.ModuleList(_block(count, width, 1 if light else 3) for count in channels)
        half = max(1, width // 2)
        self.further = nn.ModuleList(
            nn.Sequential(
                _block(width, half, 1),
                *(
                    (_block(half, half, 3, 2, groups=half), _block(half, width, 1))
                    if light
                    else (_block(half, width, 3, 2),)
                ),
            )
            for _ in range(FURTHER)
        )

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        levels = [widen(x) for widen, x in zip(self.widen, features, strict=True)]
        # In float32, for the reason that is given at `FurtherLevels`.
        x = levels[-1].float()
        with torch.autocast(x.device.type, enabled=False):
            for block in self.further:
                x = block(x)
                levels.append(x)
        return levels


def _block(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Module:
    made: nn.Module = Conv2dNormActivation(
        inputs, outputs, kernel, stride, groups=groups, activation_layer=nn.ReLU6
    )
    return made


class Ssd(TorchvisionNetwork):
    """The detector.

    Args:
        config: settings.
        classes: number of classes, C; the network has one more, the background.
    """

    light = False

    def __init__(self, config: TrainConfig, classes: int) -> None:
        super().__init__(config)
        levels = Levels(self.channels, config.width_head, light=self.light)
        boxes = DefaultBoxGenerator([list(ratios) for ratios in RATIOS], scales=list(SCALES))
        head = self.make_head(levels.out_channels, boxes.num_anchors_per_location(), classes + 1)
        # The size is only for torchvision's own resizing, which is not used.
        self.detector = SSD(levels, boxes, (320, 320), classes + 1, head=head)
        self.prepare_anchors(boxes, config)

    def make_head(self, channels: list[int], counts: list[int], labels: int) -> nn.Module:
        """The head for each level's channels and default boxes; labels include background."""
        made: nn.Module = SSDHead(channels, counts, labels)
        return made

    def _raw(self, images: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        levels = self.features(images)
        outputs = float32(self.detector.head(levels))  # type: ignore[operator]
        return outputs, self.anchors_of(images, levels)

    def answer(self, images: Tensor) -> tuple[Tensor, Tensor]:
        outputs, anchors = self._raw(images)
        size = (images.shape[1], images.shape[2])
        codes = outputs["bbox_regression"]
        boxes = decode_boxes(self.detector.box_coder, codes, anchors, size)
        return boxes, outputs["cls_logits"].softmax(-1)[..., 1:]

    def losses(self, images: Tensor, targets: BoxTargets) -> dict[str, Tensor]:
        outputs, anchors = self._raw(images)
        with torch.autocast(images.device.type, enabled=False):
            logits = outputs["cls_logits"]
            heard = hush(logits[..., 1:], anchors, targets)
            outputs["cls_logits"] = torch.cat([logits[..., :1], heard], -1)
            objects = target_list(targets, first=1)
            matched = [self._match(one["boxes"], anchors) for one in objects]
            parts = self.detector.compute_loss(  # type: ignore[operator]
                objects, outputs, [anchors] * len(images), matched
            )
            parts = shared(parts, (torch.stack(matched) >= 0).sum())
        return {"class_loss": parts["classification"], "box_loss": parts["bbox_regression"]}

    def _match(self, boxes: Tensor, anchors: Tensor) -> Tensor:
        """Which object each default box answers for, (A,); -1 for none."""
        if not len(boxes):
            return torch.full((len(anchors),), -1, dtype=torch.int64, device=anchors.device)
        matcher: Any = self.detector.proposal_matcher
        matched: Tensor = matcher(box_iou(boxes, anchors))
        return matched


def _build(config: TrainConfig, names: tuple[str, ...]) -> Ssd:
    return Ssd(config, len(names))


FAMILY = Family(
    name="ssd",
    title="SSD: default boxes on several levels, from torchvision",
    tasks=frozenset({"detect"}),
    build=_build,
    recipe={"width_head": 128},
    postprocess={"nms_iou": 0.45},
)
