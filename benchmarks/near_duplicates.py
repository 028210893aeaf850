"""Near duplicates: what is found and what is found wrongly, against imagehash's pHash.

Each picture is changed in several ways (smaller, recompressed, cropped, brighter ...) and
stored; both look at all files. A pair is right if both come from one picture. imagehash is
run as its documents say: `phash` of each picture, pairs of at most `--distance` different
bits, here compared with NumPy.

    python benchmarks/near_duplicates.py --folder some/photos --pictures 300
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from whatwhere import __version__
from whatwhere.data.near import groups_of, near_pairs, popcount, see
from whatwhere.errors import ImageError
from whatwhere.images import read_image, write_image


def invented(rng: np.random.Generator) -> np.ndarray:
    """A picture of soft colours with random shapes and some texture: (360, 480, 3)."""
    soft = rng.uniform(0, 255, (6, 8, 3)).astype(np.float32)
    image = cv2.resize(soft, (480, 360), interpolation=cv2.INTER_CUBIC)
    for _ in range(25):
        colour = rng.uniform(0, 255, 3).tolist()
        place = (int(rng.integers(480)), int(rng.integers(360)))
        size = (int(rng.integers(6, 90)), int(rng.integers(6, 90)))
        cv2.ellipse(image, place, size, float(rng.uniform(0, 180)), 0, 360, colour, -1)
    image += rng.normal(0, 6, image.shape).astype(np.float32)
    return np.clip(image, 0, 255).astype(np.uint8)


def changes(image: np.ndarray, rng: np.random.Generator) -> Iterator[tuple[str, np.ndarray, int]]:
    """Name of the change, the changed picture, JPEG quality."""
    height, width = image.shape[:2]
    for scale in (0.5, 0.33):
        size = max(16, round(width * scale)), max(16, round(height * scale))
        yield f"size x {scale}", cv2.resize(image, size, interpolation=cv2.INTER_AREA), 95
    yield "JPEG quality 30", image, 30
    for share in (0.02, 0.05, 0.1):
        rows, columns = round(height * (1 - share)), round(width * (1 - share))
        top = int(rng.integers(height - rows + 1))
        left = int(rng.integers(width - columns + 1))
        yield f"crop {share:.0%}", image[top : top + rows, left : left + columns], 95
    yield "brighter", np.clip(image * 1.25 + 15.0, 0, 255).astype(np.uint8), 95
    yield "gamma 1.5", (255 * (image / 255.0) ** 1.5).astype(np.uint8), 95
    yield "noise", np.clip(image + rng.normal(0, 8, image.shape), 0, 255).astype(np.uint8), 95


def store(options: argparse.Namespace, folder: Path) -> tuple[list[str], list[int], list[str]]:
    """Files of originals and changed ones: path, number of the original, change."""
    rng = np.random.default_rng(0)
    genuine: list[Path] = []
    if options.folder:
        files = sorted(path for path in Path(options.folder).rglob("*") if path.is_file())
        genuine = [files[i] for i in rng.permutation(len(files))]
    paths, origin, kinds = [], [], []
    number = 0
    while number < options.pictures and (genuine or not options.folder):
        try:
            image = read_image(genuine.pop()) if options.folder else invented(rng)
        except ImageError:
            continue
        for kind, changed, quality in [("", image, 95), *changes(image, rng)]:
            path = folder / f"{len(paths)}.jpg"
            write_image(path, changed, quality)
            paths.append(str(path))
            origin.append(number)
            kinds.append(kind)
        number += 1
    return paths, origin, kinds


def ours(paths: list[str]) -> np.ndarray:
    return see(paths).pairs()


def theirs(paths: list[str], distance: int) -> np.ndarray:
    import imagehash
    from PIL import Image

    bits = []
    for path in paths:
        with Image.open(path) as image:
            bits.append(np.packbits(imagehash.phash(image).hash).view(np.uint64)[0])
    hashes = np.array(bits)
    found = []
    for row in range(len(hashes)):
        other = np.flatnonzero(popcount(hashes[row + 1 :] ^ hashes[row]) <= distance)
        found.append(np.stack([np.full(other.size, row), row + 1 + other], axis=1))
    return np.concatenate(found)


def scores(pairs: np.ndarray, origin: list[int], kinds: list[str]) -> dict[str, float]:
    """Share of right pairs, and by change the share of pictures in a group with their original."""
    number = np.array(origin)
    first = {one: row for row, one in reversed(list(enumerate(origin)))}
    right = number[pairs[:, 0]] == number[pairs[:, 1]]
    result = {"precision": float(right.mean()) if len(pairs) else 1.0}
    group = groups_of(len(origin), pairs)
    for kind in dict.fromkeys(kinds):
        if kind:
            rows = [row for row, one in enumerate(kinds) if one == kind]
            hits = [group[first[origin[row]]] == group[row] for row in rows]
            result[f"recall, {kind}"] = float(np.mean(hits))
    return result


def index_seconds(count: int) -> float:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 1 << 63, count, dtype=np.uint64)
    signatures = rng.integers(-8, 9, (count, 255)).astype(np.int8)
    start = time.perf_counter()
    near_pairs(hashes, signatures)
    return time.perf_counter() - start


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", help="photographs; by default pictures are invented")
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--distance", type=int, default=8, help="bits, for imagehash")
    parser.add_argument("--hashes", type=int, default=100_000, help="for the index alone")
    parser.add_argument("--quick", action="store_true", help="20 pictures, 10,000 hashes")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args()
    if options.quick:
        options.pictures, options.hashes = 20, 10_000

    rows: list[dict[str, Any]] = []

    def add(work: str, who: str, key: str, value: float, base: float | None = None) -> None:
        number = __version__ if who == "whatwhere" else version(who)
        ratio = None if base is None else round(value / base, 2)
        rows.append(
            {"work": work, "who": who, "version": number, key: round(value, 4), "ratio": ratio}
        )

    with tempfile.TemporaryDirectory() as name:
        paths, origin, kinds = store(options, Path(name))
        see(paths[:2])  # starts the helper processes
        start = time.perf_counter()
        pairs = ours(paths)
        seconds = time.perf_counter() - start
        work = f"near duplicates of {len(paths)} pictures"
        add(work, "whatwhere", "seconds", seconds)
        mine = scores(pairs, origin, kinds)
        for what, value in mine.items():
            add(what, "whatwhere", "value", value)
        try:
            version("imagehash")
        except PackageNotFoundError:
            pass
        else:
            start = time.perf_counter()
            pairs = theirs(paths, options.distance)
            add(work, "imagehash", "seconds", time.perf_counter() - start, seconds)
            for what, value in scores(pairs, origin, kinds).items():
                add(what, "imagehash", "value", value, mine[what] or None)
    add(f"index of {options.hashes} hashes", "whatwhere", "seconds", index_seconds(options.hashes))

    for row in rows:
        if options.json:
            print(json.dumps(row))
        else:
            number = f"{row['seconds']:.2f} s" if "seconds" in row else f"{row['value']:.3f}"
            ratio = "" if row["ratio"] is None else f"  x {row['ratio']}"
            print(f"{row['work']:40} {row['who']:10} {number:>10}{ratio}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
