"""What a run keeps of its training pictures, in its folder and in its model file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from train_data import boxes_set, quick_config
from whatwhere.data import read
from whatwhere.data.sketches import SEEN, Sketches
from whatwhere.evaluation import evaluate
from whatwhere.runtime.onnxfile import read_header
from whatwhere.specs import SEEN_KEY
from whatwhere.train.picture_cache import Pictures, WorkingSize
from whatwhere.train.run import Run, train_model


def test_a_run_keeps_fingerprints_of_its_training_pictures(detector: Run, workshop: Path) -> None:
    train = read(workshop / "shelves").split_named("train")
    seen = Sketches.from_file((detector.folder / SEEN).read_bytes(), "seen.npz")
    assert (len(seen), seen.total, seen.digest) == (len(train), len(train), train.digest())
    assert list(seen.names) == list(train.paths)
    entry = read_header(detector.model, "model").metadata[SEEN_KEY]
    assert (Sketches.from_text(entry, "model").bits == seen.bits).all()


def test_evaluating_on_the_training_pictures_is_noticed(detector: Run, workshop: Path) -> None:
    data = read(workshop / "shelves")
    result = evaluate(detector.folder, data, split="train")
    assert result.leaks is not None
    assert len(result.leaks.rows) == len(data.split_named("train"))


def test_nothing_is_kept_if_so_asked(tmp_path: Path) -> None:
    data = boxes_set(tmp_path / "data", 4)
    run = train_model(data, quick_config("detect", fingerprints=False), tmp_path / "run")
    assert not (run.folder / SEEN).exists()
    assert SEEN_KEY not in read_header(run.model, "model").metadata


def test_pictures_of_an_earlier_runs_cache_have_the_same_sketches(tmp_path: Path) -> None:
    paths = boxes_set(tmp_path / "data", 5).paths
    made = []
    for folder in ("", str(tmp_path / "cache"), str(tmp_path / "cache")):
        pictures = Pictures(paths, WorkingSize((64, 96)), 1 << 20, folder)
        pictures.load_all(2)
        made.append(pictures.sketches)
    assert made[0].any(axis=1).all()
    assert (made[0] == made[1]).all()
    assert (made[0] == made[2]).all()
    assert len(np.unique(made[0], axis=0)) == 5
