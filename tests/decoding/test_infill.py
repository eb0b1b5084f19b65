"""Any positions of a text may be undecided: holes anywhere, rows of different patterns, every part, every family."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dllm_decode import DiffusionLM, Strategy, load_registry
from dllm_decode.errors import ConfigError
from dllm_decode.testing.checkpoints import random_tensors, small_config, write_checkpoint, write_small_model
from tests.support.dream_checkpoint import dream_tensors, small_dream
from tests.support.masked_checkpoint import write_masked_lm

M = 200  # any id of an ordinary token may be made the mask
HOLES: dict[str, list[list[int]]] = {
    "one hole": [[5, 6, M, 7, 8]],
    "several holes": [[5, M, M, 7, 8, M, 9, 10, M, M, M, 11]],
    "column 0": [[M, 6, 7, M]],
    "column 0 alone": [[M]],
    "the whole text": [[M] * 10],
    "first and last": [[M, 5, 6, 7, 8, 9, M]],
    "rows of one length": [[5, M, 7, M], [M, 6, 7, 8], [5, 6, 7, M], [M, M, M, M]],
    "rows of unequal length": [[M], [5, 6, M, 7, 8, 9, M, 3], [M, M, 4], [1, 2, 3, 4, 5, 6, M, 8, 9, M, M, 12, 13]],
    "a hole in every other column": [[M, 5] * 9],
}


def llada(folder: Path) -> Path:
    config = small_config(mask_token_id=M)
    return write_checkpoint(folder, config, random_tensors(config))


def dream(folder: Path) -> Path:
    config = small_dream(mask_token_id=M)
    return write_checkpoint(folder, config, dream_tensors(config))


class Module(nn.Module):
    """Attention over absolute positions, without a mask."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.tokens, self.positions = nn.Embedding(264, 16), nn.Embedding(64, 16)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
        self.head = nn.Linear(16, 264)
        self.double()

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.layer(self.tokens(tokens) + self.positions.weight[: tokens.shape[1]]))


def pretrained(write: Callable[[Path], Path]) -> Callable[[Path], DiffusionLM]:
    return lambda folder: DiffusionLM.from_pretrained(write(folder), dtype="float64", device="cpu", mask_token_id=M)


FAMILIES: dict[str, Callable[[Path], DiffusionLM]] = {
    "llada": pretrained(llada),
    "dream": pretrained(dream),
    "bert": pretrained(lambda folder: write_masked_lm(folder, "Bert", tokenizer=False, vocab_size=264)),
    "roberta": pretrained(lambda folder: write_masked_lm(folder, "Roberta", tokenizer=False, vocab_size=264)),
    "module": lambda folder: DiffusionLM.from_module(Module(), vocab_size=264, mask_token_id=M),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, DiffusionLM]:
    return {name: build(tmp_path_factory.mktemp(name)) for name, build in FAMILIES.items()}


def strategies() -> dict[str, dict[str, Any]]:
    """Every part, each in the place of LLaDA's, with what it cannot do without."""
    registry = load_registry()
    beside: dict[str, dict[str, Any]] = {
        "block adaptive": {"block": {"name": "adaptive", "delimiters": [5]}},
        "revise narrow-out": {"scheduler": {"name": "threshold"}, "forward": {"name": "shadow"}},
    }
    found: dict[str, dict[str, Any]] = {}
    for kind in ("block", "layering", "scheduler", "confidence", "cache", "stop", "revise", "forward"):
        for name in registry.tables.get(kind, {}):
            part: Any = {"name": name}
            title = f"{kind} {name}"
            found[title] = {kind: [part] if kind in ("stop", "revise") else part} | beside.get(title, {})
    found["blocks of 4"] = {"block": {"name": "fixed", "length": 4}}
    found["blocks of 3, dual cache"] = {"block": {"name": "fixed", "length": 3}, "cache": {"name": "dual"}}
    found["blocks of 3, prefix cache"] = {"block": {"name": "fixed", "length": 3}, "cache": {"name": "prefix"}}
    return found


def pairs() -> list[tuple[str, str]]:
    """Every part with LLaDA; with a shifted and with an absolute model those that place their windows."""
    placing = ("block", "cache", "layering")
    return [
        (family, name)
        for family in ("llada", "dream", "bert")
        for name in strategies()
        if family == "llada" or (name.startswith(placing) and not (family == "bert" and "cache" in name))
    ]


def infill(lm: DiffusionLM, rows: list[list[int]], changes: dict[str, Any], **options: Any) -> Any:
    """Fill in with LLaDA's rule, changed."""
    base = Strategy.load("llada").model_dump(mode="json") | {"name": "mine"}
    return lm.infill(rows, base | changes, **options)


def padded(rows: list[list[int]]) -> tuple[Tensor, Tensor]:
    """The rows left-padded, and which of their columns are given."""
    width = max(map(len, rows))
    table = torch.tensor([[-1] * (width - len(row)) + row for row in rows])
    return table, (table != M) & (table != -1)


