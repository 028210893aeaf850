"""Training pictures at working size: decoded once, kept in memory or in a mapped file."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from whatwhere.data.sketches import BYTES, sketch
from whatwhere.errors import ImageError, WhatwhereError
from whatwhere.images import read_image
from whatwhere.images.appearance import tiny
from whatwhere.images.files import atomic_path
from whatwhere.train.picture_file import (
    DamagedFileError,
    Picture,
    PictureFile,
    Writer,
    alone,
    key_of,
)
from whatwhere.transforms import resize
from whatwhere.types import Image

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class WorkingSize:
    """How far pictures are shrunk before anything random is done; never enlarged.

    Args:
        size: (height, width) of the model's input.
        enlarged: a picture is shrunk until it fits in this many times the size; more than 1
            where parts are cut out of it.
        cover: shrink until the shorter side fits, not the longer one.
        least: smallest scale; 0 for any. Tiles need pictures at the scale of a tile.
    """

    size: tuple[int, int]
    enlarged: float = 1.0
    cover: bool = False
    least: float = 0.0

    def of(self, rows: int, columns: int) -> tuple[int, int]:
        """(height, width) of a picture of (rows, columns)."""
        ratios = (self.enlarged * self.size[0] / rows, self.enlarged * self.size[1] / columns)
        fit = max(ratios) if self.cover else min(ratios)
        ratio = min(1.0, max(fit, self.least))
        return max(1, round(rows * ratio)), max(1, round(columns * ratio))


class Pictures:
    """Training pictures at working size.

    Args:
        paths: the files.
        size: what working size means.
        limit: bytes to keep; what does not fit is read again each time.
        folder: where to keep them in a file, for this run and later ones; "" for in memory.
            Several processes may use one folder: one of them writes, the others wait.

    Attributes:
        unreadable: why each picture is left out that cannot be read.
        notes: what the user should know about the cache.
        sketches: uint8 (N, 40), of every picture that `load_all` read or found in the cache file
            (see `data.sketches`); zeros for others.
    """

    def __init__(
        self, paths: Sequence[str], size: WorkingSize, limit: int, folder: str = ""
    ) -> None:
        self._paths, self._size, self._limit, self._folder = paths, size, limit, folder
        self._kept: dict[int, Picture] = {}
        self._file: PictureFile | None = None
        self.unreadable: dict[int, str] = {}
        self.notes: list[str] = []
        self.sketches: NDArray[np.uint8] = np.zeros((len(paths), BYTES), np.uint8)

    def __len__(self) -> int:
        """Number of pictures that are kept."""
        return len(self._kept) if self._file is None else len(self._file)

    def load_all(self, workers: int, progress: Progress | None = None) -> None:
        """Read every picture once, so that faults show before training starts."""
        reading = self._read_all(workers, progress)
        if self._folder:
            self._load_file(reading, workers)
        else:
            self._kept.update(self._fitting(reading))
        short = len(self._paths) - len(self.unreadable) - len(self)
        if short and len(self):
            self.notes.append(
                f"{short} of {len(self._paths)} pictures do not fit in the cache of"
                f" {self._limit / 2**20:.0f} MB and are decoded each time: raise"
                " --set cache=... if there is room"
            )

    def __getitem__(self, i: int) -> Picture:
        """The picture at working size, not to be changed, and its original (height, width)."""
        kept = self._kept.get(i) if self._file is None else self._file[i]
        return self._read(i) if kept is None else kept

    def _load_file(self, reading: Iterator[tuple[int, Picture]], workers: int) -> None:
        folder = Path(self._folder)
        key = key_of(self._paths, f"{cv2.__version__} {self._size} {self._limit}")
        path = folder / f"pictures-{key.hex()[:16]}.cache"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with alone(path.with_suffix(".lock")):
                if path.exists():
                    try:
                        self._use(path, key, workers)
                        return
                    except DamagedFileError as error:
                        self.notes.append(f"{path} is built again: {error}")
                with atomic_path(path) as temporary, temporary.open("wb") as file:
                    writer = Writer(file, len(self._paths), key)
                    for i, picture in self._fitting(reading):
                        writer.add(i, picture)
                    writer.finish(self.unreadable)
            self._use(path, key, workers)
        except (OSError, WhatwhereError, DamagedFileError) as error:
            self.notes.append(f"pictures are decoded each time, since there is no cache: {error}")
            self._file = None
            # The rest is still read once, for its faults.
            for _ in reading:
                continue

    def _use(self, path: Path, key: bytes, workers: int) -> None:
        self._file = PictureFile(path, len(self._paths), key, workers)
        self.unreadable = self._file.unreadable
        if not self.sketches.any():
            # The pictures were read in an earlier run.
            with ThreadPoolExecutor(workers) as pool:
                found = pool.map(self._kept_tiny, range(len(self._paths)))
                self._sketch(enumerate(found))

    def _kept_tiny(self, i: int) -> Image | None:
        picture = None if self._file is None else self._file[i]
        return None if picture is None else tiny(picture[0])

    def _sketch(self, pictures: Iterable[tuple[int, Image | None]]) -> None:
        """Set the sketches of thumbnails, many at once, which is quicker."""
        there = ((i, image) for i, image in pictures if image is not None)
        while some := list(islice(there, 256)):
            self.sketches[[i for i, _ in some]] = sketch(np.stack([image for _, image in some]))

    def _fitting(self, reading: Iterator[tuple[int, Picture]]) -> Iterator[tuple[int, Picture]]:
        """The pictures for which there is room."""
        room = self._limit
        for i, picture in reading:
            if room >= picture[0].nbytes:
                room -= picture[0].nbytes
                yield i, picture

    def _read_all(self, workers: int, progress: Progress | None) -> Iterator[tuple[int, Picture]]:
        """All readable pictures in order, read by threads a few ahead of their use."""
        count = len(self._paths)
        ahead: deque[Future[tuple[Picture, Image] | str]] = deque()
        small: list[tuple[int, Image | None]] = []
        with ThreadPoolExecutor(workers) as pool:
            for i in range(count + 4 * workers):
                if i < count:
                    ahead.append(pool.submit(self._try, i))
                done = i - 4 * workers
                if done < 0 or not ahead:
                    continue
                made = ahead.popleft().result()
                if progress is not None:
                    progress(done + 1, count)
                if isinstance(made, str):
                    self.unreadable[done] = made
                else:
                    small.append((done, made[1]))
                    if len(small) == 256:
                        self._sketch(small)
                        small = []
                    yield done, made[0]
        self._sketch(small)

    def _try(self, i: int) -> tuple[Picture, Image] | str:
        try:
            picture = self._read(i)
            return picture, tiny(picture[0])
        except ImageError as error:
            return str(error)

    def _read(self, i: int) -> Picture:
        image = read_image(self._paths[i])
        rows, columns = image.shape[:2]
        return resize(image, self._size.of(rows, columns)), (rows, columns)
