"""What a model file says about itself, and the list of models known by name.

A `ModelSpec` travels as JSON in the metadata entry `whatwhere` of every model file, so
that a file alone is enough to predict, evaluate and serve.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from whatwhere.errors import ModelError, UsageError
from whatwhere.scoremaps import Broken, Conformal, Kind, Platt, ScoreMap, score_map
from whatwhere.transforms import Fit, Preprocess, Resample
from whatwhere.types import Labels, Task

SPEC_KEY = "whatwhere"
SEEN_KEY = "whatwhere_seen"
"""Metadata entry of a model file: fingerprints of its training pictures, see `data.sketches`.

Not part of the spec: it may be left out or taken away, and is not needed to predict.
"""
DRIFT_KEY = "whatwhere_drift"
"""Metadata entry of a model file: what later pictures are compared with, see `drift.Reference`.

Not part of the spec, as `SEEN_KEY`.
"""

Fraction = Annotated[float, Field(ge=0, le=1)]
Suppress = Literal["nms", "soft", "soft-linear", "wbf"]
Merge = Literal["nms", "nmm", "greedy-nmm"]
MergeMetric = Literal["iou", "ios"]
_Positive = Annotated[float, Field(gt=0)]


def _read_map(value: Any) -> ScoreMap:
    if isinstance(value, Platt | Broken):
        return value
    if not isinstance(value, dict):
        raise ValueError("a map of scores must be an object")
    try:
        return score_map(value)
    except UsageError as error:
        raise ValueError(str(error)) from error


StoredMap = Annotated[
    ScoreMap,
    PlainValidator(_read_map),
    PlainSerializer(lambda one: one.to_dict(), return_type=dict[str, Any]),
    WithJsonSchema({"type": "object", "properties": {"kind": {"enum": ["platt", "broken"]}}}),
]
"""A map of scores, stored as its `to_dict`."""


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

    score_threshold: rows whose calibrated score is below it are left out of a prediction,
        unless `ModelSpec.thresholds` names the class. Evaluation uses `evaluation_threshold`
        instead, on the scores of boxes as the model gives them.
    nms_iou: boxes of one class that overlap a better one by more than this IoU are dropped.
    suppress: "nms" drops them; "soft" (Gaussian) and "soft-linear" lower their scores (Soft-NMS);
        "wbf" makes their weighted mean (weighted box fusion), see `runtime.suppress`.
    soft_sigma: of the Gaussian.
    max_detections: at most this many boxes a picture, best first.
    top: `classify` gives this many labels a picture.
    end_to_end: the graph's boxes are final; no non-maximum suppression is done.
    merge: of pictures in tiles: how boxes of all tiles come together. "nms": boxes cut by a
        tile's border are dropped, one suppression sees the rest. "nmm" and "greedy-nmm":
        each tile is answered by itself, then boxes that overlap become the rectangle around
        them, see `runtime.merging`.
    merge_metric: what overlap is for nmm: IoU, or "ios", over the smaller box.
    merge_overlap: boxes that overlap by at least this much are merged.
    """

    score_threshold: Fraction = 0.25
    evaluation_threshold: Fraction = 0.001
    nms_iou: Fraction = 0.6
    suppress: Suppress = "nms"
    soft_sigma: float = Field(default=0.5, gt=0)
    max_detections: int = Field(default=300, ge=1)
    top: int = Field(default=5, ge=1)
    end_to_end: bool = False
    merge: Merge = "nms"
    merge_metric: MergeMetric = "ios"
    merge_overlap: float = Field(default=0.5, gt=0, le=1)


class SeenObjects(_Part):
    """Sizes of what a detector was trained on, for the choice of tiles.

    picture: median of the longer sides of the pictures, in pixels.
    sides: the 5, 25, 50, 75 and 95 % quantiles of the boxes' longer sides, as shares of the longer
        side of what the model saw them in: the picture, or a tile of it.
    boxes: how many there were.
    """

    picture: int = Field(ge=1)
    sides: tuple[float, float, float, float, float]
    boxes: int = Field(ge=1)


class ConformalSpec(_Part):
    """`scoremaps.Conformal` as it is stored.

    kind: "lac" or "aps".
    coverage: share of pictures whose set holds the right class, at least.
    limit: how badly a class of the set may fit.
    pictures: pictures that it was fitted on.
    """

    kind: Kind
    coverage: float = Field(gt=0, lt=1)
    limit: float = Field(ge=0, le=1.01)
    pictures: int = Field(ge=1)

    def build(self) -> Conformal:
        return Conformal(self.kind, 1 - self.coverage, self.limit, self.pictures)


