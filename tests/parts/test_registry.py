"""Plugins are loaded whole or not at all, failures are kept and told, and names never depend on an order."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import pytest

from dllm_decode.errors import ConfigError, PluginError
from dllm_decode.parts.scheduler import SchedulerConfig
from dllm_decode.plugins.hookspecs import hookimpl
from dllm_decode.plugins.registry import Registry, build_registry, load_registry
from dllm_decode.strategy.strategy import Strategy

SCHEDULER = """
    from typing import Literal
    from dllm_decode.plugin import SchedulerConfig
    from dllm_decode.plugin import hookimpl

    class Mine(SchedulerConfig):
        name: Literal["{name}"] = "{name}"
        def select(self, view, proposal):
            return view.open

    @hookimpl
    def dllm_scheduler():
        return [Mine]
"""


class FirstScheduler(SchedulerConfig):
    name: Literal["first"] = "first"

    def select(self, view: Any, proposal: Any) -> Any:
        return view.open


def plugin(**hooks: Callable[..., Any]) -> ModuleType:
    """A module that implements the given hooks."""
    module = ModuleType("made_in_a_test")
    for name, function in hooks.items():
        setattr(module, name, hookimpl(function))
    return module


def failure(**hooks: Callable[..., Any]) -> str:
    """Why a plugin with these hooks is refused."""
    registry = build_registry({"bad": plugin(**hooks)}, None)
    assert "bad" not in [loaded.origin.plugin for loaded in registry.plugins]
    (found,) = [f.reason for f in registry.failures if f.origin.plugin == "bad"]
    return found


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function that puts a distribution with one entry point where Python looks for installed ones."""
    monkeypatch.delenv("DLLM_DECODE_PLUGINS")
    monkeypatch.syspath_prepend(str(tmp_path))

    def add(distribution: str, source: str, entry_point: str | None = None) -> None:
        module = distribution.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(source))
        info = tmp_path / f"{module}-2.1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 2.1\n")
        (info / "entry_points.txt").write_text(f"[dllm_decode]\n{entry_point or distribution} = {module}\n")

    return add


def reasons(registry: Registry) -> dict[str, str]:
    return {failure.origin.plugin: failure.reason for failure in registry.failures}


def test_the_default_plugins_load_without_a_failure() -> None:
    registry = load_registry()
    assert registry.failures == []
    assert {"llada", "said", "fast-dllm"} <= set(registry.names("recipe"))
    assert {"line", "square", "facts", "arithmetic", "countdown", "code"} <= set(registry.names("task"))


def test_a_recipe_has_the_name_it_is_registered_under() -> None:
    registry = load_registry()
    for name in registry.names("recipe"):
        assert Strategy.load(name).name == name


def test_a_plugin_given_in_code_is_found_by_name(isolated_registry: Callable[..., Registry]) -> None:
    isolated_registry({"mine": plugin(dllm_scheduler=lambda: [FirstScheduler])})
    strategy = Strategy.load("llada", scheduler="first")
    assert isinstance(strategy.scheduler, FirstScheduler)


def test_an_installed_plugin_is_listed_with_its_distribution(install: Callable[..., None]) -> None:
    install("stranger", SCHEDULER.format(name="strange"), "strange-plugin")
    registry = build_registry()
    loaded = registry.plugins[-1]
    assert str(loaded.origin) == "plugin 'strange-plugin' of stranger 2.1"
    assert loaded.hooks == ("dllm_scheduler",)
    assert loaded.parts == ("scheduler:strange",)
    assert registry.origin("scheduler", "strange") == str(loaded.origin)


def test_a_broken_plugin_is_reported_and_harms_no_other(install: Callable[..., None]) -> None:
    install("a-broken", "import no_such_module")
    install("b-whole", SCHEDULER.format(name="whole"))
    registry = build_registry()
    assert "whole" in registry.names("scheduler")
    assert "no_such_module" in reasons(registry)["a-broken"]
    assert "a_broken.py:1" in reasons(registry)["a-broken"]


def test_a_plugin_that_exits_on_import_is_reported(install: Callable[..., None]) -> None:
    install("exiting", "raise SystemExit(3)")
    assert reasons(build_registry())["exiting"].startswith("SystemExit")


def test_a_missing_name_tells_of_the_plugins_that_failed(install: Callable[..., None]) -> None:
    install("a-broken", "import no_such_module")
    with pytest.raises(
        ConfigError, match="unknown scheduler 'absent'.*a-broken 2.1 failed to load.*no_such_module"
    ):
        build_registry().part("scheduler", "absent")


