"""Real exports of small untrained networks: what the runtime says is what the network says."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from whatwhere.evaluation import evaluate
from whatwhere.images import write_image
from whatwhere.runtime import Predictor, load
from whatwhere.runtime.foreign import import_model

torch = pytest.importorskip("torch")
RNG = np.random.default_rng(0)
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def exported(
    net: Any, shape: Sequence[int], inputs: Sequence[str], outputs: Sequence[str]
) -> bytes:
    """The network as an ONNX file, by the older exporter, which most files were made with."""
    file = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net.eval(),
            (torch.rand(shape),),
            file,
            input_names=list(inputs),
            output_names=list(outputs),
            opset_version=17,
            dynamo=False,
        )
    return file.getvalue()


def pictures(height: int, width: int) -> np.ndarray[Any, Any]:
    return RNG.integers(0, 256, (2, height, width, 3), np.uint8)


def tensor(images: Any, mean: Any = 0.0, std: Any = 1.0) -> Any:
    scaled = (images / 255 - mean) / std
    return torch.from_numpy(scaled.transpose(0, 3, 1, 2).astype(np.float32))


def imported(folder: Path, file: bytes, **options: Any) -> Predictor:
    path = folder / "theirs.onnx"
    path.write_bytes(file)
    model = load(import_model(path, **options).model)
    assert isinstance(model, Predictor)
    return model


def test_a_classifier_of_torchvision(tmp_path: Path) -> None:
    models = pytest.importorskip("torchvision").models
    torch.manual_seed(0)
    net = models.ResNet(models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=3)
    file = exported(net, (1, 3, 64, 64), ["input"], ["output"])
    model = imported(tmp_path, file, names=("a", "b", "c"))
    assert model.spec.architecture == "classifier of torchvision"
    images = pictures(64, 64)
    with torch.no_grad():
        expected = net(tensor(images, MEAN, STD)).numpy()
    np.testing.assert_allclose(model.backend(images)["logits"], expected, atol=1e-3)


def test_a_classifier_of_timm(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    net = timm.create_model("test_efficientnet", num_classes=3)
    file = exported(net, (1, 3, 96, 96), ["x"], ["y"])
    options = {"names": ("a", "b", "c"), "pixels": "half"}
    model = imported(tmp_path, file, **options)
    images = pictures(96, 96)
    with torch.no_grad():
        expected = net(tensor(images, 0.5, 0.5)).numpy()
    np.testing.assert_allclose(model.backend(images)["logits"], expected, atol=1e-3)


def _rtdetr() -> Any:
    from transformers import RTDetrConfig, RTDetrForObjectDetection, RTDetrResNetConfig

    backbone = RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16, 24, 32],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    config = RTDetrConfig(
        backbone_config=backbone,
        encoder_in_channels=[16, 24, 32],
        encoder_hidden_dim=16,
        encoder_ffn_dim=16,
        d_model=16,
        num_queries=20,
        decoder_in_channels=[16, 16, 16],
        decoder_ffn_dim=16,
        decoder_layers=1,
        decoder_attention_heads=2,
        encoder_attention_heads=2,
        num_labels=3,
        num_denoising=0,
    )
    return RTDetrForObjectDetection(config)


def test_rtdetr_of_transformers(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    torch.manual_seed(0)
    net = _rtdetr()

    class Plain(torch.nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, pixel_values: Any) -> Any:
            made = self.net(pixel_values)
            return made.logits, made.pred_boxes

    file = exported(Plain(), (1, 3, 64, 64), ["pixel_values"], ["logits", "pred_boxes"])
    model = imported(tmp_path, file, names=("a", "b", "c"))
    assert model.spec.architecture == "RT-DETR or D-FINE"
    images = pictures(64, 64)[:1]
    # Beside the exported graph alone: untrained, all places score alike, and which of them a
    # network chooses hangs on rounding.
    session = onnxruntime.InferenceSession(file)
    logits, shares = session.run(None, {"pixel_values": tensor(images).numpy()})
    answers = model.backend(images)
    np.testing.assert_allclose(answers["scores"], 1 / (1 + np.exp(-logits)), atol=1e-5)
    boxes = shares * 64
    corners = np.concatenate(
        [boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2], -1
    )
    np.testing.assert_allclose(answers["boxes"], corners, atol=1e-3)


@pytest.mark.slow
def test_ssdlite_of_torchvision(tmp_path: Path) -> None:
    detection = pytest.importorskip("torchvision").models.detection
    torch.manual_seed(0)
    net = detection.ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=4
    ).eval()
    file = io.BytesIO()
    names = ["boxes", "scores", "labels"]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net,
            ([torch.rand(3, 320, 320)],),
            file,
            input_names=["image"],
            output_names=names,
            dynamic_axes={name: {0: "k"} for name in names},
            opset_version=17,
            dynamo=False,
        )
    model = imported(tmp_path, file.getvalue(), names=("a", "b", "c"))
    images = pictures(320, 320)
    with torch.no_grad():
        expected = net(list(tensor(images)))
    answers = model.backend(images)
    for index, one in enumerate(expected):
        count = len(one["scores"])
        np.testing.assert_allclose(
            answers["scores"][index, :count].max(1), one["scores"].numpy(), atol=1e-3
        )
        np.testing.assert_array_equal(
            answers["scores"][index, :count].argmax(1) + 1, one["labels"].numpy()
        )


def test_the_real_teacher_after_import(shared: Path, tmp_path: Path) -> None:
    """YOLOX-nano: evaluated by its spec alone, from a copy; boxes, colours and names are right."""
    from whatwhere.data import read

    made = import_model(shared / "teacher" / "yolox_nano.onnx", tmp_path / "copy.onnx")
    part = read(shared / "coco128").split_named("val").select(range(32))
    assert evaluate(made.model, part)["AP50"] > 0.45
    write_image(tmp_path / "grey.png", np.full((40, 60, 3), 114, np.uint8))
    model = load(made.model, backend="onnxruntime")
    assert model.predict(tmp_path / "grey.png").boxes is not None
