"""Work on many items in several threads at once, with their order kept and memory bounded.

One thread takes a picture all the way, from its file to its prediction, on its share of the
cores. Handing pictures from reading threads to one engine that uses all cores would leave cores
idle whenever either waits for the other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def in_lanes(
    work: Callable[[list[Item]], list[Answer]], items: Iterator[Item], size: int, threads: int
) -> Generator[Answer]:
    """Answers in the order of the items, which are used lazily.

    At most two groups a thread are held at a time, so the items may be endless.

    Args:
        work: one answer for each item of a group; called in threads, from several at once. What
            it raises is raised here, in the place of the group's answers.
        items: taken by groups, in the caller's thread.
        size: items of a group, at least 1; the last may have fewer.
        threads: at least 1.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="whatwhere-lane")
    ahead: deque[Future[list[Answer]]] = deque()
    try:
        while group := list(islice(items, size)):
            ahead.append(pool.submit(work, group))
            # What is done is given before the next item is waited for: it may be a camera's.
            while ahead and (len(ahead) >= 2 * threads or ahead[0].done()):
                yield from ahead.popleft().result()
        while ahead:
            yield from ahead.popleft().result()
    finally:
        # Also when the caller stops early or presses Ctrl-C: nothing more is started.
        pool.shutdown(wait=False, cancel_futures=True)
