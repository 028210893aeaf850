"""All settings of a training run: one frozen record, written to `config.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import PurePath
from typing import Any, Self

from whatwhere.errors import UsageError
from whatwhere.train.setting import (
    check_setting,
    parse_setting,
    range_words,
    setting,
)
from whatwhere.types import TASKS, Task

DEFAULT_BUDGET = "10m"
LOSSES: Mapping[Task, tuple[str, ...]] = {
    "classify": ("cross-entropy", "focal"),
    "multilabel": ("bce", "focal", "asymmetric"),
    "detect": (),
}
"""Names of losses by task; the first is the usual one."""


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Settings of a run; each can be given as `--set name=value`.

    The meaning and the range of each stand beside it; `whatwhere.train.recipes.recipe` gives
    the values that suit a model.

    Raises:
        UsageError: a value is out of its range, or two of them contradict each other.
    """

    task: Task = setting("classify", "what is trained", choices=TASKS)
    model: str = setting("", "family and size of the network, such as yolo-s; '' by the task")
    backbone: str = setting("tf_efficientnet_lite0", "timm name of the network's body")
    pretrained: bool = setting(True, "start from ImageNet weights")
    freeze: bool = setting(
        True, "freeze the early layers and all batch norms of a pretrained backbone"
    )
    freeze_stride: int = setting(
        4, "layers of a frozen classifier that stand still: up to this stride; 0 for none", least=0
    )
    height: int = setting(0, "of the model's input in pixels; 0 to choose from the data", least=0)
    width: int = setting(0, "of the model's input in pixels; 0 to choose from the data", least=0)
    size: int = setting(
        0, "longer side in pixels without height and width; 0 for the task's default", least=0
    )
    width_head: int = setting(96, "channels of a detector's pyramid and head", least=1)
    queries: int = setting(
        300, "objects that a transformer without non-maximum suppression looks for", least=1
    )
    decoder_layers: int = setting(3, "of such a transformer, each refining its boxes", least=1)
    small_objects: bool = setting(
        False, "give a yolo a level of stride 4; costs about three times the time"
    )
    teacher: str = setting(
        "",
        "model that answers on the training views, and is learnt from: file, run or name; for a"
        " detector also saved predictions (.jsonl)",
    )
    teacher_names: str = setting(
        "", "text file with lines 'its class = our class', where names differ"
    )
    teacher_weight: float = setting(
        1.0, "of what the teacher says, beside what people said", above=0
    )
    teacher_temperature: float = setting(
        2.0, "by which a classifying teacher's logits, and ours, are divided", above=0
    )
    unlabelled: str = setting(
        "", "folder of pictures without labels, which the teacher alone teaches"
    )
    label_names: tuple[str, ...] = setting(
        (), "classes of a joint model's second head, the whole picture's; '' for those of the data"
    )
    label_task: str = setting(
        "",
        "what that head answers; '' for what its data hold",
        choices=("", "classify", "multilabel"),
    )
    label_data: str = setting(
        "", "data set of pictures with labels for that head; '' for the detector's own"
    )
    label_share: float = setting(
        0.25, "of each step's pictures that come from the data of that head", above=0, below=1
    )
    label_weight: float = setting(1.0, "of that head's loss beside the detector's", above=0)
    end_to_end: bool = setting(
        False, "give a yolo a further score by which it needs no non-maximum suppression"
    )
    epochs: int = setting(0, "passes over the data; 0 to plan them from the budget", least=0)
    budget: float = setting(
        0.0,
        "wall-clock seconds for everything, reading and export included; 0 for none",
        least=0,
    )
    batch: int = setting(
        16, "pictures a pass, over all processes; 0 for the most that fit in memory", least=0
    )
    accumulate: int = setting(1, "passes a step: a step sees batch x accumulate pictures", least=1)
    start: str = setting(
        "",
        "weights to start from: a run's folder, a .safetensors file, imagenet-lite0, a timm name"
        " or torchvision:NAME; '' for those of `pretrained`",
    )
    frozen: float = setting(
        0.0,
        "share of training during which the whole pretrained body stands still",
        least=0,
        below=1,
    )
    head_start: bool = setting(
        True,
        "a classifier's new last layer begins as the logistic regression on what its pretrained"
        " body sees in the pictures",
    )
    rate: float = setting(2e-3, "peak learning rate of new layers", above=0)
    backbone_rate: float = setting(
        0.25, "of the pretrained backbone, as a share of the rate", least=0
    )
    weight_decay: float = setting(0.02, "of AdamW, on convolution and linear weights", least=0)
    warmup: float = setting(
        0.05,
        "share of all steps in which the rate rises; in short runs 50 steps, up to 0.3 of all;"
        " 0 for none",
        least=0,
        below=1,
    )
    smoothing: float = setting(0.05, "label smoothing of classify", least=0, most=1)
    loss: str = setting(
        "",
        "what mistakes cost: cross-entropy or focal for classify; bce, focal or asymmetric for"
        " multilabel; '' for the task's usual one",
        choices=("", "cross-entropy", "focal", "bce", "asymmetric"),
    )
    dropout: float = setting(
        0.2, "share of a classifier's last features left out at random", least=0, below=1
    )
    clip: float = setting(10.0, "largest norm of the gradient", above=0)
    mosaic: float = setting(
        0.5, "chance that a detector's sample is made of four pictures", least=0, most=1
    )
    mosaic_until: float = setting(
        0.8, "share of training after which mosaics and mixing stop", least=0, most=1
    )
    mixup: float = setting(
        0.0, "chance that a sample is blended with another; until mosaic_until", least=0, most=1
    )
    cutmix: float = setting(
        0.0,
        "chance that a part of a classifier's sample comes from another; until mosaic_until",
        least=0,
        most=1,
    )
    repeats: int = setting(
        1, "times that each picture comes in a row, each time changed otherwise", least=1
    )
    balance: float = setting(
        0.0,
        "how much more often pictures of rare classes come: 0 not at all, 0.5 by the root of"
        " their rarity, 1 as often as the others",
        least=0,
        most=1,
    )
    tile: int = setting(
        0,
        "side in original pixels of the parts in which a detector sees large pictures, for small"
        " objects; 0 for whole pictures",
        least=0,
    )
    flip: float = setting(0.5, "chance of mirroring sideways", least=0, most=1)
    vertical_flip: float = setting(0.0, "chance of mirroring upside down", least=0, most=1)
    zoom: float = setting(
        1.5, "largest enlargement in augmentation; its inverse is the smallest", least=1, most=10
    )
    colour: float = setting(
        0.4, "strength of brightness, contrast and saturation changes", least=0, most=1
    )
    distort: float = setting(
        0.0,
        "chance that a classifier's sample is turned, sheared, moved or recoloured strongly, by"
        " one change at random (TrivialAugment)",
        least=0,
        most=1,
    )
    multi_scale: float = setting(
        0.0,
        "the input of each step is larger or smaller by up to this share, in multiples of 32;"
        " until mosaic_until",
        least=0,
        most=0.9,
    )
    grow: float = setting(
        1.0,
        "share of the input's size with which training begins, to grow to all of it until"
        " mosaic_until; early steps then cost less",
        least=0.25,
        most=1,
    )
    metric: str = setting(
        "", "number of the validation that decides which weights are best; '' for the task's own"
    )
    patience: int = setting(
        0, "validations without a better one after which training stops; 0 for never", least=0
    )
    validation: float = setting(
        0.1,
        "share of the training pictures held out if the data has no such split",
        above=0,
        below=1,
    )
    seed: int = setting(0, "of every random choice", least=0, below=2**32)
    precision: str = setting(
        "auto", "of the computation", choices=("auto", "32-true", "bf16-mixed", "16-mixed")
    )
    device: str = setting("auto", "what to train on", choices=("auto", "cpu", "cuda"))
    devices: int = setting(1, "processes on a machine, one for each GPU", least=1)
    nodes: int = setting(1, "machines", least=1)
    workers: int = setting(2, "threads that read and augment", least=1)
    cache: int = setting(4096, "megabytes of decoded training pictures kept", least=0)
    cache_folder: str = setting(
        "", "where they are kept in a file, for later runs too; '' for in memory"
    )
    fingerprints: bool = setting(
        True,
        "keep what tells whether a picture was trained on, in the run's folder and the model file",
    )
    previews: int = setting(
        5, "answers to validation pictures are drawn at each so many validations; 0 never", least=0
    )
    tensorboard: bool = setting(False, "write event files for TensorBoard into the run's folder")
    mlflow: str = setting(
        "", "address of an MLflow server that keeps the run, such as http://localhost:5000"
    )

    def __post_init__(self) -> None:
        for field in fields(self):
            check_setting(field.name, getattr(self, field.name), field.metadata)
        if self.epochs and self.budget:
            raise UsageError("give either epochs or a budget, not both: each decides the length")
        if self.loss and self.loss not in LOSSES[self.task]:
            usable = ", ".join(LOSSES[self.task]) or "none: a detector has its own"
            raise UsageError(f"loss {self.loss!r} is not for {self.task}: use {usable}")
        if self.frozen and not (self.pretrained or self.start):
            raise UsageError(
                "frozen keeps a pretrained body still, but this one starts from random weights:"
                " leave it out, or use pretrained weights"
            )
        if self.cutmix and self.task == "detect":
            raise UsageError("cutmix would cut objects apart: use mixup or mosaic for a detector")
        if self.distort and self.task == "detect":
            raise UsageError("distort would move objects out of their boxes: leave it out")
        if self.mixup + self.cutmix > 1:
            raise UsageError(
                f"mixup and cutmix are chances of one choice and must not exceed 1 together, not"
                f" {self.mixup:g} + {self.cutmix:g}"
            )
        if self.tile and self.task != "detect":
            raise UsageError("tile is for detectors: a label of a whole picture has no place")
        if 0 < self.tile < 32:
            raise UsageError(f"tile must be 0 or at least 32, not {self.tile}")
        if "@" in self.mlflow:
            # Settings are written to config.json and into the model file, for others to see.
            raise UsageError(
                "the address of MLflow must not hold a user or password: set"
                " MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD instead"
            )
        if self.unlabelled and not self.teacher:
            raise UsageError("pictures without labels teach nothing by themselves: add a teacher")
        if bool(self.height) != bool(self.width):
            raise UsageError("give both height and width, or neither and a size")
        for name in ("height", "width", "size"):
            value = getattr(self, name)
            if 0 < value < 32:
                raise UsageError(f"{name} must be at least 32, not {value}")
            if self.task == "detect" and value % 32:
                raise UsageError(
                    f"{name} must be a multiple of 32 for a detector, not {value}:"
                    f" use {max(32, round(value / 32) * 32)}"
                )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for `config.json`."""
        values = asdict(self)
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
        }

    def portable(self) -> dict[str, Any]:
        """The same for a model file: of paths only the last part, which says enough elsewhere.

        A name on a hub ("hf:owner/name") is no path.
        """
        paths = ("teacher", "teacher_names", "unlabelled", "label_data", "start", "cache_folder")
        values = self.to_dict()
        return values | {
            name: PurePath(values[name]).name
            for name in paths
            if values[name] and not values[name].startswith("hf:")
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The settings in a `config.json`; other keys of that file are passed over."""
        names = {field.name for field in fields(cls)}
        kept: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
            if name in names
        }
        return cls(**kept)

    def with_settings(self, settings: Mapping[str, str]) -> Self:
        """Settings changed from text, as given by `--set`.

        Raises:
            UsageError: a name is unknown or a value is not of its kind.
        """
        kinds = {field.name: type(getattr(self, field.name)) for field in fields(self)}
        values: dict[str, Any] = {}
        for name, text in settings.items():
            if name not in kinds:
                raise UsageError(f"unknown setting {name!r}: use one of {', '.join(sorted(kinds))}")
            values[name] = parse_setting(name, text, kinds[name])
        return replace(self, **values)


def settings_table() -> list[dict[str, str]]:
    """Every setting for people: its name, usual value, allowed values and meaning."""
    rows = []
    for field in fields(TrainConfig):
        about = field.metadata
        limits = about["limits"]
        allowed = ", ".join(choice or "''" for choice in about["choices"]) or range_words(
            *(limits[key] for key in ("least", "most", "above", "below"))
        )
        default = field.default
        if isinstance(default, bool):
            allowed, shown = "true, false", str(default).lower()
        else:
            shown = f"{default:g}" if isinstance(default, float) else str(default or "")
            shown = "0" if default == 0 else shown
        rows.append(
            {"name": field.name, "usual": shown, "allowed": allowed, "meaning": about["about"]}
        )
    return rows
