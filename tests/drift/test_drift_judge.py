"""No alarm without a change, an alarm at once with one, at the rate that was asked for."""

from __future__ import annotations

import pytest

from made_measured import KINDS, SPEC, pictures
from whatwhere.drift import Judge, Reference
from whatwhere.errors import UsageError


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge(Reference.of(pictures(0, 256), SPEC, "made"))


def test_twenty_windows_of_the_same_scene_give_no_alarm(judge: Judge) -> None:
    verdicts = [judge.judge(pictures(1000 + seed, 100)) for seed in range(20)]
    assert [one.sentence() for one in verdicts] == ["no drift"] * 20


@pytest.mark.parametrize(
    ("change", "part", "words"),
    [
        ({"darker": 0.15}, "brightness", "darker (brightness 0.3"),
        ({"sharp": 0.5}, "sharpness", "blurred (sharpness 0.1"),
        ({"mix": (0.6, 0.2, 0.2, 0, 0, 0)}, "classes", "more kind 0 ("),
        ({"colour": 4.0}, "look", "look different"),
    ],
)
def test_a_change_gives_an_alarm_within_two_windows(
    judge: Judge, change: dict[str, float], part: str, words: str
) -> None:
    verdicts = [judge.judge(pictures(2000 + seed, 100, **change)) for seed in range(2)]  # type: ignore[arg-type]
    found = [one for one in verdicts if one.drifted]
    assert found
    assert part in {one.name for one in found[0].parts if one.drifted}
    assert words in found[0].sentence()


def test_the_rate_of_false_alarms_is_the_one_asked_for() -> None:
    """Over many references; 5 percent, since a rarer alarm would need many more windows."""
    alarms = 0
    for seed in range(40):
        judge = Judge(Reference.of(pictures(seed, 200), SPEC, "made"), 50, 0.05)
        alarms += sum(judge.judge(pictures(5000 + 10 * seed + w, 50)).drifted for w in range(10))
    # Windows of one reference hang together, so a wide band: 20 of 400 are expected.
    assert 6 <= alarms <= 38


def test_a_model_with_other_thresholds_is_judged_by_its_pixels_only() -> None:
    judge = Judge(Reference.of(pictures(0, 256), SPEC, "made"), answers=False)
    verdict = judge.judge(pictures(1, 100, mix=(1, 0, 0, 0, 0, 0)))
    assert [part.name for part in verdict.parts] == ["brightness", "contrast", "sharpness", "look"]
    assert not verdict.drifted
    assert judge.judge(pictures(1, 100, darker=0.15)).drifted


def test_a_class_that_the_reference_never_saw_counts_with_the_others() -> None:
    known = pictures(0, 256, mix=(0.25, 0.25, 0.25, 0.25, 0, 0))
    judge = Judge(Reference.of(known, SPEC, "made"))
    assert judge.reference.classes[-1] not in KINDS[4:]
    verdict = judge.judge(pictures(1, 100, mix=(0, 0, 0, 0, 0.5, 0.5)))
    assert "more (others)" in verdict.sentence()


def test_a_constant_reference_gives_no_alarm_for_itself_and_one_for_a_change() -> None:
    same = pictures(0, 1) * 100
    judge = Judge(Reference.of(same, SPEC, "made"))
    assert not judge.judge(same).drifted
    assert judge.judge(pictures(1, 100)).drifted


def test_verdicts_are_plain_values(judge: Judge) -> None:
    answer = judge.judge(pictures(3, 100)).to_dict()
    assert answer["pictures"] == 100
    assert answer["drifted"] is False
    assert {part["statistic"] for part in answer["parts"]} == {"ks", "psi", "mmd"}
    assert all(0 <= part["value"] <= part["limit"] for part in answer["parts"])


def test_sizes_and_rates_that_mean_nothing_are_refused(judge: Judge) -> None:
    with pytest.raises(UsageError, match="at least 20"):
        Judge(judge.reference, 5)
    with pytest.raises(UsageError, match="rate of false alarms"):
        Judge(judge.reference, rate=0.5)
    with pytest.raises(UsageError, match="100 pictures, not 99"):
        judge.judge(pictures(1, 99))
