"""The command `whatwhere compare`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from whatwhere.cli import app
from whatwhere.cli._labelled import choose_split, held_out, progress_bar, say, trained_on
from whatwhere.cli._options import (
    Backend,
    Batch,
    DataOption,
    Format,
    Groups,
    Images,
    Json,
    PredictionsFormat,
    ScoredTask,
    Split,
)
from whatwhere.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from whatwhere.data import Dataset
    from whatwhere.evaluation import Result
    from whatwhere.evaluation.comparison import Comparison
    from whatwhere.evaluation.gates import Judgement
    from whatwhere.metrics.changes import Change
    from whatwhere.metrics.paired import Difference

SAVED = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".txt")
"""A file of such a name holds predictions."""

_FEW = 5
_MOST_CLASSES = 20
_MOST_PARTS = 10


@app.command()
def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="Model, run folder or predictions.")],
    second: Annotated[str, typer.Argument(metavar="B", help="The same; differences are B less A.")],
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DATA]",
            help="Labelled pictures; what the run was trained on if left out.",
            show_default=False,
        ),
    ] = None,
    data: DataOption = None,
    predictions: Annotated[
        bool,
        typer.Option(
            "--predictions", help="A and B are predictions, whatever their files are called."
        ),
    ] = False,
    predictions_format: PredictionsFormat = None,
    split: Split = None,
    format: Format = None,
    images: Images = None,
    task: ScoredTask = None,
    fail_if: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-if",
            metavar="CONDITION",
            help="End with status 1 if it holds, such as 'AP < -0.01' or 'AP[cat].high < 0'.",
        ),
    ] = None,
    samples: Annotated[
        int, typer.Option(min=2, help="Draws for the intervals, and trials of the tests.")
    ] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same numbers.")] = 0,
    groups: Groups = "auto",
    report: Annotated[
        Path | None, typer.Option(help="Also write a page, one HTML file.", show_default=False)
    ] = None,
    batch: Batch = None,
    backend: Backend = "auto",
    as_json: Json = False,
) -> int:
    """Say which of two models, runs or files of predictions is better, and in what.

    Every difference is B less A, on the same pictures, with its interval and a paired
    permutation test. A condition of --fail-if is NAME < NUMBER (or <=, >, >=); NAME is a number
    such as AP, of a class as AP[cat], and .low, .high or .p of it. Exit status 1 if one holds.
    """
    from whatwhere.evaluation.comparison import compare as compare_results
    from whatwhere.evaluation.gates import judge_gates, parse_gate

    if data is not None and source is not None:
        raise UsageError(f"the data is named twice, {source} and --data {data}: name it once")
    gates = [parse_gate(text) for text in fail_if or []]
    saved = [predictions or _is_saved(name) for name in (first, second)]
    one, two = _results(
        (first, second),
        saved,
        predictions_format,
        data or source,
        format,
        images,
        split,
        task,
        batch,
        backend,
    )
    found = compare_results(
        one, two, names=_titles(first, second), samples=samples, seed=seed, groups=groups
    )
    judged = judge_gates(gates, found)
    if report is not None:
        from whatwhere.outputs.comparison_page import write_comparison

        write_comparison(found, report)
        say(f"report: {report}")
    notes = [
        f"{name}: {note}"
        for name, result in ((found.first, one), (found.second, two))
        for note in result.notes
    ]
    if as_json:
        made = found.to_dict()
        made["notes"] += notes
        made["gates"] = [each.to_dict() for each in judged]
        typer.echo(json.dumps(made, ensure_ascii=False))
    else:
        _print(found, judged)
        for note in dict.fromkeys((*found.notes, *notes)):
            say(f"note: {note}")
    return 1 if any(each.failed for each in judged) else 0


def _is_saved(name: str) -> bool:
    path = Path(name)
    if path.is_dir():
        # A run keeps its settings; a folder of text files is what YOLO and VOC's devkit leave.
        places = (path, path / "labels")
        return not (path / "config.json").exists() and any(any(one.glob("*.txt")) for one in places)
    return path.suffix.lower() in SAVED and path.is_file()


def _titles(first: str, second: str) -> tuple[str, str]:
    """As short as tells the two apart: last parts of their paths, without the model's file."""
    parts = [
        path.parts[:-1] if path.name == "model.onnx" and len(path.parts) > 1 else path.parts
        for path in (Path(first), Path(second))
    ]
    for count in range(1, max(map(len, parts)) + 1):
        one, two = ("/".join(part[-count:]) for part in parts)
        if one != two:
            return one, two
    return f"{first} (A)", f"{second} (B)"


