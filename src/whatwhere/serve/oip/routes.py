"""The addresses of the protocol."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from whatwhere import __version__
from whatwhere.serve.bodies import read_body
from whatwhere.serve.errors import RefusedError, refusal
from whatwhere.serve.limits import Held
from whatwhere.serve.loading import Loaded
from whatwhere.serve.oip.answers import answer_of, outputs_of, wanted
from whatwhere.serve.oip.schemas import LiveAnswer, ModelMetadata, ReadyAnswer, ServerMetadata
from whatwhere.serve.oip.tensors import INPUTS, Question, json_bytes, parsed_bytes, read_question
from whatwhere.serve.service import Service, public_words

HEADER = "Inference-Header-Content-Length"
# Bodies up to here are read in the event loop: a thread would take longer.
_SMALL = 65_536
# The protocol says "no" to whether something is ready with a status 400 to 499.
_NOT_READY = 400
_SERVICE_UNAVAILABLE = 503


async def server(request: Request) -> Response:
    """What the server is."""
    about = ServerMetadata(name="whatwhere", version=__version__, extensions=["binary_tensor_data"])
    return JSONResponse(about.model_dump())


async def live(request: Request) -> Response:
    """The process answers; needs no key."""
    return JSONResponse(LiveAnswer(live=True).model_dump())


async def ready(request: Request) -> Response:
    """Whether all models answer; needs no key."""
    service: Service = request.app.state.service
    return _ready(None, service.ready)


async def model(request: Request) -> Response:
    """Inputs and outputs of a model."""
    service: Service = request.app.state.service
    loaded = _chosen(request, service)
    about = ModelMetadata(
        name=loaded.name,
        versions=[one.version for one in service.repository.versions(loaded.name)],
        platform="whatwhere_onnx",
        inputs=list(INPUTS),
        outputs=list(outputs_of(loaded)),
    )
    return JSONResponse(about.model_dump())


async def model_ready(request: Request) -> Response:
    """Whether a model answers."""
    service: Service = request.app.state.service
    try:
        loaded = _chosen(request, service)
    except RefusedError as error:
        if error.status != _SERVICE_UNAVAILABLE:
            raise
        return _ready(request.path_params["model"], False)
    return _ready(loaded.name, not service.ending)


async def infer(request: Request) -> Response:
    """Predictions for the pictures of a request."""
    service: Service = request.app.state.service
    loaded = _chosen(request, service)
    service.check_room(loaded)
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise RefusedError(415, "the body is compressed: send it as it is")
    with service.gate.request() as held:
        question = await _question(request, held, service)
        wanted(loaded, question)
        loaded, answers = await service.answer(
            request,
            question.pictures,
            model=request.path_params["model"],
            version=request.path_params.get("version"),
            threshold=question.threshold,
            timeout=question.timeout,
        )
        service.note(request, loaded, answers, question.threshold)
        predictions = []
        for answer in answers:
            if answer.error is not None:
                raise RefusedError(refusal(answer.error).status, public_words(answer.error))
            assert answer.prediction is not None
            predictions.append(answer.prediction)
        body, behind = answer_of(loaded, question, predictions)
    text = body.model_dump_json(exclude_none=True).encode()
    headers = {"X-Model": f"{loaded.name}@{loaded.version}"}
    if behind is None:
        return Response(text, media_type="application/json", headers=headers)
    headers[HEADER] = str(len(text))
    return Response(text + behind, media_type="application/octet-stream", headers=headers)


def routes() -> list[Route]:
    """The addresses of this module."""
    found = [
        Route("/v2", server),
        Route("/v2/health/live", live),
        Route("/v2/health/ready", ready),
    ]
    for path in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        found += [
            Route(path, model),
            Route(f"{path}/ready", model_ready),
            Route(f"{path}/infer", infer, methods=["POST"]),
        ]
    return found


async def _question(request: Request, held: Held, service: Service) -> Question:
    settings = service.settings
    body = await read_body(request, held, settings)
    count = json_bytes(request.headers.get(HEADER), body)
    limits = (settings.pictures, settings.max_pixels)
    if len(body) <= _SMALL:
        return read_question(body, count, *limits)
    loop = asyncio.get_running_loop()
    more = await loop.run_in_executor(service.workers, parsed_bytes, body, count)
    if more > settings.upload_bytes_together // 4:
        raise RefusedError(
            413,
            "the JSON holds too many values: send pictures as files (image_files), or behind the"
            " JSON (binary_data_size)",
        )
    held.add(more)
    return await loop.run_in_executor(service.workers, read_question, body, count, *limits)


def _chosen(request: Request, service: Service) -> Loaded:
    """The model of the address; the watchers are to know it, should the request be refused."""
    service.authorize(request, "predict")
    asked = request.path_params
    loaded = service.repository.resolve(asked["model"], asked.get("version"))
    request.state.model, request.state.version = loaded.name, loaded.version
    return loaded


def _ready(name: str | None, good: bool) -> Response:
    body = ReadyAnswer(name=name, ready=good).model_dump(exclude_none=True)
    return JSONResponse(body, status_code=200 if good else _NOT_READY)
