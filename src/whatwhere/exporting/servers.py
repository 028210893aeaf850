"""What other servers need beside a model file: KServe's manifest, Triton's model repository.

The model file goes there as it is, so there is nothing to compare.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from whatwhere import __version__
from whatwhere.errors import ModelError, UsageError
from whatwhere.exporting.originals import Original, open_original
from whatwhere.images import write_atomic
from whatwhere.runtime.onnxfile import Port, read_header
from whatwhere.specs import SPEC_KEY

Server = Literal["kserve", "triton"]

# Triton, docs/user_guide/model_configuration.md: "Datatypes".
_TRITON_TYPES = {
    "uint8": "TYPE_UINT8",
    "int8": "TYPE_INT8",
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
    "float16": "TYPE_FP16",
    "float32": "TYPE_FP32",
    "float64": "TYPE_FP64",
}
_MOST_BATCH = 8
# Names of Kubernetes' services (RFC 1035), and of Triton's folders.
_KSERVE_NAME = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?")
_TRITON_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True)
class Deployment:
    """What was written for a server.

    Args:
        to: the server.
        name: what it calls the model.
        folder: the files lie there.
        files: their paths.
        notes: what is to be done with them, and what the server does not do.
    """

    to: Server
    name: str
    folder: Path
    files: tuple[Path, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The JSON form of `export --json`."""
        return {
            "to": self.to,
            "name": self.name,
            "folder": str(self.folder),
            "files": [str(path) for path in self.files],
            "notes": list(self.notes),
        }


def export_for(
    to: Server,
    model: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    name: str | None = None,
    storage: str | None = None,
) -> Deployment:
    """Write a model with what a server wants to know about it.

    Args:
        to: "kserve": a `ServingRuntime` of our own server and an `InferenceService`
            (https://kserve.github.io/website/docs/concepts/resources/servingruntime); "triton": a
            model repository with `config.pbtxt`, for its ONNX Runtime backend.
        model: a shipped name, a model file, or a run folder.
        out: the folder; beside the model if None, such as `street-triton`.
        name: of the model; that of its file, folder or shipped model if None.
        storage: where the cluster finds the model file, such as "s3://models/street/model.onnx";
            "kserve" needs it.

    Raises:
        UsageError: an argument does not fit.
        ModelError: the model is missing or damaged, or has values that Triton does not know.
        MissingExtraError: the weights lie in files of their own, and `onnx` is not installed.
    """
    if storage is not None and to != "kserve":
        raise UsageError("--storage is for --to kserve: Triton reads its own folder")
    if storage is None and to == "kserve":
        raise UsageError(
            "say where the cluster will find the model file: "
            " --storage s3://BUCKET/NAME/model.onnx  (or gs://, https://, pvc://CLAIM/FILE)"
        )
    original = open_original(model)
    called = _name(original, name, to)
    folder = _folder(original, to) if out is None else Path(out)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file: name a folder with --out")
    if to == "triton":
        contents, notes = _triton(original, called)
    else:
        contents, notes = _kserve(original, called, storage or "")
    for path, content in contents.items():
        write_atomic(folder / path, content)
    return Deployment(to, called, folder, tuple(folder / path for path in contents), notes)


def _name(original: Original, given: str | None, to: Server) -> str:
    allowed = _KSERVE_NAME if to == "kserve" else _TRITON_NAME
    name = given
    if name is None:
        path = original.path
        name = original.where if path is None else path.parent.name
        if path is not None and path.name != "model.onnx":
            name = path.stem
        if to == "kserve":
            name = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:63].rstrip("-")
        else:
            name = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-")[:100]
    if allowed.fullmatch(name) is None:
        rule = "lower-case letters, digits and dashes, a letter first, at most 63"
        if to == "triton":
            rule = "letters, digits, dots, dashes and underscores, at most 100"
        raise UsageError(f"{name!r} cannot be a model's name there: use {rule} (--name)")
    return name


def _folder(original: Original, to: Server) -> Path:
    path = original.path
    if path is None:
        return Path(f"{original.where}-{to}")
    return path.parent / to if path.name == "model.onnx" else path.with_name(f"{path.stem}-{to}")


