"""How many pictures fit in memory at once."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from whatwhere.errors import TrainError

_CPU_MOST = {"detect": 64}
_CPU_MOST_OTHERS = 256
_GPU_MOST = 1024
# Share of the memory at hand that a step may take.
_USABLE = 0.6
# What a step needs at most beside the tensors that wait for the backward pass: gradients of
# two layers at work, the copies of convolution libraries.
_BESIDE = 1.5


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch has failed for want of memory, on a GPU or a CPU."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    # torch has no class for it on CPUs; Linux says "can't allocate", Windows "not enough memory".
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)


def free_memory() -> None:
    """Hand back what torch keeps after a failed step."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def smaller(batch: int, processes: int) -> int:
    """Half a batch, or the largest smaller part into which it can be cut evenly.

    Args:
        batch: pictures a pass, over all processes.
        processes: each of them keeps at least one picture.

    Raises:
        TrainError: it cannot be cut.
    """
    share = batch // processes
    for parts in range(2, share + 1):
        if share % parts == 0:
            return batch // parts
    raise TrainError(
        "not even one picture at a time fits in memory: use a smaller --size, or another model"
    )


def fewer_at_once(
    error: RuntimeError, batch: int, accumulate: int, processes: int
) -> tuple[int, int, str]:
    """After memory ran out: pictures a pass, passes a step, and what to say about it.

    Args:
        error: what happened; anything but a want of memory is raised again.
        batch, accumulate: as they were; a step sees as many pictures as before.
        processes: that share a batch.

    Raises:
        TrainError: nothing smaller is left, or there are several processes.
    """
    if not is_out_of_memory(error):
        raise error
    fewer = smaller(batch, processes)
    if processes > 1:
        # The others wait for this one's gradients; there is no way to tell them.
        raise TrainError(
            f"{batch // processes} pictures at once do not fit in memory: begin again with"
            f" --batch {fewer} --set accumulate={accumulate * (batch // fewer)}"
        ) from error
    free_memory()
    passes = accumulate * (batch // fewer)
    said = (
        f"{batch} pictures at once do not fit in memory: {fewer} pass at once from now on,"
        f" {passes} times a step, so that a step sees as many as before"
    )
    return fewer, passes, said


def largest_batch(passes: Callable[[int], None], most: int, first: int = 4) -> int:
    """The largest power of two that `passes` takes, or `most`.

    Args:
        passes: one forward and backward pass of so many pictures.
        most: more are not tried.
        first: what is tried first; less if it does not fit.

    Raises:
        TrainError: not even one picture fits.
    """
    size, fits = min(first, most), 0
    while size > fits:
        try:
            passes(size)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            free_memory()
            if fits:
                break
            if size == 1:
                smaller(1, 1)
            size, most = size // 2, size // 2
            continue
        fits, size = size, min(2 * size, most)
    return fits


def cpu_most(task: str, pictures: int, passes: Callable[[int], None], probe: int = 2) -> int:
    """The most pictures that a CPU should take at once, by the memory at hand.

    Args:
        task: large batches make a classifier's passes quicker, a detector's hardly.
        pictures: of the training set.
        passes: one forward and backward pass of so many pictures.
        probe: so many are passed through to see what each takes.
    """
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        passes(probe)
    each = _BESIDE * sum(kept.values()) / probe
    most = min(_CPU_MOST.get(task, _CPU_MOST_OTHERS), max(2, pictures))
    room = available_memory()
    return most if room is None else max(1, min(most, int(_USABLE * room / max(1.0, each))))


def gpu_most(pictures: int) -> int:
    """The most pictures that are tried on a GPU."""
    return min(_GPU_MOST, max(2, pictures))


def available_memory() -> int | None:
    """Bytes that this process may still take; None where the system does not say."""
    found = []
    # No such file: no Linux, or no such limit. What was found so far is what there is.
    with suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text("ascii").splitlines():
            if line.startswith("MemAvailable:"):
                found.append(int(line.split()[1]) * 1024)
        # A container's limit, https://docs.kernel.org/admin-guide/cgroup-v2.html#memory
        limit = Path("/sys/fs/cgroup/memory.max").read_text("ascii").strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text("ascii"))
        if limit != "max":
            found.append(max(0, int(limit) - used))
    if not found and hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)
    return min(found, default=None)
