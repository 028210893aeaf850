"""Fetch a model of another library and make it a model file, proven against that library.

Two comparisons come before anything is written: the file against the network that was exported
(`train.export`, as of every model), and the file's predictions against what the library itself
answers for the same pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from whatwhere.errors import UsageError
from whatwhere.images import write_atomic
from whatwhere.runtime import hub, load_file
from whatwhere.runtime.hub import HubModel
from whatwhere.specs import ModelSpec
from whatwhere.train.export import checked_file
from whatwhere.train.hub.agree import agreement, drawn_pictures
from whatwhere.train.hub.opened import Opened
from whatwhere.types import Image

__all__ = ["Fetched", "fetch"]


@dataclass(frozen=True, slots=True)
class Fetched:
    """A model that is here now.

    Args:
        model: its record.
        file: its model file.
        spec: what the file says.
        parity: largest differences between the network and the file, see `train.export.parity`.
        agreement: with the library's own answers: `found` (how many boxes the library gave for the
            comparison's pictures), `matched` (share of them that the file gives, too), and of these
            the largest differences, `boxes` in input pixels and `scores`.
        notes: sentences for people.
    """

    model: HubModel
    file: Path
    spec: ModelSpec
    parity: Mapping[str, float]
    agreement: Mapping[str, float]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for `models get --json`."""
        return {
            "name": self.model.name,
            "file": str(self.file),
            "source": self.spec.source,
            "license": self.spec.license,
            "classes": len(self.spec.names),
            "published": self.spec.reference.get("published"),
            "parity": dict(self.parity),
            "agreement": dict(self.agreement),
            "notes": list(self.notes),
        }


def fetch(
    name: str,
    *,
    out: Path | None = None,
    source: Path | None = None,
    size: tuple[int, int] | None = None,
    pictures: Sequence[Image] = (),
    progress: bool = False,
) -> Fetched:
    """Get a model's weights, make its model file, compare it twice, write it.

    Args:
        name: one of `runtime.hub.HUB`, or a full name such as "hf:owner/name".
        out: the file to write; the model's place in the cache if None.
        source: the weights on disk, so that nothing is fetched: of torchvision a file of tensors
            (.pth, .pt, .safetensors), of transformers a folder with config.json and
            model.safetensors; or a folder with one of them.
        size: (height, width) of the input in pixels, for families that take any; the usual if None.
        pictures: uint8 (H, W, 3), for the comparisons; drawn ones if empty.
        progress: show the library's progress bar on stderr, if it has one.

    Raises:
        UsageError: the name is unknown, or the size is not for this family.
        TrainError: the weights cannot be had or are of another network, the network cannot be
            exported, or the file's answers differ from the library's; nothing is written then.
        MissingExtraError: transformers is not installed.
    """
    model = hub.get(name)
    if out is not None and out.suffix != ".onnx":
        raise UsageError(f"{out} is no name of a model file: give one that ends with .onnx")
    opened = _opener(model)(model, source, size, progress)
    spec = opened.spec.model_copy(update={"date": datetime.now(UTC).date().isoformat()})
    shown = list(pictures) or drawn_pictures(spec.preprocess.size)
    data, worst = checked_file(opened.net, spec, shown, least=opened.least)
    predictor = load_file(data, where=f"the exported {model.name}", backend="onnxruntime")
    met = agreement(predictor, opened.answer, shown, opened.least)
    notes = list(opened.notes)
    if not met["found"]:
        notes.append(
            f"{model.library} found nothing above {opened.least:g} in the comparison's pictures, so"
            " only the network and the file were compared: give pictures with --check"
        )
    target = out or model.file
    write_atomic(target, data)
    return Fetched(model, target, spec, worst, met, tuple(notes))


def _opener(model: HubModel) -> Callable[..., Opened]:
    if model.library == "torchvision":
        from whatwhere.train.hub.convolutional import open_torchvision

        return open_torchvision
    from whatwhere.train.hub.queries import open_transformers

    return open_transformers
