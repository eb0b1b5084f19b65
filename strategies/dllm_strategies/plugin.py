"""Registers the reference parts and recipes."""

from __future__ import annotations

from pathlib import Path

from dllm_decode.plugin import (
    BlockConfig,
    CacheConfig,
    ConfidenceConfig,
    ForwardConfig,
    LayeringConfig,
    LogitsConfig,
    ReviseConfig,
    SchedulerConfig,
    StopConfig,
    hookimpl,
)
from dllm_strategies.adaptive import AdaptiveBlocks
from dllm_strategies.anyof import AnyOf
from dllm_strategies.blocks import FixedBlocks, WholeRegion
from dllm_strategies.bounds import EntropyBoundedScheduler, FactorScheduler
from dllm_strategies.caches import DualCache, PrefixCache
from dllm_strategies.chlg import ConfidenceLayers
from dllm_strategies.confidence import Margin, NegativeEntropy, RandomConfidence, TopProbability
from dllm_strategies.counting import CosineScheduler, LinearDecayScheduler, TopKScheduler
from dllm_strategies.credit import TraceCredit
from dllm_strategies.debias import FrequencyDebiased
from dllm_strategies.delayed import DelayedCache
from dllm_strategies.dream import BernoulliScheduler, DreamScheduler
from dllm_strategies.editing import Edit
from dllm_strategies.falling import FallingThresholdScheduler
from dllm_strategies.frechet import FrechetScheduler
from dllm_strategies.grid import Grid
from dllm_strategies.klass import KlassScheduler
from dllm_strategies.leap import LocalLeapScheduler
from dllm_strategies.less import LessScheduler
from dllm_strategies.logits import ForbidEos, Guidance
from dllm_strategies.multi import MultiBlock
from dllm_strategies.nucleus import Temper, TopK, TopP
from dllm_strategies.prior import CertaintyPrior
from dllm_strategies.scaffold import Scaffold
from dllm_strategies.scheduled import ScheduledCommit
from dllm_strategies.schedulers import EvenScheduler, QuotaThresholdScheduler, ThresholdScheduler
from dllm_strategies.segment import SegmentScheduler
from dllm_strategies.single import SingleStage
from dllm_strategies.stop import EarlyCommit, EosStop
from dllm_strategies.wino import NarrowOut, Shadow, WideIn


@hookimpl
def dllm_block() -> list[type[BlockConfig]]:
    """Return the block policies."""
    return [WholeRegion, FixedBlocks, AdaptiveBlocks, MultiBlock]


@hookimpl
def dllm_layering() -> list[type[LayeringConfig]]:
    """Return the layerings."""
    return [SingleStage, Scaffold, ConfidenceLayers, Grid]


@hookimpl
def dllm_scheduler() -> list[type[SchedulerConfig]]:
    """Return the schedulers."""
    return [
        EvenScheduler,
        CosineScheduler,
        LinearDecayScheduler,
        DreamScheduler,
        BernoulliScheduler,
        TopKScheduler,
        ThresholdScheduler,
        QuotaThresholdScheduler,
        SegmentScheduler,
        LocalLeapScheduler,
        FallingThresholdScheduler,
        KlassScheduler,
        LessScheduler,
        FactorScheduler,
        FrechetScheduler,
        EntropyBoundedScheduler,
        WideIn,
        AnyOf,
    ]


@hookimpl
def dllm_confidence() -> list[type[ConfidenceConfig]]:
    """Return the confidences."""
    return [TopProbability, Margin, NegativeEntropy, RandomConfidence, CertaintyPrior, FrequencyDebiased, TraceCredit]


@hookimpl
def dllm_logits() -> list[type[LogitsConfig]]:
    """Return the logits processors."""
    return [Guidance, ForbidEos, Temper, TopP, TopK]


@hookimpl
def dllm_stop() -> list[type[StopConfig]]:
    """Return the stop rules."""
    return [EosStop, EarlyCommit, ScheduledCommit]


@hookimpl
def dllm_revise() -> list[type[ReviseConfig]]:
    """Return the revisers."""
    return [NarrowOut, Edit]


@hookimpl
def dllm_forward() -> list[type[ForwardConfig]]:
    """Return the forward plans."""
    return [Shadow]


@hookimpl
def dllm_cache() -> list[type[CacheConfig]]:
    """Return the cache policies."""
    return [PrefixCache, DualCache, DelayedCache]


@hookimpl
def dllm_recipe() -> list[Path]:
    """Return the named strategies."""
    return sorted((Path(__file__).parent / "recipes").glob("*.yaml"))
