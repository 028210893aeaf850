"""Are explanations right? Maps of a method on labelled pictures, against chance."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from whatwhere.data import Dataset
from whatwhere.errors import ImageError, UsageError
from whatwhere.evaluation.matching import some
from whatwhere.images import read_image
from whatwhere.metrics.bootstrap import Interval, intervals
from whatwhere.metrics.bootstrap_labels import MeanNumbers
from whatwhere.metrics.saliency import (
    EXPLAINED,
    area_under,
    covered,
    pointing_hit,
    removal_order,
)
from whatwhere.runtime import Predictor, load
from whatwhere.runtime.cascade import Pair
from whatwhere.runtime.explain import find_method
from whatwhere.runtime.masking import Method, asked, mean_colour
from whatwhere.runtime.subjects import Kind, Subject, engines_of, find_subjects
from whatwhere.types import Boxes, Image, box_iou

# An object counts as right where its box overlaps one of the truth by this much.
_RIGHT = 0.5
# Cells along the longer side of a map made by chance: as coarse as RISE's masks are.
_CHANCE_CELLS = 8


@dataclass(frozen=True, slots=True)
class ExplainCheck:
    """What maps of a method are worth.

    Args:
        model, method, source: what was checked, on which data.
        images: pictures that were explained.
        numbers: by the names of `metrics.saliency.EXPLAINED`, means over these pictures with
            their intervals; None where the data have no boxes, or no picture was explained.
        rows: the same numbers of each picture, beside `image` and `name`.
        notes: what was left out.
    """

    model: str
    method: str
    source: str
    images: int
    numbers: Mapping[str, Interval | None]
    rows: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...]

    @property
    def good(self) -> bool:
        """Whether each gain over chance that is defined is above 0 with its whole interval."""
        gains = [self.numbers[name] for name in self.numbers if name.endswith("_gain")]
        lows = [gain.low for gain in gains if gain is not None]
        return bool(lows) and all(low is not None and low > 0 for low in lows)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form of `explain --check --json`: plain values."""
        return {
            "model": self.model,
            "method": self.method,
            "data": self.source,
            "images": self.images,
            "good": self.good,
            **{
                name: None if found is None else asdict(found)
                for name, found in self.numbers.items()
            },
            "pictures": [dict(row) for row in self.rows],
            "notes": list(self.notes),
        }


