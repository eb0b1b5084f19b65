"""`dllm-decode strategies`, `show`, `plugins` and `schema`: what there is, without loading a model."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.markup import escape

from dllm_decode.commands import options
from dllm_decode.commands.output import print_json, results
from dllm_decode.errors import DecodeError
from dllm_decode.parts.kinds import KINDS, SEVERAL
from dllm_decode.plugins.registry import Loaded, load_registry
from dllm_decode.strategy.strategy import Strategy


def strategies(as_json: options.Json = False) -> None:
    """List the named strategies."""
    registry = load_registry()
    listed: list[dict[str, Any]] = []
    for name in registry.names("recipe"):
        row: dict[str, Any] = {"name": name, "plugin": registry.origin("recipe", name)}
        try:
            strategy = Strategy.load(name)
            row |= {"description": strategy.description, "digest": strategy.digest(), **_part_names(strategy)}
        except DecodeError as error:
            row["error"] = str(error)
        listed.append(row)
    if as_json:
        print_json({"strategies": listed})
        return
    console = results()
    for row in listed:
        parts = " · ".join(str(row.get(kind, "-")) for kind in _NEEDED)
        console.print(f"[bold]{escape(row['name']):<16}[/] {escape(parts)}", soft_wrap=True)
        console.print(
            f"{'':<16} {row.get('description') or row.get('error', '')}", markup=False, soft_wrap=True
        )


def show(
    name: Annotated[str, typer.Argument(help="A recipe's name or a YAML file.")],
    overrides: options.Overrides = None,
) -> None:
    """Print a strategy with every default as YAML that --strategy accepts."""
    strategy = Strategy.load(name, **options.changes(overrides, None, None, None))
    forwards = strategy.check().max_forwards()
    typer.echo(f"# digest {strategy.digest()}")
    typer.echo(f"# at most {forwards} forward passes for {strategy.gen_length} tokens")
    typer.echo(strategy.to_yaml(), nl=False)


def plugins(as_json: options.Json = False) -> None:
    """List the plugins, what they register, and what failed to load."""
    registry = load_registry()
    if as_json:
        loaded = [
            {**asdict(p.origin), "hooks": list(p.hooks), "parts": list(p.parts)} for p in registry.plugins
        ]
        failed = [{**asdict(f.origin), "reason": f.reason} for f in registry.failures]
        print_json({"plugins": loaded, "failures": failed})
        return
    console = results()
    for plugin in registry.plugins:
        console.print(f"[bold]{escape(plugin.origin.plugin)}[/] ", end="")
        console.print(f"{plugin.origin.distribution} {plugin.origin.version}", markup=False)
        for kind, names in _by_kind(plugin).items():
            console.print(f"  {kind:<12} {', '.join(names)}", markup=False, soft_wrap=True)
    for failure in registry.failures:
        console.print(
            f"failed: {failure.origin}: {failure.reason}", markup=False, soft_wrap=True, style="red"
        )


def schema() -> None:
    """Print the JSON Schema of a strategy with every installed part."""
    registry = load_registry()
    root = Strategy.model_json_schema()
    definitions = root.setdefault("$defs", {})
    for kind in KINDS:
        names = []
        for name in registry.names(kind):
            part = registry.part(kind, name).model_json_schema(ref_template="#/$defs/{model}")
            definitions.update(part.pop("$defs", {}))
            definitions[f"{kind}:{name}"] = part | {"required": sorted({"name", *part.get("required", [])})}
            names.append(name)
        choices = [{"$ref": f"#/$defs/{kind}:{name}"} for name in names]
        definitions[kind] = {"anyOf": [*choices, {"enum": names, "description": "A part with its defaults."}]}
        many = kind in SEVERAL
        reference = {"$ref": f"#/$defs/{kind}"}
        described = {k: v for k, v in root["properties"][kind].items() if k in ("description", "default")}
        root["properties"][kind] = described | ({"type": "array", "items": reference} if many else reference)
    # A part that holds another part refers to the kind's base class; any part of the kind may stand there.
    definitions |= {base.__name__: {"$ref": f"#/$defs/{kind}"} for kind, base in KINDS.items()}
    print_json({"$schema": "https://json-schema.org/draft/2020-12/schema", **root})


def _by_kind(plugin: Loaded) -> dict[str, list[str]]:
    """Return what a plugin registered: hook -> names; a hook that registers no names has none."""
    found: dict[str, list[str]] = {hook.removeprefix("dllm_"): [] for hook in plugin.hooks}
    for part in plugin.parts:
        kind, _, name = part.partition(":")
        found[kind].append(name)
    return found


_NEEDED = tuple(kind for kind in KINDS if Strategy.model_fields[kind].is_required())
"""The kinds of which every strategy has one."""


def _part_names(strategy: Strategy) -> dict[str, str]:
    return {kind: getattr(strategy, kind).name for kind in _NEEDED}
