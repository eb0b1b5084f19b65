"""The demo: decodes drawn from their traces, and the whole show on a model with random weights."""

import io

import pytest
import torch
from rich.console import Console

from dllm_decode.cli import main
from dllm_decode.model import DiffusionLM
from dllm_decode.strategy.strategy import Strategy
from dllm_decode.testing.random_checkpoint import write_checkpoint
from dllm_decode.view.film import Film, film, play


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> str:
    return str(write_checkpoint(tmp_path_factory.mktemp("checkpoint")))


def test_a_film_ends_with_the_answer_and_as_many_forwards_as_the_decode_took(checkpoint):
    lm = DiffusionLM.from_pretrained(checkpoint)
    out = lm.generate(["one two"], Strategy.load("said"), gen_length=8, trace=True)
    made = film("said", lm, out, correct=False)
    assert made.forwards == out.model_calls
    last = made.frame(made.forwards).plain
    assert "·" not in last
    shown = [
        "▫" if token in lm.special.ends else lm.tokenizer.decode([token]) for token in out.tokens[0].tolist()
    ]
    assert last.strip() == "".join(shown).replace("\n", "⏎").strip()
    assert made.frame(0).plain.strip() == "·" * 8
    assert not torch.equal(out.tokens, torch.full_like(out.tokens, lm.special.mask))


FILM = Film("llada", "correct", True, (None, None), ((1, {1: " b"}), (2, {0: "[a]"})))


def test_without_a_terminal_a_few_snapshots_are_printed():
    console = Console(file=io.StringIO(), width=80)
    play(console, [FILM])
    text = console.file.getvalue()
    assert "· b" in text and "[a] b" in text and "2 forward passes  correct" in text


def test_in_a_terminal_the_films_run_side_by_side_and_stop_when_they_are_done():
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    longer = Film("slow", "wrong", False, (None,), ((1, {}), (4, {0: "x"})))
    play(console, [FILM, longer], seconds_a_forward=0)
    text = console.file.getvalue()
    assert "llada" in text and "wrong" in text


def test_the_demo_decodes_searches_and_saves_a_strategy(checkpoint, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("DLLM_DECODE_CACHE", str(tmp_path / "cache"))
    sizes = ["--trials", "4", "--examples", "2", "--test-examples", "2", "--out", str(tmp_path / "out")]
    assert main(["demo", "--model", checkpoint, *sizes]) == 0
    out = capfd.readouterr().out
    assert all(word in out for word in ("line:", "square:", "facts:", "llada", "said", "forward passes"))
    assert Strategy.load(tmp_path / "out" / "strategy.yaml").name == "tuned-line"
    assert "dllm-decode eval --task line --strategy" in out
