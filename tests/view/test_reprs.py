"""What a prompt of Python and a notebook show of the larger things: short, with what one looks for first."""

from __future__ import annotations

import re

import pytest

from dllm_decode import DiffusionLM, Strategy
from dllm_decode.evaluate.evaluate import evaluate

TEXT = "Sort the line: Paul, <b>Anna</b>."


@pytest.fixture(scope="module")
def lm():
    return DiffusionLM.from_pretrained("tiny")


@pytest.fixture(scope="module")
def out(lm):
    return lm.generate([TEXT] * 7, "said", gen_length=16, trace=True)


def test_a_generation_shows_its_texts_and_its_cost(out):
    shown = repr(out)
    assert len(shown) < 900
    assert shown.count(repr(out.texts[0])) == 5 and "and 2 more" in shown
    assert out.strategy.digest() in shown and f"{out.model_calls} model calls" in shown


def test_a_generation_without_a_tokenizer_shows_ids(lm, out):
    bare = DiffusionLM(lm.denoiser).generate(out.canvas[:1, :4], gen_length=4)
    assert str(bare.tokens[0].tolist()) in repr(bare) and str(bare.tokens[0].tolist()) in bare._repr_html_()


def test_in_a_notebook_a_generation_is_a_table_with_its_trace_in_a_frame(out):
    html = out._repr_html_()
    assert html.count("<tr>") == 8 and html.count("<iframe") == 1
    (frame,) = re.findall(r'srcdoc="([^"]*)"', html)
    assert frame.startswith("&lt;!doctype html&gt;") and len(frame) > 10_000


def test_a_trace_says_how_much_there_is(out):
    assert repr(out.trace) == f"<Trace of said: 7 rows, {len(out.trace.events)} events>"


def test_a_strategy_says_its_parts_and_its_yaml_is_in_the_notebook():
    strategy = Strategy.load("wino", steps=8)
    assert len(repr(strategy)) < 300
    for part in ("revise: narrow-out", "block: ", "scheduler: ", "steps 8", strategy.digest()):
        assert part in repr(strategy)
    assert "scheduler:" in strategy._repr_html_()


def test_an_evaluation_says_accuracy_with_its_interval(lm):
    done = evaluate(lm, "square", "said", limit=4, cache=False)
    assert len(repr(done)) < 250
    assert f"{done.record.accuracy:.1%}" in repr(done) and "n = 4" in repr(done) and "square" in done._repr_html_()


def test_a_model_says_its_name_and_where_it_lies(lm):
    assert repr(lm).startswith("<DiffusionLM tiny: ") and "cpu" in repr(lm) and "0x" not in repr(lm)
