"""A real pretrained masked language model, for reaction SMILES, is read from a wheel and fills in what was masked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks.quality import reactions
from dllm_decode import DiffusionLM
from dllm_decode.data.inputs import ModelInputs
from dllm_decode.errors import DecodeError

REACTION = "O=C(O)c1ccc(Cl)cc1.CO.O=S(=O)(O)O>>COC(=O)c1ccc(Cl)cc1"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    try:
        with reactions.unpacked(None) as found:
            yield found
    except DecodeError as error:
        pytest.skip(f"the wheel with the pretrained model cannot be had: {error}")


@pytest.fixture(scope="module")
def lm(folder: Path) -> DiffusionLM:
    return reactions.load(folder)


def test_the_published_weights_load_whole_and_bidirectional(lm: DiffusionLM) -> None:
    assert lm.special.mask == 14
    assert (lm.special.eos, lm.special.eot) == (None, None)
    assert (lm.denoiser.vocab_size, lm.denoiser.max_length) == (591, 512)
    assert lm.tokenizer is not None
    ids = lm.tokenizer(REACTION)["input_ids"]
    assert lm.tokenizer.decode(ids, skip_special_tokens=True) == REACTION
    logits = lm.denoiser.logits(ModelInputs(torch.tensor([ids]), None, slice(0, len(ids))))[0]
    assert (logits.argmax(-1) == torch.tensor(ids))[1:-1].float().mean() > 0.95


@pytest.mark.parametrize("strategy", ["llada", "said", "fast-dllm"])
def test_it_restores_an_atom_that_the_reaction_determines(lm: DiffusionLM, strategy: str) -> None:
    text = "O=C(O)c1ccc(Cl)cc1.CO.O=S(=O)(O)O>>CO[MASK](=[MASK])c1ccc([MASK])cc1"
    assert lm.infill(text, strategy).texts == [REACTION]


def test_padding_moves_no_row_in_float64(folder: Path) -> None:
    lm = reactions.load(folder, "float64")
    texts = reactions.reactions(8)[3:]
    assert lm.tokenizer is not None
    rows = [torch.tensor([lm.tokenizer(text)["input_ids"]]) for text in texts]
    width = max(row.shape[1] for row in rows)
    table = torch.cat([torch.nn.functional.pad(row, (width - row.shape[1], 0), value=14) for row in rows])
    valid = torch.cat([torch.arange(width)[None] >= width - row.shape[1] for row in rows])
    together = lm.denoiser.logits(ModelInputs(table, valid, slice(0, width)))
    for number, row in enumerate(rows):
        alone = lm.denoiser.logits(ModelInputs(row, None, slice(0, row.shape[1])))
        torch.testing.assert_close(together[number, width - row.shape[1] :], alone[0], rtol=0, atol=1e-9)


def test_one_strategy_is_measured(lm: DiffusionLM) -> None:
    row = reactions.measure(lm, reactions.reactions(7)[5:], 0.3, "fast-dllm")
    assert row["tokens_restored"] > 0.5
    assert 1 <= row["forward_passes"] <= row["masked_tokens"] / 2


def test_the_recorded_run_says_what_it_was() -> None:
    if not reactions.RESULTS.is_file():
        pytest.skip(f"{reactions.RESULTS} is not there")
    summary = json.loads(reactions.RESULTS.read_text())
    titles = {(row["masked"], row["strategy"]) for row in summary["results"]}
    assert titles == {(share, title) for share in (0.3, 0.5, 0.7) for title in reactions.STRATEGIES}
    assert set(summary) >= {"model", "device", "versions", "date", "reactions"}


def test_reactions_are_the_same_in_every_run_and_none_comes_twice() -> None:
    first = reactions.reactions()
    assert first == reactions.reactions()
    assert len(set(first)) == len(first) > 400
    assert all(text.count(">>") == 1 for text in first)
    ids = list(range(20))
    given = reactions.masked(ids, 0.3, -1, seed=4)
    assert given == reactions.masked(ids, 0.3, -1, seed=4)
    assert (given[0], given[-1], given.count(-1)) == (0, 19, 5)


def test_what_is_no_such_wheel_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other.whl"
    other.write_bytes(b"no zip")
    assert reactions.main(["--wheel", str(other)]) == 2
    assert "cannot be unpacked" in capsys.readouterr().err
