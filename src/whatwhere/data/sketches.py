"""What a model keeps of the pictures it was trained on, to tell whether it has seen others before.

A sketch is 40 bytes: the perceptual hash of `near`, and the signs of its 255 DCT coefficients.
The signs of a training picture with the coefficients of another one tell copies as well as the
coefficients of both do (random projections do the same: Charikar, "Similarity estimation
techniques from rounding algorithms", STOC 2002), in a sixth of the bytes. No picture can be made
of them, but whoever has a picture can tell whether it was trained on.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whatwhere.data.near import (
    BLOCKS,
    CANDIDATES,
    RADIUS,
    copies_only,
    fingerprints,
    popcount,
    ranges,
)
from whatwhere.errors import DataError

SEEN = "seen.npz"
"""The file of a run's folder that holds them all."""

BYTES = 40
"""Of one sketch: hash (63 bits), signs (255 bits), and whether there is anything to see."""

MOST_IN_MODEL = 25_000
"""Sketches that a model file holds; 1.3 MB as text. Of more pictures a sample is drawn."""

COARSE, FINE = 0.85, 0.5
"""Least agreement of coarse and of fine coefficients with the signs of a near duplicate.

Of 1.1 million pairs among 1,500 photographs one passes, which `near` finds, too. Pictures
recompressed at quality 30, brightened or at half their size are above 0.99 and 0.98; with 2
percent cut off on every side 99 of 100 pass, with 5 percent half of them, taken pair by pair: in a
set that has nothing but such copies they look like things of a kind, and only tight pairs count.
"""

CLOSE_COARSE, CLOSE_FINE = 0.95, 0.8
TIGHT_COARSE, TIGHT_FINE = 0.98, 0.95
"""As those of `near`: what most copies reach; what things of a kind, such as digits, must reach."""

_FORMAT = 1


@dataclass(frozen=True, slots=True, eq=False)
class Prints:
    """Fingerprints of N pictures that are to be looked for, as `near.fingerprints` gives them.

    Args:
        hashes: uint64 (N,).
        signatures: int8 (N, 255).
        flat: bool (N,); also true where a picture could not be read.
    """

    hashes: NDArray[np.uint64]
    signatures: NDArray[np.int8]
    flat: NDArray[np.bool_]

    @classmethod
    def blank(cls, count: int) -> Prints:
        """Of pictures that are not read yet."""
        return cls(
            np.zeros(count, np.uint64), np.zeros((count, 255), np.int8), np.ones(count, np.bool_)
        )

    def put(self, row: int, thumbnail: NDArray[np.uint8]) -> None:
        """Set one picture, from its thumbnail, uint8 (32, 32); rows may be set by threads."""
        hashes, signatures, flat = fingerprints(thumbnail[None])
        self.hashes[row], self.signatures[row], self.flat[row] = hashes[0], signatures[0], flat[0]


