"""Write Pascal VOC."""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import polars as pl

from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import KEPT_OUT, Finding
from whatwhere.data.formats._files import add_sizes, unique_names
from whatwhere.data.formats._pictures import Pictures
from whatwhere.data.formats._small_files import ahead, write_all
from whatwhere.data.formats._voc_extra import (
    OWN_IMAGE,
    OWN_OBJECT,
    fits_xml,
    json_object,
    write_attributes,
    write_extra,
)
from whatwhere.data.tables import BOX
from whatwhere.errors import UsageError

_CHUNK = 4096
_SIDES = ("xmin", "ymin", "xmax", "ymax")
_MARKUP = re.compile("[&<>]")


def write(dataset: Dataset, folder: Path, pictures: Pictures) -> list[Finding]:
    """See `formats`: Annotations/, JPEGImages/, ImageSets/Main/, and CVAT's labelmap.txt.

    What the format has no element for, but other tables tell, is written so that other
    programs still read the file: `ignore` without `difficult` is <difficult>1</difficult>
    with <ignore>1</ignore> behind it; `difficult` without `ignore` has <ignore>0</ignore>;
    a box of one pixel or less covers its pixels in <bndbox> and has its exact x1 y1 x2 y2,
    as in our tables, in <corners>.
    """
    for name in dataset.names:
        if not fits_xml(name) or "\n" in name:
            raise UsageError(f"Pascal VOC has no place for class name {name!r}: rename the class")
    images, findings = add_sizes(dataset.images, Path(dataset.root))
    names = unique_names(dataset.paths)
    base = f"{folder}{os.sep}JPEGImages{os.sep}"
    there = pictures.place(dataset.paths, [base + name for name in names])
    labels, lost = _boxes_only(dataset, there)
    findings += lost
    # As `os.path.splitext`, but for names that begin with a dot, which have no suffix.
    stems = [name[:dot] if (dot := name.rfind(".")) > 0 else name for name in names]
    (folder / "Annotations").mkdir()
    chunks = (
        _chunk(dataset, images, labels, names, stems, there, start, folder)
        for start in range(0, len(dataset), _CHUNK)
    )
    for files in ahead(chunks):
        write_all(files)
    _lists(images["split"].to_list(), stems, there, folder)
    header = "# label:color_rgb:parts:actions\n"
    _text_file(folder / "labelmap.txt", header + "".join(f"{n}:::\n" for n in dataset.names))
    return findings


