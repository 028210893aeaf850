"""From a trained network to the model file, and the proof that they agree."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from whatwhere.errors import TrainError
from whatwhere.runtime import load_file
from whatwhere.specs import ModelSpec
from whatwhere.types import Image

BOX_TOLERANCE = 0.01
"""Largest difference of a box's side between torch and the model file, in input pixels."""
SCORE_TOLERANCE = 1e-4
"""Largest difference of a score or a probability."""

OUTPUTS = {"classify": ("logits",), "multilabel": ("logits",), "detect": ("boxes", "scores")}


def export_onnx(net: nn.Module, spec: ModelSpec, *, half: bool = False) -> bytes:
    """The model file of a network, as bytes.

    Args:
        net: takes uint8 images (N, H, W, 3), gives the outputs of its task by name.
        spec: goes into the file's metadata.
        half: store weights as float16; they are widened when the file is loaded, so
            computing stays in float32.

    Raises:
        TrainError: torch cannot translate the network.
    """
    net = net.float().cpu().eval()
    height, width = spec.preprocess.size
    # Two pictures, because the exporter takes a batch of one for a constant.
    example = torch.zeros((2, height, width, 3), dtype=torch.uint8)
    names = OUTPUTS[spec.task]
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
    if half:
        _store_half(model)
    del model.metadata_props[:]
    for part in (model.graph, *model.graph.node):
        # The exporter notes source lines of the machine it ran on.
        del part.metadata_props[:]
    helper.set_model_props(model, spec.to_metadata())
    model.producer_name = "whatwhere"
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


def _store_half(model: onnx.ModelProto) -> None:
    """Float32 weights become float16 with a Cast behind them, which runtimes fold at load."""
    graph = model.graph
    casts = []
    for tensor in graph.initializer:
        # Small tensors (biases, constants of the box arithmetic) cost nothing and keep precision.
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < 256:
            continue
        name = tensor.name
        array = numpy_helper.to_array(tensor).astype(np.float16)
        if not np.isfinite(array).all():
            continue
        tensor.CopyFrom(numpy_helper.from_array(array, f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    for cast in reversed(casts):
        graph.node.insert(0, cast)


def torch_outputs(net: nn.Module, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    """What the network itself answers in float32; images uint8 (N, H, W, 3)."""
    device = next(net.parameters()).device
    with torch.no_grad():
        answer = net.eval()(torch.from_numpy(images).to(device))
    return {name: value.float().cpu().numpy() for name, value in answer.items()}


def parity(net: nn.Module, file: bytes, pictures: Sequence[Image]) -> dict[str, float]:
    """Largest differences between the network and its model file on real pictures.

    Returns:
        `boxes` in input pixels, `scores` (probabilities), where the task has them.
    """
    predictor = load_file(file, where="the exported model", backend="onnxruntime")
    task = predictor.spec.task
    worst: dict[str, float] = {}
    for picture in pictures:
        canvas, _ = predictor.prepare(picture)
        images = canvas[None]
        ours, theirs = torch_outputs(net, images), predictor.backend(images)
        if task == "detect":
            differences = {
                "boxes": np.abs(ours["boxes"] - theirs["boxes"]).max(),
                "scores": np.abs(ours["scores"] - theirs["scores"]).max(),
            }
        else:
            from whatwhere.runtime.decode import sigmoid, softmax

            squash = softmax if task == "classify" else sigmoid
            differences = {
                "scores": np.abs(squash(ours["logits"]) - squash(theirs["logits"])).max()
            }
        for name, value in differences.items():
            worst[name] = max(worst.get(name, 0.0), float(value))
    return worst


def check_parity(worst: dict[str, float]) -> None:
    """Refuse a model file whose answers differ from the network's.

    Raises:
        TrainError: a difference is beyond its tolerance, or not a number.
    """
    limits = {"boxes": BOX_TOLERANCE, "scores": SCORE_TOLERANCE}
    for name, value in worst.items():
        if not value <= limits[name]:
            raise TrainError(
                f"the exported model differs from the trained network by {value:.2g} in its"
                f" {name} (at most {limits[name]:g} is allowed): nothing was written; please"
                " report this with the versions of torch, onnx and onnxruntime"
            )


def checked_file(
    net: nn.Module, spec: ModelSpec, pictures: Sequence[Image], *, half: bool = False
) -> tuple[bytes, dict[str, float]]:
    """The model file, after its answers were compared with the network's.

    Args:
        net: the trained network, float32.
        spec: its spec.
        pictures: real pictures, uint8 (H, W, 3), for the comparison.
        half: see `export_onnx`. The network's own weights are rounded for the comparison,
            so that both sides have the same ones.

    Returns:
        The file's bytes and the largest differences, see `parity`.

    Raises:
        TrainError: torch cannot translate the network, or the answers differ too much.
    """
    file = export_onnx(net, spec, half=half)
    worst = parity(round_weights(net, file) if half else net, file, pictures)
    check_parity(worst)
    return file, worst


def with_spec(file: bytes, spec: ModelSpec) -> bytes:
    """The same model with another spec in its metadata."""
    model = onnx.load_from_string(file)
    del model.metadata_props[:]
    helper.set_model_props(model, spec.to_metadata())
    data: bytes = model.SerializeToString()
    return data


def round_weights(net: nn.Module, file: bytes) -> nn.Module:
    """A copy of the network whose stored weights went through float16 as in `file`."""
    from copy import deepcopy

    halved = {
        tensor.name.removesuffix(".half")
        for tensor in onnx.load_from_string(file).graph.initializer
        if tensor.name.endswith(".half")
    }
    copy = deepcopy(net)
    with torch.no_grad():
        for name, tensor in copy.state_dict(keep_vars=True).items():
            if name in halved:
                tensor.copy_(tensor.half().float())
    return copy
