"""`/health/live` and `/health/ready`: for whoever starts the server and sends requests to it."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from whatwhere.serve.schemas import HealthAnswer
from whatwhere.serve.service import Service


async def live(request: Request) -> Response:
    """The process answers; needs no key."""
    return JSONResponse(HealthAnswer(status="live").model_dump())


async def ready(request: Request) -> Response:
    """Whether to send requests here; 503 while models load and when the server ends."""
    service: Service = request.app.state.service
    status = "ending" if service.ending else "ready" if service.ready else "loading"
    answer = HealthAnswer(status=status).model_dump()
    return JSONResponse(answer, status_code=200 if service.ready else 503)


def routes() -> list[Route]:
    """The addresses of this module."""
    return [Route("/health/live", live), Route("/health/ready", ready)]
