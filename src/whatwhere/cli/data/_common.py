"""What the `whatwhere data` commands share: the command group, arguments, reading, writing."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from whatwhere.cli import app
from whatwhere.cli._options import Format as Format
from whatwhere.cli._options import Images as Images

if TYPE_CHECKING:
    from collections.abc import Sequence

    from whatwhere.data import Dataset, Finding

data = typer.Typer(
    name="data",
    help="Look at labelled pictures; check, convert, divide, join and choose them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(data)

PathArgument = Annotated[Path, typer.Argument(help="Folder or annotation file.", metavar="PATH")]
Source = Annotated[Path, typer.Argument(help="Folder or annotation file.", metavar="SRC")]
Target = Annotated[Path, typer.Argument(help="New folder.", metavar="DST")]
To = Annotated[
    str | None, typer.Option("--to", help="Format to write; by default that of the source.")
]
Pictures = Annotated[
    str,
    typer.Option(
        "--pictures",
        help="copy, link (hard links), reference (symbolic links) or none (labels only).",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

ALONE = 3
"""Up to so many findings of one kind are printed each; more become one line."""


@contextmanager
def busy(what: str) -> Iterator[None]:
    """A moving sign on a terminal's stderr; nothing elsewhere."""
    from rich.console import Console
    from rich.markup import escape

    with Console(stderr=True).status(f"{escape(what)} ..."):
        yield


def read_data(path: Path, format: str | None, images: Path | None = None) -> Dataset:
    """Read a data set and say on stderr what it was taken for."""
    from whatwhere.data import read

    with busy(f"reading {path}"):
        dataset = read(path, format, images=images)
    typer.echo(f"{path}: {dataset.recognised}", err=True)
    return dataset


def write_data(
    dataset: Dataset,
    target: Path,
    format: str,
    as_json: bool,
    pictures: str = "copy",
    found: Sequence[Finding] = (),
    read: Sequence[Finding] | None = None,
) -> int:
    """Write a data set, print what could not be kept, and give the exit status.

    Args:
        found: what else is to be reported with it, such as what merging found.
        read: what reading found, printed for people only; by default the data set's findings.
    """
    read = dataset.findings if read is None else read
    with busy(f"writing {len(dataset)} pictures"):
        losses = (*found, *dataset.write(target, format, pictures=pictures))  # type: ignore[arg-type]
    failed = any(finding.severity == "error" for finding in losses)
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "path": str(target),
                    "format": format,
                    "images": len(dataset),
                    "labels": dataset.labels.height,
                    "splits": dataset.splits,
                    "kept_out": sum(finding.boxes for finding in [*read, *found]),
                    "findings": [finding.to_dict() for finding in losses],
                },
                ensure_ascii=False,
            )
        )
        return int(failed)
    print_groups([*read, *losses])
    splits = ", ".join(f"{name} {count}" for name, count in dataset.splits.items())
    typer.echo(f"{target}: {format}, {len(dataset)} pictures" + (f" ({splits})" if splits else ""))
    return int(failed)


def print_json(findings: Sequence[Finding]) -> None:
    """One finding a line."""
    for finding in findings:
        sys.stdout.write(json.dumps(finding.to_dict(), ensure_ascii=False) + "\n")


def print_groups(findings: Sequence[Finding]) -> None:
    """A line a finding where there are few of its kind, else one line with the first."""
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.severity, finding.kind), []).append(finding)
    for (severity, kind), group in groups.items():
        if len(group) <= ALONE:
            for finding in group:
                typer.echo(f"{severity}: {finding}")
        else:
            boxes = sum(finding.boxes for finding in group)
            lost = f" ({boxes} labels kept out)" if boxes else ""
            typer.echo(f"{severity}: {len(group)} x {kind}{lost}, such as {group[0]}")
