"""Text at the edges: bytes that are no text, separators inside of it, streams that are closed, full or ASCII."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dllm_decode.cli import main
from dllm_decode.errors import ConfigError
from dllm_decode.plugins.hookspecs import hookimpl
from dllm_decode.plugins.registry import build_registry
from dllm_decode.tasks.files import json_lines

PROGRAM = [sys.executable, "-m", "dllm_decode"]


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line of bash in which `$D` is the program."""
    known = {**os.environ, "D": " ".join(PROGRAM), **environment}
    return subprocess.run(["bash", "-c", command], capture_output=True, env=known, check=False, timeout=300)


def lines(done: subprocess.CompletedProcess[bytes]) -> list[str]:
    return done.stderr.decode().strip().split("\n")


def test_an_argument_that_is_not_utf8_is_refused_in_one_line() -> None:
    done = shell(r"$D generate $'a\xff' --model no-such-model")
    assert done.returncode == 2
    assert lines(done) == [r"error: argument 2, 'a\udcff', is not UTF-8 text"]


def test_stdin_that_is_not_utf8_is_refused_with_its_line() -> None:
    done = shell(r"printf 'one\ntw\xff\n' | $D generate - --model no-such-model")
    assert (done.returncode, lines(done)) == (2, ["error: stdin, line 2: not UTF-8 text"])


def test_a_closed_stdin_and_a_closed_stdout_are_said() -> None:
    done = shell("$D generate - --model no-such-model <&-")
    assert (done.returncode, lines(done)[0][:22]) == (2, "error: stdin is closed")
    done = shell("$D strategies >&-")
    assert (done.returncode, lines(done)[0][:23]) == (2, "error: stdout is closed")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
@pytest.mark.parametrize("command", ["strategies", "strategies --json", "show llada", "plugins", "schema"])
def test_a_full_stdout_is_one_line(command: str) -> None:
    done = shell(f"$D {command} >/dev/full")
    assert (done.returncode, lines(done)) == (1, ["error: stdout cannot be written: No space left on device"])


def test_a_reader_that_goes_away_leaves_no_word() -> None:
    done = shell("$D schema | true; exit ${PIPESTATUS[0]}")
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize(
    "locale", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}]
)
def test_a_stdout_in_ascii_gets_everything_and_json_stays_json(locale: dict[str, str]) -> None:
    command = "$D generate 'é ü' --gen-length 2 --set description=größer"
    done = shell(f"{command} --json", **locale)
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout.decode("ascii"))
    assert data["results"][0]["prompt"] == "é ü" and data["strategy"]["description"] == "größer"
    done = shell("$D show llada --set description=größer", **locale)
    assert done.returncode == 0 and "größer".encode() in done.stdout
    done = shell("$D strategies", **locale)
    assert done.returncode == 0 and rb" \xb7 " in done.stdout


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\u0085", "\x0b", "\x0c", "\x1c"])
def test_a_separator_inside_of_a_json_string_or_a_prompt_is_part_of_it(
    separator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dllm_decode.commands.generate import _read_prompts

    path = tmp_path / "mine.jsonl"
    record = {"input": f"a{separator}b", "output": "c"}
    text = json.dumps(record, ensure_ascii=False) + "\n\r\n" + json.dumps(record) + "\r\n"
    if separator < " ":  # JSON itself wants these escaped
        text = json.dumps(record) + "\n\n" + json.dumps(record)
    path.write_text(text, encoding="utf-8", newline="")
    assert list(json_lines(path)) == [(1, record), (3, record)]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"a{separator}b\r\nc\n".encode())))
    assert _read_prompts(["-"]) == [f"a{separator}b", "c"]


def test_what_a_plugin_prints_when_it_is_loaded_is_not_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    class Chatty:
        @hookimpl
        def dllm_scheduler(self) -> list[object]:
            print("hello from a plugin")
            return []

    build_registry({"chatty": Chatty()}, None)
    captured = capsys.readouterr()
    assert captured.out == "" and "hello from a plugin" in captured.err


def test_what_is_printed_before_the_json_object_goes_to_stderr(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dllm_decode.commands import listings

    known = listings.load_registry()

    def chatty() -> object:
        print("hello")
        return known

    monkeypatch.setattr(listings, "load_registry", chatty)
    before = sys.stdout
    assert main(["strategies", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["strategies"] and captured.err == "hello\n"
    assert sys.stdout is before
    # A command line that is refused after --json was read leaves stdout as it was, too.
    assert main(["strategies", "--json", "--nope"]) == 2
    assert sys.stdout is before


@pytest.mark.parametrize("seed", [-1, 2**61, 2**64, 2**70, 1.5, True, "1", None])
def test_a_seed_out_of_range_is_refused_with_the_range(seed: object) -> None:
    from dllm_decode.generation.batches import Options

    with pytest.raises(ConfigError, match=r"seed: should be a whole number from 0 to 2\*\*61 - 1"):
        Options(seed=seed)  # type: ignore[arg-type]


def test_seeds_at_the_ends_of_the_range_give_noise_of_their_own() -> None:
    import torch

    from dllm_decode.data.noise import MAX_SEED, Noise

    rows = torch.tensor([0, 1])
    keys = [
        tuple(Noise(seed, rows, rows * 0, torch.arange(-4, 0)).keys(stream).flatten().tolist())
        for seed in (0, 1, 2**32, 2**60, MAX_SEED - 1, MAX_SEED)
        for stream in range(4)
    ]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("row_ids", [[0.5, 1.5], [True, False], ["a", "b"], [2**64, 0], [0], [[0], [1]]])
def test_row_ids_that_are_no_whole_numbers_are_refused(row_ids: object) -> None:
    from dllm_decode.generation.batches import row_identities

    with pytest.raises(ConfigError, match="row_ids should hold"):
        row_identities(row_ids, 2)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["eval", "--task", "square", "--batch-size", "0"], "--batch-size"),
        (["generate", "x", "--steps", "many"], "--steps"),
        (["frobnicate"], "frobnicate"),
    ],
)
def test_a_usage_error_keeps_its_box_and_ends_in_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert main(arguments) == 2
    *box, last = capsys.readouterr().err.strip().split("\n")
    assert last.startswith("error: ") and said in last and any("Error" in line for line in box)
