"""How far a decode with a cache agrees with the same schedule without one, and what each of them computes.

Knows generations and what the model was asked; accuracy on a task is the caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from dllm_decode.data.inputs import ModelInputs, SpecialTokens
from dllm_decode.errors import ConfigError
from dllm_decode.forward.denoiser import CachingDenoiser, HeadedDenoiser
from dllm_decode.generation.answers import Generation, ended
from dllm_decode.model import DiffusionLM
from dllm_decode.parts.cache import CacheConfig
from dllm_decode.strategy.resolve import StrategySource, resolve
from dllm_decode.strategy.strategy import Strategy


@dataclass(frozen=True, slots=True)
class Work:
    """A generation and what went through the model for it."""

    generation: Generation
    columns: int
    """Columns run through the model, prompt and padding included, summed over rows and model calls, in tokens."""
    rows: int
    """Rows run through the model, summed over model calls."""

    @property
    def columns_per_forward(self) -> float:
        """Columns that a row's forward computes on average; L without a cache."""
        return self.columns / max(self.rows, 1)


@dataclass(frozen=True, slots=True)
class Agreement:
    """What a cache changed in the tokens, as shares of 1, and what each of the two runs computed."""

    rows: int
    equal_tokens: float
    """Share of all generated positions that hold the same token in both runs."""
    equal_answer_tokens: float
    """The same before the first EOS or EOT of the uncached run: ends repeat themselves and agree easily."""
    equal_rows: float
    """Share of rows whose positions are all the same."""
    model_calls: int
    model_calls_uncached: int
    columns: int
    """Columns run through the model with the cache, summed over rows and model calls, in tokens."""
    columns_uncached: int
    columns_per_forward: float
    columns_per_forward_uncached: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)


def agreement(
    lm: DiffusionLM,
    prompts: str | Sequence[Any] | Tensor,
    strategy: StrategySource,
    cache: str | dict[str, Any] | CacheConfig,
    **options: Any,
) -> Agreement:
    """Decode prompts with and without a cache and compare the tokens.

    Args:
        lm: The model.
        prompts: Anything `DiffusionLM.generate` takes.
        strategy: The schedule; a cache it names itself is left out of both runs.
        cache: A cache policy's name, a mapping with its fields, or its config.
        **options: Passed to `DiffusionLM.generate`, e.g. `gen_length`, `seed`, `batch_size`.

    Raises:
        ConfigError: An unknown cache, a strategy that cannot be cached, or a model that cannot reuse keys and values.
    """
    plain = resolve(strategy, lm, prompts=prompts).strategy.override({"cache": None})
    uncached = measured(lm, prompts, plain, **options)
    cached = measured(lm, prompts, plain.override({"cache": cache}), **options)
    return compare(uncached, cached, lm.special)


def measured(
    lm: DiffusionLM, prompts: str | Sequence[Any] | Tensor, strategy: Strategy, **options: Any
) -> Work:
    """Generate, counting the columns that go through the model; the arguments are those of `agreement`.

    Raises:
        ConfigError: The model cannot reuse keys and values, so that there is nothing to compare.
    """
    if not isinstance(lm.denoiser, CachingDenoiser):
        raise ConfigError(
            f"{type(lm.denoiser).__name__} cannot reuse keys and values, so no cache can be compared with it."
        )
    counter = _Counter(lm.denoiser)
    counted = DiffusionLM(counter, lm.tokenizer, name=lm.name, folder=lm.folder)
    return Work(counted.generate(prompts, strategy, **options), counter.columns, counter.rows)


def compare(uncached: Work, cached: Work, special: SpecialTokens) -> Agreement:
    """Return how far two runs over the same prompts agree; `special` says which tokens end an answer."""
    tokens = uncached.generation.tokens  # (B, gen_length) int64
    equal = tokens == cached.generation.tokens  # (B, gen_length) bool
    return Agreement(
        rows=equal.shape[0],
        equal_tokens=_share(equal),
        equal_answer_tokens=_share(equal[~ended(tokens, special)]),
        equal_rows=_share(equal.all(1)),
        model_calls=cached.generation.model_calls,
        model_calls_uncached=uncached.generation.model_calls,
        columns=cached.columns,
        columns_uncached=uncached.columns,
        columns_per_forward=cached.columns_per_forward,
        columns_per_forward_uncached=uncached.columns_per_forward,
    )


def _share(same: Tensor) -> float:
    """Return the share of True in a bool tensor of any shape; 1 if it is empty."""
    return float(same.double().mean()) if same.numel() else 1.0


class _Counter:
    """A denoiser that passes everything on and counts the columns it is asked to compute."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.columns = self.rows = 0
        if isinstance(inner, HeadedDenoiser):
            self.head = inner.head
            self.hidden = lambda inputs: self._counted(inputs, inner.hidden)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def new_cache(self) -> Any:
        return self._inner.new_cache()

    def logits(self, inputs: ModelInputs) -> Tensor:
        return self._counted(inputs, self._inner.logits)

    def _counted(self, inputs: ModelInputs, answer: Callable[[ModelInputs], Tensor]) -> Tensor:
        rows, length = inputs.tokens.shape
        columns = slice(0, length) if inputs.recompute is None else inputs.recompute
        self.rows += rows
        self.columns += rows * (columns.stop - columns.start)
        return answer(inputs)
