"""Evaluation of tasks of one's own: chat templates, prompts over the context, grades, stop strings, texts with masks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy
import pytest

from dllm_decode.data.prompt import Prompt, assistant, user
from dllm_decode.errors import ConfigError, ContractError, DataError
from dllm_decode.evaluate.evaluate import evaluate
from dllm_decode.evaluate.judge import cut_at_stops
from dllm_decode.evaluate.statistics import compare_paired, graded_interval, mean_interval
from dllm_decode.model import DiffusionLM
from dllm_decode.strategy.strategy import Strategy
from dllm_decode.tasks.base import Example, Task
from dllm_decode.testing.checkpoints import write_small_model, write_tokenizer

STRATEGY = Strategy.load("llada", steps=2, gen_length=4)


class Given(Task):
    """Examples as given; every answer gets the grade of its example."""

    name: ClassVar[str] = "given"
    description: ClassVar[str] = "What a test needs."
    gen_length: ClassVar[int] = 4

    def __init__(self, *prompts: Prompt, grades: tuple[Any, ...] = ()) -> None:
        self.seen: list[str] = []
        self.made = [
            Example(f"e{place}", prompt, "", {"grade": grades[place] if grades else True})
            for place, prompt in enumerate(prompts)
        ]

    def examples(self, split: str, limit: int | None = None) -> list[Example]:
        self.refuse_split(split)
        return self.made[:limit]

    def score(self, example: Example, text: str) -> Any:
        self.seen.append(text)
        return example.meta["grade"]


@pytest.fixture(scope="module")
def lm(tmp_path_factory: pytest.TempPathFactory) -> DiffusionLM:
    return DiffusionLM.from_pretrained(write_small_model(tmp_path_factory.mktemp("model")), device="cpu")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> DiffusionLM:
    folder = write_small_model(tmp_path_factory.mktemp("plain"))
    write_tokenizer(folder, chat_template=False)
    return DiffusionLM.from_pretrained(folder, device="cpu")


def run(lm: DiffusionLM, task: Task, **options: Any) -> Any:
    return evaluate(lm, task, STRATEGY, **{"cache": False, **options})


def test_the_record_says_what_became_of_the_prompts(lm: DiffusionLM, plain: DiffusionLM, tmp_path: Path) -> None:
    task = Given("a", "b")
    through = run(lm, task, cache=tmp_path)
    assert through.record.chat == "template"
    assert run(lm, task, chat="off", cache=tmp_path).record.chat == ""
    # Neither is answered from the other's kept outcomes.
    assert run(lm, task, chat="off", cache=tmp_path).record.resumed == 2
    assert through.outcomes[0].text == lm.generate([user("a")], STRATEGY).texts[0]
    assert run(plain, task).record.chat == ""
    with pytest.raises(ConfigError, match="needs a chat template"):
        run(plain, task, chat="on")


def test_turns_are_joined_for_a_model_without_template(plain: DiffusionLM) -> None:
    task = Given([user("a"), assistant("b")])
    with pytest.raises(ConfigError, match="no chat template"):
        run(plain, task)
    done = run(plain, task, chat="off")
    assert done.record.chat == "turns joined"
    assert done.outcomes[0].text == plain.generate("a\nb", STRATEGY, chat="off").texts[0]


def test_outcomes_of_texts_without_template_are_kept_under_the_name_they_always_had() -> None:
    from dllm_decode.evaluate.choose import choose_examples
    from dllm_decode.evaluate.executors import ModelFacts
    from dllm_decode.evaluate.identity import outcome_key
    from dllm_decode.plugins.registry import load_registry

    task = load_registry().task("line")
    facts = ModelFacts("tiny", "x", Path(), "float32", "cpu", "cpu")
    key = outcome_key(facts, task, choose_examples(task, "test", None, 2, None), STRATEGY, 0, "")
    assert set(key) == {
        "strategy", "parts", "model", "task", "judge", "examples", "seed", "dtype", "device", "dllm-decode",
    }  # fmt: skip
    assert key["examples"] == "test"


def test_prompts_over_the_context_are_all_named_or_skipped_and_counted(lm: DiffusionLM) -> None:
    task = Given("a", "b" * 60, "c", "d" * 99, grades=(True, True, False, True))
    with pytest.raises(ConfigError) as caught:
        run(lm, task)
    assert "2 of 4 prompts" in str(caught.value)
    assert "e1, e3. Leave them out with --skip-long" in str(caught.value)
    done = run(lm, task, skip_long=True)
    assert done.record.skipped == ("e1", "e3")
    assert [outcome.id for outcome in done.outcomes] == ["e0", "e2"]
    assert (done.record.n, done.record.accuracy) == (2, 0.5)
    alone = lm.generate("c", STRATEGY, row_ids=[2]).texts[0]
    assert done.outcomes[1].text == alone
    with pytest.raises(DataError, match="all 1 examples are over the model's context"):
        run(lm, Given("b" * 60), skip_long=True)


def test_an_answer_longer_than_the_context_is_shortened_and_it_is_said(lm: DiffusionLM) -> None:
    class Long(Given):
        gen_length = 64

    done = run(lm, Long("a"))
    assert done.record.strategy.gen_length == 8
    assert "instead of the task's 64" in done.record.notes[0]


def test_grades_are_means_and_right_means_wholly_right(lm: DiffusionLM) -> None:
    done = run(lm, Given("a", "b", "c", grades=(1, 0.25, 0.0)))
    assert done.record.accuracy == pytest.approx(1.25 / 3)
    assert done.scores == [1.0, 0.25, 0.0]
    assert done.correct == [True, False, False]
    low, high = done.record.accuracy_interval
    assert 0 <= low < 1.25 / 3 < high <= 1
    json.dumps(done.to_dict(), allow_nan=False)


@pytest.mark.parametrize("grade", [1.5, -0.1, float("nan"), None, "yes"])
def test_a_score_that_is_none_is_the_task_s_fault(lm: DiffusionLM, grade: Any) -> None:
    with pytest.raises(ContractError, match="task 'given': the score of example e0 should be"):
        run(lm, Given("a", grades=(grade,)))


def test_the_judge_sees_what_stands_before_the_first_stop_string(lm: DiffusionLM) -> None:
    whole = lm.generate([user("a")], STRATEGY).texts[0]
    task = Given("a")
    task.stop = (whole[-1], "not in it")
    done = run(lm, task)
    assert task.seen == [whole[: whole.index(whole[-1])]] == [done.outcomes[0].text]
    assert len(task.seen[0]) < len(whole)
    assert cut_at_stops("one\n\ntwo", ("\n\n", "two")) == "one"
    assert cut_at_stops("one", ("\n\n",)) == cut_at_stops("one", ()) == "one"


class Infill(Given):
    infill = True

    def score(self, example: Example, text: str) -> bool:
        self.seen.append(text)
        before, after = str(example.prompt).split("[MASK][MASK]")
        return text.startswith(before) and text.endswith(after)


def test_masks_inside_texts_are_filled_in_and_the_whole_text_is_judged(lm: DiffusionLM) -> None:
    task = Infill("It is [MASK][MASK], yes.", "[MASK][MASK] it is, so they say, and so do we.", "No [MASK][MASK]")
    done = evaluate(lm, task, Strategy.load("llada", gen_length=4), cache=False, batch_size=2)
    assert done.record.accuracy == 1
    assert [outcome.positions for outcome in done.outcomes] == [2, 2, 2]
    assert [outcome.forward_passes for outcome in done.outcomes] == [2, 2, 2]
    assert done.record.chat == ""
    assert [outcome.text for outcome in done.outcomes] == task.seen


def test_a_folder_gives_all_its_files(lm: DiffusionLM, tmp_path: Path) -> None:
    for name, count in (("copy", 2), ("sort", 3)):
        lines = '{"input": {"context": ["Ann", "Bob"]}}\n' * count
        (tmp_path / f"{name}.jsonl").write_text(lines)
    (tmp_path / "notes.txt").write_text("not data")
    done = evaluate(lm, "line", STRATEGY, data=tmp_path, gen_length=4, cache=False)
    assert [outcome.id for outcome in done.outcomes] == [
        "copy.jsonl:1", "copy.jsonl:2", "sort.jsonl:1", "sort.jsonl:2", "sort.jsonl:3",
    ]  # fmt: skip
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no data files"):
        evaluate(lm, "line", STRATEGY, data=tmp_path / "empty", cache=False)
    with pytest.raises(DataError, match="makes its two splits itself"):
        evaluate(lm, "line", STRATEGY, data=tmp_path, split="tune", cache=False)


def test_right_and_wrong_keep_their_exact_comparison_and_grades_get_their_own() -> None:
    right = compare_paired([True, False, True], [True, True, True])
    assert right.grades == () and (right.gained, right.lost) == (1, 0)
    graded = compare_paired([0.5, 0.25, 1.0], [0.75, 0.25, 1.0])
    assert (graded.gained, graded.lost, graded.difference) == (1, 0, pytest.approx(0.25 / 3))
    assert graded.interval_at(0.99)[0] < graded.interval[0] < graded.difference < graded.interval[1]


def test_grades_that_all_agree_exclude_no_more_than_as_many_answers_would() -> None:
    for n in (8, 100):
        graded = compare_paired([0.5] * n, [0.5] * n).interval
        exact = compare_paired([True] * n, [True] * n).interval
        assert graded == pytest.approx(exact, abs=0.01)


@pytest.mark.parametrize("n", [8, 30, 200])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.1, 0.5])
def test_an_interval_of_grades_holds_their_mean_as_often_as_it_says(n: int, share: float) -> None:
    """Mostly equal grades, a share of which differ by what a beta distribution gives, to one side."""
    random = numpy.random.default_rng(n)
    mean, held, runs = share * 0.7, 0, 600
    for _ in range(runs):
        differing = random.random(n) < share
        values = numpy.where(differing, random.beta(7, 3, n), 0.0)
        low, high = graded_interval([*map(float, values)])
        held += low <= mean <= high
    assert held / runs >= 0.94


def test_the_interval_of_a_mean_is_wilson_s_where_all_are_right_or_wrong() -> None:
    from dllm_decode.evaluate.statistics import wilson_interval

    assert mean_interval([True, False, 1.0, 0.0]) == wilson_interval(2, 4)
    low, high = mean_interval([0.5, 0.9, 1.0])
    assert 0 <= low < 0.8 < high <= 1


class Numbers(Given):
    """Half the grade for saying anything, all of it for short answers: something between right and wrong."""

    name: ClassVar[str] = "numbers"
    graded = True

    def __init__(self) -> None:
        super().__init__(*(f"Say {n}" for n in range(24)))
        self.tune, self.test = self.made[::2], self.made[1::2]

    def examples(self, split: str, limit: int | None = None) -> list[Example]:
        return getattr(self, split)[:limit]  # type: ignore[no-any-return]

    def score(self, example: Example, text: str) -> float:
        return 1 / (1 + len(text) % 3)


def test_a_graded_task_is_searched_and_a_study_of_it_goes_on(lm: DiffusionLM, tmp_path: Path) -> None:
    from dllm_search.tuning import tune

    sizes: Mapping[str, Any] = {
        "examples": 12, "verify_examples": 12, "test_examples": 12, "objective": "constrained", "max_drop": 50.0,
    }  # fmt: skip
    for trials in (3, 4):
        found = tune(lm, Numbers(), out=tmp_path, presets=False, cache=False, trials=trials, **sizes)
    scores = {value for trial in found.study.trials for value in [trial.user_attrs.get("accuracy")] if value}
    assert scores and any(0 < value < 1 for value in scores)


class Blanks(Infill):
    """Twelve texts with two masks in either split."""

    name: ClassVar[str] = "blanks"

    def __init__(self) -> None:
        super().__init__(*(f"It is {n} [MASK][MASK], yes." for n in range(24)))

    def examples(self, split: str, limit: int | None = None) -> list[Example]:
        return self.made[split == "test" :: 2][:limit]


def test_a_task_of_texts_with_masks_is_searched(lm: DiffusionLM, tmp_path: Path) -> None:
    from dllm_search.tuning import tune

    sizes: Mapping[str, Any] = {"trials": 3, "examples": 4, "verify_examples": 4, "test_examples": 4}
    found = tune(lm, Blanks(), out=tmp_path, presets=False, cache=False, **sizes)
    assert all(trial.user_attrs["accuracy"] == 1 for trial in found.study.trials)
    with pytest.raises(ConfigError, match="takes cost forwards"):
        tune(lm, Blanks(), presets=False, cache=False, cost="seconds", **sizes)
