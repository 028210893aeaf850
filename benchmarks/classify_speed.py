"""Files to class names: pictures a second with `imagenet-lite0`, beside scripts in eager mode.

The same network with the same weights on the same photographs, from JPEG files to the five best
classes. The peers are the scripts that people write: timm's transform in a loop, the same in a
DataLoader with batches of 32 and a worker for each core, and torchvision's decoding and transforms.
Each contestant has a process of its own; they take turns. Photographs whose names begin with an
ImageNet synset ("n02123159_...") are scored.

    python benchmarks/classify_speed.py ../shared/data/photos_machine_boxes/images
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

SUFFIXES = {".jpg", ".jpeg", ".png"}
FIRST = 8


def ours(files: Sequence[str]) -> Callable[[Sequence[str]], list[int]]:
    import whatwhere as ww

    model = ww.load("imagenet-lite0")
    places = {name: i for i, name in enumerate(model.spec.names)}
    return lambda some: [places[answer.label_names[0]] for answer in model.predict(list(some))]


def _network() -> Any:
    """timm's own network; the weights come from where our training takes them."""
    import timm
    import torch

    from whatwhere.train.models.backbone import create_backbone

    torch.set_num_threads(os.cpu_count() or 1)
    net = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    net.load_state_dict(create_backbone("tf_efficientnet_lite0").net.state_dict())
    return net.eval()


def _transform() -> Any:
    from timm.data import create_transform

    half = (0.5, 0.5, 0.5)
    return create_transform((3, 224, 224), interpolation="bicubic", mean=half, std=half)


def timm_loop(files: Sequence[str]) -> Callable[[Sequence[str]], list[int]]:
    import torch
    from PIL import Image

    net, transform = _network(), _transform()

    def run(some: Sequence[str]) -> list[int]:
        found = []
        for path in some:
            with Image.open(path) as image, torch.inference_mode():
                shares = net(transform(image.convert("RGB"))[None]).softmax(1)
                found.append(int(shares.topk(5).indices[0, 0]))
        return found

    return run


def timm_loader(files: Sequence[str]) -> Callable[[Sequence[str]], list[int]]:
    import torch
    from PIL import Image
    from torch.utils.data import DataLoader

    net, transform = _network(), _transform()

    class Files(torch.utils.data.Dataset[torch.Tensor]):
        def __init__(self, paths: Sequence[str]) -> None:
            self.paths = list(paths)

        def __len__(self) -> int:
            return len(self.paths)

        def __getitem__(self, i: int) -> torch.Tensor:
            with Image.open(self.paths[i]) as image:
                made: torch.Tensor = transform(image.convert("RGB"))
            return made

    def run(some: Sequence[str]) -> list[int]:
        found: list[int] = []
        with torch.inference_mode():
            for batch in DataLoader(Files(some), batch_size=32, num_workers=os.cpu_count() or 1):
                found += net(batch).softmax(1).topk(5).indices[:, 0].tolist()
        return found

    return run


def torchvision_loop(files: Sequence[str]) -> Callable[[Sequence[str]], list[int]]:
    import torch
    from torchvision.io import ImageReadMode, decode_image
    from torchvision.transforms import v2

    net = _network()
    transform = v2.Compose(
        [
            v2.Resize(256, interpolation=v2.InterpolationMode.BICUBIC, antialias=True),
            v2.CenterCrop(224),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.5] * 3, [0.5] * 3),
        ]
    )

    def run(some: Sequence[str]) -> list[int]:
        found = []
        for path in some:
            with torch.inference_mode():
                image = transform(decode_image(path, ImageReadMode.RGB))
                found.append(int(net(image[None]).softmax(1).topk(5).indices[0, 0]))
        return found

    return run


WHO = {
    "whatwhere": ours,
    "timm, a loop": timm_loop,
    "timm, DataLoader": timm_loader,
    "torchvision, a loop": torchvision_loop,
}
PACKAGES = {"whatwhere": "onnxruntime", "torchvision, a loop": "torchvision"}


def contest(who: str, files: Sequence[str]) -> dict[str, Any]:
    """Seconds of all files after a few that do not count, and the best classes."""
    run = WHO[who](files)
    run(files[:FIRST])
    start = time.perf_counter()
    classes = run(files)
    return {"seconds": time.perf_counter() - start, "classes": classes}


def truth(files: Sequence[str]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """ImageNet's class of each file by its name, -1 where the name does not say."""
    from timm.data import ImageNetInfo

    places = {synset: i for i, synset in enumerate(ImageNetInfo().label_names())}
    return np.array([places.get(Path(file).name.split("_")[0], -1) for file in files])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pictures", nargs="?", type=Path, default=Path("samples"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--quick", action="store_true", help="one round, the sample pictures")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--who", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.quick:
        given.pictures, given.rounds = Path(__file__).parents[1] / "samples", 1
    files = sorted(str(p) for p in given.pictures.iterdir() if p.suffix.lower() in SUFFIXES)
    files = files[: given.count]
    if given.who:
        print(json.dumps(contest(given.who, files)))
        return
    best: dict[str, dict[str, Any]] = {}
    for _ in range(given.rounds):
        for who in WHO:
            command = [sys.executable, __file__, str(given.pictures), "--who", who]
            command += ["--count", str(given.count)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found = json.loads(done.stdout.splitlines()[-1])
            if who not in best or found["seconds"] < best[who]["seconds"]:
                best[who] = found
    real = truth(files)
    mine = np.array(best["whatwhere"]["classes"])
    for who, found in best.items():
        classes = np.array(found["classes"])
        known = real >= 0
        row = {
            "work": f"classify {len(files)} JPEGs",
            "who": who,
            "version": version(PACKAGES.get(who, "timm")),
            "seconds": round(found["seconds"] / len(files), 5),
            "ratio": round(best["whatwhere"]["seconds"] / found["seconds"], 3),
            "pictures_per_second": round(len(files) / found["seconds"], 1),
            "top1": round(float((classes == real)[known].mean()), 4) if known.any() else None,
            "as_ours": round(float((classes == mine).mean()), 4),
        }
        if given.json:
            print(json.dumps(row))
        else:
            top1 = "" if row["top1"] is None else f", top-1 {row['top1']:.3f}"
            print(
                f"{who:20} {row['pictures_per_second']:7.1f} pictures a second  {row['ratio']:.3f}"
                f" of ours{top1}, the same answer as ours {row['as_ours']:.3f}"
            )


if __name__ == "__main__":
    main()
