"""Write YOLO text labels."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import KEPT_OUT, Finding
from whatwhere.data.formats._files import add_sizes, split_name, unique_names
from whatwhere.data.formats._pictures import Pictures
from whatwhere.data.formats._small_files import ahead, write_all
from whatwhere.data.formats._yaml import quoted
from whatwhere.data.formats._yolo_layout import RESERVED, SPLITS
from whatwhere.data.tables import BOX
from whatwhere.errors import UsageError

_CHUNK = 8192
_DECIMALS = 6
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}")
_KEYS = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def holds(dataset: Dataset) -> frozenset[str]:
    """The columns of this very data set that come back.

    Outlines do where every label is one outline with its own box around it, key points where
    every label has the same number of them; a file cannot have both, or some.
    """
    kept = {"split"}
    labels = dataset.labels.filter(pl.col("x1").is_not_null())
    if labels.height == dataset.labels.height:
        kind = _shape(labels)[0]
        kept |= {kind} if kind else set()
    if _more(dataset) is not None:
        kept.add("info")
    return frozenset(kept)


def write(dataset: Dataset, folder: Path, pictures: Pictures) -> list[Finding]:
    """See `formats`: images/<split>/, labels/<split>/ and data.yaml.

    Pictures of no split are in train for other programs if there are no splits at all, else in
    a folder of their own; the key `unsplit` of data.yaml says so to our reader. Numbers are as
    short as they can be to be read back as the same float32 pixels.
    """
    images, findings = add_sizes(dataset.images, Path(dataset.root))
    splits, sources = _folders(images["split"].to_list())
    findings += _odd_splits(sources)
    names = unique_names(dataset.paths, splits)
    base = str(folder)
    for split in dict.fromkeys([*sources.values(), *splits]):
        (folder / "images" / split).mkdir(parents=True, exist_ok=True)
        (folder / "labels" / split).mkdir(parents=True, exist_ok=True)
    targets = [
        f"{base}{os.sep}images{os.sep}{split}{os.sep}{name}"
        for split, name in zip(splits, names, strict=True)
    ]
    there = pictures.place(dataset.paths, targets)
    there, labels = _usable(dataset, images, there, findings)
    shape = _shape(labels)
    files = [
        f"{base}{os.sep}labels{os.sep}{split}{os.sep}{os.path.splitext(name)[0]}.txt"  # noqa: PTH122
        for split, name in zip(splits, names, strict=True)
    ]
    sizes = images.select(pl.col("width", "height").cast(pl.Float64)).to_numpy()
    chunks = (
        _chunk(labels, sizes, files, there, shape, start)
        for start in range(0, len(dataset), _CHUNK)
    )
    for chunk in ahead(chunks):
        write_all(chunk)
    text = _settings(dataset, sources, shape)
    write_all([(str(folder / "data.yaml"), text.encode("utf-8", "surrogateescape"))])
    return findings


def _folders(splits: Sequence[str | None]) -> tuple[list[str], dict[str, str]]:
    """Folder of each picture, and what data.yaml says: key -> folder below images/."""
    known = [split for split in dict.fromkeys(splits) if split is not None]
    for split in known:
        if not _NAME.fullmatch(split) or split in RESERVED:
            raise UsageError(f"{split!r} cannot be a split's key in data.yaml: rename the split")
    # The keys train and val must be there, even if nothing is in them.
    sources = {split: split for split in dict.fromkeys([*SPLITS[:2], *known])}
    if None not in splits:
        return [split or "" for split in splits], sources
    rest = "unsplit" if known else "train"
    return [split or rest for split in splits], {**sources, "unsplit": rest}


def _odd_splits(sources: dict[str, str]) -> list[Finding]:
    odd = sorted(sources.keys() - {*SPLITS, "unsplit"})
    if not odd:
        return []
    message = (
        f"data.yaml has further keys for {', '.join(odd)}, which Ultralytics passes over: it"
        " knows train, val and test"
    )
    return [Finding("other-split", message, "data.yaml", "info", "kept")]


def _usable(
    dataset: Dataset, images: pl.DataFrame, there: NDArray[np.bool_], findings: list[Finding]
) -> tuple[NDArray[np.bool_], pl.DataFrame]:
    """Pictures that can have labels, and the labels with a box that they have."""
    labels = dataset.labels
    boxed = labels["x1"].is_not_null().to_numpy()
    count = int((~boxed).sum())
    if count:
        message = f"YOLO has no place for the {count} labels that have no box"
        findings.append(Finding("no-box", message, dataset.source, "warning", KEPT_OUT, count))
    sized = images["width"].is_not_null().to_numpy() & images["height"].is_not_null().to_numpy()
    rows = labels["image"].to_numpy()
    if not sized.all():
        counts = np.bincount(rows[boxed], minlength=len(dataset))
        names = dataset.relative_paths()
        for row in np.flatnonzero(~sized & there).tolist():
            message = "the size of the picture is not known, so its labels cannot be written"
            lost = int(counts[row])
            findings.append(
                Finding("unreadable-image", message, names[row], "error", KEPT_OUT, lost)
            )
    there = there & sized
    kept = boxed & there[rows]
    return there, labels if kept.all() else labels.filter(pl.Series(kept))


Shape = tuple[str, int]


def _shape(labels: pl.DataFrame) -> Shape:
    """("segmentation", 0) or ("keypoints", n) if every label's come back, else ("", 0)."""
    if labels.height and labels["keypoints"].null_count() == 0:
        values, counts = _numbers(labels["keypoints"], r"^\[[^\[\]{}\"a-df-zA-DF-Z]*\]$")
        if values is not None and (counts == counts[0]).all() and counts[0] % 3 == 0:
            seen = values[2::3]
            if np.isin(seen, (0, 1, 2)).all() and _rounded(values):
                return "keypoints", int(counts[0]) // 3
    if labels.height and labels["segmentation"].null_count() == 0:
        pattern = r"^\[\s*\[[^\[\]{}\"a-df-zA-DF-Z]*\]\s*\]$"
        values, counts = _numbers(labels["segmentation"], pattern)
        if values is not None and (counts >= 6).all() and (counts % 2 == 0).all():
            starts = (np.cumsum(counts) - counts) // 2
            sides = [
                edge.reduceat(values[axis::2], starts).astype(np.float32)
                for edge in (np.minimum, np.maximum)
                for axis in (0, 1)
            ]
            same = all((labels[n].to_numpy() == s).all() for n, s in zip(BOX, sides, strict=True))
            if same and _rounded(values):
                return "segmentation", 0
    return "", 0


