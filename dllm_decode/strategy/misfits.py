"""Which parts of a strategy cannot work together, said before anything is decoded.

Knows the attributes by which configs declare what they ask of each other; knows no part by name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dllm_decode.errors import ConfigError

if TYPE_CHECKING:
    from dllm_decode.strategy.strategy import Strategy


def refuse_misfits(strategy: Strategy) -> None:
    """Raise for the first pair of parts that do not fit.

    Raises:
        ConfigError: Names both parts, what one asks of the other, and the way out.
    """
    _scores(strategy)
    _budget(strategy)
    _revisions(strategy)
    _cache(strategy)


def _scores(strategy: Strategy) -> None:
    scheduler, confidence = strategy.scheduler, strategy.confidence
    if scheduler.reads_probabilities and not confidence.unit:
        raise ConfigError(
            f"scheduler: {scheduler.name!r} compares scores with numbers between 0 and 1, which those of confidence "
            f"{confidence.name!r} are not; take another confidence, such as top-probability, or another scheduler."
        )


def _budget(strategy: Strategy) -> None:
    plan = strategy.block_plan()
    if plan is None and strategy.steps is not None and not strategy.scheduler.adaptive:
        raise ConfigError(
            f"steps: {strategy.steps} steps cannot be shared out to the blocks of {strategy.block.name!r}, which show "
            f"only while decoding; set steps to null (one token a step for {strategy.scheduler.name!r}), or take an "
            "adaptive scheduler, such as threshold."
        )


def _revisions(strategy: Strategy) -> None:
    for part in strategy.revise:
        if part.reopens and not strategy.scheduler.adaptive:
            raise ConfigError(
                f"revise: {part.name!r} opens positions again, which needs a scheduler that goes on until nothing is "
                f"open; {strategy.scheduler.name!r} keeps to a number of steps. Take one such as threshold."
            )
        if part.reopens and strategy.block.one_step:
            raise ConfigError(
                f"revise: {part.name!r} opens positions of its block again, and the blocks of {strategy.block.name!r} "
                "hold no decided ones; take other blocks, such as fixed."
            )
        planned = None if strategy.forward is None else strategy.forward.name
        if part.plan is not None and part.plan != planned:
            raise ConfigError(
                f"revise: {part.name!r} reads what forward plan {part.plan!r} computes; set forward to {part.plan!r} "
                f"(given: {planned})."
            )


def _cache(strategy: Strategy) -> None:
    if strategy.cache is None:
        return
    far = [part.name for part in strategy.revise if part.reach == "region"]
    if far:
        raise ConfigError(
            f"cache: {strategy.cache.name!r} recomputes part of the canvas, and revise: {far[0]!r} must see all of it; "
            "set cache to null, or leave the reviser out."
        )
    if strategy.forward is not None:
        raise ConfigError(
            f"cache: {strategy.cache.name!r} has no room for the extra columns of forward: {strategy.forward.name!r}; "
            "set one of the two to null."
        )
