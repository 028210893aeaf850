"""Pascal VOC's ImageSets/Main, and the labelmap.txt that CVAT adds."""

from __future__ import annotations

from pathlib import Path

from whatwhere.data.findings import KEPT_OUT, Finding
from whatwhere.data.formats._files import entries, relative, split_name

_FIRST = ("train", "val", "test")


def _flagged(line: str) -> str | None:
    """The name in a line that has 1, 0 or -1 behind it, as lists of one class have."""
    words = line.rsplit(None, 1)
    return words[0] if len(words) == 2 and words[1] in ("-1", "0", "1") else None


def read_label_map(file: Path) -> list[str]:
    """Class names in the order of a labelmap.txt."""
    listed: dict[str, None] = {}
    if file.is_file():
        for line in file.read_text("utf-8-sig", "replace").splitlines():
            # CVAT: label:color_rgb:parts:actions; a name may have colons itself.
            parts = line.rsplit(":", 3)
            name = (parts[0] if len(parts) == 4 else line).strip()
            # CVAT gives the background, which is no class, a colour.
            if name == "background" and len(parts) == 4 and parts[1]:
                continue
            if name and not line.startswith("# label:"):
                listed[name] = None
    return list(listed)


def read_lists(
    folder: Path, root: Path, rows: dict[str, int]
) -> tuple[dict[int, str], list[Finding]]:
    """Split of each picture.

    "cat_train.txt" has 1, 0 or -1 behind each name, for whether there is a cat: it makes a
    split only where there is no train.txt. "trainval" counts where neither train nor val has
    the picture.

    Args:
        rows: name in the lists -> row of the picture.
    """
    findings: list[Finding] = []
    lists: dict[str, list[Path]] = {}
    of_class: dict[str, list[Path]] = {}
    for entry in entries(folder):
        file = Path(entry.path)
        if file.suffix != ".txt" or not entry.is_file():
            continue
        last = split_name(file.stem.rpartition("_")[2])
        if "_" in file.stem and last and _is_of_class(file, rows):
            of_class.setdefault(last, []).append(file)
        else:
            lists.setdefault(split_name(file.stem) or file.stem, []).append(file)
    if not lists:
        lists = of_class
    if list(lists) == ["default"]:
        # CVAT's and Datumaro's name for pictures that are not divided.
        lists = {}
    order = [*_FIRST, *sorted(lists.keys() - {*_FIRST, "trainval"}), "trainval"]
    split: dict[int, str] = {}
    for name in order:
        # Lists of classes have the same pictures.
        once = len(lists.get(name, ())) == 1
        contradicts = name == "trainval" and {"train", "val"} <= lists.keys()
        for file in lists.get(name, ()):
            _one_list(file, name, once, contradicts, root, rows, split, findings)
    return split, findings


def _is_of_class(file: Path, rows: dict[str, int]) -> bool:
    """Whether every line ends with a flag and is not a picture's name as a whole."""
    with file.open(encoding="utf-8-sig", errors="replace") as stream:
        lines = [line.strip() for line in stream.readlines(1 << 16)]
    lines = [line for line in lines if line]
    return bool(lines) and all(_flagged(line) and line not in rows for line in lines)


def _one_list(
    file: Path,
    name: str,
    once: bool,
    contradicts: bool,
    root: Path,
    rows: dict[str, int],
    split: dict[int, str],
    findings: list[Finding],
) -> None:
    where = relative(file, root)
    seen: set[str] = set()
    for number, line in enumerate(file.read_text("utf-8-sig", "replace").split("\n"), 1):
        stem = line.rstrip("\r")
        row = rows.get(stem)
        if row is None:
            stem = stem.strip()
            if not stem:
                continue
            row = rows.get(stem)
        if row is None:
            stem = _flagged(stem) or stem
            row = rows.get(stem, rows.get(stem.rpartition(".")[0]))
        record = f"{where}:{number}"
        if stem in seen:
            message = f"{stem} is listed twice"
            findings.append(Finding("duplicate-entry", message, record, "warning", KEPT_OUT))
            continue
        seen.add(stem)
        if row is None:
            message = f"{stem} is listed, but has no picture or no annotation"
            findings.append(Finding("missing-image", message, record, "error", KEPT_OUT))
        elif row not in split:
            split[row] = name
            if contradicts:
                message = f"{stem} is in trainval, but neither in train nor in val"
                findings.append(Finding("contradicting-splits", message, record, "warning"))
        elif split[row] == name and not once:
            continue
        elif name != "trainval" or split[row] not in ("train", "val"):
            message = f"{stem} is in {split[row]} and in {name}; {split[row]} counts"
            findings.append(Finding("two-splits", message, record, "error"))
