"""Pictures on which the models of `factories` are wrong in a known way about their own scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import whatwhere as ww
from factories import CELL, GRID, NAMES, SIZE
from whatwhere.data import Dataset
from whatwhere.images import write_image
from whatwhere.scoremaps import Platt

TRUE_TEMPERATURE = 2.5
TRUE_MAP = Platt(0.6, -0.8)


def photos(folder: Path, count: int, seed: int, kind: str) -> Dataset:
    """Pictures whose colours say what the model of `factories` will, labelled by chance.

    The chance is not the model's score, but what that should have been.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    images, boxes = [], []
    for number in range(count):
        name = f"{number:04}.png"
        images.append({"id": number, "file_name": name, "width": SIZE, "height": SIZE})
        if kind == "detect":
            image, found = _cells(rng)
        else:
            image, found = _colour(rng, kind)
        write_image(folder / name, image)
        boxes += [{"image_id": number, **row} for row in found]
    document = {
        "images": images,
        "categories": [{"id": place, "name": name} for place, name in enumerate(NAMES)],
        "annotations": [
            {"id": number, "area": 1.0, "iscrowd": 0, **row} for number, row in enumerate(boxes)
        ],
    }
    (folder / "labels.json").write_text(json.dumps(document))
    data = ww.read(folder / "labels.json", images=folder)
    if kind == "detect":
        return data
    return data.as_multilabel() if kind == "multilabel" else data.as_classify()


def _cells(rng: np.random.Generator) -> tuple[NDArray[np.uint8], list[dict[str, Any]]]:
    """Coloured cells of the grid; a cell is an object by the chance that its map gives."""
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    found = []
    for place in rng.permutation(GRID * GRID)[:8].tolist():
        y, x = divmod(place, GRID)
        channel, value = int(rng.integers(3)), int(rng.integers(20, 250))
        image[y * CELL : (y + 1) * CELL, x * CELL : (x + 1) * CELL, channel] = value
        if rng.random() < TRUE_MAP.apply(np.array([value / 255]))[0]:
            box = [x * CELL, y * CELL, CELL, CELL]
            found.append({"category_id": channel, "bbox": box})
    return image, found


def _colour(rng: np.random.Generator, kind: str) -> tuple[NDArray[np.uint8], list[dict[str, Any]]]:
    """A plain colour; its classes are drawn from the odds that the logits should give."""
    colour = rng.integers(60, 196, 3)
    logits = colour @ ((np.eye(3) * 3 - 1) / 32)
    if kind == "classify":
        odds = np.exp(logits / TRUE_TEMPERATURE)
        chosen = [int(rng.choice(3, p=odds / odds.sum()))]
    else:
        odds = TRUE_MAP.apply(1 / (1 + np.exp(-logits)))
        chosen = np.flatnonzero(rng.random(3) < odds).tolist()
    whole = [0, 0, SIZE, SIZE]
    image = np.broadcast_to(colour.astype(np.uint8), (SIZE, SIZE, 3)).copy()
    return image, [{"category_id": one, "bbox": whole} for one in chosen]
