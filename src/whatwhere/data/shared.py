"""A data set's paths and targets in one mapped file, for worker processes that are not forked.

A forked worker shares a `Dataset`'s arrays as they are. One that is spawned gets them
pickled, a copy each. What is here pickles as the name of a file, which every process maps.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import weakref
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from whatwhere.data.dataset import Dataset, Targets
from whatwhere.data.paths import PathTable
from whatwhere.errors import DataError, UsageError

_Layout = tuple[tuple[str, int, tuple[int, ...]], ...]


class SharedRows:
    """`paths` and `targets` of a data set, read only; cheap to send to another process.

    The file lies in the folder for temporary files, or in `folder`, and goes when the object
    that made it does. Other processes that have mapped it by then keep it.

    Args:
        dataset: what to share.
        folder: where the file is to be; a disk of the machine itself is best.
    """

    def __init__(self, dataset: Dataset, folder: str | os.PathLike[str] | None = None) -> None:
        paths = dataset.paths
        ids, boxes, ignore = dataset._columns
        parts: list[NDArray[np.generic]] = [
            np.frombuffer(paths._data, np.uint8),
            paths._starts,
            dataset._offsets,
            ids,
            ignore,
        ]
        if boxes is not None:
            parts.append(boxes)
        layout, end = [], 0
        for part in parts:
            # Eight bytes are the widest value.
            layout.append((part.dtype.str, end, part.shape))
            end += -(-part.nbytes // 8) * 8
        handle, name = tempfile.mkstemp(prefix="whatwhere-", suffix=".rows", dir=folder)
        os.close(handle)
        whole = np.memmap(name, np.uint8, "w+", shape=(max(1, end),))
        for part, (_, start, _) in zip(parts, layout, strict=True):
            whole[start : start + part.nbytes] = np.ascontiguousarray(part).reshape(-1).view("u1")
        whole.flush()
        self._open(name, tuple(layout))
        # Pages that are mapped here already are not new to anyone who looks at them later.
        self._whole[:: mmap.PAGESIZE].sum()
        self._remove = weakref.finalize(self, Path(name).unlink, missing_ok=True)

    def _open(self, name: str, layout: _Layout) -> None:
        self._name, self._layout = name, layout
        try:
            whole = np.memmap(name, np.uint8, "r")
        except OSError as error:
            raise DataError(
                f"{name} cannot be read ({error.strerror}): keep the object that was shared"
            ) from None
        arrays = [np.ndarray(shape, np.dtype(kind), whole, start) for kind, start, shape in layout]
        self._whole = whole
        data, starts, self._offsets, self._ids, self._ignore, *boxes = arrays
        self._boxes = boxes[0] if boxes else None
        self.paths = PathTable(data.data, starts)

    def __reduce__(self) -> tuple[object, ...]:
        return _opened, (self._name, self._layout)

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.paths)

    def targets(self, i: int) -> Targets:
        """The labels of picture `i`, as `Dataset.targets`.

        Raises:
            UsageError: there is no such picture.
        """
        if not 0 <= i < len(self):
            raise UsageError(f"there is no picture {i}: the data set has {len(self)}")
        rows = slice(int(self._offsets[i]), int(self._offsets[i + 1]))
        boxes = None if self._boxes is None else self._boxes[rows]
        return Targets(self._ids[rows], boxes, self._ignore[rows])


def _opened(name: str, layout: _Layout) -> SharedRows:
    """What was shared by another process."""
    made = SharedRows.__new__(SharedRows)
    made._open(name, layout)
    return made
