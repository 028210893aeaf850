"""What every model family offers, and what the loop, the export and the tests need of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from whatwhere.errors import TrainError
from whatwhere.train.batch import Batch
from whatwhere.types import Task

if TYPE_CHECKING:
    from whatwhere.train.config import TrainConfig


class Network(nn.Module):
    """A trainable network of a family.

    A subclass gives `forward` (the outputs of the model file, by name) and `loss`.

    Attributes:
        backbone: the part that may start from pretrained weights.
        source: where its weights come from, for the spec.
        license: SPDX expression of those weights, "" if random.
        end_to_end: its boxes are final; prediction does no non-maximum suppression.
        unordered: its boxes have no fixed places in the output, so that a comparison must
            find each one's partner first.
        label_names, label_task: of a second, whole-picture head, see `ModelSpec`.
    """

    backbone: nn.Module
    source: str = "random"
    license: str = ""
    end_to_end: bool = False
    unordered: bool = False
    label_names: tuple[str, ...] = ()
    label_task: str = "classify"

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """The outputs of the model file for uint8 images (N, H, W, 3), RGB.

        `logits` (N, C) before softmax or sigmoid, or `boxes` (N, A, 4), x1 y1 x2 y2 in input
        pixels, with `scores` (N, A, C) in 0..1, or all three; float32.
        """
        raise NotImplementedError

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch, a scalar, and its parts for the log, detached."""
        raise NotImplementedError

    def choose(self, end_to_end: bool) -> None:
        """Whether the boxes of `forward` are final or for non-maximum suppression.

        Raises:
            TrainError: the network has not got such boxes.
        """
        if end_to_end != self.end_to_end:
            raise TrainError(
                "this network gives boxes in one way alone, "
                + ("final ones" if self.end_to_end else "for non-maximum suppression")
                + f": export it without {'--end-to-end' if end_to_end else '--nms'}"
            )

    def body(self) -> Iterable[nn.Parameter]:
        """Parameters that come from pretraining, and learn slowly."""
        return self.backbone.parameters()

    def last_layer(self) -> nn.Linear | None:
        """What turns `pooled` features into `logits`; None without such a layer."""
        return None

    def pooled(self, images: Tensor) -> Tensor:
        """Inputs (N, D) of the last layer for uint8 images (N, H, W, 3), RGB."""
        raise NotImplementedError


DETECTOR_SETTINGS = frozenset({"mosaic", "width_head"})
"""Settings that every detector uses, and no classifier."""


@dataclass(frozen=True, slots=True)
class Family:
    """A kind of network; one module of this package each, as its `FAMILY`.

    Args:
        name: of the family; `--model yolo-s` means size "s" of family "yolo".
        title: for people, with the paper.
        tasks: what it can be trained for.
        build: makes the network: settings, class names.
        recipe: settings by which it differs from `TrainConfig`'s defaults.
        sizes: further settings by name of the size; the first is the usual one.
        postprocess: fields of `PostprocessSpec` by which its models differ.
        partial: its loss leaves out regions and classes that nobody looked for (`ignore`,
            `complete`); a family without it takes them for background, and training says so.
        extra: the optional install it needs, "" if none beyond `train`.
        soft: its loss takes class scores of an object (`BoxTargets.soft`); from a teacher other
            detectors learn its sure boxes, and ignore its fainter ones.
        settings: those that not every family uses, of which this one does.
        two_heads: it also answers for the whole picture; `joint.label_part` finds the data.
    """

    name: str
    title: str
    tasks: frozenset[Task]
    build: Callable[[TrainConfig, tuple[str, ...]], Network]
    recipe: Mapping[str, Any] = field(default_factory=dict)
    sizes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    postprocess: Mapping[str, Any] = field(default_factory=dict)
    partial: bool = True
    extra: str = ""
    two_heads: bool = False
    soft: bool = False
    settings: frozenset[str] = DETECTOR_SETTINGS
