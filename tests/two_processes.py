"""Run by torchrun: trains the sets of `test_processes.py` without exports.

Arguments: folder of the workshop, folder for the runs, names of the runs.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import whatwhere.train.run as run_module
from whatwhere.errors import WhatwhereError
from whatwhere.train.config import TrainConfig
from whatwhere.train.recipes import recipe
from whatwhere.train.run import train_model

_PLAIN: dict[str, Any] = {
    "epochs": 2,
    "batch": 4,
    "precision": "32-true",
    "device": "cpu",
    "workers": 1,
    "previews": 0,
    "backbone": "test_efficientnet",
    "pretrained": False,
    "size": 64,
}
CASES: dict[str, tuple[str, TrainConfig]] = {
    # Batch norms that are trained, in body and head, and losses with a shared normaliser.
    "detector": (
        "shelves",
        replace(recipe("detect"), **_PLAIN | {"width_head": 16, "accumulate": 2, "batch": 2}),
    ),
    # torchvision's losses, which it divides by counts of its own.
    **{
        name: (
            "shelves",
            replace(recipe("detect", name), **_PLAIN | {"width_head": 16}),
        )
        for name in ("fcos", "ssd")
    },
    # Its second passes have no picture with boxes.
    "joint": (
        "shelves",
        replace(
            recipe("detect", "joint"),
            **_PLAIN | {"width_head": 16, "accumulate": 2, "batch": 2, "label_data": "animals"},
        ),
    ),
    # A body that stands still for half of the steps.
    "classifier": (
        "animals",
        replace(
            recipe("classify"),
            **_PLAIN
            | {
                "backbone": "tf_efficientnet_lite0",
                "pretrained": True,
                "frozen": 0.5,
                "dropout": 0.0,
                "multi_scale": 0.5,
                "patience": 9,
            },
        ),
    ),
    "odd": ("animals", replace(recipe("classify"), **_PLAIN | {"batch": 3})),
}


def main(workshop: Path, folder: Path, names: list[str]) -> None:
    # The export at the end takes most of the time, and is one process's work.
    run_module.finish = lambda net, spec, state, *rest, **options: state  # type: ignore[assignment]
    for name in names:
        data, config = CASES[name]
        if config.label_data:
            config = replace(config, label_data=str(workshop / config.label_data))
        try:
            state = train_model(workshop / data, config, folder / name)
            said = f"{name}: {state.epoch} epochs"  # type: ignore[attr-defined]
        except WhatwhereError as error:
            said = f"{name}: {error}"
        sys.stdout.write(said + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
