"""Where the pictures of a COCO file lie."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl

from whatwhere.data.findings import KEPT_OUT, Finding
from whatwhere.data.formats._files import entries, folders_below, inside, relative

_MOST_FOLDERS = 1000


class Places:
    """Looks for pictures in the folders that COCO, CVAT, LVIS and Roboflow put them in.

    No picture is opened or asked for by itself: each folder is listed once.

    Args:
        root: the data set's folder; no picture outside is found.
        images: the folder of the pictures, if the user named one; then only there.
    """

    def __init__(self, root: Path, images: Path | None) -> None:
        self.root, self.images = root, images
        self.missing: set[str] = set()
        self.listed: dict[str, set[str]] = {}

    def find(
        self, images: pl.DataFrame, file: Path, split: str | None, where: str
    ) -> tuple[pl.DataFrame, list[Finding]]:
        """Add `path` to the records of a file; those that would lie outside are kept out."""
        bases = self._bases(file, split)
        for base in bases:
            self._list(str(base))
        findings: list[Finding] = []
        paths: list[str | None] = []
        missing: list[tuple[int, str, str]] = []
        flat = [(f"{base}/", self.listed[str(base)]) for base in bases]
        for position, name in images.select("position", "file_name").iter_rows():
            path, there = None, False
            if "/" not in name and "\\" not in name and name.strip(".") and "\0" not in name:
                for start, names in flat:
                    if name in names:
                        path, there = start + name, True
                        break
                else:
                    path = flat[0][0] + name
            else:
                path, there = self._deeper(name, bases)
            if path is None:
                message = f"file_name {name!r} leaves the data set's folder"
                place = f"{where}#images[{position}]"
                findings.append(Finding("path-outside", message, place, "error", KEPT_OUT))
            elif not there:
                missing.append((position, name, path))
            paths.append(path)
        findings += self._missed(missing, images.height, bases, where)
        images = images.with_columns(pl.Series("path", paths, pl.String))
        return images.filter(pl.col("path").is_not_null()), findings

    def _bases(self, file: Path, split: str | None) -> list[Path]:
        token = re.sub(r"^instances_?", "", file.stem)
        if self.images is None:
            bases = [file.parent, file.parent / "images", self.root / "images", self.root]
            for name in (token, split):
                if name and inside(self.root, name):
                    bases += [self.root / "images" / name, self.root / name]
        else:
            bases = [self.images]
            for folder in folders_below(self.images, 2):
                bases.append(folder)
                if len(bases) > _MOST_FOLDERS:
                    break
        return [base for base in dict.fromkeys(bases) if base.is_dir()]

    def _list(self, folder: str) -> set[str]:
        if folder not in self.listed:
            self.listed[folder] = {entry.name for entry in entries(Path(folder))}
        return self.listed[folder]

    def _deeper(self, name: str, bases: list[Path]) -> tuple[str | None, bool]:
        """The same for a name with folders: as it is, else by its last part."""
        if re.match(r"/|\\|[A-Za-z]:", name) or not name.strip("./\\"):
            return None, False
        top = self.root if self.images is None else self.images
        places = []
        for base in bases:
            start = base.relative_to(top).as_posix()
            place = inside(top, f"{start}/{name}")
            if place is not None:
                places.append(place)
                if place.name in self._list(str(place.parent)):
                    return str(place), True
        last = re.split(r"[/\\]", name)[-1]
        for base in bases if places and last not in ("", ".", "..") else ():
            if last in self.listed[str(base)]:
                return f"{base}/{last}", True
        return (str(places[0]), False) if places else (None, False)

    def _missed(
        self, missing: list[tuple[int, str, str]], count: int, bases: list[Path], where: str
    ) -> list[Finding]:
        self.missing |= {path for _, _, path in missing}
        shown = bases[:6]
        places = ", ".join(relative(base, self.root.parent) for base in shown)
        if missing and len(missing) == count:
            message = f"none of {count} pictures is on disk; looked in {places}"
            return [Finding("missing-image", message, where, "error")]
        return [
            Finding(
                "missing-image",
                f"{name} is not on disk; looked in {places}",
                f"{where}#images[{position}]",
                "error",
            )
            for position, name, _ in missing
        ]
