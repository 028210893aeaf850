"""RT-DETR v2: a transformer that needs no non-maximum suppression and runs in real time.

Zhao et al., DETRs Beat YOLOs on Real-time Object Detection, CVPR 2024; Lv et al., RT-DETRv2:
Improved Baseline with Bag-of-Freebies, 2024. Network and loss are those of Hugging Face's
library; see `_transformers`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from whatwhere.train.models._transformers import EXTRA, QueryDetector, need_extra
from whatwhere.train.models._transformers_start import (
    from_checkpoint,
    from_scratch,
    is_checkpoint,
)
from whatwhere.train.models.family import DETECTOR_SETTINGS, Family

if TYPE_CHECKING:
    from whatwhere.train.config import TrainConfig


def _build(config: TrainConfig, names: tuple[str, ...]) -> QueryDetector:
    need_extra("rtdetr")
    from transformers import RTDetrV2Config, RTDetrV2ForObjectDetection

    kinds = (RTDetrV2Config, RTDetrV2ForObjectDetection)
    start = config.start
    if is_checkpoint(start):
        return from_checkpoint(start, names, kinds)
    # The published network on ResNet-18 has the same depths; its width is 256.
    options = {
        "encoder_layers": 1,
        "hidden_expansion": 0.5,
        "decoder_layers": config.decoder_layers,
        "decoder_n_levels": 3,
        "decoder_n_points": 4,
        "num_denoising": config.queries // 2,
    }
    return from_scratch(config, names, kinds, options)


FAMILY = Family(
    name="rtdetr",
    title="RT-DETR v2: a transformer without non-maximum suppression (Lv et al., 2024)",
    tasks=frozenset({"detect"}),
    build=_build,
    recipe={
        "batch": 8,
        "rate": 1e-3,
        "backbone_rate": 0.2,
        "weight_decay": 1e-4,
        "clip": 0.1,
        "mosaic": 0.25,
        "mosaic_until": 0.6,
    },
    sizes={
        "s": {"width_head": 128, "queries": 100},
        "m": {"width_head": 256, "queries": 300, "backbone": "resnet18d"},
    },
    settings=DETECTOR_SETTINGS | {"decoder_layers", "queries"},
    partial=False,
    extra=EXTRA,
)
