"""Scores of a network while it is trained, by the code that scores model files."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import nn

from whatwhere.data import Dataset
from whatwhere.errors import ImageError
from whatwhere.images import read_image
from whatwhere.metrics import PRIMARY, score
from whatwhere.runtime.tiling import Preparation, Prepared, Tiles, predict
from whatwhere.specs import ModelSpec
from whatwhere.types import Prediction


class Validation:
    """A validation set, prepared once as prediction would prepare it.

    Args:
        data: pictures with labels.
        spec: of the model in the making.
        limit: bytes of prepared pictures to keep in memory.
    """

    def __init__(self, data: Dataset, spec: ModelSpec, limit: int) -> None:
        self.data, self._spec = data, spec
        self._prepare = Preparation(spec.preprocess)
        self._kept: dict[int, Prepared] = {}
        self._room = limit
        self.unreadable: dict[int, str] = {}
        self.predicted: list[Prediction] = []

    def __len__(self) -> int:
        return len(self.data)

    def picture(self, i: int) -> Prepared | None:
        """Picture `i` for the model, as prediction prepares it; None if it cannot be read."""
        if i in self._kept:
            return self._kept[i]
        try:
            made = self._prepare(read_image(self.data.paths[i]))
        except ImageError as error:
            self.unreadable[i] = str(error)
            return None
        size = made.nbytes if isinstance(made, Tiles) else made[0].nbytes
        if self._room >= size:
            self._room -= size
            self._kept[i] = made
        return made

    def predictions(self, net: nn.Module, fabric: Fabric, batch: int) -> list[Prediction]:
        """One prediction a picture; one that cannot be read has an empty one."""
        answers = [Prediction(1, 1, boxes=self._no_boxes()) for _ in range(len(self))]
        device = next(net.parameters()).device

        def run(images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
            with torch.no_grad(), fabric.autocast():
                outputs = net(torch.from_numpy(images).to(device))
            return {name: value.float().cpu().numpy() for name, value in outputs.items()}

        for start in range(0, len(self), batch):
            rows = range(start, min(start + batch, len(self)))
            found = [(i, made) for i in rows if (made := self.picture(i)) is not None]
            if not found:
                continue
            prepared = [made for _, made in found]
            decoded = predict(run, prepared, self._spec, evaluation=True, at_once=batch)
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
