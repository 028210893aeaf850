"""Maps of what an answer rests on: are they better than chance, by method and setting.

Each method explains the same right answers on the same labelled pictures, drawn by chance. Of
pictures with boxes the highest place of a map should lie in the object (pointing). Where the places
that stand highest are hidden first, the score should fall sooner than in a random order (deletion),
and where they are shown first, rise sooner (insertion). All three are given as gains over chance
with 95 % intervals; "sure" counts those whose interval lies above 0.

    python benchmarks/explain_maps.py RUN DATA --split test --pictures 30 \
        --methods occlusion,occlusion-4,occlusion-7,rise-300

A number behind occlusion is that of cells along the longer side, behind rise that of masks.
gradcam, hirescam and layercam need a run folder and torch. With --by-name a picture shows the class
that its file is called after, n02492035_capuchin.jpg, in the only box that it has; pictures with
several boxes are left out.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from _answers import given, options

import whatwhere as ww
from whatwhere.evaluation.explain_check import check_explanations
from whatwhere.runtime import Predictor
from whatwhere.runtime.masking import Method, Occlusion, Rise

GAINS = ("pointing_gain", "deletion_gain", "insertion_gain")


def method(name: str, model: str) -> Method | str:
    """A method by its name and, behind a dash, its main setting."""
    kind, _, number = name.partition("-")
    if not number:
        if kind in ("occlusion", "rise"):
            return kind
        from whatwhere.train.explain import Gradients

        return Gradients(model, kind)  # type: ignore[arg-type]
    return Occlusion(cells=int(number)) if kind == "occlusion" else Rise(masks=int(number))


def by_name(data: ww.Dataset, names: tuple[str, ...]) -> ww.Dataset:
    """Pictures with one box, whose class is the name of the file."""
    place = {name.lower().replace(" ", "_"): number for number, name in enumerate(names)}
    image = data.labels["image"].to_numpy()
    chosen = np.flatnonzero(np.bincount(image, minlength=len(data)) == 1)
    words = [Path(path).stem.partition("_")[2].lower() for path in data.paths]
    rows = [row for row in chosen.tolist() if words[row] in place]
    part = data.select(rows)
    classes = pl.Series("class_id", [place[words[row]] for row in rows], dtype=pl.Int32)
    labels = part.labels.sort("image").with_columns(classes)
    return ww.Dataset(part.images, labels, names, task="detect", source=data.source)


def main() -> int:
    parser = options(__doc__.partition("\n")[0])
    parser.add_argument("--methods", default="occlusion,rise-300")
    parser.add_argument("--by-name", action="store_true", help="classes are file names")
    parser.add_argument("--pictures", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    chosen = given(parser)
    if chosen.quick:
        chosen.pictures, chosen.methods = 3, "occlusion-4"
    data = ww.read(chosen.data)
    predictor = ww.load(chosen.model)
    assert isinstance(predictor, Predictor)
    if chosen.by_name:
        data = by_name(data, predictor.spec.names)
    for name in chosen.methods.split(","):
        start = time.process_time()
        found = check_explanations(
            predictor,
            data,
            split=chosen.split,
            method=method(name, chosen.model),
            pictures=chosen.pictures,
            seed=chosen.seed,
        )
        row: dict[str, Any] = {
            "work": f"maps of {found.images} pictures of {chosen.data.name}",
            "who": f"whatwhere, {name}",
            "version": ww.__version__,
            "seconds": round(time.process_time() - start, 1),
            "ratio": None,
        }
        words = []
        sure = 0
        for gain in GAINS:
            one = found.numbers[gain]
            if one is None or one.value is None or one.low is None or one.high is None:
                continue
            row[gain] = [round(value, 4) for value in (one.value, one.low, one.high)]
            sure += one.low > 0
            words.append(f"{gain} {one.value:+.3f} ({one.low:+.3f} to {one.high:+.3f})")
        row["sure"] = sure
        if chosen.json:
            print(json.dumps(row), flush=True)
        else:
            print(f"{row['who']:26} {row['work']:34} {', '.join(words)}; sure {sure}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
