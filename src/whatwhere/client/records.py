"""What a server's JSON says, as our values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from whatwhere.errors import ServerError
from whatwhere.types import Label, Prediction, Task, as_boxes


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model of a server.

    Args:
        name: in the server's repository.
        versions: loaded ones; the last answers questions that name none.
        task: what it answers.
        names: its classes: of objects of a detector, else of whole pictures.
        label_task, label_names: what a detector or pair says about whole pictures; no names if
            nothing.
        threshold: lowest score unless a question says otherwise.
        thresholds: of classes that have their own, by name.
        license: of the model.
    """

    name: str
    versions: tuple[str, ...]
    task: Task
    names: tuple[str, ...]
    label_task: Task
    label_names: tuple[str, ...]
    threshold: float
    thresholds: dict[str, float]
    license: str


def prediction_of(record: dict[str, Any], detects: bool) -> Prediction:
    """A prediction from its JSON form, `Prediction.to_dict`.

    Args:
        detects: whether boxes were looked for.
    """
    labels, objects = record["labels"], record["objects"]
    label_set, ms, model = record.get("label_set"), record["ms"], record["model"]
    return Prediction(
        width=int(record["width"]),
        height=int(record["height"]),
        label_names=tuple(str(one["name"]) for one in labels),
        label_scores=np.array([one["score"] for one in labels], dtype=np.float32),
        object_names=tuple(str(one["name"]) for one in objects),
        object_scores=np.array([one["score"] for one in objects], dtype=np.float32),
        boxes=as_boxes([one["box"] for one in objects]) if objects or detects else None,
        object_labels=tuple(
            tuple(Label(str(row["name"]), float(row["score"])) for row in one["labels"])
            for one in objects
        )
        if any(one["labels"] for one in objects)
        else (),
        model=None if model is None else str(model),
        ms=None if ms is None else float(ms),
        unsure=record.get("unsure"),
        label_set=None if label_set is None else tuple(map(str, label_set)),
    )


def served_model(record: dict[str, Any]) -> ServedModel:
    """A model from its JSON form, the answer of `/models/NAME`.

    Raises:
        ServerError: something is missing.
    """
    try:
        return ServedModel(
            name=str(record["name"]),
            versions=tuple(str(one["version"]) for one in record["versions"]),
            task=record["task"],
            names=tuple(map(str, record["names"])),
            label_task=record["label_task"],
            label_names=tuple(map(str, record["label_names"])),
            threshold=float(record["threshold"]),
            thresholds={str(name): float(one) for name, one in record["thresholds"].items()},
            license=str(record["license"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ServerError(
            f"the server says nothing about its model's {error}: is it of this version?"
        ) from error
