"""The two tables of a data set out of COCO files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import polars as pl

from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import KEPT_OUT, Finding
from whatwhere.data.formats._coco_places import Places
from whatwhere.data.formats._coco_tables import Category, Tables, load
from whatwhere.data.formats._files import add_sizes, is_picture, relative
from whatwhere.data.tables import IMAGE_COLUMNS, LABEL_COLUMNS, table, tidy_boxes
from whatwhere.types import Labels

_AS_WRITTEN = (
    *("difficult", "truncated", "occluded", "track", "segmentation", "keypoints", "attributes"),
    "extra",
)


class Reader:
    """Gathers the tables of one or more annotation files.

    Args:
        root: the data set's folder.
        images: where the pictures are, if the user said so.
    """

    def __init__(self, root: Path, images: Path | None = None) -> None:
        self.root, self.folder = root, images
        self.findings: list[Finding] = []
        self.images: list[pl.DataFrame] = []
        self.labels: list[pl.DataFrame] = []
        self.splits: list[str | None] = []
        self.names: dict[str, int] = {}
        self.class_info: dict[str, dict[str, Any]] = {}
        self.info: dict[str, Any] = {}
        self.places = Places(root, images)
        self.count = 0
        self.rows, self.classes = pl.DataFrame(), dict[int, str]()

    def find(self, *args: Any) -> None:
        self.findings.append(Finding(*args))

    def add(self, file: Path, split: str | None) -> None:
        """Read a file of ground truth; what it says of its split comes before `split`."""
        where = relative(file, self.root)
        tables = load(file, where)
        if "split" in tables.ours:
            split = tables.ours["split"] if isinstance(tables.ours["split"], str) else None
        self.splits.append(split)
        self.findings += tables.findings
        self._know(tables.info, split)
        classes = self._classes(tables.categories, where)
        images = self._unique(tables.images, where)
        tables.images = pl.DataFrame()
        images, findings = self.places.find(images, file, split, where)
        self.findings += findings
        images = images.with_row_index("image", self.count)
        self.rows, self.classes = images.select(image_id="id", image="image"), classes
        labels = self._annotations(tables, where)
        images = images.with_columns(pl.lit(split, pl.String).alias("split"))
        images = self._labelled(self._sizes(images, where), labels, classes)
        self.images.append(table(images, IMAGE_COLUMNS))
        self.labels.append(labels)
        self.count += images.height

    def _know(self, info: dict[str, Any], split: str | None) -> None:
        """What the files say of the whole; what they do not agree on, by split."""
        own = {}
        for key, value in info.items():
            if self.info.setdefault(key, value) != value:
                own[key] = value
        if own:
            self.info.setdefault("splits", {})[split or "default"] = own

    def _classes(self, categories: list[Category], where: str) -> dict[int, str]:
        """Class name of each category id."""
        found: dict[int, str] = {}
        for category in sorted(categories, key=lambda one: (one.id is not None, one.id or 0)):
            name, number = category.name, category.id
            place = f"{where}#categories[{category.position}]"
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
            for key, value in category.info.items():
                if self.class_info.setdefault(name, {}).setdefault(key, value) != value:
                    message = f"{key!r} of class {name!r} was something else before"
                    self.find("contradicting-class", message, place, "warning", "left out")
        return found

    def _unique(self, images: pl.DataFrame, where: str) -> pl.DataFrame:
        """The records that have an id of their own and a file name."""
        if images["file_name"].null_count():
            images = _named_by_url(images)
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

    def _sizes(self, images: pl.DataFrame, where: str) -> pl.DataFrame:
        """A size that no picture can have is as good as none."""
        odd = pl.any_horizontal(~pl.col(name).is_between(1, 2**31 - 1) for name in _SIZE)
        for row in images.filter(odd).iter_rows(named=True):
            message = f"the size {row['width']}x{row['height']} is that of no picture"
            place = f"{where}#images[{row['position']}]"
            self.find("bad-value", message, place, "warning", "left out")
        return images.with_columns(pl.when(~odd.fill_null(False)).then(pl.col(_SIZE)).name.keep())

    def _labelled(
        self, images: pl.DataFrame, labels: pl.DataFrame, classes: dict[int, str]
    ) -> pl.DataFrame:
        """What was looked for: `labelled_classes`, `complete_classes`, and LVIS's two lists.

        Two of our fields, for partly labelled pictures: lists of names, or the first as a text
        such as "dog,cat" or "person(main)", where "all" means all classes.
        """
        names = set(self.names)
        given = {name: _parsed(images[name]) for name in _PARTIAL}
        labelled = [_named(value, names) for value in given["labelled_classes"]]
        complete = [_named(value, names) for value in given["complete_classes"]]
        absent, partial = given["neg_category_ids"], given["not_exhaustive_category_ids"]
        if any(one is not None for one in absent):
            seen = labels.select("image", "name").unique(maintain_order=True)
            shown = dict(seen.group_by("image").agg("name").iter_rows())
            for row, image in enumerate(images["image"]):
                ids = absent[row]
                if not isinstance(ids, list) or labelled[row] is not None:
                    continue
                looked = {*shown.get(image, ()), *(classes[one] for one in ids if one in classes)}
                labelled[row] = sorted(looked)
                some = {classes.get(one) for one in partial[row] or ()}
                complete[row] = sorted(looked - some)
        return images.with_columns(
            pl.Series("labelled", labelled, pl.List(pl.String)),
            pl.Series("complete", complete, pl.List(pl.String)),
        )

    def _annotations(self, tables: Tables, where: str) -> pl.DataFrame:
        frame, tables.annotations = tables.annotations, pl.DataFrame()
        return self.resolve(frame, where, "annotations", tables.ours.get("area") == "box")

    def resolve(
        self, frame: pl.DataFrame, where: str, array: str, box_areas: bool = False
    ) -> pl.DataFrame:
        """Labels with picture rows and class names of the last file that was added.

        Each label that has none becomes a finding.

        Args:
            frame: columns as `_coco_fields` says.
            where: name of the file in findings.
            array: name of the list that the labels are in.
            box_areas: whether an area that is the box's own says nothing.
        """
        ids = frame["id"]
        unique = ids.is_not_null() & ids.is_first_distinct()
        for position in frame["position"].filter(ids.is_not_null() & ~unique):
            place = f"{where}#{array}[{position}]"
            self.find("duplicate-id", "the annotation id was used before", place, "warning")
        named = pl.col("id").cast(pl.String)
        if not unique.all():
            listed = pl.format("{}[{}]", pl.lit(array), pl.col("position"))
            named = pl.when(unique).then(named).otherwise(listed)
        known = pl.DataFrame(
            {"category_id": list(self.classes), "name": list(self.classes.values())},
            schema={"category_id": pl.Int64, "name": pl.String},
        )
        frame = frame.with_columns(record=pl.lit(f"{where}#") + named)
        frame = frame.join(self.rows, on="image_id", how="left", maintain_order="left")
        frame = frame.join(known, on="category_id", how="left", maintain_order="left")
        fault = (
            pl.when(pl.col("image").is_null())
            .then(pl.lit("unknown-image"))
            .when(pl.col("name").is_null())
            .then(pl.lit("unknown-class"))
            .when(pl.any_horizontal(pl.col(name).is_null() for name in "xywh"))
            .then(pl.lit("bad-box"))
        )
        faults = frame.select(fault.alias("fault")).to_series()
        if faults.null_count() < frame.height:
            faulty = frame.with_columns(faults).filter(faults.is_not_null())
            for row in faulty.iter_rows(named=True):
                message = _MESSAGES[row["fault"]].format(**row)
                self.find(row["fault"], message, row["record"], "error", KEPT_OUT, 1)
            frame = frame.filter(faults.is_null())
        crowd = pl.col("iscrowd").fill_null(False)
        area = pl.col("area")
        if box_areas:
            area = pl.when(area != pl.col("w") * pl.col("h")).then(area)
        model = pl.when(pl.col("score").is_not_null()).then(pl.lit("model"))
        return frame.select(
            "image",
            "name",
            pl.col("x").alias("x1"),
            pl.col("y").alias("y1"),
            (pl.col("x") + pl.col("w")).alias("x2"),
            (pl.col("y") + pl.col("h")).alias("y2"),
            (crowd | pl.col("ignore").fill_null(False)).alias("ignore"),
            crowd.alias("iscrowd"),
            area,
            "score",
            pl.coalesce("source", model).alias("source"),
            *_AS_WRITTEN,
            "record",
        )

    def add_keypoints(self, file: Path) -> None:
        """Give the labels that were read from another file their key points."""
        where = relative(file, self.root)
        tables = load(file, where)
        self.findings += tables.findings
        for one in tables.categories:
            if one.name in self.names:
                known = self.class_info.setdefault(one.name, {})
                known |= {key: one.info[key] for key in _BODY if key in one.info}
        points = tables.annotations.filter(pl.col("keypoints").is_not_null())
        number = pl.col("record").str.extract(r"#(-?\d+)$").cast(pl.Int64)
        found = 0
        for place, labels in enumerate(self.labels):
            ids = self.images[place]["id"]
            images = pl.DataFrame({"image_id": ids}).with_row_index("image")
            start = sum(one.height for one in self.images[:place])
            images = images.with_columns(pl.col("image") + start)
            new = points.join(images, on="image_id").select("image", "id", points="keypoints")
            new = new.unique(["image", "id"], keep="first", maintain_order=True)
            joined = labels.with_columns(number.alias("id")).join(
                new, on=["image", "id"], how="left", maintain_order="left"
            )
            found += joined["points"].len() - joined["points"].null_count()
            both = pl.coalesce("keypoints", "points").alias("keypoints")
            self.labels[place] = joined.with_columns(both).drop("id", "points")
        lost = points.height - found
        if lost:
            message = f"{lost} records with key points are of no label that was read"
            self.find("unmatched-keypoints", message, where, "warning", KEPT_OUT)

    def _unlisted(self, images: pl.DataFrame) -> None:
        """Pictures beside those that were read, of which no annotation file speaks."""
        paths = None
        for base, names in self.places.listed.items():
            if not any(is_picture(name) for name in names):
                continue
            paths = set(images["path"]) if paths is None else paths
            more = [name for name in names if is_picture(name) and f"{base}/{name}" not in paths]
            if more:
                message = f"no annotation file lists {len(more)} pictures here, such as {min(more)}"
                where = relative(Path(base), self.root)
                self.find("unlisted-image", message, where, "info", KEPT_OUT)

    def dataset(self) -> Dataset:
        """All that was added."""
        names = sorted(self.names, key=lambda name: (self.names[name], name))
        order = {name: number for number, name in enumerate(names)}
        images = pl.concat(self.images)
        self.images = []
        if images["width"].null_count() or images["height"].null_count():
            images, unreadable = add_sizes(images, self.root)
            # A picture that is not on disk has been reported already.
            paths = [path for part in self.places.missing for path in part]
            missing = {relative(Path(path), self.root) for path in paths}
            self.findings += [one for one in unreadable if one.where not in missing]
        twice = images.filter(~pl.col("path").is_first_distinct())
        for path, split in twice.select("path", "split").iter_rows():
            if len(self.splits) > 1:
                message = f"the picture is listed in {split!r} and before"
                self.find("two-splits", message, relative(Path(path), self.root), "error")
        self._unlisted(images)
        labels = pl.concat(self.labels)
        self.labels = []
        ids = pl.col("name").replace_strict(order, default=None, return_dtype=pl.Int32)
        labels, faults = tidy_boxes(labels.with_columns(class_id=ids).drop("name"), images)
        self.findings += faults
        return Dataset(
            images,
            table(labels, LABEL_COLUMNS),
            Labels(names),
            findings=self.findings,
            root=str(self.root),
            task="detect",
            category_ids=[self.names[name] for name in names],
            class_info=self.class_info,
            info=self.info,
        )


_BODY = ("keypoints", "skeleton")
_SIZE = ("width", "height")
_PARTIAL = (
    *("labelled_classes", "complete_classes", "neg_category_ids"),
    "not_exhaustive_category_ids",
)
_MESSAGES = {
    "unknown-image": "image_id {image_id} is not among the images that were read",
    "unknown-class": "category_id {category_id} is not among the categories",
    "bad-box": "bbox is {bbox}, not four numbers",
}


def _named_by_url(images: pl.DataFrame) -> pl.DataFrame:
    """LVIS gives an address in place of a name: its last folder and file, as in COCO."""
    names = images["file_name"].to_list()
    for row in images["file_name"].is_null().arg_true():
        said = json.loads(images["extra"][row] or "{}").get("coco", {}).get("coco_url")
        parts = said.split("/") if isinstance(said, str) else []
        if len(parts) > 3 and parts[-1]:
            names[row] = "/".join(parts[-2:])
    return images.with_columns(pl.Series("file_name", names, pl.String))


def _parsed(texts: pl.Series) -> list[Any]:
    if texts.null_count() == texts.len():
        return [None] * texts.len()
    return [None if text is None else json.loads(text) for text in texts]


def _named(value: Any, names: set[str]) -> list[str] | None:
    """The known classes among those that a field names; None for all, and for no field."""
    if isinstance(value, list):
        return [str(one) for one in value if str(one) in names]
    if not isinstance(value, str):
        return None
    words = [re.sub(r"\(.*\)$", "", word).strip() for word in value.split(",")]
    if any(re.fullmatch(r"all\d*", word) for word in words):
        return None
    return [word for word in words if word in names]
