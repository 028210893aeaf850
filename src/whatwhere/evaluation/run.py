"""Run a model over a data set and score it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from operator import is_
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whatwhere.client import Client
from whatwhere.data import Dataset
from whatwhere.data.sketches import Prints, Sketches
from whatwhere.errors import DataError, UsageError, WhatwhereError
from whatwhere.evaluation.applied import applied_notes
from whatwhere.evaluation.leaks import find_leaks, seen_by, split_notes
from whatwhere.evaluation.matching import Head, Match, data_notes, match, some
from whatwhere.evaluation.result import Result
from whatwhere.images.appearance import LOOKS, look, tiny
from whatwhere.metrics import METRICS, PRIMARY, score
from whatwhere.runtime import Failure, Predictor, load
from whatwhere.runtime.cascade import Pair
from whatwhere.specs import ModelSpec
from whatwhere.types import Cut, Image, Prediction, Task

Progress = Callable[[int, int], None]
"""Called with the pictures done and their total."""


def evaluate(
    model: Predictor | Pair | Client | str | os.PathLike[str],
    data: Dataset,
    *,
    split: str | None = None,
    task: Task | None = None,
    batch: int | None = None,
    backend: str = "auto",
    without_leaks: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Scores of a model on labelled pictures.

    Classes are matched by name; those that only one side knows are not scored, and
    `Result.notes` says which. A detector on pictures with labels but no boxes is scored as
    multi-label, each class by its best box. A picture that cannot be read has no prediction:
    its labels count as missed.

    Args:
        model: a predictor, what `runtime.load` takes, or a client of a running server, which
            says nothing about what its model was trained on, and has its own batches.
        data: labelled pictures.
        split: use this split of the data only; None for all of it.
        task: numbers to give instead of those of the data's own task, such as "multilabel"
            for a data set with boxes.
        batch: pictures that go through the model at once; None for the model's own.
        backend: as in `runtime.load`; used only where `model` is a name or path.
        without_leaks: leave out pictures that are nearly the same as training pictures, as far as
            the model file or its run's folder tell. `Result.leaks` has them in any case.
        progress: called after each batch.

    Raises:
        UsageError: unknown split, no picture or label, model and data do not fit together,
            no class name in common, or without its leaks nothing is left.
        ModelError: the model is missing, damaged or not ours.
        ServerError: the server gives no answer.
    """
    if isinstance(model, Client):
        if without_leaks:
            raise UsageError(
                "a server does not say what its model was trained on: leave the leaks in, or give"
                " the model file"
            )
        return _served(model, data, split, task, progress)
    predictor = load(model, backend=backend) if isinstance(model, str | os.PathLike) else model
    size = predictor.batch if batch is None else batch
    if size < 1:
        raise UsageError(f"batch must be at least 1, not {size}")
    part = data if split is None else data.split_named(split)
    engines = _engines(predictor)
    way = match([head for head, _ in engines], part, predictor.name, task)
    engine = next(engine for head, engine in engines if head is way.head)
    start = time.perf_counter()
    predictions: list[Prediction] = []
    unreadable: list[str] = []
    looks = np.full((len(part), len(LOOKS)), np.nan, dtype=np.float32)
    seen, notes = _seen(engine)
    prints = None if seen is None else Prints.blank(len(part))
    for prediction, error in _predictions(engine, part.paths, size, looks, prints):
        predictions.append(prediction)
        if error is not None:
            unreadable.append(str(prediction.image))
        if progress is not None and (len(predictions) % size == 0 or len(predictions) == len(part)):
            progress(len(predictions), len(part))
    notes += way.notes
    leaks = None
    if seen is not None and prints is not None:
        leaks = find_leaks(seen, prints, part.relative_paths())
        kept = np.setdiff1d(np.arange(len(part)), leaks.rows)
        if without_leaks and len(leaks.rows):
            if not len(kept):
                raise UsageError(
                    f"model {predictor.name} was trained on all {len(part)} pictures, or on near"
                    " copies of them: give others"
                )
            part, looks = part.select(kept), looks[kept]
            predictions = [predictions[row] for row in kept]
            still = set(part.paths)
            unreadable = [path for path in unreadable if path in still]
            leaks = replace(leaks, left_out=True)
        elif len(leaks.rows) and len(kept):
            leaks = replace(leaks, without=_numbers(way, part.select(kept), predictions, kept))
    elif engine.spec.data is not None and engine.spec.data.digest == part.digest():
        notes.append(
            "the model was trained on these very pictures: the numbers say how well it remembers"
        )
    if unreadable:
        short = dict(zip(part.paths, part.relative_paths(), strict=True))
        notes.append(
            f"{len(unreadable)} of {len(part)} pictures cannot be read; their labels count as"
            f" missed: {some([short[path] for path in unreadable])}"
        )
    notes.extend(applied_notes(engine.spec, way.head, part, predictions))
    second = _second_head(engine, part, predictions) if way.task == "detect" else None
    notes.extend(split_notes(data, split))
    result = finish(
        way,
        part,
        predictions,
        labels=second,
        notes=notes,
        unreadable=tuple(unreadable),
        model=predictor.name,
        split=split,
        threshold=_threshold(engine.spec, way.head),
        seconds=time.perf_counter() - start,
        looks=looks,
        leaks=leaks,
    )
    main = PRIMARY[way.task]
    said = None if leaks is None else leaks.note(main, result[main])
    return result if said is None else replace(result, notes=(said, *result.notes))


