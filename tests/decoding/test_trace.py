"""Traces: what is recorded, replay, and the file."""

import pytest
import torch

from dllm_decode.decoding.decoded import decode
from dllm_decode.decoding.trace import Trace
from dllm_decode.errors import DataError
from dllm_decode.strategy.strategy import Strategy
from tests.support.random_model import SPECIAL, FunctionModel, canvas_of, random_logits

PROMPTS = [[5, 6, 7], [8], [9, 10]]
STRATEGIES = [
    {"strategy": "llada", "steps": 5},
    {"strategy": "said"},
    {"strategy": "fast-dllm", "temperature": 1.0},
    {"strategy": "llada", "stop": ["eos"]},
]


def traced(options, trace):
    strategy = Strategy.load(
        options["strategy"], gen_length=12, **{k: v for k, v in options.items() if k != "strategy"}
    )
    canvas = canvas_of(PROMPTS, 12)
    start = canvas.tokens.clone()
    trace.begin([0, 1, 2])
    decoded = decode(FunctionModel(random_logits), canvas, strategy, seed=3, on_step=trace.record)
    return start, decoded


@pytest.mark.parametrize("options", STRATEGIES, ids=lambda options: "+".join(map(str, options.values())))
def test_replaying_a_trace_gives_the_canvas_of_the_decode(options):
    trace = Trace()
    start, decoded = traced(options, trace)
    assert torch.equal(trace.replay(start), decoded.canvas.tokens)
    assert not (decoded.canvas.tokens == SPECIAL.mask).any()


def test_a_trace_read_from_its_file_replays_to_the_same_canvas(tmp_path):
    trace = Trace()
    start, first = traced(STRATEGIES[1], trace)
    _, second = traced(STRATEGIES[3], trace)
    trace.to_jsonl(tmp_path / "trace.jsonl")
    read = Trace.from_jsonl(tmp_path / "trace.jsonl")
    assert [batch.row_ids for batch in read.batches] == [[0, 1, 2], [0, 1, 2]]
    assert torch.equal(read.replay(start, batch=0), first.canvas.tokens)
    assert torch.equal(read.replay(start, batch=1), second.canvas.tokens)
    for kept, event in zip(read.events, trace.events, strict=True):
        assert (kept.stage, kept.step, kept.model_calls) == (event.stage, event.step, event.model_calls)
        assert torch.equal(kept.chosen, event.chosen)
        assert torch.equal(kept.score[kept.chosen], event.score[event.chosen])


def test_every_position_is_committed_once_and_model_calls_never_fall():
    trace = Trace()
    start, _ = traced(STRATEGIES[0], trace)
    written = torch.zeros_like(start)
    for event in trace.events:
        written[:, event.window] += event.chosen
    assert torch.equal(written, (start == SPECIAL.mask).long())
    calls = [event.model_calls for event in trace.events]
    assert calls == sorted(calls)


def test_replay_leaves_the_given_canvas_as_it_is():
    trace = Trace()
    start, _ = traced(STRATEGIES[0], trace)
    before = start.clone()
    trace.replay(start)
    assert torch.equal(start, before)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is empty"),
        ('{"format": "something"}\n', "line 1: not a line of a version 2 trace"),
        ('{"format": "dllm-decode-trace", "version": 1}\n{"block": 0\n', "line 2: not JSON"),
        ('{"format": "dllm-decode-trace", "version": 3}\n', "version 3; this dllm-decode reads 1 to 2"),
        ('{"format": "dllm-decode-trace", "version": 2, "about": {"seed": 0}}\n', "line 1: not a line"),
        (
            '{"format": "dllm-decode-trace", "version": 1}\n{"block": 0}\n',
            "line 2: not a line of a version 2 trace",
        ),
    ],
)
def test_a_file_that_is_no_trace_is_refused_with_its_line(tmp_path, text, expected):
    path = tmp_path / "trace.jsonl"
    path.write_text(text)
    with pytest.raises(DataError, match=expected):
        Trace.from_jsonl(path)


def test_a_trace_into_a_missing_folder_is_refused_and_nothing_is_left(tmp_path):
    with pytest.raises(DataError, match="cannot be written"):
        Trace().to_jsonl(tmp_path / "missing" / "trace.jsonl")
    assert list(tmp_path.iterdir()) == []
