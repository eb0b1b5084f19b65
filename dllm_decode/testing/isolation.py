"""A registry that holds the parts a test names and nothing that happens to be installed.

Knows how `load_registry` is replaced and put back; usable without pytest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import ModuleType
from typing import Any
from unittest.mock import patch

from dllm_decode.errors import PluginError
from dllm_decode.parts.base import PartConfig
from dllm_decode.plugins import registry
from dllm_decode.plugins.hookspecs import hookimpl
from dllm_decode.plugins.registry import Registry, build_registry

Source = type[Any] | Mapping[str, Any]
"""A part's config class, a task, a model family; or a mapping from a plugin's name to its module or object."""


@contextmanager
def isolated_registry(*sources: Source, defaults: bool = True) -> Iterator[Registry]:
    """While active, `load_registry()` holds the given sources beside the default plugins, and nothing installed.

    Args:
        sources: Classes to register, or mappings from a plugin's name to its module.
        defaults: Whether the parts, tasks and recipes that come with the package are visible as well.

    Raises:
        PluginError: A source cannot be registered; the message says why.
    """
    plugins = plugins_of(sources)
    build = partial(build_registry, plugins, None)
    shown = registry.DEFAULT_PLUGINS if defaults else ()
    try:
        with patch.multiple(registry, build_registry=build, DEFAULT_PLUGINS=shown):
            registry.load_registry.cache_clear()
            loaded = registry.load_registry()
            for failure in loaded.failures:
                if failure.origin.plugin in plugins:
                    raise PluginError(f"{failure.origin.plugin} cannot be registered: {failure.reason}")
            yield loaded
    finally:
        registry.load_registry.cache_clear()


def plugins_of(sources: tuple[Source, ...]) -> dict[str, Any]:
    """Return name -> plugin; a class becomes a plugin that registers it."""
    plugins: dict[str, Any] = {}
    for source in sources:
        if isinstance(source, type):
            plugins[source.__qualname__] = _plugin_of(source)
        else:
            plugins.update(source)
    return plugins


def _plugin_of(owner: type[Any]) -> ModuleType:
    module = ModuleType(owner.__module__)
    setattr(module, f"dllm_{_hook_of(owner)}", hookimpl(_returning(owner)))
    return module


def _hook_of(owner: type[Any]) -> str:
    if issubclass(owner, PartConfig):
        return owner.kind
    return "denoiser" if hasattr(owner, "matches") else "task"


def _returning(owner: type[Any]) -> Callable[[], list[type[Any]]]:
    return lambda: [owner]
