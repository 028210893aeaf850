"""References as text: whole, small, and refused when damaged."""

from __future__ import annotations

import base64
import json
import zlib

import numpy as np
import pytest

from made_measured import KINDS, SPEC, pictures
from whatwhere.drift import Judge, Reference, answers_digest
from whatwhere.drift.reference import LEAST, ROWS, SCALARS
from whatwhere.errors import ModelError, UsageError


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference.of(pictures(0, 1000), SPEC, "made")


def test_a_thousand_pictures_become_256_in_a_dozen_kilobytes(reference: Reference) -> None:
    assert len(reference.rows) == ROWS
    assert reference.pictures == 1000
    assert set(reference.classes) == set(KINDS)
    assert len(reference.to_text()) < 14_000


def test_text_and_back_judges_the_same(reference: Reference) -> None:
    again = Reference.from_text(reference.to_text(), "here")
    window = pictures(7, 100, darker=0.05)
    assert Judge(again).judge(window) == Judge(reference).judge(window)
    assert again.to_text() == reference.to_text()


def test_codes_keep_the_numbers(reference: Reference) -> None:
    some = pictures(3, 50)
    rows = reference.code(some)
    back = [reference.scalar(0, code) for code in rows.scalars[:, 0]]
    assert back == pytest.approx([one.brightness for one in some], abs=0.01)
    back = [reference.scalar(SCALARS.index("objects"), code) for code in rows.scalars[:, 3]]
    assert back == pytest.approx([len(one.names) for one in some], abs=0.3)
    assert rows.classes.sum() == rows.sizes.sum() == rows.scores.sum()
    assert rows.classes.sum() == sum(len(one.names) for one in some)


def test_too_few_pictures_are_refused() -> None:
    with pytest.raises(UsageError, match=f"at least {LEAST}"):
        Reference.of(pictures(0, LEAST - 1), SPEC, "made")


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"rows": 100},
        {"rows": 10**9},
        {"codes": "no base64!"},
        {"codes": base64.b64encode(b"not zlib").decode()},
        {"codes": base64.b64encode(zlib.compress(bytes(10**7))).decode()},
        {"low": [0.0]},
        {"unknown": 1},
    ],
)
def test_damage_is_named_with_its_place(reference: Reference, change: dict[str, object]) -> None:
    text = json.dumps(json.loads(reference.to_text()) | change)
    with pytest.raises(ModelError, match=r"model\.onnx has a damaged or newer drift reference"):
        Reference.from_text(text, "model.onnx")


def test_the_digest_of_answers_follows_thresholds_and_nothing_else() -> None:
    digest = answers_digest(SPEC)
    assert (
        answers_digest(SPEC.model_copy(update={"version": "2", "metrics": {"AP": 0.5}})) == digest
    )
    assert answers_digest(SPEC.model_copy(update={"thresholds": {KINDS[0]: 0.4}})) != digest
    weaker = SPEC.postprocess.model_copy(update={"score_threshold": 0.1})
    assert answers_digest(SPEC.model_copy(update={"postprocess": weaker})) != digest


def test_a_reference_that_never_saw_an_answer_is_one(reference: Reference) -> None:
    silent = [one for one in pictures(0, 4000) if not one.names]
    made = Reference.of(silent, SPEC, "made")
    assert made.classes == ()
    judge = Judge(Reference.from_text(made.to_text(), "here"), 50)
    assert not judge.judge((silent * 3)[:50]).drifted
    verdict = judge.judge(pictures(1, 50))
    assert "more answers a picture" in verdict.sentence()
    assert np.isfinite([part.value for part in verdict.parts]).all()
