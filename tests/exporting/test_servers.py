"""What KServe and Triton want beside a model file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from command_line import Run, sentence
from exported_models import classifier, detector
from whatwhere.errors import UsageError
from whatwhere.exporting import export_for
from whatwhere.exporting.servers import _text
from whatwhere.runtime import load, read_spec
from whatwhere.runtime.onnxwrite import with_metadata
from whatwhere.specs import ModelSpec


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    path = tmp_path / "my colours.onnx"
    path.write_bytes(classifier())
    return path


def ports(config: str, kind: str) -> list[tuple[str, str, list[int], str]]:
    """Name, type, sides and file of labels of a config's inputs or outputs."""
    part = re.search(rf"^{kind} \[\n(.*?)^\]", config, re.MULTILINE | re.DOTALL)
    assert part is not None
    found = []
    for entry in re.findall(r"\{(.*?)\}", part[1], re.DOTALL):
        fields = dict(re.findall(r"(\w+): (.+)", entry))
        sides = [int(side) for side in fields["dims"].strip("[] ").split(",")]
        labels = json.loads(fields.get("label_filename", '""'))
        found.append((json.loads(fields["name"]), fields["data_type"], sides, labels))
    return found


def test_triton(colours: Path) -> None:
    made = export_for("triton", colours)
    assert made.name == "my-colours"
    assert made.folder == colours.with_name("my colours-triton")
    repository = made.folder / "my-colours"
    assert (repository / "1" / "model.onnx").is_file()
    assert sorted(made.files) == sorted(path for path in repository.rglob("*") if path.is_file())
    config = (repository / "config.pbtxt").read_text()
    assert config.startswith('name: "my-colours"\nbackend: "onnxruntime"\nmax_batch_size: 8\n')
    spec = read_spec(colours)
    assert ports(config, "input") == [("images", "TYPE_UINT8", [*spec.preprocess.size, 3], "")]
    assert ports(config, "output") == [("logits", "TYPE_FP32", [3], "labels.txt")]
    assert (repository / "labels.txt").read_text() == "red\ngreen\nblue\n"
    assert load(repository / "1" / "model.onnx").name == load(colours).name


def test_triton_detector(tmp_path: Path) -> None:
    path = tmp_path / "cells.onnx"
    path.write_bytes(detector())
    made = export_for("triton", path, tmp_path / "repository", name="cells_2")
    config = (tmp_path / "repository" / "cells_2" / "config.pbtxt").read_text()
    names = [name for name, _, _, _ in ports(config, "output")]
    assert names == ["boxes", "scores"]
    # Boxes and classes are not numbered alike: there is nothing to label.
    assert not (tmp_path / "repository" / "cells_2" / "labels.txt").exists()
    assert "suppress boxes" in made.notes[0]


def test_spec_in_the_config(tmp_path: Path) -> None:
    path = tmp_path / "odd.onnx"
    path.write_bytes(classifier())
    odd = read_spec(path).model_copy(update={"names": ('say "hi"', "back\\slash", "grün")})
    path.write_bytes(with_metadata(path.read_bytes(), odd.to_metadata(), "odd"))
    export_for("triton", path, tmp_path / "out")
    config = (tmp_path / "out" / "odd" / "config.pbtxt").read_text("utf-8")
    value = re.search(r"string_value: (\".*\") \}", config)
    assert value is not None
    spec = ModelSpec.model_validate_json(json.loads(value[1]))
    assert spec == read_spec(path)


@pytest.mark.parametrize("text", ["plain", 'a "b"', "back\\slash", "line\nbreak", "grün"])
def test_text_form(text: str) -> None:
    protobuf = pytest.importorskip("google.protobuf")
    from google.protobuf import struct_pb2, text_format

    assert protobuf is not None
    parsed = text_format.Parse(f"string_value: {_text(text)}", struct_pb2.Value())
    assert parsed.string_value == text


def test_kserve(colours: Path) -> None:
    yaml = pytest.importorskip("yaml")
    place = "s3://models/colours/model.onnx"
    made = export_for("kserve", colours, storage=place)
    assert made.name == "my-colours"
    assert [path.name for path in made.files] == ["inferenceservice.yaml", "model.onnx"]
    runtime, service = yaml.safe_load_all(made.files[0].read_text())
    assert service["metadata"]["name"] == "my-colours"
    model: dict[str, Any] = service["spec"]["predictor"]["model"]
    assert model["storageUri"] == place
    assert model["runtime"] == runtime["metadata"]["name"]
    formats = [one["name"] for one in runtime["spec"]["supportedModelFormats"]]
    assert model["modelFormat"]["name"] in formats
    assert model["protocolVersion"] in runtime["spec"]["protocolVersions"]
    (container,) = runtime["spec"]["containers"]
    # The only name that KServe puts its storage into.
    assert container["name"] == "kserve-container"
    assert container["args"][-1] == "{{.Name}}=/mnt/models"
    (port,) = container["ports"]
    assert f"--port={port['containerPort']}" in container["args"]
    for probe in ("readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["port"] == port["containerPort"]


def test_of_a_run(tmp_path: Path) -> None:
    folder = tmp_path / "Street_2"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(classifier())
    made = export_for("kserve", folder, storage="pvc://models/street/model.onnx")
    assert (made.name, made.folder) == ("street-2", folder / "kserve")
    assert export_for("triton", folder).name == "Street_2"


@pytest.mark.parametrize(
    ("to", "given", "words"),
    [
        ("kserve", {}, "--storage"),
        ("kserve", {"storage": "models/street"}, "no address"),
        ("kserve", {"storage": "s3://a/b", "name": "Big"}, "lower-case"),
        ("kserve", {"storage": "s3://a/b", "name": "a\nb: c"}, "lower-case"),
        ("triton", {"storage": "s3://a/b"}, "--to kserve"),
        ("triton", {"name": "../up"}, "cannot be a model's name"),
    ],
)
def test_refused(colours: Path, to: Any, given: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=re.escape(words)):
        export_for(to, colours, **given)
    assert list(colours.parent.iterdir()) == [colours]


def test_file_in_the_way(colours: Path) -> None:
    with pytest.raises(UsageError, match="is a file"):
        export_for("triton", colours, colours)


def test_address_with_marks_of_yaml(colours: Path) -> None:
    yaml = pytest.importorskip("yaml")
    place = 'https://example.org/a: "b" #c\nkind: Secret'
    made = export_for("kserve", colours, storage=place)
    _, service = yaml.safe_load_all(made.files[0].read_text())
    assert service["spec"]["predictor"]["model"]["storageUri"] == place
    assert service["kind"] == "InferenceService"


def test_command(colours: Path, run: Run, tmp_path: Path) -> None:
    outcome = run("export", colours, "--to", "triton", "--out", tmp_path / "repo", "--json")
    assert outcome.status == 0, outcome.err
    (row,) = outcome.rows
    assert row["name"] == "my-colours"
    assert all(Path(path).is_file() for path in row["files"])
    outcome = run("export", colours, "--to", "kserve", "--storage", "s3://a/model.onnx")
    assert outcome.status == 0, outcome.err
    assert "inferenceservice.yaml" in outcome.out
    assert "s3://a/model.onnx" in outcome.err
    sentence(run("export", colours, "--to", "triton", "--fp16"), "finished model")
    sentence(run("export", colours, "--fp16", "--storage", "s3://a/b"), "--storage")
    sentence(run("export", "default", "--to", "triton"), "pair of models")
