"""The run record: everything needed to know what a number means and to get it again.

One record for evaluation, search and benchmarks. Knows what is recorded; leaves measuring to them.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from dllm_decode.evaluate.outcomes import Outcome
from dllm_decode.evaluate.statistics import mean_interval
from dllm_decode.strategy.strategy import Strategy

DISTRIBUTIONS = ("dllm-decode", "torch", "transformers")


def versions() -> dict[str, str]:
    """Return the versions that a result depends on; a package that is not installed says so."""
    return {**{name: installed_version(name) for name in DISTRIBUTIONS}, "python": platform.python_version()}


def installed_version(distribution: str) -> str:
    """Return a distribution's version, or "not installed"."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"


def device_name(device: Any) -> str:
    """Say what a torch device is in words, e.g. the GPU's name or the CPU's model and core count."""
    import torch

    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor() or platform.machine()
    return f"{model}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Tokens of the answers, never of prompts, summed over examples."""

    positions: int
    """Columns that were decided."""
    up_to_eos: int
    """Tokens before the first EOS or EOT."""
    visible: int
    """Those of them that are no special tokens and so show in the text."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What was run, on what, and what came out."""

    kind: str
    """"eval", "search" or "bench"."""
    task: str
    split: str | None
    """None if the examples are all those of a file."""
    data: str | None
    """The data file or folder, if one was given."""
    examples: str
    """What was evaluated exactly: the split; of a data set its name, revision and split, or its file's fingerprint."""
    model: str
    model_fingerprint: str
    n: int
    accuracy: float
    """Mean score, as a fraction of 1."""
    accuracy_interval: tuple[float, float]
    """95 % interval: Wilson's of right and wrong, `mean_interval` of grades."""
    forward_passes: float
    """Mean over examples of the forwards the example costs alone."""
    model_calls: int
    tokens_per_forward: float
    """Sum of tokens up to EOS over sum of forward passes."""
    tokens: TokenCounts
    seconds: float
    """Time spent decoding, in seconds, that of outcomes kept from an earlier run included as it was then."""
    seconds_by_phase: dict[str, float]
    """This run's seconds: examples, decode, score."""
    resumed: int
    """Examples whose outcome was kept from an earlier run."""
    strategy: Strategy
    seed: int
    batch_size: int
    dtype: str
    device: str
    device_name: str
    chat: str = ""
    """What became of prompts: "template" where they went through the model's chat template, "turns joined" where messages
    did not, "" where texts were taken as they are."""
    skipped: tuple[str, ...] = ()
    """Examples left out because they do not fit the model's context."""
    task_settings: Mapping[str, str] = field(default_factory=dict)
    """What of the task was chosen, such as the shape of its prompts."""
    notes: tuple[str, ...] = ()
    """What was adapted to make the strategy fit the task."""
    versions: dict[str, str] = field(default_factory=versions)
    date: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON; the strategy is written out with its digest."""
        data = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "strategy"}
        return data | {
            "accuracy_interval": list(self.accuracy_interval),
            "tokens": asdict(self.tokens),
            "skipped": list(self.skipped),
            "task_settings": dict(self.task_settings),
            "notes": list(self.notes),
            "strategy_name": self.strategy.name,
            "strategy_digest": self.strategy.digest(),
            "steps": self.strategy.steps,
            "gen_length": self.strategy.gen_length,
            "strategy": self.strategy.to_dict(),
        }


def totals(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return the fields of the record that are sums and means over outcomes."""
    n = len(outcomes)
    scores = [outcome.score for outcome in outcomes]
    forwards = sum(outcome.forward_passes for outcome in outcomes)
    tokens = TokenCounts(
        positions=sum(outcome.positions for outcome in outcomes),
        up_to_eos=sum(outcome.tokens for outcome in outcomes),
        visible=sum(outcome.visible for outcome in outcomes),
    )
    return {
        "n": n,
        "accuracy": sum(scores) / n,
        "accuracy_interval": mean_interval(scores),
        "forward_passes": forwards / n,
        "model_calls": round(sum(outcome.model_calls for outcome in outcomes)),
        "tokens_per_forward": tokens.up_to_eos / forwards if forwards else 0.0,
        "tokens": tokens,
        "seconds": sum(outcome.seconds for outcome in outcomes),
    }
