"""Detectors that answer a set of queries: RT-DETR, D-FINE, RF-DETR, DETR and their kin.

Three forms: class logits beside boxes (Transformers and RF-DETR's own exporter), both in one output
(Ultralytics' RT-DETR), or labels, boxes and scores that are final (the exporters of RT-DETR and
D-FINE, https://github.com/lyuwenyu/RT-DETR and https://github.com/Peterande/D-FINE). Boxes are
centre and size in shares of the picture (Carion et al., 2020), but in pixels in the last form.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from whatwhere.runtime.decode import sigmoid, softmax
from whatwhere.runtime.foreign.facts import (
    FLOATS,
    Array,
    Candidate,
    Facts,
    Family,
    Reader,
    Unclear,
    between,
    one_hot,
)
from whatwhere.runtime.foreign.pixels import PIXELS, Pixels, configured, said
from whatwhere.runtime.foreign.yolo import corners

_SIZES = ("orig_target_sizes", "orig_target_size", "target_sizes")
_MASK = "pixel_mask"
_NOTES = "rfdetr_inference"
# Model types of Transformers whose last class is "no object", chosen by a softmax.
_SOFTMAX = {"detr", "yolos", "table-transformer"}
_TITLES = {"rt_detr": "RT-DETR", "rt_detr_v2": "RT-DETR", "d_fine": "D-FINE", "rf_detr": "RF-DETR"}
_IMAGENET = PIXELS["imagenet"]


def candidates(facts: Facts) -> Iterator[Candidate | Unclear]:
    """The ways to read a file with queries."""
    if facts.size is None:
        return
    if len(facts.outputs) == 1:
        yield from _in_one(facts)
    elif len(facts.outputs) == 2:
        yield from _logits(facts)
    elif len(facts.outputs) == 3:
        yield from _labelled(facts)


def _in_one(facts: Facts) -> Iterator[Candidate]:
    (answer,) = facts.outputs
    if len(answer.shape) != 3 or not facts.theirs or not facts.own or len(facts.inputs) != 1:
        return
    if answer.shape[2] == 4 + len(facts.own) and facts.task in ("", "detect"):
        graph = said(facts.hints).graph(facts, "ultralytics-queries", (answer.name,))
        yield Candidate(
            "Ultralytics RT-DETR",
            graph,
            len(facts.own),
            lambda answers, size: (
                _check_shares([values[..., :4] for (values,) in answers])
                or _check_scores([values[..., 4:] for (values,) in answers])
            ),
            fit="stretch",
            final=True,
        )


def _labelled(facts: Facts) -> Iterator[Candidate]:
    """Labels, boxes and scores of the best queries, which the graph puts into `sizes`."""
    ports = [facts.output(name) for name in ("labels", "boxes", "scores")]
    sizes = next((port.name for port in facts.inputs[1:] if port.name in _SIZES), "")
    if None in ports or not sizes or len(facts.inputs) != 2:
        return
    labels, boxes, scores = (port for port in ports if port is not None)
    if len(labels.shape) != 2 or len(boxes.shape) != 3 or len(scores.shape) != 2:
        return
    graph = said(facts.hints).graph(facts, "labelled", (labels.name, boxes.name, scores.name))
    yield Candidate(
        "RT-DETR or D-FINE",
        graph.model_copy(update={"sizes": sizes}),
        None,
        _check_labelled,
        fit="stretch",
        resample="area",
        final=True,
    )


def _logits(facts: Facts) -> Iterator[Candidate | Unclear]:
    """Logits and boxes by the names that Transformers or RF-DETR's exporter give them."""
    dets, labels = facts.output("dets"), facts.output("labels")
    ours, theirs = facts.output("pred_boxes"), facts.output("logits", "pred_logits")
    boxes, logits = (dets, labels) if dets and labels else (ours, theirs)
    if boxes is None or logits is None or boxes.dtype not in FLOATS or logits.dtype not in FLOATS:
        return
    if len(boxes.shape) != 3 or boxes.shape[2] != 4 or len(logits.shape) != 3:
        return
    if [port.name for port in facts.inputs[1:]] not in ([], [_MASK]):
        return
    columns = logits.shape[2]
    if columns is None:
        yield Unclear("the number of its classes is left open: export it with fixed classes")
        return
    outputs, mask = (logits.name, boxes.name), _MASK if len(facts.inputs) == 2 else ""
    if dets is not None:
        yield _rfdetr(facts, outputs, columns)
        return
    title, softly, known = _kind(facts, mask)
    if known is None and not facts.hints.says_pixels:
        yield Unclear(
            "it answers like DETR and its kin, of which some take pixels 0..1 (RT-DETR, D-FINE)"
            " and others scale them by ImageNet's mean and deviation: put the config.json and"
            " preprocessor_config.json of the model beside it, or import it with"
            " --pixels unit or --pixels imagenet"
        )
        return
    families = ("detr", "detr-softmax") if softly is None else (("detr", "detr-softmax")[softly],)
    for family in families:
        graph = said(facts.hints, known).graph(facts, family, outputs, mask=mask)
        width = columns - (family == "detr-softmax")
        named = facts.configured_names
        yield Candidate(
            title if softly is not None else f"{title} ({family})",
            graph,
            width,
            _check_queries,
            # Pictures of any size are padded there, those of one size are stretched.
            fit="corner" if mask else "stretch",
            resample="area",
            final=True,
            named=named if named and len(named) == width else None,
        )


