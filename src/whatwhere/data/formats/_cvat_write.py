"""Write CVAT for images 1.1, or through `_cvat_video` for video 1.1."""

from __future__ import annotations

import re
from pathlib import Path

from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import Finding
from whatwhere.data.formats._cvat_labels import OWN, Declarations, tidy
from whatwhere.data.formats._cvat_shapes import (
    attribute_text,
    base,
    drawn,
    element_lines,
    is_name,
    said,
)
from whatwhere.data.formats._cvat_video import write as write_videos
from whatwhere.data.formats._files import add_sizes, split_name, unique_names
from whatwhere.data.formats._pictures import Pictures
from whatwhere.data.formats._records import Record, Records
from whatwhere.images import write_atomic


def write(
    dataset: Dataset, folder: Path, pictures: Pictures, option: str = "images"
) -> list[Finding]:
    """See `formats`: annotations.xml, images/<subset>/; `option` "video" writes tracks.

    In "images" tracks become an attribute track_id of each shape, which CVAT makes tracks of.
    """
    if option == "video":
        return write_videos(dataset, folder, pictures)
    images, findings = add_sizes(dataset.images, Path(dataset.root))
    folders = [one if _is_folder(one) else "" for one in images["split"]]
    names = unique_names(dataset.paths, folders)
    targets = [folder / "images" / one / name for one, name in zip(folders, names, strict=True)]
    there = pictures.place(dataset.paths, targets)
    writer = _Writer(dataset)
    ids = images["id"].to_list()
    writer.made_ids = None in ids or len(set(ids)) < len(ids)
    ids = list(range(len(ids))) if writer.made_ids else ids
    sizes = list(images.select("width", "height").iter_rows())
    for row, name in enumerate(names):
        if there[row]:
            writer.image(row, name, ids[row], sizes[row])
    write_atomic(folder / "annotations.xml", writer.text())
    return findings + writer.findings


def _is_folder(split: str | None) -> bool:
    return split is not None and re.fullmatch(r"[\w -]+(\.[\w -]+)*", split) is not None


def _reads_back(split: str) -> bool:
    """Whether a subset of that name is read as this split; "default" is none."""
    plain = split.lower() != "default" and split_name(split) in (None, split)
    return plain and _is_folder(split)


class _Writer:
    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.records = Records(dataset, "cvat")
        self.lines: list[str] = []
        self.findings: list[Finding] = []
        self.declared = Declarations(dataset)
        self.made_ids = False
        splits = dict.fromkeys(dataset.images["split"].to_list())
        names = dict.fromkeys(one or "default" for one in splits)
        self.subsets = list(names) if any(splits) else []

    def image(self, row: int, name: str, number: int, size: tuple[int | None, int | None]) -> None:
        image, extra = self.records.images[row], self.records.image_extra(row)
        tags = extra.pop("tags", [])
        subset = image["split"] or ("default" if self.subsets else None)
        given: dict[str, str | None] = {"id": str(number), "name": name, "subset": subset}
        given |= {OWN + "group": image["group"]}
        if image["split"] is not None and not _reads_back(image["split"]):
            given[OWN + "split"] = image["split"]
        for key, side in zip(("width", "height"), size, strict=True):
            given[key] = None if side is None else str(side)
        known: dict[str, str | None] = {
            key: str(value) for key, value in extra.items() if is_name(key)
        }
        self.lines.append(f"  <image{attribute_text(known | given)}>")
        labels = self.records.of(row)
        groups = [label.extra.get("group_id") for label in labels]
        free = 1 + max((one for one in groups if isinstance(one, int)), default=0)
        for tag in tags:
            shown: dict[str, str | None] = {"label": tag, "source": "manual"}
            self.lines += element_lines("tag", shown, {}, self.declared, name=tag)
        for label in labels:
            free += self._label(label, size, free, f"{name}#{len(self.lines)}")
        self.lines.append("  </image>")

    def _label(
        self, label: Record, size: tuple[int | None, int | None], free: int, where: str
    ) -> int:
        """Write a label; how many group numbers were used up."""
        given, more = base(label), said(label, self.declared, tracks=False)
        if label.box is None:
            self.lines += element_lines("tag", given, more, self.declared, name=label.name)
            return 0
        shapes, misfit = drawn(label, size, self.declared)
        if misfit:
            message = "the run lengths do not fit the picture; the box is written without them"
            self.findings.append(Finding("lost-mask", message, where, "warning", "left out"))
        used = 0
        if len(shapes) > 1 or (shapes[0].tag == "polygon" and "group_id" in given):
            # Parts of one object have a group; so has an object that shares its own.
            given[OWN + "part"] = str(free)
            given.setdefault("group_id", str(free))
            used = 1
        for one in shapes:
            self.lines += element_lines(
                one.tag, given | one.given, more, self.declared, one.points, name=label.name
            )
        return used

    def text(self) -> str:
        """The file."""
        lines = ['<?xml version="1.0" encoding="utf-8"?>', "<annotations>"]
        lines += ["  <version>1.1</version>", "  <meta>"]
        if self.made_ids:
            lines.append(f"    <{OWN}ids>made</{OWN}ids>")
        # CVAT knows subsets of projects only; Datumaro reads no picture of one in a lone task.
        owner = "project" if self.subsets else "task"
        lines.append(f"    <{owner}>")
        if self.subsets:
            tasks = [f"        <task><subset>{tidy(one)}</subset></task>" for one in self.subsets]
            lines += ["      <tasks>", *tasks, "      </tasks>"]
        else:
            lines.append(f"      <size>{len(self.dataset)}</size>")
        lines += ["      <labels>", *self.declared.lines(), "      </labels>"]
        lines += [f"    </{owner}>", "  </meta>"]
        return "\n".join([*lines, *self.lines, "</annotations>", ""])
