"""Metadata written anew, compared with what ONNX's own library reads."""

from __future__ import annotations

import onnx
import pytest

from factories import model_bytes
from whatwhere.errors import ModelError
from whatwhere.runtime.onnxwrite import with_metadata


def test_entries_are_replaced_and_all_else_stays() -> None:
    before = model_bytes("both")
    after = with_metadata(before, {"whatwhere": "ä" * 300, "new": ""}, "model.onnx")
    old, new = onnx.load_from_string(before), onnx.load_from_string(after)
    entries = {entry.key: entry.value for entry in new.metadata_props}
    kept = {entry.key: entry.value for entry in old.metadata_props}
    assert entries == kept | {"whatwhere": "ä" * 300, "new": ""}
    assert len(new.metadata_props) == len(entries)
    for model in (old, new):
        del model.metadata_props[:]
    assert old.SerializeToString() == new.SerializeToString()
    onnx.checker.check_model(after)


@pytest.mark.parametrize("cut", [1, 40])
def test_a_damaged_file_is_named(cut: int) -> None:
    with pytest.raises(ModelError, match=r"model\.onnx is not a whole ONNX file"):
        with_metadata(model_bytes("detect")[:-cut], {"a": "b"}, "model.onnx")
