"""Names the part that is at fault: its kind, its name, the plugin and distribution it came from.

Knows where parts come from; what they promise is known to those who call them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dllm_decode.errors import ContractError, DecodeError, ModelError
from dllm_decode.plugins.registry import load_registry


def who(kind: str, part: Any) -> str:
    """Return how a part is named in an error: `scheduler 'even' (dllm-decode 0.1)`."""
    if kind == "denoiser":
        return "the model"
    name = getattr(part, "name", type(part).__name__)
    return f"{kind} {name!r} ({load_registry().origin(kind, name)})"


@contextmanager
def blaming(kind: str, part: Any, where: str = "") -> Iterator[None]:
    """Turn whatever a part raises into an error that names it; errors that are meant to be read stay as they are.

    Args:
        kind: The part's; "denoiser" for the model.
        part: The object that is called inside.
        where: When it was called: "stage 'easy', step 3".

    Raises:
        ContractError: The part raised an exception.
        ModelError: The model did.
    """
    try:
        yield
    except (DecodeError, MemoryError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except Exception as error:
        if type(error).__name__ == "OutOfMemoryError":  # torch's: the caller may want to try a smaller batch
            raise
        raised = ModelError if kind == "denoiser" else ContractError
        said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise raised(f"{who(kind, part)} raised {said}{f' ({where})' if where else ''}.") from error
