"""Measure every recipe on every task at several speeds, beside its controls, and write docs/results.md.

Outcomes are kept, so a run that was cut off goes on where it stopped, and a second run only prints.

    python -m benchmarks.quality.recipes [--limit 500] [--tasks line,square] [--curves said,fast-dllm] [--processes 2]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.lib import recipe_page
from benchmarks.lib.curves import FILE, Curve, block_choices, judged_point, load_curves
from benchmarks.lib.pieces import Measured, Piece, Workers
from benchmarks.lib.recipe_results import SWEEP, Cell, Control, Results
from dllm_decode.errors import DecodeError
from dllm_decode.files import write_atomically
from dllm_decode.plugins.registry import load_registry
from dllm_decode.strategy.strategy import Strategy
from dllm_decode.tasks import TASKS
from dllm_search.space.baselines import equal_forwards, random_order

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "recipes.json"
FOUND = ROOT / "benchmarks" / "results" / "composition.json"
DOCS = ROOT / "docs"
TUNE_EXAMPLES = 100
"""Examples of the tuning split on which block lengths are chosen."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return an exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality.recipes", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--limit", type=int, default=500, help="examples of the test split")
    parser.add_argument("--tune-examples", type=int, default=TUNE_EXAMPLES, help="to choose block lengths on")
    parser.add_argument("--tasks", help="comma-separated; all of them if not given")
    parser.add_argument("--curves", help="comma-separated names from curves.yaml or recipes; all if not given")
    parser.add_argument("--declared", type=Path, default=FILE, help="the file of curves")
    parser.add_argument("--found", type=Path, default=FOUND, help="what benchmarks.quality.composition wrote")
    parser.add_argument("--processes", type=int, default=2, help="worker processes, one thread each")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder of results.md and results-TASK.md")
    options = parser.parse_args(arguments)
    try:
        with Workers(
            options.model, processes=options.processes, batch_size=options.batch_size, seed=options.seed
        ) as workers:
            Benchmark(options, workers).run()
    except DecodeError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; the same command goes on where this one stopped\n")
        return 130
    return 0


