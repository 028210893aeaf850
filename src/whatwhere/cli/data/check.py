"""The command `whatwhere data check`."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from whatwhere.cli.data._common import (
    Format,
    Images,
    Json,
    PathArgument,
    Pictures,
    To,
    busy,
    data,
    print_json,
    read_data,
)
from whatwhere.cli.data._progress import progress
from whatwhere.errors import UsageError

if TYPE_CHECKING:
    from whatwhere.data import Dataset, Finding
    from whatwhere.data.checks import Report

_EXAMPLES = 3


@data.command()
def check(
    path: PathArgument,
    format: Format = None,
    images: Images = None,
    depth: Annotated[
        str,
        typer.Option(
            "--depth",
            help="labels (open no picture), headers (sizes, cut files, exact copies) or pixels"
            " (damage inside and near duplicates, too).",
        ),
    ] = "pixels",
    no_near: Annotated[
        bool, typer.Option("--no-near", help="Do not look for near duplicates.")
    ] = False,
    show_all: Annotated[
        bool, typer.Option("--all", help=f"Show every finding, not {_EXAMPLES} of each kind.")
    ] = False,
    fix: Annotated[
        Path | None,
        typer.Option("--fix", metavar="DST", help="Write a repaired copy to this new folder."),
    ] = None,
    merge_names: Annotated[
        bool,
        typer.Option(
            "--merge-names",
            help="With --fix: make one class of names that differ by case, spaces or marks only.",
        ),
    ] = False,
    to: To = None,
    pictures: Pictures = "copy",
    as_json: Json = False,
) -> int:
    """Report what is wrong with a data set, and perhaps write a repaired copy.

    With --json one finding a line. Exit status 1 if there are errors; with --fix, 0 when the
    copy is written. What the copy leaves out is listed in DST.quarantine.jsonl beside it.
    """
    if fix is None and (merge_names or to is not None):
        raise UsageError("--merge-names and --to belong to a repaired copy: give --fix DST")
    if fix is not None:
        _refuse_content(fix)
    from whatwhere.data.checks import examine

    dataset = read_data(path, format, images)
    if fix is not None:
        from whatwhere.data.formats import prepared, writable

        chosen = to or dataset.format
        if chosen.partition(":")[0] not in (known := writable(dataset.task)):
            raise UsageError(
                f"a repaired copy cannot be written as {chosen!r}: give --to one of"
                f" {', '.join(known)}"
            )
        prepared(dataset, fix, chosen, pictures)
    with progress() as told:
        report = examine(dataset, depth=depth, near=not no_near, progress=told)  # type: ignore[arg-type]
    if as_json:
        print_json(report.findings)
    else:
        _print(report.findings, None if show_all else _EXAMPLES)
        _summary(dataset, report.findings)
    if fix is not None:
        return _fix(report, fix, to or dataset.format, pictures, merge_names, as_json)
    return int(any(finding.severity == "error" for finding in report.findings))


def _quarantine(target: Path) -> Path:
    """Beside the copy, so that no reader takes it for data."""
    return target.with_name(target.name + ".quarantine.jsonl")


def _refuse_content(target: Path) -> None:
    """Before anything is read, which may take long."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} has content already: choose a new folder")
    if _quarantine(target).exists():
        raise UsageError(f"{_quarantine(target)} exists already: choose another folder")


def _print(findings: Sequence[Finding], limit: int | None) -> None:
    """By severity and kind: the count, what to do, and examples."""
    kinds: dict[tuple[str, str], list[Finding]] = defaultdict(list)
    for finding in findings:
        kinds[finding.severity, finding.kind].append(finding)
    rank = {"error": 0, "warning": 1, "info": 2}
    for (severity, kind), same in sorted(
        kinds.items(), key=lambda item: (rank[item[0][0]], -len(item[1]))
    ):
        typer.echo(f"{severity}: {kind}: {len(same)}  [{same[0].do}]")
        for finding in same[:limit]:
            typer.echo(f"  {finding}")
        if limit is not None and len(same) > limit:
            typer.echo(f"  ... and {len(same) - limit} more: --all shows them")


def _summary(dataset: Dataset, findings: Sequence[Finding]) -> None:
    counts = Counter(finding.severity for finding in findings)
    typer.echo(
        f"{len(dataset)} pictures, {dataset.labels.height} labels"
        f" ({dataset.kept_out} kept out): {counts['error']} errors,"
        f" {counts['warning']} warnings, {counts['info']} notes"
    )


def _fix(
    report: Report, target: Path, format: str, pictures: str, merge_names: bool, as_json: bool
) -> int:
    """Write the copy, then the list of what is not in it."""
    from whatwhere.data.repair import repair
    from whatwhere.images import write_atomic

    listed = _quarantine(target)
    repaired = repair(report, merge_names=merge_names)
    copy = repaired.dataset
    with busy(f"writing {len(copy)} pictures"):
        losses = copy.write(target, format, pictures=pictures)  # type: ignore[arg-type]
    lines = [json.dumps(record, ensure_ascii=False) for record in repaired.quarantine]
    # A name that is no valid text is written as its bytes are, as everywhere.
    text = "".join(line + "\n" for line in lines)
    write_atomic(listed, text.encode("utf-8", "surrogateescape"))
    if as_json:
        row: dict[str, Any] = {
            "path": str(target),
            "format": format,
            "images": len(copy),
            "labels": copy.labels.height,
            "quarantine": str(listed),
            "quarantined": len(lines),
            "findings": [finding.to_dict() for finding in losses],
        }
        typer.echo(json.dumps(row, ensure_ascii=False))
    else:
        _print(losses, _EXAMPLES)
        actions = Counter(record["action"].partition(",")[0] for record in repaired.quarantine)
        done = ", ".join(f"{count} x {action}" for action, count in actions.most_common())
        typer.echo(
            f"{target}: {format}, {len(copy)} pictures, {copy.labels.height} labels"
            f" ({done or 'nothing to repair'}; listed in {listed})"
        )
    return int(any(finding.severity == "error" for finding in losses))
