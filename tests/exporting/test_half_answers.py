"""Half precision of networks whose boxes have no fixed places: what is found is compared."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from exported_models import SIDE, detector
from whatwhere.errors import TrainError
from whatwhere.exporting.half import store_half
from whatwhere.train import export as module


def turned(file: bytes) -> bytes:
    """The same detector with its boxes in the other order."""
    model = onnx.load_from_string(file)
    count = (SIDE // 8) ** 2
    order = onnx.numpy_helper.from_array(np.arange(count)[::-1].copy(), "order")
    model.graph.initializer.append(order)
    for name in ("boxes", "scores"):
        for node in model.graph.node:
            node.output[:] = [f"{name}_kept" if one == name else one for one in node.output]
            node.input[:] = [f"{name}_kept" if one == name else one for one in node.input]
        model.graph.node.append(
            onnx.helper.make_node("Gather", [f"{name}_kept", "order"], [name], axis=1)
        )
    return bytes(model.SerializeToString())


def pictures() -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (3, 40, 48, 3)).astype(np.uint8))


def test_the_order_of_boxes_does_not_count() -> None:
    file = detector()
    apart = module._answers_apart(file, turned(store_half(file)), pictures())
    assert 0 <= apart < 0.01
    module.check_parity({"answers": apart}, half=True)


def test_what_is_lost_does_count() -> None:
    model = onnx.load_from_string(detector())
    for one in model.graph.initializer:
        if one.name == "grid":
            shifted = onnx.numpy_helper.to_array(one) + 6
            one.CopyFrom(onnx.numpy_helper.from_array(shifted, "grid"))
    apart = module._answers_apart(detector(), bytes(model.SerializeToString()), pictures())
    assert apart > 0.5
    with pytest.raises(TrainError, match="without half precision"):
        module.check_parity({"answers": apart}, half=True)
