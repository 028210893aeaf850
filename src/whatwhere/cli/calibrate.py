"""The command `whatwhere calibrate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from whatwhere.cli import app
from whatwhere.cli._labelled import choose_split, held_out, progress_bar, say
from whatwhere.cli._options import Backend, Batch, Format, Images, Json, Split
from whatwhere.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from whatwhere.evaluation import Calibration
    from whatwhere.evaluation.tuning import Tuned

_SHOWN = 20
"""Classes in the table; all are in the JSON."""


@app.command()
def calibrate(
    model: Annotated[str, typer.Argument(help="Shipped model, model file or run folder.")],
    source: Annotated[
        Path,
        typer.Argument(metavar="DATA", help="Labelled pictures that it was not trained on."),
    ],
    split: Split = None,
    goal: Annotated[
        str,
        typer.Option(
            "--for",
            help="What thresholds are chosen for: f1, precision=0.9, recall=0.9, cost=1:5 (wrong"
            " to missed) or none; auto is f1, and none for single-label models.",
        ),
    ] = "auto",
    per_class: Annotated[
        bool, typer.Option("--per-class/--one", help="A threshold a class, or one for all.")
    ] = True,
    nearest: Annotated[
        bool, typer.Option("--nearest", help="Where the goal is out of reach, come near.")
    ] = False,
    scores: Annotated[
        bool, typer.Option("--scores/--no-scores", help="Calibrate scores, or leave them.")
    ] = True,
    abstain: Annotated[
        str | None,
        typer.Option(
            metavar="risk=R",
            help="Answer 'not sure' so that at most this share of other answers is wrong.",
            show_default=False,
        ),
    ] = None,
    confidence: Annotated[
        float | None,
        typer.Option(
            help="Keep that risk on new pictures, too, with this confidence.", show_default=False
        ),
    ] = None,
    conformal: Annotated[
        str | None,
        typer.Option(
            metavar="[KIND=]CHANCE",
            help="Give sets of classes that hold the right one with this chance, such as 0.9;"
            " aps=0.9 for sets that grow with difficulty.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the model with all of it.", show_default=False)
    ] = None,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Write it into the model file itself.")
    ] = False,
    format: Format = None,
    images: Images = None,
    batch: Batch = None,
    backend: Backend = "auto",
    as_json: Json = False,
) -> int:
    """Make scores mean what they say, and choose thresholds; write both into a model file.

    Numbers of afterwards are counted in folds, on pictures that nothing was chosen on. Exit
    status 1 if something that was asked for cannot be reached, or a picture cannot be read.
    """
    from whatwhere.data import read
    from whatwhere.evaluation import calibrate
    from whatwhere.runtime import find_file
    from whatwhere.runtime.shipped import SHIPPED

    if in_place and out is not None:
        raise UsageError("--in-place and --out are two places: give one of them")
    if in_place and model in SHIPPED:
        raise UsageError(f"{model} comes with the package and is not changed: add  --out FILE")
    target = find_file(model) if in_place else out
    risk = _share("--abstain", abstain, ("risk",))[1]
    kind, chance = _share("--conformal", conformal, ("lac", "aps"))
    dataset = read(source, format, images=images)
    run = Path(model)
    if split is None and run.is_dir() and not {"test", "val"} & dataset.splits.keys():
        dataset = held_out(dataset, run)
    part = choose_split(dataset, split, ("val", "test"))
    total = len(dataset) if part is None else dataset.splits[part]
    with progress_bar(total, "calibrating") as progress:
        found = calibrate(
            model,
            dataset,
            split=part,
            goal=None if goal == "none" else goal,
            per_class=per_class,
            nearest=nearest,
            scores=scores,
            abstain=risk,
            confidence=confidence,
            conformal=chance,
            sets="aps" if kind == "aps" else "lac",
            out=target,
            batch=batch,
            backend=backend,
            progress=progress,
        )
    if as_json:
        typer.echo(json.dumps(found.to_dict(), ensure_ascii=False))
    else:
        _print(found)
    for sentence in found.failed:
        say(f"not reached: {sentence}")
    if target is None:
        say("nothing is written: add  --out FILE  or  --in-place")
    else:
        say(f"written: {target}")
    return 1 if found.failed or found.unreadable else 0


def _share(option: str, text: str | None, kinds: tuple[str, ...]) -> tuple[str, float | None]:
    """The kind and the number of `kind=number` or `number`."""
    if text is None:
        return kinds[0], None
    kind, equals, number = text.rpartition("=")
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    if (equals and kind.strip() not in kinds) or not 0 < value < 1:
        raise UsageError(
            f"{option} {text}: write {' or '.join(f'{one}=0.05' for one in kinds)}, with a number"
            " between 0 and 1"
        )
    return kind.strip() or kinds[0], value


def _print(found: Calibration) -> None:
    where = f", split {found.split}" if found.split else ""
    typer.echo(f"{found.model} on {found.source}{where}")
    for title, tuned in (("", found.main), ("whole picture: ", found.labels)):
        if tuned is not None:
            typer.echo()
            _print_head(title, tuned)
    for note in (*found.notes, *found.main.notes, *(found.labels.notes if found.labels else ())):
        say(f"note: {note}")


def _print_head(title: str, tuned: Tuned) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    how = {"kept": "scores stay", "temperature": f"temperature {tuned.answers.temperature:.4g}"}
    done = how.get(tuned.method, f"{tuned.method} map of each class")
    console.print(Text(f"{title}{tuned.task}, {tuned.images} pictures, {done}"), soft_wrap=True)
    errors = Table(box=None, pad_edge=False)
    for name in ("", *tuned.before):
        errors.add_column(name, justify="right" if name else "left", min_width=7)
    for name, row in (("before", tuned.before), ("after", tuned.after)):
        errors.add_row(name, *(_number(value) for value in row.values()))
    console.print(errors)
    if tuned.points:
        console.print()
        console.print(_classes(tuned))
    if tuned.abstain is not None and tuned.abstain["pictures"]:
        about = tuned.abstain
        console.print()
        console.print(
            f"not sure: {1 - about['coverage']:.1%} of pictures; of the other answers"
            f" {_percent(about['risk'])} are wrong, of all {_percent(about['risk_without'])}"
        )
    if tuned.conformal is not None:
        about = tuned.conformal
        console.print(
            f"sets ({about['kind']}): right in {about['coverage']:.1%} of pictures (asked"
            f" {about['expected']:.1%}), {about['mean_size']:.2f} classes on average"
        )


def _classes(tuned: Tuned) -> Any:
    """The table of thresholds; most frequent classes first."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    table.add_column("class", overflow="fold")
    for name in ("threshold", "precision", "recall", "F1", "said", "wrong", "missed"):
        table.add_column(name, justify="right")
    points = sorted(tuned.points.items(), key=lambda row: -row[1].positives)
    for name, point in points[:_SHOWN]:
        counts: Mapping[str, float] = point.per_1000 or {}
        table.add_row(
            Text(name),
            _number(point.threshold) + ("" if point.reached else "*"),
            *(_number(value) for value in (point.precision, point.recall, point.f1)),
            *(f"{counts[key]:,.0f}" if counts else "–" for key in ("said", "wrong", "missed")),
        )
    rest = f"{len(points) - _SHOWN} classes more are in --json; " if len(points) > _SHOWN else ""
    table.caption = f"{rest}said, wrong and missed in 1,000 pictures; * goal not reached"
    table.caption_justify = "left"
    return table


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _percent(value: float | None) -> str:
    return "none" if value is None else f"{value:.2%}"
