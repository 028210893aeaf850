"""Depthwise convolution with a quick backward pass on CPUs.

PyTorch hands depthwise convolutions to oneDNN, whose bfloat16 backward kernels are tuned
for 3x3 at stride 1. Two cases fall back to code that is ten to a hundred times slower than
the forward pass: the input gradient at stride 2 and the weight gradient of 5x5 kernels.
Both are rewritten here in terms of the quick kernels; the mathematics is unchanged:

- the input gradient of a strided convolution is the stride-1 convolution of the output
  gradient, spread out with zeros, with the flipped kernel;
- a 5x5 weight gradient is put together from 3x3 weight gradients over shifted inputs.

The forward pass, and everything on other devices, is PyTorch's own.
`benchmarks/depthwise.py` measures what it brings.
"""

from __future__ import annotations

from typing import Any

import torch
from timm.layers.padding import pad_same
from torch import Tensor, nn
from torch.nn import functional


def depthwise_conv(
    x: Tensor,
    weight: Tensor,
    stride: tuple[int, int],
    padding: tuple[int, int],
    bias: Tensor | None = None,
) -> Tensor:
    """Depthwise convolution of x (N, C, H, W) with weight (C, 1, kh, kw).

    A bias (C,) is added in the same pass over memory; it must be a constant.
    """
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return functional.conv2d(x, weight, bias, stride, padding, 1, weight.shape[0])
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        x, weight = x.to(dtype), weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
    if x.dtype != torch.bfloat16 or not torch.is_grad_enabled():
        # oneDNN's own kernels are as quick or quicker in float32.
        return functional.conv2d(x, weight, bias, stride, padding, 1, weight.shape[0])
    y: Tensor = _Depthwise.apply(x, weight, stride, padding, bias)
    return y


class DepthwiseConv(nn.Module):
    """A trained depthwise convolution that learns by the quick backward pass.

    Args:
        conv: whose weights it takes over, under the same names.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias
        self.stride, self.padding = conv.stride, conv.padding
        # timm's Conv2dSame pads as TensorFlow does, by the size of its input.
        self.same = type(conv).__name__ == "Conv2dSame" or conv.padding == "same"

    def forward(self, x: Tensor) -> Tensor:
        padding = self.padding
        if self.same:
            kernel = list(self.weight.shape[-2:])
            x, padding = pad_same(x, kernel, list(self.stride)), (0, 0)
        y = depthwise_conv(x, self.weight, self.stride, padding)  # type: ignore[arg-type]
        return y if self.bias is None else y + self.bias.to(y.dtype)[:, None, None]


def quicken(net: nn.Module) -> int:
    """Give the depthwise convolutions of a network, in place, the quick backward pass.

    Folded ones (`models.backbone.fold_norms`) have it already.

    Returns:
        How many there were.
    """
    found = [
        (module, name, child)
        for module in net.modules()
        for name, child in module.named_children()
        if isinstance(child, nn.Conv2d)
        and 1 < child.groups == child.in_channels == child.out_channels
        and child.dilation == (1, 1)
        and child.padding != "valid"
        and child.padding_mode == "zeros"
    ]
    for module, name, child in found:
        setattr(module, name, DepthwiseConv(child))
    return len(found)


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        stride: tuple[int, int],
        padding: tuple[int, int],
        bias: Tensor | None = None,
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return functional.conv2d(x, weight, bias, stride, padding, 1, weight.shape[0])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        x, weight = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        grad_x = grad_weight = None
        with torch.autocast("cpu", enabled=False):
            if ctx.needs_input_grad[0]:
                grad_x = _input_gradient(grad, x, weight, ctx.stride, ctx.padding)
            if ctx.needs_input_grad[1]:
                grad_weight = _weight_gradient(grad, x, weight, ctx.stride, ctx.padding)
        return grad_x, grad_weight, None, None, None


def _input_gradient(
    grad: Tensor, x: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]
) -> Tensor:
    channels, _, kh, kw = weight.shape
    height, width = x.shape[2:]
    (sy, sx), (py, px) = stride, padding
    if (sy, sx) != (1, 1):
        # Spread the output gradient over the places where its windows began.
        spread = grad.new_zeros(
            (x.shape[0], channels, height + 2 * py - kh + 1, width + 2 * px - kw + 1)
        ).contiguous(memory_format=torch.channels_last)
        spread[:, :, ::sy, ::sx] = grad
        grad = spread
    flipped = weight.flip(2, 3)
    return functional.conv2d(grad, flipped, None, 1, (kh - 1 - py, kw - 1 - px), 1, channels)


def _weight_gradient(
    grad: Tensor, x: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]
) -> Tensor:
    channels, _, kh, kw = weight.shape
    (sy, sx), (py, px) = stride, padding
    if kh <= 3 and kw <= 3:
        return _weight_gradient_3x3(grad, x, weight, stride, padding)
    rows, columns = grad.shape[2:]
    # Room for the last 3x3 block, which may reach beyond the kernel; those entries are cut off.
    blocks_y, blocks_x = -(-kh // 3), -(-kw // 3)
    need_y = (rows - 1) * sy + 3 * blocks_y
    need_x = (columns - 1) * sx + 3 * blocks_x
    padded = functional.pad(
        x, (px, max(0, need_x - px - x.shape[3]), py, max(0, need_y - py - x.shape[2]))
    )
    gradient = weight.new_empty((channels, 1, 3 * blocks_y, 3 * blocks_x))
    block = weight.new_empty((channels, 1, 3, 3))
    for by in range(blocks_y):
        for bx in range(blocks_x):
            y, x0 = 3 * by, 3 * bx
            part = padded[
                :, :, y : y + (rows - 1) * sy + 3, x0 : x0 + (columns - 1) * sx + 3
            ].contiguous(memory_format=torch.channels_last)
            gradient[:, :, y : y + 3, x0 : x0 + 3] = _weight_gradient_3x3(
                grad, part, block, stride, (0, 0)
            )
    return gradient[:, :, :kh, :kw]


def _weight_gradient_3x3(
    grad: Tensor, x: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]
) -> Tensor:
    gradient: Tensor = torch.ops.aten.convolution_backward(
        grad,
        x,
        weight,
        None,
        stride,
        padding,
        (1, 1),
        False,
        (0, 0),
        weight.shape[0],
        (False, True, False),
    )[1]
    return gradient
