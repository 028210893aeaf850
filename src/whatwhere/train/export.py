"""From a trained network to the model file, and the proof that they agree."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper
from torch import nn

from whatwhere.errors import TrainError
from whatwhere.exporting.half import store_half
from whatwhere.exporting.search import output_error
from whatwhere.runtime import load_file
from whatwhere.runtime.decode import sigmoid, softmax
from whatwhere.specs import ModelSpec
from whatwhere.types import Image

BOX_TOLERANCE = 0.01
"""Largest difference of a box's side between torch and the model file, in input pixels."""
SCORE_TOLERANCE = 1e-4
"""Largest difference of a score or a probability."""
HALF_BOX_TOLERANCE = 1.0
HALF_SCORE_TOLERANCE = 0.02
"""The same where weights are stored as float16, which is a small change of the model itself."""
HALF_SCORE = 0.1
"""With float16, boxes are compared where the score is above this: others are never shown."""
HALF_ANSWERS = 0.05
"""With float16, the largest mean `exporting.search.output_error` where rows have no fixed place."""

OUTPUTS = {"classify": ("logits",), "multilabel": ("logits",), "detect": ("boxes", "scores")}


def export_onnx(net: nn.Module, spec: ModelSpec) -> bytes:
    """The model file of a network, as bytes.

    Args:
        net: takes uint8 images (N, H, W, 3), gives the outputs of its task by name.
        spec: goes into the file's metadata.

    Raises:
        TrainError: torch cannot translate the network.
    """
    net = net.float().cpu().eval()
    height, width = spec.preprocess.size
    # Two pictures, because the exporter takes a batch of one for a constant.
    example = torch.zeros((2, height, width, 3), dtype=torch.uint8)
    names = OUTPUTS[spec.task]
    if spec.task == "detect" and spec.label_names:
        names = (*names, "logits")
    batch = torch.export.Dim("batch", min=1, max=65536)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                net,
                (example,),
                input_names=["images"],
                output_names=list(names),
                opset_version=18,
                dynamo=True,
                dynamic_shapes=({0: batch},),
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise TrainError(f"this network cannot be exported to ONNX: {error}") from error
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    del model.metadata_props[:]
    for part in (model.graph, *model.graph.node):
        # The exporter notes source lines of the machine it ran on.
        del part.metadata_props[:]
    helper.set_model_props(model, spec.to_metadata())
    model.producer_name = "whatwhere"
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


