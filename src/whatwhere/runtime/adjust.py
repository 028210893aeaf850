"""A detector's spec, changed for one use: other tiles, another way to thin out its boxes."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

from whatwhere.errors import UsageError
from whatwhere.specs import Merge, MergeMetric, ModelSpec, Suppress

LEAST_TILE = 32
# A fifth is what Akyon et al. use; more than half doubles the work in each direction.
_USUAL, _NARROW, _WIDE = 0.2, 0.1, 0.5


class TileChoice(NamedTuple):
    """Tiles that suit a model.

    Args:
        tile: longer side in picture pixels.
        overlap: share that neighbours have in common, at least.
        reason: why, for a sentence.
    """

    tile: int
    overlap: float
    reason: str


def choose_tile(spec: ModelSpec) -> TileChoice:
    """The tile that `auto` means: objects get the size in the input that training showed.

    A model that was trained in tiles keeps them. Otherwise a tile is as large as the usual
    training picture, so that an object of as many pixels as in training is seen as in training;
    tiles share as much as the largest 5 % of the objects need to lie whole in one of them. Where
    the file does not say what was seen, a tile is as large as the input: nothing is shrunk.
    """
    before = spec.preprocess
    if before.tile:
        return TileChoice(before.tile, before.tile_overlap, "as the model was trained")
    seen = spec.objects
    if seen is None:
        reason = "its input; the file does not say how large its training pictures were"
        return TileChoice(max(LEAST_TILE, *before.size), _USUAL, reason)
    overlap = min(max(round(seen.sides[-1], 2), _NARROW), _WIDE)
    reason = f"as large as its training pictures; 95 % of the objects fit into {overlap:.0%} of it"
    return TileChoice(max(LEAST_TILE, seen.picture), overlap, reason)


def with_tiles(
    spec: ModelSpec,
    tile: int | Literal["auto"],
    overlap: float | None,
    merge: Merge | None,
    metric: MergeMetric | None,
    merge_overlap: float | None,
) -> ModelSpec:
    """The spec of a detector that sees pictures in other tiles; None leaves a setting as it is.

    Raises:
        UsageError: the model finds no objects, or a value is out of its range.
    """
    if spec.task != "detect":
        raise UsageError(
            f"{spec.name} says what a whole picture shows ({spec.task}): tiles are for detectors"
        )
    usual = None
    if tile == "auto":
        tile, usual, _ = choose_tile(spec)
    if not isinstance(tile, int) or isinstance(tile, bool) or 0 < tile < LEAST_TILE or tile < 0:
        raise UsageError(f"tile must be 'auto', 0 or at least {LEAST_TILE} pixels, not {tile!r}")
    if overlap is None:
        overlap = usual
    elif not 0 <= overlap <= 0.9:
        raise UsageError(f"the overlap of tiles must be in 0..0.9, not {overlap}")
    if merge_overlap is not None and not 0 < merge_overlap <= 1:
        raise UsageError(f"the overlap for merging must be above 0, at most 1, not {merge_overlap}")
    _one_of("merge", merge, get_args(Merge))
    _one_of("the metric of merging", metric, get_args(MergeMetric))
    before = spec.preprocess.model_copy(update=_given(tile=tile, tile_overlap=overlap))
    after = spec.postprocess.model_copy(
        update=_given(merge=merge, merge_metric=metric, merge_overlap=merge_overlap)
    )
    return spec.model_copy(update={"preprocess": before, "postprocess": after})


def with_suppression(
    spec: ModelSpec, suppress: Suppress | None, iou: float | None, sigma: float | None
) -> ModelSpec:
    """The spec of a detector that thins its boxes out in another way; None leaves a setting.

    Raises:
        UsageError: the model finds no objects, its graph does that itself, or a value is out of
            its range.
    """
    if spec.task != "detect":
        raise UsageError(f"{spec.name} finds no objects: there are no boxes to suppress")
    if spec.postprocess.end_to_end and not spec.preprocess.tile:
        raise UsageError(f"the boxes of {spec.name} are final: its graph leaves none to suppress")
    _one_of("suppress", suppress, get_args(Suppress))
    if iou is not None and not 0 <= iou <= 1:
        raise UsageError(f"the IoU of suppression must be in 0..1, not {iou}")
    if sigma is not None and not 0 < sigma < float("inf"):
        raise UsageError(f"sigma must be above 0, not {sigma}")
    changed = spec.postprocess.model_copy(
        update=_given(suppress=suppress, nms_iou=iou, soft_sigma=sigma)
    )
    return spec.model_copy(update={"postprocess": changed})


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _one_of(what: str, value: str | None, known: tuple[str, ...]) -> None:
    if value is not None and value not in known:
        raise UsageError(f"{what} cannot be {value!r}: choose one of {', '.join(known)}")