def _kind(facts: Facts, mask: str) -> tuple[str, bool | None, Pixels | None]:
    """What Transformers calls it, whether a softmax chooses the class, and its pixels."""
    config, kind = facts.beside, str(facts.beside.get("model_type", ""))
    if kind:
        return _TITLES.get(kind, kind.upper()), kind in _SOFTMAX, configured(config)
    parts = facts.graph.weights + facts.graph.nodes
    if any("class_labels_classifier" in name for name in parts):
        return "DETR", True, _IMAGENET
    if any("enc_score_head" in name for name in parts):
        # DEIMv2 is of the same making; with a backbone of DINOv3 it scales as ImageNet does.
        plain = not any("dinov3" in name for name in parts)
        return "RT-DETR or D-FINE", False, PIXELS["unit"] if plain else None
    if any("enc_out_class_embed" in name for name in parts):
        return "RF-DETR", False, _IMAGENET
    if any("class_embed" in name for name in parts):
        return "Deformable DETR", False, _IMAGENET
    return "DETR", None, _IMAGENET if mask else None


def _rfdetr(facts: Facts, outputs: tuple[str, str], columns: int) -> Candidate:
    notes = _notes(facts.metadata.get(_NOTES, ""))
    known = configured(
        {"image_mean": notes.get("means"), "image_std": notes.get("stds")} if notes else {}
    )
    graph = said(facts.hints, known or _IMAGENET).graph(facts, "detr", outputs)
    table = notes.get("class_id_to_name")
    named = None
    if isinstance(table, dict) and all(str(key).isdigit() for key in table):
        ids = {int(key): str(name) for key, name in table.items()}
        if not ids or max(ids) < columns:
            named = tuple(ids.get(i, "-") for i in range(columns)) if ids else None
    return Candidate(
        "RF-DETR",
        graph,
        columns,
        _check_queries,
        fit="stretch",
        resample="bilinear",
        final=True,
        named=named,
    )


def _notes(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _read_sigmoid(
    answers: Sequence[Array], size: tuple[int, int], classes: int
) -> dict[str, Array]:
    logits, boxes = answers
    return {"boxes": _pixels(boxes, size), "scores": sigmoid(logits).astype(np.float32)}


def _read_softmax(
    answers: Sequence[Array], size: tuple[int, int], classes: int
) -> dict[str, Array]:
    logits, boxes = answers
    # The last class is "no object".
    scores = softmax(logits)[..., :-1].astype(np.float32)
    return {"boxes": _pixels(boxes, size), "scores": scores}


def _read_in_one(answers: Sequence[Array], size: tuple[int, int], classes: int) -> dict[str, Array]:
    (values,) = answers
    return {
        "boxes": _pixels(values[..., :4], size),
        "scores": np.ascontiguousarray(values[..., 4:]),
    }


def _read_labelled(
    answers: Sequence[Array], size: tuple[int, int], classes: int
) -> dict[str, Array]:
    labels, boxes, scores = answers
    return {"boxes": np.ascontiguousarray(boxes), "scores": one_hot(labels, scores, classes)}


def _pixels(boxes: Array, size: tuple[int, int]) -> Array:
    sides = np.array([size[1], size[0], size[1], size[0]], np.float32)
    return np.asarray(corners(boxes) * sides)


def _check_queries(answers: Sequence[Sequence[Array]], size: tuple[int, int]) -> str | None:
    return _check_shares([boxes for _, boxes in answers])


def _check_labelled(answers: Sequence[Sequence[Array]], size: tuple[int, int]) -> str | None:
    if any((boxes[..., 2:] < boxes[..., :2] - 1).any() for _, boxes, _ in answers):
        return "its boxes do not end behind where they begin"
    return _check_scores([scores for _, _, scores in answers])


def _check_shares(answers: Sequence[Array]) -> str | None:
    if not all(between(boxes, -0.01, 1.01) for boxes in answers):
        return "its boxes are no shares of the picture"
    return None


def _check_scores(answers: Sequence[Array]) -> str | None:
    return None if all(between(scores) for scores in answers) else "its scores are not in 0..1"


FAMILY = Family(
    candidates,
    {
        "detr": Reader(_read_sigmoid),
        "detr-softmax": Reader(_read_softmax),
        "labelled": Reader(_read_labelled),
        "ultralytics-queries": Reader(_read_in_one),
    },
)
