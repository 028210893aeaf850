"""Whether a model file answers as the library does that its network comes from."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from whatwhere.errors import TrainError
from whatwhere.runtime import Predictor
from whatwhere.runtime.decode import find_objects
from whatwhere.train.hub.opened import Answer
from whatwhere.types import Image

BOX_TOLERANCE = 0.5
"""Largest difference of a box's side from the library's, in input pixels."""
SCORE_TOLERANCE = 0.005
"""Largest difference of a score from the library's."""
MATCHED = 0.98
"""Share of the library's boxes that must be there within these tolerances.

Not all: of two boxes that overlap by just the limit of the suppression, or score the same, rounding
decides which one stays.
"""
_PICTURES = 4


def agreement(
    predictor: Predictor,
    library: Callable[[Image], Answer],
    pictures: Sequence[Image],
    least: float,
) -> dict[str, float]:
    """Compare what a model file and a library answer for the same pixels.

    Args:
        predictor: of the model file.
        library: answers for a picture of exactly the model's input size.
        pictures: uint8 (H, W, 3); each is fitted into the input first, so that differences of
            preprocessing stay out.
        least: boxes with lower scores are left out.

    Returns:
        `found`, `matched`, `boxes`, `scores`, see `Fetched`.

    Raises:
        TrainError: fewer than `MATCHED` of the library's boxes are there, or the file gives many
            that the library does not.
    """
    prepare = predictor.spec.preprocess.build()
    post = predictor.spec.postprocess
    # What a library looks at is limited in other ways (such as 300 candidates of each class), which
    # matters where its answer is full: so ours is not limited here.
    wide = post.model_copy(update={"max_detections": 4 * post.max_detections})
    spec = predictor.spec.model_copy(update={"postprocess": wide})
    found = matched = extra = 0
    boxes = scores = 0.0
    for picture in pictures:
        canvas = prepare(picture)[0]
        theirs = library(canvas)
        outputs = predictor.backend(canvas[None])
        (ours,) = find_objects(outputs, [prepare(canvas)[1]], spec, least, True)
        names = np.array(predictor.spec.names)[ours.ids]
        # A library may know classes that have no name ("N/A"); ours has none of them.
        known = np.array([name in predictor.spec.labels for name in theirs.names], dtype=bool)
        # Nor has it boxes without an area.
        solid = (theirs.boxes[:, 2:] > theirs.boxes[:, :2]).all(-1)
        shown = (theirs.scores >= least) & known & solid
        if len(known) < post.max_detections:
            # At the border of what is shown, rounding decides.
            extra += max(0, int((ours.scores >= least + SCORE_TOLERANCE).sum()) - int(shown.sum()))
        for box, score, name in zip(
            theirs.boxes[shown],
            theirs.scores[shown],
            np.array(theirs.names, dtype=object)[shown],
            strict=True,
        ):
            found += 1
            if score < least + SCORE_TOLERANCE:
                matched += 1
                continue
            same = names == name
            if not same.any():
                continue
            apart = np.abs(ours.boxes[same] - box).max(-1)
            off = np.abs(ours.scores[same] - score)
            near = (apart <= BOX_TOLERANCE) & (off <= SCORE_TOLERANCE)
            if near.any():
                best = int(np.argmin(np.where(near, apart, np.inf)))
                matched += 1
                boxes = max(boxes, float(apart[best]))
                scores = max(scores, float(off[best]))
    share = matched / found if found else 1.0
    if share < MATCHED or extra > max(2, (1 - MATCHED) * found):
        raise TrainError(
            f"the converted model gives {matched} of the {found} boxes that the library itself"
            f" gives, and {extra} that it does not: nothing was written; please report this with"
            " the versions of torch, torchvision and transformers"
        )
    return {"found": found, "matched": share, "boxes": boxes, "scores": scores}


def drawn_pictures(size: tuple[int, int]) -> list[Image]:
    """Pictures (height, width) of shapes before a structured ground, the same ones each time."""
    rng = np.random.default_rng(0)
    height, width = size
    made: list[Image] = []
    for _ in range(_PICTURES):
        coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        for _ in range(12):
            colour = [int(value) for value in rng.integers(0, 256, 3)]
            x, y = (int(value) for value in rng.integers(0, (width, height)))
            across, down = (
                max(2, int(value)) for value in rng.uniform(0.03, 0.3, 2) * (width, height)
            )
            if rng.random() < 0.5:
                cv2.ellipse(
                    picture, (x, y), (across // 2 + 1, down // 2 + 1), 0, 0, 360, colour, -1
                )
            else:
                cv2.rectangle(picture, (x, y), (x + across, y + down), colour, -1)
        grain = rng.normal(0, 6, picture.shape)
        made.append(np.clip(picture + grain, 0, 255).astype(np.uint8))
    return made
