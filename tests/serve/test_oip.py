"""The Open Inference Protocol: metadata, tensors as JSON and as bytes, refusals."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

import whatwhere as ww
from factories import picture, write_model
from served import PNG, Remembering, detector, service_of, serving
from whatwhere.images import read_image
from whatwhere.serve.oip.schemas import InferAnswer, ModelMetadata
from whatwhere.serve.oip.tensors import json_bytes, parsed_bytes, read_question

INFER = "/v2/models/cells/infer"
PIXELS = picture((0, 1, 0), (2, 2, 1))
HEADER = "Inference-Header-Content-Length"


@pytest.fixture
def watcher() -> Remembering:
    return Remembering()


@pytest.fixture
def client(tmp_path: Path, watcher: Remembering) -> Iterator[TestClient]:
    both = write_model(tmp_path / "both.onnx", "both")
    with serving(
        f"cells@7={detector(tmp_path)}", both, observers=[watcher], aliases={"now": "cells@7"}
    ) as made:
        yield made


def files(*data: bytes) -> dict[str, Any]:
    """A tensor of encoded pictures, in JSON."""
    texts = [base64.b64encode(one).decode() for one in data]
    return {"name": "image_files", "shape": [len(texts)], "datatype": "BYTES", "data": texts}


def ask(client: TestClient, tensor: dict[str, Any], **more: Any) -> Any:
    return client.post(INFER, json={"inputs": [tensor], **more})


def arrays(answer: Any) -> dict[str, Any]:
    """The tensors of an answer in JSON."""
    assert answer.status_code == 200, answer.text
    body = InferAnswer.model_validate(answer.json())
    return {one.name: np.array(one.data).reshape(one.shape) for one in body.outputs}


def with_bytes(inputs: list[Mapping[str, Any]], *behind: bytes, **more: Any) -> dict[str, Any]:
    """A request with bytes behind its JSON."""
    text = json.dumps({"inputs": inputs, **more}).encode()
    return {"content": text + b"".join(behind), "headers": {HEADER: str(len(text))}}


def test_the_server_and_its_models_say_what_they_are(client: TestClient) -> None:
    about = client.get("/v2").json()
    assert about == {
        "name": "whatwhere",
        "version": ww.__version__,
        "extensions": ["binary_tensor_data"],
    }
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    for path in ("cells", "now", "cells/versions/7"):
        model = ModelMetadata.model_validate(client.get(f"/v2/models/{path}").json())
        assert (model.name, model.versions) == ("cells", ["7"])
        assert [one.name for one in model.inputs] == ["images", "image_files"]
        outputs = {one.name: (one.datatype, one.shape) for one in model.outputs}
        assert outputs["boxes"] == ("FP32", [-1, -1, 4])
        assert "label_names" not in outputs
        ready = client.get(f"/v2/models/{path}/ready")
        assert ready.json() == {"name": "cells", "ready": True}
    outputs = client.get("/v2/models/both").json()["outputs"]
    assert {"boxes", "label_names"} <= {one["name"] for one in outputs}
    assert client.get("/v2/models/none").status_code == 404
    assert client.get("/v2/models/cells/versions/8/ready").status_code == 404
    service_of(client).ending = True
    for path in ("/v2/health/ready", "/v2/models/cells/ready"):
        assert client.get(path).status_code == 400
    assert client.get("/v2/health/live").status_code == 200


def test_encoded_pictures_give_what_predict_does(client: TestClient, tmp_path: Path) -> None:
    found = arrays(ask(client, files(PNG, PNG)))
    expected = ww.load(tmp_path / "cells.onnx").predict(PNG)
    assert expected.boxes is not None
    assert found["count"].tolist() == [2, 2]
    for row in (0, 1):
        np.testing.assert_allclose(found["boxes"][row], expected.boxes)
        np.testing.assert_allclose(found["scores"][row], expected.scores)
        assert tuple(found["names"][row]) == expected.names
        record = json.loads(found["json"][row])
        assert record["ms"] > 0
        assert record["objects"] == expected.to_dict()["objects"]


def test_pixels_may_be_flat_nested_or_bytes(client: TestClient) -> None:
    small = np.ascontiguousarray(PIXELS[:64, :64])[None]
    tensor = {"name": "images", "shape": list(small.shape), "datatype": "UINT8"}
    flat = arrays(ask(client, tensor | {"data": small.ravel().tolist()}))
    nested = arrays(ask(client, tensor | {"data": small.tolist()}))
    behind = tensor | {"parameters": {"binary_data_size": small.nbytes}}
    binary = arrays(client.post(INFER, **with_bytes([behind], small.tobytes())))
    expected = service_of(client).repository.resolve().engine.predictor.predict(small[0])
    for found in (flat, nested, binary):
        assert found["count"].tolist() == [len(expected)]
        np.testing.assert_allclose(found["scores"][0], expected.scores)


def test_rows_of_pictures_are_filled_up(client: TestClient) -> None:
    three = [PIXELS, np.zeros_like(PIXELS), picture((0, 1, 0))]
    data = np.stack(three)
    tensor = {
        "name": "images",
        "shape": list(data.shape),
        "datatype": "UINT8",
        "parameters": {"binary_data_size": data.nbytes},
    }
    found = arrays(client.post(INFER, **with_bytes([tensor], data.tobytes())))
    assert found["count"].tolist() == [2, 0, 1]
    assert found["boxes"].shape == (3, 2, 4)
    assert not found["boxes"][1].any()
    assert found["names"][1].tolist() == ["", ""]
    assert found["names"][2].tolist()[1] == ""
    assert found["scores"][2, 1] == 0


def test_outputs_are_those_that_are_asked_for(client: TestClient) -> None:
    outputs = [
        {"name": "names", "parameters": {"binary_data": True}},
        {"name": "count"},
        {"name": "scores", "parameters": {"binary_data": True}},
    ]
    element = len(PNG).to_bytes(4, "little") + PNG
    tensor = {
        "name": "image_files",
        "shape": [1, 1],
        "datatype": "BYTES",
        "parameters": {"binary_data_size": len(element)},
    }
    answer = client.post(INFER, **with_bytes([tensor], element, id="abc", outputs=outputs))
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/octet-stream"
    length = int(answer.headers[HEADER])
    body = InferAnswer.model_validate_json(answer.content[:length])
    assert (body.id, body.model_name, body.model_version) == ("abc", "cells", "7")
    assert [one.name for one in body.outputs] == ["names", "count", "scores"]
    names, count, scores = body.outputs
    assert count.data == [2]
    assert names.parameters is not None
    assert scores.parameters is not None
    behind = answer.content[length:]
    size = names.parameters["binary_data_size"]
    assert behind[:size] == b"\x03\0\0\0red\x05\0\0\0green"
    values = np.frombuffer(behind[size:], "<f4")
    assert len(values) * 4 == scores.parameters["binary_data_size"]
    expected = service_of(client).repository.resolve().engine.predictor.predict(PNG).scores
    np.testing.assert_array_equal(values, expected)


def test_parameters_of_a_request(client: TestClient) -> None:
    none = arrays(ask(client, files(PNG), parameters={"threshold": 1, "priority": 0}))
    assert none["count"][0] <= 2
    more = arrays(ask(client, files(PNG), parameters={"threshold": 0, "timeout": 30_000_000}))
    assert more["count"][0] > 2
    whole = ask(client, files(PNG), parameters={"binary_data_output": True})
    body = json.loads(whole.content[: int(whole.headers[HEADER])])
    assert all("data" not in one for one in body["outputs"])


def test_a_body_without_json_is_one_picture(client: TestClient) -> None:
    answer = client.post(INFER, content=PNG, headers={HEADER: "0"})
    assert arrays(answer)["count"].tolist() == [2]


ONE = files(PNG)
TINY = {"name": "images", "shape": [1, 1, 1, 3], "datatype": "UINT8"}


@pytest.mark.parametrize(
    ("request_", "status", "word"),
    [
        ({"content": b""}, 400, "empty"),
        ({"content": b"{"}, 400, "does not fit the protocol"),
        ({"content": b"[" * 5000}, 400, "does not fit the protocol"),
        ({"content": b"\xff\xd8"}, 400, "does not fit the protocol"),
        ({"json": {"inputs": []}}, 400, "inputs"),
        ({"json": {"inputs": [ONE], "extra": 1}}, 400, "extra"),
        ({"json": {"inputs": [ONE, ONE]}}, 400, "not both"),
        ({"json": {"inputs": [ONE], "parameters": {"thresold": 1}}}, 400, "thresold"),
        ({"json": {"inputs": [ONE], "parameters": {"threshold": 2}}}, 400, "threshold"),
        ({"json": {"inputs": [ONE], "parameters": {"threshold": True}}}, 400, "threshold"),
        ({"json": {"inputs": [ONE], "parameters": {"timeout": -1}}}, 400, "timeout"),
        ({"json": {"inputs": [ONE], "parameters": {"binary_data_output": 1}}}, 400, "true or"),
        ({"json": {"inputs": [ONE], "outputs": [{"name": "nothing"}]}}, 400, "choose from"),
        ({"json": {"inputs": [ONE | {"name": "x"}]}}, 400, "image_files"),
        ({"json": {"inputs": [ONE | {"datatype": "FP32"}]}}, 400, "BYTES"),
        ({"json": {"inputs": [ONE | {"shape": [2]}]}}, 400, "1 elements"),
        ({"json": {"inputs": [ONE | {"shape": []}]}}, 400, "shape"),
        ({"json": {"inputs": [ONE | {"shape": [0], "data": []}]}}, 400, "shape"),
        ({"json": {"inputs": [ONE | {"shape": [65]}]}}, 413, "at most 64"),
        ({"json": {"inputs": [ONE | {"data": ["not base64"]}]}}, 400, "base64"),
        ({"json": {"inputs": [ONE | {"data": [1]}]}}, 400, "base64"),
        ({"json": {"inputs": [ONE | {"data": None}]}}, 400, "has no data"),
        ({"json": {"inputs": [ONE | {"data": ["AAAA"]}]}}, 422, "the picture"),
        ({"json": {"inputs": [files(PNG, b"x")]}}, 422, "picture 2"),
        ({"json": {"inputs": [TINY | {"data": [1, 2]}]}}, 400, "3 values"),
        ({"json": {"inputs": [TINY | {"data": [[1, 2, 3]]}]}}, 400, "3 values"),
        ({"json": {"inputs": [TINY | {"data": [1, 2, 256]}]}}, 400, "0..255"),
        ({"json": {"inputs": [TINY | {"data": [1, 2, -1]}]}}, 400, "0..255"),
        ({"json": {"inputs": [TINY | {"data": [1, 2, 0.5]}]}}, 400, "0..255"),
        ({"json": {"inputs": [TINY | {"data": [1, 2, None]}]}}, 400, "0..255"),
        ({"json": {"inputs": [TINY | {"data": [1, 2, 10**400]}]}}, 400, ""),
        ({"json": {"inputs": [TINY | {"data": [[1, 2], [3]]}]}}, 400, "different lengths"),
        ({"json": {"inputs": [TINY | {"data": [1, 2, {}]}]}}, 400, "no numbers"),
        ({"json": {"inputs": [TINY | {"shape": [1, 10**9, 10**9, 3]}]}}, 400, "no data"),
        (
            {"json": {"inputs": [TINY | {"shape": [1, 10**9, 10**9, 3], "data": [1]}]}},
            422,
            "over the limit",
        ),
        ({"content": PNG, "headers": {HEADER: "x"}}, 400, HEADER),
        ({"content": PNG, "headers": {HEADER: "99999"}}, 400, HEADER),
        (with_bytes([TINY | {"parameters": {"binary_data_size": 4}}], b"abc"), 400, "3 bytes"),
        (with_bytes([TINY | {"parameters": {"binary_data_size": 2}}], b"ab"), 400, "need 3"),
        (with_bytes([TINY | {"parameters": {"binary_data_size": -1}}], b"ab"), 400, "does not fit"),
        (
            with_bytes([TINY | {"parameters": {"binary_data_size": True}}], b"a"),
            400,
            "does not fit",
        ),
        (with_bytes([ONE], b"abc"), 400, "belong to no input"),
        (with_bytes([ONE | {"parameters": {"binary_data_size": 1}}], b"a"), 400, "one of them"),
        (
            with_bytes(
                [
                    {
                        "name": "image_files",
                        "shape": [1],
                        "datatype": "BYTES",
                        "parameters": {"binary_data_size": 6},
                    }
                ],
                b"\xff\xff\xff\xff12",
            ),
            400,
            "middle of an element",
        ),
        ({"json": {"inputs": [ONE]}, "headers": {"Content-Encoding": "gzip"}}, 415, "compressed"),
    ],
)
def test_refusals_are_sentences(
    client: TestClient, request_: dict[str, Any], status: int, word: str
) -> None:
    answer = client.post(INFER, **request_)
    assert answer.status_code == status, answer.text
    said = answer.json()["error"]
    assert word in said
    assert "\n" not in said
    assert "Traceback" not in said


def test_large_json_is_weighed_before_it_is_read(tmp_path: Path) -> None:
    tensor = TINY | {"shape": [1, 200, 200, 3], "data": [0] * 120_000}
    limits = {"upload_bytes": 4_000_000, "upload_bytes_together": 20_000_000}
    with serving(detector(tmp_path), **limits) as client:
        answer = ask(client, tensor)
        assert answer.status_code == 413
        assert "image_files" in answer.json()["error"]
        gate = service_of(client).gate
        assert gate.bytes == gate.requests == 0
    with serving(detector(tmp_path)) as client:
        assert arrays(ask(client, tensor))["count"].tolist() == [0]


def test_the_weight_of_json_is_an_upper_bound() -> None:
    """Beside the text itself: lists of small lists grow most."""
    import tracemalloc

    for body in (b"[" + b"[]," * 50_000 + b"1]", b"[" + b"1.5," * 50_000 + b"1]"):
        tracemalloc.start()
        value = json.loads(body)
        grown, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert value
        assert grown <= parsed_bytes(body, len(body))


def test_watchers_see_the_pictures(client: TestClient, watcher: Remembering) -> None:
    ask(client, files(PNG, PNG), parameters={"threshold": 0.6})
    ask(client, files(PNG, b"x"))
    client.post("/v2/models/invented/infer", json={})
    rows = [(one.status, one.place, one.model, one.route) for one in watcher.served]
    infer = "/v2/models/{model}/infer"
    assert rows == [
        (200, 0, "cells", infer),
        (200, 1, "cells", infer),
        (422, 0, "cells", infer),
        (422, 1, "cells", infer),
        (404, 0, "", infer),
    ]
    assert watcher.served[0].threshold == 0.6


def test_questions_are_read_without_a_server() -> None:
    body = json.dumps({"inputs": [TINY | {"data": [1, 2, 3]}]}).encode()
    question = read_question(body, json_bytes(None, body), 1, 1)
    (pixels,) = question.pictures
    assert isinstance(pixels, np.ndarray)
    assert pixels.tolist() == [[[1, 2, 3]]]
    body = b'{"inputs": []}'
    assert json_bytes("5", body) == 5
    assert read_image(PNG).shape == PIXELS.shape
