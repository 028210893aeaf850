"""Two processes that train one network end where one process does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from train_data import metric_rows
from two_processes import CASES
from whatwhere.errors import TrainError, UsageError
from whatwhere.train.checkpoint import load_tensors
from whatwhere.train.config import TrainConfig
from whatwhere.train.loop import CHECKPOINT, State
from whatwhere.train.network import build
from whatwhere.train.processes import _SharedNorm, count_processes, first_process, from_first

Fit = Callable[..., State]

# Sums of floats in another order: of the way that the weights went, and of the losses. Adam's
# first steps are as large for a gradient of nearly nothing, so single weights may differ more.
TOLERANCE = 0.01
# Of FCOS more: most of its gradients are tiny at the start. Each process dividing by its own
# objects would be 0.067 (SSD: 0.033).
WIDER = {"fcos": 0.04}


def torchrun(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, "--nproc-per-node", "2", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
    )


@pytest.fixture(scope="module")
def shared_runs(workshop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    script = Path(__file__).parents[1] / "two_processes.py"
    done = torchrun(str(script), str(workshop), str(folder), *CASES)
    assert done.returncode == 0, done.stderr
    (folder / "said.txt").write_text(done.stdout, "utf-8")
    return folder


@pytest.mark.parametrize("name", ["detector", "fcos", "ssd", "classifier"])
def test_two_processes_do_what_one_does(
    name: str, shared_runs: Path, workshop: Path, tmp_path: Path, fit: Fit
) -> None:
    data, config = CASES[name]
    fit(workshop / data, config, tmp_path / name)
    ours, about = load_tensors(tmp_path / name / CHECKPOINT)
    theirs, other = load_tensors(shared_runs / name / CHECKPOINT)
    assert set(ours) == set(theirs)
    start = build(
        replace(config, height=64, width=64), ("a", "b", "c")[: 3 - (name == "classifier")]
    )
    apart = moved = 0.0
    for key, value in start.state_dict().items():
        if value.dtype.is_floating_point:
            one, two = ours[f"net.{key}"], theirs[f"net.{key}"]
            apart += float((one - two).square().sum())
            moved += float((one - value).square().sum())
    assert moved > 0
    tolerance = WIDER.get(name, TOLERANCE)
    assert apart**0.5 <= tolerance * moved**0.5
    assert about["state"]["step"] == 6
    assert other["state"]["step"] == 6
    for row, twin in zip(
        metric_rows(tmp_path / name), metric_rows(shared_runs / name), strict=True
    ):
        assert float(twin["loss"]) == pytest.approx(float(row["loss"]), rel=tolerance)
    assert f"{name}: 2 epochs" in (shared_runs / "said.txt").read_text("utf-8")


def test_a_batch_that_cannot_be_shared_out(shared_runs: Path) -> None:
    said = (shared_runs / "said.txt").read_text("utf-8")
    assert said.count("odd: a batch of 3 cannot be shared out to 2 processes: use --batch 4") == 2
    assert not (shared_runs / "odd").exists()


def test_a_pass_without_boxes_keeps_nobody_waiting(shared_runs: Path) -> None:
    assert "joint: 2 epochs" in (shared_runs / "said.txt").read_text("utf-8")


def test_the_command_under_torchrun(workshop: Path, tmp_path: Path) -> None:
    _, config = CASES["detector"]
    names = ("backbone", "pretrained", "size", "width_head", "epochs", "batch", "precision")
    settings = [f"--set={name}={getattr(config, name)}" for name in names]
    folder = tmp_path / "run"
    data = str(workshop / "shelves")
    done = torchrun("-m", "whatwhere", "train", data, "--out", str(folder), *settings)
    assert done.returncode == 0, done.stderr
    # One of them speaks and writes.
    assert done.stdout.count("next    whatwhere evaluate") == 1
    assert done.stderr.count("epoch 2/2") == 1
    assert (folder / "model.onnx").is_file()
    assert not list(folder.glob(".*"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"devices": 3, "batch": 16}, "cannot be shared out to 3 processes: use --batch 15"),
        ({"devices": 2, "nodes": 2, "batch": 1}, "use --batch 4"),
        ({"devices": 2, "batch": 0}, "give a --batch"),
    ],
)
def test_settings_that_do_not_fit(changes: dict[str, int], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        count_processes(TrainConfig(**changes))  # type: ignore[arg-type]


def test_other_numbers_than_torchrun_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    made = count_processes(TrainConfig(batch=8))
    assert (made.devices, made.nodes) == (2, 2)
    with pytest.raises(UsageError, match="nodes is 3, but torchrun has started 2"):
        count_processes(TrainConfig(batch=8, nodes=3))


def test_who_is_first(monkeypatch: pytest.MonkeyPatch) -> None:
    assert first_process()
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("RANK", "2")
    assert not first_process()


def test_an_error_of_the_first_is_everybodys() -> None:
    class Two:
        """The second of two processes, whose first has failed."""

        world_size = 2
        is_global_zero = False

        def broadcast(self, mine: object) -> object:
            assert mine is None
            return TrainError("no")

    with pytest.raises(TrainError, match="no"):
        from_first(Two(), lambda: 1)  # type: ignore[arg-type]


def test_a_shared_norm_alone_is_a_batch_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one process, the same values, gradients and statistics as torch's own norm."""
    import whatwhere.train.processes as processes

    monkeypatch.setattr(processes.dist, "get_world_size", lambda: 1)
    monkeypatch.setattr(processes, "_sum", lambda x: x)
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(3)
    nn.init.normal_(norm.weight)
    twin = nn.BatchNorm2d(3)
    twin.load_state_dict(norm.state_dict())
    shared = _SharedNorm.of(twin)
    x = torch.randn(4, 3, 5, 6)
    for module in (norm, shared):
        module(x).square().sum().backward()
    torch.testing.assert_close(shared.weight.grad, norm.weight.grad)
    torch.testing.assert_close(shared.state_dict(), norm.state_dict())
    torch.testing.assert_close(shared(x), norm(x))
    torch.testing.assert_close(shared.eval()(x), norm.eval()(x))
