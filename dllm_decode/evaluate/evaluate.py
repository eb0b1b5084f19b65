"""Run a strategy on a task: batch, decode, score, keep outcomes, and say what came out in one run record.

Knows tasks, models and strategies only through their interfaces; leaves comparing runs to `statistics`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dllm_decode.errors import DataError
from dllm_decode.evaluate.outcomes import Outcome, OutcomeStore, cache_folder, example_key
from dllm_decode.evaluate.record import RunRecord, TokenCounts, device_name, installed_version
from dllm_decode.evaluate.statistics import wilson_interval
from dllm_decode.models.fingerprint import file_fingerprint
from dllm_decode.plugins.registry import load_registry
from dllm_decode.strategy.resolve import StrategySource, resolve
from dllm_decode.strategy.strategy import TUNED, Strategy

if TYPE_CHECKING:
    from dllm_decode.generation.answers import Generation
    from dllm_decode.model import DiffusionLM
    from dllm_decode.tasks.base import Example, Task

LOOKED_AT = 50
"""Prompts whose lengths say how long a task's prompts are."""
DEFAULT_LENGTH = Strategy.model_fields["gen_length"].default

Progress = Callable[[int, int, int], None]
"""Called with (examples done, examples in all, of those done the correct ones)."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What came out: one outcome per example in the task's order, and the record of the run."""

    outcomes: tuple[Outcome, ...]
    record: RunRecord

    @property
    def correct(self) -> list[bool]:
        """Right or wrong, in the task's order; two evaluations of the same examples can be compared in pairs."""
        return [outcome.correct for outcome in self.outcomes]

    def to_dict(self) -> dict[str, Any]:
        """Return the record and every outcome as plain data."""
        return self.record.to_dict() | {"outcomes": [asdict(outcome) for outcome in self.outcomes]}


def evaluate(
    lm: DiffusionLM,
    task: Task | str,
    strategy: StrategySource = "llada",
    *,
    changes: Mapping[str, Any] | None = None,
    split: str = "test",
    limit: int | None = None,
    rows: Sequence[int] | None = None,
    batch_size: int = 64,
    seed: int = 0,
    data: str | Path | None = None,
    gen_length: int | None = None,
    cache: bool | Path = True,
    progress: Progress | None = None,
) -> Evaluation:
    """Decode a task's examples with a strategy and score the answers.

    An example's outcome does not depend on the batch it runs in, so outcomes are kept one by one and a run that was
    interrupted, or that asks for more examples, decodes only what is missing.

    Args:
        lm: The model.
        task: A task or its name.
        strategy: A recipe name, YAML path, mapping or strategy; "tuned" is the preset that fits model and task.
        changes: Fields of the strategy by dotted path, e.g. `{"scheduler.threshold": 0.8}`.
        split: "tune" or "test"; ignored if `data` is given.
        limit: The first so many examples of the fixed order; None is all.
        rows: Only the examples at these places of the fixed order, and outcomes in this order; None is all.
        batch_size: Rows of a forward, at most.
        seed: Seed of the decoding noise; an example's row id is its place in the fixed order.
        data: A file of examples in a format the task reads.
        gen_length: Tokens to generate; the task's own length if None, whatever the strategy says.
        cache: Keep outcomes in the cache folder, in the given folder, or, if False, not at all. Those of a model
            that was not loaded from a folder are never kept.
        progress: Called whenever examples are finished.

    Raises:
        DecodeError: Unknown names, an unreadable data file, a strategy that cannot serve the task's length.
    """
    started = time.perf_counter()
    task = load_registry().task(task) if isinstance(task, str) else task
    wanted = gen_length or task.gen_length
    prompts = (
        [example.prompt for example in task.examples("tune", LOOKED_AT)] if strategy == TUNED and data is None else []
    )
    given, said = resolve(strategy, lm, changes, task=task.name, gen_length=wanted, prompts=prompts)
    resolved, notes = fit(given, wanted)
    notes = (said, *notes) if said else notes
    if gen_length is None and given.gen_length not in (DEFAULT_LENGTH, task.gen_length):
        instead = f"gen_length: {task.gen_length}, the task's, instead of the strategy's {given.gen_length}"
        notes = (f"{instead} (--gen-length {given.gen_length} keeps it)", *notes)
    path = None if data is None else Path(data)
    listed = task.examples(split, limit) if path is None else task.load(path)[:limit]
    places = list(range(len(listed)) if rows is None else rows)
    if beyond := [place for place in places if not 0 <= place < len(listed)]:
        raise DataError(f"rows: task {task.name!r} has {len(listed)} examples there, none at {beyond[:5]}")
    examples = [listed[place] for place in places]
    if not examples:
        raise DataError(f"task {task.name!r} has no examples to evaluate in {path or f'split {split!r}'}")
    store = _store(cache, lm, task, resolved, split, path, seed)
    keys = [example_key(e.id, (e.prompt, e.reference, dict(e.meta))) for e in examples]
    outcomes = [store.get(key) if store else None for key in keys]
    resumed = sum(outcome is not None for outcome in outcomes)
    phases = {"examples": time.perf_counter() - started, "decode": 0.0, "score": 0.0}

    def tell() -> None:
        if progress:
            done = [outcome for outcome in outcomes if outcome is not None]
            progress(len(done), len(examples), sum(outcome.correct for outcome in done))

    tell()
    missing = [number for number, outcome in enumerate(outcomes) if outcome is None]
    waiting = [examples[number].prompt for number in missing]
    options: dict[str, Any] = {"seed": seed, "batch_size": batch_size}
    options["row_ids"] = [places[number] for number in missing]
    for which, out in lm.stream(waiting, resolved, **options) if waiting else ():
        numbers = [missing[place] for place in which]
        scoring = time.perf_counter()
        made = _outcomes(lm, task, [examples[number] for number in numbers], out)
        phases["decode"] += out.seconds
        phases["score"] += time.perf_counter() - scoring
        if store:
            store.add({keys[number]: outcome for number, outcome in zip(numbers, made, strict=True)})
        for number, outcome in zip(numbers, made, strict=True):
            outcomes[number] = outcome
        tell()
    found = tuple(outcome for outcome in outcomes if outcome is not None)
    record = RunRecord(
        kind="eval",
        task=task.name,
        split=split if path is None else None,
        data=None if path is None else str(path),
        model=lm.name,
        model_fingerprint=lm.fingerprint,
        **_totals(found),
        seconds_by_phase={name: round(value, 4) for name, value in phases.items()},
        resumed=resumed,
        strategy=resolved,
        seed=seed,
        batch_size=batch_size,
        dtype=_dtype_name(lm),
        device=str(lm.device),
        device_name=device_name(lm.device),
        notes=notes,
    )
    return Evaluation(found, record)


