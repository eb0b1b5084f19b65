"""What decoding costs beyond the model: `python -m benchmarks.speed.overhead [--json FILE]`.

Times `generate` against as many bare forwards of the same model as it made, and a plain loop against the same
forwards, in turn and in one run. Knows nothing of quality; see benchmarks/README.md for how to read it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.lib.bare import StockForward
from benchmarks.lib.measuring import PROMPT_LENGTH, forward_of, prompts_of, seconds, setting
from benchmarks.loops import released as loops
from dllm_decode import DiffusionLM
from dllm_decode.errors import DecodeError

GEN_LENGTH, BLOCK_LENGTH = 64, 32
SAID_STEPS, THRESHOLD, HARD_STEPS = 32, 0.8, 3
FORWARDS = 12  # bare forwards timed before and after each decode
TARGETS = {1: 1.10, 16: 1.05}  # by rows of the batch
RESULTS = Path(__file__).parents[1] / "results" / "overhead.json"
TINY_SHAPE = {
    "hidden_size": 160,
    "intermediate_size": 448,
    "num_hidden_layers": 6,
    "num_attention_heads": 5,
    "num_key_value_heads": 5,
}


def load_model(name: str) -> DiffusionLM:
    """Load the model in float32; `random` is one of tiny's shape with random weights."""
    if name != "random":
        return DiffusionLM.from_pretrained(name, dtype="float32")
    from dllm_decode.testing.random_checkpoint import write_checkpoint

    with tempfile.TemporaryDirectory() as folder:
        return DiffusionLM.from_pretrained(write_checkpoint(Path(folder), **TINY_SHAPE), dtype="float32")


def decoders(lm: DiffusionLM, name: str, prompt: Tensor) -> tuple[Callable[[], Any], Callable[[], Tensor]]:
    """Return the engine's decode and the plain loop's of the same strategy."""
    forward, mask_id = forward_of(lm), lm.special.mask
    options: dict[str, Any] = {"gen_length": GEN_LENGTH, "batch_size": len(prompt)}
    if name == "llada":
        block = {"name": "fixed", "length": BLOCK_LENGTH}
        engine = partial(lm.generate, prompt, "llada", block=block, **options)
        plain = partial(loops.llada, forward, prompt, block_length=BLOCK_LENGTH, steps=GEN_LENGTH)
    else:
        detail = {"layering.detail.threshold": THRESHOLD, "layering.detail.hard_steps": HARD_STEPS}
        engine = partial(lm.generate, prompt, "said", steps=SAID_STEPS, **detail, **options)
        plain = partial(loops.said, forward, prompt, steps=SAID_STEPS, threshold=THRESHOLD, hard_steps=HARD_STEPS)
    return engine, partial(plain, gen_length=GEN_LENGTH, mask_id=mask_id)


def measure(lm: DiffusionLM, name: str, rows: int, repeats: int) -> dict[str, Any]:
    """Time one strategy at one batch size; every repeat times bare forwards, the engine and the plain loop in turn.

    The bare forwards stand on both sides of what they are compared with, so that a drift of the machine's speed
    meets both alike; a ratio is taken within a repeat and the median over the repeats is reported.
    """
    prompt = prompts_of(lm, rows)
    engine, plain = decoders(lm, name, prompt)
    forward, windowed = forward_of(lm), StockForward(lm.denoiser.model, keeps=False)  # type: ignore[attr-defined]
    out, expected = engine(), plain()
    differing = int((out.canvas != expected).sum())
    tokens = torch.cat([prompt, torch.full((rows, GEN_LENGTH), lm.special.mask)], dim=1)
    width = BLOCK_LENGTH if name == "llada" else GEN_LENGTH
    window = slice(PROMPT_LENGTH, PROMPT_LENGTH + width)  # a block's columns, of which there are always as many
    bare: dict[str, Callable[[], Any]] = {
        "engine": lambda: forward(tokens),
        "engine_over_window_head": lambda: windowed(tokens, None, window),
        "plain_loop": lambda: forward(tokens),
    }
    ratios: dict[str, list[float]] = {label: [] for label in bare}
    forward_seconds: list[float] = []

    def one(label: str) -> float:
        """Return the seconds of one bare forward of a kind."""
        return seconds(lambda: [bare[label]() for _ in range(FORWARDS)]) / FORWARDS

    one("engine")
    for _ in range(repeats):
        for labels, work in ((("engine", "engine_over_window_head"), engine), (("plain_loop",), plain)):
            before = [one(label) for label in labels]
            own = seconds(work)
            after = [one(label) for label in labels]
            for label, early, late in zip(labels, before, after, strict=True):
                ratios[label].append(own / (out.model_calls * (early + late) / 2))
            forward_seconds.append((before[0] + after[0]) / 2)
    result: dict[str, Any] = {
        "strategy": name,
        "batch": rows,
        "target": TARGETS.get(rows, max(TARGETS.values())),
        "model_calls": out.model_calls,
        "forward_milliseconds": round(1000 * statistics.median(forward_seconds), 4),
        "differing_tokens": differing,
    }
    for label, values in ratios.items():
        result[label] = round(statistics.median(values), 4)
        result[f"{label}_spread"] = [round(min(values), 4), round(max(values), 4)]
    return result


def report(lm: DiffusionLM, model: str, repeats: int, batches: tuple[int, ...]) -> dict[str, Any]:
    """Measure everything and say on what."""
    with torch.inference_mode():
        results = [measure(lm, name, rows, repeats) for name in ("llada", "said") for rows in batches]
    return {
        "results": results,
        "model": model,
        "dtype": "float32",
        "prompt_length": PROMPT_LENGTH,
        "gen_length": GEN_LENGTH,
        "repeats": repeats,
        **setting(),
    }


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; return 0 if the engine meets its target and decodes what the plain loop decodes."""
    parser = argparse.ArgumentParser(prog="benchmarks.speed.overhead", description="The engine's cost beyond the model.")
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE", help=f"default: {RESULTS}")
    parser.add_argument("--model", default="tiny", help="tiny, a folder, or random (tiny's shape)")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--threads", type=int, default=None, help="torch threads; torch's own choice if not given")
    given = parser.parse_args(arguments)
    if given.threads:
        torch.set_num_threads(given.threads)
    try:
        lm = load_model(given.model)
    except DecodeError as error:
        parser.error(str(error))
    summary = report(lm, given.model, given.repeats, tuple(given.batch))
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    print(
        f"{'strategy':<10}{'batch':>6}{'calls':>7}{'forward ms':>12}{'engine':>9}{'over window head':>18}"
        f"{'plain loop':>12}{'differing':>11}"
    )
    for row in summary["results"]:
        print(
            f"{row['strategy']:<10}{row['batch']:>6}{row['model_calls']:>7}{row['forward_milliseconds']:>12.3f}"
            f"{row['engine']:>9.3f}{row['engine_over_window_head']:>18.3f}{row['plain_loop']:>12.3f}"
            f"{row['differing_tokens']:>11}"
        )
    met = (row["engine"] <= row["target"] and not row["differing_tokens"] for row in summary["results"])
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
