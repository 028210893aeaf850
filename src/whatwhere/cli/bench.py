"""The command `whatwhere bench`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from whatwhere.cli import app
from whatwhere.cli._options import Backend

if TYPE_CHECKING:
    from whatwhere.runtime.bench import Bench

_STAGES = {
    "decode": "decoding the file",
    "fit": "resizing",
    "engine": "the engine",
    "rest": "boxes, names, results",
}


@app.command()
def bench(
    model: Annotated[str, typer.Argument(help="Shipped model, model file or run folder.")],
    sources: Annotated[
        list[str] | None,
        typer.Argument(help="Pictures or folders, of which 64 are used; generated if left out."),
    ] = None,
    seconds: Annotated[
        float, typer.Option(help="Of each of the three measurements.", min=0.01)
    ] = 3.0,
    backend: Backend = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads of the model; one a core if left out.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Say how fast a model is here, where the time goes, and what the engine's own limit is."""
    from whatwhere.runtime import load
    from whatwhere.runtime.bench import bench as measure
    from whatwhere.runtime.bench import pictures_of

    pictures = pictures_of(sources) if sources else []
    found = measure(load(model, backend=backend, threads=threads), pictures, seconds=seconds)
    if as_json:
        typer.echo(json.dumps(found.to_dict()))
    else:
        _print(found, generated=not pictures)
    return 0


def _print(found: Bench, *, generated: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("one picture", "mean ms", "median", "90 %", "99 %", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    rows = [(f"{_STAGES[name]}, one core", times) for name, times in found.stages.items()]
    rows.append(("file to result, all cores", found.single))
    for title, times in rows:
        values = (times.mean, times.p50, times.p90, times.p99)
        table.add_row(title, *(f"{value:.2f}" for value in values))
    console = Console(highlight=False)
    what = "generated JPEGs of 1280 x 960" if generated else "pictures in memory"
    console.print(f"{found.model} on {found.engine}, {what}", markup=False)
    console.print(table)
    console.print(
        f"many pictures: {found.throughput:.1f} a second in {found.lanes} lanes, after"
        f" {found.pictures} of them"
    )
    console.print(
        f"limit: {found.limit:.1f} a second, were no core ever idle; reached {found.share:.0%}"
    )
    if found.peak_mb is not None:
        console.print(f"memory: {found.peak_mb:.0f} MB at most")
