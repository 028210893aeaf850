"""`POST /predict`: a picture as the body, or several in a form; JSON or a drawn picture back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from whatwhere.images import encode_image
from whatwhere.outputs.draw import draw
from whatwhere.runtime.items import Source, file_item
from whatwhere.serve.bodies import read_upload
from whatwhere.serve.engine import Answer
from whatwhere.serve.errors import RefusedError
from whatwhere.serve.forms import Picture, clean_name
from whatwhere.serve.loading import Loaded
from whatwhere.serve.schemas import PredictOptions, once, predict_options
from whatwhere.serve.service import Service, public_words
from whatwhere.types import Image, Prediction

_DRAWING_QUALITY = 90
# As Starlette's JSONResponse writes, which makes an encoder for each answer.
_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


async def predict(request: Request) -> Response:
    """Predictions for the pictures of a request."""
    service: Service = request.app.state.service
    service.authorize(request, "predict")
    given = once(request.query_params.multi_items())
    named = clean_name(given.pop("name", ""))
    asked = predict_options(given)
    service.check_room(_chosen(request, service, asked))
    with service.gate.request() as held:
        upload = await read_upload(request, held, service.settings)
        if upload.fields:
            asked = predict_options(given, upload.fields)
            _chosen(request, service, asked)
        if asked.annotate and len(upload.pictures) > 1:
            raise RefusedError(400, "annotate draws one picture: send one at a time")
        names = [picture.name or named for picture in upload.pictures]
        loaded, answers = await service.answer(
            request,
            [_source(picture) for picture in upload.pictures],
            model=asked.model,
            version=asked.version,
            names=names,
            threshold=asked.threshold,
            timeout=asked.timeout,
            evaluation=asked.evaluation,
        )
        service.note(request, loaded, answers, asked.threshold)
        if len(answers) == 1 and answers[0].error is not None:
            raise answers[0].error
        headers = _headers(loaded, answers)
        if asked.annotate:
            if answers[0].image is None:
                raise RefusedError(
                    503, "too many pictures are being drawn: try again later", retry_seconds=1
                )
            drawn = await _drawn(service, answers[0])
            return Response(drawn, media_type="image/jpeg", headers=headers)
        rows = [_row(answer, name, asked) for answer, name in zip(answers, names, strict=True)]
        body = _JSON.encode({"predictions": rows} if upload.form else rows[0])
        return Response(body, media_type="application/json", headers=headers)


def routes() -> list[Route]:
    """The addresses of this module."""
    return [Route("/predict", predict, methods=["POST"])]


def _chosen(request: Request, service: Service, asked: PredictOptions) -> Loaded:
    """The model that is asked for; the watchers are to know it, should the request be refused."""
    loaded = service.repository.resolve(asked.model, asked.version)
    request.state.model, request.state.version = loaded.name, loaded.version
    return loaded


def _source(picture: Picture) -> Source:
    return file_item(picture.name or "the picture", picture.data)


def _row(answer: Answer, name: str | None, asked: PredictOptions) -> dict[str, Any]:
    if answer.prediction is None:
        assert answer.error is not None
        return {"image": name, "error": public_words(answer.error)}
    row = answer.prediction.to_dict()
    if asked.top is not None:
        row["labels"] = row["labels"][: asked.top]
    return row


async def _drawn(service: Service, answer: Answer) -> bytes:
    assert answer.prediction is not None
    assert answer.image is not None
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(
        service.workers, _draw_and_encode, answer.prediction, answer.image
    )


def _draw_and_encode(prediction: Prediction, image: Image) -> bytes:
    return encode_image(draw(prediction, image).image, ".jpg", _DRAWING_QUALITY)


def _headers(loaded: Loaded, answers: Sequence[Answer]) -> dict[str, str]:
    """Which model answered, and where the time went (W3C Server Timing, milliseconds)."""
    queue = 1e3 * max(answer.queue_seconds for answer in answers)
    inference = 1e3 * sum(answer.inference_seconds for answer in answers)
    return {
        "X-Model": f"{loaded.name}@{loaded.version}",
        "Server-Timing": f"queue;dur={queue:.2f}, inference;dur={inference:.2f}",
    }
