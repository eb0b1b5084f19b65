"""Without the user's leave, a task that runs programs stops before a model is loaded, and says what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dllm_decode import DiffusionLM
from dllm_decode.cli import main
from dllm_decode.errors import ConfigError
from dllm_decode.evaluate.evaluate import evaluate
from dllm_decode.evaluate.executors import InProcess
from dllm_decode.programs import is_permitted, permitted
from dllm_decode.tasks.generated.code import CodeTask
from dllm_decode.testing.random_checkpoint import write_checkpoint
from dllm_search import tune, tune_all

NO_MODEL = "no-such/model"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("programs") / "model")


@pytest.mark.parametrize(
    "command",
    [
        ["eval", "--task", "code", "--model", NO_MODEL],
        ["search", "run", "--task", "code", "--model", NO_MODEL],
        ["search", "run", "--task", "line", "--task", "code", "--model", NO_MODEL],
        ["search", "report", "--task", "code", "--model", NO_MODEL],
        ["demo", "--task", "code", "--model", NO_MODEL],
    ],
    ids=lambda command: " ".join(command[:-2]),
)
def test_a_command_stops_at_once(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command) == 2
    said = capsys.readouterr().err
    assert "task 'code' runs programs that the model wrote" in said and "--run-programs" in said


def test_python_stops_at_once(checkpoint: Path) -> None:
    with pytest.raises(ConfigError, match="run_programs=True"):
        tune(NO_MODEL, "code")
    with pytest.raises(ConfigError, match="run_programs=True"):
        tune_all(NO_MODEL, ["line", "code"])
    lm = DiffusionLM.from_pretrained(checkpoint)
    with pytest.raises(ConfigError, match="run_programs=True"):
        evaluate(lm, "code", limit=2)
    example = CodeTask().examples("test", 1)[0]
    with pytest.raises(ConfigError, match="run_programs=True"):
        CodeTask().score(example, example.reference)


def test_with_leave_the_task_is_judged(checkpoint: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    given = ["--task", "code", "--model", str(checkpoint), "--limit", "2", "--no-cache", "--run-programs", "--json"]
    assert main(["eval", *given]) == 0
    assert json.loads(capsys.readouterr().out)["n"] == 2
    lm = DiffusionLM.from_pretrained(checkpoint)
    assert evaluate(lm, "code", limit=2, cache=False, run_programs=True).record.n == 2
    with permitted():
        assert evaluate(lm, "code", limit=2, cache=False).record.n == 2
    sizes = {"trials": 2, "examples": 2, "verify_examples": 2, "test_examples": 2}
    assert tune(lm, "code", presets=False, cache=False, run_programs=True, **sizes).report.task == "code"
    assert not is_permitted()


def test_leave_goes_along_to_where_answers_are_judged(checkpoint: Path) -> None:
    class Elsewhere(InProcess):
        def outcomes(self, job):  # type: ignore[no-untyped-def]
            seen.append((job.run_programs, is_permitted()))
            return super().outcomes(job)

    seen: list[tuple[bool, bool]] = []
    executor = Elsewhere(DiffusionLM.from_pretrained(checkpoint))
    evaluate(None, "code", limit=2, cache=False, executor=executor, run_programs=True)
    evaluate(None, "line", limit=2, cache=False, executor=executor)
    assert seen == [(True, False), (False, False)]


def test_leave_ends_with_its_block() -> None:
    with permitted():
        with permitted(False):
            assert is_permitted()
        with permitted():
            pass
        assert is_permitted()
    assert not is_permitted()
