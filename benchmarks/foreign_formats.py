"""Data formats against other programs: do they read what Whatwhere writes, and does it theirs?

A small data set with all flags is written by one side and read by the other, in both
directions, once with plain names and once with odd ones (blanks, umlauts, quotes, `&`).
Compared are pictures, classes, boxes to 0.01 pixel, the flags that both know, and splits.
Reading by Whatwhere recognises the format by itself. Genuine data sets can be read by both
sides with --genuine. A program that is not installed is skipped with a note.

    python benchmarks/foreign_formats.py --quick
    python benchmarks/foreign_formats.py --genuine coco=PATH --genuine voc=PATH
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import _foreign_geo as geo
import polars as pl
from _foreign_cases import Case, cases
from _foreign_facts import Facts, class_sample, differences, facts_of, sample, stem

from whatwhere import WhatwhereError
from whatwhere.data import Dataset, read
from whatwhere.data.formats import formats, write


def _sample(case: Case, folder: Path, odd: bool) -> Dataset:
    make = class_sample if case.task == "classify" else sample
    made = make(folder, odd, size=case.size, grey=case.format == "mnist")
    images = made.images
    if case.one_split is not None:
        images = images.with_columns(split=pl.lit(case.one_split or None, pl.String))
    if case.format == "geo":
        images = images.with_columns(path=pl.Series(geo.geo_place(folder, made)))
    if case.parts:
        images = images.with_columns(pl.col("split").replace(["train", "test"], case.parts))
    names = list(case.classes) or list(made.names)
    return Dataset(images, made.labels, names, root=made.root, task=made.task)


def _kept(case: Case, dataset: Dataset) -> Facts:
    facts = facts_of(dataset, case.key)
    facts.said = formats()[case.format].HOLDS & facts.said
    if facts.split is not None:
        gone = {key for key, split in facts.split.items() if split in case.ignored}
        facts.boxes = {key: boxes for key, boxes in facts.boxes.items() if key not in gone}
    if case.one_split is not None:
        facts.split = None
    return facts


def _quiet(job: Callable[[], list[str]]) -> list[str]:
    """The differences; an error is one. What the programs print is not shown."""
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            return job()
    except WhatwhereError as error:
        return [f"Whatwhere: {error}"]
    except Exception as error:
        cause = error.__cause__
        text = " ".join(f"{type(error).__name__}: {error}".split())
        return [text[:200] + (f" ({type(cause).__name__}: {cause})"[:200] if cause else "")]


def they_read(case: Case, folder: Path, odd: bool) -> list[str]:
    """Differences between what Whatwhere wrote and what the program reads of it."""
    made = _sample(case, folder / "source", odd)
    write(made, folder / "written", case.format)
    # What the format itself cannot hold is no difference: our own reading is the measure.
    wanted = _kept(case, read(folder / "written"))
    assert case.reads is not None
    return differences(wanted, case.reads(folder / "written"))


def we_read(case: Case, folder: Path, odd: bool) -> list[str]:
    """Differences between what the program wrote and what Whatwhere reads of it."""
    made = _sample(case, folder / "source", odd)
    assert case.writes is not None
    renamed = case.writes(made, folder / "theirs")
    wanted = facts_of(made, stem)
    for old, new in (renamed or {}).items():
        wanted.boxes[new] = wanted.boxes.pop(old)
        if wanted.split is not None:
            wanted.split[new] = wanted.split.pop(old)
    wanted.said = frozenset(case.flags)
    if case.one_split is not None:
        wanted.split = None
    found = read(folder / "theirs")
    said = differences(wanted, facts_of(found))
    return said if found.format == case.format else [f"read as {found.format}", *said]


def genuine(case: Case, place: Path) -> list[str]:
    """Differences between the two readings of a data set that neither wrote."""
    assert case.reads is not None
    data = read(place, case.format)
    if case.format == "yolo" and case.one_split is not None:
        data = data.filter(split="train", keep_empty=True)
    wanted = _kept(case, data)
    return differences(wanted, case.reads(place))


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def jobs(case: Case, options: argparse.Namespace) -> dict[str, Callable[[Path, bool], list[str]]]:
    """What is to be done for a case, by direction."""
    found: dict[str, Callable[[Path, bool], list[str]]] = {}
    if case.reads is not None and hasattr(formats()[case.format], "write"):
        found["they read ours"] = lambda at, odd: they_read(case, at, odd)
    places = dict(one.split("=", 1) for one in options.genuine)
    if case.reads is not None and case.format in places and case.task == "detect":
        found["both read a genuine set"] = lambda at, odd: genuine(case, Path(places[case.format]))
    if case.writes is not None:
        found["we read theirs"] = lambda at, odd: we_read(case, at, odd)
    return found


def rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row for each format, program and direction."""
    for case in cases():
        if options.only and case.format not in options.only and case.package not in options.only:
            continue
        work = f"{case.format} ({case.task})"
        base = {"work": work, "who": case.package, "version": _version(case.package)}
        if base["version"] is None:
            yield base | {"value": "skipped: not installed", "note": ""}
            continue
        for direction, job in jobs(case, options).items():
            odd_too = not options.quick and "genuine" not in direction and not case.classes
            results = []
            for odd in (False, True) if odd_too else (False,):
                with tempfile.TemporaryDirectory() as folder:
                    said = _quiet(lambda job=job, at=Path(folder), odd=odd: job(at, odd))
                results.append("; ".join(said).replace(folder, "") or "equal")
            value = results[0]
            if len(set(results)) > 1:
                value += f" (odd names: {results[1]})"
            note = case.note if value != "equal" else ""
            yield base | {"work": f"{work}, {direction}", "value": value, "note": note}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", action="append", help="this format or program; repeatable")
    parser.add_argument(
        "--genuine", action="append", default=[], help="FORMAT=PATH of a data set for both"
    )
    parser.add_argument("--quick", action="store_true", help="plain names only")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    logging.disable(logging.CRITICAL)
    for row in rows(options):
        if options.json:
            print(json.dumps(row), flush=True)
        else:
            who = f"{row['who']} {row['version'] or ''}"
            print(f"{row['work']:43} {who:26} {row['value']}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
