"""The kit finds every fault it claims to find, says so in a sentence, and leaves the registry as it was."""

from __future__ import annotations

import random
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pytest
import torch
from pydantic import Field
from torch import Tensor

from dllm_decode.data.canvas import Block, Stage
from dllm_decode.data.inputs import ModelInputs
from dllm_decode.data.selection import top_by_quota
from dllm_decode.data.views import Proposal
from dllm_decode.errors import ConfigError, PluginError
from dllm_decode.models.others.module import ModuleDenoiser
from dllm_decode.parts.base import Tune
from dllm_decode.parts.block import BlockConfig
from dllm_decode.parts.cache import CacheConfig
from dllm_decode.parts.confidence import ConfidenceConfig
from dllm_decode.parts.layering import LayeringConfig
from dllm_decode.parts.logits import LogitsConfig
from dllm_decode.parts.scheduler import SchedulerConfig
from dllm_decode.parts.stop import StopConfig
from dllm_decode.plugins.registry import build_registry, load_registry
from dllm_decode.strategy.strategy import Strategy
from dllm_decode.tasks.base import Example, Task
from dllm_decode.tasks.generated.base import GeneratedTask
from dllm_decode.testing import (
    PROMPTS,
    SPECIAL,
    SUITES,
    VOCABULARY,
    DenoiserSuite,
    ScriptedDenoiser,
    TaskSuite,
    canvas_of,
    infill_canvas,
    run,
    selections,
)
from dllm_decode.testing import isolated_registry as isolated


def verdict(part: Any, test: str) -> str:
    """What a suite's test says of a part; empty if it passes."""
    suite = type("Suite", (SUITES[part.kind],), {"parts": [part]})()
    arguments = {"dtype": torch.bfloat16} if test == "test_it_takes_logits_of_any_dtype" else {}
    known = load_registry().tables[part.kind].get(part.name)
    with isolated(*([] if known is type(part) else [type(part)])):
        try:
            getattr(suite, test)(part, **arguments)
        except pytest.fail.Exception as failure:
            return str(failure)
    return ""


class Best(SchedulerConfig):
    """Commits the best position."""

    name: Literal["best"] = "best"

    def select(self, view: Any, proposal: Proposal) -> Tensor:
        return top_by_quota(proposal.score, view.open, 1)


def scheduler(select: Callable[..., Tensor], **fields: Any) -> SchedulerConfig:
    """A scheduler that selects with a function of the view and the proposal."""
    body = {"__doc__": "Made.", "__module__": __name__, "select": lambda self, *call: select(*call)}
    made = type("Made", (Best,), body | fields)
    return made()


def everything(view: Any, proposal: Proposal) -> Tensor:
    return view.open


def test_a_good_part_passes_every_test_of_its_suite() -> None:
    for test in dir(SUITES["scheduler"]):
        if test.startswith("test_"):
            assert verdict(scheduler(everything), test) == "", test


def test_a_selection_outside_the_open_positions_is_found() -> None:
    def greedy(view: Any, proposal: Proposal) -> Tensor:
        return torch.ones_like(view.open)

    test = "test_what_it_is_given_stays_as_it_was_and_what_it_returns_is_right"
    said = verdict(scheduler(greedy), test)
    assert said.startswith("best with one token a step: select() chose positions outside view.open")
    assert "view.open" in verdict(
        scheduler(greedy), "test_everything_is_decided_and_nothing_given_is_touched"
    )


def test_a_selection_of_the_wrong_shape_is_found() -> None:
    said = verdict(
        scheduler(lambda view, proposal: view.open.int()),
        "test_everything_is_decided_and_nothing_given_is_touched",
    )
    assert "torch.int32" in said and "torch.bool was expected" in said


def test_a_scheduler_that_writes_into_its_view_is_found() -> None:
    def writes(view: Any, proposal: Proposal) -> Tensor:
        proposal.score.mul_(0.5)
        return view.open

    said = verdict(scheduler(writes), "test_what_it_is_given_stays_as_it_was_and_what_it_returns_is_right")
    assert said.endswith("which it may only read; work on a copy (.clone()).")


