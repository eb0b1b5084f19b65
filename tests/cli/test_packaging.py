"""The wheel holds three packages and their data; imports go one way; types are seen from outside."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import dllm_decode

PACKAGES = {
    "dllm_decode": "dllm_decode",
    "dllm_strategies": "strategies/dllm_strategies",
    "dllm_search": "search/dllm_search",
}


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names of the files in a wheel built from the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=root, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        return set(archive.namelist())


def test_the_top_level_packages_of_the_wheel_are_exactly_the_three(wheel: set[str]) -> None:
    top = {name.split("/")[0] for name in wheel}
    assert {name for name in top if not name.endswith(".dist-info")} == set(PACKAGES)


def test_the_wheel_holds_recipes_the_embedded_model_the_page_and_the_marks_of_typed_packages(
    wheel: set[str], root: Path
) -> None:
    assert {f"{package}/py.typed" for package in PACKAGES} <= wheel
    for source, installed in (
        ("strategies/dllm_strategies/recipes", "dllm_strategies/recipes"),
        ("dllm_decode/tiny", "dllm_decode/tiny"),
        ("dllm_decode/commands/plugin_template", "dllm_decode/commands/plugin_template"),
        ("dllm_decode/view/assets", "dllm_decode/view/assets"),
    ):
        files = [path for path in (root / source).iterdir() if path.is_file()]
        assert files
        assert {f"{installed}/{path.name}" for path in files} <= wheel
    assert any(name.startswith("dllm_decode/tiny/") and name.endswith(".safetensors") for name in wheel)


def test_the_wheel_carries_its_licence_and_its_command(wheel: set[str]) -> None:
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in wheel)
    assert any(name.endswith(".dist-info/entry_points.txt") for name in wheel)


def test_the_version_is_said_once(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert project["version"] == dllm_decode.__version__


def test_the_source_roots_are_folders_and_not_packages(root: Path) -> None:
    assert not (root / "strategies" / "__init__.py").exists()
    assert not (root / "search" / "__init__.py").exists()


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("dllm_decode", {"dllm_strategies", "dllm_search"}),
        ("dllm_strategies", {"dllm_search"}),
        ("dllm_search", {"dllm_strategies"}),
    ],
)
def test_imports_go_one_way(root: Path, package: str, forbidden: set[str]) -> None:
    for path in (root / PACKAGES[package]).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not forbidden & {name.split(".")[0] for name in names}, path


def test_importing_the_package_costs_no_torch() -> None:
    code = "import sys, dllm_decode; dllm_decode.hookimpl; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


CONSUMER = """
from dllm_decode import DiffusionLM, Strategy, generate, load_registry

strategy = Strategy.load("said", steps=4)
recipes: list[str] = load_registry().names("recipe")

def decode(prompts: list[str]) -> list[str]:
    lm = DiffusionLM.from_pretrained("tiny")
    out = lm.generate(prompts, strategy=strategy, gen_length=64, seed=0)
    calls: int = out.model_calls
    print(calls, out.forward_passes.shape, generate)
    return out.texts
"""


@pytest.mark.slow
def test_a_consumer_passes_strict_mypy_and_a_mistake_is_seen(root: Path, tmp_path: Path) -> None:
    def mypy(*paths: Path) -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--cache-dir",
            str(tmp_path / "cache"),
            *map(str, paths),
        ]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    consumer = tmp_path / "consumer.py"
    consumer.write_text(CONSUMER)
    plugin = root / "examples" / "dllm-decode-cosine" / "dllm_decode_cosine.py"
    checked = mypy(consumer, plugin)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    consumer.write_text(f"{CONSUMER}\nwrong: int = strategy.digest()\n")
    checked = mypy(consumer)
    assert 'expression has type "str", variable has type "int"' in checked.stdout
