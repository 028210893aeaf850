"""The classes above a class in the hierarchy of Open Images."""

from __future__ import annotations

from typing import Any

import polars as pl

from whatwhere.data.dataset import Dataset
from whatwhere.errors import UsageError

# Deeper trees are made to waste memory; the original has five levels.
_DEEPEST = 50


def ancestors(tree: Any) -> dict[str, set[str]]:
    """All MIDs above each MID; a class may stand under several.

    Args:
        tree: {"LabelName": mid, "Subcategory": [tree, ...]} as in the original file. Parts
            ("Part") are no kinds of the whole, so nothing follows from them.
    """
    found: dict[str, set[str]] = {}
    stack: list[tuple[Any, tuple[str, ...]]] = [(tree, ())]
    while stack:
        node, above = stack.pop()
        if not isinstance(node, dict) or not isinstance(node.get("LabelName"), str):
            continue
        name = node["LabelName"]
        found.setdefault(name, set()).update(above)
        below = node.get("Subcategory")
        if isinstance(below, list) and len(above) < _DEEPEST:
            stack += [(one, (*above, name)) for one in below]
    return found


def with_ancestors(dataset: Dataset) -> Dataset:
    """Each label again for every class above its own, as the challenge expands boxes.

    Source: the evaluation protocol of the Open Images Challenge. Classes above that the data
    set does not have, such as the root "Entity", are passed over. A label that is there for
    another reason, same class and box, is not added twice.

    Raises:
        UsageError: the data set has no hierarchy, or its classes have no MIDs.
    """
    tree = dataset.info.get("hierarchy")
    mids = {name: info.get("mid") for name, info in dataset.class_info.items()}
    numbers = {mids.get(name): place for place, name in enumerate(dataset.names)}
    if tree is None or set(numbers) == {None}:
        raise UsageError(
            f"{dataset.source or 'the data set'} has no hierarchy of classes with MIDs: read Open"
            " Images with its hierarchy and class descriptions"
        )
    pairs = [
        (place, numbers[above])
        for mid, place in numbers.items()
        if mid is not None
        for above in sorted(ancestors(tree).get(mid, ()))
        if above in numbers and above != mid
    ]
    table = pl.DataFrame(pairs, schema=["class_id", "above"], orient="row").cast(
        {"class_id": pl.Int32, "above": pl.Int32}
    )
    labels = dataset.labels
    more = labels.join(table, on="class_id", how="inner", maintain_order="left")
    names = pl.Series(list(dataset.names))
    more = more.with_columns(
        pl.col("above").alias("class_id"),
        pl.concat_str(
            "record", pl.lit("^"), pl.Series("name", names.gather(more["above"])), separator=""
        ).alias("record"),
    ).select(labels.columns)
    both = pl.concat([labels, more]).unique(
        ["image", "class_id", "x1", "y1", "x2", "y2"], keep="first", maintain_order=True
    )
    return Dataset(
        dataset.images,
        both,
        dataset.names,
        source=dataset.source,
        root=dataset.root,
        format=dataset.format,
        recognised=dataset.recognised,
        task=dataset.task,
        class_info=dataset.class_info,
        info=dataset.info,
    )
