"""A detection set as a set of pictures of one object each."""

from __future__ import annotations

from pathlib import PurePath

import numpy as np
import polars as pl
from numpy.typing import NDArray

from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import KEPT_OUT, Finding
from whatwhere.data.formats._files import probe_all
from whatwhere.data.tables import BOX
from whatwhere.errors import ImageError, UsageError
from whatwhere.images import Member, member

# Cuts of pictures that lost something already lose little more; others stay exact.
_LOSSY = {".jpg", ".jpeg", ".jpe", ".jfif"}


def as_crops(dataset: Dataset, margin: float = 0.0) -> Dataset:
    """See `Dataset.as_crops`."""
    if dataset.task != "detect":
        raise UsageError(f"crops need boxes, and this is a {dataset.task} data set")
    if not (np.isfinite(margin) and margin >= 0):
        raise UsageError(f"the margin is a share of the box's sides, at least 0, not {margin}")
    # Counted before anything is left out: names stay the same when other labels go.
    numbered = dataset.labels.with_columns(number=pl.int_range(1, pl.len() + 1).over("image"))
    labels = numbered.filter(pl.col("x1").is_not_null() & ~pl.col("ignore"))
    findings: list[Finding] = []
    left_out = dataset.labels.height - labels.height
    if left_out:
        message = f"{left_out} ignored labels or labels without a box give no crop"
        findings.append(Finding("no-crop", message, dataset.source, "info", KEPT_OUT, left_out))
    sizes, unreadable = _sizes(dataset, labels)
    findings += unreadable
    labels = labels.filter(pl.Series(sizes[labels["image"].to_numpy(), 0] > 0))
    of = labels["image"].to_numpy().astype(np.int64)
    box = np.stack([labels[name].to_numpy().astype(np.float64) for name in BOX], axis=1)
    grown = (box[:, 2:] - box[:, :2]) * margin
    low = np.floor(box[:, :2] - grown)
    high = np.ceil(box[:, 2:] + grown)
    frame = sizes[of].astype(np.float64)
    # At least one pixel, also of a box thinner than a pixel that lies on a pixel's edge.
    low = np.clip(low, 0, frame - 1).astype(np.int64)
    high = np.maximum(np.clip(high, 0, frame).astype(np.int64), low + 1)
    relative = dataset.relative_paths()
    group = dataset.images["group"].to_list()
    split = dataset.images["split"].to_list()
    names: dict[int, tuple[str, str]] = {}
    paths = []
    for row, count, start, end in zip(
        of.tolist(), labels["number"].to_list(), low.tolist(), high.tolist(), strict=True
    ):
        if row not in names:
            names[row] = _name(dataset.paths[row])
        stem, suffix = names[row]
        crop = (start[0], start[1], end[0], end[1])
        paths.append(str(Member(dataset.paths[row], 0, (), f"{stem}-{count}{suffix}", crop)))
    sides = high - low
    images = pl.DataFrame(
        {
            "path": pl.Series(paths, dtype=pl.String),
            "width": sides[:, 0],
            "height": sides[:, 1],
            "split": pl.Series([split[row] for row in of], dtype=pl.String),
            # Crops of one picture show the same scene: a split must not divide them.
            "group": pl.Series([group[row] or relative[row] for row in of], dtype=pl.String),
        }
    )
    kept = labels.select(
        pl.int_range(labels.height, dtype=pl.UInt32).alias("image"),
        *("class_id", "difficult", "truncated", "occluded", "score", "source", "track"),
        *("attributes", "record"),
    )
    return dataset._like(images, kept, task="classify", findings=findings)


def _name(picture: str) -> tuple[str, str]:
    """What the names of a picture's crops begin and end with."""
    inner = member(picture)
    name = PurePath(picture if inner is None else inner.name)
    return name.stem, ".jpg" if name.suffix.lower() in _LOSSY else ".png"


def _sizes(dataset: Dataset, labels: pl.DataFrame) -> tuple[NDArray[np.int64], list[Finding]]:
    """Width and height of each picture, (N, 2); 0 where a picture with boxes cannot be read."""
    sizes = np.stack(
        [dataset.images[name].fill_null(0).to_numpy() for name in ("width", "height")], axis=1
    ).astype(np.int64)
    needed = np.zeros(len(dataset), np.bool_)
    needed[labels["image"].to_numpy()] = True
    rows = np.flatnonzero(needed & (sizes <= 0).any(axis=1)).tolist()
    counts = np.bincount(labels["image"].to_numpy(), minlength=len(dataset))
    findings = []
    names = dataset.relative_paths() if rows else []
    for row, answer in zip(rows, probe_all([dataset.paths[row] for row in rows]), strict=True):
        if isinstance(answer, ImageError):
            where, lost = names[row], int(counts[row])
            findings.append(
                Finding("unreadable-image", str(answer), where, "error", KEPT_OUT, lost)
            )
            sizes[row] = 0
        else:
            sizes[row] = answer
    return sizes, findings
