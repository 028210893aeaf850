"""The smallest model file: a classifier that looks at the mean colour."""

from __future__ import annotations

from pathlib import Path

from onnx import TensorProto, checker, helper, save

from whatwhere.specs import ModelSpec, PreprocessSpec


def write_model(path: Path, names: tuple[str, ...] = ("red", "green", "blue")) -> Path:
    """A classifier whose logits are the mean red, green and blue of the picture."""
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["pixels"], ["logits"], axes=[1, 2], keepdims=0),
        ],
        "colours",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", 8, 8, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    spec = ModelSpec(
        name="colours", task="classify", names=names, preprocess=PreprocessSpec(size=(8, 8))
    )
    helper.set_model_props(model, spec.to_metadata())
    checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    save(model, str(path))
    return path
