"""`whatwhere evaluate --server`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from command_line import Run, sentence
from factories import picture
from served import detector, listening, settings_for
from whatwhere.images import encode_image
from whatwhere.serve.app import create_app


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A picture with a red cell and one with a green cell, as a table of boxes."""
    (tmp_path / "0.png").write_bytes(encode_image(picture((0, 1, 0)), ".png"))
    (tmp_path / "1.png").write_bytes(encode_image(picture((2, 2, 1)), ".png"))
    file = tmp_path / "boxes.csv"
    rows = ["0.png,red,16,0,32,16", "1.png,green,32,32,48,48"]
    file.write_text("\n".join(["image,label,x1,y1,x2,y2", *rows]) + "\n")
    return file


def test_a_running_server_is_scored(run: Run, tmp_path: Path, table: Path) -> None:
    model = detector(tmp_path)
    here = run("evaluate", model, table, "--json", "--quick")
    with listening(create_app(settings_for(f"cells@7={model}"))) as address:
        for given in ([table], ["cells", table], ["cells@7", "--data", table]):
            there = run("evaluate", "--server", address, *given, "--json", "--quick")
            assert there.status == 0, there.err
            found = json.loads(there.out)
            assert found["model"] == "cells@7"
            assert found["AP"] == json.loads(here.out)["AP"] is not None
        sentence(
            run("evaluate", "--server", address, "none", table), "refuses", "choose one of cells"
        )


def test_what_does_not_go_together_is_refused(run: Run, table: Path) -> None:
    server = ("evaluate", "--server", "http://127.0.0.1:1")
    sentence(run(*server), "--data")
    sentence(run(*server, table, "--predictions", table), "name one")
    sentence(run(*server, table, "--tile", "100"), "the server decides")
    sentence(run(*server, table, "--batch", "2"), "the server decides")
    sentence(run(*server, table, "--without-leaks"), "trained on")
    sentence(run("evaluate", "--server", "localhost", table), "http://HOST:PORT")
