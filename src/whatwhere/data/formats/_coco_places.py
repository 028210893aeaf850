"""Where the pictures of a COCO file lie."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
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
        self.missing: list[pl.Series] = []
        self.listed: dict[str, set[str]] = {}

    def find(
        self, images: pl.DataFrame, file: Path, split: str | None, where: str
    ) -> tuple[pl.DataFrame, list[Finding]]:
        """Add `path` to the records of a file; those that would lie outside are kept out."""
        bases = self._bases(file, split)
        for base in bases:
            self._list(str(base))
        names = images["file_name"]
        # Nearly all names are of files in the folder itself; they need no Python each.
        plain = ~names.str.contains(r"[/\\\x00]") & (names.str.strip_chars(".") != "")
        paths = pl.select(pl.when(plain).then(pl.concat_str(pl.lit(f"{bases[0]}/"), names)))
        found, there = paths.to_series().to_list(), np.zeros(len(names), np.bool_)
        texts = names.to_list()
        for base in reversed(bases):
            if self.listed[str(base)]:
                here = names.is_in(list(self.listed[str(base)])) & plain
                there |= here.to_numpy()
                for row in here.arg_true().to_list():
                    found[row] = f"{base}/{texts[row]}"
        findings: list[Finding] = []
        for row in (~plain).arg_true().to_list():
            found[row], there[row] = self._deeper(names[row], bases)
            if found[row] is None:
                message = f"file_name {names[row]!r} leaves the data set's folder"
                place = f"{where}#images[{images['position'][row]}]"
                findings.append(Finding("path-outside", message, place, "error", KEPT_OUT))
        images = images.with_columns(pl.Series("path", found, pl.String))
        missing = images.filter(~pl.Series(there) & pl.col("path").is_not_null())
        findings += self._missed(missing, images.height, bases, where)
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
        # A name can be too long for the file system; then there is no such folder.
        return [base for base in dict.fromkeys(bases) if os.path.isdir(base)]  # noqa: PTH112

    def _list(self, folder: str) -> set[str]:
        if folder not in self.listed:
            self.listed[folder] = {entry.name for entry in entries(Path(folder))}
        return self.listed[folder]

    def _deeper(self, name: str, bases: list[Path]) -> tuple[str | None, bool]:
        """The same for a name with folders: as it is, else by its last part."""
        if "\0" in name or re.match(r"/|\\|[A-Za-z]:", name) or not name.strip("./\\"):
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
        self, missing: pl.DataFrame, count: int, bases: list[Path], where: str
    ) -> list[Finding]:
        self.missing.append(missing["path"])
        places = ", ".join(relative(base, self.root.parent) for base in bases[:6])
        if missing.height == count and count:
            message = f"none of {count} pictures is on disk; looked in {places}"
            return [Finding("missing-image", message, where, "error")]
        return [
            Finding(
                "missing-image",
                f"{name} is not on disk; looked in {places}",
                f"{where}#images[{position}]",
                "error",
            )
            for position, name in missing.select("position", "file_name").iter_rows()
        ]
