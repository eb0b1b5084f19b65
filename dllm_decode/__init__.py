"""Compose, run, tune and extend decoding schedules for masked diffusion language models.

The public names; each is imported when it is first used, so that importing the package costs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dllm_decode.config import Strategy
    from dllm_decode.generation import Generation
    from dllm_decode.hookspecs import hookimpl
    from dllm_decode.lm import DiffusionLM, generate
    from dllm_decode.registry import load_registry

__version__ = "0.1.0"

__all__ = ["DiffusionLM", "Generation", "Strategy", "__version__", "generate", "hookimpl", "load_registry"]

_HOMES = {
    "DiffusionLM": "lm",
    "Generation": "generation",
    "Strategy": "config",
    "generate": "lm",
    "hookimpl": "hookspecs",
    "load_registry": "registry",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
