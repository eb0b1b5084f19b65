"""Run a strategy on a task: `evaluate` chooses examples, decodes what is not kept yet, and records what came out.

Leaves decoding to an executor, keeping outcomes to `outcomes`, and comparing runs to `statistics`.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dllm_decode.data.prompt import prompt_text
from dllm_decode.errors import ConfigError, DataError
from dllm_decode.evaluate.choose import choose_examples, is_whole
from dllm_decode.evaluate.executors import Executor, InProcess, Job, ModelFacts
from dllm_decode.evaluate.identity import open_store
from dllm_decode.evaluate.kept import Kept, Progress
from dllm_decode.evaluate.outcomes import Outcome
from dllm_decode.evaluate.record import RunRecord, totals
from dllm_decode.generation.chat import Chat, what_is_done
from dllm_decode.programs import is_permitted, permitted, require_for
from dllm_decode.strategy.resolve import KnownModel, StrategySource, needs_model, resolve
from dllm_decode.strategy.settings import published_length
from dllm_decode.strategy.strategy import Strategy
from dllm_decode.tasks.named import find_task

if TYPE_CHECKING:
    from dllm_decode.model import DiffusionLM
    from dllm_decode.tasks.base import Task

SHORTENED = 8
"""The part of a model's context that answers get where it is too small for the task's own length."""
LOOKED_AT = 50
"""Prompts whose lengths say how long a task's prompts are."""
DEFAULT_LENGTH = Strategy.model_fields["gen_length"].default


@dataclass(frozen=True, slots=True, repr=False)
class Evaluation:
    """What came out: one outcome per example in the task's order, and the record of the run."""

    outcomes: tuple[Outcome, ...]
    record: RunRecord

    def __repr__(self) -> str:
        """Say what was run on what, how good it was and what it cost."""
        return f"<Evaluation of {self._line()}>"

    def _repr_html_(self) -> str:
        """Return the same as a paragraph, for notebooks."""
        return f"<p>{escape(self._line())}</p>"

    def _line(self) -> str:
        record = self.record
        low, high = record.accuracy_interval
        return (
            f"{record.strategy.name} {record.strategy.digest()} on {record.task} ({record.data or record.split}): "
            f"{record.accuracy:.1%} (95 % {low:.1%} to {high:.1%}; n = {record.n}), "
            f"{record.forward_passes:.2f} forward passes an answer, {record.seconds:.2f} s"
        )

    @property
    def correct(self) -> list[bool]:
        """Right or wrong, in the task's order; two evaluations of the same examples can be compared in pairs."""
        return [outcome.correct for outcome in self.outcomes]

    @property
    def scores(self) -> list[float]:
        """Scores from 0 to 1, in the task's order; those of graded tasks are compared in pairs."""
        return [outcome.score for outcome in self.outcomes]

    def to_dict(self) -> dict[str, Any]:
        """Return the record and every outcome as plain data."""
        return self.record.to_dict() | {"outcomes": [asdict(outcome) for outcome in self.outcomes]}


def evaluate(
    lm: DiffusionLM | None,
    task: Task | str,
    strategy: StrategySource = "llada",
    *,
    split: str | None = None,
    limit: int | None = None,
    rows: Sequence[int] | None = None,
    batch_size: int = 64,
    seed: int = 0,
    data: str | Path | None = None,
    gen_length: int | None = None,
    chat: Chat = "auto",
    skip_long: bool = False,
    cache: bool | Path = True,
    progress: Progress | None = None,
    executor: Executor | None = None,
    run_programs: bool = False,
) -> Evaluation:
    """Decode a task's examples with a strategy and score the answers.

    An example's outcome does not depend on the batch it runs in, so outcomes are kept one by one and a run that was
    interrupted, or that asks for more examples, decodes only what is missing.

    Args:
        lm: The model; None if an executor has it.
        task: A task or its name.
        strategy: A name of a recipe or published setting, YAML path, mapping or strategy; "tuned" is the preset that fits
            model and task.
        split: "tune" or "test"; None is "test", or all of `data` where that is given.
        limit: The first so many examples of the fixed order; None is all.
        rows: Only the examples at these places of the fixed order, and outcomes in this order; None is all.
        batch_size: Rows of a forward, at most.
        seed: Seed of the decoding noise; an example's row id is its place in the fixed order.
        data: A file of examples in a format the task reads, or a folder of such files; with a `split`, what a data set's
            splits are read from.
        gen_length: Tokens to generate; if None the task's own length, whatever the strategy says, or a published setting's.
        chat: Whether a text goes through the model's chat template; see `DiffusionLM.generate`.
        skip_long: Leave out examples that do not fit the model's context, and count them, rather than refuse them all.
        cache: Keep outcomes in the cache folder, in the given folder, or, if False, not at all. Those of a model
            that was not loaded from a folder and has no fingerprint of its own are never kept.
        progress: Called whenever examples are finished.
        executor: Where to decode, e.g. a `RayExecutor`; None is in this process.
        run_programs: Whether the task may run programs that the model wrote, if that is how it judges.

    Raises:
        DecodeError: Unknown names, an unreadable data file, a strategy that cannot serve the task's length, a task that
            has to run programs and may not.
    """
    started = time.perf_counter()
    task = find_task(task) if isinstance(task, str) else task
    with permitted(run_programs):
        require_for(task)
        may_run = is_permitted()
    executor = executor or _here(lm)
    gen_length = published_length(strategy) if gen_length is None else gen_length
    task, short = (task, ()) if gen_length is not None else shortened(task, executor.model.max_length)
    resolved, notes = _strategy(executor.model, task, strategy, gen_length, own_examples=data is None)
    chosen = choose_examples(task, split, data, limit, rows)
    prompts = [example.prompt for example in chosen.examples]
    template = "" if task.infill else what_is_done(chat, executor.model.chat_template, prompts)
    store = open_store(cache, executor.model, task, chosen, resolved, seed, template)
    kept = Kept(chosen.examples, store, progress)
    resumed = kept.done
    phases = {"examples": time.perf_counter() - started, "decode": 0.0, "score": 0.0}
    job = Job(resolved, task, chosen.examples, chosen.places, seed, batch_size, chat, skip_long, may_run)
    run_missing(executor, job, kept, phases)
    found = kept.all()
    skipped = tuple(chosen.examples[number].id for number in sorted(kept.skipped))
    if not found:
        raise DataError(f"task {task.name!r}: all {len(skipped)} examples are over the model's context")
    record = RunRecord(
        kind="eval",
        task=task.name,
        split=chosen.split,
        data=None if chosen.data is None else str(chosen.data),
        examples=chosen.origin,
        model=executor.model.name,
        model_fingerprint=executor.model.fingerprint,
        **totals(found),
        seconds_by_phase={name: round(value, 4) for name, value in phases.items()},
        resumed=resumed,
        strategy=resolved,
        seed=seed,
        batch_size=batch_size,
        dtype=executor.model.dtype,
        device=executor.model.device,
        device_name=executor.model.device_name,
        chat=template,
        skipped=skipped,
        task_settings=dict(task.settings()),
        notes=(*short, *notes, *not_kept(executor.model, cache)),
    )
    return Evaluation(found, record)


