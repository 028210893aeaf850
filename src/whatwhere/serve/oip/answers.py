"""Predictions as tensors. Pictures have different numbers of rows: short ones are filled up."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from whatwhere.serve.errors import RefusedError
from whatwhere.serve.loading import Loaded
from whatwhere.serve.oip.schemas import InferAnswer, OutputTensor, TensorMetadata
from whatwhere.serve.oip.tensors import Question
from whatwhere.types import Prediction


class _Output(NamedTuple):
    """A tensor that is made of predictions.

    Args:
        about: name, datatype and shape, N pictures and K rows of the fullest of them.
        of: gives the values of a list of predictions; of BYTES an array of objects.
    """

    about: TensorMetadata
    of: Callable[[Sequence[Prediction]], NDArray[Any]]


def _padded(rows: Sequence[NDArray[np.float32]], *more: int) -> NDArray[np.float32]:
    """Rows of each picture as float32 (N, K, *more), zeros behind the last."""
    longest = max(len(row) for row in rows)
    values = np.zeros((len(rows), longest, *more), dtype="<f4")
    for place, row in enumerate(rows):
        values[place, : len(row)] = row
    return values


def _texts(rows: Sequence[Sequence[str]]) -> NDArray[Any]:
    """Names of each picture, (N, K), "" behind the last."""
    longest = max(len(row) for row in rows)
    values = np.full((len(rows), longest), "", dtype=object)
    for place, row in enumerate(rows):
        values[place, : len(row)] = row
    return values


def _boxes(predictions: Sequence[Prediction]) -> NDArray[np.float32]:
    nothing = np.zeros((0, 4), np.float32)
    return _padded([nothing if one.boxes is None else one.boxes for one in predictions], 4)


def _lines(predictions: Sequence[Prediction]) -> NDArray[Any]:
    texts = [json.dumps(one.to_dict(), ensure_ascii=False) for one in predictions]
    return np.array(texts, dtype=object)


def _meta(name: str, datatype: str, *shape: int) -> TensorMetadata:
    return TensorMetadata(name=name, datatype=datatype, shape=[-1, *shape])


_OBJECTS = (
    _Output(
        _meta("count", "INT32"),
        lambda found: np.array([len(one.object_names) for one in found], dtype="<i4"),
    ),
    _Output(_meta("boxes", "FP32", -1, 4), _boxes),
    _Output(
        _meta("scores", "FP32", -1), lambda found: _padded([one.object_scores for one in found])
    ),
    _Output(_meta("names", "BYTES", -1), lambda found: _texts([one.object_names for one in found])),
)
_LABELS = (
    _Output(
        _meta("label_count", "INT32"),
        lambda found: np.array([len(one.label_names) for one in found], dtype="<i4"),
    ),
    _Output(
        _meta("label_scores", "FP32", -1),
        lambda found: _padded([one.label_scores for one in found]),
    ),
    _Output(
        _meta("label_names", "BYTES", -1),
        lambda found: _texts([one.label_names for one in found]),
    ),
)
_JSON = (_Output(_meta("json", "BYTES"), _lines),)


def outputs_of(loaded: Loaded) -> tuple[TensorMetadata, ...]:
    """What a model gives."""
    return tuple(one.about for one in _all(loaded))


def answer_of(
    loaded: Loaded, question: Question, predictions: Sequence[Prediction]
) -> tuple[InferAnswer, bytes | None]:
    """The answer, and what stands behind its JSON; None if nothing is wanted so.

    Args:
        question: its `outputs` were checked.
        predictions: one for each of its pictures.
    """
    tensors: list[OutputTensor] = []
    pieces: list[bytes] = []
    for output in wanted(loaded, question):
        about, values = output.about, output.of(predictions)
        tensor = OutputTensor(name=about.name, shape=list(values.shape), datatype=about.datatype)
        outputs = question.outputs
        if question.binary if outputs is None else outputs[about.name]:
            data = _packed(values) if about.datatype == "BYTES" else values.tobytes()
            tensor.parameters = {"binary_data_size": len(data)}
            pieces.append(data)
        else:
            tensor.data = values.ravel().tolist()
        tensors.append(tensor)
    answer = InferAnswer(
        model_name=loaded.name, model_version=loaded.version, id=question.id, outputs=tensors
    )
    return answer, b"".join(pieces) if pieces else None


def wanted(loaded: Loaded, question: Question) -> list[_Output]:
    """The outputs that are asked for, in that order.

    Raises:
        RefusedError: 400, the model has no such output.
    """
    known = {one.about.name: one for one in _all(loaded)}
    for name in question.outputs or {}:
        if name not in known:
            raise RefusedError(
                400, f"there is no output {name[:100]!r}: choose from {', '.join(known)}"
            )
    if question.outputs is None:
        return list(known.values())
    return [known[name] for name in question.outputs]


def _all(loaded: Loaded) -> tuple[_Output, ...]:
    if loaded.spec.task != "detect":
        return _LABELS + _JSON
    return _OBJECTS + (_LABELS if loaded.label_names else ()) + _JSON


def _packed(values: NDArray[Any]) -> bytes:
    """BYTES behind the JSON: each element's length in 4 bytes, little end first, then itself."""
    elements = [text.encode() for text in values.ravel()]
    return b"".join(len(one).to_bytes(4, "little") + one for one in elements)
