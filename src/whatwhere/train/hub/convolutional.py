"""SSDLite and Faster R-CNN as torchvision trained them: its own networks, whole.

What they do before and after the network (sizes, scaling, decoding) becomes part of the graph, of
fixed shapes; only the suppression of overlapping boxes is left to prediction.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, cast

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights

from whatwhere.errors import TrainError, UsageError
from whatwhere.runtime.hub import HubModel
from whatwhere.specs import ModelSpec, PostprocessSpec, PreprocessSpec
from whatwhere.train.hub.opened import Answer, Opened
from whatwhere.train.hub.proposing import ProposingDetector
from whatwhere.train.hub.single import AnchorDetector
from whatwhere.train.start import read_weights
from whatwhere.types import Image

_LEAST = 0.05
_THRESHOLD = 0.5
"""Shown from this score on, as in torchvision's examples."""
_PAD = 116
"""Grey of the canvas beside a picture: about the mean that scaling turns into torchvision's 0."""
_SUFFIXES = (".pth", ".pt", ".safetensors")
_STEP = 32
_OLD_NORMS = "fasterrcnn_resnet50_fpn"
"""Its norms divide by the deviation alone: for these weights torchvision makes their epsilon 0."""


def open_torchvision(
    model: HubModel, source: Path | None, size: tuple[int, int] | None, progress: bool
) -> Opened:
    """A detector of torchvision with its weights, classes and preprocessing.

    Args:
        model: its record.
        source: file of its tensors by name, or a folder with it; torchvision's loader if None.
        size: (height, width) of the canvas, for Faster R-CNN.
        progress: show the loader's bar.

    Raises:
        UsageError: a size is given for a network of one size, or it is below 32.
        TrainError: the weights cannot be had, or are of another network.
    """
    weights = get_model_weights(model.reference).DEFAULT
    state = _state(model, weights, source, progress)
    net = get_model(model.reference, weights=None, weights_backbone=None)
    _fill(net, state, model)
    net.eval().requires_grad_(False)
    if model.reference == _OLD_NORMS:
        for module in net.backbone.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = 0.0
    categories = weights.meta["categories"]
    columns = [i for i, name in enumerate(categories) if name not in ("__background__", "N/A")]
    names = tuple(categories[i] for i in columns)
    made: nn.Module
    if model.family == "ssd":
        if size is not None:
            raise UsageError(f"{model.name} takes pictures of one size: leave --size out")
        width, height = net.transform.fixed_size
        made = AnchorDetector(net, columns, (height, width))
        preprocess = PreprocessSpec(size=(height, width), fit="stretch", resample="bilinear")
        post = _post(net.score_thresh, net.nms_thresh, net.detections_per_img)
    else:
        height, width = size or _square(net.transform)
        if min(height, width) < _STEP:
            raise UsageError(f"--size {height},{width} is too small: give 32 pixels or more")
        made = ProposingDetector(net, columns, (height, width))
        preprocess = PreprocessSpec(
            size=(height, width), fit="corner", resample="bilinear", pad=_PAD
        )
        heads = net.roi_heads
        post = _post(heads.score_thresh, heads.nms_thresh, heads.detections_per_img)
    score = weights.meta["_metrics"]["COCO-val2017"]["box_map"]
    spec = ModelSpec(
        name=model.name,
        task="detect",
        names=names,
        preprocess=preprocess,
        postprocess=post,
        architecture=f"torchvision:{model.reference}",
        source=f"torchvision's {model.reference}, weights {weights.name} ({weights.url})",
        license=model.license,
        reference={
            "from": weights.url if source is None else source.name,
            "torchvision": torchvision.__version__,
            "published": f"box AP {score / 100:.3f} on COCO val2017, by the metadata of"
            f" torchvision's {type(weights).__name__}.{weights.name}; not measured on this file",
            "recipe": weights.meta["recipe"],
            "data": model.data,
        },
    )
    return Opened(made, spec, _library(net, (height, width), categories), _LEAST)


def _post(score: float, iou: float, most: int) -> PostprocessSpec:
    return PostprocessSpec(
        score_threshold=_THRESHOLD, evaluation_threshold=score, nms_iou=iou, max_detections=most
    )


def _square(transform: Any) -> tuple[int, int]:
    """Side of the square in which a 4:3 picture, upright or not, has the library's size."""
    side = int(transform.min_size[-1] * 4 / 3)
    return side, side


def _library(
    net: nn.Module, size: tuple[int, int], categories: list[str]
) -> Callable[[Image], Answer]:
    """The library's answers for pictures of just the canvas's size, which it need not resize."""
    own = cast("Any", deepcopy(net))
    if own.transform.fixed_size is None:
        own.transform.min_size, own.transform.max_size = (min(size),), max(size)

    def answer(canvas: Image) -> Answer:
        pixels = torch.from_numpy(canvas).permute(2, 0, 1).float() / 255
        with torch.no_grad():
            (found,) = own([pixels])
        return Answer(
            found["boxes"].numpy(),
            found["scores"].numpy(),
            tuple(categories[int(i)] for i in found["labels"]),
        )

    return answer


def _state(
    model: HubModel, weights: Any, source: Path | None, progress: bool
) -> Mapping[str, Tensor]:
    if source is not None:
        return read_weights(str(_weights_file(source, weights.url))).tensors
    try:
        state: Mapping[str, Tensor] = weights.get_state_dict(
            progress=progress, check_hash=True, map_location="cpu", weights_only=True
        )
    except Exception as error:  # the download has many kinds of errors
        raise TrainError(
            f"the weights of {model.name} could not be fetched from {weights.url}"
            f" ({type(error).__name__}: {error}): check the network, or give the file as --from"
        ) from error
    return state


def _weights_file(source: Path, url: str) -> Path:
    """The file of weights that a path means; in a folder the one of torchvision's name, or any."""
    if not source.is_dir():
        return source
    known = source / url.rpartition("/")[2]
    if known.is_file():
        return known
    found = sorted(path for path in source.iterdir() if path.suffix in _SUFFIXES)
    if len(found) != 1:
        raise TrainError(
            f"{source} has {len(found)} files of weights ({', '.join(_SUFFIXES)}): give the file"
            " itself as --from"
        )
    return found[0]


def _fill(net: nn.Module, state: Mapping[str, Tensor], model: HubModel) -> None:
    """Put weights in; norms that were frozen have no count of batches, which is not used.

    Raises:
        TrainError: tensors are missing, are others, or have other shapes.
    """
    own = net.state_dict()
    # Two modules were wrapped since some of the files were made.
    given = {_newer(name) if _newer(name) in own else name: x for name, x in state.items()}
    missing = [
        name for name in own if name not in given and not name.endswith("num_batches_tracked")
    ]
    different = [f"no {name}" for name in missing]
    different += [f"{name} has no place" for name in given if name not in own]
    different += [
        f"{name} is {tuple(x.shape)} there and {tuple(own[name].shape)} here"
        for name, x in given.items()
        if name in own and own[name].shape != x.shape
    ]
    if different:
        more = f" and {len(different) - 3} more" if len(different) > 3 else ""
        raise TrainError(
            f"these are not the weights of {model.reference}: {'; '.join(different[:3])}{more}"
        )
    net.load_state_dict({**own, **given})


def _newer(name: str) -> str:
    """What a tensor of a file from before torchvision 0.13 is called now."""
    longer = re.sub(r"(_blocks\.\d)\.(weight|bias)$", r"\1.0.\2", name)
    return re.sub(r"(rpn\.head\.conv)\.(weight|bias)$", r"\1.0.0.\2", longer)
