"""Near duplicates: the same picture resized, recompressed, brightened or slightly cropped.

Each picture gives a 63-bit perceptual hash (signs of its lowest DCT coefficients against
their median: Zauner, "Implementation and benchmarking of perceptual image hash functions",
2010). Pairs of similar hashes are found through tables of parts of the hash (multi-index
hashing: Norouzi, Punjani and Fleet, "Fast search in Hamming space with multi-index
hashing", CVPR 2012), not by comparing all pairs. A hash alone confuses pictures that share
a layout, so each pair must also agree in the coefficients themselves, coarse and fine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whatwhere.images.inspection import SIDE, Look, inspect_all

RADIUS = 14
"""Hashes that differ in more bits are not compared further.

All pairs up to 9 bits are found; of those of 10 to 14 bits most are (see `similar_hashes`).
"""

COARSE, FINE = 0.9, 0.55
"""Least correlation of the coarse (8 x 8) and of the finer (16 x 16) DCT coefficients.

Of 13.6 million pairs among 5,200 genuine pictures three pass, two of them the same scene. A
picture recompressed at quality 30, at half or a third of its size, or with 2 percent cut off
stays above 0.95 and 0.83; with 5 percent cut off 0.9 and 0.6 in most cases.
"""

CLOSE_COARSE, CLOSE_FINE = 0.95, 0.8
"""What copies reach in most cases; shows whether a set has copies or only things of a kind."""

TIGHT_COARSE, TIGHT_FINE = 0.98, 0.95
"""What pictures must reach that look alike without being copies, such as digits.

Copies that differ by brightness, noise or compression do; smaller and cropped ones do not.
"""

FLAT = 2.0
"""A picture whose grey levels deviate less than this from their mean shows nothing."""

BLOCKS = ((0, 13), (13, 13), (26, 13), (39, 12), (51, 12))
CANDIDATES = 1 << 21

Pairs = NDArray[np.int64]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What is kept of the pixels of N pictures: 270 bytes each.

    Args:
        hashes: uint64 (N,).
        signatures: int8 (N, 255): 63 coarse and 192 fine DCT coefficients, each part scaled
            to unit length times 127.
        flat: bool (N,): there is nothing to see, so it is like no other.
        readable: bool (N,).
        colour: bool (N,): some part of it has colour.
        errors: what keeps a picture from being decoded, by row.
        damage: what the decoder complained of, and whether pixels are lost, by row.
    """

    hashes: NDArray[np.uint64]
    signatures: NDArray[np.int8]
    flat: NDArray[np.bool_]
    readable: NDArray[np.bool_]
    colour: NDArray[np.bool_]
    errors: dict[int, str]
    damage: dict[int, tuple[str, bool]]

    def pairs(self) -> Pairs:
        """Near duplicates: int64 (M, 2), row numbers, the smaller first, ascending."""
        rows = np.flatnonzero(self.readable & ~self.flat)
        return rows[near_pairs(self.hashes[rows], self.signatures[rows])]


def see(paths: Sequence[str], progress: Progress | None = None) -> Seen:
    """Decode each picture once and keep what tells it from others.

    Args:
        paths: absolute, or of pictures inside files.
        progress: called with the number of pictures done and that of all.
    """
    count = len(paths)
    hashes = np.zeros(count, np.uint64)
    signatures = np.zeros((count, 255), np.int8)
    flat = np.zeros(count, np.bool_)
    readable = np.zeros(count, np.bool_)
    colour = np.zeros(count, np.bool_)
    errors: dict[int, str] = {}
    damage: dict[int, tuple[str, bool]] = {}
    batch: list[Look] = []
    for row, look in enumerate(inspect_all(paths)):
        if look.error:
            errors[row] = look.error
        if look.damage:
            damage[row] = look.damage, look.broken
        batch.append(look)
        if len(batch) == 256 or row == count - 1:
            rows = slice(row + 1 - len(batch), row + 1)
            colour[rows] = [one.colour for one in batch]
            whole = [one.thumbnail for one in batch]
            readable[rows] = [one is not None for one in whole]
            empty = np.zeros((SIDE, SIDE), np.uint8)
            pixels = np.stack([empty if one is None else one for one in whole])
            hashes[rows], signatures[rows], flat[rows] = fingerprints(pixels)
            batch = []
            if progress is not None:
                progress(row + 1, count)
    return Seen(hashes, signatures, flat, readable, colour, errors, damage)


