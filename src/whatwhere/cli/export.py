"""The command `whatwhere export`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from whatwhere.cli import app
from whatwhere.errors import MissingExtraError


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Folder of a training run.")],
    out: Annotated[
        Path | None, typer.Option(help="The model file; model.onnx in the run if left out.")
    ] = None,
    half: Annotated[
        bool, typer.Option("--fp16", help="Store weights in half precision: half the size.")
    ] = False,
    name: Annotated[str | None, typer.Option(help="Name of the model.")] = None,
    end_to_end: Annotated[
        bool | None,
        typer.Option(
            "--end-to-end/--nms",
            help="Final boxes, or boxes for non-maximum suppression; as trained if left out.",
        ),
    ] = None,
    weights: Annotated[
        str, typer.Option(help="best by the validation, or last: those after the last epoch.")
    ] = "best",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> int:
    """Write a run's model file again, after checking it against the trained network."""
    try:
        from whatwhere.train import export_run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "whatwhere":
            raise
        raise MissingExtraError("train", "Exporting a run") from error
    made = export_run(run, out, half=half, name=name, end_to_end=end_to_end, which=weights)
    if as_json:
        typer.echo(json.dumps(made.to_dict(), ensure_ascii=False))
    else:
        size = made.model.stat().st_size / 1e6
        typer.echo(f"{made.model}: {size:.1f} MB, compared with the network on real pictures")
        for note in made.notes:
            typer.echo(f"note: {note}", err=True)
    return 0
