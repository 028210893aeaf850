"""RT-DETR v2 and D-FINE by name: converted, and compared with the library's own answers."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

import whatwhere as ww
from whatwhere.errors import TrainError, UsageError
from whatwhere.train.hub import fetch
from whatwhere.train.hub.agree import drawn_pictures

if find_spec("transformers") is None or find_spec("scipy") is None:
    pytest.skip("transformers is not installed", allow_module_level=True)

SIZE = (64, 96)


def checkpoint(folder: Path, *, license: str = "mit") -> Path:
    """A tiny random RT-DETR v2 as the library saves it, with a card."""
    from transformers import RTDetrResNetConfig, RTDetrV2Config, RTDetrV2ForObjectDetection

    backbone = RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16, 24, 32],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    config = RTDetrV2Config(
        backbone_config=backbone,
        encoder_hidden_dim=32,
        encoder_in_channels=[16, 24, 32],
        encoder_ffn_dim=64,
        encoder_attention_heads=2,
        d_model=32,
        decoder_in_channels=[32, 32, 32],
        decoder_ffn_dim=64,
        decoder_attention_heads=2,
        decoder_layers=2,
        num_queries=20,
        num_feature_levels=3,
        decoder_n_levels=3,
        id2label={0: "cat", 1: "dog", 2: "teddy bear"},
        label2id={"cat": 0, "dog": 1, "teddy bear": 2},
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    model = RTDetrV2ForObjectDetection(config)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
                module.reset_parameters()
            elif isinstance(module, torch.nn.BatchNorm2d):
                torch.nn.init.ones_(module.weight)
        # Places must differ clearly, or rounding chooses the queries.
        model.model.enc_score_head.weight.mul_(40)
        for head in model.model.decoder.class_embed:
            head.weight.mul_(4)
    model.save_pretrained(folder)
    settings = {"do_normalize": False, "size": {"height": SIZE[0], "width": SIZE[1]}}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    if license:
        (folder / "README.md").write_text(
            f"---\ntags:\n- coco\nlicense: {license}\n---\n\n# Card\n"
        )
    return folder


def test_a_fetched_model_answers_as_the_library_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import RTDetrImageProcessor, RTDetrV2ForObjectDetection

    monkeypatch.setenv("WHATWHERE_CACHE", str(tmp_path / "cache"))
    folder = checkpoint(tmp_path / "kept")
    made = fetch("rtdetr-v2-r18", source=folder)
    assert made.agreement["found"] >= 20
    assert made.agreement["matched"] == 1
    assert made.spec.names == ("cat", "dog", "teddy bear")
    # The card of the checkpoint says which licence it is.
    assert made.spec.license == "MIT"
    assert made.spec.reference["published"] == "see https://huggingface.co/PekingU/rtdetr_v2_r18vd"
    picture = drawn_pictures(SIZE)[0]
    theirs = RTDetrV2ForObjectDetection.from_pretrained(folder).eval()
    pixels = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        outputs = theirs(pixels)
    processor = RTDetrImageProcessor()
    (found,) = processor.post_process_object_detection(
        outputs, threshold=0.1, target_sizes=torch.tensor([SIZE])
    )
    answer = ww.load("hf:PekingU/rtdetr_v2_r18vd").predict(picture, threshold=0.1)
    assert len(answer.boxes)
    whole = np.array([SIZE[1], SIZE[0]] * 2, dtype=np.float32)
    boxes = np.clip(found["boxes"].numpy(), 0, whole)
    for box, score, name in zip(
        answer.boxes, answer.object_scores, answer.object_names, strict=True
    ):
        same = np.array([made.spec.names[int(i)] == name for i in found["labels"]])
        near = np.abs(boxes[same] - box).max(-1)
        assert near.min() < 0.01
        assert abs(float(found["scores"].numpy()[same][near.argmin()]) - score) < 1e-4


def test_checkpoints_that_are_none_are_refused(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "kept")
    with pytest.raises(TrainError, match="'rt_detr_v2', but this model is one of 'd_fine'"):
        fetch("dfine-s-coco", source=folder, out=tmp_path / "a.onnx")
    with pytest.raises(TrainError, match="does not exist"):
        fetch("dfine-s-coco", source=tmp_path / "missing", out=tmp_path / "a.onnx")
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrainError, match=r"config\.json"):
        fetch("dfine-s-coco", source=tmp_path / "empty", out=tmp_path / "a.onnx")
    with pytest.raises(UsageError, match="one size"):
        fetch("rtdetr-v2-r18", source=folder, size=(64, 64), out=tmp_path / "a.onnx")
    assert not (tmp_path / "a.onnx").exists()
