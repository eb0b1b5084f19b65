"""Evaluation: what is counted, what is kept, and what a run that was interrupted does the second time."""

import json
import math
from pathlib import Path
from typing import Literal

import pytest
import torch

from dllm_decode.errors import ConfigError, DataError, DecodeError
from dllm_decode.evaluate.evaluate import evaluate, fit
from dllm_decode.evaluate.judge import judge
from dllm_decode.evaluate.outcomes import Outcome, OutcomeStore
from dllm_decode.model import DiffusionLM
from dllm_decode.plugin import LayeringConfig, Stage
from dllm_decode.plugins.registry import Origin, load_registry
from dllm_decode.strategy.strategy import Strategy
from dllm_decode.testing.random_checkpoint import write_checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint"))


class CountingLM(DiffusionLM):
    """Counts the rows it decodes, and can be interrupted."""

    rows = 0
    interrupt_after: int | None = None

    def stream(self, prompts, *args, **options):
        for places, part in super().stream(prompts, *args, **options):
            if self.interrupt_after is not None and self.rows >= self.interrupt_after:
                raise KeyboardInterrupt
            self.rows += len(places)
            yield places, part


@pytest.fixture
def lm(folder) -> CountingLM:
    return CountingLM.from_pretrained(folder)


STRATEGY = Strategy.load("llada", steps=3)


def test_the_record_says_what_was_run_and_on_what(lm, tmp_path):
    done = evaluate(lm, "square", STRATEGY, limit=6, batch_size=4, cache=tmp_path)
    record = done.record.to_dict()
    json.dumps(record, allow_nan=False)
    task = load_registry().task("square")
    assert [outcome.id for outcome in done.outcomes] == [example.id for example in task.examples("test", 6)]
    assert (record["n"], record["forward_passes"], record["model_calls"]) == (6, 3.0, 6)
    assert record["gen_length"] == task.gen_length
    assert record["tokens"]["positions"] == 6 * task.gen_length
    assert record["tokens"]["visible"] <= record["tokens"]["up_to_eos"] <= record["tokens"]["positions"]
    assert record["tokens_per_forward"] == pytest.approx(record["tokens"]["up_to_eos"] / 18)
    assert record["strategy_digest"] == Strategy.parse(record["strategy"]).digest()
    assert record["accuracy_interval"][0] <= record["accuracy"] <= record["accuracy_interval"][1]
    assert {"torch", "transformers", "python", "dllm-decode"} <= record["versions"].keys()
    assert record["dtype"] == "float32" and record["device"] == "cpu" and record["date"]


def test_the_accuracy_is_that_of_the_task_on_the_texts(lm, monkeypatch):
    task = load_registry().task("arithmetic")
    examples = task.examples("test", 4)
    right = {example.prompt: example.reference for example in examples[:3]}
    monkeypatch.setattr(
        type(task), "score", lambda self, example, text: example.prompt in right and bool(text)
    )
    done = evaluate(lm, task, STRATEGY, limit=4, cache=False)
    assert done.correct == [True, True, True, False]
    assert done.record.accuracy == 0.75


def test_examples_at_given_places_come_out_as_they_do_among_all(lm, tmp_path):
    noisy = STRATEGY.model_copy(update={"temperature": 1.0})
    whole = evaluate(lm, "line", noisy, limit=6, cache=False).outcomes
    some = evaluate(lm, "line", noisy, rows=[5, 1, 3], cache=tmp_path).outcomes
    assert [o.text for o in some] == [whole[place].text for place in (5, 1, 3)]
    assert evaluate(lm, "line", noisy, rows=[1, 2], cache=tmp_path).record.resumed == 1
    with pytest.raises(DataError, match="examples there, none at"):
        evaluate(lm, "line", noisy, rows=[100_000], cache=False)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("limit", value) for value in ("x", 0, -1, True, 1.5)),
        *(("gen_length", value) for value in ("x", 0, -1, True, math.nan)),
        *(("rows", value) for value in (["a"], [0.5], [True], [10**9])),
        *(("data", value) for value in ("a\0b", "~nouser/x", "x" * 300)),
    ],
)
def test_what_no_evaluation_can_be_made_of_is_refused_by_name(lm, field, value):
    with pytest.raises(DecodeError) as refused:
        evaluate(lm, "line", STRATEGY, **{"limit": 1, "cache": False, field: value})
    assert str(refused.value).startswith(f"{field}: ") or field == "data"
    assert "\n" not in str(refused.value) and lm.rows == 0


