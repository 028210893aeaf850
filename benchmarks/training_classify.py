"""What a classifier learns in a fixed time: ours and its peers, one after the other.

Every contestant gets the same wall-clock budget, ImageNet weights, training and validation
pictures, input size and a process of its own, and is scored on the test split by the same code.

    python benchmarks/training_classify.py ../shared/data/cifar10_folders --budget 15m
    python benchmarks/training_classify.py --budget 15m --who whatwhere,timm-tuned,fastai \
        --peer-python peers/bin/python

`timm-script` and `timm-tuned` are described in `_peer_timm.py`. fastai (2.8, with timm beside it)
needs a Python that has it: `--peer-python`. The data must be class folders in `train` and `test`.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from _common import options, ours, place, run
from safetensors.torch import save_file

import whatwhere as ww
from whatwhere.metrics import score
from whatwhere.train.config import TrainConfig
from whatwhere.train.models.backbone import create_backbone
from whatwhere.train.prepare import complete, split_data
from whatwhere.train.recipes import recipe
from whatwhere.train.setting import parse_budget
from whatwhere.types import Prediction

HERE = Path(__file__).parent
PEERS = ("timm-script", "timm-tuned", "fastai")


def lay_out(data: ww.Dataset, config: TrainConfig, folder: Path) -> None:
    """Class folders of links: the training and validation pictures of our run, and the test's."""
    training, validation = split_data(data, config)
    parts = {"train": training, "validation": validation, "test": data.split_named("test")}
    for split, part in parts.items():
        for i, path in enumerate(part.paths):
            name = data.names[int(part.targets(i).class_ids[0])]
            (folder / split / name).mkdir(parents=True, exist_ok=True)
            (folder / split / name / Path(path).name).symlink_to(Path(path).resolve())


def peer(
    who: str, data: ww.Dataset, config: TrainConfig, budget: float, folder: Path, python: str
) -> dict[str, Any]:
    """A peer's script, which writes its scores of the test pictures."""
    lay_out(data, config, folder / "data")
    weights, out = folder / "weights.safetensors", folder / "answers.json"
    net = create_backbone(config.backbone).net
    save_file({name: value.contiguous() for name, value in net.state_dict().items()}, weights)
    family, _, kind = who.partition("-")
    command = [python if family == "fastai" else sys.executable]
    command += [str((HERE / f"_peer_{family}.py").resolve())]
    command += [str(folder / "data"), str(weights), str(out), "--budget", str(budget)]
    command += ["--backbone", config.backbone, "--size", str(config.height)]
    run(command + (["--recipe", kind] if kind else []), folder)
    answer: dict[str, Any] = json.loads(out.read_text())
    test = data.split_named("test")
    predictions = []
    for path, (width, height) in zip(
        test.paths, test.images.select("width", "height").to_numpy(), strict=True
    ):
        row = np.array(answer["scores"][f"{Path(path).parent.name}/{Path(path).name}"], np.float32)
        order = np.argsort(-row, kind="stable")
        predictions.append(
            Prediction(
                int(width),
                int(height),
                label_names=tuple(answer["names"][i] for i in order),
                label_scores=row[order],
            )
        )
    answer["accuracy"] = score("classify", test, predictions)["accuracy"]
    return answer


def main() -> None:
    arguments = options(
        __doc__.splitlines()[0],
        data="cifar10_folders",
        budget="15m",
        who=("whatwhere", "timm-script", "timm-tuned"),
        quick=("whatwhere", "timm-tuned"),
        peers="fastai and timm",
    )
    data = ww.read(arguments.data)
    config = recipe("classify").with_settings(
        dict(pair.split("=", 1) for pair in arguments.set if "=" in pair)
    )
    config = complete(config, data)
    results: list[tuple[str, dict[str, Any]]] = []
    with tempfile.TemporaryDirectory() as temporary:
        for who in arguments.who.split(","):
            if who not in ("whatwhere", *PEERS):
                raise SystemExit(f"unknown contestant {who}: use whatwhere, {', '.join(PEERS)}")
            if who == "fastai" and not arguments.peer_python:
                print("skipped: fastai needs --peer-python", file=sys.stderr)
                continue
            folder = place(arguments.keep or temporary, who)
            if who == "whatwhere":
                made, result = ours(arguments.data, arguments.budget, folder, arguments.set)
                made["accuracy"] = result["accuracy"]
            else:
                seconds = parse_budget(arguments.budget)
                made = peer(who, data, config, seconds, folder, arguments.peer_python)
            results.append((who, made))
            print(
                f"{who:12} accuracy {made['accuracy']:.4f}  ({made['seconds']:.0f} s,"
                f" {made['about']})",
                file=sys.stderr,
                flush=True,
            )
    for who, made in results:
        row = {
            "work": f"{arguments.data.resolve().name} {arguments.budget} accuracy",
            "who": who,
            "version": made["version"],
            "value": round(made["accuracy"], 4),
            "ratio": round(results[0][1]["accuracy"] / max(made["accuracy"], 1e-9), 3),
            "seconds": round(made["seconds"]),
        }
        print(
            json.dumps(row)
            if arguments.json
            else f"{row['work']:32} {who:12} {row['version']:9} {row['value']:.4f}"
        )


if __name__ == "__main__":
    main()
