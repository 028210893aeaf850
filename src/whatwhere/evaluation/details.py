"""What stands behind the standard numbers: how sure they are, and what they are made of.

`Result.with_details` computes it: bootstrap intervals, the numbers of other protocols, what
happens at thresholds, kinds of errors, confusion, calibration. It takes seconds where the numbers
alone take a fraction of one, so `evaluate` in Python does not, and the command does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from whatwhere.data import Dataset
from whatwhere.errors import UsageError
from whatwhere.evaluation.matching import some
from whatwhere.evaluation.result import Boxes, Result
from whatwhere.evaluation.slices import slices
from whatwhere.metrics import FURTHER, METRICS, PRIMARY, default_protocol, score_by
from whatwhere.metrics.bootstrap import Interval, Key, Weighted, intervals
from whatwhere.metrics.bootstrap_boxes import BoxNumbers
from whatwhere.metrics.classification_detail import classification_detail
from whatwhere.metrics.confusion import confusion
from whatwhere.metrics.detection import found_boxes, known_boxes, true_boxes
from whatwhere.metrics.judged import detection_error, judge
from whatwhere.metrics.multilabel_detail import multilabel_detail
from whatwhere.metrics.pairing import pair_boxes
from whatwhere.metrics.reliability import reliability
from whatwhere.metrics.slices import Slices
from whatwhere.metrics.thresholds import operating_report
from whatwhere.metrics.tide import tide
from whatwhere.metrics.tightness import iou_distribution
from whatwhere.metrics.trust import picture_groups, weakness, weighted
from whatwhere.types import Prediction

SAMPLES = 1000
_FAINT = 0.05
"""Boxes of a lower score are left out of the reliability diagram; they are most of all boxes."""


@dataclass(frozen=True, slots=True, eq=False)
class Details:
    """What stands behind a result's numbers.

    Args:
        protocol: whose rules `numbers` follow beside COCO's, of a detector; "" for others.
        level: nominal coverage of the intervals.
        samples: how often the pictures were drawn anew; 0 for no intervals.
        groups: the column whose values were drawn together; "none" for single pictures.
        intervals: by name of a standard number.
        class_intervals: by class, then by name.
        numbers: of `metrics.FURTHER`, those that this data and protocol have.
        per_class: more numbers of each class, by class.
        tables: curves, histograms and matrices for reports, plain values: for detectors
            `operating` (at the result's threshold, and the best one), `confusion`, `iou`,
            `errors` (TIDE), `reliability`; else what `metrics.classification_detail` and
            `metrics.multilabel_detail` say.
        notes: sentences: numbers that mean little, and what could not be computed.
        slices: numbers of parts of the data, worst first; None without samples.
    """

    protocol: str
    level: float
    samples: int
    groups: str
    intervals: Mapping[str, Interval]
    class_intervals: Mapping[str, Mapping[str, Interval]]
    numbers: Mapping[str, float | None]
    per_class: Mapping[str, Mapping[str, Any]]
    tables: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    slices: Slices | None = None

    def to_dict(self, *, tables: bool = False) -> dict[str, Any]:
        """Plain values.

        Args:
            tables: with curves, histograms and matrices, as in `report.json`.
        """
        made: dict[str, Any] = {
            "protocol": self.protocol,
            "level": self.level,
            "samples": self.samples,
            "groups": self.groups,
            "intervals": {name: _plain(one) for name, one in self.intervals.items()},
            "class_intervals": {
                name: {key: _plain(one) for key, one in row.items()}
                for name, row in self.class_intervals.items()
            },
            "further": dict(self.numbers),
            "further_per_class": {name: dict(row) for name, row in self.per_class.items()},
        }
        if not tables:
            return made
        parts = {} if self.slices is None else {"slices": self.slices.to_dict()}
        return made | {"tables": dict(self.tables)} | parts


def details(
    result: Result,
    *,
    samples: int = SAMPLES,
    level: float = 0.95,
    seed: int = 0,
    groups: str = "auto",
    protocol: str | None = None,
) -> Details:
    """Intervals, further numbers, curves and tables of a result.

    Args:
        result: with its data and predictions.
        samples: how often pictures are drawn anew for the intervals; 0 for none.
        level: nominal coverage of the intervals.
        seed: the same one draws the same pictures.
        groups: a column of the pictures: those of equal value (of one video, one patient) depend
            on each other, and are drawn together; "auto" for "group" where the data has it,
            "none" to draw each picture alone.
        protocol: of a detector: a name of `metrics.PROTOCOLS`; None for that of the data's
            format.

    Raises:
        UsageError: the result has no data, or an unknown protocol or column.
    """
    data = result.data
    if data is None:
        raise UsageError("the result came without its data: evaluate again")
    if groups == "auto":
        groups = "none" if data.images["group"].null_count() == len(data) else "group"
    if protocol is not None and result.task != "detect":
        raise UsageError(f"protocols are for boxes; this result is of the task {result.task}")
    found: dict[str, Any]
    order: Any = slice(None)
    if result.task == "detect":
        boxes = _boxes(result, data)
        numbers: Weighted = BoxNumbers(
            len(data) if boxes.rows is None else len(boxes.rows),
            boxes.names,
            boxes.truth,
            boxes.found,
        )
        order = order if boxes.rows is None else boxes.rows
        protocol = protocol or default_protocol(data)
        found = _detector(result, data, boxes, protocol)
    else:
        classes = frozenset(result.per_class)
        numbers = weighted(result.task, data, _viewed(result), classes=classes)
        detail = classification_detail if result.task == "classify" else multilabel_detail
        found = detail(data, _viewed(result), classes=classes)
        protocol = ""
    drawn: dict[Key, Interval] = {}
    parts = None
    if samples:
        units = None if groups == "none" else picture_groups(data, groups)
        how: dict[str, Any] = {"samples": samples, "level": level, "seed": seed}
        drawn = intervals(numbers, groups=None if units is None else units[order], **how)
        parts = slices(result, groups=units, **how)
    whole = {metric.name: drawn[metric.name, None] for metric in METRICS[result.task] if drawn}
    by_class: dict[str, dict[str, Interval]] = {name: {} for name in result.per_class if drawn}
    for (name, of_class), interval in drawn.items():
        if of_class is not None and of_class in by_class:
            by_class[of_class][name] = interval
    known = {metric.name for metric in FURTHER[result.task]}
    return Details(
        protocol,
        level,
        samples,
        groups,
        whole,
        by_class,
        {name: value for name, value in found.items() if name in known},
        found["per_class"],
        {
            name: value
            for name, value in found.items()
            if isinstance(value, dict | list) and name not in ("per_class", "notes")
        },
        (*_weak(result, whole, by_class), *found["notes"], *(parts.notes if parts else ())),
        parts,
    )


def _viewed(result: Result) -> Sequence[Prediction]:
    """The predictions as they were scored."""
    return result.scored or result.predictions


def _boxes(result: Result, data: Dataset) -> Boxes:
    """The boxes that were scored; as float64 numbers of the files, if they are at hand."""
    if result.boxes is not None:
        return result.boxes
    names = {data.names.id(name): name for name in result.per_class}
    truth, found = known_boxes(data, true_boxes(data), found_boxes(result.predictions, data.names))
    return Boxes(names, truth, found)


def _detector(result: Result, data: Dataset, boxes: Boxes, protocol: str) -> dict[str, Any]:
    names, truth, found = boxes.names, boxes.truth, boxes.found
    wanted = list(names)
    truth = truth.only(np.isin(truth.class_id, wanted))
    pairs = pair_boxes(truth, found.only(np.isin(found.class_id, wanted)), [0.5])
    operating = operating_report(names, pairs, len(data), threshold=result.threshold)
    mixed = confusion(names, truth, found, threshold=result.threshold)
    errors = tide(names, truth, found)
    answers = judge("detect", data, result.predictions, classes=frozenset(result.per_class))
    gaps = detection_error(answers)
    kept = answers.score >= _FAINT
    best = operating["all"]["best"]
    made: dict[str, Any] = {
        "best_f1": best and best["f1"],
        "log_average_miss_rate": operating["all"]["log_average_miss_rate"],
        "d_ece": gaps["score"].d_ece,
        **errors.numbers(),
    }
    notes: list[str] = []
    if protocol != "coco":
        own = score_by(protocol, data, result.predictions, classes=result.per_class)
        notes = [f"by the protocol {protocol}: {note}" for note in own.pop("notes")]
        rows = own.pop("per_class")
        made |= own
    else:
        rows = {}
    per_class = {
        name: {
            **{key: row["at"][key] for key in ("precision", "recall", "f1")},
            "best_f1": row["best"] and row["best"]["f1"],
            "best_threshold": row["best"] and row["best"]["threshold"],
            "log_average_miss_rate": row["log_average_miss_rate"],
            **{
                key: value
                for key, value in rows.get(name, {}).items()
                if key.startswith(protocol) and isinstance(value, int | float | None)
            },
        }
        for name, row in operating["per_class"].items()
    }
    return {
        **made,
        "per_class": per_class,
        "notes": notes,
        "operating": operating,
        "confusion": {
            "names": [*mixed.names, "background"],
            "matrix": mixed.matrix.tolist(),
            "swaps": mixed.swaps(),
        },
        "iou": iou_distribution(names, truth, pairs, threshold=result.threshold),
        "errors": {
            "cost": errors.cost,
            "count": errors.count,
            "per_class": errors.per_class,
            "AP50": errors.ap50,
        },
        "reliability": {
            "bins": reliability(answers.score[kept], answers.true[kept]).to_dict(),
            "lowest": _FAINT,
        },
    }


def _weak(
    result: Result,
    whole: Mapping[str, Interval],
    by_class: Mapping[str, Mapping[str, Interval]],
) -> list[str]:
    """What is too little data to say anything, by the task's main number."""
    main = PRIMARY[result.task]
    notes = []
    if main in whole and (reason := weakness(whole[main])):
        notes.append(f"{main} means little: {reason}")
    of_class = "f1" if result.task == "classify" else "AP"
    rows = {name: row[of_class] for name, row in by_class.items() if of_class in row}
    weak = [
        name
        for name, interval in rows.items()
        if interval.value is not None and weakness(interval) is not None
    ]
    if weak:
        fewest = min(rows[name].units for name in weak)
        notes.append(
            f"{of_class} of {len(weak)} of {len(rows)} classes means little, since they rest on few"
            f" pictures (from {fewest} on) or their intervals are wide: {some(weak)}"
        )
    return notes


def _plain(one: Interval) -> dict[str, Any]:
    return {"low": one.low, "high": one.high, "images": one.units}
