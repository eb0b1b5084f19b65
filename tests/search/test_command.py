"""`search run`, `report` and `export` on a real model with random weights, and what they say to wrong input."""

from __future__ import annotations

import json
from pathlib import Path
from threading import Lock, get_ident
from typing import Any

import pytest

from dllm_decode.cli import main
from dllm_decode.errors import ConfigError
from dllm_decode.strategy.strategy import Strategy
from dllm_decode.testing.random_checkpoint import write_checkpoint
from dllm_search import tune
from dllm_search.judge.objective import TaskObjective

LONG = "and so on " * 40
SMALL = ["--trials", "5", "--examples", "4", "--verify-examples", "6", "--test-examples", "6"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("search") / "model")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLLM_DECODE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DLLM_DECODE_PRESETS", str(tmp_path / "presets"))


def run(checkpoint: Path, out: Path, *more: str) -> int:
    return main(
        ["search", "run", "--task", "line", "--model", str(checkpoint), "--out", str(out), *SMALL, *more]
    )


def test_a_search_on_a_real_model_writes_its_results_and_continues(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "found"
    assert run(checkpoint, out, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["kind"] == "search" and printed["trials"] == 5
    assert {path.name for path in out.iterdir()} == {
        "front.png", "front-test.png", "report.html", "report.json", "strategy.yaml", "study.journal", "table.md",
    }  # fmt: skip
    chosen = Strategy.load(out / "strategy.yaml")
    assert chosen.digest() == printed["chosen"]["strategy_digest"] and chosen.name == "tuned-line"

    assert run(checkpoint, out, "--trials", "6", "--json") == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["trials"] == 6
    assert captured.err.count("trial ") == 1

    journal = str(out / "study.journal")
    assert main(["search", "export", "--storage", journal]) == 0
    assert (
        Strategy.from_yaml(capsys.readouterr().out).digest()
        == json.loads(captured.out)["chosen"]["strategy_digest"]
    )
    assert (
        main(["search", "export", "--storage", journal, "--trial", "1", "--out", str(tmp_path / "one.yaml")])
        == 0
    )
    assert Strategy.load(tmp_path / "one.yaml").layering.name == "scaffold"
    assert main(["search", "export", "--storage", journal, "--trial", "99"]) == 2
    assert "no scored trial 99" in capsys.readouterr().err

    again = tmp_path / "again"
    report = ["search", "report", "--task", "line", "--model", str(checkpoint), "--storage", journal]
    assert main([*report, "--out", str(again), "--verify-examples", "6", "--test-examples", "8"]) == 0
    assert json.loads((again / "report.json").read_text())["rows"][0]["n"] == 8


def test_a_report_made_anew_keeps_the_sizes_of_the_run_and_export_finds_the_tasks_study(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run = ["search", "run", "--task", "line", "--model", str(checkpoint)]
    assert main([*run, *SMALL, "--trials", "2", "--batch-size", "3"]) == 0
    kept = Path("dllm-search/line/report.json")
    before = json.loads(kept.read_text())
    assert main(["search", "report", "--task", "line", "--model", str(checkpoint)]) == 0
    after = json.loads(kept.read_text())
    assert (after["rows"], after["verified_on_tune"]) == (before["rows"], before["verified_on_tune"])
    sizes = {"verify_examples": 6, "test_examples": 6, "batch_size": 3}
    assert {name: after["settings"][name] for name in sizes} == sizes
    capsys.readouterr()

    assert main(["search", "export", "--task", "line"]) == 0
    assert Strategy.from_yaml(capsys.readouterr().out).digest() == after["chosen"]["strategy_digest"]
    assert main(["search", "export"]) == 2
    assert "give --task, or --storage" in capsys.readouterr().err
    assert main(["search", "export", "--task", "facts"]) == 2
    assert "dllm-search/facts/study.journal" in capsys.readouterr().err


def test_a_constrained_search_runs_on_several_tasks_and_exports_what_it_stopped(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--task", "line", "--task", "facts", "--model", str(checkpoint), "--out", str(tmp_path / "out")]
    few = ["--trials", "3", "--examples", "20", "--verify-examples", "20", "--test-examples", "6"]
    constrained = ["--objective", "constrained", "--max-drop", "100", "--json"]
    assert main(["search", "run", *arguments, *few, *constrained]) == 0
    captured = capsys.readouterr()
    printed = json.loads(captured.out)
    assert printed["kind"] == "search-set" and set(printed["tasks"]) == {"line", "facts"}
    assert captured.err.count("kept for --strategy tuned") == 2
    assert "left" in captured.err and "best so far" in captured.err

    journal = str(tmp_path / "out" / "line" / "study.journal")
    assert main(["search", "export", "--storage", journal, "--trial", "1"]) == 0
    exported = capsys.readouterr().out
    assert "# task: line" in exported and "objective: constrained" in exported
    assert Strategy.from_yaml(exported).gen_length == 16
    assert main(["search", "run", *arguments, *few]) == 2
    assert "begun with objective 'constrained', now 'pareto'" in capsys.readouterr().err


def test_ctrl_c_exits_130_and_says_how_to_go_on(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    score, asked = TaskObjective.__call__, []

    def interrupted(self: TaskObjective, *arguments: object) -> object:
        asked.append(arguments)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return score(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(TaskObjective, "__call__", interrupted)
    assert run(checkpoint, tmp_path / "out") == 130
    assert "the same command goes on from here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--task", "sqare"], "Did you mean 'square'"),
        (["--task", "line", "--strategy", "sad"], "Did you mean 'said'"),
        (["--task", "line", "--strategy", "absent.yaml"], "absent.yaml cannot be read"),
        (["--task", "line", "--fix", "scheduler=evn"], "Did you mean 'even'"),
        (["--task", "line", "--fix", "scheduler"], "path=value"),
        (["--task", "line", "--trials", "0"], "trials: input should be >= 1, got 0"),
        (["--task", "line", "--model", "absent-folder/model"], "absent-folder"),
        (["--task", "line", "--objective", "fastest"], "unknown objective"),
        (["--task", "line", "--objective", "constrained", "--max-drop", "-1"], "max_drop: input should be >= 0, got -1"),
        (["--task", "line", "--cost", "secnds"], "Did you mean 'seconds'"),
        (["--task", "line", "--task", "line"], "given more than once: line"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["search", "run", *arguments, "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and said in error
    assert not out.exists()


def test_tune_returns_the_strategy_the_table_and_the_front(checkpoint: Path) -> None:
    result = tune(checkpoint, "line", trials=4, examples=4, verify_examples=4, test_examples=4)
    assert result.folder is None
    assert result.strategy.gen_length == 16
    assert result.table.row_count == len(result.report.rows)
    assert len(result.front) >= 1
    assert "| strategy |" in result._repr_markdown_()
    assert len(repr(result)) < 600 and result.strategy.digest() in repr(result)


def test_something_else_may_decode_for_several_trials_at_once_and_the_study_is_the_same(checkpoint: Path) -> None:
    from dllm_decode.evaluate.evaluate import Evaluation, evaluate
    from dllm_decode.plugins.registry import load_registry
    from dllm_search.preparing import build_search, load, setup
    from dllm_search.settings import Settings
    from dllm_search.space.space import Space
    from dllm_search.trials.study import complete, open_study

    lm, task = load(checkpoint, None, None), load_registry().task("line")
    asked, one = [], Lock()

    def elsewhere(*arguments: Any, **options: Any) -> Evaluation:
        asked.append(get_ident())
        with one:
            return evaluate(*arguments, **options)

    settings = Settings(trials=6, examples=5, workers=2, generation=3)
    space = Space.load("said", task.gen_length)
    studies = []
    for decodes in (None, elsewhere):
        search, _ = build_search(lm, task, settings, False, None, decodes)
        study = open_study(None, "s", setup(lm, task, settings, space))
        search.run(study, space)
        studies.append([(t.params, t.values, t.user_attrs["outcomes"]) for t in complete(study)])
    assert studies[0] == studies[1]
    assert len(set(asked)) > 1


def test_a_setting_that_is_not_known_is_refused_with_the_nearest_one(checkpoint: Path) -> None:
    with pytest.raises(ConfigError, match=r"trails: unknown setting 'trails'. Did you mean 'trials'\?"):
        tune(checkpoint, "line", trails=3)  # type: ignore[call-arg]


def test_importing_any_module_of_the_search_does_not_hide_its_public_names() -> None:
    import importlib
    import pkgutil

    import dllm_search

    for found in pkgutil.walk_packages(dllm_search.__path__, "dllm_search."):
        importlib.import_module(found.name)
    assert all(callable(getattr(dllm_search, name)) for name in dllm_search.__all__)


def test_over_long_prompts_are_left_out_where_that_is_asked_for(tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path / "short", max_position_embeddings=64)
    fitting = [f"Write a line {number}." for number in range(12)]
    prompts = [*fitting, *(f"{prompt} {LONG}" for prompt in fitting)]
    few: dict[str, Any] = {"trials": 3, "examples": 12, "verify_examples": 12, "test_examples": 12}
    few |= {"prompts": prompts, "gen_length": 8, "cache": False}

    def search(**more: Any) -> Any:
        said: list[str] = []
        seen: set[str] = set()

        def judge(prompt: str, answer: str) -> bool:
            seen.add(prompt)
            return len(answer) % 2 == 0

        return tune(model, judge, say=said.append, **few, **more), said, seen

    with pytest.raises(ConfigError, match=r"over the model's context of 64 tokens: .*--skip-long"):
        search()
    for objective in ("pareto", "constrained"):
        result, said, seen = search(skip_long=True, objective=objective)
        assert seen == set(fitting)
        tuned, tested = result.report.tried[0].score.n, result.report.chosen.score.n
        assert tuned + tested == len(fitting)
        assert said[0].startswith(f"{tuned} tuning examples") and said[1].startswith(f"{tested} test examples")
