"""Finds plugins, builds the tables of parts, recipes and tasks, and keeps what failed to say it when a name is missing.

Knows hook names and origins; leaves what a part does to the engine.
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import Any

import pluggy

from dllm_decode import hookspecs
from dllm_decode.config import KINDS, PartConfig, Strategy
from dllm_decode.errors import ConfigError, PluginError, unknown_name

DEFAULT_PLUGINS = ("dllm_strategies.plugin", "dllm_decode.tasks.plugin", "dllm_decode.denoisers.plugin", "dllm_search.plugin")
ENTRY_POINT_GROUP = "dllm_decode"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a part came from."""

    plugin: str
    distribution: str
    version: str

    def __str__(self) -> str:
        return f"plugin {self.plugin!r} of {self.distribution} {self.version}"


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
        failed = "".join(f" Note: {f.origin} failed to load: {f.reason}" for f in self.failures)
        raise ConfigError(unknown_name(kind, name, table) + failed)

    def part(self, kind: str, name: str) -> type[PartConfig]:
        """Return the config class of a part."""
        return self.find(kind, name)  # type: ignore[no-any-return]

    def task(self, name: str) -> Any:
        """Return a fresh task of that name."""
        return self.find("task", name)()

    def origin(self, kind: str, name: str) -> str:
        """Say where a part came from, for messages."""
        return str(self.origins.get((kind, name), "a class passed directly"))

    def strategy(self, source: str | Path | Mapping[str, Any] | Strategy) -> Strategy:
        """Resolve a recipe name, a YAML path, a mapping or a strategy."""
        if isinstance(source, Strategy):
            return source
        if isinstance(source, Mapping):
            return Strategy.parse(source)
        text = str(source)
        if isinstance(source, str) and text in self.tables.get("recipe", {}):
            return self._read(self.tables["recipe"][text])
        if isinstance(source, Path) or re.search(r"\.ya?ml$|[/\\]", text):
            return self._read(Path(text))
        self.find("recipe", text)
        raise AssertionError("find() raises for an unknown recipe")

    @staticmethod
    def _read(path: Path) -> Strategy:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise ConfigError(f"strategy file {path} cannot be read: {reason}") from None
        strategy = Strategy.from_yaml(text, origin=str(path))
        return strategy if strategy.name != "custom" else strategy.model_copy(update={"name": path.stem})


def build_registry(plugins: Mapping[str, Any] | None = None, entry_point_group: str | None = ENTRY_POINT_GROUP) -> Registry:
    """Load the default plugins, the given modules or objects, and the installed entry points.

    `DLLM_DECODE_PLUGINS` (comma-separated entry-point names, empty for none) limits what installed plugins are loaded;
    `DLLM_DECODE_STRICT=1` makes a failure fatal.

    Raises:
        PluginError: Two parts of one kind share a name, or strict mode and a plugin failed.
    """
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    registry = Registry(manager)
    for module in DEFAULT_PLUGINS:
        _load(registry, Origin(module, "dllm-decode", _version("dllm-decode")), lambda m=module: importlib.import_module(m))
    for name, plugin in (plugins or {}).items():
        _load(registry, Origin(name, "a plugin given in code", "-"), lambda p=plugin: p)
    for point in _entry_points(entry_point_group):
        distribution = point.dist.name if point.dist else "unknown"
        release = point.dist.version if point.dist else "-"
        _load(registry, Origin(point.name, distribution, release), point.load)
    if registry.failures and os.environ.get("DLLM_DECODE_STRICT") == "1":
        raise PluginError("; ".join(f"{f.origin} failed to load: {f.reason}" for f in registry.failures))
    return registry


@lru_cache(maxsize=1)
def load_registry() -> Registry:
    """Return the process's registry, built once; `load_registry.cache_clear()` builds it anew."""
    return build_registry()


def _load(registry: Registry, origin: Origin, load: Any) -> None:
    try:
        plugin = load()
        registry.manager.register(plugin, origin.plugin)
    except Exception as error:
        registry.failures.append(Failure(origin, _reason(error)))
        return
    try:
        registry.manager.check_pending()
        found = _collect(registry, origin, plugin)
    except PluginError as error:
        registry.manager.unregister(plugin)
        if isinstance(error, Collision):
            raise
        registry.failures.append(Failure(origin, str(error)))
        return
    except Exception as error:
        registry.manager.unregister(plugin)
        registry.failures.append(Failure(origin, _reason(error)))
        return
    hooks = tuple(sorted(c.name for c in registry.manager.get_hookcallers(plugin) or ()))
    for (kind, name), value in found.items():
        registry.tables.setdefault(kind, {})[name] = value
        registry.origins[kind, name] = origin
    registry.plugins.append(Loaded(origin, hooks, tuple(f"{kind}:{name}" for kind, name in found)))


class Collision(PluginError):
    """Two parts of one kind with one name; never resolved by order of registration."""


def _collect(registry: Registry, origin: Origin, plugin: Any) -> dict[tuple[str, str], Any]:
    found: dict[tuple[str, str], Any] = {}
    for kind in (*KINDS, "recipe", "task", "denoiser"):
        hook = registry.manager.subset_hook_caller(
            f"dllm_{kind}", [p for p in registry.manager.get_plugins() if p is not plugin]
        )
        for value in [item for answer in hook() for item in answer]:
            name = value.stem if kind == "recipe" else _name(kind, value)
            if (kind, name) in found or name in registry.tables.get(kind, {}):
                other = registry.origins.get((kind, name), origin)
                raise Collision(f"{kind} {name!r} is registered by {other} and by {origin}; one must be renamed or left out.")
            found[kind, name] = value
    return found


def _name(kind: str, value: Any) -> str:
    if not inspect.isclass(value):
        raise PluginError(f"dllm_{kind}() should return a list of classes, got {value!r}")
    if kind in KINDS:
        if not issubclass(value, KINDS[kind]):
            raise PluginError(f"dllm_{kind}() returned {value.__qualname__}, which is no {KINDS[kind].__name__}")
        default = value.model_fields["name"].default
    else:
        default = getattr(value, "name", None)
    if not isinstance(default, str) or not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", default):
        raise PluginError(f"{value.__qualname__} needs a kebab-case name as the default of its field `name`, got {default!r}")
    return default


def _entry_points(group: str | None) -> list[EntryPoint]:
    if group is None:
        return []
    points = sorted(entry_points(group=group), key=lambda p: (p.name, p.value))
    limit = os.environ.get("DLLM_DECODE_PLUGINS")
    if limit is None:
        return points
    wanted = {name.strip() for name in limit.split(",") if name.strip()}
    return [p for p in points if p.name in wanted]


def _reason(error: BaseException) -> str:
    frames = traceback.extract_tb(sys.exc_info()[2])
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())}{where}"


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"


__all__ = ["DEFAULT_PLUGINS", "Failure", "Loaded", "Origin", "Registry", "build_registry", "load_registry"]
