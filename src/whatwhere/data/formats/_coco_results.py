"""COCO results, such as a model's: labels that refer to pictures and classes of another file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from whatwhere.data.dataset import Dataset
from whatwhere.data.formats._coco_read import Reader
from whatwhere.data.formats._coco_tables import RESULTS, load, load_results
from whatwhere.data.formats._files import entries, is_picture, relative
from whatwhere.data.tables import IMAGE_COLUMNS, table
from whatwhere.errors import DataError


def read_results(path: Path, root: Path, truths: Sequence[Path], images: Path | None) -> Dataset:
    """The results as labels of a model, on the pictures of the ground truth beside them.

    Args:
        path: the file of results.
        root: folder of the data set.
        truths: files of ground truth that may be the right one.
        images: folder of the pictures; without ground truth, the number in a picture's name
            is taken for its id, as in COCO's own names.

    Raises:
        DataError: the pictures that the results speak of are not known.
    """
    where = relative(path, root)
    frame, findings = load_results(path, where)
    wanted = set(frame["image_id"].drop_nulls())
    known = {file: len(wanted & set(load(file, file.name).images["id"])) for file in truths}
    fitting = [file for file, count in known.items() if count == max(known.values()) and count]
    if len(fitting) > 1:
        names = ", ".join(file.name for file in fitting)
        raise DataError(f"{path} may be results on any of {names}: keep one of them beside it")
    reader = Reader(root, images)
    if fitting:
        reader.add(fitting[0], None)
        # What the ground truth says of labels is not asked for.
        reader.findings = [one for one in reader.findings if "#annotations" not in one.where]
        reader.findings = [one for one in reader.findings if not one.boxes]
    else:
        if images is None:
            raise DataError(
                f"{path} is a list of COCO results, which names neither pictures nor classes:"
                " put the ground truth file beside it, or name the folder of the pictures"
            )
        _by_number(reader, path, images, frame)
    reader.findings += findings
    reader.labels = [reader.resolve(frame, where, RESULTS)]
    dataset = reader.dataset()
    model = pl.col("source").fill_null("model")
    dataset.labels = dataset.labels.with_columns(model)
    return dataset


def _by_number(reader: Reader, path: Path, images: Path, frame: pl.DataFrame) -> None:
    """Pictures by the number in their names, and classes by their ids."""
    numbers: dict[int, str] = {}
    for entry in entries(images):
        last = re.search(r"(\d{1,18})$", Path(entry.name).stem)
        if is_picture(entry.name) and last:
            numbers.setdefault(int(last[1]), entry.path)
    wanted = sorted(set(frame["image_id"].drop_nulls()) & numbers.keys())
    if not wanted:
        raise DataError(
            f"{path} is a list of COCO results on other pictures than those in {images}:"
            " put the ground truth file beside it"
        )
    rows = {"path": [numbers[one] for one in wanted], "id": wanted}
    reader.images = [table(rows, IMAGE_COLUMNS)]
    reader.rows = pl.DataFrame(
        {"image_id": wanted, "image": range(len(wanted))},
        schema={"image_id": pl.Int64, "image": pl.UInt32},
    )
    ids = sorted(set(frame["category_id"].drop_nulls()))
    reader.classes = {one: f"class {one}" for one in ids}
    reader.names = {name: one for one, name in reader.classes.items()}
    message = "the results do not name their classes, which are called by their numbers"
    reader.find("unnamed-class", message, relative(path, reader.root), "warning", "kept")