def _served(
    client: Client, data: Dataset, split: str | None, task: Task | None, progress: Progress | None
) -> Result:
    """Scores of a server's model."""
    part = data if split is None else data.split_named(split)
    about = client.model()
    heads = [Head(about.task, about.names)]
    if about.label_names:
        heads.append(Head(about.label_task, about.label_names))
    way = match(heads, part, about.name, task)
    start = time.perf_counter()
    predictions: list[Prediction] = []
    unreadable: list[str] = []
    with closing(client.stream(part.paths, evaluation=True)) as stream:
        for path, item in zip(part.paths, stream, strict=True):
            if isinstance(item, Failure):
                unreadable.append(path)
                nothing = np.zeros((0, 4), dtype=np.float32)
                item = Prediction(width=0, height=0, image=path, boxes=nothing)
            predictions.append(item)
            if progress is not None:
                progress(len(predictions), len(part))
    notes = [*way.notes, *split_notes(data, split)]
    if unreadable:
        short = dict(zip(part.paths, part.relative_paths(), strict=True))
        notes.append(
            f"{len(unreadable)} of {len(part)} pictures cannot be read; their labels count as"
            f" missed: {some([short[path] for path in unreadable])}"
        )
    threshold = about.threshold
    if way.head is heads[0] and about.task != "classify" and about.thresholds:
        threshold = Cut(threshold, about.thresholds)
    return finish(
        way,
        part,
        predictions,
        notes=notes,
        unreadable=tuple(unreadable),
        model=f"{about.name}@{about.versions[-1]}",
        split=split,
        threshold=threshold,
        seconds=time.perf_counter() - start,
    )


def _threshold(spec: ModelSpec, head: Head) -> float:
    """The score from which the model's answers count, of each class where it has them."""
    usual = spec.postprocess.score_threshold
    own = (spec.answers if head.task == spec.task else spec.label_answers).thresholds
    return Cut(usual, own) if own and head.task != "classify" else usual


def _seen(engine: Predictor) -> tuple[Sketches | None, list[str]]:
    """What the model has seen, and what keeps that from being known."""
    try:
        return seen_by(engine), []
    except DataError as error:
        return None, [str(error)]


