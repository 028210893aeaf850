"""The command `whatwhere data check`."""

from __future__ import annotations

from collections import Counter

import typer

from whatwhere.cli.data._common import (
    Format,
    Images,
    Json,
    PathArgument,
    busy,
    data,
    print_findings,
    print_json,
    read_data,
)


@data.command()
def check(
    path: PathArgument, format: Format = None, images: Images = None, as_json: Json = False
) -> int:
    """Report what is wrong with a data set; with --json one finding a line.

    Exit status 1 if there are errors.
    """
    dataset = read_data(path, format, images)
    with busy(f"looking at {len(dataset)} pictures"):
        findings = dataset.check()
    if as_json:
        print_json(findings)
    else:
        print_findings(findings, limit=None)
        counts = Counter(finding.severity for finding in findings)
        typer.echo(
            f"{len(dataset)} pictures, {dataset.labels.height} labels"
            f" ({dataset.kept_out} kept out): {counts['error']} errors,"
            f" {counts['warning']} warnings, {counts['info']} notes"
        )
    return int(any(finding.severity == "error" for finding in findings))
