"""Finds plugins, builds the tables of parts, recipes and tasks, and keeps what failed to say it when a name is missing.

Knows hook names and origins; leaves what a part does to the engine.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import os
import re
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import Any, Literal, get_origin

import pluggy

from dllm_decode.errors import ConfigError, PluginError, unknown_name
from dllm_decode.parts.base import PartConfig, find_parts_with
from dllm_decode.parts.kinds import KINDS, METHODS, WORDS
from dllm_decode.plugins import hookspecs

DEFAULT_PLUGINS = (
    "dllm_strategies.plugin",
    "dllm_decode.tasks.plugin",
    "dllm_decode.models.plugin",
    "dllm_search.plugin",
)
ENTRY_POINT_GROUP = "dllm_decode"
OTHER_KINDS = ("recipe", "task", "denoiser")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a part came from."""

    plugin: str
    distribution: str
    version: str

    def __str__(self) -> str:
        return f"plugin {self.plugin!r} of {self.distribution} {self.version}".rstrip()


@dataclass(frozen=True, slots=True)
class Loaded:
    """One plugin that loaded."""

    origin: Origin
    hooks: tuple[str, ...]
    parts: tuple[str, ...]
    """`kind:name` of everything it registered."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One plugin that did not load."""

    origin: Origin
    reason: str


@dataclass(slots=True)
class Registry:
    """Every name that can be used, with its origin."""

    manager: pluggy.PluginManager
    plugins: list[Loaded] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    """kind -> name -> class or path; kinds are the part kinds, "recipe", "task" and "denoiser"."""
    origins: dict[tuple[str, str], Origin] = field(default_factory=dict)
    recipes: dict[str, Any] = field(default_factory=dict, repr=False)
    """Recipes that have been read, by name; kept by whoever reads them."""

    def names(self, kind: str) -> list[str]:
        """Return the known names of a kind, sorted."""
        return sorted(self.tables.get(kind, {}))

    def find(self, kind: str, name: str) -> Any:
        """Return what a plugin registered.

        Raises:
            ConfigError: No such name; the message suggests one, lists the rest, and tells of plugins that failed.
        """
        table = self.tables.get(kind, {})
        if name in table:
            return table[name]
        failed = "".join(f". Note: {f.origin} failed to load: {f.reason}" for f in self.failures)
        raise ConfigError(unknown_name(kind, name, table) + self.of_another_kind(kind, name) + failed)

    def of_another_kind(self, kind: str, name: str) -> str:
        """Say of an unknown name of a kind which other kinds know it; "" if none does."""
        other = [WORDS[one] for one in KINDS if name in self.tables.get(one, {})]
        return f". Note: {name!r} is a {' and a '.join(other)}, no {WORDS.get(kind, kind)}" if other else ""

    def part(self, kind: str, name: str) -> type[PartConfig]:
        """Return the config class of a part."""
        return self.find(kind, name)  # type: ignore[no-any-return]

    def task(self, name: str) -> Any:
        """Return a fresh task of that name."""
        return self.find("task", name)()

    def origin(self, kind: str, name: str) -> str:
        """Say where a part came from, for messages."""
        return str(self.origins.get((kind, name), "a class passed directly"))


class CollisionError(PluginError):
    """Two parts of one kind with one name; never resolved by order of registration."""


def build_registry(
    plugins: Mapping[str, Any] | None = None, entry_point_group: str | None = ENTRY_POINT_GROUP
) -> Registry:
    """Load the default plugins, the given modules or objects, and the installed entry points.

    Args:
        plugins: Name to module or object with hooks, loaded beside the rest.
        entry_point_group: The group of installed plugins; None loads none of them.

    `DLLM_DECODE_PLUGINS` (comma-separated entry-point names, empty for none) limits what installed plugins are loaded;
    `DLLM_DECODE_STRICT=1` makes a failure fatal.

    Raises:
        PluginError: Two parts of one kind share a name, or strict mode and a plugin failed.
    """
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    registry = Registry(manager)
    # What a plugin prints while it is imported has no place in front of a result.
    with contextlib.redirect_stdout(sys.stderr):
        for module in DEFAULT_PLUGINS:
            origin = Origin(module, "dllm-decode", _version("dllm-decode"))
            _load(registry, origin, partial(importlib.import_module, module))
        for name, plugin in (plugins or {}).items():
            _register(registry, Origin(name, "this program", ""), plugin)
        _load_installed(registry, entry_point_group)
    if registry.failures and os.environ.get("DLLM_DECODE_STRICT") == "1":
        raise PluginError("; ".join(f"{f.origin} failed to load: {f.reason}" for f in registry.failures))
    return registry


@lru_cache(maxsize=1)
def load_registry() -> Registry:
    """Return the process's registry, built once; `load_registry.cache_clear()` builds it anew."""
    return build_registry()


find_parts_with(lambda kind, name: load_registry().part(kind, name))


