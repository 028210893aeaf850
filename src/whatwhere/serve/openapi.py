"""The description of the addresses in OpenAPI 3.1, made from the models that check and answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from whatwhere import __version__
from whatwhere.serve.auth import Scope
from whatwhere.serve.monitoring.routes import Flag
from whatwhere.serve.oip import schemas as oip
from whatwhere.serve.schemas import (
    ErrorAnswer,
    HealthAnswer,
    ModelDetails,
    ModelsAnswer,
    PredictionAnswer,
    PredictionsAnswer,
    PredictOptions,
)

_REF = "#/components/schemas/{model}"
_PICTURE = {"type": "string", "format": "binary", "description": "A picture file."}
# What fits an integer of the prediction log's database.
_ENTRY = {"type": "integer", "minimum": 0, "maximum": 10**18 - 1}
_NO_BODY = (404, 405)
_BODY = (400, 404, 405, 408, 413, 415, 422, 500, 503, 504)
_WORDS = {
    200: "Done.",
    400: "Something in the request does not fit.",
    401: "There is no valid API key.",
    403: "The API key does not allow this.",
    404: "There is nothing of that name.",
    405: "The address does not take the method.",
    408: "The request did not arrive whole in time.",
    409: "The new file cannot be loaded; the version before goes on.",
    413: "There is too much in the request.",
    415: "The body has a form that is not taken here.",
    421: "The Host header names another server.",
    422: "A picture cannot be read.",
    429: "The API key has been used too often.",
    500: "The model or the server failed.",
    503: "There is no room, or the server loads or ends.",
    504: "The deadline passed.",
}


@dataclass(frozen=True, slots=True)
class Operation:
    """A method of an address.

    Args:
        method, path: such as "get" and "/models/{model}".
        about: one sentence.
        scope: what a key must allow; None where none is needed.
        answer: form of the answer with status 200, or its media type.
        errors: statuses of refusals, beside those of keys.
        options: `(name, schema, description)` of parameters in the address.
        body: media type -> schema of the request.
        more: further media types of the answer, with what they are.
    """

    method: str
    path: str
    about: str
    scope: Scope | None
    answer: type[BaseModel] | str
    errors: tuple[int, ...] = _NO_BODY
    options: tuple[tuple[str, dict[str, Any], str], ...] = ()
    body: Mapping[str, Any] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REF.format(model=model.__name__)}


def _predict_options() -> tuple[tuple[str, dict[str, Any], str], ...]:
    """Options of `/predict`: those that are checked, and the name."""
    found = []
    for name, schema in PredictOptions.model_json_schema()["properties"].items():
        kind = next((one for one in schema.get("anyOf", ()) if one["type"] != "null"), schema)
        kept = {key: kind[key] for key in kind if key not in ("description", "title", "default")}
        found.append((name, kept, schema["description"]))
    found.append(("name", {"type": "string"}, "What the answer calls a picture that is the body."))
    return tuple(found)


def _oip() -> list[Operation]:
    found = [
        Operation("get", "/v2", "What the server is.", None, oip.ServerMetadata),
        Operation("get", "/v2/health/live", "Whether it answers.", None, oip.LiveAnswer),
        Operation(
            "get", "/v2/health/ready", "Whether all models answer.", None, oip.ReadyAnswer, (400,)
        ),
    ]
    for path in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        found += [
            Operation(
                "get",
                path,
                "Inputs and outputs of a model.",
                "predict",
                oip.ModelMetadata,
                (404, 405, 503),
            ),
            Operation(
                "get",
                f"{path}/ready",
                "Whether a model answers.",
                "predict",
                oip.ReadyAnswer,
                (400, 404, 405),
            ),
            Operation(
                "post",
                f"{path}/infer",
                "Predictions for pictures in tensors; bytes behind the JSON as in the binary"
                " extension.",
                "predict",
                oip.InferAnswer,
                _BODY,
                body={"application/json": _ref(oip.InferRequest)},
                more={"application/octet-stream": _PICTURE | {"description": "JSON, then bytes."}},
            ),
        ]
    return found


def operations() -> list[Operation]:
    """Everything that a server with monitoring answers over HTTP, without its pages."""
    number = {"type": "integer", "minimum": 0, "maximum": 10**18 - 1}
    return [
        Operation(
            "post",
            "/predict",
            "Predictions for a picture as the body, or for those of a form.",
            "predict",
            PredictionAnswer,
            _BODY,
            _predict_options(),
            {
                "image/*": _PICTURE,
                "application/octet-stream": _PICTURE,
                "multipart/form-data": {
                    "type": "object",
                    "properties": {"picture": _PICTURE},
                    "required": ["picture"],
                    "description": "Pictures under any names; options as further fields.",
                },
            },
            {"image/jpeg": _PICTURE | {"description": "The drawn picture, with annotate=1."}},
        ),
        Operation("get", "/models", "All models.", "predict", ModelsAnswer, (405, 503)),
        Operation(
            "get",
            "/models/{model}",
            "A model, with its classes.",
            "predict",
            ModelDetails,
            (404, 405, 503),
        ),
        Operation(
            "post",
            "/models/{model}/reload",
            "Look at the model's files now, and load what changed.",
            "admin",
            ModelDetails,
            (404, 405, 409, 500, 503),
        ),
        Operation("get", "/health/live", "Whether it answers.", None, HealthAnswer, (405,)),
        Operation(
            "get", "/health/ready", "Whether to send requests.", None, HealthAnswer, (405, 503)
        ),
        *_oip(),
        Operation("get", "/metrics", "Figures in Prometheus's form.", "metrics", "text/plain"),
        Operation(
            "get",
            "/monitor/drift",
            "How the latest pictures of each model differ from its reference.",
            "metrics",
            "application/json",
        ),
        Operation(
            "get",
            "/monitor/log",
            "The newest entries of the prediction log.",
            "admin",
            "application/json",
            (400, 404, 405, 503),
            (
                ("count", {"type": "integer", "minimum": 1, "maximum": 200}, "At most so many."),
                ("before", number, "Older than this entry."),
                ("flagged", {"type": "boolean"}, "Only those that are marked as wrong."),
            ),
        ),
        Operation(
            "get",
            "/monitor/log/{entry}/thumbnail",
            "The small picture of an entry.",
            "admin",
            "image/jpeg",
            (400, 404, 405, 503),
        ),
        Operation(
            "post",
            "/monitor/log/{entry}/flag",
            "Mark an entry as wrong.",
            "admin",
            "application/json",
            (400, 404, 405, 413, 415, 503),
            body={"application/json": _ref(Flag)},
        ),
    ]


@cache
def document() -> dict[str, Any]:
    """The whole description; it is not to be changed."""
    paths: dict[str, dict[str, Any]] = {}
    for one in operations():
        paths.setdefault(one.path, {})[one.method] = _operation(one)
    _, schemas = models_json_schema(
        [
            *((model, "validation") for model in (oip.InferRequest, Flag)),
            *(
                (model, "serialization")
                for model in (
                    PredictionAnswer,
                    PredictionsAnswer,
                    ModelsAnswer,
                    ModelDetails,
                    HealthAnswer,
                    ErrorAnswer,
                    oip.ServerMetadata,
                    oip.ModelMetadata,
                    oip.LiveAnswer,
                    oip.ReadyAnswer,
                    oip.InferAnswer,
                )
            ),
        ],
        ref_template=_REF,
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Whatwhere",
            "version": __version__,
            "description": "What is in a picture, and where. Addresses below /v2 are those of the"
            " Open Inference Protocol; /stream is a WebSocket, and not described here.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


async def openapi(request: Request) -> Response:
    """The document; needs no key, since it says nothing about this server."""
    return JSONResponse(document())


def routes() -> list[Route]:
    """The addresses of this module."""
    return [Route("/openapi.json", openapi)]


def _operation(one: Operation) -> dict[str, Any]:
    names = [part[1:-1] for part in one.path.split("/") if part.startswith("{")]
    parameters = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": _ENTRY if name == "entry" else {"type": "string"},
        }
        for name in names
    ]
    parameters += [
        {"name": name, "in": "query", "description": about, "schema": schema}
        for name, schema, about in one.options
    ]
    if isinstance(one.answer, str):
        content: dict[str, Any] = {one.answer: {"schema": {}}}
    else:
        content = {"application/json": {"schema": _ref(one.answer)}}
    if one.path == "/predict":
        either = [_ref(PredictionAnswer), _ref(PredictionsAnswer)]
        content = {"application/json": {"schema": {"anyOf": either}}}
    content |= {kind: {"schema": schema} for kind, schema in one.more.items()}
    responses: dict[str, Any] = {"200": {"description": _WORDS[200], "content": content}}
    statuses = {*one.errors, 421} | ({401, 403, 429} if one.scope else set())
    if one.method == "post":
        # Browsers on behalf of strangers' pages.
        statuses.add(403)
    for status in sorted(statuses):
        body: type[BaseModel] = ErrorAnswer
        if status == 503 and one.path == "/health/ready":
            body = HealthAnswer
        elif status == 400 and one.path.endswith("/ready"):
            body = oip.ReadyAnswer
        responses[str(status)] = {
            "description": _WORDS[status],
            "content": {"application/json": {"schema": _ref(body)}},
        }
    made: dict[str, Any] = {"summary": one.about, "parameters": parameters, "responses": responses}
    if one.body:
        made["requestBody"] = {
            "required": True,
            "content": {kind: {"schema": schema} for kind, schema in one.body.items()},
        }
    if one.scope:
        made["security"] = [{"key": []}, {}]
        made["description"] = f"On a server with keys: needs the scope {one.scope}."
    return made
