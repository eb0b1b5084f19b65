"""Draws the picture of README from two real decodes: `python -m docs.pictures`.

One square a position and forward: SAID commits a scaffold first and fills it in within few forwards, LLaDA's rule commits
one token a forward.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

from dllm_decode import DiffusionLM
from dllm_decode.decoding.story import story
from dllm_decode.generation.answers import Generation

FILE = Path(__file__).resolve().parent / "said-beside-llada.svg"
PROMPT, POSITIONS, STRATEGIES = "Sort the line: Paul, Anna, Carl, Ben.", 16, ("llada", "said")
CELL, GAP, LEFT, TOP = 20, 50, 34, 66
COLOURS = {"all": "#0072b2", "scaffold": "#0072b2", "easy": "#e69f00", "hard": "#009e73"}
STYLE = """text{font:12px system-ui,sans-serif;fill:#1a1a1a}.soft{fill:#595959}.grid{fill:#ededea}
.title{font-weight:600;font-size:14px}
@media (prefers-color-scheme:dark){text{fill:#ececec}.soft{fill:#adadad}.grid{fill:#2b2f34}}"""


def picture() -> str:
    """Return the picture as SVG."""
    lm = DiffusionLM.from_pretrained("tiny", dtype="float32", device="cpu")
    made = [lm.generate(PROMPT, name, gen_length=POSITIONS, trace=True) for name in STRATEGIES]
    width = LEFT + len(made) * (POSITIONS * CELL + GAP)
    height = TOP + max(out.model_calls for out in made) * CELL + 40
    panels = "\n".join(
        _panel(out, LEFT + number * (POSITIONS * CELL + GAP), height) for number, out in enumerate(made)
    )
    told = ", ".join(f"{out.strategy.name} {out.model_calls} forwards" for out in made)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="When each position of the answer is decided: {told}">\n<style>{STYLE}</style>\n'
        f'<text x="{LEFT}" y="16" class="soft">{escape(PROMPT)}</text>\n{panels}\n</svg>\n'
    )


def _panel(out: Generation, left: int, height: int) -> str:
    """Return one strategy's part, which begins `left` pixels from the left end."""
    assert out.trace is not None, "it was asked for"
    data = story(out.trace.batches, out.trace.about)
    parts = [
        f'<text x="{left}" y="36" class="title">{data["name"]}: {data["calls"]} forwards</text>',
        f'<text x="{left}" y="54" class="soft">{" · ".join(data["stages"])}, position from left to right</text>',
        f'<rect class="grid" x="{left}" y="{TOP}" width="{POSITIONS * CELL}" height="{data["calls"] * CELL}"/>',
        f'<text x="{left}" y="{height - 12}">{escape(out.texts[0].strip())}</text>',
    ]
    for call, _, stage, _, _, written, _ in data["rows"][0]["steps"]:
        colour = COLOURS.get(data["stages"][stage], "#cc79a7")
        for position in written[::3]:
            x, y = left + position * CELL, TOP + (call - 1) * CELL
            parts.append(f'<rect x="{x}" y="{y}" width="{CELL - 1}" height="{CELL - 1}" fill="{colour}"/>')
    for call in range(1, data["calls"] + 1):
        if call == 1 or call % 4 == 0:
            parts.append(f'<text x="{left - 5}" y="{TOP + call * CELL - 5}" class="soft" text-anchor="end">{call}</text>')
    return "\n".join(parts)


def main() -> None:
    """Write the picture."""
    FILE.write_text(picture(), encoding="utf-8")
    print(f"wrote docs/{FILE.name}, {FILE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
