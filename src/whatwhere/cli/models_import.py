"""The command `whatwhere models import`."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from whatwhere.cli._options import Json
from whatwhere.cli.models import models
from whatwhere.errors import UsageError


class _Pixels(StrEnum):
    UNIT = "unit"
    RAW = "raw"
    IMAGENET = "imagenet"
    HALF = "half"
    CAFFE = "caffe"


class _Fit(StrEnum):
    LETTERBOX = "letterbox"
    CORNER = "corner"
    CROP = "crop"
    STRETCH = "stretch"


class _Task(StrEnum):
    CLASSIFY = "classify"
    MULTILABEL = "multilabel"


@models.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="ONNX file that another program exported.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Copy with the spec inside; without it FILE.whatwhere.json is written."),
    ] = None,
    names: Annotated[
        str | None,
        typer.Option(
            help="Class names: a text file, one a line, '-' for an output that is no class; or"
            " coco, or imagenet.",
            show_default=False,
        ),
    ] = None,
    family: Annotated[
        str | None,
        typer.Option("--as", help="What its answers are, if it is not to be recognised."),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(help="Input HEIGHT,WIDTH, where the graph takes any.", show_default=False),
    ] = None,
    pixels: Annotated[
        _Pixels | None,
        typer.Option(
            help="Pixels that it takes: 0..1, 0..255, by ImageNet's mean and deviation, -1..1, or"
            " BGR 0..255 less a mean.",
            show_default=False,
        ),
    ] = None,
    mean: Annotated[
        str | None, typer.Option(help="Of red, green, blue, after scaling.", show_default=False)
    ] = None,
    std: Annotated[
        str | None, typer.Option(help="Of red, green, blue, after scaling.", show_default=False)
    ] = None,
    bgr: Annotated[
        bool | None, typer.Option("--bgr/--rgb", help="Order of the colours.", show_default=False)
    ] = None,
    fit: Annotated[
        _Fit | None, typer.Option(help="How a picture is fitted in.", show_default=False)
    ] = None,
    crop: Annotated[
        float | None,
        typer.Option(help="Central share of the shorter side, for --fit crop.", show_default=False),
    ] = None,
    softmax: Annotated[
        bool | None,
        typer.Option(
            "--softmax/--no-softmax",
            help="A classifier's answers are probabilities, or not; a trial tells.",
            show_default=False,
        ),
    ] = None,
    task: Annotated[
        _Task | None, typer.Option(help="Of a classifier; classify by default.", show_default=False)
    ] = None,
    license: Annotated[
        str | None, typer.Option(help="SPDX expression of the weights' licence.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the model.")] = None,
    as_json: Json = False,
) -> None:
    """Make an ONNX file of others a model: recognise it, try it, write its spec."""
    from whatwhere.runtime.foreign import import_model, named, summary

    made = import_model(
        file,
        out,
        names=None if names is None else named(names),
        family=family,
        size=None if size is None else _size(size),
        pixels=None if pixels is None else pixels.value,
        mean=None if mean is None else _three("--mean", mean),
        std=None if std is None else _three("--std", std),
        bgr=bgr,
        fit=None if fit is None else fit.value,
        crop=crop,
        softmax=softmax,
        task=None if task is None else task.value,
        license=license,
        name=name,
    )
    if as_json:
        typer.echo(json.dumps(made.to_dict(), ensure_ascii=False))
        return
    height, width = made.spec.preprocess.size
    typer.echo(f"{file} is {summary(made.spec)}")
    typer.echo(f"input {height} x {width} px, {made.spec.preprocess.fit}; tried on two pictures")
    typer.echo(f"spec written: {made.spec_file}; use it as --model {made.model}")
    for note in made.notes:
        typer.echo(f"note: {note}", err=True)


def _size(text: str) -> tuple[int, int]:
    try:
        sides = [int(part) for part in text.replace("x", ",").split(",")]
    except ValueError:
        sides = []
    if len(sides) not in (1, 2) or min(sides) < 1:
        raise UsageError(
            f"--size {text!r} is no size: give HEIGHT,WIDTH in pixels, such as 480,640"
        )
    return sides[0], sides[-1]


def _three(option: str, text: str) -> tuple[float, float, float]:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) == 1:
        values *= 3
    if len(values) != 3:
        raise UsageError(f"{option} {text!r} needs one number, or three: red,green,blue")
    return values[0], values[1], values[2]
