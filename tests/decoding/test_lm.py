"""`DiffusionLM` takes texts, messages, ids and tensors, any number of them, and refuses wrong input before decoding."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dllm_decode import DiffusionLM, Strategy, generate
from dllm_decode.decoding.events import StepEvent
from dllm_decode.errors import ConfigError, ModelError
from dllm_decode.testing.checkpoints import write_small_model

MASK, EOS, EOT = 256, 257, 258
PROMPTS = ["a", "two words", "the third is longer", "b", "and a fifth"]


@pytest.fixture(scope="module")
def lm(tmp_path_factory: pytest.TempPathFactory) -> DiffusionLM:
    folder = write_small_model(tmp_path_factory.mktemp("model"))
    return DiffusionLM.from_pretrained(folder, dtype="float64", device="cpu")


class Constant(nn.Module):
    """Predicts the same next tokens for every position, and a little of what the row holds."""

    def __init__(self, *favourites: int) -> None:
        super().__init__()
        self.favourites = favourites

    def forward(self, tokens: Tensor, valid: Tensor | None = None) -> Tensor:
        logits = torch.zeros(*tokens.shape, 264)
        for column in range(tokens.shape[1]):
            logits[:, column, self.favourites[column % len(self.favourites)]] = 9.0
        return logits + 1e-3 * tokens.float().mean(1)[:, None, None] * torch.linspace(0, 1, 264)


def constant(lm: DiffusionLM, *favourites: int) -> DiffusionLM:
    return DiffusionLM.from_module(
        Constant(*favourites),
        vocab_size=264,
        mask_token_id=MASK,
        eos_token_id=EOS,
        eot_token_id=EOT,
        max_length=64,
        tokenizer=lm.tokenizer,
    )


def ids(lm: DiffusionLM, text: str) -> list[int]:
    assert lm.tokenizer is not None
    return list(lm.tokenizer(text)["input_ids"])


def test_one_text_gives_one_row(lm: DiffusionLM) -> None:
    out = lm.generate("hello", gen_length=8, chat="off")
    assert out.tokens.shape == (1, 8)
    assert out.canvas.tolist() == [ids(lm, "hello") + out.tokens[0].tolist()]
    assert out.forward_passes.tolist() == [8]
    assert (out.model_calls, out.strategy.name, len(out.texts)) == (8, "llada", 1)
    assert out.trace is None
    assert out.seconds > 0
    assert not (out.tokens == MASK).any()


def test_results_come_in_the_order_of_the_prompts_whatever_the_batch_size(lm: DiffusionLM) -> None:
    together = lm.generate(PROMPTS, gen_length=8, steps=4)
    for size in (1, 2, 3):
        batched = lm.generate(PROMPTS, gen_length=8, steps=4, batch_size=size)
        assert torch.equal(batched.canvas, together.canvas)
        assert torch.equal(batched.forward_passes, together.forward_passes)
        assert batched.texts == together.texts
    assert lm.generate(PROMPTS, gen_length=8, steps=4, batch_size=2).model_calls == 12


def test_a_row_does_not_depend_on_its_mates_with_temperature_either(lm: DiffusionLM) -> None:
    together = lm.generate(PROMPTS, gen_length=8, steps=4, temperature=1.0, seed=3)
    again = lm.generate(PROMPTS, gen_length=8, steps=4, temperature=1.0, seed=3, batch_size=2)
    assert torch.equal(again.canvas, together.canvas)
    alone = lm.generate(PROMPTS[2], gen_length=8, steps=4, temperature=1.0, seed=3, row_ids=[2])
    assert torch.equal(alone.tokens[0], together.tokens[2])
    other = lm.generate(PROMPTS, gen_length=8, steps=4, temperature=1.0, seed=4)
    assert not torch.equal(other.tokens, together.tokens)


def test_the_canvas_is_padded_on_the_left_to_the_longest_prompt(lm: DiffusionLM) -> None:
    out = lm.generate(PROMPTS, gen_length=8, batch_size=2, chat="off")
    width = len(ids(lm, PROMPTS[2]))
    assert out.canvas.shape == out.valid.shape == (5, width + 8)
    for row, prompt in enumerate(PROMPTS):
        assert out.canvas[row][out.valid[row]].tolist() == ids(lm, prompt) + out.tokens[row].tolist()
        assert not out.valid[row, : width - len(ids(lm, prompt))].any()


def test_ids_and_left_padded_tensors_give_what_texts_give(lm: DiffusionLM) -> None:
    expected = lm.generate(PROMPTS, gen_length=8, steps=4, chat="off")
    lists = [ids(lm, prompt) for prompt in PROMPTS]
    assert torch.equal(lm.generate(lists, gen_length=8, steps=4).canvas, expected.canvas)
    width = max(map(len, lists))
    tensor = torch.tensor([[5] * (width - len(row)) + row for row in lists])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in lists])
    out = lm.generate(tensor, attention_mask=mask, gen_length=8, steps=4, batch_size=2)
    assert torch.equal(out.tokens, expected.tokens)
    assert torch.equal(out.canvas[:, :width], tensor)
    one = lm.generate(torch.tensor(lists[0]), gen_length=8, steps=4)
    assert torch.equal(one.tokens[0], expected.tokens[0])


def test_messages_go_through_the_chat_template(lm: DiffusionLM) -> None:
    message = [{"role": "user", "content": "hi"}]
    rendered = "<user>hi<|eot_id|><assistant>"
    expected = lm.generate(rendered, gen_length=4)
    assert expected.canvas[0, 8].item() == EOT
    assert torch.equal(lm.generate(message, gen_length=4).canvas, expected.canvas)
    two = lm.generate([message, message], gen_length=4)
    assert torch.equal(two.canvas, expected.canvas.repeat(2, 1))


def test_texts_are_cut_at_the_first_end_and_hold_no_special_tokens(lm: DiffusionLM) -> None:
    a, b = ids(lm, "ab")
    assert constant(lm, a, b, EOS, a).generate("", gen_length=4, chat="off", strategy="llada").texts == ["ab"]
    assert constant(lm, a, EOT, b, b).generate("", gen_length=4, chat="off").texts == ["a"]
    assert constant(lm, a, b, 260, a).generate("", gen_length=4, chat="off").tokens.tolist() == [[a, b, 260, a]]
    assert constant(lm, EOS).generate("", gen_length=4, chat="off").texts == [""]


def test_infill_decides_masked_positions_anywhere_and_nothing_else(lm: DiffusionLM) -> None:
    texts = ["The [MASK] of [MASK][MASK] is Paris.", "[MASK] go"]
    out = lm.infill(texts, steps=None)
    for row, text in enumerate(texts):
        pieces = text.split("[MASK]")
        decided = out.canvas[row][out.valid[row]].tolist()
        expected: list[int | None] = ids(lm, pieces[0]) if pieces[0] else []
        for piece in pieces[1:]:
            expected += [None, *(ids(lm, piece) if piece else [])]
        assert len(decided) == len(expected)
        assert all(want is None or want == got for want, got in zip(expected, decided, strict=True))
        assert MASK not in decided
    assert out.forward_passes.tolist() == [3, 1]
    assert torch.equal(out.tokens, out.canvas)
    assert torch.equal(lm.infill(texts[1]).canvas[0], out.canvas[1][out.valid[1]])
    assert out.texts[0].startswith("The ")
    assert out.texts[0].endswith(" is Paris.")


def test_infill_takes_ids_and_tensors_too(lm: DiffusionLM) -> None:
    row = [65, MASK, 66, MASK]
    expected = lm.infill([row]).canvas
    assert torch.equal(lm.infill(torch.tensor([row])).canvas, expected)
    assert expected[0, [0, 2]].tolist() == [65, 66]


def test_a_strategy_may_be_a_name_a_file_a_mapping_or_a_strategy(lm: DiffusionLM, tmp_path: Path) -> None:
    strategy = Strategy.load("llada", gen_length=8, steps=4)
    (tmp_path / "mine.yaml").write_text(strategy.to_yaml())
    sources: list[Any] = [tmp_path / "mine.yaml", str(tmp_path / "mine.yaml"), strategy.to_dict(), strategy]
    expected = lm.generate("hello", "llada", gen_length=8, steps=4)
    for source in sources:
        out = lm.generate("hello", strategy=source)
        assert torch.equal(out.tokens, expected.tokens)
        assert out.strategy.digest() == strategy.digest()
    assert torch.equal(generate(lm, "hello", strategy).tokens, expected.tokens)


def test_overrides_reach_the_strategy_by_path(lm: DiffusionLM) -> None:
    out = lm.generate("hello", "fast-dllm", gen_length=8, **{"scheduler.threshold": 0.01, "block": "whole"})
    assert out.model_calls == 1


@pytest.mark.parametrize("batch_size", [16, 2])
def test_a_trace_replays_to_the_canvas_in_its_own_columns(lm: DiffusionLM, batch_size: int) -> None:
    seen: list[StepEvent] = []
    out = lm.generate(PROMPTS, gen_length=8, steps=4, trace=True, on_step=seen.append, batch_size=batch_size)
    assert out.trace is not None
    assert out.trace.events == seen
    start = out.canvas.clone()
    start[:, -8:] = MASK
    for number, batch in enumerate(out.trace.batches):
        assert batch.row_ids is not None
        assert torch.equal(out.trace.replay(start[batch.row_ids], number), out.canvas[batch.row_ids])


def refusal(call: Any, *arguments: Any, **options: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        call(*arguments, **options)
    return str(caught.value)


def test_a_wrong_budget_is_refused_with_its_path(lm: DiffusionLM) -> None:
    assert "gen_length" in refusal(lm.generate, "x", gen_length=0)
    assert "steps" in refusal(lm.generate, "x", steps=0)
    assert "temperature" in refusal(lm.generate, "x", temperature=-1)
    for size in (0, "x", 1.5, math.nan, [], True):
        assert "batch_size should be a whole number of at least 1" in refusal(
            lm.generate, "x", gen_length=4, batch_size=size
        )
    blocks = {"block": {"name": "fixed", "length": 2}}
    assert "steps" in refusal(lm.generate, "x", gen_length=8, steps=2, **blocks)
    assert "Did you mean 'llada'?" in refusal(lm.generate, "x", strategy="lada")
    assert "row_ids should hold 2 numbers" in refusal(lm.generate, ["x", "y"], gen_length=4, row_ids=[1])


def test_a_prompt_over_the_context_is_named_with_its_length(lm: DiffusionLM) -> None:
    message = refusal(lm.generate, ["short", "x" * 60, "y", "z" * 61], gen_length=8, chat="off")
    assert "prompt 1 has 60 tokens and gen_length is 8: 68 together" in message
    assert "context of 64 tokens. So are prompts 3." in message
    assert "gen_length 65 is over the model's context of 64" in refusal(lm.generate, "x", gen_length=65)
    assert lm.generate("x" * 56, gen_length=8, chat="off").canvas.shape == (1, 64)
    assert "over the model's context" in refusal(lm.infill, "[MASK]" + "x" * 64)


def test_no_prompts_are_refused(lm: DiffusionLM) -> None:
    assert "the list is empty" in refusal(lm.generate, [])
    assert "no rows" in refusal(lm.generate, torch.zeros(0, 4, dtype=torch.int64))


def test_a_mask_token_in_a_prompt_is_for_infill_only(lm: DiffusionLM) -> None:
    assert "prompt 1 holds the mask token" in refusal(lm.generate, ["fine", "a<|mdm_mask|>b"])
    assert "infill()" in refusal(lm.generate, [[MASK]])
    assert "text 1 holds no [MASK]" in refusal(lm.infill, ["a [MASK]", "b"])


@pytest.mark.parametrize("prompts", [5, [5.0], [None], [["a"]], [{"role": "user"}], b"x"])
def test_what_is_no_prompt_is_refused(lm: DiffusionLM, prompts: Any) -> None:
    assert "prompt" in refusal(lm.generate, prompts, gen_length=4)


def test_wrong_tensors_are_refused(lm: DiffusionLM) -> None:
    assert "(B, P) tensor" in refusal(lm.generate, torch.zeros(1, 3))
    assert "(B, P) tensor" in refusal(lm.generate, torch.zeros(1, 3, 2, dtype=torch.int64))
    tokens = torch.tensor([[65, 66, 67]])
    assert "padding should be on the left" in refusal(
        lm.generate, tokens, attention_mask=torch.tensor([[1, 1, 0]])
    )
    assert "prompts' shape" in refusal(lm.generate, tokens, attention_mask=torch.ones(1, 2))
    assert "goes with a (B, P) tensor" in refusal(lm.generate, "x", attention_mask=torch.ones(1, 2))
    assert "token id 264 is outside" in refusal(lm.generate, torch.tensor([[264]]))
    assert "token id -1 is outside" in refusal(lm.generate, [[-1]])


def test_a_model_without_a_tokenizer_takes_ids_and_says_so_for_texts(tmp_path: Path) -> None:
    folder = write_small_model(tmp_path)
    (folder / "tokenizer.json").unlink()
    bare = DiffusionLM.from_pretrained(folder, device="cpu")
    out = bare.generate([[65, 66]], gen_length=4)
    assert out.tokens.shape == (1, 4)
    with pytest.raises(ModelError, match="without a tokenizer"):
        _ = out.texts
    assert "without a tokenizer" in refusal(bare.generate, "text")


def test_messages_without_a_chat_template_are_refused(lm: DiffusionLM) -> None:
    class Plain:
        chat_template = None

    other = DiffusionLM(lm.denoiser, Plain())  # type: ignore[arg-type]
    assert "no chat template" in refusal(other.generate, [{"role": "user", "content": "x"}])


def test_a_user_s_own_module_decodes(lm: DiffusionLM) -> None:
    own = constant(lm, 65)
    out = own.generate(["x", "yy"], gen_length=4, steps=2)
    assert out.tokens.tolist() == [[65] * 4] * 2
    assert own.dtype == torch.float32
    assert own.special.ends == (EOS, EOT)


def test_records_can_name_the_model(lm: DiffusionLM) -> None:
    assert str(lm.device) == "cpu"
    assert lm.dtype == torch.float64
    assert set(lm.hidden_tokens) >= {MASK, EOS, EOT}
    assert lm.fingerprint == lm.fingerprint


def test_importing_the_package_and_listing_names_imports_no_torch() -> None:
    program = (
        "import sys, dllm_decode; from dllm_decode import Strategy, hookimpl, load_registry; "
        "dir(dllm_decode); assert 'torch' not in sys.modules, 'torch'; assert dllm_decode.__version__; "
        "assert not hasattr(dllm_decode, 'nothing')"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[2])
