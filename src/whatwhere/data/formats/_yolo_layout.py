"""Where the parts of a YOLO data set lie: settings, lists of pictures, label files."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from whatwhere.data.findings import Finding
from whatwhere.data.formats._files import entries, head, inside, relative, split_name
from whatwhere.data.formats._yaml import Value, YamlError, parse_yaml
from whatwhere.errors import DataError

LOOKS_FOR = (
    "data.yaml with names and train, or obj.data with names and train, or classes.txt, beside"
    " text files with a class number and fractions"
)

SPLITS = ("train", "val", "test")
RESERVED = frozenset(["path", "names", "nc", "kpt_shape", "unsplit"])
"""Keys of data.yaml that are no splits and are understood; `unsplit` is our own: pictures
that belong to no split, wherever else they are listed."""

_NAMES_FILES = ("classes.txt", "_darknet.labels", "obj.names", "classes.names")
_NOT_LABELS = frozenset([*_NAMES_FILES, "notes.txt", "README.txt", "train.txt"])
_NUMBER = rb"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_LINE = re.compile(rb"\s*\d+(?:\.0*)?(?:[ \t]+%s){4,}\s*" % _NUMBER)


@dataclass(slots=True)
class Layout:
    """What is known before a label is read.

    Args:
        root: the data set's folder. file: what has the settings. seen: for people.
        names: the class names as listed.
        sources: split and the folder or list that it is, as written; a split of None means
            none. Empty if the label files themselves are all there is.
        base: folder that sources count from.
        kpt_shape: key points a label, numbers a key point.
        more: other keys of data.yaml.
    """

    root: Path
    file: Path
    seen: str
    names: list[str]
    base: Path
    sources: list[tuple[str | None, str]] = field(default_factory=list)
    kpt_shape: tuple[int, int] | None = None
    more: dict[str, Value] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


def settings_file(path: Path) -> tuple[Path, str] | None:
    """The file with the class names, and of which kind it is: yaml, data or names."""
    if path.is_file():
        kind = {".yaml": "yaml", ".yml": "yaml", ".data": "data"}.get(path.suffix.lower())
        fits = kind == "yaml" or (kind == "data" and _is_darknet(path))
        return (path, kind) if kind and fits else None
    files = [Path(entry.path) for entry in entries(path) if entry.is_file()]
    yamls = [file for file in files if file.suffix.lower() in (".yaml", ".yml")]
    for file in sorted(yamls, key=lambda file: file.stem != "data"):
        text = head(file).decode("utf-8-sig", "replace")
        if not re.search(r"^['\"]?names['\"]?\s*:", text, re.M):
            continue
        # supervision writes names alone, beside images/ and labels/.
        if re.search(r"^['\"]?(train|val|test|unsplit)['\"]?\s*:", text, re.M) or _has_labels(path):
            return file, "yaml"
    for file in files:
        if file.suffix.lower() == ".data" and _is_darknet(file):
            return file, "data"
    folders = [path, *(Path(e.path) for e in entries(path) if e.is_dir() and split_name(e.name))]
    for folder in folders:
        for name in _NAMES_FILES:
            if any(entry.name == name for entry in entries(folder)) and _has_labels(path):
                return folder / name, "names"
    return None


def _is_darknet(file: Path) -> bool:
    text = head(file, 4096).decode("utf-8-sig", "replace")
    return bool(re.search(r"^\s*names\s*=", text, re.M)) and bool(
        re.search(r"^\s*(train|valid)\s*=", text, re.M)
    )


def is_label_file(entry: os.DirEntry[str]) -> bool:
    """Whether a file may have the labels of one picture."""
    return entry.name.endswith(".txt") and entry.name not in _NOT_LABELS and entry.is_file()


def _has_labels(path: Path) -> bool:
    """Whether one of the first label files has a line as it must be."""
    level = [path]
    for _ in range(3):
        for folder in level:
            seen = 0
            for entry in entries(folder):
                if is_label_file(entry):
                    data = head(Path(entry.path), 4096)
                    first = data.strip().split(b"\n")[0]
                    if first:
                        seen += 1
                        if _LINE.fullmatch(first) and _has_fractions(first):
                            return True
                    if seen == 20:
                        break
        level = [Path(e.path) for folder in level for e in entries(folder) if e.is_dir()][:100]
    return False


def _has_fractions(line: bytes) -> bool:
    """Whether what stands behind the class is near 0..1; other formats begin with numbers, too."""
    return all(abs(float(word)) <= 2 for word in line.split()[1:])


def find_layout(path: Path) -> Layout | None:
    """The layout of the data set at a path, None if there is none.

    Raises:
        DataError: the settings cannot be understood.
    """
    found = settings_file(path)
    if found is None:
        return None
    file, kind = found
    try:
        text = file.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{file} cannot be read ({error}): repair it") from None
    if kind == "yaml":
        return _yaml(file, text)
    if kind == "data":
        return _darknet(file, text)
    root = path
    layout = Layout(root, file, f"class names in {relative(file, root.parent)}", [], root)
    layout.names = [line.strip() for line in text.splitlines()]
    while layout.names and not layout.names[-1]:
        layout.names.pop()
    _check_names(layout)
    return layout


def _yaml(file: Path, text: str) -> Layout:
    try:
        settings = parse_yaml(text)
    except YamlError as error:
        raise DataError(f"{file} cannot be read ({error}): repair it") from None
    root = file.parent
    layout = Layout(root, file, f"names and splits in {relative(file, root.parent)}", [], root)
    layout.names = _names(settings.get("names"))
    _check_names(layout)
    layout.base = _base(layout, settings.get("path", "."))
    shape = settings.get("kpt_shape")
    if isinstance(shape, list) and len(shape) == 2 and all(one.isdecimal() for one in shape):
        count, dims = int(shape[0]), int(shape[1])
        if 0 < count < 10_000 and dims in (2, 3):
            layout.kpt_shape = count, dims
    for key in ("unsplit", *SPLITS):
        values = settings.get(key)
        split = None if key == "unsplit" else key
        for value in [values] if isinstance(values, str) else values or []:
            layout.sources.append((split, str(value)))
    for key, values in settings.items():
        if key in RESERVED or key in SPLITS:
            continue
        named = [values] if isinstance(values, str) else values
        # A key of another name is a split if it names folders or lists that are there.
        if isinstance(named, list) and named and all(_is_source(layout, one) for one in named):
            layout.sources += [(split_name(key) or key, one) for one in named]
        else:
            layout.more[key] = values
    return layout


def _is_source(layout: Layout, name: str) -> bool:
    if not name or not re.search(r"[/\\]|\.txt$|\.\.", name):
        return False
    place = resolve(layout, name)[0]
    return place is not None


def _names(value: Value | None) -> list[str]:
    if isinstance(value, dict) and all(re.fullmatch(r"[0-9]{1,9}", key) for key in value):
        numbers = {int(key): name for key, name in value.items()}
        count = max(numbers, default=-1) + 1
        if count <= 2 * len(numbers) + 1000:
            return [numbers.get(number, "") for number in range(count)]
    return value if isinstance(value, list) else []


def _check_names(layout: Layout) -> None:
    """Every class has a name; two of the same name are one class."""
    if not layout.names:
        raise DataError(f"{layout.file} has no list of class names: add names: [first, second]")
    names = [name if name.strip() else f"class {at}" for at, name in enumerate(layout.names)]
    first: dict[str, int] = {}
    for number, name in enumerate(names):
        if first.setdefault(name, number) != number:
            message = f"class {number} is called {name!r}, as one before; they are one class"
            where = relative(layout.file, layout.root)
            layout.findings.append(Finding("duplicate-class", message, where, "warning", "merged"))
    layout.names = names


def _base(layout: Layout, name: Value) -> Path:
    """`path:` if it lies in the data set's folder, else the folder of the YAML file."""
    if isinstance(name, str):
        place = _within(layout.root, layout.root, name)
        if place is not None and place.is_dir():
            return place
    message = f"path {name!r} is not a folder inside the data set's"
    layout.findings.append(
        Finding("path-outside", message, layout.file.name, "info", "this folder is used")
    )
    return layout.root


