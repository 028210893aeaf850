"""What the documents' commands work on: small generated data sets and a small trained run."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

_COLOURS = {"bottle": (40, 140, 60), "box": (170, 120, 60), "tin": (60, 60, 200)}


def make_workshop(folder: Path) -> None:
    """`shelves` (Pascal VOC, three splits), `animals` (class folders) and `photos` (loose)."""
    random = np.random.default_rng(0)
    _make_voc(folder / "shelves", random)
    for split, count in (("train", 6), ("val", 2), ("test", 2)):
        for name, colour in (("cat", (200, 150, 90)), ("dog", (90, 90, 90))):
            for number in range(count):
                _write(folder / "animals" / split / name / f"{number}.jpg", _noise(random, colour))
    for number in range(2):
        _write(folder / "photos" / f"{number}.jpg", _shelf(random)[0])


def _noise(random: np.random.Generator, colour: tuple[int, int, int]) -> NDArray[np.uint8]:
    picture = random.normal(colour, 30, (48, 64, 3))
    return np.clip(picture, 0, 255).astype(np.uint8)


def _shelf(
    random: np.random.Generator,
) -> tuple[NDArray[np.uint8], list[tuple[str, int, int, int, int]]]:
    """A picture of 160 x 120 pixels with one to three rectangles, and where they are."""
    picture = _noise(random, (220, 220, 210))
    picture = cv2.resize(picture, (160, 120)).astype(np.uint8)
    things = []
    for slot in range(int(random.integers(1, 4))):
        name = list(_COLOURS)[int(random.integers(3))]
        left, top = 50 * slot + int(random.integers(5, 12)), int(random.integers(10, 50))
        right, bottom = left + int(random.integers(20, 36)), top + int(random.integers(30, 60))
        picture[top:bottom, left:right] = _COLOURS[name]
        things.append((name, left, top, right, bottom))
    return picture, things


def _write(path: Path, picture: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, picture[..., ::-1])[1].tobytes())


def _make_voc(folder: Path, random: np.random.Generator) -> None:
    for split, count in (("train", 12), ("val", 4), ("test", 4)):
        names = [f"{split}{number:02}" for number in range(count)]
        for name in names:
            picture, things = _shelf(random)
            _write(folder / "JPEGImages" / f"{name}.jpg", picture)
            # VOC counts pixels from 1 and includes the last one.
            objects = "".join(
                f"<object><name>{kind}</name><difficult>0</difficult><bndbox>"
                f"<xmin>{left + 1}</xmin><ymin>{top + 1}</ymin>"
                f"<xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox></object>"
                for kind, left, top, right, bottom in things
            )
            _text(
                folder / "Annotations" / f"{name}.xml",
                f"<annotation><filename>{name}.jpg</filename><size><width>160</width>"
                f"<height>120</height><depth>3</depth></size>{objects}</annotation>\n",
            )
        _text(folder / "ImageSets" / "Main" / f"{split}.txt", "\n".join(names) + "\n")


def _text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
