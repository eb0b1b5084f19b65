"""A stranger's scheduler: built, installed by pip, then listed, used, searched and tested; uninstalled, it is gone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest

NAME = "cosine-example"
MODEL = "tiny"

# One process for everything that needs the plugin installed: importing torch is most of what a process costs.
SESSION = """
import contextlib, io, json, sys
import pytest
from dllm_decode.cli import main

def command(*arguments):
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = main([*arguments, "--json"])
    assert code == 0, f"{arguments} ended with {code}"
    return json.loads(said.getvalue())

work, name, model = sys.argv[1:]
use = ["--model", model, "--strategy", "llada", "--set", f"scheduler={name}", "--steps", "4"]
line = ["--task", "line", "--model", model]
few = ["--trials", "2", "--examples", "4", "--verify-examples", "4", "--test-examples", "4"]
answers = {
    "plugins": command("plugins"),
    "generate": command(
        "generate", "Sort the line: Paul, Anna, Ben.", *use, "--gen-length", "16", "--trace", f"{work}/trace.jsonl"
    ),
    "eval": command("eval", "--task", "line", *use, "--set", "scheduler.power=2", "--limit", "4"),
    "search": command("search", "run", *line, *few, "--fix", f"scheduler={name}", "--out", f"{work}/search"),
}
from dllm_search.space.space import Space
answers["space"] = [choice.name for choice in Space.everything(32).slots["scheduler"].ranges()]
with contextlib.redirect_stdout(sys.stderr):
    flags = ["-q", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", work]
    answers["own_tests"] = int(pytest.main([*flags, f"{work}/own_tests"]))
answers["file"] = sys.modules["dllm_decode_cosine"].__file__
with open(f"{work}/answers.json", "w") as file:
    json.dump(answers, file)
"""


@pytest.fixture(scope="module")
def example(root: Path) -> Path:
    return root / "examples" / "dllm-decode-cosine"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the session below writes."""
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def wheel(example: Path, work: Path) -> Path:
    """The example's wheel, built as its author would build it."""
    command = ["build", "--wheel", "--no-isolation", "--outdir", str(work / "dist"), str(example)]
    subprocess.run([sys.executable, "-m", *command], check=True, capture_output=True)
    (built,) = (work / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(work: Path) -> str:
    """A new environment's Python; it sees what this one has installed, and nothing is installed into this one."""
    venv.create(work / "venv", with_pip=False)
    (site,) = (work / "venv").glob("lib/python*/site-packages")
    here = sysconfig.get_path("purelib")
    (site / "parent.pth").write_text(f"import site; site.addsitedir({here!r})\n")
    return str(work / "venv" / "bin" / "python")


def environment(work: Path) -> dict[str, str]:
    """This process's environment without its settings of dllm-decode."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("DLLM_DECODE_")}
    folders = {"DLLM_DECODE_CACHE": str(work / "cache"), "DLLM_DECODE_PRESETS": str(work / "presets")}
    return {**kept, **folders, "DLLM_DECODE_STRICT": "1"}


@pytest.fixture(scope="module")
def answers(wheel: Path, python: str, example: Path, work: Path) -> Any:
    """What the commands printed where the wheel was installed."""
    install = ["pip", "install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check"]
    subprocess.run([python, "-m", *install, str(wheel)], check=True, env=environment(work))
    # Without the module beside it, so that the installed one is tested.
    (work / "own_tests").mkdir()
    shutil.copy(example / "test_cosine.py", work / "own_tests")
    command = [python, "-c", SESSION, str(work), NAME, MODEL]
    done = subprocess.run(command, env=environment(work), cwd=work, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads((work / "answers.json").read_text())


def test_the_scheduler_is_a_file_of_thirty_lines(example: Path) -> None:
    assert len((example / "dllm_decode_cosine.py").read_text().splitlines()) <= 30


def test_the_readme_shows_the_very_file(example: Path, root: Path) -> None:
    assert (
        f"```python\n{(example / 'dllm_decode_cosine.py').read_text()}```" in (root / "README.md").read_text()
    )


def test_the_installed_plugin_is_listed_with_its_distribution(answers: Any) -> None:
    (found,) = [plugin for plugin in answers["plugins"]["plugins"] if plugin["plugin"] == NAME]
    assert found["distribution"] == "dllm-decode-cosine"
    assert found["version"] == "0.1.0"
    assert found["parts"] == [f"scheduler:{NAME}"]
    assert answers["plugins"]["failures"] == []


def test_the_installed_scheduler_decodes_as_its_formula_says(answers: Any, work: Path) -> None:
    assert answers["generate"]["results"][0]["forward_passes"] == 4
    events = [json.loads(line) for line in (work / "trace.jsonl").read_text().splitlines()]
    committed = [len(event["written"][0]) for event in events if "written" in event]
    # 16 cos(22.5°) = 14.8, 16 cos(45°) = 11.3, 16 cos(67.5°) = 6.1 and 0 positions stay open
    assert committed == [2, 3, 5, 6]


def test_the_installed_scheduler_is_evaluated_with_its_own_field_overridden(answers: Any) -> None:
    assert answers["eval"]["n"] == 4
    assert answers["eval"]["strategy"]["scheduler"] == {"name": NAME, "power": 2.0}


def test_the_installed_scheduler_and_its_field_are_searched(answers: Any, work: Path) -> None:
    assert f"scheduler.{NAME}.power" in answers["space"]
    assert (work / "search" / "strategy.yaml").exists()


def test_the_examples_own_tests_pass(answers: Any) -> None:
    assert answers["own_tests"] == 0


def test_it_was_the_installed_module_that_was_tested(answers: Any, work: Path) -> None:
    assert Path(answers["file"]).is_relative_to(work / "venv")


def test_the_wheel_holds_the_module_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
    assert names == ["dllm_decode_cosine.py"]


def test_uninstalled_it_is_gone(answers: Any, python: str, work: Path) -> None:
    uninstall = ["pip", "uninstall", "--yes", "--quiet", "dllm-decode-cosine", "--disable-pip-version-check"]
    subprocess.run([python, "-m", *uninstall], check=True, env=environment(work), capture_output=True)
    listing = subprocess.run(
        [python, "-m", "dllm_decode.cli", "plugins", "--json"],
        env=environment(work),
        cwd=work,
        capture_output=True,
        text=True,
    )
    assert listing.returncode == 0, listing.stderr
    found = json.loads(listing.stdout)
    assert NAME not in [plugin["plugin"] for plugin in found["plugins"]] and found["failures"] == []
    assert not list((work / "venv").glob("lib/python*/site-packages/dllm_decode_cosine*"))
