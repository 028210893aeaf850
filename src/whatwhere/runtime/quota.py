"""How much processor time a container may use, where its limit is less than its cores.

Docker's `--cpus` and limits of Kubernetes do not hide cores: the kernel stops all threads of the
container once its share of a period is spent. More threads than the limit then only wait longer.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_ROOT = Path("/")


def cpu_quota(root: Path = _ROOT) -> float | None:
    """Cores' worth of time that control groups grant this process; None without a limit.

    Version 2 of control groups: `cpu.max` of the group and of all above it; version 1:
    `cpu.cfs_quota_us` by `cpu.cfs_period_us` (Linux, Documentation/admin-guide/cgroup-v2.rst and
    scheduler/sched-bwc.rst). Elsewhere there is nothing to read.

    Args:
        root: of the file system, for tests.
    """
    found = [limit for folder in _groups(root) if (limit := _limit(folder)) is not None]
    return min(found, default=None)


def _groups(root: Path) -> Iterator[Path]:
    """Folders of the process's group and of those above it."""
    base = root / "sys/fs/cgroup"
    try:
        lines = (root / "proc/self/cgroup").read_text("utf-8").splitlines()
    except (OSError, ValueError):
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = base if not controllers else base / "cpu"
        inside = [part for part in PurePosixPath(path).parts if part not in ("/", "..")]
        # Inside a container the path may be the host's: then only the top is there.
        for depth in range(len(inside), -1, -1):
            yield top.joinpath(*inside[:depth])


def _limit(folder: Path) -> float | None:
    try:
        if (folder / "cpu.max").is_file():
            given, period = (folder / "cpu.max").read_text("utf-8").split()
        else:
            given = (folder / "cpu.cfs_quota_us").read_text("utf-8")
            period = (folder / "cpu.cfs_period_us").read_text("utf-8")
        return int(given) / int(period) if int(given) > 0 and int(period) > 0 else None
    except (OSError, ValueError):
        # "max", or there is no such file: no limit.
        return None
