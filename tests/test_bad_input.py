"""Bad input through the command line: one clear sentence, the right status, no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import bad_pictures
from command_line import Run, sentence
from whatwhere.specs import ModelSpec, PreprocessSpec

MODEL = ("--model", "imagenet-lite0")
COMMAND = (sys.executable, "-c", "from whatwhere.cli import entry; entry()")


# Folders that are not there or have nothing in them.

USES_OF_A_FOLDER = [
    ("predict", "{}", *MODEL),
    ("data", "stats", "{}"),
    ("data", "check", "{}"),
    ("train", "{}", "--epochs", "1"),
    ("evaluate", "imagenet-lite0", "--data", "{}"),
]
_IDS = ["predict", "stats", "check", "train", "evaluate"]


@pytest.mark.parametrize("command", USES_OF_A_FOLDER, ids=_IDS)
def test_a_missing_folder(command: tuple[str, ...], run: Run, tmp_path: Path) -> None:
    place = tmp_path / "nowhere"
    sentence(run(*[word.format(place) for word in command]), str(place))


@pytest.mark.parametrize("command", USES_OF_A_FOLDER, ids=_IDS)
def test_an_empty_folder(command: tuple[str, ...], run: Run, tmp_path: Path) -> None:
    place = tmp_path / "empty"
    place.mkdir()
    sentence(run(*[word.format(place) for word in command]), str(place))


def test_a_run_folder_without_model(run: Run, tmp_path: Path, samples: Path) -> None:
    sentence(run("predict", samples, "--model", tmp_path), str(tmp_path), "model.onnx")


def test_a_pattern_that_matches_nothing(run: Run, tmp_path: Path) -> None:
    sentence(run("predict", f"{tmp_path}/*.jpg", *MODEL), "*.jpg")


# Pictures.


def test_unreadable_pictures_are_named_and_the_rest_goes_on(run: Run, tmp_path: Path) -> None:
    bad = bad_pictures.broken()
    folder = bad_pictures.write_all(
        tmp_path, {**bad, "a good one.png": bad_pictures.encoded(".png")}
    )
    outcome = run("predict", folder, *MODEL, "--json")
    assert outcome.status == 1
    rows = {Path(str(row["image"])).name: row for row in outcome.rows}
    assert set(rows) == {*bad, "a good one.png"}
    assert rows.pop("a good one.png")["labels"]
    for name, row in rows.items():
        assert set(row) == {"image", "error"}
        assert name in str(row["error"])


@pytest.mark.parametrize("name", sorted(bad_pictures.broken()))
def test_one_unreadable_picture(name: str, run: Run, tmp_path: Path) -> None:
    folder = bad_pictures.write_all(tmp_path, {name: bad_pictures.broken()[name]})
    outcome = run("predict", folder / name, *MODEL, "--json")
    assert outcome.status == 1
    assert [set(row) for row in outcome.rows] == [{"image", "error"}]


def test_a_bomb_is_refused_by_its_size_and_the_limit_can_be_set(run: Run, tmp_path: Path) -> None:
    bad_pictures.write_all(tmp_path, {"bomb.png": bad_pictures.broken()["bomb.png"]})
    (row,) = run("predict", tmp_path, *MODEL, "--json").rows
    assert "40000x40000" in str(row["error"])
    good = bad_pictures.write_all(tmp_path / "good", {"a.png": bad_pictures.encoded(".png")})
    assert run("predict", good, *MODEL, "--max-pixels", 60 * 40).status == 0
    low = run("predict", good, *MODEL, "--json", "--max-pixels", 60 * 40 - 1)
    assert low.status == 1
    assert "60x40" in str(low.rows[0]["error"])


def test_awkward_pictures_are_read(run: Run, tmp_path: Path) -> None:
    files = bad_pictures.awkward()
    folder = bad_pictures.write_all(tmp_path / "mit Leerzeichen é", files)
    saved = tmp_path / "out put"
    outcome = run("predict", folder, *MODEL, "--json", "--save", saved)
    assert outcome.status == 0, outcome.err
    sizes = {Path(str(row["image"])).name: (row["width"], row["height"]) for row in outcome.rows}
    turned = {f"exif{turn}.jpg" for turn in range(5, 9)}
    assert sizes == {name: (40, 60) if name in turned else (60, 40) for name in files}
    assert len(list(saved.iterdir())) == len(files)


def test_two_sources_of_one_name_keep_two_saved_pictures(run: Run, tmp_path: Path) -> None:
    for part in ("a", "b"):
        bad_pictures.write_all(tmp_path / part, {"same.png": bad_pictures.encoded(".png")})
    saved = tmp_path / "out"
    assert run("predict", tmp_path / "a", tmp_path / "b", *MODEL, "--save", saved).status == 0
    assert len([path for path in saved.rglob("*") if path.is_file()]) == 2


# Model files.

# Unpickling this would run a command.
PICKLE = b"\x80\x02cos\nsystem\n(S'touch hacked'\ntR."


def _onnx(metadata: dict[str, str]) -> bytes:
    """A working ONNX file with one float input and one output."""
    from onnx import TensorProto, helper

    port = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [port], [out])
    model = helper.make_model(graph)
    helper.set_model_props(model, metadata)
    return bytes(model.SerializeToString())


def _spec() -> dict[str, str]:
    return ModelSpec(
        name="odd", task="detect", names=("a",), preprocess=PreprocessSpec(size=(32, 32))
    ).to_metadata()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.onnx", b""),
        ("text.onnx", b"hello, I am not a model\n" * 10),
        ("noise.onnx", bytes(range(256)) * 40),
        ("pickle.pth", PICKLE),
        ("pickle.onnx", PICKLE),
    ],
    ids=["empty", "text", "noise", "pth", "pickle"],
)
def test_a_file_that_is_no_model(
    name: str, content: bytes, run: Run, tmp_path: Path, samples: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    sentence(run("predict", samples, "--model", tmp_path / name), name)
    assert not Path("hacked").exists()


def test_a_model_of_somebody_else(run: Run, tmp_path: Path, samples: Path) -> None:
    (tmp_path / "theirs.onnx").write_bytes(_onnx({"author": "somebody"}))
    outcome = run("predict", samples, "--model", tmp_path / "theirs.onnx")
    sentence(outcome, "theirs.onnx", "not a Whatwhere model")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_model_that_was_cut_off(share: float, run: Run, tmp_path: Path, samples: Path) -> None:
    whole = _onnx(_spec())
    (tmp_path / "part.onnx").write_bytes(whole[: int(len(whole) * share)])
    sentence(run("predict", samples, "--model", tmp_path / "part.onnx"), "part.onnx")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param('"task":"detect"', '"task":"defect"', id="value"),
        pytest.param('"format":1', '"format":2', id="newer"),
        pytest.param("{", "", id="not JSON"),
    ],
)
def test_a_model_with_a_damaged_spec(
    old: str, new: str, run: Run, tmp_path: Path, samples: Path
) -> None:
    spec = _spec()
    damaged = spec["whatwhere"].replace(old, new, 1)
    assert damaged != spec["whatwhere"]
    (tmp_path / "odd.onnx").write_bytes(_onnx({**spec, "whatwhere": damaged}))
    sentence(run("predict", samples, "--model", tmp_path / "odd.onnx"), "odd.onnx", "spec")


def test_a_model_that_is_not_what_its_spec_says(run: Run, tmp_path: Path, samples: Path) -> None:
    (tmp_path / "odd.onnx").write_bytes(_onnx(_spec()))
    sentence(run("predict", samples, "--model", tmp_path / "odd.onnx"), "odd.onnx", "images")


# Places that cannot be written.


def _limited(size: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs a command whose files may not grow over `size` bytes, like on a full disk."""
    resource = pytest.importorskip("resource", reason="Windows has no limits of this kind")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
    )


