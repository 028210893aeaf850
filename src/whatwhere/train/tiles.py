"""Tiles of large pictures as training samples, for objects that are small in them."""

from __future__ import annotations

import numpy as np

from whatwhere.data import Dataset
from whatwhere.runtime.tiling import tile_shape
from whatwhere.specs import SeenObjects
from whatwhere.train.augment import Sample, affine, blank, place, random_zoom
from whatwhere.train.config import TrainConfig

# Prediction looks at the whole picture, too, for objects larger than a tile's overlap; Akyon
# et al. (Slicing Aided Hyper Inference, ICIP 2022) mix whole pictures into training as well.
_WHOLE = 0.2
# The others are background by chance, so that there is some of it.
_AIMED = 0.8


_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def seen_objects(data: Dataset, tile: int = 0) -> SeenObjects | None:
    """How large the objects are that a detector learns, for the choice of tiles later.

    Args:
        data: pictures of known size, with boxes.
        tile: as in the settings.

    Returns:
        None if no box with an area lies in a picture of known size.
    """
    sizes = data.images.select("width", "height").to_numpy().astype(np.float64)
    longer = sizes.max(axis=1, initial=0) if len(sizes) else np.zeros(0)
    rows = data.labels.select("image", "x1", "y1", "x2", "y2").drop_nulls().to_numpy()
    side = (rows[:, 3:] - rows[:, 1:3]).max(axis=1, initial=0)
    of = longer[rows[:, 0].astype(np.int64)]
    known = np.isfinite(of) & (of > 0) & (side > 0)
    if not known.any():
        return None
    seen = np.minimum(of[known], tile) if tile else of[known]
    shares = np.quantile(np.minimum(side[known] / seen, 1.0), _QUANTILES).round(5)
    a, b, c, d, e = shares.tolist()
    picture = max(1, round(float(np.median(longer[np.isfinite(longer)]))))
    return SeenObjects(picture=picture, sides=(a, b, c, d, e), boxes=int(known.sum()))


def cut(
    sample: Sample,
    original: tuple[int, int],
    size: tuple[int, int],
    config: TrainConfig,
    rng: np.random.Generator,
) -> Sample:
    """A random tile of a picture on a canvas; the whole picture if it is no larger than one.

    Most tiles hold an object chosen at random, others lie anywhere, some samples are the whole
    picture. Objects at the tile's border are cut as by `augment.place`.

    Args:
        sample: the picture at working size.
        original: its (height, width) in the file, which `config.tile` is about.
        size: (height, width) of the canvas.
        config: settings.
        rng: to draw from.
    """
    sides = tile_shape(config.tile, size)
    if original[0] <= sides[0] and original[1] <= sides[1]:
        return affine(sample, size, config, rng)
    if rng.random() < _WHOLE:
        return affine(sample, size, config, rng)
    rows, columns = sample.image.shape[:2]
    zoom, aspect = random_zoom(config, rng)
    # Canvas pixels a pixel of the working picture.
    nominal = (size[1] / sides[1] * original[1] / columns, size[0] / sides[0] * original[0] / rows)
    scale = (nominal[0] * zoom * aspect, nominal[1] * zoom / aspect)
    aim = None
    real = np.flatnonzero(~sample.ignore)
    if rng.random() < _AIMED and real.size:
        box = sample.boxes[rng.choice(real)]
        aim = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    offset = tuple(
        _offset(length * scale[axis], limit, None if aim is None else aim[axis] * scale[axis], rng)
        for axis, (length, limit) in enumerate(((columns, size[1]), (rows, size[0])))
    )
    return place(sample, blank(size), scale, (offset[0], offset[1]))


def _offset(length: float, limit: int, aim: float | None, rng: np.random.Generator) -> float:
    """Where a picture of `length` canvas pixels starts so that `aim` lies in 0..limit."""
    draw = rng.random()
    if length <= limit:
        return (limit - length) * draw
    start = (length - limit) * draw if aim is None else aim - limit * (0.05 + 0.9 * draw)
    return -float(np.clip(start, 0, length - limit))
