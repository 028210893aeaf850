"""Write CVAT for video 1.1: a file a video, whose tracks have a shape in each frame.

A video is a `group` of pictures within a split. One video is annotations.xml beside images/;
of several, each has a folder of its own with both, as CVAT exports one task at a time. Frames
are called frame_000000 and so on, with their suffix, which is how CVAT names and numbers them:
by the numbers that they have in such names already, else from 0, by the number that ends each
picture's name or in the order of the data set.

A track's shapes are of one class and kind; a label without a track is one of a single shape.
Where a track is not seen in the next frame, a shape with outside="1" says so. Every shape is a
key frame unless it was read as one that CVAT had worked out between two of them.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import Finding
from whatwhere.data.formats._cvat_labels import OWN, Declarations, clean, tidy
from whatwhere.data.formats._cvat_shapes import (
    Drawn,
    as_text,
    attribute_text,
    base,
    drawn,
    element_lines,
    said,
)
from whatwhere.data.formats._cvat_xml import SIDES
from whatwhere.data.formats._files import add_sizes, picture_name, split_name
from whatwhere.data.formats._pictures import Pictures
from whatwhere.data.formats._records import Record, Records
from whatwhere.errors import UsageError
from whatwhere.images import write_atomic

_KEY = ("group", "split")
"""Columns that tell videos apart."""

_ON_TRACK = {"source": "", "group_id": "0"}
"""Attributes that CVAT has on the track, and what says that a shape has none."""


def write(dataset: Dataset, folder: Path, pictures: Pictures) -> list[Finding]:
    """Write every video.

    Raises:
        UsageError: the labels are of whole pictures, which a track cannot be; or there are
            pictures, and none of them is on disk.
    """
    if dataset.task != "detect":
        raise UsageError("CVAT's videos have boxes only: write labels of whole pictures as 'cvat'")
    images, findings = add_sizes(dataset.images, Path(dataset.root))
    videos: dict[tuple[str | None, str | None], list[int]] = {}
    for row, key in enumerate(images.select("group", "split").iter_rows()):
        videos.setdefault(key, []).append(row)
    places = [folder] if len(videos) == 1 else [folder / one for one in _folders(list(videos))]
    names = [picture_name(path) for path in dataset.paths]
    numbers: dict[int, int] = {}
    targets = [folder] * len(dataset)
    for place, rows in zip(places, videos.values(), strict=True):
        numbers |= _numbers(rows, names)
        for row in rows:
            name = f"frame_{numbers[row]:06d}{Path(names[row]).suffix}"
            targets[row] = place / "images" / name
    there = pictures.place(dataset.paths, targets)
    if len(dataset) and not there.any():
        for made in dict.fromkeys(target.parent for target in targets):
            # Else the next try would find the folder in use. What is not empty stays.
            with suppress(OSError):
                made.rmdir()
                if made.parent != folder:
                    made.parent.rmdir()
        raise UsageError(
            "none of the pictures is on disk, so there is no frame to write: name their folder"
            " with --images, or write labels only with --pictures none"
        )
    pairs = zip(names, targets, there, strict=True)
    renamed = sum(bool(done) and name != target.name for name, target, done in pairs)
    if pictures.how != "none":
        names = [target.name for target in targets]
        if renamed:
            message = f"{renamed} pictures are called by the number of their frame"
            findings.append(Finding("renamed-image", message, dataset.source, "info", "renamed"))
    sizes = list(images.select("width", "height").iter_rows())
    records = Records(dataset, "cvat")
    boxed = 0
    for place, (key, rows) in zip(places, videos.items(), strict=True):
        rows = sorted((row for row in rows if there[row]), key=numbers.__getitem__)
        if rows:
            video = _Video(records, [numbers[row] for row in rows], sizes[rows[0]])
            for position, row in enumerate(rows):
                video.add(position, row, names[row], sizes[row])
            place.mkdir(parents=True, exist_ok=True)
            write_atomic(place / "annotations.xml", video.text(*key))
            findings += video.findings
            boxed += video.boxed
        else:
            lost = " and ".join(f"{word} {one!r}" for word, one in zip(_KEY, key, strict=True))
            message = f"no picture of the video with {lost} is on disk, so it is not written"
            findings.append(Finding("missing-image", message, dataset.source, "error", "left out"))
    if boxed:
        message = (
            f"CVAT tracks neither masks nor outlines of several parts: {boxed} labels are boxes"
            f" for it, and {OWN}segmentation keeps what they were"
        )
        findings.append(Finding("lost-mask", message, dataset.source, "info", "kept"))
    return findings


def _folders(videos: list[tuple[str | None, str | None]]) -> list[str]:
    """A folder for each group and split, none twice and none that leads elsewhere."""
    taken: set[str] = set()
    found = []
    groups = [group for group, _ in videos]
    for group, split in videos:
        words = [group or "video"] + [split] * (groups.count(group) > 1 and split is not None)
        first = re.sub(r"[^\w .-]", "_", " ".join(map(str, words)))[:60].strip(" .") or "video"
        name, number = first, 1
        while name.casefold() in taken | {"images"}:
            number += 1
            name = f"{first}-{number}"
        taken.add(name.casefold())
        found.append(name)
    return found


def _numbers(rows: list[int], names: list[str]) -> dict[int, int]:
    """The frame number of each picture of a video."""
    own = [re.fullmatch(r"frame_(\d{6,9})\.\w+", names[row], re.I) for row in rows]
    numbers = [int(one[1]) for one in own if one]
    if len(set(numbers)) == len(rows):
        return dict(zip(rows, numbers, strict=True))
    ends = [re.search(r"(\d{1,18})$", Path(names[row]).stem) for row in rows]
    last = [int(one[1]) for one in ends if one]
    if len(set(last)) == len(rows):
        rows = [row for _, row in sorted(zip(last, rows, strict=True))]
    return {row: number for number, row in enumerate(rows)}


@dataclass
class _Shape:
    position: int
    drawn: Drawn
    given: dict[str, str | None]
    said: dict[str, Any]
    between: bool


@dataclass
class _Track:
    name: str
    track: str | None
    shapes: list[_Shape] = field(default_factory=list)


class _Video:
    """A file that is written: tracks over the numbers of its frames."""

    def __init__(
        self, records: Records, numbers: list[int], size: tuple[int | None, int | None]
    ) -> None:
        self.records, self.numbers, self.size = records, numbers, size
        self.declared = Declarations(records.dataset, mutable=True)
        self.frames: list[str] = []
        self.tracks: dict[tuple[Any, ...], _Track] = {}
        self.findings: list[Finding] = []
        self.boxed = 0

    def add(self, position: int, row: int, name: str, size: tuple[int | None, int | None]) -> None:
        """The next frame, and the labels of its picture."""
        image, extra = self.records.images[row], self.records.image_extra(row)
        given = {"number": self.numbers[position], "name": name, "id": image["id"]}
        given |= {"width": size[0], "height": size[1]}
        given["extra"] = json.dumps(extra, ensure_ascii=False) if extra else None
        texts = {key: None if one is None else str(one) for key, one in given.items()}
        self.frames.append(f"    <{OWN}frame{attribute_text(texts)}/>")
        for place, label in enumerate(self.records.of(row)):
            self._label(position, place, label, size, f"{name}#{place}")

    def _label(
        self,
        position: int,
        place: int,
        label: Record,
        size: tuple[int | None, int | None],
        where: str,
    ) -> None:
        shapes, misfit = drawn(label, size, self.declared)
        if misfit:
            message = "the run lengths do not fit the picture; the box is written without them"
            self.findings.append(Finding("lost-mask", message, where, "warning", "left out"))
        shape = shapes[0]
        if len(shapes) > 1 or shape.tag == "mask":
            self.boxed += 1
            box = label.box or (0.0,) * 4
            sides = {side: as_text(value) for side, value in zip(SIDES, box, strict=True)}
            kept = {OWN + "segmentation": json.dumps(label.segmentation)}
            if label.keypoints is not None:
                kept[OWN + "keypoints"] = json.dumps(label.keypoints)
            shape = Drawn("box", {**sides, **kept})
        given = base(label)
        del given["label"]
        track = label.values.get("track")
        key: tuple[Any, ...] = (track, label.name, shape.tag)
        if track is None:
            key = (None, position, place)
        layer = 0
        while (found := self.tracks.get((*key, layer))) and found.shapes[-1].position == position:
            layer += 1
        if found is None:
            found = self.tracks[(*key, layer)] = _Track(label.name, track)
        more = said(label, self.declared, tracks=True)
        between = label.extra.get("keyframe") is False
        found.shapes.append(_Shape(position, shape, given, more, between))

    def text(self, group: str | None, split: str | None) -> str:
        """The file."""
        lines = ['<?xml version="1.0" encoding="utf-8"?>', "<annotations>"]
        lines += ["  <version>1.1</version>", "  <meta>"]
        if group is not None and not _reads_back(group):
            lines.append(f"    <{OWN}group>{tidy(json.dumps(group))}</{OWN}group>")
        plain = split is not None and _reads_back(split) and split.lower() != "default"
        if not plain or (split_name(split or "") or split) != split:
            lines.append(f"    <{OWN}split>{tidy(json.dumps(split))}</{OWN}split>")
        lines += self.frames
        lines.append("    <task>")
        if group is not None:
            lines.append(f"      <name>{tidy(group)}</name>")
        if split is not None:
            lines.append(f"      <subset>{tidy(split)}</subset>")
        first, last = self.numbers[0], self.numbers[-1]
        lines += [f"      <size>{len(self.numbers)}</size>", "      <mode>interpolation</mode>"]
        lines += [f"      <start_frame>{first}</start_frame>"]
        lines += [f"      <stop_frame>{last}</stop_frame>", "      <labels>"]
        tracks = [line for one in self._numbered() for line in self._track(*one)]
        lines += [*self.declared.lines(), "      </labels>"]
        if all(self.size):
            lines += ["      <original_size>", f"        <width>{self.size[0]}</width>"]
            lines += [f"        <height>{self.size[1]}</height>", "      </original_size>"]
        lines += ["    </task>", "  </meta>"]
        return "\n".join([*lines, *tracks, "</annotations>", ""])

    def _numbered(self) -> list[tuple[int, _Track]]:
        """Each track with its id; CVAT's are whole numbers, of which ours keep theirs."""
        tracks = list(self.tracks.values())
        wanted = [_own_number(one.track) for one in tracks]
        free = max([-1, *wanted]) + 1
        taken: set[int] = set()
        found = []
        for number, track in zip(wanted, tracks, strict=True):
            if number < 0 or number in taken:
                number, free = free, free + 1
            taken.add(number)
            found.append((number, track))
        return sorted(found, key=lambda one: one[0])

    def _track(self, number: int, track: _Track) -> list[str]:
        given: dict[str, str | None] = {"id": str(number), "label": track.name}
        if track.track != str(number):
            given[OWN + "track"] = json.dumps(track.track)
        shapes = track.shapes
        shared = {key: shapes[0].given.get(key) for key in _ON_TRACK}
        lines = [f"  <track{attribute_text(given | shared)}>"]
        for place, one in enumerate(shapes):
            follows = place > 0 and shapes[place - 1].position + 1 == one.position
            own = dict(one.given)
            for key, none in _ON_TRACK.items():
                same = own.get(key) == shared[key]
                own[key] = None if same else own.get(key) or none
            state: dict[str, str | None] = {"frame": str(self.numbers[one.position])}
            state |= {"keyframe": str(int(not (one.between and follows))), "outside": "0"}
            lines += self._element(track, one, state | own, one.said, one.drawn.points)
            after = one.position + 1
            following = shapes[place + 1].position if place + 1 < len(shapes) else -1
            if following != after and after < len(self.numbers):
                state |= {"frame": str(self.numbers[after]), "keyframe": "1", "outside": "1"}
                points = [{**point, "outside": "1"} for point in one.drawn.points]
                lines += self._element(track, one, state | own, {}, points)
        return [*lines, "  </track>"]

    def _element(
        self,
        track: _Track,
        shape: _Shape,
        given: dict[str, str | None],
        attributes: dict[str, Any],
        points: list[dict[str, str | None]],
    ) -> list[str]:
        known = given | shape.drawn.given
        return element_lines(
            shape.drawn.tag, known, attributes, self.declared, points, name=track.name
        )


def _reads_back(text: str) -> bool:
    """Whether the text of an element gives it again."""
    return text == text.strip() != "" and clean(text) == text and "\r" not in text


def _own_number(track: str | None) -> int:
    """The whole number that a track is called; -1 for another name or none."""
    if track is None or not re.fullmatch(r"0|[1-9][0-9]{0,8}", track):
        return -1
    return int(track)
