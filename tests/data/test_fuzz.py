"""Readers and damaged files: see `tests/fuzzing.py` for what is done and what is checked."""

from __future__ import annotations

from pathlib import Path

import pytest

import fuzzing
from data_samples import pictures
from format_limits import assert_same, columns_of, limits, sample
from fuzz_process import run_fuzzer
from whatwhere.data import read
from whatwhere.images import IMAGE_SUFFIXES

SLOW_INPUTS = 24_000
"""Of the slow suite, over all formats."""

_BINARY = {".parquet", ".arrow", ".feather", ".tar", ".gz", ".tfrecord", ".bin", ".pkl", ".tif"}


def _fuzz(tmp_path: Path, *options: object, timeout: float) -> None:
    summary, lines = run_fuzzer("fuzzing.py", tmp_path, *options, ends="inputs", timeout=timeout)
    failures = "\n".join(lines[:10])
    assert summary["failed"] == 0, f"{summary['failed']} of {summary['inputs']}:\n{failures}"


def test_damaged_files(tmp_path: Path) -> None:
    _fuzz(tmp_path, "--inputs", 400, timeout=300)


@pytest.mark.slow
@pytest.mark.parametrize("case", fuzzing.cases(), ids="-".join)
def test_many_damaged_files(case: tuple[str, str], tmp_path: Path) -> None:
    share = -(-SLOW_INPUTS // len(fuzzing.cases()))
    format, task = case
    _fuzz(
        tmp_path,
        *("--format", format, "--task", task, "--inputs", share, "--first", 1_000_000),
        timeout=1200,
    )


@pytest.mark.parametrize("case", fuzzing.cases(), ids="-".join)
@pytest.mark.parametrize("how", ["CRLF", "byte order mark"])
def test_texts_as_windows_writes_them(case: tuple[str, str], how: str, tmp_path: Path) -> None:
    name, task = case
    before = sample(name, task, tmp_path)  # type: ignore[arg-type]
    if name in fuzzing.READ_ONLY:
        fuzzing.READ_ONLY[name](before, tmp_path / "copy")
    else:
        before.write(tmp_path / "copy", name, pictures="link")
    sound = read(tmp_path / "copy")
    for file in [path for path in (tmp_path / "copy").rglob("*") if path.is_file()]:
        if file.suffix.lower() in IMAGE_SUFFIXES | _BINARY or b"\0" in (data := file.read_bytes()):
            continue
        new = data.replace(b"\n", b"\r\n") if how == "CRLF" else b"\xef\xbb\xbf" + data
        file.write_bytes(new)
    after = read(tmp_path / "copy", name)
    assert_same(after, sound, columns_of(name), name, limits(name).tolerance)
    assert list(after.names) == list(sound.names)
    kinds = [{one.kind for one in dataset.findings} for dataset in (after, sound)]
    assert kinds[0] == kinds[1]


def test_the_fuzzer_sees_what_it_should(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that loses, crashes or looks elsewhere does not get past it."""
    from whatwhere.data import Dataset
    from whatwhere.data.formats import voc

    case = fuzzing.Case.make("voc", "detect", tmp_path)
    sound = voc.read(case.folder)
    assert fuzzing._check(case, "values", False) == []
    (outside,) = pictures(tmp_path / "elsewhere", 1)

    def lossy(*_: object) -> Dataset:
        return Dataset(sound.images, sound.labels[1:], sound.names, task="detect")

    def crashing(*_: object) -> Dataset:
        raise KeyError("x")

    def nosy(*_: object) -> Dataset:
        Path(outside).read_bytes()
        return sound

    def misled(*_: object) -> Dataset:
        images = sound.images.with_columns(
            path=sound.images["path"].replace(sound.paths[0], outside)
        )
        return Dataset(images, sound.labels, sound.names, task="detect")

    expected = {lossy: "silent loss", crashing: "KeyError", nosy: "opened", misled: "outside"}
    for reader, said in expected.items():
        monkeypatch.setattr(voc, "read", reader)
        (wrong,) = fuzzing._check(case, "values", False)
        assert said in wrong
