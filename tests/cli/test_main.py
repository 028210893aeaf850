"""The frame around every command."""

from __future__ import annotations

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
