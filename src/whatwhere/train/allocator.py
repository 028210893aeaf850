"""Keep freed memory for the next step on CPUs.

A training step allocates and frees the same large tensors again and again. The C library of Linux
(glibc) gives each of them back to the system, which hands out new pages, cleared one by one: a
sixth of a step of EfficientNet-Lite0 went into that. During training it is told to keep them.
"""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager

# Of glibc's malloc.h, with the values that it starts with.
_TRIM_THRESHOLD, _USUAL_TRIM = -1, 128 * 1024
_TOP_PAD, _USUAL_PAD = -2, 128 * 1024
_MMAP_MAX, _USUAL_MMAPS = -4, 65_536
# As much at a time is asked of the system, where more is needed.
_STEP = 64 * 2**20
_NEVER = 2**31 - 1


@contextmanager
def kept_memory(device: str) -> Iterator[bool]:
    """While it lasts, freed memory stays with the process; afterwards it is given back.

    Args:
        device: of the computation; a GPU's memory has an allocator of its own.

    Yields:
        Whether anything was changed: only on a CPU, with glibc, and where the environment does
        not set its own rules (`MALLOC_...`, or another allocator by `LD_PRELOAD`).
    """
    library = None
    own = any(name.startswith("MALLOC_") for name in os.environ) or "LD_PRELOAD" in os.environ
    if device == "cpu" and not own and platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP_MAX, 0)
        library.mallopt(_TRIM_THRESHOLD, _NEVER)
        library.mallopt(_TOP_PAD, _STEP)
    try:
        yield library is not None
    finally:
        if library is not None:
            library.mallopt(_MMAP_MAX, _USUAL_MMAPS)
            library.mallopt(_TRIM_THRESHOLD, _USUAL_TRIM)
            library.mallopt(_TOP_PAD, _USUAL_PAD)
            library.malloc_trim(0)
