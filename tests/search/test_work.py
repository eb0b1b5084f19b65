"""A forward that runs the model twice costs two: guidance, extra columns, and both beside what the engine really runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dllm_decode.data.inputs import ModelInputs, SpecialTokens
from dllm_decode.model import DiffusionLM
from dllm_decode.plugins.registry import load_registry
from dllm_decode.strategy.strategy import Strategy
from dllm_decode.testing.random_checkpoint import write_checkpoint
from dllm_search import tune
from dllm_search.judge.area import area
from dllm_search.judge.candidate import Candidate
from dllm_search.judge.choose import holds_on_few, pareto_front
from dllm_search.judge.constrained import losses
from dllm_search.judge.score import Score
from dllm_search.judge.work import Work, work_on
from dllm_search.report.progress import shown_cost
from dllm_search.report.report import compare, evidence

PLAIN = Strategy.load("llada", gen_length=16, steps=16)
GUIDED = PLAIN.override({"logits": "guidance"})
WORK = Work(SpecialTokens(mask=99), columns=40)


def test_guidance_costs_two_a_shadow_its_block_and_all_else_one() -> None:
    wino = Strategy.load("wino", gen_length=16)
    assert (WORK(PLAIN), WORK(GUIDED)) == (1, 2)
    assert WORK(wino.override({"block": {"name": "fixed", "length": 8}})) == pytest.approx(1 + 8 / 40)
    assert WORK(wino.override({"block": "whole"})) == pytest.approx(1 + 16 / 40)
    # Blocks of 12 and of 4: a position is in one of 12 three times of four.
    assert WORK(wino.override({"block": {"name": "fixed", "length": 12}})) == pytest.approx(1 + 10 / 40)
    assert WORK(Strategy.load("fast-dllm", gen_length=16).override({"cache": "dual"})) == 1


@pytest.mark.parametrize("changes", [{}, {"logits": "guidance"}, {"block": {"name": "fixed", "length": 8}}])
@pytest.mark.parametrize("recipe", ["llada", "wino"])
def test_it_is_what_the_model_is_run_on(
    recipe: str, changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = DiffusionLM.from_pretrained(write_checkpoint(tmp_path / "model"))
    strategy = Strategy.load(recipe, gen_length=16).override(changes)
    prompts, run = ["Write one line."], []
    for name in ("logits", "hidden"):
        if not hasattr(lm.denoiser, name):
            continue
        method = getattr(lm.denoiser, name)

        def counted(inputs: ModelInputs, method: Any = method) -> Any:
            run.append(inputs.tokens.numel())
            return method(inputs)

        monkeypatch.setattr(lm.denoiser, name, counted)
    out = lm.generate(prompts, strategy=strategy)
    work = Work(lm.special, out.canvas.shape[1])
    counted_forwards = int(out.forward_passes[0])
    # One denoiser method may ask the other.
    calls = len(run) // counted_forwards
    assert sum(run) / calls == pytest.approx(counted_forwards * work.columns * work(strategy))


def test_a_task_is_worked_on_with_its_mean_prompt_and_its_answer() -> None:
    lm, task = DiffusionLM.from_pretrained("tiny"), load_registry().task("square")
    prompts = [example.prompt for example in task.examples("tune", 64)]
    canvas = lm.generate(prompts, strategy="fast-dllm", gen_length=task.gen_length)
    mean = float(canvas.valid.sum(1).double().mean())
    assert work_on(lm, task, "auto").columns == round(mean)


def test_what_costs_two_is_dearer_wherever_costs_are_compared() -> None:
    right = (True,) * 9
    plain, guided = Score(right, (16,) * 9, (5,) * 9), Score(right, (9,) * 9, (5,) * 9, work=2.0)
    baseline = Score(right, (32,) * 9, (5,) * 9)
    assert guided.forward_passes == 9 and guided.cost == 18
    assert pareto_front([Candidate(GUIDED, guided), Candidate(PLAIN, plain)])[0].strategy is PLAIN
    assert not holds_on_few(guided, plain)
    assert losses(guided, baseline, 32.0)[0] == 18 / 32
    assert area(guided, baseline) < area(plain, baseline)
    assert shown_cost(guided) == "9.0 forwards worth 18.0 plain ones"


def test_the_report_shows_forwards_and_what_they_are_worth() -> None:
    right = (True,) * 300
    base, guided = Score(right, (32,) * 300, (5,) * 300), Score(right, (9,) * 300, (5,) * 300, work=2.0)
    rows = [compare("baseline", "llada", PLAIN, base, base), compare("chosen", "guided", GUIDED, guided, base)]
    assert rows[1].cells()[3] == "9.0 (worth 18.0)" and rows[1].to_dict()["plain_forwards"] == 18
    assert "2.00 times the rows and columns" in " ".join(evidence(rows))
    assert "plain ones" not in " ".join(evidence([rows[0], compare("chosen", "half", PLAIN, base, base)]))


def test_a_search_keeps_what_a_forward_is_worth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLLM_DECODE_CACHE", str(tmp_path / "cache"))
    sizes = {"examples": 3, "verify_examples": 3, "test_examples": 3}
    result = tune(
        write_checkpoint(tmp_path / "model"), "line", strategy=GUIDED, trials=2, **sizes  # type: ignore[arg-type]
    )
    tried = [trial for trial in result.study.trials if "digest" in trial.user_attrs]
    assert tried and all(trial.values[1] == 2 * trial.user_attrs["forward_passes"] for trial in tried)
    assert {c.score.work for c in result.report.tried if c.strategy.logits} == {2.0}
