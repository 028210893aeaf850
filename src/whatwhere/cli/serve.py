"""The command `whatwhere serve`."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from whatwhere.cli import app
from whatwhere.cli._keys import keys
from whatwhere.cli._options import Backend
from whatwhere.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from whatwhere.serve.settings import ServeSettings


class _Serve(TyperCommand):
    """A command with commands below it: `serve MODEL...`, and `serve keys ...`."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any
    ) -> Any:
        if args[:1] == [keys.info.name]:
            below = typer.main.get_command(keys)
            return below.make_context(f"{info_name} {args[0]}", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)


@app.command(cls=_Serve)
def serve(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            help="Shipped models, model files, run folders or folders of versions, each as PATH,"
            " NAME=PATH or NAME@VERSION=PATH; the first answers requests that name none.",
            show_default=False,
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 for a free one.")
    ] = 8000,
    workers: Annotated[int, typer.Option(min=1, help="Processes; each loads all models.")] = 1,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="CPU threads a process; its share of the cores if left out."),
    ] = None,
    backend: Backend = "auto",
    alias: Annotated[
        list[str] | None,
        typer.Option(metavar="ALIAS=NAME[@VERSION]", help="A further name.", show_default=False),
    ] = None,
    queue: Annotated[
        int, typer.Option(min=1, help="Pictures that may wait for a model; more are refused.")
    ] = 64,
    batch: Annotated[
        int | None,
        typer.Option(min=1, help="Most pictures at once; measured if left out."),
    ] = None,
    deadline: Annotated[
        float, typer.Option(min=0.001, help="Seconds after which a request is given up.")
    ] = 30.0,
    megabytes: Annotated[float, typer.Option(min=0.001, help="Largest request.")] = 32.0,
    max_pixels: Annotated[
        int | None,
        typer.Option(min=1, help="Refuse larger pictures; 50 million if left out."),
    ] = None,
    watch: Annotated[
        float,
        typer.Option(min=0, help="Seconds between looks for changed model files; 0 for never."),
    ] = 2.0,
    log: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|URL",
            help="Keep every answer in this SQLite file, or in the database of this address.",
            show_default=False,
        ),
    ] = None,
    log_days: Annotated[
        float, typer.Option(min=0, help="Days that its entries are kept; 0 for ever.")
    ] = 30.0,
    thumbnails: Annotated[
        bool, typer.Option("--thumbnails", help="Keep small pictures in it.")
    ] = False,
    private: Annotated[
        bool,
        typer.Option("--private", help="Keep no names of pictures and clients, and no pictures."),
    ] = False,
    drift: Annotated[
        bool,
        typer.Option("--drift/--no-drift", help="Compare pictures with the model's reference."),
    ] = True,
    window: Annotated[
        int, typer.Option("--drift-window", min=20, help="Pictures that are compared at a time.")
    ] = 100,
    webhook: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Send alerts of drift there.", show_default=False),
    ] = None,
    review: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Keep uncertain and surprising pictures there, 200 at most; see 'review'.",
            show_default=False,
        ),
    ] = None,
    page: Annotated[
        bool, typer.Option("--page/--no-page", help="Serve the web page at /; it is on.")
    ] = True,
    json_logs: Annotated[
        bool, typer.Option("--json-logs", help="Log a JSON object a line, and every request.")
    ] = False,
    otel: Annotated[
        bool, typer.Option("--otel", help="Send traces as OpenTelemetry's variables say.")
    ] = False,
    keys_file: Annotated[
        Path | None,
        typer.Option(
            "--keys",
            metavar="FILE",
            help="Ask for API keys; make them with 'whatwhere serve keys add'.",
            show_default=False,
        ),
    ] = None,
    rate: Annotated[
        int | None,
        typer.Option(min=1, help="Most requests a minute of a key without a limit of its own."),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Answer to this name, and to pages of it; may be given again.",
            show_default=False,
        ),
    ] = None,
    insecure: Annotated[
        bool,
        typer.Option("--insecure", help="Listen on a public address although there are no keys."),
    ] = False,
) -> int:
    """Answer requests over HTTP: predictions, models, health.

    It ends with Ctrl-C or SIGTERM, when it has answered what it accepted. API keys:
    'whatwhere serve keys --help'.
    """
    if find_spec("starlette") is None or find_spec("uvicorn") is None:
        raise MissingExtraError("serve", "Serving a model")
    from whatwhere.serve.run import run
    from whatwhere.serve.settings import model_sources, serve_settings

    limits = {} if max_pixels is None else {"max_pixels": max_pixels}
    settings = serve_settings(
        models=model_sources(models or []),
        aliases=dict(_alias(one) for one in alias or []),
        host=host,
        port=port,
        workers=workers,
        threads=threads,
        backend=backend,
        queue=queue,
        pictures=min(64, queue),
        batch=batch,
        deadline_seconds=deadline,
        upload_bytes=int(megabytes * 1e6),
        upload_bytes_together=max(512_000_000, int(megabytes * 1e6)),
        watch_seconds=watch,
        keys_file=keys_file,
        requests_per_minute=rate,
        hosts=tuple(allow_host or ()),
        insecure=insecure,
        log_url=log if log is None or "://" in log else f"sqlite:///{log}",
        page=page,
        monitor={
            "log_days": log_days,
            "log_thumbnails": thumbnails,
            "log_private": private,
            "drift": drift,
            "drift_window": window,
            "webhook": webhook,
            "review": review,
            "json_logs": json_logs,
            "otel": otel,
        },
        **limits,
    )
    return run(settings, lambda address: _announce(settings, address))


def _announce(settings: ServeSettings, address: str) -> None:
    names = ", ".join(dict.fromkeys(source.name for source in settings.models))
    typer.echo(f"whatwhere: {names} at {address} (Ctrl-C ends it)", err=True)
    if settings.insecure and settings.keys_file is None:
        typer.echo("whatwhere: anybody who can reach this address may use it", err=True)


def _alias(given: str) -> tuple[str, str]:
    name, equals, target = given.partition("=")
    if not (name and equals and target):
        raise UsageError(f"--alias {given}: write  --alias ALIAS=NAME  or  ALIAS=NAME@VERSION")
    return name, target
