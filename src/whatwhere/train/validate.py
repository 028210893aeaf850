"""Scores of a network while it is trained, by the code that scores model files."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn

from whatwhere.data import Dataset
from whatwhere.errors import ImageError
from whatwhere.images import read_image
from whatwhere.metrics import PRIMARY, score
from whatwhere.runtime.decode import decode
from whatwhere.specs import ModelSpec
from whatwhere.transforms import Geometry
from whatwhere.types import Image, Prediction


class Validation:
    """A validation set, prepared once as prediction would prepare it.

    Args:
        data: pictures with labels.
        spec: of the model in the making.
        limit: bytes of prepared pictures to keep in memory.
    """

    def __init__(self, data: Dataset, spec: ModelSpec, limit: int) -> None:
        self.data, self._spec = data, spec
        self._prepare = spec.preprocess.build()
        self._kept: dict[int, tuple[Image, Geometry]] = {}
        self._room = limit
        self.unreadable: dict[int, str] = {}
        self.predicted: list[Prediction] = []

    def __len__(self) -> int:
        return len(self.data)

    def picture(self, i: int) -> tuple[Image, Geometry] | None:
        """The model's input for picture `i` and its geometry; None if it cannot be read."""
        if i in self._kept:
            return self._kept[i]
        try:
            made = self._prepare(read_image(self.data.paths[i]))
        except ImageError as error:
            self.unreadable[i] = str(error)
            return None
        if self._room >= made[0].nbytes:
            self._room -= made[0].nbytes
            self._kept[i] = made
        return made

    def predictions(self, net: nn.Module, fabric: Fabric, batch: int) -> list[Prediction]:
        """One prediction a picture; one that cannot be read has an empty one."""
        answers = [Prediction(1, 1, boxes=self._no_boxes()) for _ in range(len(self))]
        device = next(net.parameters()).device
        for start in range(0, len(self), batch):
            rows = range(start, min(start + batch, len(self)))
            found = [(i, made) for i in rows if (made := self.picture(i)) is not None]
            if not found:
                continue
            images = torch.from_numpy(np.stack([made[0] for _, made in found])).to(device)
            with torch.no_grad(), fabric.autocast():
                outputs = net(images)
            arrays = {name: value.float().cpu().numpy() for name, value in outputs.items()}
            geometries = [made[1] for _, made in found]
            decoded = decode(arrays, geometries, self._spec, evaluation=True)
            for (i, _), prediction in zip(found, decoded, strict=True):
                answers[i] = prediction
        return answers

    def score(self, net: nn.Module, fabric: Fabric, batch: int) -> dict[str, float]:
        """The task's numbers, undefined ones left out; `predicted` keeps the predictions."""
        self.predicted = self.predictions(net, fabric, batch)
        numbers: dict[str, Any] = score(self._spec.task, self.data, self.predicted)
        return {
            name: float(value) for name, value in numbers.items() if isinstance(value, int | float)
        }

    @property
    def primary(self) -> str:
        """The number that decides which epoch is best."""
        return PRIMARY[self._spec.task]

    def _no_boxes(self) -> Any:
        return np.zeros((0, 4), np.float32) if self._spec.task == "detect" else None
