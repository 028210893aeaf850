"""Galleries for a report: single mistakes and likely label errors, each drawn on its place."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from whatwhere.data import Dataset
from whatwhere.errors import ImageError
from whatwhere.images import encode_image, read_image
from whatwhere.metrics.doubts import DOUBTS, label_doubts
from whatwhere.metrics.multilabel import THRESHOLD
from whatwhere.metrics.single import MISTAKES, Mistake, single_mistakes
from whatwhere.outputs.crops import crop
from whatwhere.types import Cut, Task, score_words

if TYPE_CHECKING:
    # The report shows these galleries, so it imports this module.
    from whatwhere.outputs.report import Reportable

_KEY = (
    "Green: the label. Orange, broken line: the prediction. Thin white: the picture's other labels."
)


def mistakes_html(result: Reportable, count: int = 12) -> str:
    """A section with a gallery of each kind of mistake, the worst first; empty if there is none.

    Args:
        result: of `evaluate` or `evaluate_predictions`.
        count: at most this many pictures of a kind.
    """
    data = result.data
    if data is None or len(result.predictions) != len(data) or count < 1:
        return ""
    found = single_mistakes(
        result.task,
        data,
        result.predictions,
        classes=result.per_class,
        threshold=cut(result.task, result.threshold),
        limit=None,
    )
    parts = []
    for kind, ones in found.items():
        figures = _figures(ones, data, count)
        if figures:
            parts.append(
                f"<h3>{escape(kind)} ({len(ones):,})</h3>"
                f'<p class="hint">{escape(MISTAKES[kind])}</p>'
                f'<div class="examples small">{"".join(figures)}</div>'
            )
    if not parts:
        return ""
    hint = _key(result.task)
    if result.task != "classify":
        hint += f" Answers from {score_words(cut(result.task, result.threshold))}."
    return (
        f'<section><h2>Worst mistakes</h2><p class="hint">{hint.strip()}</p>'
        f"{''.join(parts)}</section>"
    )


def doubts_html(result: Reportable, count: int = 24) -> str:
    """A section with the likeliest label errors of all kinds; empty if there is none.

    Args:
        result, count: as in `mistakes_html`; `count` of all kinds together.
    """
    data = result.data
    if data is None or len(result.predictions) != len(data) or count < 1:
        return ""
    found = label_doubts(result.task, data, result.predictions, classes=result.per_class)
    figures = _figures(found, data, count)
    if not figures:
        return ""
    kinds = {one.kind for one in found}
    meanings = "".join(
        f"<li><b>{escape(kind)}</b> ({sum(one.kind == kind for one in found):,}):"
        f" {escape(meaning)}</li>"
        for kind, meaning in DOUBTS.items()
        if kind in kinds
    )
    hint = (
        "Labels that the model doubts, the most doubtful first. Some are errors of the labels,"
        f" others of the model: a person has to look. {_key(result.task)}"
    )
    return (
        f'<section><h2>Likely label errors</h2><p class="hint">{hint.strip()}</p>'
        f'<ul class="hint">{meanings}</ul>'
        f'<div class="examples small">{"".join(figures)}</div></section>'
    )


def cut(task: Task, threshold: float) -> float:
    """The score from which an answer counts.

    The model's own for boxes, and for labels of pictures where it was chosen for each class; else
    0.5 for these.
    """
    return threshold if task == "detect" or isinstance(threshold, Cut) else THRESHOLD


def _key(task: Task) -> str:
    return _KEY if task == "detect" else ""


def _figures(found: Iterable[Mistake], data: Dataset, count: int) -> list[str]:
    """The first ones whose pictures can be read."""
    figures: list[str] = []
    names = data.relative_paths()
    for one in found:
        if len(figures) == count:
            break
        try:
            image = read_image(data.paths[one.image])
        except ImageError:
            continue  # evaluation has named it in the notes
        shown = encode_image(crop(image, data, one), ".jpg", 80)
        address = base64.b64encode(shown).decode("ascii")
        words = describe(one)
        name = names[one.image]
        figures.append(
            f'<figure class="example"><img alt="{escape(words)}" loading="lazy"'
            f' src="data:image/jpeg;base64,{address}"><figcaption>{escape(words)}'
            f"<br><span>{escape(name)}</span></figcaption></figure>"
        )
    return figures


def describe(one: Mistake) -> str:
    """One line: what is labelled and what the model says."""
    label = f"label: {one.truth or 'nothing'}"
    if one.said is None and one.truth_score is not None:
        return f"{label} · model: score {one.truth_score:.2f} for it"
    if one.truth is not None and one.truth_score is not None and one.said is not None:
        label += f" {one.truth_score:.2f}"
    said = f"model: {one.said or 'nothing'}"
    if one.score is not None:
        said += f" {one.score:.2f}" if one.said else f" (a box of score {one.score:.2f} is too low)"
    words: Sequence[str] = [label, said, *([f"IoU {one.iou:.2f}"] if one.iou else [])]
    return " · ".join(words)
