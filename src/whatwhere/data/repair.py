"""A copy of a data set without its faults, and a list of what was changed or left out.

Only what needs nobody's opinion is repaired. Labels of two names, near duplicates, classes
of one split and the like stay as they are, and stay findings of the copy.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from whatwhere.data.checks import Report, examine
from whatwhere.data.checks.classes import plain_name
from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import Finding
from whatwhere.data.tables import BOX
from whatwhere.errors import DataError

Record = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Repaired:
    """What `repair` gives.

    Args:
        dataset: the repaired tables; pictures stay where they are until it is written.
        quarantine: one record for each thing that is not in the copy as it was: the finding
            (`kind`, `message`, `file`, `line`, `record`), `action`, and of a label its
            `class` and `box`, of a picture the number of its `labels`.
    """

    dataset: Dataset
    quarantine: list[Record]


def repair(report: Report, *, merge_names: bool = False) -> Repaired:
    """Leave out what cannot be used, and put right what can be.

    - Pictures that are missing, unreadable, damaged or oversized are left out with their
      labels; so are those with boxes for another size, since nobody can tell what they mean.
    - Boxes for the pixels before EXIF turned them are turned; masks and key points are not,
      so such a picture is left out. A wrong recorded size is corrected where there are no
      boxes.
    - Impossible boxes, second copies of a label and nearly identical boxes of one class are
      left out.
    - Of pictures with the same bytes one is kept, that of the test split before that of val
      before that of train, with the labels of all. Where they have one class each, and not
      the same, all are left out.
    - What the reader kept out or clipped is in the list as it was reported.

    Args:
        report: from `whatwhere.data.checks.examine`.
        merge_names: make one class of names that differ by case, spaces or marks only.

    Raises:
        DataError: no picture is left.
    """
    dataset = report.dataset
    quarantine = [
        _record(finding, finding.action, labels=finding.boxes)
        for finding in dataset.findings
        if finding.action != "kept"
    ]
    images, labels = dataset.images, dataset.labels.with_row_index("row")
    left_out = dict(report.left_out)
    images, labels = _turn(report, images, labels, left_out, quarantine)
    images = _resize(report, images, quarantine)
    owners = dataset.labels["image"].to_list()
    for row, finding in sorted(report.dropped.items()):
        # The labels of a picture that is left out are counted with it.
        if owners[row] not in left_out:
            quarantine.append(_record(finding, "label left out", **_label(dataset, row)))
    labels = labels.filter(~pl.col("row").is_in(list(report.dropped)))
    labels = _join_copies(report, labels, left_out, quarantine)
    counts = np.bincount(dataset.labels["image"].to_numpy(), minlength=len(dataset))
    for row, finding in sorted(report.left_out.items()):
        # Findings that stand for many pictures do not name each.
        where = replace(finding, where=report.names[row])
        quarantine.append(_record(where, "picture left out", labels=int(counts[row])))
    kept = np.ones(len(dataset), np.bool_)
    kept[list(left_out)] = False
    if not kept.any():
        raise DataError(
            f"{dataset.source or 'the data set'} has no usable picture, so there is nothing to"
            " repair: see 'whatwhere data check'"
        )
    names = list(dataset.names)
    if merge_names:
        labels, names = _merge_names(labels, names, quarantine, dataset.source)
    changed = Dataset(
        images,
        labels.drop("row"),
        names,
        source=dataset.source,
        root=dataset.root,
        format=dataset.format,
        recognised=dataset.recognised,
        task=dataset.task,
        category_ids=dataset.category_ids if names == list(dataset.names) else (),
        class_info={name: known for name, known in dataset.class_info.items() if name in names},
        info=dataset.info,
    ).select(np.flatnonzero(kept))
    again = examine(changed, depth="labels")
    for row, finding in sorted(again.dropped.items()):
        quarantine.append(_record(finding, "label left out", **_label(changed, row)))
    if again.dropped:
        rows = np.ones(changed.labels.height, np.bool_)
        rows[list(again.dropped)] = False
        changed = changed._like(changed.images, changed.labels.filter(pl.Series(rows)))
    return Repaired(changed, quarantine)


def _record(finding: Finding, action: str, **more: Any) -> Record:
    known = finding.to_dict()
    return {
        **{key: known[key] for key in ("kind", "message", "file", "line", "record")},
        "action": action,
        **more,
    }


def _label(dataset: Dataset, row: int) -> Record:
    values = dataset.labels.row(row, named=True)
    box = None if values["x1"] is None else [values[name] for name in BOX]
    return {"class": dataset.names[values["class_id"]], "box": box}


def _turn(
    report: Report,
    images: pl.DataFrame,
    labels: pl.DataFrame,
    left_out: dict[int, Finding],
    quarantine: list[Record],
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Boxes of the unturned picture to where the turned picture has them."""
    if not report.turned:
        return images, labels
    deep = labels.filter(pl.col("segmentation").is_not_null() | pl.col("keypoints").is_not_null())
    cannot = set(deep["image"].to_list())
    counts = np.bincount(report.dataset.labels["image"].to_numpy(), minlength=images.height)
    sizes = images.select("width", "height").to_numpy(writable=True)
    corners = labels.select(BOX).to_numpy(writable=True)
    owner = labels["image"].to_numpy()
    for row, (orientation, finding) in sorted(report.turned.items()):
        if row in cannot:
            left_out[row] = finding
            action = "picture left out"
        else:
            width, height = sizes[row].tolist()
            mine = np.flatnonzero(owner == row)
            corners[mine] = turned_boxes(corners[mine], width, height, orientation)
            sizes[row] = height, width
            action = "boxes turned"
        quarantine.append(_record(finding, action, labels=int(counts[row])))
    columns = [pl.Series(name, corners[:, place], pl.Float32) for place, name in enumerate(BOX)]
    # Rows without a box have no numbers; a table says null for that.
    labels = labels.with_columns(column.fill_nan(None) for column in columns)
    return images.with_columns(
        pl.Series("width", sizes[:, 0], pl.Int32), pl.Series("height", sizes[:, 1], pl.Int32)
    ), labels


