"""What graphs of others take: which colours, in which order, scaled how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from whatwhere.errors import UsageError
from whatwhere.runtime.foreign.facts import Facts, Hints
from whatwhere.runtime.onnxfile import Port
from whatwhere.specs import GraphSpec

Three = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Pixels:
    """Pixels 0..255 as a graph wants them: (pixel * scale - mean) / std.

    Args:
        scale: 1/255 for a range of 0..1.
        mean, std: for the three colours, in the order of the input.
        bgr: that order is blue, green, red.
    """

    scale: float = 1 / 255
    mean: Three = (0.0, 0.0, 0.0)
    std: Three = (1.0, 1.0, 1.0)
    bgr: bool = False

    def graph(self, facts: Facts, family: str, outputs: tuple[str, ...], **more: Any) -> GraphSpec:
        """The spec of a file that takes these pixels."""
        return GraphSpec(
            family=family,
            outputs=outputs,
            layout=facts.layout or "nchw",
            bgr=self.bgr,
            scale=self.scale,
            mean=self.mean,
            std=self.std,
            **more,
        )


IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PIXELS: Mapping[str, Pixels] = {
    "unit": Pixels(),
    "raw": Pixels(scale=1.0),
    "imagenet": Pixels(mean=IMAGENET_MEAN, std=IMAGENET_STD),
    "half": Pixels(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
    "caffe": Pixels(scale=1.0, mean=(103.939, 116.779, 123.68), bgr=True),
}
"""Usual ways, by name: 0..1; 0..255; by the statistics of ImageNet; -1..1; BGR less a mean."""

CHOICES = (
    "imagenet (0..1, then the mean and deviation of ImageNet), half (-1..1), unit (0..1), raw"
    " (0..255) or caffe (BGR 0..255 less a mean)"
)


def said(hints: Hints, known: Pixels | None = None) -> Pixels:
    """The pixels that the user asks for, where he does; those that are known otherwise.

    Raises:
        UsageError: there is no such way.
    """
    if hints.pixels is not None and hints.pixels not in PIXELS:
        raise UsageError(f"pixels cannot be {hints.pixels!r}: give {CHOICES}")
    made = PIXELS[hints.pixels] if hints.pixels is not None else known or Pixels()
    bgr = made.bgr if hints.bgr is None else hints.bgr
    mean, std = made.mean, made.std
    if bgr != made.bgr:
        mean, std = _turned(mean), _turned(std)
    # What the user gives is for red, green, blue; the graph's is in its own order.
    if hints.mean is not None:
        mean = _turned(hints.mean) if bgr else hints.mean
    if hints.std is not None:
        if min(hints.std) <= 0:
            raise UsageError(f"std must be above 0, not {min(hints.std):g}")
        std = _turned(hints.std) if bgr else hints.std
    return replace(made, bgr=bgr, mean=mean, std=std)


def configured(config: Mapping[str, Any]) -> Pixels | None:
    """The pixels that a configuration of Hugging Face or timm says; None if it does not."""
    own = config.get("pretrained_cfg")
    if isinstance(own, dict):
        mean, std = _three(own.get("mean")), _three(own.get("std"))
        return None if mean is None or std is None else Pixels(mean=mean, std=std)
    if "image_mean" not in config and "do_normalize" not in config:
        return None
    scale = config.get("rescale_factor", 1 / 255) if config.get("do_rescale", True) else 1.0
    if not isinstance(scale, int | float) or not scale > 0:
        return None
    if not config.get("do_normalize", True):
        return Pixels(scale=float(scale))
    mean, std = _three(config.get("image_mean")), _three(config.get("image_std"))
    return None if mean is None or std is None else Pixels(float(scale), mean, std)


def feed(images: NDArray[Any], graph: GraphSpec, dtype: str) -> NDArray[Any]:
    """Pictures uint8 (N, H, W, 3), RGB, as the graph's first input."""
    a = np.array([graph.scale / s for s in graph.std], np.float32)
    b = np.array([-m / s for m, s in zip(graph.mean, graph.std, strict=True)], np.float32)
    if graph.layout == "nhwc":
        turned = images[..., ::-1] if graph.bgr else images
        if dtype == "uint8":
            return np.ascontiguousarray(turned)
        return (turned * a + b).astype(dtype, copy=False)
    count, height, width = images.shape[:3]
    made = np.empty((count, 3, height, width), np.uint8 if dtype == "uint8" else np.float32)
    for picture, image in zip(made, images, strict=True):
        # One plane after the other: several times quicker than a transposed copy.
        planes = cv2.split(np.ascontiguousarray(image))
        for place, plane in enumerate(planes[::-1] if graph.bgr else planes):
            if dtype == "uint8":
                picture[place] = plane
            else:
                np.multiply(plane, a[place], out=picture[place], dtype=np.float32)
                if b[place]:
                    picture[place] += b[place]
    made = made.astype(dtype, copy=False)
    if graph.layout == "chw":
        return np.asarray(made[0])
    return made


def further(
    graph: GraphSpec, ports: Mapping[str, Port], count: int, size: tuple[int, int]
) -> dict[str, NDArray[Any]]:
    """The other inputs of a graph, for so many pictures of this (height, width)."""
    made: dict[str, NDArray[Any]] = {}
    if graph.sizes:
        made[graph.sizes] = np.tile(np.array(size[::-1], _type(ports, graph.sizes)), (count, 1))
    if graph.mask:
        made[graph.mask] = np.ones((count, *size), _type(ports, graph.mask))
    return made


def _type(ports: Mapping[str, Port], name: str) -> Any:
    dtype = ports[name].dtype if name in ports else "int64"
    return "int64" if dtype == "other" else dtype


def _turned(values: Three) -> Three:
    return values[2], values[1], values[0]


def _three(value: Any) -> Three | None:
    if isinstance(value, int | float):
        value = [value] * 3
    if not isinstance(value, list | tuple) or len(value) != 3:
        return None
    if not all(isinstance(part, int | float) for part in value):
        return None
    return float(value[0]), float(value[1]), float(value[2])
