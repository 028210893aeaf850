"""How far answers are apart, and which layers go back to float."""

from __future__ import annotations

import numpy as np
import pytest

from whatwhere.exporting.search import least_passing, output_error, ranked
from whatwhere.specs import ModelSpec, PreprocessSpec


def spec(task: str) -> ModelSpec:
    names = ("a", "b", "c")
    return ModelSpec(name="m", task=task, names=names, preprocess=PreprocessSpec(size=(8, 8)))


def found(seed: int = 0, rows: int = 20) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 80, (1, rows, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(5, 40, (1, rows, 2))], -1)
    scores = rng.uniform(0, 1, (1, rows, 3)) ** 4
    return {"boxes": boxes.astype(np.float32), "scores": scores.astype(np.float32)}


def test_boxes_need_no_fixed_place() -> None:
    ours = found()
    order = np.random.default_rng(1).permutation(20)
    turned = {name: values[:, order] for name, values in ours.items()}
    assert output_error(ours, ours, spec("detect")) == pytest.approx(0, abs=1e-6)
    assert output_error(ours, turned, spec("detect")) == pytest.approx(0, abs=1e-6)


def test_the_error_grows_with_what_is_lost() -> None:
    ours = found()
    errors = []
    for share in (0.0, 0.05, 0.2, 0.8):
        theirs = {
            "boxes": ours["boxes"] + np.float32(share * 20),
            "scores": ours["scores"] * np.float32(1 - share),
        }
        errors.append(output_error(ours, theirs, spec("detect")))
    assert errors == sorted(errors)
    assert errors[1] < 0.5 < errors[3] <= 1
    none = {"boxes": np.zeros((1, 0, 4), np.float32), "scores": np.zeros((1, 0, 3), np.float32)}
    assert output_error(ours, none, spec("detect")) == pytest.approx(1)
    assert output_error(none, ours, spec("detect")) == 0


def test_a_box_that_is_hardly_shown_weighs_little() -> None:
    ours = found()
    ours["scores"][:] = 0.0
    ours["scores"][0, 0, 0], ours["scores"][0, 1, 0] = 0.9, 0.06
    one, other = ({name: v.copy() for name, v in ours.items()} for _ in range(2))
    one["scores"][0, 0] = 0
    other["scores"][0, 1] = 0
    error = output_error(ours, one, spec("detect"))
    assert error > 5 * output_error(ours, other, spec("detect"))


def test_labels() -> None:
    logits = np.array([[0.0, 0.0, 50.0]])
    other = np.array([[50.0, 0.0, 0.0]])
    for task in ("classify", "multilabel"):
        same = output_error({"logits": logits}, {"logits": logits + 0}, spec(task))
        assert same == 0
    turned = output_error({"logits": logits}, {"logits": other}, spec("classify"))
    assert turned == pytest.approx(1)
    apart = output_error({"logits": logits}, {"logits": other}, spec("multilabel"))
    assert apart == pytest.approx(1 / 3)


def test_groups_are_ranked_by_their_error_for_their_work() -> None:
    errors = {"a": 0.10, "b": 0.10, "c": 0.001, "d": 0.0}
    groups = [(name,) for name in errors]
    cost = {"a": 8.0, "b": 1.0, "c": 0.5, "d": 0.5}
    assert ranked(groups, cost, lambda group: errors[group[0]]) == [1, 0, 2, 3]


@pytest.mark.parametrize("count", [1, 2, 7, 24])
def test_the_least_number_is_found_in_few_trials(count: int) -> None:
    for wanted in range(1, count + 1):
        asked: list[int] = []

        def passes(number: int, wanted: int = wanted, asked: list[int] = asked) -> bool:
            asked.append(number)
            return number >= wanted

        assert least_passing(count, passes) == (wanted, len(asked))
        assert max(asked) <= count
        assert len(asked) <= 2 * np.log2(count) + 2
    assert least_passing(count, lambda number: False)[0] is None
