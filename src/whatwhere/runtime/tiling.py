"""Large pictures in overlapping tiles: cut, answered one by one, put together again.

A detector whose spec has `tile` sees each picture larger than that in tiles of that many
picture pixels, so that small objects keep their pixels, and once as a whole, for the objects
larger than the tiles' overlap (Akyon et al., Slicing Aided Hyper Inference, ICIP 2022). Boxes
of all tiles go through `decode` together, in picture pixels, so that one suppression sees all.

Each object no larger than the overlap lies whole in at least one tile. So a box that touches a
border inside the picture belongs to an object that is cut there, and is dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from whatwhere.runtime.decode import checked_output, decode, lowest_score
from whatwhere.specs import ModelSpec, PreprocessSpec
from whatwhere.transforms import Geometry, Preprocess
from whatwhere.types import Image, Prediction

Outputs: TypeAlias = Mapping[str, NDArray[Any]]
Run: TypeAlias = Callable[[NDArray[np.uint8]], Outputs]
"""The model: images uint8 (N, H, W, 3) to its outputs, as `decode` takes them."""

# A box closer to a border than this share of the tile's side touches it: boxes are not exact.
_TOUCH = 0.01


@dataclass(frozen=True, slots=True)
class Tiles:
    """A picture as a tiling model sees it.

    Args:
        canvases: the model's inputs, uint8 (H, W, 3): the whole picture first, then its tiles.
        geometries: how the picture lies in each.
        regions: (T, 4) for the tiles, x1 y1 x2 y2 in picture pixels.
        touch: (x, y), picture pixels within which a box touches a border.
        least: the whole picture answers for boxes with a side above this, in picture pixels.
    """

    canvases: tuple[Image, ...]
    geometries: tuple[Geometry, ...]
    regions: NDArray[np.float32]
    touch: tuple[float, float]
    least: float

    @property
    def nbytes(self) -> int:
        """Memory of the canvases."""
        return sum(canvas.nbytes for canvas in self.canvases)


Prepared: TypeAlias = tuple[Image, Geometry] | Tiles
"""A picture for the model: its input and how the picture lies in it, or several such."""


def tile_shape(tile: int, size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of a tile in picture pixels: the model's shape, its longer side `tile`."""
    longer = max(size)
    return max(1, round(tile * size[0] / longer)), max(1, round(tile * size[1] / longer))


def starts(length: int, tile: int, overlap: float) -> list[int]:
    """Where tiles begin along a side, evenly spread; neighbours share at least `overlap`."""
    if length <= tile:
        return [0]
    # One less, because places are rounded to whole pixels.
    steps = int(np.ceil((length - tile) / max(1.0, tile * (1 - overlap) - 1)))
    return [int(x) for x in np.round(np.linspace(0, length - tile, steps + 1))]


class Preparation:
    """What is done to a picture before the model: fitted as a whole, or in tiles.

    Args:
        spec: the model's.
    """

    def __init__(self, spec: PreprocessSpec) -> None:
        self._fit: Preprocess = spec.build()
        self._spec = spec

    def __call__(self, image: Image) -> Prepared:
        """The picture for the model; as without tiles if it is no larger than one."""
        if not self._spec.tile:
            return self._fit(image)
        height, width = image.shape[:2]
        rows, columns = tile_shape(self._spec.tile, self._spec.size)
        if height <= rows and width <= columns:
            return self._fit(image)
        overlap = self._spec.tile_overlap
        made, regions = [self._fit(image)], []
        for y in starts(height, rows, overlap):
            for x in starts(width, columns, overlap):
                part = image[y : y + rows, x : x + columns]
                canvas, inside = self._fit(part)
                offset = (
                    inside.offset[0] - x * inside.scale[0],
                    inside.offset[1] - y * inside.scale[1],
                )
                made.append((canvas, Geometry((height, width), inside.scale, offset)))
                regions.append((x, y, x + part.shape[1], y + part.shape[0]))
        touch = (_TOUCH * columns, _TOUCH * rows)
        return Tiles(
            tuple(canvas for canvas, _ in made),
            tuple(geometry for _, geometry in made),
            np.array(regions, np.float32),
            touch,
            max(0.0, overlap * min(rows, columns) - 2 * max(touch)),
        )


