"""References from pictures: those of a folder, or those that a model was just scored on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing

import numpy as np

from whatwhere.drift.features import Measured, measure
from whatwhere.drift.reference import ROWS, Reference
from whatwhere.errors import ImageError
from whatwhere.images import read_image
from whatwhere.runtime import Failure, Predictor, Source
from whatwhere.specs import ModelSpec
from whatwhere.types import Image, Prediction

Progress = Callable[[int], None]
"""Called with the pictures done."""


def learn(
    predictor: Predictor,
    sources: Iterable[Source],
    *,
    unreadable: list[str] | None = None,
    progress: Progress | None = None,
) -> Iterator[Measured]:
    """Predict pictures and measure each, in order.

    Args:
        predictor: the model.
        sources: as in `Predictor.stream`.
        unreadable: takes the names of pictures that cannot be read; they are left out.
        progress: called after each.
    """
    held: dict[int, Image] = {}

    def watch(place: int, image: Image) -> None:
        held[place] = image

    with closing(predictor.stream(sources, watch=watch)) as stream:
        for place, item in enumerate(stream):
            image = held.pop(place, None)
            if progress is not None:
                progress(place + 1)
            if isinstance(item, Failure):
                if unreadable is not None:
                    unreadable.append(item.image or f"picture {place}")
            elif image is not None:
                yield measure(image, item, predictor.spec)


def reference_of(
    spec: ModelSpec, paths: Sequence[str], predictions: Sequence[Prediction], source: str
) -> Reference:
    """A reference from predictions that are there already; up to 256 pictures are read again.

    Args:
        spec: of the model.
        paths: of the pictures.
        predictions: one a picture; those that could not be read have no size.
        source: what to call the pictures.

    Raises:
        UsageError: too few pictures can be read.
    """
    readable = [row for row, one in enumerate(predictions) if one.width > 0]
    count = min(ROWS, len(readable))
    measured = []
    for place in np.unique(np.linspace(0, len(readable) - 1, count).astype(int)).tolist():
        row = readable[place]
        try:
            image = read_image(paths[row])
        except ImageError:
            # It was readable when it was scored; the others say as much without it.
            continue
        measured.append(measure(image, predictions[row], spec))
    return Reference.of(measured, spec, source)
