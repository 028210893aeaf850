"""A run that was stopped ends as if it had not been."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import whatwhere.train.run as run_module
from train_data import Dying, KilledError, metric_rows, same_runs
from whatwhere.errors import TrainError
from whatwhere.train.checkpoint import load_tensors
from whatwhere.train.config import TrainConfig
from whatwhere.train.loop import CHECKPOINT, State
from whatwhere.train.run import Run, resume_run

Fit = Callable[..., State]


@pytest.mark.parametrize("moment", [1, 4, 6, 11])
def test_a_run_that_died_at_any_step_ends_the_same(
    moment: int,
    classifier: Run,
    classifier_config: TrainConfig,
    workshop: Path,
    tmp_path: Path,
    fit: Fit,
) -> None:
    folder = tmp_path / "run"
    with pytest.raises(KilledError):
        fit(workshop / "animals", classifier_config, folder, listener=Dying(moment))
    if moment < 3:
        with pytest.raises(TrainError, match="no run to resume"):
            resume_run(folder)
        fit(workshop / "animals", classifier_config, folder)
    else:
        assert len(metric_rows(folder)) < 4
        resume_run(folder)
    assert same_runs(classifier.folder, folder)


def test_the_default_network_resumes_exactly_in_bfloat16(
    detector_config: TrainConfig, workshop: Path, tmp_path: Path, fit: Fit
) -> None:
    """Frozen layers, the rewritten depthwise backward pass and mosaics."""
    config = replace(
        detector_config,
        backbone="tf_efficientnet_lite0",
        pretrained=True,
        precision="bf16-mixed",
        size=96,
        epochs=2,
        mosaic=1.0,
    )

    fit(workshop / "shelves", config, tmp_path / "whole")
    with pytest.raises(KilledError):
        fit(workshop / "shelves", config, tmp_path / "cut", listener=Dying(5))
    resume_run(tmp_path / "cut")
    assert same_runs(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.parametrize("name", ["shelves", "animals"])
def test_a_killed_process_resumes_exactly(
    name: str,
    detector: Run,
    classifier: Run,
    workshop: Path,
    tmp_path: Path,
    fit: Fit,
) -> None:
    """SIGKILL, at a random moment after the first checkpoint; then `--resume`."""
    before = detector if name == "shelves" else classifier
    folder = tmp_path / "run"
    settings = json.loads((before.folder / "config.json").read_text("utf-8"))
    arguments = ["train", str(workshop / name), "--task", settings["task"], "--out", str(folder)]
    for key in TrainConfig().to_dict():
        if key not in ("task", "budget", "seed", "device"):
            arguments += ["--set", f"{key}={settings[key]}"]
    code = "import sys; from whatwhere.cli import main; sys.exit(main(sys.argv[1:]))"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        for _ in range(60_000):
            if (folder / CHECKPOINT).exists() or process.poll() is not None:
                break
            time.sleep(0.005)
        time.sleep(float(np.random.default_rng().uniform(0, 0.06)))
    finally:
        process.kill()
    output, _ = process.communicate()
    assert process.returncode == -signal.SIGKILL, output.decode()
    _, about = load_tensors(folder / CHECKPOINT)
    assert 1 <= about["state"]["epoch"] <= 4
    resume_run(folder)
    assert same_runs(before.folder, folder)


def test_resuming_a_finished_run_changes_nothing(classifier: Run, tmp_path: Path, fit: Fit) -> None:
    folder = tmp_path / "run"
    shutil.copytree(classifier.folder, folder)
    resume_run(folder)
    assert same_runs(classifier.folder, folder)


def test_nothing_to_resume(tmp_path: Path, classifier: Run) -> None:
    with pytest.raises(TrainError, match="no run to resume"):
        resume_run(tmp_path / "none")
    with pytest.raises(TrainError, match="no run to resume"):
        resume_run(tmp_path)
    (tmp_path / "config.json").write_text("{}", "utf-8")
    with pytest.raises(TrainError, match="no run to resume"):
        resume_run(tmp_path)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("change", ["labels", "names", "training", "validation"])
def test_changed_data_are_refused(
    change: str, workshop: Path, detector: Run, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(detector.folder, folder)
    data = tmp_path / "shelves"
    shutil.copytree(workshop / "shelves", data)
    settings = json.loads((folder / "config.json").read_text("utf-8"))
    settings["data"] = str(data)
    (folder / "config.json").write_text(json.dumps(settings), "utf-8")
    lists = data / "ImageSets" / "Main"
    if change in ("labels", "names"):
        for path in (data / "Annotations").glob("train*.xml"):
            text = path.read_text("utf-8")
            new = text.replace("<name>tin<", "<name>can<" if change == "names" else "<name>box<")
            path.write_text(new, "utf-8")
    else:
        name = "train" if change == "training" else "val"
        lines = (lists / f"{name}.txt").read_text("utf-8").splitlines()
        (lists / f"{name}.txt").write_text("\n".join(lines[1:]) + "\n", "utf-8")
    before = {path: path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}
    with pytest.raises(TrainError, match="have changed since"):
        resume_run(folder)
    with pytest.raises(TrainError, match="have changed since"):
        run_module.export_run(folder, tmp_path / "out.onnx")
    assert {path: path.read_bytes() for path in folder.rglob("*.*") if path.is_file()} == before
    assert not (tmp_path / "out.onnx").exists()


def test_a_moved_data_set_is_the_same(
    workshop: Path, detector: Run, tmp_path: Path, fit: Fit
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(detector.folder, folder)
    shutil.copytree(workshop / "shelves", tmp_path / "moved")
    settings = json.loads((folder / "config.json").read_text("utf-8"))
    settings["data"] = str(tmp_path / "moved")
    # Runs of the first version did not note their validation pictures.
    del settings["validation_digest"]
    (folder / "config.json").write_text(json.dumps(settings), "utf-8")
    resume_run(folder)
    assert same_runs(detector.folder, folder)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"batch": "many"}', '{"batch": 0}', "{}"])
def test_damaged_settings_are_a_sentence(text: str, classifier: Run, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(classifier.folder, folder)
    (folder / "config.json").write_text(text, "utf-8")
    for call in (resume_run, run_module.export_run):
        with pytest.raises(TrainError, match=r"config\.json is damaged"):
            call(folder)


def test_a_checkpoint_of_another_network(
    classifier: Run, detector: Run, tmp_path: Path, fit: Fit
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(classifier.folder, folder)
    shutil.copy(detector.folder / CHECKPOINT, folder / CHECKPOINT)
    with pytest.raises(TrainError, match="belongs to another network"):
        resume_run(folder)
    (folder / CHECKPOINT).write_bytes(b"\0" * 100)
    with pytest.raises(TrainError, match="damaged"):
        resume_run(folder)
