"""Fingerprints of the training pictures, in a run's folder and in its model file."""

from __future__ import annotations

from pathlib import Path

from whatwhere.data.sketches import SEEN, Sketches, joined
from whatwhere.images import write_atomic
from whatwhere.specs import SEEN_KEY
from whatwhere.train.joint import JointSamples
from whatwhere.train.samples import Samples


def seen_pictures(samples: Samples, digest: str) -> Sketches:
    """What tells the pictures of a run, also those without labels, from others.

    Args:
        samples: of the training; of a joint model those of both heads.
        digest: of the training data.
    """
    parts = [samples, samples.whole] if isinstance(samples, JointSamples) else [samples]
    return joined([_of(part, digest) for part in parts])


def _of(samples: Samples, digest: str) -> Sketches:
    rows = samples.rows
    # Of joint samples, `files` counts on for the second head; here only rows of the first come.
    names = tuple(samples.files(rows.tolist()))
    return Sketches(samples.pictures.sketches[rows], len(rows), digest, names)


def keep_seen(folder: Path, seen: Sketches, start: str = "") -> None:
    """Write them into a run's folder.

    Args:
        folder: of the run.
        seen: of its pictures.
        start: what its weights started from; pictures of that run were seen, too.
    """
    earlier = Path(start) / SEEN if start else None
    if earlier is not None and earlier.is_file():
        seen = joined([seen, Sketches.from_file(earlier.read_bytes(), str(earlier))])
    write_atomic(folder / SEEN, seen.to_file())


def seen_entry(folder: Path) -> dict[str, str]:
    """The entry of a model file's metadata; empty if the run kept none."""
    file = folder / SEEN
    if not file.is_file():
        return {}
    return {SEEN_KEY: Sketches.from_file(file.read_bytes(), str(file)).to_text()}
