"""D-FINE: box sides as distributions that each decoder layer makes finer.

Peng et al., D-FINE: Redefine Regression Task in DETRs as Fine-grained Distribution Refinement,
ICLR 2025. Network and loss are those of Hugging Face's library; see `_transformers`.
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
    need_extra("dfine")
    from transformers import DFineConfig, DFineForObjectDetection

    kinds = (DFineConfig, DFineForObjectDetection)
    start = config.start
    if is_checkpoint(start):
        return from_checkpoint(start, names, kinds)
    # The depths of the published D-FINE-S; its width is 256.
    options = {
        "encoder_layers": 1,
        "hidden_expansion": 0.5,
        "depth_mult": 0.34,
        "decoder_layers": config.decoder_layers,
        "decoder_n_points": [3, 6, 3],
        "num_denoising": config.queries // 2,
    }
    return from_scratch(config, names, kinds, options)


FAMILY = Family(
    name="dfine",
    title="D-FINE: a transformer that refines distributions of box sides (Peng et al., 2024)",
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
        "n": {"width_head": 128, "queries": 100},
        "s": {"width_head": 256, "queries": 300},
    },
    settings=DETECTOR_SETTINGS | {"decoder_layers", "queries"},
    partial=False,
    extra=EXTRA,
)
