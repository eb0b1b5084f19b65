"""The page of hooks: every hook with its signature, its protocol, and what its parts are given.

Knows which classes belong to which hook; what they say is in the code, what they do not say is in `notes`.
"""

from __future__ import annotations

from typing import Any

from dllm_decode import plugin
from dllm_decode.forward import denoiser
from dllm_decode.models.family import Family
from dllm_decode.parts.kinds import KINDS, PROTOCOLS
from dllm_decode.plugins import hookspecs
from dllm_decode.tasks.base import Example, Task
from dllm_decode.tasks.dataset import DatasetTask
from dllm_decode.tasks.generated.base import GeneratedTask
from dllm_decode.tasks.sources import Source
from docs.describe import attributes, docstring, methods, signature
from docs.notes import EVERY_PART, NOTES

GIVEN: tuple[type[Any], ...] = (
    plugin.Canvas,
    plugin.BlockContext,
    plugin.Block,
    plugin.StageContext,
    plugin.Stage,
    plugin.StepView,
    plugin.VocabStats,
    plugin.Proposal,
    plugin.RevisionView,
    plugin.Revision,
    plugin.Noise,
    plugin.SpecialTokens,
    plugin.ModelInputs,
)
HELPERS = (plugin.top_by_quota, plugin.best_open, plugin.even_quota)

INTRODUCTION = f"""\
# Every hook

Made from the code by `make docs`. A plugin is a module with functions marked `@hookimpl`, each named after a hook; it
is found through the entry-point group `{hookspecs.PROJECT}`. [Write a part](write-a-part.md) goes from nothing to a
published one, [every part](parts.md) lists what is registered, and [footguns](footguns.md) shows what goes wrong.

{EVERY_PART}"""


def hook_functions() -> dict[str, Any]:
    """Return name -> function of every hook, in the order of `hookspecs`."""
    return {
        name: value for name, value in vars(hookspecs).items() if name.startswith("dllm_") and callable(value)
    }


def hooks_page() -> str:
    """Return the page as Markdown."""
    hooks = hook_functions()
    contents = "\n".join(
        f"- [`{name}`](#{name}): {docstring(hook).splitlines()[0]}" for name, hook in hooks.items()
    )
    sections = [_hook(name, hook) for name, hook in hooks.items()]
    helpers = [f"```python signature\n{signature(each)}\n```\n\n{docstring(each)}" for each in HELPERS]
    return "\n\n".join(
        [
            INTRODUCTION,
            f"Hooks:\n\n{contents}\n\n[What parts are given](#what-parts-are-given) · [Helpers](#helpers)",
            *sections,
            "## What parts are given",
            "Plain data, read-only for parts; import them from `dllm_decode.plugin`.",
            *(f"### {cls.__name__}\n\n{_class(cls)}" for cls in GIVEN),
            "## Helpers",
            "From `dllm_decode.data.noise`; none of them waits for the device, and ties go to the smallest column.",
            *helpers,
        ]
    )


def _hook(name: str, hook: Any) -> str:
    kind, note = name.removeprefix("dllm_"), NOTES[name]
    written = [
        f"## {name}",
        f"```python signature\n{signature(hook)}\n```",
        docstring(hook),
        f"- **Called:** {note.called}\n- **May:** {note.may}\n- **Must not:** {note.must_not}",
    ]
    if kind in KINDS:
        written += [_owner("Protocol", PROTOCOLS[kind]), _owner("Base of its config", KINDS[kind])]
    if kind == "scheduler":
        written.append(_owner("One that counts", plugin.CountingScheduler))
    if kind == "task":
        written += [
            _owner("Base class", Task),
            _owner("One that draws its examples", GeneratedTask),
            _owner("One of a data set", DatasetTask),
            _owner("Where a data set is", Source),
            _owner("What it gives", Example),
        ]
    if kind == "denoiser":
        written += [
            _owner("Protocol", Family),
            _owner("What `load` returns", denoiser.Denoiser),
            _owner("With a head of its own", denoiser.HeadedDenoiser),
            _owner("With a cache", denoiser.CachingDenoiser),
        ]
    return "\n\n".join(written)


def _owner(what: str, cls: type[Any]) -> str:
    return f"**{what}: `{cls.__module__}.{cls.__name__}`.** {_class(cls)}"


def _class(cls: type[Any]) -> str:
    """Return a class's docstring, its attributes and its methods."""
    rows = [
        f"- `{each.name}: {each.annotation}{f' = {each.default}' if each.default else ''}`"
        + (f": {each.text}" if each.text else "")
        for each in attributes(cls)
        if each.name not in ("kind", "kind_order", "method", "several")
    ]
    described = [docstring(cls)]
    if rows:
        described.append("\n".join(rows))
    for method in methods(cls).values():
        described.append(f"```python signature\n{signature(method)}\n```\n\n{docstring(method)}")
    return "\n\n".join(part for part in described if part)
