"""Fixtures that every test may use, and the walls around the suite."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from command_line import Outcome, Run
from docs_data import make_workshop

ROOT = Path(__file__).resolve().parent.parent

# One thread for each library and process, commands that tests start included: the networks of
# the tests are too small to share out, and threads that wait for each other take the time of the
# tests beside them. It must be said before NumPy and torch are imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell that starts the suite in the background lets it ignore Ctrl-C, and every command that a
# test starts would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _isolated_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The user's folders lie in a temporary one: no test reads or leaves anything at home.

    Environment variables, not patches, so that the commands that tests start see them too.
    """
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name, folder in {
            "HOME": "",
            "USERPROFILE": "",
            "LOCALAPPDATA": "AppData/Local",
            "XDG_CACHE_HOME": ".cache",
            "XDG_CONFIG_HOME": ".config",
            "XDG_DATA_HOME": ".local/share",
        }.items():
            patch.setenv(name, str(home / folder))
        # A model hub that is asked by mistake fails at once instead of loading something.
        patch.setenv("HF_HUB_OFFLINE", "1")
        # Tables come out at one width, whatever terminal the tests run in.
        patch.setenv("COLUMNS", "120")
        patch.delenv("FORCE_COLOR", raising=False)
        yield home


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real data sets of the developers, beside the repository and not part of it.

    `WHATWHERE_SHARED` names another place. Whatever a test shows with them is also shown,
    on generated pictures, by a test that needs nothing.
    """
    folder = Path(os.environ.get("WHATWHERE_SHARED", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"the real data sets are not on this machine ({folder})")
    # Readers resolve links, and so must what tests compare with.
    return folder.resolve()


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder of sample photographs that comes with the repository."""
    folder = ROOT / "samples"
    assert folder.is_dir(), "samples/ is part of the repository"
    return folder


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in this process; whatever happens, there is no traceback."""
    from whatwhere.cli import main

    def call(*arguments: object) -> Outcome:
        capfd.readouterr()
        status = main([str(argument) for argument in arguments])
        outcome = Outcome(status, *capfd.readouterr())
        assert "Traceback" not in outcome.err + outcome.out
        assert "internal error" not in outcome.err, outcome.err
        return outcome

    return call


@pytest.fixture
def shelves(tmp_path: Path) -> Path:
    """A small generated Pascal VOC data set with three splits."""
    make_workshop(tmp_path)
    return tmp_path / "shelves"
