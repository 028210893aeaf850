"""Freed memory that stays with the process while it trains."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from whatwhere.train.allocator import kept_memory

GLIBC = platform.libc_ver()[0] == "glibc"

# Page faults of making and dropping a tensor of 64 MB again and again.
CODE = """
import resource, sys, torch
from whatwhere.train.allocator import kept_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(faults())
with kept_memory(sys.argv[1]) as kept:
    torch.ones(2**24)
    print(faults())
print(faults())
print(kept)
"""


@pytest.mark.skipif(not GLIBC, reason="only glibc is told to keep memory")
@pytest.mark.parametrize(
    ("device", "more", "expected"),
    [("cpu", {}, "True"), ("cuda", {}, "False"), ("cpu", {"MALLOC_TOP_PAD_": "1024"}, "False")],
)
def test_pages_are_cleared_once(device: str, more: dict[str, str], expected: str) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "LD_PRE"))}
    done = subprocess.run(
        [sys.executable, "-c", CODE, device],
        env=environment | more,
        capture_output=True,
        text=True,
        check=True,
    )
    before, during, after, kept = done.stdout.split()
    assert kept == expected
    if expected == "True":
        # 16,384 pages a tensor without huge ones.
        assert 4 * int(during) < int(before)
        assert 4 * int(during) < int(after), "afterwards memory is given back again"


def test_an_error_inside_is_passed_on() -> None:
    with pytest.raises(ValueError, match="mine"), kept_memory("cpu"):
        raise ValueError("mine")
