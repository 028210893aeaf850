"""What a yolo is made of: convolutions, the pyramid, the towers of its head, the choosing head."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from whatwhere.train.depthwise import depthwise_conv


class Depthwise(nn.Conv2d):
    """A convolution of each channel by itself, with `train.depthwise`'s backward pass."""

    def __init__(self, width: int, kernel: int, stride: int = 1) -> None:
        super().__init__(width, width, kernel, stride, kernel // 2, groups=width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return depthwise_conv(x, self.weight, self.stride, (self.weight.shape[-1] // 2,) * 4)  # type: ignore[arg-type]


def convolution(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, *, separable: bool = False
) -> nn.Module:
    """A convolution without bias, whole or in two steps.

    Depthwise kernels of 5x5 made a step of yolo-n slower than one of yolo-s.
    """
    if separable and kernel > 1:
        return nn.Sequential(
            Depthwise(inputs, kernel, stride), nn.Conv2d(inputs, outputs, 1, bias=False)
        )
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)


class ConvBlock(nn.Sequential):
    """Convolution, batch norm, SiLU."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        stride: int = 1,
        *,
        separable: bool = False,
    ) -> None:
        super().__init__(
            convolution(inputs, outputs, kernel, stride, separable=separable),
            nn.BatchNorm2d(outputs),
            nn.SiLU(inplace=True),
        )


class Pyramid(nn.Module):
    """Features of all levels at one width, mixed downwards and upwards."""

    def __init__(self, channels: tuple[int, ...], width: int, *, separable: bool = False) -> None:
        super().__init__()
        last = len(channels) - 1

        def blocks(inputs: int, stride: int = 1) -> nn.ModuleList:
            return nn.ModuleList(
                ConvBlock(inputs, width, 3, stride, separable=separable) for _ in range(last)
            )

        self.lateral = nn.ModuleList(ConvBlock(count, width, 1) for count in channels)
        self.down = blocks(2 * width)
        self.shrink = blocks(width, 2)
        self.up = blocks(2 * width)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        levels = [lateral(x) for lateral, x in zip(self.lateral, features, strict=True)]
        for i in range(len(levels) - 2, -1, -1):
            above = functional.interpolate(levels[i + 1], size=levels[i].shape[-2:])
            levels[i] = self.down[i](torch.cat([levels[i], above], 1))
        for i in range(1, len(levels)):
            below = self.shrink[i - 1](levels[i - 1])
            levels[i] = self.up[i - 1](torch.cat([levels[i], below], 1))
        return levels


class Tower(nn.Module):
    """Convolutions shared by all levels, batch norms for each level."""

    def __init__(
        self,
        width: int,
        levels: int,
        depth: int = 2,
        *,
        inputs: int = 0,
        separable: bool = False,
    ) -> None:
        super().__init__()
        counts = [inputs or width] + [width] * (depth - 1)
        self.convs = nn.ModuleList(
            convolution(count, width, separable=separable) for count in counts
        )
        self.norms = nn.ModuleList(
            nn.ModuleList(nn.BatchNorm2d(width) for _ in range(levels)) for _ in range(depth)
        )

    def forward(self, x: Tensor, level: int) -> Tensor:
        for conv, norms in zip(self.convs, self.norms, strict=True):
            x = functional.silu(norms[level](conv(x)), inplace=True)  # type: ignore[index]
        return x


# A score so far behind the best near by is as good as any that is farther.
_FAR = -6.0


class Choice(nn.Module):
    """How the scores change so that one anchor point alone speaks for each object.

    It sees the features and the best class score of each point, since it has to compare
    neighbours, and how far each class score is from the best near by, on the next levels, too. It
    begins with a score that is as much smaller as a better one is near by. Three convolutions see
    an object of six steps as a whole: trained on the same features for 300 steps on BCCD, where
    suppression gives 0.598 AP, two of them gave 0.567 and three 0.586; without the distances of
    each class two gave 0.563.
    """

    def __init__(self, width: int, classes: int, levels: int, *, separable: bool = False) -> None:
        super().__init__()
        inputs = width + 1 + classes
        self.tower = Tower(width, levels, 3, inputs=inputs, separable=separable)
        self.change = nn.Conv2d(width, classes, 1)
        assert self.change.bias is not None
        nn.init.zeros_(self.change.weight)
        nn.init.zeros_(self.change.bias)
        self.rivalry = nn.Parameter(torch.ones(levels))

    def forward(self, levels: list[Tensor], logits: list[Tensor]) -> list[Tensor]:
        """Logits (N, C, H, W) of each level from features (N, width, H, W), the usual logits."""
        logits = [score.detach().float() for score in logits]
        changed = []
        for level, (x, score, best) in enumerate(zip(levels, logits, _best(logits), strict=True)):
            behind = score - best
            about = [score.amax(1, keepdim=True), behind.clamp(min=_FAR)]
            seen = torch.cat([x.detach(), *(part.to(x.dtype) for part in about)], 1)
            change = self.change(self.tower(seen, level)).float()
            changed.append(score + change + self.rivalry[level] * behind)
        return changed


def _best(logits: list[Tensor]) -> list[Tensor]:
    """The best score of each class near each point, on its own level and those beside it."""
    near = [functional.max_pool2d(score, 3, 1, 1) for score in logits]
    found = []
    for level, own in enumerate(near):
        best = own
        if level:
            best = torch.maximum(best, functional.max_pool2d(near[level - 1], 2))
        if level + 1 < len(near):
            wide = functional.interpolate(near[level + 1], size=own.shape[-2:])
            best = torch.maximum(best, wide)
        found.append(best)
    return found
