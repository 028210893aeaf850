"""Depthwise convolution with a quick backward pass on CPUs.

PyTorch hands depthwise convolutions to oneDNN, whose bfloat16 backward kernels are tuned
for 3x3 at stride 1. Two cases fall back to code that is ten to a hundred times slower than
the forward pass: the input gradient at stride 2 and the weight gradient of 5x5 kernels.
Both are rewritten here in terms of the quick kernels; the mathematics is unchanged:

- the input gradient at stride 2 falls into four parts, for even and odd rows and columns; each
  is a stride-1 convolution of the output gradient with every second tap of the kernel;
- a 5x5 weight gradient is put together from 3x3 weight gradients over shifted inputs.

Uneven padding, as TensorFlow's "same" at stride 2, costs no padded copy: the last row and
column of the result, which alone see it, are computed apart.

The forward pass without gradients, and everything on other devices, is PyTorch's own.
`benchmarks/depthwise.py` measures what it brings.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from timm.layers.padding import get_same_padding
from torch import Tensor, nn
from torch.nn import functional

Sides = tuple[int, int, int, int]
"""Zeros around a map: above, below, left, right."""


def sides(
    padding: tuple[int, int] | str, size: tuple[int, int], kernel: tuple[int, int], stride: Any
) -> Sides:
    """The padding of a convolution of an input of this size (height, width).

    Args:
        padding: (y, x) on both sides, or "same" for TensorFlow's, by the size of the input.
    """
    if not isinstance(padding, str):
        y, x = padding
        return y, y, x, x
    found: list[int] = []
    for length, wide, step in zip(size, kernel, stride, strict=True):
        whole = int(get_same_padding(length, wide, step, 1))
        found += [whole // 2, whole - whole // 2]
    return found[0], found[1], found[2], found[3]


def depthwise_conv(
    x: Tensor,
    weight: Tensor,
    stride: tuple[int, int],
    padding: Sides,
    bias: Tensor | None = None,
) -> Tensor:
    """Depthwise convolution of x (N, C, H, W) with weight (C, 1, kh, kw).

    A bias (C,) is added in the same pass over memory; it must be a constant.
    """
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return _plain(x, weight, bias, stride, padding)
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        x, weight = x.to(dtype), weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
    if x.dtype != torch.bfloat16 or not torch.is_grad_enabled():
        # oneDNN's own kernels are as quick or quicker in float32.
        return _plain(x, weight, bias, stride, padding)
    y: Tensor = _Depthwise.apply(x, weight, stride, padding, bias)
    return y


def _plain(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, int], padding: Sides
) -> Tensor:
    above, below, left, right = padding
    if above != below or left != right:
        x, above, left = functional.pad(x, (left, right, above, below)), 0, 0
    return functional.conv2d(x, weight, bias, stride, (above, left), 1, weight.shape[0])


class DepthwiseConv(nn.Module):
    """A trained depthwise convolution that learns by the quick backward pass.

    Args:
        conv: whose weights it takes over, under the same names.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias
        self.stride = conv.stride
        # timm's Conv2dSame pads as TensorFlow does, by the size of its input.
        same = type(conv).__name__ == "Conv2dSame" or conv.padding == "same"
        self.padding: Any = "same" if same else conv.padding

    def forward(self, x: Tensor) -> Tensor:
        kernel: Any = self.weight.shape[-2:]
        padding = sides(self.padding, tuple(x.shape[-2:]), kernel, self.stride)  # type: ignore[arg-type]
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
        padding: Sides,
        bias: Tensor | None = None,
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        edges = _edges(x, weight, stride, padding)
        if edges is None:
            return _plain(x, weight, bias, stride, padding)
        (rows, columns), (lower, righter) = edges
        height, width = rows + lower.rows, columns + righter.columns
        y = torch.empty(
            (*x.shape[:2], height, width), dtype=x.dtype, memory_format=torch.channels_last
        )
        channels = weight.shape[0]
        y[:, :, :rows, :columns] = functional.conv2d(
            x, weight, bias, stride, (padding[0], padding[2]), 1, channels
        )
        for edge in (lower, righter):
            if edge.seen is not None:
                y[edge.place] = functional.conv2d(edge.seen, weight, bias, stride, 0, 1, channels)
        return y

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


class _Edge(NamedTuple):
    """Rows or columns at an end of the result that see more padding than those at the start.

    Args:
        rows, columns: how many of them there are beyond the even part.
        place: where they stand in the result.
        seen: the padded part of the input that they are computed from; None if there are none.
    """

    rows: int
    columns: int
    place: tuple[slice, ...]
    seen: Tensor | None


