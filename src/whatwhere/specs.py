"""What a model file says about itself, and the list of models known by name.

A `ModelSpec` travels as JSON in the metadata entry `whatwhere` of every model file, so
that a file alone is enough to predict, evaluate and serve.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from whatwhere.errors import ModelError
from whatwhere.transforms import Fit, Preprocess, Resample
from whatwhere.types import Labels, Task

SPEC_KEY = "whatwhere"

Fraction = Annotated[float, Field(ge=0, le=1)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PreprocessSpec(_Part):
    """`transforms.Preprocess` as it is stored; see there for the meaning of the other fields.

    tile: a detector sees pictures larger than this many pixels in overlapping tiles of that
        size (its longer side, the shape is the input's), see `runtime.tiling`; 0 for whole.
    tile_overlap: share of a tile that it has in common with the next one, at least.
    """

    size: tuple[int, int]
    fit: Fit = "letterbox"
    crop: float = 1.0
    resample: Resample = "area"
    pad: int = 114
    tile: int = Field(default=0, ge=0)
    tile_overlap: float = Field(default=0.2, ge=0, le=0.9)

    def build(self) -> Preprocess:
        return Preprocess(self.size, self.fit, self.crop, self.resample, self.pad)


class PostprocessSpec(_Part):
    """How raw outputs become a prediction.

    score_threshold: rows below it are left out of a prediction, unless `ModelSpec.thresholds`
        names the class. Evaluation uses `evaluation_threshold` instead.
    nms_iou: boxes of one class that overlap a better one by more than this IoU are dropped.
    max_detections: at most this many boxes a picture, best first.
    top: `classify` gives this many labels a picture.
    end_to_end: the graph's boxes are final; no non-maximum suppression is done.
    """

    score_threshold: Fraction = 0.25
    evaluation_threshold: Fraction = 0.001
    nms_iou: Fraction = 0.6
    max_detections: int = Field(default=300, ge=1)
    top: int = Field(default=5, ge=1)
    end_to_end: bool = False


class DataSummary(_Part):
    """Which data a model was trained on: a digest to recognise it, and its size."""

    digest: str
    images: int
    labels: int
    description: str = ""


class ModelSpec(_Part):
    """Everything that is needed to use a model, beside its weights.

    Args:
        name: short name of the model.
        task: what its main head answers.
        names: class names of the main head, in output order.
        label_names: class names of a second, whole-picture head of a detector (`logits`);
            empty if there is none.
        label_task: whether that second head is "classify" (softmax) or "multilabel" (sigmoid).
        preprocess, postprocess: how to feed it and how to read it.
        thresholds: score threshold of single classes, by name.
        temperature: logits are divided by it before the softmax or sigmoid.
        architecture: family and backbone, such as "yolo:tf_efficientnet_lite0".
        source: where the weights come from.
        license: SPDX expression of the weights' licence.
        data: what it was trained on, if known.
        metrics: scores on held-out data by standard name.
        reference: the run's settings, for reproduction.
        version, date: of the model, not of Whatwhere.
    """

    format: Literal[1] = 1
    name: str
    task: Task
    names: tuple[str, ...] = Field(min_length=1)
    label_names: tuple[str, ...] = ()
    label_task: Literal["classify", "multilabel"] = "classify"
    preprocess: PreprocessSpec
    postprocess: PostprocessSpec = PostprocessSpec()
    thresholds: dict[str, Fraction] = {}
    temperature: float = Field(default=1.0, gt=0)
    architecture: str = ""
    source: str = ""
    license: str = ""
    data: DataSummary | None = None
    metrics: dict[str, float] = {}
    reference: dict[str, Any] = {}
    version: str = "1"
    date: str = ""

    @model_validator(mode="after")
    def _names_are_the_contract(self) -> Self:
        labels = Labels(self.names)
        Labels(self.label_names)
        unknown = [name for name in self.thresholds if name not in labels]
        if unknown:
            raise ValueError(f"thresholds name unknown classes: {', '.join(unknown)}")
        if self.preprocess.tile and self.task != "detect":
            raise ValueError(f"tiles are for models of task detect, not {self.task}")
        return self

    @property
    def labels(self) -> Labels:
        """Class names of the main head."""
        return Labels(self.names)

    def to_metadata(self, stride: int = 32) -> dict[str, str]:
        """Entries of a model file's `metadata_props`, all of them strings.

        `whatwhere` is the spec itself; the others are the keys that other tools read.
        """
        tasks = {"classify": "classify", "multilabel": "classify", "detect": "detect"}
        return {
            SPEC_KEY: self.model_dump_json(),
            "task": tasks[self.task],
            "names": repr(dict(enumerate(self.names))),
            "imgsz": repr(list(self.preprocess.size)),
            "stride": str(stride),
            "license": self.license,
            "version": self.version,
            "date": self.date,
            "author": "Whatwhere",
            "description": f"Whatwhere {self.task} model {self.name}",
        }

    @classmethod
    def from_metadata(cls, metadata: dict[str, str], where: str) -> Self:
        """The spec in a model file's metadata.

        Args:
            metadata: the file's `metadata_props`.
            where: the file, for the message.

        Raises:
            ModelError: there is no spec, it is damaged, or it is of a newer version.
        """
        text = metadata.get(SPEC_KEY)
        if text is None:
            raise ModelError(
                f"{where} is not a Whatwhere model: its metadata has no '{SPEC_KEY}' entry;"
                " give a file written by 'whatwhere train' or 'whatwhere export'"
            )
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"]) or "the spec"
            raise ModelError(
                f"{where} has a damaged or newer model spec ({place}: {first['msg']});"
                " update whatwhere or export the model again"
            ) from error
