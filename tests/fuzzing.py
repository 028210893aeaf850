"""Damaged data sets for every reader, in a process of its own.

    python tests/fuzzing.py --inputs 400                    # over all formats
    python tests/fuzzing.py --format coco --task detect --first 123 --inputs 1   # one again

Each input is a format's sample with one file changed by a mutation that the format's name and
the input's number decide. Whatever happens, the answer must be a data set or one of the
expected errors, in bounded time and memory, without a look outside the sample's folder.

What is checked of the data set that comes out:

- boxes are finite, not empty and inside their picture; records are there and unique; no
  picture lies outside the folder.
- No silent loss. Mutations are of three kinds. "values" puts another value in a place that
  had one, and leaves the records as many as they were: labels that are read and labels that
  are kept out are together no fewer than before, or something of weight is reported.
  "damage" breaks the file's structure anywhere: fewer labels need a finding that the sound
  sample does not have. "removal" takes whole lines, records or files away, which nothing can
  tell from a file that never had them, so the number of labels is not looked at.

A failure is printed as one JSON object a line; the last line is a summary.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import polars as pl

from format_limits import sample
from mutations import MUTATIONS, Change, Structure, structural
from opened_files import opened_files, strangers
from whatwhere.data import Dataset, read
from whatwhere.data.findings import KEPT_OUT
from whatwhere.data.formats import formats, writable
from whatwhere.data.tables import BOX
from whatwhere.errors import WhatwhereError
from whatwhere.images import IMAGE_SUFFIXES, member
from whatwhere.types import Task

SECONDS = 10.0
"""Most processor time that reading a sample of six pictures may take."""

PATIENCE = 120.0
"""Most time by the clock, which a busy machine may need for that."""

MEGABYTES = 300
"""Most that reading it may add to the process's peak of memory."""

TASKS: tuple[Task, ...] = ("classify", "multilabel", "detect")


class Hang(BaseException):
    """Reading took too long. Not an Exception, so that no reader can swallow it."""


def _too_long(signum: int, frame: FrameType | None) -> None:
    raise Hang


@dataclass
class Case:
    """A format's sample, and what reading the sound one gives."""

    format: str
    task: Task
    folder: Path
    files: list[Path]
    labels: int
    images: int
    kinds: Counter[str]
    cells: int

    @classmethod
    def make(cls, format: str, task: Task, place: Path) -> Case:
        before = sample(format, task, place)
        folder = place / "copy"
        if format in writable():
            before.write(folder, format)
        else:
            READ_ONLY[format](before, folder)
        dataset = read(folder, format)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        labels = [path for path in files if path.suffix.lower() not in IMAGE_SUFFIXES]
        kinds = Counter(finding.kind for finding in dataset.findings)
        count = dataset.labels.height
        cells = _looked_for(dataset)
        return cls(format, task, folder, labels or files, count, len(dataset), kinds, cells)


def cases() -> list[tuple[str, Task]]:
    """Each format with each of its tasks."""
    every = formats()
    return [(name, task) for name in every for task in TASKS if task in every[name].TASKS]


def _text_boxes(dataset: Dataset, folder: Path) -> None:
    """Cartucho's layout: a text file a picture, with lines of class and corners."""
    shutil.copytree(dataset.root, folder / "images-optional")
    (folder / "ground-truth").mkdir()
    for row, path in enumerate(dataset.paths):
        targets = dataset.targets(row)
        assert targets.boxes is not None
        names = [f"class{number}" for number in targets.class_ids]
        rows = zip(names, targets.boxes.tolist(), strict=True)
        lines = [f"{name} {' '.join(map(str, box))}\n" for name, box in rows]
        file = folder / "ground-truth" / Path(path).with_suffix(".txt").name
        file.write_text("".join(lines))


PRESENCE = {("csv_labels", "multilabel"), ("open_images", "multilabel")}
"""Formats where a value is a label or none: another value is another truth, not a loss."""

READ_ONLY: dict[str, Callable[[Dataset, Path], None]] = {"text_boxes": _text_boxes}
"""How samples are written for which there is no writer."""


def one_input(case: Case, number: int) -> tuple[str, list[str]]:
    """Make the input, read it, undo it. Gives the mutation's name and what is wrong."""
    rng = random.Random(f"{case.format} {case.task} {number}")
    # The names of files in a folder are changed in one input of eight.
    if rng.random() < 0.125:
        change: Change | Structure = structural(case.folder, rng)
    else:
        file = rng.choice(case.files)
        sound = file.read_bytes()
        packed = sound[:2] == b"\x1f\x8b" and rng.random() < 0.7
        name = rng.choice(list(MUTATIONS))
        kind, mutate = MUTATIONS[name]
        content = mutate(gzip.decompress(sound) if packed else sound, rng)
        file.write_bytes(gzip.compress(content, 1) if packed else content)
        change = Change(f"{name} in {file.relative_to(case.folder)}", kind, file, sound)
    try:
        return change.name, _check(case, change.kind, rng.random() < 0.3)
    finally:
        change.undo()


