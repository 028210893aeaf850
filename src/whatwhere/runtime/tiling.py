"""Large pictures in overlapping tiles: cut, answered one by one, put together again.

A detector whose spec has `tile` sees each picture larger than that in tiles of that many
picture pixels, so that small objects keep their pixels, and once as a whole, for the objects
larger than the tiles' overlap (Akyon et al., Slicing Aided Hyper Inference, ICIP 2022).

How the boxes of all tiles come together is the spec's `merge`:

- "nms": they go through `decode` together, in picture pixels, so that one suppression sees all.
  Each object no larger than the overlap lies whole in at least one tile. So a box that touches a
  border inside the picture belongs to an object that is cut there, and is dropped.
- "nmm", "greedy-nmm": each tile is answered by itself, then `merging` joins boxes that overlap,
  so that an object larger than the overlap is put together from its parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from whatwhere.runtime.decode import Found, checked_output, decode, find_objects, lowest_score
from whatwhere.runtime.merging import merge_boxes
from whatwhere.specs import ModelSpec, PreprocessSpec
from whatwhere.transforms import Geometry, Preprocess
from whatwhere.types import Image, Prediction

Outputs: TypeAlias = Mapping[str, NDArray[Any]]
Run: TypeAlias = Callable[[NDArray[np.uint8]], Outputs]
"""The model: images uint8 (N, H, W, 3) to its outputs, as `decode` takes them."""

# A box closer to a border than this share of the tile's side touches it: boxes are not exact.
_TOUCH = 0.01
# A part of an object lies in it, but boxes are not exact.
_ABSORB = 0.9
# A picture may have as many objects as its tiles together, but not more than this.
_MOST = 5_000


@dataclass(frozen=True, slots=True)
class Tiles:
    """A picture as a tiling model sees it: as a whole first, then tile by tile.

    Only the picture is held; the canvas of a tile is made when it is asked for.

    Args:
        image: uint8 (height, width, 3).
        whole: the model's input that shows all of it, uint8 (H, W, 3).
        fit: makes a canvas of the picture or of a tile.
        geometries: how the picture lies in each canvas.
        regions: (T, 4) for the tiles, x1 y1 x2 y2 in picture pixels.
        touch: (x, y), picture pixels within which a box touches a border.
        least: the whole picture answers for boxes with a side above this, in picture pixels.
    """

    image: Image
    whole: Image
    fit: Preprocess
    geometries: tuple[Geometry, ...]
    regions: NDArray[np.int64]
    touch: tuple[float, float]
    least: float

    def __len__(self) -> int:
        """Number of canvases."""
        return len(self.geometries)

    def canvas(self, number: int) -> Image:
        """An input of the model, uint8 (H, W, 3): 0 is the whole picture, n the tile n - 1."""
        if number == 0:
            return self.whole
        x1, y1, x2, y2 = self.regions[number - 1].tolist()
        return self.fit(self.image[y1:y2, x1:x2])[0]

    @property
    def nbytes(self) -> int:
        """Memory of the picture and its first canvas."""
        return self.image.nbytes + self.whole.nbytes


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
        regions = [
            (x, y, min(x + columns, width), min(y + rows, height))
            for y in starts(height, rows, overlap)
            for x in starts(width, columns, overlap)
        ]
        x1, y1, x2, y2 = regions[0]
        # All tiles are of one size, so they lie alike in their canvases.
        inside = self._fit(image[y1:y2, x1:x2])[1]
        (scale_x, scale_y), (left, top) = inside.scale, inside.offset
        whole, shown = self._fit(image)
        size = (height, width)
        lying = [
            Geometry(size, inside.scale, (left - x * scale_x, top - y * scale_y))
            for x, y, _, _ in regions
        ]
        touch = (_TOUCH * columns, _TOUCH * rows)
        return Tiles(
            image,
            whole,
            self._fit,
            (shown, *lying),
            np.array(regions, np.int64),
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
    threads: int = 1,
) -> list[Prediction]:
    """Predictions of a batch of pictures that `Preparation` made.

    Args:
        run: the model.
        prepared: N pictures.
        spec: the model's.
        threshold, evaluation, images: as in `decode`.
        at_once: canvases that go through the model together, where a picture has many.
        threads: that many such groups of one picture are in work at once.
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
            asked = _Asked(spec, threshold, evaluation)
            work = _Work(run, item, at_once, threads)
            lying = [Geometry(item.geometries[0].image_size, (1.0, 1.0), (0.0, 0.0))]
            if spec.postprocess.merge == "nms":
                outputs, joined = _together(work, asked), None
            else:
                outputs, joined = _one_by_one(work, asked)
            answers[i] = decode(
                outputs,
                lying,
                _for_all(spec, len(item)),
                threshold=threshold,
                evaluation=evaluation,
                images=[names[i]],
                found=joined,
            )[0]
    return [answers[i] for i in range(len(prepared))]


