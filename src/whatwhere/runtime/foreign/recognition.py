"""What a file of others is: every known way to read it is tried, and one has to be left."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from whatwhere.errors import ModelError, UsageError, WhatwhereError
from whatwhere.runtime.backends import Backend
from whatwhere.runtime.coco import COCO_IDS, COCO_NAMES
from whatwhere.runtime.foreign import classifiers, detr, nanodet, torchvision, yolo
from whatwhere.runtime.foreign.backend import READERS, raw_answers
from whatwhere.runtime.foreign.facts import (
    FLOATS,
    GREY,
    Candidate,
    Facts,
    Unclear,
    checked_names,
    said_of,
)
from whatwhere.specs import ModelSpec, PostprocessSpec, PreprocessSpec

NAMES_SUFFIX = ".names"
"""A file of this suffix beside a model holds its class names, one a line."""
NONE = "-"
"""In place of a class name: this output of the graph is no class."""

_FAMILIES = (
    yolo.FAMILY,
    nanodet.FAMILY,
    detr.FAMILY,
    torchvision.FAMILY,
    classifiers.FAMILY,
)
_KNOWN = (
    "YOLOX, Ultralytics, YOLOv5 to v7, NanoDet, RT-DETR, D-FINE, RF-DETR, torchvision's detectors,"
    " classifiers of torchvision, timm and Keras"
)
# What names of single places mean "no class", in tables that come with models.
_NO_CLASS = {NONE, "N/A", "__background__", "background"}
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Foreign:
    """What a file of others was taken for.

    Args:
        title: its family, for people.
        spec: what ours would say about it.
        notes: what was taken for granted, for people.
    """

    title: str
    spec: ModelSpec
    notes: tuple[str, ...] = ()


def candidates(facts: Facts) -> list[Candidate]:
    """The ways to read a file, as far as it can be told without running it.

    Raises:
        ModelError: there is none; the message says what is missing.
        UsageError: the user asks for a family that is unknown or does not fit.
    """
    asked = facts.hints.family
    if asked is not None and asked not in READERS:
        raise UsageError(f"there is no family {asked!r}: choose one of {', '.join(READERS)}")
    ports = f"{said_of(facts.inputs)} -> {said_of(facts.outputs)}"
    found: list[Candidate] = []
    unclear: list[Unclear] = []
    fits = facts.inputs and facts.outputs and facts.layout is not None
    if fits and facts.pixels.dtype in (*FLOATS, "uint8"):
        for family in _FAMILIES:
            for one in family.candidates(facts):
                if isinstance(one, Unclear):
                    unclear.append(one)
                elif one.graph.family == asked or (asked is None and not one.asked):
                    found.append(one)
    if found:
        return found
    if unclear:
        raise ModelError(f"{facts.where}: {unclear[0].reason}")
    if asked is not None:
        raise UsageError(f"{facts.where} cannot be of family {asked!r}: {ports}")
    raise ModelError(
        f"{facts.where} is not a Whatwhere model, and none of the known exports of others"
        f" ({_KNOWN}): {ports}; give a file written by 'whatwhere train' or 'whatwhere export'"
    )


def tried(found: Sequence[Candidate], backend: Backend, facts: Facts) -> Candidate:
    """The one candidate whose answers to two pictures are what it says.

    Raises:
        ModelError: it is none of them, or more than one.
    """
    left, reasons = [], []
    size = facts.size
    assert size is not None
    pictures = trial_pictures(size)
    for one in found:
        try:
            answers = [raw_answers(backend, one.graph, picture[None]) for picture in pictures]
            if not all(np.isfinite(part).all() for answer in answers for part in answer):
                reason: str | None = "its answers are not finite (NaN or infinite)"
            else:
                reason = one.check(answers, size)
        except WhatwhereError as error:
            reason = str(error)
        except (ValueError, IndexError, KeyError) as error:
            reason = f"its answers are of other shapes ({error})"
        if reason is None:
            left.append(one)
        else:
            reasons.append(f"{one.title}: {reason}")
    if len(left) == 1:
        return left[0]
    if left:
        kinds = ", ".join(f"--as {one.graph.family} ({one.title})" for one in left)
        raise ModelError(f"{facts.where} could be read in several ways: import it with {kinds}")
    raise ModelError(
        f"{facts.where} does not answer as it should (tried on a grey and a coloured picture):"
        f" {'; '.join(reasons)}"
    )


def trial_pictures(size: tuple[int, int]) -> list[NDArray[np.uint8]]:
    """A grey picture and a coloured one with shapes in it, uint8 (height, width, 3)."""
    height, width = size
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (8, 8, 3), np.uint8)
    rows = np.arange(height) * 8 // height
    columns = np.arange(width) * 8 // width
    return [np.full((height, width, 3), GREY, np.uint8), blocks[rows][:, columns]]


def described(one: Candidate, facts: Facts, names: Sequence[str] | None) -> Foreign:
    """The spec of a file that was recognised.

    Args:
        one: how it is read.
        facts: of the file.
        names: class names that its user gives; they win over its own.

    Raises:
        ModelError: it has no class names, or another number of them.
    """
    chosen, columns = _places(one, facts, names)
    hints, metadata = facts.hints, facts.metadata
    size = facts.size
    assert size is not None
    license_name = hints.license if hints.license is not None else metadata.get("license", "")
    stem = "model" if isinstance(facts.model, bytes) else facts.model.stem
    spec = ModelSpec(
        name=hints.name or stem,
        task=one.task,
        names=chosen,
        preprocess=PreprocessSpec(
            size=size,
            fit=hints.fit or one.fit,
            crop=one.crop if hints.crop is None else hints.crop,
            resample=hints.resample or one.resample,
            pad=one.pad,
        ),
        postprocess=PostprocessSpec(
            score_threshold=0.0 if one.task == "classify" else 0.25,
            nms_iou=0.6,
            end_to_end=one.final,
        ),
        graph=one.graph.model_copy(update={"columns": columns}),
        architecture=one.title,
        source=f"a file of others, taken for {one.title}",
        license=license_name,
        date=metadata.get("date", "")[:10],
    )
    noted = one.note and hints.crop is None and hints.fit is None
    return Foreign(one.title, spec, (one.note,) if noted else ())


def announce(foreign: Foreign, where: str) -> None:
    """Say what a file was taken for, on the log; Python shows such lines on stderr."""
    _LOG.warning("%s is not of Whatwhere; taken for %s", where, summary(foreign.spec))


def summary(spec: ModelSpec) -> str:
    """How a graph of others is fed and what it knows, in a line."""
    graph, names = spec.graph, spec.names
    assert graph is not None
    kind = "the names of COCO" if names == COCO_NAMES else f"{names[0]}, ..."
    scaled = ""
    if any(graph.mean) or graph.std != (1.0, 1.0, 1.0):
        mean = ", ".join(f"{value:.4g}" for value in graph.mean)
        std = ", ".join(f"{value:.4g}" for value in graph.std)
        scaled = f" less {mean}, by {std}"
    return (
        f"{spec.architecture}: {'BGR' if graph.bgr else 'RGB'} pixels 0..{255 * graph.scale:g}"
        f"{scaled}, {len(names)} classes ({kind})"
    )


def read_names(file: Path) -> tuple[str, ...]:
    """Class names from a text file, one a line; empty lines are passed over.

    Raises:
        ModelError: it is missing or not text.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{file} cannot be read as class names ({error}): check it") from error
    return tuple(line.strip() for line in lines if line.strip())


