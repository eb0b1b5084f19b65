"""Replays recorded runs of the authors' released loops through the public interface: `python tests/conformance.py DIR`.

Knows how the recorded functions' arguments are spelled as recipes and overrides; `DIR/README.md` describes the data.
Exits 0 only if every selected case is token-identical and took no more model calls than recorded.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
for folder in (ROOT / "search", ROOT / "strategies", ROOT):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

if TYPE_CHECKING:
    from dllm_decode import DiffusionLM
    from dllm_decode.strategy.strategy import Strategy

CHECKPOINT = "llada-checkpoint"
EOT = 2
CACHES = {
    "fast_dllm.generate_with_prefix_cache": "prefix",
    "fast_dllm.generate_with_dual_cache": "dual",
}
NAMES = (
    "llada.generate",
    "said_v1.generate",
    "said_block.generate_said",
    "fast_dllm.generate",
    *CACHES,
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one recorded case went."""

    number: int
    """0-based position in `cases.json`."""
    name: str
    passed: bool
    recorded_calls: int
    model_calls: int | None
    """None where the run ended in an error."""
    reason: str
    """Empty if passed."""


def strategy_for(name: str, arguments: dict[str, Any]) -> Strategy:
    """Return the strategy that a recorded function's arguments spell.

    Raises:
        ConfigError: The installed parts cannot express the case.
    """
    from dllm_decode.strategy.strategy import Strategy

    confidence = {"name": "top-probability", "ignore_ends": bool(arguments.get("confidence_eos_eot_inf"))}
    logits: list[dict[str, Any]] = []
    if arguments.get("cfg_scale"):
        logits.append({"name": "guidance", "weight": arguments["cfg_scale"]})
    if arguments.get("logits_eos_inf"):
        logits.append({"name": "forbid-eos"})
    changes: dict[str, Any] = {
        "gen_length": arguments["gen_length"],
        "steps": arguments["steps"],
        "confidence": confidence,
        "logits": logits,
        "temperature": arguments.get("temperature", 0.0),
    }
    if "block_length" in arguments:
        changes["block"] = {"name": "fixed", "length": arguments["block_length"]}
    if name == "llada.generate":
        return Strategy.load("llada").override(changes)
    if name == "said_v1.generate":
        changes["layering.detail.threshold"] = arguments["confidence_threshold"]
        changes["layering.detail.hard_steps"] = arguments["hard_steps"]
        return Strategy.load("said-paper").override(changes)
    if name == "said_block.generate_said":
        changes["layering.stage_count"] = arguments["num_stages"]
        changes["layering.rec_steps"] = arguments["rec_steps"]
        changes["layering.exact"] = True
        return Strategy.load("said-block").override(changes)
    threshold = arguments["threshold"]
    changes["scheduler"] = "even" if threshold is None else {"name": "threshold", "threshold": threshold}
    if name in CACHES:
        changes["cache"] = CACHES[name]
    return Strategy.load("fast-dllm").override(changes)


def replay(lm: DiffusionLM, number: int, case: dict[str, Any]) -> Outcome:
    """Run one recorded case and compare."""
    import torch

    from dllm_decode.errors import DecodeError

    name, recorded = case["name"], case["forward_passes"]
    prompt = torch.tensor(case["prompt"])
    mask = None if case["attention_mask"] is None else torch.tensor(case["attention_mask"])
    try:
        strategy = strategy_for(name, case["args"])
        out = lm.generate(prompt, attention_mask=mask, strategy=strategy, batch_size=len(prompt))
    except DecodeError as error:
        return Outcome(number, name, False, recorded, None, str(error))
    different = (out.canvas != torch.tensor(case["tokens"])).sum().item()
    allowed = recorded - 1 if name.startswith("said_v1.") else recorded
    reasons = []
    if different:
        reasons.append(f"{different} tokens differ")
    if out.model_calls > allowed:
        reasons.append(f"{out.model_calls} model calls, at most {allowed} allowed")
    return Outcome(number, name, not reasons, recorded, out.model_calls, "; ".join(reasons))


def replay_all(folder: Path, only: tuple[str, ...] = NAMES) -> list[Outcome]:
    """Replay the recorded cases of the named functions.

    Args:
        folder: Holds `cases.json` and the checkpoint.
        only: Names of recorded functions.
    """
    from dllm_decode import DiffusionLM

    lm = DiffusionLM.from_pretrained(str(folder / CHECKPOINT), eot_token_id=EOT)
    cases = json.loads((folder / "cases.json").read_text(encoding="utf-8"))
    return [replay(lm, number, case) for number, case in enumerate(cases) if case["name"] in only]


def table(outcomes: list[Outcome]) -> str:
    """Return a table with a line for every function, and what went wrong beneath it."""
    lines = [f"{'recorded function':<38}{'cases':>6}{'passed':>8}{'calls':>8}{'recorded':>10}"]
    for name in dict.fromkeys(outcome.name for outcome in outcomes):
        group = [outcome for outcome in outcomes if outcome.name == name]
        ran = [outcome for outcome in group if outcome.model_calls is not None]
        calls = str(sum(outcome.model_calls or 0 for outcome in ran)) if ran else "-"
        recorded = sum(outcome.recorded_calls for outcome in (ran or group))
        passed = sum(outcome.passed for outcome in group)
        lines.append(f"{name:<38}{len(group):>6}{passed:>8}{calls:>8}{recorded:>10}")
    reasons: dict[tuple[str, str], list[int]] = {}
    for outcome in outcomes:
        if not outcome.passed:
            reasons.setdefault((outcome.name, outcome.reason), []).append(outcome.number)
    for (name, reason), numbers in reasons.items():
        shown = ", ".join(map(str, numbers[:8])) + (", ..." if len(numbers) > 8 else "")
        lines.append(f"{name}: {len(numbers)} failed (cases {shown}): {reason}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return 0 if every selected case passed, 1 if one did not, 2 for a wrong call."""
    parser = argparse.ArgumentParser(prog="tests/conformance.py", description="Replay recorded reference runs.")
    parser.add_argument("folder", type=Path, metavar="DIR", help="holds cases.json and llada-checkpoint/")
    parser.add_argument("--only", default=",".join(NAMES), metavar="NAME,NAME", help="recorded functions")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args(arguments)
    only = tuple(name.strip() for name in given.only.split(",") if name.strip())
    unknown = [name for name in only if name not in NAMES]
    if unknown or not only:
        parser.error(f"--only: unknown function {', '.join(unknown) or '(none)'}; known: {', '.join(NAMES)}")
    if not (given.folder / "cases.json").is_file():
        parser.error(f"{given.folder} holds no cases.json")
    outcomes = replay_all(given.folder, only)
    passed = sum(outcome.passed for outcome in outcomes)
    if given.json:
        summary = {"cases": len(outcomes), "passed": passed, "outcomes": [asdict(item) for item in outcomes]}
        print(json.dumps(summary))
    else:
        print(table(outcomes))
        print(f"{passed} of {len(outcomes)} cases passed")
    return 0 if outcomes and passed == len(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
