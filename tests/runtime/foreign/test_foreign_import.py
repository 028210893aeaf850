"""A file of others becomes a model: its spec inside a copy or beside it, and used from there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from command_line import Run, sentence
from factories import model_bytes
from foreign_graphs import SIDE, answering, averaging
from whatwhere.errors import ModelError, UsageError
from whatwhere.images import write_image
from whatwhere.runtime import Predictor, load, load_file, read_spec
from whatwhere.runtime.foreign import ForeignBackend, import_model
from whatwhere.runtime.onnxfile import read_header
from whatwhere.runtime.predictor import Failure

NAMES = ("first", "second", "third")
METADATA = {"author": "Ultralytics", "names": str(list(NAMES)), "license": "AGPL-3.0"}


def detector(metadata: dict[str, str] | None = None) -> bytes:
    """Ultralytics' form: one box, centre (24, 16), sides 16 and 8."""
    rows = np.zeros((1, 7, 84), np.float32)
    rows[0, :, 3] = [24, 16, 16, 8, 0, 0.6, 0.1]
    return answering({"output0": rows}, metadata=METADATA if metadata is None else metadata)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "theirs.onnx"
    path.write_bytes(detector())
    return path


def test_a_copy_holds_the_spec_and_what_the_file_said(file: Path, tmp_path: Path) -> None:
    made = import_model(file, tmp_path / "copy.onnx", name="mine", license="MIT")
    assert made.model == made.spec_file == tmp_path / "copy.onnx"
    metadata = read_header(made.model, "it").metadata
    assert metadata["author"] == "Ultralytics"
    assert json.loads(metadata["whatwhere"])["name"] == "mine"
    assert read_spec(made.model) == made.spec
    assert made.spec.license == "MIT"
    assert load(file).spec.license == "AGPL-3.0"
    # Both give the same, and the copy is not talked about.
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    first, second = load(file).predict(image), load(made.model).predict(image)
    assert first.boxes is not None
    assert second.boxes is not None
    np.testing.assert_array_equal(first.boxes, second.boxes)
    with pytest.raises(UsageError, match="has a model spec already"):
        import_model(made.model)
    with pytest.raises(UsageError, match="has its own class names"):
        load(made.model, names=NAMES)


