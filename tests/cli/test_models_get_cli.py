"""`whatwhere models get`, and models of other libraries in the list."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from command_line import Run, sentence
from whatwhere.images import write_image
from whatwhere.runtime import hub


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WHATWHERE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_names_are_unlike_each_other_and_shipped_ones() -> None:
    from whatwhere.runtime import shipped

    assert not set(hub.HUB) & set(shipped.names())
    full = [model.source for model in hub.HUB.values()]
    assert len(set(full)) == len(full)
    for model in hub.HUB.values():
        assert hub.find(model.name) is hub.find(model.source) is model
        assert model.license in ("BSD-3-Clause", "Apache-2.0")
        # A score stands only where the library's own metadata has it.
        assert (model.published is None) == (model.library == "transformers")


def test_the_list_says_licence_and_whether_a_model_is_here(run: Run, cache: Path) -> None:
    outcome = run("models", "--json")
    rows = {row["name"]: row for row in outcome.rows}
    assert rows["ssdlite320"]["license"] == "BSD-3-Clause"
    assert rows["ssdlite320"]["here"] is False
    assert rows["dfine-s-coco"]["published_AP"] is None
    file = hub.get("ssdlite320").file
    file.parent.mkdir(parents=True)
    file.write_bytes(b"x" * 2_000_000)
    rows = {row["name"]: row for row in run("models", "--json").rows}
    assert (rows["ssdlite320"]["here"], rows["ssdlite320"]["bytes"]) == (True, 2_000_000)
    table = run("models").out
    assert "2.0 MB" in table
    # To be typed, so never cut, however narrow the terminal is.
    assert all(name in table for name in hub.HUB)


def test_a_card_can_be_read_before_anything_is_fetched(run: Run, cache: Path) -> None:
    outcome = run("models", "show", "dfine-s-coco")
    assert outcome.status == 0
    for part in ("## Weights", "Apache-2.0", "## Data", "## Scores", "## Limits"):
        assert part in outcome.out
    assert "https://huggingface.co/ustc-community/dfine-small-coco" in outcome.out
    assert "0.467 box AP on COCO val2017" in run("models", "show", "faster-rcnn-r50-v2").out
    assert not cache.exists()


def test_a_model_that_is_not_here_names_the_command(run: Run, cache: Path, tmp_path: Path) -> None:
    picture = tmp_path / "any.png"
    write_image(picture, np.zeros((8, 8, 3), np.uint8))
    outcome = run("predict", "--model", "ssdlite320", picture)
    sentence(outcome, "whatwhere models get ssdlite320", "BSD-3-Clause")
    assert not cache.exists()


def test_get_refuses_what_it_cannot_do(run: Run, tmp_path: Path) -> None:
    sentence(run("models", "get", "no-such"), "no model 'no-such' to get", "ssdlite320")
    outcome = run("models", "get", "ssdlite320", "--size", "big")
    sentence(outcome, "--size 'big'")
    outcome = run("models", "get", "ssdlite320", "--check", tmp_path)
    sentence(outcome, "no pictures")
