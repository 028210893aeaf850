"""Intervals of AP: how often 95 % intervals hold what they are to hold.

Pictures are drawn anew for each trial from one endless population, a detector of known skill
answers, and `intervals` of AP, AP50 and the AP of a rare class are made in four ways. Two things
they could hold are counted apart: what the number is on average on so many pictures, and what it
is on endlessly many (here 40,000). The two differ, as AP is higher on few pictures.

    python benchmarks/intervals.py --sizes 50,200,1000 --trials 300
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np
from _detectors import NAMES, detector, pictures
from numpy.typing import NDArray

from whatwhere import __version__
from whatwhere.metrics.binomial import share_interval
from whatwhere.metrics.bootstrap import draws, ends_of, intervals
from whatwhere.metrics.bootstrap_boxes import BoxNumbers

KEYS = (("AP", None), ("AP50", None), ("AP", "rare"))
LEVEL = 0.95
_ENDLESS = 40_000


def numbers_of(rng: np.random.Generator, count: int) -> BoxNumbers:
    shown = pictures(rng, count)
    return BoxNumbers(count, NAMES, shown.truth, detector(rng, shown), sizes=False)


def once(numbers: BoxNumbers) -> NDArray[np.float64]:
    """The numbers themselves, of `KEYS`."""
    places = [numbers.keys.index(key) for key in KEYS]
    return numbers(np.ones((1, numbers.images), dtype=np.int32))[0][places]


def ends(
    numbers: BoxNumbers, samples: int, seed: int, *, bca: bool
) -> tuple[NDArray[np.float64], dict[str, Any]]:
    """The numbers, and both ends of their intervals by each way."""
    places = [numbers.keys.index(key) for key in KEYS]
    value = once(numbers)
    units = np.arange(numbers.images, dtype=np.int64)
    drawn = np.concatenate(
        [numbers(w)[:, places] for w in draws(units, numbers.images, samples, seed)]
    )
    found: dict[str, Any] = {}
    for way in ("centred", "percentile"):
        found[way] = ends_of(value, drawn, LEVEL, centred=way == "centred", bounds=(0.0, 1.0))
    # The basic interval: the samples lie around the number as the number lies around the truth.
    low, high = found["percentile"]
    found["basic"] = np.clip(2 * value - high, 0, 1), np.clip(2 * value - low, 0, 1)
    # The same bias taken off, but the shape of the samples kept.
    bias = np.nanmean(drawn, axis=0) - value
    found["shifted twice"] = np.clip(low - 2 * bias, 0, 1), np.clip(high - 2 * bias, 0, 1)
    if bca:
        made = intervals(numbers, samples=samples, seed=seed, method="bca", level=LEVEL)
        both = np.array(
            [[made[key].low, made[key].high] for key in KEYS], dtype=np.float64
        )  # None becomes NaN
        found["bca"] = both[:, 0], both[:, 1]
    return value, found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", default="50,200,1000", help="pictures")
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--samples", type=int, default=400)
    parser.add_argument("--bca", type=int, default=0, help="also BCa, up to so many pictures")
    parser.add_argument("--quick", action="store_true", help="50 pictures, 20 trials")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args()
    endless = _ENDLESS
    if options.quick:
        options.sizes, options.trials, options.samples, endless = "50", 20, 100, 1000
    truth = once(numbers_of(np.random.default_rng([1]), endless))
    for size in (int(one) for one in options.sizes.split(",")):
        start = time.process_time()
        values, low, high = [], {}, {}
        for trial in range(options.trials):
            numbers = numbers_of(np.random.default_rng([size, trial, 2]), size)
            value, found = ends(numbers, options.samples, trial, bca=size <= options.bca)
            values.append(value)
            for way, (least, most) in found.items():
                low.setdefault(way, []).append(least)
                high.setdefault(way, []).append(most)
        seconds = time.process_time() - start
        table = np.array(values)
        mean = np.nanmean(table, axis=0)
        for place, (name, of) in enumerate(KEYS):
            title = name if of is None else f"{name} of {of}"
            for way in low:
                a, b = (np.array(side[way])[:, place] for side in (low, high))
                made = np.isfinite(a)
                report = {
                    "work": f"{title}, {size} pictures",
                    "who": f"whatwhere, {way}",
                    "version": __version__,
                    "value": round(float(mean[place]), 4),
                    "endless": round(float(truth[place]), 4),
                    "deviation": round(float(np.nanstd(table[:, place])), 4),
                    "width": round(float((b - a)[made].mean()), 4),
                    "trials": int(made.sum()),
                    "ratio": None,
                }
                for what, target in (("mean", mean), ("endless", truth)):
                    hit = (a <= target[place]) & (target[place] <= b)
                    ends_of_share = share_interval(int(hit[made].sum()), int(made.sum()))
                    report[f"holds_{what}"] = round(float(hit[made].mean()), 3)
                    report[f"holds_{what}_interval"] = ends_of_share
                show(report, as_json=options.json)
        if not options.json:
            print(f"{size} pictures: {seconds / options.trials:.2f} s of a core a trial")
    return 0


def show(one: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(one), flush=True)
        return
    low, high = one["holds_endless_interval"] or (0.0, 1.0)
    print(
        f"{one['work']:26} {one['who']:26} {one['value']:.3f} ({one['endless']:.3f} endless,"
        f" deviation {one['deviation']:.3f}, width {one['width']:.3f}) holds its mean"
        f" {one['holds_mean']:.3f}, endless {one['holds_endless']:.3f} ({low:.3f} to {high:.3f})"
        f" in {one['trials']} trials",
        flush=True,
    )


if __name__ == "__main__":
    raise SystemExit(main())