def test_a_spec_beside_the_file(
    file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = file.read_bytes()
    made = import_model(file)
    assert made.model == file
    assert made.spec_file == tmp_path / "theirs.onnx.whatwhere.json"
    assert file.read_bytes() == before
    caplog.clear()
    model = load(file)
    assert model.spec == read_spec(file) == made.spec
    assert caplog.messages == []
    # The same place with another file.
    file.write_bytes(detector({**METADATA, "more": "x"}))
    with pytest.raises(ModelError, match="is the spec of another file"):
        load(file)
    made.spec_file.write_text("{}")
    with pytest.raises(ModelError, match="cannot be read as a model spec"):
        load(file)


def test_what_cannot_be_imported(file: Path, tmp_path: Path) -> None:
    ours = tmp_path / "ours.onnx"
    ours.write_bytes(model_bytes("detect"))
    with pytest.raises(UsageError, match="has a model spec already"):
        import_model(ours)
    with pytest.raises(UsageError, match="is the file itself"):
        import_model(file, file)
    with pytest.raises(UsageError, match=r"must end in \.onnx"):
        import_model(file, tmp_path / "copy.json")
    with pytest.raises(UsageError, match="takes pictures of 64 x 64 pixels"):
        import_model(file, size=(32, 32))
    with pytest.raises(ModelError, match="is not a file"):
        import_model(tmp_path / "none.onnx")
    assert not list(tmp_path.glob("*.json"))


def test_a_spec_that_does_not_fit_its_graph(file: Path, tmp_path: Path) -> None:
    made = import_model(file)
    text = json.loads(made.spec_file.read_text())
    for changed, reason in (
        ({"outputs": ["other"]}, "does not fit its own model spec"),
        ({"family": "newer"}, "of family 'newer', which this version does not know"),
        ({"sizes": "sizes"}, "does not fit its own model spec"),
        ({"columns": [1]}, "cannot be read as a model spec"),
    ):
        graph = {**text["spec"]["graph"], **changed}
        made.spec_file.write_text(json.dumps({**text, "spec": {**text["spec"], "graph": graph}}))
        with pytest.raises(ModelError, match=reason):
            load(file)


def test_what_the_graph_gets_is_given_for_calibration(tmp_path: Path) -> None:
    path = tmp_path / "theirs.onnx"
    path.write_bytes(averaging(batch=2))
    import_model(path, names=NAMES, pixels="half", softmax=False)
    model = load(path)
    assert isinstance(model, Predictor)
    backend = model.backend
    assert isinstance(backend, ForeignBackend)
    images = np.full((3, SIDE, SIDE, 3), 255, np.uint8)
    feeds = list(backend.feeds(images))
    assert [feed["input"].shape for feed in feeds] == [(2, 3, SIDE, SIDE)] * 2
    np.testing.assert_allclose(feeds[0]["input"], 1, atol=1e-6)
    assert backend(images)["logits"].shape == (3, 3)


def test_many_pictures_through_lanes(file: Path, tmp_path: Path) -> None:
    import_model(file)
    image = np.zeros((SIDE, 2 * SIDE, 3), np.uint8)
    answers = list(load(file, threads=2).stream([image] * 20))
    assert not any(isinstance(answer, Failure) for answer in answers)
    boxes = [answer.boxes.tolist() for answer in answers if not isinstance(answer, Failure)]
    # Twice as wide: half the size, with a border of 16 pixels above.
    assert boxes == [[[32, 0, 64, 8]]] * 20


def test_bytes_have_nothing_beside_them() -> None:
    assert load_file(detector()).spec.names == NAMES


def test_the_command(run: Run, file: Path, tmp_path: Path) -> None:
    done = run("models", "import", file, "--out", tmp_path / "copy.onnx")
    assert done.status == 0
    assert "is Ultralytics detect: RGB pixels 0..1, 3 classes (first, ...)" in done.out
    write_image(tmp_path / "a.png", np.zeros((SIDE, SIDE, 3), np.uint8))
    done = run("predict", tmp_path / "a.png", "--model", tmp_path / "copy.onnx", "--json")
    assert (done.status, done.err) == (0, "")
    assert [item["name"] for item in done.rows[0]["objects"]] == ["second"]
    (row,) = run("models", "import", file, "--json").rows
    assert row["spec_file"] == str(tmp_path / "theirs.onnx.whatwhere.json")
    assert row["taken_for"] == "Ultralytics detect"
    assert "Ultralytics detect" in run("models", "show", file).out


def test_the_commands_options(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "theirs.onnx"
    path.write_bytes(averaging())
    (tmp_path / "kinds.txt").write_text("cat\ndog\n-\n")
    options = ("--names", tmp_path / "kinds.txt", "--mean", "0.5", "--std", "0.5,0.5,0.25", "--bgr")
    done = run("models", "import", path, *options, "--no-softmax", "--crop", "1", "--json")
    (row,) = done.rows
    graph = row["spec"]["graph"]
    assert (row["spec"]["names"], graph["columns"]) == (["cat", "dog"], [0, 1])
    assert (graph["bgr"], graph["mean"], graph["std"]) == (True, [0.5] * 3, [0.25, 0.5, 0.5])
    assert row["notes"] == []
    sentence(run("models", "import", path, "--mean", "a"), "--mean 'a' needs one number")
    sentence(run("models", "import", path, "--size", "0"), "--size '0' is no size")
    sentence(run("models", "import", path, "--names", "coco"), "which pixels it takes")
    names = ("--names", "imagenet", "--pixels", "unit")
    sentence(run("models", "import", path, *names), "3 classes", "1000 class names")
