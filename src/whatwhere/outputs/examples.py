"""Example pictures for a report: the truth and the prediction side by side."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from whatwhere.errors import ImageError
from whatwhere.images import encode_image, read_image
from whatwhere.outputs.draw import draw
from whatwhere.transforms import resize
from whatwhere.types import Image, Prediction, Task, limit_of, limits, score_words

if TYPE_CHECKING:
    # Only for their types: drawing needs no tables, and predicting works without them.
    from whatwhere.data import Dataset, Targets

LONG_SIDE = 480
"""Examples are shrunk to this many pixels, so that a report stays below some megabytes."""


def examples_html(
    task: Task,
    data: Dataset,
    predictions: Sequence[Prediction],
    wrong: Sequence[int],
    threshold: float,
    count: int,
) -> str:
    """A section with up to `count` pictures; empty if none can be read.

    Half are those with the most mistakes, half are spread evenly over the rest.

    Args:
        wrong: number of mistakes in each picture, as `metrics.mistakes` counts them.
        threshold: answers with a lower score are not shown.
    """
    figures = []
    for row in choose(wrong, count):
        try:
            image = read_image(data.paths[row])
        except ImageError:
            continue  # evaluation has named it in the notes
        figures.append(_figure(task, data, row, image, predictions[row], threshold, wrong[row]))
    if not figures:
        return ""
    hint = "Half of them are the pictures with the most mistakes, the others are spread evenly."
    if task != "classify":
        hint += f" Answers from {score_words(threshold)}."
    kind = "examples" if task == "detect" else "examples small"
    return (
        f'<section><h2>Examples</h2><p class="hint">{hint}</p>'
        f'<div class="{kind}">{"".join(figures)}</div></section>'
    )


def choose(wrong: Sequence[int], count: int) -> list[int]:
    """Rows to show: those with the most mistakes, then an even spread over the others.

    Among equally wrong ones an even spread is taken, too, since neighbours look alike.
    """
    order = sorted((row for row in range(len(wrong)) if wrong[row]), key=lambda row: -wrong[row])
    half = count // 2
    last = wrong[order[half - 1]] if 0 < half <= len(order) else 0
    worst = [row for row in order if wrong[row] > last][:half]
    worst += _spread([row for row in order if wrong[row] == last], half - len(worst))
    others = sorted(set(range(len(wrong))) - set(worst))
    return worst + _spread(others, count - len(worst))


def _spread(rows: Sequence[int], count: int) -> list[int]:
    """At most `count` of the rows, evenly spread, first and last among them."""
    places = np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)
    return [rows[place] for place in np.unique(places)]


def _figure(
    task: Task,
    data: Dataset,
    row: int,
    image: Image,
    prediction: Prediction,
    threshold: float,
    wrong: int,
) -> str:
    height, width = image.shape[:2]
    ratio = min(1.0, LONG_SIDE / max(height, width))
    small = resize(image, (max(1, round(height * ratio)), max(1, round(width * ratio))))
    targets = data.targets(row).located() if task == "detect" else data.targets(row)
    name = Path(data.paths[row]).name
    if task == "detect" and targets.boxes is not None:
        true = _drawn(_as_prediction(targets, data), small, ratio)
        said = _drawn(_above(prediction, threshold), small, ratio)
        pictures = "".join(
            f'<div><span class="tag">{kind}</span><img alt="{kind}" src="{_uri(shown)}"></div>'
            for kind, shown in (("labels", true), ("prediction", said))
        )
        words = f"{wrong} missed or wrong"
    else:
        pictures = f'<div><img alt="" src="{_uri(small)}"></div>'
        names = sorted({data.names[class_id] for class_id in targets.class_ids})
        words = f"{'right' if not wrong else 'wrong'} · labels: {', '.join(names) or 'none'}"
        words += f" · prediction: {_said(task, prediction, threshold)}"
    return (
        f'<figure class="example"><div class="pair">{pictures}</div><figcaption>{escape(name)}'
        f"<br><span>{escape(words)}</span></figcaption></figure>"
    )


def _said(task: Task, prediction: Prediction, threshold: float) -> str:
    by_box = not prediction.label_names and prediction.boxes is not None
    names = prediction.object_names if by_box else prediction.label_names
    scores = prediction.object_scores if by_box else prediction.label_scores
    best: dict[str, float] = {}
    for name, score in zip(names, scores.tolist(), strict=True):
        best.setdefault(name, score)
    rows = list(best.items())[:3] if task == "classify" else list(best.items())
    kept = [
        (name, score)
        for name, score in rows
        if task == "classify" or score >= limit_of(threshold, name)
    ]
    return ", ".join(f"{name} {score:.2f}" for name, score in kept[:8]) or "none"


def _as_prediction(targets: Targets, data: Dataset) -> Prediction:
    """Labels in the form that drawing takes."""
    names = tuple(str(data.names[class_id]) for class_id in targets.class_ids)
    scores = np.ones(len(names), dtype=np.float32)
    return Prediction(0, 0, object_names=names, object_scores=scores, boxes=targets.boxes)


def _above(prediction: Prediction, threshold: float) -> Prediction:
    """The boxes of at least that score, without labels of the whole picture.

    Args:
        threshold: may be a `types.Cut`.
    """
    boxes = np.zeros((0, 4), np.float32) if prediction.boxes is None else prediction.boxes
    least = limits(threshold, prediction.object_names)
    keep = np.flatnonzero(prediction.object_scores >= least)
    return Prediction(
        prediction.width,
        prediction.height,
        object_names=tuple(prediction.object_names[place] for place in keep),
        object_scores=prediction.object_scores[keep],
        boxes=boxes[keep],
    )


def _drawn(prediction: Prediction, image: Image, ratio: float) -> Image:
    # Drawn after shrinking, so that lines and words have one size in every example.
    height, width = image.shape[:2]
    assert prediction.boxes is not None
    scaled = (prediction.boxes * np.float32(ratio)).astype(np.float32)
    drawn: Image = draw(replace(prediction, width=width, height=height, boxes=scaled), image).image
    return drawn


def picture_uri(file: Path, long_side: int = 1100) -> str:
    """A picture file as the address of an image in HTML, shrunk to a long side in pixels."""
    image = read_image(file)
    height, width = image.shape[:2]
    ratio = min(1.0, long_side / max(height, width))
    return _uri(resize(image, (max(1, round(height * ratio)), max(1, round(width * ratio)))))


def _uri(image: Image) -> str:
    data = base64.b64encode(encode_image(image, ".jpg", 82)).decode("ascii")
    return f"data:image/jpeg;base64,{data}"
