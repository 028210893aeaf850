"""From a data set to batches: cached pictures, augmented samples, tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray

from whatwhere.data import Dataset
from whatwhere.errors import ImageError, TrainError
from whatwhere.images import read_image
from whatwhere.train.augment import Sample, affine, crop, mirror, mosaic, recolour
from whatwhere.train.batch import NO_CLASS, Batch, BoxTargets
from whatwhere.train.config import TrainConfig
from whatwhere.transforms import resize
from whatwhere.types import Image

Progress = Callable[[int, int], None]


class Pictures:
    """Training pictures at working size: decoded once, kept in memory up to a limit.

    Args:
        paths: the files.
        size: (height, width) of the model's input; a picture is shrunk until it fits in
            `enlarged` times that, never enlarged.
        limit: bytes to keep; what does not fit is read again each time.
        enlarged: see `size`; 1 for detection, more where crops are taken.
        cover: shrink until the shorter side fits, not the longer one.
    """

    def __init__(
        self,
        paths: Sequence[str],
        size: tuple[int, int],
        limit: int,
        *,
        enlarged: float = 1.0,
        cover: bool = False,
    ) -> None:
        self._paths, self._size, self._cover = paths, size, cover
        self._enlarged = enlarged
        self._kept: dict[int, tuple[Image, tuple[int, int]]] = {}
        self._room = limit
        self.unreadable: dict[int, str] = {}

    def load_all(self, workers: int, progress: Progress | None = None) -> None:
        """Read every picture once, so that faults show before training starts."""
        with ThreadPoolExecutor(workers) as pool:
            for i, made in enumerate(pool.map(self._try, range(len(self._paths)))):
                if isinstance(made, str):
                    self.unreadable[i] = made
                elif self._room >= made[0].nbytes:
                    self._room -= made[0].nbytes
                    self._kept[i] = made
                if progress is not None:
                    progress(i + 1, len(self._paths))

    def __getitem__(self, i: int) -> tuple[Image, tuple[int, int]]:
        """The picture at working size, and its original (height, width)."""
        kept = self._kept.get(i)
        return self._read(i) if kept is None else kept

    def _try(self, i: int) -> tuple[Image, tuple[int, int]] | str:
        try:
            return self._read(i)
        except ImageError as error:
            return str(error)

    def _read(self, i: int) -> tuple[Image, tuple[int, int]]:
        image = read_image(self._paths[i])
        rows, columns = image.shape[:2]
        ratios = (
            self._enlarged * self._size[0] / rows,
            self._enlarged * self._size[1] / columns,
        )
        ratio = min(1.0, max(ratios) if self._cover else min(ratios))
        target = (max(1, round(rows * ratio)), max(1, round(columns * ratio)))
        return resize(image, target), (rows, columns)


class Samples:
    """Augmented samples of a training set.

    Args:
        data: pictures with labels.
        size: (height, width) of the model's input.
        config: what to do with them.
        progress: called while the pictures are read for the first time.

    Raises:
        TrainError: no picture can be read.
    """

    def __init__(
        self,
        data: Dataset,
        size: tuple[int, int],
        config: TrainConfig,
        progress: Progress | None = None,
    ) -> None:
        self.size, self.config = size, config
        detect = config.task == "detect"
        self.pictures = Pictures(
            data.paths,
            size,
            config.cache * 2**20,
            enlarged=1.0 if detect else config.zoom,
            cover=not detect,
        )
        self.pictures.load_all(config.workers, progress)
        self.rows = np.array(
            [i for i in range(len(data)) if i not in self.pictures.unreadable], np.int64
        )
        if not self.rows.size:
            first = next(iter(self.pictures.unreadable.values()), "there is none")
            raise TrainError(f"no training picture can be read ({first}): check the data set")
        self._data, self._classes = data, len(data.names)
        self._known = _known(data, "complete" if detect else "labelled")
        data.targets(0)  # builds its arrays here, before the threads need them

    def __len__(self) -> int:
        return len(self.rows)

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Rows of an epoch in random order."""
        return np.random.default_rng([self.config.seed, epoch]).permutation(self.rows)

    def sample(self, row: int, epoch: int, position: int, use_mosaic: bool) -> Sample:
        """One augmented sample, a function of its arguments and the seed alone."""
        rng = np.random.default_rng([self.config.seed, epoch, position, 1])
        if self.config.task != "detect":
            image, _ = self.pictures[row]
            plain = self._sample(row, crop(image, self.size, self.config, rng), (1, 1))
        elif use_mosaic and rng.random() < self.config.mosaic:
            others = [int(i) for i in rng.choice(self.rows, 3)]
            parts = [self._source(i) for i in (row, *others)]
            rng.shuffle(parts)
            plain = mosaic(parts, self.size, self.config, rng)
        else:
            plain = affine(self._source(row), self.size, self.config, rng)
        flipped = mirror(plain, self.config, rng)
        image = recolour(flipped.image, self.config.colour, rng)
        return Sample(image, flipped.boxes, flipped.classes, flipped.ignore, flipped.known)

    def _source(self, row: int) -> Sample:
        image, original = self.pictures[row]
        return self._sample(row, image, original)

    def _sample(self, row: int, image: Image, original: tuple[int, int]) -> Sample:
        targets = self._data.targets(row)
        if self.config.task == "detect":
            # Where a label without a box is, nobody knows; `known` leaves its class out.
            targets = targets.located()
        boxes = np.zeros((0, 4), np.float32)
        if self.config.task == "detect" and targets.boxes is not None:
            factor = np.array(
                [image.shape[1] / original[1], image.shape[0] / original[0]] * 2, np.float32
            )
            boxes = targets.boxes * factor
        known = None if self._known is None else self._known[row]
        return Sample(image, boxes, targets.class_ids, targets.ignore, known)

    def batch(
        self, rows: NDArray[np.int64], epoch: int, start: int, use_mosaic: bool, stride: int = 1
    ) -> Batch:
        """A batch of rows, which are at positions `start`, `start + stride`, ... of the epoch."""
        made = [
            self.sample(int(row), epoch, start + i * stride, use_mosaic)
            for i, row in enumerate(rows)
        ]
        images = torch.from_numpy(np.stack([sample.image for sample in made]))
        kept = tuple(int(row) for row in rows)
        if self.config.task == "detect":
            return Batch(images, boxes=_box_targets(made), rows=kept)
        if self.config.task == "classify":
            classes = torch.tensor([_single(sample) for sample in made])
            return Batch(images, classes=classes, rows=kept)
        present = torch.zeros(len(made), self._classes)
        known = torch.ones(len(made), self._classes, dtype=torch.bool)
        for i, sample in enumerate(made):
            if sample.known is not None:
                known[i] = torch.from_numpy(sample.known)
            present[i, torch.from_numpy(sample.classes[~sample.ignore])] = 1
            known[i, torch.from_numpy(sample.classes)] = True
            known[i, torch.from_numpy(sample.classes[sample.ignore])] = False
        return Batch(images, present=present, known=known, rows=kept)

    def files(self, rows: Sequence[int]) -> list[str]:
        """The files of pictures, by `Batch.rows`."""
        return [self._data.paths[row] for row in rows]

    def epoch(
        self,
        epoch: int,
        steps: int,
        use_mosaic: bool,
        *,
        pictures: int = 0,
        rank: int = 0,
        ranks: int = 1,
    ) -> Iterator[Batch]:
        """The batches of an epoch's steps, made by threads a few ahead of their use.

        Args:
            epoch: its number; with the seed it decides everything that is random.
            steps: how many; the order starts again where the set is smaller.
            use_mosaic: whether samples may be made of several pictures.
            pictures: a step, of all processes together; the settings' batch if 0.
            rank, ranks: which of how many processes this is. It gets every `ranks`-th picture
                of each step, so any cut of a step into equal parts is the same for all.
        """
        # A batch of one can leave batch norms a single value, so a lone picture comes twice.
        size = pictures or min(self.config.batch, max(2, len(self)))
        order = np.resize(self.order(epoch), steps * size)
        with ThreadPoolExecutor(self.config.workers) as pool:
            ahead: list[Future[Batch]] = []
            for step in range(steps + self.config.workers + 1):
                if step < steps:
                    start = step * size + rank
                    rows = order[start : (step + 1) * size : ranks]
                    ahead.append(pool.submit(self.batch, rows, epoch, start, use_mosaic, ranks))
                if step > self.config.workers or step >= steps:
                    if not ahead:
                        return
                    yield ahead.pop(0).result()


