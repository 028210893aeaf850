"""What should be trained: one class a picture, several, or boxes; from the labels at hand.

`advise` measures what the labels say (`needs`), what labelling costs (`labelling`) and how long
models answer (`latency`), and gives a recommendation with its reasons. What both ways reach when
they are trained on the same pictures comes from `whatwhere.train.try_both`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from whatwhere.data import Dataset
from whatwhere.errors import UsageError
from whatwhere.evaluation.advice import Advice, Trials, Way
from whatwhere.evaluation.labelling import (
    MEASURED,
    SECONDS_PER_BOX,
    SECONDS_PER_LABEL,
    Labelling,
    labelling_costs,
)
from whatwhere.evaluation.latency import Latency, shipped_latency
from whatwhere.evaluation.matching import some
from whatwhere.evaluation.needs import CLOSE, FEW, Needs, needs
from whatwhere.types import TASKS, Task

Need = Literal["what", "count", "where"]

SINGLE = 0.98
"""Single-label serves if at least this share of the labelled pictures shows exactly one class."""

_FILLS = 0.5
"""An object of at least this relative size is as good as the whole picture."""

_OFTEN = 0.05
"""Share of pictures from which on several objects of one class are worth a word."""

_SMALL = 0.1
"""A classifier with an input of 224 pixels sees an object of this relative size in 22."""

_USELESS = 0.1
"""AP of a detector in a trial, below which it has hardly learnt anything."""


def advise(
    data: Dataset,
    *,
    need: Need | None = None,
    seconds_per_label: float = SECONDS_PER_LABEL,
    seconds_per_box: float = SECONDS_PER_BOX,
    trials: Trials | None = None,
    measure: bool = True,
) -> Advice:
    """Would single-label, multi-label or detection serve; read off the labels.

    Args:
        data: labelled pictures; none is opened.
        need: what is wanted: "what" (which classes a picture shows), "count" (how many of
            each), "where" (their places); None if that is open.
        seconds_per_label, seconds_per_box: what a label and a box cost to make.
        trials: of `whatwhere.train.try_both` on the same data.
        measure: time shipped models on this machine, which takes a second or two.

    Raises:
        UsageError: no labels, an unknown need, or seconds that are not positive.
    """
    if need is not None and need not in get_args(Need):
        raise UsageError(f"unknown need {need!r}: use one of {', '.join(get_args(Need))}")
    facts = needs(data)
    costs = labelling_costs(
        data, seconds_per_label=seconds_per_label, seconds_per_box=seconds_per_box
    )
    timed = shipped_latency() if measure else {}
    ways = {task: Way(*_judged(task, facts), costs[task], timed.get(task)) for task in TASKS}
    task, clear, reasons, otherwise = _choice(facts, need, costs)
    if trials is not None:
        before = task
        task, said = _tried(task, need, trials)
        reasons = [reasons[0], said, *reasons[1:]] if task == before else [said, *reasons]
    assumptions = [
        f"{seconds_per_label:g} s a label and {seconds_per_box:g} s a box; {MEASURED}",
        "single-label: one label a picture; multi-label: one a class shown; boxes: one an object;"
        " a picture that shows nothing costs one look",
    ]
    if timed:
        assumptions.append(
            "latency is that of the package's own models on this machine just now, one picture at"
            f" a time: {timed['classify'].model} at {_size(timed['classify'])} and"
            f" {timed['detect'].model} at {_size(timed['detect'])}"
        )
    warnings = _warnings(data, facts)
    if trials is not None and task == "detect":
        warnings = [*_unlearnt(trials), *warnings]
    return Advice(
        task,
        clear,
        tuple(reasons),
        otherwise,
        tuple(warnings),
        ways,
        facts,
        tuple(assumptions),
        trials,
    )


def _judged(task: Task, facts: Needs) -> tuple[bool, str, str]:
    """Whether a way serves, what it answers, and why; without its costs."""
    if task == "classify":
        serves = _is_single(facts)
        if serves:
            why = f"{_share(facts.one_class)} of the pictures show exactly one class"
        else:
            why = f"{_several(facts)}: one label would be wrong or arbitrary there"
        return serves, "which one class a picture shows", why
    if task == "multilabel":
        if facts.always and len(facts.always) == facts.classes:
            return False, "which classes a picture shows", "nearly all pictures show all classes"
        why = f"a picture shows {facts.classes_per_image:.2g} classes on average"
        if _is_single(facts):
            why += ", never several: it answers no more than single-label does"
        if facts.always:
            why += f"; it says nothing on {some(facts.always)}, which nearly all of them show"
        if facts.repeated:
            why += f"; it cannot count, and {_share(facts.repeated)} show a class more than once"
        return True, "which classes a picture shows", why
    if not facts.boxes:
        return False, "which objects, how many and where", "the data has no boxes to learn from"
    why = f"{facts.boxes} boxes are there, {facts.objects_per_image:.3g} a picture"
    return True, "which objects, how many and where", why


def _is_single(facts: Needs) -> bool:
    return facts.one_class >= SINGLE * (1 - facts.empty) and facts.empty <= 1 - SINGLE


def _choice(
    facts: Needs, need: Need | None, costs: Mapping[Task, Labelling]
) -> tuple[Task, bool, list[str], str]:
    """Task, whether that is clear, reasons, and when another would be right."""
    whole: Task = "classify" if _is_single(facts) else "multilabel"
    which = (
        f"{_share(facts.one_class)} of the pictures show exactly one class"
        if whole == "classify"
        else _several(facts)
    )
    boxes, plainly = costs["detect"], costs[whole]
    least = "at least " if boxes.at_least else ""
    times = (
        f"boxes cost {least}{boxes.seconds / plainly.seconds:.2g} times the work of labels"
        f" ({_hours(boxes.hours)} against {_hours(plainly.hours)} for these pictures)"
    )
    if need in ("count", "where"):
        asked = "how many there are" if need == "count" else "where they are"
        have = "" if facts.boxes else ": draw boxes first, the data has none"
        return "detect", True, [f"only boxes say {asked}{have}", times], ""
    if not facts.boxes:
        later = "boxes would be needed to say where things are, or how many"
        if need == "what":
            later = ""
        return whole, True, [which, f"there are no boxes, and {times}"], later
    if need == "what":
        if facts.side is not None and facts.side < _SMALL:
            return "detect", False, [_small_words(facts), times], ""
        reasons = [f"only which classes is asked, and {which}", times]
        if facts.always:
            reasons.append(
                f"of {some(facts.always)} it will say nothing: at least 95 % of the pictures show"
                " them"
            )
        return whole, not facts.always, reasons, ""
    fills = (facts.covered or 0) >= _FILLS**2 and (facts.one_object or 0) >= SINGLE
    if whole == "classify" and fills:
        return (
            "classify",
            True,
            [
                f"{which}, as one object that covers {_share(facts.covered or 0)} of it (median):"
                " its place says little",
                times,
            ],
            "train detection, for which the boxes are there, if the place matters all the same",
        )
    reasons = _for_boxes(facts)
    clear = (facts.repeated or 0) >= 0.75 or bool(facts.always) or (facts.side or 1) < _SMALL
    otherwise = f"{whole} serves if only which classes are in a picture is wanted; {times}"
    if facts.always and len(facts.always) == facts.classes:
        otherwise = ""
    return "detect", clear, reasons, otherwise


def _several(facts: Needs) -> str:
    none = f" and {_share(facts.empty)} none" if facts.empty else ""
    return f"{_share(facts.several_classes)} of the pictures show several classes{none}"


def _for_boxes(facts: Needs) -> list[str]:
    made = []
    if facts.repeated and facts.repeated >= _OFTEN:
        made.append(
            f"{_share(facts.repeated)} of the pictures show some class more than once"
            f" ({facts.objects_per_image:.3g} objects a picture, up to {facts.most_objects}), which"
            " labels of the whole picture cannot say"
        )
    if facts.always:
        made.append(
            f"at least 95 % of the pictures show {some(facts.always)}, so that they are there"
            " says nothing; how many and where does"
        )
    if facts.side is not None and facts.side < _SMALL:
        made.append(_small_words(facts))
    elif facts.side is not None:
        made.append(
            f"an object is {_share(facts.side)} of its picture's side (median), so its place says"
            " something"
        )
    made.append(f"the {facts.boxes} boxes are there already, and answer what, where and how many")
    return made


def _small_words(facts: Needs) -> str:
    return (
        f"objects are small, {_share(facts.side or 0)} of the picture's side (median): a"
        f" classifier with an input of 224 pixels would see them in {224 * (facts.side or 0):.0f}"
    )


def _tried(task: Task, need: Need | None, trials: Trials) -> tuple[Task, str]:
    """The recommendation after both were trained, and a sentence on it."""
    by_task = {one.task: one for one in trials.trials}
    boxes, plainly, gap = by_task["detect"], by_task["multilabel"], trials.difference
    if gap.value is None or boxes.what is None or plainly.what is None:
        return task, "training both gave no number to compare: too few labels"
    sides = (
        f"trained side by side, detection tells which classes a picture shows with mAP"
        f" {boxes.what:.3f}, multi-label with {plainly.what:.3f}"
    )
    if gap.low is not None and gap.high is not None:
        sides += f" (difference {gap.value:+.3f}, {gap.low:+.3f} to {gap.high:+.3f})"
    sides += f", in {boxes.ms:.3g} ms and {plainly.ms:.3g} ms a picture"
    shown = gap.p is not None and gap.p <= 1 - gap.level
    if need == "what" and shown:
        if gap.value > 0:
            return "detect", f"{sides}: detection is better even at that"
        return "multilabel" if task == "detect" else task, f"{sides}: boxes do not help at that"
    word = "better" if gap.value > 0 else "worse"
    ending = f"detection is {word} even at that" if shown else "no difference is shown"
    if shown and word == "worse":
        ending = "detection is worse at that alone"
    return task, f"{sides}: {ending}"


def _unlearnt(trials: Trials) -> list[str]:
    """That the detector of the trial is of no use yet, if so: the advice is not about that one."""
    boxes = next(one for one in trials.trials if one.task == "detect")
    reached = boxes.metrics.get("AP")
    if reached is None or reached >= _USELESS:
        return []
    return [
        f"the detector that was trained here reached AP {reached:.3f} only, in"
        f" {boxes.seconds:.0f} s: what it finds is of no use yet; give more time (--budget), or"
        " more pictures, before it is used"
    ]


def _warnings(data: Dataset, facts: Needs) -> list[str]:
    made = []
    if facts.rare:
        made.append(
            f"{facts.rare} of {facts.classes} classes are in fewer than {FEW} pictures (the rarest"
            f" in {facts.least}): label more of them first, or join them; no way of training"
            " mends that"
        )
    if facts.close and facts.close >= 0.01:
        made.append(
            f"{_share(facts.close)} of the boxes overlap another of their class by an IoU of"
            f" {CLOSE} or more: non-maximum suppression may take the two for one; a model without"
            " it (--set end_to_end=true, or a transformer) does not"
        )
    known = min(data.images[name].null_count() for name in ("labelled", "complete"))
    if known < len(data):
        made.append(
            f"{len(data) - known} pictures are partly labelled: shares and costs count only what"
            " is labelled"
        )
    return made


def _share(value: float) -> str:
    """Per cent; never 100 or 0 where it is not quite that."""
    if 0.995 <= value < 1:
        return f"{min(100 * value, 99.99):.4g} %"
    return f"{100 * value:.2g} %" if value < 0.095 else f"{100 * value:.0f} %"


def _hours(value: float) -> str:
    if value >= 1:
        return f"{value:,.3g} h" if value < 1000 else f"{value:,.0f} h"
    return f"{60 * value:.2g} min" if value < 0.16 else f"{60 * value:.0f} min"


def _size(one: Latency) -> str:
    return f"{one.size[0]} x {one.size[1]}"
