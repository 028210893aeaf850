"""All settings of a training run: one frozen record, written to `config.json`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

from whatwhere.errors import UsageError
from whatwhere.types import TASKS, Task

DEFAULT_BUDGET = "10m"


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Settings of a run; each can be given as `--set name=value`.

    Args:
        task: what is trained: "classify", "multilabel" or "detect".
        backbone: timm name.
        pretrained: start from ImageNet weights.
        freeze: freeze the early layers and all batch norms of a pretrained backbone.
        height, width: model input in pixels; 0 to choose from the data.
        size: longer side in pixels when height and width are 0; 0 for the task's default.
        width_head: channels of a detector's pyramid and head.
        epochs: passes over the data; 0 to plan them from `budget`.
        budget: wall-clock seconds for everything, reading and export included; 0 for none.
        batch: pictures a step.
        rate: peak learning rate of new layers.
        backbone_rate: of the pretrained backbone, as a share of `rate`.
        weight_decay: of AdamW, on convolution and linear weights only.
        warmup: share of all steps in which the rate rises; in short runs 50 steps, up to 0.3
            of all. 0 for none.
        smoothing: label smoothing of "classify".
        clip: largest norm of the gradient.
        mosaic: chance that a detector's sample is made of four pictures.
        mosaic_until: share of training after which mosaics stop.
        flip, vertical_flip: chance of mirroring.
        zoom: largest enlargement in augmentation; its inverse is the smallest.
        colour: strength of brightness, contrast and saturation changes, 0..1.
        validation: share of the training pictures held out if the data has no such split.
        seed: of every random choice.
        precision: "auto", "32-true" or "bf16-mixed".
        device: "auto", "cpu" or "cuda".
        workers: threads that read and augment.
        cache: megabytes of decoded training pictures kept in memory.
    """

    task: Task = "classify"
    backbone: str = "tf_efficientnet_lite0"
    pretrained: bool = True
    freeze: bool = True
    height: int = 0
    width: int = 0
    size: int = 0
    width_head: int = 96
    epochs: int = 0
    budget: float = 0.0
    batch: int = 16
    rate: float = 2e-3
    backbone_rate: float = 0.25
    weight_decay: float = 0.02
    warmup: float = 0.05
    smoothing: float = 0.05
    clip: float = 10.0
    mosaic: float = 0.5
    mosaic_until: float = 0.8
    flip: float = 0.5
    vertical_flip: float = 0.0
    zoom: float = 1.5
    colour: float = 0.4
    validation: float = 0.1
    seed: int = 0
    precision: str = "auto"
    device: str = "auto"
    workers: int = 2
    cache: int = 4096

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise UsageError(f"unknown task {self.task!r}: use one of {', '.join(TASKS)}")
        for name, value in asdict(self).items():
            if isinstance(value, float) and not math.isfinite(value):
                raise UsageError(f"{name} must be a finite number, not {value}")
        for name in ("batch", "workers", "width_head"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, not {getattr(self, name)}")
        whole = ("height", "width", "size", "epochs", "budget", "cache", "seed")
        for name in (*whole, "backbone_rate", "weight_decay"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} must not be negative, but is {getattr(self, name)}")
        for name in ("mosaic", "mosaic_until", "flip", "vertical_flip", "colour", "smoothing"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} must be in 0..1, not {getattr(self, name)}")
        if not 0 < self.validation < 1:
            raise UsageError(f"validation must be between 0 and 1, not {self.validation}")
        if not 1 <= self.zoom <= 10:
            raise UsageError(f"zoom must be in 1..10, not {self.zoom}")
        if not 0 <= self.warmup < 1:
            raise UsageError(f"warmup must be at least 0 and below 1, not {self.warmup}")
        for name in ("rate", "clip"):
            if getattr(self, name) <= 0:
                raise UsageError(f"{name} must be above 0, not {getattr(self, name)}")
        if self.seed >= 2**32:
            raise UsageError(f"seed must be below 2**32, not {self.seed}")
        if self.epochs and self.budget:
            raise UsageError("give either epochs or a budget, not both: each decides the length")
        if bool(self.height) != bool(self.width):
            raise UsageError("give both height and width, or neither and a size")
        for name in ("height", "width", "size"):
            if 0 < getattr(self, name) < 32:
                raise UsageError(f"{name} must be at least 32, not {getattr(self, name)}")
        if self.precision not in ("auto", "32-true", "bf16-mixed"):
            raise UsageError(
                f"unknown precision {self.precision!r}: use auto, 32-true or bf16-mixed"
            )
        if self.device not in ("auto", "cpu", "cuda"):
            raise UsageError(f"unknown device {self.device!r}: use auto, cpu or cuda")
        if self.task == "detect":
            for name in ("height", "width", "size"):
                value = getattr(self, name)
                if value % 32:
                    raise UsageError(
                        f"{name} must be a multiple of 32 for a detector, not {value}:"
                        f" use {max(32, round(value / 32) * 32)}"
                    )

    @classmethod
    def for_task(cls, task: Task) -> Self:
        """The recipe of a task."""
        if task == "detect":
            return cls(task=task)
        return cls(task=task, batch=64, rate=3e-3, backbone_rate=0.3, colour=0.3, zoom=1.6)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for `config.json`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The settings in a `config.json`; other keys of that file are passed over."""
        names = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in names})

    def with_settings(self, settings: Mapping[str, str]) -> Self:
        """Settings changed from text, as given by `--set`.

        Raises:
            UsageError: a name is unknown or a value is not of its kind.
        """
        kinds = {field.name: type(getattr(self, field.name)) for field in fields(self)}
        values: dict[str, Any] = {}
        for name, text in settings.items():
            if name not in kinds:
                raise UsageError(f"unknown setting {name!r}: use one of {', '.join(sorted(kinds))}")
            values[name] = _parse(name, text, kinds[name])
        return replace(self, **values)


def _parse(name: str, text: str, kind: type) -> Any:
    if name == "budget":
        return parse_budget(text)
    try:
        if kind is bool:
            return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
        return kind(text)
    except (ValueError, KeyError):
        words = {bool: "true or false", int: "a whole number", float: "a number"}
        raise UsageError(f"{name} must be {words.get(kind, 'text')}, not {text!r}") from None


def parse_budget(text: str | float) -> float:
    """Seconds of a wall-clock time such as "90s", "10m", "1.5h" or a number of seconds.

    Raises:
        UsageError: it is not such a time, or not above 0.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|m|h|)\s*", str(text).lower())
    if match is None or float(match[1]) == 0:
        raise UsageError(f"budget must be a time such as 90s, 10m or 2h, not {text!r}")
    return float(match[1]) * {"s": 1, "": 1, "m": 60, "h": 3600}[match[2]]
