"""Files of tensors: whole or not there, readable for those whom the umask allows."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn

from whatwhere.errors import TrainError, WhatwhereError
from whatwhere.train.checkpoint import (
    load_tensors,
    optimizer_tensors,
    pack,
    restore_optimizer,
    save_tensors,
    unpack,
)


def test_tensors_and_values_come_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.safetensors"
    tensors = {
        "a": torch.arange(6).reshape(2, 3),
        "b": torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last),
        "c": torch.tensor(3.5, dtype=torch.float64),
        "d": torch.randn(4, 4).bfloat16().t(),
        "e": torch.zeros(0, 4),
    }
    about = {"epoch": 3, "rows": [{"x": 0.1}], "name": "käfer"}
    save_tensors(path, tensors, about)
    loaded, said = load_tensors(path)
    assert said == about
    assert set(loaded) == set(tensors)
    for name, tensor in tensors.items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name], tensor)
    assert [item.name for item in path.parent.iterdir()] == ["a.safetensors"]
    with safe_open(path, framework="pt") as file:  # other tools can read it
        assert set(file.keys()) == set(tensors)


def test_equal_tensors_give_equal_files(tmp_path: Path) -> None:
    tensors = {name: torch.ones(3) for name in "cab"}
    save_tensors(tmp_path / "1", tensors, {"epoch": 1})
    save_tensors(tmp_path / "2", dict(sorted(tensors.items())), {"epoch": 1})
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


@pytest.mark.skipif(os.name != "posix", reason="file modes are those of POSIX")
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_modes_follow_the_umask(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        save_tensors(tmp_path / "a", {"a": torch.ones(1)}, {})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o666 & ~umask


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", "utf-8")
    with pytest.raises(WhatwhereError, match="cannot be written"):
        save_tensors(tmp_path / "file" / "a", {"a": torch.ones(1)}, {})


def test_files_that_are_no_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match="there is no checkpoint"):
        load_tensors(tmp_path / "none")
    good = tmp_path / "good"
    save_tensors(good, {"a": torch.ones(100)}, {})
    for content in (b"", b"nonsense" * 10, good.read_bytes()[:200], good.read_bytes()[:-5]):
        (tmp_path / "bad").write_bytes(content)
        with pytest.raises(TrainError, match="damaged"):
            load_tensors(tmp_path / "bad")
    from safetensors.torch import save_file

    save_file({"a": torch.ones(1)}, tmp_path / "foreign")
    with pytest.raises(TrainError, match="not a Whatwhere checkpoint"):
        load_tensors(tmp_path / "foreign")


def test_prefixes() -> None:
    tensors = pack("net", {"a.b": torch.ones(1)}) | pack("network", {"c": torch.ones(2)})
    assert set(unpack("net", tensors)) == {"a.b"}
    assert set(unpack("network", tensors)) == {"c"}


def _steps(net: nn.Module, optimizer: torch.optim.Optimizer, count: int) -> None:
    for number in range(count):
        generator = torch.Generator().manual_seed(number)
        optimizer.zero_grad()
        net(torch.randn(4, 3, generator=generator)).square().sum().backward()
        optimizer.step()


def test_a_restored_optimizer_goes_on_bit_by_bit(tmp_path: Path) -> None:
    def make() -> tuple[nn.Linear, torch.optim.AdamW]:
        torch.manual_seed(0)
        net = nn.Linear(3, 2)
        groups = [{"params": [net.weight], "share": 0.5}, {"params": [net.bias], "share": 1.0}]
        return net, torch.optim.AdamW(groups, lr=0.1)

    net, optimizer = make()
    _steps(net, optimizer, 3)
    save_tensors(tmp_path / "a", optimizer_tensors(optimizer), {})
    other, fresh = make()
    other.load_state_dict(net.state_dict())
    restore_optimizer(fresh, load_tensors(tmp_path / "a")[0])
    assert [group["share"] for group in fresh.param_groups] == [0.5, 1.0]
    _steps(net, optimizer, 2)
    _steps(other, fresh, 2)
    assert torch.equal(net.weight, other.weight)
    assert torch.equal(net.bias, other.bias)
