"""The frame around every command."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from whatwhere import __version__
from whatwhere.cli import main


def _raise(error: BaseException) -> Any:
    def call(*args: Any, **options: Any) -> Any:
        raise error

    return call


def test_ctrl_c_is_said(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr("whatwhere.runtime.load", _raise(KeyboardInterrupt()))
    assert main(["predict", "samples"]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "whatwhere: interrupted"


def test_a_defect_is_one_sentence(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr("whatwhere.runtime.load", _raise(ZeroDivisionError("by zero")))
    assert main(["predict", "samples"]) == 70
    said = capsys.readouterr().err
    assert "ZeroDivisionError: by zero" in said
    assert "--debug" in said
    assert "Traceback" not in said


def test_a_defect_with_debug_is_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("whatwhere.runtime.load", _raise(ZeroDivisionError("by zero")))
    with pytest.raises(ZeroDivisionError):
        main(["predict", "samples", "--debug"])


def test_version(capsys: Any) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"whatwhere {__version__}"


_ALONE = """
import sys
from whatwhere.cli import _MODULES, _name, _register, app

def attached():
    return [_name(one) for one in app.registered_commands + app.registered_groups]

for name in reversed(_MODULES):
    assert name not in attached() or name in ("train", "models"), (name, attached())
    _register(name)
    assert name in attached(), (name, attached())
_register()
groups = ["data", "models"]
assert attached() == [name for name in _MODULES if name not in groups] + groups, attached()
"""


def test_each_command_can_be_attached_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _ALONE], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_predict_loads_no_other_command() -> None:
    code = (
        "import sys; from whatwhere.cli import main; main(['predict', 'no-such-file'])\n"
        "print(*[name for name in sys.modules if name.startswith('whatwhere.cli.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    loaded = {name.removeprefix("whatwhere.cli.") for name in done.stdout.split()}
    assert "predict" in loaded, done.stderr
    assert {name for name in loaded if not name.startswith("_")} == {"predict"}


def test_an_unknown_command_is_said(capsys: Any) -> None:
    assert main(["predit"]) == 2
    assert "predict" in capsys.readouterr().err
