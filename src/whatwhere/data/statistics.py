"""What a data set consists of, in numbers; a million boxes in about a second.

Plain Python values only, so that the result is JSON as it is. `outputs.data_page` and
`whatwhere data stats` show it.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from whatwhere.data.anchors import SIDE, find_anchors, fit, sample_sizes
from whatwhere.data.dataset import Dataset
from whatwhere.data.tables import BOX, FLAGS

SMALL, MEDIUM = 32.0**2, 96.0**2
"""COCO's limits: small below 32 x 32 square pixels, large from 96 x 96."""

HEAT = 24
"""Cells of the heat map of box centres, across and down."""

MOST_PAIRED = 100
"""Co-occurrence is counted for so many classes, those in most pictures."""

_QUANTILES = {"min": 0.0, "p5": 0.05, "median": 0.5, "p95": 0.95, "max": 1.0}
# Half octaves of width / height from 1:8 to 8:1; what is beyond is counted in the end bins.
_ASPECTS = 2.0 ** np.arange(-3, 3.01, 0.5)
_RELATIVE = np.linspace(0, 1, 21)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def statistics(dataset: Dataset) -> dict[str, Any]:
    """Everything that `data stats --json --full` prints.

    Box areas are the objects' own where the data set has them, and the box's elsewhere; sizes
    count as COCO's small, medium and large. Ignored labels are counted as the others are.

    Returns:
        The keys of `Dataset.stats` and: `task`, `format`, `source`, `kept_out`;
        `class_table`, a row a class; `by_split`, a row a split, the pictures of no split as
        None; `per_image`, `picture_sizes`, `box_sizes`, `aspect_ratios`, `relative_sizes`,
        `positions` (box centres in 24 x 24 cells, rows from the top), `co_occurrence`
        (pictures that show both classes), `flags`, `sources`, `groups`, `partly_labelled`
        (pictures in which perhaps not all classes were looked for), `findings`.
    """
    numbers = _Numbers(dataset)
    return {
        **dataset.stats(),
        "task": dataset.task,
        "format": dataset.format,
        "source": dataset.source,
        "kept_out": dataset.kept_out,
        "class_table": _class_table(dataset, numbers),
        "by_split": _by_split(dataset, numbers),
        "per_image": _per_image(numbers.per_image),
        "picture_sizes": _picture_sizes(dataset.images),
        "box_sizes": size_counts(numbers.area[numbers.boxed]),
        "aspect_ratios": _spread(numbers.aspect, _ASPECTS),
        "relative_sizes": _spread(numbers.relative, _RELATIVE),
        "positions": _positions(numbers.centres),
        "co_occurrence": _co_occurrence(dataset, numbers),
        "flags": {name: int(dataset.labels[name].fill_null(False).sum()) for name in FLAGS},
        "sources": _counts(dataset.labels["source"]),
        "groups": _groups(dataset.images["group"]),
        "partly_labelled": dataset.images.filter(
            pl.col("labelled").is_not_null() | pl.col("complete").is_not_null()
        ).height,
        "findings": dict(Counter(one.kind for one in dataset.findings).most_common()),
    }


class _Numbers:
    """The columns as arrays, each computed once.

    Of pictures: per_image, split; of pairs of picture and class: shown. Of labels: image,
    class_id, ignore, area (square pixels, NaN without a box), boxed. Of boxes: box_split,
    aspect (width / height), sized (the picture's size is known); and of those: relative (root
    of the share of the picture), centres (in 0..1), sizes (at a long side of 640 pixels),
    sized_split.
    """

    def __init__(self, dataset: Dataset) -> None:
        labels, images = dataset.labels, dataset.images
        self.image = labels["image"].to_numpy().astype(np.int64)
        self.class_id = labels["class_id"].to_numpy().astype(np.int64)
        self.ignore = labels["ignore"].to_numpy().astype(np.bool_)
        self.split_names: list[str | None] = [*dataset.splits]
        codes = {name: place for place, name in enumerate(self.split_names)}
        if images["split"].null_count():
            self.split_names.append(None)
        split = images["split"].replace_strict(codes, default=len(codes), return_dtype=pl.Int64)
        self.split = split.to_numpy()
        # Pairs of picture and class, each once: picture * number of classes + class.
        self.shown: Ints = np.unique(self.image * len(dataset.names) + self.class_id)
        self.per_image: Ints = np.bincount(self.image, minlength=len(dataset))
        box = np.stack([labels[name].to_numpy().astype(np.float64) for name in BOX], axis=1)
        self.boxed = ~np.isnan(box).any(axis=1) if len(box) else np.zeros(0, np.bool_)
        sides = np.maximum(box[:, 2:] - box[:, :2], 0)
        own = labels["area"].to_numpy().astype(np.float64)
        self.area: Floats = np.where(np.isnan(own), sides.prod(axis=1), own)
        at = self.image[self.boxed]
        sides, box = sides[self.boxed], box[self.boxed]
        self.box_split = self.split[at]
        self.aspect: Floats = sides[:, 0] / np.maximum(sides[:, 1], 1e-9)
        frame = np.stack(
            [images[name].to_numpy().astype(np.float64)[at] for name in ("width", "height")], axis=1
        )
        self.sized = (frame > 0).all(axis=1)
        sides, box, frame = sides[self.sized], box[self.sized], frame[self.sized]
        self.relative: Floats = np.sqrt((sides / frame).prod(axis=1))
        self.centres: Floats = (box[:, :2] + box[:, 2:]) / 2 / frame
        self.sizes: Floats = sides * (SIDE / frame.max(axis=1, keepdims=True))
        self.sized_split = self.box_split[self.sized]


