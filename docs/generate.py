"""Writes the pages that are made from the code: `python -m docs.generate`, or `make docs`.

With `--check` it writes nothing and ends with 1 if a page is not what the code would make it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from dllm_decode.testing.isolation import isolated_registry
from docs.fields_page import fields_page
from docs.hooks_page import hooks_page
from docs.parts_page import parts_page

FOLDER = Path(__file__).resolve().parent


def pages() -> dict[str, str]:
    """Return file name -> text of every generated page; installed plugins do not count."""
    with isolated_registry() as registry:
        return {
            "fields.md": fields_page(registry) + "\n",
            "hooks.md": hooks_page() + "\n",
            "parts.md": parts_page(registry) + "\n",
        }


def stale() -> list[str]:
    """Return the names of generated pages that differ from what the code says now."""
    return [name for name, text in pages().items() if _read(FOLDER / name) != text]


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def main(arguments: list[str]) -> int:
    """Write the pages, or with `--check` say which are stale."""
    if arguments == ["--check"]:
        names = stale()
        for name in names:
            sys.stderr.write(f"docs/{name} is stale: make docs\n")
        return int(bool(names))
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
        print(f"wrote docs/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
