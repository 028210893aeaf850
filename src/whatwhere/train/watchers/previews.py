"""Sheets of pictures for people: what the network gets, and what it answers.

`previews/samples-mixed.png` and `samples-plain.png` show the first samples of training with
and without mosaics and mixing; `predictions-<epoch>.png` show the same validation pictures
each time, their labels beside the answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath

from torch import Tensor

from whatwhere.data import Dataset
from whatwhere.images import write_image
from whatwhere.outputs.contact import fitted, grid, headed, with_legend
from whatwhere.outputs.labels import PictureLabels, draw_labels, many_colours, shrink
from whatwhere.outputs.pen import Pen
from whatwhere.outputs.words import percent
from whatwhere.train.batch import NO_CLASS, Batch
from whatwhere.train.config import TrainConfig
from whatwhere.train.loop import CHECKPOINT
from whatwhere.train.samples import Samples
from whatwhere.train.watchers.answers import Answers
from whatwhere.types import Image, Prediction, Task

FOLDER = "previews"

_SHOWN = 12
_COLUMNS = 4
_CELL = 320
_LEGEND = 40


class Previews:
    """A watcher that draws the sheets.

    Args:
        samples: training set; it is let go once the first sheets are drawn.
        threshold: answers with a lower score are not drawn.
    """

    def __init__(self, samples: Samples, threshold: float) -> None:
        self._samples: Samples | None = samples
        self._threshold = threshold
        self._task: Task = "classify"
        self._every = self._validations = 0
        self._answers: Answers | None = None
        self._folder = Path()
        self._waiting: tuple[int, list[Prediction]] | None = None

    def started(
        self, config: TrainConfig, folder: Path, first_batch: Batch, names: Sequence[str]
    ) -> None:
        """Draw the first samples of a new run; those of a resumed one are there already."""
        samples, self._samples = self._samples, None
        self._every, self._folder = config.previews, folder / FOLDER
        self._task = config.task
        if not config.previews or samples is None or (folder / CHECKPOINT).exists():
            return
        for old in self._folder.glob("*.png"):
            old.unlink()
        second = config.mosaic if config.task == "detect" else config.cutmix
        if config.mosaic_until and max(second, config.mixup) > 0:
            heading = "The first samples: augmented, some made of several pictures"
            self._write("mixed", first_batch, samples, names, heading)
            first_batch = next(iter(samples.epoch(0, 1, False)))
        heading = "Samples: augmented, none made of several pictures"
        self._write("plain", first_batch, samples, names, heading)

    def _write(
        self, kind: str, batch: Batch, samples: Samples, names: Sequence[str], heading: str
    ) -> None:
        files = [PurePath(path).name for path in samples.files(batch.rows[:_SHOWN])]
        sheet = sample_sheet(batch, names, files, heading)
        write_image(self._folder / f"samples-{kind}.png", sheet)

    def epoch(self, row: Mapping[str, float]) -> None:
        """Nothing to draw."""

    def validated(self, epoch: int, dataset: Dataset, predictions: Sequence[Prediction]) -> None:
        """Draw the answers, at the first validation and then every few."""
        if not self._every:
            return
        if self._answers is None:
            self._answers = Answers.choose(dataset, self._task, self._threshold)
        self._waiting = (epoch, [predictions[row] for row in self._answers.rows])
        if self._validations % self._every == 0:
            self._draw()
        self._validations += 1

    def finished(self, folder: Path) -> None:
        """Draw the last answers too."""
        self._draw()

    def _draw(self) -> None:
        if self._waiting is not None and self._answers is not None and self._answers.rows:
            epoch, predictions = self._waiting
            sheet = self._answers.sheet(predictions, f"After epoch {epoch}")
            write_image(self._folder / f"predictions-{epoch}.png", sheet)
        self._waiting = None


def sample_sheet(batch: Batch, names: Sequence[str], files: Sequence[str], heading: str) -> Image:
    """The first twelve pictures of a batch, exactly as a training step gets them.

    Boxes of regions that the loss leaves out are dashed.

    Args:
        batch: one step's samples.
        names: of the classes.
        files: what each sample was made from.
        heading: a line on top.

    Returns:
        RGB uint8 (H, W, 3), at most 1340 pixels wide.
    """
    images = batch.images[:_SHOWN].cpu().numpy()
    targets = [_targets(batch, i, names) for i in range(len(images))]
    counts = Counter(name for target in targets for name in target.names)
    colours = many_colours(name for name, _ in counts.most_common())
    cells = []
    for i, (image, target) in enumerate(zip(images, targets, strict=True)):
        small, ratio = shrink(image, _CELL)
        drawn = draw_labels(small, target, scale=ratio, colours=colours, least=_CELL)
        cells.append((fitted(drawn, _CELL), (_words(batch, i, names), f"from {files[i]}")))
    pen = Pen(14)
    sheet = headed(grid(cells, min(_COLUMNS, len(cells)), _CELL, pen), heading)
    if not counts:
        return sheet
    return with_legend(sheet, Counter(dict(counts.most_common(_LEGEND))), colours, pen)


def _targets(batch: Batch, i: int, names: Sequence[str]) -> PictureLabels:
    if batch.boxes is None:
        return PictureLabels([], None, [])
    valid = batch.boxes.valid[i].cpu().numpy()
    classes = batch.boxes.classes[i].cpu().numpy()[valid]
    return PictureLabels(
        [names[number] for number in classes],
        batch.boxes.boxes[i].cpu().numpy()[valid],
        batch.boxes.ignore[i].cpu().numpy()[valid].tolist(),
    )


def _words(batch: Batch, i: int, names: Sequence[str]) -> str:
    """What the loss is told of sample `i`."""
    if batch.boxes is not None:
        count = int(batch.boxes.valid[i].sum())
        ignored = int((batch.boxes.valid[i] & batch.boxes.ignore[i]).sum())
        text = f"{count} box" + ("" if count == 1 else "es")
        text += f", {ignored} ignored (dashed)" if ignored else ""
        return text + _unknown(batch.boxes.known, i)
    if batch.present is None:
        number = NO_CLASS if batch.classes is None else int(batch.classes[i])
        return "no label" if number == NO_CLASS else names[number]
    shares = batch.present[i].tolist()
    shown = sorted((place for place, share in enumerate(shares) if share), key=lambda p: -shares[p])
    said = [names[p] if shares[p] == 1 else f"{names[p]} {percent(shares[p])}" for p in shown]
    return (", ".join(said) or "no label") + _unknown(batch.known, i)


def _unknown(known: Tensor | None, i: int) -> str:
    count = 0 if known is None else int((~known[i]).sum())
    return f", {count} class{'' if count == 1 else 'es'} unknown" if count else ""
