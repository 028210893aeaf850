"""RT-DETR and D-FINE: targets and boxes, starts, checkpoints with their classes, repeats."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from train_data import TINY
from whatwhere.errors import MissingExtraError, TrainError, UsageError
from whatwhere.specs import ModelSpec, PostprocessSpec, PreprocessSpec
from whatwhere.train.batch import Batch, BoxTargets
from whatwhere.train.export import check_parity, checked_file, partners
from whatwhere.train.models import _transformers
from whatwhere.train.models._transformers import as_labels, corners
from whatwhere.train.models._transformers_start import (
    from_checkpoint,
    heads_of,
    is_checkpoint,
)
from whatwhere.train.network import build, parameter_groups
from whatwhere.train.recipes import recipe
from whatwhere.train.start import load_start

MODELS = ("rtdetr", "dfine")
NAMES = ("red", "green", "blue")
SIZE = (64, 96)
needs_extra = pytest.mark.skipif(
    find_spec("transformers") is None, reason="transformers is not installed"
)


def detector(model: str, **changes: Any) -> Any:
    plain: dict[str, Any] = {
        "backbone": TINY,
        "pretrained": False,
        "width_head": 32,
        "queries": 20,
        "height": SIZE[0],
        "width": SIZE[1],
    }
    return build(replace(recipe("detect", model), **plain | changes), NAMES)


def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, *SIZE, 3), dtype=torch.uint8, generator=generator)
    boxes = torch.tensor([[[8.0, 8, 40, 40], [48, 16, 90, 60]], [[0, 0, 96, 64], [0, 0, 0, 0]]])
    valid = torch.tensor([[True, True], [True, False]])
    classes = torch.tensor([[2, 0], [1, 0]])
    return Batch(images, BoxTargets(boxes, classes, valid, torch.zeros_like(valid)))


def test_labels_and_back() -> None:
    """Shares of the picture from pixels, without padding and regions to ignore; and back."""
    targets = batch().boxes
    assert targets is not None
    first, second = as_labels(targets, SIZE)
    assert first["class_labels"].tolist() == [2, 0]
    torch.testing.assert_close(first["boxes"][0], torch.tensor([0.25, 0.375, 1 / 3, 0.5]))
    assert second["boxes"].tolist() == [[0.5, 0.5, 1.0, 1.0]]
    torch.testing.assert_close(corners(first["boxes"], SIZE), targets.boxes[0])
    ignore = torch.tensor([[True, False], [True, False]])
    without = BoxTargets(targets.boxes, targets.classes, targets.valid, ignore)
    assert [len(one["boxes"]) for one in as_labels(without, SIZE)] == [1, 0]


def test_a_box_that_was_turned_inside_out_is_empty() -> None:
    box = corners(torch.tensor([[0.5, 0.5, -0.2, 0.5]]), (100, 100))
    assert box.tolist() == [[50, 25, 50, 75]]


@pytest.mark.parametrize("model", MODELS)
def test_the_missing_extra_is_named(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_transformers, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'whatwhere\[transformers\]'"):
        detector(model)


def test_the_library_is_loaded_for_its_models_only() -> None:
    # Lightning looks for torchmetrics, which imports the library wherever both are installed.
    code = (
        "import sys; sys.modules['torchmetrics'] = None;"
        "import whatwhere.train.run, whatwhere.train.models as models; models.families();"
        "assert 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_heads() -> None:
    assert [heads_of(width) for width in (32, 96, 128, 256, 384)] == [8, 6, 8, 8, 24]
    with pytest.raises(UsageError, match="multiple of 16"):
        heads_of(100)


@needs_extra
@pytest.mark.parametrize("model", MODELS)
def test_start_from_scratch(model: str) -> None:
    """The library's own start, which is for checkpoints only, has been replaced."""
    net = detector(model).eval()
    scales = [m.weight for m in net.detector.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert scales
    assert all((scale == 1).all() for scale in scales)
    with torch.no_grad():
        answer = net(batch().images)
    assert answer["boxes"].shape == (2, 20, 4)
    assert 0.001 < float(answer["scores"].median()) < 0.05
    # Boxes begin as anchors: squares in shares of the picture, of 5, 10 or 20 per cent.
    sides = (answer["boxes"][..., 2:] - answer["boxes"][..., :2]) / torch.tensor([96.0, 64.0])
    shares = torch.tensor([0.05, 0.1, 0.2])
    assert ((sides.unsqueeze(-1) - shares).abs().amin(-1) < 1e-4).all()
    names = list(net.state_dict())
    kept = {value.data_ptr() for value in net.state_dict().values() if value.numel()}
    assert len(kept) == sum(value.numel() > 0 for value in net.state_dict().values()), names


@needs_extra
@pytest.mark.parametrize("model", MODELS)
def test_equal_seeds_are_bit_equal(model: str) -> None:
    runs = []
    for _ in range(2):
        net = detector(model, seed=3).train()
        optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
        torch.manual_seed(11)
        losses = []
        for _ in range(2):
            loss, _ = net.loss(batch())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        runs.append((losses, net.state_dict()))
    assert runs[0][0] == runs[1][0]
    assert all(torch.equal(runs[0][1][name], runs[1][1][name]) for name in runs[0][1])


def test_partners() -> None:
    """Rows of another order are put into ours; a row that is not there stays different."""
    generator = np.random.default_rng(0)
    boxes = generator.uniform(0, 100, (1, 6, 4)).astype(np.float32)
    scores = generator.uniform(0, 1, (1, 6, 2)).astype(np.float32)
    ours = {"boxes": boxes, "scores": scores}
    order = generator.permutation(6)
    theirs = {name: values[:, order].copy() for name, values in ours.items()}
    matched = partners(ours, theirs)
    assert all(np.array_equal(matched[name], ours[name]) for name in ours)
    theirs["boxes"][0, 0] += 50
    moved = np.abs(partners(ours, theirs)["boxes"] - boxes).max(-1)[0]
    assert (moved > 40).sum() == 1
    assert int(moved.argmax()) == order[0]


OLD = ["Blue", "traffic light", "red"]


def save_checkpoint(model: str, folder: Path, **changes: Any) -> Any:
    """A tiny random checkpoint as the library saves it, with the library's own backbone."""
    import transformers as hf

    plain: dict[str, Any] = {
        "encoder_hidden_dim": 32,
        "encoder_in_channels": [16, 16, 16],
        "encoder_ffn_dim": 32,
        "encoder_attention_heads": 4,
        "d_model": 32,
        "decoder_in_channels": [32, 32, 32],
        "decoder_ffn_dim": 32,
        "decoder_attention_heads": 4,
        "decoder_layers": 2,
        "num_queries": 12,
        "num_denoising": 6,
        "id2label": dict(enumerate(OLD)),
    }
    if model == "rtdetr":
        backbone = hf.RTDetrResNetConfig(
            embedding_size=8,
            hidden_sizes=[8, 16, 16, 16],
            depths=[1, 1, 1, 1],
            layer_type="basic",
            out_indices=[2, 3, 4],
        )
        config = hf.RTDetrV2Config(backbone_config=backbone, **plain | changes)
        net = hf.RTDetrV2ForObjectDetection(config)
    else:
        backbone = hf.HGNetV2Config(
            embedding_size=8,
            stem_channels=[3, 8, 8],
            stage_in_channels=[8, 16, 16, 16],
            stage_mid_channels=[8, 8, 8, 8],
            stage_out_channels=[16, 16, 16, 16],
            hidden_sizes=[16, 16, 16, 16],
            stage_num_blocks=[1, 1, 1, 1],
            stage_numb_of_layers=[1, 1, 1, 1],
            depths=[1, 1, 1, 1],
            out_indices=[2, 3, 4],
        )
        config = hf.DFineConfig(backbone_config=backbone, depth_mult=0.34, **plain | changes)
        net = hf.DFineForObjectDetection(config)
    torch.manual_seed(5)
    for parameter in net.parameters():
        # Unlike the library's random start, these weights give answers that depend on pixels.
        if parameter.ndim > 1 and parameter.requires_grad:
            torch.nn.init.xavier_uniform_(parameter)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.ones_(module.weight)
    net.save_pretrained(folder)
    return net.eval()


def kinds(model: str) -> tuple[Any, Any]:
    import transformers as hf

    if model == "rtdetr":
        return hf.RTDetrV2Config, hf.RTDetrV2ForObjectDetection
    return hf.DFineConfig, hf.DFineForObjectDetection


# An export takes ten seconds and more.
@needs_extra
@pytest.mark.parametrize("model", ["rtdetr", pytest.param("dfine", marks=pytest.mark.slow)])
def test_a_checkpoint_answers_as_in_its_library(model: str, tmp_path: Path) -> None:
    """Same classes: the same boxes and scores, from pixels in 0..1; and an export that agrees."""
    theirs = save_checkpoint(model, tmp_path)
    assert is_checkpoint(str(tmp_path))
    net = from_checkpoint(str(tmp_path), tuple(OLD), kinds(model)).eval()
    images = batch().images
    with torch.no_grad():
        answer = {name: value.numpy() for name, value in net(images).items()}
        raw = theirs(images.permute(0, 3, 1, 2).float() / 255)
    wanted = {
        "boxes": corners(raw.pred_boxes, SIZE).numpy(),
        "scores": raw.logits.sigmoid().numpy(),
    }
    for index in range(2):
        one = {name: values[index : index + 1] for name, values in answer.items()}
        other = {name: values[index : index + 1] for name, values in wanted.items()}
        matched = partners(one, other)
        np.testing.assert_allclose(one["boxes"], matched["boxes"], atol=1e-3)
        np.testing.assert_allclose(one["scores"], matched["scores"], atol=1e-5)
    # All of it was trained before, so all of it learns slowly.
    assert {id(p) for p in net.body()} == {id(p) for p in net.parameters()}
    spec = ModelSpec(
        name="probe",
        task="detect",
        names=tuple(OLD),
        preprocess=PreprocessSpec(size=SIZE),
        postprocess=PostprocessSpec(end_to_end=True),
    )
    _, worst = checked_file(net, spec, [image.numpy() for image in images])
    check_parity(worst)


@needs_extra
@pytest.mark.parametrize("model", MODELS)
def test_classes_of_a_checkpoint_are_carried_over_by_name(model: str, tmp_path: Path) -> None:
    """By name alone, whatever the case and the order; the others start anew."""
    theirs = save_checkpoint(model, tmp_path)
    new = ("red", "dog", "traffic_light", "blue", "cat")
    rows, sources = [0, 2, 3], [2, 1, 0]
    torch.manual_seed(0)
    net = from_checkpoint(str(tmp_path), new, kinds(model))
    pairs = [
        *zip(net.detector.decoder.class_embed, theirs.model.decoder.class_embed, strict=True),
        (net.detector.enc_score_head, theirs.model.enc_score_head),
    ]
    for after, before in pairs:
        assert after.weight.shape == (5, 32)
        torch.testing.assert_close(after.weight[rows], before.weight[sources], rtol=0, atol=0)
        torch.testing.assert_close(after.bias[rows], before.bias[sources], rtol=0, atol=0)
        assert float(after.bias[1].detach().sigmoid()) == pytest.approx(0.01, rel=1e-3)
    after, before = net.detector.denoising_class_embed, theirs.model.denoising_class_embed
    assert after.weight.shape == (6, 32)
    assert torch.equal(after.weight[rows], before.weight[sources])
    fresh = {id(p) for layer, _ in pairs for p in layer.parameters()} | {id(after.weight)}
    assert {id(p) for p in net.parameters()} - {id(p) for p in net.body()} == fresh
    loss, _ = net.train().loss(batch())
    loss.backward()
    assert torch.isfinite(loss)
    names = [name for name, _ in net.named_parameters()]
    assert len(names) == len(net.state_dict()) - len(list(net.named_buffers()))


@needs_extra
def test_a_start_is_used_by_build(tmp_path: Path) -> None:
    save_checkpoint("rtdetr", tmp_path)
    config = replace(recipe("detect", "rtdetr"), start=str(tmp_path))
    net = build(config, ("red", "dog"))
    assert net.source == f"the checkpoint {tmp_path}"
    (note,) = load_start(net, config, ("red", "dog"))
    assert note.endswith("1 of 2 classes carried over, new: dog")
    # Another family must not pass over it.
    yolo = replace(recipe("detect", "yolo-s"), start=str(tmp_path), backbone=TINY, pretrained=False)
    with pytest.raises(UsageError, match="use --model rtdetr or dfine"):
        load_start(build(yolo, ("red",)), yolo, ("red",))
    shares = {group["share"] for group in parameter_groups(net, config)}
    assert shares == {1.0, config.backbone_rate}


@needs_extra
def test_checkpoints_that_cannot_be_used(tmp_path: Path) -> None:
    assert not is_checkpoint("")
    assert not is_checkpoint(str(tmp_path / "none"))
    assert is_checkpoint("hf:owner/name")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text('{"task": "detect"}')
    assert not is_checkpoint(str(tmp_path / "run"))
    folder = tmp_path / "saved"
    save_checkpoint("rtdetr", folder)
    with pytest.raises(TrainError, match=r"of 'rt_detr_v2'.*needs one of 'd_fine'"):
        from_checkpoint(str(folder), NAMES, kinds("dfine"))
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TrainError, match="could not be loaded"):
        from_checkpoint(str(folder), NAMES, kinds("rtdetr"))
    # Pickled weights are never read.
    weights.unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(TrainError, match=r"safetensors"):
        from_checkpoint(str(folder), NAMES, kinds("rtdetr"))


@needs_extra
def test_scaling_of_a_checkpoint(tmp_path: Path) -> None:
    save_checkpoint("rtdetr", tmp_path)
    values = {"do_normalize": True, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.1]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(values))
    net = from_checkpoint(str(tmp_path), NAMES, kinds("rtdetr"))
    assert net.scale.mean.flatten().tolist() == pytest.approx([127.5, 102.0, 76.5])
    assert net.scale.std.flatten().tolist() == pytest.approx([51.0, 51.0, 25.5])


@needs_extra
def test_pictures_on_which_the_choice_is_a_toss_up() -> None:
    """Where two places are equally good, torch and another runtime may choose differently."""
    net = detector("rtdetr").eval()
    images = batch().images
    with torch.no_grad():
        assert net.settled(images)
        head = net.detector.enc_score_head
        head.weight.zero_()
        assert not net.settled(images)
        # With a query for each place nothing is chosen.
        net.queries = 10_000
        assert net.settled(images)