def test_a_scheduler_that_looks_across_rows_is_found() -> None:
    def mean_of_the_batch(view: Any, proposal: Proposal) -> Tensor:
        return view.open & (proposal.score >= proposal.score.mean())

    said = verdict(
        scheduler(mean_of_the_batch, adaptive=True), "test_a_row_does_not_depend_on_its_batch_mates"
    )
    assert "depend on its batch mates" in said


def test_a_confidence_that_looks_at_the_blocks_of_other_rows_is_found() -> None:
    said = verdict(Relative(), "test_a_row_does_not_depend_on_its_batch_mates")
    assert said.startswith("relative with several blocks at once: a row's tokens depend on its batch mates")


def test_a_confidence_that_looks_at_what_is_not_open_is_found_unless_it_says_so() -> None:
    name = "test_it_looks_at_open_positions_or_says_at_which_others"
    said = verdict(Neighbours(), name)
    assert "it reads statistics of positions that are not open" in said and '"decided"' in said
    assert verdict(Declared(), name) == ""


def test_a_scheduler_that_promises_too_much_is_found() -> None:
    said = verdict(Boasting(), "test_it_commits_what_it_promises")
    assert "committed 1 in a row, and commits() promises 2; return the fewest" in said


def test_a_scheduler_that_draws_from_the_global_generator_is_found() -> None:
    def coin(view: Any, proposal: Proposal) -> Tensor:
        return view.open & (torch.rand(view.open.shape) > 0.5)

    said = verdict(scheduler(coin, adaptive=True), "test_the_same_seed_gives_the_same_result_again")
    assert "view.noise" in said


def test_a_scheduler_that_remembers_an_earlier_decode_is_found() -> None:
    seen: list[int] = []

    def slower(view: Any, proposal: Proposal) -> Tensor:
        seen.append(0)
        return view.open & (proposal.score > 0.99 * (len(seen) > 12))

    said = verdict(scheduler(slower, adaptive=True), "test_the_same_seed_gives_the_same_result_again")
    assert "let build() return a fresh object" in said


def test_a_stage_that_does_not_end_is_found() -> None:
    said = verdict(Best(), "test_a_stage_ends_in_its_steps")
    assert said.startswith("best with 2 positions and 1 steps: scheduler 'best'")
    assert "must finish a stage in its steps or be `adaptive`" in said


def test_a_false_promise_to_be_exact_is_found() -> None:
    said = verdict(scheduler(everything, exact=True), "test_a_stage_ends_in_its_steps")
    assert "declared `exact`" in said


def test_ties_that_go_elsewhere_are_found() -> None:
    def last(view: Any, proposal: Proposal) -> Tensor:
        return top_by_quota(proposal.score.flip(1), view.open.flip(1), 2).flip(1)

    said = verdict(scheduler(last, adaptive=True), "test_ties_go_to_the_smallest_column")
    assert "chose columns [7, 8]; ties go to the smallest column" in said


def test_a_part_that_reads_what_it_did_not_declare_is_told_about_needs() -> None:
    def by_entropy(view: Any, proposal: Proposal) -> Tensor:
        return view.open & (view.stats.entropy > 1)

    told = verdict(
        scheduler(by_entropy, adaptive=True), "test_everything_is_decided_and_nothing_given_is_touched"
    )
    assert "raised TypeError" in told and "was not named in `needs`" in told
    wrong = scheduler(everything, needs=frozenset({"entropie"}))
    assert "entropie" in verdict(wrong, "test_statistics_it_needs_are_known")


class Undocumented(Best):
    name: Literal["undocumented"] = "undocumented"  # type: ignore[assignment]
    power: Annotated[float, Field(gt=0, le=1), Tune(0.5, 2.0)] = 1.0


class Careless(SchedulerConfig, extra="ignore"):
    """Takes any field."""

    name: Literal["careless"] = "careless"

    def select(self, view: Any, proposal: Proposal) -> Tensor:
        return view.open


