"""A one-stage, anchor-free detector: any timm backbone, feature pyramid, decoupled head.

The pyramid passes features down and up again (Liu et al., Path Aggregation Network, CVPR
2018). The head has separate towers for class and box (Ge et al., YOLOX, 2021) whose
convolutions are shared by all levels while each level has its own batch norms (Lyu et al.,
RTMDet, 2022): small data sets feed few objects to each level. A side's distance is the mean
of a learned distribution (Li et al., Generalized Focal Loss, NeurIPS 2020).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from whatwhere.train.batch import Batch
from whatwhere.train.losses.detection import BINS, DetectionLoss, RawBoxes
from whatwhere.train.models.backbone import (
    LEVELS,
    ScalePixels,
    create_backbone,
    fold_norms,
    freeze_early,
    keep_frozen,
)
from whatwhere.train.models.family import Family, Network

if TYPE_CHECKING:
    from whatwhere.train.config import TrainConfig


class ConvBlock(nn.Sequential):
    """Convolution, batch norm, SiLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
            nn.SiLU(inplace=True),
        )


class Pyramid(nn.Module):
    """Features of all levels at one width, mixed downwards and upwards."""

    def __init__(self, channels: tuple[int, ...], width: int) -> None:
        super().__init__()
        last = len(channels) - 1
        self.lateral = nn.ModuleList(ConvBlock(count, width, 1) for count in channels)
        self.down = nn.ModuleList(ConvBlock(2 * width, width) for _ in range(last))
        self.shrink = nn.ModuleList(ConvBlock(width, width, 3, 2) for _ in range(last))
        self.up = nn.ModuleList(ConvBlock(2 * width, width) for _ in range(last))

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        levels = [lateral(x) for lateral, x in zip(self.lateral, features, strict=True)]
        for i in range(len(levels) - 2, -1, -1):
            above = functional.interpolate(levels[i + 1], size=levels[i].shape[-2:])
            levels[i] = self.down[i](torch.cat([levels[i], above], 1))
        for i in range(1, len(levels)):
            below = self.shrink[i - 1](levels[i - 1])
            levels[i] = self.up[i - 1](torch.cat([levels[i], below], 1))
        return levels


class Tower(nn.Module):
    """Two 3x3 convolutions shared by all levels, batch norms for each level."""

    def __init__(self, width: int, levels: int, depth: int = 2) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(depth)
        )
        self.norms = nn.ModuleList(
            nn.ModuleList(nn.BatchNorm2d(width) for _ in range(levels)) for _ in range(depth)
        )

    def forward(self, x: Tensor, level: int) -> Tensor:
        for conv, norms in zip(self.convs, self.norms, strict=True):
            x = functional.silu(norms[level](conv(x)), inplace=True)  # type: ignore[index]
        return x


class Yolo(Network):
    """The detector.

    Args:
        classes: number of classes, C.
        backbone: name for timm.
        width: channels of pyramid and head.
        pretrained: start from ImageNet weights.
        freeze: freeze early layers and batch norms of a pretrained backbone.
    """

    def __init__(
        self,
        classes: int,
        backbone: str,
        *,
        width: int = 96,
        pretrained: bool = True,
        freeze: bool = True,
    ) -> None:
        super().__init__()
        made = create_backbone(backbone, pretrained=pretrained, levels=LEVELS)
        self.source, self.license = made.source, made.license
        self.strides = made.strides
        self.scale = ScalePixels(made.mean, made.std)
        self.backbone = made.net
        if pretrained and freeze:
            freeze_early(self.backbone)
            fold_norms(self.backbone)
        self.pyramid = Pyramid(made.channels, width)
        self.class_tower = Tower(width, len(self.strides))
        self.box_tower = Tower(width, len(self.strides))
        self.classify = nn.Conv2d(width, classes, 1)
        self.locate = nn.ModuleList(nn.Conv2d(width, 4 * BINS, 1) for _ in self.strides)
        # Start as if one anchor point in a hundred held an object, so that the many empty
        # ones do not drown the first steps (Lin et al., Focal Loss, ICCV 2017, section 4.1).
        assert self.classify.bias is not None
        nn.init.constant_(self.classify.bias, -math.log(99))
        nn.init.normal_(self.classify.weight, std=0.01)
        self._loss = DetectionLoss()
        self.register_buffer("bins", torch.arange(BINS, dtype=torch.float32), persistent=False)

    def train(self, mode: bool = True) -> Yolo:
        super().train(mode)
        keep_frozen(self.backbone)
        return self

    def raw(self, images: Tensor) -> RawBoxes:
        """Head outputs for uint8 images (N, H, W, 3); H and W multiples of 32."""
        x = self.scale(images).contiguous(memory_format=torch.channels_last)
        levels = self.pyramid(self.backbone(x))
        logits, sides, points, strides = [], [], [], []
        for level, (x, stride) in enumerate(zip(levels, self.strides, strict=True)):
            count, _, rows, columns = x.shape
            logits.append(self.classify(self.class_tower(x, level)).permute(0, 2, 3, 1))
            sides.append(self.locate[level](self.box_tower(x, level)).permute(0, 2, 3, 1))
            ys = (torch.arange(rows, device=x.device, dtype=torch.float32) + 0.5) * stride
            xs = (torch.arange(columns, device=x.device, dtype=torch.float32) + 0.5) * stride
            grid = torch.stack(
                [xs[None, :].expand(rows, columns), ys[:, None].expand(rows, columns)], -1
            )
            points.append(grid.reshape(-1, 2))
            strides.append(torch.full((rows * columns,), float(stride), device=x.device))
        return {
            "logits": torch.cat([x.reshape(count, -1, x.shape[-1]) for x in logits], 1).float(),
            "sides": torch.cat([x.reshape(count, -1, 4, BINS) for x in sides], 1).float(),
            "points": torch.cat(points),
            "strides": torch.cat(strides),
        }

    def boxes(self, raw: RawBoxes) -> Tensor:
        """Boxes (N, A, 4), x1 y1 x2 y2 in input pixels."""
        bins: Tensor = self.bins  # type: ignore[assignment]
        steps = (raw["sides"].softmax(-1) * bins).sum(-1)
        distance = steps * raw["strides"][:, None]
        return torch.cat([raw["points"] - distance[..., :2], raw["points"] + distance[..., 2:]], -1)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """The outputs of the model file: `boxes` (N, A, 4) and `scores` (N, A, C) in 0..1."""
        raw = self.raw(images)
        return {"boxes": self.boxes(raw), "scores": raw["logits"].sigmoid()}

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Task-aligned assignment with the losses of `losses.detection`."""
        assert batch.boxes is not None
        raw = self.raw(batch.images)
        with torch.autocast(batch.images.device.type, enabled=False):
            return self._loss(raw, self.boxes(raw), batch.boxes)


def _build(config: TrainConfig, names: tuple[str, ...]) -> Yolo:
    return Yolo(
        len(names),
        config.backbone,
        width=config.width_head,
        pretrained=config.pretrained,
        freeze=config.freeze,
    )


FAMILY = Family(
    name="yolo",
    title="YOLO: anchor-free, task-aligned, distributions of box sides",
    tasks=frozenset({"detect"}),
    build=_build,
    sizes={"s": {"width_head": 96}},
)
