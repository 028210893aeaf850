"""Write down what a file of others is, so that everything works with it as with one of ours."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from whatwhere.errors import ModelError, UsageError
from whatwhere.images import write_atomic
from whatwhere.runtime.backends import open_backend
from whatwhere.runtime.foreign.backend import ForeignBackend
from whatwhere.runtime.foreign.facts import Facts, Hints
from whatwhere.runtime.foreign.recognition import (
    NAMES_SUFFIX,
    candidates,
    described,
    read_names,
    trial_pictures,
    tried,
)
from whatwhere.runtime.onnxfile import read_header
from whatwhere.runtime.onnxwrite import with_metadata
from whatwhere.runtime.predictor import Predictor
from whatwhere.specs import SPEC_KEY, ModelSpec
from whatwhere.transforms import Fit, Resample

BESIDE = ".whatwhere.json"
"""A file of the model's name and this suffix holds its spec, where the model itself does not."""

Three = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Imported:
    """A file of others with its spec.

    Args:
        model: what to load from now on.
        spec_file: where the spec is: the same, or the file beside it.
        spec: what was found.
        notes: what was taken for granted, for people.
    """

    model: Path
    spec_file: Path
    spec: ModelSpec
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The JSON form of `models import --json`."""
        return {
            "model": str(self.model),
            "spec_file": str(self.spec_file),
            "taken_for": self.spec.architecture,
            "notes": list(self.notes),
            "spec": self.spec.model_dump(mode="json"),
        }


def import_model(
    file: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    names: Sequence[str] | None = None,
    family: str | None = None,
    size: tuple[int, int] | None = None,
    pixels: str | None = None,
    mean: Three | None = None,
    std: Three | None = None,
    bgr: bool | None = None,
    fit: Fit | None = None,
    crop: float | None = None,
    resample: Resample | None = None,
    softmax: bool | None = None,
    task: Literal["classify", "multilabel"] | None = None,
    license: str | None = None,
    name: str | None = None,
) -> Imported:
    """Find out what an ONNX file of others is, try it, and write its spec.

    Args:
        file: the exported model.
        out: a copy with the spec inside; without it the spec is written beside the file.
        names: class names in the order of its outputs, "-" for an output that is no class; by
            default those in the file, in its configuration, in the file of the same name with the
            suffix `.names`, or COCO's or ImageNet's where their number fits.
        family: what its answers are, a key of `READERS`; by default it is recognised.
        size: (height, width) of the input, where the graph leaves it open.
        pixels: "unit", "raw", "imagenet", "half" or "caffe", see `pixels.PIXELS`.
        mean, std: of the pixels, for red, green, blue; they replace those of `pixels`.
        bgr: the graph takes blue, green, red.
        fit, crop, resample: as in `transforms.Preprocess`.
        softmax: a classifier's answers are probabilities already; by default a trial tells.
        task: "multilabel" for a classifier with independent classes.
        license: of the weights, as an SPDX expression; by default what the file says.
        name: of the model; by default that of the file.

    Raises:
        ModelError: it is damaged, of no known form, could be read in several ways, or does not
            answer as such a model does; the message says what to do.
        UsageError: an argument does not fit the file, or the file is a model of ours.
    """
    path = Path(file)
    header = read_header(path, str(path))
    if SPEC_KEY in header.metadata:
        raise UsageError(f"{path} has a model spec already: it can be used as it is")
    target = None if out is None else Path(out)
    if target is not None:
        _check_target(path, target, bool(header.external))
    given = tuple(names) if names is not None else None
    hints = Hints(
        family, given, size, pixels, mean, std, bgr, fit, crop, resample, softmax, task, license
    )
    facts = Facts(header, path, str(path), hints)
    if size is not None and facts.size is not None and facts.size != size:
        raise UsageError(
            f"{path} takes pictures of {facts.size[0]} x {facts.size[1]} pixels (height x width),"
            f" not {size[0]} x {size[1]}: leave the size out"
        )
    found = candidates(facts)
    engine = open_backend("onnxruntime", path)
    one = tried(found, engine, facts)
    beside = path.with_suffix(NAMES_SUFFIX)
    if given is None and beside.is_file():
        given = read_names(beside)
    foreign = described(one, facts, given)
    spec = foreign.spec if name is None else foreign.spec.model_copy(update={"name": name})
    # As it will be used: what decoding refuses is refused now.
    whole = Predictor(spec, ForeignBackend(engine, spec, str(path)))
    whole.predict_images(trial_pictures(spec.preprocess.size))
    if target is None:
        place = beside_of(path)
        about = {"bytes": path.stat().st_size, "spec": spec.model_dump(mode="json")}
        write_atomic(place, json.dumps(about, ensure_ascii=False))
        return Imported(path, place, spec, foreign.notes)
    entries = spec.to_metadata()
    kept = {SPEC_KEY} | {key for key in entries if key not in header.metadata}
    chosen = {key: entries[key] for key in entries if key in kept}
    write_atomic(target, with_metadata(path.read_bytes(), chosen, str(path)))
    return Imported(target, target, spec, foreign.notes)


def beside_of(model: Path) -> Path:
    """Where the spec of a file of others lies that has none inside."""
    return model.with_name(model.name + BESIDE)


def read_beside(model: Path) -> ModelSpec | None:
    """The spec beside a file; None if there is none.

    Raises:
        ModelError: it is damaged, or of another file.
    """
    place = beside_of(model)
    if not place.is_file():
        return None
    try:
        about = json.loads(place.read_bytes())
        size, spec = about["bytes"], ModelSpec.model_validate(about["spec"])
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise ModelError(
            f"{place} cannot be read as a model spec: delete it, or import the model again"
        ) from error
    if size != model.stat().st_size or spec.graph is None:
        raise ModelError(
            f"{place} is the spec of another file than {model}: import the model again"
        )
    return spec


def _check_target(path: Path, target: Path, external: bool) -> None:
    if target.resolve() == path.resolve():
        raise UsageError(
            f"{target} is the file itself: give another file, or leave it out to have the spec"
            " written beside it"
        )
    if target.suffix.lower() != ".onnx":
        raise UsageError(f"{target} must end in .onnx: it is a model file")
    if external and target.resolve().parent != path.resolve().parent:
        raise UsageError(
            f"{path} keeps its weights in other files: write the copy into the same folder"
        )