def _results(
    names: tuple[str, str],
    saved: list[bool],
    form: str | None,
    place: Path | None,
    format: str | None,
    images: Path | None,
    split: str | None,
    task: Any,
    batch: int | None,
    backend: str,
) -> list[Result]:
    from whatwhere.data import read
    from whatwhere.evaluation import evaluate, evaluate_predictions

    runs = [
        Path(name) for name, file in zip(names, saved, strict=True) if not file and _is_run(name)
    ]
    for name, file in zip(names, saved, strict=True):
        if file and not Path(name).exists():
            raise UsageError(f"{name} does not exist: check the path of the predictions")
    if place is None:
        if not runs:
            raise UsageError(f"no data to compare {names[0]} and {names[1]} on: add it, as DATA")
        place, trained_format, trained_images = trained_on(runs[0], str(runs[0]))
        format, images = format or trained_format, images or trained_images
        say(f"data: {place} (what {runs[0]} was trained on)")
    dataset = read(place, format, images=images)
    if split is None and not {"test", "val"} & dataset.splits.keys():
        dataset = _not_trained_on(dataset, runs)
    part = choose_split(dataset, split) if split is not None or not all(saved) else None
    made = []
    for name, file in zip(names, saved, strict=True):
        if file:
            made.append(evaluate_predictions(name, dataset, split=part, task=task, form=form))
            continue
        with progress_bar(len(dataset) if part is None else dataset.splits[part]) as progress:
            made.append(
                evaluate(
                    name,
                    dataset,
                    split=part,
                    task=task,
                    batch=batch,
                    backend=backend,
                    progress=progress,
                )
            )
    return made


def _is_run(name: str) -> bool:
    return Path(name).is_dir()


def _not_trained_on(data: Dataset, runs: list[Path]) -> Dataset:
    """The pictures that none of the runs trained on, as far as they say."""
    parts = [held_out(data, run) for run in runs]
    if all(len(part) == len(data) for part in parts):
        return data
    shared = set(data.paths).intersection(*(part.paths for part in parts))
    if not shared:
        raise UsageError(
            f"there is no picture that neither {runs[0]} nor {runs[-1]} was trained on: name"
            " other pictures with --data, or --split all"
        )
    return data.select([row for row, path in enumerate(data.paths) if path in shared])


def _print(found: Comparison, judged: list[Judgement]) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    where = f", split {found.split}" if found.split else ""
    title = (
        f"{found.first} (A) and {found.second} (B) on {found.source}{where}:"
        f" {found.images} pictures, {found.task}"
    )
    console.print(Text(title), soft_wrap=True)
    _print_numbers(found, console)
    if found.labels is not None:
        console.print(Text("\nlabels of the whole picture"))
        _print_numbers(found.labels, console)
    worse, better = found.worse, found.better
    console.print(
        f"\npictures: {len(worse)} worse, {len(better)} better,"
        f" {len(found.changes) - len(worse) - len(better)} otherwise,"
        f" {found.images - len(found.changes)} as before"
    )
    for word, chosen in (("worse", worse), ("better", better)):
        for change in chosen[:_FEW]:
            console.print(Text(f"  {word}: {_sentence(found, change)}"), soft_wrap=True)
    console.print()
    console.print(Text(found.verdict), soft_wrap=True)
    for each in judged:
        console.print(Text(each.sentence), soft_wrap=True)


def _print_numbers(found: Comparison, console: Console) -> None:
    name = "f1" if found.task == "classify" else "AP"
    rows = {of: row[name] for of, row in found.per_class.items() if name in row}
    changed = sorted(
        (of for of, one in rows.items() if one.value), key=lambda of: -abs(rows[of].value or 0)
    )
    shown = sorted(changed[:_MOST_CLASSES], key=lambda of: rows[of].value or 0)
    _print_table(console, "", dict(found.numbers), found.level)
    if shown:
        title = f"{name} of"
        _print_table(console, title, {of: rows[of] for of in shown}, found.level)
        if len(rows) > len(shown):
            console.print(f"{len(rows) - len(shown)} more classes changed less or not at all")
    parts = {name: one for name, one in found.sorted_parts.items() if one.value}
    if parts:
        # Those that are most surely different, then in the order of their differences.
        sure = sorted(parts, key=lambda name: (parts[name].adjusted or 1.0, parts[name].p or 1.0))
        kept = set(sure[:_MOST_PARTS])
        shown_parts = {name: one for name, one in parts.items() if name in kept}
        names = {name for row in found.parts.values() for name in row}
        title = f"{names.pop()} of" if len(names) == 1 else "part of the data"
        _print_table(console, title, shown_parts, found.level)


def _print_table(console: Console, title: str, rows: dict[str, Difference], level: float) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    table.add_column(title, overflow="fold")
    corrected = any(one.adjusted is not None for one in rows.values())
    p = "p corrected" if corrected else "p"
    for head in ("A", "B", "B - A", f"{level:.0%} from", "to", p, "pictures"):
        table.add_column(head, justify="right")
    for name, one in rows.items():
        table.add_row(
            Text(name),
            _number(one.first),
            _number(one.second),
            _number(one.value, "+.4f"),
            _number(one.low, "+.4f"),
            _number(one.high, "+.4f"),
            _number(one.p if one.adjusted is None else one.adjusted, ".3f"),
            str(one.units),
        )
    console.print()
    console.print(table)


def _sentence(found: Comparison, change: Change) -> str:
    name = "" if found.data is None else Path(found.data.paths[change.row]).name
    parts = [f"{name}: {change.before} mistakes, now {change.after}"]
    if change.lost:
        parts.append(f"lost {', '.join(change.lost[:_FEW])}")
    if change.gained:
        parts.append(f"found {', '.join(change.gained[:_FEW])}")
    return "; ".join(parts)


def _number(value: float | None, form: str = ".4f") -> str:
    return "–" if value is None else format(value, form)
