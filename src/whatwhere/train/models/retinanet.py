"""RetinaNet: nine anchors at each point of the pyramid, taught by the focal loss.

Lin et al., Focal Loss for Dense Object Detection (ICCV 2017), in torchvision's
implementation and with what its second version changed: group norms in the heads and the
generalised IoU as loss of the boxes (Zhang et al., ATSS, CVPR 2020).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.retinanet import RetinaNet, RetinaNetHead

from whatwhere.train.batch import BoxTargets
from whatwhere.train.models._torchvision import (
    Pyramid,
    TorchvisionNetwork,
    decode_boxes,
    float32,
    group_norm,
    hush,
    target_list,
)
from whatwhere.train.models.family import Family

if TYPE_CHECKING:
    from whatwhere.train.config import TrainConfig

# Sides of the anchors. Half of torchvision's: our pictures have 320 to 640 pixels, not 800.
SIDES = tuple(tuple(2 * s * 2 ** (i / 3) for i in range(3)) for s in (8, 16, 32, 64, 128))
RATIOS = ((0.5, 1.0, 2.0),) * len(SIDES)


class Retina(TorchvisionNetwork):
    """The detector.

    Args:
        config: settings.
        classes: number of classes, C.
    """

    def __init__(self, config: TrainConfig, classes: int) -> None:
        super().__init__(config)
        width = config.width_head
        anchors = AnchorGenerator(SIDES, RATIOS)
        count = anchors.num_anchors_per_location()[0]
        head = RetinaNetHead(width, count, classes, norm_layer=group_norm)
        head.regression_head._loss_type = "giou"
        self.detector = RetinaNet(
            Pyramid(self.channels, width), classes, anchor_generator=anchors, head=head
        )
        self.prepare_anchors(anchors, config)

    def _raw(self, images: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        levels = self.features(images)
        outputs = float32(self.detector.head(levels))  # type: ignore[operator]
        return outputs, self.anchors_of(images, levels)

    def answer(self, images: Tensor) -> tuple[Tensor, Tensor]:
        outputs, anchors = self._raw(images)
        size = (images.shape[1], images.shape[2])
        coder = self.detector.head.regression_head.box_coder  # type: ignore[union-attr]
        boxes = decode_boxes(coder, outputs["bbox_regression"], anchors, size)
        return boxes, outputs["cls_logits"].sigmoid()

    def losses(self, images: Tensor, targets: BoxTargets) -> dict[str, Tensor]:
        outputs, anchors = self._raw(images)
        with torch.autocast(images.device.type, enabled=False):
            outputs["cls_logits"] = hush(outputs["cls_logits"], anchors, targets)
            parts = self.detector.compute_loss(  # type: ignore[operator]
                target_list(targets), outputs, [anchors] * len(images)
            )
        return {"class_loss": parts["classification"], "box_loss": parts["bbox_regression"]}


def _build(config: TrainConfig, names: tuple[str, ...]) -> Retina:
    return Retina(config, len(names))


FAMILY = Family(
    name="retinanet",
    title="RetinaNet: anchors and the focal loss, from torchvision",
    tasks=frozenset({"detect"}),
    build=_build,
    postprocess={"nms_iou": 0.5},
)
