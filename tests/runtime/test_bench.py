"""Where the time goes: stages, limit and throughput fit together."""

from __future__ import annotations

import numpy as np
import pytest

from factories import model_bytes
from whatwhere.errors import ImageError, UsageError
from whatwhere.images import read_image
from whatwhere.runtime import load_file
from whatwhere.runtime.bench import STAGES, Times, bench, generated, pictures_of


def test_percentiles() -> None:
    times = Times.of([0.001 * value for value in range(1, 102)])
    assert (times.mean, times.p50, times.p90, times.p99) == pytest.approx((51, 51, 91, 100))


def test_generated_pictures_are_as_large_as_photographs() -> None:
    files = generated(2)
    assert all(read_image(file).shape == (960, 1280, 3) for file in files)
    assert all(60_000 < len(file) < 1_200_000 for file in files)
    assert files[0] != files[1]
    assert files == generated(2)


@pytest.mark.parametrize("kind", ["detect", "classify"])
def test_a_bench(kind: str) -> None:
    model = load_file(model_bytes(kind), threads=2, backend="onnxruntime")
    backend = model.backend
    found = bench(model, generated(2, 96, 128), seconds=0.02)
    assert set(found.stages) == set(STAGES)
    assert (found.model, found.engine, found.lanes) == (model.name, "onnxruntime", 2)
    core = sum(found.stages[name].mean for name in STAGES[:3]) / 1e3
    assert found.limit == pytest.approx(2 / core)
    assert found.share == pytest.approx(found.throughput / found.limit)
    assert found.pictures >= 8
    for times in (*found.stages.values(), found.single):
        assert 0 <= times.p50 <= times.p90 <= times.p99
        assert times.mean > 0
    assert found.to_dict()["stages"]["engine"]["p50"] == found.stages["engine"].p50
    # Nothing of the measurement stays in the model.
    assert model.backend is backend


def test_pictures_of_a_folder(tmp_path: object) -> None:
    from pathlib import Path

    from whatwhere.images import write_image

    folder = Path(str(tmp_path))
    for number in range(5):
        write_image(folder / f"{number}.png", np.zeros((4, 4, 3), np.uint8))
    assert len(pictures_of([folder], most=3)) == 3


def test_what_cannot_be_measured() -> None:
    model = load_file(model_bytes("classify"))
    with pytest.raises(UsageError, match="seconds"):
        bench(model, seconds=0)
    with pytest.raises(ImageError):
        bench(model, [b"no picture"], seconds=0.01)
