"""Likely label errors: how many planted ones stand in the first tenth of the list.

5 % of the labels are made wrong: of boxes another class, a box taken away, a box moved, a box
that was never there, as many of each; of pictures another class, any or the one that the model
takes it for most. The list is as long as labels allow; its first tenth has as many places as a
tenth of the labels. Labels of genuine data are wrong here and there before anything is planted;
such errors take places in the list as well.

The peer is cleanlab, given the same labels and predictions. Of pictures its order is that of
`get_label_quality_scores`. Of boxes it scores pictures; its three lists of single boxes
(overlooked, badly placed, wrong class) are taken by turns, or together by their scores. It looks
only at boxes that the model is sure of, by default from 0.95, which few detectors reach; 0.5 is
tried, too.

    python benchmarks/label_errors.py MODEL DATA --split test --cache FOLDER
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any

import numpy as np
import polars as pl
from _answers import answered, given, has, named, options, row, show
from numpy.typing import NDArray

import whatwhere as ww
from whatwhere.metrics.detection import found_boxes
from whatwhere.metrics.doubts import label_doubts
from whatwhere.metrics.multilabel import score_table
from whatwhere.types import as_boxes, box_iou

BOX = ("x1", "y1", "x2", "y2")


@dataclass(frozen=True)
class Plant:
    """An error: its kind, and the row of the label, or the picture and the box taken away."""

    kind: str
    label: int | None
    image: int
    box: tuple[float, ...] = ()


@dataclass(frozen=True)
class Found:
    """One place in a list: a label, or a box where none is labelled."""

    label: int | None
    image: int
    box: tuple[float, ...] = ()


def wrong_classes(
    data: ww.Dataset, scores: NDArray[np.float64], share: float, seed: int, *, similar: bool
) -> tuple[ww.Dataset, list[Plant]]:
    """Labels of pictures, some of another class."""
    rng = np.random.default_rng(seed)
    truth = data.labels["class_id"].to_numpy().astype(np.int64)
    image = data.labels["image"].to_numpy().astype(np.int64)
    bad = rng.choice(len(truth), round(share * len(truth)), replace=False)
    labels = truth.copy()
    width = len(data.names)
    if similar:
        mean = np.stack([scores[image[truth == one]].mean(axis=0) for one in range(width)])
        np.fill_diagonal(mean, -1)
        labels[bad] = mean.argmax(axis=1)[truth[bad]]
    else:
        labels[bad] = (truth[bad] + rng.integers(1, width, len(bad))) % width
    kind = "the most similar class" if similar else "any other class"
    changed = data.labels.with_columns(pl.Series("class_id", labels.astype(np.int32)))
    plants = [Plant(kind, label, int(image[label])) for label in bad.tolist()]
    return ww.Dataset(data.images, changed, data.names, task="classify"), plants


def wrong_boxes(data: ww.Dataset, share: float, seed: int) -> tuple[ww.Dataset, list[Plant]]:
    """Labels with boxes, with as many errors of each of four kinds."""
    rng = np.random.default_rng(seed)
    labels = data.labels.with_columns(pl.col("ignore").fill_null(False))
    boxes = labels.select(BOX).to_numpy().astype(np.float64)
    image = labels["image"].to_numpy().astype(np.int64)
    classes = labels["class_id"].to_numpy().astype(np.int64)
    sizes = boxes[:, 2:] - boxes[:, :2]
    usable = np.flatnonzero(~labels["ignore"].to_numpy() & (sizes > 0).all(axis=1))
    bad = rng.permutation(usable)[: round(share * len(usable))]
    here = np.unique(classes)
    keep = np.ones(len(boxes), dtype=bool)
    plants: list[Plant] = []
    extra: list[int] = []
    extra_boxes: list[NDArray[np.float64]] = []
    for turn, label in enumerate(bad.tolist()):
        kind = turn % 4
        of = int(image[label])
        if kind == 0:
            classes[label] = rng.choice(here[here != classes[label]])
            plants.append(Plant("wrong class", label, of))
        elif kind == 1:
            keep[label] = False
            plants.append(Plant("missing box", None, of, tuple(boxes[label])))
        elif kind == 2:
            move = rng.choice([-1, 1], 2) * rng.uniform(0.25, 0.45, 2) * sizes[label]
            boxes[label] += np.tile(move, 2)
            plants.append(Plant("moved box", label, of))
        else:
            free = free_place(rng, data, of, sizes[label], boxes[image == of])
            if free is None:
                continue
            plants.append(Plant("extra box", len(boxes) + len(extra), of))
            extra.append(label)
            extra_boxes.append(free)
    whole = pl.concat([labels, labels[extra]])
    place = np.concatenate([boxes, np.array(extra_boxes).reshape(-1, 4)]).astype(np.float32)
    whole = whole.with_columns(
        pl.Series("class_id", np.concatenate([classes, classes[extra]]).astype(np.int32)),
        *(pl.Series(name, place[:, column]) for column, name in enumerate(BOX)),
        pl.Series("area", [None] * whole.height, dtype=pl.Float64),
    )
    kept = np.concatenate([keep, np.ones(len(extra), dtype=bool)])
    # Rows are numbered in the order in which a data set keeps them: by picture.
    rows = np.flatnonzero(kept)
    order = rows[np.argsort(whole["image"].to_numpy()[rows], kind="stable")]
    number = np.full(len(kept), -1)
    number[order] = np.arange(len(order))
    moved = [
        Plant(p.kind, None if p.label is None else int(number[p.label]), p.image, p.box)
        for p in plants
    ]
    return ww.Dataset(data.images, whole[order.tolist()], data.names, task="detect"), moved


def free_place(
    rng: np.random.Generator,
    data: ww.Dataset,
    image: int,
    size: NDArray[np.float64],
    others: NDArray[np.float64],
) -> NDArray[np.float64] | None:
    """A box of this size that no label overlaps much; None where there is no room."""
    shape = data.images.select("width", "height").row(image)
    whole = others.max(axis=0)[2:] if None in shape else np.array(shape, dtype=np.float64)
    for _ in range(200):
        corner = rng.uniform(0, np.maximum(whole - size, 0))
        box = np.concatenate([corner, corner + size])
        if box_iou(as_boxes([box]), as_boxes(others)).max() < 0.1:
            return box
    return None


def ours(data: ww.Dataset, result: ww.Result) -> list[Found]:
    found = label_doubts(result.task, data, result.predictions, classes=result.per_class)
    return [
        Found(one.label, one.image, () if one.label is not None else tuple(one.box or ()))
        for one in found
    ]


def cleanlab_pictures(data: ww.Dataset, scores: NDArray[np.float64], method: str) -> list[Found]:
    from cleanlab.rank import get_label_quality_scores

    image = data.labels["image"].to_numpy().astype(np.int64)
    truth = data.labels["class_id"].to_numpy().astype(np.int64)
    rows = scores[image] / scores[image].sum(axis=1, keepdims=True)
    quality = get_label_quality_scores(truth, rows, method=method)
    return [Found(int(one), int(image[one])) for one in np.argsort(quality, kind="stable")]


def cleanlab_boxes(
    data: ww.Dataset, result: ww.Result, sure: float
) -> list[list[tuple[float, Found]]]:
    """Its three lists of single boxes, the worst first: badly placed, wrong class, overlooked.

    Args:
        sure: score from which it takes a box for one that the model is sure of.
    """
    from cleanlab.object_detection import rank

    image = data.labels["image"].to_numpy().astype(np.int64)
    boxes = data.labels.select(BOX).to_numpy().astype(np.float64)
    classes = data.labels["class_id"].to_numpy().astype(np.int64)
    found = found_boxes(result.predictions, data.names)
    found = found.only(found.class_id < len(data.names))
    said = np.concatenate([found.xywh[:, :2], found.xywh[:, :2] + found.xywh[:, 2:]], axis=1)
    labels, predictions, at, answers = [], [], [], []
    for one in range(len(data)):
        rows, answer = np.flatnonzero(image == one), np.flatnonzero(found.image == one)
        if not len(rows) or not len(answer):
            continue
        # By class, as cleanlab numbers predicted boxes.
        answer = answer[np.argsort(found.class_id[answer], kind="stable")]
        at.append(rows)
        answers.append(answer)
        labels.append({"bboxes": boxes[rows], "labels": classes[rows]})
        table = np.concatenate([said[answer], found.score[answer][:, None]], axis=1)
        by_class = np.empty(len(data.names), dtype=object)
        for name in range(len(data.names)):
            by_class[name] = table[found.class_id[answer] == name]
        predictions.append(by_class)
    alone = {"labels": labels, "predictions": predictions, "high_probability_threshold": sure}
    badly = rank.compute_badloc_box_scores(labels=labels, predictions=predictions)
    lists = []
    for scores in (badly, rank.compute_swap_box_scores(**alone)):
        lists.append(
            [
                (score, Found(int(row), int(image[row])))
                for mine, rows in zip(scores, at, strict=True)
                for score, row in zip(mine, rows, strict=True)
            ]
        )
    missed = rank.compute_overlooked_box_scores(**alone)
    lists.append(
        [
            (score, Found(None, int(found.image[row]), tuple(said[row])))
            for mine, rows in zip(missed, answers, strict=True)
            for score, row in zip(mine, rows, strict=True)
        ]
    )
    # Scores say how good a label is; NaN where they say nothing.
    return [sorted(((s, f) for s, f in one if np.isfinite(s)), key=first) for one in lists]


def first(pair: tuple[float, Found]) -> float:
    return pair[0]


def once(found: Iterable[Found]) -> list[Found]:
    """Each label once, by its first place; boxes on one place once, too."""
    seen: set[int] = set()
    free: dict[int, list[tuple[float, ...]]] = {}
    kept = []
    for one in found:
        if one.label is not None:
            if one.label in seen:
                continue
            seen.add(one.label)
        else:
            others = free.setdefault(one.image, [])
            if others and box_iou(as_boxes([one.box]), as_boxes(others)).max() >= 0.5:
                continue
            others.append(one.box)
        kept.append(one)
    return kept


def hits(found: Sequence[Found], plants: Sequence[Plant]) -> dict[str, list[bool]]:
    """Of each kind, which errors the list shows."""
    labels = {one.label for one in found if one.label is not None}
    shown: dict[str, list[bool]] = {}
    for plant in plants:
        if plant.label is not None:
            hit = plant.label in labels
        else:
            boxes = [f.box for f in found if f.label is None and f.image == plant.image]
            iou = box_iou(as_boxes([plant.box]), as_boxes(boxes)) if boxes else np.zeros((1, 1))
            hit = bool(iou.max() > 0.5)
        shown.setdefault(plant.kind, []).append(hit)
    return shown


def trial(
    result: ww.Result, data: ww.Dataset, share: float, seed: int, *, peer: bool
) -> dict[str, dict[str, list[bool]]]:
    """What each contestant finds with one choice of errors."""
    found: dict[str, dict[str, list[bool]]] = {}

    def add(who: str, listed: list[Found], bad: list[Plant], labels: int) -> None:
        for kind, marks in hits(listed[: labels // 10], bad).items():
            found.setdefault(who, {}).setdefault(kind, []).extend(marks)

    if result.task == "classify":
        scores = score_table(result.predictions, list(data.names))
        for similar in (False, True):
            dirty, bad = wrong_classes(data, scores, share, seed, similar=similar)
            count = dirty.labels.height
            add("whatwhere", ours(dirty, result), bad, count)
            for method in ("self_confidence", "normalized_margin") if peer else ():
                add(f"cleanlab, {method}", cleanlab_pictures(dirty, scores, method), bad, count)
        return found
    dirty, bad = wrong_boxes(data, share, seed)
    count = dirty.labels.height
    add("whatwhere", ours(dirty, result), bad, count)
    if peer:
        for sure in (0.95, 0.5):
            lists = cleanlab_boxes(dirty, result, sure)
            turns = [one for one in chain.from_iterable(zip_longest(*lists)) if one is not None]
            for how, order in (
                ("by turns", turns),
                ("by score", sorted(chain.from_iterable(lists), key=first)),
            ):
                who = f"cleanlab, sure from {sure}, {how}"
                add(who, once(place for _, place in order), bad, count)
    return found


def table(found: dict[str, dict[str, list[bool]]], work: str) -> list[dict[str, Any]]:
    rows = []
    base = np.mean(list(chain.from_iterable(found["whatwhere"].values())))
    for who, kinds in found.items():
        for kind, marks in kinds.items():
            rows.append(row(f"{work}: {kind} ({len(marks)})", who, float(np.mean(marks))))
        every = list(chain.from_iterable(kinds.values()))
        whole = float(np.mean(every))
        ratio = whole / base if base else None
        rows.append(row(f"{work}: all ({len(every)})", who, whole, ratio))
    return rows


def main() -> int:
    parser = options(__doc__.partition("\n")[0])
    parser.add_argument("--share", type=float, default=0.05, help="of wrong labels")
    parser.add_argument("--seeds", type=int, default=10)
    chosen = given(parser)
    seeds = 2 if chosen.quick else chosen.seeds
    result = answered(chosen)
    data = result.data
    assert data is not None
    if result.task not in ("classify", "detect"):
        raise SystemExit("only single labels and boxes have errors planted here")
    # Classes that the model does not know say nothing of their labels.
    data = data if set(data.names) == set(result.per_class) else data.filter(
        classes=list(result.per_class), keep_empty=True
    )  # fmt: skip
    peer = has("cleanlab")
    total: dict[str, dict[str, list[bool]]] = {}
    for seed in range(seeds):
        for who, kinds in trial(result, data, chosen.share, seed, peer=peer).items():
            for kind, marks in kinds.items():
                total.setdefault(who, {}).setdefault(kind, []).extend(marks)
    work = f"{data.labels.height} {named(result.task)}"
    show(table(total, work), as_json=chosen.json)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
