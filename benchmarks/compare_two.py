"""Comparing two models: false alarms, power, and time.

False alarms: two generated systems of the same skill answer the same pictures; a test at 5 % should
call them different in 5 % of the trials. Power: the second one is better by a known amount. Boxes
are tested by AP with `paired.differences`, as `compare` does it; single labels by accuracy, beside
McNemar's exact test, which is the rule for that case. The usual shortcut, to look whether the two
95 % intervals overlap, is counted as well.

Time: two systems of 100 boxes a picture on 5,000 pictures (--images), with 1,000 draws and 1,000
trials of the test, against pycocotools, which gives the 12 numbers of both and nothing else.
Seconds are those of the processor, so that other work on the machine counts less.

    python benchmarks/compare_two.py --trials 500 --images 5000
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
from _detectors import NAMES, detector, pictures
from coco_eval import as_records, make_set, theirs

from whatwhere import __version__
from whatwhere.metrics.binomial import binomial_cdf, share_interval
from whatwhere.metrics.bootstrap import intervals
from whatwhere.metrics.bootstrap_boxes import BoxNumbers, pooled_boxes
from whatwhere.metrics.bootstrap_labels import MeanNumbers
from whatwhere.metrics.coco import FoundBoxes
from whatwhere.metrics.paired import Difference, differences

LEVEL = 0.05


def boxes(seed: int, images: int, better: float, samples: int) -> tuple[Difference, bool]:
    """One trial: the difference in AP, and whether the two intervals keep apart."""
    rng = np.random.default_rng([seed, 5])
    shown = pictures(rng, images)
    both = detector(rng, shown), detector(rng, shown, better)
    one, two = (BoxNumbers(images, NAMES, shown.truth, each, sizes=False) for each in both)
    truth, found = pooled_boxes(shown.truth, *both)
    pooled = BoxNumbers(2 * images, NAMES, truth, found, sizes=False)
    key = ("AP", None)
    ends = [intervals(each, samples=samples, seed=seed)[key] for each in (one, two)]
    apart = (ends[0].high or 1.0) < (ends[1].low or 0.0) or (ends[1].high or 1.0) < (
        ends[0].low or 0.0
    )
    return differences(one, two, pooled, samples=samples, seed=seed)[key], apart


def labels(seed: int, images: int, better: float, samples: int) -> tuple[Difference, bool, float]:
    """One trial: the difference in accuracy, whether intervals keep apart, McNemar's p."""
    rng = np.random.default_rng([seed, 6])
    odds = 1.5 + 1.5 * rng.normal(0, 1, images)
    right = [
        (rng.random(images) < 1 / (1 + np.exp(-(odds + more)))).astype(np.float64)
        for more in (0.0, better)
    ]
    keys = (("accuracy", None),)
    one, two = (MeanNumbers(keys, each[:, None], (0.0, 1.0)) for each in right)
    pooled = MeanNumbers(keys, np.stack(right, axis=1).reshape(-1, 1), (0.0, 1.0))
    ends = [intervals(each, samples=samples, seed=seed)[keys[0]] for each in (one, two)]
    apart = (ends[0].high or 1.0) < (ends[1].low or 0.0) or (ends[1].high or 1.0) < (
        ends[0].low or 0.0
    )
    lost, won = int((right[0] > right[1]).sum()), int((right[1] > right[0]).sum())
    mcnemar = min(1.0, 2 * binomial_cdf(min(lost, won), lost + won, 0.5)) if lost + won else 1.0
    return differences(one, two, pooled, samples=samples, seed=seed)[keys[0]], apart, mcnemar


def trials(options: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    cases: list[tuple[str, int, float, Callable[..., Any]]] = []
    for better in (0.0, options.better):
        if options.pictures:
            cases.append(("boxes", options.pictures, better, boxes))
        if options.labelled:
            cases.append(("labels", options.labelled, better, labels))
    for what, images, better, trial in cases:
        made = [trial(seed, images, better, options.samples) for seed in range(options.trials)]
        gain = float(np.mean([one[0].value for one in made]))
        kind = "false alarms" if better == 0 else f"found, {gain:+.3f} better"
        work = f"{kind}, {what}, {images} pictures"
        covered = np.mean([(one[0].low or 0) <= gain <= (one[0].high or 0) for one in made])
        shares = {
            "whatwhere, permutation test": [(one[0].p or 1.0) <= LEVEL for one in made],
            "two intervals that keep apart": [one[1] for one in made],
        }
        if what == "labels":
            shares["McNemar's exact test"] = [one[2] <= LEVEL for one in made]
        for who, hits in shares.items():
            low, high = share_interval(sum(hits), len(hits)) or (0.0, 1.0)
            share = float(np.mean(hits))
            note = f"{low:.3f} to {high:.3f}"
            rows.append(row(work, who, value=share, interval=note))
        work = f"interval of the difference holds it, {what}"
        rows.append(row(work, "whatwhere", value=float(covered)))
    return rows


def row(work: str, who: str, **numbers: Any) -> dict[str, Any]:
    number = version(who) if who == "pycocotools" else __version__
    return {"work": work, "who": who, "version": number, "ratio": None, **numbers}


def timing(images: int, samples: int) -> list[dict[str, Any]]:
    truth, first = make_set(images, 80, 7, 100, 0)
    rng = np.random.default_rng(1)
    score = np.clip(first.score + rng.normal(0, 0.02, len(first.score)), 0, 1)
    second = FoundBoxes(first.image, first.class_id, first.xywh, score)
    names = {class_id: str(class_id) for class_id in range(80)}
    start = time.process_time()
    whole, found = pooled_boxes(truth, first, second)
    one, two = (BoxNumbers(images, names, truth, each) for each in (first, second))
    pooled = BoxNumbers(2 * images, names, whole, found)
    ready = time.process_time()
    differences(one, two, pooled, samples=samples)
    ours = time.process_time() - start
    seconds = 0.0
    for each in (first, second):
        records = as_records(truth, each)
        begun = time.process_time()
        theirs(images, 80, *records)
        seconds += time.process_time() - begun
    work = f"two times {len(first.score)} boxes, {images} pictures"
    return [
        row(f"{work}, {samples} draws and trials", "whatwhere", seconds=round(ours, 2)),
        row(f"{work}, matching alone", "whatwhere", seconds=round(ready - start, 2)),
        {
            **row(f"{work}, the numbers alone", "pycocotools", seconds=round(seconds, 2)),
            "ratio": round(seconds / ours, 2),
        },
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--samples", type=int, default=200, help="draws and trials of a test")
    parser.add_argument("--pictures", type=int, default=60, help="of a trial with boxes; 0: none")
    parser.add_argument("--labelled", type=int, default=300, help="of a trial with labels; 0: none")
    parser.add_argument("--better", type=float, default=0.5, help="log-odds of the better one")
    parser.add_argument("--images", type=int, default=5000, help="for the time; 0: not measured")
    parser.add_argument("--quick", action="store_true", help="20 trials, 100 pictures")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args()
    samples = 1000
    if options.quick:
        options.trials, options.images, samples = 20, 100, 100
    rows = trials(options) if options.trials else []
    rows += timing(options.images, samples) if options.images else []
    for one in rows:
        if options.json:
            print(json.dumps(one))
            continue
        shown = f"{one['seconds']:.2f} s" if "seconds" in one else f"{one['value']:.3f}"
        ratio = "" if one["ratio"] is None else f"  x {one['ratio']}"
        print(f"{one['work']:66} {one['who']:30} {shown:>8} {one.get('interval', '')}{ratio}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
