"""Weights to start from: of an earlier run, of a file, of timm or torchvision.

Names are the contract. A tensor is carried over under its own name; a row of a head that
answers for a class goes where the class of that name is now.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from whatwhere.errors import ModelError, TrainError, UsageError
from whatwhere.runtime import read_spec
from whatwhere.train.config import TrainConfig
from whatwhere.train.models import Network, find_model
from whatwhere.train.models.backbone import given_weights

_SHIPPED = {"imagenet-lite0": "tf_efficientnet_lite0"}
_TORCHVISION = "torchvision:"
_HUB = "hf:"
_WEIGHTS, _MODEL, _CONFIG = "model.safetensors", "model.onnx", "config.json"
_SHOWN = 4


@dataclass(frozen=True, slots=True)
class Weights:
    """What a start holds.

    Args:
        title: where it comes from, for people.
        tensors: by their names.
        names: of the classes, () if the file does not say.
        settings: of the run that they are from, None if unknown.
        license: SPDX expression, "" if unknown.
    """

    title: str
    tensors: Mapping[str, Tensor]
    names: tuple[str, ...] = ()
    settings: Mapping[str, Any] | None = None
    license: str = ""

    @property
    def whole(self) -> bool:
        """Whether it is a network of ours, not a backbone alone."""
        return any(name.startswith("backbone.") for name in self.tensors)


def settle_start(config: TrainConfig) -> TrainConfig:
    """The settings that a start decides: the backbone, and whether its norms are folded.

    Raises:
        UsageError: there is no such start, or it contradicts the settings.
        TrainError: it cannot be read, or is of another model or backbone.
    """
    start = config.start
    if start in _SHIPPED or (start and _is_name(start) and timm.is_model(start)):
        return replace(config, backbone=_SHIPPED.get(start, start), pretrained=True)
    if not _is_path(start):
        return config
    weights = read_weights(start)
    if not weights.whole:
        return replace(config, pretrained=True)
    before = weights.settings
    if before is not None:
        different = [
            f"{key} is {before[key]} there and {getattr(config, key)} here"
            for key in ("model", "backbone", "width_head")
            if key in before and before[key] != getattr(config, key)
        ]
        if different:
            raise TrainError(
                f"the weights of {start} are of another network: {'; '.join(different)}: set these"
                " as they are there, or start from something else"
            )
        return replace(config, pretrained=before["pretrained"], freeze=before["freeze"])
    # A folded norm leaves a scale and a shift in its place.
    folded = any(name.endswith(".shift") for name in weights.tensors)
    return replace(config, pretrained=folded, freeze=folded or config.freeze)


def new_head(config: TrainConfig) -> bool:
    """Whether a body comes with weights and the last layer with none.

    Args:
        config: settings, after `settle_start`.
    """
    if _is_path(config.start):
        return not read_weights(config.start).whole
    return config.pretrained


@contextmanager
def starting_body(config: TrainConfig, weights: bool) -> Iterator[None]:
    """Within, backbones get the weights of the start, or none where others will be put in.

    Args:
        config: settings, after `settle_start`.
        weights: False where only the network's form matters.
    """
    if weights and not _is_path(config.start):
        yield
        return
    found = read_weights(config.start) if weights else None
    with given_weights({} if found is None or found.whole else found.tensors):
        yield


def load_start(net: Network, config: TrainConfig, names: tuple[str, ...]) -> list[str]:
    """Put the weights of a start into a new network; what was carried over, and what was not.

    Args:
        net: made within `starting_body`.
        config: settings, after `settle_start`.
        names: of the classes.

    Raises:
        TrainError: the weights are of another network; the differences are listed.
        UsageError: the network's family takes no such weights.
    """
    start = config.start
    if start.startswith(_TORCHVISION):
        load = getattr(net, "load_torchvision", None)
        if load is None:
            raise UsageError(
                f"{config.model} does not start from torchvision's weights: choose one of"
                " torchvision's families as --model, or another --start"
            )
        return [str(load(start))]
    if start.startswith(_HUB) or (Path(start).is_dir() and not _is_path(start)):
        carried = getattr(net, "carried", "")
        if not carried:
            raise UsageError(
                f"{start} is a checkpoint of transformers, from which {config.model} does not"
                " start: use --model rtdetr or dfine, or another --start"
            )
        return [str(carried)]
    if not _is_path(start):
        return []
    weights = read_weights(start)
    net.source, net.license = weights.title, weights.license
    if not weights.whole:
        return [f"from {weights.title}: the whole body; all else is new"]
    return _carry(net, weights, config, names)


def _carry(
    net: Network, weights: Weights, config: TrainConfig, names: tuple[str, ...]
) -> list[str]:
    own, given = net.state_dict(), weights.tensors
    rows = _class_rows(net, config, names)
    before = weights.names or names
    pairs = [(i, before.index(name)) for i, name in enumerate(names) if name in before]
    different = [f"no {name}" for name in own if name not in given and name not in rows]
    new: list[str] = []
    for name, tensor in own.items():
        theirs = given.get(name)
        if theirs is None:
            continue
        if name not in rows or before == names:
            if theirs.shape == tensor.shape:
                tensor.copy_(theirs)
            elif name not in rows:
                different.append(f"{name} is {_size(theirs)} there and {_size(tensor)} here")
            else:
                new.append(name)
        elif rows[name] and theirs.shape == (len(before), *tensor.shape[1:]):
            for i, j in pairs:
                tensor[i] = theirs[j]
        else:
            # How classes lie in it is the family's affair.
            new.append(name)
    if different:
        more = f" and {len(different) - _SHOWN} more" if len(different) > _SHOWN else ""
        raise TrainError(
            f"the weights of {config.start} are of another network: {', '.join(different[:_SHOWN])}"
            f"{more}: use the settings that they were trained with, or start from something else"
        )
    kept = [names[i] for i, _ in pairs]
    fresh = [name for name in names if name not in before]
    text = f"from {weights.title}: {len(own) - len(new)} of {len(own)} tensors"
    if before != names and not new:
        text += f"; classes carried over: {_list(kept)}; new: {_list(fresh)}"
    notes = [text]
    if new:
        notes.append(f"these begin anew, since the classes are others: {_list(new)}")
    if unused := [name for name in given if name not in own]:
        notes.append(f"not used of {weights.title}: {_list(unused)}")
    return notes


def _class_rows(net: Network, config: TrainConfig, names: tuple[str, ...]) -> dict[str, bool]:
    """Tensors whose form depends on the classes; True where each row is one class.

    Found by making the network for one class more.
    """
    state = torch.get_rng_state()
    with given_weights({}):
        family, _ = find_model(config.model)
        larger = family.build(config, (*names, "\0")).state_dict()
    torch.set_rng_state(state)
    rows = {}
    for name, tensor in net.state_dict().items():
        other = larger[name].shape
        if other != tensor.shape:
            expected = (len(names) + 1, *tensor.shape[1:])
            rows[name] = other == expected and len(tensor) == len(names)
    return rows


def read_weights(start: str) -> Weights:
    """The weights in a run's folder, or in a .safetensors, .pt or .pth file.

    Raises:
        TrainError: there are none, or they cannot be read without running code.
    """
    path = Path(start)
    file = path / _WEIGHTS if path.is_dir() else path
    if not file.is_file():
        raise TrainError(
            f"{start} has no weights to start from: give the folder of a run, a .safetensors file,"
            f" or a name such as {', '.join(_SHIPPED)}"
        )
    try:
        if file.suffix in (".pt", ".pth"):
            values = torch.load(file, map_location="cpu", weights_only=True)
            for key in ("state_dict", "model"):
                if isinstance(values.get(key), dict):
                    values = values[key]
            tensors = {name: x for name, x in values.items() if isinstance(x, Tensor)}
        else:
            tensors = load_file(file)
    except UnpicklingError as error:
        raise TrainError(
            f"{file} holds more than weights, and reading it would run its code: save its"
            " state_dict as .safetensors"
        ) from error
    except (SafetensorError, OSError, RuntimeError, EOFError, AttributeError) as error:
        raise TrainError(
            f"{file} is damaged or holds no weights ({type(error).__name__}): give another --start"
        ) from error
    if not tensors:
        raise TrainError(f"{file} holds no weights: give another --start")
    settings: dict[str, Any] | None = None
    names: tuple[str, ...] = ()
    licence = ""
    beside = file.parent / _CONFIG
    if file.name == _WEIGHTS and beside.is_file():
        try:
            settings = json.loads(beside.read_text(encoding="utf-8"))
            names = tuple(settings["names"])
        except (ValueError, KeyError, TypeError) as error:
            raise TrainError(f"{beside} is damaged ({error}): give another --start") from error
    if file.name == _WEIGHTS and (file.parent / _MODEL).is_file():
        try:
            licence = read_spec(file.parent / _MODEL).license
        except ModelError:
            licence = "unknown"
    return Weights(f"the weights of {path.name}", tensors, names, settings, licence or "unknown")


def _is_name(start: str) -> bool:
    return not Path(start).exists() and Path(start).suffix not in (".safetensors", ".pt", ".pth")


def _is_path(start: str) -> bool:
    """Whether a start is of weights in files of ours or of timm.

    Names are others' affair, and so are the folders in which transformers keeps checkpoints.
    """
    if not start or start.startswith((_TORCHVISION, _HUB)) or start in _SHIPPED:
        return False
    path = Path(start)
    if path.is_dir() and not (path / _WEIGHTS).is_file():
        return True
    if path.is_dir() and (path / _CONFIG).is_file():
        return "model_type" not in (path / _CONFIG).read_text(encoding="utf-8", errors="replace")
    return not (_is_name(start) and timm.is_model(start))


def _size(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"


def _list(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (", ".join(names[:_SHOWN]) or "none") + more
