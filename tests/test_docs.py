"""The documents: every link leads somewhere, every code block runs.

A file's blocks run in order in one temporary folder, its Python blocks in one namespace.
The folder holds `samples/` and the generated data of `docs_data.py`. An HTML comment
right above a block changes that:

    <!-- no-test: reason -->   the block is not run; its commands and options must still exist
    <!-- exit: 1 -->           the block ends with this exit status
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from docs_data import make_workshop

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "samples/*.md", "src/whatwhere/models/*.md")
    for path in ROOT.glob(pattern)
)
# In any other language a block is shown, not run; a new one must be put in one of the two sets.
RUN = {"bash", "python"}
SHOWN = {"text", "json", "toml", "yaml", "xml", "make"}


class Block(NamedTuple):
    line: int
    language: str
    code: str
    skip: str | None
    status: int


_BLOCK = re.compile(r"^( *)```([^\n]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_NOTE = re.compile(r"<!--\s*(no-test|exit):\s*(.*?)\s*-->\s*\Z", re.DOTALL)


def blocks_of(text: str) -> list[Block]:
    found = []
    end = 0
    for match in _BLOCK.finditer(text):
        note = _NOTE.search(text[end : match.start()])
        end = match.end()
        skip = note[2] if note and note[1] == "no-test" else None
        status = int(note[2]) if note and note[1] == "exit" else 0
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(line, match[2].strip(), match[3], skip, status))
    return found


BLOCKS = {name: blocks_of((ROOT / name).read_text("utf-8")) for name in DOCUMENTS}


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a reader of the documents would have it; copied for each document."""
    folder = tmp_path_factory.mktemp("workshop")
    shutil.copytree(ROOT / "samples", folder / "samples")
    make_workshop(folder)
    return folder


@pytest.fixture
def place(workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    shutil.copytree(workshop, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    return folder


@pytest.mark.parametrize(
    "name", [name for name, blocks in BLOCKS.items() if any(b.language in RUN for b in blocks)]
)
def test_code_blocks_run(name: str, place: Path) -> None:
    names: dict[str, object] = {"__name__": "__main__"}
    for block in BLOCKS[name]:
        if block.skip is not None or block.language not in RUN:
            continue
        if block.language == "python":
            exec(compile(block.code, f"{name}:{block.line}", "exec"), names)
            continue
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block.code],
            capture_output=True,
            text=True,
            check=False,
            cwd=place,
        )
        assert done.returncode == block.status, (
            f"{name}:{block.line}\n{block.code}{done.stdout}{done.stderr}"
        )
        assert "Traceback" not in done.stderr


@cache
def _help(command: tuple[str, ...]) -> str:
    from typer.testing import CliRunner

    from whatwhere.cli import _register, app

    _register()
    result = CliRunner().invoke(app, [*command, "--help"], prog_name="whatwhere")
    return result.output if result.exit_code == 0 else ""


def _commands(code: str) -> Iterator[list[str]]:
    for line in code.replace("\\\n", " ").splitlines():
        for part in re.split(r"&&|\|\||[|;]", line):
            words = shlex.split(part, comments=True)
            if words and words[0] == "whatwhere":
                yield words[1:]


@pytest.mark.parametrize(
    "name", [name for name, blocks in BLOCKS.items() if any(b.language == "bash" for b in blocks)]
)
def test_commands_and_options_exist(name: str) -> None:
    for block in BLOCKS[name]:
        if block.language != "bash":
            continue
        for words in _commands(block.code):
            # Below `serve keys` there is a third level.
            levels = 3 if words[:2] == ["serve", "keys"] else 2
            path = [word for word in words[:levels] if re.fullmatch("[a-z]+", word)]
            text = _help(tuple(path)) or _help(tuple(path[:1]))
            place = f"{name}:{block.line}: whatwhere {' '.join(words)}"
            assert text, place
            for option in words:
                if option.startswith("--") and option not in {"--help", "--version", "--debug"}:
                    assert re.search(rf"{re.escape(option.split('=')[0])}\b", text), place


@pytest.mark.parametrize("name", DOCUMENTS)
def test_blocks_are_marked_well(name: str) -> None:
    for block in BLOCKS[name]:
        place = f"{name}:{block.line}"
        assert block.language in RUN | SHOWN, f"{place}: say the language of this block"
        assert block.skip != "", f"{place}: give the reason why this block is not run"
        assert not (block.skip and block.language in SHOWN), f"{place}: is never run anyway"


def _anchors(text: str) -> set[str]:
    """Anchors of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.+?) *$", _BLOCK.sub("", text), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", re.sub(r"\[(.+?)\]\(.*?\)", r"\1", title)).lower().replace(" ", "-")
        for title in headings
    }


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name: str) -> None:
    text = _BLOCK.sub("", (ROOT / name).read_text("utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / name).parent / path if path else ROOT / name
        assert file.exists(), f"{name} links to {target}"
        if anchor:
            assert anchor in _anchors(file.read_text("utf-8")), f"{name} links to {target}"


def test_every_document_can_be_reached_from_the_readme() -> None:
    seen = {"README.md"}
    todo = ["README.md"]
    while todo:
        name = todo.pop()
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", (ROOT / name).read_text("utf-8")):
            path = (ROOT / name).parent / target
            for file in [path, path / "README.md"] if path.is_dir() else [path]:
                found = Path(os.path.normpath(file))
                if found.suffix == ".md" and found.is_file():
                    relative = found.relative_to(ROOT).as_posix()
                    if relative not in seen:
                        seen.add(relative)
                        todo.append(relative)
    assert set(DOCUMENTS) <= seen


def test_the_reader_of_blocks() -> None:
    """What is not seen is not tested."""
    text = (
        "# A\n<!-- no-test: slow -->\n```bash\na\n```\ntext\n```python\nb\n```\n"
        "<!-- exit: 1 -->\n\n```bash\nc\n```\n"
    )
    assert blocks_of(text) == [
        Block(3, "bash", "a\n", "slow", 0),
        Block(7, "python", "b\n", None, 0),
        Block(12, "bash", "c\n", None, 1),
    ]
