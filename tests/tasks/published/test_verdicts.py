"""Recorded verdicts of the released evaluators: our extraction and verdict are theirs, case by case."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.recorded import cases, judged

FOLDER = Path(__file__).parents[4] / "shared" / "benchmarks"


@pytest.mark.slow
@pytest.mark.skipif(not FOLDER.exists(), reason=f"{FOLDER} is not here")
def test_every_recorded_verdict_is_ours_too() -> None:
    recorded = cases(FOLDER)
    ours = [(extracted, correct) for _, extracted, correct in judged(recorded)]
    theirs = [(case.extracted, case.correct) for case, _, _ in judged(recorded)]
    assert len(ours) > 1000
    assert ours == theirs
