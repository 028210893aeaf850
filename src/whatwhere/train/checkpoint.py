"""Saving and restoring a run.

A checkpoint is a safetensors file: tensors under their names, everything else as JSON in
its header. Reading one cannot run code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from whatwhere.errors import TrainError
from whatwhere.images import write_atomic
from whatwhere.train.config import TrainConfig
from whatwhere.train.schedule import Average
from whatwhere.train.state import State

_KEY = "whatwhere"


def save_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write tensors and JSON values; the file appears whole or not at all.

    Raises:
        WhatwhereError: the disk is full or the place cannot be written.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # Not the library's own writer: it hides the system's errors, and its files can be read by
    # their owner alone, whatever the umask says.
    write_atomic(path, save(plain, metadata={_KEY: json.dumps(about)}))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and JSON values of a file written by `save_tensors`.

    Raises:
        TrainError: the file is missing, damaged or not ours.
    """
    if not path.is_file():
        raise TrainError(f"there is no checkpoint {path}: give the folder of a run that was begun")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return tensors, json.loads(metadata[_KEY])
    except (SafetensorError, KeyError, json.JSONDecodeError, OSError) as error:
        raise TrainError(
            f"{path} is damaged or not a Whatwhere checkpoint ({error}): start the run again"
        ) from error


def pack(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names with a prefix, to keep several state dictionaries in one file."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def unpack(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dictionary that was packed under a prefix."""
    start = f"{prefix}."
    return {
        name[len(start) :]: tensor for name, tensor in tensors.items() if name.startswith(start)
    }


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimizer's state as flat names: position of the parameter, then the entry."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": value
        for index, entry in state.items()
        for name, value in entry.items()
        if isinstance(value, Tensor)
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave; groups and rates stay those of `optimizer`."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, _, entry = name.partition(".")
        state.setdefault(int(index), {})[entry] = tensor
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def save_run(
    path: Path,
    net: nn.Module,
    average: Average,
    optimizer: torch.optim.Optimizer,
    fabric: Fabric,
    state: State,
    config: TrainConfig,
) -> None:
    """Write all that a run needs to go on as if it had not stopped.

    Raises:
        WhatwhereError: the disk is full; the checkpoint before stays.
    """
    optimizer = getattr(optimizer, "optimizer", optimizer)
    save_tensors(
        path,
        pack("net", net.state_dict())
        | pack("average", average.net.state_dict())
        | pack("optimizer", optimizer_tensors(optimizer)),
        {
            "state": state.to_dict(),
            "updates": average.updates,
            # The loss scale of float16; empty otherwise.
            "precision": fabric.strategy.precision.state_dict(),
            "config": config.to_dict(),
        },
    )


def load_run(
    path: Path, net: nn.Module, average: Average, optimizer: torch.optim.Optimizer, fabric: Fabric
) -> State:
    """Put back what `save_run` wrote.

    Raises:
        TrainError: the file is damaged or of another network, or its batch cannot be shared out
            to the processes at hand.
    """
    tensors, about = load_tensors(path)
    try:
        net.load_state_dict(unpack("net", tensors))
        average.net.load_state_dict(unpack("average", tensors))
        restore_optimizer(optimizer, unpack("optimizer", tensors))
        average.updates = int(about["updates"])
        fabric.strategy.precision.load_state_dict(about.get("precision", {}))
        state = State.from_dict(about["state"])
    except (RuntimeError, KeyError, TypeError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise TrainError(
            f"{path} belongs to another network or version ({first}): start the run again"
        ) from error
    if state.batch % fabric.world_size:
        raise TrainError(
            f"{path} is of a run with {state.batch} pictures a pass, which cannot be shared out"
            f" to {fabric.world_size} processes: go on with fewer"
        )
    return state
