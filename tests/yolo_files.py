"""Small YOLO data sets, good and bad."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from whatwhere.data import Dataset
from whatwhere.images import write_image

SETTINGS = "path: .\ntrain: images/train\nval: images/val\nnames: [cat, dog]\n"


def make(
    root: Path, labels: dict[str, str | None], settings: str = SETTINGS, pictures: bool = True
) -> Path:
    for number, (name, text) in enumerate(labels.items()):
        if pictures:
            picture = np.full((40, 60, 3), number, np.uint8)
            write_image(root / "images" / f"{name}.png", picture)
        if text is not None:
            file = root / "labels" / f"{name}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
    for split in ("train", "val"):
        (root / "images" / split).mkdir(parents=True, exist_ok=True)
    (root / "data.yaml").write_text(settings, "utf-8")
    return root


def found(dataset: Dataset) -> list[tuple[str, str]]:
    return [(finding.kind, finding.where) for finding in dataset.findings]
