"""Gathers pictures and labels out of JSON, until the classes and the task are known."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import KEPT_OUT, Finding, Severity
from whatwhere.data.formats._class_sets import some_sizes, tidy_some_boxes
from whatwhere.data.formats._csv_labels_write import natural
from whatwhere.data.formats._files import add_sizes
from whatwhere.data.formats._label_json import (
    LABEL_COLUMNS,
    BadValueError,
    image_extra,
    image_values,
    is_number,
    label_value,
    whole_number,
)
from whatwhere.data.tables import BOX, IMAGE_COLUMNS, table
from whatwhere.data.tables import LABEL_COLUMNS as TABLE
from whatwhere.types import Labels, Task

Box = tuple[float, float, float, float]


@dataclass(slots=True)
class _Label:
    image: int
    name: str | int
    box: Box | None
    record: str
    values: dict[str, Any]


@dataclass
class JsonLabels:
    """The rows of both tables.

    Args:
        root: the data set's folder.
        format: the format's name, under which unknown keys are kept in `extra`.
        findings: what was wrong.
        rows: pictures; labels: their labels, in order.
        tasks: what the records look like.
    """

    root: Path
    format: str
    findings: list[Finding] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    labels: list[_Label] = field(default_factory=list)
    tasks: set[Task] = field(default_factory=set)

    def find(
        self, kind: str, message: str, where: str, severity: Severity = "error", labels: int = 0
    ) -> None:
        action = "left out" if kind == "bad-value" else KEPT_OUT
        self.findings.append(Finding(kind, message, where, severity, action, labels))

    def picture(
        self,
        path: str,
        split: str | None,
        record: Mapping[str, Any],
        known: Collection[str],
        where: str,
    ) -> int:
        """Add a picture; its row number.

        Args:
            path: where it is.
            split: unless the record has one.
            record: its JSON object.
            known: keys of it that have a place; others go to `extra`.
            where: the record's place.
        """
        faults: list[str] = []
        own = record.get("split")
        row = {
            "path": path,
            "width": whole_number(record.get("width"), 1 << 30),
            "height": whole_number(record.get("height"), 1 << 30),
            "split": own if isinstance(own, str) and own else split,
            "extra": image_extra(record, known, self.format),
            **image_values(record, faults),
        }
        for side in ("width", "height"):
            if record.get(side) is not None and row[side] is None:
                faults.append(f"{side!r} is {str(record[side])[:40]!r}")
        if own is not None and not isinstance(own, str):
            faults.append(f"'split' is {str(own)[:40]!r}")
        if not (row["width"] and row["height"]):
            row["width"] = row["height"] = None
        for fault in faults:
            message = f"{fault}, which is of the wrong kind"
            self.find("bad-value", message, where, "warning")
        self.rows.append(row)
        return len(self.rows) - 1

    def columns(
        self, lists: Mapping[str, Any], number: int, where: str, others: Collection[str] = ()
    ) -> dict[str, Any]:
        """The further columns of a label out of lists of them.

        Args:
            lists: a list for each key, one value a label.
            number: which of them.
            where: the label's place.
            others: unknown keys that are to be kept in `extra`.
        """
        found: dict[str, Any] = {}
        more: dict[str, Any] = {}
        for key, values in lists.items():
            if not isinstance(values, list) or number >= len(values):
                continue
            if key in LABEL_COLUMNS:
                try:
                    found[key] = label_value(key, values[number])
                except BadValueError as error:
                    message = f"{error}, which is of the wrong kind"
                    self.find("bad-value", message, where, "warning")
            elif key in others and values[number] is not None:
                more[key] = values[number]
        if found.get("iscrowd") and found.get("ignore") is None:
            found["ignore"] = True
        if more:
            before = json.loads(found.get("extra") or "{}")
            found["extra"] = json.dumps({**before, self.format: more}, ensure_ascii=False)
        return found

    def unequal(self, lists: Mapping[str, Any], count: int, where: str, names: str | None) -> None:
        """Name the keys that are no list with a value for each label.

        Args:
            lists: as for `columns`.
            count: number of labels.
            where: the record's place.
            names: the key of the classes: those without a label are lost, and a label
                without a class is found by `label`.
        """
        for key, values in lists.items():
            if values is None or (isinstance(values, list) and len(values) == count):
                continue
            if key == names and isinstance(values, list) and len(values) < count:
                continue
            lost = 0
            if not isinstance(values, list):
                message = f"{key!r} is {str(values)[:40]!r}, not a list of {count} values"
            else:
                lost = len(values) - count if key == names else 0
                message = f"{key!r} has {len(values)} values for {count} labels"
            self.find("bad-record", message, where, labels=lost)

    def label(self, image: int, name: Any, box: Box | None, where: str, **values: Any) -> None:
        """Add a label if its class is a name or a number."""
        number = isinstance(name, int) and not isinstance(name, bool) and 0 <= name < 1 << 31
        if number or (isinstance(name, str) and name.strip()):
            self.labels.append(_Label(image, name, box, where, values))
        else:
            message = f"the class is {str(name)[:40]!r}, neither a name nor a number"
            self.find("no-class", message, where, labels=1)

    def box(self, value: Any, where: str) -> Box | None:
        """Four numbers, or None with a finding."""
        if isinstance(value, list) and len(value) == 4 and all(map(is_number, value)):
            one, two, three, four = map(float, value)
            return one, two, three, four
        message = f"the box is {str(value)[:60]}, not four numbers"
        self.find("bad-box", message, where, labels=1)
        return None

    def task(self) -> Task:
        """The richest of the tasks that records look like."""
        return next(one for one in ("detect", "multilabel", "classify") if one in self.tasks)

    def dataset(self, listed: Sequence[str], there: Sequence[bool] | None = None) -> Dataset:
        """The data set.

        Args:
            listed: names of the classes by their numbers, as far as they are known.
            there: whether each picture is on disk; by default all are.
        """
        task = self.task()
        called = {
            one.name: listed[one.name] if one.name < len(listed) else f"class {one.name}"
            for one in self.labels
            if isinstance(one.name, int)
        }
        texts = [called[one.name] if isinstance(one.name, int) else one.name for one in self.labels]
        numbers = [called[number] for number in sorted(called) if called[number] not in listed]
        names = [*listed, *numbers, *natural(set(texts) - set(listed) - set(numbers))]
        ids = {name: number for number, name in enumerate(names)}
        schema = {name: IMAGE_COLUMNS[name] for name in self.rows[0]}
        images = table(pl.DataFrame(self.rows, schema=schema), IMAGE_COLUMNS)
        images = self._sized(images, task, there)
        columns: dict[str, Any] = {
            "image": [one.image for one in self.labels],
            "class_id": [ids[name] for name in texts],
            "record": [one.record for one in self.labels],
        }
        for at, side in enumerate(BOX):
            columns[side] = [None if one.box is None else one.box[at] for one in self.labels]
        used = {key for one in self.labels if one.values for key in one.values}
        for key in (key for key in LABEL_COLUMNS if key in used):
            columns[key] = [one.values.get(key) for one in self.labels]
        kinds = {key: pl.Float64 if key in BOX else kind for key, kind in TABLE.items()}
        labels = pl.DataFrame(columns, schema={key: kinds[key] for key in columns})
        if task == "detect":
            labels, faults = tidy_some_boxes(labels, images)
            self.findings += faults
        dataset = Dataset(
            images,
            labels,
            Labels(names),
            findings=self.findings,
            root=str(self.root),
            task=task,
        )
        if task != "classify":
            return dataset
        # A picture of such a set has one class; each that has none was found before.
        counts = np.bincount(dataset.labels["image"].to_numpy(), minlength=len(dataset))
        if (counts == 1).all():
            return dataset
        some = dataset.select(np.flatnonzero(counts == 1))
        some.findings = dataset.findings
        return some

    def _sized(
        self, images: pl.DataFrame, task: Task, there: Sequence[bool] | None
    ) -> pl.DataFrame:
        """The pictures with their sizes, as far as they are needed."""
        wanted = images["width"].is_null().to_numpy()
        if there is not None:
            wanted = wanted & np.asarray(there, np.bool_)
        if not wanted.any():
            return images
        if task == "detect":
            rows = np.flatnonzero(wanted)
            known, findings = add_sizes(images[rows], self.root)
            for side in ("width", "height"):
                values = images[side].to_list()
                for row, value in zip(rows.tolist(), known[side].to_list(), strict=True):
                    values[row] = value
                images = images.with_columns(pl.Series(side, values, pl.Int32))
        else:
            images, findings = some_sizes(images, self.root, wanted.tolist())
        self.findings += findings
        return images