def _cosines() -> NDArray[np.float32]:
    """The 16 lowest basis functions of the orthonormal DCT-II over 32 samples: (16, 32)."""
    place = np.arange(SIDE) + 0.5
    basis = np.cos(np.pi / SIDE * np.arange(16)[:, None] * place) * np.sqrt(2 / SIDE)
    basis[0] /= np.sqrt(2)
    return np.asarray(basis, np.float32)


_BASIS = _cosines()
_IS_COARSE = np.zeros((16, 16), np.bool_)
_IS_COARSE[:8, :8] = True


def fingerprints(
    pixels: NDArray[np.uint8],
) -> tuple[NDArray[np.uint64], NDArray[np.int8], NDArray[np.bool_]]:
    """Hashes, signatures and flatness, as in `Seen`.

    Args:
        pixels: uint8 (N, 32, 32), grey.
    """
    values = _BASIS @ pixels.astype(np.float32) @ _BASIS.T
    # The mean (the first coefficient) says only how bright the picture is.
    coarse = values[:, _IS_COARSE][:, 1:]
    fine = values[:, ~_IS_COARSE]
    bits = coarse > np.median(coarse, axis=1, keepdims=True)
    weights = np.left_shift(np.uint64(1), np.arange(63, dtype=np.uint64))
    hashes = (bits * weights).sum(axis=1, dtype=np.uint64)
    parts = []
    for part in (coarse, fine):
        length = np.linalg.norm(part, axis=1, keepdims=True)
        parts.append(np.rint(127 * part / np.maximum(length, 1e-6)).astype(np.int8))
    deviation = pixels.reshape(len(pixels), -1).std(axis=1)
    return hashes, np.concatenate(parts, axis=1), deviation < FLAT


def near_pairs(hashes: NDArray[np.uint64], signatures: NDArray[np.int8]) -> Pairs:
    """Pairs that agree in hash and signature: int64 (M, 2), the smaller first, ascending."""
    found = [np.empty((0, 2), np.int64)]
    agreement = [np.empty((0, 2), np.float32)]
    for pairs in similar_hashes(hashes, RADIUS):
        for start in range(0, len(pairs), 1 << 16):
            part = pairs[start : start + (1 << 16)]
            coarse = _agreement(signatures[:, :63], part)
            part, coarse = part[coarse >= COARSE], coarse[coarse >= COARSE]
            fine = _agreement(signatures[:, 63:], part)
            near = fine >= FINE
            found.append(part[near])
            agreement.append(np.stack([coarse[near], fine[near]], axis=1))
    pairs, first = np.unique(np.concatenate(found), axis=0, return_index=True)
    agree: Any = np.concatenate(agreement)[first]
    close = (agree >= (CLOSE_COARSE, CLOSE_FINE)).all(axis=1)
    tight = (agree >= (TIGHT_COARSE, TIGHT_FINE)).all(axis=1)
    return pairs[copies_only(pairs, close, tight, len(hashes), len(hashes))]


def _agreement(parts: NDArray[np.int8], pairs: Pairs) -> NDArray[np.float32]:
    first, second = (parts[pairs[:, side]].astype(np.float32) for side in (0, 1))
    return np.asarray(np.einsum("ij,ij->i", first, second) / np.float32(127**2))


# Fewer pairs than this in a group, or for ten pictures, show nothing about their kind.
_FEW = 20
_CLOSE_SHARE = 0.3


def copies_only(
    pairs: Pairs, close: NDArray[np.bool_], tight: NDArray[np.bool_], count: int, wanted: int
) -> NDArray[np.bool_]:
    """Without the weak pairs of pictures that are of one kind and no copies of each other.

    Among copies, and frames of a video, many pairs agree closely. Where few do, similarity is
    a matter of degree, and all digits written alike would be joined step by step. Of the
    pairs of MNIST's test digits 16 percent are close, of a panning camera's 60 percent.

    Args:
        pairs: int64 (M, 2).
        close, tight: bool (M,), which of them agree so.
        count: number of pictures; rows are below it.
        wanted: number of pictures that others are looked for of.

    Returns:
        bool (M,): which pairs to keep.
    """
    if len(pairs) > max(wanted / 10, _FEW) and close.mean() < _CLOSE_SHARE:
        return tight
    group = groups_of(count, pairs)[pairs[:, 0]]
    all_of = np.bincount(group, minlength=count)
    close_of = np.bincount(group[close], minlength=count)
    doubtful = (all_of > _FEW) & (close_of < _CLOSE_SHARE * all_of)
    return tight | ~doubtful[group]