def _check(case: Case, kind: str, recognise: bool) -> list[str]:
    wrong: list[str] = []
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    dataset: Dataset | None = None
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        with opened_files() as found:
            dataset = read(case.folder, None if recognise else case.format)
    except WhatwhereError as error:
        if not 10 < len(str(error)) < 5000:
            wrong.append(f"message of {len(str(error))} characters: {str(error)[:300]}")
    except Hang:
        wrong.append(f"hang: more than {SECONDS:g} s of work or {PATIENCE:g} s of time")
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        last = traceback.extract_tb(error.__traceback__)[-3:]
        places = " < ".join(f"{Path(one.filename).name}:{one.lineno}" for one in reversed(last))
        wrong.append(f"{type(error).__name__}: {str(error)[:200]} at {places}")
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) / 1024
    if grown > MEGABYTES:
        wrong.append(f"memory: {grown:.0f} MB more")
    outside = strangers(found, case.folder)
    if outside:
        wrong.append(f"opened {outside[:3]}")
    if dataset is not None:
        wrong += _sound(dataset, case.folder)
        if dataset.format == case.format:
            wrong += _loss(dataset, case, kind)
    return wrong


def _sound(dataset: Dataset, folder: Path) -> list[str]:
    """What a data set must never have, whatever it was read from."""
    wrong = []
    labels = dataset.labels
    # A label may say what is there and not where: then all four sides are null.
    placed = labels.filter(pl.any_horizontal(pl.col(BOX).is_not_null()))
    if dataset.task == "detect" and placed.height:
        boxes = placed.select(BOX).to_numpy()
        sizes = dataset.images.select("width", "height").to_numpy().astype(np.float64)
        right = sizes[placed["image"].to_numpy()] + 1e-3
        with np.errstate(invalid="ignore"):
            if not np.isfinite(boxes).all():
                wrong.append("a box that is not finite")
            elif not (boxes[:, 2:] >= boxes[:, :2]).all():
                wrong.append("a box that ends before it begins")
            elif (boxes[:, :2] < 0).any() or (boxes[:, 2:] > right).any():
                wrong.append("a box that reaches outside its picture")
    if labels["record"].null_count() or labels["record"].n_unique() < labels.height:
        wrong.append("labels without a record of their own")
    for path in dataset.paths:
        inner = member(path)
        place = os.path.normpath(path if inner is None else inner.file)
        if not Path(place).is_relative_to(folder):
            wrong.append(f"a picture outside: {path}")
    for finding in dataset.findings:
        if not finding.kind or not finding.message or len(str(finding)) > 2000:
            wrong.append(f"odd finding {str(finding)[:300]}")
    if len(dataset.findings) > 20_000:
        wrong.append(f"{len(dataset.findings)} findings")
    return wrong[:3]


def _looked_for(dataset: Dataset) -> int:
    """Pairs of picture and class of which the labels say yes or no."""
    lists = dataset.images["labelled"].to_list()
    return sum(len(dataset.names) if known is None else len(known) for known in lists)


def _loss(dataset: Dataset, case: Case, kind: str) -> list[str]:
    known = dataset.labels.height + dataset.kept_out
    if kind == "removal" or known >= case.labels or (case.format, case.task) in PRESENCE:
        return []
    # A value that means "not known" takes a label back, and `labelled` says so.
    unknown = case.cells - _looked_for(dataset) if len(dataset) == case.images else 0
    if known + unknown >= case.labels:
        return []
    kinds = Counter(
        finding.kind
        for finding in dataset.findings
        if finding.severity != "info" or finding.action == KEPT_OUT
    )
    if kinds - case.kinds:
        return []
    return [f"silent loss: {known} of {case.labels} labels are known of"]


def run(case: Case, numbers: range, progress: Path, verbose: bool) -> int:
    """How many of the inputs fail; each failure is printed."""
    failed = 0
    for number in numbers:
        # If the process dies, this tells of what.
        progress.write_text(f"--format {case.format} --task {case.task} --first {number}")
        name, wrong = one_input(case, number)
        if wrong or verbose:
            failed += bool(wrong)
            row: dict[str, Any] = {"format": case.format, "task": case.task, "input": number}
            _say(row | {"mutation": name, "wrong": wrong})
    return failed


def _say(row: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(row) + "\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--inputs", type=int, default=400, help="in all, over the formats")
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--format", help="this one only")
    parser.add_argument("--task", help="this one only")
    parser.add_argument("--progress", type=Path, default=Path(os.devnull))
    parser.add_argument("--verbose", action="store_true", help="say what each input was")
    options = parser.parse_args()
    signal.signal(signal.SIGPROF, _too_long)
    signal.signal(signal.SIGALRM, _too_long)
    chosen = [
        (name, task)
        for name, task in cases()
        if options.format in (None, name) and options.task in (None, task)
    ]
    share = -(-options.inputs // len(chosen))
    memory = Path("/dev/shm")
    place = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
    start, failed, done = time.perf_counter(), 0, 0
    try:
        for name, task in chosen:
            case = Case.make(name, task, place / f"{name}-{task}")
            numbers = range(options.first, options.first + share)
            failed += run(case, numbers, options.progress, options.verbose)
            done += share
            shutil.rmtree(place / f"{name}-{task}")
    finally:
        shutil.rmtree(place, ignore_errors=True)
    seconds = time.perf_counter() - start
    _say({"inputs": done, "failed": failed, "seconds": round(seconds, 1)})
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
