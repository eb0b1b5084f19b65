"""What a constrained search spends beside an exhaustive grid: `python -m benchmarks.quality.grid --task line`.

Knows how a small space is enumerated and how forwards are counted; searching and judging are the search's own. Both
sides judge on the same examples of the tuning split, and every (strategy, example) counts once, kept or not.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dllm_decode.errors import ConfigError, DecodeError
from dllm_decode.files import write_atomically
from dllm_decode.strategy.strategy import Strategy
from dllm_search.judge.candidate import Candidate
from dllm_search.judge.objective import RowObjective
from dllm_search.judge.score import Score
from dllm_search.search import Search
from dllm_search.settings import Settings
from dllm_search.space.space import Space
from dllm_search.trials import study as studies
from dllm_search.trials.record import Tried

OUT = Path(__file__).parents[1] / "results" / "grid.json"
LARGEST = 60
"""Points of the grid, at most."""
GRID: dict[str, Any] = {
    "block": ["whole", "fixed"],
    "block.fixed.length": {"choices": [4, 8]},
    "layering": "single",
    "confidence": "top-probability",
    "logits": "none",
    "stop": ["none", "eos"],
    "revise": "none",
    "scheduler": ["even", "threshold"],
    "scheduler.threshold.threshold": {"choices": [0.5, 0.6, 0.7, 0.8, 0.9, 0.95]},
    "steps": {"choices": [4, 8, 12, 16]},
}
"""LLaDA's rule and Fast-dLLM's threshold at three block lengths, with and without the end at EOS."""


class Odometer(dict[str, Any]):
    """Parameters of every point of a space, one point after another; those a point does not ask for are left out."""

    def __init__(self, space: Space) -> None:
        """Begin at the first point."""
        super().__init__()
        self._space = space
        self._wheels: list[tuple[str, int]] = []

    def __missing__(self, name: str) -> Any:
        """Take the first choice of a parameter that is asked for."""
        self._wheels.append((name, 0))
        return self._take(name, 0)

    def advance(self) -> bool:
        """Go on to the next point; return False after the last."""
        while self._wheels:
            name, place = self._wheels.pop()
            del self[name]
            if place + 1 < len(self._space.range_of(name).choices):
                self._wheels.append((name, place + 1))
                self._take(name, place + 1)
                return True
        return False

    def _take(self, name: str, place: int) -> Any:
        one = self._space.range_of(name)
        self[name] = one.parameter(one.choices[place])
        return self[name]


def points(space: Space) -> Iterator[Strategy]:
    """Yield every different strategy of a space whose parameters are all choices; refused combinations are left out."""
    if open_ends := sorted(name for name, one in space.ranges().items() if one.kind != "choice"):
        raise ConfigError(f"grid: {', '.join(open_ends)} should be choices, or there is no end of points")
    odometer, seen = Odometer(space), set()
    while True:
        with suppress(ConfigError):
            strategy = space.build(odometer)
            if strategy.digest() not in seen:
                seen.add(strategy.digest())
                yield strategy
        if not odometer.advance():
            return


@dataclass
class Meter:
    """Passes questions on to an objective and counts what the answers would cost if nothing were kept."""

    objective: RowObjective
    passes: dict[tuple[str, str, int], int] = field(default_factory=dict)

    def __call__(self, strategy: Strategy, split: str, examples: int) -> Score:
        """Return the score on the first examples."""
        return self.rows(strategy, split, range(examples))

    def rows(self, strategy: Strategy, split: str, rows: Sequence[int]) -> Score:
        """Return the score on the examples at these places."""
        score = self.objective.rows(strategy, split, rows)
        for row, forwards in zip(rows, score.forwards, strict=True):
            self.passes[strategy.digest(), split, row] = forwards
        return score

    @property
    def forwards(self) -> int:
        """Forward passes of single examples so far, every (strategy, example) once."""
        return sum(self.passes.values())


def compare(
    objective: RowObjective, task: str, space: Space, *, examples: int, trials: int, max_drop: float, seed: int
) -> dict[str, Any]:
    """Run the grid and the search; return what each spent and found.

    The result of the grid is its cheapest point that drops no more than `max_drop` points below LLaDA's rule at its
    best block length. The search has reached it from the trial on in which it has seen, on all examples, something
    that holds as well and costs no more.

    Args:
        objective: Scores any examples of the tuning split.
        task: The task's name.
        space: Choices only.
        examples: For every point and, at most, every trial.
        trials: Of the search.
        max_drop: Points.
        seed: Of the search.
    """
    strategies = list(points(space))
    if len(strategies) > LARGEST:
        raise ConfigError(f"grid: {len(strategies)} points are more than {LARGEST}")
    settings = Settings(
        trials=trials, objective="constrained", max_drop=max_drop, examples=examples, seed=seed
    )
    paid = Meter(objective)
    search = Search(task, space.gen_length, paid, settings, lambda line: None)
    reference = search.reference()
    grid = Meter(objective)
    found = [Candidate(strategy, grid(strategy, "tune", examples)) for strategy in strategies]
    best = cheapest(found, reference, max_drop / 100)

    study = studies.open_study(None, f"grid-{task}", {"objective": "constrained", "everything": False})
    search.begin(study, space)
    spent_after = {"forwards": paid.forwards, "trials": 0}
    reached: dict[str, int] | None = None

    def watch(tried: Tried) -> None:
        nonlocal reached
        spent_after.update(forwards=paid.forwards, trials=spent_after["trials"] + 1)
        if tried.candidate is None or tried.reason or reached is not None:
            return
        holds = cheapest([tried.candidate], reference, max_drop / 100)
        if best is not None and holds is not None and holds.score.cost <= best.score.cost:
            reached = dict(spent_after)

    search.run(study, space, watch)
    return {
        "task": task,
        "examples": examples,
        "max_drop": max_drop,
        "seed": seed,
        "reference": reference.to_dict(),
        "grid": {"points": len(strategies), "forwards": grid.forwards, "best": best and best.to_dict()},
        "search": {
            "trials": spent_after["trials"],
            "forwards": paid.forwards,
            "reached_grid_best": reached,
            "best": (own := cheapest(search.tried(study), reference, max_drop / 100)) and own.to_dict(),
        },
        "share_of_grid": paid.forwards / grid.forwards,
        "share_of_grid_until_reached": reached["forwards"] / grid.forwards if reached else None,
    }


def cheapest(found: Sequence[Candidate], reference: Candidate, max_drop: float) -> Candidate | None:
    """Return the cheapest that drops no more than allowed, the more accurate among equals; None if none does."""
    fit = [c for c in found if c.score.accuracy >= reference.score.accuracy - max_drop - 1e-9]
    return min(fit, key=lambda c: (c.score.cost, -c.score.accuracy), default=None)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare on one task and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default="line")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--max-drop", type=float, default=1.0, help="points of accuracy")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args(arguments)
    from dllm_decode.evaluate.record import device_name, versions
    from dllm_search.judge.objective import TaskObjective
    from dllm_search.preparing import as_task, load

    try:
        task = as_task(given.task)
        space = Space.everything(task.gen_length).limited(GRID)
        lm = load(given.model, None, None)
        objective = TaskObjective(lm, task, batch_size=given.batch_size, seed=given.seed)
        result = compare(
            objective,
            task.name,
            space,
            examples=given.examples,
            trials=given.trials,
            max_drop=given.max_drop,
            seed=given.seed,
        )
    except DecodeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    result |= {
        "command": f"python -m benchmarks.quality.grid --task {task.name} --examples {given.examples} "
        f"--trials {given.trials} --max-drop {given.max_drop:g} --seed {given.seed}",
        "model": lm.name,
        "model_fingerprint": lm.fingerprint,
        "dtype": str(lm.dtype).removeprefix("torch."),
        "device_name": device_name(lm.device),
        "versions": versions(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_atomically(given.out, json.dumps(result, indent=1) + "\n")
    print(
        f"grid: {result['grid']['points']} points, {result['grid']['forwards']} forwards; search: "
        f"{result['search']['forwards']} forwards, {result['share_of_grid']:.0%} of the grid; "
        f"the grid's best was reached after {result['search']['reached_grid_best']}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