def test_tokens_after_the_first_end_are_not_counted(lm):
    eos, special = lm.special.eos, lm.special.mask
    answers = torch.tensor([[5, 6, eos, 7], [eos, 5, 5, 5], [5, special, 5, 5]])

    class Out:
        tokens, texts, forward_passes, model_calls, seconds = answers, ["", "", ""], torch.ones(3), 1, 0.0

    examples = load_registry().task("square").examples("test", 3)
    made = judge(lm, load_registry().task("square"), examples, Out())
    assert [(o.positions, o.tokens, o.visible) for o in made] == [(4, 2, 2), (4, 0, 0), (4, 4, 3)]


def test_outcomes_do_not_depend_on_the_batch_size(lm):
    strategy = Strategy.load("llada", steps=3, temperature=0.7)
    one = evaluate(lm, "line", strategy, limit=5, batch_size=1, seed=4, cache=False)
    many = evaluate(lm, "line", strategy, limit=5, batch_size=5, seed=4, cache=False)
    assert [o.text for o in one.outcomes] == [o.text for o in many.outcomes]
    assert one.record.forward_passes == many.record.forward_passes


def test_a_second_run_decodes_nothing(lm, tmp_path):
    first = evaluate(lm, "square", STRATEGY, limit=6, batch_size=4, cache=tmp_path)
    assert lm.rows == 6
    second = evaluate(lm, "square", STRATEGY, limit=6, batch_size=2, cache=tmp_path)
    assert lm.rows == 6
    assert second.outcomes == first.outcomes
    assert second.record.resumed == 6
    assert second.record.model_calls == first.record.model_calls
    assert second.record.seconds == pytest.approx(first.record.seconds)


def test_a_run_that_was_interrupted_goes_on_where_it_stopped(lm, folder, tmp_path):
    lm.interrupt_after = 4
    with pytest.raises(KeyboardInterrupt):
        evaluate(lm, "square", STRATEGY, limit=10, batch_size=2, cache=tmp_path)
    again = CountingLM.from_pretrained(folder)
    done = evaluate(again, "square", STRATEGY, limit=10, batch_size=2, cache=tmp_path)
    assert (lm.rows, again.rows, done.record.resumed) == (4, 6, 4)
    whole = evaluate(again, "square", STRATEGY, limit=10, batch_size=2, cache=False)
    assert [o.text for o in done.outcomes] == [o.text for o in whole.outcomes]


def test_a_torn_line_is_decoded_again_and_spoils_no_other(lm, tmp_path):
    evaluate(lm, "square", STRATEGY, limit=4, batch_size=2, cache=tmp_path)
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(kept.read_bytes()[:-30])
    evaluate(lm, "square", STRATEGY, limit=4, batch_size=2, cache=tmp_path)
    assert lm.rows == 5
    evaluate(lm, "square", STRATEGY, limit=4, batch_size=2, cache=tmp_path)
    assert lm.rows == 5


def test_writers_at_the_same_time_lose_nothing(tmp_path):
    made = Outcome("a", True, "text\u2028more", 1, 2, 2, 2, 0.5, 0.1, 1.0)
    one, two = OutcomeStore(tmp_path, {"key": 1}), OutcomeStore(tmp_path, {"key": 1})
    for number in range(5):
        one.add({f"one-{number}": made})
        two.add({f"two-{number}": made, f"more-{number}": made})
    read = OutcomeStore(tmp_path, {"key": 1})
    names = [f"{writer}-{number}" for writer in ("one", "two", "more") for number in range(5)]
    assert all(read.get(name) == made for name in names)
    assert OutcomeStore(tmp_path, {"key": 2}).get("one-0") is None


@pytest.mark.parametrize(
    "change",
    [{"strategy": Strategy.load("llada", steps=4)}, {"seed": 1}, {"split": "tune"}, {"gen_length": 20}],
    ids=lambda change: next(iter(change)),
)
def test_outcomes_are_not_mistaken_for_those_of_another_run(lm, tmp_path, change):
    evaluate(lm, "square", STRATEGY, limit=2, cache=tmp_path)
    other = evaluate(lm, "square", **({"strategy": STRATEGY, "limit": 2, "cache": tmp_path} | change))
    assert other.record.resumed == 0


