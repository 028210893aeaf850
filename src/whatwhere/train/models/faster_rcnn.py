"""Faster R-CNN with a feature pyramid: proposals first, then a second look at each.

Ren et al., Faster R-CNN (NeurIPS 2015) and Lin et al., Feature Pyramid Networks (CVPR 2017),
with torchvision's proposal head, anchors, matching, sampling and losses of the first stage.
Two things are ours, so that the whole becomes a graph of fixed shapes: proposals are filtered
by a fixed number of rounds of matrix products, and boxes are refined alike for all classes,
so that a model file has one box for each proposal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import TwoMLPHead
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import (
    RegionProposalNetwork,
    RPNHead,
    concat_box_prediction_layers,
)
from torchvision.ops import roi_align

from whatwhere.train.batch import BoxTargets
from whatwhere.train.losses.share import over_processes
from whatwhere.train.models._torchvision import (
    Pyramid,
    TorchvisionNetwork,
    decode_boxes,
    target_list,
    within,
)
from whatwhere.train.models.backbone import LEVELS
from whatwhere.train.models.family import Family

if TYPE_CHECKING:
    from whatwhere.train.config import TrainConfig

# Half of torchvision's: our pictures have 320 to 640 pixels, not 800.
SIDES = ((16,), (32,), (64,), (128,), (256,))
RATIOS = ((0.5, 1.0, 2.0),) * len(SIDES)
CONSIDERED = 512
"""Anchors whose boxes are compared with each other."""
PROPOSALS = 200
"""Proposals that get a second look."""
OVERLAP = 0.7
ROUNDS = 20
WINDOW = 7
"""Features a proposal is pooled to, each way."""
CANONICAL = 112
"""Proposals of this side and more, in pixels, are pooled from the second level (stride 16)."""
HIDDEN = 256
_CLEAR = 3e-5
"""Logits and overlaps that differ by less may come in either order in another runtime."""


def survivors(boxes: Tensor, iou: float, rounds: int = ROUNDS) -> Tensor:
    """Greedy suppression, with fixed shapes: which boxes (N, K, 4), best first, stay; (N, K) bool.

    A box stays when no better box that stays overlaps it by more than `iou`. Starting from
    "all stay", each round settles one more link of the longest chain of overlaps.
    """
    common, union = _overlaps(boxes)
    # Without a division: empty boxes drop nothing.
    drops = torch.triu((common > iou * union).to(boxes.dtype), 1)
    stays = torch.ones_like(boxes[..., 0])
    for _ in range(rounds):
        stays = ((stays.unsqueeze(1) @ drops).squeeze(1) == 0).to(boxes.dtype)
    return stays > 0


def _overlaps(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Areas of intersection and of union of all pairs of boxes (N, K, 4), (N, K, K) each."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    areas = (x2 - x1) * (y2 - y1)
    common = _shared(x1, x2) * _shared(y1, y2)
    return common, areas[:, :, None] + areas[:, None] - common


def _shared(low: Tensor, high: Tensor) -> Tensor:
    """Lengths of what all pairs of intervals (N, K) have in common, (N, K, K)."""
    ends = torch.minimum(high[:, :, None], high[:, None])
    return (ends - torch.maximum(low[:, :, None], low[:, None])).clamp(min=0)


class BoxPredictor(nn.Module):
    """Class scores, background first, and one refinement for all classes."""

    def __init__(self, width: int, labels: int) -> None:
        super().__init__()
        self.cls_score = nn.Linear(width, labels)
        self.bbox_pred = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.cls_score(x), self.bbox_pred(x)


class Detector(nn.Module):
    """The parts by torchvision's names."""

    def __init__(self, channels: tuple[int, ...], width: int, classes: int) -> None:
        super().__init__()
        self.backbone = Pyramid(channels, width)
        anchors = AnchorGenerator(SIDES, RATIOS)
        self.rpn = RegionProposalNetwork(
            anchors,
            RPNHead(width, anchors.num_anchors_per_location()[0]),
            fg_iou_thresh=0.7,
            bg_iou_thresh=0.3,
            batch_size_per_image=256,
            positive_fraction=0.5,
            # Its own filter is not used.
            pre_nms_top_n={},
            post_nms_top_n={},
            nms_thresh=OVERLAP,
        )
        self.roi_heads = RoIHeads(
            None,
            TwoMLPHead(width * WINDOW**2, HIDDEN),
            BoxPredictor(HIDDEN, classes + 1),
            fg_iou_thresh=0.5,
            bg_iou_thresh=0.5,
            batch_size_per_image=128,
            positive_fraction=0.25,
            bbox_reg_weights=None,
            # The rest is for its own last step, which is not used.
            score_thresh=0.0,
            nms_thresh=0.5,
            detections_per_img=PROPOSALS,
        )


