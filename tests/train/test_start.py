"""Weights to start from: names decide what goes where, and what does not fit is listed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from train_data import Dying, KilledError, Notes, quick_config, same_runs
from whatwhere.errors import TrainError, UsageError
from whatwhere.train.checkpoint import load_tensors, save_tensors
from whatwhere.train.config import TrainConfig
from whatwhere.train.loop import WEIGHTS, State
from whatwhere.train.models import Network
from whatwhere.train.network import build
from whatwhere.train.run import Run, resume_run
from whatwhere.train.start import load_start, read_weights, settle_start

Fit = Callable[..., State]

SHELVES = ("bottle", "box", "tin")


def started(config: TrainConfig, names: tuple[str, ...]) -> tuple[Network, list[str]]:
    """A new network with the weights of its start."""
    config = settle_start(replace(config, height=64, width=64))
    net = build(config, names)
    return net, load_start(net, config, names)


def same(net: Network, folder: Path) -> bool:
    before, _ = load_tensors(folder / WEIGHTS)
    return all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_all_of_a_run(detector: Run, detector_config: TrainConfig) -> None:
    config = replace(detector_config, start=str(detector.folder))
    net, notes = started(config, SHELVES)
    assert same(net, detector.folder)
    assert net.source == "the weights of detector"
    count = len(net.state_dict())
    assert notes == [f"from the weights of detector: {count} of {count} tensors"]
    # The settings that give a network its form come from the run.
    assert settle_start(replace(config, pretrained=True)).pretrained is False


def test_classes_go_by_their_names(detector: Run, detector_config: TrainConfig) -> None:
    config = replace(detector_config, start=str(detector.folder))
    net, notes = started(config, ("tin", "jar", "bottle", "cup"))
    before, _ = load_tensors(detector.folder / WEIGHTS)
    old, new = before["classify.weight"], net.state_dict()["classify.weight"]
    assert old.shape[0] == 3
    assert torch.equal(new[0], old[2])
    assert torch.equal(new[2], old[0])
    assert not any(torch.equal(new[1], row) for row in old)
    assert torch.equal(net.state_dict()["classify.bias"][2], before["classify.bias"][0])
    rest = {name: x for name, x in net.state_dict().items() if not name.startswith("classify.")}
    assert all(torch.equal(value, before[name]) for name, value in rest.items())
    assert notes[0].endswith("; classes carried over: tin, bottle; new: jar, cup")


def test_classes_in_another_order_are_no_equal_classes(
    classifier: Run, classifier_config: TrainConfig
) -> None:
    """The shapes agree; only the names tell."""
    config = replace(classifier_config, start=str(classifier.folder))
    net, _ = started(config, ("dog", "cat"))
    before, _ = load_tensors(classifier.folder / WEIGHTS)
    assert json.loads((classifier.folder / "config.json").read_text("utf-8"))["names"] == [
        "cat",
        "dog",
    ]
    head = [name for name, x in before.items() if x.shape[:1] == (2,) and "fc" in name]
    assert len(head) == 2
    for name in head:
        assert torch.equal(net.state_dict()[name], before[name].flip(0))


def test_a_file_alone(detector: Run, detector_config: TrainConfig, tmp_path: Path) -> None:
    file = tmp_path / "mine.safetensors"
    shutil.copy(detector.folder / WEIGHTS, file)
    net, _ = started(replace(detector_config, start=str(file)), SHELVES)
    assert same(net, detector.folder)
    for name in ("a.pt", "b.pth"):
        tensors, _ = load_tensors(file)
        torch.save({"state_dict": tensors} if name == "a.pt" else tensors, tmp_path / name)
        net, _ = started(replace(detector_config, start=str(tmp_path / name)), SHELVES)
        assert same(net, detector.folder)


class Trap:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("trapped"),))


def test_files_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"a": torch.ones(1), "b": Trap()}, tmp_path / "code.pt")
    (tmp_path / "damaged.pt").write_bytes(b"\0" * 99)
    (tmp_path / "damaged.safetensors").write_bytes(b"\0" * 99)
    torch.save({"epoch": 3}, tmp_path / "empty.pt")
    torch.save(torch.ones(3), tmp_path / "tensor.pt")
    (tmp_path / "folder").mkdir()
    for name, words in (
        ("code.pt", "would run its code"),
        ("damaged.pt", "holds no weights|would run"),
        ("damaged.safetensors", "is damaged"),
        ("empty.pt", "holds no weights"),
        ("tensor.pt", "holds no weights"),
        ("folder", "no weights to start from"),
        ("nothing", "no weights to start from"),
        ("nothing.safetensors", "no weights to start from"),
    ):
        with pytest.raises(TrainError, match=words):
            settle_start(quick_config("detect", start=name))
    assert not (tmp_path / "trapped").exists()


def test_another_network_is_refused_with_the_differences(
    detector: Run, detector_config: TrainConfig, classifier: Run, tmp_path: Path
) -> None:
    config = replace(detector_config, start=str(detector.folder), width_head=16)
    with pytest.raises(TrainError, match="width_head is 32 there and 16 here"):
        settle_start(config)
    with pytest.raises(TrainError, match="model is classifier there and yolo-s here"):
        settle_start(replace(detector_config, start=str(classifier.folder)))
    # Without settings beside them, the tensors tell.
    file = tmp_path / "mine.safetensors"
    shutil.copy(detector.folder / WEIGHTS, file)
    with pytest.raises(TrainError) as caught:
        started(replace(config, start=str(file)), SHELVES)
    message = str(caught.value)
    assert "lateral.0.0.weight is 32x" in message
    assert " there and 16x" in message
    assert " more: use the settings" in message


@pytest.mark.parametrize("freeze", [False, True])
def test_a_backbone_of_timm(freeze: bool, tmp_path: Path) -> None:
    torch.manual_seed(3)
    theirs = timm.create_model("test_efficientnet", pretrained=False)
    file = tmp_path / "body.safetensors"
    save_file(theirs.state_dict(), file)
    for task in ("detect", "classify"):
        config = quick_config(task, start=str(file), freeze=freeze, backbone="test_efficientnet")
        net, notes = started(config, SHELVES)
        weight = net.backbone.conv_stem.weight  # type: ignore[union-attr]
        assert torch.equal(weight, theirs.conv_stem.weight)
        assert notes == ["from the weights of body.safetensors: the whole body; all else is new"]
        assert net.source == "the weights of body.safetensors"
        assert any(name.endswith(".shift") for name in net.state_dict()) == freeze
        with pytest.raises(TrainError, match="of another network than test_resnet"):
            started(replace(config, backbone="test_resnet"), SHELVES)


def test_names() -> None:
    config = quick_config("detect", start="imagenet-lite0")
    made = settle_start(config)
    assert (made.backbone, made.pretrained) == ("tf_efficientnet_lite0", True)
    made = settle_start(quick_config("detect", start="resnet18.a1_in1k"))
    assert (made.backbone, made.pretrained) == ("resnet18.a1_in1k", True)
    assert settle_start(quick_config("detect")) == quick_config("detect")


def test_torchvisions_weights() -> None:
    config = quick_config("classify", start="torchvision:resnet50", height=64, width=64)
    net = build(config, ("a", "b"))
    with pytest.raises(UsageError, match="does not start from torchvision's weights"):
        load_start(net, config, ("a", "b"))
    asked = []
    net.load_torchvision = lambda name: asked.append(name) or "done"  # type: ignore
    assert load_start(net, config, ("a", "b")) == ["done"]
    assert asked == ["torchvision:resnet50"]


def test_folded_norms_start_folded(tmp_path: Path) -> None:
    """A network on frozen ImageNet weights, and a start from it without its settings."""
    config = quick_config("classify", backbone="tf_efficientnet_lite0", pretrained=True)
    config = replace(config, height=64, width=64, freeze_stride=4)
    net = build(config, ("a", "b"))
    save_tensors(tmp_path / "mine.safetensors", net.state_dict(), {})
    again, _ = started(
        replace(config, start=str(tmp_path / "mine.safetensors"), pretrained=False), ("a", "b")
    )
    assert all(torch.equal(x, net.state_dict()[name]) for name, x in again.state_dict().items())
    assert not all(p.requires_grad for p in again.parameters())


def test_a_started_run_resumes_without_its_start(
    fit: Fit, classifier: Run, classifier_config: TrainConfig, workshop: Path, tmp_path: Path
) -> None:
    start = tmp_path / "start"
    shutil.copytree(classifier.folder, start)
    config = replace(classifier_config, epochs=2, start=str(start), pretrained=True)
    notes = Notes()
    fit(workshop / "animals", config, tmp_path / "whole", listener=notes)
    assert any(text.startswith("from the weights of start: ") for text in notes.said)
    with pytest.raises(KilledError):
        fit(workshop / "animals", config, tmp_path / "cut", listener=Dying(4))
    shutil.rmtree(start)
    resume_run(tmp_path / "cut")
    assert same_runs(tmp_path / "whole", tmp_path / "cut")
    assert read_weights(str(tmp_path / "cut")).names == ("cat", "dog")
