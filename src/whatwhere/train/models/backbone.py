"""Backbones from timm, prepared for fine-tuning.

Three things happen to a pretrained backbone, found by running it once on a dummy picture,
so that they hold for any architecture:

- layers before the first feature map of stride 8 are frozen if asked: edges and colours
  hardly change in fine-tuning, and their backward pass is the dearest of all;
- batch norms are frozen and folded into the convolutions before them if asked: with small
  batches the pretrained statistics are the better ones, and a pass over memory is saved;
- depthwise convolutions get a quick backward pass (`depthwise.py`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np
import timm
import torch
from timm.layers.padding import pad_same
from torch import Tensor, nn
from torch.nn import functional

from whatwhere.errors import TrainError
from whatwhere.train.depthwise import depthwise_conv, sides

DEFAULT_BACKBONE = "tf_efficientnet_lite0"
LEVELS = (8, 16, 32)
"""Strides of the feature levels that a detector uses."""
# Its ImageNet weights come with the base install; see `runtime.shipped`.
_INSTALLED = {"tf_efficientnet_lite0": "imagenet-lite0"}


_GIVEN: ContextVar[Mapping[str, Tensor] | None] = ContextVar("given", default=None)


@contextmanager
def given_weights(tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """Pretrained backbones that are made within take these tensors, and look for no others.

    Args:
        tensors: of a timm network of the same architecture, under timm's names; empty where
            all weights will be put in later, and only the form matters.
    """
    token = _GIVEN.set(tensors)
    try:
        yield
    finally:
        _GIVEN.reset(token)


@dataclass(frozen=True, slots=True)
class Backbone:
    """A network and how pictures must be scaled for it.

    Args:
        net: the module; features (N, C, H, W) by level, or logits (N, classes).
        mean, std: of each channel, for values in 0..1.
        channels, strides: of each feature level; empty for a classifier.
        source: where its weights come from.
        license: SPDX expression of those weights, "" if random.
        probe: (height, width) of a dummy picture that the network can be run on.
        classes: how many classes its weights were trained for.
    """

    net: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]
    channels: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    source: str = "random"
    license: str = ""
    probe: tuple[int, int] = (64, 64)
    classes: int = 0


def create_backbone(
    name: str,
    *,
    pretrained: bool = True,
    levels: tuple[int, ...] = (),
    size: tuple[int, int] | None = None,
    **options: Any,
) -> Backbone:
    """A timm network by name.

    Args:
        name: such as "tf_efficientnet_lite0" or "resnet50.a1_in1k".
        pretrained: ImageNet weights, from an installed package or timm's hub.
        levels: strides of the feature levels to give; without any, a classifier is made.
        size: (height, width) of the input, for networks that are built for one size.
        options: for `timm.create_model`, such as `num_classes`.

    Raises:
        TrainError: the name is unknown, its weights cannot be had, or it has no such levels.
    """
    given = _GIVEN.get() if pretrained else None
    installed = _INSTALLED.get(name) if pretrained else None
    if not timm.is_model(name):
        near = timm.list_models(f"*{name.split('.')[0][:8]}*")[:5] or [DEFAULT_BACKBONE, "resnet18"]
        raise TrainError(f"unknown backbone {name!r}: did you mean {', '.join(near)}?")
    if levels:
        options |= {"features_only": True, "out_indices": _level_indices(name, levels)}
    probe = (64, 64)
    try:
        if size is not None and _fixed_size(name):
            options["img_size"] = probe = size
        if given:
            options["pretrained_cfg_overlay"] = {"state_dict": dict(given)}
        wanted = pretrained and (bool(given) if given is not None else installed is None)
        net = timm.create_model(name, pretrained=wanted, **options)
    except Exception as error:  # the hub client has many kinds of errors
        if given:
            first = str(error).strip().splitlines()[-1].strip()
            raise TrainError(
                f"the weights to start from are of another network than {name} ({first}): give the"
                " --backbone that they belong to"
            ) from error
        raise TrainError(
            f"the weights of {name} could not be loaded ({type(error).__name__}: {error}): check"
            f" the network, use --backbone {DEFAULT_BACKBONE}, or --set pretrained=false"
        ) from error
    config: Any = net.pretrained_cfg
    if levels:
        _drop_unused(net)
    source, licence = "random", ""
    if given:
        _check_given(net, given, name)
    if installed is not None:
        if given is None:
            _load_installed(net, installed)
        source, licence = f"ImageNet weights of {installed}", "Apache-2.0"
    elif pretrained:
        source, licence = f"timm {name}", str(config.get("license") or "unknown")
    info: Any = net.feature_info if levels else None
    return Backbone(
        net,
        tuple(config["mean"]),
        tuple(config["std"]),
        tuple(info.channels()) if info else (),
        tuple(info.reduction()) if info else (),
        source,
        licence,
        probe,
        int(config.get("num_classes") or 0),
    )


def _fixed_size(name: str) -> bool:
    """Whether a network is built for one size of input, as most transformers are."""
    config: Any = timm.get_pretrained_cfg(name)
    return bool(config is not None and config.fixed_input_size)


def _level_indices(name: str, levels: tuple[int, ...]) -> tuple[int, ...]:
    """Which of a network's feature levels have these strides."""
    try:
        # Without memory for weights: only its description is wanted.
        with torch.device("meta"):
            info: Any = timm.create_model(name, features_only=True).feature_info
        strides = list(info.reduction())
        # The last level of a stride has seen most.
        return tuple(len(strides) - 1 - strides[::-1].index(level) for level in levels)
    except Exception as error:  # each architecture fails in its own way
        wanted = ", ".join(map(str, levels))
        raise TrainError(
            f"the backbone {name!r} does not give feature maps of strides {wanted}, which a"
            f" detector needs: use --backbone {DEFAULT_BACKBONE} or another convolutional network"
        ) from error


