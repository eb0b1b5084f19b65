"""The documentation says what the code does: snippets run, generated pages are fresh, nothing is left out."""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
import subprocess
import sys
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import pytest

from dllm_decode import plugin
from dllm_decode.parts.kinds import KINDS, METHODS
from dllm_decode.plugins import hookspecs
from dllm_decode.plugins.registry import load_registry
from dllm_decode.strategy.strategy import Strategy
from docs import hooks_page
from docs.describe import fields, nested_models
from docs.generate import FOLDER, pages
from docs.notes import NOTES
from tests.support.snippets import EXPECTATIONS, Session, snippets

GENERATED = ("hooks.md", "parts.md")
RESULTS = tuple(path.name for path in FOLDER.glob("results*.md"))
PAGES = sorted(path for path in FOLDER.glob("*.md") if path.name not in RESULTS)
SLOW = [page for page in PAGES if any(snippet.expected == "slow" for snippet in snippets(page))]
README = FOLDER.parent / "README.md"
HOOKS = {
    name: value for name, value in vars(hookspecs).items() if name.startswith("dllm_") and callable(value)
}


@pytest.fixture(scope="module")
def generated() -> dict[str, str]:
    return pages()


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_every_snippet_of_a_page_does_what_its_fence_says(page: Path, tmp_path: Path) -> None:
    session = Session(tmp_path)
    for snippet in snippets(page):
        if snippet.expected in ("run", "wrong"):
            session.run(snippet)


@pytest.mark.slow
@pytest.mark.parametrize("page", SLOW, ids=[page.name for page in SLOW])
def test_the_slow_snippets_of_a_page_run_too(page: Path, tmp_path: Path) -> None:
    session = Session(tmp_path)
    for snippet in snippets(page):
        if snippet.expected in ("run", "wrong", "slow"):
            session.run(snippet)


@pytest.mark.slow
def test_the_suites_that_write_a_part_names_pass(tmp_path: Path) -> None:
    page = FOLDER / "write-a-part.md"
    text = "\n".join(
        each.text for each in snippets(page) if (each.language, each.expected) == ("python", "run")
    )
    # Everything in a module of its own, as the page's reader would have it; only its test classes are wanted.
    (tmp_path / "test_page.py").write_text(text, encoding="utf-8")
    roots = [str(FOLDER.parent / folder) for folder in (".", "strategies", "search")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "test_page.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(roots)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_every_fence_says_what_is_expected_of_it(page: Path) -> None:
    for snippet in snippets(page):
        if snippet.language == "text":
            continue
        allowed = EXPECTATIONS.get(snippet.language, ("shown",))
        assert snippet.expected in allowed, (
            f"{snippet}: ```{snippet.language} needs one of {', '.join(allowed)}"
        )
        assert snippet.expected != "signature" or page.name in GENERATED, (
            f"{snippet}: signatures are generated"
        )


@pytest.mark.parametrize("name", GENERATED)
def test_generated_pages_are_what_the_code_says_now(name: str, generated: dict[str, str]) -> None:
    written = (FOLDER / name).read_text(encoding="utf-8")
    assert written == generated[name], f"docs/{name} is stale: run `make docs`"


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_documented_with_its_exact_signature(hook: str) -> None:
    section = section_of("hooks.md", f"## {hook}")
    signature = str(inspect.signature(HOOKS[hook])).replace("'", "")
    assert f"```python signature\n{hook}{signature}\n```" in section
    assert inspect.getdoc(HOOKS[hook]).splitlines()[0] in section  # type: ignore[union-attr]
    note = NOTES[hook]
    assert all(text in section for text in (note.called, note.may, note.must_not))


def test_no_note_is_left_of_a_hook_that_is_gone() -> None:
    assert set(NOTES) == set(HOOKS)


@pytest.mark.parametrize("kind", KINDS)
def test_every_protocol_method_is_documented_under_its_hook(kind: str) -> None:
    protocol = hooks_page.PROTOCOLS[kind]
    section = section_of("hooks.md", f"## dllm_{kind}")
    public = [name for name, value in vars(protocol).items() if inspect.isfunction(value) and name[0] != "_"]
    assert METHODS[kind] in public
    for name in public:
        method: Any = getattr(protocol, name)
        assert f"{name}{inspect.signature(method)}".replace("'", "") in section
        assert inspect.getdoc(method), f"{protocol.__name__}.{name} has no docstring"


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind in KINDS for name in load_registry().names(kind)]
)
def test_every_field_of_every_part_is_documented(kind: str, name: str) -> None:
    section = section_of("parts.md", f"### {kind}: {name}")
    part = load_registry().part(kind, name)
    assert (inspect.getdoc(part) or "").splitlines()[0] in section
    for owner in (part, *nested_models(part)):
        for described in fields(owner):
            assert described.text, f"{owner.__name__}.{described.name} has no description"
            assert f"| `{described.name}` |" in section


def test_every_field_of_a_strategy_is_documented() -> None:
    section = section_of("parts.md", "## strategy")
    for name, field in Strategy.model_fields.items():
        assert field.description and f"| `{name}` |" in section


def test_everything_that_parts_are_given_is_documented() -> None:
    given = [
        value
        for value in vars(plugin).values()
        if is_dataclass(value) and value.__module__.startswith("dllm_decode.data.")
    ]
    assert given
    for cls in given:
        section = section_of("hooks.md", f"### {cls.__name__}")
        for field in dataclasses.fields(cls):
            assert f"- `{field.name}: " in section, f"{cls.__name__}.{field.name} is not on docs/hooks.md"


def test_every_recipe_is_documented_with_its_digest() -> None:
    section = section_of("parts.md", "## Recipes")
    registry = load_registry()
    for name in registry.names("recipe"):
        strategy = Strategy.load(name)
        assert strategy.description, f"recipe {name} has no description"
        assert f"| `{name}` | {strategy.description} |" in section
        assert strategy.digest() in section


@pytest.mark.parametrize("page", [*PAGES, README], ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("https:", "http:", "mailto:")):
            continue
        file, _, anchor = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        assert path.exists(), f"{page.name} links to {target}, which is not there"
        assert not anchor or anchor in anchors(path), f"{page.name} links to {target}: no such heading"


def test_the_readme_names_recipes_that_exist() -> None:
    rows = re.findall(r"^\| [^|`]+ \| (`.*) \|$", README.read_text(encoding="utf-8"), flags=re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`([a-z0-9-]+)`", row)}
    assert {"llada", "said", "wino"} <= named <= set(load_registry().names("recipe"))


def test_every_page_is_in_the_index() -> None:
    index = (FOLDER / "index.md").read_text(encoding="utf-8")
    for page in PAGES:
        assert page.name == "index.md" or f"]({page.name}" in index, (
            f"docs/index.md does not lead to {page.name}"
        )


def section_of(name: str, heading: str) -> str:
    """Return the text of a page from a heading to the next one of its level or above."""
    text = (FOLDER / name).read_text(encoding="utf-8")
    assert f"\n{heading}\n" in text, f"docs/{name} has no heading {heading!r}: run `make docs`"
    after = text.split(f"\n{heading}\n", 1)[1]
    level = heading.split(" ")[0]
    return re.split(rf"^#{{1,{len(level)}}} ", after, flags=re.MULTILINE)[0]


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#{1,6} (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