def _class_table(dataset: Dataset, numbers: _Numbers) -> list[dict[str, Any]]:
    count = len(dataset.names)
    splits = len(numbers.split_names)
    shown = numbers.shown
    images = np.bincount(shown % count, minlength=count) if count else np.zeros(0, np.int64)
    labels = np.bincount(numbers.class_id, minlength=count)
    ignored = np.bincount(numbers.class_id[numbers.ignore], minlength=count)
    boxed = numbers.class_id[numbers.boxed]
    boxes = np.bincount(boxed, minlength=count)
    sizes = _size_bin(numbers.area[numbers.boxed])
    by_size = np.bincount(boxed * 3 + sizes, minlength=3 * count).reshape(count, 3)
    where = numbers.class_id * splits + numbers.split[numbers.image]
    by_split = np.bincount(where, minlength=splits * count).reshape(count, splits)
    # A picture counts once for a class, in the split that it belongs to.
    place = (shown % count) * splits + numbers.split[shown // count] if count else shown
    image_split = np.bincount(place, minlength=splits * count).reshape(count, splits)
    rows = []
    for number, name in enumerate(dataset.names):
        row: dict[str, Any] = {
            "name": name,
            "images": int(images[number]),
            "labels": int(labels[number]),
            "boxes": int(boxes[number]),
            "ignored": int(ignored[number]),
        }
        for key, counts in (("splits", by_split), ("images_by_split", image_split)):
            row[key] = {
                split: int(counts[number, column])
                for column, split in enumerate(numbers.split_names)
                if split is not None
            }
        row["sizes"] = dict(
            zip(("small", "medium", "large"), map(int, by_size[number]), strict=True)
        )
        rows.append(row)
    return rows


def _by_split(dataset: Dataset, numbers: _Numbers) -> list[dict[str, Any]]:
    """Each split, and how far its classes and box sizes are from those of the first."""
    rows: list[dict[str, Any]] = []
    classes = len(dataset.names)
    label_split = numbers.split[numbers.image]
    reference: tuple[Floats, Floats, Floats] | None = None
    for place, name in enumerate(numbers.split_names):
        per_image = numbers.per_image[numbers.split == place]
        inside = label_split == place
        sizes = sample_sizes(numbers.sizes[numbers.sized_split == place])
        anchors = find_anchors(sizes)
        counts = np.bincount(numbers.class_id[inside], minlength=classes).astype(np.float64)
        relative = np.sort(numbers.relative[numbers.sized_split == place])
        row: dict[str, Any] = {
            "split": name,
            "images": len(per_image),
            "labels": int(inside.sum()),
            "boxes": int((numbers.box_split == place).sum()),
            "classes": int((counts > 0).sum()),
            "empty": int((per_image == 0).sum()),
            "per_image": float(per_image.mean()) if per_image.size else None,
            "box_sizes": size_counts(numbers.area[numbers.boxed & inside]),
            "anchors": [[round(float(side), 1) for side in anchor] for anchor in anchors],
            "anchor_fit": fit(sizes, anchors),
        }
        if reference is None:
            reference = (counts, relative, anchors)
            row["drift"] = None
        else:
            row["drift"] = {
                "from": rows[0]["split"],
                "classes": _variation(reference[0], counts),
                "box_sizes": _largest_gap(reference[1], relative),
                "anchor_fit": fit(sizes, reference[2]),
            }
        rows.append(row)
    return rows


def _variation(one: Floats, two: Floats) -> float | None:
    """Total variation distance of two distributions given as counts, 0..1."""
    if not one.sum() or not two.sum():
        return None
    return float(np.abs(one / one.sum() - two / two.sum()).sum() / 2)


def _largest_gap(one: Floats, two: Floats) -> float | None:
    """Kolmogorov-Smirnov statistic of two sorted samples, 0..1."""
    if not one.size or not two.size:
        return None
    both = np.concatenate([one, two])
    first = np.searchsorted(one, both, side="right") / one.size
    second = np.searchsorted(two, both, side="right") / two.size
    return float(np.abs(first - second).max())


def _per_image(counts: Ints) -> dict[str, Any]:
    """Labels of a picture: quantiles, and how many pictures have 0, 1, 2 ... of them."""
    top = int(counts.max()) if counts.size else 0
    # Whole numbers, at most 40 bins.
    step = max(1, -(-(top + 1) // 40))
    edges = np.arange(0, top + step + 1, step)
    bins = np.bincount(counts // step, minlength=len(edges) - 1) if counts.size else np.zeros(1)
    return {
        **_quantiles(counts.astype(np.float64)),
        "mean": float(counts.mean()) if counts.size else None,
        "empty": int((counts == 0).sum()),
        "edges": edges.tolist(),
        "counts": bins[: len(edges) - 1].astype(int).tolist(),
    }


def _picture_sizes(images: pl.DataFrame) -> dict[str, Any]:
    known = images.select("width", "height").drop_nulls()
    width, height = (known[name].to_numpy().astype(np.float64) for name in ("width", "height"))
    common = known.group_by("width", "height").len().sort("len", "width", "height", descending=True)
    return {
        "unknown": images.height - known.height,
        "different": common.height,
        "width": _quantiles(width),
        "height": _quantiles(height),
        "megapixels": _quantiles(width * height / 1e6),
        "landscape": int((width > height).sum()),
        "portrait": int((width < height).sum()),
        "square": int((width == height).sum()),
        "common": [list(row) for row in common.head(60).iter_rows()],
    }


def _size_bin(area: Floats) -> Ints:
    return (area >= SMALL).astype(np.int64) + (area >= MEDIUM)


def size_counts(area: Floats) -> dict[str, int]:
    """How many of the areas, in square pixels, are COCO's small, medium and large."""
    counts = np.bincount(_size_bin(area), minlength=3)
    return dict(zip(("small", "medium", "large"), map(int, counts), strict=True))


def _spread(values: Floats, edges: Floats) -> dict[str, Any]:
    """Quantiles and a histogram; values beyond the edges are in the end bins."""
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
    return {
        **_quantiles(values),
        "edges": [round(float(edge), 4) for edge in edges],
        "counts": counts.tolist(),
    }


def _quantiles(values: Floats) -> dict[str, float | None]:
    if not values.size:
        return dict.fromkeys(_QUANTILES)
    found = np.quantile(values, list(_QUANTILES.values()))
    return {name: round(float(value), 4) for name, value in zip(_QUANTILES, found, strict=True)}


def _positions(centres: Floats) -> list[list[int]]:
    """Box centres counted in cells of the picture: HEAT rows of HEAT, from the top left."""
    cells = np.clip((centres * HEAT).astype(np.int64), 0, HEAT - 1)
    counts = np.bincount(cells[:, 1] * HEAT + cells[:, 0], minlength=HEAT * HEAT)
    grid: list[list[int]] = counts.reshape(HEAT, HEAT).tolist()
    return grid


def _co_occurrence(dataset: Dataset, numbers: _Numbers) -> dict[str, Any]:
    """In how many pictures two classes are together; the diagonal is in how many each is."""
    count = len(dataset.names)
    if not count:
        return {"names": [], "counts": [], "left_out": 0}
    shown = numbers.shown
    images = np.bincount(shown % count, minlength=count)
    order = np.argsort(-images, kind="stable")[:MOST_PAIRED]
    chosen = np.sort(order[images[order] > 0])
    column = np.full(count, -1)
    column[chosen] = np.arange(chosen.size)
    row, col = shown // count, column[shown % count]
    row, col = row[col >= 0], col[col >= 0]
    together = np.zeros((chosen.size, chosen.size))
    # By blocks of pictures: bounded memory, and the product is one call of BLAS.
    block = 1 << 16
    for start in range(0, len(dataset), block):
        first, last = np.searchsorted(row, [start, start + block])
        present = np.zeros((min(block, len(dataset) - start), chosen.size), np.float32)
        present[row[first:last] - start, col[first:last]] = 1
        together += present.T @ present
    return {
        "names": [dataset.names[int(number)] for number in chosen],
        "counts": together.astype(np.int64).tolist(),
        "left_out": int((images > 0).sum()) - chosen.size,
    }


def _counts(values: pl.Series) -> dict[str, int]:
    found = values.drop_nulls().value_counts(sort=True, name="n")
    return dict(found.iter_rows())


def _groups(values: pl.Series) -> dict[str, Any]:
    sizes = values.drop_nulls().value_counts(sort=True, name="n")
    return {
        "count": sizes.height,
        "images": values.len() - values.null_count(),
        "largest": [list(row) for row in sizes.head(10).iter_rows()],
    }
