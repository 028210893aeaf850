"""Parts of a MOTChallenge sequence: seqinfo.ini, its rows, its classes, its frames."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from whatwhere.data.findings import KEPT_OUT, Finding
from whatwhere.data.formats._files import entries, is_picture, relative

CLASSES = (
    "pedestrian",
    "person_on_vehicle",
    "car",
    "bicycle",
    "motorbike",
    "non_mot_vehicle",
    "static_person",
    "distractor",
    "occluder",
    "occluder_on_grnd",
    "occluder_full",
    "reflection",
    "crowd",
)
"""Names of classes 1 to 13, as the benchmark's evaluation kit (TrackEval) has them."""

DISTRACTORS = frozenset({"person_on_vehicle", "static_person", "distractor", "reflection", "crowd"})
"""Classes that the kit leaves out of the score before it counts mistakes."""

# An hour at 30 frames a second has 108,000; a larger number is not believed.
_MOST_FRAMES = 1_000_000
_MOST_BYTES = 1 << 26


@dataclass
class SequenceInfo:
    """What seqinfo.ini says; None where it does not.

    Args:
        name: of the sequence; group: False if our writer made it up.
        folder: of the frames; suffix: of their names.
        width, height: of every frame, in pixels.
        length: number of frames; rate: frames a second, as written.
        names: file name of each frame, by its number, where our writer listed them.
    """

    name: str | None = None
    group: bool = True
    folder: str = "img1"
    suffix: str = ".jpg"
    width: int | None = None
    height: int | None = None
    length: int | None = None
    rate: str | None = None
    names: dict[int, str] = field(default_factory=dict)


def sequence_info(file: Path, root: Path, findings: list[Finding]) -> SequenceInfo:
    """Read seqinfo.ini; what is wrong with it is a finding."""
    info, where = SequenceInfo(), relative(file, root)
    if not file.is_file():
        return info
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise ValueError(f"it is larger than {_MOST_BYTES} bytes")
        sections = _sections(file.read_bytes().decode("utf-8-sig"))
    except (ValueError, OSError) as error:
        reason = str(error).splitlines()[0]
        message = f"cannot be read ({reason}); frames are counted instead"
        findings.append(Finding("bad-record", message, where, "warning", KEPT_OUT))
        return info
    if "sequence" not in sections:
        message = "there is no [Sequence] in it; frames are counted instead"
        findings.append(Finding("bad-record", message, where, "warning", KEPT_OUT))
    known = sections.get("sequence", {})
    info.name = known.get("name") or None
    info.folder = known.get("imdir") or info.folder
    if re.fullmatch(r"\.\w{1,5}", known.get("imext") or ""):
        info.suffix = known["imext"]
    numbers = {}
    for key, most in (("imwidth", 1 << 20), ("imheight", 1 << 20), ("seqlength", _MOST_FRAMES)):
        text = known.get(key)
        if text is None:
            continue
        if re.fullmatch(r"\d{1,9}", text) and 0 < int(text) <= most:
            numbers[key] = int(text)
        else:
            message = f"{key} is {text[:20]!r}, not a number from 1 to {most}"
            findings.append(Finding("bad-value", message, where, "warning", KEPT_OUT))
    info.width, info.height = numbers.get("imwidth"), numbers.get("imheight")
    if info.width is None or info.height is None:
        info.width = info.height = None
    info.length = numbers.get("seqlength")
    rate = known.get("framerate") or ""
    info.rate = rate if re.fullmatch(r"\d{1,6}(\.\d{1,9})?", rate) else None
    for key, name in sections.get("frames", {}).items():
        if re.fullmatch(r"\d{1,9}", key) and name and not re.search(r"[/\\\0]", name):
            info.names[int(key)] = name
        else:
            message = f"{key[:20]!r} is no frame with a file name"
            findings.append(Finding("bad-value", message, where, "warning", KEPT_OUT))
    info.group = sections.get("whatwhere", {}).get("group") != "none"
    return info


def _sections(text: str) -> dict[str, dict[str, str]]:
    """Keys and values of each section, names in lower case; the last of a key counts.

    Not configparser, whose patterns take quadratic time for a long line of spaces.
    """
    sections: dict[str, dict[str, str]] = {}
    current: dict[str, str] = {}
    for raw in re.split(r"\r\n|\n|\r", text):
        line = raw.strip()
        if line.startswith("[") and line.endswith("]"):
            current = sections.setdefault(line[1:-1].strip().lower(), {})
        elif line and line[0] not in "#;":
            key, _, value = line.partition("=")
            current[key.strip().lower()] = value.strip()
    return sections