def _drop_unused(net: nn.Module) -> None:
    """Remove stages behind the last wanted level, which timm's EfficientNets keep and run."""
    used = getattr(net, "_stage_out_idx", None)
    if isinstance(used, dict) and isinstance(net.blocks, nn.Sequential):
        del net.blocks[max(used) :]


def _check_given(net: nn.Module, given: Mapping[str, Tensor], name: str) -> None:
    """Refuse weights of which a network has taken little; timm passes over what does not fit.

    Tensors are recognised by shape and content, since timm renames some where it takes them.
    """
    known = {_print_of(x) for x in given.values()}
    config: Any = net.pretrained_cfg
    # The last layer is for other classes.
    head = str(config.get("classifier"))
    own = {
        key: x
        for key, x in net.state_dict().items()
        if x.ndim > 1 and not key.startswith(f"{head}.")
    }
    strange = [key for key, x in own.items() if _print_of(x) not in known]
    if strange:
        shown = ", ".join(f"{key} {tuple(own[key].shape)}" for key in strange[:3])
        raise TrainError(
            f"the weights to start from are of another network than {name}: {len(strange)} of"
            f" {len(own)} tensors are not in the file ({shown}): give the --backbone that they"
            " belong to"
        )


def _print_of(x: Tensor) -> tuple[tuple[int, ...], float]:
    return tuple(x.shape), float(x.double().sum())


def _load_installed(net: nn.Module, shipped: str) -> None:
    """Copy the weights of a shipped classifier; layers of another shape keep their start."""
    import onnx
    from onnx import numpy_helper

    from whatwhere.runtime.shipped import model_bytes

    graph = onnx.load_from_string(model_bytes(shipped)).graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    # The file stores convolutions in another order of axes; a Transpose node restores it.
    for node in graph.node:
        if node.op_type == "Transpose" and node.input[0] in arrays:
            arrays[node.output[0]] = arrays[node.input[0]].transpose(node.attribute[0].ints)
    state = net.state_dict()
    for name, tensor in state.items():
        array = arrays.get(name)
        if array is not None and array.shape == tuple(tensor.shape):
            state[name] = torch.from_numpy(np.array(array))
    missing = [name for name in state if name not in arrays and "num_batches_tracked" not in name]
    body = [name for name in missing if not name.startswith("classifier")]
    if body:
        raise TrainError(
            f"the weights of {shipped} do not fit the installed timm (no {body[0]}): update timm"
        )
    net.load_state_dict(state)


@dataclass(slots=True)
class _Seen:
    name: str
    module: nn.Module
    reduction: float
    follows: str | None