def _edges(
    x: Tensor, weight: Tensor, stride: tuple[int, int], padding: Sides
) -> tuple[tuple[int, int], tuple[_Edge, _Edge]] | None:
    """Size of the part of a result that even padding gives, and the two edges beyond it.

    None where padding is even, or there is no such part.
    """
    above, below, left, right = padding
    if above == below and left == right:
        return None
    (height, width), (kh, kw), (sy, sx) = x.shape[2:], weight.shape[2:], stride
    rows, all_rows = _count(height, kh, sy, above, above), _count(height, kh, sy, above, below)
    columns, all_columns = _count(width, kw, sx, left, left), _count(width, kw, sx, left, right)
    if not (0 < rows <= all_rows and 0 < columns <= all_columns):
        return None
    whole = slice(None)
    lower = right_part = None
    first = rows * sy - above
    if all_rows > rows and first >= 0:
        lower = functional.pad(x[:, :, first:], (left, right, 0, below))
    begin, end = columns * sx - left, (rows - 1) * sy + kh - above
    if all_columns > columns and begin >= 0:
        # The corner belongs to the rows below.
        shown = functional.pad(x[:, :, :end, begin:], (0, right, above, max(0, end - height)))
        right_part = shown
    if (lower is None) != (all_rows == rows) or (right_part is None) != (all_columns == columns):
        return None
    return (rows, columns), (
        _Edge(all_rows - rows, 0, (whole, whole, slice(rows, None), whole), lower),
        _Edge(
            0,
            all_columns - columns,
            (whole, whole, slice(0, rows), slice(columns, None)),
            right_part,
        ),
    )


def _count(length: int, kernel: int, stride: int, before: int, after: int) -> int:
    """Places of a kernel along a side."""
    return (length + before + after - kernel) // stride + 1


def _input_gradient(
    grad: Tensor, x: Tensor, weight: Tensor, stride: tuple[int, int], padding: Sides
) -> Tensor:
    channels, _, kh, kw = weight.shape
    above, below, left, right = padding
    if stride == (1, 1) and above == below and left == right:
        flipped = weight.flip(2, 3)
        return functional.conv2d(
            grad, flipped, None, 1, (kh - 1 - above, kw - 1 - left), 1, channels
        )
    found = torch.empty_like(x, memory_format=torch.channels_last)
    for row in range(stride[0]):
        for column in range(stride[1]):
            y = _phase(x.shape[2], grad.shape[2], kh, stride[0], above, row)
            z = _phase(x.shape[3], grad.shape[3], kw, stride[1], left, column)
            place = found[:, :, row :: stride[0], column :: stride[1]]
            if y is None or z is None:
                place.zero_()
                continue
            taps = weight[:, :, list(y.taps)][:, :, :, list(z.taps)]
            part = functional.conv2d(grad, taps, None, 1, (y.padding, z.padding), 1, channels)
            place.copy_(part[:, :, y.first : y.end, z.first : z.end])
    return found


class _Phase(NamedTuple):
    """Along a side, the input pixels r = stride * q + phase, and what reached the result there.

    Args:
        taps: of the kernel, in the order of the output pixels that they reached.
        padding: of the convolution of the output gradient with these taps.
        first, end: its results that are the gradient of these pixels.
    """

    taps: tuple[int, ...]
    padding: int
    first: int
    end: int


def _phase(
    length: int, grads: int, kernel: int, stride: int, before: int, phase: int
) -> _Phase | None:
    """None if the kernel's taps pass these pixels over, or there are none."""
    count = -(-(length - phase) // stride)
    # Tap i took pixel r to place (r + before - i) / stride.
    reach = phase + before
    last = reach // stride
    first = -((kernel - 1 - reach) // stride)
    if count <= 0 or first > last:
        return None
    padding = max(0, -first, count - 1 + last - (grads - 1))
    taps = tuple(reach - stride * place for place in range(first, last + 1))
    return _Phase(taps, padding, first + padding, first + padding + count)


def _weight_gradient(
    grad: Tensor, x: Tensor, weight: Tensor, stride: tuple[int, int], padding: Sides
) -> Tensor:
    channels, _, kh, kw = weight.shape
    (sy, sx), (above, below, left, right) = stride, padding
    if kh <= 3 and kw <= 3:
        if above == below and left == right:
            return _weight_gradient_3x3(grad, x, weight, stride, (above, left))
        edges = _edges(x, weight, stride, padding)
        if edges is None:
            padded = functional.pad(x, (left, right, above, below))
            return _weight_gradient_3x3(grad, padded, weight, stride, (0, 0))
        (rows, columns), parts = edges
        even = grad[:, :, :rows, :columns]
        total = _weight_gradient_3x3(even, x, weight, stride, (above, left))
        # The few parts add up in at least float32.
        total = total.to(torch.promote_types(total.dtype, torch.float32))
        for edge in parts:
            if edge.seen is not None:
                total += _weight_gradient_3x3(grad[edge.place], edge.seen, weight, stride, (0, 0))
        return total.to(weight.dtype)
    rows, columns = grad.shape[2:]
    # Room for the last 3x3 block, which may reach beyond the kernel; those entries are cut off.
    blocks_y, blocks_x = -(-kh // 3), -(-kw // 3)
    need_y = (rows - 1) * sy + 3 * blocks_y
    need_x = (columns - 1) * sx + 3 * blocks_x
    padded = functional.pad(
        x,
        (left, max(0, need_x - left - x.shape[3]), above, max(0, need_y - above - x.shape[2])),
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
        grad.contiguous(memory_format=torch.channels_last),
        x.contiguous(memory_format=torch.channels_last),
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
