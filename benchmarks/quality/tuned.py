"""Tune every task and hold what was chosen against LLaDA's rule and the published settings on the test split.

    python -m benchmarks.quality.tuned [--tasks line,square] [--trials 75]

Studies lie in `benchmarks/results/search/` and outcomes in the cache, so a second run only prints. Writes
`benchmarks/results/tuned.json`, `docs/tuned.md` and the presets that come with the package.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dllm_decode.errors import DecodeError
from dllm_decode.evaluate.evaluate import evaluate
from dllm_decode.evaluate.record import device_name, versions
from dllm_decode.evaluate.statistics import compare_paired
from dllm_decode.files import write_atomically
from dllm_decode.plugins.registry import load_registry
from dllm_decode.strategy.presets import SHIPPED, Preset, save_preset
from dllm_decode.strategy.strategy import Strategy
from dllm_decode.tasks import TASKS
from dllm_search import tune
from dllm_search.preparing import load
from dllm_search.space.baselines import settled
from dllm_search.space.presets import prompt_characters
from dllm_search.tuning import TuneResult

ROOT = Path(__file__).parents[2]
STUDIES = ROOT / "benchmarks" / "results" / "search"
RESULTS = ROOT / "benchmarks" / "results" / "tuned.json"
PAGE = ROOT / "docs" / "tuned.md"
# SAID's published budgets as shares of the answer (GSM8K and MATH 256/512, ARC-C 86/512, GPQA 4/64) and Fast-dLLM's
# threshold.
PUBLISHED = (("said", 1 / 2), ("said", 1 / 6), ("said", 1 / 16), ("fast-dllm", None))
EQUAL = 0.01
"""Loss of accuracy, as a fraction of 1, up to which a published setting counts as of equal quality."""


@dataclass(frozen=True, slots=True)
class Line:
    """One strategy on a task's test split."""

    name: str
    strategy: Strategy
    correct: tuple[bool, ...]
    forwards: float

    @property
    def accuracy(self) -> float:
        """The share of right answers."""
        return sum(self.correct) / len(self.correct)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return an exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality.tuned", description=__doc__)
    parser.add_argument("--tasks", help="comma-separated; all of them if not given")
    parser.add_argument("--trials", type=int, default=75)
    parser.add_argument("--limit", type=int, default=500, help="examples of the test split")
    parser.add_argument("--studies", type=Path, default=STUDIES)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--ship", type=Path, default=SHIPPED, help="folder of the package's presets")
    options = parser.parse_args(arguments)
    try:
        found = measure(options)
        write_atomically(options.out, json.dumps(found, indent=1, ensure_ascii=False) + "\n")
        write_atomically(options.page, page(found))
        ship(found, options.ship)
    except DecodeError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return every task's comparison and the means over the tasks."""
    names = options.tasks.split(",") if options.tasks else [task.name for task in TASKS]
    lm = load("tiny", None, None)
    tasks = {}
    for name in names:
        result = tune(
            lm,
            name,
            # Guidance runs the model on two canvases and is counted as one forward.
            fix={"logits": "none"},
            objective="constrained",
            max_drop=1.0,
            trials=options.trials,
            examples=200,
            verify_examples=1000,
            test_examples=options.limit,
            out=options.studies / name,
            run_programs=True,
            say=lambda line: sys.stderr.write(line + "\n"),
        )
        tasks[name] = compare(lm, name, result, options.limit)
    stamp = {"versions": versions(), "device": device_name(lm.device), "model_fingerprint": lm.fingerprint}
    return {**stamp, "limit": options.limit, "trials": options.trials, "tasks": tasks, "means": means(tasks)}


def ship(found: dict[str, Any], folder: Path) -> None:
    """Write what was chosen as the presets that come with the package."""
    for name, task in found["tasks"].items():
        strategy = Strategy.parse({**task["chosen"], "name": f"tuned-{name}", "description": ""})
        line = task["lines"][0]
        preset = Preset(
            model="tiny",
            fingerprint=found["model_fingerprint"],
            task=name,
            gen_length=strategy.gen_length,
            prompt_characters=prompt_characters(load_registry().task(name)),
            strategy=strategy,
            found={
                "made_by": "python -m benchmarks.quality.tuned",
                "test_examples": found["limit"],
                "accuracy": round(line["accuracy"], 4),
                "forward_passes": round(line["forwards"], 2),
                "times_fewer": round(task["forwards"]["llada"] / line["forwards"], 2),
            },
        )
        save_preset(preset, folder)


