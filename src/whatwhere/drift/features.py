"""One picture and its answer as a few numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from whatwhere.images.appearance import look
from whatwhere.specs import ModelSpec
from whatwhere.types import Cut, Image, Prediction, Scores, limit_of

EMBEDDING = 22
"""Numbers in an embedding."""

_LONG_SIDE = 512
_SIDE = 64


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """What is kept of a picture and its answer.

    Args:
        brightness, contrast, sharpness: as `images.appearance.look` gives them; the sharpness of a
            picture of one colour is 0.
        embedding: float32 (22,), see `embed`.
        names, scores: classes of the answer, best first: of the boxes, of the labels that reach
            their thresholds, or the first label of a single-label model.
        sizes: float32, one a box: square root of the share of the picture that it covers, 0..1;
            empty without boxes.
    """

    brightness: float
    contrast: float
    sharpness: float
    embedding: NDArray[np.float32]
    names: tuple[str, ...]
    scores: Scores
    sizes: NDArray[np.float32]


def measure(image: Image, prediction: Prediction, spec: ModelSpec) -> Measured:
    """The numbers of one picture.

    Answers are counted from the model's own thresholds on, so that a client or an evaluation that
    asks for weaker ones changes nothing.

    Args:
        image: RGB uint8 (height, width, 3).
        prediction: of the model with this spec.
        spec: says which answers count.
    """
    small = shrink(image)
    brightness, contrast, sharpness = look(small)
    names, scores, sizes = counted(prediction, spec)
    return Measured(
        brightness,
        contrast,
        0.0 if math.isnan(sharpness) else sharpness,
        embed(small),
        names,
        scores,
        sizes,
    )


def shrink(image: Image) -> Image:
    """The picture at a long side of 512 pixels at most; a smaller one as it is."""
    height, width = image.shape[:2]
    ratio = _LONG_SIDE / max(height, width)
    if ratio >= 1:
        return image
    size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def embed(image: Image) -> NDArray[np.float32]:
    """Colours, layout and texture of a picture, without a network.

    On the picture squeezed to 64 x 64: means of L, a and b (CIE 1976) in its four quarters (12),
    their standard deviations (3), shares of the gradient in four directions (4; as Dalal and
    Triggs, Histograms of oriented gradients, CVPR 2005, for one cell), and standard deviations of
    three levels of the Laplacian pyramid (3; Burt and Adelson, 1983).

    It sees what a person sees at a glance, and misses what only a network's features would show.

    Args:
        image: RGB uint8 (height, width, 3).

    Returns:
        float32 (22,).
    """
    squeezed = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    colours = cv2.cvtColor(squeezed.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)
    half = _SIDE // 2
    quarters = colours.reshape(2, half, 2, half, 3).mean(axis=(1, 3)).ravel()
    light = colours[:, :, 0]
    across = cv2.Sobel(light, cv2.CV_32F, 1, 0)
    down = cv2.Sobel(light, cv2.CV_32F, 0, 1)
    strength = np.hypot(across, down)
    direction = np.floor((np.arctan2(down, across) % np.pi) / (np.pi / 4) + 0.5).astype(int) % 4
    weights = np.bincount(direction.ravel(), strength.ravel(), minlength=4)
    bands, level = [], light
    for _ in range(3):
        smaller = cv2.pyrDown(level)
        up = cv2.pyrUp(smaller, dstsize=(level.shape[1], level.shape[0]))
        bands.append(float((level - up).std()))
        level = np.asarray(smaller, np.float32)
    spread = colours.reshape(-1, 3).std(axis=0)
    shares = weights / max(float(weights.sum()), 1e-6)
    return np.concatenate([quarters, spread, shares, bands]).astype(np.float32)


def counted(
    prediction: Prediction, spec: ModelSpec
) -> tuple[tuple[str, ...], Scores, NDArray[np.float32]]:
    """Names, scores and sizes of the answers that the model's own thresholds let through."""
    none = np.zeros(0, np.float32)
    if spec.task == "classify":
        return prediction.label_names[:1], prediction.label_scores[:1], none
    usual = spec.postprocess.score_threshold
    threshold = Cut(usual, spec.thresholds) if spec.thresholds else usual
    names, scores = prediction.names, prediction.scores
    limits = [limit_of(threshold, name) for name in names]
    rows = [row for row, limit in enumerate(limits) if scores[row] >= limit]
    sizes = none
    if prediction.boxes is not None:
        # Evaluation gives a box once for each class that it may be, the best first.
        first: dict[bytes, int] = {}
        for row in rows:
            first.setdefault(prediction.boxes[row].tobytes(), row)
        rows = list(first.values())
        x1, y1, x2, y2 = prediction.boxes[rows].T
        area = np.clip(x2 - x1, 0, None) * np.clip(y2 - y1, 0, None)
        whole = max(1, prediction.width * prediction.height)
        sizes = np.sqrt(np.clip(area / whole, 0, 1)).astype(np.float32)
    return tuple(names[row] for row in rows), scores[rows], sizes
