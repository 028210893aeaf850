"""Limits of containers on processor time."""

from __future__ import annotations

from pathlib import Path

import pytest

from whatwhere.runtime import backends
from whatwhere.runtime.quota import cpu_quota


def files(root: Path, **contents: str) -> Path:
    """A file system with these files; `__` stands for a slash, `DOT` for a dot."""
    for name, text in contents.items():
        path = root / name.replace("__", "/").replace("DOT", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_container(tmp_path: Path) -> None:
    root = files(tmp_path, proc__self__cgroup="0::/\n", sys__fs__cgroup__cpuDOTmax="150000 100000")
    assert cpu_quota(root) == 1.5


def test_no_limit(tmp_path: Path) -> None:
    root = files(tmp_path, proc__self__cgroup="0::/\n", sys__fs__cgroup__cpuDOTmax="max 100000\n")
    assert cpu_quota(root) is None


def test_nothing_to_read(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path) is None


def test_least_of_all_groups_above(tmp_path: Path) -> None:
    root = files(
        tmp_path,
        proc__self__cgroup="0::/pods/one\n",
        sys__fs__cgroup__pods__one__cpuDOTmax="400000 100000\n",
        sys__fs__cgroup__pods__cpuDOTmax="200000 100000\n",
    )
    assert cpu_quota(root) == 2.0


def test_path_of_the_host(tmp_path: Path) -> None:
    root = files(
        tmp_path,
        proc__self__cgroup="0::/../docker/0123\n",
        sys__fs__cgroup__cpuDOTmax="300000 100000\n",
    )
    assert cpu_quota(root) == 3.0


@pytest.mark.parametrize(("quota", "expected"), [("250000", 2.5), ("-1", None)])
def test_version_1(tmp_path: Path, quota: str, expected: float | None) -> None:
    root = files(
        tmp_path,
        proc__self__cgroup="5:memory:/box\n4:cpu,cpuacct:/box\n",
        sys__fs__cgroup__cpu__box__cpuDOTcfs_quota_us=quota,
        sys__fs__cgroup__cpu__box__cpuDOTcfs_period_us="100000",
        sys__fs__cgroup__memory__box__cpuDOTcfs_quota_us="1",
    )
    assert cpu_quota(root) == expected


@pytest.mark.parametrize(("limit", "expected"), [(0.2, 1), (1.5, 2), (2.0, 2), (64.0, 4)])
def test_cores(monkeypatch: pytest.MonkeyPatch, limit: float, expected: int) -> None:
    monkeypatch.setattr(backends, "cpu_quota", lambda: limit)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    assert backends.cores() == expected
