"""A search from beginning to end: baselines, trials, choice, test, report.

Knows the order of things; each step lives in a module of its own. Works with any objective, the tests' own included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import optuna

from dllm_decode.errors import ConfigError, ContractError
from dllm_decode.strategy.strategy import Strategy
from dllm_search.judge.candidate import Candidate
from dllm_search.judge.choose import Choice, Verified, best_reference, pareto_front
from dllm_search.judge.constrained import DEARER, part
from dllm_search.judge.costs import Stopwatch
from dllm_search.judge.objective import Objective
from dllm_search.judge.score import Score
from dllm_search.report.held_out import HeldOut
from dllm_search.report.importance import importances
from dllm_search.report.progress import Progress, Say, shown_cost
from dllm_search.report.report import Report, evidence
from dllm_search.settings import Settings
from dllm_search.space.baselines import baselines, reference_digests
from dllm_search.space.space import Space
from dllm_search.trials import study as studies
from dllm_search.trials.driver import run
from dllm_search.trials.generations import Plan
from dllm_search.trials.record import STOPPED, Tried, candidate_of, judged, shortfalls_as_noted

FEWEST_RACED = 32
"""Examples on which a reference is looked at, at least, before it is given up for another."""


def plain(strategy: Strategy) -> float:
    """Return 1: every forward counts as one."""
    return 1.0


@dataclass(slots=True)
class Search:
    """One search of one task with one objective."""

    task: str
    gen_length: int
    objective: Objective
    settings: Settings
    say: Say
    stopwatch: Stopwatch | None = None
    """Where time is the cost."""
    work: Callable[[Strategy], float] = plain
    """Plain forwards that one forward of a strategy is worth."""
    nearest: Sequence[Strategy] = ()
    """Found for similar tasks earlier; tried right after the reference."""
    at_once: int = 1
    """Strategies that are scored at the same time, where an executor has several workers."""
    _reference: Candidate | None = None

    def begin(self, study: optuna.Study, space: Space) -> list[Strategy]:
        """Note in a new study what it tries first; return those of it that only count as controls."""
        for failure in space.failures():
            self.say(f"left out where it fails: {failure}")
        # What is near may have changed since a study was begun; its own first trials may not.
        first = studies.note_first(study, self.first())
        return [strategy for strategy in first if space.parameters(strategy) is None]

    def first(self) -> list[Strategy]:
        """Return what a new study tries first: the reference, what similar tasks chose, published settings."""
        known = self._known()
        return [*known[:1], *self.nearest, *known[1:]]

    def run(self, study: optuna.Study, space: Space, watch: Callable[[Tried], None] | None = None) -> None:
        """Try strategies until the study holds as many as asked for; `watch` is told of every trial."""
        settings = self.settings
        progress = self.progress()
        judge = settings.goal.judge(self, progress)
        for candidate in self.tried(study):
            progress.see(candidate)
        for candidate in self.stopped(study):
            progress.see(candidate, stopped=True)

        def told(tried: Tried) -> None:
            progress.tell(tried)
            if watch is not None:
                watch(tried)

        ended = run(
            study,
            self.plan(study, space, progress),
            judge,
            trials=settings.trials,
            at_once=self.at_once,
            timeout=settings.timeout,
            on_trial=told,
        )
        self.say(f"search ended: {ended}")

    def plan(self, study: optuna.Study, space: Space, progress: Progress) -> Plan:
        """Return what decides what the study tries."""
        settings = self.settings
        return Plan(
            space,
            studies.note_first(study, self.first()),
            study.user_attrs[studies.SETUP].get("generation") or settings.width(),
            settings.seed,
            settings.sampler,
            settings.goal.shortfall(self, space, progress) or shortfalls_as_noted,
            settings.goal.pruner(),
        )

    def score(self, strategy: Strategy) -> Score:
        """Return the score on the examples that every trial sees."""
        return self._timed(strategy, self.objective(strategy, "tune", self.settings.examples))

    def on_test(self, strategy: Strategy, split: str, examples: int) -> Score:
        """Return the score on another split; nothing is timed there."""
        return replace(self.objective(strategy, split, examples), work=self.work(strategy))

    def reference(self) -> Candidate:
        """Return LLaDA's rule at one step a token and its best block length, scored on every example of a trial.

        Under an objective that stops trials early, a block length that gains nothing on the first third of the examples
        is looked at no further.
        """
        if self._reference is None:
            wanted = reference_digests(self.gen_length)
            known = [s for s in baselines(self.gen_length) if s.digest() in wanted]
            best = Candidate(known[0], self.score(known[0]), known[0].name)
            for strategy in known[1:]:
                if self._may_beat(strategy, best.score):
                    best = best_reference([best, Candidate(strategy, self.score(strategy), strategy.name)])
            self._reference = best
        return self._reference

    def _may_beat(self, strategy: Strategy, best: Score) -> bool:
        if self.settings.goal.pruner() is None:
            return True
        few = range(min(best.n, max(FEWEST_RACED, best.n // 3)))
        return self.score_rows(strategy, few).accuracy > part(best, few).accuracy

    def score_rows(self, strategy: Strategy, places: Sequence[int]) -> Score:
        """Return the score on the tuning examples at these places."""
        rows = getattr(self.objective, "rows", None)
        if rows is None:
            raise ConfigError(f"objective {self.settings.objective} stops early, so it needs an objective that scores any rows")
        return self._timed(strategy, rows(strategy, "tune", places))

    def tried(self, study: optuna.Study) -> list[Candidate]:
        """Return every strategy that the study has scored, once, in order."""
        return [candidate_of(trial) for trial in judged(studies.complete(study)).values()]

    def stopped(self, study: optuna.Study, reason: str = "") -> list[Candidate]:
        """Return the strategies stopped early for a reason and never scored whole, with what was seen of them."""
        whole = judged(studies.complete(study))
        found = judged(studies.stopped(study))
        return [
            candidate_of(trial)
            for digest, trial in found.items()
            if digest not in whole and reason in trial.user_attrs[STOPPED]
        ]

    def conclude(self, study: optuna.Study, record: dict[str, Any]) -> Report:
        """Choose on the tuning split, measure on the test split, and say what came out.

        Args:
            study: With its trials done. Baselines that its space cannot express may be chosen if that is the space over
                everything.
            record: What the report should say of the setup.
        """
        tried, stopped = self.tried(study), self.stopped(study)
        known = {candidate.strategy.digest() for candidate in (*tried, *stopped)}
        outside = self._scored(self._outside(known))
        everything = study.user_attrs["setup"].get("everything", True)
        eligible = [*tried, *outside] if everything else tried
        if not (tried or outside):
            raise ConfigError("every strategy was refused, so there is nothing to choose from; the reasons stand above")
        baseline = self.settings.goal.baseline(self, [*tried, *outside])
        self.say(
            f"baseline: {baseline.name}, {100 * baseline.score.accuracy:.1f} % at "
            f"{baseline.score.forward_passes:.1f} forwards on {baseline.score.n} tuning examples"
        )
        choice = self._choice(eligible, self.stopped(study, DEARER), baseline)
        held_out = HeldOut(
            self.on_test, self.settings.test_examples, self.gen_length, self.score, self.say
        )
        rows = held_out.rows(choice)
        chosen = next((row for row in rows if row.role == "chosen"), rows[0])
        front = pareto_front([*tried, *outside])
        verified = [
            {
                "strategy_digest": v.candidate.strategy.digest(),
                "name": v.candidate.name,
                "n": v.score.n,
                "accuracy": v.score.accuracy,
                "difference": v.against.difference,
                "difference_interval": list(v.against.interval),
                "verdict": v.verdict,
            }
            for v in choice.verified
        ]
        record = {
            **record,
            "trials": len(tried) + len(stopped),
            "stopped_early": len(stopped),
            "cost": self._cost_record(choice),
            "verified_on_tune": verified,
        }
        return Report(
            self.task,
            chosen,
            rows,
            tuple(front),
            (*tried, *outside),
            evidence(rows, self.settings.goal.margin(self.settings)),
            record,
            held_out.ablation(chosen, rows[0]),
            importances(study),
        )

    def _choice(self, eligible: list[Candidate], dearer: list[Candidate], baseline: Candidate) -> Choice:
        def score(strategy: Strategy) -> Score:
            return self._timed(strategy, self.objective(strategy, "tune", self.settings.verified))

        return self.settings.goal.choose(self, eligible, dearer, baseline, score)

    def progress(self) -> Progress:
        settings = self.settings
        kept = getattr(self.objective, "spent", None)
        return Progress(
            self.say,
            settings.trials,
            reference_digests(self.gen_length),
            margin=self.settings.goal.margin(self.settings),
            saved=lambda: 0.0 if kept is None else kept.kept,
        )

    def _timed(self, strategy: Strategy, score: Score) -> Score:
        score = replace(score, work=self.work(strategy))
        if self.stopwatch is None or self.settings.timed is None:
            return score
        return replace(score, measured=self.settings.timed.relative(self.stopwatch(strategy)))

    def _cost_record(self, choice: Choice) -> dict[str, Any]:
        if self.stopwatch is None:
            return {"of": self.settings.cost}
        return {
            "of": self.settings.cost,
            "batch_size": self.stopwatch.batch_size,
            "timed_beside": self.stopwatch.baseline.name,
            "chosen": asdict(self.stopwatch(choice.chosen.strategy)),
        }

    def _known(self) -> list[Strategy]:
        return baselines(self.gen_length, limit=max(4, self.settings.trials * 3 // 5))

    def _outside(self, known: set[str]) -> list[Strategy]:
        """Return the baselines that the study could not express; the reference is always in one of the two."""
        return [s for s in self._known() if s.digest() not in known]

    def _scored(self, strategies: Sequence[Strategy]) -> list[Candidate]:
        """Score strategies; what the model or its parts refuse is said and left out."""
        found = []
        for strategy in strategies:
            try:
                found.append(Candidate(strategy, self.score(strategy), strategy.name))
            except (ConfigError, ContractError) as error:
                self.say(f"{strategy.name} is left out: {error}")
        return found

    def tell_verified(self, verified: Verified) -> None:
        """Say what more examples brought of a candidate."""
        change = verified.against
        self.say(
            f"  {verified.candidate.name} at {shown_cost(verified.score)}: "
            f"{100 * change.difference:+.1f} points on {verified.score.n} tuning examples "
            f"({100 * change.interval[0]:+.1f} to {100 * change.interval[1]:+.1f}), "
            f"{verified.verdict}"
        )
