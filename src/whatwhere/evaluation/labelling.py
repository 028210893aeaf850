"""What labelling costs: seconds of work for each way of labelling the same pictures.

The seconds are assumptions, to be replaced by one's own. What others measured:

- a box: 7 s by clicking on the four extreme points, 35 s for one of high quality drawn the
  usual way (Papadopoulos et al., Extreme Clicking for Efficient Object Annotation, ICCV 2017);
  6.5 s with the class spoken, 12.5 s in two stages (Gygli and Ferrari, Efficient Object
  Annotation via Speaking and Pointing, arXiv 1905.10576);
- a class without its box: 5.1 s of those 12.5 s, the first of the two stages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from whatwhere.data import Dataset
from whatwhere.errors import UsageError
from whatwhere.metrics.detection import true_boxes
from whatwhere.types import Task

SECONDS_PER_LABEL = 3.0
SECONDS_PER_BOX = 10.0

MEASURED = (
    "measured by others: 7 s a box by extreme clicking and 35 s drawn the usual way (Papadopoulos"
    " et al., ICCV 2017), 6.5 to 12.5 s with its class (Gygli and Ferrari, arXiv 1905.10576)"
)


@dataclass(frozen=True, slots=True)
class Labelling:
    """The cost of labelling one way.

    Args:
        hours: of work, for all pictures of the data set.
        seconds: of work a picture, on average.
        at_least: the true cost may be higher, since nobody knows how many objects there are.
    """

    hours: float
    seconds: float
    at_least: bool = False

    def to_dict(self) -> dict[str, float | bool]:
        """Plain values."""
        return {"hours": self.hours, "seconds": self.seconds, "at_least": self.at_least}


def labelling_costs(
    data: Dataset,
    *,
    seconds_per_label: float = SECONDS_PER_LABEL,
    seconds_per_box: float = SECONDS_PER_BOX,
) -> Mapping[Task, Labelling]:
    """Work for labelling the pictures of a data set in each of the three ways.

    Single-label: one label a picture. Multi-label: one label a class that it shows, one look at
    a picture that shows none. Boxes: each object its box, one look likewise; if the data has
    no boxes, at least one a class that is shown. Ignored labels do not count.

    Raises:
        UsageError: seconds that are not positive.
    """
    for name, value in (("label", seconds_per_label), ("box", seconds_per_box)):
        if not (np.isfinite(value) and value > 0):
            raise UsageError(f"seconds per {name} must be more than 0, not {value}")
    counted = ~data.labels["ignore"].fill_null(False).to_numpy().astype(bool)
    image = data.labels["image"].to_numpy().astype(np.int64)[counted]
    class_id = data.labels["class_id"].to_numpy().astype(np.int64)[counted]
    width = max(len(data.names), 1)
    shown = np.bincount(np.unique(image * width + class_id) // width, minlength=len(data))
    objects, known = shown, data.task == "detect"
    if known:
        truth = true_boxes(data)
        objects = np.bincount(truth.image[~truth.ignore], minlength=len(data))
    looks = seconds_per_label
    seconds: dict[Task, float] = {
        "classify": seconds_per_label * len(data),
        "multilabel": float(np.maximum(shown, 1).sum()) * seconds_per_label,
        "detect": float(np.where(objects > 0, objects * seconds_per_box, looks).sum()),
    }
    return {
        task: Labelling(total / 3600, total / max(len(data), 1), task == "detect" and not known)
        for task, total in seconds.items()
    }
