"""Measured pictures of a made-up camera, whose numbers hang together as real ones do."""

from __future__ import annotations

import numpy as np

from whatwhere.drift import Measured
from whatwhere.drift.features import EMBEDDING
from whatwhere.specs import ModelSpec, PreprocessSpec

KINDS = tuple(f"kind {number}" for number in range(6))
SPEC = ModelSpec(
    name="camera", task="detect", names=KINDS, preprocess=PreprocessSpec(size=(64, 64))
)
_MIX = np.random.default_rng(9).normal(size=(EMBEDDING, EMBEDDING))


def pictures(
    seed: int,
    count: int,
    *,
    darker: float = 0.0,
    sharp: float = 1.0,
    mix: tuple[float, ...] | None = None,
    colour: float = 0.0,
) -> list[Measured]:
    """So many pictures of one scene, or of a changed one.

    Args:
        darker: taken off the brightness.
        sharp: factor of the sharpness.
        mix: shares of the classes; None for equal ones.
        colour: added to all numbers of the embedding.
    """
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        z = rng.normal(size=EMBEDDING)
        # Brighter pictures show more objects, and objects of a picture are of one kind mostly.
        objects = int(rng.poisson(np.exp(0.4 * z[0] + 0.8)))
        main = rng.choice(len(KINDS), p=mix)
        kinds = [KINDS[main if rng.random() < 0.7 else rng.choice(len(KINDS), p=mix)]
                 for _ in range(objects)]  # fmt: skip
        scores = np.sort(rng.beta(4, 2, objects))[::-1].astype(np.float32)
        made.append(
            Measured(
                float(np.clip(0.5 + 0.12 * z[0] - darker, 0, 1)),
                float(abs(0.2 + 0.05 * z[1])),
                float(np.exp(0.4 * z[2] - 1) * sharp),
                (z @ _MIX + colour).astype(np.float32),
                tuple(kinds),
                scores,
                rng.beta(1, 4, objects).astype(np.float32),
            )
        )
    return made
