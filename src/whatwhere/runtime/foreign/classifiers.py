"""Classifiers: one value a class. Which pixels they take, a graph does not say.

It is known where the configuration of Hugging Face or timm lies beside the file, and for networks
that torchvision defines: all its weights are for ImageNet's mean and deviation
(https://docs.pytorch.org/vision/stable/models.html), and those of timm that call their parts by the
same names, too. Any other (timm's own networks, Keras', anyone's) has to be said.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np

from whatwhere.runtime.foreign.facts import (
    FLOATS,
    Array,
    Candidate,
    Check,
    Facts,
    Family,
    Reader,
    Unclear,
    between,
)
from whatwhere.runtime.foreign.pixels import CHOICES, PIXELS, Pixels, configured, said
from whatwhere.transforms import Fit, Resample

_PARTS = (
    r"(^|/)layer1\.0[./]",  # ResNet and its kin
    r"(^|/)features\.(0|denseblock1)[./]",  # VGG, MobileNet, EfficientNet, ConvNeXt, Swin, DenseNet
    r"(^|/)encoder_layer_0[./]|\.encoder_layer_0\.",  # ViT
    r"(^|/)stage2\.0[./]branch",  # ShuffleNet
    r"(^|/)trunk_output[./]",  # RegNet
)
_TORCHVISION = re.compile("|".join(_PARTS))
_KERAS = re.compile(r"StatefulPartitionedCall|/(Conv2D|BiasAdd|FusedBatchNormV3)(__\d+)?$")
_RESAMPLE: dict[Any, Resample] = {2: "area", 3: "bicubic", "bilinear": "area", "bicubic": "bicubic"}
# What a graph may end in behind the layer that tells.
_PASSING = {"Identity", "Cast", "Reshape", "Squeeze", "Flatten", "Transpose"}
_LINEAR = {"Gemm", "MatMul", "Add", "Conv"}
_CROP = 0.875
_IMAGENET = 1000


def candidates(facts: Facts) -> Iterator[Candidate | Unclear]:
    """One output N x C, or N x C x 1 x 1, of which a trial says whether it is probabilities."""
    if len(facts.outputs) != 1 or len(facts.inputs) != 1:
        return
    (answer,) = facts.outputs
    flat = answer.shape[:2] if all(side == 1 for side in answer.shape[2:]) else ()
    if len(flat) != 2 or answer.dtype not in FLOATS or facts.task not in ("", "classify"):
        return
    classes = flat[1]
    if classes is None or classes < 1 or facts.layout in (None, "chw"):
        return
    outputs = (answer.name,)
    if facts.theirs and facts.task == "classify":
        graph = said(facts.hints).graph(facts, "probabilities", outputs)
        title = "Ultralytics classify"
        yield Candidate(title, graph, classes, _check_shares, task="classify", fit="crop")
        return
    title, known = _kind(facts)
    if known is None and not facts.hints.says_pixels:
        yield Unclear(_unclear(facts))
        return
    if facts.size is None:
        yield Unclear(
            "it looks like a classifier, whose input is of any size: say which, with"
            " --size HEIGHT,WIDTH"
        )
        return
    fit, crop, resample = _fitted(facts)
    pixels = said(facts.hints, known)
    task: Literal["classify", "multilabel"] = facts.hints.task or "classify"
    for family, check in _families(facts, task):
        yield Candidate(
            title,
            pixels.graph(facts, family, outputs),
            classes,
            check,
            task=task,
            fit=fit,
            crop=crop,
            resample=resample,
            named=_named(facts, classes),
            note="" if facts.beside else "a centre crop of 7/8 is taken for granted (--crop)",
        )


def _families(facts: Facts, task: str) -> Iterator[tuple[str, Check]]:
    """Ways to read it that the trial chooses between, with their checks."""
    last = "probabilities" if task == "classify" else "independent"
    ends = next((kind for kind in reversed(facts.graph.kinds) if kind not in _PASSING), "")
    if facts.hints.softmax is False or ends in _LINEAR:
        yield "logits", _check_nothing
    elif facts.hints.softmax or ends in ("Softmax", "Sigmoid"):
        yield last, _CHECKS[last]
    else:
        yield "logits", _check_logits
        yield last, _CHECKS[last]


def _kind(facts: Facts) -> tuple[str, Pixels | None]:
    if facts.beside:
        known = configured(facts.beside)
        if known is not None:
            kind = facts.beside.get("model_type") or facts.beside.get("architecture") or "network"
            return f"classifier ({kind})", known
    parts = facts.graph.weights + facts.graph.nodes
    if facts.layout == "nhwc" or facts.graph.producer == "tf2onnx":
        keras = any(_KERAS.search(name) for name in parts)
        title = "Keras classifier" if keras or facts.graph.producer == "tf2onnx" else "classifier"
        return title, None
    if any(_TORCHVISION.search(name) for name in parts):
        return "classifier of torchvision", PIXELS["imagenet"]
    return "classifier", None


def _unclear(facts: Facts) -> str:
    title, _ = _kind(facts)
    more = (
        " (of Keras' applications: MobileNet, Xception and Inception take half, ResNet and VGG"
        " caffe, EfficientNet and ConvNeXt raw)"
        if title.startswith("Keras")
        else " (a network of timm says it in its pretrained_cfg)"
    )
    return (
        f"it looks like a {title}, but which pixels it takes cannot be seen: say it with --pixels,"
        f" which is {CHOICES}, or with --mean and --std{more}"
    )


def _fitted(facts: Facts) -> tuple[Fit, float, Resample]:
    """How pictures are cut and resized, as far as a configuration says so."""
    config = facts.beside
    own = config.get("pretrained_cfg")
    if isinstance(own, dict):
        share, way = own.get("crop_pct", _CROP), own.get("interpolation", "bicubic")
        fits: Fit = "stretch" if own.get("crop_mode") == "squash" else "crop"
        crop = float(share) if isinstance(share, int | float) and 0 < share <= 1 else _CROP
        return fits, crop, _RESAMPLE.get(way, "area")
    if config:
        resample = _RESAMPLE.get(config.get("resample"), "area")
        size, cut = config.get("size"), config.get("crop_size")
        if isinstance(size, dict) and "height" in size and not config.get("do_center_crop"):
            return "stretch", 1.0, resample
        shorter = size.get("shortest_edge") if isinstance(size, dict) else None
        side = cut.get("height") if isinstance(cut, dict) else None
        if isinstance(shorter, int) and isinstance(side, int) and 0 < side <= shorter:
            return "crop", side / shorter, resample
    return "crop", _CROP, "area"


def _named(facts: Facts, classes: int) -> tuple[str, ...] | None:
    """Class names of the configuration, or of ImageNet where there are 1,000 classes."""
    said = facts.configured_names or _labels(facts.beside)
    if said is not None and len(said) == classes:
        return said
    if classes == _IMAGENET and facts.own is None and not facts.beside:
        return imagenet_names()
    return None


def _labels(config: Any) -> tuple[str, ...] | None:
    names = config.get("label_names")
    table = config.get("label_descriptions")
    if not isinstance(names, list):
        return None
    spoken = table if isinstance(table, dict) else {}
    return tuple(str(spoken.get(name, name)).partition(",")[0] for name in names)


def imagenet_names() -> tuple[str, ...]:
    """The 1,000 class names of ImageNet, in the order that all classifiers of it answer in."""
    from whatwhere.runtime.shipped import SHIPPED

    return SHIPPED["imagenet-lite0"].specs[0].names


def _flat(answers: Sequence[Array]) -> Array:
    (values,) = answers
    return values.reshape(values.shape[0], values.shape[1])


def _read_logits(answers: Sequence[Array], size: tuple[int, int], classes: int) -> dict[str, Array]:
    return {"logits": _flat(answers)}


def _read_shares(answers: Sequence[Array], size: tuple[int, int], classes: int) -> dict[str, Array]:
    return {"logits": np.log(np.clip(_flat(answers), 1e-12, 1))}


def _read_independent(
    answers: Sequence[Array], size: tuple[int, int], classes: int
) -> dict[str, Array]:
    scores = np.clip(_flat(answers).astype(np.float64), 1e-7, 1 - 1e-7)
    return {"logits": np.log(scores / (1 - scores)).astype(np.float32)}


def _sums_to_one(answers: Sequence[Sequence[Array]]) -> bool:
    flat = [_flat(values) for values in answers]
    return all(between(v) and bool((np.abs(v.sum(1) - 1) < 1e-2).all()) for v in flat)


def _check_shares(answers: Sequence[Sequence[Array]], size: tuple[int, int]) -> str | None:
    if _sums_to_one(answers):
        return None
    return (
        "its answers are no probabilities: export it again, with its softmax, or say --task"
        " multilabel if its classes are independent"
    )


def _check_logits(answers: Sequence[Sequence[Array]], size: tuple[int, int]) -> str | None:
    if all(between(_flat(values)) for values in answers):
        return "its answers are in 0..1 already (if they are no probabilities: --no-softmax)"
    return None


def _check_independent(answers: Sequence[Sequence[Array]], size: tuple[int, int]) -> str | None:
    if all(between(_flat(values)) for values in answers):
        return None
    return "its answers are not in 0..1"


def _check_nothing(answers: Sequence[Sequence[Array]], size: tuple[int, int]) -> str | None:
    return None


_CHECKS: dict[str, Check] = {
    "probabilities": _check_shares,
    "independent": _check_independent,
}
FAMILY = Family(
    candidates,
    {
        "logits": Reader(_read_logits),
        "probabilities": Reader(_read_shares),
        "independent": Reader(_read_independent),
    },
)
