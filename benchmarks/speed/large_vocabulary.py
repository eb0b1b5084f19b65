"""LLaDA's rule with LLaDA-8B's vocabulary on a small body: what the head and the softmax cost in time and memory.

Writes the random model, times the engine beside the plain loop, and starts a process for each to see its peak memory.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.lib.measuring import Counted, Pair, forward_of, peak_memory, prompts_of, resident_memory
from benchmarks.loops import released as loops
from dllm_decode import DiffusionLM
from dllm_decode.testing.checkpoints import LLADA_8B, random_tensors, write_checkpoint

ROOT = Path(__file__).resolve().parents[2]
SIDES = ("engine", "loop")
SHAPE = {"d_model": 256, "mlp_hidden_size": 768, "n_layers": 4, "n_heads": 8, "n_kv_heads": 8}
PROMPT_LENGTH, GEN_LENGTH, BLOCK_LENGTH = 256, 256, 32
STEPS = 16  # two in each block: every step of the loop takes about a second
MEMORY_STEPS = 8  # the peak is that of one step
TARGET, MEMORY_TARGET = 0.6, 0.25
MEGABYTE = 1 << 20


def write_model(folder: Path) -> Path:
    """Write a random checkpoint in LLaDA's format, float32, 126,464 tokens; return the folder."""
    config = LLADA_8B | SHAPE | {"torch_dtype": "float32"}
    return write_checkpoint(folder, config, random_tensors(config))


def load(folder: Path) -> DiffusionLM:
    """Load the model of `write_model`."""
    return DiffusionLM.from_pretrained(folder, dtype="float32")


def pair(lm: DiffusionLM, steps: int = STEPS) -> Pair:
    """Return both decodes of one prompt."""
    prompt = prompts_of(lm, 1, PROMPT_LENGTH)
    forward = Counted(forward_of(lm))
    given: dict[str, Any] = {"gen_length": GEN_LENGTH, "steps": steps}
    block = {"name": "fixed", "length": BLOCK_LENGTH}
    return Pair(
        partial(lm.generate, prompt, "llada", block=block, **given),
        partial(loops.llada, forward, prompt, block_length=BLOCK_LENGTH, mask_id=lm.special.mask, **given),
        forward,
    )


def measure(repeats: int) -> dict[str, Any]:
    """Return times and peak memory of both, and the ratios engine / loop."""
    with tempfile.TemporaryDirectory() as name:
        folder = write_model(Path(name))
        memory: dict[str, Any] = {side: _in_a_process(side, folder) for side in SIDES}
        found = pair(load(folder)).compare(repeats)
    engine, loop = (memory[side]["decode_megabytes"] for side in SIDES)
    memory |= {"ratio": round(engine / loop, 4), "target": MEMORY_TARGET}
    passed = found["ratio"] <= TARGET and memory["ratio"] <= MEMORY_TARGET and not found["differing_tokens"]
    return {
        "case": "large-vocabulary",
        "batch": 1,
        "rule": "llada",
        "vocabulary": LLADA_8B["embedding_size"],
        "shape": SHAPE,
        "prompt_length": PROMPT_LENGTH,
        "gen_length": GEN_LENGTH,
        "block_length": BLOCK_LENGTH,
        "steps": STEPS,
        "steps_note": f"{STEPS} for {GEN_LENGTH} tokens in both, to keep a repeat short; memory at {MEMORY_STEPS}",
        **found,
        "target": TARGET,
        "memory": memory,
        "passed": passed,
    }


def memory_of(side: str, folder: Path) -> dict[str, float]:
    """Decode once and return this process's memory in megabytes (2^20 bytes)."""
    lm = load(folder)
    loaded, held = peak_memory(), resident_memory()
    both = pair(lm, MEMORY_STEPS)
    with torch.inference_mode():
        if side == "engine":
            both.engine()
        else:
            both.loop()
    peak = peak_memory()
    sizes = {
        "peak_megabytes": peak,
        "peak_after_loading_megabytes": loaded,
        "held_after_loading_megabytes": held,
        "decode_megabytes": peak - held,
    }
    return {name: round(size / MEGABYTE, 1) for name, size in sizes.items()}


def _in_a_process(side: str, folder: Path) -> dict[str, float]:
    """Return `memory_of` from a process of its own."""
    options = ["--memory-of", side, "--folder", str(folder), "--threads", str(torch.get_num_threads())]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.speed.released", *options], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout)  # type: ignore[no-any-return]
