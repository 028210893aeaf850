"""Predictions as a table for people, one block a picture."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from whatwhere.outputs.words import object_name, object_score, percent
from whatwhere.types import Prediction

# The first column's width, so that the blocks of many pictures line up; "animal: soft-coated
# wheaten terrier" fits, longer names widen their own block.
_NAME_WIDTH = 36


class ResultTable:
    """Prints predictions as they come.

    Args:
        console: where to, by default stdout; pipes get plain text.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._printed = 0

    def print(self, prediction: Prediction) -> None:
        """One picture: a heading, what it shows, and its objects with boxes in whole pixels."""
        if self._printed:
            self._console.print()
        self._printed += 1
        size = f"{prediction.width} x {prediction.height}"
        spent = "" if prediction.ms is None else f", {prediction.ms:.0f} ms"
        heading = Text(_printable(prediction.image or f"picture {self._printed}"), style="bold")
        heading.append(f"  {size}{spent}", style="not bold dim")
        self._console.print(heading, soft_wrap=True)
        table = _table(prediction)
        if prediction.unsure:
            among = prediction.label_set or ()
            perhaps = "perhaps " if len(among) == 1 else "one of "
            words = "  not sure" + (f", {perhaps}{', '.join(among)}" if among else "")
            self._console.print(Text(_printable(words)), soft_wrap=True)
        if table.row_count:
            self._console.print(table)
        elif not prediction.unsure:
            self._console.print(Text("  nothing above the threshold", style="dim"))


def _table(prediction: Prediction) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1))
    table.add_column(width=7, no_wrap=True, style="dim")
    table.add_column(min_width=_NAME_WIDTH, overflow="fold")
    table.add_column(min_width=5, justify="right", no_wrap=True)
    for _ in range(4 if prediction.object_names else 0):
        table.add_column(min_width=5, justify="right", no_wrap=True, style="dim")
    for row, name in enumerate(prediction.label_names):
        score = percent(float(prediction.label_scores[row]))
        table.add_row("" if row else "  shows", Text(_printable(name)), score)
    for row in range(len(prediction.object_names)):
        assert prediction.boxes is not None
        box = [str(round(float(value))) for value in prediction.boxes[row]]
        name = _printable(object_name(prediction, row))
        score = percent(object_score(prediction, row))
        table.add_row("" if row else "  where", Text(name), score, *box)
    return table


def _printable(text: str) -> str:
    """The text without control characters and bytes that are not Unicode."""
    shown = text.encode("utf-8", "replace").decode("utf-8")
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in shown
    )