def _numbers(
    way: Match, part: Dataset, predictions: Sequence[Prediction], rows: NDArray[np.int64]
) -> dict[str, float | None]:
    """The standard numbers of some of the pictures."""
    viewed = [way.view(predictions[row]) for row in rows]
    numbers = score(way.task, part, viewed, classes=way.classes)
    return {metric.name: numbers[metric.name] for metric in METRICS[way.task]}


def finish(
    way: Match, data: Dataset, predictions: Sequence[Prediction], *, notes: list[str], **about: Any
) -> Result:
    """Score predictions that are in the order of the pictures; `about` goes into the result."""
    viewed = [way.view(prediction) for prediction in predictions]
    numbers = score(way.task, data, viewed, classes=way.classes, curves=True)
    per_class = numbers.pop("per_class")
    curves, confusion = numbers.pop("curves", None), numbers.pop("confusion", None)
    counts = [(name, row.get("boxes", row.get("images"))) for name, row in per_class.items()]
    images = sum(count for _, count in counts) if way.task == "classify" else len(data)
    return Result(
        task=way.task,
        images=images,
        metrics=numbers,
        per_class=per_class,
        notes=(*notes, *data_notes(data, counts)),
        source=str(data.source),
        curves=curves,
        confusion=confusion,
        data=data,
        predictions=tuple(predictions),
        scored=() if all(map(is_, viewed, predictions)) else tuple(viewed),
        **about,
    )


def second_data(spec: ModelSpec, data: Dataset) -> Dataset | None:
    """What data with boxes say about the classes of a detector's other answer; None if nothing."""
    names = [name for name in data.names if name in spec.label_names]
    if not names:
        return None
    labels = data.as_multilabel()
    if spec.label_task == "classify":
        try:
            return labels.filter(classes=names, keep_empty=True).as_classify()
        except UsageError:
            # Its pictures show several of these classes, or none: no single answer is right.
            return None
    some_label = labels.filter(classes=names, keep_empty=True).labels.height
    return labels if some_label else None


def _second_head(
    predictor: Predictor, data: Dataset, predictions: Sequence[Prediction]
) -> Result | None:
    """Scores of a detector's other answer, if the data say something about its classes."""
    spec = predictor.spec
    labels = second_data(spec, data)
    if labels is None:
        return None
    way = match([Head(spec.label_task, spec.label_names)], labels, predictor.name)
    notes = [*way.notes, *applied_notes(spec, way.head, labels, predictions)]
    return finish(way, labels, predictions, notes=notes, model=predictor.name)


def _engines(predictor: Predictor | Pair) -> list[tuple[Head, Predictor]]:
    """What a predictor answers, and which model alone gives that answer."""
    if isinstance(predictor, Pair):
        return [*_engines(predictor.detector), *_engines(predictor.classifier)]
    spec = predictor.spec
    answers = [(Head(spec.task, spec.names), predictor)]
    if spec.label_names:
        answers.append((Head(spec.label_task, spec.label_names), predictor))
    return answers


def _predictions(
    predictor: Predictor,
    paths: Sequence[str],
    size: int,
    looks: NDArray[np.float32],
    prints: Prints | None,
) -> Iterator[tuple[Prediction, WhatwhereError | None]]:
    """One prediction a picture, in order; an empty one and the error if it cannot be read.

    Args:
        looks: float32 (len(paths), 3), filled with what `images.appearance.look` measures.
        prints: of so many pictures, filled if it is not None.
    """

    def watch(row: int, image: Image) -> None:
        looks[row] = look(image)
        if prints is not None:
            prints.put(row, tiny(image))

    stream = predictor.stream(paths, batch=size, evaluation=True, watch=watch)
    with closing(stream):
        for path, item in zip(paths, stream, strict=True):
            if isinstance(item, Failure):
                nothing = np.zeros((0, 4), dtype=np.float32)
                yield Prediction(width=0, height=0, image=path, boxes=nothing), item.error
            else:
                yield item, None
