"""Where the class folders are: splits above them, numbers in front, words beside."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from whatwhere.data.findings import KEPT_OUT, Finding
from whatwhere.data.formats._class_sets import lines_of, parse_json, peek, read_text
from whatwhere.data.formats._files import entries, head, is_picture, relative, split_name

# Folders of other formats; where they are, the others are not classes.
FOREIGN = frozenset(
    {"annotations", "labels", "images", "jpegimages", "imagesets", "segmentationclass"}
    | {"image_2", "label_2", "velodyne", "leftimg8bit", "gtfine", "gtbbox3d", "labeltxt", "img1"}
)

_DARKNET = re.compile(r"obj_.+_data")
"""Folders of YOLO's darknet layout: obj_train_data."""

_NUMBERED = re.compile(r"(\d{3,6})\.(.+)", re.S)
_SYNSET = re.compile(r"n\d{8}")
WORDS_FILES = (
    "LOC_synset_mapping.txt",
    "synset_words.txt",
    "words.txt",
    "imagenet_class_index.json",
)

_DEPTH = 3
_SAMPLED_FOLDERS = 60
_SAMPLED_FILES = 60


@dataclass
class Layout:
    """The class folders of each split, split None where there are no splits.

    Args:
        base: the folder that has them, at or below the data set's folder.
        parts: folders by split.
        flat: split folders with pictures that lie in no class folder.
        others: folders that are neither.
    """

    base: Path
    parts: dict[str | None, list[Path]]
    flat: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)

    @property
    def folders(self) -> list[Path]:
        return [folder for folders in self.parts.values() for folder in folders]


def _below(path: Path) -> list[Path]:
    return [Path(entry.path) for entry in entries(path) if entry.is_dir()]


def _subfolder(folder: Path) -> bool:
    """Whether a split's folder has class folders; it may have a million pictures instead."""
    return any(entry.is_dir() for entry in peek(folder, 2000))


def find_layout(path: Path) -> Layout:
    """Splits are there if every folder with pictures is called like one, and one has folders."""
    base = path
    for _ in range(_DEPTH):
        top = _below(base)
        # `caltech256/256_ObjectCategories/...`: one folder around all the others.
        if len(top) != 1 or split_name(top[0].name) or not _subfolder(top[0]):
            break
        base = top[0]
    top = _below(base)
    named = [folder for folder in top if split_name(folder.name)]
    whole = [folder for folder in named if _subfolder(folder)]
    others = [folder for folder in top if folder not in named]
    if not whole or any(_pictures(folder)[0] for folder in others):
        return Layout(base, {None: top})
    parts: dict[str | None, list[Path]] = {}
    for folder in whole:
        parts.setdefault(split_name(folder.name), []).extend(_below(folder))
    return Layout(base, parts, [folder for folder in named if folder not in whole], others)


def _pictures(folder: Path) -> tuple[int, int]:
    """Of a sample of the files in and just below a folder: pictures, and other files."""
    found = peek(folder, _SAMPLED_FILES)
    for below in [one for one in found if one.is_dir()][:3]:
        found += peek(below.path, _SAMPLED_FILES)
    files = [entry.name for entry in found if not entry.is_dir()]
    pictures = sum(map(is_picture, files))
    return pictures, len(files) - pictures