class AnswerSpec(_Part):
    """How the scores of one head become an answer; in this order.

    temperature: logits are divided by it before the softmax or sigmoid.
    maps: from a score to a calibrated one, by class name; not for `classify`.
    thresholds: of single classes, by name. For `classify`: a picture whose best class has less
        is answered "not sure".
    abstain: `classify`: the same for all classes.
    conformal: `classify`: gives a set of classes that holds the right one with a stated chance.
    """

    temperature: float = Field(default=1.0, gt=0)
    maps: dict[str, StoredMap] = {}
    thresholds: dict[str, Fraction] = {}
    abstain: Fraction | None = None
    conformal: ConformalSpec | None = None

    def check(self, task: Task, names: Collection[str]) -> None:
        """Raises ValueError if a class is unknown or a part is not of this task."""
        for part, given in (("thresholds", self.thresholds), ("maps", self.maps)):
            unknown = [name for name in given if name not in names]
            if unknown:
                raise ValueError(f"{part} name unknown classes: {', '.join(unknown)}")
        if task == "classify" and self.maps:
            raise ValueError("maps of scores are for the tasks multilabel and detect")
        if task != "classify" and (self.abstain is not None or self.conformal is not None):
            raise ValueError("abstain and conformal are for the task classify")

    @property
    def hesitates(self) -> bool:
        """Whether an answer of task classify can be "not sure"."""
        return self.abstain is not None or bool(self.thresholds)


class GraphSpec(_Part):
    """How a graph of others is fed and read, see `runtime.foreign`; a graph of ours needs none.

    family: how its answers are read, a key of `runtime.foreign.READERS`.
    outputs: names of its outputs, in the order in which the family takes them.
    layout: of its input: "nchw", "nhwc", or "chw" for one picture without a batch.
    bgr: its colours are in the order blue, green, red.
    scale, mean, std: pixels 0..255 become (pixel * scale - mean) / std, mean and std one for each
        colour in the input's order.
    sizes: its second input that takes (width, height) of each picture, int64 (N, 2); "" for none.
    mask: its second input that takes 1 for each pixel, (N, H, W); "" for none.
    columns: place of each class of `names` among the graph's own; empty if they are the same.
    """

    family: str
    outputs: tuple[str, ...] = Field(min_length=1)
    layout: Literal["nchw", "nhwc", "chw"] = "nchw"
    bgr: bool = False
    scale: float = Field(default=1 / 255, gt=0)
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[_Positive, _Positive, _Positive] = (1.0, 1.0, 1.0)
    sizes: str = ""
    mask: str = ""
    columns: tuple[int, ...] = ()


class DataSummary(_Part):
    """Which data a model was trained on: a digest to recognise it, and its size."""

    digest: str
    images: int
    labels: int
    description: str = ""


class CalibrationSummary(_Part):
    """What calibration and thresholds of a model were fitted on, and what they did there.

    data: the pictures.
    settings: what was asked for.
    before, after: calibration errors; `after` on pictures that were left out of the fit.
    """

    data: DataSummary
    settings: dict[str, Any] = {}
    before: dict[str, float] = {}
    after: dict[str, float] = {}


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
        graph: of a graph of others, what it takes and answers; None for one of ours.
        thresholds, temperature, maps, abstain, conformal: of the main head, see `AnswerSpec`.
        label_answers: the same of the second head.
        calibration: what these were fitted on.
        architecture: family and backbone, such as "yolo:tf_efficientnet_lite0".
        source: where the weights come from.
        license: SPDX expression of the weights' licence.
        data: what it was trained on, if known.
        objects: of a detector, how large the objects were that it was trained on, if known.
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
    graph: GraphSpec | None = None
    thresholds: dict[str, Fraction] = {}
    temperature: float = Field(default=1.0, gt=0)
    maps: dict[str, StoredMap] = {}
    abstain: Fraction | None = None
    conformal: ConformalSpec | None = None
    label_answers: AnswerSpec = AnswerSpec()
    calibration: CalibrationSummary | None = None
    architecture: str = ""
    source: str = ""
    license: str = ""
    data: DataSummary | None = None
    objects: SeenObjects | None = None
    metrics: dict[str, float] = {}
    reference: dict[str, Any] = {}
    version: str = "1"
    date: str = ""

    @model_validator(mode="after")
    def _names_are_the_contract(self) -> Self:
        labels = Labels(self.names)
        self.answers.check(self.task, labels)
        self.label_answers.check(self.label_task, Labels(self.label_names))
        if self.preprocess.tile and self.task != "detect":
            raise ValueError(f"tiles are for models of task detect, not {self.task}")
        if self.graph is not None and len(self.graph.columns) not in (0, len(self.names)):
            raise ValueError("graph.columns needs one place for each class")
        return self

    @property
    def labels(self) -> Labels:
        """Class names of the main head."""
        return Labels(self.names)

    @property
    def answers(self) -> AnswerSpec:
        """How the scores of the main head become an answer."""
        return AnswerSpec.model_construct(
            temperature=self.temperature,
            maps=self.maps,
            thresholds=self.thresholds,
            abstain=self.abstain,
            conformal=self.conformal,
        )

    def with_answers(self, answers: AnswerSpec, *, main: bool = True) -> Self:
        """The spec with these for the main or the second head, checked.

        Raises:
            UsageError: they do not fit the head.
        """
        task, names = (self.task, self.names) if main else (self.label_task, self.label_names)
        try:
            answers.check(task, names)
        except ValueError as error:
            raise UsageError(f"model {self.name}: {error}") from error
        if not main:
            return self.model_copy(update={"label_answers": answers})
        return self.model_copy(update=dict(answers))

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
