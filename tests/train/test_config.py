"""Settings: every one can be given as text, and what cannot be is refused in a sentence."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whatwhere.errors import UsageError
from whatwhere.train.config import TrainConfig
from whatwhere.train.recipes import recipe
from whatwhere.train.setting import parse_budget
from whatwhere.types import TASKS, Task


@pytest.mark.parametrize("task", TASKS)
def test_config_json_and_back(task: Task) -> None:
    config = replace(recipe(task), seed=7, rate=1.5e-3, pretrained=False)
    text = json.dumps(config.to_dict() | {"data": "somewhere", "names": ["a"]})
    assert TrainConfig.from_dict(json.loads(text)) == config


def test_a_model_file_names_no_folders() -> None:
    config = replace(recipe("detect"), cache_folder="/home/me/cache", start="runs/detect-1")
    kept = config.portable()
    assert (kept["cache_folder"], kept["start"]) == ("cache", "detect-1")
    assert replace(config, start="hf:owner/name").portable()["start"] == "hf:owner/name"
    assert config.portable().keys() == config.to_dict().keys()


# One changed value for each setting; a new setting must be put here.
TEXTS: dict[str, tuple[str, Any]] = {
    "task": ("multilabel", "multilabel"),
    "model": ("yolo", "yolo"),
    "backbone": ("resnet18", "resnet18"),
    "pretrained": ("false", False),
    "freeze": ("0", False),
    "freeze_stride": ("0", 0),
    "size": ("96", 96),
    "width_head": ("64", 64),
    "queries": ("50", 50),
    "decoder_layers": ("2", 2),
    "small_objects": ("true", True),
    "teacher": ("objects-lite", "objects-lite"),
    "teacher_names": ("names.txt", "names.txt"),
    "teacher_weight": ("0.5", 0.5),
    "teacher_temperature": ("4", 4.0),
    "unlabelled": ("", ""),
    "label_names": ("day, night", ("day", "night")),
    "label_task": ("classify", "classify"),
    "label_data": ("scenes", "scenes"),
    "label_share": ("0.5", 0.5),
    "label_weight": ("0.5", 0.5),
    "end_to_end": ("true", True),
    "epochs": ("3", 3),
    "budget": ("2m", 120.0),
    "batch": ("8", 8),
    "accumulate": ("4", 4),
    "start": ("runs/classify-1", "runs/classify-1"),
    "frozen": ("0.2", 0.2),
    "distort": ("0", 0.0),
    "multi_scale": ("0.3", 0.3),
    "grow": ("0.5", 0.5),
    "head_start": ("false", False),
    "metric": ("AP50", "AP50"),
    "patience": ("5", 5),
    "devices": ("2", 2),
    "nodes": ("2", 2),
    "rate": ("1e-3", 1e-3),
    "backbone_rate": ("0.5", 0.5),
    "weight_decay": ("0", 0.0),
    "warmup": ("0.1", 0.1),
    "smoothing": ("0", 0.0),
    "loss": ("", ""),
    "dropout": ("0.5", 0.5),
    "clip": ("1", 1.0),
    "mosaic": ("1", 1.0),
    "mosaic_until": ("0.5", 0.5),
    "mixup": ("0.5", 0.5),
    "cutmix": ("0", 0.0),
    "repeats": ("2", 2),
    "balance": ("0.5", 0.5),
    "tile": ("640", 640),
    "flip": ("0", 0.0),
    "vertical_flip": ("0.5", 0.5),
    "zoom": ("2", 2.0),
    "colour": ("0", 0.0),
    "validation": ("0.2", 0.2),
    "seed": ("3", 3),
    "precision": ("32-true", "32-true"),
    "device": ("cpu", "cpu"),
    "workers": ("1", 1),
    "cache": ("0", 0),
    "cache_folder": ("somewhere", "somewhere"),
    "fingerprints": ("false", False),
    "previews": ("0", 0),
    "tensorboard": ("true", True),
    "mlflow": ("http://localhost:5000", "http://localhost:5000"),
}


def test_every_setting_can_be_given_as_text() -> None:
    # Height and width come together.
    assert set(TEXTS) | {"height", "width"} == {field.name for field in fields(TrainConfig)}
    base = recipe("detect")
    for name, (text, value) in TEXTS.items():
        changed = base.with_settings({name: text})
        found = getattr(changed, name)
        assert found == value, name
        assert type(found) is type(value), name
        assert changed == replace(base, **{name: value})
    both = base.with_settings({"height": "64", "width": "96"})
    assert (both.height, both.width) == (64, 96)
    assert base.with_settings({}) == base
    for text in ("TRUE", "true", "1"):
        assert base.with_settings({"pretrained": text}).pretrained is True


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"speed": "1"}, ("speed", "rate")),
        ({"task": "guess"}, ("guess", "detect")),
        ({"rate": "quick"}, ("rate", "a number", "quick")),
        ({"rate": "nan"}, ("rate", "finite")),
        ({"weight_decay": "inf"}, ("weight_decay", "finite")),
        ({"rate": "0"}, ("rate", "above 0")),
        ({"rate": "-1"}, ("rate", "above 0")),
        ({"backbone_rate": "-1"}, ("backbone_rate", "at least 0")),
        ({"weight_decay": "-1"}, ("weight_decay", "at least 0")),
        ({"clip": "0"}, ("clip", "above 0")),
        ({"loss": "hinge"}, ("loss", "hinge", "asymmetric")),
        ({"loss": "focal"}, ("loss", "focal", "detect")),
        ({"task": "classify", "loss": "bce"}, ("bce", "classify", "cross-entropy, focal")),
        ({"task": "multilabel", "loss": "cross-entropy"}, ("multilabel", "bce, focal")),
        ({"dropout": "1"}, ("dropout", "below 1")),
        ({"freeze_stride": "-1"}, ("freeze_stride", "at least 0")),
        ({"batch": "-1"}, ("batch", "at least 0")),
        ({"accumulate": "0"}, ("accumulate", "at least 1")),
        ({"frozen": "1"}, ("frozen", "below 1")),
        ({"frozen": "0.5", "pretrained": "false"}, ("frozen", "pretrained weights")),
        ({"multi_scale": "1"}, ("multi_scale", "0..0.9")),
        ({"distort": "0.5"}, ("distort", "boxes", "leave it out")),
        ({"grow": "0.1"}, ("grow", "0.25..1")),
        ({"patience": "-1"}, ("patience", "at least 0")),
        ({"devices": "0"}, ("devices", "at least 1")),
        ({"nodes": "0"}, ("nodes", "at least 1")),
        ({"cutmix": "0.5"}, ("cutmix", "mixup or mosaic")),
        ({"task": "classify", "mixup": "0.6", "cutmix": "0.5"}, ("together", "0.6 + 0.5")),
        ({"repeats": "0"}, ("repeats", "at least 1")),
        ({"balance": "2"}, ("balance", "0..1")),
        ({"tile": "16"}, ("tile", "at least 32")),
        ({"task": "classify", "tile": "640"}, ("tile", "detectors")),
        ({"batch": "2.5"}, ("batch", "whole number", "2.5")),
        ({"workers": "0"}, ("workers", "at least 1")),
        ({"width_head": "0"}, ("width_head", "at least 1")),
        ({"epochs": "-1"}, ("epochs", "at least 0")),
        ({"cache": "-1"}, ("cache", "at least 0")),
        ({"seed": "-1"}, ("seed", "at least 0")),
        ({"seed": str(2**32)}, ("seed", "below 4294967296")),
        ({"mosaic": "1.5"}, ("mosaic", "0..1")),
        ({"mosaic_until": "-0.1"}, ("mosaic_until", "0..1")),
        ({"flip": "2"}, ("flip", "0..1")),
        ({"vertical_flip": "2"}, ("vertical_flip", "0..1")),
        ({"colour": "2"}, ("colour", "0..1")),
        ({"smoothing": "2"}, ("smoothing", "0..1")),
        ({"warmup": "1"}, ("warmup", "below 1")),
        ({"warmup": "-0.1"}, ("warmup", "at least 0")),
        ({"validation": "0"}, ("validation", "above 0 and below 1")),
        ({"validation": "1"}, ("validation", "above 0 and below 1")),
        ({"zoom": "0.5"}, ("zoom", "1..10")),
        ({"zoom": "1e30"}, ("zoom", "1..10")),
        ({"precision": "16"}, ("precision", "bf16-mixed")),
        ({"device": "tpu"}, ("tpu", "cuda")),
        ({"pretrained": "maybe"}, ("pretrained", "true or false")),
        ({"size": "50"}, ("size", "multiple of 32", "64")),
        ({"size": "1"}, ("size", "at least 32")),
        ({"height": "64"}, ("height", "width")),
        ({"height": "64", "width": "65"}, ("width", "multiple of 32")),
        ({"previews": "-1"}, ("previews", "at least 0")),
        ({"mlflow": "http://me:secret@host"}, ("MLFLOW_TRACKING_PASSWORD",)),
        ({"budget": "soon"}, ("budget", "10m")),
        ({"budget": "10m", "epochs": "3"}, ("epochs", "budget")),
    ],
    ids=lambda value: "-".join(f"{k}={v}" for k, v in value.items()) if type(value) is dict else "",
)
def test_settings_that_are_refused(settings: dict[str, str], words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as caught:
        recipe("detect").with_settings(settings)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_classifier_may_have_any_size() -> None:
    assert recipe("classify").with_settings({"size": "50"}).size == 50


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("1.5h", 5400), ("30", 30), (45, 45), (0.5, 0.5), (" 2 M ", 120)],
)
def test_budgets(text: str | float, seconds: float) -> None:
    assert parse_budget(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-5m", "0s", 0, "10 parsecs", "1d", "m", "1:30"])
def test_budgets_that_are_none(text: str | float) -> None:
    with pytest.raises(UsageError, match="budget must be a time such as"):
        parse_budget(text)


@given(st.text(max_size=12))
def test_any_text_is_a_budget_or_refused(text: str) -> None:
    try:
        seconds = parse_budget(text)
    except UsageError:
        return
    assert seconds > 0