@dataclass(frozen=True, slots=True, eq=False)
class Twins:
    """For each of M pictures its most similar training picture.

    Args:
        row: int64 (M,), row of the sketches; -1 where there is none.
        likeness: float32 (M,), agreement of the fine coefficients, 1 for copies; 0 for none.
    """

    row: NDArray[np.int64]
    likeness: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Sketches:
    """Sketches of training pictures.

    Args:
        bits: uint8 (N, 40).
        total: number of pictures that were trained on; more than N where these are a sample.
        digest: of the training data, as in `specs.DataSummary`.
        names: of the pictures; empty where they were not kept.
    """

    bits: NDArray[np.uint8]
    total: int
    digest: str = ""
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.bits)

    def find(self, prints: Prints) -> Twins:
        """Which of these training pictures each of other pictures nearly is."""
        row = np.full(len(prints.hashes), -1, np.int64)
        likeness = np.zeros(len(row), np.float32)
        there = np.flatnonzero(self.bits[:, -1] & 0x80)
        wanted = np.flatnonzero(~prints.flat)
        hashes = np.ascontiguousarray(self.bits[there, :8]).view("<u8")[:, 0].astype(np.uint64)
        found = [np.zeros((0, 2), np.int64)]
        agreement = [np.zeros((0, 2), np.float32)]
        for mine, theirs in _candidates(hashes, prints.hashes[wanted]):
            for start in range(0, len(mine), 1 << 15):
                pair = np.stack([there[mine], wanted[theirs]], axis=1)[start : start + (1 << 15)]
                agree = self._agreement(pair, prints)
                near = (agree >= (COARSE, FINE)).all(axis=1)
                found.append(pair[near])
                agreement.append(agree[near])
        pairs, first = np.unique(np.concatenate(found), axis=0, return_index=True)
        both: Any = np.concatenate(agreement)[first]
        kept = copies_only(
            pairs + np.array([0, len(self)]),
            (both >= (CLOSE_COARSE, CLOSE_FINE)).all(axis=1),
            (both >= (TIGHT_COARSE, TIGHT_FINE)).all(axis=1),
            len(self) + len(row),
            len(row),
        )
        pairs, fine = pairs[kept], both[kept, 1]
        # The last one to be written is the best one.
        order = np.argsort(fine, kind="stable")
        row[pairs[order, 1]] = pairs[order, 0]
        likeness[pairs[order, 1]] = fine[order]
        return Twins(row, likeness)

    def _agreement(self, pairs: NDArray[np.int64], prints: Prints) -> NDArray[np.float32]:
        """Coarse and fine, float32 (M, 2), from -1 to 1."""
        signs = np.unpackbits(self.bits[pairs[:, 0], 8:], axis=1, count=255, bitorder="little")
        values = prints.signatures[pairs[:, 1]].astype(np.float32)
        signed = np.where(signs > 0, values, -values)
        size = np.abs(values)
        return np.stack(
            [
                signed[:, part].sum(axis=1) / np.maximum(size[:, part].sum(axis=1), 1)
                for part in (slice(0, 63), slice(63, 255))
            ],
            axis=1,
        )

    def to_file(self) -> bytes:
        """All of it, as an archive of NumPy arrays."""
        file = io.BytesIO()
        about = {"format": _FORMAT, "total": self.total, "digest": self.digest}
        np.savez(
            file,
            bits=self.bits,
            about=_text(json.dumps(about)),
            # A name may hold any character but this one.
            names=_text("\0".join(self.names)),
        )
        return file.getvalue()

    @classmethod
    def from_file(cls, content: bytes, where: str) -> Sketches:
        """What `to_file` gave.

        Raises:
            DataError: it is damaged, or of a newer version.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                about = json.loads(arrays["about"].tobytes())
                names = arrays["names"].tobytes().decode("utf-8", "surrogateescape")
                bits = np.asarray(arrays["bits"])
            known = tuple(names.split("\0")) if names else ()
            return _checked(cls(bits, about["total"], about["digest"], known), about["format"])
        except (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise _damaged(where) from error

    def to_text(self, most: int = MOST_IN_MODEL) -> str:
        """At most so many of them as text, without names, for a model file.

        Of more an even sample is drawn, always the same.
        """
        bits = self.bits
        if len(bits) > most:
            rows = np.random.default_rng(0).choice(len(bits), most, replace=False)
            bits = bits[np.sort(rows)]
        coded = base64.b64encode(bits.tobytes()).decode("ascii")
        about = {"format": _FORMAT, "total": self.total, "digest": self.digest}
        return json.dumps({**about, "sketches": coded})

    @classmethod
    def from_text(cls, text: str, where: str) -> Sketches:
        """What `to_text` gave.

        Raises:
            DataError: it is damaged, or of a newer version.
        """
        try:
            about = json.loads(text)
            content = base64.b64decode(about["sketches"], validate=True)
            bits = np.frombuffer(content, np.uint8).reshape(-1, BYTES)
            return _checked(cls(bits, about["total"], about["digest"]), about["format"])
        except (ValueError, KeyError, TypeError, binascii.Error) as error:
            raise _damaged(where) from error


def sketch(thumbnails: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Sketches of pictures, uint8 (N, 40).

    Args:
        thumbnails: uint8 (N, 32, 32), grey.
    """
    hashes, signatures, flat = fingerprints(thumbnails)
    # The last bit of all says that this is the sketch of something.
    signs = np.concatenate([signatures > 0, ~flat[:, None]], axis=1)
    bits = np.packbits(signs, axis=1, bitorder="little")
    return np.concatenate([hashes.astype("<u8").view(np.uint8).reshape(-1, 8), bits], axis=1)


def _candidates(
    known: NDArray[np.uint64], wanted: NDArray[np.uint64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Pairs of similar hashes, one of each side: rows of both, in pieces of bounded size.

    As `near.similar_hashes`, whose tables say which pairs are found. One may come twice.
    """
    for shift, width in BLOCKS if len(known) else ():
        mask = np.uint64((1 << width) - 1)
        keys = ((known >> np.uint64(shift)) & mask).astype(np.int64)
        order = np.argsort(keys, kind="stable")
        counts = np.bincount(keys, minlength=1 << width)
        starts = np.cumsum(counts) - counts
        own = ((wanted >> np.uint64(shift)) & mask).astype(np.int64)
        for change in (0, *(1 << bit for bit in range(width))):
            begin = starts[own ^ change]
            for one, places in ranges(begin, begin + counts[own ^ change], CANDIDATES):
                row = order[places]
                close = popcount(known[row] ^ wanted[one]) <= RADIUS
                if close.any():
                    yield row[close], one[close]


def _text(text: str) -> NDArray[np.uint8]:
    return np.frombuffer(text.encode("utf-8", "surrogateescape"), np.uint8)


def _checked(made: Sketches, version: object) -> Sketches:
    bits, names = made.bits, made.names
    fits = bits.dtype == np.uint8 and bits.ndim == 2 and bits.shape[1] == BYTES
    counted = isinstance(made.total, int) and made.total >= len(bits)
    if version != _FORMAT or not fits or not counted or len(names) not in (0, len(bits)):
        raise ValueError("it has another form")
    return made


def _damaged(where: str) -> DataError:
    return DataError(
        f"the fingerprints of the training pictures in {where} are damaged or of a newer version:"
        " export the model again, or update whatwhere"
    )


def joined(parts: Sequence[Sketches]) -> Sketches:
    """Those of several sets that one model has seen; the digest is that of the first."""
    names = tuple(name for part in parts for name in part.names)
    bits = np.concatenate([part.bits for part in parts])
    return Sketches(bits, sum(part.total for part in parts), parts[0].digest, names)