def _totals(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return the fields of the record that are sums and means over outcomes."""
    n = len(outcomes)
    correct = sum(outcome.correct for outcome in outcomes)
    forwards = sum(outcome.forward_passes for outcome in outcomes)
    tokens = TokenCounts(
        positions=sum(outcome.positions for outcome in outcomes),
        up_to_eos=sum(outcome.tokens for outcome in outcomes),
        visible=sum(outcome.visible for outcome in outcomes),
    )
    return {
        "n": n,
        "accuracy": correct / n,
        "accuracy_interval": wilson_interval(correct, n),
        "forward_passes": forwards / n,
        "model_calls": round(sum(outcome.model_calls for outcome in outcomes)),
        "tokens_per_forward": tokens.up_to_eos / forwards if forwards else 0.0,
        "tokens": tokens,
        "seconds": sum(outcome.seconds for outcome in outcomes),
    }


def fit(strategy: Strategy, gen_length: int) -> tuple[Strategy, tuple[str, ...]]:
    """Return the strategy for answers of `gen_length` tokens, and what had to be cut to make it fit.

    Steps beyond one a token and blocks longer than the answer are cut to the answer's length.

    Raises:
        ConfigError: The strategy cannot serve this length, e.g. it has fewer steps than blocks.
    """
    changes: dict[str, Any] = {"gen_length": gen_length}
    notes = []
    if strategy.steps is not None and strategy.steps > gen_length:
        changes["steps"] = gen_length
        notes.append(f"steps: {strategy.steps} cut to {gen_length}, one a token")
    length = getattr(strategy.block, "length", None)
    if isinstance(length, int) and length > gen_length:
        changes["block.length"] = gen_length
        notes.append(f"block.length: {length} cut to {gen_length}, the whole answer")
    return strategy.override(changes).check(), tuple(notes)


def fast_dtype(device: str | None) -> str | None:
    """Return "bfloat16" where a CPU computes it in hardware (AMX, AVX-512), else None: the model's default."""
    if device not in (None, "cpu"):
        return None
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return None
    return "bfloat16" if "amx_bf16" in flags or "avx512_bf16" in flags else None


def _store(
    cache: bool | Path,
    lm: DiffusionLM,
    task: Task,
    strategy: Strategy,
    split: str,
    data: Path | None,
    seed: int,
) -> OutcomeStore | None:
    if cache is False or lm.folder is None:
        # A model made in this process has no name that another process could know it by.
        return None
    registry = load_registry()
    key = {
        "strategy": strategy.digest(),
        "parts": sorted({registry.origin(part.kind, part.name) for _, part in strategy.parts()}),
        "model": lm.fingerprint,
        "task": f"{task.name} of {registry.origin('task', task.name)}",
        "examples": split if data is None else file_fingerprint(data),
        "seed": seed,
        "dtype": _dtype_name(lm),
        "device": str(lm.device).split(":")[0],
        "dllm-decode": installed_version("dllm-decode"),
    }
    return OutcomeStore(cache_folder() / "outcomes" if cache is True else cache, key)


def _outcomes(lm: DiffusionLM, task: Task, batch: Sequence[Example], out: Generation) -> list[Outcome]:
    import torch

    from dllm_decode.generation.answers import ended

    tokens = out.tokens.cpu()  # (B, gen_length) int64
    answer = ~ended(tokens, lm.special)  # (B, gen_length) bool
    hidden = torch.isin(tokens, torch.tensor(lm.hidden_tokens, dtype=torch.int64))
    up_to_eos, visible = answer.sum(1).tolist(), (answer & ~hidden).sum(1).tolist()
    passes = out.forward_passes.tolist()
    correct = task.score_many(list(zip(batch, out.texts, strict=True)))
    return [
        Outcome(
            id=example.id,
            correct=bool(correct[row]),
            text=out.texts[row],
            forward_passes=int(passes[row]),
            positions=tokens.shape[1],
            tokens=up_to_eos[row],
            visible=visible[row],
            model_calls=out.model_calls / len(batch),
            seconds=out.seconds / len(batch),
        )
        for row, example in enumerate(batch)
    ]


def _dtype_name(lm: DiffusionLM) -> str:
    return str(lm.dtype).removeprefix("torch.")
