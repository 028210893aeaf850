"""What the detectors from torchvision share: a timm body in place of theirs, our targets.

torchvision's own networks are used whole, but for their first and last steps: pictures come
letterboxed and are scaled inside the graph, so there is no `GeneralizedRCNNTransform`, and
suppression is done when a model is run. So `Pretrained` holds torchvision's module, whose
"backbone" is only the pyramid, and asks it for anchors, heads, matching and losses.
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import get_model_weights
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from whatwhere.errors import TrainError
from whatwhere.train.batch import Batch, BoxTargets
from whatwhere.train.models.backbone import (
    LEVELS,
    ScalePixels,
    create_backbone,
    fold_norms,
    freeze_early,
    keep_frozen,
)
from whatwhere.train.models.family import Network

if TYPE_CHECKING:
    from whatwhere.train.config import TrainConfig

_NEVER = -100.0
"""A logit whose probability is 0 in float32."""
_INSIDE = 0.5
"""Share of an anchor that must lie in an ignored region for it to be left out."""


class Pyramid(nn.Module):
    """A feature pyramid (Lin et al., CVPR 2017) with two more levels, as in RetinaNet.

    Stands where torchvision's detectors have their backbone.

    Args:
        channels: of the body's levels.
        width: channels of all levels that it gives.
    """

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.fpn = FeaturePyramidNetwork(list(channels), width, FurtherLevels(width, width))
        self.out_channels = width

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        named = OrderedDict((str(i), x) for i, x in enumerate(features))
        return list(self.fpn(named).values())


class FurtherLevels(LastLevelP6P7):  # type: ignore[misc]
    """torchvision's two further levels, in float32.

    oneDNN's bfloat16 weight gradient of strided convolutions is wrong on maps of one or two
    columns, as these are in small pictures: it holds memory that nobody wrote. The levels are
    so small that their precision costs nothing.
    """

    def forward(
        self, p: list[Tensor], c: list[Tensor], names: list[str]
    ) -> tuple[list[Tensor], list[str]]:
        with torch.autocast(p[-1].device.type, enabled=False):
            (_, *further), names = super().forward([p[-1].float()], c, names)
        return [*p, *further], names


def group_norm(channels: int) -> nn.GroupNorm:
    """32 groups as in torchvision; fewer, so that each has two channels, for a narrow head.

    One channel alone, on the one pixel of the last level of a small picture, has no spread.
    """
    return nn.GroupNorm(max(1, math.gcd(64, channels) // 2), channels)


class TorchvisionNetwork(Network):
    """A detector of torchvision on a body from timm.

    A subclass makes `detector` and gives `answer` and `losses`.

    Args:
        config: settings; used are those of backbone and size.
        levels: strides of the body's levels.
    """

    detector: nn.Module

    def __init__(self, config: TrainConfig, levels: tuple[int, ...] = LEVELS) -> None:
        super().__init__()
        made = create_backbone(config.backbone, pretrained=config.pretrained, levels=levels)
        self.source, self.license = made.source, made.license
        self.scale = ScalePixels(made.mean, made.std)
        self.channels, self._levels = made.channels, levels
        self.backbone = made.net
        self._name, self._folds = config.backbone, config.pretrained and config.freeze
        if self._folds:
            freeze_early(self.backbone)
            fold_norms(self.backbone)

    def train(self, mode: bool = True) -> TorchvisionNetwork:
        super().train(mode)
        keep_frozen(self.backbone)
        return self

    def features(self, images: Tensor) -> list[Tensor]:
        """All levels that the heads work on, for uint8 images (N, H, W, 3)."""
        x = self.scale(images).contiguous(memory_format=torch.channels_last)
        levels: list[Tensor] = self.detector.backbone(self.backbone(x))  # type: ignore[operator]
        return levels

    def prepare_anchors(self, generator: nn.Module, config: TrainConfig) -> None:
        """Make the anchors of the model's own size a constant of the graph.

        Args:
            generator: from torchvision.
            config: without a size anchors are made anew each time.
        """
        self.generator = generator
        self.register_buffer("anchors", None, persistent=False)
        self._size = (config.height, config.width)
        if config.height:
            blank = torch.zeros((1, *self._size, 3), dtype=torch.uint8)
            training = self.training
            with torch.no_grad():
                levels = self.eval().features(blank)
            self.train(training)
            self.anchors = self._make_anchors(self._size, levels)

    def anchors_of(self, images: Tensor, levels: list[Tensor]) -> Tensor:
        """Anchors (A, 4), x1 y1 x2 y2 in input pixels, float32."""
        size = (images.shape[1], images.shape[2])
        if self.anchors is not None and size == self._size:
            return self.anchors
        return self._make_anchors(size, levels)

    def _make_anchors(self, size: tuple[int, int], levels: list[Tensor]) -> Tensor:
        # Only shapes, dtype and device of these are looked at.
        pictures = ImageList(levels[0].new_empty((1, 3, *size)), [size])
        shapes = [x.new_empty((1, 1, *x.shape[-2:]), dtype=torch.float32) for x in levels]
        (anchors,) = self.generator(pictures, shapes)
        made: Tensor = anchors.float()
        return made

    def answer(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes (N, A, 4) and scores (N, A, C), float32."""
        raise NotImplementedError

    def losses(self, images: Tensor, targets: BoxTargets) -> dict[str, Tensor]:
        """The parts of the loss by name."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """The outputs of the model file: `boxes` (N, A, 4) and `scores` (N, A, C) in 0..1."""
        boxes, scores = self.answer(images)
        return {"boxes": boxes, "scores": scores}

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """torchvision's matching and losses, in float32."""
        assert batch.boxes is not None
        parts = self.losses(batch.images, batch.boxes)
        total = torch.stack(list(parts.values())).sum()
        return total, {name: value.detach() for name, value in parts.items()}

    def their_name(self, name: str) -> str:
        """What torchvision calls one of `detector`'s tensors, in its ResNet-FPN models."""
        return name

    def load_torchvision(self, weights: str | Mapping[str, Tensor]) -> str:
        """Start from a detector that torchvision trained, as far as the tensors' shapes agree.

        The body is taken whole or not at all: it fits where the backbone is the same network,
        such as timm's `resnet50.tv_in1k` for `fcos_resnet50_fpn`; pyramid and heads fit at the
        same `width_head` (256).

        Args:
            weights: a name such as "fcos_resnet50_fpn", perhaps after "torchvision:", or the
                tensors of such a model by their names.

        Returns:
            A sentence for people: what was taken, what is new.

        Raises:
            TrainError: there is no such model, its weights cannot be had, or nothing fits.
        """
        state = _trained(weights) if isinstance(weights, str) else weights
        title = weights if isinstance(weights, str) else "the torchvision weights"
        body = self._load_body(state)
        own = self.detector.state_dict()
        found: dict[str, Tensor] = {}
        for name, tensor in own.items():
            theirs = self.their_name(name)
            given = state.get(theirs, state.get(_older(theirs)))
            if given is not None and given.shape == tensor.shape:
                found[name] = given
        if not body and not found:
            raise TrainError(
                f"nothing of {title} fits this network: use the same backbone (--set"
                " backbone=resnet50.tv_in1k for torchvision's ResNet-50) and --set width_head=256"
            )
        self.detector.load_state_dict({**own, **found})
        if body:
            self.source, self.license = f"torchvision's {title}", "BSD-3-Clause"
        new = ", ".join(dict.fromkeys(name.rpartition(".")[0] for name in own if name not in found))
        return (
            f"from {title}: {'the whole body' if body else 'nothing of the body'} and"
            f" {len(found)} of {len(own)} tensors of pyramid and heads; new: {new or 'none'}"
        )

    def _load_body(self, state: Mapping[str, Tensor]) -> bool:
        prefix = "backbone.body."
        given = {name.removeprefix(prefix): x for name, x in state.items() if prefix in name}
        # Norms may be folded here already; an unfolded twin takes the tensors as they are.
        twin = create_backbone(self._name, pretrained=False, levels=self._levels).net
        wanted = {
            name: x.shape
            for name, x in twin.state_dict().items()
            if not name.endswith("num_batches_tracked")
        }
        if any(name not in given or given[name].shape != shape for name, shape in wanted.items()):
            return False
        twin.load_state_dict({name: given[name] for name in wanted}, strict=False)
        if self._folds:
            fold_norms(twin)
        self.backbone.load_state_dict(twin.state_dict())
        return True


