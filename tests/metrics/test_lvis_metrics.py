"""LVIS's numbers, against lvis-api's figures, pycocotools and by hand."""

from typing import Any

import numpy as np
import pytest

from made_boxes import oracle
from muddled_boxes import as_dataset, as_predictions, muddled
from whatwhere.data import Dataset
from whatwhere.metrics.lvis import federated, lvis_scores, score_lvis
from whatwhere.metrics.registry import FURTHER

NAMES = {0: "cat", 1: "dog", 2: "owl"}
FREQUENCY = {0: "r", 1: "c", 2: "f"}
KEYS = [metric.name for metric in FURTHER["detect"] if metric.name.startswith("lvis_")]


def lists(seed: int, images: int = 25) -> tuple[np.ndarray, np.ndarray]:
    """Made-up tables of absent and of incompletely labelled classes."""
    rng = np.random.default_rng(seed)
    return rng.random((images, 3)) < 0.4, rng.random((images, 3)) < 0.3


# What lvis-api 0.5.3 gives for muddled(seed, extra=20) with `lists(seed)`, in the order of KEYS.
LVIS_API: dict[int, list[float]] = {
    0: [
        0.0770830482995,
        0.1110044033708,
        0.1052765605862,
        0.0550953884669,
        0.1439971022389,
        0.3967939651108,
        0.0153277652965,
        0.1344886887318,
        0.0814326908703,
        0.3708095238095,
        0.2914052287582,
        0.4385822510823,
        0.4833333333333,
    ],
    1: [
        0.0559194748099,
        0.1031774425249,
        0.0502614983655,
        0.0884105090103,
        0.0398229242516,
        0.85,
        0.0331089285689,
        0.055431342177,
        0.0792181536838,
        0.2909340659341,
        0.245291005291,
        0.3827380952381,
        0.85,
    ],
    2: [
        0.0558231714715,
        0.09163222381,
        0.0653397890161,
        0.0959983130374,
        0.0733175103276,
        0.2551155115512,
        0.062308552446,
        0.0494140675441,
        0.0557468944242,
        0.3304292929293,
        0.3179901960784,
        0.5,
        0.275,
    ],
}


@pytest.mark.parametrize("seed", LVIS_API)
def test_equal_to_lvis_api(seed: int) -> None:
    truth, found = muddled(seed, extra=20)
    absent, incomplete = lists(seed)
    shown = np.zeros_like(absent)
    shown[truth.image, truth.class_id] = True
    result = lvis_scores(NAMES, FREQUENCY, absent & ~shown, incomplete, truth, found)
    assert [result[key] for key in KEYS] == pytest.approx(LVIS_API[seed], abs=1e-12)


def test_with_all_labelled_it_is_cocos() -> None:
    truth, found = muddled(5)
    nowhere = np.zeros((25, 3), dtype=bool)
    shown = nowhere.copy()
    shown[truth.image, truth.class_id] = True
    result = lvis_scores(NAMES, FREQUENCY, ~shown, nowhere, truth, found)
    stats = oracle(list(range(25)), [0, 1, 2], truth, found).stats
    for place, name in enumerate(("AP", "AP50", "AP75", "APs", "APm", "APl")):
        assert result[f"lvis_{name}"] == pytest.approx(stats[place], abs=1e-12)
    groups = [result[f"lvis_AP{letter}"] for letter in "rcf"]
    assert groups == [result["per_class"][name]["lvis_AP"] for name in NAMES.values()]


def dataset(**columns: Any) -> Dataset:
    labels: dict[str, list[Any]] = {"image": [0, 1], "class_id": [0, 0]}
    labels |= {side: [value] * 2 for side, value in zip(("x1", "y1"), (0, 0), strict=True)}
    labels |= {side: [value] * 2 for side, value in zip(("x2", "y2"), (50, 50), strict=True)}
    info = {"cat": {"frequency": "r"}, "dog": {"frequency": "f"}}
    paths = ["/nowhere/0.jpg", "/nowhere/1.jpg"]
    return Dataset({"path": paths, **columns}, labels, ["cat", "dog"], class_info=info)


def answers(*extra: tuple[str, int]) -> Any:
    """Both cats found at 0.5, and more boxes in the first picture at 0.9."""
    from whatwhere.types import Prediction

    names = [("cat", 0)] + [(name, left) for name, left in extra]
    first = Prediction(
        100,
        100,
        object_names=tuple(name for name, _ in names),
        object_scores=np.array([0.5] + [0.9] * len(extra), dtype=np.float32),
        boxes=np.array([[left, 0, left + 50, 50] for _, left in names], dtype=np.float32),
    )
    second = Prediction(
        100,
        100,
        object_names=("cat",),
        object_scores=np.array([0.4], dtype=np.float32),
        boxes=np.array([[0, 0, 50, 50]], dtype=np.float32),
    )
    return [first, second]


def test_unfinished_classes_and_those_nobody_looked_for_make_no_mistakes() -> None:
    both = frozenset({"cat", "dog"})
    wrong = answers(("cat", 60))
    whole = score_lvis(dataset(), wrong, classes=both)
    assert whole["lvis_AP50"] == pytest.approx(2 / 3)
    # More cats may be there than are labelled.
    looked = {"labelled": [["cat"], ["cat"]], "complete": [[], ["cat"]]}
    data = dataset(**looked)
    absent, incomplete = federated(data)
    assert absent.tolist() == [[False, False], [False, False]]
    assert incomplete.tolist() == [[True, False], [False, False]]
    assert score_lvis(data, wrong, classes=both)["lvis_AP50"] == pytest.approx(1)
    # Nobody looked for dogs; where somebody did, and there is none, they are wrong.
    data = dataset(labelled=[["cat"], ["cat", "dog"]])
    assert federated(data)[0].tolist() == [[False, False], [False, True]]
    result = score_lvis(data, answers(("dog", 60)), classes=both)
    assert result["lvis_AP50"] == pytest.approx(1)
    assert result["lvis_APf"] is None
    assert result["lvis_APr"] == pytest.approx(1)
    assert result["per_class"] == {
        "cat": {"lvis_AP": pytest.approx(1), "boxes": 2},
        "dog": {"lvis_AP": None, "boxes": 0},
    }


def test_300_boxes_a_picture_count() -> None:
    few = answers(*[("dog", 60)] * 299)
    many = answers(*[("dog", 60)] * 300)
    both = frozenset({"cat", "dog"})
    assert score_lvis(dataset(), few, classes=both)["lvis_AR300"] == pytest.approx(1)
    assert score_lvis(dataset(), many, classes=both)["lvis_AR300"] == pytest.approx(0.5)


def test_without_frequencies_or_labels() -> None:
    truth, found = muddled(1)
    data = as_dataset(truth, 25, list(NAMES.values()))
    predictions = as_predictions(found, 25, list(NAMES.values()))
    result = score_lvis(data, predictions, classes=frozenset(NAMES.values()))
    assert result["lvis_AP"] > 0
    assert [result[f"lvis_AP{letter}"] for letter in "rcf"] == [None] * 3
    assert "frequency" in result["notes"][0]
    nothing = as_dataset(truth.only(np.zeros(len(truth.image), bool)), 25, list(NAMES.values()))
    result = score_lvis(nothing, predictions, classes=frozenset(NAMES.values()))
    assert {result[key] for key in KEYS} == {None}
