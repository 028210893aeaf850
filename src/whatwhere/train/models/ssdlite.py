"""SSDLite: SSD with depthwise convolutions after the body, for small devices.

Sandler et al., MobileNetV2 (CVPR 2018), section 6.2, with torchvision's heads.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from torch import nn
from torchvision.models.detection.ssdlite import SSDLiteHead

from whatwhere.train.models.family import Family
from whatwhere.train.models.ssd import Ssd

if TYPE_CHECKING:
    from whatwhere.train.config import TrainConfig


class SsdLite(Ssd):
    """The detector; see `Ssd`."""

    light = True

    def make_head(self, channels: list[int], counts: list[int], labels: int) -> nn.Module:
        norm = partial(nn.BatchNorm2d, eps=1e-3)
        made: nn.Module = SSDLiteHead(channels, counts, labels, norm)
        return made


def _build(config: TrainConfig, names: tuple[str, ...]) -> SsdLite:
    return SsdLite(config, len(names))


FAMILY = Family(
    name="ssdlite",
    title="SSDLite: SSD with depthwise convolutions, from torchvision",
    tasks=frozenset({"detect"}),
    build=_build,
    recipe={"width_head": 192},
    postprocess={"nms_iou": 0.55},
)