def _within(root: Path, start: Path, name: str) -> Path | None:
    """The place that a name counted from `start` is, if it lies below the root."""
    text = name.replace("\\", "/")
    if os.path.isabs(text):  # noqa: PTH117
        place = Path(os.path.normpath(text))
        return place if place.is_relative_to(root) else None
    return inside(root, relative(start / text, root))


def resolve(layout: Layout, name: str) -> tuple[Path | None, str]:
    """What a source is, and how it is called from the root.

    Exports often count from a folder that is not there ("../train/images", "data/train.txt"),
    so names are tried without their first parts, too.
    """
    for start in (layout.base, layout.root):
        place = _within(layout.root, start, name)
        if place is not None and place.exists():
            return place, name
    parts = [part for part in re.split(r"[/\\]+", name) if part not in ("", ".", "..")]
    for first in range(len(parts)):
        inner = "/".join(parts[first:])
        for start in (layout.base, layout.root):
            place = _within(layout.root, start, inner)
            if place is not None and place != layout.root and place.exists():
                return place, inner
    return None, name


def _darknet(file: Path, text: str) -> Layout:
    """obj.data: `train = data/train.txt`, `names = data/obj.names`."""
    root = file.parent
    values = {}
    for line in text.splitlines():
        key, mark, value = line.partition("=")
        if mark and not line.lstrip().startswith("#"):
            values[key.strip()] = value.strip()
    layout = Layout(root, file, f"names and lists in {relative(file, root.parent)}", [], root)
    place, _ = resolve(layout, values.get("names", ""))
    if place is None or not place.is_file():
        names = values.get("names")
        raise DataError(f"{file} says that the class names are in {names!r}, which is not there")
    layout.names = [line.strip() for line in place.read_text("utf-8-sig", "replace").splitlines()]
    while layout.names and not layout.names[-1]:
        layout.names.pop()
    _check_names(layout)
    for key, split in (("train", "train"), ("valid", "val"), ("val", "val"), ("test", "test")):
        if key in values:
            layout.sources.append((split, values[key]))
    return layout


def label_folder(root: Path, folder: str) -> str:
    """Where the labels of a folder's pictures are.

    The last part "images" below the root becomes "labels"; if there is no such folder, the
    label files lie beside the pictures.
    """
    parts = list(Path(folder).parts)
    for place in range(len(parts) - 1, len(root.parts) - 1, -1):
        if parts[place] == "images":
            parts[place] = "labels"
            mapped = str(Path(*parts))
            if Path(mapped).is_dir() or not Path(folder).is_dir():
                return mapped
            beside = any(is_label_file(entry) for entry in entries(Path(folder)))
            return folder if beside else mapped
    return folder