def _triton(original: Original, name: str) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """`NAME/config.pbtxt` and the rest, https://github.com/triton-inference-server/server,
    docs/user_guide/model_repository.md and model_configuration.md."""
    spec = original.spec
    header = read_header(original.file, original.where)
    for port in (*header.inputs, *header.outputs):
        if port.dtype not in _TRITON_TYPES or not port.shape:
            raise ModelError(
                f"{original.where}: Triton has no type for {port.name} ({port.dtype or 'unknown'}):"
                " export the model again"
            )
    # Triton adds the side of the batch itself where all have one of any length in front.
    batched = all(port.shape[0] is None for port in (*header.inputs, *header.outputs))
    labels = {"logits": spec.names if spec.task != "detect" else spec.label_names or ()}
    files: dict[str, bytes] = {}
    outputs = []
    for port in header.outputs:
        names = labels.get(port.name, ())
        labelled = len(names) > 0 and port.shape[-1] == len(names)
        if labelled and not any("\n" in one for one in names):
            files[f"{name}/labels.txt"] = ("\n".join(names) + "\n").encode()
            outputs.append(_port(port, batched, "labels.txt"))
        else:
            outputs.append(_port(port, batched))
    parts = [
        f"name: {_text(name)}",
        'backend: "onnxruntime"',
        f"max_batch_size: {_MOST_BATCH if batched else 0}",
        _list("input", [_port(port, batched) for port in header.inputs]),
        _list("output", outputs),
        *(["dynamic_batching { }"] if batched else []),
        "instance_group [ { kind: KIND_AUTO count: 1 } ]",
        "# The spec of the model: class names, preprocessing, thresholds.",
        "parameters [",
        f"  {{ key: {_text(SPEC_KEY)}",
        f"    value: {{ string_value: {_text(spec.to_metadata()[SPEC_KEY])} }} }}",
        "]",
    ]
    files = {
        f"{name}/config.pbtxt": ("\n".join(parts) + "\n").encode(),
        **files,
        f"{name}/1/model.onnx": original.file,
    }
    height, width = spec.preprocess.size
    notes = [
        f"Triton runs the graph alone: clients fit pictures to its input"
        f" ({width} x {height}, {spec.preprocess.fit}) and"
        f" {'suppress boxes' if spec.task == 'detect' else 'turn logits into scores'} themselves;"
        " with 'whatwhere serve' they send files",
    ]
    if spec.preprocess.tile:
        notes.append("the model was made for tiles, which Triton does not cut")
    return files, tuple(notes)


def _port(port: Port, batched: bool, labels: str = "") -> str:
    sides = port.shape[1:] if batched else port.shape
    dims = ", ".join("-1" if side is None else str(side) for side in sides)
    more = f"    label_filename: {_text(labels)}\n" if labels else ""
    return (
        "  {\n"
        f"    name: {_text(port.name)}\n"
        f"    data_type: {_TRITON_TYPES[port.dtype]}\n"
        f"    dims: [ {dims} ]\n"
        f"{more}"
        "  }"
    )


def _list(name: str, entries: list[str]) -> str:
    return f"{name} [\n" + ",\n".join(entries) + "\n]"


def _text(value: str) -> str:
    # The escapes of JSON are also those of protobuf's text form.
    return json.dumps(value, ensure_ascii=False)


def _kserve(
    original: Original, name: str, storage: str
) -> tuple[dict[str, bytes], tuple[str, ...]]:
    scheme, mark, rest = storage.partition("://")
    if not (mark and rest and re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme)):
        raise UsageError(
            f"--storage {storage} is no address: write, say,  s3://BUCKET/NAME/model.onnx"
        )
    manifest = _MANIFEST.format(name=name, storage=_text(storage), version=__version__)
    notes = (
        f"copy model.onnx to {storage}, push the image of deploy/Dockerfile to your registry, name"
        " it in the manifest, then: kubectl apply -f inferenceservice.yaml",
    )
    return {"inferenceservice.yaml": manifest.encode(), "model.onnx": original.file}, notes


# KServe fills in {{.Name}}, and puts what `storageUri` names into /mnt/models: the server takes a
# folder with model.onnx, or with versions.
_MANIFEST = """\
apiVersion: serving.kserve.io/v1alpha1
kind: ServingRuntime
metadata:
  name: whatwhere
spec:
  supportedModelFormats:
    - name: whatwhere
      version: "1"
      autoSelect: true
  protocolVersions: [v2]
  containers:
    - name: kserve-container
      image: whatwhere:{version}
      # --insecure: the cluster's gateway decides who may ask. With API keys it is left out.
      args:
        - --port=8080
        - --insecure
        - --watch=0
        - --json-logs
        - "{{{{.Name}}}}=/mnt/models"
      ports:
        - containerPort: 8080
          protocol: TCP
      readinessProbe:
        httpGet: {{ path: /health/ready, port: 8080 }}
        periodSeconds: 5
        timeoutSeconds: 2
      livenessProbe:
        httpGet: {{ path: /health/live, port: 8080 }}
        initialDelaySeconds: 60
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      resources:
        requests: {{ cpu: "2", memory: 1Gi }}
        limits: {{ cpu: "2", memory: 2Gi }}
      securityContext:
        runAsNonRoot: true
        runAsUser: 10001
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {{ drop: [ALL] }}
        seccompProfile: {{ type: RuntimeDefault }}
      volumeMounts:
        - {{ name: tmp, mountPath: /tmp }}
  volumes:
    - name: tmp
      emptyDir: {{ sizeLimit: 256Mi }}
---
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: {name}
spec:
  predictor:
    minReplicas: 1
    maxReplicas: 10
    # Requests in work at one time: twice the cores, so that lanes never wait for the network.
    scaleMetric: concurrency
    scaleTarget: 4
    model:
      modelFormat:
        name: whatwhere
      runtime: whatwhere
      protocolVersion: v2
      storageUri: {storage}
"""
