"""Scores of a network while it is trained, by the code that scores model files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import nn

from whatwhere.data import Dataset
from whatwhere.errors import ImageError, TrainError
from whatwhere.images import read_image
from whatwhere.metrics import PRIMARY, score
from whatwhere.runtime.tiling import Preparation, Prepared, Tiles, predict
from whatwhere.specs import ModelSpec
from whatwhere.train.memory import free_memory, is_out_of_memory, smaller
from whatwhere.types import Prediction


class Validation:
    """A validation set, prepared once as prediction would prepare it.

    Args:
        data: pictures with labels.
        spec: of the model in the making.
        limit: bytes of prepared pictures to keep in memory.
        metric: the number that decides which weights are best; the task's own one if "".
    """

    def __init__(self, data: Dataset, spec: ModelSpec, limit: int, metric: str = "") -> None:
        self.data, self._spec, self._metric = data, spec, metric
        self._prepare = Preparation(spec.preprocess)
        self._kept: dict[int, Prepared] = {}
        self._room = limit
        self.unreadable: dict[int, str] = {}
        self.predicted: list[Prediction] = []

    def __len__(self) -> int:
        return len(self.data)

    def part(self, rows: range) -> Validation:
        """Some of the pictures; keeps none in memory."""
        return Validation(self.data.select(rows), self._spec, 0)

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
        """One prediction a picture; one that cannot be read has an empty one.

        Several processes share the pictures out; each gets all predictions.
        """
        mine = range(fabric.global_rank, len(self), fabric.world_size)
        found = dict(self._predicted(net, fabric, mine, batch))
        if fabric.world_size > 1:
            parts: list[Any] = [None] * fabric.world_size
            dist.all_gather_object(parts, (found, self.unreadable))
            for others, unreadable in parts:
                found |= others
                self.unreadable |= unreadable
        return [found.get(i) or self._nothing() for i in range(len(self))]

    def _predicted(
        self, net: nn.Module, fabric: Fabric, rows: range, batch: int
    ) -> Iterator[tuple[int, Prediction]]:
        device = next(net.parameters()).device

        def run(images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
            try:
                with torch.no_grad(), fabric.autocast():
                    outputs = net(torch.from_numpy(images).to(device))
                return {name: value.float().cpu().numpy() for name, value in outputs.items()}
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            free_memory()
            fewer = smaller(len(images), 1)
            parts = [run(images[at : at + fewer]) for at in range(0, len(images), fewer)]
            return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

        for start in range(0, len(rows), batch):
            some = rows[start : start + batch]
            found = [(i, made) for i in some if (made := self.picture(i)) is not None]
            if not found:
                continue
            prepared = [made for _, made in found]
            decoded = predict(run, prepared, self._spec, evaluation=True, at_once=batch)
            yield from zip((i for i, _ in found), decoded, strict=True)

    def score(self, net: nn.Module, fabric: Fabric, batch: int) -> dict[str, float]:
        """The task's numbers, undefined ones left out; `predicted` keeps the predictions.

        Raises:
            TrainError: the metric is not among them, or not even one picture fits in memory.
        """
        found = self._numbers(net, fabric, batch)
        if self._metric and self._metric not in found:
            raise TrainError(
                f"the validation pictures say nothing about {self._metric}: set metric to one of"
                f" {', '.join(found)}"
            )
        return found

    def _numbers(self, net: nn.Module, fabric: Fabric, batch: int) -> dict[str, float]:
        self.predicted = self.predictions(net, fabric, batch)
        numbers: dict[str, Any] = score(self._spec.task, self.data, self.predicted)
        return {
            name: float(value) for name, value in numbers.items() if isinstance(value, int | float)
        }

    @property
    def primary(self) -> str:
        """The number that decides which epoch is best; larger is better."""
        return self._metric or PRIMARY[self._spec.task]

    def _nothing(self) -> Prediction:
        boxes = np.zeros((0, 4), np.float32) if self._spec.task == "detect" else None
        return Prediction(1, 1, boxes=boxes)
