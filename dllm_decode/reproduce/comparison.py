"""Runs a comparison on a task and says how every strategy did against the first, on the same examples.

Knows evaluations and pairs of them; which strategies there are is `plan`'s. Outcomes are kept, so an interrupted run goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dllm_decode.errors import ConfigError
from dllm_decode.evaluate.evaluate import Evaluation, evaluate
from dllm_decode.evaluate.executors import Executor
from dllm_decode.evaluate.kept import Progress
from dllm_decode.evaluate.statistics import PairedComparison, compare_paired
from dllm_decode.generation.chat import Chat
from dllm_decode.reproduce.plan import Line
from dllm_decode.tasks.base import Task


@dataclass(frozen=True, slots=True)
class Row:
    """One strategy and what came of it."""

    line: Line
    done: Evaluation
    against: PairedComparison | None
    """None for the first one, which the others are held against."""
    fewer: float
    """How many times fewer forwards than the first one."""
    faster: float | None
    """How many times less decoding time than the first one; None where none was taken."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, with the record of the run."""
        record, setting, against = self.done.record, self.line.setting, self.against
        seconds = record.seconds
        counts = {
            "positions": record.tokens.positions,
            "up_to_eos": record.tokens.up_to_eos,
            "visible": record.tokens.visible,
        }
        return {
            "label": self.line.label,
            "setting": setting.name if setting else None,
            "note": self.line.note,
            "accuracy": record.accuracy,
            "accuracy_interval": list(record.accuracy_interval),
            "difference": None if against is None else against.difference,
            "difference_interval": None if against is None else list(against.interval),
            "p_value": None if against is None else against.p_value,
            "forward_passes": record.forward_passes,
            "seconds": seconds,
            "tokens_per_second": {name: count / seconds if seconds else None for name, count in counts.items()},
            "times_fewer_forwards": self.fewer,
            "times_faster": self.faster,
            "published_accuracy": setting.accuracy if setting else None,
            "published_for": setting.model if setting else None,
            "published_source": (setting.accuracy_source or setting.source) if setting else None,
            "record": record.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """A task's rows, the baseline first, and what is to be said of them."""

    task: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {"task": self.task, "rows": [row.to_dict() for row in self.rows], "notes": list(self.notes)}


def compare(
    executor: Executor,
    task: Task,
    lines: Sequence[Line],
    *,
    data: Path | None = None,
    limit: int | None = None,
    batch_size: int = 64,
    seed: int = 0,
    chat: Chat = "auto",
    skip_long: bool = False,
    cache: bool | Path = True,
    run_programs: bool = False,
    progress: Progress | None = None,
    notes: Sequence[str] = (),
) -> Comparison:
    """Evaluate every line on the same examples of a task; the options are those of `evaluate`.

    Raises:
        ConfigError: With `skip_long`, strategies of different lengths left different examples out.
        DecodeError: As `evaluate`.
    """
    done: list[Evaluation] = []
    for line in lines:
        one = evaluate(
            None, task, line.strategy, data=data, limit=limit, batch_size=batch_size, seed=seed,
            gen_length=line.strategy.gen_length, chat=chat, skip_long=skip_long, cache=cache, executor=executor,
            run_programs=run_programs, progress=progress,
        )  # fmt: skip
        done.append(one)
    first = done[0]
    if any(one.record.skipped != first.record.skipped for one in done):
        raise ConfigError(
            "--skip-long left out other examples for longer answers, so that strategies cannot be compared in pairs; give "
            "all strategies one length: --gen-length N"
        )
    rows = []
    for number, (line, one) in enumerate(zip(lines, done, strict=True)):
        against = compare_paired(first.scores, one.scores) if number else None
        seconds = one.record.seconds
        faster = first.record.seconds / seconds if seconds else None
        fewer = first.record.forward_passes / one.record.forward_passes if one.record.forward_passes else 0.0
        rows.append(Row(line, one, against, fewer, faster))
    said = [f"{line.label}: {line.note}" for line in lines if line.note]
    said += [f"{line.label}: {note}" for line, one in zip(lines, done, strict=True) for note in one.record.notes]
    return Comparison(task.name, tuple(rows), (*notes, *said))