def check_explanations(
    model: Predictor | Pair | str | os.PathLike[str],
    data: Dataset,
    *,
    method: Method | str = "occlusion",
    split: str | None = None,
    pictures: int = 50,
    steps: int = 16,
    seed: int = 0,
    backend: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> ExplainCheck:
    """Check maps on labelled pictures that are drawn by chance.

    Of a detector on pictures with boxes the best right object is explained (IoU of at least
    0.5 with one of its class), of other models the best-scored class that the picture really
    shows; so the question is never why a wrong answer was given. Each number is compared with
    chance: a place drawn from all that the method looked at, and a map of smooth noise.

    Args:
        model: a predictor, or what `runtime.load` takes.
        data: labelled pictures; with boxes, the pointing game is played.
        method: as in `runtime.explain.explain`.
        split: use this split of the data only.
        pictures: at most so many.
        steps: of hiding and showing, each a pass through the model.
        seed: of all chance.
        backend: as in `runtime.load`.
        progress: called after each picture.

    Raises:
        UsageError: a number is out of its range, no picture is labelled with a class that the
            model knows, or there is no such method or split.
        ModelError: the model is missing or damaged.
    """
    if pictures < 1 or steps < 2:
        raise UsageError(f"a check needs pictures and 2 steps, not {pictures} and {steps}")
    way = find_method(method)
    predictor = load(model, backend=backend) if isinstance(model, str | os.PathLike) else model
    part = data if split is None else data.split_named(split)
    kind, names = _kind(predictor, part)
    random = np.random.default_rng(seed)
    usable = [row for row in range(len(part)) if _truth(part, row, names)]
    if not usable:
        raise UsageError(
            f"{part.source} has no picture with a class that {predictor.name} knows (the data:"
            f" {some(part.names)}; the model: {some(names)}): use other data or another model"
        )
    chosen = np.sort(random.permutation(usable)[:pictures]).tolist()
    rows: list[dict[str, Any]] = []
    wrong = unreadable = 0
    for done, row in enumerate(chosen, 1):
        try:
            image = read_image(part.paths[row])
        except ImageError:
            unreadable += 1
        else:
            truth = _truth(part, row, names)
            subject = _right(predictor, image, kind, truth)
            if subject is None:
                wrong += 1
            else:
                numbers = _numbers(subject, way, truth[subject.name], steps, random)
                rows.append({"image": part.paths[row], "name": subject.name, **numbers})
        if progress is not None:
            progress(done, len(chosen))
    return ExplainCheck(
        model=predictor.name,
        method=way.name,
        source=str(part.source),
        images=len(rows),
        numbers=_means(rows, seed),
        rows=tuple(rows),
        notes=tuple(_notes(len(chosen), wrong, unreadable)),
    )


def _kind(predictor: Predictor | Pair, data: Dataset) -> tuple[Kind, frozenset[str]]:
    """What is explained, and the class names that the model has for it."""
    specs = [engine.spec for engine in engines_of(predictor)]
    objects = {name for spec in specs if spec.task == "detect" for name in spec.names}
    if data.task == "detect" and objects & set(data.names):
        return "object", frozenset(objects)
    labels: set[str] = set()
    for spec in specs:
        labels.update(spec.label_names if spec.task == "detect" else spec.names)
    return "label", frozenset(labels)


def _truth(data: Dataset, row: int, names: frozenset[str]) -> dict[str, Boxes | None]:
    """The boxes of each known class that a picture shows; None where nobody said where it is."""
    targets = data.targets(row)
    found: dict[str, Boxes | None] = {}
    for class_id in np.unique(targets.class_ids[~targets.ignore]).tolist():
        if (name := data.names[class_id]) in names:
            mine = (targets.class_ids == class_id) & ~targets.ignore
            boxes = None if targets.boxes is None else targets.boxes[mine]
            there = boxes is not None and bool(np.isfinite(boxes).all())
            found[name] = boxes if there else None
    return found


def _right(
    predictor: Predictor | Pair, image: Image, kind: Kind, truth: Mapping[str, Boxes | None]
) -> Subject | None:
    """The best answer that is right; None if none is."""
    for subject in find_subjects(predictor, image, kind=kind):
        if subject.name not in truth:
            continue
        boxes = truth[subject.name]
        if subject.box is None:
            return subject
        if boxes is not None and box_iou(subject.box[None], boxes).max(initial=0) >= _RIGHT:
            return subject
    return None


def _numbers(
    subject: Subject,
    method: Method,
    boxes: Boxes | None,
    steps: int,
    random: np.random.Generator,
) -> dict[str, float | None]:
    values = method(subject)
    x1, y1, x2, y2 = subject.window()
    values = values[y1:y2, x1:x2]
    chance = _noise(values.shape, random)
    hit = share = None
    if boxes is not None:
        inner = subject.geometry.to_input(boxes) - np.array([x1, y1, x1, y1], np.float32)
        # A crop may have cut all of the class away: then there is nothing to point at.
        share = covered(inner, *values.shape) or None
        hit = None if share is None else pointing_hit(values, inner)
    deleted, by_chance = (_areas(subject, each, steps, random) for each in (values, chance))
    return {
        "pointing": None if hit is None else float(hit),
        "pointing_gain": None if hit is None or share is None else hit - share,
        "deletion": deleted[0],
        "deletion_gain": by_chance[0] - deleted[0],
        "insertion": deleted[1],
        "insertion_gain": deleted[1] - by_chance[1],
    }


def _areas(
    subject: Subject, values: NDArray[np.floating], steps: int, random: np.random.Generator
) -> tuple[float, float]:
    """Areas under deletion and insertion, by the order of a map of the window."""
    x1, y1, x2, y2 = subject.window()
    whole = subject.canvas[y1:y2, x1:x2]
    hidden = np.broadcast_to(mean_colour(subject), whole.shape)
    # Blurred, because showing pixels on a plain ground would make edges that are not there.
    blurred = cv2.GaussianBlur(whole, (0, 0), max(whole.shape[:2]) / 10)
    order = removal_order(values, random)
    flat = np.empty(order.size, dtype=np.int64)
    flat[order] = np.arange(order.size)
    rank = flat.reshape(values.shape)

    def changed(first: NDArray[np.uint8], last: NDArray[np.uint8]) -> Iterator[Image]:
        """From one picture to another, the highest places of the map first."""
        for step in range(steps + 1):
            canvas = subject.canvas.copy()
            done = (rank < round(step / steps * rank.size))[..., None]
            canvas[y1:y2, x1:x2] = np.where(done, last, first)
            yield canvas

    return (
        area_under(asked(subject, changed(whole, hidden), steps + 1, 16)),
        area_under(asked(subject, changed(np.asarray(blurred, np.uint8), whole), steps + 1, 16)),
    )


def _noise(shape: tuple[int, ...], random: np.random.Generator) -> NDArray[np.float32]:
    """A smooth map made by chance, as coarse as real ones."""
    height, width = shape
    side = max(shape) / _CHANCE_CELLS
    cells = (max(2, round(height / side)), max(2, round(width / side)))
    coarse = random.random(cells).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (width, height)), dtype=np.float32)


def _means(rows: list[dict[str, Any]], seed: int) -> dict[str, Interval | None]:
    names = [metric.name for metric in EXPLAINED]
    if not rows:
        return dict.fromkeys(names)
    table = np.array(
        [[np.nan if row[name] is None else row[name] for name in names] for row in rows]
    )
    keys = [(name, None) for name in names]
    found = intervals(MeanNumbers(keys, table, (-1.0, 1.0)), seed=seed)
    return {
        name: found[key] if found[key].value is not None else None
        for name, key in zip(names, keys, strict=True)
    }


def _notes(chosen: int, wrong: int, unreadable: int) -> Iterator[str]:
    if unreadable:
        yield f"{unreadable} of {chosen} pictures cannot be read and are left out"
    if wrong:
        yield f"in {wrong} of {chosen} pictures the model gives no right answer to explain"