def _text_file(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    write_all([(str(file), text.encode("utf-8", "surrogateescape"))])


def _boxes_only(dataset: Dataset, there: Any) -> tuple[pl.DataFrame, list[Finding]]:
    """Labels with a box, of pictures that are there."""
    boxed = dataset.labels["x1"].is_not_null()
    findings = []
    without = int((~boxed).sum())
    if without:
        message = f"Pascal VOC has no place for the {without} labels that have no box"
        findings.append(Finding("no-box", message, dataset.source, "warning", KEPT_OUT, without))
    if without or not there.all():
        kept = boxed.to_numpy() & there[dataset.labels["image"].to_numpy()]
        return dataset.labels.filter(pl.Series(kept)), findings
    return dataset.labels, findings


def _lists(splits: list[str | None], stems: list[str], there: Any, folder: Path) -> None:
    """ImageSets/Main: one list a split."""
    listed: dict[str, list[str]] = {}
    for split, stem, present in zip(splits, stems, there.tolist(), strict=True):
        if split is not None and present:
            listed.setdefault(split, []).append(stem)
    for split in listed:
        if not re.fullmatch(r"[\w][\w .+=@-]{0,200}", split) or split != split.strip():
            raise UsageError(
                f"{split!r} cannot be the name of a list in ImageSets: rename the split"
            )
    if {"train", "val"} & listed.keys() and "trainval" not in listed:
        listed["trainval"] = sorted(listed.get("train", []) + listed.get("val", []))
    for split, members in listed.items():
        lines = "".join(f"{stem}\n" for stem in members)
        _text_file(folder / "ImageSets" / "Main" / f"{split}.txt", lines)


def _chunk(
    dataset: Dataset,
    images: pl.DataFrame,
    labels: pl.DataFrame,
    names: list[str],
    stems: list[str],
    there: Any,
    start: int,
    folder: Path,
) -> list[tuple[str, bytes]]:
    """Path and content of the files of some pictures."""
    count = min(_CHUNK, len(dataset) - start)
    edges = np.searchsorted(labels["image"].to_numpy(), [start, start + count])
    part = labels[int(edges[0]) : int(edges[1])]
    text, ends = _objects(part, dataset.names)
    counts = np.bincount(part["image"].to_numpy().astype(np.int64) - start, minlength=count)
    cuts = [0, *(ends[np.cumsum(counts)].tolist())]
    some = images[start : start + count]
    heads = _heads(names[start : start + count], some)
    base = f"{folder}{os.sep}Annotations{os.sep}"
    return [
        (
            f"{base}{stems[start + i]}.xml",
            b"".join((heads[i], text[cuts[i] : cuts[i + 1]], b"</annotation>\n")),
        )
        for i in np.flatnonzero(there[start : start + count]).tolist()
    ]


def _heads(names: list[str], images: pl.DataFrame) -> list[bytes]:
    """The annotation of each picture before its objects."""
    columns = [images[name].to_list() for name in ("width", "height", "extra")]
    middles = _plain_middles(columns[2])
    if middles is None or images["width"].null_count():
        return [_head(*one) for one in zip(names, *columns, strict=True)]
    if _MARKUP.search("".join(names)):
        names = [escape(name) for name in names]
    return [
        (
            f"<annotation>\n\t<folder>JPEGImages</folder>\n\t<filename>{name}</filename>\n"
            f"{middle}\t<size>\n\t\t<width>{width}</width>\n\t\t<height>{height}</height>"
            "\n\t\t<depth>3</depth>\n\t</size>\n\t<segmented>0</segmented>\n"
        ).encode("utf-8", "replace")
        for name, width, height, middle in zip(names, *columns[:2], middles, strict=True)
    ]


def _plain_middles(extras: list[str | None]) -> list[str] | None:
    """What stands for `extra` if no picture's has a word of this format; None if one has."""
    texts = [text for text in extras if text is not None]
    if not texts:
        return [""] * len(extras)
    joined = ",".join(texts)
    try:
        values = json.loads(f"[{joined}]")
    except (ValueError, RecursionError):
        return None
    plain = all(isinstance(value, dict) and value and "voc" not in value for value in values)
    if len(values) != len(texts) or not plain or not joined.isprintable():
        return None
    if _MARKUP.search(joined):
        extras = [None if text is None else escape(text) for text in extras]
    return ["" if text is None else f"\t<extra>{text}</extra>\n" for text in extras]


def _head(name: str, width: int | None, height: int | None, extra: str | None) -> bytes:
    """The annotation before its objects."""
    known = {} if extra is None else json_object(extra, "extra", name)
    told = known.get("voc")
    depth, segmented = "3", "0"
    if isinstance(told, dict):
        told = dict(told)
        if isinstance(told.get("depth"), str) and fits_xml(told["depth"]):
            depth = told.pop("depth")
        if isinstance(told.get("segmented"), str) and fits_xml(told["segmented"]):
            segmented = told.pop("segmented")
        known = {key: value for key, value in known.items() if key != "voc"}
        if told:
            known["voc"] = told
    size = ""
    if width is not None:
        size = (
            f"\t<size>\n\t\t<width>{width}</width>\n\t\t<height>{height}</height>"
            f"\n\t\t<depth>{escape(depth)}</depth>\n\t</size>\n"
        )
    middle = write_extra(known, OWN_IMAGE, "\t") if known else ""
    text = (
        f"<annotation>\n\t<folder>JPEGImages</folder>\n\t<filename>{escape(name)}</filename>\n"
        f"{middle}{size}\t<segmented>{escape(segmented)}</segmented>\n"
    )
    return text.encode("utf-8", "replace")


def _objects(labels: pl.DataFrame, names: Any) -> tuple[bytes, Any]:
    """All objects of some pictures as one text, and where the first n of them end."""
    if labels.height == 0:
        return b"", np.zeros(1, np.int64)
    special = labels["extra"].is_not_null() | labels["attributes"].is_not_null()
    tiny = (labels["x2"].cast(pl.Float64) <= labels["x1"].cast(pl.Float64) + 1) | (
        labels["y2"].cast(pl.Float64) <= labels["y1"].cast(pl.Float64) + 1
    )
    tails = None
    sides = _sides(labels)
    prefix = _prefixes(labels, names)
    rows = (special | tiny).arg_true().to_list()
    if rows:
        heads = prefix.to_list()
        texts = [column.to_list() for column in sides]
        tails = ["\t</object>\n"] * labels.height
        for row in rows:
            label = labels.row(row, named=True)
            heads[row], tails[row] = _special(label, heads[row])
            if tiny[row]:
                for column, value in zip(texts, _covered(label), strict=True):
                    column[row] = value
                exact = " ".join(repr(float(np.float64(label[name]))) for name in BOX)
                tails[row] = f"\t\t<corners>{exact}</corners>\n" + tails[row]
        prefix = pl.Series(heads, dtype=pl.String)
        sides = [pl.Series(column, dtype=pl.String) for column in texts]
    frame = pl.DataFrame({"head": prefix, **dict(zip(_SIDES, sides, strict=True))})
    last = pl.lit("\t</object>\n") if tails is None else pl.lit(pl.Series(tails, dtype=pl.String))
    joined = frame.select(
        text=pl.concat_str(
            "head",
            pl.lit("\t\t<bndbox>\n\t\t\t<xmin>"),
            "xmin",
            pl.lit("</xmin>\n\t\t\t<ymin>"),
            "ymin",
            pl.lit("</ymin>\n\t\t\t<xmax>"),
            "xmax",
            pl.lit("</xmax>\n\t\t\t<ymax>"),
            "ymax",
            pl.lit("</ymax>\n\t\t</bndbox>\n"),
            last,
        )
    )["text"]
    ends = np.concatenate([[0], np.cumsum(joined.str.len_bytes().to_numpy().astype(np.int64))])
    return joined.str.join("")[0].encode(), ends


def _prefixes(labels: pl.DataFrame, names: Any) -> pl.Series:
    """Each object up to its box: few different ones, so each is made once."""
    flags = labels.select(
        pl.col("class_id").cast(pl.Int64) * 24
        + pl.col("truncated").fill_null(False).cast(pl.Int64)
        + pl.col("difficult").fill_null(False).cast(pl.Int64) * 2
        + pl.col("ignore").cast(pl.Int64) * 4
        + pl.col("occluded").cast(pl.Int64).fill_null(2) * 8
    ).to_series()
    known = flags.unique()
    texts = []
    for code in known.to_list():
        class_id, rest = divmod(code, 24)
        occluded, rest = divmod(rest, 8)
        ignore, rest = divmod(rest, 4)
        difficult, truncated = divmod(rest, 2)
        text = (
            f"\t<object>\n\t\t<name>{escape(names[class_id])}</name>\n"
            "\t\t<pose>Unspecified</pose>\n"
            f"\t\t<truncated>{truncated}</truncated>\n"
            f"\t\t<difficult>{difficult | ignore}</difficult>\n"
        )
        if occluded < 2:
            text += f"\t\t<occluded>{occluded}</occluded>\n"
        if difficult != ignore:
            text += f"\t\t<ignore>{ignore}</ignore>\n"
        texts.append(text)
    return flags.replace_strict(known, pl.Series(texts, dtype=pl.String))


def _sides(labels: pl.DataFrame) -> list[pl.Series]:
    """Text of each side, pixels counted from 1: short where that is read back the same."""
    found = []
    for name, add in zip(BOX, (1.0, 1.0, 0.0, 0.0), strict=True):
        exact = pl.col(name).cast(pl.Float64) + add
        short = exact.round(4)
        same = (short - add).cast(pl.Float32) == pl.col(name)
        values = labels.select(pl.when(same).then(short).otherwise(exact)).to_series()
        if values.is_between(-1e9, 1e9).all() and (values == values.round()).all():
            found.append(values.cast(pl.Int64).cast(pl.String))
        else:
            found.append(values.cast(pl.String).str.strip_suffix(".0"))
    return found


def _covered(label: dict[str, Any]) -> list[str]:
    """The pixels that a tiny box touches, counted from 1, as other programs want them."""
    sides = []
    for low, high in (("x1", "x2"), ("y1", "y2")):
        first = math.floor(label[low]) + 1
        sides.append((str(first), str(max(first, math.ceil(label[high])))))
    (x1, x2), (y1, y2) = sides
    return [x1, y1, x2, y2]


def _special(label: dict[str, Any], head: str) -> tuple[str, str]:
    """What stands before and after the box of an object of which more is known."""
    extra, tail = label["extra"], ""
    if extra is not None:
        known = json_object(extra, "extra", label["record"] or "a label")
        told = known.get("voc")
        if isinstance(told, dict) and isinstance(told.get("pose"), str):
            pose = told["pose"]
            if fits_xml(pose) and pose not in ("", "Unspecified"):
                head = head.replace("<pose>Unspecified</pose>", f"<pose>{escape(pose)}</pose>", 1)
                left = {key: value for key, value in told.items() if key != "pose"}
                known = {key: value for key, value in known.items() if key != "voc"}
                known |= {"voc": left} if left else {}
        tail += write_extra(known, OWN_OBJECT, "\t\t")
    if label["attributes"] is not None:
        where = label["record"] or "a label"
        tail += write_attributes(json_object(label["attributes"], "attributes", where), "\t\t")
    return head, tail + "\t</object>\n"
