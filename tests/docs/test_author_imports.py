"""What a plugin's author reads imports everything from `dllm_decode.plugin`, and suites from `dllm_decode.testing`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WRITTEN_FOR_AUTHORS = [
    *sorted((ROOT / "dllm_decode" / "commands" / "plugin_template").glob("*.py.template")),
    *sorted((ROOT / "examples").rglob("*.py")),
    *sorted((ROOT / "strategies").rglob("*.py")),
]
ALLOWED = {
    "dllm_decode.plugin",
    "dllm_decode.testing",
    # Ours alone: what must not cost a listing torch, and the sentence for a name that is missing.
    "dllm_decode.lazy",
    "dllm_decode.errors",
}


@pytest.mark.parametrize("path", WRITTEN_FOR_AUTHORS, ids=lambda path: path.name)
def test_a_part_needs_one_import(path: Path) -> None:
    imported = re.findall(r"^\s*from (dllm_decode[\w.]*) import", path.read_text(), flags=re.MULTILINE)
    allowed = ALLOWED if "strategies" in path.parts else {"dllm_decode.plugin", "dllm_decode.testing"}
    assert {*imported} <= allowed | {f"dllm_decode_{path.stem.removeprefix('test_')}", "dllm_decode_example_name"}


def test_the_readme_writes_a_part_with_one_import() -> None:
    (example,) = re.findall(r"```python[^\n]*\n([^`]*?hookimpl.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert {*re.findall(r"^from (dllm_decode[\w.]*) import", example, re.MULTILINE)} == {"dllm_decode.plugin"}
