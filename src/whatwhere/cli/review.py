"""The command `whatwhere review`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from whatwhere.cli import app
from whatwhere.cli._labelled import say
from whatwhere.cli._options import Json
from whatwhere.errors import MissingExtraError


@app.command()
def review(
    folder: Annotated[
        Path, typer.Argument(help="Folder that 'whatwhere serve --review' keeps pictures in.")
    ],
    out: Annotated[
        Path,
        typer.Argument(
            help="tasks.json for Label Studio, another .json for our own list, .xml for CVAT."
        ),
    ],
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="The most doubtful so many; all if left out."),
    ] = None,
    as_json: Json = False,
) -> int:
    """Write the doubtful pictures of a server as a list for a labelling tool.

    Pictures stay where they are; the model's answers stand in the list as proposals.
    """
    try:
        from whatwhere.serve.monitoring.review_export import write_review
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "whatwhere":
            raise
        raise MissingExtraError("data", "Writing a list for labelling") from error
    count = write_review(folder, out, limit=limit)
    if as_json:
        typer.echo(json.dumps({"out": str(out), "pictures": count}))
    else:
        say(f"written: {out}, {count} pictures")
    return 0
