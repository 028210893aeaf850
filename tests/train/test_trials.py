"""Both ways trained on the same boxes with the smallest networks, and measured side by side."""

from pathlib import Path

import pytest

from train_data import TINY, Notes, boxes_set, classes_folder
from whatwhere.data import read
from whatwhere.errors import TrainError, UsageError
from whatwhere.evaluation.advisor import advise
from whatwhere.train import try_both

QUICK = {
    "backbone": TINY,
    "pretrained": "false",
    "width_head": "16",
    "size": "32",
    "epochs": "1",
    "batch": "4",
    "precision": "32-true",
    "previews": "0",
}


def test_both_ways_side_by_side(tmp_path: Path) -> None:
    data = boxes_set(tmp_path / "data", 12)
    notes = Notes()
    found = try_both(data, settings=QUICK, out=tmp_path / "runs", listener=notes)
    labels, boxes = found.trials
    assert (labels.task, boxes.task) == ("multilabel", "detect")
    assert found.images == 3
    assert set(labels.metrics) == {"mAP", "precision", "recall", "f1"}
    assert labels.what == labels.metrics["mAP"]
    assert "AP50" in boxes.metrics
    assert found.difference.first == pytest.approx(labels.what)
    assert found.difference.second == pytest.approx(boxes.what)
    assert min(labels.ms, boxes.ms) > 0
    for one in found.trials:
        assert (Path(one.folder) / "model.onnx").is_file()
    begun = [text.split(",")[0] for text in notes.said if text.startswith("training ")]
    assert begun == ["training multilabel", "training detect"]
    assert any(note.startswith("measured on val") for note in found.notes)
    advice = advise(data, trials=found, measure=False)
    assert advice.task == "detect"
    assert any("trained side by side" in reason for reason in advice.reasons)


def test_data_without_splits_is_divided(tmp_path: Path) -> None:
    data = boxes_set(tmp_path / "data", 20, splits=False)
    found = try_both(data, settings=QUICK, out=tmp_path / "runs")
    assert found.images == 3
    assert found.notes[0].startswith("the data had no splits")


def test_half_of_the_budget_is_for_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import whatwhere.train.trials as module

    class StoppedError(Exception):
        pass

    def stop(data: object, config: object, *_: object, **__: object) -> None:
        raise StoppedError(config.budget)  # type: ignore[attr-defined]

    monkeypatch.setattr(module, "train_model", stop)
    with pytest.raises(StoppedError, match=r"^30\.0$"):
        try_both(boxes_set(tmp_path, 8), budget="1m")


def test_what_cannot_be_tried(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="only data with boxes can be trained both ways"):
        try_both(read(classes_folder(tmp_path / "classes")))
    data = boxes_set(tmp_path / "boxes", 8)
    with pytest.raises(TrainError, match="neither test nor val"):
        try_both(data.select(range(6)), settings=QUICK)
    with pytest.raises(UsageError, match="unknown setting 'speed'"):
        try_both(data, settings={"speed": "9"}, out=tmp_path / "runs")
    with pytest.raises(UsageError, match="budget must be a time"):
        try_both(data, budget="soon")
