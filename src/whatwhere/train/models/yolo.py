"""A one-stage, anchor-free detector: any timm backbone, feature pyramid, decoupled head.

The pyramid passes features down and up again (Liu et al., Path Aggregation Network, CVPR
2018). The head has separate towers for class and box (Ge et al., YOLOX, 2021) whose
convolutions are shared by all levels while each level has its own batch norms (Lyu et al.,
RTMDet, 2022): small data sets feed few objects to each level. A side's distance is the mean
of a learned distribution (Li et al., Generalized Focal Loss, NeurIPS 2020).

The end-to-end variant has a second way to score, taught with one anchor point an object beside
the usual ten (Wang et al., YOLOv10, 2024): no two of its good scores are about one object, so
nothing has to be suppressed. It shares the boxes, and says only how much the first score changes,
as in Zhou et al., Object Detection Made Simpler by Eliminating Heuristic NMS (2021). It is shown
how far each score is from the best one near by, on its own and the next levels (Wang et al.,
End-to-End Object Detection with Fully Convolutional Network, CVPR 2021, section 3.3). Its
gradients stop before all that is shared, so the usual head is as good as it would be alone, and
one run gives both model files.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from whatwhere.errors import TrainError
from whatwhere.train.batch import Batch, BoxTargets
from whatwhere.train.losses.detection import BINS, DetectionLoss, RawBoxes, decode_sides
from whatwhere.train.models._yolo_parts import Choice, ConvBlock, Pyramid, Tower
from whatwhere.train.models.backbone import (
    LEVELS,
    ScalePixels,
    create_backbone,
    fold_norms,
    freeze_early,
    keep_frozen,
)
from whatwhere.train.models.family import DETECTOR_SETTINGS, Family, Network

if TYPE_CHECKING:
    from whatwhere.train.config import TrainConfig


@dataclass(frozen=True, slots=True)
class Shape:
    """What a size is made of, beside its width.

    Args:
        separable: convolutions of pyramid and head in two steps, by channel and by point
            (Howard et al., MobileNets, 2017): a tenth of the work.
        depth: convolutions in each tower of the head.
        short: the pretrained body ends at stride 16; the level of stride 32 is new and cheap.
            Most weights of such a body lie behind stride 16.
    """

    separable: bool = False
    depth: int = 2
    short: bool = False


class Yolo(Network):
    """The detector.

    Args:
        classes: number of classes, C.
        backbone: name for timm.
        width: channels of pyramid and head.
        shape: what else makes its size.
        pretrained: start from ImageNet weights.
        freeze: freeze early layers and batch norms of a pretrained backbone.
        small_objects: a further level of stride 4.
        end_to_end: a further score of each box by which nothing needs to be suppressed.
        bins: steps in which a side is measured.
    """

    def __init__(
        self,
        classes: int,
        backbone: str,
        *,
        width: int = 96,
        shape: Shape | None = None,
        pretrained: bool = True,
        freeze: bool = True,
        small_objects: bool = False,
        end_to_end: bool = False,
        bins: int = BINS,
    ) -> None:
        super().__init__()
        shape = shape or Shape()
        levels = (4, *LEVELS) if small_objects else LEVELS
        body = levels[:-1] if shape.short else levels
        made = create_backbone(backbone, pretrained=pretrained, levels=body)
        self.source, self.license = made.source, made.license
        self.strides = levels
        self.scale = ScalePixels(made.mean, made.std)
        self.backbone = made.net
        if pretrained and freeze:
            # The layers that make the finest level must be free to learn.
            freeze_early(self.backbone, levels[0] // 2)
            fold_norms(self.backbone)
        channels = made.channels
        self.further: nn.Module | None = None
        if shape.short:
            self.further = ConvBlock(channels[-1], width, 3, 2, separable=True)
            channels = (*channels, width)
        self.pyramid = Pyramid(channels, width, separable=shape.separable)
        self.class_tower = Tower(width, len(levels), shape.depth, separable=shape.separable)
        self.box_tower = Tower(width, len(levels), shape.depth, separable=shape.separable)
        self.classify = nn.Conv2d(width, classes, 1)
        self.locate = nn.ModuleList(nn.Conv2d(width, 4 * bins, 1) for _ in levels)
        # Start as if one anchor point in a hundred held an object, so that the many empty
        # ones do not drown the first steps (Lin et al., Focal Loss, ICCV 2017, section 4.1).
        assert self.classify.bias is not None
        nn.init.constant_(self.classify.bias, -math.log(99))
        nn.init.normal_(self.classify.weight, std=0.01)
        self.choice: Choice | None = None
        if end_to_end:
            self.choice = Choice(width, classes, len(levels), separable=shape.separable)
        self.end_to_end = end_to_end
        self._bins = bins
        self._loss = DetectionLoss()
        # Its boxes are those of the usual head, and learn there. An object's right point is the
        # one that its own scores prefer already, more so than in the usual head, where the overlap
        # decides, of which nobody knows at prediction. (Taught the point that suppression would
        # keep, it lost 0.10 AP on BCCD: it cannot tell which of two good points that is.)
        self._choice_loss = DetectionLoss(
            candidates=1, alpha=1.0, beta=1.0, box_gain=0.0, side_gain=0.0
        )

    def train(self, mode: bool = True) -> Yolo:
        super().train(mode)
        keep_frozen(self.backbone)
        return self

    def levels(self, images: Tensor) -> list[Tensor]:
        """Features of the body (N, channels, H / stride, W / stride), finest first."""
        x = self.scale(images).contiguous(memory_format=torch.channels_last)
        found = list(self.backbone(x))
        if self.further is not None:
            found.append(self.further(found[-1]))
        return found

    def features(self, images: Tensor) -> list[Tensor]:
        """Mixed features (N, width, H / stride, W / stride), finest first."""
        mixed: list[Tensor] = self.pyramid(self.levels(images))
        return mixed

    def raw(self, images: Tensor) -> RawBoxes:
        """Head outputs for uint8 images (N, H, W, 3); H and W multiples of 32."""
        return self.heads(self.features(images))[0]

    def heads(self, levels: list[Tensor]) -> tuple[RawBoxes, Tensor | None]:
        """Head outputs for `features`, and the logits (N, A, C) chosen from one for an object."""
        scores = [self.classify(self.class_tower(x, level)) for level, x in enumerate(levels)]
        sides = [
            _flat(self.locate[level](self.box_tower(x, level))) for level, x in enumerate(levels)
        ]
        chosen = self.choice(levels, scores) if self.choice is not None else []
        points, strides = anchor_points(levels, self.strides)
        raw: RawBoxes = {
            "logits": torch.cat([_flat(score) for score in scores], 1).float(),
            "sides": torch.cat(sides, 1).float().reshape(levels[0].shape[0], -1, 4, self._bins),
            "points": points,
            "strides": strides,
        }
        return raw, torch.cat([_flat(score) for score in chosen], 1) if chosen else None

    def choose(self, end_to_end: bool) -> None:
        if end_to_end and self.choice is None:
            raise TrainError(
                "this network was trained without the head for end-to-end boxes: train it with"
                " --set end_to_end=true"
            )
        self.end_to_end = end_to_end

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """The outputs of the model file: `boxes` (N, A, 4) and `scores` (N, A, C) in 0..1."""
        return self.answer(*self.heads(self.features(images)))

    def answer(self, raw: RawBoxes, chosen: Tensor | None) -> dict[str, Tensor]:
        """Boxes and scores from what `heads` gives."""
        boxes = decode_sides(raw["sides"], raw["points"], raw["strides"])
        logits = chosen if self.end_to_end and chosen is not None else raw["logits"]
        return {"boxes": boxes, "scores": logits.sigmoid()}

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Task-aligned assignment with the losses of `losses.detection`."""
        assert batch.boxes is not None
        raw, chosen = self.heads(self.features(batch.images))
        with torch.autocast(batch.images.device.type, enabled=False):
            return self.cost(raw, chosen, batch.boxes)

    def cost(
        self, raw: RawBoxes, chosen: Tensor | None, targets: BoxTargets
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of what `heads` gives, and its parts."""
        with torch.no_grad():
            boxes = decode_sides(raw["sides"], raw["points"], raw["strides"])
        total, parts = self._loss(raw, targets, boxes)
        if chosen is not None:
            one: RawBoxes = {**raw, "logits": chosen, "sides": raw["sides"].detach()}
            cost, _ = self._choice_loss(one, targets, boxes)
            total, parts["choice_loss"] = total + cost, cost.detach()
        return total, parts


def _flat(x: Tensor) -> Tensor:
    """(N, K, H, W) as (N, H * W, K)."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def anchor_points(levels: list[Tensor], strides: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Middle of each cell in input pixels, x and y (A, 2), and its level's stride (A,).

    Args:
        levels: feature maps (N, K, H, W), finest first.
        strides: of each.
    """
    points, steps = [], []
    for x, stride in zip(levels, strides, strict=True):
        rows, columns = x.shape[-2:]
        ys = (torch.arange(rows, device=x.device, dtype=torch.float32) + 0.5) * stride
        xs = (torch.arange(columns, device=x.device, dtype=torch.float32) + 0.5) * stride
        grid = torch.stack(
            [xs[None, :].expand(rows, columns), ys[:, None].expand(rows, columns)], -1
        )
        points.append(grid.reshape(-1, 2))
        steps.append(torch.full((rows * columns,), float(stride), device=x.device))
    return torch.cat(points), torch.cat(steps)


def bins_for(height: int, width: int) -> int:
    """How many bins let an object as large as the input be reached from near its middle.

    Sixteen do up to 928 pixels: 15 steps of 32 pixels are half of it and half a step more.
    """
    return max(BINS, math.ceil(max(height, width) / (2 * LEVELS[-1]) + 0.5) + 1)


_SHAPES = {
    "s": Shape(),
    "p": Shape(separable=True, short=True),
    "n": Shape(separable=True),
    "m": Shape(depth=3),
}


def _build(config: TrainConfig, names: tuple[str, ...]) -> Yolo:
    return Yolo(
        len(names),
        config.backbone,
        width=config.width_head,
        shape=_SHAPES.get(config.model.removeprefix("yolo-")),
        pretrained=config.pretrained,
        freeze=config.freeze,
        small_objects=config.small_objects,
        end_to_end=config.end_to_end,
        bins=bins_for(config.height, config.width),
    )


FAMILY = Family(
    name="yolo",
    title="YOLO: anchor-free, task-aligned, distributions of box sides",
    tasks=frozenset({"detect"}),
    build=_build,
    soft=True,
    settings=DETECTOR_SETTINGS | {"end_to_end", "small_objects"},
    sizes={
        "s": {"width_head": 96},
        "p": {"width_head": 64},
        "n": {"width_head": 96},
        "m": {"width_head": 160},
    },
)
