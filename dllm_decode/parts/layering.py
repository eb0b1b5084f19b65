"""Layering: which positions of a block are eligible when, with how many steps.

Called: `forwards` at validation. `stages` once a block; the generator is resumed when the stage before is
finished.

May: Call `context.probe()` for the statistics of the canvas as it stands (the next step uses the same
forward), and say so in `probes`; draw from `context.noise()`; give a stage a scheduler of its own; hand
positions on to another layering with `context.within(...)`.

Must not: Give a stage positions outside `context.where`, or leave positions of it to no stage. `forwards`
must not promise fewer forwards than `stages` can take. A probe is a forward: where nothing is open, do not
ask for one.

An example:

    class LastFirst(LayeringConfig):
        '''The last column of every block, then the others.'''

        name: Literal["last-first"] = "last-first"

        def stages(self, context: StageContext) -> Iterator[Stage]:
            last = context.where & (context.where.flip(1).cumsum(1).flip(1) == 1)  # (B, W)
            yield Stage("last", last, 1)
            yield Stage("others", context.where & ~last, context.steps)

        def forwards(self, steps: int | None, size: int) -> int:
            return 1 + min(steps or size, size)
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
    kind_order: ClassVar[int] = 2
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
