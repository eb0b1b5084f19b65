"""Every kind of part, read off the files beside this one: its base, the method its parts must have.

A kind is one file `parts/<kind>.py` with a config base (its `kind` is the file's name) and a protocol of one method.
"""

from __future__ import annotations

import sys
from typing import Any

from dllm_decode.parts.base import PartConfig
from dllm_decode.parts.block import BlockConfig
from dllm_decode.parts.cache import CacheConfig
from dllm_decode.parts.confidence import ConfidenceConfig
from dllm_decode.parts.forward import ForwardConfig
from dllm_decode.parts.layering import LayeringConfig
from dllm_decode.parts.logits import LogitsConfig
from dllm_decode.parts.revise import ReviseConfig
from dllm_decode.parts.scheduler import SchedulerConfig
from dllm_decode.parts.stop import StopConfig

KINDS: dict[str, type[PartConfig]] = {
    base.kind: base
    for base in (
        BlockConfig,
        LayeringConfig,
        SchedulerConfig,
        ConfidenceConfig,
        LogitsConfig,
        StopConfig,
        ReviseConfig,
        ForwardConfig,
        CacheConfig,
    )
}
"""Kind -> the base of its parts' configs, in the order in which a decode meets them."""

METHODS = {kind: base.method for kind, base in KINDS.items()}
"""Kind -> the method that a part has, unless its config's `build` returns another object."""

SEVERAL = tuple(kind for kind, base in KINDS.items() if base.several)
"""Kinds of which a strategy holds none, one or several."""


def _protocol(base: type[PartConfig]) -> Any:
    """Return the protocol that stands beside a config base and has the kind's method."""
    beside = vars(sys.modules[base.__module__]).values()
    return next(
        one for one in beside if getattr(one, "_is_protocol", False) and hasattr(one, base.method)
    )


PROTOCOLS: dict[str, Any] = {kind: _protocol(base) for kind, base in KINDS.items()}
"""Kind -> the protocol that its parts obey."""
