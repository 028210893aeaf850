"""A training run from data set to model file."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from whatwhere import __version__
from whatwhere.data import Dataset, read
from whatwhere.errors import TrainError, UsageError
from whatwhere.images import write_atomic
from whatwhere.runtime import read_spec
from whatwhere.specs import AnswerSpec, DataSummary, ModelSpec
from whatwhere.train.allocator import kept_memory
from whatwhere.train.answers import make_answers
from whatwhere.train.checkpoint import load_tensors, unpack
from whatwhere.train.config import TrainConfig
from whatwhere.train.finish import MODEL, Run, finish, make_spec
from whatwhere.train.head_start import start_head
from whatwhere.train.joint import two_heads
from whatwhere.train.lock import locked
from whatwhere.train.loop import CHECKPOINT, WEIGHTS, fit
from whatwhere.train.network import build, family_of
from whatwhere.train.prepare import (
    CONFIG,
    as_task,
    check_same_data,
    check_targets,
    complete,
    describe_data,
    read_again,
    read_settings,
    run_folder,
    split_data,
    unused_pictures,
)
from whatwhere.train.processes import first_process, from_first, make_fabric
from whatwhere.train.samples import Samples
from whatwhere.train.sanity import sanity_notes
from whatwhere.train.seen import keep_seen, seen_pictures
from whatwhere.train.start import load_start, new_head, settle_start
from whatwhere.train.state import State
from whatwhere.train.teacher import (
    attach,
    file_digest,
    is_saved,
    make_teacher,
    settled,
    unlabelled_pictures,
    with_unlabelled,
)
from whatwhere.train.validate import Validation
from whatwhere.train.watch import Listener, Silent, Watcher
from whatwhere.train.watchers import Curves, Previews, trackers

__all__ = ["HELD_OUT", "Run", "export_run", "finish", "make_spec", "resume_run", "train_model"]

HELD_OUT = "validation.txt"
"""Pictures that were held out where the data has no validation split, one a line."""


def train_model(
    data: Dataset | str | os.PathLike[str],
    config: TrainConfig,
    folder: str | os.PathLike[str] | None = None,
    *,
    format: str | None = None,
    listener: Listener | None = None,
    resume: bool = False,
    watchers: Sequence[Watcher] = (),
    started: float | None = None,
) -> Run:
    """Train, validate, export. See `whatwhere.train.train` for the meaning of the settings.

    With several processes all of them call this and get the same answer; the first one alone
    writes and speaks.

    Args:
        data: a data set, or the path of one.
        config: settings.
        folder: of the run; `runs/<task>-<number>` if None.
        format: of `data`, if it is a path and not to be recognised.
        listener: is told what happens.
        resume: go on with the run in the folder.
        watchers: are shown what happens.
        started: `time.monotonic()` when the budget began to run; now if None.

    Raises:
        TrainError: the data cannot be trained on, or the folder holds another run, or another
            process trains into it.
    """
    started = time.monotonic() if started is None else started
    listener = (listener if first_process() else None) or Silent()
    whole = data if isinstance(data, Dataset) else read(data, format)
    config = complete(config if resume else settle_start(config), whole)
    tools = trackers(config, listener)
    fabric = make_fabric(config)
    target = from_first(fabric, lambda: run_folder(folder, config, resume))
    training, validation_data = split_data(as_task(whole, config.task), config)
    part = None
    if family_of(config).two_heads:
        config, whole, training, validation_data, part = two_heads(
            config, whole, training, validation_data, split_data
        )
        listener.note(part.title)
    check_targets(training, validation_data)
    if unused := unused_pictures(whole, training, validation_data):
        listener.note(f"not used: {unused} pictures that are not in train, val or test")
    size = (config.height, config.width)
    summary = _summary(whole, training)
    about = describe_data(whole, training, validation_data, summary, part)
    teacher, extra = None, None
    if config.teacher:
        config = settled(config)
        teacher = None if is_saved(config.teacher) else make_teacher(config, whole.names)
        about["teacher_digest"] = file_digest(config.teacher)
    if config.unlabelled:
        extra = unlabelled_pictures(config, training, validation_data)
        about["unlabelled_digest"] = extra.digest()
    if resume:
        check_same_data(target, read_settings(target)[1], about)
    listener.note(
        f"{config.task}: {len(training)} pictures to train on, {len(validation_data)} to"
        f" validate, {len(whole.names)} classes, input {size[0]}x{size[1]}, {config.precision}"
    )
    net = build(config, tuple(whole.names), weights=not resume)
    if config.start and not resume:
        for note in load_start(net, config, tuple(whole.names)):
            listener.note(note)
    spec = make_spec(config, whole, net, summary, target.name)
    most = spec.postprocess.max_detections
    for note in sanity_notes(training, validation_data, config, family_of(config), most):
        listener.note(note)
    make_samples = Samples if part is None else part.samples
    pictures = training if extra is None else with_unlabelled(training, extra)
    answers = make_answers(config, pictures) if is_saved(config.teacher) else None
    samples = make_samples(pictures, size, config)
    if answers is not None:
        samples.answers = answers.objects
    if taught := teacher or answers:
        listener.note(attach(taught, samples, len(training)))
    for text in samples.notes:
        listener.note(text)
    for error in samples.pictures.unreadable.values():
        listener.note(f"left out of training: {error}")
    validation = Validation(validation_data, spec, config.cache * 2**20 // 4, config.metric)
    if part is not None:
        validation = part.scored(validation, config)
    begun = False
    if config.head_start and not resume and new_head(config) and part is None:
        said = start_head(net, training, validation, spec, config, fabric)
        begun = bool(said)
        if said:
            listener.note(said)
    shown = Previews(samples, spec.postprocess.score_threshold)
    watchers = [shown, Curves(), *tools, *watchers]

    def record(state: State) -> None:
        settings = config.to_dict() | about | _record(state, fabric.world_size)
        write_atomic(target / CONFIG, json.dumps(settings, indent=2) + "\n")

    with ExitStack() as held:
        held.enter_context(kept_memory(fabric.device.type))
        from_first(fabric, lambda: held.enter_context(locked(target)))
        if fabric.is_global_zero and about["held_out"]:
            # So that `evaluate` can score the pictures that training has not seen.
            write_atomic(target / HELD_OUT, "\n".join(validation_data.relative_paths()) + "\n")
        if fabric.is_global_zero and config.fingerprints:
            keep_seen(target, seen_pictures(samples, summary.digest), config.start)
        try:
            state = fit(
                net,
                samples,
                validation,
                config,
                fabric,
                target,
                listener,
                started=started,
                resume=resume,
                begun=begun,
                watchers=watchers,
                planned=record,
            )
        except KeyboardInterrupt:
            if (target / CHECKPOINT).is_file():
                listener.note(f"stopped; go on with  whatwhere train --resume {target}")
            raise
        for error in validation.unreadable.values():
            listener.note(f"scored as if nothing was found in it: {error}")
        del samples, validation
        run = from_first(
            fabric, lambda: finish(net, spec, state, target, validation_data, listener, part=part)
        )
        for watcher in watchers if fabric.is_global_zero else ():
            watcher.finished(target)
    return run


def _record(state: State, processes: int) -> dict[str, Any]:
    """What `config.json` says beside settings and data: what was chosen, and by which code."""
    plan = state.plan
    packages = ("torch", "torchvision", "timm", "lightning-fabric", "numpy")
    return {
        "plan": {
            "epochs": plan.epochs,
            "steps": plan.total,
            "steps_per_epoch": plan.steps_per_epoch,
            "batch": state.batch,
            "accumulate": state.accumulate,
            "processes": processes,
            "validate_every": state.every,
        },
        "versions": {"whatwhere": __version__} | {name: version(name) for name in packages},
    }


def resume_run(
    folder: str | os.PathLike[str],
    listener: Listener | None = None,
    *,
    data: Dataset | None = None,
) -> Run:
    """Go on with a run that was stopped; its settings and data are those of its `config.json`.

    Args:
        folder: of the run.
        listener: is told what happens.
        data: the data set, if it was not read from files.

    Raises:
        TrainError: there is no such run, or its data has changed.
    """
    started = time.monotonic()
    target = Path(folder)
    file = target / CONFIG
    if not file.is_file() or not (target / CHECKPOINT).is_file():
        raise TrainError(
            f"{target} has no run to resume ({CONFIG} and {CHECKPOINT} are needed): give the"
            " folder of a run that finished at least one epoch"
        )
    config, values = read_settings(target)
    whole = read_again(target, values) if data is None else data
    return train_model(whole, config, target, listener=listener, resume=True, started=started)


def export_run(
    folder: str | os.PathLike[str],
    path: str | os.PathLike[str] | None = None,
    *,
    half: bool = False,
    name: str | None = None,
    end_to_end: bool | None = None,
    data: Dataset | None = None,
    which: str = "best",
) -> Run:
    """Write the model file of a run again, for example with weights in half the size.

    Calibration and thresholds of the `model.onnx` in the folder are kept, unless they were fitted
    on other scores: those of other weights, or of another way to choose boxes. `Run.notes` says.

    Args:
        folder: of the run.
        path: of the model file; `model.onnx` in the folder if None.
        half: store weights as float16.
        name: of the model, in its spec.
        end_to_end: with final boxes, or for non-maximum suppression, where the network can do
            both; None for what it was trained for.
        data: the data set, if it was not read from files.
        which: "best" weights by the validation, or those of the "last" epoch.

    Raises:
        UsageError: `which` is neither.
        TrainError: the folder is no run, its data have changed (the scores would be of other
            pictures), or the model file differs from the network.
    """
    target = Path(folder)
    if which not in ("best", "last"):
        raise UsageError(f"there are no {which!r} weights: ask for best or last")
    if not (target / CONFIG).is_file() or not (target / WEIGHTS).is_file():
        raise TrainError(
            f"{target} is not the folder of a training run ({CONFIG} and {WEIGHTS} are"
            " needed): give one that 'whatwhere train' wrote"
        )
    config, values = read_settings(target)
    whole = read_again(target, values) if data is None else data
    training, validation = split_data(as_task(whole, config.task), config)
    part = None
    if family_of(config).two_heads:
        config, whole, training, validation, part = two_heads(
            config, whole, training, validation, split_data
        )
    summary = _summary(whole, training)
    check_same_data(target, values, describe_data(whole, training, validation, summary, part))
    net = build(config, tuple(whole.names), weights=False)
    kept, about = load_tensors(target / CHECKPOINT)
    state = State.from_dict(about["state"])
    if end_to_end is not None:
        net.choose(end_to_end)
    notes: tuple[str, ...] = ()
    if (target / MODEL).is_file():
        spec = read_spec(target / MODEL)
        same = which == "best" and spec.postprocess.end_to_end == net.end_to_end
        spec, notes = _answers_kept(spec, same, target / MODEL)
    else:
        spec = make_spec(config, whole, net, summary, target.name)
    # The file at hand may have been exported in the other way.
    postprocess = spec.postprocess.model_copy(update={"end_to_end": net.end_to_end})
    spec = spec.model_copy(
        update={"postprocess": postprocess} | ({} if name is None else {"name": name})
    )
    out = Path(path) if path is not None else target / MODEL
    made = finish(
        net,
        spec,
        state,
        target,
        validation,
        Silent(),
        path=out,
        half=half,
        report=False,
        part=part,
        tensors=unpack("average", kept) if which == "last" else None,
    )
    return replace(made, notes=notes)


def _answers_kept(spec: ModelSpec, same: bool, file: Path) -> tuple[ModelSpec, tuple[str, ...]]:
    """The spec with its calibration and thresholds if they are of the `same` scores, and a note."""
    plain = AnswerSpec()
    if spec.answers == plain and spec.label_answers == plain and spec.calibration is None:
        return spec, ()
    if same:
        return spec, (f"calibration and thresholds are those of {file}",)
    bare = spec.with_answers(plain).with_answers(plain, main=False)
    return bare.model_copy(update={"calibration": None}), (
        f"calibration and thresholds of {file} were fitted on other scores and are left out: run"
        "  whatwhere calibrate  on the new file",
    )


def _summary(whole: Dataset, training: Dataset) -> DataSummary:
    """What is trained on, whatever part of the whole that is."""
    return DataSummary(
        digest=training.digest(),
        images=len(training),
        labels=training.labels.height,
        description=Path(whole.source).name or whole.format,
    )