def _rounded(values: NDArray[np.float64]) -> bool:
    return bool((np.round(values, _DECIMALS) == values).all())


def _numbers(
    texts: pl.Series, pattern: str
) -> tuple[NDArray[np.float64] | None, NDArray[np.int64]]:
    """All numbers of JSON lists in a row, and how many each has; None if they are not such."""
    nothing = np.zeros(0, np.int64)
    # Most sets that have others have them early.
    for some in (texts.head(1000), texts):
        if not some.str.contains(pattern).all():
            return None, nothing
    parts = texts.str.replace_all(r"[\[\]\s]", "").str.split(",")
    numbers = parts.explode().cast(pl.Float64, strict=False)
    if numbers.null_count() or not numbers.is_finite().all():
        return None, nothing
    return numbers.to_numpy(), parts.list.len().to_numpy().astype(np.int64)


def _chunk(
    labels: pl.DataFrame,
    sizes: NDArray[np.float64],
    files: list[str],
    there: NDArray[np.bool_],
    shape: Shape,
    start: int,
) -> list[tuple[str, bytes]]:
    """Path and content of the files of some pictures."""
    end = min(start + _CHUNK, len(files))
    edges = np.searchsorted(labels["image"].to_numpy(), [start, end])
    part = labels[int(edges[0]) : int(edges[1])]
    rows = part["image"].to_numpy().astype(np.int64)
    text, ends = _lines(part, sizes[rows], shape)
    cuts = ends[np.concatenate([[0], np.cumsum(np.bincount(rows - start, minlength=end - start))])]
    places = cuts.tolist()
    return [
        (files[row], text[places[row - start] : places[row - start + 1]])
        for row in range(start, end)
        if there[row]
    ]


