"""A generated COCO file of the size of train2017, with outlines and crowds, for benchmarks.

118,287 pictures and 860,001 boxes in the order, style and proportions of COCO's own file:
no spaces after commas, outlines of 25 corners on average, one label in 86 a crowd with run
lengths, all of them at the end. There are no pictures, and nothing of COCO is in it.

    python benchmarks/_large_coco.py /tmp/large.json --images 1000 --boxes 7000
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

IMAGES, BOXES, CLASSES = 118_287, 860_001, 80
_BLOCK = 20_000


def write_large_coco(
    file: Path, images: int = IMAGES, boxes: int = BOXES, seed: int = 0, *, outlines: bool = True
) -> None:
    """Write the file; the same text for the same numbers.

    Args:
        file: where to.
        images: number of pictures; about 1 % of them stay without a box.
        boxes: number of labels.
        seed: another seed gives other boxes.
        outlines: without them, only boxes are written.
    """
    rng = np.random.default_rng(seed)
    ids = np.sort(rng.choice(581_929, images, replace=False)) + 1
    sizes = rng.choice([[640, 480], [480, 640], [640, 427], [500, 375]], images)
    with file.open("w", encoding="utf-8") as out:
        out.write('{"info": {"description": "generated","version": "1.0","year": 2017},')
        out.write('"licenses": [{"url": "http://example.org/by/2.0/","id": 1,"name": "BY"}],')
        out.write('"images": [')
        out.write(",".join(map(_image, ids.tolist(), sizes.tolist())))
        out.write('],"annotations": [')
        crowds = boxes // 86
        with_boxes = rng.permutation(images)[: max(1, round(images * 0.9914))]
        first = True
        for text in _labels(rng, ids[with_boxes], sizes[with_boxes], boxes, crowds, outlines):
            out.write(text if first else "," + text)
            first = False
        out.write('],"categories": [')
        out.write(
            ",".join(
                f'{{"supercategory": "s{n % 12}","id": {n + 1},"name": "class {n}"}}'
                for n in range(CLASSES)
            )
        )
        out.write("]}")


def _image(number: int, size: list[int]) -> str:
    name = f"{number:012d}.jpg"
    record: dict[str, Any] = {
        "license": number % 8 + 1,
        "file_name": name,
        "coco_url": f"http://images.cocodataset.org/train2017/{name}",
        "height": size[1],
        "width": size[0],
        "date_captured": f"2013-11-{number % 30 + 1:02d} {number % 24:02d}:18:45",
        "flickr_url": f"http://farm9.staticflickr.com/8186/{number * 7919}_4e622c8349_z.jpg",
        "id": number,
    }
    return json.dumps(record, separators=(",", ": "))


def _labels(
    rng: np.random.Generator, ids: Any, sizes: Any, boxes: int, crowds: int, outlines: bool
) -> Iterator[str]:
    """Blocks of records: first the outlines, picture by chance as in COCO, then the crowds."""
    for start in range(0, boxes, _BLOCK):
        count = min(_BLOCK, boxes - start)
        chosen = rng.integers(0, len(ids), count)
        corner = rng.random((count, 2)) * sizes[chosen] * 0.7
        extent = np.exp(rng.uniform(1.5, 5.6, (count, 2))).clip(3, None)
        extent = np.minimum(extent, sizes[chosen] - corner)
        box = np.concatenate([corner, extent], axis=1).round(2)
        frame = pl.DataFrame(
            {
                "image": ids[chosen],
                "class": rng.integers(1, CLASSES + 1, count),
                "area": box[:, 2] * box[:, 3] * rng.uniform(0.4, 0.8, count),
                "box": [",".join(map(repr, one)) for one in box.tolist()],
                "outline": _outlines(rng, box),
                "id": np.arange(start, start + count) + 1,
            }
        )
        crowd = np.arange(start, start + count) >= boxes - crowds
        plain = frame.filter(~crowd)
        if plain.height:
            pattern = (
                (
                    '{{"segmentation": [[{}]],"area": {},"iscrowd": 0,"image_id": {},"bbox": [{}],'
                    '"category_id": {},"id": {}}}'
                )
                .replace("{{", "{")
                .replace("}}", "}")
            )
            if not outlines:
                pattern = pattern.replace('"segmentation": [[{}]],', "")
            columns = ["outline", "area", "image", "box", "class", "id"]
            columns = columns if outlines else columns[1:]
            pieces = pattern.split("{}")
            parts: list[Any] = [pl.lit(pieces[0])]
            for column, piece in zip(columns, pieces[1:], strict=True):
                parts += [pl.col(column).cast(pl.String), pl.lit(piece)]
            yield plain.select(pl.concat_str(parts).str.join(",")).item()
        for row, size in zip(
            frame.filter(crowd).iter_rows(named=True), sizes[chosen][crowd].tolist(), strict=True
        ):
            counts = rng.geometric(0.05, rng.integers(100, 1000)).tolist()
            record = {
                "segmentation": {"counts": counts, "size": size[::-1]},
                "area": int(row["area"]) + 1,
                "iscrowd": 1,
                "image_id": row["image"],
                "bbox": [int(float(one)) for one in row["box"].split(",")],
                "category_id": row["class"],
                "id": 900_100_000_000 + row["id"],
            }
            if not outlines:
                del record["segmentation"]
            yield json.dumps(record, separators=(",", ": "))


def _outlines(rng: np.random.Generator, box: Any) -> pl.Series:
    """Closed curves inside the boxes, 25 corners on average, two digits after the point."""
    counts = np.exp(rng.normal(2.93, 0.75, len(box))).astype(int).clip(4, 200)
    row = np.repeat(np.arange(len(box)), counts)
    turn = 2 * np.pi * (np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts))
    turn /= np.repeat(counts, counts)
    radius = rng.uniform(0.35, 0.5, len(row))
    xy = np.stack([np.cos(turn), np.sin(turn)], axis=1) * radius[:, None] + 0.5
    xy = (box[row, :2] + xy * box[row, 2:]).round(2)
    texts = pl.DataFrame({"row": np.repeat(row, 2), "number": xy.reshape(-1)})
    lists = (
        texts.with_columns(pl.col("number").cast(pl.String))
        .group_by("row", maintain_order=True)
        .agg(pl.col("number").str.join(","))
    )
    return lists["number"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--boxes", type=int, default=BOXES)
    options = parser.parse_args()
    write_large_coco(options.file, options.images, options.boxes)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
