"""Chat templates: when a text goes through one, and what becomes of messages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

from dllm_decode.cli import main
from dllm_decode.errors import ConfigError
from dllm_decode.model import DiffusionLM
from dllm_decode.testing.checkpoints import write_small_model

HI = [{"role": "user", "content": "hi"}]
RENDERED = "<user>hi<|eot_id|><assistant>"


@pytest.fixture(scope="module")
def lm(tmp_path_factory: pytest.TempPathFactory) -> DiffusionLM:
    folder = write_small_model(tmp_path_factory.mktemp("model"))
    return DiffusionLM.from_pretrained(folder, dtype="float64", device="cpu")


def shown(lm: DiffusionLM, prompts: Any, **options: Any) -> str:
    """What the model saw of the first prompt."""
    out = lm.generate(prompts, gen_length=4, steps=1, **options)
    assert lm.tokenizer is not None
    return str(lm.tokenizer.decode(out.canvas[0, :-4][out.valid[0, :-4]].tolist()))


def refusal(lm: DiffusionLM, prompts: Any, **options: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        lm.generate(prompts, gen_length=4, **options)
    return str(caught.value)


def test_a_text_is_a_user_s_message_unless_it_is_said_otherwise(lm: DiffusionLM) -> None:
    assert shown(lm, "hi") == shown(lm, HI) == shown(lm, ["hi"], chat="on") == RENDERED
    assert shown(lm, "hi", chat="off") == "hi"


def test_a_text_that_went_through_the_template_already_does_not_go_twice(lm: DiffusionLM) -> None:
    assert shown(lm, RENDERED) == RENDERED
    assert shown(lm, "hi<|eot_id|>", chat="on") == "<user>hi<|eot_id|><|eot_id|><assistant>"


def test_a_model_whose_template_passes_texts_through_is_left_alone() -> None:
    tiny = DiffusionLM.from_pretrained("tiny", device="cpu")
    assert not tiny.has_chat_template
    assert shown(tiny, "Compute 1+1.") == shown(tiny, "Compute 1+1.", chat="off")


def test_on_is_refused_without_a_template_and_an_unknown_choice_always(tmp_path: Path) -> None:
    from dllm_decode.testing.checkpoints import write_tokenizer

    folder = write_small_model(tmp_path)
    write_tokenizer(folder, chat_template=False)
    plain = DiffusionLM.from_pretrained(folder, device="cpu")
    assert "needs a chat template" in refusal(plain, "hi", chat="on")
    assert "auto, on or off, got 'yes'" in refusal(plain, "hi", chat="yes")
    assert "--chat off" in refusal(plain, HI)
    assert shown(plain, [*HI, {"role": "assistant", "content": "so"}], chat="off") == "hi\nso"


def test_parts_of_text_are_joined(lm: DiffusionLM) -> None:
    parts = [{"type": "text", "text": "h"}, {"type": "text", "text": "i"}]
    assert shown(lm, [{"role": "user", "content": parts}]) == RENDERED


@pytest.mark.parametrize(
    "content", [None, 5, 1.5, True, [], {"text": "hi"}, ["hi"], [{"type": "image", "url": "x"}], [{"type": "text"}]]
)
def test_other_contents_are_refused_with_the_prompt_s_number(lm: DiffusionLM, content: Any) -> None:
    message = refusal(lm, [HI, [{"role": "user", "content": content}]])
    assert "prompt 1, message 0: the content should be a text" in message


def test_a_message_without_a_role_is_refused(lm: DiffusionLM) -> None:
    assert "prompt 0, message 0: the role should be a text" in refusal(lm, [{"content": "hi"}])


def test_a_conversation_that_ends_with_the_assistant_is_continued(lm: DiffusionLM) -> None:
    begun = [*HI, {"role": "assistant", "content": "The answer is"}]
    assert shown(lm, begun) == "<user>hi<|eot_id|><assistant>The answer is"


def test_masks_inside_messages_are_filled_in(lm: DiffusionLM) -> None:
    out = lm.infill([*HI, {"role": "assistant", "content": "It is [MASK][MASK]."}])
    tokens = out.tokens[0].tolist()
    assert lm.tokenizer is not None
    begin = list(lm.tokenizer("<user>hi<|eot_id|><assistant>It is ", add_special_tokens=False)["input_ids"])
    end = list(lm.tokenizer(".<|eot_id|>", add_special_tokens=False)["input_ids"])
    assert tokens[: len(begin)] == begin
    assert tokens[-len(end) :] == end
    assert len(tokens) == len(begin) + 2 + len(end)


def test_ids_are_taken_in_every_form_they_come_in(lm: DiffusionLM) -> None:
    expected = lm.generate([[65, 66, 67]], gen_length=4)
    row = numpy.array([65, 66, 67])
    for given in ([65, 66, 67], row, row[None], [row], list(row), [list(row)], [torch.tensor([65, 66, 67])]):
        assert torch.equal(lm.generate(given, gen_length=4).canvas, expected.canvas)


@pytest.mark.parametrize("given", [[2**63], [[3], [-(10**30)]], [[numpy.uint64(2**64 - 1)]]])
def test_an_id_that_no_tensor_holds_is_refused_with_the_prompt_s_number(lm: DiffusionLM, given: Any) -> None:
    with pytest.raises(ConfigError, match=r"prompt [01]: token id .* is outside of every vocabulary"):
        lm.generate(given, gen_length=4)


@pytest.mark.parametrize("kind", ["lists", "pt", "np"])
def test_a_tokenizer_s_output_is_taken_with_its_mask(lm: DiffusionLM, kind: str) -> None:
    assert lm.tokenizer is not None
    lm.tokenizer.padding_side = "left"  # type: ignore[attr-defined]
    tensors = {} if kind == "lists" else {"return_tensors": kind}
    encoded = lm.tokenizer(["ab", "longer"], padding=True, **tensors)
    expected = lm.generate(["ab", "longer"], gen_length=4, chat="off")
    assert torch.equal(lm.generate(encoded, gen_length=4).tokens, expected.tokens)
    one = lm.tokenizer("ab")
    assert torch.equal(lm.generate(one, gen_length=4).tokens[0], expected.tokens[0])
    assert torch.equal(lm.generate([one], gen_length=4).tokens[0], expected.tokens[0])


def test_half_a_character_is_no_text(lm: DiffusionLM) -> None:
    assert "prompt 1 is no text: half a character" in refusal(lm, ["a", "b\ud800"])


def test_the_command_line_says_what_became_of_a_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_small_model(tmp_path)
    command = ["generate", "hi", "--model", str(folder), "--gen-length", "4", "--device", "cpu", "--json"]
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["chat"] == "template"
    assert main([*command, "--chat", "off"]) == 0
    assert json.loads(capsys.readouterr().out)["chat"] == ""
    assert main([*command, "--chat", "maybe"]) == 2
    assert "--chat: should be auto, on or off, got 'maybe'" in capsys.readouterr().err
