"""Stronger models by name: of other libraries, fetched and converted once on request.

This table is all that is known of them without their weights. `whatwhere models get NAME` fetches
the weights through the library they belong to (`train.hub`), makes our model file and puts it in
the cache; from then on the name works wherever a model may be given. Nothing is fetched otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from whatwhere.errors import ModelError, UsageError
from whatwhere.runtime.choice import cache_folder

Library = Literal["torchvision", "transformers"]
_FOLDER = "models"
_DATA = "COCO train2017: everyday photographs from Flickr, 80 kinds of objects"
_PAGES = "https://pytorch.org/vision/stable/models/generated/torchvision.models.detection"
_TORCHVISION_LICENSE = "BSD-3-Clause"
_CITE = "box AP on COCO val2017, from the metadata of torchvision's weights"


@dataclass(frozen=True, slots=True)
class HubModel:
    """A model of another library.

    Args:
        name: what `load` and `--model` call it.
        library: the package that fetches its weights and knows its network.
        reference: what the library calls it: of a builder, or "owner/name" on the hub.
        family: of networks: "ssd", "faster-rcnn", or transformers' `model_type`.
        summary: what it is, in a few words.
        license: SPDX expression of the weights' licence as their publisher states it.
        page: where the publisher says more.
        published: box AP on COCO val2017 in 0..1 as the library's metadata gives it; None where
            the library gives none, see `page`.
        data: what it was trained on.
        classes: how many kinds of objects it knows.
    """

    name: str
    library: Library
    reference: str
    family: str
    summary: str
    license: str
    page: str
    published: float | None = None
    data: str = _DATA
    classes: int = 80

    @property
    def source(self) -> str:
        """Its full name, such as "torchvision:ssdlite320_mobilenet_v3_large"."""
        return f"{'hf' if self.library == 'transformers' else self.library}:{self.reference}"

    @property
    def file(self) -> Path:
        """Its model file in the cache; there after `whatwhere models get`."""
        return cache_folder() / _FOLDER / f"{self.name}.onnx"

    @property
    def here(self) -> bool:
        """Whether it was fetched."""
        return self.file.is_file()

    @property
    def card(self) -> str:
        """Its model card: data, licence, scores, limits; Markdown."""
        score = f"see {self.page}"
        if self.published is not None:
            score = f"{self.published:.3f} {_CITE}; not measured on the converted file"
        return _CARD.format(
            name=self.name,
            summary=self.summary,
            library=self.library,
            source=self.source,
            license=self.license,
            page=self.page,
            data=self.data,
            score=score,
            difference=_DIFFERENCES.get(self.family, _QUERIES),
        )

    def required(self) -> Path:
        """Its model file.

        Raises:
            ModelError: it was not fetched yet; the message has the command.
        """
        if not self.here:
            raise ModelError(
                f"the model {self.name} ({self.license}) is not here yet: run "
                f" whatwhere models get {self.name}"
            )
        return self.file


_CARD = """# {name}

{summary}. From {library}: `{source}`. Made by `whatwhere models get {name}`, which fetches the
weights, writes a model file and compares it with the library's own answers.

## Weights

{license}, as stated by their publisher: {page}

## Data

{data}. People in the photographs were not asked. The photographs have licences of their own.

## Scores

{score}. Measure it on your own pictures: `whatwhere evaluate --model {name} --data DATA`.

## Limits

- Not for safety, or for any decision about a person.
- It knows everyday photographs: not aerial, medical, night or drawn pictures.
- {difference}
"""
_QUERIES = (
    "Pictures are shrunk by averaging; the library's own preprocessing interpolates in another way,"
    " so that scores may differ in the second digit."
)
_DIFFERENCES = {
    "ssd": "Small objects are mostly missed: pictures are stretched to 320 x 320 pixels.",
    "faster-rcnn": (
        "Pictures are fitted into one square canvas. Pictures of 4:3 get the library's size; longer"
        " ones get fewer pixels, square ones more. The 1,000 best pairs of region and class of a"
        " picture are looked at. `--size HEIGHT,WIDTH` makes another canvas."
    ),
}


def _torchvision(name: str, builder: str, family: str, summary: str, published: float) -> HubModel:
    page = f"{_PAGES}.{builder}.html"
    return HubModel(
        name,
        "torchvision",
        builder,
        family,
        summary,
        _TORCHVISION_LICENSE,
        page,
        published,
    )


def _transformers(name: str, place: str, family: str, summary: str) -> HubModel:
    page = f"https://huggingface.co/{place}"
    return HubModel(name, "transformers", place, family, summary, "Apache-2.0", page)


_MODELS = (
    _torchvision(
        "ssdlite320", "ssdlite320_mobilenet_v3_large", "ssd", "SSDLite on MobileNetV3, small", 0.213
    ),
    _torchvision(
        "faster-rcnn-mobilenet-320",
        "fasterrcnn_mobilenet_v3_large_320_fpn",
        "faster-rcnn",
        "Faster R-CNN on MobileNetV3, small",
        0.228,
    ),
    _torchvision(
        "faster-rcnn-mobilenet",
        "fasterrcnn_mobilenet_v3_large_fpn",
        "faster-rcnn",
        "Faster R-CNN on MobileNetV3",
        0.328,
    ),
    _torchvision(
        "faster-rcnn-r50",
        "fasterrcnn_resnet50_fpn",
        "faster-rcnn",
        "Faster R-CNN on ResNet-50",
        0.370,
    ),
    _torchvision(
        "faster-rcnn-r50-v2",
        "fasterrcnn_resnet50_fpn_v2",
        "faster-rcnn",
        "Faster R-CNN on ResNet-50, better",
        0.467,
    ),
    *(
        _transformers(
            f"rtdetr-v2-r{depth}",
            f"PekingU/rtdetr_v2_r{depth}vd",
            "rt_detr_v2",
            f"RT-DETR v2 on ResNet-{depth}",
        )
        for depth in (18, 34, 50, 101)
    ),
    *(
        _transformers(
            f"dfine-{size[0]}-coco",
            f"ustc-community/dfine-{size}-coco",
            "d_fine",
            f"D-FINE, {size}",
        )
        for size in ("nano", "small", "medium", "large", "xlarge")
    ),
)
HUB: Mapping[str, HubModel] = MappingProxyType({model.name: model for model in _MODELS})
_FULL = {model.source: model for model in _MODELS}


def find(name: str) -> HubModel | None:
    """The model of a name, short or full; None if there is none."""
    return HUB.get(name) or _FULL.get(name)


def get(name: str) -> HubModel:
    """The model of a name, short or full.

    Raises:
        UsageError: there is none; the message has the names.
    """
    model = find(name)
    if model is None:
        raise UsageError(f"there is no model {name!r} to get: choose one of {', '.join(HUB)}")
    return model
