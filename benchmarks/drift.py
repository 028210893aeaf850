"""Does drift detection stay silent on the same pictures, and see planted changes at once?

    python benchmarks/drift.py PICTURES [--model objects-lite] [--json]

Pictures of one folder are shuffled; 256 are the reference, the others come in windows of 100: as
they are (false alarms), and darker, blurred, hazy, recompressed, without the commonest class, and
with the second class alone (alarms). A change counts as seen if one of its first two windows gives
an alarm. Reference and windows are drawn anew several times. Beside it the false alarms of usual
rules: a test of each figure at 5 percent, and the stability index over 0.25.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import whatwhere as ww
from whatwhere.drift import Judge, Measured, Reference, learn
from whatwhere.drift.reference import SCALARS
from whatwhere.images import encode_image, read_image

CHANGES: dict[str, Callable[[Any], Any]] = {
    "darker": lambda image: (image * 0.5).astype(np.uint8),
    "blurred": lambda image: cv2.GaussianBlur(image, (0, 0), max(image.shape) / 200),
    "hazy": lambda image: (image * 0.6 + 90).astype(np.uint8),
    "recompressed": lambda image: read_image(encode_image(image, ".jpg", 10)),
}


def changed(paths: list[str], change: Callable[[Any], Any]) -> Iterator[Any]:
    for path in paths:
        yield change(read_image(path))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--model", default="objects-lite")
    parser.add_argument("--draws", type=int, default=10, help="references and orders")
    parser.add_argument("--window", type=int, default=100)
    parser.add_argument("--some", type=int, default=400, help="pictures that are changed")
    parser.add_argument("--rate", type=float, default=0.001)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    model = ww.load(args.model)
    assert isinstance(model, ww.Predictor)
    rng = np.random.default_rng(0)
    paths = [str(path) for path in sorted(args.pictures.rglob("*.jpg"))]
    paths = [paths[row] for row in rng.permutation(len(paths))]
    same = list(learn(model, paths))
    shifted = {
        name: list(learn(model, changed(paths[: args.some], change)))
        for name, change in CHANGES.items()
    }

    windows = alarms = uncorrected = thumb = 0
    seen = dict.fromkeys([*shifted, "commonest class gone", "second class only"], 0)
    kinds: dict[str, int] = {}
    for draw in range(args.draws):
        rng = np.random.default_rng(draw + 1)
        # Changed pictures are never those of the reference.
        order = rng.permutation(np.arange(args.some, len(same)))
        reference = Reference.of([same[row] for row in order[:256]], model.spec, "photos")
        judge = Judge(reference, args.window, args.rate)
        rest = [same[row] for row in order[256:]]
        for start in range(0, len(rest) - args.window + 1, args.window):
            verdict = judge.judge(rest[start : start + args.window])
            windows, alarms = windows + 1, alarms + verdict.drifted
            found = {part.name: part.value for part in verdict.parts}
            # Distance that two such samples exceed with a chance of 5 percent.
            limit = 1.358 * (1 / 256 + 1 / args.window) ** 0.5
            uncorrected += any(found[name] > limit for name in SCALARS)
            thumb += any(found[name] > 0.25 for name in ("classes", "sizes", "scores"))
            for part in verdict.parts:
                kinds[part.name] = kinds.get(part.name, 0) + part.drifted
        first, second = reference.classes[:2]
        planted: dict[str, list[Measured]] = dict(shifted)
        planted["commonest class gone"] = [one for one in rest if first not in one.names]
        planted["second class only"] = [one for one in rest if {*one.names} == {second}]
        for name, pool in planted.items():
            rows = rng.permutation(len(pool))[: 2 * args.window]
            two = [rows[: args.window], rows[args.window :]]
            seen[name] += any(
                judge.judge([pool[row] for row in part]).drifted
                for part in two
                if len(part) == args.window
            )
    rows = [
        {
            "work": "false alarms",
            "who": "whatwhere",
            "version": ww.__version__,
            "value": alarms / windows,
            "windows": windows,
            "by": kinds,
        }
    ]
    rows += [
        {
            "work": f"{name} seen within two windows",
            "who": "whatwhere",
            "version": ww.__version__,
            "value": count / args.draws,
        }
        for name, count in seen.items()
    ]
    for who, count in (
        ("Kolmogorov and Smirnov's test of each figure at 0.05", uncorrected),
        ("population stability index over 0.25", thumb),
    ):
        rows.append({"work": "false alarms", "who": who, "version": "", "value": count / windows})
    for row in rows:
        print(json.dumps(row) if args.json else row)


if __name__ == "__main__":
    main()