def not_kept(model: ModelFacts | DiffusionLM, cache: bool | Path) -> tuple[str, ...]:
    """Say that outcomes are not kept although they should be, and the way out."""
    if cache is False or model.lasting:
        return ()
    return (
        f"outcomes are not kept: {model.name} lies in no folder, so no later run can know it again; give "
        "DiffusionLM or from_module a fingerprint=",
    )


def run_missing(executor: Executor, job: Job, kept: Kept, phases: dict[str, float]) -> None:
    """Run those of a job's examples whose outcome is missing; add outcomes to `kept` and seconds to `phases`."""
    missing = kept.missing()
    if not missing:
        return
    examples = tuple(job.examples[number] for number in missing)
    places = tuple(job.places[number] for number in missing)
    for part in executor.outcomes(replace(job, examples=examples, places=places)):
        for phase, seconds in part.seconds.items():
            phases[phase] += seconds
        kept.skip(missing[number] for number in part.skipped)
        kept.add({missing[n]: outcome for n, outcome in zip(part.numbers, part.outcomes, strict=True)})


def _here(lm: DiffusionLM | None) -> Executor:
    if lm is None:
        raise ConfigError("evaluate() needs a model, or an executor that has one.")
    return InProcess(lm)


def _strategy(
    model: KnownModel,
    task: Task,
    source: StrategySource,
    gen_length: int | None,
    *,
    own_examples: bool,
) -> tuple[Strategy, tuple[str, ...]]:
    """Return the strategy as the task needs it, and what is to be said of it."""
    if gen_length is not None and (not is_whole(gen_length) or gen_length < 1):
        raise ConfigError(f"gen_length: should be a whole number above 0, or None for the task's, got {gen_length!r}")
    wanted = gen_length or task.gen_length
    looked_at = task.examples("tune", LOOKED_AT) if own_examples and needs_model(source) else []
    prompts = [prompt_text(example.prompt) for example in looked_at]
    found = resolve(source, model, task=task.name, gen_length=wanted, prompts=prompts)
    given, said = found.strategy, (found.note,) if found.note else ()
    resolved, cut = fit(given, wanted)
    if gen_length is None and given.gen_length not in (DEFAULT_LENGTH, wanted):
        instead = f"gen_length: {wanted}, the task's, instead of the strategy's {given.gen_length}"
        said = (f"{instead} (--gen-length {given.gen_length} keeps it)", *said)
    return resolved, (*said, *cut)


def shortened(task: Task, limit: int | None) -> tuple[Task, tuple[str, ...]]:
    """Return a task whose answers leave room for a prompt in a context of `limit` tokens, and what is to be said of it."""
    if task.infill or limit is None or task.gen_length < limit:
        return task, ()
    length = max(1, limit // SHORTENED)
    why = f"instead of the task's {task.gen_length}, which leaves no room for a prompt"
    task = copy.copy(task)
    task.gen_length = length  # type: ignore[misc]
    return task, (f"gen_length: {length}, a part of the model's context of {limit} tokens, {why}",)


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
