"""What somebody gets who installs the wheel and no extra: all files are there, and a search runs without pictures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.fresh_venv import fresh_venv

pytestmark = pytest.mark.slow
SOURCES = ("dllm_decode", "strategies/dllm_strategies", "search/dllm_search")


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=root, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_every_file_of_the_three_packages(wheel: Path, root: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    for source in SOURCES:
        base = (root / source).parent
        files = [path for path in (root / source).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        assert {path.relative_to(base).as_posix() for path in files} <= held
    assert {
        "dllm_search/report/templates/report.html.j2",
        "dllm_decode/tiny/model.safetensors",
        "dllm_strategies/py.typed",
        "dllm_strategies/recipes/llada.yaml",
    } <= held


def test_without_extras_a_search_runs_and_says_what_draws_its_pictures(wheel: Path, tmp_path: Path) -> None:
    programs = fresh_venv(tmp_path / "venv", wheel)
    own = {"DLLM_DECODE_CACHE": str(tmp_path / "cache"), "PYTHONNOUSERSITE": "1"}
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | own

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(programs / command[0]), *command[1:]], cwd=tmp_path, env=environment, capture_output=True, text=True
        )

    for module in ("matplotlib", "ray", "psycopg", "pytest"):
        assert run("python", "-c", f"import {module}").returncode == 1, f"{module} is no dependency"
    where = run("python", "-c", "import dllm_search, dllm_decode; print(dllm_search.__file__, dllm_decode.__file__)")
    assert all(name.startswith(str(tmp_path)) for name in where.stdout.split()), where.stdout + where.stderr

    few = ["--trials", "3", "--examples", "4", "--verify-examples", "4", "--test-examples", "4", "--no-presets"]
    done = run("dllm-decode", "search", "run", "--task", "line", *few, "--out", "found")
    assert done.returncode == 0, done.stderr
    assert "no pictures: matplotlib is not installed; pip install 'dllm-decode[search]'" in done.stderr
    assert "png" not in done.stderr and "and pictures" not in done.stderr
    found = tmp_path / "found"
    assert {path.name for path in found.iterdir()} >= {"strategy.yaml", "report.html", "table.md", "study.journal"}
    assert not list(found.glob("*.png"))
    chosen = json.loads((found / "report.json").read_text())["rows"][0]["name"]
    page = (found / "report.html").read_text()
    assert page.rstrip().endswith("</html>") and chosen in page and "<img" not in page

    refused = run("dllm-decode", "search", "run", "--task", "line", *few, "--workers", "2", "--out", "more")
    assert refused.returncode == 2
    assert "pip install 'dllm-decode[ray]'" in refused.stderr and "Traceback" not in refused.stderr