class FasterRcnn(TorchvisionNetwork):
    """The detector.

    Args:
        config: settings.
        classes: number of classes, C; the second stage has one more, the background.
    """

    def __init__(self, config: TrainConfig, classes: int) -> None:
        super().__init__(config)
        self.detector: Any = Detector(self.channels, config.width_head, classes)
        self.prepare_anchors(self.detector.rpn.anchor_generator, config)

    def answer(self, images: Tensor) -> tuple[Tensor, Tensor]:
        levels = self.features(images)
        anchors = self.anchors_of(images, levels)
        objectness, codes = self._first_stage(levels)
        size = (images.shape[1], images.shape[2])
        proposals, real = self.propose(objectness, codes, anchors, size)
        count, most = proposals.shape[:2]
        heads = self.detector.roi_heads
        pooled = self.pool(levels, proposals)
        logits, refined = heads.box_predictor(heads.box_head(pooled))
        shape = (count, most, -1)
        boxes = decode_boxes(
            heads.box_coder, refined.float().reshape(count, most, 4), proposals, size
        )
        scores = logits.float().reshape(shape).softmax(-1)[..., 1:]
        return boxes, scores * real.unsqueeze(-1)

    def _first_stage(self, levels: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Objectness logits (N, A) and box codes (N, A, 4), float32."""
        objectness, codes = self.detector.rpn.head(levels)
        flat, flat_codes = concat_box_prediction_layers(objectness, codes)
        count = levels[0].shape[0]
        return flat.float().reshape(count, -1), flat_codes.float().reshape(count, -1, 4)

    def propose(
        self, objectness: Tensor, codes: Tensor, anchors: Tensor, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """The best proposals (N, K, 4), and which of them are real, (N, K) bool.

        The others are suppressed ones; they fill the fixed number up.
        """
        scores, order, boxes = self._considered(objectness, codes, anchors, size)
        stays = survivors(boxes, OVERLAP) & (boxes[..., 2:] > boxes[..., :2]).all(-1)
        chosen = _rank(scores, stays).topk(min(PROPOSALS, scores.shape[1]), dim=1).indices
        # In the order of the anchors: a tie of scores then moves no row of the answer.
        place = order.gather(1, chosen)
        chosen = chosen.gather(1, place.argsort(dim=1))
        best = boxes.gather(1, chosen.unsqueeze(-1).expand(-1, -1, 4))
        return best, stays.gather(1, chosen)

    def _considered(
        self, objectness: Tensor, codes: Tensor, anchors: Tensor, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (N, K) of the best anchors, best first, which these are, and their boxes."""
        boxes = decode_boxes(self.detector.rpn.box_coder, codes.detach(), anchors, size)
        most = min(CONSIDERED, anchors.shape[0])
        scores, order = objectness.detach().topk(most, dim=1)
        return scores, order, boxes.gather(1, order.unsqueeze(-1).expand(-1, -1, 4))

    @torch.no_grad()
    def settled(self, images: Tensor) -> bool:
        """Whether it is clear which proposals of pictures (N, H, W, 3) get a second look.

        Where two scores or an overlap and its limit are as near as rounding, two runtimes may
        choose differently without either being wrong.
        """
        levels = self.features(images)
        objectness, codes = self._first_stage(levels)
        size = (images.shape[1], images.shape[2])
        anchors = self.anchors_of(images, levels)
        scores, _, boxes = self._considered(objectness, codes, anchors, size)
        stays = survivors(boxes, OVERLAP)
        common, union = _overlaps(boxes)
        ratio = common / union.clamp(min=1e-6)
        apart = scores[:, :, None] - scores[:, None]
        doubtful = ((ratio - OVERLAP).abs() < _CLEAR) | ((ratio > OVERLAP) & (apart < _CLEAR))
        # A box that a better one drops has no say.
        doubtful = torch.triu(doubtful, 1) & stays.unsqueeze(-1)
        level = _level(boxes[stays])
        return not (
            doubtful.any()
            or _close(objectness, CONSIDERED)
            or _close(_rank(scores, stays), PROPOSALS)
            or ((level - level.round()).abs() < _CLEAR).any()
        )

    def pool(self, levels: list[Tensor], proposals: Tensor) -> Tensor:
        """Features of proposals (N, K, 4), each from the level that suits its size.

        Every level is pooled for all, and one is picked: that has a fixed shape.

        Returns:
            (N * K, channels, WINDOW, WINDOW).
        """
        count, most = proposals.shape[:2]
        picture = torch.arange(count, device=proposals.device, dtype=proposals.dtype)
        index = picture[:, None, None].expand(count, most, 1)
        rows = torch.cat([index, proposals], -1).reshape(-1, 5)
        level = pooled_level(rows[:, 1:])
        pooled: Tensor | None = None
        for i, stride in enumerate(LEVELS):
            # Pooling has no kernel for half precision on CPUs.
            part = roi_align(
                levels[i].float(), rows, (WINDOW, WINDOW), 1.0 / stride, sampling_ratio=2
            )
            mine = (level == i)[:, None, None, None]
            pooled = part if pooled is None else torch.where(mine, part, pooled)
        assert pooled is not None
        return pooled

    def losses(self, images: Tensor, targets: BoxTargets) -> dict[str, Tensor]:
        levels = self.features(images)
        anchors = self.anchors_of(images, levels)
        objectness, codes = self._first_stage(levels)
        rpn, heads = self.detector.rpn, self.detector.roi_heads
        ignored = targets.ignore & targets.valid
        objects = target_list(targets, first=1)
        with torch.autocast(images.device.type, enabled=False), torch.no_grad():
            size = (images.shape[1], images.shape[2])
            proposals, real = self.propose(objectness, codes, anchors, size)
            regions = [boxes[mine] for boxes, mine in zip(targets.boxes, ignored, strict=True)]
            kept = [boxes[mine] for boxes, mine in zip(proposals, real, strict=True)]
            kept = [boxes[~within(boxes, r)] for boxes, r in zip(kept, regions, strict=True)]
            sampled, _, labels, wanted = heads.select_training_samples(kept, objects)
            everywhere = [anchors] * len(images)
            first_labels, first_boxes = rpn.assign_targets_to_anchors(everywhere, objects)
            first_wanted = rpn.box_coder.encode(first_boxes, everywhere)
            for label, region in zip(first_labels, regions, strict=True):
                label[(label == 0) & within(anchors, region)] = -1
        pooled = self._pool_some(levels, sampled)
        logits, refined = heads.box_predictor(heads.box_head(pooled))
        with torch.autocast(images.device.type, enabled=False):
            if any(bool((label >= 0).any()) for label in first_labels):
                first_class, first_box = rpn.compute_loss(
                    objectness.reshape(-1, 1), codes.reshape(-1, 4), first_labels, first_wanted
                )
            else:  # every anchor lies in an ignored region
                first_class, first_box = 0 * objectness.sum(), 0 * codes.sum()
            label, target = torch.cat(labels), torch.cat(wanted)
            positive = label > 0
            classes = functional.cross_entropy(logits.float(), label, reduction="sum")
            boxes = functional.smooth_l1_loss(
                refined.float()[positive], target[positive], beta=1 / 9, reduction="sum"
            )
            count = over_processes(classes.new_tensor(float(len(label))), 1.0)
            return {
                "proposal_loss": first_class,
                "proposal_box_loss": first_box,
                "class_loss": classes / count,
                "box_loss": boxes / count,
            }

    def _pool_some(self, levels: list[Tensor], proposals: list[Tensor]) -> Tensor:
        """As `pool`, for another number of proposals in each picture, each level for its own."""
        rows = torch.cat(
            [torch.cat([x.new_full((len(x), 1), i), x], 1) for i, x in enumerate(proposals)]
        )
        level = pooled_level(rows[:, 1:])
        pooled = rows.new_zeros((len(rows), levels[0].shape[1], WINDOW, WINDOW))
        for i, stride in enumerate(LEVELS):
            mine = (level == i).nonzero().squeeze(1)
            part = roi_align(
                levels[i].float(), rows[mine], (WINDOW, WINDOW), 1.0 / stride, sampling_ratio=2
            )
            pooled = pooled.index_put((mine,), part)
        return pooled

    def their_name(self, name: str) -> str:
        # Their pyramid begins a level earlier, at stride 4.
        for kind in ("inner_blocks", "layer_blocks"):
            for i in (2, 1, 0):
                own = f"backbone.fpn.{kind}.{i}."
                if name.startswith(own):
                    return name.replace(own, f"backbone.fpn.{kind}.{i + 1}.")
        return name


def pooled_level(boxes: Tensor) -> Tensor:
    """Which of the body's levels features of boxes (K, 4) come from, (K,) int64.

    Lin et al., Feature Pyramid Networks, equation 1.
    """
    return _level(boxes).floor().clamp(0, len(LEVELS) - 1).long()


def _level(boxes: Tensor) -> Tensor:
    side = (boxes[..., 2:] - boxes[..., :2]).clamp(min=1e-3).prod(-1).sqrt()
    return torch.log2(side / CANONICAL) + 1


def _rank(scores: Tensor, stays: Tensor) -> Tensor:
    """Logits with those of suppressed boxes below all others."""
    return torch.where(stays, scores, scores - 1e4)


def _close(scores: Tensor, most: int) -> bool:
    """Whether the last of the `most` best of scores (N, K) and the next one hardly differ."""
    if scores.shape[1] <= most:
        return False
    best = scores.topk(most + 1, dim=1).values
    return bool((best[:, -2] - best[:, -1] < _CLEAR).any())


def _build(config: TrainConfig, names: tuple[str, ...]) -> FasterRcnn:
    return FasterRcnn(config, len(names))


FAMILY = Family(
    name="faster-rcnn",
    title="Faster R-CNN: proposals and a second look, from torchvision",
    tasks=frozenset({"detect"}),
    build=_build,
    postprocess={"nms_iou": 0.5},
    partial=False,
)
