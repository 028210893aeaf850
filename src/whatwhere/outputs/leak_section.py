"""The section of a report about pictures that the model was trained on."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Protocol

import cv2
import numpy as np

from whatwhere.data import Dataset
from whatwhere.errors import ImageError
from whatwhere.images import encode_image, read_image
from whatwhere.types import Image

_SIDE = 160


class Leaked(Protocol):
    """What the section needs of `evaluation.leaks.Leaks`; see there."""

    @property
    def images(self) -> int: ...
    @property
    def rows(self) -> Any: ...
    @property
    def trained(self) -> int: ...
    @property
    def compared(self) -> int: ...
    @property
    def pairs(self) -> Sequence[Any]: ...
    @property
    def without(self) -> Mapping[str, float | None] | None: ...
    @property
    def left_out(self) -> bool: ...


def leaks_html(
    leaks: Leaked | None,
    metrics: Mapping[str, float | None],
    data: Dataset | None,
    count: int = 12,
) -> str:
    """Numbers with and without these pictures, and the most alike pairs; empty if there is none.

    Args:
        leaks: of the result.
        metrics: its standard numbers.
        data: what it was computed on, for the pictures; without it they are only named.
        count: at most this many pairs.
    """
    if leaks is None or not len(leaks.rows):
        return ""
    hint = (
        f"{len(leaks.rows):,} of {leaks.images:,} pictures are nearly the same as one of the"
        f" {leaks.trained:,} that the model was trained on"
    )
    if leaks.compared < leaks.trained:
        hint += f", as far as {leaks.compared:,} of these tell"
    hint += "; they are left out of all numbers." if leaks.left_out else "."
    table = "" if leaks.without is None else _numbers(metrics, leaks.without)
    pairs = "".join(_pair(pair, data) for pair in leaks.pairs[:count])
    return (
        f'<section><h2>Pictures that the model was trained on</h2><p class="hint">{hint}</p>{table}'
        f'<div class="examples small">{pairs}</div></section>'
    )


def _numbers(metrics: Mapping[str, float | None], without: Mapping[str, float | None]) -> str:
    rows = "".join(
        f"<tr><th scope=row>{escape(name)}</th><td class=number>{_number(metrics[name])}</td>"
        f"<td class=number>{_number(value)}</td></tr>"
        for name, value in without.items()
    )
    return (
        "<table><thead><tr><th></th><th class=number>all pictures</th>"
        f"<th class=number>without these</th></tr></thead><tbody>{rows}</tbody></table>"
    )


def _pair(pair: Any, data: Dataset | None) -> str:
    shown = [_small(pair.image if data is None else _path(data, pair.image)), _small(pair.twin)]
    images = "".join(
        f'<img alt="{words}" src="{address}">'
        for words, address in zip(("evaluated", "trained on"), shown, strict=True)
        if address
    )
    twin = f"trained on as {escape(pair.twin)}" if pair.twin else "trained on"
    return (
        f'<figure class="example"><div class="pair">{images}</div>'
        f"<figcaption>{escape(pair.image)}<br><span>{twin} · likeness {pair.likeness:.2f}</span>"
        "</figcaption></figure>"
    )


def _path(data: Dataset, name: str) -> str | None:
    names = data.relative_paths()
    return data.paths[names.index(name)] if name in names else None


def _small(path: str | None) -> str:
    """A small picture as the address of an image; empty if it cannot be read any more."""
    if path is None:
        return ""
    try:
        image = read_image(path)
    except ImageError:
        return ""
    ratio = min(1.0, _SIDE / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * ratio)), max(1, round(image.shape[0] * ratio)))
    small: Image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    data = base64.b64encode(encode_image(small, ".jpg", 80)).decode("ascii")
    return f"data:image/jpeg;base64,{data}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