def similar_hashes(hashes: NDArray[np.uint64], radius: int) -> Iterator[Pairs]:
    """Pairs of at most `radius` different bits, in pieces of bounded size.

    The 63 bits are divided into five blocks. Two hashes that differ in 9 bits or fewer have a
    block with at most one difference, so all such pairs lie in equal or neighbouring rows of
    one of five tables. Of pairs with more differences those are found that have such a block.
    A pair may be given more than once. Of equal hashes each is paired with the first only,
    which is enough for groups.

    Args:
        hashes: uint64 (N,), 63 bits.
        radius: largest number of different bits.

    Yields:
        int64 (M, 2): row numbers, the smaller first.
    """
    unique, firsts, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    again = np.flatnonzero(firsts[inverse] != np.arange(len(hashes)))
    if again.size:
        yield np.stack([firsts[inverse[again]], again], axis=1)
    for shift, width in BLOCKS:
        keys = ((unique >> np.uint64(shift)) & np.uint64((1 << width) - 1)).astype(np.int64)
        order = np.argsort(keys, kind="stable")
        counts = np.bincount(keys, minlength=1 << width)
        starts = np.cumsum(counts) - counts
        # Within a row of the table: each with those after it.
        places = np.arange(len(order))
        sorted_keys = keys[order]
        ends = (starts + counts)[sorted_keys]
        yield from _matches(unique, firsts, order, order, places + 1, ends, radius)
        for bit in range(width):
            left = order[(sorted_keys >> bit) & 1 == 0]
            other = keys[left] | 1 << bit
            begin, end = starts[other], (starts + counts)[other]
            yield from _matches(unique, firsts, left, order, begin, end, radius)


def _matches(
    unique: NDArray[np.uint64],
    firsts: NDArray[np.int64],
    left: NDArray[np.int64],
    order: NDArray[np.int64],
    begin: NDArray[np.int64],
    end: NDArray[np.int64],
    radius: int,
) -> Iterator[Pairs]:
    """Compare each hash of `left` with those at `order[begin:end]`."""
    for one, places in ranges(begin, end, CANDIDATES):
        a, b = left[one], order[places]
        close = popcount(unique[a] ^ unique[b]) <= radius
        if close.any():
            pair = np.stack([firsts[a[close]], firsts[b[close]]], axis=1)
            yield np.sort(pair, axis=1)


def ranges(
    begin: NDArray[np.int64], end: NDArray[np.int64], most: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """All of `begin[i]:end[i]`, as arrays of i and of numbers, about `most` at a time."""
    counts = np.maximum(end - begin, 0)
    total = np.cumsum(counts)
    start = 0
    while start < len(counts):
        done = total[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(total, done + most, side="right")))
        part = counts[start:stop]
        size = int(part.sum())
        if size:
            one = np.repeat(np.arange(start, stop), part)
            inner = np.arange(size) - np.repeat(np.cumsum(part) - part, part)
            yield one, begin[one] + inner
        start = stop


def _table() -> NDArray[np.uint8]:
    numbers = np.arange(1 << 16, dtype=np.uint16)
    ones = np.unpackbits(numbers.view(np.uint8).reshape(-1, 2), axis=1).sum(axis=1)
    return np.asarray(ones, np.uint8)


_ONES = _table()


def popcount(values: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Number of set bits of each value (NumPy has it from version 2 on)."""
    if hasattr(np, "bitwise_count"):
        return np.asarray(np.bitwise_count(values), np.uint8)
    words = np.ascontiguousarray(values).view(np.uint16).reshape(-1, 4)
    return np.asarray(_ONES[words].sum(axis=1), np.uint8)


def groups_of(count: int, pairs: Pairs) -> NDArray[np.int64]:
    """The number of each row's group: that of the smallest row it is joined to by pairs.

    Args:
        count: number of rows.
        pairs: int64 (M, 2).
    """
    group = np.arange(count)
    while len(pairs):
        low = np.minimum(group[pairs[:, 0]], group[pairs[:, 1]])
        before = group.copy()
        # Hook the two roots, then shorten all paths.
        np.minimum.at(group, before[pairs[:, 0]], low)
        np.minimum.at(group, before[pairs[:, 1]], low)
        while not np.array_equal(shorter := group[group], group):
            group = shorter
        if np.array_equal(before, group):
            break
    return group
