"""What each format holds in its own way, so that the tests of all formats can allow for it.

Every entry has its reason beside it. What is not here is expected to survive exactly: any
split or none, float32 boxes, any class name, pictures of any size with or without labels.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl

from data_samples import changed, rich
from whatwhere.data import Dataset
from whatwhere.data.formats import formats
from whatwhere.data.tables import BOX, FLAGS
from whatwhere.errors import WhatwhereError
from whatwhere.types import Task

Table = pl.DataFrame
Result = TypeVar("Result")


def _same(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Limits:
    """What a format needs, or cannot hold.

    Args:
        shape: (height, width) or (height, width, 3) that every picture must have.
        splits: the only names of splits that it knows; each picture needs one of them.
        all_or_none: either each picture has a split, or none has.
        class_name: the nearest name of a class that it can hold.
        labels: the nearest rows of labels that it can hold.
        images: the nearest rows of pictures that it can hold.
        stored: the pictures' places are the labels, so there are no labels without pictures.
        picture_names: whether the names of picture files are the same after a round trip.
        lists_pictures: whether anything but the picture tells that there was one.
        unlabelled: whether a picture without labels stays in the data set.
        lists_classes: whether a class without labels stays.
        class_order: whether the classes are in the order that they were in.
        plain_only: pictures can only be read with the pictures at hand, for their sizes.
        extra, image_extra: what its own columns may have, if not {"its name": {"note": ...}}.
        class_info, info: what it keeps of classes and of the whole, if not a supercategory
            and a description.
        tolerance: pixels that boxes may be off after a round trip; 0 is to the bit.
        says: kinds of findings of the writer that the sample cannot avoid.
    """

    shape: tuple[int, ...] | None = None
    splits: frozenset[str] | None = None
    all_or_none: bool = False
    class_name: Callable[[str], str] = _same
    labels: Callable[[Table], Table] = _same
    images: Callable[[Table], Table] = _same
    stored: bool = False
    picture_names: bool = True
    lists_pictures: bool = True
    unlabelled: bool = True
    lists_classes: bool = True
    class_order: bool = True
    plain_only: bool = False
    extra: str | pl.Expr | None = None
    image_extra: str | None = None
    class_info: dict[str, dict[str, Any]] | None = None
    info: dict[str, Any] | None = None
    tolerance: float = 0.0
    says: frozenset[str] = frozenset()


def _four_corners(rows: Table) -> Table:
    """With a rhombus for every label, if any of them has a segmentation."""
    if rows["segmentation"].null_count() == rows.height:
        return rows
    corners = []
    for x1, y1, x2, y2 in rows.select(BOX).rows():
        x, y = (x1 + x2) / 2, (y1 + y2) / 2
        corners.append(json.dumps([[x, y1, x2, y, x, y2, x1, y]]))
    return rows.with_columns(pl.Series("segmentation", corners))


def _numbered_frames(images: Table) -> Table:
    """Each frame has its number in its sequence, which is a group of a split."""
    number = pl.int_range(1, pl.len() + 1).over("split", "group").cast(pl.String)
    text = pl.concat_str(pl.lit('{"mot": {"frame": '), number, pl.lit("}}"))
    return images.with_columns(text.alias("extra"))


def _some_labelled(images: Table) -> Table:
    """All four classes labelled is the same as null."""
    some = pl.when(pl.col("labelled").list.len() < 4).then("labelled")
    return images.with_columns(some.alias("labelled"))


def _flags_of_boxes(rows: Table) -> Table:
    """Labels without boxes have no flags, and no score of 0, which says that nothing is there."""
    if rows["x1"].null_count() < rows.height:
        return rows
    rows = rows.with_columns(score=pl.when(pl.col("score") != 0).then("score"))
    flags = ("truncated", "occluded", "iscrowd")
    return rows.with_columns(pl.lit(None, pl.Boolean).alias(name) for name in flags)


_TRAIN_VAL_TEST = frozenset({"train", "val", "test"})


LIMITS: dict[str, Limits] = {
    "createml": Limits(
        # A record has its class's name and nothing lists the classes.
        lists_classes=False,
        class_order=False,
        extra='{"createml": {"note": "seen twice"}}',
        image_extra='{"createml": {"photographer": "nobody"}}',
    ),
    "csv_boxes": Limits(
        # Columns that nobody knows are kept as text.
        extra='{"csv_boxes": {"note": "seen twice"}}',
    ),
    "cvat": Limits(
        extra='{"cvat": {"z_order": 2, "group_id": 4}}',
        image_extra='{"cvat": {"task_id": "3"}}',
        # Declarations of attributes as CVAT has them, and names for the points of skeletons.
        class_info={
            "ant": {
                "color": "#c06060",
                "supercategory": "insect",
                "keypoints": ["head", "thorax", "tail"],
                "attributes": [
                    {
                        "name": "legs",
                        "mutable": True,
                        "input_type": "number",
                        "default_value": "6",
                        "values": ["0", "8", "1"],
                    }
                ],
            }
        },
    ),
    "datumaro": Limits(
        extra='{"datumaro": {"z_order": 3, "group": 5}}',
        image_extra='{"datumaro": {"frame": 4}}',
        class_info={"ant": {"parent": "insect", "attributes": ["legs"], "code": 3}},
        info={"author": "nobody", "datumaro": {"categories": {"points": {"items": []}}}},
    ),
    "geo": Limits(
        # The sample's pictures lie nowhere on Earth.
        says=frozenset({"not-georeferenced"}),
        extra='{"geo": {"inspector": "nobody"}}',
        image_extra='{"geo": {"flight": 4}}',
    ),
    "label_studio": Limits(
        extra='{"label_studio": {"meta": {"text": ["a note"]}}}',
        image_extra='{"label_studio": {"data": {"city": "Ulm"}}}',
    ),
    "labelme": Limits(
        extra='{"labelme": {"group_id": 4, "description": "a note"}}',
        image_extra='{"labelme": {"reviewer": "nobody"}}',
    ),
    "dota": Limits(
        # Every object has four corners, or every one is an upright box.
        labels=lambda rows: _four_corners(rows),
        # The development kit knows degrees of difficulty.
        extra=pl.when("difficult").then(pl.lit('{"dota": {"difficult": 2}}')),
        image_extra='{"dota": {"imagesource": "GoogleEarth", "gsd": 0.25}}',
    ),
    "kitti": Limits(
        # The angles and the object in space; unknown parts stand as KITTI's own markers.
        extra='{"kitti": {"alpha": -1.57, "dimensions": [1.5, 1.625, 4.0]}}',
        image_extra='{"kitti": {"calib": {"P0": [7.07, 0, 6.04], "note": "by hand"}}}',
    ),
    "coco": Limits(
        # Fields of COCO's own, and what other formats said, in words of theirs.
        extra='{"coco": {"utility": 0.5, "note": "\\"a\\": ü"}, "kitti": {"alpha": -1.57}}',
        image_extra='{"coco": {"license": 3, "date_captured": "2013-11-14"}, "voc": {"x": [1]}}',
        class_info={"ant": {"supercategory": "insect", "synonyms": ["emmet"]}},
        info={"info": {"year": 2017}, "licenses": [{"id": 3, "name": "none"}], "images": 6},
    ),
    "mot": Limits(
        # Pictures are called by the number of their frame.
        picture_names=False,
        images=_numbered_frames,
        extra='{"mot": {"visibility": 0.5}}',
        image_extra="{}",
    ),
    "open_images": Limits(
        # Boxes are fractions of a size that is nowhere but in the picture.
        plain_only=True,
        images=_some_labelled,
        labels=_flags_of_boxes,
        extra=pl.when(pl.col("source") == "verified").then(
            pl.lit('{"open_images": {"Source": "crowdsource-verification"}}')
        ),
        image_extra='{"open_images": {"Rotation": 90}}',
        class_info={"ant": {"mid": "/m/0_7k"}},
        info={"hierarchy": {"LabelName": "/m/0bl9f", "Subcategory": [{"LabelName": "/m/0_7k"}]}},
    ),
    "cityscapes": Limits(
        # Names of pictures end in _leftImg8bit.
        picture_names=False,
        extra='{"cityscapes": {"user": "nobody", "verified": 1}}',
        image_extra='{"cityscapes": {"sensor": {"fx": 2262.52}}}',
    ),
    "tfrecord": Limits(
        extra='{"kitti": {"alpha": -1.57}}',
        image_extra='{"coco": {"license": 3}}',
    ),
    "folders": Limits(
        # The folder is the class, and the pictures in it are all that there is.
        stored=True,
        lists_pictures=False,
        unlabelled=False,
        all_or_none=True,
        # ImageNet's numbering: folders in alphabetical order.
        class_order=False,
        lists_classes=False,
    ),
    "cifar": Limits(
        # Raw pixels and one byte a label.
        shape=(32, 32, 3),
        stored=True,
        unlabelled=False,
    ),
    "csv_labels": Limits(
        # A picture of a `classify` set has its label in its row, or has no row.
        unlabelled=False,
        image_extra='{"csv_labels": {"Sex": "F", "Age": "61"}, "coco": {"license": 3}}',
    ),
    "webdataset": Limits(
        # Pictures and labels are in the same shard, and the labels' JSON has any key.
        stored=True,
        unlabelled=False,
        extra='{"kitti": {"alpha": -1.57}}',
        image_extra='{"coco": {"license": 3}, "webdataset": {"url": "a \\"bee\\""}}',
    ),
    "hf_imagefolder": Limits(
        # A record has any key; a picture of a `classify` set needs its label.
        unlabelled=False,
        extra='{"kitti": {"alpha": -1.57}, "hf_imagefolder": {"id": 7}}',
        image_extra='{"coco": {"license": 3}, "hf_imagefolder": {"caption": "a \\"bee\\""}}',
    ),
    "mnist": Limits(
        # Raw grey pixels and one byte a label.
        shape=(28, 28),
        stored=True,
        unlabelled=False,
    ),
    "parquet": Limits(
        # Our own tables: whatever JSON is in them comes back.
        extra='{"kitti": {"alpha": -1.57, "where": [1, 2, 3]}}',
        image_extra='{"coco": {"license": 3, "date_captured": "2013-11-14"}}',
        class_info={"ant": {"supercategory": "insect", "synonyms": ["emmet"]}},
        info={"coco": {"licenses": [{"id": 3, "name": "none"}]}},
    ),
    "voc": Limits(
        # One flag in the file: the development kit's "difficult" is what it ignores.
        labels=lambda rows: rows.with_columns(difficult=pl.col("ignore")),
        class_order=True,
    ),
    "yolo": Limits(
        # data.yaml has these three keys.
        splits=_TRAIN_VAL_TEST,
        # A line has fractions of a size that is nowhere but in the picture.
        plain_only=True,
    ),
}


def limits(name: str) -> Limits:
    """What is known of the format; nothing for one that needs no allowance."""
    return LIMITS.get(name, Limits())


def columns_of(name: str) -> frozenset[str]:
    """Columns that survive, by their names in the two tables."""
    return formats()[name].HOLDS


def fitted(dataset: Dataset, name: str) -> Dataset:
    """The nearest data set that the format can hold exactly."""
    known = limits(name)
    images, labels = known.images(dataset.images), known.labels(dataset.labels)
    if known.splits is not None and "split" in columns_of(name):
        first, *_ = sorted(known.splits, key=["train", "val", "test"].index)
        kept = [one if one in known.splits else first for one in images["split"]]
        images = images.with_columns(pl.Series("split", kept, pl.String))
    if known.all_or_none and images["split"].null_count():
        images = images.with_columns(pl.lit(None, pl.String).alias("split"))
    new = {old: known.class_name(old) for old in dataset.names}
    assert len(set(new.values())) == len(new), "the sample's class names must stay different"
    for column in ("labelled", "complete"):
        values = [None if one is None else [new[old] for old in one] for one in images[column]]
        images = images.with_columns(pl.Series(column, values, pl.List(pl.String)))
    fit = Dataset(
        images,
        labels,
        list(new.values()),
        root=dataset.root,
        task=dataset.task,
        category_ids=dataset.category_ids,
        class_info={new[old]: info for old, info in dataset.class_info.items()},
        info=dataset.info,
    )
    if not known.unlabelled:
        fit = fit.select(np.unique(labels["image"].to_numpy()))
    if not known.lists_classes:
        fit = only_used_classes(fit)
    if not known.class_order:
        fit = with_names(fit, sorted(fit.names))
    return fit


def with_names(dataset: Dataset, names: Sequence[str]) -> Dataset:
    """The same labels, with the class names in this order; unused ones may be left out."""
    place = {old: names.index(name) for old, name in enumerate(dataset.names) if name in names}
    ids = pl.Series("class_id", [place[old] for old in dataset.labels["class_id"]], pl.Int32)
    numbers = dict(zip(dataset.names, dataset.category_ids, strict=False))
    return Dataset(
        dataset.images.with_columns(
            pl.col("labelled", "complete").list.eval(pl.element().filter(pl.element().is_in(names)))
        ),
        dataset.labels.with_columns(ids),
        list(names),
        root=dataset.root,
        task=dataset.task,
        category_ids=[numbers[name] for name in names] if numbers else (),
        class_info={name: one for name, one in dataset.class_info.items() if name in names},
        info=dataset.info,
    )


def only_used_classes(dataset: Dataset) -> Dataset:
    """Without classes that no label has."""
    used = set(dataset.labels["class_id"])
    return with_names(dataset, [name for place, name in enumerate(dataset.names) if place in used])


def sample(name: str, task: Task, folder: Path) -> Dataset:
    """A data set with all that the format holds, and no more."""
    known, columns = limits(name), columns_of(name)
    dataset = rich(task, folder, columns, known.shape)
    dataset = changed_images(dataset, name) if "image_extra" in columns else dataset
    if "extra" in columns:
        extra = json.dumps({name: {"note": "kept"}}) if known.extra is None else known.extra
        if isinstance(extra, str):
            extra = pl.when(pl.col("image") != 1).then(pl.lit(extra))
        dataset = changed(dataset, extra=extra)
    if "class_info" in columns:
        default = {dataset.names[0]: {"supercategory": "beetle"}}
        dataset.class_info = known.class_info or default
    if "info" in columns:
        dataset.info = known.info or {"description": "made for a test"}
    return fitted(dataset, name)


def changed_images(dataset: Dataset, name: str) -> Dataset:
    """With a value in the `extra` of every second picture."""
    text = limits(name).image_extra or json.dumps({name: {"note": "kept"}})
    row = pl.int_range(pl.len())
    extra = pl.when(row % 2 == 0).then(pl.lit(text)).alias("extra")
    images = dataset.images.with_columns(extra)
    return Dataset(images, dataset.labels, dataset.names, root=dataset.root, task=dataset.task)


_JSON = {"segmentation", "keypoints", "attributes", "extra"}
_LABEL = (*FLAGS, "area", "score", "source", "track", *sorted(_JSON))
_IMAGE = ("split", "group", "id", "labelled", "complete")


def facts(dataset: Dataset, columns: frozenset[str], *, names: bool = True) -> dict[str, Any]:
    """All that a data set says in these columns, whatever the order of pictures and classes.

    Args:
        dataset: what to describe.
        columns: as in HOLDS.
        names: with names of pictures; else pictures count by what is said of them.
    """
    images = dataset.images.to_dicts()
    labels: list[list[Any]] = [[] for _ in images]
    kept = [name for name in _LABEL if name in columns]
    ids, boxes = dataset.labels["class_id"], dataset.labels.select(BOX).rows()
    values = zip(*(dataset.labels[name].to_list() for name in kept), strict=True)
    rows: Any = values if kept else [()] * len(ids)
    for image, number, box, row in zip(dataset.labels["image"], ids, boxes, rows, strict=True):
        said = {name: _value(name, value) for name, value in zip(kept, row, strict=True)}
        labels[image].append((dataset.names[number], box, said))
    found = []
    for place, image in enumerate(images):
        key = Path(image["path"]).name if names else ""
        said = {name: _value(name, image[name]) for name in _IMAGE if name in columns}
        # As the columns are meant: null is all classes, and complete is as labelled.
        everything = sorted(dataset.names)
        if said.get("complete") == (sorted(image["labelled"] or everything)):
            said["complete"] = None
        if said.get("labelled") == everything:
            said["labelled"] = None
        if "image_extra" in columns:
            said["extra"] = _value("extra", image["extra"])
        found.append((key, said, sorted(labels[place], key=repr)))
    whole: dict[str, Any] = {"task": dataset.task, "images": sorted(found, key=repr)}
    whole["class_info"] = dataset.class_info if "class_info" in columns else None
    whole["info"] = dataset.info if "info" in columns else None
    return whole


def outcome(call: Callable[[], Result]) -> tuple[Result, None] | tuple[None, WhatwhereError]:
    """What the call gives, or the expected error that it ends with."""
    try:
        return call(), None
    except WhatwhereError as error:
        return None, error


def assert_same(
    after: Dataset, before: Dataset, columns: frozenset[str], name: str, tolerance: float = 0.0
) -> None:
    """Both say the same in these columns; else the message shows the first differences.

    Args:
        after, before: what to compare.
        columns: as in HOLDS.
        name: the format that it went through, perhaps one that renames pictures.
        tolerance: pixels that a coordinate may be off; 0 is to the bit.
    """
    names = limits(name).picture_names
    one, two = (facts(dataset, columns, names=names) for dataset in (after, before))
    if tolerance:
        one, two = _rounded(one, two, tolerance)
    if one == two:
        return
    found = [f"{key}: {one[key]} is not {two[key]}" for key in one if one[key] != two[key]]
    if one["images"] != two["images"] and len(one["images"]) == len(two["images"]):
        found = []
        for left, right in zip(one["images"], two["images"], strict=True):
            if left != right:
                found.append(f"after:  {left}\nbefore: {right}")
    raise AssertionError("\n".join(found[:3]))


def _rounded(one: Any, two: Any, tolerance: float) -> tuple[Any, Any]:
    """`one` with the boxes of `two` where all coordinates are that near."""
    for left, right in zip(one["images"], two["images"], strict=False):
        for place, (mine, other) in enumerate(zip(left[2], right[2], strict=False)):
            boxes = None not in mine[1] and None not in other[1]
            if boxes and np.abs(np.subtract(mine[1], other[1])).max() <= tolerance:
                left[2][place] = (mine[0], other[1], mine[2])
    return one, two


def _float32(text: str) -> float:
    return float(np.float32(text))


def _value(name: str, value: Any) -> Any:
    if name in FLAGS:
        return bool(value)
    if value is None:
        return None
    if name in ("segmentation", "keypoints"):
        # Coordinates as boxes have them.
        return json.loads(value, parse_float=_float32, parse_int=_float32)
    if name in _JSON:
        return json.loads(value)
    if name in ("labelled", "complete"):
        return sorted(value)
    return value
