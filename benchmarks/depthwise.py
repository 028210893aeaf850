"""Backward pass of depthwise convolutions in bfloat16 on the CPU: ours against PyTorch's own.

The shapes are those of EfficientNet-Lite0 at 256 x 320. Each row's ratio is how many times
quicker ours is, by the smallest of several runs.

    python benchmarks/depthwise.py [--batch 16] [--json]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import torch
from torch.nn import functional

from whatwhere.train.depthwise import depthwise_conv

# channels, height, width, kernel, stride
SHAPES = [
    (144, 64, 80, 5, 2),
    (240, 32, 40, 5, 1),
    (240, 32, 40, 3, 2),
    (480, 16, 20, 5, 1),
    (672, 16, 20, 5, 1),
    (672, 16, 20, 5, 2),
    (1152, 8, 10, 5, 1),
]


def seconds(call: Callable[[], object], runs: int) -> float:
    """The quickest of several runs, after one that does not count."""
    call()
    times = []
    for _ in range(runs):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="small batch, few runs")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.batch, arguments.runs = 4, 3
    rows = []
    for channels, height, width, kernel, stride in SHAPES:
        x = torch.randn(arguments.batch, channels, height, width, dtype=torch.bfloat16)
        x = x.to(memory_format=torch.channels_last).requires_grad_()
        weight = torch.randn(channels, 1, kernel, kernel, dtype=torch.bfloat16, requires_grad=True)
        pads = (kernel // 2, kernel // 2)
        theirs = functional.conv2d(x, weight, None, stride, pads, 1, channels)
        ours = depthwise_conv(x, weight, (stride, stride), (kernel // 2,) * 4)
        gradient = torch.randn_like(theirs)
        work = f"{channels}x{height}x{width}, {kernel}x{kernel} stride {stride}, backward"

        def backward(y: torch.Tensor, inputs: tuple[torch.Tensor, ...], g: torch.Tensor) -> object:
            return torch.autograd.grad(y, inputs, g, retain_graph=True)

        base = seconds(
            lambda y=theirs, i=(x, weight), g=gradient: backward(y, i, g), arguments.runs
        )
        mine = seconds(lambda y=ours, i=(x, weight), g=gradient: backward(y, i, g), arguments.runs)
        for who, value in (("torch", base), ("whatwhere", mine)):
            rows.append(
                {
                    "work": work,
                    "who": who,
                    "version": torch.__version__,
                    "seconds": round(value, 5),
                    "ratio": round(base / value, 2),
                }
            )
    for row in rows:
        print(json.dumps(row) if arguments.json else f"{row['work']:45} {row['who']:10}"
              f" {row['seconds'] * 1000:8.1f} ms  {row['ratio']:6.2f} x")  # fmt: skip


if __name__ == "__main__":
    main()
