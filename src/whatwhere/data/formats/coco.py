"""COCO object instances: annotations/instances_<split>.json and folders of pictures.

Source: the COCO data format, https://cocodataset.org/#format-data. Boxes are x, y, width,
height, continuous from 0. Crowds (`iscrowd`) and records with `ignore` are ignored in
scoring. Category ids need not follow one another; classes stand in the order of their ids.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import polars as pl

from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import KEPT_OUT, Finding
from whatwhere.data.formats._coco_json import load
from whatwhere.data.formats._coco_write import write
from whatwhere.data.formats._files import (
    add_sizes,
    entries,
    inside,
    is_picture,
    relative,
    split_name,
)
from whatwhere.data.tables import IMAGE_COLUMNS, LABEL_COLUMNS, table, tidy_boxes
from whatwhere.errors import DataError
from whatwhere.types import Labels, Task

__all__ = ["HOLDS", "LOOKS_FOR", "NAME", "TASKS", "TITLE", "read", "recognise", "write"]

NAME = "coco"
TITLE = "COCO"
TASKS: frozenset[Task] = frozenset({"detect"})
HOLDS = frozenset({"split", "id", "labelled", "complete", "ignore", "iscrowd", "area", "score"})
LOOKS_FOR = "annotations/instances_*.json, or one JSON file with images and annotations"


def _is_instances(path: Path) -> bool:
    """Whether a JSON file speaks of images, annotations and boxes near its start or end."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        text = file.read(1 << 16)
        # COCO 2017 has the annotations last, other writers first.
        file.seek(max(0, size - (1 << 16)))
        text += file.read()
    if text.lstrip()[:1] != b"{" or (b'"caption"' in text and b'"bbox"' not in text):
        return False
    # One key is enough: a damaged file is to be named as such, not passed over.
    # Datumaro's items have annotations, too.
    return b'"images"' in text or (b'"annotations"' in text and b'"items"' not in text)


def _files(path: Path) -> list[Path]:
    """The annotation files of a data set."""
    if path.is_file():
        return [path] if path.suffix.lower() == ".json" else []
    inner = [Path(entry.path) for entry in entries(path / "annotations") if _is_json(entry.name)]
    instances = [file for file in inner if file.name.startswith("instances")]
    here = [Path(entry.path) for entry in entries(path) if _is_json(entry.name)]
    below = [Path(entry.path, "_annotations.coco.json") for entry in entries(path)]
    for found in (instances, inner, here, [file for file in below if file.is_file()]):
        files = [file for file in found if _is_instances(file)]
        if files:
            return files
    return []


def _is_json(name: str) -> bool:
    return name.lower().endswith(".json")


def _split_of(file: Path) -> str | None:
    """The split in a file name, "train" in instances_train2017.json; or in its folder's."""
    if file.name == "_annotations.coco.json":
        return split_name(file.parent.name)
    words = re.split(r"[_\-.]", file.stem)
    return next((name for word in reversed(words) if (name := split_name(word))), None)


def recognise(path: Path) -> str | None:
    """See `formats`."""
    files = _files(path)
    if not files or (path.is_file() and not _is_instances(path)):
        return None
    return ", ".join(relative(file, path.parent) for file in files)


def read(path: Path, images: Path | None = None) -> Dataset:
    """See `formats`; `path` may be the JSON file, too."""
    files = _files(path)
    if not files:
        raise DataError(f"{path} is not a COCO data set: looked for {LOOKS_FOR}")
    splits = [_split_of(file) for file in files]
    if len(set(splits)) < len(files):
        names = ", ".join(relative(file, path) for file in files)
        raise DataError(
            f"{path} has {len(files)} annotation files of one split: give one of {names}"
        )
    root = path
    if path.is_file():
        root = path.parent.parent if path.parent.name == "annotations" else path.parent
    reader = _Reader(root)
    for file, split in zip(files, splits, strict=True):
        reader.add(file, split)
    return reader.dataset()