def test_an_unknown_name_is_answered_with_a_suggestion_and_the_known_ones() -> None:
    with pytest.raises(ConfigError) as caught:
        load_registry().part("scheduler", "treshold")
    assert str(caught.value).startswith("unknown scheduler 'treshold'. Did you mean 'threshold'? Known: ")
    assert "even" in str(caught.value)
    with pytest.raises(ConfigError, match="unknown recipe 'lada'. Did you mean 'llada'?"):
        Strategy.load("lada")
    with pytest.raises(ConfigError, match="unknown task 'cuontdown'. Did you mean 'countdown'?"):
        load_registry().task("cuontdown")


def test_a_misspelt_hook_name_is_noticed() -> None:
    assert "dllm_schedular" in failure(dllm_schedular=lambda: [])


def test_a_hook_with_wrong_arguments_is_reported_and_leaves_nothing_behind() -> None:
    registry = build_registry(
        {"bad": plugin(dllm_command=lambda app, more: None, dllm_scheduler=lambda: [FirstScheduler])}, None
    )
    assert "more" in reasons(registry)["bad"]
    assert "first" not in registry.names("scheduler")
    left = [hook.plugin_name for hook in registry.manager.hook.dllm_command.get_hookimpls()]
    assert "this program:bad" not in left


def test_a_part_without_its_method_is_refused_when_it_is_registered() -> None:
    class Idle(SchedulerConfig):
        name: Literal["idle"] = "idle"

    assert failure(dllm_scheduler=lambda: [Idle]).endswith(
        "Idle needs a method 'select', or a build() that returns an object with it"
    )


def test_a_part_of_another_kind_is_refused() -> None:
    assert (
        failure(dllm_block=lambda: [FirstScheduler])
        == "dllm_block() returned FirstScheduler, which is no BlockConfig"
    )


def test_a_name_that_is_not_kebab_case_or_not_literal_is_refused() -> None:
    class Shouting(FirstScheduler):
        name: Literal["LOUD"] = "LOUD"  # type: ignore[assignment]

    class Loose(FirstScheduler):
        name: str = "loose"  # type: ignore[assignment]

    assert "kebab-case" in failure(dllm_scheduler=lambda: [Shouting])
    assert 'Literal["a-name"]' in failure(dllm_scheduler=lambda: [Loose])


def test_a_hook_must_return_a_list_of_classes() -> None:
    assert "should return a list" in failure(dllm_scheduler=lambda: FirstScheduler)
    assert "list of classes" in failure(dllm_scheduler=lambda: [FirstScheduler()])
    assert "no-such.yaml" in failure(dllm_recipe=lambda: [Path("no-such.yaml")])


def test_two_parts_with_one_name_are_an_error_that_names_both_distributions(
    install: Callable[..., None],
) -> None:
    install("one-dist", SCHEDULER.format(name="same"))
    install("other-dist", SCHEDULER.format(name="same"))
    with pytest.raises(
        PluginError, match=r"scheduler 'same'.*one-dist 2\.1.*other-dist 2\.1.*DLLM_DECODE_PLUGINS"
    ):
        build_registry()


def test_nobody_may_replace_a_reference_part(install: Callable[..., None]) -> None:
    install("impostor", SCHEDULER.format(name="even"))
    with pytest.raises(PluginError, match=r"'even'.*dllm-decode.*impostor"):
        build_registry()


def test_a_variable_limits_which_installed_plugins_load(
    install: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    install("one-dist", SCHEDULER.format(name="same"))
    install("other-dist", SCHEDULER.format(name="same"))
    monkeypatch.setenv("DLLM_DECODE_PLUGINS", "other-dist")
    assert "other-dist" in build_registry().origin("scheduler", "same")
    monkeypatch.setenv("DLLM_DECODE_PLUGINS", "")
    assert "same" not in build_registry().names("scheduler")
    monkeypatch.setenv("DLLM_DECODE_PLUGINS", "absent")
    assert "no installed distribution" in reasons(build_registry())["absent"]


def test_strict_mode_makes_a_failure_fatal(
    install: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    install("a-broken", "import no_such_module")
    monkeypatch.setenv("DLLM_DECODE_STRICT", "1")
    with pytest.raises(PluginError, match="a-broken 2.1 failed to load: ModuleNotFoundError"):
        build_registry()


def test_one_module_under_two_entry_points_counts_once(install: Callable[..., None]) -> None:
    install("stranger", SCHEDULER.format(name="strange"), "x = stranger\ny")
    registry = build_registry()
    assert "strange" in registry.names("scheduler")
    assert "already loaded" in reasons(registry)["y"]


def test_hooks_and_config_import_no_torch() -> None:
    code = "import sys, dllm_decode.plugins.hookspecs, dllm_decode.strategy.strategy; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
