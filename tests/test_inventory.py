"""The public names: what users may rely on. A change here is a change to the changelog."""

from __future__ import annotations

import ast
import subprocess
import sys
import types
from pathlib import Path

import pytest

import whatwhere

PUBLIC = {
    "Advice",
    "Calibration",
    "Client",
    "Comparison",
    "DataError",
    "Dataset",
    "Exported",
    "Finding",
    "GateError",
    "ImageError",
    "Label",
    "Labels",
    "MissingExtraError",
    "ModelError",
    "ModelSpec",
    "Prediction",
    "Predictor",
    "Result",
    "ServerError",
    "Sources",
    "TrainError",
    "UsageError",
    "WhatwhereError",
    "__version__",
    "advise",
    "calibrate",
    "compare",
    "draw",
    "evaluate",
    "evaluate_predictions",
    "explain",
    "export",
    "fuse",
    "import_model",
    "load",
    "merge",
    "read",
    "train",
    "write_comparison",
    "write_data_page",
    "write_report",
}

COMMANDS = {
    "advise",
    "bench",
    "calibrate",
    "predict",
    "serve",
    "train",
    "evaluate",
    "compare",
    "drift",
    "review",
    "explain",
    "export",
    "data",
    "models",
}


def test_the_public_names_are_these() -> None:
    assert set(whatwhere.__all__) == PUBLIC
    assert set(dir(whatwhere)) >= PUBLIC


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(whatwhere.__file__).read_text("utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {
        (alias.name, node.module)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert {name for name, _ in seen} == PUBLIC - {"__version__"}
    assert seen == {(name, f"whatwhere.{home}") for name, home in whatwhere._HOME.items()}


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_a_public_name_is_there_and_documented(name: str) -> None:
    value = getattr(whatwhere, name)
    if name != "__version__":
        assert callable(value)
        assert (value.__doc__ or "").strip()


def test_errors_have_one_base() -> None:
    for name in PUBLIC:
        if name.endswith("Error"):
            assert issubclass(getattr(whatwhere, name), whatwhere.WhatwhereError)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'loda'"):
        _ = whatwhere.loda


def test_train_is_a_package_and_a_function() -> None:
    """`whatwhere.train` names both (ADR 0005), whichever is imported first."""
    from whatwhere.train import train

    assert isinstance(whatwhere.train, types.ModuleType)
    assert whatwhere.train.train is train
    assert callable(whatwhere.train)


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [
        ("read", "polars", "data"),
        ("evaluate", "polars", "data"),
        ("write_report", "polars", "data"),
        ("write_data_page", "polars", "data"),
        ("train", "torch", "train"),
        ("export", "polars", "export"),
    ],
)
def test_a_missing_extra_says_what_to_install(name: str, package: str, extra: str) -> None:
    code = (
        f"import sys; sys.modules[{package!r}] = None; import whatwhere\n"
        f"try: whatwhere.{name}\n"
        "except whatwhere.MissingExtraError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"pip install 'whatwhere[{extra}]'" in done.stdout


def test_the_commands_are_these() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from whatwhere.cli import entry; entry()", "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    section = done.stdout.partition("Commands:")[2]
    assert {line.split()[0] for line in section.splitlines() if line.strip()} == COMMANDS