def turned_boxes(
    boxes: NDArray[Any], width: float, height: float, orientation: int
) -> NDArray[Any]:
    """Boxes of a stored picture in the frame after EXIF turning.

    Args:
        boxes: (N, 4) x1 y1 x2 y2 in pixels as stored.
        width, height: of the picture as stored.
        orientation: EXIF orientation 5 to 8, those that exchange the sides.
    """
    x1, y1, x2, y2 = boxes.T
    left, right = (y1, y2) if orientation in (5, 8) else (height - y2, height - y1)
    top, bottom = (x1, x2) if orientation in (5, 6) else (width - x2, width - x1)
    return np.stack([left, top, right, bottom], axis=1)


def _resize(report: Report, images: pl.DataFrame, quarantine: list[Record]) -> pl.DataFrame:
    if not report.resized:
        return images
    widths, heights = images["width"].to_list(), images["height"].to_list()
    for row, (width, height, finding) in sorted(report.resized.items()):
        widths[row], heights[row] = width, height
        quarantine.append(_record(finding, "size corrected"))
    return images.with_columns(
        pl.Series("width", widths, pl.Int32), pl.Series("height", heights, pl.Int32)
    )


def _join_copies(
    report: Report,
    labels: pl.DataFrame,
    left_out: dict[int, Finding],
    quarantine: list[Record],
) -> pl.DataFrame:
    """Give the labels of copies to the picture that is kept."""
    copies: dict[int, list[int]] = defaultdict(list)
    for row, (kept, _) in sorted(report.same.items()):
        copies[kept].append(row)
    counts = np.bincount(report.dataset.labels["image"].to_numpy(), minlength=len(report.dataset))
    goes_to: dict[int, int] = {}
    for first, rows in copies.items():
        usable = [row for row in [first, *rows] if row not in left_out]
        if len(usable) < 2:
            continue
        agree = _agree(report, usable)
        kept = usable[0]
        for row in usable if not agree else usable[1:]:
            finding = report.same[row if row in report.same else rows[0]][1]
            action = "picture left out"
            if agree:
                action += f", its labels joined with those of {report.names[kept]}"
                if report.dataset.task != "classify":
                    goes_to[row] = kept
            where = replace(finding, where=report.names[row])
            quarantine.append(_record(where, action, labels=int(counts[row])))
            left_out[row] = finding
    if not goes_to:
        return labels
    owner = np.arange(len(report.dataset), dtype=np.uint32)
    owner[list(goes_to)] = list(goes_to.values())
    return labels.with_columns(pl.Series("image", owner[labels["image"].to_numpy()]))


def _agree(report: Report, rows: list[int]) -> bool:
    """Whether copies have the same class, where each picture has one."""
    if report.dataset.task != "classify":
        return True
    return len({tuple(report.dataset.targets(row).class_ids.tolist()) for row in rows}) == 1


def _merge_names(
    labels: pl.DataFrame, names: list[str], quarantine: list[Record], source: str
) -> tuple[pl.DataFrame, list[str]]:
    """One class of those whose plain names are equal, called as most labels call it."""
    counts = Counter(labels["class_id"].to_list())
    alike: dict[str, list[int]] = defaultdict(list)
    for class_id, name in enumerate(names):
        alike[plain_name(name)].append(class_id)
    chosen = [max(same, key=lambda one: (counts[one], -one)) for same in alike.values()]
    place = {names[one]: number for number, one in enumerate(sorted(chosen))}
    target = np.zeros(len(names), np.int32)
    for same, one in zip(alike.values(), chosen, strict=True):
        target[same] = place[names[one]]
        for other in same:
            if other != one:
                message = f"{names[other]!r} is now called {names[one]!r}"
                finding = Finding("similar-class", message, source)
                quarantine.append(_record(finding, "class renamed", labels=counts[other]))
    moved = pl.Series("class_id", target[labels["class_id"].to_numpy()], pl.Int32)
    return labels.with_columns(moved), list(place)
