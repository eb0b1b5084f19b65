"""The command line: what it prints where, what --json holds, exit codes, what plugins add."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from dllm_decode import cli
from dllm_decode.cli import build_app, main
from dllm_decode.decoding.trace import Trace
from dllm_decode.plugins.hookspecs import hookimpl
from dllm_decode.plugins.registry import build_registry
from dllm_decode.strategy.strategy import Strategy
from dllm_decode.testing.random_checkpoint import write_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> str:
    return str(write_checkpoint(tmp_path_factory.mktemp("checkpoint")))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("DLLM_DECODE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def run(capfd):
    """Run a command line that must succeed, and return stdout and stderr."""

    def call(*arguments):
        code = main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        assert code == 0, err
        return out, err

    return call


def test_show_refuses_what_could_not_be_decoded(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "wino", "--set", "forward=null"]) == 2
    assert "set forward to 'shadow'" in capsys.readouterr().err


def test_generate_prints_answers_on_stdout_and_the_cost_on_stderr(run, checkpoint):
    out, err = run("generate", "one", "two words", "--model", checkpoint, "--gen-length", 8, "--steps", 4)
    assert out.strip()
    assert "llada" in err and "4, 4 forward passes for 8 positions" in err


def test_generate_json_is_one_object_and_nothing_else(run, checkpoint):
    out, _ = run("generate", "one", "two", "--model", checkpoint, "--gen-length", 8, "--steps", 4, "--json")
    data = json.loads(out)
    assert [result["prompt"] for result in data["results"]] == ["one", "two"]
    assert [result["forward_passes"] for result in data["results"]] == [4, 4]
    assert all(len(result["tokens"]) == 8 for result in data["results"])
    assert data["model_calls"] == 4
    assert Strategy.parse(data["strategy"]).digest() == data["strategy_digest"]
    assert (data["strategy"]["steps"], data["strategy"]["gen_length"]) == (4, 8)


def test_a_dash_reads_prompts_one_a_line_from_stdin(run, checkpoint, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\n\ntwo\n"))
    out, _ = run("generate", "-", "zero", "--model", checkpoint, "--gen-length", 4, "--json")
    assert [result["prompt"] for result in json.loads(out)["results"]] == ["one", "two", "zero"]


def test_a_seed_gives_the_same_answer_twice(run, checkpoint):
    options = ("--model", checkpoint, "--gen-length", 8, "--temperature", 1, "--json", "--seed")
    first, again, other = (
        json.loads(run("generate", "x", *options, seed)[0])["results"] for seed in (1, 1, 2)
    )
    assert first == again != other


def test_set_changes_a_field_and_wins_over_the_short_option(run, checkpoint):
    out, _ = run(
        "generate",
        "x",
        "--model",
        checkpoint,
        "--steps",
        3,
        "--set",
        "steps=2",
        "--set",
        "gen_length=6",
        "--json",
    )
    assert json.loads(out)["results"][0]["forward_passes"] == 2


def test_trace_writes_a_file_that_replays(run, checkpoint, tmp_path):
    path = tmp_path / "trace.jsonl"
    options = ("--model", checkpoint, "--gen-length", 8, "--strategy", "said", "--trace", path, "--json")
    out, _ = run("generate", "x", *options)
    trace = Trace.from_jsonl(path)
    written = [int(token) for event in trace.events for token in event.tokens[event.chosen]]
    assert sorted(written) == sorted(json.loads(out)["results"][0]["tokens"])
    assert [path.name for path in tmp_path.iterdir()] == ["trace.jsonl"]


def test_eval_json_is_one_object_with_what_scripts_read(run, checkpoint):
    out, _ = run("eval", "--task", "square", "--model", checkpoint, "--limit", 3, "--steps", 2, "--json")
    data = json.loads(out)
    names = "accuracy n forward_passes model_calls tokens_per_forward seconds strategy_digest accuracy_interval tokens"
    assert set(names.split()) <= data.keys()
    assert (data["n"], data["forward_passes"], data["model_calls"]) == (3, 2.0, 2)


def test_eval_prints_a_summary_and_writes_the_outcomes(run, checkpoint, tmp_path):
    path = tmp_path / "out.json"
    out, _ = run("eval", "--task", "line", "--model", checkpoint, "--limit", 3, "--steps", 2, "--out", path)
    assert "accuracy" in out and "n = 3" in out
    data = json.loads(path.read_text())
    assert len(data["outcomes"]) == 3 and data["task"] == "line"


def test_eval_goes_on_where_it_stopped_unless_told_not_to(run, checkpoint):
    options = ("eval", "--task", "square", "--model", checkpoint, "--steps", 2, "--json")
    assert json.loads(run(*options, "--limit", 2)[0])["resumed"] == 0
    assert json.loads(run(*options, "--limit", 4)[0])["resumed"] == 2
    assert json.loads(run(*options, "--limit", 4, "--no-cache")[0])["resumed"] == 0


def test_eval_uses_the_task_s_length_unless_one_is_given(run, checkpoint):
    options = ("eval", "--task", "square", "--model", checkpoint, "--limit", 1, "--steps", 2, "--json")
    default = json.loads(run(*options)[0])["gen_length"]
    assert json.loads(run(*options, "--gen-length", default + 4)[0])["gen_length"] == default + 4
    assert json.loads(run(*options, "--set", f"gen_length={default + 8}")[0])["gen_length"] == default + 8


def test_eval_that_is_interrupted_ends_with_130_and_says_what_was_kept(capfd, checkpoint, monkeypatch):
    from dllm_decode.model import DiffusionLM

    stream, batches = DiffusionLM.stream, []

    def interrupted(self, *args, **options):
        for places, part in stream(self, *args, **options):
            batches.append(len(places))
            if len(batches) == 2:
                raise KeyboardInterrupt
            yield places, part

    monkeypatch.setattr(DiffusionLM, "stream", interrupted)
    command = [
        "eval",
        "--task",
        "square",
        "--model",
        checkpoint,
        "--limit",
        "6",
        "--steps",
        "2",
        "--batch-size",
        "2",
    ]
    assert main([*command, "--json"]) == 130
    captured = capfd.readouterr()
    assert captured.out == "" and "interrupted after 2 of 6 examples" in captured.err
    assert main([*command, "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["resumed"] == 2


def test_what_libraries_print_does_not_reach_json(run, checkpoint, monkeypatch):
    from dllm_decode.model import DiffusionLM

    load = DiffusionLM.from_pretrained.__func__

    def chatty(cls, *args, **options):
        print("loading…")
        return load(cls, *args, **options)

    monkeypatch.setattr(DiffusionLM, "from_pretrained", classmethod(chatty))
    out, err = run("generate", "x", "--model", checkpoint, "--gen-length", 4, "--json")
    json.loads(out)
    assert "loading…" in err


def test_what_show_prints_is_a_strategy_file(run, tmp_path):
    for name in ("llada", "said", "fast-dllm", "said-block"):
        out, _ = run("show", name)
        assert out.startswith(f"# digest {Strategy.load(name).digest()}\n# at most ")
        path = tmp_path / "shown.yaml"
        path.write_text(out)
        assert Strategy.load(path) == Strategy.load(name)


def test_show_counts_the_forwards_of_a_changed_strategy(run):
    out, _ = run("show", "llada", "--set", "steps=10", "--set", "gen_length=20")
    assert "# at most 10 forward passes for 20 tokens" in out


def test_strategies_lists_every_recipe(run):
    out, _ = run("strategies")
    data = json.loads(run("strategies", "--json")[0])
    names = [row["name"] for row in data["strategies"]]
    assert {"llada", "said", "said-paper", "said-block", "fast-dllm"} <= set(names)
    assert all(name in out for name in names)


def test_plugins_lists_hooks_parts_and_failures(run, monkeypatch):
    class Broken:
        @hookimpl
        def dllm_scheduler(self):
            raise RuntimeError("no such device")

    found = build_registry({"broken-plugin": Broken()}, None)
    monkeypatch.setattr("dllm_decode.commands.listings.load_registry", lambda: found)
    monkeypatch.setattr("dllm_decode.commands.plugins.load_registry", lambda: found, raising=False)
    data = json.loads(run("plugins", "--json")[0])
    (strategies,) = [plugin for plugin in data["plugins"] if plugin["plugin"] == "dllm_strategies.plugin"]
    assert "dllm_scheduler" in strategies["hooks"] and "scheduler:even" in strategies["parts"]
    assert [failure["plugin"] for failure in data["failures"]] == ["broken-plugin"]
    assert "no such device" in run("plugins")[0]


def test_schema_has_every_part_and_no_dangling_reference(run):
    text, _ = run("schema")
    schema = json.loads(text)
    assert {"scheduler:even", "layering:scaffold", "block:fixed"} <= schema["$defs"].keys()
    assert schema["$defs"]["scheduler:threshold"]["properties"]["threshold"]["maximum"] == 1
    references = set(yaml.safe_load(text.replace("$ref", "ref")) and _references(schema))
    assert references <= {f"#/$defs/{name}" for name in schema["$defs"]}


def _references(node):
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value
            else:
                yield from _references(value)
    elif isinstance(node, list):
        for item in node:
            yield from _references(item)


def test_version_is_printed(run):
    assert run("--version")[0].startswith("dllm-decode ")


def test_help_lists_the_commands_of_plugins_and_imports_no_torch():
    program = (
        "import sys\nfrom dllm_decode.cli import main\ncode = main(['--help'])\n"
        "sys.exit(code or ('torch' in sys.modules and 'torch was imported') or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in (*cli.BUILT_IN, "bench", "search"))


def test_a_plugin_s_broken_command_harms_no_other(monkeypatch, capsys):
    import types

    broken = types.ModuleType("broken_commands")
    broken.dllm_command = hookimpl(lambda app: 1 / 0)
    monkeypatch.setitem(sys.modules, "broken_commands", broken)
    monkeypatch.setattr("dllm_decode.commands.plugins.DEFAULT_PLUGINS", ("broken_commands",))
    monkeypatch.setattr("dllm_decode.commands.plugins._speaks_of_commands", lambda module: True)
    build_app()
    assert "plugin 'broken_commands' could not add its commands: ZeroDivisionError" in capsys.readouterr().err


def test_a_defect_is_no_user_error_and_keeps_its_traceback(monkeypatch):
    def defect(as_json: bool = False) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setitem(cli.BUILT_IN, "strategies", defect)
    with pytest.raises(RuntimeError, match="a defect"):
        main(["strategies"])
