"""The whole command `evaluate` on saved predictions, against pycocotools, from files to numbers.

Every contestant is a process of its own, from its start to its end: imports, reading both files,
the 12 numbers. Ours also with what it does without `--quick`: a thousand draws of the pictures for
intervals, errors, thresholds, calibration, slices; and `compare` of two such files, with as many
draws and trials of the tests, against pycocotools once for each. Processor time is given beside
the clock's, since only that means anything while other programs run. Our modules have their
bytecode kept, as those of installed packages, which pycocotools is, have.

    python benchmarks/evaluate_command.py --images 5000 --boxes 7 --found 100
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from coco_eval import as_records, make_set

import whatwhere as ww

THEIRS = """
import contextlib, io, json, sys
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
with contextlib.redirect_stdout(io.StringIO()):
    data = COCO(sys.argv[1])
    judge = COCOeval(data, data.loadRes(sys.argv[2]), "bbox")
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
print(json.dumps(judge.stats.tolist()))
"""
NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


def write_files(
    folder: Path, images: int, classes: int, boxes: int, found: int, seed: int
) -> dict[str, Path]:
    """Labels, COCO results and our JSON lines of a generated set; boxes with two decimals."""
    truth, answers = make_set(images, classes, boxes, found, seed)
    annotations, results = as_records(truth, answers)
    for row in results:
        row["bbox"] = [round(value, 2) for value in row["bbox"]]
    dataset = {
        "images": [
            {"id": image, "file_name": f"{image:012d}.jpg", "width": 640, "height": 640}
            for image in range(images)
        ],
        "annotations": annotations,
        "categories": [{"id": one, "name": f"class {one}"} for one in range(classes)],
    }
    names = ("truth", "results", "others", "lines")
    files = {name: folder / f"{name}.json" for name in names}
    files["truth"].write_text(json.dumps(dataset))
    files["results"].write_text(json.dumps(results))
    # Another system: a third of the scores is a little lower.
    others = [
        {**row, "score": round(row["score"] * 0.9, 3)} if number % 3 == 0 else row
        for number, row in enumerate(results)
    ]
    files["others"].write_text(json.dumps(others))
    del others
    lines: list[list[Any]] = [[] for _ in range(images)]
    for row in results:
        x, y, width, height = row["bbox"]
        box = [x, y, round(x + width, 2), round(y + height, 2)]
        name = f"class {row['category_id']}"
        lines[row["image_id"]].append({"name": name, "score": row["score"], "box": box})
    with files["lines"].open("w") as file:
        for image, objects in enumerate(lines):
            record = {"image": f"{image:012d}.jpg", "width": 640, "height": 640}
            file.write(json.dumps({**record, "labels": [], "objects": objects}) + "\n")
    return files


def timed(command: list[str], folder: Path) -> dict[str, Any]:
    """Seconds, processor seconds and largest memory of a process, and what it printed."""
    out, errors = folder / "out.txt", folder / "errors.txt"
    kept = {"PYTHONPYCACHEPREFIX": str(folder / "bytecode"), "PYTHONDONTWRITEBYTECODE": ""}
    with out.open("w") as stdout, errors.open("w") as stderr:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=stdout, stderr=stderr, env=os.environ | kept)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command[:4]} failed:\n{errors.read_text()[-2000:]}")
    # Kibibytes on Linux, bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "seconds": round(seconds, 3),
        "processor_seconds": round(usage.ru_utime + usage.ru_stime, 3),
        "megabytes": round(usage.ru_maxrss * unit / 1e6),
        "printed": json.loads(out.read_text()),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--classes", type=int, default=80)
    parser.add_argument("--boxes", type=int, default=7, help="true boxes a picture, on average")
    parser.add_argument("--found", type=int, default=100, help="predicted boxes a picture")
    parser.add_argument("--samples", type=int, default=1000, help="draws for the intervals")
    parser.add_argument("--repeats", type=int, default=3, help="of the quick ones; the best counts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ours-only", action="store_true", help="leave pycocotools out")
    parser.add_argument("--quick", action="store_true", help="200 pictures, 100 draws, once")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args()
    if options.quick:
        options.images, options.samples, options.repeats = 200, 100, 1

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # In a process of its own: Linux counts what the parent held as a child's largest memory.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            size = (options.images, options.classes, options.boxes, options.found, options.seed)
            files = pool.submit(write_files, folder, *size).result()
        ours = [sys.executable, "-m", "whatwhere", "evaluate", "--data", str(files["truth"])]
        ours += ["--json", "--predictions"]
        commands = {
            "12 numbers, COCO results": [*ours, str(files["results"]), "--quick"],
            "12 numbers, JSON lines": [*ours, str(files["lines"]), "--quick"],
            f"all, {options.samples} draws, COCO results": [
                *(*ours, str(files["results"]), "--samples", str(options.samples)),
            ],
            f"compare, {options.samples} draws": [
                *(sys.executable, "-m", "whatwhere", "compare", str(files["results"])),
                *(str(files["others"]), "--data", str(files["truth"]), "--json"),
                *("--samples", str(options.samples)),
            ],
        }
        rows = []
        for work, command in commands.items():
            # What takes long is measured once.
            runs = [
                timed(command, folder)
                for _ in range(options.repeats if "--quick" in command else 1)
            ]
            best = min(runs, key=lambda run: run["processor_seconds"])
            rows.append({"work": work, "who": "whatwhere", "version": ww.__version__, **best})
        equal = True
        if not options.ours_only:
            theirs = [sys.executable, "-c", THEIRS, str(files["truth"]), str(files["results"])]
            made = timed(theirs, folder)
            numbers = rows[0]["printed"]
            plain = [-1.0 if numbers[key] is None else numbers[key] for key in NAMES]
            equal = plain == made["printed"]
            tool = {"work": "12 numbers, COCO results", "who": "pycocotools"}
            rows.append({**tool, "version": version("pycocotools"), **made})
            for row in rows:
                files_read = 2 if row["work"].startswith("compare") else 1
                row["ratio"] = round(files_read * made["seconds"] / row["seconds"], 1)
                spent = files_read * made["processor_seconds"] / row["processor_seconds"]
                row["processor_ratio"] = round(spent, 1)
            value = {"value": int(equal), "ratio": 1.0}
            rows.append({"work": "numbers equal to the bit", "who": "whatwhere", **value})
    for row in rows:
        row.pop("printed", None)
        if options.json:
            print(json.dumps(row))
        elif "value" in row:
            print(f"{row['work']:36} {row['who']:12} {row['value']}")
        else:
            ratios = "".join(
                f"{row[key]:>8}x" for key in ("ratio", "processor_ratio") if key in row
            )
            print(
                f"{row['work']:36} {row['who']:12} {row['version']:>8} {row['seconds']:>9.2f} s"
                f" {row['processor_seconds']:>8.2f} s {row['megabytes']:>6} MB{ratios}"
            )
    return 0 if equal else 1


if __name__ == "__main__":
    raise SystemExit(main())