def frames_of(
    folders: Iterable[Path], info: SequenceInfo, root: Path, findings: list[Finding], own: bool
) -> dict[int, Path]:
    """The frames on disk, by number: that at the end of the name, or that in seqinfo.ini."""
    listed = {name: number for number, name in info.names.items()}
    found: dict[int, Path] = {}
    for folder in folders:
        for entry in entries(folder):
            place = Path(entry.path)
            digits = re.search(r"(\d{1,9})$", place.stem)
            number = listed.get(entry.name)
            if number is None and digits is not None and not listed:
                number = int(digits[1])
            if not entry.is_file() or not is_picture(entry.name) or number is None:
                if own:
                    message = "not a frame: it has no number" if digits is None else "not a frame"
                    where = relative(place, root)
                    findings.append(Finding("stray-file", message, where, "info"))
            elif number in found:
                if own:
                    message = f"frame {number} is {found[number].name} already"
                    where = relative(place, root)
                    found_ = Finding("duplicate-name", message, where, "warning", KEPT_OUT)
                    findings.append(found_)
            else:
                found[number] = place
        if found:
            break
    return found


def is_row(line: str) -> bool:
    """Whether a line has the six to ten columns, numbers all, of a MOTChallenge file."""
    words = [word.strip() for word in line.split(",")]
    number = r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?"
    whole = all(re.fullmatch(r"-?\d+(\.0*)?", word) for word in words[:2])
    plain = all(re.fullmatch(number, word) for word in words if word)
    return 7 <= len(words) <= 11 and whole and plain and all(words[:6])


NUMBERS = ("frame", "id", "left", "top", "width", "height", "conf", "a", "b", "c")


def rows(lines: Sequence[str], where: str, findings: list[Finding]) -> pl.DataFrame:
    """The rows of a file: columns `NUMBERS` in float64, `columns` and `record`.

    A row without six numbers first, or with a frame before 1, is a finding.
    """
    frame = pl.DataFrame({"text": pl.Series(lines, dtype=pl.String)}).with_row_index("line", 1)
    frame = frame.filter(pl.col("text").str.strip_chars() != "")
    words = pl.col("text").str.split(",")
    frame = frame.select(
        "text",
        pl.format("{}:{}", pl.lit(where), pl.col("line")).alias("record"),
        words.list.eval(pl.element().str.strip_chars().ne("")).list.sum().alias("columns"),
        *(
            words.list.get(place, null_on_oob=True)
            .str.strip_chars()
            .cast(pl.Float64, strict=False)
            .alias(name)
            for place, name in enumerate(NUMBERS)
        ),
    )
    six = pl.all_horizontal(pl.col(name).is_finite().fill_null(False) for name in NUMBERS[:6])
    counted = (pl.col("frame") >= 1) & (pl.col("frame") < 1e9)
    counted &= pl.col("frame") == pl.col("frame").floor()
    for row in frame.filter(~six).iter_rows(named=True):
        message = f"{row['text'][:60]!r} does not begin with six numbers"
        findings.append(Finding("bad-box", message, row["record"], "error", KEPT_OUT, 1))
    frame = frame.filter(six)
    for row in frame.filter(~counted).iter_rows(named=True):
        message = f"frame {row['frame']:g}: frames are counted from 1"
        findings.append(Finding("bad-value", message, row["record"], "error", KEPT_OUT, 1))
    frame = frame.filter(counted)
    # Nothing but empty fields may be no number; more than ten columns are two rows in one.
    odd = pl.any_horizontal(
        pl.col("columns") > 10,
        *(
            pl.col(name).is_null()
            & (words.list.get(place, null_on_oob=True).str.strip_chars() != "")
            for place, name in enumerate(NUMBERS)
        ),
    )
    for row in frame.filter(odd.fill_null(False)).iter_rows(named=True):
        message = f"{row['text'][:60]!r} has more than its first six numbers can say"
        findings.append(Finding("bad-value", message, row["record"], "warning", "kept"))
    return frame.drop("text")