class _Asked(NamedTuple):
    spec: ModelSpec
    threshold: float | None
    evaluation: bool


class _Work(NamedTuple):
    """A picture that goes through the model group by group."""

    run: Run
    tiles: Tiles
    at_once: int
    threads: int

    def each(self, answer: Callable[[range, Outputs], Any]) -> Iterator[Any]:
        """What is made of each group's canvases (their numbers) and outputs, in order."""
        count = len(self.tiles)
        groups = [
            range(start, min(start + self.at_once, count))
            for start in range(0, count, self.at_once)
        ]

        def work(group: range) -> Any:
            return answer(group, self.run(np.stack([self.tiles.canvas(i) for i in group])))

        if self.threads == 1 or len(groups) == 1:
            yield from map(work, groups)
            return
        with ThreadPoolExecutor(self.threads) as pool:
            yield from pool.map(work, groups)


def _together(work: _Work, asked: _Asked) -> dict[str, NDArray[Any]]:
    """Outputs of all canvases as those of one, `boxes` (1, K, 4) in picture pixels."""
    spec, tiles = asked.spec, work.tiles
    limit = lowest_score(spec, asked.threshold, asked.evaluation)

    def answer(group: range, outputs: Outputs) -> dict[str, NDArray[Any]]:
        all_boxes = checked_output(outputs, "boxes", (len(group), -1, 4), spec)
        shape = (len(group), all_boxes.shape[1], len(spec.names))
        all_scores = checked_output(outputs, "scores", shape, spec)
        boxes, scores = [], []
        for i, number in enumerate(group):
            best = all_scores[i].max(axis=1)
            kept = np.flatnonzero(~(best < limit))
            found = _in_picture(all_boxes[i][kept], tiles.geometries[number])
            # What is not finite is kept, for `decode` to refuse.
            broken = ~np.isfinite(best[kept])
            wanted = np.flatnonzero(_answers_for(found, tiles, number - 1) | broken)
            boxes.append(found[wanted])
            scores.append(all_scores[i][kept[wanted]])
        made = {"boxes": np.concatenate(boxes)[None], "scores": np.concatenate(scores)[None]}
        return made | _labels(group, outputs)

    parts = list(work.each(answer))
    joined = {
        name: np.concatenate([part[name] for part in parts], axis=1) for name in ("boxes", "scores")
    }
    return {**parts[0], **joined}


def _one_by_one(work: _Work, asked: _Asked) -> tuple[dict[str, NDArray[Any]], list[Found]]:
    """Labels of the whole picture, and objects of all canvases, merged."""
    spec, tiles = asked.spec, work.tiles
    post = spec.postprocess

    def answer(group: range, outputs: Outputs) -> tuple[dict[str, NDArray[Any]], list[Found]]:
        lying = [tiles.geometries[number] for number in group]
        objects = find_objects(outputs, lying, spec, asked.threshold, asked.evaluation)
        return _labels(group, outputs), [
            _inside(one, tiles, number - 1) for one, number in zip(objects, group, strict=True)
        ]

    parts = list(work.each(answer))
    every = [one for _, objects in parts for one in objects]
    found = Found(*(np.concatenate(values) for values in zip(*every, strict=True)))
    merged = merge_boxes(
        found.boxes,
        found.scores,
        found.ids,
        greedy=post.merge == "greedy-nmm",
        metric=post.merge_metric,
        overlap=post.merge_overlap,
        absorb=_ABSORB,
    )
    rows = merged.rows[: _most(spec, len(tiles))]
    boxes = merged.boxes[: len(rows)]
    return parts[0][0], [Found(boxes, found.ids[rows], found.scores[rows])]


def _labels(group: range, outputs: Outputs) -> dict[str, NDArray[Any]]:
    """Labels are of the whole picture, which is the first canvas."""
    return {"logits": outputs["logits"][:1]} if 0 in group and "logits" in outputs else {}


def _inside(found: Found, tiles: Tiles, tile: int) -> Found:
    """Boxes of a tile do not reach beyond it: what is there, others see."""
    if tile < 0:
        return found
    x1, y1, x2, y2 = tiles.regions[tile].tolist()
    boxes = np.clip(found.boxes, (x1, y1, x1, y1), (x2, y2, x2, y2)).astype(np.float32)
    real = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    return Found(boxes[real], found.ids[real], found.scores[real])


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


def _most(spec: ModelSpec, canvases: int) -> int:
    """Objects of a picture in so many canvases, at most."""
    own = spec.postprocess.max_detections
    return max(own, min(own * canvases, _MOST))


def _for_all(spec: ModelSpec, canvases: int) -> ModelSpec:
    """The spec for boxes of all canvases together.

    With non-maximum suppression: also an end-to-end model answers tile by tile.
    """
    changed = {"end_to_end": False, "max_detections": _most(spec, canvases)}
    return spec.model_copy(update={"postprocess": spec.postprocess.model_copy(update=changed)})