def _older(name: str) -> str:
    """What a tensor was called before torchvision 0.13, as it still is in some of its files."""
    shorter = re.sub(r"(_blocks\.\d)\.0\.", r"\1.", name)
    return shorter.replace("rpn.head.conv.0.0.", "rpn.head.conv.")


def _trained(name: str) -> Mapping[str, Tensor]:
    plain = name.removeprefix("torchvision:")
    try:
        known = get_model_weights(plain)
    except ValueError as error:
        raise TrainError(
            f"torchvision has no model {plain!r}: use one such as fcos_resnet50_fpn"
        ) from error
    try:
        state: Mapping[str, Tensor] = known.DEFAULT.get_state_dict(progress=False, check_hash=True)
    except Exception as error:  # the download has many kinds of errors
        raise TrainError(
            f"the weights of torchvision's {plain} could not be loaded ({type(error).__name__}:"
            f" {error}): check the network, or give a file of its tensors"
        ) from error
    return state


def target_list(targets: BoxTargets, first: int = 0) -> list[dict[str, Tensor]]:
    """A batch's objects as torchvision wants them, one dictionary a picture.

    Args:
        targets: of the batch; padding, ignored and empty boxes are left out.
        first: label of the first class; 1 for networks with a background class.

    Returns:
        `boxes` (G, 4) float32 and `labels` (G,) int64.
    """
    solid = (targets.boxes[..., 2:] > targets.boxes[..., :2]).all(-1)
    keep = targets.valid & ~targets.ignore & solid
    return [
        {"boxes": boxes[mine].float(), "labels": classes[mine] + first}
        for boxes, classes, mine in zip(targets.boxes, targets.classes, keep, strict=True)
    ]


