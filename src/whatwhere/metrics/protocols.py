"""The protocols by which detectors are scored, by name.

A format brings its protocol: what its flags mean, and what counts, is different in each. The
same boxes have other numbers by another protocol, so a number is worth little without its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from whatwhere.data import Dataset
from whatwhere.errors import UsageError
from whatwhere.metrics.asked import scored_classes
from whatwhere.metrics.detection import score_detection
from whatwhere.metrics.kitti import score_kitti
from whatwhere.metrics.lvis import score_lvis
from whatwhere.metrics.open_images import score_open_images
from whatwhere.metrics.voc import score_voc
from whatwhere.types import Prediction


def _coco(
    data: Dataset, predictions: Sequence[Prediction], *, classes: frozenset[str]
) -> dict[str, Any]:
    return {**score_detection(data, predictions, classes=classes), "notes": []}


PROTOCOLS: dict[str, Callable[..., dict[str, Any]]] = {
    "coco": _coco,
    "voc": score_voc,
    "kitti": score_kitti,
    "lvis": score_lvis,
    "open_images": score_open_images,
}
"""Each takes (data, predictions, classes=frozenset) and gives the names of `METRICS` or
`FURTHER` with their values, `per_class` by class name, and `notes`: sentences."""

_LVIS_MARKS = frozenset({"r", "c", "f"})


def default_protocol(data: Dataset) -> str:
    """The protocol of the data's format; COCO's where the format has none.

    A COCO file whose classes say how frequent they are is LVIS's.
    """
    if data.format in ("voc", "kitti", "open_images"):
        return data.format
    frequencies = {known.get("frequency") for known in data.class_info.values()}
    return "lvis" if data.format == "coco" and frequencies & _LVIS_MARKS else "coco"


def score_by(
    protocol: str,
    data: Dataset,
    predictions: Sequence[Prediction],
    *,
    classes: Iterable[str] | None = None,
) -> dict[str, Any]:
    """A detector's numbers by the rules of a protocol, each in 0..1, or None where undefined.

    Args:
        protocol: a name of `PROTOCOLS`; see `default_protocol`.
        data: the truth, with boxes.
        predictions: one a picture of `data`, in its order.
        classes: score these classes only.

    Raises:
        UsageError: unknown protocol or class, or not one prediction a picture.
        MissingExtraError: the extra `data` is not installed.
    """
    if protocol not in PROTOCOLS:
        raise UsageError(f"unknown protocol {protocol!r}: use one of {', '.join(PROTOCOLS)}")
    chosen = scored_classes(data, predictions, classes)
    return PROTOCOLS[protocol](data, predictions, classes=chosen)