def _lines(
    labels: pl.DataFrame, sizes: NDArray[np.float64], shape: Shape
) -> tuple[bytes, NDArray[np.int64]]:
    """All lines as one text, and where the first n of them end."""
    if labels.height == 0:
        return b"", np.zeros(1, np.int64)
    kind, _ = shape
    columns = {"class": labels["class_id"].cast(pl.String)}
    if kind != "segmentation":
        columns |= _box_texts(labels, sizes)
    if kind:
        texts = labels[kind]
        parts = texts.str.replace_all(r"[\[\]\s]", "").str.split(",")
        counts = parts.list.len().to_numpy().astype(np.int64)
        values = parts.explode().cast(pl.Float64).to_numpy()
        columns["points"] = _point_texts(values, counts, sizes, 3 if kind == "keypoints" else 2)
    lines = pl.DataFrame(columns).select(text=pl.concat_str(pl.all(), separator=" ") + "\n")["text"]
    ends = np.concatenate([[0], np.cumsum(lines.str.len_bytes().to_numpy().astype(np.int64))])
    return lines.str.join("")[0].encode(), ends


def _box_texts(labels: pl.DataFrame, sizes: NDArray[np.float64]) -> dict[str, pl.Series]:
    """Centre and size in fractions: six decimals where they give the same pixels again."""
    boxes = np.stack([labels[name].to_numpy().astype(np.float64) for name in BOX], axis=1)
    scale = np.tile(sizes, 2)
    sides = boxes / scale
    exact = np.concatenate([(sides[:, :2] + sides[:, 2:]) / 2, sides[:, 2:] - sides[:, :2]], axis=1)
    short = np.round(exact, 6)
    half = short[:, 2:] / 2
    again = np.concatenate([short[:, :2] - half, short[:, :2] + half], axis=1) * scale
    again = np.clip(again, 0, scale)
    same = (again.astype(np.float32) == boxes.astype(np.float32)).all(axis=1)
    values = np.where(same[:, None], short, exact)
    return {f"v{at}": pl.Series(values[:, at]).cast(pl.String) for at in range(4)}


def _point_texts(
    values: NDArray[np.float64],
    counts: NDArray[np.int64],
    sizes: NDArray[np.float64],
    step: int,
) -> pl.Series:
    """x y (v) ... of each label in fractions, nine decimals where they do."""
    rows = np.repeat(np.arange(counts.size), counts)
    place = np.arange(values.size) - np.repeat(np.cumsum(counts) - counts, counts)
    axis = place % step
    scale = np.where(axis == 2, 1.0, sizes[rows, np.minimum(axis, 1)])
    exact = values / scale
    short = np.round(exact, 9)
    same = np.round(short * scale, _DECIMALS) == values
    texts = pl.Series(np.where(same, short, exact)).cast(pl.String)
    texts = pl.select(
        pl.when(pl.lit(pl.Series(axis == 2))).then(texts.str.strip_suffix(".0")).otherwise(texts)
    ).to_series()
    frame = pl.DataFrame({"row": rows, "text": texts})
    return frame.group_by("row", maintain_order=True).agg(pl.col("text").str.join(" "))["text"]


def _more(dataset: Dataset) -> dict[str, Any] | None:
    """Other keys of data.yaml, if these are all that is known of the whole."""
    more = dataset.info.get("yolo", {})
    if set(dataset.info) - {"yolo"} or not isinstance(more, dict):
        return None
    for key, value in more.items():
        taken = key in RESERVED or split_name(key) or not _KEYS.fullmatch(key)
        items = list(value.values()) if isinstance(value, dict) else value
        items = [value] if isinstance(value, str) else items
        if taken or not isinstance(items, list) or not all(isinstance(i, str) for i in items):
            return None
        if isinstance(value, dict) and not all(_KEYS.fullmatch(one) for one in value):
            return None
    return more


def _settings(dataset: Dataset, sources: dict[str, str], shape: Shape) -> str:
    """The text of data.yaml."""
    # Without `path`: Ultralytics takes "." for the working directory, and the file's own folder
    # if there is none.
    text = "".join(f"{key}: images/{name}\n" for key, name in sources.items())
    text += f"nc: {len(dataset.names)}\n"
    if shape[0] == "keypoints":
        text += f"kpt_shape: [{shape[1]}, 3]\n"
    for key, value in (_more(dataset) or {}).items():
        if isinstance(value, dict):
            text += f"{key}:\n" + "".join(f"  {k}: {quoted(v)}\n" for k, v in value.items())
        elif isinstance(value, list):
            text += f"{key}: [{', '.join(quoted(one) for one in value)}]\n"
        else:
            text += f"{key}: {quoted(value)}\n"
    text += "names:\n"
    return text + "".join(f"  {at}: {quoted(name)}\n" for at, name in enumerate(dataset.names))