class _Reader:
    """Gathers the tables of one or more annotation files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.findings: list[Finding] = []
        self.images: list[pl.DataFrame] = []
        self.labels: list[pl.DataFrame] = []
        self.names: dict[str, int] = {}
        self.missing: set[str] = set()
        self.listed: dict[Path, set[str]] = {}
        self.count = 0

    def find(self, *args: Any) -> None:
        self.findings.append(Finding(*args))

    def add(self, file: Path, split: str | None) -> None:
        where = relative(file, self.root)
        tables = load(file, where)
        self.findings += tables.findings
        classes = self._classes(tables.categories, where)
        images = self._places(self._unique(tables.images, where), file, split, where)
        rows = images.select(
            pl.col("id").alias("image_id"),
            pl.int_range(pl.len()).alias("image") + self.count,
        )
        self.labels.append(self._annotations(tables.annotations, rows, classes, where))
        images = images.with_columns(pl.lit(split, pl.String).alias("split"))
        self.images.append(table(self._partial(images), IMAGE_COLUMNS))
        self.count += images.height

    def _classes(self, categories: pl.DataFrame, where: str) -> dict[int, str]:
        """Class name of each category id."""
        found: dict[int, str] = {}
        for position, number, name in categories.sort("id").iter_rows():
            place = f"{where}#categories[{position}]"
            name = (name or "").strip() or f"class {number}"
            if number is None:
                self.find("bad-record", f"category {name!r} has no id", place, "error", KEPT_OUT)
                continue
            if number in found:
                message = f"category {number} is {found[number]!r} and {name!r}; the first counts"
                self.find("duplicate-class", message, place, "error", KEPT_OUT)
                continue
            if name in found.values():
                message = f"two categories are called {name!r}; they are read as one class"
                self.find("duplicate-class", message, place, "warning", "merged")
            elif self.names.get(name, number) != number:
                message = f"class {name!r} is category {number} here, {self.names[name]} elsewhere"
                self.find("contradicting-ids", message, place, "warning", "matched by name")
            found[number] = name
            self.names.setdefault(name, number)
        return found

    def _unique(self, images: pl.DataFrame, where: str) -> pl.DataFrame:
        """The records that have an id of their own and a file name."""
        bad = images.filter(pl.col("id").is_null() | pl.col("file_name").is_null())
        for position in bad["position"]:
            place = f"{where}#images[{position}]"
            self.find("bad-record", "the image has no id or file_name", place, "error", KEPT_OUT)
        images = images.filter(pl.col("id").is_not_null() & pl.col("file_name").is_not_null())
        twice = images.filter(~pl.col("id").is_first_distinct())
        for position, number in twice.select("position", "id").iter_rows():
            place, message = f"{where}#images[{position}]", f"image id {number} was used before"
            self.find("duplicate-id", message, place, "error", KEPT_OUT)
        images = images.filter(pl.col("id").is_first_distinct())
        again = images.filter(~pl.col("file_name").is_first_distinct())
        for position, name in again.select("position", "file_name").iter_rows():
            place, message = f"{where}#images[{position}]", f"{name} is listed twice"
            self.find("duplicate-entry", message, place, "warning")
        return images

    def _places(
        self, images: pl.DataFrame, file: Path, split: str | None, where: str
    ) -> pl.DataFrame:
        """Add `path`, looking where COCO, CVAT and Roboflow put pictures."""
        token = re.sub(r"^instances_?", "", file.stem)
        bases = [file.parent, file.parent / "images", self.root / "images", self.root]
        for name in (token, split):
            if name:
                bases += [self.root / "images" / name, self.root / name]
        bases = [base for base in dict.fromkeys(bases) if base.is_dir()]
        listed = {base: {entry.name for entry in entries(base)} for base in bases}
        paths: list[str | None] = []
        missing: list[tuple[int, str]] = []
        self.listed |= listed
        for position, name in images.select("position", "file_name").iter_rows():
            place = self._place(name, bases, listed)
            if place is None:
                self.find(
                    "path-outside",
                    f"file_name {name!r} leaves the data set's folder",
                    f"{where}#images[{position}]",
                    "error",
                    KEPT_OUT,
                )
            elif not place[1]:
                missing.append((position, name))
                self.missing.add(relative(place[0], self.root))
            paths.append(str(place[0]) if place else None)
        places = ", ".join(relative(base, self.root.parent) for base in bases)
        if missing and len(missing) == images.height:
            message = f"none of {len(missing)} pictures is on disk; looked in {places}"
            self.find("missing-image", message, where, "error")
        else:
            for position, name in missing:
                message = f"{name} is not on disk; looked in {places}"
                self.find("missing-image", message, f"{where}#images[{position}]", "error")
        return images.with_columns(pl.Series("path", paths, pl.String)).filter(
            pl.col("path").is_not_null()
        )

    def _place(
        self, name: str, bases: list[Path], listed: dict[Path, set[str]]
    ) -> tuple[Path, bool] | None:
        """Where a picture lies, or would lie, and whether it does; None if outside."""
        if "/" not in name and "\\" not in name and name not in ("", ".", ".."):
            for base in bases:
                if name in listed[base]:
                    return base / name, True
            return bases[0] / name, False
        inner = [place for base in bases if (place := self._inside(base, name))]
        found = next((place for place in inner if place.is_file()), None)
        if found:
            return found, True
        return (inner[0], False) if inner else None

    def _inside(self, base: Path, name: str) -> Path | None:
        start = base.relative_to(self.root).as_posix()
        absolute = re.match(r"/|\\|[A-Za-z]:", name) or not name.strip("./\\")
        return None if absolute else inside(self.root, f"{start}/{name}")

    def _partial(self, images: pl.DataFrame) -> pl.DataFrame:
        """`labelled_classes` and `complete_classes`, an addition for partly labelled pictures.

        The first is a text such as "dog,cat" or "person(main)"; "all" means all classes.
        """
        names = set(self.names)
        labelled: list[list[str] | None] = []
        for text in images["labelled_classes"]:
            words = [re.sub(r"\(.*\)$", "", word).strip() for word in (text or "all").split(",")]
            everything = any(re.fullmatch(r"all\d*", word) for word in words)
            labelled.append(None if everything else [word for word in words if word in names])
        return images.with_columns(
            pl.Series("labelled", labelled, pl.List(pl.String)),
            pl.col("complete_classes").alias("complete"),
        )

    def _annotations(
        self, frame: pl.DataFrame, rows: pl.DataFrame, classes: dict[int, str], where: str
    ) -> pl.DataFrame:
        known = pl.DataFrame(
            {"category_id": list(classes), "name": list(classes.values())},
            schema={"category_id": pl.Int64, "name": pl.String},
        )
        frame = frame.with_columns(
            (
                pl.lit(f"{where}#")
                + pl.coalesce(
                    pl.col("id").cast(pl.String),
                    pl.format("annotations[{}]", pl.col("position")),
                )
            ).alias("record")
        )
        frame = frame.join(rows, on="image_id", how="left", maintain_order="left")
        frame = frame.join(known, on="category_id", how="left", maintain_order="left")
        frame = frame.with_columns(
            pl.when(pl.col("image").is_null())
            .then(pl.lit("unknown-image"))
            .when(pl.col("name").is_null())
            .then(pl.lit("unknown-class"))
            .when(pl.col("bbox").is_null() | (pl.col("bbox").list.len() != 4))
            .then(pl.lit("bad-box"))
            .otherwise(None)
            .alias("fault")
        )
        messages = {
            "unknown-image": "image_id {image_id} is not among the images that were read",
            "unknown-class": "category_id {category_id} is not among the categories",
            "bad-box": "bbox is {bbox}, not four numbers",
        }
        faulty = frame.filter(pl.col("fault").is_not_null())
        for row in faulty.iter_rows(named=True):
            message = messages[row["fault"]].format(**row)
            self.find(row["fault"], message, row["record"], "error", KEPT_OUT, 1)
        frame = frame.filter(pl.col("fault").is_null())
        again = frame.filter(pl.col("id").is_not_null() & ~pl.col("id").is_first_distinct())
        for record in again["record"]:
            self.find("duplicate-id", "the annotation id was used before", record, "warning")
        x, y, width, height = (pl.col("bbox").list.get(i, null_on_oob=True) for i in range(4))
        crowd = pl.col("iscrowd").fill_null(0) != 0
        return frame.select(
            "image",
            "name",
            x.alias("x1"),
            y.alias("y1"),
            (x + width).alias("x2"),
            (y + height).alias("y2"),
            (crowd | (pl.col("ignore").fill_null(0) != 0)).alias("ignore"),
            crowd.alias("iscrowd"),
            "area",
            "score",
            pl.when(pl.col("score").is_not_null()).then(pl.lit("model")).alias("source"),
            "record",
        )

    def _unlisted(self, paths: set[str]) -> None:
        """Pictures beside those that were read, of which no annotation file speaks."""
        for base, names in self.listed.items():
            more = [name for name in names if is_picture(name) and str(base / name) not in paths]
            if more:
                message = f"no annotation file lists {len(more)} pictures here, such as {min(more)}"
                where = relative(base, self.root)
                self.find("unlisted-image", message, where, "info", KEPT_OUT)

    def dataset(self) -> Dataset:
        names = sorted(self.names, key=lambda name: (self.names[name], name))
        order = {name: number for number, name in enumerate(names)}
        images, unreadable = add_sizes(pl.concat(self.images), self.root)
        # A picture that is not on disk has been reported already.
        self.findings += [one for one in unreadable if one.where not in self.missing]
        twice = images.filter(~pl.col("path").is_first_distinct())
        for path, split in twice.select("path", "split").iter_rows():
            message = f"the picture is listed in {split!r} and before"
            self.find("two-splits", message, relative(Path(path), self.root), "error")
        self._unlisted(set(images["path"]))
        labels, faults = tidy_boxes(pl.concat(self.labels), images)
        self.findings += faults
        ids = labels["name"].replace_strict(order, default=None, return_dtype=pl.Int32)
        return Dataset(
            images,
            table(labels.with_columns(ids.alias("class_id")), LABEL_COLUMNS),
            Labels(names),
            findings=self.findings,
            root=str(self.root),
            task="detect",
            category_ids=[self.names[name] for name in names],
        )
