"""The OpenAPI document against the server, over HTTP: requests that fit it and that do not.

Every answer must have a status, a media type and a form that the document names; none may be 5xx.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from copy import deepcopy

import pytest
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable

from served import detector, settings_for
from whatwhere.serve.assembly import assemble
from whatwhere.serve.openapi import document
from whatwhere.serve.wire import protocol_for

schemathesis = pytest.importorskip("schemathesis")

_SECONDS = 60
OPERATIONS = [(method, path) for path, methods in document()["paths"].items() for method in methods]
PICTURES = {path for _, path in OPERATIONS if path.endswith(("/predict", "/infer"))}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with a prediction log, on a port of its own."""
    folder = tmp_path_factory.mktemp("server")
    asked = settings_for(detector(folder), log_url=f"sqlite:///{folder}/log.db")
    config = uvicorn.Config(
        assemble(asked), log_config=None, access_log=False, http=protocol_for(asked)
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(_SECONDS)
        assert not thread.is_alive()


@pytest.mark.parametrize("mode", ["POSITIVE", "NEGATIVE"])
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_the_server_does_as_its_document_says(
    address: str, method: str, path: str, mode: str
) -> None:
    about = deepcopy(document())
    if path == "/predict":
        # Schemathesis cannot make pictures, and takes no other bytes for them.
        del about["paths"][path][method]["requestBody"]["content"]["image/*"]
        # One of a microsecond is rightly answered with 503.
        options = about["paths"][path][method]["parameters"]
        options[:] = [option for option in options if option["name"] != "timeout"]
    operation = schemathesis.openapi.from_dict(about)[path][method.upper()]
    # Bytes that fit the document need not be a picture.
    no_pictures = {schemathesis.checks.positive_data_acceptance} if path in PICTURES else set()
    wanted = getattr(schemathesis.GenerationMode, mode)

    @settings(
        max_examples=15,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=wanted))
    def check(case: schemathesis.Case) -> None:
        case.call_and_validate(
            base_url=address, timeout=_SECONDS, excluded_checks=list(no_pictures)
        )

    try:
        check()
    except Unsatisfiable:
        if mode == "POSITIVE":
            raise
        pytest.skip("a request for this cannot be wrong")