def _known(data: Dataset, column: str) -> NDArray[np.bool_] | None:
    from whatwhere.metrics.partial import known_pairs

    return known_pairs(data, column)  # type: ignore[arg-type]


def _single(sample: Sample) -> int:
    """The class of a picture; `NO_CLASS` if it has no label or one that is to be ignored."""
    classes = sample.classes[~sample.ignore]
    return int(classes[0]) if classes.size else NO_CLASS


def _box_targets(samples: list[Sample]) -> BoxTargets:
    most = max(len(sample.classes) for sample in samples)
    boxes = torch.zeros(len(samples), most, 4)
    classes = torch.zeros(len(samples), most, dtype=torch.int64)
    valid = torch.zeros(len(samples), most, dtype=torch.bool)
    ignore = torch.zeros(len(samples), most, dtype=torch.bool)
    for i, sample in enumerate(samples):
        n = len(sample.classes)
        boxes[i, :n] = torch.from_numpy(sample.boxes)
        classes[i, :n] = torch.from_numpy(sample.classes)
        ignore[i, :n] = torch.from_numpy(sample.ignore)
        valid[i, :n] = True
    known = [sample.known for sample in samples]
    if all(part is None for part in known):
        return BoxTargets(boxes, classes, valid, ignore)
    width = next(len(part) for part in known if part is not None)
    rows = [np.ones(width, bool) if part is None else part for part in known]
    return BoxTargets(boxes, classes, valid, ignore, torch.from_numpy(np.stack(rows)))
