"""FCOS: each point of the pyramid gives one box, without anchors.

Tian et al., FCOS: A Simple and Strong Anchor-Free Object Detector (2020), in torchvision's
implementation: points near an object's centre answer for it, each level for a range of
sizes; a score is the geometric mean of class and centre-ness.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import (
    FCOS,
    FCOSClassificationHead,
    FCOSHead,
    FCOSRegressionHead,
)

from whatwhere.train.batch import BoxTargets
from whatwhere.train.losses.share import shared
from whatwhere.train.models._torchvision import (
    Pyramid,
    TorchvisionNetwork,
    clip,
    float32,
    group_norm,
    hush,
    target_list,
)
from whatwhere.train.models.family import Family

if TYPE_CHECKING:
    from whatwhere.train.config import TrainConfig

STRIDES = (8, 16, 32, 64, 128)


class _Head(FCOSHead):  # type: ignore[misc]
    """torchvision's head, whose losses are divided by the points of all processes."""

    def compute_loss(
        self,
        targets: list[dict[str, Tensor]],
        head_outputs: dict[str, Tensor],
        anchors: list[Tensor],
        matched_idxs: list[Tensor],
    ) -> dict[str, Tensor]:
        parts = super().compute_loss(targets, head_outputs, anchors, matched_idxs)
        return shared(parts, (torch.stack(matched_idxs) >= 0).sum())


class Fcos(TorchvisionNetwork):
    """The detector.

    Args:
        config: settings.
        classes: number of classes, C.
    """

    def __init__(self, config: TrainConfig, classes: int) -> None:
        super().__init__(config)
        width = config.width_head
        head = _Head(32, 1, classes, 1)
        # torchvision fixes 32 groups; other widths of the head want another number.
        head.classification_head = FCOSClassificationHead(width, 1, classes, norm_layer=group_norm)
        head.regression_head = FCOSRegressionHead(width, 1, norm_layer=group_norm)
        points = AnchorGenerator(tuple((s,) for s in STRIDES), ((1.0,),) * len(STRIDES))
        self.detector = FCOS(
            Pyramid(self.channels, width), classes, anchor_generator=points, head=head
        )
        self.prepare_anchors(points, config)

    def _raw(self, images: Tensor) -> tuple[dict[str, Tensor], Tensor, list[int]]:
        """Head outputs, points as boxes of one stride (A, 4), points of each level."""
        levels = self.features(images)
        outputs = float32(self.detector.head(levels))  # type: ignore[operator]
        counts = [x.shape[-2] * x.shape[-1] for x in levels]
        return outputs, self.anchors_of(images, levels), counts

    def answer(self, images: Tensor) -> tuple[Tensor, Tensor]:
        outputs, points, _ = self._raw(images)
        coder: Any = self.detector.head.box_coder  # type: ignore[union-attr]
        boxes = coder.decode(outputs["bbox_regression"], points)
        scores = torch.sqrt(outputs["cls_logits"].sigmoid() * outputs["bbox_ctrness"].sigmoid())
        return clip(boxes, (images.shape[1], images.shape[2])), scores

    def losses(self, images: Tensor, targets: BoxTargets) -> dict[str, Tensor]:
        outputs, points, counts = self._raw(images)
        with torch.autocast(images.device.type, enabled=False):
            outputs["cls_logits"] = hush(outputs["cls_logits"], points, targets)
            parts = self.detector.compute_loss(  # type: ignore[operator]
                target_list(targets), outputs, [points] * len(images), counts
            )
        return {
            "class_loss": parts["classification"],
            "box_loss": parts["bbox_regression"],
            "centre_loss": parts["bbox_ctrness"],
        }


def _build(config: TrainConfig, names: tuple[str, ...]) -> Fcos:
    return Fcos(config, len(names))


FAMILY = Family(
    name="fcos",
    title="FCOS: anchor-free points with centre-ness, from torchvision",
    tasks=frozenset({"detect"}),
    build=_build,
    postprocess={"nms_iou": 0.6},
)
