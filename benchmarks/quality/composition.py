"""Search for a composition of parts that no recipe has, by AUP on the tuning split; writes results/composition.json.

Starts from every rule in every kind of block, changes one axis at a time, and gives more examples to fewer
compositions in every round. What it finds is measured on the test split by `python -m benchmarks.quality.recipes`.

    python -m benchmarks.quality.composition [--examples 16,32,48,160] [--keep 6,4,4,1] [--tasks line,square] [--processes 2]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.lib.composition_space import NOVEL, PARTS, SPACE, Composition, Space, is_new
from benchmarks.lib.pieces import Measured, Piece, Workers
from benchmarks.quality.recipes import FOUND
from dllm_decode.errors import ConfigError, DecodeError
from dllm_decode.evaluate.statistics import aup
from dllm_decode.files import write_atomically
from dllm_decode.plugins.registry import load_registry
from dllm_decode.tasks import TASKS


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a composition came to on so many tuning examples of every task."""

    composition: Composition
    examples: int
    tasks: Mapping[str, tuple[float, float]]
    """AUP, and AUP with the first rectangle discounted, by task."""
    points: Mapping[str, list[tuple[str, float, float]]]
    """(label, tokens per forward, accuracy in percent) by task."""

    @property
    def value(self) -> float:
        """Mean AUP."""
        return sum(plain for plain, _ in self.tasks.values()) / len(self.tasks)

    @property
    def score(self) -> float:
        """Mean AUP with the first rectangle discounted: the stricter of the two decides."""
        return sum(discounted for _, discounted in self.tasks.values()) / len(self.tasks)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "name": self.composition.name,
            "options": dict(self.composition.options),
            "examples": self.examples,
            "aup": self.value,
            "aup_first_discounted": self.score,
            "tasks": {
                task: {"aup": plain, "aup_first_discounted": strict}
                for task, (plain, strict) in self.tasks.items()
            },
            "points": {task: [list(point) for point in points] for task, points in self.points.items()},
        }


