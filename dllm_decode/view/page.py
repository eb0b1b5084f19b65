"""Makes the page on which decodes are watched: one HTML file from a template, a style and two scripts beside it.

Knows plain data (`decoding/story.py` makes it) and no tensors; the page asks no network for anything.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dllm_decode.errors import DataError

ASSETS = Path(__file__).parent / "assets"
MOST = 4
"""Decodes side by side: more are not legible on a screen."""


def page(stories: Sequence[dict[str, Any]]) -> str:
    """Return a page of one to four decodes of the same prompts, side by side.

    Raises:
        DataError: There are none or too many, or they are of different prompts.
    """
    _check(stories)
    # Loading the template engine takes time that a decode without a page has no use for.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = Environment(loader=FileSystemLoader(ASSETS), autoescape=True, undefined=StrictUndefined)
    names = ", ".join(dict.fromkeys(one["name"] for one in stories))
    return templates.get_template("page.html.j2").render(
        title=f"{names}: {len(stories)} decodes" if len(stories) > 1 else f"{names}: a decode",
        style=_asset("page.css"),
        scripts=[_asset(name) for name in ("decode.js", "colours.js", "panel.js", "page.js")],
        data=_embedded({"decodes": list(stories)}),
    )


def _check(stories: Sequence[dict[str, Any]]) -> None:
    if not 1 <= len(stories) <= MOST:
        raise DataError(f"a page shows 1 to {MOST} traces side by side, got {len(stories)}")
    first, *others = [[row["prompt"] for row in one["rows"]] for one in stories]
    if not first:
        raise DataError(f"the trace of {stories[0]['name']} holds no row")
    for number, prompts in enumerate(others, 2):
        if prompts != first:
            raise DataError(
                f"traces side by side should be of the same prompts; trace {number} has "
                f"{_named(prompts)}, the first has {_named(first)}"
            )


def _named(prompts: list[str]) -> str:
    more = f" and {len(prompts) - 1} more" if len(prompts) > 1 else ""
    return f"{prompts[0][:60]!r}{more}" if prompts else "none"


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def _embedded(data: Any) -> str:
    """Return JSON that no text in it can break out of: inside a script element only `<` could."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
