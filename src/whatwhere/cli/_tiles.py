"""Options about large pictures and about boxes that overlap, for the commands that predict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from whatwhere.cli._labelled import say
from whatwhere.errors import UsageError

if TYPE_CHECKING:
    from whatwhere.runtime import Predictor
    from whatwhere.runtime.cascade import Pair

Tile = Annotated[
    str | None,
    typer.Option(
        "--tile",
        metavar="N|auto",
        help="A detector sees pictures larger than N pixels in tiles of N, and as a whole; auto"
        " chooses N by what it was trained on, 0 turns tiles off.",
        show_default=False,
    ),
]
TileOverlap = Annotated[
    float | None,
    typer.Option(
        "--tile-overlap",
        help="Share of a tile that it has in common with the next, 0 to 0.9.",
        show_default=False,
    ),
]
MergeOption = Annotated[
    str | None,
    typer.Option(
        "--merge",
        help="How boxes of all tiles come together: nms (boxes cut by a border are dropped), nmm or"
        " greedy-nmm (boxes that overlap become one around them).",
        show_default=False,
    ),
]
MergeBy = Annotated[
    str | None,
    typer.Option(
        "--merge-metric",
        help="Overlap for nmm: iou, or ios (intersection over the smaller box).",
        show_default=False,
    ),
]
SuppressOption = Annotated[
    str | None,
    typer.Option(
        "--suppress",
        help="What becomes of boxes that overlap a better one: nms, soft (Gaussian Soft-NMS),"
        " soft-linear or wbf (weighted box fusion).",
        show_default=False,
    ),
]
SuppressIou = Annotated[
    float | None,
    typer.Option("--suppress-iou", help="From which IoU they do, 0 to 1.", show_default=False),
]


class Boxing(NamedTuple):
    """The values of these options, in their order."""

    tile: str | None = None
    overlap: float | None = None
    merge: str | None = None
    metric: str | None = None
    suppress: str | None = None
    iou: float | None = None

    @property
    def asked(self) -> bool:
        """Whether any was given."""
        return any(value is not None for value in self)

    def apply(self, predictor: Predictor | Pair) -> Predictor | Pair:
        """The model as the options want it; says which tile was chosen.

        Raises:
            UsageError: the model finds no objects, or a value cannot be.
        """
        given: dict[str, Any] = {"overlap": self.overlap, "metric": self.metric}
        tile: Any = predictor.spec.preprocess.tile if self.tile is None else _tile(self.tile)
        if self.tile is not None or self.overlap is not None or self.merge or self.metric:
            if tile == 0 and (self.overlap is not None or self.merge or self.metric):
                raise UsageError(
                    "--tile-overlap, --merge and --merge-metric are for tiles: add  --tile auto"
                )
            # Checked against the known names where the spec is made.
            merged: Any = predictor.with_tiles(tile, merge=self.merge, **given)  # type: ignore[arg-type]
            if tile == "auto":
                from whatwhere.runtime.adjust import choose_tile

                chosen = choose_tile(predictor.spec)
                say(f"tiles: {chosen.tile} pixels, {chosen.reason}")
            predictor = merged
        if self.suppress is not None or self.iou is not None:
            changed: Any = predictor.with_suppression(self.suppress, iou=self.iou)  # type: ignore[arg-type]
            predictor = changed
        return predictor


def _tile(text: str) -> int | str:
    if text == "auto":
        return text
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"--tile must be a number of pixels or auto, not {text!r}") from None
