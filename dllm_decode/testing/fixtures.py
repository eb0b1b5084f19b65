"""The pytest fixture of the kit: `pytest_plugins = ["dllm_decode.testing.fixtures"]`, or import it by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from dllm_decode.plugins.registry import Registry
from dllm_decode.testing import isolation

__all__ = ["isolated_registry"]


@pytest.fixture
def isolated_registry() -> Iterator[Callable[..., Registry]]:
    """A function that hides what is installed: `isolated_registry(MyScheduler)`, `isolated_registry({"mine": module})`.

    It takes the arguments of `dllm_decode.testing.isolation.isolated_registry` and returns the registry that
    everything sees until the test ends. Called again, it starts anew.
    """
    with ExitStack() as stack:

        def use(*sources: isolation.Source | None, defaults: bool = True) -> Registry:
            stack.close()
            given = [source for source in sources if source is not None]
            return stack.enter_context(isolation.isolated_registry(*given, defaults=defaults))

        yield use
