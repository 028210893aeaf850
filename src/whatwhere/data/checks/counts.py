"""How many labels there are: of each class, in each picture, in each split."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from whatwhere.data.checks._report import Report, listed

_IMBALANCE = 100
_SPREAD = 6.0


def find(report: Report) -> None:
    """Unused classes, classes of one split, imbalance, empty and crowded pictures."""
    dataset = report.dataset
    names = list(dataset.names)
    ids = dataset.labels["class_id"].to_numpy().astype(np.int64)
    counts = np.bincount(ids, minlength=len(names))
    unused = [name for name, count in zip(names, counts, strict=True) if count == 0]
    if unused:
        message = f"{len(unused)} of {len(names)} classes have no labels: {listed(unused)}"
        report.whole("unused-class", message)
    _one_split(report, names, ids)
    used = counts[counts > 0]
    if used.size and used.max() >= _IMBALANCE * used.min():
        order = np.argsort(counts, kind="stable")
        rare = [f"{names[i]} ({counts[i]})" for i in order if 0 < counts[i] <= used.max() / 100]
        message = (
            f"{names[int(order[-1])]!r} has {used.max()} labels, at least {_IMBALANCE} times as"
            f" many as {listed(rare)}"
        )
        report.whole("class-imbalance", message)
    _pictures(report)


def _one_split(report: Report, names: list[str], ids: NDArray[np.int64]) -> None:
    """Classes that cannot be learnt, or whose learning cannot be measured."""
    parts = [name for name in ("train", "val", "test") if name in report.dataset.splits]
    if "train" not in parts or len(parts) < 2:
        return
    number: dict[str, int] = {name: place for place, name in enumerate(parts)}
    of_picture = np.array([number.get(split or "", -1) for split in report.splits], np.int64)
    of_label = of_picture[report.dataset.labels["image"].to_numpy()]
    here = np.zeros((len(names), len(parts)), np.bool_)
    here[ids[of_label >= 0], of_label[of_label >= 0]] = True
    unlearnt = [names[i] for i in np.flatnonzero(~here[:, 0] & here[:, 1:].any(1))]
    if unlearnt:
        message = (
            f"{len(unlearnt)} of {len(names)} classes have labels in {' and '.join(parts[1:])},"
            f" but not in train: {listed(unlearnt)}"
        )
        report.whole("untrained-class", message, "warning")
    unmeasured = [names[i] for i in np.flatnonzero(here[:, 0] & ~here[:, 1:].any(1))]
    if unmeasured:
        message = (
            f"{len(unmeasured)} of {len(names)} classes have labels in train only:"
            f" {listed(unmeasured)}"
        )
        report.whole("unmeasured-class", message)


def _pictures(report: Report) -> None:
    dataset = report.dataset
    rows = dataset.labels["image"].to_numpy()
    counts = np.bincount(rows, minlength=len(dataset))
    empty = int((counts == 0).sum())
    if empty:
        report.whole("no-labels", f"{empty} of {len(dataset)} pictures have no labels")
    some = np.flatnonzero(counts)
    if some.size < 20:
        return
    # The spread of the logarithm, by the median of deviations: a few crowds do not hide
    # themselves in it. At least a third, since most pictures may have the same count.
    logs = np.log(counts[some])
    middle = float(np.median(logs))
    spread = max(1.4826 * float(np.median(np.abs(logs - middle))), 1 / 3)
    most = max(float(np.exp(middle + _SPREAD * spread)), 20.0)
    for row in some[counts[some] > most].tolist():
        message = (
            f"{counts[row]} labels, where half of the pictures have {np.exp(middle):.0f} or fewer"
        )
        report.picture(row, "many-labels", message, "info")
