"""Layering: which positions of a block are eligible when, with how many steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

from dllm_decode.parts.base import PartConfig

if TYPE_CHECKING:
    from dllm_decode.data.canvas import Stage
    from dllm_decode.data.views import StageContext


class LayeringConfig(PartConfig):
    """Config of a layering; `needs` names the vocabulary statistics its probes read."""

    kind: ClassVar[str] = "layering"
    method: ClassVar[str] = "stages"
    needs: ClassVar[frozenset[str]] = frozenset()

    @property
    def probes(self) -> bool:
        """Whether it asks for forwards of its own, by `StageContext.probe`; those are not shared with other decodes."""
        return False

    def forwards(self, steps: int | None, size: int) -> int:
        """Return the most forwards a block of `size` columns and `steps` steps can take, probes included.

        Raises:
            ConfigError: The layering cannot serve this budget and size.
        """
        return size if steps is None else min(steps, size)


@runtime_checkable
class Layering(Protocol):
    """Cuts a block into stages."""

    needs: frozenset[str]

    def stages(self, context: StageContext) -> Iterator[Stage]:
        """Yield the stages in order; the generator is resumed when the stage before is finished."""
        ...
