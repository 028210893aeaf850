"""The rewritten backward pass of depthwise convolutions against PyTorch's own."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers import Conv2dSame
from torch import Tensor, nn
from torch.nn import functional

from whatwhere.train.depthwise import DepthwiseConv, _Depthwise, depthwise_conv, quicken, sides

Pair = tuple[int, int]
Sides = tuple[int, int, int, int]


def _gradients(
    x: Tensor, weight: Tensor, stride: Pair, padding: Sides, ours: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Output and the gradients of a weighted sum of it, by x and by weight."""
    x, weight = x.clone().requires_grad_(), weight.clone().requires_grad_()
    if ours:
        y = _Depthwise.apply(x, weight, stride, padding)
    else:
        above, below, left, right = padding
        padded = functional.pad(x, (left, right, above, below))
        y = functional.conv2d(padded, weight, None, stride, 0, 1, weight.shape[0])
    generator = torch.Generator().manual_seed(1)
    share = torch.randn(y.shape, generator=generator, dtype=torch.float64).to(y.dtype)
    (y * share).sum().backward()
    assert x.grad is not None
    assert weight.grad is not None
    return y.detach(), x.grad, weight.grad


def _tensors(shape: tuple[int, int, int, int], kernel: Pair) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    weight = torch.randn((shape[1], 1, *kernel), generator=generator, dtype=torch.float64)
    return x, weight


@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(8, 8), (9, 7), (7, 12)])
def test_gradients_are_torchs_own(kernel: int, stride: int, size: Pair) -> None:
    x, weight = _tensors((2, 3, *size), (kernel, kernel))
    padding = (kernel // 2,) * 4
    ours = _gradients(x, weight, (stride, stride), padding, True)
    theirs = _gradients(x, weight, (stride, stride), padding, False)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-10)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_shape(data: st.DataObject) -> None:
    kernel = (data.draw(st.integers(1, 7), "kh"), data.draw(st.integers(1, 7), "kw"))
    stride = (data.draw(st.integers(1, 3), "sy"), data.draw(st.integers(1, 3), "sx"))
    padding = tuple(data.draw(st.integers(0, k - 1), "padding") for k in kernel for _ in range(2))
    size = [
        data.draw(st.integers(max(1, k - sum(padding[2 * i : 2 * i + 2])), 14), "size")
        for i, k in enumerate(kernel)
    ]
    shape = (data.draw(st.integers(1, 2)), data.draw(st.integers(1, 4)), *size)
    x, weight = _tensors(shape, kernel)  # type: ignore[arg-type]
    ours = _gradients(x, weight, stride, padding, True)  # type: ignore[arg-type]
    theirs = _gradients(x, weight, stride, padding, False)  # type: ignore[arg-type]
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.shape == other.shape
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("size", [(8, 8), (8, 7), (9, 12), (2, 2), (64, 64)])
def test_the_padding_of_tensorflow(kernel: int, size: Pair) -> None:
    """The same as timm's, which copies the input into a padded one."""
    x, weight = _tensors((2, 3, *size), (kernel, kernel))
    conv = Conv2dSame(3, 3, kernel, 2, groups=3, bias=False).double()
    conv.weight.data.copy_(weight)
    padding = sides("same", size, (kernel, kernel), (2, 2))
    made, grad_x, grad_weight = _gradients(x, weight, (2, 2), padding, True)
    torch.testing.assert_close(made, conv(x))
    exact = _gradients(x, weight, (2, 2), padding, False)
    torch.testing.assert_close(grad_x, exact[1])
    torch.testing.assert_close(grad_weight, exact[2])
    assert sides((1, 2), size, (kernel, kernel), (2, 2)) == (1, 1, 2, 2)


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_bfloat16_is_close_to_float32(kernel: int, stride: int) -> None:
    x, weight = (tensor.float() for tensor in _tensors((2, 8, 15, 18), (kernel, kernel)))
    padding = (kernel // 2,) * 4
    exact = _gradients(x, weight, (stride, stride), padding, False)
    rounded = _gradients(x.bfloat16(), weight.bfloat16(), (stride, stride), padding, True)
    for mine, other in zip(rounded, exact, strict=True):
        assert mine.dtype == torch.bfloat16
        # Eight bits of fraction in every factor, sums in float32.
        error = (mine.float() - other).norm() / other.norm()
        assert error < 0.01


def test_only_bfloat16_on_the_cpu_takes_the_new_way() -> None:
    x, weight = (tensor.float().requires_grad_() for tensor in _tensors((1, 4, 8, 8), (3, 3)))
    plain = depthwise_conv(x, weight, (1, 1), (1, 1, 1, 1))
    assert "Depthwise" not in type(plain.grad_fn).__name__
    with torch.autocast("cpu", dtype=torch.bfloat16):
        quick = depthwise_conv(x, weight, (1, 1), (1, 1, 1, 1))
    assert quick.dtype == torch.bfloat16
    assert "Depthwise" in type(quick.grad_fn).__name__
    quick.sum().backward()
    # Autocast's cast is part of the graph: the parameter's gradient is float32.
    assert weight.grad is not None
    assert weight.grad.dtype == torch.float32


def test_a_frozen_input_gets_no_gradient() -> None:
    x, weight = _tensors((1, 2, 6, 6), (5, 5))
    weight.requires_grad_()
    _Depthwise.apply(x, weight, (1, 1), (2, 2, 2, 2)).sum().backward()
    assert x.grad is None
    assert weight.grad is not None
    assert torch.isfinite(weight.grad).all()


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("kind", [nn.Conv2d, Conv2dSame])
def test_a_network_is_quickened_in_place(kind: type[nn.Conv2d], bias: bool) -> None:
    """Same names, same answers; only depthwise convolutions are replaced."""
    torch.manual_seed(0)
    net = nn.Sequential(
        kind(4, 8, 3, stride=2, padding=1, bias=bias),
        kind(8, 8, 5, stride=2, padding=2, groups=8, bias=bias),
        nn.Sequential(kind(8, 8, 3, padding=1, groups=8, bias=bias)),
        kind(8, 8, 3, padding=1, groups=2, bias=bias),
        kind(8, 8, 3, padding=2, dilation=2, groups=8, bias=bias),
    )
    state, x = net.state_dict(), torch.randn(2, 4, 21, 30)
    expected = net(x)
    assert quicken(net) == 2
    assert [isinstance(module, DepthwiseConv) for module in net] == [False, True] + [False] * 3
    assert list(net.state_dict()) == list(state)
    torch.testing.assert_close(net(x), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = net(x)
    assert (rounded.float() - expected).norm() < 0.02 * expected.norm()
    rounded.sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