class Benchmark:
    """One run: block lengths on the tuning split, then every curve, then the controls of the layered ones."""

    def __init__(self, options: argparse.Namespace, workers: Workers) -> None:
        """Take the command's options; read what is to be measured."""
        self.options, self.workers = options, workers
        names = options.tasks.split(",") if options.tasks else [task.name for task in TASKS]
        self.lengths = {name: load_registry().task(name).gen_length for name in names}
        self.search = _read(options.found)
        self.curves = load_curves(options.declared, self.search.get("finalists"))
        if options.curves:
            known = {curve.name: curve for curve in self.curves}
            self.curves = [known[name] for name in options.curves.split(",") if name in known]
        self.blocks: dict[tuple[str, str], int | None] = {}

    def run(self) -> None:
        """Measure everything, writing what there is every few minutes; what the controls need comes first."""
        self._choose_blocks()
        points = list(self._points())
        needed = [piece for curve, piece in points if curve.control or curve.name in (SWEEP, "llada")]
        self.workers.measure(needed, "layered curves", self.write)
        self._measure_controls()
        self.write()
        # Curve after curve, so that a run that is cut off leaves few of them half measured.
        costs: dict[str, float] = defaultdict(float)
        for curve, piece in points:
            costs[curve.name] += self.workers.estimate(piece)
        points.sort(key=lambda point: costs[point[0].name])
        self.workers.measure([piece for _, piece in points], "curves", self.write, as_given=True)
        self.write()

    def write(self) -> None:
        """Write the JSON and the pages from what has been measured so far."""
        results = self.results()
        setups = [measured.setup for measured in self.workers.known.values() if measured.setup]
        setup: dict[str, Any] = {**setups[-1], "processes": self.options.processes} if setups else {}
        record = {"setup": setup, "tune_examples": self.options.tune_examples, **results.to_dict()}
        self.options.out.parent.mkdir(parents=True, exist_ok=True)
        self.options.docs.mkdir(parents=True, exist_ok=True)
        write_atomically(self.options.out, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
        for name, text in recipe_page.pages(results, record, self.search).items():
            write_atomically(self.options.docs / name, text)

    def results(self) -> Results:
        """Return what the measurements so far come to."""
        cells = []
        for task in self.lengths:
            for curve in self.curves:
                if (curve.name, task) not in self.blocks:
                    continue
                points = curve.points(self.lengths[task], self.blocks[curve.name, task])
                found = []
                for point in points:
                    piece = self._piece(task, point.strategy, curve) if point.strategy else None
                    measured = self.workers.known.get(piece) if piece else Measured(problem=point.problem)
                    if measured is not None:
                        found.append((point, measured))
                if len(found) == len(points):
                    # A curve without its slow points would score too well.
                    cells.append(Cell(curve, task, self.blocks[curve.name, task], tuple(found)))
        return Results(list(self.lengths), cells, self._controls(cells), self.options.limit)

    def _piece(self, task: str, strategy: Strategy, curve: Curve | None = None, *, tune: bool = False) -> Piece:
        if tune:
            return Piece.of(task, "tune", self.options.tune_examples, strategy)
        most = self.options.limit if curve is None or curve.examples is None else curve.examples
        return Piece.of(task, "test", min(most, self.options.limit), strategy)

    def _points(self) -> Iterator[tuple[Curve, Piece]]:
        for task, length in self.lengths.items():
            for curve in self.curves:
                for point in curve.points(length, self.blocks[curve.name, task]):
                    if point.strategy is not None:
                        yield curve, self._piece(task, point.strategy, curve)

    def _choose_blocks(self) -> None:
        """Choose each curve's block length for each task: the most right answers, then the fewest forwards."""
        asked: dict[tuple[str, str], dict[int | None, Piece]] = {}
        for task, length in self.lengths.items():
            for curve in self.curves:
                choices = block_choices(curve, length)
                asked[curve.name, task] = {}
                for block in choices if len(choices) > 1 else ():
                    strategy = judged_point(curve, length, block)
                    if strategy is not None:
                        asked[curve.name, task][block] = self._piece(task, strategy, tune=True)
        self.workers.measure([piece for by_block in asked.values() for piece in by_block.values()], "block lengths")
        for key, by_block in asked.items():
            ranked = sorted(by_block, key=lambda block: self._rank(by_block[block]))
            self.blocks[key] = ranked[0] if ranked else None

    def _rank(self, piece: Piece) -> tuple[float, float]:
        measured = self.workers.known[piece]
        return (1.0, 0.0) if measured.outcomes is None else (-measured.accuracy, measured.forwards)

    def _layered(self, cells: Sequence[Cell]) -> Iterator[tuple[Cell, str, Measured]]:
        for cell in cells:
            for point, measured in cell.points:
                if cell.curve.control and measured.outcomes is not None:
                    yield cell, point.label, measured

    def _measure_controls(self) -> None:
        """Measure LLaDA's rule in every block length and in random order, at the forwards of every layered point."""
        layered = list(self._layered(self.results().cells))
        tune, test = [], []
        for cell, _, measured in layered:
            length = self.lengths[cell.task]
            tune += [self._piece(cell.task, s, tune=True) for s in equal_forwards(length, measured.forwards)]
        self.workers.measure(tune, "controls' blocks", self.write)
        for cell, _, measured in layered:
            test += list(self._control_pieces(cell.task, measured.forwards).values())
        self.workers.measure(test, "controls", self.write)

    def _control_pieces(self, task: str, forwards: float) -> dict[str, Piece]:
        """Return the equal-forward controls; LLaDA's rule in its best block only once the tuning split has told."""
        length, pieces = self.lengths[task], {}
        options = [(s, self._piece(task, s, tune=True)) for s in equal_forwards(length, forwards)]
        if options and all(piece in self.workers.known for _, piece in options):
            best = min(options, key=lambda option: self._rank(option[1])[0])[0]
            pieces[recipe_page.EQUAL] = self._piece(task, best)
        anyhow = random_order(length, forwards)
        if anyhow is not None:
            pieces[recipe_page.RANDOM] = self._piece(task, anyhow)
        return pieces

    def _controls(self, cells: Sequence[Cell]) -> list[Control]:
        sweeps = {cell.task: cell for cell in cells if cell.curve.name == SWEEP}
        controls = []
        for cell, label, measured in self._layered(cells):
            against = {}
            for kind, piece in self._control_pieces(cell.task, measured.forwards).items():
                if piece in self.workers.known:
                    against[kind] = (piece.strategy.name, self.workers.known[piece])
            sweep = sweeps.get(cell.task)
            cheap = [
                (point.label, other)
                for point, other in (sweep.points if sweep else ())
                if other.outcomes is not None and other.forwards <= measured.forwards
            ]
            if cheap:
                # The most careful threshold that costs no more; chosen by its cost, so it needs no tuning split.
                against[recipe_page.SWEEP_CONTROL] = max(cheap, key=lambda pair: pair[1].forwards)
            controls.append(Control(cell.curve.name, cell.task, label, measured, against))
        return controls


def _read(path: Path) -> Mapping[str, Any]:
    try:
        found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DecodeError(f"{path} cannot be read: {error}; run python -m benchmarks.quality.composition anew") from None
    return found


if __name__ == "__main__":
    sys.exit(main())
