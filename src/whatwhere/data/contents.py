"""Which pictures several data sets have in common, byte for byte."""

from __future__ import annotations

import hashlib
import math
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from whatwhere.data.dataset import Dataset
from whatwhere.errors import ImageError
from whatwhere.images import member, picture_bytes


def shared_contents(datasets: Sequence[Dataset]) -> list[dict[int, bytes]]:
    """For each set, the SHA-256 of those pictures whose bytes another set has, too."""
    sizes = [[_size(path) for path in dataset.paths] for dataset in datasets]
    in_sets = Counter(size for one in sizes for size in {*one} if size)
    chosen = [
        (number, row)
        for number, one in enumerate(sizes)
        for row, size in enumerate(one)
        if in_sets[size] > 1
    ]
    with ThreadPoolExecutor(4) as pool:
        paths = [datasets[number].paths[row] for number, row in chosen]
        digests = list(pool.map(_digest, paths, chunksize=32))
    owners: dict[bytes, set[int]] = defaultdict(set)
    for (number, _), digest in zip(chosen, digests, strict=True):
        if digest is not None:
            owners[digest].add(number)
    found: list[dict[int, bytes]] = [{} for _ in datasets]
    for (number, row), digest in zip(chosen, digests, strict=True):
        if digest is not None and len(owners[digest]) > 1:
            found[number][row] = digest
    return found


def _size(path: str) -> int:
    inner = member(path)
    if inner is not None:
        return math.prod(inner.shape)
    try:
        return os.stat(path).st_size  # noqa: PTH116 - a million strings
    except OSError:
        return 0


def _digest(path: str) -> bytes | None:
    try:
        return hashlib.sha256(picture_bytes(path)).digest()
    except ImageError:
        return None