class Changing(Best):
    """Remembers in its own config."""

    name: Literal["changing"] = "changing"  # type: ignore[assignment]
    count: int = Field(0, description="Decodes so far.")

    def build(self) -> Any:
        object.__setattr__(self, "count", self.count + 1)
        self.__dict__["count"] = self.count
        return self


class Lossy(Best):
    """Writes another value than it holds."""

    name: Literal["lossy"] = "lossy"  # type: ignore[assignment]
    share: float = Field(0.123456, description="A share.")

    def model_post_init(self, context: Any) -> None:
        self.__dict__["share"] = self.share / 2


@pytest.mark.parametrize(
    ("part", "test", "sentence"),
    [
        (Undocumented(), "the_part_and_its_fields_are_documented", "Undocumented has no docstring"),
        (
            Undocumented(),
            "both_ends_of_every_search_range_are_valid",
            "Tune allows power=2.0, which the field refuses",
        ),
        (Careless(), "unknown_fields_are_refused", "accepts fields it does not have"),
        (Changing(), "building_leaves_the_config_as_it_was", "changed its own fields"),
        (
            Lossy(),
            "the_config_round_trips_through_yaml_and_json",
            "is another part after it was written and read",
        ),
    ],
)
def test_a_config_that_is_not_honest_data_is_found(part: Any, test: str, sentence: str) -> None:
    assert sentence in verdict(part, f"test_{test}")


class Worried(ConfidenceConfig):
    """Scores NaN where the probability is small, and proposes masks."""

    name: Literal["worried"] = "worried"
    mask: bool = Field(False, description="Propose the mask.")

    def propose(self, view: Any) -> Proposal:
        if self.mask:
            return Proposal(torch.full_like(view.stats.token, view.canvas.mask_id), view.stats.probability)
        return Proposal(view.stats.token, view.stats.probability.log().double().float().sub(3).sqrt())


class Sprawling(LayeringConfig):
    """Hands out positions it was not given, or states a size that is wrong."""

    name: Literal["sprawling"] = "sprawling"
    size: int | None = Field(None, description="What it says.")

    def stages(self, context: Any) -> Iterator[Stage]:
        where = context.where if self.size else torch.ones_like(context.where)
        yield Stage("all", where, None, size=None)
        if self.size:
            yield Stage("more", context.where, None, size=self.size)


class Costly(LayeringConfig):
    """Needs more forwards than it says."""

    name: Literal["costly"] = "costly"

    def stages(self, context: Any) -> Iterator[Stage]:
        yield Stage("all", context.where, None)

    def forwards(self, steps: int | None, size: int) -> int:
        return 1


