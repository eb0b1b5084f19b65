"""A real Chromium for the tests of pages: found on the machine, driven by Playwright; tests skip where either is missing."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
SERIOUS = ("serious", "critical")


@contextmanager
def chromium() -> Iterator[Any]:
    """Yield a running browser."""
    playwright = pytest.importorskip("playwright.sync_api")
    found = next((path for path in map(shutil.which, NAMES) if path), None)
    if found is None:
        pytest.skip("there is no Chromium on this machine")
    with playwright.sync_playwright() as driver:
        # A container's root may not use the browser's own sandbox; the pages are ours.
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(
    browser: Any, file: Path, width: int = 1440, scheme: str = "light", height: int = 900
) -> Iterator[tuple[Any, list[str]]]:
    """Yield a page and what it complained of so far: console errors, exceptions, requests of the network."""
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    tab, complaints = context.new_page(), []
    tab.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("request", lambda asked: complaints.append(asked.url) if not asked.url.startswith("file:") else None)
    tab.goto(file.as_uri())
    yield tab, complaints
    context.close()


def axe_core(folder: Path) -> str:
    """Return the source of axe-core, from npm."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("there is no npm to get axe-core with")
    command = [npm, "install", "--silent", "--prefix", str(folder), "axe-core"]
    if subprocess.run(command, capture_output=True, check=False, timeout=120).returncode:
        pytest.skip("axe-core cannot be installed from npm")
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


def faults(tab: Any, axe: str) -> list[str]:
    """Return what axe-core finds that is serious."""
    tab.evaluate(axe)
    found = tab.evaluate("axe.run()")["violations"]
    return [
        f"{one['id']}: {one['help']}: {[node['html'] for node in one['nodes'][:3]]}"
        for one in found
        if one["impact"] in SERIOUS
    ]
