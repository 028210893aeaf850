"""Memory that a loader's worker process has for itself, as the data set grows tenfold.

The parent makes the labels of N pictures and starts workers; each goes through its share of
an epoch in random order and touches the path and the targets of every row, without pixels.
Pages that a worker writes into are copied, and counting references is writing. What is
reported is the largest USS (unique set size, from /proc/PID/smaps_rollup) that a worker had,
beyond what it had before its first row.

    python benchmarks/loader_memory.py --images 10000 100000 1000000

- Dataset: ours, as it was read.
- SharedRows: ours, for workers that are spawned.
- list of dicts: the usual practice of a PyTorch Dataset, a dictionary with path, boxes and
  class ids for each picture.
- list of paths: the arrays of ours, with a plain list of strings for the paths, as ours had
  before.

A spawned worker gets a copy of everything but SharedRows, so only that stays flat there.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import platform
import sys
import time
from importlib.metadata import version
from multiprocessing.connection import Connection
from typing import Any, Protocol

import numpy as np
import polars as pl

from whatwhere.data import Dataset
from whatwhere.data.shared import SharedRows

BOXES = 5
"""A picture, on average."""


class Source(Protocol):
    """What a worker goes through."""

    def __len__(self) -> int: ...

    def row(self, i: int) -> tuple[str, Any]:
        """Path and targets of a picture."""


class Ours:
    """A Dataset; its arrays are made before the workers are."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        dataset.targets(0)
        self.paths: Any = dataset.paths

    def __len__(self) -> int:
        return len(self.paths)

    def row(self, i: int) -> tuple[str, Any]:
        return self.paths[i], self.dataset.targets(i)


class Mapped:
    """The same in a mapped file."""

    def __init__(self, dataset: Dataset) -> None:
        self.shared = SharedRows(dataset)

    def __len__(self) -> int:
        return len(self.shared)

    def row(self, i: int) -> tuple[str, Any]:
        return self.shared.paths[i], self.shared.targets(i)


class PlainPaths(Ours):
    """The same with a list of strings."""

    def __init__(self, dataset: Dataset) -> None:
        super().__init__(dataset)
        self.paths = list(dataset.paths)


class Dictionaries:
    """One dictionary a picture, as the tutorials have it."""

    def __init__(self, dataset: Dataset) -> None:
        self.rows = []
        for i, path in enumerate(dataset.paths):
            targets = dataset.targets(i)
            assert targets.boxes is not None
            boxes, labels = targets.boxes.tolist(), targets.class_ids.tolist()
            self.rows.append({"path": path, "boxes": boxes, "labels": labels})

    def __len__(self) -> int:
        return len(self.rows)

    def row(self, i: int) -> tuple[str, Any]:
        one = self.rows[i]
        return one["path"], (np.array(one["boxes"], np.float32), np.array(one["labels"]))


KINDS = {
    "Dataset": Ours,
    "SharedRows": Mapped,
    "list of paths": PlainPaths,
    "list of dicts": Dictionaries,
}

FLAT = {"fork": "Dataset", "spawn": "SharedRows"}
"""What is to stay flat."""


def made(images: int, seed: int) -> Dataset:
    """Random boxes on pictures that are not there."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(BOXES, images)
    image = np.repeat(np.arange(images, dtype=np.uint32), counts)
    start = rng.uniform(0, 400, (image.size, 2)).astype(np.float32)
    end = start + rng.uniform(5, 200, (image.size, 2)).astype(np.float32)
    numbers = pl.int_range(images, eager=True)
    return Dataset(
        pl.DataFrame({"path": pl.select(pl.format("/data/train/{}.jpg", numbers)).to_series()}),
        pl.DataFrame(
            {
                "image": image,
                "class_id": rng.integers(0, 80, image.size),
                "x1": start[:, 0],
                "y1": start[:, 1],
                "x2": end[:, 0],
                "y2": end[:, 1],
            }
        ),
        [f"class {number}" for number in range(80)],
        task="detect",
    )


def own_memory() -> int:
    """Bytes of this process's pages that no other process has."""
    with open("/proc/self/smaps_rollup") as file:  # noqa: PTH123
        fields = dict(line.split(":", 1) for line in file if ":" in line[:30])
    private = ("Private_Clean", "Private_Dirty")
    return sum(int(fields[name].split()[0]) for name in private) * 1024


def work(source: Source, number: int, workers: int, before: int, pipe: Connection) -> None:
    """A worker: its share of an epoch. Sends the largest USS, less `before` or its first."""
    first = own_memory() if before < 0 else before
    rng = np.random.default_rng(number)
    most, touched = own_memory(), 0
    for _ in range(20):
        # Drawn bit by bit: an order of all rows would itself grow with the set.
        for _ in range(len(source) // workers // 20):
            path, targets = source.row(int(rng.integers(len(source))))
            touched += len(path) + (targets is not None)
        most = max(most, own_memory())
    pipe.send((max(most, own_memory()) - first, touched))


def measure(source: Source, method: str, workers: int) -> float:
    """Megabytes of the worker that has most."""
    context = multiprocessing.get_context(method)
    # What the parent gives back to the system after the fork would count as its children's.
    gc.collect()
    time.sleep(2)
    pipes, started = [], []
    # A spawned worker has its copy before its first row: all counts but an empty interpreter.
    before = -1 if method == "fork" else empty_worker(context)
    for number in range(workers):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=work, args=(source, number, workers, before, theirs))
        process.start()
        pipes.append(ours)
        started.append(process)
    answers = [pipe.recv()[0] for pipe in pipes]
    for process in started:
        process.join()
    return max(answers) / 2**20


def _only_memory(pipe: Connection) -> None:
    pipe.send(own_memory())


def empty_worker(context: Any) -> int:
    """USS of a worker that has imported everything and been given nothing."""
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_only_memory, args=(theirs,))
    process.start()
    answer: int = ours.recv()
    process.join()
    return answer


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--methods", nargs="+", default=["fork", "spawn"])
    parser.add_argument("--limit", type=float, default=24.0, help="MB that ours may have")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="2,000 and 20,000 pictures, forked")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args()
    if options.quick:
        options.images, options.methods = [2_000, 20_000], ["fork"]
    if sys.platform != "linux":
        print("this measurement reads /proc, which Linux has")
        return 0

    rows: list[dict[str, Any]] = []
    worst = 0.0
    names = {"Dataset": "whatwhere", "SharedRows": "whatwhere", "list of paths": "polars"}
    for method in options.methods:
        for images in options.images:
            dataset = made(images, options.seed)
            values = {
                who: measure(make(dataset), method, options.workers) for who, make in KINDS.items()
            }
            worst = max(worst, values[FLAT[method]])
            for who, value in values.items():
                row = {
                    "work": f"MB of a worker's own, {method}, {images} pictures",
                    "who": who,
                    "version": version(names.get(who, "numpy")),
                    "value": round(value, 1),
                    "ratio": round(value / values[FLAT[method]], 1),
                }
                rows.append(row)
                if options.json:
                    print(json.dumps(row), flush=True)
                else:
                    print(f"{row['work']:48} {who:16} {value:10.1f} {row['ratio']:>7}x", flush=True)
    if not options.json:
        print(f"Python {platform.python_version()}, polars {version('polars')}")
    return 0 if worst <= options.limit else 1


if __name__ == "__main__":
    raise SystemExit(main())