class Lopsided(BlockConfig):
    """One block, a plan that covers half of it."""

    name: Literal["lopsided"] = "lopsided"

    def plan(self, steps: int | None, gen_length: int) -> list[tuple[int, int | None]]:
        return [(max(1, gen_length // 2), steps)]

    def blocks(self, *given: Any) -> Iterator[Block]:
        canvas = getattr(given[0], "canvas", given[0])
        window = slice(canvas.prompt_length, canvas.length)
        yield Block(canvas.undecided.clone(), window, None, canvas.prompt_length, size=3)


class Narrow(CacheConfig):
    """Recomputes a column."""

    name: Literal["narrow"] = "narrow"

    def recompute(self, block: Block, forward: int, length: int) -> slice | None:
        return None if forward == 0 else slice(block.window.start, block.window.start + 1)


class Eager(CacheConfig):
    """Never computes everything."""

    name: Literal["eager"] = "eager"

    def recompute(self, block: Block, forward: int, length: int) -> slice | None:
        return block.window


class Silent(LogitsConfig):
    """Forbids every token."""

    name: Literal["silent"] = "silent"

    def process(self, logits: Tensor, unconditional: Tensor | None, special: Any) -> Tensor:
        return torch.full_like(logits, -torch.inf)


class Masking(StopConfig):
    """Fills with masks."""

    name: Literal["masking"] = "masking"
    needs: ClassVar[frozenset[str]] = frozenset()

    def fill(self, view: Any, special: Any) -> tuple[Tensor, Tensor] | None:
        where = view.canvas.undecided.clone()
        return where, torch.full_like(view.canvas.tokens, special.mask)


class Neighbours(ConfidenceConfig):
    """Adds the probability of the column to the left, open or not."""

    name: Literal["neighbours"] = "neighbours"

    def propose(self, view: Any) -> Proposal:
        """Return the model's tokens, (B, W)."""
        probability = view.stats.probability
        return Proposal(view.stats.token, (probability + probability.roll(1, dims=1)) / 2)


class Declared(Neighbours):
    """Says at what it looks."""

    name: Literal["declared"] = "declared"  # type: ignore[assignment]

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"decided"})


class Boasting(Best):
    """Promises two positions a step and commits one."""

    name: Literal["boasting"] = "boasting"  # type: ignore[assignment]

    def commits(self, size: int, steps: int | None, step: int) -> int:
        return 2


class Relative(ConfidenceConfig):
    """Scores beside the best of the whole window."""

    name: Literal["relative"] = "relative"

    def propose(self, view: Any) -> Proposal:
        probability = view.stats.probability
        return Proposal(view.stats.token, probability / probability.amax(1, keepdim=True))


RETURNS = "what_it_is_given_stays_as_it_was_and_what_it_returns_is_right"


@pytest.mark.parametrize(
    ("part", "test", "sentence"),
    [
        (Worried(), RETURNS, "NaN"),
        (Worried(mask=True), RETURNS, "mask token"),
        (Sprawling(), RETURNS, "positions outside context.where"),
        (Sprawling(size=3), RETURNS, "says that every row has 3 open positions"),
        (
            Costly(),
            "no_row_takes_more_forwards_than_max_forwards_says",
            "Strategy.max_forwards() promises at most 1",
        ),
        (Lopsided(), "the_plan_covers_the_region_and_keeps_to_the_budget", "does not cover 2 columns"),
        (Lopsided(), RETURNS, "says that every row has 3 open positions"),
        (Silent(), RETURNS, "without any possible token"),
        (Masking(), RETURNS, "filled positions with the mask token"),
    ],
)
def test_a_return_that_breaks_the_contract_is_found(part: Any, test: str, sentence: str) -> None:
    assert sentence in verdict(part, f"test_{test}")


@pytest.mark.parametrize(
    ("part", "sentence"),
    [(Narrow(), "where None or a slice was expected that covers"), (Eager(), "before anything was kept")],
)
def test_a_cache_policy_that_reuses_what_is_not_there_is_found(part: Any, sentence: str) -> None:
    assert sentence in verdict(part, "test_everything_is_decided_and_nothing_given_is_touched")


def test_a_suite_without_parts_or_with_strange_ones_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(
        textwrap.dedent(
            """
            from dllm_decode.plugins.registry import load_registry
            from dllm_decode.testing import SchedulerSuite, ConfidenceSuite, TaskSuite

            class TestNothing(SchedulerSuite):
                pass

            class TestStranger(ConfidenceSuite):
                parts = [load_registry().part("scheduler", "even")()]

            class TestNoTask(TaskSuite):
                tasks = ["line"]
            """
        )
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-c",
        "/dev/null",
        str(tmp_path),
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert "TestNothing tests nothing: give it `parts = [MyPart(), MyPart(field=2)]`." in done.stdout
    assert "which is no ConfidenceConfig" in done.stdout
    assert "TestNoTask.tasks holds 'line'" in done.stdout


class Guess(GeneratedTask):
    """Says the number that the prompt says."""

    name: ClassVar[str] = "guess"
    description: ClassVar[str] = "Repeat a number."
    gen_length: ClassVar[int] = 4
    split_size: ClassVar[int] = 20

    def sample(self, rng: random.Random) -> Example:
        number = rng.randrange(10**6)
        return Example("", f"Say {number}.", str(number), {"number": number})

    def score(self, example: Example, text: str) -> bool:
        return text.strip() == str(example.meta["number"])


class Lenient(Guess):
    def score(self, example: Example, text: str) -> bool:
        return True


class Fragile(Guess):
    def score(self, example: Example, text: str) -> bool:
        return int(text) == example.meta["number"]


class Forgetful(Guess):
    def sample(self, rng: random.Random) -> Example:
        return super().sample(random.Random())


class Unwritable(Guess):
    def sample(self, rng: random.Random) -> Example:
        example = super().sample(rng)
        return replace(example, meta={**example.meta, "seen": {1, 2}})


def judged(task: Task, test: str, tmp_path: Path) -> str:
    arguments = {"tmp_path": tmp_path} if "missing_file" in test else {}
    try:
        getattr(TaskSuite(), test)(task, **arguments)
    except pytest.fail.Exception as failure:
        return str(failure)
    return ""


def test_a_good_task_passes_and_a_bad_one_is_told_why(tmp_path: Path) -> None:
    for test in dir(TaskSuite):
        if test.startswith("test_"):
            assert judged(Guess(), test, tmp_path) == "", test
    assert "accepts every other" in judged(Lenient(), "test_wrong_answers_are_refused", tmp_path)
    assert "`rng` argument only" in judged(Forgetful(), "test_a_seed_gives_the_same_examples_again", tmp_path)
    assert "is not JSON" in judged(Unwritable(), "test_an_example_can_be_written_down", tmp_path)
    with pytest.raises(ValueError) as caught:
        judged(Fragile(), "test_no_text_upsets_the_judge", tmp_path)
    assert "return False" in caught.value.__notes__[0]


def asked(denoiser: Any, test: str) -> str:
    try:
        getattr(DenoiserSuite(), test)(denoiser)
    except pytest.fail.Exception as failure:
        return str(failure)
    return ""


def test_the_scripted_model_passes_the_suite_for_models() -> None:
    for test in dir(DenoiserSuite):
        if test.startswith("test_"):
            assert asked(ScriptedDenoiser(), test) == "", test


def test_a_model_that_sees_padding_is_causal_or_keeps_its_logits_is_found() -> None:
    said = asked(ScriptedDenoiser(sees_padding=True), "test_a_padded_row_says_what_it_says_alone")
    assert "a row behind padding and the row alone differ" in said

    class Causal(torch.nn.Module):
        def forward(self, tokens: Tensor, valid: Tensor | None = None) -> Tensor:
            return torch.nn.functional.one_hot(tokens.cumsum(1) % VOCABULARY, VOCABULARY).double()

    causal = ModuleDenoiser(Causal(), SPECIAL, VOCABULARY)
    assert "is causal" in asked(causal, "test_it_sees_to_the_right")
    kept = torch.randn(3, 12, VOCABULARY, generator=torch.Generator().manual_seed(0))

    class Sharing(ScriptedDenoiser):
        def logits(self, inputs: ModelInputs) -> Tensor:
            return kept

    assert "return a fresh tensor" in asked(Sharing(), "test_tokens_stay_as_they_were_and_logits_are_a_copy")


def test_the_scripted_model_reads_a_table_for_the_last_columns_and_counts() -> None:
    table = torch.zeros(4, VOCABULARY)
    table[range(4), [5, 6, 7, 8]] = 9.0
    model = ScriptedDenoiser(table)
    strategy = Strategy.load("llada").override({"gen_length": 4, "block": "whole", "steps": 2})
    outcome = run(strategy, PROMPTS, model)
    assert outcome.tokens.tolist() == [[5, 6, 7, 8]] * 3
    assert model.calls == len(model.canvases) == len(model.windows) == outcome.model_calls == 2
    assert (model.canvases[0][:, -4:] == SPECIAL.mask).all()
    assert (model.canvases[1][:, -4:] == SPECIAL.mask).sum() == 6


def test_the_scripted_model_answers_from_stale_columns_under_a_cache() -> None:
    seen: list[Tensor] = []

    def remember(tokens: Tensor, valid: Tensor) -> Tensor:
        seen.append(tokens.clone())
        return torch.zeros(*tokens.shape, VOCABULARY).index_fill(2, torch.tensor(5), 3.0)

    model = ScriptedDenoiser(remember)
    tokens = torch.full((1, 6), SPECIAL.mask)
    cache = model.new_cache()
    model.logits(ModelInputs(tokens, None, slice(2, 4), cache, None))
    tokens[:, :] = 7
    model.logits(ModelInputs(tokens, None, slice(2, 4), cache, slice(2, 4)))
    assert seen[1].tolist() == [[SPECIAL.mask] * 2 + [7] * 2 + [SPECIAL.mask] * 2]
    assert model.recomputed == [None, slice(2, 4)]


def test_hashed_logits_hang_on_every_token_and_on_nothing_else() -> None:
    canvas = canvas_of(PROMPTS, 6)
    whole = slice(0, canvas.length)
    model = ScriptedDenoiser()
    logits = model.logits(ModelInputs(canvas.tokens, canvas.valid, whole))
    alone = canvas_of(PROMPTS[:1], 6)
    same = model.logits(ModelInputs(alone.tokens, None, slice(0, alone.length)))
    assert torch.equal(logits[0, -alone.length :], same[0])
    canvas.tokens[0, -1] = 9
    changed = model.logits(ModelInputs(canvas.tokens, canvas.valid, whole))
    assert (changed[0, -6:] != logits[0, -6:]).any(1).all()
    assert torch.equal(changed[1:], logits[1:])


def test_selections_show_what_a_scheduler_commits_step_by_step() -> None:
    steps = selections("even", [[0.1, 0.9, 0.5], [0.4, 0.3, 0.2]], steps=2)
    assert [step.int().tolist() for step in steps] == [[[0, 1, 1], [1, 1, 0]], [[1, 0, 0], [0, 0, 1]]]


def test_an_infill_canvas_opens_what_is_none() -> None:
    canvas = infill_canvas([[None, 5, None], [7, None]])
    assert canvas.undecided.tolist() == [[True, False, True], [False, False, True]]
    assert canvas.valid.tolist() == [[True] * 3, [False, True, True]]
    assert canvas.padded and not canvas.uniform


def test_the_isolated_registry_shows_what_it_is_given_and_is_put_back() -> None:
    before = load_registry()
    with isolated(Best, Guess) as registry:
        assert "best" in registry.names("scheduler") and "even" in registry.names("scheduler")
        assert load_registry().task("guess").gen_length == 4
        with isolated(Best, defaults=False) as bare:
            assert bare.names("scheduler") == ["best"] and bare.names("recipe") == []
        assert "guess" in load_registry().names("task")
    assert "best" not in load_registry().names("scheduler")
    assert (
        load_registry().names("scheduler")
        == before.names("scheduler")
        == build_registry(None, None).names("scheduler")
    )


def test_the_isolated_registry_refuses_what_cannot_be_registered_and_is_put_back() -> None:
    class Idle(SchedulerConfig):
        name: Literal["idle"] = "idle"

    with pytest.raises(PluginError, match="Idle needs a method 'select'"), isolated(Idle):
        pass
    with pytest.raises(ConfigError, match="unknown scheduler 'idle'"):
        load_registry().part("scheduler", "idle")


def test_the_fixture_starts_anew_when_it_is_called_again(isolated_registry: Callable[..., Any]) -> None:
    assert "best" in isolated_registry(Best).names("scheduler")
    assert "best" not in isolated_registry().names("scheduler")


def test_the_kit_is_the_only_part_of_the_package_that_needs_pytest() -> None:
    code = "import sys, dllm_decode.cli, dllm_decode.model, dllm_search; assert 'pytest' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
