"""A function of the user's makes the model: `--model package:function` reaches any module, with a tokenizer of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from dllm_decode import DiffusionLM
from dllm_decode.errors import ModelError
from dllm_decode.evaluate.evaluate import Evaluation, evaluate

LETTERS = """
import torch
from torch import nn
from dllm_decode import DiffusionLM

class Letters:
    chat_template, mask_token_id, text = None, 0, "_abcdefghij"
    def __call__(self, text, **options):
        return {"input_ids": [self.text.index(letter) for letter in text]}
    def get_vocab(self):
        return {letter: number for number, letter in enumerate(self.text)}
    def decode(self, token_ids, **options):
        return "".join(self.text[number] for number in token_ids)

def make():
    torch.manual_seed(0)
    layers = nn.Embedding(11, 16), nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), nn.Linear(16, 11)
    return DiffusionLM.from_module(nn.Sequential(*layers), vocab_size=11, mask_token_id=0, tokenizer=Letters())

def named():
    lm = make()
    return DiffusionLM(lm.denoiser, Wordy(), name="letters", fingerprint=open("version").read())

class Wordy(Letters):
    def __call__(self, text, **options):
        return {"input_ids": [1 + ord(letter) % 10 for letter in text]}

def unnamed():
    return DiffusionLM(make().denoiser, Wordy(), name="letters")

def fail():
    raise OSError("no weights")

def other():
    return 7
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "made_up_letters.py").write_text(LETTERS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    sys.modules.pop("made_up_letters", None)
    return "made_up_letters"


def test_a_function_makes_the_model(package: str) -> None:
    lm = DiffusionLM.from_pretrained(f"{package}:make")
    text = lm.generate("abc", gen_length=4).texts[0]
    assert len(text) == 4 and set(text) <= set("abcdefghij")


def test_the_command_line_reaches_it(package: str) -> None:
    command = ["generate", "abc", "--model", f"{package}:make", "--gen-length", "4", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "dllm_decode", *command], capture_output=True, text=True, env={**os.environ}, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)


def test_outcomes_are_kept_by_the_fingerprint_that_the_function_gives(package: str, tmp_path: Path) -> None:
    def run(function: str) -> Evaluation:
        options: dict[str, Any] = {"limit": 2, "gen_length": 4, "cache": tmp_path / "kept"}
        return evaluate(DiffusionLM.from_pretrained(f"{package}:{function}"), "line", **options)

    Path("version").write_text("1")
    first, again = run("named"), run("named")
    assert (first.record.resumed, again.record.resumed) == (0, 2)
    assert first.record.model == "letters" and not first.record.notes
    assert first.record.model_fingerprint == again.record.model_fingerprint
    Path("version").write_text("2")
    assert run("named").record.resumed == 0
    assert (run("unnamed").record.resumed, run("unnamed").record.resumed) == (0, 0)
    (said,) = run("unnamed").record.notes
    assert said.startswith("outcomes are not kept: letters lies in no folder") and "fingerprint=" in said


def test_a_module_may_be_named() -> None:
    module = nn.Sequential(nn.Embedding(8, 4), nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), nn.Linear(4, 8))
    made = [DiffusionLM.from_module(module, vocab_size=8, mask_token_id=0, name="m", fingerprint=f) for f in ("1", "1", "2")]
    assert [lm.name for lm in made] == ["m"] * 3
    assert made[0].fingerprint == made[1].fingerprint != made[2].fingerprint


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("fail", r"could not be made by fail\(\) of made_up_letters: OSError: no weights"),
        ("missing", "could not be made by missing.*AttributeError"),
        ("other", "should return a DiffusionLM, got int"),
    ],
)
def test_a_function_that_makes_none_is_named(function: str, said: str, package: str) -> None:
    with pytest.raises(ModelError, match=said):
        DiffusionLM.from_pretrained(f"{package}:{function}")
    with pytest.raises(ModelError, match="ModuleNotFoundError"):
        DiffusionLM.from_pretrained("no_such_package:make")
    with pytest.raises(ModelError, match="leave them out"):
        DiffusionLM.from_pretrained(f"{package}:make", dtype="float64")
