"""`/models`: what the server offers; and the order to look at the files again."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from whatwhere.runtime.cascade import Pair
from whatwhere.serve.loading import Loaded
from whatwhere.serve.schemas import ModelAnswer, ModelDetails, ModelsAnswer, VersionAnswer
from whatwhere.serve.service import Service


async def models(request: Request) -> Response:
    """All models."""
    service: Service = request.app.state.service
    service.authorize(request, "predict")
    found = [_model(service, name) for name in service.repository.names]
    return JSONResponse(ModelsAnswer(models=found).model_dump())


async def model(request: Request) -> Response:
    """One model, with its classes."""
    service: Service = request.app.state.service
    service.authorize(request, "predict")
    loaded = service.repository.resolve(request.path_params["model"])
    return JSONResponse(_details(service, loaded).model_dump())


async def reload(request: Request) -> Response:
    """Load what changed of one model; it answers when the new version does."""
    service: Service = request.app.state.service
    service.authorize(request, "admin")
    repository = service.repository
    # The default pool of the loop: loading takes a second, and drawing must not wait for it.
    loaded = await asyncio.to_thread(repository.reload, request.path_params["model"])
    return JSONResponse(_details(service, loaded).model_dump())


def routes() -> list[Route]:
    """The addresses of this module."""
    return [
        Route("/models", models),
        Route("/models/{model}", model),
        Route("/models/{model}/reload", reload, methods=["POST"]),
    ]


def _model(service: Service, name: str) -> ModelAnswer:
    repository, settings = service.repository, service.settings
    newest = repository.resolve(name)
    return ModelAnswer(
        name=newest.name,
        aliases=[
            alias
            for alias, target in settings.aliases.items()
            if target.partition("@")[0] == newest.name
        ],
        task=newest.spec.task,
        default=newest.name == repository.default,
        license=newest.spec.license,
        versions=[_version(loaded) for loaded in repository.versions(name)],
        problems=len(repository.problems(newest.name)),
    )


def _details(service: Service, loaded: Loaded) -> ModelDetails:
    spec = loaded.spec
    return ModelDetails(
        **_model(service, loaded.name).model_dump(),
        names=list(spec.names),
        label_names=list(loaded.label_names),
        label_task=_label_task(loaded),
        threshold=spec.postprocess.score_threshold,
        thresholds=dict(spec.thresholds),
        size=spec.preprocess.size,
    )


def _label_task(loaded: Loaded) -> str:
    predictor = loaded.engine.predictor
    if isinstance(predictor, Pair):
        return predictor.classifier.spec.task
    return loaded.spec.label_task


def _version(loaded: Loaded) -> VersionAnswer:
    state = loaded.engine.state
    return VersionAnswer(
        version=loaded.version,
        title=loaded.title,
        loaded=loaded.time,
        waiting=state.waiting,
        queue=state.queue,
        lanes=state.lanes,
        batch=state.batch,
        service_seconds=state.service_seconds,
    )