def named(text: str) -> tuple[str, ...]:
    """Class names by a file, or those of "coco" or "imagenet"; a file of that name is `./coco`.

    Raises:
        ModelError: the file is missing or not text.
    """
    tables: Mapping[str, tuple[str, ...]] = {"coco": COCO_NAMES}
    if text == "imagenet":
        return classifiers.imagenet_names()
    return tables[text] if text in tables else read_names(Path(text))


def _places(
    one: Candidate, facts: Facts, names: Sequence[str] | None
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Class names, and the place of each among the graph's classes where these differ."""
    table = tuple(names) if names else facts.own or one.named
    if table is None and one.width == len(COCO_NAMES) and one.task == "detect":
        table = COCO_NAMES
    sparse = COCO_IDS[-1] + 1
    if (table is None or table == COCO_NAMES) and one.width == sparse and one.task == "detect":
        return COCO_NAMES, COCO_IDS
    if table == COCO_NAMES and one.first:
        return COCO_NAMES, COCO_IDS
    if table is None or (one.width is not None and len(table) != one.width):
        had = "no class names" if table is None else f"{len(table)} class names"
        file = Path(facts.where).with_suffix(NAMES_SUFFIX).name
        raise ModelError(
            f"{facts.where} answers {one.width or 'some'} classes and has {had}: write them into"
            f" {file} beside it, one a line in the order of its outputs ('{NONE}' for one that is"
            " no class), or give names=... from Python"
        )
    # Names of a graph that counts from 1 may leave the background out, or say it.
    first = one.first if table[0] not in _NO_CLASS else 0
    kept = [(i + first, name) for i, name in enumerate(table) if name not in _NO_CLASS]
    if not kept:
        raise ModelError(f"no class of {facts.where} has a name: correct its names")
    places, chosen = zip(*kept, strict=True)
    same = places == tuple(range(len(table)))
    return checked_names(chosen, facts.where), () if same else tuple(places)