def test_a_full_disk_leaves_no_half_picture(tmp_path: Path, samples: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    picture = next(path for path in sorted(samples.iterdir()) if path.suffix in {".jpg", ".png"})
    done = _limited(2000, "predict", picture, *MODEL, "--save", out)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("whatwhere: ")
    assert "space" in done.stderr
    assert list(out.iterdir()) == []


def test_a_full_disk_leaves_no_half_data_set(tmp_path: Path, shelves: Path) -> None:
    out = tmp_path / "converted"
    done = _limited(500, "data", "convert", shelves, out, "--to", "coco")
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert not list(out.rglob("*.json"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full exists on Linux only")
def test_a_full_disk_behind_stdout(samples: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, "predict", str(samples), *MODEL, "--json"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "No space left" in done.stderr


def test_a_reader_that_goes_away(samples: Path) -> None:
    done = subprocess.run(
        f'"{sys.executable}" -c "from whatwhere.cli import entry; entry()" predict "{samples}"'
        f" {' '.join(MODEL)} --json | head -c 1",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""


def test_a_file_where_a_folder_should_be(run: Run, tmp_path: Path, samples: Path) -> None:
    (tmp_path / "taken").write_text("", "utf-8")
    picture = next(iter(sorted(samples.glob("*.jpg"))))
    outcome = run("predict", picture, *MODEL, "--save", tmp_path / "taken")
    assert outcome.status == 2
    assert "taken" in outcome.err


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(run: Run, tmp_path: Path, samples: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    outcome = run("predict", samples, *MODEL, "--save", tmp_path / "closed")
    assert outcome.status == 2
    assert "closed" in outcome.err


# Usage.


@pytest.mark.parametrize(
    "arguments",
    [
        ("prdict",),
        ("predict",),
        ("predict", "x.jpg", "--nope"),
        ("predict", "x.jpg", "--threshold", "much"),
        ("train",),
        ("data", "chek", "x"),
        ("evaluate",),
    ],
    ids=" ".join,
)
def test_misuse_is_a_sentence(arguments: tuple[str, ...], run: Run) -> None:
    outcome = run(*arguments)
    assert outcome.status == 2
    assert outcome.err.strip()


@pytest.mark.parametrize("value", ["-1", "2", "nan"])
def test_values_out_of_range(value: str, run: Run, samples: Path) -> None:
    sentence(run("predict", samples, *MODEL, f"--threshold={value}"), "threshold")


@pytest.mark.parametrize("budget", ["soon", "-5m", "0s", "10 parsecs"])
def test_budgets_that_are_none(budget: str, run: Run, shelves: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    sentence(run("train", shelves, f"--budget={budget}", "--out", out), "budget")
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--device", "tpu"), ("tpu", "cpu")),
        (("--size", "50"), ("50", "64")),
        (("--set", "speed=1"), ("speed", "rate")),
        (("--set", "speed"), ("speed",)),
        (("--set", "rate=nan"), ("rate", "nan")),
        (("--set", "rate=quick"), ("rate", "quick")),
        (("--task", "classify"), ("classify", "multilabel")),
    ],
    ids=lambda value: "=".join(value) if isinstance(value, tuple) else "",
)
def test_settings_of_training_that_are_none(
    arguments: tuple[str, ...], words: tuple[str, ...], run: Run, shelves: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    sentence(run("train", shelves, "--epochs", 1, "--out", out, *arguments), *words)


@pytest.mark.parametrize("command", [("train", "--resume"), ("export",)], ids=lambda c: c[0])
def test_a_folder_that_is_no_run(command: tuple[str, ...], run: Run, tmp_path: Path) -> None:
    sentence(run(*command, tmp_path), str(tmp_path))


def test_a_missing_extra_is_named(tmp_path: Path, shelves: Path) -> None:
    for package, extra, command in (
        ("polars", "data", ("data", "stats", str(shelves))),
        ("polars", "data", ("evaluate", "imagenet-lite0", "--data", str(shelves))),
        ("torch", "train", ("train", str(shelves), "--epochs", "1")),
    ):
        code = (
            f"import sys; sys.modules[{package!r}] = None\nfrom whatwhere.cli import entry; entry()"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, *command], capture_output=True, text=True, check=False
        )
        assert done.returncode == 2, done.stderr
        assert f"whatwhere[{extra}]" in done.stderr
        assert "Traceback" not in done.stderr
