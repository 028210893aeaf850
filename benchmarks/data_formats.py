"""Reading, converting and checking a COCO file of the size of train2017, beside other libraries.

The file is generated (`_large_coco.py`): 118,287 pictures, 860,001 boxes with outlines, 450 MB.
Each measurement is a process of its own; the clock starts when the library is imported and
stops when its answer is there, and memory is the peak of the whole process. Up to three
repeats, fewer of what takes long; the median counts. Peers are optional:

    python3 -m venv /tmp/peers
    /tmp/peers/bin/pip install pycocotools datumaro globox supervision fiftyone
    python benchmarks/data_formats.py --peers /tmp/peers/bin/python --write docs/benchmarks.md

Converted files go to a file system in memory where there is one (`--out`): 118,287 new files
on a disk take between 1.5 and 9 seconds whoever writes them, by the mood of the disk.

What each one does:
- whatwhere keeps every field, as texts where they are not boxes, flags or names. Labels of
  crowds and all findings are included; pictures are not copied ("none").
- pycocotools' `COCO()` parses the file and makes its index.
- globox keeps boxes, classes and scores only.
- Datumaro keeps outlines as polygons, crowds as masks; no pictures are saved.
- supervision makes a full-size mask of every outline, which is more than 200 GB for this file.
  It is given the file without outlines.
- FiftyOne puts samples into its database; it is given the file with `label_types="detections"`.
- Checking is reading and `check(depth="labels")` here: faulty, doubled, nearly equal and
  contradicting boxes, class names and splits. Datumaro's `DetectionValidator` counts classes
  and looks for missing labels, odd sizes and rare ones; globox's `show_stats` only counts.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

READ, YOLO, VOC, CHECK = "read", "to YOLO", "to Pascal VOC", "check labels"
MEMORY = "peak memory, MB"
LIMIT = 120


def _ours(work: str, set_folder: Path, out: Path) -> tuple[Callable[[], Any], str]:
    from whatwhere import __version__
    from whatwhere.data import read

    def run() -> str:
        dataset = read(set_folder / "annotations" / "instances_train.json", "coco")
        said = f"{dataset.labels.height} labels"
        if work == YOLO:
            dataset.write(out, "yolo", pictures="none")
        elif work == VOC:
            dataset.write(out, "voc", pictures="none")
        elif work == CHECK:
            findings = dataset.check(depth="labels")
            said += f", {len(findings)} findings"
        return said

    return run, __version__


def _pycocotools(work: str, set_folder: Path, out: Path) -> tuple[Callable[[], Any], str]:
    from pycocotools.coco import COCO

    def run() -> str:
        coco = COCO(str(set_folder / "annotations" / "instances_train.json"))
        return f"{len(coco.anns)} labels"

    return run, _version("pycocotools")


def _globox(work: str, set_folder: Path, out: Path) -> tuple[Callable[[], Any], str]:
    from globox import AnnotationSet

    def run() -> str:
        found = AnnotationSet.from_coco(set_folder / "annotations" / "instances_train.json")
        if work == YOLO:
            names = sorted(found._labels())
            out.mkdir()
            found.save_yolo_v5(out, label_to_id={name: i for i, name in enumerate(names)})
        elif work == VOC:
            out.mkdir()
            found.save_pascal_voc(out)
        elif work == CHECK:
            found.show_stats()
        return f"{sum(len(one.boxes) for one in found)} labels"

    return run, _version("globox")


def _datumaro(work: str, set_folder: Path, out: Path) -> tuple[Callable[[], Any], str]:
    import logging

    import datumaro
    from datumaro.plugins.validators import DetectionValidator

    logging.disable()

    def run() -> str:
        found = datumaro.Dataset.import_from(str(set_folder), "coco_instances")
        said = f"{sum(len(one.annotations) for one in found)} labels"
        if work == YOLO:
            found.export(str(out), "yolo", save_media=False)
        elif work == VOC:
            found.export(str(out), "voc_detection", save_media=False)
        elif work == CHECK:
            validator = DetectionValidator(
                few_samples_thr=1,
                imbalance_ratio_thr=50,
                far_from_mean_thr=5,
                dominance_ratio_thr=0.8,
                topk_bins=0.1,
            )
            said += f", {validator.validate(found)['summary']}"
        return said

    return run, _version("datumaro")


def _supervision(work: str, set_folder: Path, out: Path) -> tuple[Callable[[], Any], str]:
    import supervision

    def run() -> str:
        found = supervision.DetectionDataset.from_coco(
            images_directory_path=str(set_folder / "images"),
            annotations_path=str(set_folder / "plain.json"),
        )
        labels = f"{sum(len(one) for one in found.annotations.values())} labels"
        if work == YOLO:
            found.as_yolo(annotations_directory_path=str(out))
        elif work == VOC:
            found.as_pascal_voc(annotations_directory_path=str(out))
        return labels

    return run, _version("supervision")


def _fiftyone(work: str, set_folder: Path, out: Path) -> tuple[Callable[[], Any], str]:
    import fiftyone

    def run() -> str:
        found = fiftyone.Dataset.from_dir(
            dataset_type=fiftyone.types.COCODetectionDataset,
            data_path=str(set_folder / "images"),
            labels_path=str(set_folder / "annotations" / "instances_train.json"),
            label_types="detections",
            include_id=True,
        )
        if work == YOLO:
            found.export(
                labels_path=str(out), dataset_type=fiftyone.types.YOLOv5Dataset, export_media=False
            )
        return f"{found.count('detections.detections')} labels"

    return run, _version("fiftyone")


def _version(name: str) -> str:
    from importlib.metadata import version

    return version(name)


WHO = {
    "whatwhere": _ours,
    "pycocotools": _pycocotools,
    "globox": _globox,
    "datumaro": _datumaro,
    "supervision": _supervision,
    "fiftyone": _fiftyone,
}

WORK = {
    READ: ["whatwhere", "pycocotools", "globox", "datumaro", "supervision", "fiftyone"],
    YOLO: ["whatwhere", "globox", "datumaro"],
    VOC: ["whatwhere", "globox", "datumaro"],
    CHECK: ["whatwhere", "globox", "datumaro"],
}
"""supervision writes labels only where it can open the pictures, so it converts nothing here."""


def child(work: str, who: str, folder: Path, out: Path) -> None:
    """Measure one thing; the answer is the last line printed."""
    try:
        run, version = WHO[who](work, folder, out)
    except ImportError as error:
        print(json.dumps({"skipped": f"{error}"}))
        return
    start = time.perf_counter()
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        answer = run()
    seconds = time.perf_counter() - start
    scale = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 1e6
    print(json.dumps({"seconds": seconds, "memory": peak, "version": version, "said": answer}))


def measure(
    work: str, who: str, folder: Path, out: Path, python: str, repeats: int
) -> dict[str, Any]:
    """The median of some repeats in fresh processes."""
    found: list[dict[str, Any]] = []
    began = time.perf_counter()
    while len(found) < repeats:
        shutil.rmtree(out, ignore_errors=True)
        command = [python, __file__, "--child", work, who, str(folder), str(out)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=LIMIT, check=False
            )
        except subprocess.TimeoutExpired:
            return {"skipped": f"more than {LIMIT} s"}
        lines = done.stdout.strip().splitlines()
        if done.returncode or not lines:
            return {"skipped": (done.stderr.strip().splitlines() or ["failed"])[-1][:100]}
        answer = json.loads(lines[-1])
        if "skipped" in answer:
            return dict(answer)
        found.append(answer)
        # What takes long is measured once.
        if time.perf_counter() - began > 30:
            break
    shutil.rmtree(out, ignore_errors=True)
    middle = dict(found[0])
    for key in ("seconds", "memory"):
        middle[key] = statistics.median(one[key] for one in found)
    return middle | {"repeats": len(found)}


def prepare(folder: Path, images: int, boxes: int) -> None:
    """A folder as Datumaro wants it: annotations/instances_train.json and images/.

    In a process of its own: what this one has used at most would count as what those that it
    starts have used.
    """
    process = multiprocessing.get_context("spawn").Process(
        target=_prepare, args=(folder, images, boxes)
    )
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit("the files cannot be generated")


def _prepare(folder: Path, images: int, boxes: int) -> None:
    from _large_coco import write_large_coco

    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    (folder / "images").mkdir(exist_ok=True)
    large = folder / "annotations" / "instances_train.json"
    if not large.exists():
        part = large.with_suffix(".part")
        write_large_coco(part, images, boxes)
        part.rename(large)
    plain = folder / "plain.json"
    if not plain.exists():
        part = plain.with_suffix(".part")
        write_large_coco(part, images, boxes, outlines=False)
        part.rename(plain)


def rows_of(work: str, found: dict[str, dict[str, Any]], size: str) -> list[dict[str, Any]]:
    """The rows of one kind of work; the ratio is theirs over ours."""
    rows: list[dict[str, Any]] = []
    own = found["whatwhere"]
    for who, one in found.items():
        row = {"work": f"{work}, {size}", "who": who, "version": one.get("version", "")}
        if "skipped" in one:
            rows.append({**row, "skipped": one["skipped"]})
            continue
        row["said"] = one["said"]
        ratio = round(one["seconds"] / own["seconds"], 1)
        rows.append({**row, "seconds": round(one["seconds"], 2), "ratio": ratio})
        if work == READ:
            ratio = round(one["memory"] / own["memory"], 1)
            row["work"] = f"{MEMORY}, {row['work']}"
            rows.append({**row, "value": round(one["memory"]), "ratio": ratio})
    return rows


def as_text(rows: list[dict[str, Any]]) -> str:
    """The rows as a table of Markdown."""
    lines = ["| work | who | measured | ratio |", "|---|---|---|---|"]
    for row in sorted(rows, key=lambda row: MEMORY in row["work"]):
        who = f"{row['who']} {row['version']}".strip()
        if "skipped" in row:
            lines.append(f"| {row['work']} | {who} | {row['skipped']} | |")
            continue
        measured = f"{row['seconds']:.1f} s" if "seconds" in row else f"{row['value']} MB"
        lines.append(f"| {row['work']} | {who} | {measured} | {row['ratio']} |")
    return "\n".join(lines)


HEADING = "## Reading, converting and checking labels"


def write_section(file: Path, rows: list[dict[str, Any]], command: str) -> None:
    """Put the table into the documentation, in place of the last one."""
    text = file.read_text("utf-8")
    notes = (__doc__ or "").partition("What each one does:\n")[2].strip()
    section = (
        f"{HEADING}\n\n`{command}` on a generated COCO file of the size of train2017 (118,287"
        " pictures, 860,001 boxes\nwith outlines and crowds, 450 MB); the ratio is theirs over"
        f" ours.\n\n{as_text(rows)}\n\nHow to install the peers is said in the script. What each"
        f" one does:\n\n{notes}\n"
    )
    before, found, after = text.partition(HEADING)
    if found:
        _, again, rest = after.partition("\n## ")
        section += "\n## " + rest if again else ""
        text = before + section
    else:
        text = f"{text.rstrip()}\n\n{section}"
    file.write_text(text, "utf-8")


def _memory() -> Path | None:
    """A file system in memory, if the system has one."""
    place = Path("/dev/shm")
    return place if place.is_dir() and os.access(place, os.W_OK) else None


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--peers", default=sys.executable, help="Python that has the peers")
    parser.add_argument("--folder", type=Path, help="keep the generated files here")
    parser.add_argument("--out", type=Path, default=_memory(), help="convert to a folder here")
    parser.add_argument("--only", nargs="+", choices=list(WHO), default=list(WHO))
    parser.add_argument("--work", nargs="+", choices=list(WORK), default=list(WORK))
    parser.add_argument("--repeats", type=int, default=3, help="of what does not take long")
    parser.add_argument("--write", type=Path, help="put the table into this Markdown file")
    parser.add_argument("--quick", action="store_true", help="2,000 pictures, 1 repeat")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        work, who, folder, out = options.child
        child(work, who, Path(folder), Path(out))
        return 0

    sizes = dict.fromkeys(WORK, (118287, 860001)) | {CHECK: (100_000, 727_049)}
    if options.quick:
        sizes = dict.fromkeys(WORK, (2000, 14541))
        options.repeats = 1
    rows: list[dict[str, Any]] = []
    with (
        tempfile.TemporaryDirectory() as temporary,
        tempfile.TemporaryDirectory(dir=options.out) as memory,
    ):
        place, out = options.folder or Path(temporary), Path(memory) / "out"
        for work in options.work:
            images, boxes = sizes[work]
            folder = place / f"{images}"
            prepare(folder, images, boxes)
            found = {}
            for who in WORK[work]:
                if who in options.only or who == "whatwhere":
                    python = sys.executable if who == "whatwhere" else options.peers
                    found[who] = measure(work, who, folder, out, python, options.repeats)
            if "skipped" in found["whatwhere"]:
                raise SystemExit(f"{work}: {found['whatwhere']['skipped']}")
            more = rows_of(work, found, f"{images} pictures")
            rows += more
            for row in more if options.json else ():
                print(json.dumps(row), flush=True)
    if not options.json:
        print(as_text(rows))
    if options.write:
        write_section(options.write, rows, _command())
    return 0


def _command() -> str:
    """What was run, with the places of this machine left out."""
    given = sys.argv[1:]
    places = {"--peers": "PEERS/bin/python", "--folder": "FOLDER", "--out": "OUT"}
    shown = [places.get(given[i - 1], one) if i else one for i, one in enumerate(given)]
    return " ".join(["python benchmarks/data_formats.py", *shown]).replace(" --json", "")


if __name__ == "__main__":
    raise SystemExit(main())
