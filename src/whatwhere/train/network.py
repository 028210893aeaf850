"""Which network a task gets, and how its training steps are made."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from whatwhere.train.config import TrainConfig
from whatwhere.train.detection_loss import DetectionLoss
from whatwhere.train.models.classifier import Classifier
from whatwhere.train.models.yolo import Yolo
from whatwhere.train.samples import NO_CLASS, Batch


class Network(Protocol):
    """What the loop needs of a model family beside `nn.Module`."""

    backbone: nn.Module
    source: str
    license: str


def build(config: TrainConfig, classes: int) -> nn.Module:
    """The network of a task, in channels-last memory, which oneDNN and cuDNN prefer.

    Raises:
        TrainError: the backbone is unknown or its weights cannot be had.
    """
    options: dict[str, Any] = {"pretrained": config.pretrained, "freeze": config.freeze}
    torch.manual_seed(config.seed)
    net: nn.Module
    if config.task == "detect":
        net = Yolo(classes, config.backbone, width=config.width_head, **options)
    else:
        size = (config.height, config.width) if config.height else None
        net = Classifier(classes, config.backbone, size=size, **options)
    return net.to(memory_format=torch.channels_last)


def family(config: TrainConfig) -> str:
    """Family and backbone, for `ModelSpec.architecture`."""
    return f"{'yolo' if config.task == 'detect' else 'classifier'}:{config.backbone}"


class Step(nn.Module):
    """The network with its loss: one module, so that all of it runs under Fabric's precision.

    Args:
        net: made by `build`.
        config: for the task and the smoothing.
    """

    def __init__(self, net: nn.Module, config: TrainConfig) -> None:
        super().__init__()
        self.net = net
        self._task, self._smoothing = config.task, config.smoothing
        self._detection = DetectionLoss()

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, a scalar, and its parts for the log."""
        if self._task == "detect":
            assert isinstance(self.net, Yolo)
            assert batch.boxes is not None
            raw = self.net.raw(batch.images)
            with torch.autocast(batch.images.device.type, enabled=False):
                return self._detection(raw, self.net.boxes(raw), batch.boxes)
        logits = self.net(batch.images)["logits"].float()
        if self._task == "classify":
            assert batch.classes is not None
            total = functional.cross_entropy(
                logits,
                batch.classes,
                ignore_index=NO_CLASS,
                reduction="sum",
                label_smoothing=self._smoothing,
            )
            loss = total / (batch.classes != NO_CLASS).sum().clamp(min=1)
        else:
            assert batch.present is not None
            assert batch.known is not None
            each = functional.binary_cross_entropy_with_logits(
                logits, batch.present, reduction="none"
            )
            loss = (each * batch.known).sum() / batch.known.sum().clamp(min=1)
        return loss, {"loss": loss.detach()}


def parameter_groups(net: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """AdamW groups: pretrained body and new layers; no weight decay on norms and biases."""
    body = {id(p) for p in net.backbone.parameters()} if config.pretrained else set()  # type: ignore[union-attr]
    if isinstance(net, Classifier):
        head = net.backbone.get_classifier()  # type: ignore[operator]
        body -= {id(p) for p in head.parameters()}
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for parameter in net.parameters():
        if parameter.requires_grad:
            key = (id(parameter) in body, parameter.ndim > 1)
            groups.setdefault(key, []).append(parameter)
    return [
        {
            "params": parameters,
            "share": config.backbone_rate if in_body else 1.0,
            "weight_decay": config.weight_decay if decays else 0.0,
        }
        for (in_body, decays), parameters in groups.items()
    ]
