"""Measures what a strategy costs in time, relative to the baseline, on the device at hand.

Knows clocks and how drift is cancelled; leaves which strategies are timed, and when, to the search.
"""

from __future__ import annotations

import hashlib
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, ClassVar

from dllm_decode.data.prompt import Prompt
from dllm_decode.files import write_atomically
from dllm_decode.strategy.strategy import Strategy

if TYPE_CHECKING:
    from dllm_decode.generation.chat import Chat
    from dllm_decode.model import DiffusionLM

ROUNDS = 5
"""Timed pairs of baseline and strategy; the median forgives two that something else disturbed."""

Decode = Callable[[Strategy, Sequence[Prompt]], int]
"""Decodes prompts to the end, waits for the device, and returns the tokens up to EOS."""


@dataclass(frozen=True, slots=True)
class Timing:
    """What a strategy took, beside the baseline."""

    seconds: float
    """Median seconds an answer."""
    baseline_seconds: float
    """The baseline's, in the same rounds."""
    tokens_per_second: float
    """Tokens up to EOS, all rounds together."""
    time_ratio: float
    """Median over the rounds of its time over the baseline's."""
    token_time_ratio: float
    """Median over the rounds of its time for a token over the baseline's."""


class Cost:
    """What the search wants little of; each is one class in one table."""

    name: ClassVar[str]
    said: ClassVar[str]
    """What it is, in the help of `--cost`."""


class Forwards(Cost):
    """Mean forward passes, counted and not timed; one that runs the model on twice the rows counts as two."""

    name = "forwards"
    said = "forward passes, in plain ones (the canvas's rows x columns, once)"


class TimedCost(Cost, ABC):
    """A cost that is measured on the device, beside the baseline."""

    one_by_one: ClassVar[bool] = False
    """Whether prompts are timed singly where nothing else is asked for."""

    @staticmethod
    @abstractmethod
    def relative(timing: Timing) -> float:
        """Return the cost relative to the baseline's, 1 for the baseline; less is better."""


class Seconds(TimedCost):
    """Seconds an answer."""

    name = "seconds"
    said = "seconds an answer, measured on the device"
    one_by_one = True

    @staticmethod
    def relative(timing: Timing) -> float:
        """Return the time over the baseline's."""
        return timing.time_ratio


class TokenSeconds(TimedCost):
    """Seconds a token, the inverse of tokens per second."""

    name = "tokens-per-second"
    said = "tokens a second, measured on the device"

    @staticmethod
    def relative(timing: Timing) -> float:
        """Return the time for a token over the baseline's."""
        return timing.token_time_ratio


COSTS: dict[str, type[Cost]] = {cost.name: cost for cost in (Forwards, Seconds, TokenSeconds)}
"""Name, as `--cost` takes it -> what it is."""


def timed_cost(name: str) -> type[TimedCost] | None:
    """Return the cost of a name if it is measured in time, else None."""
    cost = COSTS[name]
    return cost if issubclass(cost, TimedCost) else None


def time_pairs(
    decode: Decode,
    strategy: Strategy,
    baseline: Strategy,
    prompts: Sequence[Prompt],
    batch_size: int,
    *,
    rounds: int = ROUNDS,
    clock: Callable[[], float] = time.perf_counter,
) -> Timing:
    """Time a strategy and the baseline in turns.

    Both decode the same prompts in a round, one right after the other and each first in every other round, so that a
    device that grows slower or faster meanwhile does so to both. One untimed turn of each comes first.

    Args:
        decode: Decodes and waits.
        strategy: What is timed.
        baseline: What it is compared with.
        prompts: Used in order, from the beginning again if there are too few.
        batch_size: Prompts decoded together.
        rounds: Timed pairs.
        clock: Seconds.
    """
    spent: dict[bool, list[tuple[float, int]]] = {True: [], False: []}
    for turn in range(-1, rounds):
        own_first = turn % 2 == 0
        batch = [prompts[(max(turn, 0) * batch_size + k) % len(prompts)] for k in range(batch_size)]
        for own in (own_first, not own_first):
            started = clock()
            tokens = decode(strategy if own else baseline, batch)
            if turn >= 0:
                spent[own].append((clock() - started, tokens))
    pairs = list(zip(spent[True], spent[False], strict=True))
    return Timing(
        seconds=median(seconds for seconds, _ in spent[True]) / batch_size,
        baseline_seconds=median(seconds for seconds, _ in spent[False]) / batch_size,
        tokens_per_second=sum(n for _, n in spent[True]) / sum(seconds for seconds, _ in spent[True]),
        time_ratio=median(own[0] / other[0] for own, other in pairs),
        token_time_ratio=median(
            (own[0] / max(own[1], 1)) / (other[0] / max(other[1], 1)) for own, other in pairs
        ),
    )


class Stopwatch:
    """Times strategies on a model once, and keeps what it measured for later runs on the same device."""

    def __init__(
        self,
        lm: DiffusionLM,
        prompts: Sequence[Prompt],
        baseline: Strategy,
        batch_size: int,
        folder: Path | None = None,
        *,
        seed: int = 0,
        chat: Chat = "auto",
    ) -> None:
        """Prepare; nothing is timed yet.

        Args:
            lm: The model.
            prompts: Of the tuning split.
            baseline: What everything is timed beside.
            batch_size: Prompts decoded together.
            folder: Where measurements are kept; None keeps them in this process.
            seed: Of the decoding noise.
            chat: As in `DiffusionLM.generate`.
        """
        self.chat: Chat = chat
        self.lm, self.prompts, self.baseline = lm, prompts, baseline
        self.batch_size, self.folder, self.seed = batch_size, folder, seed
        self._known: dict[str, Timing] = {}

    def __call__(self, strategy: Strategy) -> Timing:
        """Return what a strategy takes."""
        digest = strategy.digest()
        if digest not in self._known:
            path = None if self.folder is None else self.folder / f"{self._name(digest)}.json"
            kept = None if path is None else _read(path)
            if kept is None:
                kept = time_pairs(self._decode, strategy, self.baseline, self.prompts, self.batch_size)
                if path is not None:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    write_atomically(path, json.dumps(asdict(kept)) + "\n")
            self._known[digest] = kept
        return self._known[digest]

    def _decode(self, strategy: Strategy, prompts: Sequence[Prompt]) -> int:
        import torch

        from dllm_decode.generation.answers import ended

        out = self.lm.generate(
            list(prompts), strategy=strategy, seed=self.seed, batch_size=len(prompts), chat=self.chat
        )
        if self.lm.device.type == "cuda":
            torch.cuda.synchronize(self.lm.device)
        elif self.lm.device.type == "mps":
            torch.mps.synchronize()
        return int((~ended(out.tokens, self.lm.special)).sum())

    def _name(self, digest: str) -> str:
        """Name a measurement by everything that decides it."""
        from dllm_decode.evaluate.record import device_name, versions

        key: dict[str, Any] = {
            "strategy": digest,
            "baseline": self.baseline.digest(),
            "model": self.lm.fingerprint,
            "prompts": list(self.prompts),
            "batch_size": self.batch_size,
            **({"chat": self.chat} if self.chat != "auto" else {}),
            "dtype": str(self.lm.dtype),
            "device": device_name(self.lm.device),
            "versions": versions(),
        }
        return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:20]


def _read(path: Path) -> Timing | None:
    try:
        return Timing(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
