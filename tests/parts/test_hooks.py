"""Every hook is tested: what a plugin returns through it, and through nothing else, is what a user then runs.

The list of hooks is read from the code; a new one fails here until an exercise for it is written.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Literal

import pytest

from dllm_decode import DiffusionLM
from dllm_decode.cli import main
from dllm_decode.parts.base import PartConfig
from dllm_decode.parts.kinds import KINDS, METHODS
from dllm_decode.plugins import hookspecs, registry
from dllm_decode.plugins.hookspecs import hookimpl
from dllm_decode.plugins.registry import load_registry
from dllm_decode.strategy.strategy import Strategy
from dllm_decode.tasks.base import Example
from dllm_decode.tasks.generated.base import GeneratedTask
from dllm_decode.testing import SPECIAL, VOCABULARY, ScriptedDenoiser, isolated_registry, run

HOOKS = [name for name, value in vars(hookspecs).items() if name.startswith("dllm_") and callable(value)]
NAME = "through-the-hook"
PROMPT = "Copy the line: Anna, Ben, Carl."

BUILT_IN = {
    "block": "fixed",
    "layering": "single",
    "scheduler": "threshold",
    "confidence": "top-probability",
    "logits": "forbid-eos",
    "stop": "eos",
    "revise": "edit",
    "forward": "shadow",
    "cache": "dual",
}
"""A part of each kind, which is registered a second time under the name `NAME`."""


def calls_of(kind: str) -> tuple[type[PartConfig], list[str]]:
    """Return a part called `NAME`, and the list in which its calls of the protocol's method are kept."""
    calls: list[str] = []
    built_in: type[Any] = registry.load_registry().part(kind, BUILT_IN[kind])
    method = METHODS[kind]

    def called(self: Any, *arguments: Any) -> Any:
        calls.append(method)
        return getattr(super(part, self), method)(*arguments)

    namespace = {
        "__module__": __name__,
        "__annotations__": {"name": Literal["through-the-hook"]},
        "name": NAME,
        method: called,
    }
    part: type[PartConfig] = type("ThroughTheHook", (built_in,), namespace)
    return part, calls


def plugin(hook: str, answer: Callable[..., Any]) -> dict[str, Any]:
    """A plugin that implements one hook and no other."""
    module = ModuleType("one_hook")
    setattr(module, hook, hookimpl(answer))
    return {"one-hook": module}


def exercise_part(kind: str) -> None:
    part, calls = calls_of(kind)
    plain = {
        "block": "whole",
        "layering": "single",
        "scheduler": "threshold",
        "confidence": "top-probability",
    }
    with isolated_registry(plugin(f"dllm_{kind}", lambda: [part])):
        strategy = Strategy.parse({**plain, kind: NAME, "gen_length": 8}).check()
        assert run(strategy).tokens.shape[1] == 8
    assert calls, f"nothing called {METHODS[kind]}() of the part that came through dllm_{kind}"


def exercise_recipe(tmp_path: Path) -> None:
    path = tmp_path / f"{NAME}.yaml"
    path.write_text(Strategy.load("fast-dllm").to_yaml())
    with isolated_registry(plugin("dllm_recipe", lambda: [path])):
        assert Strategy.load(NAME).digest() == Strategy.load("fast-dllm").digest()
        assert main(["generate", PROMPT, "--strategy", NAME, "--gen-length", "4"]) == 0


class OneAnswer(GeneratedTask):
    """Always right."""

    name: ClassVar[str] = NAME
    description: ClassVar[str] = "Say anything."
    gen_length: ClassVar[int] = 4
    split_size: ClassVar[int] = 4

    def sample(self, rng: random.Random) -> Example:
        return Example("", f"{PROMPT} {rng.random()}", "anything", {})

    def score(self, example: Example, text: str) -> bool:
        return True


def exercise_task(capsys: pytest.CaptureFixture[str]) -> None:
    with isolated_registry(plugin("dllm_task", lambda: [OneAnswer])):
        assert main(["eval", "--task", NAME, "--limit", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] == 1.0


class ScriptedFamily:
    """Reads checkpoints without weights."""

    name = NAME

    @staticmethod
    def matches(config: dict[str, Any]) -> bool:
        return config.get("model_type") == NAME

    @staticmethod
    def load(folder: Path, config: dict[str, Any], **options: Any) -> ScriptedDenoiser:
        return ScriptedDenoiser(special=options["special"])


def exercise_denoiser(tmp_path: Path) -> None:
    config = {"model_type": NAME, "mask_token_id": SPECIAL.mask, "vocab_size": VOCABULARY}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with isolated_registry(plugin("dllm_denoiser", lambda: [ScriptedFamily])):
        lm = DiffusionLM.from_pretrained(tmp_path)
    assert isinstance(lm.denoiser, ScriptedDenoiser)
    assert lm.generate([[3, 4, 5]], gen_length=4).tokens.shape == (1, 4)


def exercise_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "one_hook_command.py").write_text(
        "from dllm_decode.plugins.hookspecs import hookimpl\n\n"
        "@hookimpl\n"
        "def dllm_command(app):\n"
        f"    app.command({NAME!r})(lambda: print('said by the plugin'))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("dllm_decode.commands.plugins.DEFAULT_PLUGINS", ("one_hook_command",))
    assert main([NAME]) == 0
    assert capsys.readouterr().out == "said by the plugin\n"
    del sys.modules["one_hook_command"]


OTHERS: dict[str, Callable[..., None]] = {
    "dllm_recipe": exercise_recipe,
    "dllm_task": exercise_task,
    "dllm_denoiser": exercise_denoiser,
    "dllm_command": exercise_command,
}


@pytest.mark.parametrize("hook", HOOKS)
def test_what_comes_through_a_hook_is_what_runs(hook: str, request: pytest.FixtureRequest) -> None:
    kind = hook.removeprefix("dllm_")
    if kind in KINDS:
        exercise_part(kind)
        return
    exercise = OTHERS[hook]
    names = [name for name in exercise.__annotations__ if name != "return"]
    exercise(**{name: request.getfixturevalue(name) for name in names})


def test_every_hook_has_an_exercise_and_every_exercise_a_hook() -> None:
    assert {*OTHERS, *(f"dllm_{kind}" for kind in BUILT_IN)} == set(HOOKS)
    assert set(BUILT_IN) == set(KINDS)


def test_the_hooks_are_those_that_the_registry_and_the_command_line_ask() -> None:
    asked = {f"dllm_{kind}" for kind in load_registry().tables} | {"dllm_command"}
    assert asked == set(HOOKS)


def test_an_unused_name_for_a_hook_is_reported() -> None:
    with (
        pytest.raises(Exception, match="dllm_schedulers"),
        isolated_registry(plugin("dllm_schedulers", lambda: [])),
    ):
        pass
