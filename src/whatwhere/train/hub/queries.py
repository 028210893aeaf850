"""RT-DETR v2 and D-FINE as their authors trained them, from Hugging Face's library.

Only safetensors are read, and no code of a checkpoint is run, see `from_checkpoint`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers.utils import cached_file

from whatwhere.errors import TrainError, UsageError
from whatwhere.runtime.hub import HubModel
from whatwhere.specs import ModelSpec, PostprocessSpec, PreprocessSpec
from whatwhere.train.hub.opened import Answer, Opened
from whatwhere.train.models._transformers import need_extra
from whatwhere.train.models._transformers_start import HUB, from_checkpoint
from whatwhere.types import Image

_SIDE = 640
_LEAST = 0.05
_THRESHOLD = 0.5
"""The library's default score threshold."""
_KINDS = {
    "rt_detr_v2": ("RTDetrV2Config", "RTDetrV2ForObjectDetection"),
    "d_fine": ("DFineConfig", "DFineForObjectDetection"),
}


def open_transformers(
    model: HubModel, source: Path | None, size: tuple[int, int] | None, progress: bool
) -> Opened:
    """A detection transformer with its weights, classes and preprocessing.

    Args:
        model: its record.
        source: folder with config.json and model.safetensors, or a file in it; the hub if None.
        size: must be None: positions in the encoder are learnt for one size.
        progress: not used; the library's own progress bars are quiet.

    Raises:
        UsageError: a size is given.
        MissingExtraError: the library is not installed.
        TrainError: there is no such checkpoint, or it is damaged or of another architecture.
    """
    del progress
    need_extra(model.family)
    if size is not None:
        raise UsageError(f"{model.name} takes pictures of one size: leave --size out")
    if source is not None and not source.exists():
        raise TrainError(f"{source} does not exist: give the folder of the checkpoint as --from")
    local = source is not None
    folder = source.parent if source is not None and source.is_file() else source
    place = model.reference if folder is None else str(folder)
    config_name, net_name = _KINDS[model.family]
    kinds = (getattr(transformers, config_name), getattr(transformers, net_name))
    names = _class_names(kinds[0], place, local)
    net = from_checkpoint(place if local else HUB + place, names, kinds)
    settings = _read_json(place, "preprocessor_config.json", local)
    height, width = _size(settings)
    license = _card_license(place, local)
    notes = []
    if not license:
        notes.append(
            f"the checkpoint has no card that states its licence; {model.page} stated"
            f" {model.license}"
        )
    spec = ModelSpec(
        name=model.name,
        task="detect",
        names=names,
        preprocess=PreprocessSpec(size=(height, width), fit="stretch", resample="area"),
        postprocess=PostprocessSpec(
            score_threshold=_THRESHOLD, max_detections=net.queries, end_to_end=True
        ),
        architecture=f"{model.library}:{model.family}",
        source=f"{model.source} ({model.page})",
        license=license or model.license,
        reference={
            "from": model.source if folder is None else str(folder.name),
            "transformers": transformers.__version__,
            "published": f"see {model.page}",
            "data": model.data,
        },
    )
    return Opened(net, spec, _library(kinds[1], place, local, names), _LEAST, tuple(notes))


def _library(
    kind: Any, place: str, local: bool, names: tuple[str, ...]
) -> Callable[[Image], Answer]:
    """The library's answers, by a network of its own: ours was taken apart.

    Scores and boxes as its `post_process_object_detection` reads them: every class of every query.
    """
    net = kind.from_pretrained(
        place, use_safetensors=True, trust_remote_code=False, local_files_only=local
    )
    net = net.float().eval()
    settings = _read_json(place, "preprocessor_config.json", local)
    scaled = settings.get("do_normalize", False)
    means = np.array(settings["image_mean"] if scaled else (0.0,) * 3, dtype=np.float32)
    deviations = np.array(settings["image_std"] if scaled else (1.0,) * 3, dtype=np.float32)

    def answer(canvas: Image) -> Answer:
        pixels = ((canvas.astype(np.float32) / 255) - means) / deviations
        with torch.no_grad():
            found = net(torch.from_numpy(pixels).permute(2, 0, 1)[None])
        scores = found.logits[0].sigmoid().numpy()
        height, width = canvas.shape[:2]
        x, y, w, h = found.pred_boxes[0].numpy().T
        boxes = np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], -1)
        boxes = (boxes * (width, height, width, height)).astype(np.float32)
        boxes = np.clip(boxes, 0, np.array([width, height, width, height], dtype=np.float32))
        # The same number of best pairs of query and class as the library takes.
        best = np.argsort(-scores, axis=None)[: len(boxes)]
        rows, classes = np.unravel_index(best, scores.shape)
        return Answer(boxes[rows], scores[rows, classes], tuple(names[i] for i in classes))

    return answer


def _class_names(kind: Any, place: str, local: bool) -> tuple[str, ...]:
    values = _read_json(place, "config.json", local)
    if not values:
        raise TrainError(
            f"{place} has no config.json, or it could not be fetched: give a folder with it and"
            " model.safetensors as --from, or check the network"
        )
    if values.get("model_type") != kind.model_type:
        raise TrainError(
            f"{place} is a checkpoint of {values.get('model_type')!r}, but this model is one of"
            f" {kind.model_type!r}: give another --from or name"
        )
    settings = kind.from_dict(values)
    return tuple(str(settings.id2label[i]) for i in range(settings.num_labels))


def _size(settings: dict[str, Any]) -> tuple[int, int]:
    size = settings.get("size") or {}
    if not isinstance(size, dict):
        size = {"height": size, "width": size}
    return int(size.get("height", _SIDE)), int(size.get("width", _SIDE))


def _card_license(place: str, local: bool) -> str:
    """SPDX expression of the licence in the front matter of the model card; "" without one."""
    text = _read_text(place, "README.md", local)
    parts = re.match(r"---\s*\n(.*?)\n---\s*\n", text, re.DOTALL)
    found = parts and re.search(r"^license:\s*[\"']?([\w.+-]+)", parts[1], re.MULTILINE)
    known = {"apache-2.0": "Apache-2.0", "mit": "MIT", "cc-by-4.0": "CC-BY-4.0"}
    return known.get(found[1].lower(), found[1]) if found else ""


def _read_json(place: str, name: str, local: bool) -> dict[str, Any]:
    text = _read_text(place, name, local)
    try:
        values = json.loads(text) if text else {}
    except ValueError as error:
        raise TrainError(f"{name} of {place} is damaged ({error}): get it again") from error
    return values if isinstance(values, dict) else {}


def _read_text(place: str, name: str, local: bool) -> str:
    """A small file of a checkpoint; "" if it has none."""
    try:
        file = cached_file(
            place,
            name,
            local_files_only=local,
            _raise_exceptions_for_missing_entries=False,
        )
        return "" if file is None else Path(file).read_text(encoding="utf-8")
    except Exception as error:  # the library and its hub client have many kinds of errors
        first = (str(error).strip().splitlines() or [""])[0]
        raise TrainError(
            f"{name} of {place} could not be fetched ({type(error).__name__}: {first}): check the"
            " network, or give the checkpoint's folder as --from"
        ) from error
