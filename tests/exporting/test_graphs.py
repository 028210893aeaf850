"""Graphs made ready: folded, their layers found; pixels that enter as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper

from exported_models import MEAN, classifier, detector
from whatwhere.errors import ModelError
from whatwhere.exporting.entrance import folded_pixels
from whatwhere.exporting.graphs import find_trunk, folded, groups_of, opset_of


def run(model: Any, images: np.ndarray) -> list[np.ndarray]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(None, {session.get_inputs()[0].name: images}))


def pictures(count: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3)).astype(np.uint8)


def test_folding_changes_no_answer_and_names_every_node() -> None:
    model = onnx.load_from_string(detector())
    for node in model.graph.node:
        node.name = ""
    graph = folded(model.SerializeToString(), "small")
    names = [node.name for node in graph.graph.node]
    assert len(set(names)) == len(names)
    assert {one.domain for one in graph.opset_import} == {""}
    for ours, theirs in zip(run(model, pictures()), run(graph, pictures()), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_what_follows_the_last_layer_is_not_of_the_trunk() -> None:
    trunk = find_trunk(folded(detector(), "small"))
    assert trunk.layers == ("one", "two")
    assert trunk.heads == ("two",)
    assert "rectifier" in trunk.nodes
    assert not {"rows", "turn", "squash", "boxes"} & set(trunk.nodes)
    work = trunk.work({trunk.outputs["one"]: 32 * 16, trunk.outputs["two"]: 3 * 16})
    assert work == {"one": 3 * 64 * 32 * 16.0, "two": 32 * 3 * 16.0}


def test_groups_hold_every_node_of_the_trunk_once() -> None:
    trunk = find_trunk(folded(classifier(), "small"))
    assert trunk.layers == ("one", "two", "three")
    groups = groups_of(trunk)
    assert groups[0] == ("three",)
    assert sorted(name for group in groups for name in group) == sorted(trunk.nodes)
    assert len(groups_of(trunk, 1)) == 2


def test_a_graph_without_layers_is_refused() -> None:
    node = helper.make_node("Identity", ["a"], ["b"], name="n")
    ports = [helper.make_tensor_value_info(name, 1, [1, 3]) for name in "ab"]
    graph = helper.make_graph([node], "g", ports[:1], ports[1:])
    with pytest.raises(ModelError, match="no layer"):
        find_trunk(helper.make_model(graph))


def test_an_old_opset_is_brought_to_a_new_one() -> None:
    weights = numpy_helper.from_array(np.ones((8, 3, 3, 3), np.float32), "w")
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    ports = [helper.make_tensor_value_info(name, 1, None) for name in "xy"]
    shaped = helper.make_tensor_value_info("x", 1, [1, 3, 8, 8])
    graph = helper.make_graph([node], "g", [shaped], ports[1:], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=7)
    assert opset_of(folded(model.SerializeToString(), "old")) >= 13


def test_pixels_enter_as_they_are() -> None:
    graph = folded(classifier(), "small")
    changed, entrance = folded_pixels(graph)
    assert entrance is not None
    assert entrance.zero == MEAN
    assert entrance.span == (-MEAN, 255 - MEAN)
    kinds = [node.op_type for node in changed.graph.node]
    assert "Div" not in kinds
    np.testing.assert_allclose(run(graph, pictures())[0], run(changed, pictures())[0], atol=1e-4)
    assert "Div" in [node.op_type for node in graph.graph.node], "the given graph stays"


def test_means_that_differ_a_little_change_the_border_only() -> None:
    model = onnx.load_from_string(classifier())
    for one in model.graph.initializer:
        if one.name == "mean":
            means = np.array([120, 118, 112], np.float32).reshape(3, 1, 1)
            one.CopyFrom(numpy_helper.from_array(means, "mean"))
    model.graph.output.append(helper.make_tensor_value_info("c1", 1, None))
    graph = folded(model.SerializeToString(), "small")
    changed, entrance = folded_pixels(graph)
    assert entrance is not None
    assert entrance.zero == 117
    ours, theirs = run(graph, pictures())[1], run(changed, pictures())[1]
    inside = (slice(None), slice(None), slice(1, -1), slice(1, -1))
    np.testing.assert_allclose(ours[inside], theirs[inside], atol=1e-4)
    assert np.abs(ours - theirs).max() > 1e-3


@pytest.mark.parametrize("means", [[200, 118, 60], [1000, 1000, 1000]], ids=["apart", "far"])
def test_other_beginnings_are_left_alone(means: list[float]) -> None:
    model = onnx.load_from_string(classifier())
    for one in model.graph.initializer:
        if one.name == "mean":
            values = np.array(means, np.float32).reshape(3, 1, 1)
            one.CopyFrom(numpy_helper.from_array(values, "mean"))
    graph = folded(model.SerializeToString(), "small")
    assert folded_pixels(graph) == (graph, None)
