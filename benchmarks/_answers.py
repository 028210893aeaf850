"""What a model says of labelled pictures, kept on disk: many trials need one run of the model."""

from __future__ import annotations

import argparse
import hashlib
import json
import pickle
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import whatwhere as ww
from whatwhere.evaluation.calibrating import plain
from whatwhere.runtime import Predictor, shipped
from whatwhere.types import Task


def options(about: str) -> argparse.ArgumentParser:
    """The options that these scripts share; more can be added."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("model", nargs="?", help="model file, run folder or shipped model")
    parser.add_argument("data", nargs="?", type=Path, help="labelled pictures")
    parser.add_argument("--split", help="part of the data that the model was not trained on")
    parser.add_argument("--rename", default="", help="classes of the data, OLD=NEW,OLD=NEW")
    parser.add_argument("--cache", type=Path, help="folder that keeps what the model says")
    parser.add_argument("--quick", action="store_true", help="few trials")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    return parser


def given(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The options; ends the program where no model or data are named or there."""
    found = parser.parse_args()
    if found.model is None or found.data is None:
        print("skipped: name a model and labelled pictures", file=sys.stderr)
        raise SystemExit(0)
    for place in (Path(found.model), found.data):
        if not place.exists() and str(place) not in shipped.names():
            print(f"skipped: {place} is not here", file=sys.stderr)
            raise SystemExit(0)
    return found


def answered(given: argparse.Namespace, *, bare: bool = False) -> ww.Result:
    """The model's result; from `cache` where the same was asked before.

    Args:
        given: model, data, split (parts separated by commas), rename and cache.
        bare: with the scores of the model before any calibration, and of boxes one a place, as
            `calibrate` looks at them.
    """
    file, model, split = None, given.model, given.split
    if given.cache is not None:
        own = Path(model) / "model.onnx" if Path(model).is_dir() else Path(model)
        state = own.stat().st_mtime_ns if own.exists() else ww.__version__
        asked = (model, state, str(given.data.resolve()), split, given.rename, bare)
        key = hashlib.sha256(repr(asked).encode())
        file = given.cache / f"{key.hexdigest()[:16]}.pickle"
        if file.is_file():
            return pickle.loads(file.read_bytes())  # type: ignore[no-any-return]  # noqa: S301
    pictures = ww.read(given.data)
    if given.rename:
        pairs = dict(pair.split("=", 1) for pair in given.rename.split(","))
        pictures = pictures.rename(pairs)
    if split is not None:
        rows = pictures.images["split"].is_in(split.split(","))
        pictures = pictures.select(rows.arg_true().to_numpy())
    predictor = ww.load(model)
    if bare:
        predictor = Predictor(plain(predictor.spec), predictor.backend)
        predictions = list(predictor.stream(pictures.paths))
        task = predictor.spec.task
        result = ww.Result(task, len(pictures), {}, {name: {} for name in pictures.names},
                           data=pictures, predictions=tuple(predictions))  # fmt: skip
    else:
        result = ww.evaluate(predictor, pictures)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(pickle.dumps(result))
    return result


def has(package: str) -> bool:
    """Whether a peer is installed; says so where it is not."""
    try:
        version(package)
    except PackageNotFoundError:
        print(f"not run: {package} is not installed", file=sys.stderr)
        return False
    return True


def row(work: str, who: str, value: float | None, ratio: float | None = None) -> dict[str, Any]:
    """One line of the output."""
    number = ww.__version__ if who.startswith("whatwhere") else ""
    for package in ("cleanlab", "netcal", "scikit-learn", "mapie"):
        number = version(package) if who.lower().startswith(package) else number
    rounded = None if value is None else round(value, 4)
    return {"work": work, "who": who, "version": number, "value": rounded, "ratio": ratio}


def show(rows: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    for one in rows:
        if as_json:
            print(json.dumps(one), flush=True)
        else:
            value = "undefined" if one["value"] is None else f"{one['value']:.4f}"
            ratio = "" if one["ratio"] is None else f"  x {one['ratio']:.2f}"
            print(f"{one['work']:44} {one['who']:34} {one['version']:>8} {value:>10}{ratio}")


def named(task: Task) -> str:
    """A word for what is labelled."""
    return "boxes" if task == "detect" else "pictures"