def looks_like_classes(layout: Layout) -> bool:
    """Whether a sample of the folders has pictures, and nothing that another format has."""
    folders = layout.folders
    known = [*_below(layout.base), *folders[:2000]]
    names = {folder.name.lower() for folder in known}
    if names & FOREIGN or any(map(_DARKNET.fullmatch, names)):
        return False
    step = max(1, len(folders) // _SAMPLED_FOLDERS)
    pictures = empty = strange = 0
    for folder in folders[::step]:
        inner = {entry.name.lower() for entry in peek(folder, _SAMPLED_FILES)}
        # A class may have a folder "images" (Tiny ImageNet), but not these.
        if inner & ((FOREIGN - {"images"}) | {"gt", "det"}):
            return False
        if any(name.endswith((".xml", ".json")) for name in inner):
            return False
        found, others = _pictures(folder)
        pictures += bool(found)
        empty += not found and not others
        strange += not found and bool(others)
    return pictures > 0 and strange * 4 <= pictures + empty


_ANNOTATIONS = re.compile(
    rb"""<annotations[\s>]|"FeatureCollection"|\A\s*\[\s*\{.*"annotations"\s*:|\AImageID,.*LabelName""",
    re.S,
)
"""How files of CVAT, GeoJSON, Label Studio and Open Images begin."""


def is_annotated(folder: Path) -> bool:
    """Whether a file beside the folders has the labels; they may be folds of it, then."""
    for entry in peek(folder, _SAMPLED_FILES):
        named = entry.name.lower().endswith((".xml", ".json", ".geojson", ".csv"))
        if named and entry.is_file() and _ANNOTATIONS.search(head(Path(entry.path), 4096)):
            return True
    return False


def numbers_of(names: list[str]) -> dict[str, tuple[int, str]] | None:
    """Number and name of each folder if all are called as in Caltech-256, `001.ak47`."""
    found = {name: _NUMBERED.fullmatch(name) for name in names}
    parts = {name: (int(one[1]), one[2]) for name, one in found.items() if one is not None}
    if len(parts) < len(names) or not all(name.strip() for _, name in parts.values()):
        return None
    distinct = {len({one[place] for one in parts.values()}) for place in (0, 1)}
    return parts if distinct == {len(names)} else None


def words_of(
    names: list[str], base: Path, root: Path, findings: list[Finding]
) -> dict[str, dict[str, Any]]:
    """Words for classes that are called like WordNet's synsets, from a file beside them.

    `n01440764 tench, Tinca tinca` in each line, or Keras's `{"0": ["n01440764", "tench"]}`.
    """
    if not any(_SYNSET.fullmatch(name) for name in names):
        return {}
    places = [one for one in (base, *base.parents) if one.is_relative_to(root)]
    for file in (place / name for place in places for name in WORDS_FILES):
        text = read_text(file, root)
        if text is None:
            continue
        where = relative(file, root)
        known = _json_words(text) if file.suffix == ".json" else _text_words(text)
        if known is None:
            message = "the file has no words of classes"
            findings.append(Finding("damaged-annotation", message, where, "warning", KEPT_OUT))
            continue
        return {name: {"words": known[name]} for name in names if name in known}
    return {}


def words_text(names: Sequence[str], class_info: Mapping[str, Mapping[str, Any]]) -> str | None:
    """synset_words.txt; None if it cannot hold all that is known of the classes."""
    lines = []
    for name in names:
        known = class_info.get(name) or {}
        words = known.get("words", "")
        if not _SYNSET.fullmatch(name) or set(known) - {"words"} or not isinstance(words, str):
            return None
        if words != words.strip() or not words.isprintable():
            return None
        lines.append(f"{name} {words}".rstrip() + "\n")
    return "".join(lines) if class_info else None


def _text_words(text: str) -> dict[str, str] | None:
    known = {}
    for line in lines_of(text):
        synset, _, words = line.strip().partition(" " if " " in line.strip() else "\t")
        if "\t" in synset:
            synset, _, words = line.strip().partition("\t")
        if _SYNSET.fullmatch(synset) and words.strip():
            known[synset] = words.strip()
    return known or None


def _json_words(text: str) -> dict[str, str] | None:
    try:
        found = parse_json(text)
    except (ValueError, RecursionError):
        return None
    pairs = found.values() if isinstance(found, dict) else ()
    known = {
        str(pair[0]): str(pair[1]) for pair in pairs if isinstance(pair, list) and len(pair) == 2
    }
    return known or None