def torch_outputs(net: nn.Module, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    """What the network itself answers in float32; images uint8 (N, H, W, 3)."""
    device = next(net.parameters()).device
    with torch.no_grad():
        answer = net.eval()(torch.from_numpy(images).to(device))
    return {name: value.float().cpu().numpy() for name, value in answer.items()}


def parity(
    net: nn.Module, file: bytes, pictures: Sequence[Image], *, least: float = 0.0
) -> dict[str, float]:
    """Largest differences between the network and its model file on real pictures.

    Args:
        net: the trained network, float32.
        file: its model file.
        pictures: uint8 (H, W, 3).
        least: compare boxes only where the network gives at least this score.

    Returns:
        `boxes` in input pixels, `scores` (probabilities), and `labels` (probabilities of a
        second head), where the model has them.
    """
    predictor = load_file(file, where="the exported model", backend="onnxruntime")
    spec = predictor.spec
    task = spec.task
    worst: dict[str, float] = {}
    prepare = spec.preprocess.build()
    for images in _settled(net, [prepare(picture)[0][None] for picture in pictures]):
        ours, theirs = torch_outputs(net, images), predictor.backend(images)
        unordered = getattr(net, "unordered", False)
        if unordered:
            theirs = partners(ours, theirs)
        differences: dict[str, Any] = {}
        if task == "detect":
            shown = ours["scores"].max(-1) >= least
            # Rows without fixed places are the same ones only where they found something.
            scored = shown if unordered else slice(None)
            apart = np.abs(ours["boxes"] - theirs["boxes"])[shown]
            differences = {
                "boxes": apart.max(initial=0.0),
                "scores": np.abs(ours["scores"] - theirs["scores"])[scored].max(initial=0.0),
            }
        if "logits" in ours:
            kind = spec.label_task if task == "detect" else task
            squash = softmax if kind == "classify" else sigmoid
            apart = np.abs(squash(ours["logits"]) - squash(theirs["logits"]))
            differences["labels" if task == "detect" else "scores"] = apart.max()
        for name, value in differences.items():
            # Not max(): a NaN must win, so that the check refuses it.
            worst[name] = float(np.maximum(worst.get(name, 0.0), value))
    return worst


def partners(
    ours: Mapping[str, NDArray[Any]], theirs: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """Rows of `theirs` in the order of the rows of `ours` to which they are nearest.

    Args:
        ours, theirs: `boxes` (1, Q, 4) in input pixels and `scores` (1, Q, C) of one picture.
    """
    from scipy.optimize import linear_sum_assignment

    boxes = np.abs(ours["boxes"][0][:, None] - theirs["boxes"][0][None]).sum(-1)
    scores = np.abs(ours["scores"][0][:, None] - theirs["scores"][0][None]).sum(-1)
    # A hundredth of a score weighs as much as a pixel.
    order = linear_sum_assignment(boxes + 100 * scores)[1]
    return {**theirs, "boxes": theirs["boxes"][:, order], "scores": theirs["scores"][:, order]}


def _settled(net: nn.Module, canvases: list[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
    """Canvases on which rounding cannot change what a network chooses; all, if there are none."""
    clear: Any = getattr(net, "settled", None)
    if clear is None:
        return canvases
    device = next(net.parameters()).device
    kept = [images for images in canvases if clear(torch.from_numpy(images).to(device))]
    return kept or canvases


def check_parity(worst: dict[str, float], *, half: bool = False) -> None:
    """Refuse a model file whose answers differ from the network's.

    Raises:
        TrainError: a difference is beyond its tolerance, or not a number.
    """
    limits = {
        "answers": HALF_ANSWERS,
        "boxes": HALF_BOX_TOLERANCE if half else BOX_TOLERANCE,
        "scores": HALF_SCORE_TOLERANCE if half else SCORE_TOLERANCE,
        "labels": HALF_SCORE_TOLERANCE if half else SCORE_TOLERANCE,
    }
    advice = (
        "export without half precision"
        if half
        else "please report this with the versions of torch, onnx and onnxruntime"
    )
    for name, value in worst.items():
        if not value <= limits[name]:
            raise TrainError(
                f"the exported model differs from the trained network by {value:.2g} in its"
                f" {name} (at most {limits[name]:g} is allowed): nothing was written; {advice}"
            )


def checked_file(
    net: nn.Module,
    spec: ModelSpec,
    pictures: Sequence[Image],
    *,
    half: bool = False,
    least: float = 0.0,
) -> tuple[bytes, dict[str, float]]:
    """The model file, after its answers were compared with the network's.

    Args:
        net: the trained network, float32.
        spec: its spec.
        pictures: real pictures, uint8 (H, W, 3), for the comparison.
        half: store weights as float16; they are widened when the file is loaded, so
            computing stays in float32. The comparison then has wider tolerances, after the
            float32 file has passed with the narrow ones. Where the network's rows have no fixed
            places, or it chooses regions, what the two files find is compared: `answers` in place
            of the other keys.
        least: compare boxes of the float32 file only where the network gives at least this score.

    Returns:
        The file's bytes and the largest differences, see `parity`.

    Raises:
        TrainError: torch cannot translate the network, or the answers differ too much.
    """
    file = export_onnx(net, spec)
    worst = parity(net, file, pictures, least=least)
    check_parity(worst)
    if half:
        small = store_half(file)
        if getattr(net, "unordered", False) or hasattr(net, "settled"):
            # Rounded weights choose other regions to look at: only what is found can be compared.
            worst = {"answers": _answers_apart(file, small, pictures)}
        else:
            worst = parity(net, small, pictures, least=HALF_SCORE)
        check_parity(worst, half=True)
        file = small
    return file, worst


def _answers_apart(file: bytes, other: bytes, pictures: Sequence[Image]) -> float:
    """Mean difference in 0..1 of what two detectors find."""
    one, two = (
        load_file(data, where="the exported model", backend="onnxruntime") for data in (file, other)
    )
    prepare = one.spec.preprocess.build()
    canvases = [prepare(picture)[0][None] for picture in pictures]
    errors = [output_error(one.backend(c), two.backend(c), one.spec) for c in canvases]
    return float(np.mean(errors))


def with_spec(file: bytes, spec: ModelSpec) -> bytes:
    """The same model with another spec in its metadata."""
    model = onnx.load_from_string(file)
    del model.metadata_props[:]
    helper.set_model_props(model, spec.to_metadata())
    data: bytes = model.SerializeToString()
    return data