def test_another_dtype_or_other_weights_are_another_model(lm, tmp_path):
    evaluate(lm, "square", STRATEGY, limit=2, cache=tmp_path)
    narrow = DiffusionLM.from_pretrained(lm.folder, dtype="bfloat16")
    assert evaluate(narrow, "square", STRATEGY, limit=2, cache=tmp_path).record.resumed == 0
    other = DiffusionLM.from_pretrained(write_checkpoint(tmp_path / "other", initializer_range=0.4))
    assert evaluate(other, "square", STRATEGY, limit=2, cache=tmp_path).record.resumed == 0


def test_another_version_of_a_part_however_deep_it_is_nested_is_decoded_anew(lm, tmp_path, isolated_registry):
    class Inner(LayeringConfig):
        name: Literal["inner"] = "inner"

        def stages(self, context):
            yield Stage("all", context.where, context.steps, size=context.size)

    registry = isolated_registry(Inner)
    nested = Strategy.load("said", steps=4, **{"layering.detail": "inner"})
    resumed = []
    for version in ("1.0", "1.0", "2.0"):
        registry.origins["layering", "inner"] = Origin("mine", "my-distribution", version)
        resumed.append(evaluate(lm, "square", nested, limit=2, cache=tmp_path).record.resumed)
    assert resumed == [0, 2, 0]


def test_another_version_of_a_task_is_decoded_anew(lm, tmp_path, isolated_registry):
    class Mine(type(load_registry().task("square"))):
        name = "mine"

    registry = isolated_registry(Mine)
    resumed = []
    for version in ("1.0", "1.0", "2.0"):
        registry.origins["task", "mine"] = Origin("mine", "my-distribution", version)
        resumed.append(evaluate(lm, "mine", STRATEGY, limit=2, cache=tmp_path).record.resumed)
    assert resumed == [0, 2, 0]


def test_every_part_is_listed_with_its_path():
    strategy = Strategy.load("said", stop=["eos"])
    paths = [path for path, _ in strategy.parts()]
    assert paths == ["block", "layering", "layering.detail", "scheduler", "confidence", "stop.0"]


def test_a_model_without_a_folder_keeps_nothing(lm, tmp_path):
    evaluate(CountingLM(lm.denoiser, lm.tokenizer), "square", STRATEGY, limit=2, cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_edited_data_file_is_another_task(lm, tmp_path):
    data, cache = tmp_path / "mine.jsonl", tmp_path / "cache"
    data.write_text('{"input": "30,100,93", "output": "23"}\n')
    assert evaluate(lm, "countdown", STRATEGY, data=data, cache=cache).record.split is None
    data.write_text('{"input": "30,100,93", "output": "37"}\n')
    assert evaluate(lm, "countdown", STRATEGY, data=data, cache=cache).record.resumed == 0


def test_progress_is_told_after_every_batch_and_counts_what_was_kept(lm, tmp_path):
    seen = []
    evaluate(lm, "square", STRATEGY, limit=2, batch_size=2, cache=tmp_path)
    evaluate(
        lm, "square", STRATEGY, limit=5, batch_size=2, cache=tmp_path, progress=lambda *a: seen.append(a[:2])
    )
    assert seen == [(2, 5), (4, 5), (5, 5)]


def test_steps_and_blocks_beyond_the_answer_are_cut_and_said():
    strategy, notes = fit(Strategy.load("fast-dllm", steps=100), 24)
    assert (strategy.gen_length, strategy.steps, strategy.block.length) == (24, 24, 24)
    assert notes == ("steps: 100 cut to 24, one a token", "block.length: 32 cut to 24, the whole answer")


def test_a_length_that_the_task_replaces_is_said(lm):
    strategy = Strategy.load("llada", steps=2, gen_length=96)
    (note,) = evaluate(lm, "square", strategy, limit=1, cache=False).record.notes
    assert note.startswith("gen_length: 24, the task's, instead of the strategy's 96")
    kept = evaluate(lm, "square", strategy, limit=1, gen_length=96, cache=False).record
    assert (kept.notes, kept.strategy.gen_length) == ((), 96)


def test_fewer_steps_than_blocks_are_refused():
    with pytest.raises(ConfigError, match="steps"):
        fit(Strategy.load("fast-dllm", steps=2, **{"block.length": 4}), 24)


def test_a_split_that_does_not_exist_is_refused(lm):
    with pytest.raises(DataError, match="'train' is unknown"):
        evaluate(lm, "square", STRATEGY, split="train")


def test_a_cache_that_cannot_be_written_says_what_to_do(lm, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(DataError, match="DLLM_DECODE_CACHE"):
        evaluate(lm, "square", STRATEGY, limit=1, cache=blocked / "below")
