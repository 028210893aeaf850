"""Several processes that train one network: who speaks, who writes, what they share.

`torchrun` starts them (`python -m torch.distributed.run --nproc-per-node 2 -m whatwhere.cli
train ...`), or the setting `devices` on one machine. A step's pictures are shared out, so the
settings mean the same for any number of processes.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from timm.layers.norm_act import convert_sync_batchnorm
from torch import Tensor, nn

from whatwhere.errors import UsageError, WhatwhereError
from whatwhere.train.config import TrainConfig
from whatwhere.train.models import Network

Made = TypeVar("Made")


def first_process() -> bool:
    """Whether this process is the one that speaks and writes; known before any is launched."""
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "NODE_RANK"))


def count_processes(config: TrainConfig) -> TrainConfig:
    """Settings with the devices and nodes that `torchrun` has started, if it has.

    Raises:
        UsageError: other numbers are asked for, or the batch cannot be shared out.
    """
    if dist.is_available() and dist.is_torchelastic_launched():
        whole, local = int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_WORLD_SIZE"])
        for name, asked, there in (
            ("devices", config.devices, local),
            ("nodes", config.nodes, whole // local),
        ):
            if asked not in (1, there):
                raise UsageError(
                    f"{name} is {asked}, but torchrun has started {there}: leave {name} out, or"
                    " start as many"
                )
        config = replace(config, devices=local, nodes=whole // local)
    processes = config.devices * config.nodes
    if not config.batch and processes > 1:
        raise UsageError(
            f"the largest batch is found by one process, not by {processes}: give a --batch"
        )
    if config.batch % processes:
        fitting = max(1, round(config.batch / processes)) * processes
        raise UsageError(
            f"a batch of {config.batch} cannot be shared out to {processes} processes: use"
            f" --batch {fitting}"
        )
    if config.device == "cuda" and torch.cuda.device_count() < config.devices:
        raise UsageError(
            f"devices is {config.devices}, but this machine has {torch.cuda.device_count()}"
            " CUDA devices: ask for as many"
        )
    return config


def make_fabric(config: TrainConfig) -> Fabric:
    """Devices and precision, ready to use; with several devices, other processes are started.

    Raises:
        UsageError: see `count_processes`.
    """
    config = count_processes(config)
    processes = config.devices * config.nodes
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("lightning_fabric").setLevel(logging.ERROR)
        fabric = Fabric(
            accelerator="gpu" if config.device == "cuda" else "cpu",
            devices=config.devices,
            num_nodes=config.nodes,
            strategy="ddp" if processes > 1 else "auto",
            precision=config.precision,  # type: ignore[arg-type]
        )
        fabric.launch()
    return fabric


def from_first(fabric: Fabric, make: Callable[[], Made]) -> Made:
    """What the first process makes, in every process; an error of it is raised in all."""
    if fabric.world_size == 1:
        return make()
    outcome: Made | WhatwhereError | None = None
    if fabric.is_global_zero:
        try:
            outcome = make()
        except WhatwhereError as error:
            outcome = error
    outcome = fabric.broadcast(outcome)
    if isinstance(outcome, WhatwhereError):
        raise outcome
    return outcome  # type: ignore[return-value]


def share_norms(net: Network, fabric: Fabric) -> Network:
    """Let the trained batch norms see the pictures of all processes; changes `net`.

    Norms without a trained parameter stand still and stay as they are.
    """
    if fabric.world_size == 1:
        return net
    for name, module in list(net.named_modules()):
        trained = any(parameter.requires_grad for parameter in module.parameters(recurse=False))
        if isinstance(module, nn.BatchNorm2d) and trained:
            cuda = fabric.device.type == "cuda"
            shared = _gpu_norm(module) if cuda else _SharedNorm.of(module)
            parent, _, child = name.rpartition(".")
            setattr(net.get_submodule(parent), child, shared)
    return net


def _gpu_norm(norm: nn.BatchNorm2d) -> nn.Module:
    made: nn.Module = convert_sync_batchnorm(norm)  # type: ignore[no-untyped-call]
    return made


class _SharedNorm(nn.BatchNorm2d):
    """A batch norm over the pictures of all processes; torch has one for GPUs alone."""

    @classmethod
    def of(cls, norm: nn.BatchNorm2d) -> _SharedNorm:
        """The same norm, with the same tensors."""
        made = cls(norm.num_features, norm.eps, norm.momentum, norm.affine)
        made.__dict__ = norm.__dict__
        return made

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self._normalised(x) if self.training else super().forward(x)
        # timm's norms may have these inside.
        for name in ("drop", "act"):
            y = getattr(self, name, nn.Identity())(y)
        return y

    def _normalised(self, x: Tensor) -> Tensor:
        processes = dist.get_world_size()
        # All processes have equally many pictures, so means of means are means.
        mean = _sum(x.float().mean((0, 2, 3))) / processes
        apart = x.float() - mean[:, None, None]
        variance = _sum(apart.square().mean((0, 2, 3))) / processes
        with torch.no_grad():
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            self.num_batches_tracked += 1
            count = x.numel() / x.shape[1] * processes
            share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean, share)
            self.running_var.lerp_(variance * (count / max(1.0, count - 1)), share)
        scaled = apart * torch.rsqrt(variance + self.eps)[:, None, None]
        scaled = scaled * self.weight[:, None, None] + self.bias[:, None, None]
        return scaled.to(x.dtype)


class _Sum(torch.autograd.Function):
    """The sum over all processes; so is its gradient, as each of them uses it."""

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        whole = x.detach().clone()
        dist.all_reduce(whole)
        return whole

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        whole = gradients[0].contiguous().clone()
        dist.all_reduce(whole)
        return whole


def _sum(x: Tensor) -> Tensor:
    summed: Tensor = _Sum.apply(x)
    return summed
