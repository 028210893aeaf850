"""The Open Inference Protocol as Triton's own client speaks it.

A development tool, skipped where it is not installed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from factories import NAMES, picture
from served import PNG, detector, listening, settings_for
from whatwhere.serve.app import create_app

triton = pytest.importorskip("tritonclient.http", exc_type=ImportError)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Any]:
    app = create_app(settings_for(f"cells@7={detector(tmp_path)}"))
    with listening(app) as address:
        made = triton.InferenceServerClient(address.removeprefix("http://"))
        yield made
        made.close()


def files(*data: bytes, binary: bool = True) -> Any:
    tensor = triton.InferInput("image_files", [len(data)], "BYTES")
    tensor.set_data_from_numpy(np.array(data, dtype=object), binary_data=binary)
    return tensor


def test_health_and_metadata(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("cells")
    assert client.is_model_ready("cells", "7")
    assert not client.is_model_ready("none")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    assert client.get_model_metadata("cells")["versions"] == ["7"]


def test_encoded_pictures_in_all_outputs(client: Any) -> None:
    answer = client.infer("cells", [files(PNG, PNG)], request_id="a", timeout=30_000_000)
    assert answer.get_response()["id"] == "a"
    assert answer.as_numpy("count").tolist() == [2, 2]
    assert answer.as_numpy("boxes").shape == (2, 2, 4)
    assert answer.as_numpy("names")[1].tolist() == [name.encode() for name in NAMES[:2]]
    assert answer.as_numpy("json").dtype == object


def test_pixels_in_chosen_outputs(client: Any) -> None:
    pixels = np.stack([picture((0, 1, 0)), np.zeros_like(picture((0, 1, 0)))])
    for binary_in in (True, False):
        small = np.ascontiguousarray(pixels[:, :64, :64])
        tensor = triton.InferInput("images", small.shape, "UINT8")
        tensor.set_data_from_numpy(small, binary_data=binary_in)
        for binary_out in (True, False):
            outputs = [
                triton.InferRequestedOutput(name, binary_data=binary_out)
                for name in ("scores", "count")
            ]
            answer = client.infer("cells", [tensor], model_version="7", outputs=outputs)
            assert answer.as_numpy("count")[1] == 0
            assert answer.as_numpy("scores").dtype == np.float32
            assert answer.as_numpy("boxes") is None


def test_refusals_keep_their_sentence(client: Any) -> None:
    with pytest.raises(Exception, match="picture 2"):
        client.infer("cells", [files(PNG, b"x")])
    with pytest.raises(Exception, match="no output"):
        client.infer("cells", [files(PNG)], outputs=[triton.InferRequestedOutput("x")])
    with pytest.raises(Exception, match="compressed"):
        client.infer("cells", [files(PNG)], request_compression_algorithm="gzip")
