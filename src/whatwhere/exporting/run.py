"""Export a finished model: convert, compare with the original, write only what passes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, TypeAlias

from whatwhere.data import Dataset
from whatwhere.errors import GateError, UsageError
from whatwhere.exporting import openvino
from whatwhere.exporting.gate import Gate, Judge, Side, engine_ms
from whatwhere.exporting.graphs import folded, onnx_module
from whatwhere.exporting.half import store_half
from whatwhere.exporting.originals import Original, carrying, open_original
from whatwhere.exporting.pictures import answers_as_labels, canvases, drawn, feeds
from whatwhere.exporting.quantising import Quantised, Settings, quantise
from whatwhere.images import write_atomic
from whatwhere.runtime import Predictor, load_file
from whatwhere.runtime.onnxfile import read_header
from whatwhere.specs import ModelSpec

Precision = Literal["float32", "float16", "int8"]
Target = Literal["onnx", "openvino"]
Pictures: TypeAlias = Dataset | Sequence[str]
"""Labelled pictures, or paths of pictures without labels."""

PRECISIONS: tuple[Precision, ...] = ("float32", "float16", "int8")
TARGETS: tuple[Target, ...] = ("onnx", "openvino")
_ENGINES = {"onnx": "onnxruntime", "openvino": "openvino"}
# Below this, one half for the ranges and one for the gate would both be too few.
_FEW = 20


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export made.

    Args:
        model: the file that was written, of OpenVINO the `.xml`; None if the gate failed.
        to, precision: what it is.
        gate: how it compares with the original.
        sides: rows of the table: the original, then what was made.
        ranges: how the ranges of 8 bits were chosen; None for other precisions.
        in_float: layers that stayed in float, of those that could be quantised.
        layers: those that could be quantised.
        notes: what else is to be known.
    """

    model: Path | None
    to: Target
    precision: Precision
    gate: Gate
    sides: tuple[Side, ...]
    ranges: str | None = None
    in_float: tuple[str, ...] = ()
    layers: int = 0
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The JSON form of `export --json`."""
        return {
            "model": None if self.model is None else str(self.model),
            "to": self.to,
            "precision": self.precision,
            "gate": self.gate.to_dict(),
            "table": [side.to_dict() for side in self.sides],
            "ranges": self.ranges,
            "layers": self.layers,
            "in_float": list(self.in_float),
            "notes": list(self.notes),
        }


def export(
    model: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    to: Target = "onnx",
    precision: Precision = "float32",
    calibrate: Pictures | None = None,
    check: Pictures | None = None,
    max_loss: float = 0.01,
    ranges: str = "auto",
    pictures: int = 128,
    seed: int = 0,
    name: str | None = None,
    say: Callable[[str], None] | None = None,
) -> Exported:
    """Write a model in another form, if it is as good as the original on your pictures.

    Args:
        model: a shipped name, a model file (also one of others) or a run folder; its
            `model.onnx` is taken.
        out: the file to write; beside the original if None, such as `model.int8.onnx`.
        to: "onnx", or "openvino" for `.xml` and `.bin`.
        precision: "float32", "float16" (of the stored weights) or "int8".
        calibrate: pictures whose values give the ranges of 8 bits; "int8" needs them. Those of
            the split "train" if there is one.
        check: pictures of the gate; None for those of `calibrate` that were not used for ranges.
            Of labelled ones the task's main number is compared; for others what the original
            answers counts as right.
        max_loss: how much of that number may be lost.
        ranges: "minmax", "percentile" or "entropy"; "auto" for what gives the least error.
        pictures: how many give the ranges, at most.
        seed: which are drawn.
        name: of the exported model.
        say: called with sentences about what goes on.

    Raises:
        GateError: the loss is larger, and nothing was written; its `exported` has the numbers.
        UsageError: an argument does not fit.
        ModelError: the model is missing, damaged, or cannot be converted.
        MissingExtraError: what is needed is not installed.
    """
    if to not in TARGETS or precision not in PRECISIONS:
        raise UsageError(
            f"cannot export to {to} in {precision}: use {', '.join(TARGETS)} and"
            f" {', '.join(PRECISIONS)}"
        )
    if not 0 <= max_loss <= 1:
        raise UsageError(f"the allowed loss must be in 0..1, not {max_loss}")
    if pictures < 1:
        raise UsageError(f"pictures must be at least 1, not {pictures}")
    tell = say if say is not None else _silent
    onnx_module()
    original = open_original(model, name)
    target = _target(original, out, to, precision)
    predictor = original.load()
    ranged, judged = _parts(calibrate, check, predictor, precision, pictures, seed, tell)
    labelled = isinstance(judged, Dataset)
    data = judged if isinstance(judged, Dataset) else answers_as_labels(predictor, judged)
    judge = Judge(predictor, data, labelled=labelled, limit=max_loss)
    settings = Settings(ranges, ranged, tell)
    with tempfile.TemporaryDirectory(prefix="whatwhere-") as folder:
        work = _Work(original, predictor, judge, settings, Path(folder))
        made = work.openvino(precision) if to == "openvino" else work.onnx(precision)
        sides = _table(original, made, judge, to, precision)
    notes = (*made.notes, *made.gate.notes)
    if original.spec.calibration is not None:
        notes += ("calibration and thresholds were fitted on the original's scores",)
    passed = made.gate.passed
    answer = Exported(
        target if passed else None,
        to,
        precision,
        made.gate,
        sides,
        made.ranges,
        made.in_float,
        made.layers,
        notes,
    )
    if not passed:
        raise GateError(f"{made.gate.sentence}: nothing was written{_advice(precision)}", answer)
    if to == "openvino":
        openvino.write((made.files[0], made.files[1]), target)
    else:
        write_atomic(target, made.files[0])
    return answer


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """An export that is not written yet: its files, loaded, and judged."""

    files: tuple[bytes, ...]
    predictor: Predictor
    gate: Gate
    ranges: str | None = None
    in_float: tuple[str, ...] = ()
    layers: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class _Work:
    original: Original
    predictor: Predictor
    judge: Judge
    settings: Settings
    folder: Path

    def onnx(self, precision: Precision) -> Made:
        """As an ONNX file."""
        file = self.original.file
        if precision == "int8":
            best = self._eight(lambda made: self.judge(load_file(made, backend="onnxruntime")))
            file = carrying(best.file, _described(self.original, "int8", best.about), "the export")
            return _made(best, (file,), load_file(file, backend="onnxruntime"))
        if precision == "float16":
            file = store_half(file)
        file = carrying(file, _described(self.original, precision, {}), "the export")
        predictor = load_file(file, backend="onnxruntime")
        return Made((file,), predictor, self.judge(predictor))

    def openvino(self, precision: Precision) -> Made:
        """As OpenVINO's files.

        In 8 bits from the graph that ONNX Runtime would run; by NNCF, if that is installed, where
        that one does not pass.
        """
        where = self.original.where
        if precision != "int8":
            files = self._files(openvino.converted(self.original.file, where), precision, {})
            return self._opened(files)
        tried: list[tuple[Gate, Made]] = []

        def judged(file: bytes) -> Gate:
            files = self._files(openvino.converted(file, where), precision, {})
            tried.append(((made := self._opened(files)).gate, made))
            return made.gate

        best = self._eight(judged)
        opened = next(made for gate, made in tried if gate is best.gate)
        made = _made(best, opened.files, opened.predictor)
        if made.gate.passed or find_spec("nncf") is None:
            return made
        return min([made, *self._by_nncf()], key=lambda one: one.gate.worth)

    def _eight(self, judged: Callable[[bytes], Gate]) -> Quantised:
        graph = folded(self.original.file, self.original.where)
        metadata = read_header(self.original.file, self.original.where).metadata
        return quantise(graph, metadata, self.predictor, judged, self.settings)

    def _by_nncf(self) -> Iterator[Made]:
        """All layers in 8 bits, then the last ones in float, until one passes."""
        model = openvino.converted(self.original.file, self.original.where)
        images = canvases(self.predictor, self.settings.paths)
        given = list(feeds(self.predictor, images))
        for ignored in ((), tuple(openvino.head_layers(model))):
            self.settings.say(f"NNCF, {len(ignored) or 'no'} layers in float")
            files = self._files(openvino.quantised(model, given, ignored), "int8", {"by": "NNCF"})
            made = replace(self._opened(files), in_float=ignored, ranges="NNCF")
            self.settings.say(made.gate.sentence)
            yield made
            if made.gate.passed:
                return

    def _files(
        self, model: Any, precision: Precision, about: dict[str, Any]
    ) -> tuple[bytes, bytes]:
        header = read_header(self.original.file, self.original.where)
        spec = _described(self.original, precision, {"for": "openvino", **about})
        metadata = header.metadata | spec.to_metadata()
        return openvino.saved(model, metadata, half=precision == "float16")

    def _opened(self, files: tuple[bytes, bytes]) -> Made:
        place = Path(tempfile.mkdtemp(dir=self.folder)) / "model.xml"
        openvino.write(files, place)
        predictor = load_file(place, backend="openvino")
        return Made(files, predictor, self.judge(predictor))


def _made(best: Quantised, files: tuple[bytes, ...], predictor: Predictor) -> Made:
    return Made(files, predictor, best.gate, best.rule, best.in_float, best.layers)


def _parts(
    calibrate: Pictures | None,
    check: Pictures | None,
    predictor: Predictor,
    precision: Precision,
    count: int,
    seed: int,
    say: Callable[[str], None],
) -> tuple[list[str], Pictures]:
    """Paths of the pictures for ranges (none if no ranges are needed), and those of the gate."""
    if precision == "int8" and calibrate is None:
        raise UsageError("8 bits need pictures to measure ranges on: add  --calibrate DATA")
    if precision != "int8":
        given = check if check is not None else calibrate
        if given is None:
            raise UsageError(
                "an export is compared with its original on your pictures: add  --check DATA"
            )
        return [], _judging(given)
    assert calibrate is not None
    if isinstance(calibrate, Dataset) and "train" in calibrate.splits:
        source = calibrate.split_named("train")
        ranged = drawn(list(source.paths), count, seed)
        if check is not None:
            return ranged, _judging(check)
        if {"val", "test"} & calibrate.splits.keys():
            say(f"ranges from {len(ranged)} pictures of the split train")
            return ranged, _judging(calibrate)
        calibrate = source
    paths = list(calibrate.paths) if isinstance(calibrate, Dataset) else list(calibrate)
    if check is not None:
        return drawn(paths, count, seed), _judging(check)
    if len(paths) < _FEW:
        say(f"{len(paths)} pictures are few: all give the ranges, and all are compared")
        return drawn(paths, count, seed), calibrate
    ranged = drawn(paths, min(count, len(paths) // 2), seed)
    used = set(ranged)
    rows = [row for row, path in enumerate(paths) if path not in used]
    say(f"ranges from {len(ranged)} pictures, the gate on the other {len(rows)}")
    if isinstance(calibrate, Dataset):
        return ranged, calibrate.select(rows)
    return ranged, [paths[row] for row in rows]


def _judging(given: Pictures) -> Pictures:
    """Of data in splits the one that is for judging."""
    if isinstance(given, Dataset):
        for name in ("test", "val"):
            if name in given.splits:
                return given.split_named(name)
    return given


def _described(original: Original, precision: Precision, about: dict[str, Any]) -> ModelSpec:
    """The spec, which says what was done to the model."""
    made = {"precision": precision, **about}
    return original.spec.model_copy(
        update={"reference": {**original.spec.reference, "exported": made}}
    )


def _table(
    original: Original, made: Made, judge: Judge, to: Target, precision: Precision
) -> tuple[Side, ...]:
    """Original and export side by side; the original also in the engine of the export."""
    engines = list(dict.fromkeys(["onnxruntime", _ENGINES[to]]))
    loaded = [original.load(engine, threads=1) for engine in engines]
    if to == "openvino":
        place = made.predictor.file
        assert place is not None
        new = load_file(place, backend="openvino", threads=1)
    else:
        new = load_file(made.files[0], backend="onnxruntime", threads=1)
    path = next(iter(judge.data.paths))
    image = next(canvases(loaded[0], [path]))
    times = engine_ms([*loaded, new], image)
    before, after = made.gate.whole.before, made.gate.whole.after
    rows = [
        Side("original", engine, len(original.file) / 1e6, ms, before if place == 0 else None)
        for place, (engine, ms) in enumerate(zip(engines, times, strict=False))
    ]
    size = sum(map(len, made.files)) / 1e6
    rows.append(Side(precision, _ENGINES[to], size, times[-1], after))
    return tuple(rows)


def _target(
    original: Original, out: str | os.PathLike[str] | None, to: Target, precision: Precision
) -> Path:
    """Where the export goes.

    Raises:
        UsageError: it would replace the original, or has another suffix.
    """
    suffix = ".xml" if to == "openvino" else ".onnx"
    if out is None:
        beside = Path(original.where) if original.path is None else original.path
        kind = {"float32": "", "float16": ".fp16", "int8": ".int8"}[precision]
        stem = beside.stem if original.path is not None else original.where
        target = beside.with_name(f"{stem}{kind}{suffix}")
    else:
        target = Path(out)
    if target.suffix.lower() != suffix:
        raise UsageError(f"{target} must end in {suffix}: it is a model file")
    if original.path is not None and target.resolve() == original.path.resolve():
        raise UsageError(f"{target} is the original itself: name another file with --out")
    return target


def _advice(precision: Precision) -> str:
    if precision == "int8":
        return "; allow more with --max-loss, or use --fp16"
    return "; allow more with --max-loss"


def _silent(_: str) -> None:
    """Nobody listens."""
