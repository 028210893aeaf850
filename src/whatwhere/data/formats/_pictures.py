"""Bring the pictures of a data set to where a format wants them."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from whatwhere.data.findings import Finding
from whatwhere.errors import ImageError, UsageError
from whatwhere.images import member, picture_bytes, shown_path

WAYS = ("copy", "link", "reference", "none")


class Pictures:
    """How pictures get into a new data set, and what went wrong with it.

    Args:
        how: "copy" the files, hard "link" them, "reference" them by symbolic links, or
            "none": labels only. A picture inside another file is always taken out.
    """

    def __init__(self, how: str = "copy") -> None:
        if how not in WAYS:
            raise UsageError(f"pictures can be {', '.join(WAYS)}, not {how!r}")
        self.how = how
        self.findings: list[Finding] = []
        self._copied = 0

    def place(self, sources: Sequence[str], targets: Sequence[str | Path]) -> NDArray[np.bool_]:
        """Bring each picture to its place.

        Args:
            sources: paths as in `Dataset.images`.
            targets: absolute paths, none of them twice; folders are made.

        Returns:
            bool (N,): whether the picture is there, so that its labels are to be written.
            A missing one is a finding. All True for "none".

        Raises:
            OSError: the disk is full.
        """
        done = np.ones(len(sources), dtype=np.bool_)
        if self.how == "none":
            return done
        for folder in dict.fromkeys(os.path.dirname(target) for target in targets):  # noqa: PTH120
            os.makedirs(folder, exist_ok=True)  # noqa: PTH103
        with ThreadPoolExecutor(4) as pool:
            faults = pool.map(self._one, sources, targets, chunksize=32)
            for row, fault in enumerate(faults):
                if fault is not None:
                    self.findings.append(fault)
                    done[row] = False
        if self._copied and self.how == "link":
            message = f"{self._copied} pictures were copied, because they cannot be linked here"
            self.findings.append(Finding("copied-image", message, "", "info", "copied"))
        return done

    def _one(self, source: str, target: str | Path) -> Finding | None:
        try:
            inner = member(source)
            if inner is not None:
                with Path(target).open("xb") as copy:
                    copy.write(picture_bytes(source))
            elif self.how == "reference":
                os.stat(source)  # noqa: PTH116
                os.symlink(source, target)  # noqa: PTH211
            elif self.how == "link":
                self._link(source, target)
            else:
                _copy(source, target)
        except (FileNotFoundError, NotADirectoryError):
            return Finding(
                "missing-image", "the picture is not on disk", source, "error", "kept out"
            )
        except ImageError as error:
            where = shown_path(source)
            return Finding("unreadable-image", str(error), where, "error", "kept out")
        return None

    def _link(self, source: str, target: str | Path) -> None:
        try:
            os.link(os.path.realpath(source), target)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
                raise
            _copy(source, target)
            self._copied += 1


def _copy(source: str, target: str | Path) -> None:
    with Path(source).open("rb") as file, Path(target).open("xb") as copy:
        shutil.copyfileobj(file, copy, 1 << 20)
