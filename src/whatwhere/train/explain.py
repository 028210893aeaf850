"""What an answer rests on, by the gradients of a run's own network.

Selvaraju et al., Grad-CAM, ICCV 2017; Draelos and Carin, Use HiResCAM instead of Grad-CAM,
2020; Jiang et al., LayerCAM, IEEE TIP 2021. One pass forth and one back in place of hundreds,
and as coarse as the network's features: of stride 32 for a classifier.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from whatwhere.errors import TrainError, UsageError
from whatwhere.runtime import read_spec
from whatwhere.runtime.masking import Progress
from whatwhere.runtime.subjects import Subject
from whatwhere.train.checkpoint import load_tensors
from whatwhere.train.finish import MODEL
from whatwhere.train.loop import WEIGHTS
from whatwhere.train.models import Network
from whatwhere.train.network import build
from whatwhere.train.prepare import CONFIG, read_settings
from whatwhere.types import Boxes, as_boxes, box_iou

Rule = Literal["gradcam", "hirescam", "layercam"]
RULES: tuple[Rule, ...] = ("gradcam", "hirescam", "layercam")
"""How features and their gradients make a map; see `Gradients`."""


class Gradients:
    """A method for `runtime.explain.explain`, for answers of one run.

    Each level of the features that the body gives has a map; they are added as shares of a
    pixel. For a classifier there is one, its last.

    Args:
        run: folder of the run.
        rule: "gradcam" weights each channel by its mean gradient over the picture; "hirescam"
            takes each place's own gradient, so that the map shows what the features at a place
            contribute; "layercam" also, leaving out gradients below 0. For a classifier that
            averages its last map the first two are the same.

    Raises:
        UsageError: there is no such rule.
        TrainError: the folder is no finished run, or is damaged.
    """

    def __init__(self, run: str | os.PathLike[str], rule: Rule = "hirescam") -> None:
        if rule not in RULES:
            raise UsageError(f"unknown rule {rule!r}: use one of {', '.join(RULES)}")
        folder = Path(run)
        if not all((folder / file).is_file() for file in (CONFIG, WEIGHTS, MODEL)):
            raise TrainError(
                f"{folder} is not the folder of a finished run ({CONFIG}, {WEIGHTS} and {MODEL}"
                " are needed): gradients need the network itself; use another method for a"
                " model file"
            )
        config, _ = read_settings(folder)
        spec = read_spec(folder / MODEL)
        net = build(config, spec.names, weights=False)
        tensors, _ = load_tensors(folder / WEIGHTS)
        try:
            net.load_state_dict(tensors)
        except RuntimeError as error:
            first = str(error).strip().splitlines()[0]
            raise TrainError(f"{folder / WEIGHTS} is of another network ({first})") from error
        self.rule: Rule = rule
        self.net = usual_head(net.float().cpu().eval())

    @property
    def name(self) -> str:
        """The rule."""
        return self.rule

    def __call__(self, subject: Subject, progress: Progress | None = None) -> NDArray[np.float32]:
        """A map over the subject's canvas, float32 (H, W), at least 0.

        Raises:
            UsageError: Grad-CAM is asked about an object, or there are no feature maps.
        """
        if subject.kind == "object" and self.rule == "gradcam":
            # On blood cells 3 % of its map lay in the box that was asked about, of HiResCAM's 60 %.
            raise UsageError(
                "gradcam cannot tell one object of a class from the others: use hirescam or"
                " layercam for objects"
            )
        images = torch.from_numpy(subject.canvas[None].copy())
        with torch.enable_grad(), features(self.net) as maps:
            outputs = self.net(images)
            score = _answer(outputs, subject)
            levels = maps()
            gradients = torch.autograd.grad(score, levels, allow_unused=True)
        height, width = subject.canvas.shape[:2]
        total = torch.zeros((height, width))
        for level, gradient in zip(levels, gradients, strict=True):
            if gradient is not None:
                total += _spread(_cam(level[0], gradient[0], self.rule), (height, width))
        if progress is not None:
            progress(1, 1)
        return np.asarray(total.detach().numpy(), dtype=np.float32)


def usual_head(net: Network) -> Network:
    """The network with boxes for suppression, where it has them.

    The scores of a yolo's end-to-end head have no gradient in the features (see
    `models.yolo`); they rest on the usual head's.
    """
    if net.end_to_end:
        try:
            net.choose(end_to_end=False)
        except TrainError:
            # A transformer has one head only, with gradients.
            return net
    return net


@contextmanager
def features(net: Network) -> Iterator[Any]:
    """Keeps the feature maps (N, C, h, w) of the body of one forward pass; call what it yields.

    Of a body that gives levels these are them; of a classifier the last map before its pixels
    are averaged.

    Raises:
        UsageError: there are no feature maps, as in a transformer that works on patches.
    """
    given: list[Tensor] = []
    inner: list[Tensor] = []

    def remember(module: nn.Module, _: Any, output: Any) -> None:
        if module is net.backbone:
            # The library's backbones give a record, timm's a list.
            found = getattr(output, "feature_maps", output)
            if isinstance(found, Mapping):
                found = found.values()
            given.extend([found] if isinstance(found, Tensor) else found)
        elif isinstance(output, Tensor) and output.ndim == 4 and min(output.shape[2:]) > 1:
            inner[:] = [output]
        elif isinstance(output, Tensor) and output.ndim == 3:
            # Patches in a row: what was a map before is only what they were cut from.
            inner.clear()

    def differentiable(_: nn.Module, __: Any, output: Tensor) -> Tensor:
        # Frozen layers would cut the maps behind them off.
        return output.detach().requires_grad_()

    def kept() -> list[Tensor]:
        levels = [x for x in given if isinstance(x, Tensor) and x.ndim == 4] or inner
        # Some transformers keep a map with its channels last, which would be read as rows.
        width = getattr(net.backbone, "num_features", 0)
        if any(x.shape[-1] == width != x.shape[1] for x in levels) or not levels:
            raise UsageError(
                "this network has no feature maps to take gradients of: use occlusion or rise"
            )
        return levels

    scale: nn.Module = net.get_submodule("scale")
    hooks = [scale.register_forward_hook(differentiable)]
    hooks += [module.register_forward_hook(remember) for module in net.backbone.modules()]
    try:
        yield kept
    finally:
        for hook in hooks:
            hook.remove()


def _answer(outputs: Mapping[str, Tensor], subject: Subject) -> Tensor:
    """The one number that is explained: a logit, or the score of the box nearest the answer's."""
    if subject.kind == "label":
        return outputs["logits"][0, subject.column]
    scores = outputs["scores"][0, :, subject.column]
    return scores[_nearest(outputs["boxes"][0], scores, subject.in_canvas())]


def _nearest(boxes: Tensor, scores: Tensor, wanted: Boxes) -> int:
    iou = box_iou(as_boxes(boxes.detach().numpy()), wanted)[:, 0]
    return int((iou * scores.detach().numpy()).argmax())


def _cam(features: Tensor, gradient: Tensor, rule: Rule) -> Tensor:
    """A map (h, w), at least 0, from features and gradient (C, h, w)."""
    if rule == "gradcam":
        gradient = gradient.mean((1, 2), keepdim=True)
    elif rule == "layercam":
        gradient = gradient.clamp(min=0)
    return (gradient * features).sum(0).clamp(min=0)


def _spread(cam: Tensor, size: tuple[int, int]) -> Tensor:
    """The map of a level over the canvas; what a cell contributes is shared by its pixels."""
    pixels = size[0] * size[1] / cam.numel()
    grown = functional.interpolate(cam[None, None], size, mode="bilinear", align_corners=False)
    return grown[0, 0] / pixels
