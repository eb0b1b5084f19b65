"""What a search is for: each objective is one class in one table.

An objective says what a study is told, who judges a trial, and what is chosen in the end. Settings, help and the study's
directions are read off the table. Imports no Optuna until a search runs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from dllm_decode.strategy.strategy import Strategy
from dllm_search.judge.judgement import Judge, Judgement, Shortfall
from dllm_search.judge.score import Score

if TYPE_CHECKING:
    import optuna

    from dllm_search.judge.candidate import Candidate
    from dllm_search.judge.choose import Choice
    from dllm_search.report.progress import Progress
    from dllm_search.search import Search
    from dllm_search.settings import Settings
    from dllm_search.space.space import Space

Direction = Literal["minimize", "maximize"]
FURTHER = 3
"""Strategies stopped for their cost that are judged in the end if nothing cheaper holds."""


class Goal(ABC):
    """An objective; the methods are given the search that asks."""

    name: ClassVar[str]
    said: ClassVar[str]
    """What it looks for, in the help of `--objective`."""
    values: ClassVar[dict[str, Direction]]
    """What a study is told of a trial, and which way is better."""
    samplers: ClassVar[tuple[str, ...]] = ("tpe", "nsga2")
    takes_time: ClassVar[bool] = True
    """Whether a cost that is measured in time may stand for forward passes."""
    promises: ClassVar[bool] = False
    """Whether what is chosen is proven to lose at most `max_drop`, so that this belongs to what a study is."""

    def margin(self, settings: Settings) -> float:
        """Return the loss of accuracy, as a fraction of 1, that counts as none."""
        from dllm_search.judge.choose import MARGIN

        return settings.max_drop / 100 if self.promises else MARGIN

    def pruner(self) -> optuna.pruners.BasePruner | None:
        """Return what stops trials early; None if nothing does."""
        return None

    def shortfall(self, search: Search, space: Space, progress: Progress) -> Shortfall | None:
        """Return how far trials are from being allowed; None is as the judge noted."""
        progress.reference = search.reference().score
        return None

    @abstractmethod
    def judge(self, search: Search, progress: Progress) -> Judge:
        """Return the judge of what a trial's strategy is worth."""

    def baseline(self, search: Search, scored: Sequence[Candidate]) -> Candidate:
        """Return the quality to keep."""
        return search.reference()

    def choose(
        self,
        search: Search,
        eligible: Sequence[Candidate],
        dearer: Sequence[Candidate],
        baseline: Candidate,
        score: Callable[[Strategy], Score],
    ) -> Choice:
        """Return what is chosen of what was tried.

        Args:
            search: Told of every candidate that is verified.
            eligible: Scored on the examples of a trial.
            dearer: Stopped because something was cheaper, with what was seen of them.
            baseline: The quality to keep.
            score: Scores a strategy on more tuning examples.
        """
        from dllm_search.judge.choose import choose

        return choose(eligible, baseline, score, search.tell_verified)


class Pareto(Goal):
    """Both at once: every trade of accuracy for cost."""

    name = "pareto"
    said = "accuracy up, cost down"
    values: ClassVar[dict[str, Direction]] = {"accuracy": "maximize", "cost": "minimize"}

    def shortfall(self, search: Search, space: Space, progress: Progress) -> Shortfall:
        """Return how far trials are below what tuning might make up for."""
        from dllm_search.judge.pareto import below_reach
        from dllm_search.space.baselines import baselines, reference_digests

        beside = None
        if not space.whole:
            # A limited space may not hold the quality to keep, so it is measured beside the study.
            (baseline,) = baselines(search.gen_length, limit=1)
            score = search.score(baseline)
            beside = score.accuracy
            if progress.reference is None or beside > progress.reference.accuracy:
                progress.reference = score
        return below_reach(reference_digests(search.gen_length), beside)

    def judge(self, search: Search, progress: Progress) -> Judge:
        """Return the judge that scores every example."""

        def judge(trial: optuna.Trial, strategy: Strategy) -> Judgement:
            found = search.score(strategy)
            return Judgement(found, (found.accuracy, found.cost))

        return judge

    def baseline(self, search: Search, scored: Sequence[Candidate]) -> Candidate:
        """Return the best reference that was scored."""
        from dllm_search.judge.choose import best_reference
        from dllm_search.space.baselines import reference_digests

        references = reference_digests(search.gen_length)
        return best_reference([c for c in scored if c.strategy.digest() in references])


class Constrained(Goal):
    """The cheapest that keeps the quality; trials end as soon as they cannot be it."""

    name = "constrained"
    said = "least cost within --max-drop; stops bad trials early"
    values: ClassVar[dict[str, Direction]] = {"cost": "minimize"}
    samplers = ("tpe",)
    promises = True

    def pruner(self) -> optuna.pruners.BasePruner:
        """Return the pruner that compares a trial with the best one."""
        from dllm_search.judge.constrained import pruner

        return pruner()

    def judge(self, search: Search, progress: Progress) -> Judge:
        """Return the judge that looks at no more examples than it needs."""
        from dllm_search.judge.constrained import ConstrainedJudge

        reference, settings = search.reference(), search.settings
        judge = ConstrainedJudge(
            search.score_rows,
            reference.score,
            reference.strategy.digest(),
            self.margin(settings),
            settings.seed,
            settings.batch_size,
        )
        paid = progress.saved
        progress.saved = lambda: judge.spared + paid()
        return judge

    def choose(
        self,
        search: Search,
        eligible: Sequence[Candidate],
        dearer: Sequence[Candidate],
        baseline: Candidate,
        score: Callable[[Strategy], Score],
    ) -> Choice:
        """Return the cheapest that is proven, else the baseline."""
        from dllm_search.judge.choose import choose

        # Stopped for being dearer than something that does not hold on more examples, they may be the next best.
        cheaper = (c for c in dearer if c.score.cost < baseline.score.cost)
        reserve = sorted(cheaper, key=lambda c: c.score.cost)[:FURTHER]
        margin = self.margin(search.settings)
        choice = choose(
            eligible, baseline, score, search.tell_verified, margin=margin, strict=True, reserve=reserve
        )
        if choice.chosen is baseline:
            search.say(
                f"nothing cheaper is proven to lose at most {100 * margin:g} points on {search.settings.verified} tuning "
                "examples, so the baseline stays; a larger --max-drop or more --verify-examples lets more be proven"
            )
        return choice


class Area(Goal):
    """The largest area under accuracy over parallelism."""

    name = "aup"
    said = "area under accuracy over tokens a forward"
    values: ClassVar[dict[str, Direction]] = {"aup": "maximize"}
    takes_time = False

    def judge(self, search: Search, progress: Progress) -> Judge:
        """Return the judge of the area from the baseline through a strategy."""
        from dllm_search.judge.area import area

        baseline = search.reference().score

        def judge(trial: optuna.Trial, strategy: Strategy) -> Judgement:
            found = search.score(strategy)
            return Judgement(found, (area(found, baseline),))

        return judge

    def choose(
        self,
        search: Search,
        eligible: Sequence[Candidate],
        dearer: Sequence[Candidate],
        baseline: Candidate,
        score: Callable[[Strategy], Score],
    ) -> Choice:
        """Return the largest area of a few on more examples."""
        from dllm_search.judge.area import area
        from dllm_search.judge.choose import choose_area

        return choose_area(eligible, baseline, score, area, search.tell_verified)


GOALS: dict[str, Goal] = {goal.name: goal for goal in (Pareto(), Constrained(), Area())}
"""Name, as `--objective` takes it -> what it is."""
