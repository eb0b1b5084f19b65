"""`dllm-decode new-plugin` writes distributions that pass their own tests, ruff and strict mypy as they stand."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from dllm_decode.cli import main
from dllm_decode.commands.new_plugin import KINDS, write_plugin
from dllm_decode.errors import ConfigError, DataError
from dllm_decode.parts.kinds import KINDS as PART_KINDS
from dllm_decode.plugins.registry import build_registry, load_registry
from dllm_decode.strategy.strategy import Strategy, parse_override
from dllm_decode.testing import SUITES
from dllm_decode.testing.isolation import isolated_registry

QUICK = ("scheduler", "task")


def checked(folder: Path, *command: str) -> str:
    """Run a tool in the folder and return what it says; the run must succeed."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "DLLM_DECODE_PLUGINS": ""}
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "kind", [kind if kind in QUICK else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS]
)
def test_what_is_written_passes_its_own_tests_as_it_stands(kind: str, tmp_path: Path) -> None:
    folder = write_plugin("my-own", kind, tmp_path)
    said = checked(folder, "pytest", "-q", "-p", "no:cacheprovider")
    assert " passed" in said


def test_what_is_written_passes_ruff(tmp_path: Path) -> None:
    for kind in KINDS:
        write_plugin(f"my-{kind}", kind, tmp_path)
    checked(tmp_path, "ruff", "check", "--no-cache", "--select", "E,F,I,B,UP,SIM,RUF,N,W", ".")
    checked(tmp_path, "ruff", "format", "--no-cache", "--check", ".")


@pytest.mark.slow
def test_what_is_written_passes_strict_mypy(tmp_path: Path) -> None:
    folders = [write_plugin("my-own" + f"-{kind}", kind, tmp_path) for kind in KINDS]
    files = [str(path) for folder in folders for path in sorted(folder.glob("*.py"))]
    paths = {"MYPYPATH": os.pathsep.join(map(str, folders))}
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), *files]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env={**os.environ, **paths})
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_a_plugin_that_registers_one_part(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_plugin("my-own", kind, tmp_path)
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["name"] == "dllm-decode-my-own"
    assert project["entry-points"]["dllm_decode"] == {"my-own": "dllm_decode_my_own"}
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "dllm_decode_my_own", raising=False)
    with isolated_registry({"my-own": __import__("dllm_decode_my_own")}) as registry:
        assert registry.plugins[-1].parts == (f"{kind}:my-own",)
        if kind != "task":
            adaptive = {"scheduler": "threshold"} if kind == "revise" else {}
            Strategy.load("llada", **adaptive, **{kind: "my-own"}).check()
    monkeypatch.delitem(sys.modules, "dllm_decode_my_own")


def test_no_placeholder_is_left_and_every_module_is_short(tmp_path: Path) -> None:
    for kind in KINDS:
        folder = write_plugin(f"a-{kind}-of-mine", kind, tmp_path)
        for path in folder.iterdir():
            assert not re.search("EXAMPLE|ExampleName|SUFFIX|example[-_]name", path.read_text())
        assert len((folder / f"dllm_decode_a_{kind}_of_mine.py").read_text().splitlines()) <= 50


def test_every_kind_of_part_is_offered_and_has_a_suite() -> None:
    assert {*KINDS} - {"task"} == {*PART_KINDS} and {*PART_KINDS} <= {*SUITES}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "task"])
def test_the_readme_s_command_sets_only_what_is_read(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_plugin("my-own", kind, tmp_path)
    command = next(line for line in (folder / "README.md").read_text().split("\n") if "my-own" in line and "--" in line)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "dllm_decode_my_own", raising=False)
    with isolated_registry({"my-own": __import__("dllm_decode_my_own")}):
        words = shlex.split(command)
        overrides = [words[place + 1] for place, word in enumerate(words) if word == "--set"]
        strategy = Strategy.load("llada", **dict(map(parse_override, overrides))).check()
        assert strategy.scheduler.adaptive == ("--steps" not in words)
        assert main([*words[1:], "--model", "tiny", "--gen-length", "16"]) == 0
    monkeypatch.delitem(sys.modules, "dllm_decode_my_own")


def test_the_command_says_what_it_wrote_and_what_to_do_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new-plugin", "fast-cosine", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    folder = tmp_path / "dllm-decode-fast-cosine"
    assert f"wrote {folder / 'dllm_decode_fast_cosine.py'}" in said and "pip install -e '.[test]'" in said
    assert "class FastCosineScheduler(SchedulerConfig)" in (folder / "dllm_decode_fast_cosine.py").read_text()
    assert main(["new-plugin", "other", "--kind", "cache", "--out", str(tmp_path / "new"), "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed["folder"] == str(tmp_path / "new" / "dllm-decode-other")
    assert listed["files"] == ["README.md", "dllm_decode_other.py", "pyproject.toml", "test_other.py"]


@pytest.mark.parametrize(
    ("name", "kind", "sentence"),
    [
        ("MyRule", "scheduler", "NAME 'MyRule' should be kebab-case and begin with a letter; try 'my-rule'."),
        ("my_rule", "scheduler", "try 'my-rule'"),
        ("2fast", "scheduler", "try 'fast'"),
        ("../up", "scheduler", "try 'up'"),
        ("", "scheduler", "try 'my-rule'"),
        (
            "even",
            "scheduler",
            "NAME 'even' is taken: scheduler 'even' comes with plugin 'dllm_strategies.plugin'",
        ),
        ("mine", "schedular", "unknown kind of plugin 'schedular'. Did you mean 'scheduler'? Known: "),
    ],
)
def test_a_bad_name_or_kind_is_refused_with_the_way_out(
    name: str, kind: str, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        write_plugin(name, kind, tmp_path)
    assert sentence in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_an_existing_folder_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_plugin("dllm-decode-mine", "scheduler", tmp_path)
    kept = tmp_path / "dllm-decode-mine" / "test_mine.py"
    kept.write_text("kept")
    assert main(["new-plugin", "mine", "--out", str(tmp_path)]) == 2
    assert "exists already; choose another name, or another place with --out." in capsys.readouterr().err
    assert kept.read_text() == "kept"


def test_a_place_that_cannot_be_written_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        write_plugin("mine", "scheduler", tmp_path / "file")


def test_the_registry_is_as_it_was() -> None:
    assert load_registry().names("scheduler") == build_registry(None, None).names("scheduler")


def test_a_task_is_written_from_a_file_and_passes_its_tests_as_it_stands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = Path(__file__).parents[1] / "support" / "rows.jsonl"
    command = ["new-plugin", "sums", "--kind", "task", "--from-file", str(rows), "--out", str(tmp_path)]
    assert main(command) == 0
    folder = tmp_path / "dllm-decode-sums"
    text = (folder / "dllm_decode_sums.py").read_text()
    assert 'row["question"]' in text and 'row["answer"]' in text and "EXAMPLE" not in text
    assert len(text.splitlines()) < 40
    assert " passed" in checked(folder, "pytest", "-q", "-p", "no:cacheprovider")
    checked(tmp_path, "ruff", "check", "--no-cache", "--select", "E,F,I,B,UP,SIM,RUF,N,W", ".")
    checked(tmp_path, "ruff", "format", "--no-cache", "--check", ".")


def test_only_a_task_is_written_from_a_file_and_the_file_is_looked_into(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("one\n1\n")
    with pytest.raises(ConfigError, match="goes with --kind task"):
        write_plugin("mine", "stop", tmp_path, file)
    with pytest.raises(DataError, match="there is one column: one"):
        write_plugin("mine", "task", tmp_path, file)
