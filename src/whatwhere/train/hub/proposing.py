"""torchvision's Faster R-CNN as a graph of fixed shapes.

The same steps as torchvision's, in another form: proposals of each level are suppressed by a fixed
number of rounds of matrix products (see `models.faster_rcnn.survivors`), every level is pooled for
every proposal and one is picked, and the best pairs of proposal and class, each with the box of its
class, are the rows of the answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import concat_box_prediction_layers
from torchvision.ops import roi_align

from whatwhere.train.models._torchvision import decode_boxes
from whatwhere.train.models.backbone import ScalePixels
from whatwhere.train.models.faster_rcnn import survivors

PAIRS = 1000
"""Pairs of proposal and class that become rows, best first."""
_STEP = 32
_SMALLEST = 1e-2
"""torchvision drops final boxes with a shorter side, in pixels."""
_NEVER = -1e4


class ProposingDetector(nn.Module):
    """The network without its resizing and last suppression.

    Args:
        net: torchvision's `FasterRCNN`, in evaluation mode.
        columns: places of the classes to keep among its own, whose first is the background.
        size: (height, width) of the input; it is padded to whole steps of 32 inside.
    """

    unordered = True
    columns: Tensor
    anchors: Tensor

    def __init__(self, net: Any, columns: Sequence[int], size: tuple[int, int]) -> None:
        super().__init__()
        self.scale = ScalePixels(tuple(net.transform.image_mean), tuple(net.transform.image_std))
        self.backbone = net.backbone
        self.rpn: Any = net.rpn
        self.heads: Any = net.roi_heads
        self.size = size
        self._pad = tuple(-side % _STEP for side in size)
        self.register_buffer("columns", torch.tensor(columns))
        with torch.no_grad():
            pixels, levels = self._features(torch.zeros((1, *size, 3), dtype=torch.uint8))
            padded = (pixels.shape[2], pixels.shape[3])
            pictures = ImageList(pixels, [padded])
            (anchors,) = self.rpn.anchor_generator(pictures, list(levels.values()))
        self.register_buffer("anchors", anchors)
        # As `MultiScaleRoIAlign` finds them out.
        pool = self.heads.box_roi_pool
        self._maps = [name for name in pool.featmap_names if name in levels]
        self._scales = [
            2.0 ** round(math.log2(levels[name].shape[2] / size[0])) for name in self._maps
        ]

    def _features(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Scaled and padded pixels (N, 3, H, W), and the levels by torchvision's names."""
        down, across = self._pad
        pixels = functional.pad(self.scale(images), (0, across, 0, down))
        return pixels, self.backbone(pixels)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """`boxes` (N, P, 4) and `scores` (N, P, C), one class in each row, for uint8 images."""
        _, levels = self._features(images)
        proposals, real = self.propose(list(levels.values()))
        count, most = proposals.shape[:2]
        logits, codes = self.heads.box_predictor(self.heads.box_head(self.pool(levels, proposals)))
        scores = logits.reshape(count, most, -1).softmax(-1).index_select(-1, self.columns)
        scores = scores * real.unsqueeze(-1)
        classes = len(self.columns)
        codes = codes.reshape(count, most, -1, 4).index_select(2, self.columns)
        best, pairs = scores.flatten(1).topk(min(PAIRS, most * classes), dim=1)
        wide = pairs.unsqueeze(-1).expand(-1, -1, 4)
        chosen = codes.flatten(1, 2).gather(1, wide)
        starts = proposals.gather(1, wide // classes)
        boxes = decode_boxes(self.heads.box_coder, chosen, starts, self.size)
        solid = (boxes[..., 2:] - boxes[..., :2] >= _SMALLEST).all(-1)
        kinds = torch.arange(classes, device=pairs.device)
        own = (pairs % classes).unsqueeze(-1) == kinds
        return {"boxes": boxes, "scores": own * (best * solid).unsqueeze(-1)}

    def propose(self, levels: list[Tensor]) -> tuple[Tensor, Tensor]:
        """The best proposals (N, K, 4), and which of them are real, (N, K) bool."""
        rpn = self.rpn
        objectness, codes = rpn.head(levels)
        sizes = [x.shape[1] * x.shape[2] * x.shape[3] for x in objectness]
        flat, flat_codes = concat_box_prediction_layers(objectness, codes)
        count = levels[0].shape[0]
        logits = flat.reshape(count, -1)
        boxes = decode_boxes(
            rpn.box_coder, flat_codes.reshape(count, -1, 4), self.anchors, self.size
        )
        kept_scores, kept_boxes, kept = [], [], []
        for mine, own in zip(
            torch.split(logits, sizes, 1), torch.split(boxes, sizes, 1), strict=True
        ):
            scores, order = mine.topk(min(rpn.pre_nms_top_n(), mine.shape[1]), dim=1)
            best = own.gather(1, order.unsqueeze(-1).expand(-1, -1, 4))
            kept_scores.append(scores)
            kept_boxes.append(best)
            # What is too small or too faint drops nothing that stays: it can be left out after.
            solid = (best[..., 2:] - best[..., :2] >= rpn.min_size).all(-1)
            bright = scores.sigmoid() >= rpn.score_thresh
            kept.append(survivors(best, rpn.nms_thresh) & solid & bright)
        scores, stays = torch.cat(kept_scores, 1), torch.cat(kept, 1)
        ranked = torch.where(stays, scores, scores + _NEVER)
        chosen = ranked.topk(min(rpn.post_nms_top_n(), ranked.shape[1]), dim=1).indices
        found = torch.cat(kept_boxes, 1).gather(1, chosen.unsqueeze(-1).expand(-1, -1, 4))
        return found, stays.gather(1, chosen)

    def pool(self, levels: dict[str, Tensor], proposals: Tensor) -> Tensor:
        """Features (N * K, channels, 7, 7) of proposals (N, K, 4), from the level of their size."""
        pool = self.heads.box_roi_pool
        count, most = proposals.shape[:2]
        picture = torch.arange(count, device=proposals.device, dtype=proposals.dtype)
        index = picture[:, None, None].expand(count, most, 1)
        rows = torch.cat([index, proposals], -1).reshape(-1, 5)
        # Lin et al., Feature Pyramid Networks, equation 1.
        side = (rows[:, 3:] - rows[:, 1:3]).prod(-1).clamp(min=1e-12).sqrt()
        first, last = (-math.log2(scale) for scale in (self._scales[0], self._scales[-1]))
        level = torch.floor(pool.canonical_level + torch.log2(side / pool.canonical_scale) + 1e-6)
        level = level.clamp(first, last) - first
        pooled: Tensor | None = None
        for i, (name, scale) in enumerate(zip(self._maps, self._scales, strict=True)):
            if i > last - first:
                break
            part = roi_align(
                levels[name], rows, pool.output_size, scale, sampling_ratio=pool.sampling_ratio
            )
            mine = (level == i)[:, None, None, None]
            pooled = part if pooled is None else torch.where(mine, part, pooled)
        assert pooled is not None
        return pooled