class Search:
    """Rounds with more examples for fewer compositions."""

    def __init__(self, space: Space, workers: Workers, lengths: Mapping[str, int]) -> None:
        """Take the space, the processes, and each task's answer length."""
        self.space, self.workers, self.lengths = space, workers, lengths
        self.attempts: dict[tuple[Composition, int], Attempt] = {}
        self.refused: dict[str, str] = {}

    def run(self, examples: Sequence[int], keep: Sequence[int]) -> list[Attempt]:
        """Return the last round's new compositions, best first."""
        front = self.space.start()
        for number, (count, kept) in enumerate(zip(examples, keep, strict=True)):
            last = number == len(examples) - 1
            ranked = self.round(front, count)
            if last:
                return [attempt for attempt in ranked if is_new(self.space, attempt.composition)][:kept]
            best = [attempt.composition for attempt in ranked[:kept]]
            if number == len(examples) - 2:
                # The last round is for what may be reported: half of its places are for new compositions.
                new = [attempt.composition for attempt in ranked if is_new(self.space, attempt.composition)]
                front = list(dict.fromkeys([*new[:kept], *best]))
            else:
                # The first round has crossed rules with blocks already.
                fixed = ("rule", "block") if number == 0 else ("rule",)
                front = list(dict.fromkeys(c for one in best for c in self.space.neighbours(one, fixed)))
        return []

    def round(self, compositions: Iterable[Composition], examples: int) -> list[Attempt]:
        """Measure compositions on the first `examples` tuning examples of every task; return attempts, best first."""
        pieces: dict[Composition, dict[str, list[tuple[str, Piece]]]] = {}
        for composition in compositions:
            try:
                pieces[composition] = self._pieces(composition, examples)
            except DecodeError as error:
                self.refused[composition.name] = str(error)
        wanted = [piece for by_task in pieces.values() for points in by_task.values() for _, piece in points]
        known = self.workers.measure(wanted, f"{len(pieces)} compositions, {examples} examples:")
        best = {task: 0.0 for task in self.lengths}
        for piece, measured in known.items():
            best[piece.task] = max(best[piece.task], 100 * measured.accuracy)
        for composition, by_task in pieces.items():
            attempt = self._attempt(composition, examples, by_task, known, best)
            if attempt is not None:
                self.attempts[composition, examples] = attempt
        done = [self.attempts[c, examples] for c in pieces if (c, examples) in self.attempts]
        done.sort(key=lambda attempt: -attempt.score)
        for attempt in done[:5]:
            sys.stderr.write(f"  {attempt.score:6.1f} {attempt.value:6.1f}  {attempt.composition.name}\n")
        return done

    def _pieces(self, composition: Composition, examples: int) -> dict[str, list[tuple[str, Piece]]]:
        curve = self.space.curve(composition)
        pieces: dict[str, list[tuple[str, Piece]]] = {}
        for task, length in self.lengths.items():
            points = [point for point in curve.points(length) if point.strategy is not None]
            if not points:
                raise ConfigError(curve.point(0, length).problem)
            pieces[task] = [(p.label, Piece.of(task, "tune", examples, p.strategy)) for p in points if p.strategy]
        return pieces

    def _attempt(
        self,
        composition: Composition,
        examples: int,
        by_task: Mapping[str, list[tuple[str, Piece]]],
        known: Mapping[Piece, Measured],
        best: Mapping[str, float],
    ) -> Attempt | None:
        scores, points = {}, {}
        for task, labelled in by_task.items():
            found = [(label, known[piece].outcomes) for label, piece in labelled]
            curve = [(label, *outcomes.point()) for label, outcomes in found if outcomes is not None]
            if not curve:
                self.refused[composition.name] = known[labelled[0][1]].problem
                return None
            where = [(rho, accuracy) for _, rho, accuracy in curve]
            scores[task] = (aup(where, best[task]), aup(where, best[task], discount_first=True))
            points[task] = curve
        return Attempt(composition, examples, scores, points)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the search; return an exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality.composition", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--space", type=Path, default=SPACE)
    parser.add_argument("--examples", type=whole_numbers, default=[16, 32, 48, 160], help="a task, in every round")
    parser.add_argument("--keep", type=whole_numbers, default=[6, 4, 4, 1], help="compositions, after every round")
    parser.add_argument("--tasks", help="comma-separated; all of them if not given")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--out", type=Path, default=FOUND)
    options = parser.parse_args(arguments)
    if len(options.examples) != len(options.keep):
        parser.error("--examples and --keep should give equally many rounds")
    registry = load_registry()
    try:
        names = options.tasks.split(",") if options.tasks else [task.name for task in TASKS]
        lengths = {name: registry.task(name).gen_length for name in names}
        with Workers(options.model, processes=options.processes, batch_size=options.batch_size) as workers:
            search = Search(Space.read(options.space), workers, lengths)
            finalists = search.run(options.examples, options.keep)
            setup = next((one.setup for one in workers.known.values() if one.setup), {})
    except DecodeError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    record = report(search, finalists, options.examples, options.keep) | {"setup": setup}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(options.out, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    return 0


def report(
    search: Search, finalists: Sequence[Attempt], examples: Sequence[int], keep: Sequence[int]
) -> dict[str, Any]:
    """Return the record: how it was searched, what was tried, and the finalists as entries of curves.yaml."""
    entries = {}
    for attempt in finalists:
        curve = search.space.curve(attempt.composition)
        vary = {path: list(values) for path, values in curve.vary.items()}
        entries[curve.name] = {"strategy": curve.source, "vary": vary}
    rounds = ", then ".join(
        f"{len([1 for _, count in search.attempts if count == n])} curves on {n} examples" for n in examples
    )
    method = (
        "Compositions of the options in `benchmarks/composition.yaml` were scored on the tuning split by mean AUP with "
        f"the first rectangle discounted: {rounds} of every task. The search begins with every rule in every kind of "
        "block, and changes one axis of the best at a time; the options were extended once, in view of the tuning "
        "split alone, and a comment in the file says how. A composition counts as new if it differs from every "
        f"published recipe in at least {NOVEL} of {', '.join(PARTS)}; whole and fixed blocks count as one."
    )
    ordered = sorted(search.attempts.values(), key=lambda attempt: (-attempt.examples, -attempt.score))
    return {
        "method": method,
        "rounds": {"examples": list(examples), "keep": list(keep)},
        "finalists": entries,
        "attempts": [attempt.to_dict() for attempt in ordered],
        "refused": search.refused,
    }


def whole_numbers(text: str) -> list[int]:
    """Read a command line's comma-separated whole numbers."""
    return [int(part) for part in text.split(",")]


if __name__ == "__main__":
    sys.exit(main())