def holds(rows: list[list[int]], out: Any) -> None:
    """What was given stands where it stood, and nothing is left open."""
    table, given = padded(rows)
    assert torch.equal(out.canvas[given], table[given])
    assert not ((out.canvas == M) & out.valid).any()
    assert out.valid.tolist() == (table != -1).tolist()
    assert torch.equal(out.tokens, out.canvas)
    holes = (table == M).sum(1)
    assert bool((out.forward_passes >= 1).all()) and bool((out.forward_passes <= 3 * holes + 2).all())


@pytest.mark.parametrize("holes", HOLES)
@pytest.mark.parametrize("family", FAMILIES)
def test_holes_anywhere_are_filled_and_nothing_else_is_touched(
    models: dict[str, DiffusionLM], family: str, holes: str
) -> None:
    holds(HOLES[holes], infill(models[family], HOLES[holes], {}))


@pytest.mark.parametrize(("family", "strategy"), pairs())
def test_every_part_fills_holes_as_in_a_row_alone(
    models: dict[str, DiffusionLM], family: str, strategy: str
) -> None:
    changes, lm = strategies()[strategy], models[family]
    rows = [*HOLES["rows of unequal length"], *HOLES["a hole in every other column"], *HOLES["column 0"]]
    together = infill(lm, rows, changes)
    holds(rows, together)
    for number, row in enumerate(rows):
        alone = infill(lm, [row], changes, row_ids=[number])
        assert torch.equal(alone.tokens[0], together.tokens[number, -len(row) :]), f"row {number}"
        assert alone.forward_passes[0] == together.forward_passes[number]


@pytest.mark.parametrize("recipe", ["said", "said-block", "chlg", "fast-dllm"])
@pytest.mark.parametrize("family", FAMILIES)
def test_recipes_fill_holes_in_few_steps(models: dict[str, DiffusionLM], family: str, recipe: str) -> None:
    rows = HOLES["rows of unequal length"] + HOLES["several holes"]
    holds(rows, models[family].infill(rows, recipe))


@pytest.mark.parametrize("family", ["llada", "dream"])
@pytest.mark.parametrize("cache", ["prefix", "dual"])
def test_one_block_decided_at_once_is_the_same_with_and_without_a_cache(
    models: dict[str, DiffusionLM], family: str, cache: str
) -> None:
    """One step a block: the cached forward is the full one, so nothing may differ."""
    rows = HOLES["several holes"]
    plain = infill(models[family], rows, {}, steps=1)
    cached = infill(models[family], rows, {"cache": {"name": cache}}, steps=1)
    assert torch.equal(plain.tokens, cached.tokens)


def test_the_batch_size_changes_no_row(models: dict[str, DiffusionLM]) -> None:
    rows = [row for holes in HOLES.values() for row in holes]
    together = models["llada"].infill(rows, "said", batch_size=16)
    for size in (1, 3):
        batched = models["llada"].infill(rows, "said", batch_size=size)
        assert torch.equal(batched.tokens, together.tokens)
        assert torch.equal(batched.forward_passes, together.forward_passes)


def test_a_trace_names_the_rows_of_every_batch(models: dict[str, DiffusionLM]) -> None:
    rows = HOLES["rows of unequal length"]
    out = models["llada"].infill(rows, trace=True)
    assert sorted(row for batch in out.trace.batches for row in batch.row_ids or ()) == [0, 1, 2, 3]
    table, _ = padded(rows)
    for batch in out.trace.batches:
        replayed = batch.replay(table[batch.row_ids])
        assert torch.equal(replayed[out.valid[batch.row_ids]], out.canvas[batch.row_ids][out.valid[batch.row_ids]])


def test_an_infilled_text_keeps_its_words(tmp_path: Path) -> None:
    lm = DiffusionLM.from_pretrained(write_small_model(tmp_path), device="cpu")
    texts = ["[MASK]b[MASK][MASK] cd", "x[MASK]", "[MASK]"]
    out = lm.infill(texts)
    assert lm.tokenizer is not None
    for number, text in enumerate(texts):
        pieces = [lm.tokenizer(piece)["input_ids"] if piece else [] for piece in text.split("[MASK]")]
        row = out.canvas[number][out.valid[number]].tolist()
        assert row[: len(pieces[0])] == pieces[0]
        assert not pieces[-1] or row[-len(pieces[-1]) :] == pieces[-1]
        assert len(row) == sum(map(len, pieces)) + len(pieces) - 1


def test_a_text_without_a_hole_is_named(models: dict[str, DiffusionLM]) -> None:
    with pytest.raises(ConfigError, match="text 1 holds no"):
        models["llada"].infill([[M], [1, 2]])


def test_a_length_to_generate_is_no_matter_of_infilling() -> None:
    with pytest.raises(ConfigError, match="gen_length: infill"):
        DiffusionLM.from_pretrained("tiny").infill("Paris is [MASK].", gen_length=3)
