"""Optuna search over any strategy: from a task to the fastest schedule that keeps its quality.

The public names are imported when first used, so that listing commands costs neither torch nor Optuna.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dllm_search.tuning import TuneResult, tune, tune_all

__all__ = ["TuneResult", "tune", "tune_all"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    home = import_module("dllm_search.tuning")
    globals().update({public: getattr(home, public) for public in __all__})
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
