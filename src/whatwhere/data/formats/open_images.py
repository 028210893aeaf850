"""Open Images V4 to V7: <split>-annotations-bbox.csv, labels of whole pictures, MIDs.

Source: https://storage.googleapis.com/openimages/web/download_v7.html. Boxes are fractions
of the picture as it is stored, so its header is read. Flags of -1 are not known.

- Classes are MIDs in the tables; class-descriptions*.csv has their names, and `class_info`
  keeps the MID. bbox_labels_600_hierarchy.json is `info["hierarchy"]`; `with_ancestors` adds
  the classes above each label.
- IsGroupOf is a crowd, which is ignored; IsDepiction and IsInside stand in `extra`.
- `source`: xclick, freeform are "human"; activemil and verification are "verified"; machine
  is "model". Any other word of a table stands in `extra`. A Confidence of 1 says nothing.
- Labels of whole pictures that people verified, with Confidence 1 and 0, become `labelled`.
  A verified class without a box stays open, since nobody drew it. Without a table of boxes
  the set is multi-label, and labels with a Confidence above 0 are its rows.
- <split>-images-*.csv lists pictures; Rotation is kept, addresses and authors are not.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import polars as pl

from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import KEPT_OUT, Finding
from whatwhere.data.formats._files import inside, is_picture, relative
from whatwhere.data.formats._label_files import pictures_by_stem, report_missing, with_sizes
from whatwhere.data.formats._open_images_csv import FLAGS, read_table, report
from whatwhere.data.formats._open_images_layout import (
    Layout,
    class_names,
    layout,
    read_hierarchy,
)
from whatwhere.data.formats._open_images_rows import label_columns, positive
from whatwhere.data.formats._open_images_tree import with_ancestors
from whatwhere.data.formats._open_images_write import write
from whatwhere.data.tables import IMAGE_COLUMNS, LABEL_COLUMNS, table, tidy_boxes
from whatwhere.errors import DataError
from whatwhere.types import Labels, Task

__all__ = [
    "HOLDS",
    "LOOKS_FOR",
    "NAME",
    "TASKS",
    "TITLE",
    "read",
    "recognise",
    "with_ancestors",
    "write",
]

NAME = "open_images"
TITLE = "Open Images"
TASKS: frozenset[Task] = frozenset({"detect", "multilabel"})
HOLDS = frozenset(
    {"split", "labelled", "truncated", "occluded", "iscrowd", "score", "source"}
    | {"extra", "image_extra", "class_info", "info"}
)
OWN_EXTRA_ONLY = True
LOOKS_FOR = "CSV files with ImageID, LabelName and either XMin or Confidence"

_FOLDERS = {"train": ["train"], "val": ["validation", "val", "valid"], "test": ["test"]}


def recognise(path: Path) -> str | None:
    """See `formats`."""
    if path.is_file() and path.suffix.lower() != ".csv":
        return None
    found = layout(path)
    files = [file for file, _ in (*found.boxes, *found.labels)]
    kind = "XMin" if found.boxes else "Confidence"
    if not files:
        return None
    return f"ImageID, LabelName and {kind} in {relative(files[0], path.parent)}"


def read(path: Path, images: Path | None = None) -> Dataset:
    """See `formats`; `path` may be one CSV file, too."""
    found = layout(path)
    if not found.boxes and not found.labels:
        raise DataError(f"{path} is not an Open Images data set: looked for {LOOKS_FOR}")
    drawn = [file.name for file in found.damaged if "bbox" in file.name]
    if drawn and not found.boxes:
        raise DataError(f"{path}/{drawn[0]} has not the columns of a table of boxes: repair it")
    return _Reader(path if path.is_dir() else path.parent, found, images).dataset()


class _Reader:
    """Gathers the tables of one data set."""

    def __init__(self, root: Path, files: Layout, images: Path | None) -> None:
        self.root, self.files, self.pictures = root, files, images
        self.findings: list[Finding] = []
        self.task: Task = "detect" if files.boxes else "multilabel"
        self.mids, self.listed = class_names(files.descriptions, root, self.findings)
        self.looked: dict[Path, None] = {}

    def find(self, *args: Any) -> None:
        self.findings.append(Finding(*args))

    def _tables(self, files: list[tuple[Path, str | None]]) -> pl.DataFrame:
        """The rows of some files, with `split` and `file`."""
        every = [*self.files.lists, *self.files.boxes, *self.files.labels]
        names = pl.Enum(list(dict.fromkeys(relative(file, self.root) for file, _ in every)))
        found = []
        for file, split in files:
            where = relative(file, self.root)
            frame = read_table(file, where, self.findings)
            texts = ("ImageID", "LabelName", "Source", "Confidence", "Rotation")
            frame = frame.with_columns(
                *(pl.col(name).cast(pl.String) for name in texts),
                *(pl.col(name).cast(pl.Int8) for name in FLAGS),
                pl.lit(split, pl.String).alias("split"),
                pl.lit(where, names).alias("file"),
            )
            found.append(frame.select(sorted(frame.columns)))
        return pl.concat(found) if found else pl.DataFrame()

    def dataset(self) -> Dataset:
        boxes, labels = self._tables(self.files.boxes), self._tables(self.files.labels)
        lists = self._tables(self.files.lists)
        for file in self.files.others:
            message = "not read: it is no table of boxes, of labels of pictures or of pictures"
            self.find("left-out-file", message, relative(file, self.root), "info", KEPT_OUT)
        for file in self.files.damaged:
            message = "the header has not the columns that a file of this name should have"
            where = relative(file, self.root)
            self.find("damaged-annotation", message, where, "error", KEPT_OUT)
        rows = boxes if self.task == "detect" else labels
        rows = self._named(rows, report_them=True)
        names = self._names(rows)
        verified = self._named(labels, report_them=False) if self.task == "detect" else rows
        images = self._images([lists, rows, verified])
        keys = images.select("key", "image", "width", "height")
        parts = {"rows": rows, "verified": verified}
        joined = {
            name: one.join(keys, on="key", how="left", maintain_order="left") if one.width else one
            for name, one in parts.items()
        }
        found = self._boxes(joined["rows"]) if self.task == "detect" else joined["rows"]
        found = found.filter(pl.col("image").is_not_null())
        ids = {name: place for place, name in enumerate(names)}
        number = pl.col("name").replace_strict(ids, default=None, return_dtype=pl.Int32)
        kept = found if self.task == "detect" else found.filter(positive())
        kept = label_columns(kept.with_columns(number.alias("class_id")), self.task)
        images = self._labelled(images, joined["verified"], kept, names)
        if self.task == "detect":
            kept, faults = tidy_boxes(kept, images)
            self.findings += faults
        tree = read_hierarchy(self.files.hierarchy, self.root, self.findings)
        known = {name: mid for mid, name in self.mids.items() if name in ids and mid != name}
        return Dataset(
            table(images, IMAGE_COLUMNS),
            table(kept, LABEL_COLUMNS),
            Labels(names),
            findings=self.findings,
            root=str(self.root),
            task=self.task,
            class_info={name: {"mid": known[name]} for name in names if name in known},
            info={} if tree is None else {"hierarchy": tree},
        )

    def _named(self, frame: pl.DataFrame, *, report_them: bool) -> pl.DataFrame:
        """With `key` (split and picture) and `name` of the class."""
        if not frame.width:
            return frame
        bad = frame.filter(pl.col("LabelName").is_null())
        for where, line in bad.select(pl.col("file").cast(pl.String), "line").iter_rows():
            self.find(
                "no-class", "the row has no LabelName", f"{where}:{line}", "error", KEPT_OUT, 1
            )
        frame = frame.filter(pl.col("LabelName").is_not_null())
        unknown = [one for one in frame["LabelName"].unique().sort() if one not in self.mids]
        if report_them and unknown:
            self._unknown(unknown, frame)
        named = {one: self.mids.get(one, one) for one in frame["LabelName"].unique()}
        return frame.with_columns(
            pl.col("LabelName").replace_strict(named, return_dtype=pl.String).alias("name"),
            pl.concat_str(pl.col("split").fill_null(""), "ImageID", separator="/").alias("key"),
        )

    def _unknown(self, unknown: list[str], frame: pl.DataFrame) -> None:
        """Classes without a description keep what the table calls them."""
        first = frame.filter(pl.col("LabelName").is_in(unknown)).unique(
            "LabelName", keep="first", maintain_order=True
        )
        is_mid = re.compile(r"/[a-z]/\w+")
        if not self.mids:
            row = first.row(0, named=True)
            where = f"{row['file']}:{row['line']}"
            mids = any(is_mid.fullmatch(one) for one in unknown)
            said = "MIDs, and no class-descriptions*.csv names them" if mids else "names, not MIDs"
            message = f"LabelName has {said}; they are taken as they are"
            self.find("unknown-class", message, where, "warning" if mids else "info", "kept")
            return
        for row in first.head(1000).iter_rows(named=True):
            message = f"class {row['LabelName']!r} has no description; that is its name"
            self.find("unknown-class", message, f"{row['file']}:{row['line']}", "warning", "kept")

    def _names(self, rows: pl.DataFrame) -> list[str]:
        """All described classes; of a list of everything there is, only those that are used."""
        used = set(rows["name"].unique()) if rows.width else set()
        described = list(self.mids.values())
        if self.listed and self.task == "detect":
            described = described[: self.listed]
        if len(described) > 1000 + 10 * len(used):
            message = f"{len(described) - len(used)} classes of the list are not used and left out"
            where = relative(self.files.descriptions[0], self.root)
            self.find("unused-class", message, where, "info", KEPT_OUT)
            described = [name for name in described if name in used]
        return list(dict.fromkeys([*described, *sorted(used - set(described))]))

    def _images(self, parts: list[pl.DataFrame]) -> pl.DataFrame:
        """One row a picture, in the order of lists and tables, with its size."""
        lists, rows, verified = parts
        if lists.width:
            key = pl.concat_str(pl.col("split").fill_null(""), "ImageID", separator="/")
            lists = lists.with_columns(key.alias("key"))
        wanted = ["key", "split", "ImageID", "Rotation", "file", "line"]
        found = pl.concat([one.select(wanted) for one in (lists, rows, verified) if one.width])
        listed = not lists.is_empty()
        found = found.unique("key", keep="first", maintain_order=True)
        counts = dict(rows["key"].value_counts().iter_rows()) if rows.width else {}
        stems = {split: self._pictures(split) for split in found["split"].unique()}
        paths: list[str | None] = []
        missing: list[tuple[str, str, int]] = []
        for key, split, name, where, line in found.select(
            "key", "split", "ImageID", pl.col("file").cast(pl.String), "line"
        ).iter_rows():
            place = self._place(name, stems[split])
            if place is None and inside(self.root, name) is None:
                count, record = counts.get(key, 0), f"{where}:{line}"
                message = f"ImageID {name[:60]!r} leaves the data set's folder"
                self.find("path-outside", message, record, "error", KEPT_OUT, count)
            elif place is None:
                missing.append((name, f"{where}:{line}", counts.get(key, 0)))
            kept = self.root / f"{name}.jpg" if place is None and self.task != "detect" else place
            outside = place is None and inside(self.root, name) is None
            paths.append(None if kept is None or outside else str(kept))
        looked = ", ".join(relative(one, self.root) for one in self.looked)
        keeps = self.task != "detect"
        if not keeps and missing and not any(paths):
            raise DataError(
                f"{self.root} has boxes in fractions of pictures, but none of"
                f" {found.height} pictures is on disk, such as {missing[0][0]} (looked in"
                f" {looked}): name the folder of the pictures with images="
            )
        self.findings += report_missing(missing, found.height, looked, kept=keeps)
        found = found.with_columns(pl.Series("path", paths, pl.String))
        found = found.filter(pl.col("path").is_not_null())
        found = self._background(found, stems, listed)
        rotation = pl.col("Rotation").cast(pl.Float64, strict=False).cast(pl.Int64, strict=False)
        turned = pl.concat_str(
            pl.lit('{"open_images": {"Rotation": '), rotation.cast(pl.String), pl.lit("}}")
        )
        known = pl.when(rotation != 0).then(turned).alias("extra")
        columns = found.select("path", "split", known).to_dict(as_series=False)
        absent = {str(self.root / f"{name}.jpg") for name, _, _ in missing}
        images, unreadable = with_sizes(columns, self.root, absent)
        self.findings += unreadable
        return images.with_columns(
            found["key"], pl.int_range(images.height, dtype=pl.UInt32).alias("image")
        )

    def _pictures(self, split: str | None) -> dict[str, Path]:
        """Pictures of a split by their name without the ending."""
        names = [*_FOLDERS.get(split or "", [split] if split else [])]
        bases = [self.pictures] if self.pictures else [self.root]
        bases += [base / more for base in list(bases) for more in ("images", "data")]
        if not self.pictures:
            # What stands for exports that keep labels and pictures of a split together.
            bases += [self.root / name / "data" for name in names]
        folders = [base / name for base in bases for name in names]
        folders = [one for one in (*folders, *bases) if inside(one.parent, one.name) == one]
        inner = self.pictures or self.root
        folders = [one for one in folders if one.is_relative_to(inner) and one.is_dir()]
        self.looked |= dict.fromkeys(folders)
        return pictures_by_stem(folders, self.root, self.findings, own=False)

    def _place(self, name: str, stems: dict[str, Path]) -> Path | None:
        """Some tables have the ending in ImageID, which should have none."""
        found = stems.get(name)
        return stems.get(Path(name).stem) if found is None and is_picture(name) else found

    def _background(
        self, found: pl.DataFrame, stems: dict[str | None, dict[str, Path]], listed: bool
    ) -> pl.DataFrame:
        """Pictures in a split's own folder of which no table speaks."""
        if self.pictures:
            return found
        known = set(found["path"])
        more: list[tuple[str | None, str]] = []
        for split, places in stems.items():
            names = {*_FOLDERS.get(split or "", [split]), "images", "data"}
            more += [
                (split, str(place))
                for place in places.values()
                if str(place) not in known and place.parent.name in names
            ]
        more = list({path: (split, path) for split, path in more}.values())
        if not more:
            return found
        example = relative(Path(more[0][1]), self.root)
        if listed:
            message = f"{len(more)} pictures are in no table, such as {example}"
            self.find("unlisted-image", message, ".", "info", KEPT_OUT)
            return found
        message = f"{len(more)} pictures have no rows, such as {example}"
        self.find("missing-labels", message, ".", "warning", "read as background")
        rows = pl.DataFrame(
            {
                "split": [split for split, _ in more],
                "path": [path for _, path in more],
                "key": [f"\0{path}" for _, path in more],
            },
            schema={"split": pl.String, "path": pl.String, "key": pl.String},
        )
        return pl.concat([found, rows], how="diagonal")

    def _boxes(self, rows: pl.DataFrame) -> pl.DataFrame:
        """With x1, y1, x2, y2 in pixels; rows of pictures of no known size are kept out."""
        unsized = rows.filter(pl.col("image").is_not_null() & pl.col("width").is_null())
        for file in unsized["file"].unique():
            lines = unsized.filter(pl.col("file") == file)["line"].to_list()
            message = "the size of the picture is not known"
            report(self.findings, "unreadable-image", message, str(file), lines)
        width, height = pl.col("width").cast(pl.Float64), pl.col("height").cast(pl.Float64)
        return rows.filter(pl.col("width").is_not_null()).with_columns(
            (pl.col("XMin") * width).alias("x1"),
            (pl.col("YMin") * height).alias("y1"),
            (pl.col("XMax") * width).alias("x2"),
            (pl.col("YMax") * height).alias("y2"),
        )

    def _labelled(
        self, images: pl.DataFrame, verified: pl.DataFrame, kept: pl.DataFrame, names: list[str]
    ) -> pl.DataFrame:
        """Add `labelled`, where the split has a table of labels of whole pictures."""
        if not verified.width:
            return images
        ids = pl.DataFrame(
            {"name": names, "class_id": list(range(len(names)))},
            schema={"name": pl.String, "class_id": pl.Int32},
        )
        source = pl.col("Source").fill_null("").str.strip_chars().str.to_lowercase()
        said = verified.filter(pl.col("image").is_not_null() & (source != "machine")).join(
            ids, on="name", how="inner", maintain_order="left"
        )
        shown = kept.select("image", "class_id").unique()
        if self.task == "detect":
            pair = ["image", "class_id"]
            absent = said.filter(positive()).join(shown, on=pair, how="anti")
            if absent.height:
                message = (
                    f"{absent.height} verified classes of pictures have no box; they stay open"
                )
                self.find("open-class", message, ".", "info", "kept")
                said = said.join(absent.select(pair).unique(), on=pair, how="anti")
        said = pl.concat([said.select("image", "class_id"), shown]).unique(maintain_order=True)
        order = pl.col("class_id").replace_strict(list(range(len(names))), names)
        lists = (
            said.sort("image", "class_id")
            .group_by("image", maintain_order=True)
            .agg(order.cast(pl.String).alias("labelled"))
        )
        splits = [split for _, split in self.files.labels]
        covered = pl.col("split").is_in([one for one in splits if one is not None])
        covered = covered.fill_null(False) | (pl.col("split").is_null() & pl.lit(None in splits))
        some = pl.col("labelled").fill_null([])
        partial = covered & (some.list.len() < len(names))
        joined = images.drop("labelled").join(lists, on="image", how="left", maintain_order="left")
        return joined.with_columns(pl.when(partial).then(some).alias("labelled"))