def predict(
    run: Run,
    prepared: Sequence[Prepared],
    spec: ModelSpec,
    *,
    threshold: float | None = None,
    evaluation: bool = False,
    images: Sequence[str | None] | None = None,
    at_once: int = 8,
) -> list[Prediction]:
    """Predictions of a batch of pictures that `Preparation` made.

    Args:
        run: the model.
        prepared: N pictures.
        spec: the model's.
        threshold, evaluation, images: as in `decode`.
        at_once: canvases that go through the model together, where a picture has many.
    """
    plain = [i for i, item in enumerate(prepared) if not isinstance(item, Tiles)]
    answers: dict[int, Prediction] = {}
    names = [None] * len(prepared) if images is None else list(images)
    if plain:
        # Those of one canvas go through the model together.
        whole = [item for item in prepared if not isinstance(item, Tiles)]
        decoded = decode(
            run(np.stack([canvas for canvas, _ in whole])),
            [geometry for _, geometry in whole],
            spec,
            threshold=threshold,
            evaluation=evaluation,
            images=[names[i] for i in plain],
        )
        answers.update(zip(plain, decoded, strict=True))
    for i, item in enumerate(prepared):
        if isinstance(item, Tiles):
            limit = lowest_score(spec, threshold, evaluation)
            answers[i] = decode(
                _merged(run, item, spec, limit, at_once),
                [Geometry(item.geometries[0].image_size, (1.0, 1.0), (0.0, 0.0))],
                _suppressing(spec),
                threshold=threshold,
                evaluation=evaluation,
                images=[names[i]],
            )[0]
    return [answers[i] for i in range(len(prepared))]


def _merged(
    run: Run, tiles: Tiles, spec: ModelSpec, limit: float, at_once: int
) -> dict[str, NDArray[Any]]:
    """Outputs of all canvases as those of one, `boxes` (1, K, 4) in picture pixels."""
    boxes, scores = [], []
    merged: dict[str, NDArray[Any]] = {}
    for start in range(0, len(tiles.canvases), at_once):
        group = tiles.canvases[start : start + at_once]
        outputs = run(np.stack(group))
        if start == 0 and "logits" in outputs:
            merged["logits"] = outputs["logits"][:1]  # labels are of the whole picture
        all_boxes = checked_output(outputs, "boxes", (len(group), -1, 4), spec)
        shape = (len(group), all_boxes.shape[1], len(spec.names))
        all_scores = checked_output(outputs, "scores", shape, spec)
        for i, row in enumerate(range(start, start + len(group))):
            best = all_scores[i].max(axis=1)
            kept = np.flatnonzero(~(best < limit))
            found = _in_picture(all_boxes[i][kept], tiles.geometries[row])
            # What is not finite is kept, for `decode` to refuse.
            broken = ~np.isfinite(best[kept])
            wanted = np.flatnonzero(_answers_for(found, tiles, row - 1) | broken)
            boxes.append(found[wanted])
            scores.append(all_scores[i][kept[wanted]])
    merged["boxes"] = np.concatenate(boxes)[None]
    merged["scores"] = np.concatenate(scores)[None]
    return merged


def _in_picture(boxes: NDArray[Any], geometry: Geometry) -> NDArray[Any]:
    """Boxes from input to picture pixels, not clipped."""
    scale = np.array(geometry.scale * 2, np.float32)
    return (boxes - np.array(geometry.offset * 2, np.float32)) / scale


def _answers_for(boxes: NDArray[Any], tiles: Tiles, tile: int) -> NDArray[np.bool_]:
    """Whether a box is for this tile to find, or for the whole picture (tile -1)."""
    if tile < 0:
        small: NDArray[np.bool_] = (boxes[:, 2:] - boxes[:, :2]).max(axis=1) <= tiles.least
        return ~small
    x1, y1, x2, y2 = tiles.regions[tile]
    height, width = tiles.geometries[0].image_size
    cut = np.zeros(len(boxes), bool)
    if x1 > 0:
        cut |= boxes[:, 0] < x1 + tiles.touch[0]
    if y1 > 0:
        cut |= boxes[:, 1] < y1 + tiles.touch[1]
    if x2 < width:
        cut |= boxes[:, 2] > x2 - tiles.touch[0]
    if y2 < height:
        cut |= boxes[:, 3] > y2 - tiles.touch[1]
    return ~cut


def _suppressing(spec: ModelSpec) -> ModelSpec:
    """The spec with non-maximum suppression: also an end-to-end model answers tile by tile."""
    if not spec.postprocess.end_to_end:
        return spec
    changed = spec.postprocess.model_copy(update={"end_to_end": False})
    return spec.model_copy(update={"postprocess": changed})
