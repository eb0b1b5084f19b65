"""Measures what was chosen, its baseline, its controls and its ablations on the test split.

Knows which controls a claim needs; leaves choosing to `select` and telling to `report`. Used only after the choice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dllm_decode.errors import ContractError, DecodeError
from dllm_decode.strategy.strategy import Strategy
from dllm_search.judge.candidate import Candidate
from dllm_search.judge.choose import Choice, best_reference
from dllm_search.judge.objective import Objective
from dllm_search.judge.score import Score
from dllm_search.report.ablation import set_back
from dllm_search.report.progress import Say
from dllm_search.report.report import Row, compare
from dllm_search.space.baselines import baselines, equal_forwards, random_order


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The test split of one search."""

    objective: Objective
    examples: int
    """Of the test split."""
    gen_length: int
    tune_score: Callable[[Strategy], Score]
    """Scores a strategy on the tuning examples, to pick the best of several controls."""
    say: Say

    def rows(self, choice: Choice) -> tuple[Row, ...]:
        """Return baseline, chosen and controls, each compared with the baseline on the same examples."""
        chosen, baseline = choice.chosen, choice.baseline
        for candidate, reason in choice.failed:
            self.say(f"{candidate.name} is left out: {reason}")
        controls = self._controls(choice)
        self.say(f"measuring on {self.examples} examples of the test split")
        reference = self._test(baseline.strategy)
        rows = [
            compare("baseline", f"{baseline.name}, one token a step", baseline.strategy, reference, reference)
        ]
        if chosen is not baseline:
            try:
                score = self._test(chosen.strategy)
                rows.append(compare("chosen", chosen.name, chosen.strategy, score, reference))
            except ContractError as error:
                self.say(f"{chosen.name}, which was chosen, fails on the test split, so the baseline stays: {error}")
        for name, strategy in controls:
            try:
                rows.append(compare("control", name, strategy, self._test(strategy), reference))
            except DecodeError as error:
                self.say(f"{name} is left out: {error}")
        return tuple(rows)

    def ablation(self, chosen: Row, baseline: Row) -> tuple[tuple[str, Row | None, str], ...]:
        """Measure the chosen strategy with one part set back to the baseline's, on the test split."""
        found: list[tuple[str, Row | None, str]] = []
        for what, strategy, reason in set_back(chosen.strategy, baseline.strategy):
            if strategy is None:
                found.append((what, None, reason))
                continue
            try:
                score = self._test(strategy)
            except DecodeError as error:
                found.append((what, None, str(error)))
                continue
            found.append((what, compare("ablation", what, strategy, score, chosen.score), ""))
        return tuple(found)

    def _controls(self, choice: Choice) -> list[tuple[str, Strategy]]:
        chosen, baseline = choice.chosen, choice.baseline
        published = baselines(self.gen_length)
        controls = [(s.name, s) for s in published if s.name.startswith(("said ", "fast-dllm"))]
        shown: dict[str, tuple[str, Strategy]] = {}
        for name, strategy in controls:
            shown.setdefault(f"{name.split()[0]} {strategy.steps}", (name, strategy))
        found = list(shown.values())
        if choice.bolder is not None:
            found.insert(0, (f"{choice.bolder.name}, cheaper, equal on tune", choice.bolder.strategy))
        if chosen is not baseline:
            # What the chosen one's forwards are worth, so that running the model twice is no advantage.
            forwards = chosen.score.plain_forwards
            even = [Candidate(s, self.tune_score(s), s.name) for s in equal_forwards(self.gen_length, forwards)]
            if even:
                best = best_reference(even)
                found.append((f"{best.name}, equal forwards", best.strategy))
            blind = random_order(self.gen_length, forwards)
            if blind is not None:
                found.append((f"{blind.name}, random order", blind))
        unique = {
            s.digest(): (name, s) for name, s in reversed(found) if s.digest() != chosen.strategy.digest()
        }
        return list(reversed(unique.values()))

    def _test(self, strategy: Strategy) -> Score:
        return self.objective(strategy, "test", self.examples)
