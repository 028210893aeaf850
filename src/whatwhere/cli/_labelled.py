"""Which labelled pictures a command is about, where the user leaves that open; and its bar."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from whatwhere.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from whatwhere.data import Dataset


def choose_split(
    data: Dataset, wanted: str | None, order: tuple[str, str] = ("test", "val")
) -> str | None:
    """The split to use, None for all; says which where it was not asked for."""
    if wanted is not None:
        if wanted == "all" and "all" not in data.splits:
            return None
        data.split_named(wanted)  # says which there are
        return wanted
    for name in order:
        if name in data.splits:
            say(f"split: {name} ({data.splits[name]} of {len(data)} pictures)")
            return name
    say(f"split: all {len(data)} pictures (the data has neither {order[0]} nor {order[1]})")
    return None


def held_out(data: Dataset, run: Path) -> Dataset:
    """The pictures that a run did not train on, if it kept a list and they are all here."""
    file = run / "validation.txt"
    if not file.is_file():
        return data
    row_of = {name: row for row, name in enumerate(data.relative_paths())}
    names = file.read_text(encoding="utf-8").splitlines()
    if not names or not all(name in row_of for name in names):
        return data
    say(f"only the {len(names)} pictures of {len(data)} that the run did not train on")
    return data.select([row_of[name] for name in names])


def newest_run(folder: Path) -> Path | None:
    """The run folder whose model was written last, None if there is none."""
    models = [path for path in folder.glob("*/model.onnx") if path.is_file()]
    newest = max(models, key=lambda path: path.stat().st_mtime_ns, default=None)
    return None if newest is None else newest.parent


def trained_on(run: Path | None, model: str) -> tuple[Path, str | None, Path | None]:
    """Path, format and folder of pictures of the data that a run was trained on.

    Raises:
        UsageError: it is no run, its settings cannot be read, or the data is not there.
    """
    if run is None:
        raise UsageError(f"no data to score {model} on: add the labelled pictures, as DATA")
    file = run / "config.json"
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
        place, format = Path(settings["data"]), settings.get("format")
        images = Path(settings["images"]) if settings.get("images") else None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{file} does not say what data was used: name it, as DATA") from error
    if not place.exists():
        raise UsageError(
            f"{run} was trained on {place}, which is not there: name the data, as DATA"
        )
    return place, format if isinstance(format, str) else None, images


@contextmanager
def progress_bar(
    total: int, title: str = "evaluating"
) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on stderr; nothing where that is not a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), Remaining())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        work = bar.add_task("", total=total)
        yield lambda done, _: bar.update(work, completed=done)


def say(text: str) -> None:
    """A line on stderr, where it does not mix with results."""
    typer.echo(text, err=True)
