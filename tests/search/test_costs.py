"""Time as a cost: pairs in turns, so that a device that drifts does not decide; forwards saved; kept measurements."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from dllm_decode.model import DiffusionLM
from dllm_decode.strategy.strategy import Strategy
from dllm_decode.testing.random_checkpoint import write_checkpoint
from dllm_search.judge.candidate import Candidate
from dllm_search.judge.choose import holds_on_few, pareto_front
from dllm_search.judge.costs import Seconds, Stopwatch, time_pairs
from dllm_search.judge.score import Score
from dllm_search.report.progress import Progress, duration
from dllm_search.trials.record import Tried

BASELINE = Strategy.load("llada", gen_length=32, steps=32)
HALF = Strategy.load("llada", gen_length=32, steps=16)


class Device:
    """A clock, and a device that takes a second a step and grows slower or faster as time passes."""

    def __init__(self, drift: float) -> None:
        self.now, self.drift = 0.0, drift
        self.turns: list[tuple[int, int]] = []

    def decode(self, strategy: Strategy, prompts: Sequence[str]) -> int:
        self.turns.append((strategy.steps or 0, len(prompts)))
        self.now += (strategy.steps or 0) * (1 + self.drift * self.now)
        return 10 * len(prompts)


@pytest.mark.parametrize("drift", [0.0, 0.0005, -0.0005])
def test_a_device_that_drifts_does_not_change_the_ratio(drift: float) -> None:
    device = Device(drift)
    timing = time_pairs(device.decode, HALF, BASELINE, ["a", "b"], 1, clock=lambda: device.now)
    assert timing.time_ratio == pytest.approx(0.5, rel=0.02)
    assert timing.token_time_ratio == pytest.approx(0.5, rel=0.02)
    assert Seconds.relative(timing) == timing.time_ratio


def test_both_take_turns_after_one_untimed_turn_of_each() -> None:
    device = Device(0.0)
    timing = time_pairs(device.decode, HALF, BASELINE, ["a", "b", "c"], 2, rounds=3, clock=lambda: device.now)
    assert [steps for steps, _ in device.turns] == [32, 16, 16, 32, 32, 16, 16, 32]
    assert {size for _, size in device.turns} == {2}
    assert (timing.seconds, timing.baseline_seconds) == (8.0, 16.0)
    assert timing.tokens_per_second == pytest.approx(20 / 16)


def test_cost_is_time_where_it_was_measured_and_forward_passes_where_not() -> None:
    def candidate(name: str, forwards: int, measured: float | None) -> Candidate:
        return Candidate(Strategy.load(name), Score((True,) * 9, (forwards,) * 9, (5,) * 9, measured), name)

    few_but_slow, many_but_quick = candidate("said", 4, 1.3), candidate("llada", 16, 0.7)
    assert pareto_front([few_but_slow, many_but_quick]) == [many_but_quick]
    assert holds_on_few(many_but_quick.score, few_but_slow.score)
    assert pareto_front([candidate("said", 4, None), candidate("llada", 16, None)])[0].label == "said"


def test_a_measurement_is_kept_for_the_next_run(tmp_path: Path) -> None:
    lm = DiffusionLM.from_pretrained(write_checkpoint(tmp_path / "model"))
    baseline, cheap = Strategy.load("llada", gen_length=8, steps=8), Strategy.load("llada", gen_length=8, steps=2)

    def watch() -> Stopwatch:
        return Stopwatch(lm, ["Write one line."], baseline, 1, tmp_path / "timings")

    first = watch()(cheap)
    assert first.time_ratio < 1 and first.seconds > 0
    assert watch()(cheap) == first
    assert len(list((tmp_path / "timings").iterdir())) == 1


def test_progress_says_the_best_what_was_saved_and_the_time_left() -> None:
    said: list[str] = []
    now = [0.0]
    progress = Progress(said.append, 10, {BASELINE.digest()}, saved=lambda: 1234.4, clock=lambda: now[0])
    right = (True,) * 100
    progress.tell(Tried(0, Candidate(BASELINE, Score(right, (32,) * 100, (9,) * 100), "llada")))
    now[0] = 60.0
    progress.tell(Tried(1, Candidate(HALF, Score(right, (16,) * 100, (9,) * 100), "half")))
    assert "trial 1 [2/10] half: 100.0 % at 16.0 forwards" in said[1]
    assert "best so far 16.0 forwards (2.0x less)" in said[1]
    assert "1234 forwards saved" in said[1] and "about 4 min left" in said[1]
    stopped = Score(right[:16], (4,) * 16, (9,) * 16)
    progress.tell(Tried(2, Candidate(Strategy.load("said"), stopped, "said"), False, "stopped after 16 examples"))
    assert "[3/10]" in said[2] and "stopped after 16 examples" in said[2] and "best so far 16.0" in said[2]


def test_times_to_wait_are_rounded() -> None:
    assert [duration(s) for s in (0.2, 45, 600, 9000)] == ["1 s", "45 s", "10 min", "2.5 h"]