def compare(lm: Any, task: str, result: TuneResult, limit: int) -> dict[str, Any]:
    """Return the tuned strategy beside LLaDA's rule, with and without a stop at EOS, and the published settings."""
    reference = result.report.rows[0].strategy
    length = reference.gen_length

    def line(name: str, strategy: Strategy) -> Line:
        done = evaluate(lm, task, strategy, limit=limit, run_programs=True)
        return Line(name, strategy, tuple(done.correct), done.record.forward_passes)

    chosen = line("tuned", result.strategy)
    rule = line("LLaDA's rule", reference)
    stopped = line("LLaDA's rule, EOS stop", reference.override({"stop": "eos"}))
    published = []
    for recipe, share in PUBLISHED:
        steps = None if share is None else max(2, round(share * length))
        strategy = settled(Strategy.load(recipe).override({"gen_length": length, "steps": steps}))
        label = recipe if steps is None else f"{recipe} {length}/{steps}"
        published.append(line(label, strategy))
    everything = [rule, stopped, *published]
    best = max(everything, key=lambda each: (each.accuracy, -each.forwards))
    equal = [each for each in published if each.accuracy > best.accuracy - EQUAL] or [rule]
    cheapest = min(equal, key=lambda each: each.forwards)
    against = compare_paired(best.correct, chosen.correct)
    return {
        "chosen": chosen.strategy.to_dict(),
        "lines": [
            {
                "name": each.name,
                "accuracy": each.accuracy,
                "forwards": each.forwards,
                "digest": each.strategy.digest(),
            }
            for each in (chosen, *everything)
        ],
        "best": best.name,
        "difference_to_best": against.difference,
        "interval": list(against.interval),
        "forwards": {
            "tuned": chosen.forwards,
            "llada": rule.forwards,
            "llada with EOS stop": stopped.forwards,
            "cheapest published of equal quality": cheapest.forwards,
        },
        "cheapest_published": cheapest.name,
        "trials": result.report.record["trials"],
        "forwards_spent": result.report.record.get("forward_passes_spent"),
    }


def means(tasks: dict[str, Any]) -> dict[str, float]:
    """Return how many times fewer forwards the tuned strategies take, of the mean forwards over the tasks."""
    kinds = next(iter(tasks.values()))["forwards"]
    total = {kind: sum(task["forwards"][kind] for task in tasks.values()) for kind in kinds}
    return {kind: total[kind] / total["tuned"] for kind in kinds if kind != "tuned"}


def page(found: dict[str, Any]) -> str:
    """Return the results as Markdown."""
    kinds = list(found["means"])
    lines = [
        "# What tuning finds",
        "",
        "Made by `python -m benchmarks.quality.tuned`; numbers in `benchmarks/results/tuned.json`, each task's report in "
        f"`benchmarks/results/search/`. Model `tiny` ({found['model_fingerprint']}), {found['device']}, dllm-decode "
        f"{found['versions']['dllm-decode']}, torch {found['versions']['torch']}.",
        "",
        "Every task was tuned on its `tune` split with `search run --objective constrained --max-drop 1 "
        "--fix logits=none --verify-examples 1000`, a study being continued where more trials were given it (trials: "
        + ", ".join(f"{name} {task['trials']}" for name, task in found["tasks"].items())
        + "). All accuracies are of "
        f"{found['limit']} examples of the `test` split, forwards are means an answer.",
        "",
        "| task | tuned | LLaDA's rule | with EOS stop | cheapest published of equal quality | tuned − best of all |",
        "|---|---|---|---|---|---|",
    ]
    for name, task in found["tasks"].items():
        shown = {each["name"]: each for each in task["lines"]}
        cells = [
            _cell(shown[key])
            for key in ("tuned", "LLaDA's rule", "LLaDA's rule, EOS stop", task["cheapest_published"])
        ]
        low, high = (100 * bound for bound in task["interval"])
        change = f"{100 * task['difference_to_best']:+.1f} ({low:+.1f} to {high:+.1f}), {task['best']}"
        published = f"{task['cheapest_published']}: {cells[3]}"
        lines.append(f"| {name} | **{cells[0]}** | {cells[1]} | {cells[2]} | {published} | {change} |")
    ratios = ", ".join(f"{found['means'][kind]:.2f}× fewer than {kind}" for kind in kinds)
    lines += [
        "",
        f"Mean forwards over the tasks: {ratios}.",
        "",
        "A published setting counts as of equal quality where it lost less than 1 point to the most accurate of "
        "LLaDA's rule, SAID at its published budgets and Fast-dLLM at its published threshold; LLaDA's rule stands in "
        "where none did. The last column is paired, with a 95 % bootstrap interval.",
        "",
        "## The strategies",
        "",
    ]
    for name, task in found["tasks"].items():
        strategy = Strategy.parse({**task["chosen"], "name": f"tuned-{name}", "description": ""})
        lines += [f"### {name}", "", "```yaml shown", strategy.to_yaml().strip(), "```", ""]
    return "\n".join(lines)


def _cell(line: dict[str, Any]) -> str:
    return f"{100 * line['accuracy']:.1f} % at {line['forwards']:.1f}"


if __name__ == "__main__":
    sys.exit(main())