def _load_installed(registry: Registry, group: str | None) -> None:
    """Load entry points in the order of their names, or those that `DLLM_DECODE_PLUGINS` names."""
    points = sorted(entry_points(group=group), key=lambda p: (p.name, p.value)) if group else []
    limit = os.environ.get("DLLM_DECODE_PLUGINS")
    if group and limit is not None:
        wanted = {name.strip() for name in limit.split(",") if name.strip()}
        for name in sorted(wanted - {point.name for point in points}):
            reason = "DLLM_DECODE_PLUGINS names it, but no installed distribution provides it"
            registry.failures.append(Failure(Origin(name, "no distribution", ""), reason))
        points = [point for point in points if point.name in wanted]
    for point in points:
        owner = (point.dist.name, point.dist.version) if point.dist else ("an unknown distribution", "")
        _load(registry, Origin(point.name, *owner), point.load)


def _load(registry: Registry, origin: Origin, load: Callable[[], Any]) -> None:
    """Import a plugin and register it; a failure is kept and harms no other plugin."""
    try:
        plugin = load()
    except (Exception, SystemExit) as error:
        registry.failures.append(Failure(origin, _reason(error)))
        return
    _register(registry, origin, plugin)


def _register(registry: Registry, origin: Origin, plugin: Any) -> None:
    """Take in a plugin whole or not at all; a failure is kept.

    Raises:
        CollisionError: A part's name is taken.
    """
    manager = registry.manager
    if manager.is_registered(plugin):
        reason = f"the same module is already loaded as {manager.get_name(plugin)!r}"
        registry.failures.append(Failure(origin, reason))
        return
    try:
        manager.register(plugin, f"{origin.distribution}:{origin.plugin}")
        # The only thing that notices a hook whose name is misspelt; register() accepts any name.
        manager.check_pending()
        found = _collect(registry, origin, plugin)
    except Exception as error:
        if manager.is_registered(plugin):
            manager.unregister(plugin)
        if isinstance(error, CollisionError):
            raise
        registry.failures.append(Failure(origin, _reason(error)))
        return
    hooks = tuple(sorted(caller.name for caller in manager.get_hookcallers(plugin) or ()))
    for (kind, name), value in found.items():
        registry.tables.setdefault(kind, {})[name] = value
        registry.origins[kind, name] = origin
    registry.plugins.append(Loaded(origin, hooks, tuple(f"{kind}:{name}" for kind, name in found)))


def _collect(registry: Registry, origin: Origin, plugin: Any) -> dict[tuple[str, str], Any]:
    found: dict[tuple[str, str], Any] = {}
    for caller in registry.manager.get_hookcallers(plugin) or ():
        kind = caller.name.removeprefix("dllm_")
        if kind not in KINDS and kind not in OTHER_KINDS:
            continue
        for value in _answer(caller, plugin):
            name = _recipe_name(value) if kind == "recipe" else _class_name(kind, value)
            if (kind, name) in found or name in registry.tables.get(kind, {}):
                other = registry.origins.get((kind, name), origin)
                raise CollisionError(
                    f"{kind} {name!r} is registered by {other} and by {origin}; rename one, uninstall one, "
                    "or say which plugins to load: DLLM_DECODE_PLUGINS=a,b"
                )
            found[kind, name] = value
    return found


def _answer(caller: pluggy.HookCaller, plugin: Any) -> list[Any]:
    """Ask this plugin alone, so that what it returns is known to be its own."""
    values: list[Any] = []
    for implementation in caller.get_hookimpls():
        if implementation.plugin is plugin:
            answer = implementation.function()
            if not isinstance(answer, list | tuple):
                raise PluginError(f"{caller.name}() should return a list, got {answer!r}")
            values.extend(answer)
    return values


def _recipe_name(value: Any) -> str:
    if not isinstance(value, Path) or not value.is_file():
        raise PluginError(f"dllm_recipe() should return paths of YAML files, got {value!r}")
    return value.stem


def _class_name(kind: str, value: Any) -> str:
    hook = f"dllm_{kind}()"
    if not inspect.isclass(value):
        raise PluginError(f"{hook} should return a list of classes, got {value!r}")
    if kind not in KINDS:
        return _kebab_case(value, getattr(value, "name", None))
    base = KINDS[kind]
    if not issubclass(value, base):
        raise PluginError(f"{hook} returned {value.__qualname__}, which is no {base.__name__}")
    if value.build is PartConfig.build and not callable(getattr(value, METHODS[kind], None)):
        raise PluginError(
            f"{value.__qualname__} needs a method {METHODS[kind]!r}, or a build() that returns an object with it"
        )
    field = value.model_fields["name"]
    if get_origin(field.annotation) is not Literal:
        raise PluginError(
            f'{value.__qualname__} should declare its name as `name: Literal["a-name"] = "a-name"`'
        )
    return _kebab_case(value, field.default)


def _kebab_case(owner: type[Any], name: object) -> str:
    if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise PluginError(f'{owner.__qualname__} needs a kebab-case `name`, e.g. "my-rule"; got {name!r}')
    return name


def _reason(error: BaseException) -> str:
    """Say what went wrong and where in the plugin, in one line."""
    if isinstance(error, PluginError):
        return str(error)
    frames = [
        f for f in traceback.extract_tb(error.__traceback__) if not re.search(r"importlib|pluggy", f.filename)
    ]
    own = frames[-1] if frames and Path(frames[-1].filename) != Path(__file__) else None
    where = f" ({Path(own.filename).name}:{own.lineno})" if own else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())}{where}"


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"


__all__ = [
    "DEFAULT_PLUGINS",
    "CollisionError",
    "Failure",
    "Loaded",
    "Origin",
    "Registry",
    "build_registry",
    "load_registry",
]
