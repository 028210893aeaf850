"""From a data set to batches: which picture, how it is changed, made ahead by threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from whatwhere.data import Dataset
from whatwhere.errors import TrainError
from whatwhere.metrics.partial import known_pairs
from whatwhere.train.augment import Sample, affine, crop, mirror, mosaic, recolour
from whatwhere.train.batch import Batch
from whatwhere.train.collate import collate
from whatwhere.train.config import TrainConfig
from whatwhere.train.distort import distort
from whatwhere.train.mixing import cutmix_labels, mixup_labels, mixup_objects
from whatwhere.train.order import epoch_order, repeat_factors
from whatwhere.train.picture_cache import Pictures, Progress, WorkingSize
from whatwhere.train.tiles import cut
from whatwhere.types import Boxes, Image, Scores


class Objects(NamedTuple):
    """Objects of a picture: boxes (K, 4) in pixels of its file, classes (K,), scores (K,)."""

    boxes: Boxes
    classes: NDArray[np.int64]
    scores: Scores


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
        working = WorkingSize(
            size,
            enlarged=1.0 if detect else config.zoom,
            cover=not detect,
            least=max(size) / config.tile if config.tile else 0.0,
        )
        self.pictures = Pictures(data.paths, working, config.cache * 2**20, config.cache_folder)
        self.pictures.load_all(config.workers, progress)
        self.rows = np.array(
            [i for i in range(len(data)) if i not in self.pictures.unreadable], np.int64
        )
        if not self.rows.size:
            first = next(iter(self.pictures.unreadable.values()), "there is none")
            raise TrainError(f"no training picture can be read ({first}): check the data set")
        self._data, self._classes = data, len(data.names)
        self._known = known_pairs(data, "complete" if detect else "labelled")
        self._factors = repeat_factors(data, self.rows, config.balance)
        self._shares = np.cumsum(self._factors)
        # What a teacher adds to a batch; asked in the threads that make it.
        self.teach: Callable[[Batch], Batch] | None = None
        # What a teacher said beforehand of each picture, beside its labels.
        self.answers: Sequence[Objects] | None = None
        self.notes = list(self.pictures.notes)
        if config.balance:
            often = float(self._factors.max() / self._factors.min())
            self.notes.append(
                f"balance: pictures of the rarest classes come up to {often:.1f} times as often"
                " as those of the most frequent ones"
            )
        data.targets(0)  # builds its arrays here, before the threads need them

    def __len__(self) -> int:
        return len(self.rows)

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Rows of an epoch in random order, a function of the seed and the epoch alone."""
        config = self.config
        return epoch_order(self.rows, self._factors, config.repeats, config.seed, epoch)

    def sample(self, row: int, epoch: int, position: int, use_mosaic: bool) -> Sample:
        """One augmented sample, a function of its arguments and the seed alone.

        Args:
            row: which picture.
            epoch, position: what the random choices follow from, with the seed.
            use_mosaic: whether pictures may be put together: mosaic, mixup and cutmix.
        """
        config = self.config
        rng = np.random.default_rng([config.seed, epoch, position, 1])
        made = self._one(row, use_mosaic, rng)
        if not use_mosaic or not (config.mixup or config.cutmix):
            return made
        draw = rng.random()
        if draw >= config.mixup + config.cutmix:
            return made
        other = self._one(self._others(1, rng)[0], use_mosaic, rng)
        if config.task == "detect":
            return mixup_objects(made, other, rng)
        mix = mixup_labels if draw < config.mixup else cutmix_labels
        return mix(made, other, config.task, self._classes, rng)

    def _one(self, row: int, use_mosaic: bool, rng: np.random.Generator) -> Sample:
        """A sample of one picture, or of four in a mosaic."""
        if self.config.task != "detect":
            image, _ = self.pictures[row]
            plain = self._sample(row, crop(image, self.size, self.config, rng), (1, 1))
        elif use_mosaic and rng.random() < self.config.mosaic:
            parts = [self._part(i, rng) for i in (row, *self._others(3, rng))]
            rng.shuffle(parts)
            plain = mosaic(parts, self.size, self.config, rng)
        elif self.config.tile:
            source, original = self._source(row)
            plain = cut(source, original, self.size, self.config, rng)
        else:
            plain = affine(self._source(row)[0], self.size, self.config, rng)
        flipped = mirror(plain, self.config, rng)
        coloured = recolour(flipped.image, self.config.colour, rng)
        return replace(flipped, image=distort(coloured, self.config.distort, rng))

    def _others(self, count: int, rng: np.random.Generator) -> list[int]:
        """Further pictures to put together with one, each as often as the order shows it."""
        places = np.searchsorted(self._shares, rng.random(count) * self._shares[-1], side="right")
        return [int(self.rows[min(place, len(self.rows) - 1)]) for place in places]

    def _part(self, row: int, rng: np.random.Generator) -> Sample:
        """One picture of a mosaic."""
        source, original = self._source(row)
        if not self.config.tile:
            return source
        return cut(source, original, self.size, replace(self.config, zoom=1.0), rng)

    def _source(self, row: int) -> tuple[Sample, tuple[int, int]]:
        """A picture at working size with its boxes, and its original (height, width)."""
        image, original = self.pictures[row]
        return self._sample(row, image, original), original

    def _sample(self, row: int, image: Image, original: tuple[int, int]) -> Sample:
        targets = self._data.targets(row)
        if self.config.task == "detect":
            # Where a label without a box is, nobody knows; `known` leaves its class out.
            targets = targets.located()
        boxes = np.zeros((0, 4), np.float32)
        known = None if self._known is None else self._known[row]
        if self.config.task != "detect":
            return Sample(image, boxes, targets.class_ids, targets.ignore, known)
        boxes = boxes if targets.boxes is None else targets.boxes
        classes, ignore, said = targets.class_ids, targets.ignore, None
        if self.answers is not None:
            extra = self.answers[row]
            said = np.concatenate([np.full(len(boxes), np.nan, np.float32), extra.scores])
            boxes = np.concatenate([boxes, extra.boxes])
            classes = np.concatenate([classes, extra.classes])
            ignore = np.concatenate([ignore, np.zeros(len(extra.scores), bool)])
        factor = np.array(
            [image.shape[1] / original[1], image.shape[0] / original[0]] * 2, np.float32
        )
        return Sample(image, boxes * factor, classes, ignore, known, said=said)

    def batch(
        self, rows: NDArray[np.int64], epoch: int, start: int, use_mosaic: bool, stride: int = 1
    ) -> Batch:
        """A batch of rows, which are at positions `start`, `start + stride`, ... of the epoch."""
        made = [
            self.sample(int(row), epoch, start + i * stride, use_mosaic)
            for i, row in enumerate(rows)
        ]
        kept = tuple(int(row) for row in rows)
        batch = collate(made, self.config.task, self._classes, kept)
        return batch if self.teach is None else self.teach(batch)

    def weigh(self, factors: NDArray[np.float64]) -> None:
        """Show pictures more or less often: a factor for each of `rows`, beside `balance`."""
        self._factors = self._factors * factors
        self._shares = np.cumsum(self._factors)

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

        An error in a thread is raised here when its batch is due; nothing more is begun then.

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
        ahead: deque[Future[Batch]] = deque()
        # These threads share the work already; OpenCV's own would only disturb torch's.
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)
        pool = ThreadPoolExecutor(self.config.workers, thread_name_prefix="whatwhere-samples")
        try:
            for step in range(steps):
                start = step * size + rank
                rows = order[start : (step + 1) * size : ranks]
                ahead.append(pool.submit(self.batch, rows, epoch, start, use_mosaic, ranks))
                if len(ahead) > self.config.workers + 1:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
            cv2.setNumThreads(threads)
