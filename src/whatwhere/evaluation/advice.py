"""What `advise` gives: the recommendation, the three ways, and what training both reached."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from whatwhere.evaluation.comparison import plain
from whatwhere.evaluation.labelling import Labelling
from whatwhere.evaluation.latency import Latency
from whatwhere.evaluation.needs import Needs
from whatwhere.metrics.paired import Difference
from whatwhere.types import Task

WORDS: dict[Task, str] = {
    "classify": "single-label classification",
    "multilabel": "multi-label classification",
    "detect": "object detection",
}


@dataclass(frozen=True, slots=True)
class Way:
    """One of the three ways.

    Args:
        serves: whether it can answer what these labels say.
        answers: what it answers.
        why: with figures, why it serves or what it loses.
        labelling: cost of labelling these pictures so.
        latency: of a shipped model of the kind on this machine; None if not timed.
    """

    serves: bool
    answers: str
    why: str
    labelling: Labelling
    latency: Latency | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    """One way, trained and measured.

    Args:
        task: what was trained.
        model, folder: the network and its run.
        what: mAP of telling which classes a picture shows; a class has its best box's score.
        metrics: its own numbers on the same pictures.
        ms: median milliseconds for one picture.
        seconds: of training.
    """

    task: Task
    model: str
    folder: str
    what: float | None
    metrics: Mapping[str, float | None]
    ms: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Trials:
    """Both ways, trained on the same pictures and measured on the same others.

    Args:
        trials: multi-label first, then detection.
        difference: of `what`, detection less multi-label.
        images: pictures that they were measured on.
        notes: what weakens the comparison.
    """

    trials: tuple[Trial, ...]
    difference: Difference
    images: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Advice:
    """A recommendation.

    Args:
        task: what to train.
        clear: it does not depend on what is wanted beyond the labels.
        reasons: sentences with figures, the weightiest first.
        otherwise: when another way would be right; "" if never.
        warnings: what is to be mended whatever is trained.
        ways: each of the three.
        needs: what was measured.
        assumptions: sentences.
        trials: what training both gave; None if not tried.
    """

    task: Task
    clear: bool
    reasons: tuple[str, ...]
    otherwise: str
    warnings: tuple[str, ...]
    ways: Mapping[Task, Way]
    needs: Needs
    assumptions: tuple[str, ...]
    trials: Trials | None = None

    @property
    def sentence(self) -> str:
        """The recommendation."""
        return f"train {WORDS[self.task]} (--task {self.task}): {self.reasons[0]}"

    def to_dict(self) -> dict[str, Any]:
        """The JSON form of `advise --json`."""
        made: dict[str, Any] = {
            "recommended": self.task,
            "clear": self.clear,
            "sentence": self.sentence,
            "reasons": list(self.reasons),
            "otherwise": self.otherwise,
            "warnings": list(self.warnings),
            "ways": {task: _way(way) for task, way in self.ways.items()},
            "needs": self.needs.to_dict(),
            "assumptions": list(self.assumptions),
        }
        if self.trials is not None:
            made["trials"] = {
                "images": self.trials.images,
                "models": [
                    {
                        "task": one.task,
                        "model": one.model,
                        "run": one.folder,
                        "what_mAP": one.what,
                        "metrics": dict(one.metrics),
                        "ms": one.ms,
                        "seconds": one.seconds,
                    }
                    for one in self.trials.trials
                ],
                "what_mAP": plain(self.trials.difference),
                "notes": list(self.trials.notes),
            }
        return made


def _way(way: Way) -> dict[str, Any]:
    return {
        "serves": way.serves,
        "answers": way.answers,
        "why": way.why,
        "labelling": way.labelling.to_dict(),
        "latency": None
        if way.latency is None
        else {
            "model": way.latency.model,
            "ms": round(way.latency.ms, 2),
            "size": list(way.latency.size),
        },
    }
