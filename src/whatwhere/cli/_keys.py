"""The commands `whatwhere serve keys ...`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from whatwhere.cli._options import Json
from whatwhere.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from whatwhere.serve.keys import Key

_SCOPES = ("predict", "admin", "metrics")
_DAY = 86_400.0

keys = typer.Typer(
    name="keys",
    help="API keys of a server: a file of their hashes, which a running server reads anew.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

File = Annotated[
    Path, typer.Option("--keys", metavar="FILE", help="File that 'whatwhere serve --keys' reads.")
]


@keys.command()
def add(
    name: Annotated[str, typer.Argument(help="Who will use it; stands in logs and figures.")],
    file: File = Path("keys.json"),
    scope: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SCOPE",
            help="predict, admin (reload, log) or metrics; may be given again. predict if left"
            " out.",
            show_default=False,
        ),
    ] = None,
    rate: Annotated[
        int | None,
        typer.Option(min=1, help="Most requests a minute; the server's own limit if left out."),
    ] = None,
    days: Annotated[
        float | None, typer.Option(min=0.001, help="Days that it is valid; for ever if left out.")
    ] = None,
) -> int:
    """Make a key and print it, this one time; the file is made if there is none."""
    _needs_serve()
    from whatwhere.serve.keys import new_key, read_keys, write_keys

    scopes: list[Any] = scope or ["predict"]
    for one in scopes:
        if one not in _SCOPES:
            raise UsageError(f"--scope {one}: choose from {', '.join(_SCOPES)}")
    there = read_keys(file) if file.exists() else ()
    if any(key.name == name for key in there):
        raise UsageError(
            f"{file} has a key for {name} already: give the new one another name, such as"
            f" {name}-2, and revoke the old one when nobody uses it any more"
        )
    key, text = new_key(
        name, scopes, per_minute=rate, seconds=None if days is None else days * _DAY
    )
    write_keys(file, (*there, key))
    typer.echo(text)
    typer.echo(
        f"whatwhere: this key is shown once; {file} keeps only its hash;"
        f" it allows {', '.join(key.scopes)}",
        err=True,
    )
    return 0


@keys.command("list")
def list_(file: File = Path("keys.json"), as_json: Json = False) -> int:
    """Show who has a key, and what it allows; the keys themselves are nowhere."""
    _needs_serve()
    from whatwhere.serve.keys import read_keys

    rows = [_row(key) for key in read_keys(file)]
    if as_json:
        for row in rows:
            typer.echo(json.dumps(row))
        return 0
    from rich.table import Table

    table = Table("name", "id", "scopes", "a minute", "made", "expires", box=None)
    for row in rows:
        table.add_row(
            row["name"],
            row["id"],
            " ".join(row["scopes"]),
            str(row["per_minute"] or ""),
            row["created"][:10],
            (row["expires"] or "never")[:10],
        )
    Console().print(table)
    return 0


@keys.command()
def revoke(
    name: Annotated[str, typer.Argument(help="Whose key, as 'list' shows it.")],
    file: File = Path("keys.json"),
) -> int:
    """Take a key away; running servers refuse it within a second."""
    _needs_serve()
    from whatwhere.serve.keys import read_keys, write_keys

    there = read_keys(file)
    left = [key for key in there if key.name != name]
    if len(left) == len(there):
        names = ", ".join(key.name for key in there) or "none"
        raise UsageError(f"{file} has no key for {name}: there are {names}")
    write_keys(file, left)
    typer.echo(f"whatwhere: revoked {name}, {len(left)} keys are left", err=True)
    return 0


def _needs_serve() -> None:
    if find_spec("starlette") is None:
        raise MissingExtraError("serve", "Making an API key")


def _row(key: Key) -> dict[str, Any]:
    return {
        "name": key.name,
        "id": key.id,
        "scopes": list(key.scopes),
        "per_minute": key.per_minute,
        "created": _day(key.created),
        "expires": None if key.expires is None else _day(key.expires),
    }


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
