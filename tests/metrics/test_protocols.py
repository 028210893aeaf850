"""The contract that every protocol of detection keeps."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from muddled_boxes import as_dataset, as_predictions, muddled
from whatwhere.data import Dataset
from whatwhere.errors import UsageError
from whatwhere.metrics.protocols import PROTOCOLS, default_protocol, score_by
from whatwhere.metrics.registry import FURTHER, METRICS, PRIMARY

NAMES = ["cat", "dog", "owl", "yak"]
KNOWN = {metric.name for metric in (*METRICS["detect"], *FURTHER["detect"])}


def example(crowds: float = 0.0) -> tuple[Dataset, Any]:
    """Cats, dogs and owls, high enough for KITTI; no yak."""
    truth, found = muddled(0, images=30, crowds=crowds)
    return as_dataset(truth, 30, NAMES), as_predictions(found, 30, NAMES)


def test_further_metrics_are_described_once() -> None:
    assert set(FURTHER) == set(METRICS)
    for task, metrics in FURTHER.items():
        names = [metric.name for metric in metrics]
        assert len({*names, *(metric.name for metric in METRICS[task])}) == len(names) + len(
            METRICS[task]
        )
        for metric in metrics:
            assert metric.definition.endswith(".")
            assert metric.source
    assert PRIMARY["detect"] == "AP"


@pytest.mark.parametrize("protocol", PROTOCOLS)
class TestContract:
    def test_names_are_registered_and_values_plain(self, protocol: str) -> None:
        data, answers = example(crowds=0.2)
        result = score_by(protocol, data, answers)
        assert list(result["per_class"]) == NAMES
        assert all(isinstance(note, str) for note in result["notes"])
        numbers = {k: v for k, v in result.items() if k not in ("per_class", "notes")}
        assert set(numbers) <= KNOWN
        defined = [value for value in numbers.values() if value is not None]
        assert defined
        assert all(type(value) is float and 0 < value < 1 for value in defined)
        yak = result["per_class"]["yak"]
        assert {value for key, value in yak.items() if "boxes" not in key} == {None}
        assert {value for key, value in yak.items() if "boxes" in key} == {0}

    def test_the_order_of_pictures_does_not_matter(self, protocol: str) -> None:
        data, answers = example()
        order = np.random.default_rng(0).permutation(30).tolist()
        turned = score_by(protocol, data.select(order), [answers[row] for row in order])
        assert turned == score_by(protocol, data, answers)

    def test_classes_are_scored_as_if_the_others_did_not_exist(self, protocol: str) -> None:
        data, answers = example()
        whole = score_by(protocol, data, answers)
        part = score_by(protocol, data, answers, classes=["owl"])
        key = next(iter(whole["per_class"]["owl"]))
        assert part["per_class"] == {"owl": whole["per_class"]["owl"]}
        assert part["per_class"]["owl"][key] is not None

    def test_without_labels_all_is_undefined(self, protocol: str) -> None:
        data, answers = example()
        nothing = Dataset(data.images, data.labels.head(0), NAMES, task="detect")
        result = score_by(protocol, nothing, answers)
        del result["per_class"], result["notes"]
        assert set(result.values()) == {None}

    def test_without_boxes_all_is_zero(self, protocol: str) -> None:
        data, answers = example()
        found = muddled(0, images=30)[1]
        silent = as_predictions(found.only(np.zeros(len(found.score), bool)), 30, NAMES)
        assert len(silent) == len(answers)
        result = score_by(protocol, data, silent)
        del result["per_class"], result["notes"]
        assert {value for value in result.values() if value is not None} == {0}

    def test_no_pictures(self, protocol: str) -> None:
        data, _ = example()
        result = score_by(protocol, data.select([]), [])
        assert list(result["per_class"]) == NAMES

    def test_bad_requests_are_refused(self, protocol: str) -> None:
        data, answers = example()
        with pytest.raises(UsageError, match="30 pictures need 30 predictions, not 2"):
            score_by(protocol, data, answers[:2])
        with pytest.raises(UsageError, match="did you mean cat"):
            score_by(protocol, data, answers, classes=["catt"])

    def test_what_nobody_looked_for_makes_no_mistakes(self, protocol: str) -> None:
        data, answers = example()
        labelled = [
            sorted({NAMES[one] for one in data.targets(row).class_ids}) for row in range(30)
        ]
        images = data.images.to_dict(as_series=False) | {"labelled": labelled}
        partly = Dataset(images, data.labels, NAMES, task="detect")
        whole, part = (score_by(protocol, one, answers) for one in (data, partly))
        key = next(iter(whole))
        assert part[key] > whole[key]


def test_an_unknown_protocol_is_refused() -> None:
    data, answers = example()
    with pytest.raises(UsageError, match="use one of coco, voc, kitti, lvis, open_images"):
        score_by("imagenet", data, answers)


def test_the_format_brings_its_protocol(shared: Path) -> None:
    import whatwhere as ww

    for folder, protocol in (
        ("voc2012_mini", "voc"),
        ("kitti", "kitti"),
        ("coco_tiny", "coco"),
        ("coco128", "coco"),
    ):
        assert default_protocol(ww.read(shared / folder)) == protocol


def test_a_coco_file_with_frequencies_is_lviss() -> None:
    data, _ = example()
    info = {"cat": {"frequency": "r"}}
    made = Dataset(data.images, data.labels, NAMES, format="coco", class_info=info)
    assert default_protocol(made) == "lvis"
    assert default_protocol(Dataset(data.images, data.labels, NAMES, format="coco")) == "coco"
    assert default_protocol(Dataset(data.images, data.labels, NAMES, class_info=info)) == "coco"
