"""Compose, run, tune and extend decoding schedules for masked diffusion language models.

The public names; each is imported when it is first used, so that importing the package costs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dllm_decode.generation.answers import Generation
    from dllm_decode.model import DiffusionLM, generate
    from dllm_decode.plugins.hookspecs import hookimpl
    from dllm_decode.plugins.registry import load_registry
    from dllm_decode.strategy.strategy import Strategy

__version__ = "0.1.0"

__all__ = ["DiffusionLM", "Generation", "Strategy", "__version__", "generate", "hookimpl", "load_registry"]

_HOMES = {
    "DiffusionLM": "model",
    "Generation": "generation.answers",
    "Strategy": "strategy.strategy",
    "generate": "model",
    "hookimpl": "plugins.hookspecs",
    "load_registry": "plugins.registry",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
