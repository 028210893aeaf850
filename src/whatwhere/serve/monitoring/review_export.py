"""The review folder as a list for labelling tools."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from whatwhere.data import Dataset
from whatwhere.errors import DataError, UsageError
from whatwhere.images import write_atomic
from whatwhere.outputs.relabel import VERSION, Kind, relabel_kind, written


def read_review(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Entries of a review folder, the most doubtful first.

    Raises:
        UsageError: there is no such folder, or nothing is in it.
        DataError: an entry is damaged.
    """
    place = Path(folder)
    entries = []
    for file in sorted(place.glob("*.json")):
        try:
            entry = json.loads(file.read_text("utf-8"))
            known = {"picture", "doubt", "reason", "task", "classes", "prediction"}
            if not isinstance(entry, dict) or not known <= entry.keys():
                continue
        except (OSError, ValueError) as error:
            raise DataError(f"{file} is damaged ({error}): delete it") from error
        if (place / entry["picture"]).is_file():
            entries.append(entry)
    if not entries:
        raise UsageError(
            f"{place} holds no pictures for review: give the folder of  whatwhere serve --review"
        )
    return sorted(entries, key=lambda entry: -entry["doubt"])


def write_review(
    folder: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    kind: Kind | None = None,
    limit: int | None = None,
) -> int:
    """Write the pictures of a review folder with the model's answers as proposals.

    The forms are those of `outputs.relabel.write_relabel`: our JSON (an item for each proposal,
    without a label), tasks for Label Studio (answers as predictions, `doubt` and `problem` in the
    task's data) or CVAT's XML (answers with source "auto").

    Args:
        folder: of `ReviewFolder`.
        path: the file; replaced if it is there.
        kind: by default told from the name, see `relabel_kind`.
        limit: the most doubtful so many pictures.

    Returns:
        The number of pictures in it.

    Raises:
        UsageError: the name says no kind, or the folder holds nothing.
        DataError: an entry is damaged.
    """
    kind = relabel_kind(path) if kind is None else kind
    entries = read_review(folder)[:limit]
    file = Path(path)
    if kind == "json":
        write_atomic(file, json.dumps(_own(folder, entries), indent=1, ensure_ascii=False) + "\n")
        return len(entries)
    data = _dataset(Path(folder), entries)
    if kind == "cvat":
        text, _ = written(data, "cvat", "annotations.xml")
        write_atomic(file, text)
        return len(entries)
    text, config = written(data, "label_studio", "tasks.json", "label_config.xml")
    tasks = json.loads(text)
    for rank, (task, entry) in enumerate(zip(tasks, entries, strict=True), 1):
        task["data"] |= {
            "image": f"/data/local-files/?d={entry['picture']}",
            "rank": rank,
            "doubt": entry["doubt"],
            "problem": entry["reason"],
        }
        for guess in task.get("predictions", []):
            guess |= {"score": entry["doubt"], "model_version": _model(entry)}
    write_atomic(file, json.dumps(tasks, indent=1, ensure_ascii=False) + "\n")
    write_atomic(file.with_suffix(".config.xml"), config)
    return len(entries)


def _model(entry: dict[str, Any]) -> str:
    return f"{entry.get('model', '')}@{entry.get('version', '')}"


def _own(folder: str | os.PathLike[str], entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    items = []
    for rank, entry in enumerate(entries, 1):
        said = entry["prediction"]
        rows = said["objects"] or said["labels"][:1] or [None]
        for row in rows:
            proposal = None
            if row is not None:
                proposal = {"name": row["name"], "box": row.get("box"), "score": row["score"]}
            items.append(
                {
                    "rank": rank,
                    "kind": entry["reason"],
                    "doubt": entry["doubt"],
                    "image": entry["picture"],
                    "width": said["width"],
                    "height": said["height"],
                    "label": None,
                    "proposal": proposal,
                    "iou": None,
                }
            )
    return {
        "format": "whatwhere relabelling list",
        "version": VERSION,
        "data": str(folder),
        "model": ", ".join(sorted({_model(entry) for entry in entries})),
        "task": entries[0]["task"],
        "classes": _classes(entries),
        "items": items,
    }


def _classes(entries: Sequence[dict[str, Any]]) -> list[str]:
    names = dict.fromkeys(name for entry in entries for name in entry["classes"])
    for entry in entries:
        rows = (*entry["prediction"]["objects"], *entry["prediction"]["labels"])
        names |= dict.fromkeys(row["name"] for row in rows)
    return list(names)


def _dataset(folder: Path, entries: Sequence[dict[str, Any]]) -> Dataset:
    """The answers as labels with scores, which writers give as proposals."""
    names = _classes(entries)
    ids = {name: number for number, name in enumerate(names)}
    boxes = any(entry["prediction"]["objects"] for entry in entries)
    rows: list[dict[str, Any]] = []
    for place, entry in enumerate(entries):
        said = entry["prediction"]
        # A single-label model proposes its first label only.
        most = 1 if entry["task"] == "classify" else None
        found = said["objects"] if boxes else said["labels"][:most]
        for row in found:
            x1, y1, x2, y2 = row.get("box") or (None,) * 4
            rows.append(
                {
                    "image": place,
                    "class_id": ids[row["name"]],
                    "x1": x1,
                    "y1": y1,
                    "x2": x2,
                    "y2": y2,
                    "score": row["score"],
                    "source": "model",
                }
            )
    columns = ("image", "class_id", "x1", "y1", "x2", "y2", "score", "source")
    labels = {name: [row[name] for row in rows] for name in columns}
    root = str(folder.absolute())
    images = {
        "path": [f"{root}/{entry['picture']}" for entry in entries],
        "width": [entry["prediction"]["width"] for entry in entries],
        "height": [entry["prediction"]["height"] for entry in entries],
    }
    return Dataset(images, labels, names, root=root, task="detect" if boxes else "multilabel")
