"""What every part promises while decoding, tested through the real engine in several compositions.

Knows compositions and how outcomes are compared; what one kind's methods may return is said by `kinds`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, ClassVar

import pytest
import torch

from dllm_decode.data.canvas import Canvas
from dllm_decode.data.inputs import SpecialTokens
from dllm_decode.errors import ConfigError, DecodeError
from dllm_decode.forward import read
from dllm_decode.forward.statistics import STATISTICS
from dllm_decode.parts.base import PartConfig
from dllm_decode.plugins.registry import load_registry
from dllm_decode.strategy.strategy import Strategy
from dllm_decode.testing.config_suite import PartSuite, fail, label
from dllm_decode.testing.running import PROMPTS, Outcome, canvas_of, infill_canvas, run
from dllm_decode.testing.scripted import SPECIAL, HeadedScriptedDenoiser, ScriptedDenoiser
from dllm_decode.testing.watch import watched

FOURS = {"name": "fixed", "length": 4}


@dataclass(frozen=True, slots=True)
class Setting:
    """A composition around the part, and how restless the model is."""

    name: str
    fields: dict[str, Any] = field(default_factory=dict)
    wander: float = 1.0


SETTINGS = (
    Setting("one token a step"),
    Setting("four steps", {"steps": 4}),
    Setting("blocks of four", {"block": FOURS, "steps": 6}, wander=0.0),
    Setting(
        "a threshold", {"block": FOURS, "scheduler": {"name": "threshold", "threshold": 0.4}}, wander=0.2
    ),
    Setting(
        "several blocks at once",
        {"block": {"name": "multi", "length": 3}, "scheduler": {"name": "threshold", "threshold": 0.3}},
        wander=0.2,
    ),
    Setting("a scaffold", {"layering": "scaffold", "steps": 3}),
    Setting("grids", {"layering": "grid", "block": FOURS, "steps": 9}),
    Setting(
        "a temperature",
        {"temperature": 0.9, "confidence": "random", "scheduler": {"name": "threshold", "threshold": 0.3}},
    ),
    Setting(
        "an end", {"block": FOURS, "scheduler": {"name": "threshold", "threshold": 0.2}, "stop": "eos"}, 0.1
    ),
)
BUDGETS = tuple((length, steps) for length in (1, 2, 5, 12) for steps in (None, 1, 3, 8))
"""Generation length in tokens and step budget."""
# No open position in the last row and one in the second, which is padded; the first has them anywhere.
INFILL: tuple[tuple[int | None, ...], ...] = (
    (None, 5, None, None, 7, 3, None, None, None),
    (5, 3, 7, 4, None),
    (8, 9, 3, 5, 6, 7, 4, 3, 9),
)


class DecodeSuite(PartSuite):
    """Checks of a part inside a decode. Subclasses for one kind are what plugin authors use."""

    methods: ClassVar[tuple[str, ...]]
    """The methods of the kind's protocol."""
    rows_stand_alone: ClassVar[bool] = True
    """False for a part that says in its documentation that a row may differ from the row alone."""

    def fault(self, part: PartConfig, method: str, arguments: tuple[Any, ...], answer: Any) -> str | None:
        """Say what is wrong with what a method returned, if anything."""
        return None

    def compositions(self, part: PartConfig) -> Iterator[tuple[Setting, Strategy]]:
        """Yield the settings that accept the part, at least one."""
        accepted, refusal = 0, ""
        for setting in SETTINGS:
            try:
                strategy = self.strategy(part, **setting.fields)
            except ConfigError as error:
                refusal = str(error)
                continue
            accepted += 1
            yield setting, strategy
        if not accepted:
            fail(
                f"{label(part)} fits none of the suite's compositions, the last of which says: {refusal}. If it needs "
                "certain other parts, name them in the suite's `host`."
            )

    def decoded(
        self,
        part: PartConfig,
        setting: str,
        strategy: Strategy,
        canvas: Canvas | Sequence[Any],
        **options: Any,
    ) -> Outcome:
        """Decode; a broken contract fails the test with the engine's own sentence."""
        try:
            return run(strategy, canvas, **options)
        except DecodeError as error:
            none = isinstance(error.__cause__, TypeError | AttributeError)
            hint = " A statistic that is None was not named in `needs`." if none else ""
            fail(f"{label(part)} with {setting}: {error}{hint}")
            raise

    def test_statistics_it_needs_are_known(self, part: PartConfig) -> None:
        """`needs` may name what the engine can compute and nothing else."""
        unknown = set(getattr(part.build(), "needs", ())) - STATISTICS
        if unknown:
            known = ", ".join(sorted(STATISTICS))
            fail(f"{label(part)} needs {', '.join(sorted(unknown))}; the engine computes {known}.")

    def test_everything_is_decided_and_nothing_given_is_touched(self, part: PartConfig) -> None:
        """A decode leaves the prompt as it is, no position undecided and no mask token behind."""
        for setting, strategy in self.compositions(part):
            model = ScriptedDenoiser(wander=setting.wander)
            outcome = self.decoded(part, setting.name, strategy, PROMPTS, denoiser=model)
            _whole(part, setting.name, canvas_of(PROMPTS, strategy.gen_length), outcome.canvas)

    def test_any_positions_may_be_open(self, part: PartConfig) -> None:
        """Infilling: open positions anywhere, one alone in a row, a row without any."""
        for setting, strategy in self.compositions(part):
            model = ScriptedDenoiser(wander=setting.wander)
            for rows in (INFILL, INFILL[2:]):
                where = f"{setting.name}, infilling"
                outcome = self.decoded(part, where, strategy, infill_canvas(rows), denoiser=model)
                _whole(part, where, infill_canvas(rows), outcome.canvas)

    def test_a_row_does_not_depend_on_its_batch_mates(self, part: PartConfig) -> None:
        """A row alone, in a padded batch and in another order: the same tokens for the same forwards."""
        if not self._independent(part):
            pytest.skip(f"{label(part)} declares that its rows depend on their batch mates")
        for setting, strategy in self.compositions(part):
            self._assert_rows_stand_alone(part, setting, strategy)

    def test_the_same_seed_gives_the_same_result_again(self, part: PartConfig) -> None:
        """A config decodes a second time as it did the first: what a decode remembers ends with it."""
        for setting, strategy in self.compositions(part):
            models = [ScriptedDenoiser(wander=setting.wander) for _ in range(2)]
            first, second = (
                self.decoded(part, setting.name, strategy, PROMPTS, denoiser=model, seed=7)
                for model in models
            )
            if not torch.equal(first.tokens, second.tokens) or first.model_calls != second.model_calls:
                fail(
                    f"{label(part)} with {setting.name}: two decodes with one seed differ. Draw randomness from "
                    "view.noise, never from torch's generator, and let build() return a fresh object where the part "
                    "remembers anything."
                )

    def test_no_row_takes_more_forwards_than_max_forwards_says(self, part: PartConfig) -> None:
        """What `show` prints before a decode is a bound on what the decode then costs."""
        for length, steps in BUDGETS:
            try:
                strategy = self.strategy(part, gen_length=length, steps=steps)
            except ConfigError:
                continue
            budget = f"{length} tokens in {steps or 'as many'} steps"
            outcome = self.decoded(part, budget, strategy, PROMPTS)
            most = int(outcome.forward_passes.max())
            if most > strategy.max_forwards():
                fail(
                    f"{label(part)} with {budget}: a row took {most} forwards, Strategy.max_forwards() promises at "
                    f"most {strategy.max_forwards()}. Correct the budget: a block's plan(), a layering's forwards()."
                )

    def test_it_works_under_every_cache_policy(self, part: PartConfig) -> None:
        """Reused keys and values change logits, never what a part may rely on."""
        if self.kind == "cache":
            pytest.skip("the part is a cache policy")
        for name in load_registry().names("cache"):
            policy = load_registry().find("cache", name)()
            for setting in SETTINGS[2:4]:
                try:
                    strategy = self.strategy(part, **setting.fields, cache=policy)
                except ConfigError:
                    continue  # a part may refuse caches, as long as it says so before decoding
                where = f"{setting.name} and cache {name}"
                outcome = self.decoded(part, where, strategy, PROMPTS)
                _whole(part, where, canvas_of(PROMPTS, strategy.gen_length), outcome.canvas)
                if self._independent(part) and not policy.batch_dependent:
                    self._assert_rows_stand_alone(part, Setting(where, wander=1.0), strategy)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
    def test_it_takes_logits_of_any_dtype(self, part: PartConfig, dtype: torch.dtype) -> None:
        """Models answer in their own dtype; scores stay float32."""
        for setting, strategy in islice(self.compositions(part), 3):
            where = f"{setting.name} and logits in {dtype}"
            model = ScriptedDenoiser(wander=setting.wander, dtype=dtype)
            outcome = self.decoded(part, where, strategy, PROMPTS, denoiser=model)
            _whole(part, where, canvas_of(PROMPTS, strategy.gen_length), outcome.canvas)

    def test_a_model_without_end_tokens_works_or_is_refused(self, part: PartConfig) -> None:
        """Not every model has EOS, EOT or newlines; a part that cannot do without says so in a ConfigError."""
        for setting, strategy in self.compositions(part):
            model = ScriptedDenoiser(special=SpecialTokens(mask=SPECIAL.mask), wander=setting.wander)
            try:
                run(strategy, PROMPTS, model)
            except ConfigError:
                continue
            except Exception as error:
                error.add_note(
                    f"Raised by {label(part)!r} on a model whose special.eos and special.eot are None."
                )
                raise

    def test_it_looks_at_open_positions_or_says_at_which_others(self, part: PartConfig) -> None:
        """Statistics of other positions are made for those alone who name them in `needs`."""
        for setting, strategy in self.compositions(part):
            outcomes = []
            for threshold in (0, sys.maxsize):  # leave out what may be left out, and nothing
                model = HeadedScriptedDenoiser(wander=setting.wander)
                with pytest.MonkeyPatch.context() as patch:
                    patch.setitem(read.WORTH_PICKING, "cpu", threshold)
                    outcomes.append(self.decoded(part, setting.name, strategy, PROMPTS, denoiser=model))
            if not torch.equal(outcomes[0].tokens, outcomes[1].tokens):
                fail(
                    f"{label(part)} with {setting.name}: it reads statistics of positions that are not open in the "
                    "step. Use view.open, or name \"undecided\" (those of the block) or \"decided\" (all of the "
                    "window) in `needs`."
                )

    def test_what_it_is_given_stays_as_it_was_and_what_it_returns_is_right(self, part: PartConfig) -> None:
        """Parts say what they want done; only the engine writes."""
        now = ""

        def report(fault: str) -> None:
            fail(f"{label(part)} with {now}: {fault}")

        spy = watched(part, self.methods, report, lambda *call: self.fault(part, *call))
        for setting, strategy in self.compositions(spy):
            now = setting.name
            model = ScriptedDenoiser(wander=setting.wander)
            self.decoded(part, now, strategy, PROMPTS, denoiser=model)
            self.decoded(part, now, strategy, infill_canvas(INFILL), denoiser=model)

    def _independent(self, part: PartConfig) -> bool:
        return self.rows_stand_alone and not getattr(part, "batch_dependent", False)

    def _assert_rows_stand_alone(self, part: PartConfig, setting: Setting, strategy: Strategy) -> None:
        """Fail if a row is not decoded alone as among others; asks nothing of a cache under blocks that differ by row.

        There a window covers the blocks of all rows, and the cache computes more for some of them.
        """
        if strategy.cache is not None and strategy.block.plan(strategy.steps, strategy.gen_length) is None:
            return
        everyone = list(range(len(PROMPTS)))

        def rows(chosen: list[int]) -> Outcome:
            prompts = [PROMPTS[row] for row in chosen]
            model = ScriptedDenoiser(wander=setting.wander)
            return self.decoded(part, setting.name, strategy, prompts, denoiser=model, row_ids=chosen)

        together = rows(everyone)
        for chosen in ([0], [1], [2, 1, 0]):
            apart = rows(chosen)
            for name, same in (
                ("tokens", torch.equal(apart.tokens, together.tokens[chosen])),
                ("forward passes", torch.equal(apart.forward_passes, together.forward_passes[chosen])),
            ):
                if not same:
                    fail(
                        f"{label(part)} with {setting.name}: a row's {name} depend on its batch mates. Compute row by "
                        "row (dim=1, never over the whole tensor), over view.open and not the whole window, which may "
                        "hold other rows' blocks; count columns from the generation region, and in "
                        "state that counts steps skip the rows outside with nothing in view.open."
                    )


def _whole(part: PartConfig, setting: str, before: Canvas, after: Canvas) -> None:
    """Fail unless every open position is decided and every other one is as it was."""
    given = ~before.undecided
    if not torch.equal(after.tokens[given], before.tokens[given]):
        fail(
            f"{label(part)} with {setting}: tokens that were given have changed; write to open positions only."
        )
    if after.undecided.any():
        fail(f"{label(part)} with {setting}: {int(after.undecided.sum())} positions were left undecided.")
    if (after.tokens[before.undecided] == before.mask_id).any():
        fail(f"{label(part)} with {setting}: the mask token was committed.")
