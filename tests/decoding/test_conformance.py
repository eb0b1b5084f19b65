"""The engine decodes what the authors' released loops decode, in no more model calls."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dllm_decode.decoding.decoded import decode
from dllm_decode.strategy.strategy import Strategy
from dllm_decode.testing.reference_loops import LOOPS
from tests import conformance
from tests.support.random_model import SPECIAL, FunctionModel, canvas_of, random_logits

ROOT = Path(__file__).resolve().parents[2]
RECORDED = ROOT.parent / "shared" / "conformance"
CASES = {
    "llada.generate": 25,
    "said_v1.generate": 31,
    "said_block.generate_said": 31,
    "fast_dllm.generate": 24,
    "fast_dllm.generate_with_prefix_cache": 24,
    "fast_dllm.generate_with_dual_cache": 24,
}

recorded = pytest.mark.skipif(not RECORDED.is_dir(), reason=f"no recorded runs at {RECORDED}")


@recorded
@pytest.mark.parametrize("name", CASES)
def test_every_recorded_run_is_reproduced_token_for_token(name: str) -> None:
    outcomes = conformance.replay_all(RECORDED, (name,))
    assert len(outcomes) == CASES[name]
    assert not [outcome for outcome in outcomes if not outcome.passed]


@recorded
def test_the_command_prints_one_json_object_and_passes() -> None:
    command = [sys.executable, "tests/conformance.py", str(RECORDED), "--only", "llada.generate", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["cases"] == summary["passed"] == len(summary["outcomes"]) == CASES["llada.generate"]


def test_the_command_refuses_what_it_does_not_know(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([str(tmp_path)], [str(tmp_path), "--only", "llada.genrate"]):
        with pytest.raises(SystemExit) as stopped:
            conformance.main(arguments)
        assert stopped.value.code == 2
    assert "llada.genrate" in capsys.readouterr().err


def assert_same(name: str, prompts: list[list[int]], arguments: dict[str, Any]) -> None:
    """Decode with the plain loop and with the engine, in float64: the same canvas, in no more model calls."""
    strategy = conformance.strategy_for(name, arguments)
    canvas = canvas_of(prompts, arguments["gen_length"])
    expected, passes = LOOPS[name](
        random_logits,
        canvas.tokens[:, : canvas.prompt_length],
        canvas.valid[:, : canvas.prompt_length],
        mask_id=SPECIAL.mask,
        eos_id=SPECIAL.eos,
        eot_id=SPECIAL.eot,
        **arguments,
    )
    done = decode(FunctionModel(random_logits), canvas, strategy)
    assert torch.equal(done.canvas.tokens, expected)
    assert done.model_calls <= (passes - 1 if name == "said_v1.generate" else passes)
    assert int(done.forward_passes.max()) <= strategy.max_forwards()


PROMPTS = st.lists(st.lists(st.integers(3, 22), min_size=1, max_size=6), min_size=1, max_size=3)
ENDS = st.fixed_dictionaries({"confidence_eos_eot_inf": st.booleans(), "logits_eos_inf": st.booleans()})
GUIDANCE = st.sampled_from([0.0, 0.0, 0.8, 2.0])
SETTINGS = settings(max_examples=40, deadline=None)


@SETTINGS
@given(PROMPTS, ENDS, GUIDANCE, st.integers(1, 3), st.integers(1, 6), st.integers(1, 9))
def test_llada_equals_the_plain_loop(
    prompts: list[list[int]], ends: dict[str, bool], weight: float, blocks: int, length: int, steps: int
) -> None:
    arguments = {"gen_length": blocks * length, "block_length": length, "steps": blocks * steps}
    assert_same("llada.generate", prompts, {**arguments, **ends, "cfg_scale": weight})


@SETTINGS
@given(PROMPTS, ENDS, st.integers(2, 14), st.integers(1, 9), st.sampled_from([0.1, 0.3, 0.5, 0.8]), st.integers(1, 8))
def test_said_with_chlg_equals_the_plain_loop(
    prompts: list[list[int]], ends: dict[str, bool], length: int, steps: int, threshold: float, hard_steps: int
) -> None:
    arguments = {"gen_length": length, "steps": steps, "confidence_threshold": threshold}
    assert_same("said_v1.generate", prompts, {**arguments, **ends, "hard_steps": hard_steps})


@SETTINGS
@given(
    PROMPTS,
    ENDS,
    GUIDANCE,
    st.integers(1, 3),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(1, 4),
    st.integers(1, 3),
)
def test_said_block_equals_the_plain_loop(
    prompts: list[list[int]],
    ends: dict[str, bool],
    weight: float,
    blocks: int,
    length: int,
    steps: int,
    stages: int,
    rec_steps: int,
) -> None:
    assume(steps > rec_steps or stages != 2)  # the released loop leaves masks in the output there
    arguments = {"gen_length": blocks * length, "block_length": length, "steps": blocks * steps}
    grids = {"num_stages": stages, "rec_steps": rec_steps}
    assert_same("said_block.generate_said", prompts, {**arguments, **grids, **ends, "cfg_scale": weight})


@SETTINGS
@given(
    PROMPTS,
    ENDS,
    st.integers(1, 3),
    st.integers(1, 6),
    st.integers(1, 9),
    st.sampled_from([None, 0.05, 0.3, 0.6, 0.95]),
)
def test_fast_dllm_equals_the_plain_loop(
    prompts: list[list[int]],
    ends: dict[str, bool],
    blocks: int,
    length: int,
    steps: int,
    threshold: float | None,
) -> None:
    arguments = {"gen_length": blocks * length, "block_length": length, "steps": blocks * steps}
    assert_same("fast_dllm.generate", prompts, {**arguments, **ends, "threshold": threshold})


def test_said_block_refuses_the_setting_that_leaves_masks_in_the_released_output() -> None:
    arguments = {"gen_length": 8, "block_length": 8, "steps": 2, "num_stages": 2, "rec_steps": 2}
    with pytest.raises(Exception, match="leave none for the first of 2 stages"):
        conformance.strategy_for("said_block.generate_said", arguments).check()
    assert Strategy.load("said-block").override({"gen_length": 8, "steps": 3}).max_forwards() == 3