def _run(net: nn.Module, size: tuple[int, int]) -> list[_Seen]:
    """The leaf modules in the order in which they run, with the convolution each one follows."""
    seen: list[_Seen] = []
    # Tensors are kept alive while the hooks run, so that ids stay unique.
    producers: dict[int, tuple[str, Tensor]] = {}
    names = {module: name for name, module in net.named_modules()}

    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        if not isinstance(output, Tensor):
            return
        source = producers.get(id(inputs[0])) if inputs else None
        reduction = size[1] / output.shape[-1] if output.ndim == 4 else float("inf")
        seen.append(_Seen(names[module], module, reduction, source[0] if source else None))
        producers[id(output)] = (names[module], output)

    leaves = [
        module
        for module in net.modules()
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d) or not list(module.children())
    ]
    handles = [module.register_forward_hook(hook) for module in leaves]
    training = net.training
    net.eval()
    try:
        with torch.no_grad():
            net(torch.zeros(1, 3, *size))
    finally:
        for handle in handles:
            handle.remove()
        net.train(training)
    return seen


def freeze_early(net: nn.Module, max_stride: int = 4, *, probe: tuple[int, int] = (64, 64)) -> None:
    """Stop training of all layers that run before the first feature map beyond `max_stride`.

    Args:
        net: from timm.
        max_stride: input pixels per step of a feature map.
        probe: (height, width) of a dummy picture to run it on.
    """
    for step in _run(net, probe):
        if step.reduction > max_stride:
            return
        step.module.requires_grad_(False)


class ConvScale(nn.Module):
    """A convolution with the frozen batch norm after it folded in.

    The trained parameter stays the convolution's own weight; the batch norm's scale and
    shift are constants, so training is the same as with the batch norm in evaluation mode.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        assert norm.running_var is not None
        assert norm.running_mean is not None
        self.weight = conv.weight
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        bias = 0.0 if conv.bias is None else conv.bias
        self.register_buffer("scale", scale.detach().clone())
        self.register_buffer(
            "shift", (norm.bias + (bias - norm.running_mean) * scale).detach().clone()
        )
        self.stride, self.groups = conv.stride, conv.groups
        self.dilation = conv.dilation
        # timm's Conv2dSame pads as TensorFlow does, by the size of its input.
        self.same = type(conv).__name__ == "Conv2dSame" or conv.padding == "same"
        self.padding = (0, 0) if self.same else conv.padding

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight * self.scale[:, None, None, None]
        kernel: Any = weight.shape[-2:]
        if self.groups == weight.shape[0] and weight.shape[1] == 1 and self.dilation == (1, 1):
            size: Any = x.shape[-2:]
            padding = sides("same" if self.same else self.padding, size, kernel, self.stride)  # type: ignore[arg-type]
            return depthwise_conv(x, weight, self.stride, padding, self.shift)  # type: ignore[arg-type]
        if self.same:
            x = pad_same(x, list(kernel), list(self.stride), list(self.dilation))
        return functional.conv2d(
            x, weight, self.shift, self.stride, self.padding, self.dilation, self.groups
        )


def fold_norms(net: nn.Module, *, probe: tuple[int, int] = (64, 64)) -> int:
    """Freeze every batch norm and fold those that directly follow a convolution.

    Args:
        net: from timm; changed in place.
        probe: (height, width) of a dummy picture to run it on.

    Returns:
        How many were folded; the others stay, in evaluation mode for good.
    """
    modules = dict(net.named_modules())
    folded = 0
    for step in _run(net, probe):
        norm = step.module
        conv = modules.get(step.follows or "")
        if not isinstance(norm, nn.BatchNorm2d) or not isinstance(conv, nn.Conv2d):
            continue
        _set(net, step.follows or "", ConvScale(conv, norm))
        # timm's BatchNormAct2d is a batch norm with its activation inside.
        rest = [(key, child) for key, child in norm.named_children()]
        rest = [(key, child) for key, child in rest if not isinstance(child, nn.Identity)]
        _set(net, step.name, nn.Sequential(OrderedDict(rest)) if rest else nn.Identity())
        folded += 1
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.requires_grad_(False)
    return folded


def keep_frozen(net: nn.Module) -> None:
    """Put frozen batch norms back into evaluation mode; call it after each `train()`."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d) and not any(
            parameter.requires_grad for parameter in module.parameters()
        ):
            module.eval()


def _set(net: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(net.get_submodule(parent), child, module)


class ScalePixels(nn.Module):
    """uint8 pixels (N, H, W, 3), RGB, to normalised float32 (N, 3, H, W): part of the graph."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", 255 * torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(std).view(3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        scaled: Tensor = (images.permute(0, 3, 1, 2).float() - self.mean) / self.std
        return scaled
