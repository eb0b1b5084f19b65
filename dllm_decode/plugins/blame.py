"""Names the part that is at fault: its kind, its name, the plugin and distribution it came from.

Knows where parts come from; what they promise is known to those who call them.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

from dllm_decode.errors import ContractError, DecodeError, ModelError
from dllm_decode.plugins.registry import load_registry


def who(kind: str, part: Any) -> str:
    """Return how a part is named in an error: `scheduler 'even' (dllm-decode 0.1)`."""
    if kind == "denoiser":
        return "the model"
    name = getattr(part, "name", type(part).__name__)
    return f"{kind} {name!r} ({load_registry().origin(kind, name)})"


class blaming:  # noqa: N801
    """Turn whatever a part raises into an error that names it; errors that are meant to be read stay as they are.

    Entered several times a step, so a class: a generator's context costs three times as much.
    """

    __slots__ = ("_kind", "_part", "_where")

    def __init__(self, kind: str, part: Any, where: Callable[[], str] | str = "") -> None:
        """Say who is called.

        Args:
            kind: The part's; "denoiser" for the model.
            part: The object that is called inside.
            where: When it was called: "stage 'easy', step 3"; or what says so where that takes work.
        """
        self._kind, self._part, self._where = kind, part, where

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End.

        Raises:
            ContractError: The part raised an exception.
            ModelError: The model did.
        """
        if not isinstance(error, Exception) or isinstance(error, DecodeError | MemoryError):
            return
        if type(error).__name__ == "OutOfMemoryError":  # torch's: the caller may want to try a smaller batch
            return
        raised = ModelError if self._kind == "denoiser" else ContractError
        said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        where = self._where if isinstance(self._where, str) else self._where()
        at = f" ({where})" if where else ""
        raise raised(f"{who(self._kind, self._part)} raised {said}{at}.") from error