def hush(logits: Tensor, anchors: Tensor, targets: BoxTargets) -> Tensor:
    """Logits without those that no label can judge: these become a constant "no".

    So is a class that nobody looked for in a picture, and every class at an anchor that lies
    mostly in an ignored region; both only where no object of that picture (of that class) is.

    Args:
        logits: (N, A, C), without background.
        anchors: (A, 4) in input pixels.
        targets: of the batch.

    Returns:
        (N, A, C); where a logit was replaced, it gets no gradient and its loss is 0.
    """
    regions = targets.ignore & targets.valid
    concerned = regions.any(1)
    if targets.known is not None:
        concerned = concerned | ~targets.known.all(1)
    rows: list[int] = concerned.nonzero().squeeze(1).tolist()
    if not rows:
        return logits
    centre = (anchors[:, None, :2] + anchors[:, None, 2:]) / 2
    silent = torch.zeros_like(logits, dtype=torch.bool)
    for i in rows:
        mine = targets.valid[i] & ~targets.ignore[i]
        boxes, classes = targets.boxes[i, mine], targets.classes[i, mine]
        holds = ((centre > boxes[:, :2]) & (centre < boxes[:, 2:])).all(-1)  # (A, G)
        ignored = within(anchors, targets.boxes[i, regions[i]]) & ~holds.any(1)
        silent[i] = ignored.unsqueeze(1)
        if targets.known is not None:
            kinds = functional.one_hot(classes, logits.shape[-1]).float()
            silent[i] |= ~targets.known[i] & (holds.float() @ kinds == 0)
    return logits.masked_fill(silent, _NEVER)


def within(anchors: Tensor, regions: Tensor) -> Tensor:
    """Which anchors (A, 4) lie mostly in one of the regions (R, 4), (A,) bool."""
    a = anchors[:, None]
    sides = torch.minimum(a[..., 2:], regions[:, 2:]) - torch.maximum(a[..., :2], regions[:, :2])
    common = sides.clamp(min=0).prod(-1)
    area = (a[..., 2:] - a[..., :2]).prod(-1).clamp(min=1e-6)
    return (common / area > _INSIDE).any(1)


def decode_boxes(coder: Any, codes: Tensor, anchors: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes (N, A, 4) inside the picture from torchvision's codes relative to anchors.

    Args:
        coder: torchvision's `BoxCoder`.
        codes: (N, A, 4).
        anchors: (A, 4) or (N, A, 4).
        size: (height, width) of the input.
    """
    flat = coder.decode_single(codes.reshape(-1, 4), anchors.expand_as(codes).reshape(-1, 4))
    return clip(flat.reshape(codes.shape), size)


def clip(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes (..., 4) cut at the border of a picture of (height, width)."""
    height, width = size
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack(
        [x1.clamp(0, width), y1.clamp(0, height), x2.clamp(0, width), y2.clamp(0, height)], -1
    )


def float32(outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same in float32, whatever precision the heads ran in."""
    return {name: value.float() for name, value in outputs.items()}
