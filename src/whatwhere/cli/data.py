"""The commands `whatwhere data check`, `stats`, `convert` and `split`."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from whatwhere.cli import app
from whatwhere.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from whatwhere.data import Dataset, Finding

data = typer.Typer(
    name="data",
    help="Look at labelled pictures, check, convert and split them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(data)

_Path = Annotated[Path, typer.Argument(help="Folder or annotation file.", metavar="PATH")]
_Source = Annotated[Path, typer.Argument(help="Folder or annotation file.", metavar="SRC")]
_Target = Annotated[Path, typer.Argument(help="New folder.", metavar="DST")]
_Format = Annotated[
    str | None, typer.Option("--format", help="Format of the data, if not to be recognised.")
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_SHOWN = 20


@data.command()
def check(path: _Path, format: _Format = None, as_json: _Json = False) -> int:
    """Report what is wrong with a data set; with --json one finding a line.

    Exit status 1 if there are errors.
    """
    dataset = _read(path, format)
    with _busy(f"looking at {len(dataset)} pictures"):
        findings = dataset.check()
    if as_json:
        _print_json(findings)
    else:
        _print_findings(findings, limit=None)
        counts = Counter(finding.severity for finding in findings)
        typer.echo(
            f"{len(dataset)} pictures, {dataset.labels.height} labels"
            f" ({dataset.kept_out} kept out): {counts['error']} errors,"
            f" {counts['warning']} warnings, {counts['info']} notes"
        )
    return int(any(finding.severity == "error" for finding in findings))


@data.command()
def stats(path: _Path, format: _Format = None, as_json: _Json = False) -> int:
    """Count pictures, labels, boxes, classes and splits; with --json one object."""
    dataset = _read(path, format)
    counts = dataset.stats()
    if as_json:
        typer.echo(json.dumps(counts, ensure_ascii=False))
        return 0
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    summary = Table("task", "images", "labels", "boxes", "kept out", box=None)
    for name in counts["splits"]:
        summary.add_column(Text(name))
    for column in summary.columns[1:]:
        column.justify = "right"
    summary.add_row(
        dataset.task,
        *(str(counts[key]) for key in ("images", "labels", "boxes")),
        str(dataset.kept_out),
        *(str(count) for count in counts["splits"].values()),
    )
    console.print(summary)
    classes = Table("class", "labels", "", box=None)
    classes.columns[1].justify = "right"
    most = max(counts["classes"].values(), default=0) or 1
    for name, count in sorted(counts["classes"].items(), key=lambda item: -item[1]):
        classes.add_row(Text(name), str(count), "█" * round(40 * count / most))
    console.print(classes)
    return 0


@data.command()
def convert(
    source: _Source,
    target: _Target,
    to: Annotated[str, typer.Option("--to", help="Format to write: coco, folders, voc or yolo.")],
    format: _Format = None,
    as_json: _Json = False,
) -> int:
    """Write a data set in another format, pictures included, to a new folder."""
    dataset = _read(source, format)
    return _write(dataset, target, to, as_json)


@data.command()
def split(
    source: _Source,
    target: _Target,
    fractions: Annotated[
        str, typer.Option(help="Shares of train, val and test; they add up to 1.")
    ] = "0.8,0.1,0.1",
    seed: Annotated[int, typer.Option(help="Another seed gives other parts.")] = 0,
    group: Annotated[
        str | None,
        typer.Option(help="Keep pictures together that agree in this, such as folder."),
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", help="Format to write; by default that of the source.")
    ] = None,
    format: _Format = None,
    as_json: _Json = False,
) -> int:
    """Divide a data set anew into train, val and test, and write it to a new folder."""
    shares = _shares(fractions)
    dataset = _read(source, format).with_splits(shares, seed=seed, group=group)
    return _write(dataset, target, to or dataset.format, as_json)


@contextmanager
def _busy(what: str) -> Iterator[None]:
    """A moving sign on a terminal's stderr; nothing elsewhere."""
    from rich.console import Console
    from rich.markup import escape

    with Console(stderr=True).status(f"{escape(what)} ..."):
        yield


def _shares(text: str) -> dict[str, float]:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(
            f"--fractions must be numbers with commas between them, not {text!r}"
        ) from None
    names = {1: ("train",), 2: ("train", "val"), 3: ("train", "val", "test")}.get(len(values))
    if names is None:
        raise UsageError(f"--fractions has {len(values)} shares: give train, val and test")
    # A share of nothing is no part: "0.8,0,0.2" has no validation pictures.
    return {name: value for name, value in zip(names, values, strict=True) if value != 0}


def _read(path: Path, format: str | None) -> Dataset:
    from whatwhere.data import read

    with _busy(f"reading {path}"):
        dataset = read(path, format)
    typer.echo(f"{path}: {dataset.recognised}", err=True)
    return dataset


def _write(dataset: Dataset, target: Path, format: str, as_json: bool) -> int:
    with _busy(f"writing {len(dataset)} pictures"):
        losses = dataset.write(target, format)
    failed = any(finding.severity == "error" for finding in losses)
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "path": str(target),
                    "format": format,
                    **{key: dataset.stats()[key] for key in ("images", "labels", "splits")},
                    "kept_out": dataset.kept_out,
                    "findings": [finding.to_dict() for finding in losses],
                },
                ensure_ascii=False,
            )
        )
        return int(failed)
    _print_findings([*dataset.findings, *losses], limit=_SHOWN)
    splits = ", ".join(f"{name} {count}" for name, count in dataset.splits.items())
    typer.echo(f"{target}: {format}, {len(dataset)} pictures" + (f" ({splits})" if splits else ""))
    return int(failed)


def _print_json(findings: Sequence[Finding]) -> None:
    for finding in findings:
        sys.stdout.write(json.dumps(finding.to_dict(), ensure_ascii=False) + "\n")


def _print_findings(findings: Sequence[Finding], limit: int | None) -> None:
    for finding in findings[:limit]:
        typer.echo(f"{finding.severity}: {finding}")
    if limit is not None and len(findings) > limit:
        typer.echo(f"... and {len(findings) - limit} more: see 'whatwhere data check'")
