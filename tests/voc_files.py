"""Small Pascal VOC data sets, good and bad."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from whatwhere.data import Dataset
from whatwhere.images import write_image


def thing(name: str = "cat", box: tuple[object, ...] = (1, 1, 10, 20), extra: str = "") -> str:
    sides = "".join(
        f"<{side}>{value}</{side}>"
        for side, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    )
    return f"<object>\n<name>{name}</name>{extra}<bndbox>{sides}</bndbox>\n</object>\n"


def make(root: Path, objects: dict[str, str], size: tuple[int, int] | None = (60, 40)) -> Path:
    for number, (stem, content) in enumerate(objects.items()):
        write_image(root / "JPEGImages" / f"{stem}.png", np.full((40, 60, 3), number, np.uint8))
        (root / "Annotations").mkdir(exist_ok=True)
        shape = ""
        if size:
            shape = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>"
        text = f"<annotation>\n{shape}\n{content}</annotation>"
        (root / "Annotations" / f"{stem}.xml").write_text(text, "utf-8")
    return root


def lists(root: Path, **splits: str) -> None:
    folder = root / "ImageSets" / "Main"
    folder.mkdir(parents=True, exist_ok=True)
    for name, stems in splits.items():
        (folder / f"{name}.txt").write_text("\n".join(stems.split()) + "\n")


def found(dataset: Dataset) -> list[tuple[str, str]]:
    return [(finding.kind, finding.where) for finding in dataset.findings]
