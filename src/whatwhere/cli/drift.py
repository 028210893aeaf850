"""The command `whatwhere drift`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from whatwhere.cli import app
from whatwhere.cli._labelled import progress_bar, say
from whatwhere.cli._options import Backend, Json
from whatwhere.errors import ModelError, UsageError

if TYPE_CHECKING:
    from whatwhere.drift import Verdict


@app.command()
def drift(
    model: Annotated[str, typer.Argument(help="Shipped model, model file or run folder.")],
    pictures: Annotated[
        list[str], typer.Argument(help="Files, folders or patterns, as in predict; no labels.")
    ],
    save: Annotated[
        Path | None,
        typer.Option(
            help="Make these pictures the model's reference, and write the model with it here.",
            show_default=False,
        ),
    ] = None,
    window: Annotated[
        int | None,
        typer.Option(min=20, help="Pictures in a window; all of them, 1000 at most, if left out."),
    ] = None,
    rate: Annotated[
        float, typer.Option(help="Share of windows without a change that give an alarm.")
    ] = 0.001,
    backend: Backend = "auto",
    as_json: Json = False,
) -> int:
    """Compare pictures and a model's answers with those that it was judged on.

    Windows are drawn from the pictures in random order. Exit status 1 if any of them gives an
    alarm, or a picture cannot be read.
    """
    import numpy as np

    from whatwhere.drift import Judge, Reference, answers_digest, learn
    from whatwhere.runtime import Predictor, expand, load
    from whatwhere.runtime.loading import find_file
    from whatwhere.runtime.shipped import SHIPPED

    predictor = load(model, backend=backend)
    if not isinstance(predictor, Predictor):
        raise UsageError(f"{model} is a pair of models: give one of {', '.join(_parts(model))}")
    if save is not None and model in SHIPPED:
        raise UsageError(f"{model} comes with the package: copy its file to write a reference into")
    reference = None
    if save is None:
        if not predictor.drift:
            raise ModelError(
                f"{model} has no drift reference: make one with  whatwhere drift {model} PICTURES"
                " --save FILE  from pictures of everyday use"
            )
        reference = Reference.from_text(predictor.drift, model)
    sources = list(expand(pictures))
    unreadable: list[str] = []
    with progress_bar(len(sources), "measuring") as progress:
        measured = list(
            learn(
                predictor,
                sources,
                unreadable=unreadable,
                progress=lambda done: progress(done, len(sources)) if progress else None,
            )
        )
    for name in unreadable:
        say(f"cannot be read: {name}")
    if reference is None:
        assert save is not None
        made = Reference.of(measured, predictor.spec, f"{len(measured)} pictures")
        _write(find_file(model), save, made.to_text())
        if as_json:
            typer.echo(json.dumps({"out": str(save), "pictures": made.pictures}))
        else:
            say(f"written: {save}, with a drift reference of {made.pictures} pictures")
        return 1 if unreadable else 0
    size = min(len(measured), 1000) if window is None else window
    if len(measured) < size:
        raise UsageError(f"{len(measured)} pictures make no window of {size}: give more of them")
    answers = reference.answers == answers_digest(predictor.spec)
    if not answers:
        say("note: the model's thresholds have changed since, so that only pictures are compared")
    judge = Judge(reference, size, rate, answers=answers)
    order = np.random.default_rng(0).permutation(len(measured))
    verdicts = [
        judge.judge([measured[row] for row in order[start : start + size]])
        for start in range(0, len(order) - size + 1, size)
    ]
    alarms = sum(verdict.drifted for verdict in verdicts)
    if as_json:
        about = {
            "model": predictor.name,
            "reference": reference.source,
            "reference_pictures": reference.pictures,
            "pictures": len(measured),
            "unreadable": unreadable,
            "drifted": alarms > 0,
            "windows": [verdict.to_dict() for verdict in verdicts],
        }
        typer.echo(json.dumps(about, ensure_ascii=False))
    else:
        _print(verdicts, size)
    return 1 if alarms or unreadable else 0


def _parts(model: str) -> tuple[str, ...]:
    from whatwhere.runtime.shipped import SHIPPED

    return SHIPPED[model].parts if model in SHIPPED else ()


def _write(file: Path, out: Path, text: str) -> None:
    from whatwhere.images import write_atomic
    from whatwhere.runtime.onnxfile import read_header
    from whatwhere.runtime.onnxwrite import with_metadata
    from whatwhere.specs import DRIFT_KEY, SPEC_KEY

    if SPEC_KEY not in read_header(file, str(file)).metadata:
        raise UsageError(
            f"{file} has no spec inside: run  whatwhere models import {file}  first, and give the"
            " file that it writes"
        )
    write_atomic(out, with_metadata(file.read_bytes(), {DRIFT_KEY: text}, str(file)))


def _print(verdicts: list[Verdict], size: int) -> None:
    from rich.console import Console
    from rich.table import Table

    worst = max(verdicts, key=lambda one: max(part.value / part.limit for part in one.parts))
    table = Table(box=None, pad_edge=False)
    for name, side in (("", "left"), ("value", "right"), ("limit", "right"), ("", "left")):
        table.add_column(name, justify="right" if side == "right" else "left")
    for part in worst.parts:
        words = part.words if part.drifted else ""
        table.add_row(part.name, f"{part.value:.3g}", f"{part.limit:.3g}", words)
    alarms = sum(one.drifted for one in verdicts)
    typer.echo(f"{alarms} of {len(verdicts)} windows of {size} pictures give an alarm; the worst:")
    console = Console(highlight=False)
    console.print(table)
    typer.echo(worst.sentence())
