"""How the generation requests of lm-evaluation-harness are decoded: lengths, stop texts, noise, cost."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dllm_decode.errors import ConfigError
from dllm_decode.evaluate.evaluate import SHORTENED, fit
from dllm_decode.evaluate.judge import cut_at_stops
from dllm_decode.strategy.resolve import resolve
from dllm_decode.strategy.strategy import Strategy

if TYPE_CHECKING:
    from dllm_decode.harness.arguments import Arguments
    from dllm_decode.model import DiffusionLM

USUAL_LENGTH = 256
"""What lm-evaluation-harness gives an answer whose request names no length."""
LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
"""The names that a request may give its length under, the first that is there."""
LOG = logging.getLogger("lm_eval.dllm_decode")
"""Heard with the harness's own."""
_REPEAT = 1 << 40
"""Row ids between two answers to one document."""


@dataclass(frozen=True, slots=True)
class Request:
    """One answer that is wanted."""

    tokens: tuple[int, ...]
    """The ids of what stands before it."""
    text: str
    length: int
    """Positions it gets."""
    stops: tuple[str, ...]
    """Texts that end it; they are no part of it."""
    row: int
    """The identity of its noise: the document's place, as in `dllm-decode eval`."""


def read_stops(options: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the stop texts of a request's options."""
    until = options.get("until") or ()
    return tuple(stop for stop in ([until] if isinstance(until, str) else until) if stop)


def asked_length(options: Mapping[str, Any]) -> int | None:
    """Return the length that a request's options name.

    Raises:
        ConfigError: It is none.
    """
    found = next((options[name] for name in LENGTHS if options.get(name) is not None), None)
    if found is not None and (not isinstance(found, int) or isinstance(found, bool) or found < 1):
        raise ConfigError(f"{LENGTHS[0]}: should be a number of at least 1, got {found!r}")
    return found


def usual_length(limit: int | None) -> int:
    """Return the length of answers that nobody named: less where a model's context, in tokens, has no room for it."""
    return USUAL_LENGTH if limit is None or limit > USUAL_LENGTH else max(1, limit // SHORTENED)


def tell_of_sampling(options: Sequence[Mapping[str, Any]]) -> None:
    """Say in the log that sampling options of requests are not followed: how tokens are chosen is the strategy's."""
    if any(one.get("do_sample") or one.get("temperature") for one in options):
        LOG.warning("sampling (do_sample, temperature) is the strategy's here: temperature=... in --model_args")


def row_ids(places: Sequence[int]) -> list[int]:
    """Return the noise's identity for answers to the documents at `places`; each further answer to one has its own."""
    seen: Counter[int] = Counter()
    found = []
    for place in places:
        found.append(place + _REPEAT * seen[place])
        seen[place] += 1
    return found


class Decoder:
    """Decodes requests with one model and strategy, and counts what that costs."""

    def __init__(self, lm: DiffusionLM, arguments: Arguments, changes: Mapping[str, Any]) -> None:
        """Take the model; the strategy is known once the length of an answer is."""
        self.lm = lm
        self.arguments = arguments
        self.changes = dict(changes)
        self.answers = 0
        self.forward_passes = 0
        self.model_calls = 0
        self.seconds = 0.0
        self.used: dict[int, Strategy] = {}
        """The strategy of each length that was decoded, in tokens."""

    @property
    def given(self) -> Strategy:
        """The strategy as it was given, before it is fitted to a length.

        Raises:
            ConfigError: It is unknown or does not validate.
        """
        return resolve(self.arguments.strategy, self.lm, changes=self.changes).strategy

    def strategy(self, length: int, prompts: Sequence[str] = ()) -> Strategy:
        """Return the strategy for answers of `length` tokens; a preset fits the texts of the prompts.

        Raises:
            ConfigError: It is unknown, or cannot serve this length.
        """
        found = resolve(
            self.arguments.strategy, self.lm, changes=self.changes, gen_length=length, prompts=list(prompts)
        )
        self.used[length], notes = fit(found.strategy, length)
        for note in filter(None, (found.note, *notes)):
            LOG.info(note)
        return self.used[length]

    def decode(self, requests: Sequence[Request]) -> Iterator[tuple[int, str]]:
        """Yield places in `requests` and their answers, cut at their stop texts, as they are finished."""
        for length in sorted({request.length for request in requests}):
            numbers = [number for number, request in enumerate(requests) if request.length == length]
            same = [requests[number] for number in numbers]
            parts = self.lm.stream(
                [list(request.tokens) for request in same],
                self.strategy(length, [request.text for request in same]),
                seed=self.arguments.seed,
                batch_size=self.arguments.rows,
                row_ids=[request.row for request in same],
                chat="off",
            )
            for places, out in parts:
                self.answers += len(places)
                self.forward_passes += int(out.forward_passes.sum())
                self.model_calls += out.model_calls
                self.seconds += out.seconds
                for place, text in zip(places, out.texts, strict=True):
                    yield numbers[place], cut_at_stops(text, same[place].stops)
        if self.answers:
            each = self.forward_passes / self.answers
            LOG.info("%d answers, %.2f forward passes each, %.1f s", self.answers, each, self.seconds)

    def cost(self) -> dict[str, Any]:
        """Return what was decoded so far and what it took, for lm-evaluation-harness's results."""
        per_answer = self.forward_passes / self.answers if self.answers else None
        return {
            "strategy": self.given.name,
            "strategy_digests": {str(length): used.digest() for length, used in sorted(self.used.items())},
            "answers_decoded": self.answers,
            "forward_passes_per_answer": per_answer,
            "model_calls": self.model_calls,
            "decoding_seconds": round(self.seconds, 4),
        }
