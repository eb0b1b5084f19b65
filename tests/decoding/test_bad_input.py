"""What a user can get wrong: exit code 2, one line that says what was given and the way out, nothing written half."""

import json
from pathlib import Path
from typing import ClassVar, Literal

import pytest
import torch
from safetensors.torch import load_file, save_file

from dllm_decode.cli import main
from dllm_decode.parts.scheduler import SchedulerConfig
from dllm_decode.plugins.hookspecs import hookimpl
from dllm_decode.testing.random_checkpoint import write_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture
def folder(tmp_path) -> Path:
    """A checkpoint that a test may spoil."""
    return write_checkpoint(tmp_path / "spoilt")


@pytest.fixture
def refused(capfd, monkeypatch, tmp_path):
    """Run a command line that must fail, and return its one line."""
    monkeypatch.setenv("DLLM_DECODE_CACHE", str(tmp_path / "cache"))

    def run(*arguments) -> str:
        code = main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        assert (code, out) == (2, ""), err
        lines = [line for line in err.splitlines() if line.strip()]
        assert len(lines) == 1 and lines[0].startswith("error: "), err
        return lines[0]

    return run


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["--strategy", "lada"],
            "unknown recipe 'lada'. Did you mean 'llada'? Known: ",
        ),
        (["--set", "scheduler=evn"], "unknown scheduler 'evn'. Did you mean 'even'? Known: "),
        (["--set", "scheduler.treshold=0.5", "--strategy", "fast-dllm"], "Did you mean 'threshold'?"),
        (["--set", "schedule.threshold=0.5"], "Did you mean 'scheduler'?"),
        (["--set", "steps.more=1"], "steps.more"),
        (["--set", "steps"], "should look like path=value"),
        (
            ["--set", "scheduler.threshold=1.5", "--strategy", "fast-dllm"],
            "scheduler.threshold: input should be <= 1, got 1.5",
        ),
        (["--steps", "0"], "steps: input should be >= 1, got 0"),
        (["--gen-length", "0"], "gen_length: input should be >= 1, got 0"),
        (["--temperature", "-1"], "temperature: input should be >= 0, got -1"),
        (
            ["--strategy", "fast-dllm", "--set", "block.length=8", "--steps", "3"],
            "3 steps cannot serve 8 blocks",
        ),
        (["--strategy", "missing.yaml"], "strategy file missing.yaml cannot be read"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_in_the_strategy_is_told_before_any_model_is_loaded(refused, arguments, expected):
    assert expected in refused("generate", "hello", "--model", "no-such-model", *arguments)


def test_an_unknown_task_is_told_with_a_suggestion_and_the_list(refused):
    line = refused("eval", "--task", "sqare")
    assert "unknown task 'sqare'. Did you mean 'square'?" in line
    known = line.split("Known: ")[1].split(", ")
    assert {"arithmetic", "code", "countdown", "facts", "gsm8k", "line", "square"} <= set(known)


def test_an_unknown_model_is_told_with_a_suggestion_and_the_list(refused):
    assert "unknown model 'tny'. Did you mean 'tiny'? Known: tiny" in refused(
        "generate", "x", "--model", "tny"
    )


def test_an_unknown_recipe_cannot_be_shown(refused):
    assert "Did you mean 'said'?" in refused("show", "sad")


def test_an_unknown_split_is_told(refused, checkpoint):
    assert "tune and test" in refused("eval", "--task", "square", "--split", "train", "--model", checkpoint)


def test_a_prompt_longer_than_the_context_is_told_in_tokens(refused, checkpoint):
    line = refused("generate", "word " * 400, "--model", checkpoint)
    assert "over the model's context of 256 tokens" in line


def test_a_gen_length_over_the_context_is_told(refused, checkpoint):
    line = refused("generate", "x", "--model", checkpoint, "--gen-length", 300)
    assert "gen_length 300 is over the model's context of 256 tokens" in line


def test_a_folder_that_is_no_checkpoint_is_told(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "holds no config.json" in refused("generate", "x", "--model", tmp_path / "empty")
    assert "there is no checkpoint folder" in refused("generate", "x", "--model", tmp_path / "missing")


def test_a_truncated_weights_file_is_told_by_name(refused, folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    line = refused("generate", "x", "--model", folder)
    assert str(weights) in line or "model.safetensors" in line


def test_a_tokenizer_without_a_mask_token_is_told(refused, folder):
    for name in ("config.json", "tokenizer_config.json"):
        settings = json.loads((folder / name).read_text())
        settings.pop("mask_token_id", None)
        settings.pop("mask_token", None)
        (folder / name).write_text(json.dumps(settings))
    assert "mask" in refused("generate", "x", "--model", folder)


def test_a_causal_model_is_refused(refused, tmp_path):
    assert "causal" in refused(
        "generate", "x", "--model", write_checkpoint(tmp_path / "causal", is_causal=True)
    )


def test_logits_that_are_nan_stop_the_run_and_no_trace_is_left(refused, folder, tmp_path):
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"] = torch.full_like(weights["lm_head.weight"], torch.nan)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    trace = tmp_path / "trace.jsonl"
    assert "NaN" in refused("generate", "x", "--model", folder, "--trace", trace)
    assert not trace.exists() and not list(tmp_path.glob(".trace*"))


class Narrow(SchedulerConfig):
    name: Literal["narrow"] = "narrow"
    adaptive: ClassVar[bool] = True

    def select(self, view, proposal):
        return view.open[:, :-1]


class NarrowPlugin:
    @hookimpl
    def dllm_scheduler(self):
        return [Narrow]


def test_a_part_that_returns_a_wrong_shape_is_named_with_its_plugin(refused, isolated_registry, checkpoint):
    isolated_registry({"narrow-plugin": NarrowPlugin()})
    line = refused("generate", "x", "--model", checkpoint, "--set", "scheduler=narrow", "--gen-length", 8)
    assert "narrow" in line and "narrow-plugin" in line
    assert "(1, 7)" in line and "(1, 8)" in line


@pytest.mark.parametrize(
    ("task", "name", "text", "expected"),
    [
        ("countdown", "mine.jsonl", '{"input": "30,100,93", "output": "23"}\n{"input": \n', "line 2"),
        ("countdown", "mine.jsonl", '{"input": "30,100,93"}\n', "line 1"),
        ("square", "mine.csv", "Puzzle,Solution\n1234,\n", "line 2"),
        ("square", "mine.csv", "Puzzle\n1234\n", "line 1"),
        ("countdown", "mine.jsonl", "", "holds no examples"),
    ],
)
def test_a_data_file_that_cannot_be_read_is_told_with_its_line(
    refused, checkpoint, tmp_path, task, name, text, expected
):
    (tmp_path / name).write_text(text)
    line = refused("eval", "--task", task, "--data", tmp_path / name, "--model", checkpoint)
    assert name in line and expected in line


def test_a_data_file_that_is_missing_is_told(refused, checkpoint, tmp_path):
    line = refused("eval", "--task", "countdown", "--data", tmp_path / "none.jsonl", "--model", checkpoint)
    assert "none.jsonl" in line and "No such file" in line


@pytest.mark.parametrize("option", ["--out", "--trace"])
def test_a_file_that_cannot_be_written_is_told_before_anything_is_decoded(refused, tmp_path, option):
    command = ["eval", "--task", "square"] if option == "--out" else ["generate", "x"]
    line = refused(*command, "--model", "no-such-model", option, tmp_path / "missing" / "file")
    assert "there is no folder" in line


def test_an_empty_stdin_is_told(refused, monkeypatch):
    monkeypatch.setattr("sys.stdin.read", lambda: "\n \n", raising=False)
    assert "stdin held no line" in refused("generate", "-", "--model", "no-such-model")


def test_bench_outside_a_checkout_says_what_it_needs(refused, monkeypatch, tmp_path):
    monkeypatch.setattr("dllm_decode.commands.bench.ROOT", tmp_path)
    assert "needs the source checkout" in refused("bench")


@pytest.mark.parametrize("arguments", [["--device", "gpu"], ["--dtype", "float12"], ["--device", "cuda:7"]])
def test_a_device_or_dtype_that_does_not_exist_is_told(refused, checkpoint, arguments):
    assert arguments[1] in refused("generate", "x", "--model", checkpoint, *arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ["frobnicate"],
        ["generate"],
        ["eval"],
        ["eval", "--task", "square", "--limit", "0"],
        ["generate", "x", "--nope"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_ends_with_2_and_no_traceback(capsys, arguments):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and "Traceback" not in captured.err and "rror" in captured.err
