"""A decode in the terminal: what is drawn after every step, and only on a terminal."""

from __future__ import annotations

import pytest
from rich.console import Console

from dllm_decode import DiffusionLM
from dllm_decode.cli import main
from dllm_decode.view.watch import Watch

PROMPT = "Sort the line: Paul, Anna, Carl, Zoe, Ben, Ida, Hugo."


def text(watch):
    console = Console(width=200)
    with console.capture() as captured:
        console.print(watch.picture())
    return captured.get().split("\n")


@pytest.mark.parametrize("strategy", ["said", "wino"])
def test_the_last_picture_is_the_answer_and_the_first_is_empty(strategy):
    lm = DiffusionLM.from_pretrained("tiny")
    first = len(lm.tokenizer(PROMPT)["input_ids"])
    watch = Watch(first, 24, lambda token: "" if token in lm.special.ends else lm.tokenizer.decode([token]), lm.special.mask)
    pictures = [text(watch)]

    def see(event):
        watch.see(event)
        pictures.append(text(watch))

    out = lm.generate(PROMPT, strategy, gen_length=24, on_step=see)
    assert pictures[0][:2] == ["0 of 24 decided, forward 0", "·" * 24]
    assert pictures[-1][0] == f"24 of 24 decided, forward {out.model_calls}"
    assert pictures[-1][1].strip() == out.texts[0].strip()


def test_watching_a_pipe_prints_what_not_watching_does(capsys):
    assert main(["generate", PROMPT, "--gen-length", "16"]) == 0
    plain = capsys.readouterr()
    assert main(["generate", PROMPT, "--gen-length", "16", "--watch"]) == 0
    watched = capsys.readouterr()
    assert watched.out == plain.out
    assert "·" not in watched.err


def test_on_a_terminal_the_answer_fills_in_on_stderr(capsys, monkeypatch):
    monkeypatch.setattr(
        "dllm_decode.commands.generate.messages", lambda: Console(stderr=True, force_terminal=True, width=100)
    )
    assert main(["generate", PROMPT, "--gen-length", "16", "--watch"]) == 0
    shown = capsys.readouterr()
    assert "16 of 16 decided" in shown.err and "decided" not in shown.out


def test_a_bar_counts_finished_prompts_on_a_terminal_and_leaves_stdout_alone(capsys, monkeypatch):
    command = ["generate", PROMPT, "Sort the line: Ida, Hugo.", "Add 2 and 3.", "--gen-length", "8", "--batch-size", "2"]
    assert main(command) == 0
    plain = capsys.readouterr()
    assert "/3" not in plain.err
    monkeypatch.setattr(
        "dllm_decode.commands.progress.messages", lambda: Console(stderr=True, force_terminal=True, width=100)
    )
    assert main(command) == 0
    shown = capsys.readouterr()
    assert "3/3" in shown.err and shown.out == plain.out


def test_progress_is_told_of_every_row_once_and_in_order():
    seen = []
    lm = DiffusionLM.from_pretrained("tiny")
    lm.generate([PROMPT] * 5, "said", gen_length=8, batch_size=2, progress=lambda done, of: seen.append((done, of)))
    assert seen[-1] == (5, 5) and [done for done, _ in seen] == sorted({done for done, _ in seen})
