"""The user's pictures as an exported model sees them, and as labels to score it on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whatwhere.data import Dataset
from whatwhere.errors import ImageError, UsageError
from whatwhere.images import read_image
from whatwhere.runtime import Predictor
from whatwhere.runtime.foreign import ForeignBackend
from whatwhere.runtime.tiling import Tiles
from whatwhere.types import Image, limit_of

# Of a tiled picture: more would make large pictures count more than others.
_TILES = 8


def drawn(paths: Sequence[str], count: int, seed: int) -> list[str]:
    """So many of the pictures, by chance; all of them if there are no more.

    Raises:
        UsageError: there is none.
    """
    if not paths:
        raise UsageError("there are no pictures to measure ranges on: give some with --calibrate")
    if len(paths) <= count:
        return list(paths)
    rows = np.random.default_rng(seed).choice(len(paths), count, replace=False)
    return [paths[row] for row in np.sort(rows)]


def canvases(predictor: Predictor, paths: Sequence[str]) -> Iterator[Image]:
    """The model's inputs, uint8 (H, W, 3), through its own preprocessing.

    A picture that cannot be read is passed over: `evaluate` counts and names those.

    Raises:
        ImageError: none can be read.
    """
    read, last = 0, None
    for path in paths:
        try:
            image = read_image(path)
        except ImageError as error:
            last = error
            continue
        read += 1
        prepared = predictor.prepare(image)
        if isinstance(prepared, Tiles):
            yield from map(prepared.canvas, range(min(_TILES, len(prepared))))
        else:
            yield prepared[0]
    if not read and last is not None:
        raise last


def feeds(predictor: Predictor, images: Iterator[Image]) -> Iterator[dict[str, NDArray[Any]]]:
    """What the graph itself takes, by input, for one canvas after the other."""
    backend = predictor.backend
    for image in images:
        if isinstance(backend, ForeignBackend):
            yield from backend.feeds(image[None])
        else:
            yield {backend.inputs[0].name: image[None]}


def answers_as_labels(predictor: Predictor, paths: Sequence[str]) -> Dataset:
    """A data set whose labels are what a model answers, for pictures that have none.

    Of a detector those boxes that it shows, of a classifier its first class, of a multi-label
    model what it affirms. Pictures that cannot be read are left out.

    Raises:
        UsageError: no picture can be read, or the model says nothing of any.
    """
    from whatwhere.runtime import Failure

    spec = predictor.spec
    place = {name: row for row, name in enumerate(spec.names)}
    images: dict[str, list[Any]] = {"path": [], "width": [], "height": []}
    labels: dict[str, list[Any]] = {"image": [], "class_id": []}
    corners: Mapping[str, list[float]] = {name: [] for name in ("x1", "y1", "x2", "y2")}
    for path, answer in zip(paths, predictor.stream(paths), strict=True):
        if isinstance(answer, Failure):
            continue
        row = len(images["path"])
        images["path"].append(str(path))
        images["width"].append(answer.width)
        images["height"].append(answer.height)
        names = answer.names[:1] if spec.task == "classify" else answer.names
        for index, name in enumerate(names):
            labels["image"].append(row)
            labels["class_id"].append(place[name])
            if answer.boxes is not None:
                for side, value in zip(corners.values(), answer.boxes[index], strict=True):
                    side.append(float(value))
    if not labels["image"]:
        limit = limit_of(spec.postprocess.score_threshold, "")
        raise UsageError(
            f"{spec.name} answers nothing above {limit:g} on these {len(paths)} pictures, so that"
            " nothing can be compared: give pictures of what it knows"
        )
    if spec.task == "detect":
        labels |= corners
    return Dataset(
        images, labels, spec.names, task=spec.task, source="its own answers", format="answers"
    )
