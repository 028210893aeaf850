"""`whatwhere predict` on every kind of source; --resume; Ctrl-C; the bar."""

from __future__ import annotations

import csv
import gc
import io
import json
import signal
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import psutil
import pytest

from command_line import Run, sentence
from factories import picture, write_model
from whatwhere.cli import main
from whatwhere.cli._progress import Pace, progress
from whatwhere.images import encode_image, write_image
from whatwhere.outputs import results

CODE = "from whatwhere.cli import entry; entry()"
MODEL = ("--model", "detect.onnx")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with five pictures, a video, an archive and a tiny detector."""
    import cv2

    monkeypatch.chdir(tmp_path)
    write_model(Path("detect.onnx"), "detect")
    for number in range(5):
        write_image(f"photos/{number}.png", picture((1, 1, number % 3)))
    writer = cv2.VideoWriter(
        "clip.avi", cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 9, (64,) * 2
    )
    for number in range(6):
        writer.write(np.ascontiguousarray(picture((1, 1, number % 3))[..., ::-1]))
    writer.release()
    with zipfile.ZipFile("photos.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(2):
            archive.write(f"photos/{number}.png", f"in/{number}.png")
    return tmp_path


def names_in(path: str) -> list[str]:
    text = Path(path).read_text(encoding="utf-8")
    if path.endswith(".csv"):
        return [row["image"] for row in csv.DictReader(io.StringIO(text))]
    return [json.loads(line)["image"] for line in text.splitlines()]


def test_all_kinds_of_sources_together(run: Run, here: Path) -> None:
    Path("list.txt").write_text("photos/4.png\ngone.png\n")
    more = ("--list", "list.txt", "--every", "2", "--json", "--save", "out")
    outcome = run("predict", "clip.avi", "photos.zip", "photos/3.png", *MODEL, *more)
    assert outcome.status == 1
    shown = [row["image"].replace("\\", "/") for row in outcome.rows]
    assert shown[:3] == ["clip.avi#0", "clip.avi#2", "clip.avi#4"]
    assert shown[3:5] == ["photos.zip!/in/0.png", "photos.zip!/in/1.png"]
    assert shown[5:] == ["photos/3.png", "photos/4.png", "gone.png"]
    assert [row["objects"][0]["name"] for row in outcome.rows[:3]] == ["red", "blue", "green"]
    assert set(outcome.rows[-1]) == {"image", "error"}
    saved = {path.name for path in Path("out").iterdir()}
    assert saved == {
        *("clip.avi#0.jpg", "clip.avi#2.jpg", "clip.avi#4.jpg"),
        *("0.png", "1.png", "3.png", "4.png"),
    }


def test_stdin(here: Path) -> None:
    command = [sys.executable, "-c", CODE, "predict", "-", *MODEL, "--json"]
    for given in (b"photos/0.png\nphotos/1.png\n", encode_image(picture((1, 1, 1)), ".jpg"), b""):
        done = subprocess.run(command, input=given, capture_output=True, check=False)
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        if not given:
            assert done.returncode == 2
            assert b"nothing came through stdin" in done.stderr
        else:
            assert done.returncode == 0, done.stderr
            many = given.startswith(b"photos")
            assert [row["image"] for row in rows] == (
                ["photos/0.png", "photos/1.png"] if many else ["-"]
            )


def test_wrong_uses(run: Run, here: Path) -> None:
    sentence(run("predict", *MODEL), "no picture was named")
    sentence(run("predict", "http://127.0.0.1:9/a.png", *MODEL), "--urls")
    sentence(run("predict", "photos", *MODEL, "--resume"), "--out FILE.jsonl")
    coco = ("--format", "coco", "--out", "a.json")
    sentence(run("predict", "photos", *MODEL, "--resume", *coco), "--resume needs")
    sentence(run("predict", "photos", *MODEL, "--every", "0"), "--every")
    outcome = run("predict", "http://127.0.0.1:9/a.png", *MODEL, "--urls", "--json")
    assert outcome.status == 1
    assert "an address of this machine" in outcome.rows[0]["error"]


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_resume_goes_on_where_a_run_stopped(run: Run, here: Path, suffix: str) -> None:
    Path("photos/2.png").write_bytes(b"no picture")
    out = f"r.{suffix}"
    assert run("predict", "photos", *MODEL, "--out", f"whole.{suffix}").status == 1
    whole = Path(f"whole.{suffix}").read_bytes()
    for length in (0, len(whole) // 3, len(whole) - 1, len(whole)):
        Path(out).write_bytes(whole[:length])
        outcome = run("predict", "photos", *MODEL, "--out", out, "--resume")
        assert outcome.status == 1
        assert names_in(out) == names_in(f"whole.{suffix}")
    if suffix == "csv":
        assert Path(out).read_bytes() == whole
    assert "were done before" in outcome.err
    # What has been done in another order, or come in between, is found by name.
    write_image("photos/0 new.png", picture())
    run("predict", "photos", *MODEL, "--out", out, "--resume")
    assert sorted(names_in(out)) == sorted([*names_in(f"whole.{suffix}"), "photos/0 new.png"])


def test_resume_keeps_the_names_of_drawings(run: Run, here: Path) -> None:
    for folder in ("a", "b", "c"):
        write_image(f"{folder}/1.png", picture((1, 1, 0)))
    sources = ("a/1.png", "b/1.png", "c/1.png")
    more = (*MODEL, "--out", "r.jsonl", "--resume", "--save", "out")
    assert run("predict", *sources[:2], *more).status == 0
    first = {path.name: path.stat().st_mtime_ns for path in Path("out").iterdir()}
    assert run("predict", *sources, *more).status == 0
    after = {path.name: path.stat().st_mtime_ns for path in Path("out").iterdir()}
    assert set(after) == {"1.png", "1-2.png", "1-3.png"}
    assert {name: after[name] for name in first} == first


def test_resume_refuses_results_of_another_model(run: Run, here: Path) -> None:
    write_model(Path("classify.onnx"), "classify")
    assert run("predict", "photos", *MODEL, "--out", "r.jsonl").status == 0
    before = Path("r.jsonl").read_bytes()
    again = ("--out", "r.jsonl", "--resume")
    sentence(run("predict", "photos", "--model", "classify.onnx", *again), "not of tiny-classify")
    assert Path("r.jsonl").read_bytes() == before


@pytest.mark.skipif(sys.platform == "win32", reason="signals are another matter there")
@pytest.mark.parametrize("name", ["r.jsonl", "r.csv", "r.json"])
def test_ctrl_c_keeps_what_is_done(
    name: str, here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    kind = {"r.jsonl": results.JsonLines, "r.csv": results.Csv, "r.json": results.Coco}[name]
    write, count = kind.write, 0

    def pressed(self: object, item: object) -> None:
        nonlocal count
        count += 1
        if count == 3:
            # In the middle of a result, which is finished first.
            signal.raise_signal(signal.SIGINT)
        write(self, item)  # type: ignore[arg-type]

    monkeypatch.setattr(kind, "write", pressed)
    before = signal.getsignal(signal.SIGINT)
    format = ("--format", "coco") if name == "r.json" else ()
    status = main(["predict", "photos", *MODEL, "--out", name, *format])
    errors = capfd.readouterr().err
    assert status == 130
    assert signal.getsignal(signal.SIGINT) is before
    assert f"interrupted after 3 pictures, whose results are in {name}" in errors
    assert ("--resume" in errors) == (name != "r.json")
    if name == "r.json":
        assert len(json.loads(Path(name).read_text())["images"]) == 3
        return
    assert names_in(name) == [f"photos/{number}.png" for number in range(3)]
    monkeypatch.setattr(kind, "write", write)
    assert main(["predict", "photos", *MODEL, "--out", name, "--resume"]) == 0
    assert names_in(name) == [f"photos/{number}.png" for number in range(5)]


@pytest.mark.skipif(sys.platform == "win32", reason="signals are another matter there")
def test_ctrl_c_while_waiting_for_stdin(here: Path) -> None:
    command = [sys.executable, "-c", CODE, "predict", "-", *MODEL, "--out", "r.jsonl", "--resume"]
    pipes = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as process:  # type: ignore[call-overload]
        process.stdin.write(b"".join(b"photos/%d.png\n" % (n % 5) for n in range(40)))
        process.stdin.flush()
        end = time.monotonic() + 60
        while not (Path("r.jsonl").exists() and Path("r.jsonl").stat().st_size):
            assert time.monotonic() < end
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        errors = process.stderr.read()
        assert process.wait(60) == 130
    assert b"interrupted after" in errors
    assert b"Traceback" not in errors
    assert names_in("r.jsonl")[0] == "photos/0.png"


def test_the_pace() -> None:
    now = [0.0]
    pace = Pace(lambda: 1012, clock=lambda: now[0])
    assert pace.left is None
    for _ in range(2):
        pace.skip()
    now[0] = 5.0  # the model's loading
    pace.step()
    assert pace.words() == "3 pictures, 0.2 a second"
    pace.look()
    pace.wait()
    for _ in range(9):
        now[0] += 0.5
        pace.step()
    assert pace.left == pytest.approx(1000 * 0.5)
    assert pace.words() == "12 of 1,012 pictures, 1.1 a second, 0:08:20 left"


def test_a_number_that_is_unknown_or_wrong_is_not_shown() -> None:
    now = [0.0]
    for count in (None, 2):
        pace = Pace(lambda count=count: count, clock=lambda: now[0])  # type: ignore[misc]
        pace.look()
        pace.wait()
        for _ in range(4):
            now[0] += 0.5
            pace.step()
        assert pace.words() == "4 pictures, 2.0 a second"


def test_a_bar_only_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    looked = threading.Event()

    def count() -> int:
        looked.set()
        return 4

    now = [0.0]
    for shown in (False, True):
        monkeypatch.setattr(sys.stderr, "isatty", lambda shown=shown: shown)
        pace = Pace(count, clock=lambda: now[0])
        with progress(pace, hidden=False) as show:
            for _ in range(3):
                now[0] += 0.9
                pace.step()
                show()
                if looked.is_set():
                    pace.wait()
        assert looked.is_set() == shown
    assert "pictures" in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["folder", "list"])
def test_a_hundred_thousand_pictures_take_no_memory(
    kind: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encode_image(picture((1, 1, 0)), ".png")
    many = Path("many")
    for folder in range(100):
        (many / f"{folder:02}").mkdir(parents=True)
        for number in range(1000):
            (many / f"{folder:02}" / f"{number:03}.png").write_bytes(data)
    if kind == "list":
        Path("list.txt").write_text("".join(f"{path}\n" for path in sorted(many.rglob("*.png"))))
    process, sizes, write = psutil.Process(), [], results.JsonLines.write

    def watched(self: results.JsonLines, item: object) -> None:
        write(self, item)  # type: ignore[arg-type]
        sizes.append(process.memory_info().rss if len(sizes) % 1000 == 0 else sizes[-1])

    monkeypatch.setattr(results.JsonLines, "write", watched)
    source = "@list.txt" if kind == "list" else "many"
    assert main(["predict", source, *MODEL, "--out", "r.jsonl", "--backend", "onnxruntime"]) == 0
    gc.collect()
    assert len(sizes) == 100_000
    # From when the engines are loaded and caches are full.
    assert max(sizes) - sizes[10_000] < 8_000_000
