"""Write MOTChallenge."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import Finding
from whatwhere.data.formats._class_sets import names_text
from whatwhere.data.formats._files import picture_name
from whatwhere.data.formats._label_files import folder_name, number_text, shortest
from whatwhere.data.formats._mot_parts import CLASSES
from whatwhere.data.formats._pictures import Pictures
from whatwhere.data.formats._records import own
from whatwhere.data.tables import BOX
from whatwhere.images import write_atomic


def write(dataset: Dataset, folder: Path, pictures: Pictures) -> list[Finding]:
    """See `formats`: <split>/<sequence>/ with img1/, gt/gt.txt, gt/labels.txt, seqinfo.ini.

    Classes that all are the benchmark's keep their numbers there, which its kit goes by; then
    labels.txt has all of those, and gt/classes.txt the ones of the data set in their order.

    Frames are called by their number, as the format has it. Where no pictures are written,
    seqinfo.ini has a section that gives the name of each frame.
    """
    findings: list[Finding] = []
    where, rows_of = _sequences(dataset)
    frames = np.zeros(len(dataset), dtype=np.int64)
    suffixes = [_suffix(path) for path in dataset.paths]
    targets: list[Path] = [folder] * len(dataset)
    extras = dataset.images["extra"].to_list()
    for place, rows in rows_of.items():
        frames[rows] = _frames([extras[row] for row in rows])
        for row in rows:
            name = f"{frames[row]:06d}{suffixes[row]}"
            targets[row] = folder / place / "img1" / name
    there = pictures.place(dataset.paths, targets)
    renamed = sum(
        Path(path).name != one.name for path, one in zip(dataset.paths, targets, strict=True)
    )
    if renamed and pictures.how != "none":
        message = f"{renamed} pictures are called by the number of their frame"
        findings.append(Finding("renamed-image", message, dataset.source, "info", "renamed"))
    tracks, changed = _tracks(dataset.labels["track"].to_list())
    if changed:
        message = f"ids of tracks are whole numbers here; {changed} others were numbered anew"
        findings.append(Finding("renamed-track", message, dataset.source, "info", "renamed"))
    boxes = dataset.labels.select(BOX).to_numpy().astype(np.float32)
    texts = _box_texts(boxes)
    labels: dict[str, list[Any]] = dataset.labels.select("class_id", "ignore", "extra").to_dict(
        as_series=False
    )
    names, own_names = names_text(dataset.names), ""
    numbers = list(range(1, len(dataset.names) + 1))
    if set(dataset.names) <= set(CLASSES) and tuple(dataset.names) != CLASSES[: len(numbers)]:
        numbers = [CLASSES.index(name) + 1 for name in dataset.names]
        names, own_names = names_text(CLASSES), names
    lost = 0
    for place, rows in rows_of.items():
        rows = [row for row in rows if there[row]]
        if not rows:
            continue
        lines: list[str] = []
        first = [at for row in rows for at in range(*dataset.rows_of(row))]
        owns = {at: own(labels["extra"][at], "mot") for at in first if labels["extra"][at]}
        plain = {dataset.names[labels["class_id"][at]] for at in first} <= {CLASSES[0]}
        world = plain and any("world" in one for one in owns.values())
        lost += 0 if world else sum("world" in one for one in owns.values())
        for row in sorted(rows, key=lambda row: frames[row]):
            for at in range(*dataset.rows_of(row)):
                kept = owns.get(at, {})
                flag = "0" if labels["ignore"][at] else _number(kept.get("flag"), "1")
                tail = f"{numbers[labels['class_id'][at]]},{_number(kept.get('visibility'), '1')}"
                if world:
                    tail = ",".join(_world(kept.get("world")))
                box = _uncut(kept.get("box"), boxes[at]) or texts[at]
                lines.append(f"{frames[row]},{tracks[at]},{box},{flag},{tail}\n")
        write_atomic(folder / place / "gt" / "gt.txt", "".join(lines))
        write_atomic(folder / place / "gt" / "labels.txt", names)
        if own_names:
            write_atomic(folder / place / "gt" / "classes.txt", own_names)
        rate = own(extras[rows[0]] or "{}", "mot").get("rate")
        info = _info(dataset, where[place], rows, frames, suffixes, pictures.how == "none", rate)
        write_atomic(folder / place / "seqinfo.ini", info)
    if lost:
        message = f"{lost} places in the world: rows have a class or a place, not both"
        findings.append(Finding("lost-column", message, dataset.source, "warning", "left out"))
    return findings


def _suffix(path: str) -> str:
    return Path(picture_name(path)).suffix


def _sequences(dataset: Dataset) -> tuple[dict[str, str | None], dict[str, list[int]]]:
    """Group and picture rows of each sequence, by its folder."""
    folders: dict[tuple[str | None, str | None], str] = {}
    rows_of: dict[str, list[int]] = {}
    where: dict[str, str | None] = {}
    for row, key in enumerate(dataset.images.select("split", "group").iter_rows()):
        if key not in folders:
            split, group = key
            start = "" if split is None else folder_name(split, "split") + "/"
            name = re.sub(r"[^\w .()+-]", "_", group or "sequence").strip(" .") or "sequence"
            if start == "" and name.lower() in ("results", "gt", "det"):
                name += "_"
            first, number = name, 1
            while (start + name).lower() in {one.lower() for one in folders.values()}:
                number += 1
                name = f"{first}-{number}"
            folders[key] = start + name
            where[start + name] = group
        rows_of.setdefault(folders[key], []).append(row)
    return where, rows_of


def _frames(extras: Sequence[str | None]) -> list[int]:
    """Frame numbers that were kept, if they are good; else from 1."""
    kept = [own(extra, "mot").get("frame") for extra in extras]
    whole = all(isinstance(one, int) and 1 <= one < 10**9 for one in kept)
    if whole and len(set(kept)) == len(kept):
        return [int(one) for one in kept if one is not None]
    return list(range(1, len(extras) + 1))


def _tracks(tracks: Sequence[str | None]) -> tuple[list[str], int]:
    """Whole numbers for the tracks, -1 for none; and how many tracks had to be renamed."""
    known = {one for one in tracks if one is not None and re.fullmatch(r"0|[1-9]\d{0,14}", one)}
    new: dict[str, str] = {}
    number = 0
    found = []
    for one in tracks:
        if one is None or one in known:
            found.append(one or "-1")
            continue
        if one not in new:
            number += 1
            while str(number) in known:
                number += 1
            new[one] = str(number)
        found.append(new[one])
    return found, len(new)


def _box_texts(boxes: NDArray[np.float32]) -> list[str]:
    """left,top,width,height of each box, counted from 1, with the fewest digits that do."""
    start = shortest(
        boxes[:, :2].astype(np.float64) + 1,
        lambda one: (one - 1).astype(np.float32) == boxes[:, :2],
    )
    size = shortest(
        boxes[:, 2:].astype(np.float64) - (start - 1),
        lambda one: (start - 1 + one).astype(np.float32) == boxes[:, 2:],
    )
    return [
        ",".join(map(number_text, row)) for row in np.concatenate([start, size], axis=1).tolist()
    ]


def _uncut(kept: Any, box: NDArray[np.float32]) -> str | None:
    """left,top,width,height as they were read, if the box is still what was cut from them."""
    if not (isinstance(kept, list) and len(kept) == 4):
        return None
    if not all(isinstance(one, int | float) and np.isfinite(one) for one in kept):
        return None
    left, top, width, height = kept
    sides = np.array([left - 1, top - 1, left - 1 + width, top - 1 + height])
    start = np.maximum(sides[:2], 0).astype(np.float32)
    same = (start == box[:2]).all() and (box[2:] <= sides[2:].astype(np.float32)).all()
    return ",".join(map(number_text, kept)) if same else None


def _number(value: Any, default: str) -> str:
    good = isinstance(value, int | float) and not isinstance(value, bool)
    return number_text(value) if good and np.isfinite(value) else default


def _world(value: Any) -> list[str]:
    """The last three columns."""
    known = value if isinstance(value, list) and len(value) == 3 else [-1, -1, -1]
    return [_number(one, "-1") for one in known]


def _info(
    dataset: Dataset,
    group: str | None,
    rows: list[int],
    frames: NDArray[np.int64],
    suffixes: list[str],
    listed: bool,
    rate: Any,
) -> str:
    """The text of seqinfo.ini."""
    name = re.sub(r"[\r\n]", " ", group or "sequence")
    lines = ["[Sequence]", f"name={name}", "imDir=img1"]
    if isinstance(rate, str) and re.fullmatch(r"\d{1,6}(\.\d{1,9})?", rate):
        lines.append(f"frameRate={rate}")
    lines.append(f"seqLength={frames[rows].max()}")
    sizes = set(dataset.images[rows].select("width", "height").iter_rows())
    if len(sizes) == 1 and None not in next(iter(sizes)):
        ((width, height),) = sizes
        lines += [f"imWidth={width}", f"imHeight={height}"]
    lines.append(f"imExt={suffixes[rows[0]]}")
    if group is None:
        lines += ["", "[Whatwhere]", "group=none"]
    if listed:
        lines += ["", "[Frames]"]
        for row in sorted(rows, key=lambda row: frames[row]):
            shown = re.sub(r"[\r\n]", " ", picture_name(dataset.paths[row]))
            lines.append(f"{frames[row]}={shown}")
    return "\n".join([*lines, ""])
