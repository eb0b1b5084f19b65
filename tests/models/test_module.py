"""A user's own module becomes a model in five lines: with or without mask, time, EOS and tokenizer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dllm_decode import DiffusionLM
from dllm_decode.errors import ConfigError, ModelError

VOCABULARY, MASK = 20, 19


class Mixer(nn.Module):
    """Absolute positions and attention, no idea of padding."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.tokens = nn.Embedding(VOCABULARY, 16)
        self.positions = nn.Embedding(64, 16)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
        self.head = nn.Linear(16, VOCABULARY)
        self.double()

    def mix(self, tokens: Tensor, padding: Tensor | None = None, extra: Tensor | float = 0.0) -> Tensor:
        stream = self.tokens(tokens) + self.positions.weight[: tokens.shape[1]] + extra
        return self.head(self.layer(stream, src_key_padding_mask=padding))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.mix(tokens)


class Masked(Mixer):
    """Masks padding out of attention, but counts positions from column 0: a padded row is not the row alone."""

    def forward(self, tokens: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        return self.mix(tokens, None if attention_mask is None else ~attention_mask)


class Placed(Mixer):
    """Masks padding and counts positions from the first valid column."""

    def forward(self, tokens: Tensor, valid: Tensor | None = None) -> Tensor:
        if valid is None:
            return self.mix(tokens)
        columns = (valid.cumsum(1) - 1).clamp_min(0)
        shift = self.positions(columns) - self.positions.weight[: tokens.shape[1]]
        return self.mix(tokens, ~valid, shift)


class Timed(Mixer):
    """Is told how noisy its row is; keeps what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Tensor] = []

    def forward(self, tokens: Tensor, t: Tensor) -> Tensor:
        self.told.append(t)
        return self.mix(tokens, extra=t[:, None, None])


def wrap(module: nn.Module, **options: Any) -> DiffusionLM:
    return DiffusionLM.from_module(module, vocab_size=VOCABULARY, mask_token_id=MASK, **options)


def prompts() -> list[list[int]]:
    return [[1, 2, 3], [4, 5, 6, 7, 8, 9, 10], [11], [12, 13, 14]]


def test_five_lines_are_enough() -> None:
    lm = DiffusionLM.from_module(Mixer(), vocab_size=VOCABULARY, mask_token_id=MASK)
    out = lm.generate(torch.randint(0, 19, (2, 5)), "llada", gen_length=8)
    assert out.tokens.shape == (2, 8)
    assert not (out.tokens == MASK).any()


@pytest.mark.parametrize("strategy", ["llada", "said", "fast-dllm"])
@pytest.mark.parametrize("kind", [Mixer, Masked, Placed, Timed])
def test_a_row_of_a_batch_is_decoded_as_if_alone(kind: type[nn.Module], strategy: str) -> None:
    lm = wrap(kind(), time="mask-ratio" if kind is Timed else None)
    together = lm.generate(prompts(), strategy, gen_length=12)
    for number, prompt in enumerate(prompts()):
        alone = lm.generate([prompt], strategy, gen_length=12, row_ids=[number])
        assert torch.equal(alone.tokens[0], together.tokens[number])
        assert alone.forward_passes[0] == together.forward_passes[number]


def test_padding_goes_through_a_module_only_if_that_changes_nothing() -> None:
    masks = {kind: wrap(kind()).denoiser.masks_padding for kind in (Mixer, Masked, Placed)}  # type: ignore[attr-defined]
    assert masks == {Mixer: False, Masked: False, Placed: True}


def test_a_module_whose_padded_rows_are_nan_gets_none() -> None:
    class Poisoned(Placed):
        """A row behind padding comes out as NaN; the others are right."""

        def forward(self, tokens: Tensor, valid: Tensor | None = None) -> Tensor:
            logits = super().forward(tokens, valid)
            return logits if valid is None else logits.masked_fill(~valid.all(1)[:, None, None], torch.nan)

    assert not wrap(Poisoned()).denoiser.masks_padding  # type: ignore[attr-defined]


def test_infill_works_with_rows_of_unequal_length() -> None:
    lm = wrap(Mixer())
    texts = [[MASK, 2, MASK], [4, 5, MASK, 7, 8, MASK, MASK], [MASK]]
    together = lm.infill(texts)
    for number, text in enumerate(texts):
        alone = lm.infill([text], row_ids=[number])
        assert torch.equal(alone.tokens[0], together.tokens[number][-len(text) :])


def test_the_mask_ratio_is_the_share_of_a_row_s_own_tokens() -> None:
    module = Timed()
    lm = wrap(module, time="mask-ratio")
    module.told.clear()
    lm.generate([[1, 2], [3, 4, 5, 6]], "llada", gen_length=4, steps=2)
    ratios = sorted(ratio for time in module.told for ratio in time.tolist())
    assert ratios == pytest.approx([2 / 8, 2 / 6, 4 / 8, 4 / 6])
    assert all(time.dtype == torch.float64 for time in module.told)


def test_a_function_may_say_what_time_it_is() -> None:
    module = Timed()
    lm = wrap(module, time=lambda tokens, valid: 1000 * (tokens == MASK).float().mean(1))
    module.told.clear()
    lm.generate([[1, 2]], "llada", gen_length=2)
    assert [time.tolist() for time in module.told] == [[500.0], [250.0]]


def test_a_time_of_another_name_is_the_second_argument() -> None:
    class Noisy(Timed):
        def forward(self, tokens: Tensor, noise_level: Tensor) -> Tensor:
            return super().forward(tokens, noise_level)

    assert wrap(Noisy(), time="mask-ratio").generate([[1]], gen_length=2).tokens.shape == (1, 2)


def test_a_module_that_takes_a_time_is_not_called_without() -> None:
    with pytest.raises(ModelError, match=r"Timed.forward takes 't': say what it is.*time='mask-ratio'"):
        wrap(Timed())


def test_a_time_for_a_module_that_takes_none_is_refused() -> None:
    with pytest.raises(ModelError, match=r"Mixer.forward\(tokens.*cannot be called with tokens and a time"):
        wrap(Mixer(), time="mask-ratio")


@pytest.mark.parametrize(
    ("time", "message"),
    [
        ("ratio", "time should be 'mask-ratio' or a function"),
        (0.5, "time should be 'mask-ratio' or a function"),
        (lambda tokens, valid: 0.5, r"time= returned float where \(1,\) was expected"),
        (lambda tokens, valid: torch.zeros(3), r"time= returned \(3,\) where \(1,\) was expected"),
    ],
)
def test_a_time_that_is_none_is_named(time: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        wrap(Timed(), time=time)


def test_a_module_with_other_arguments_is_told_which_are_known() -> None:
    class Odd(Mixer):
        def forward(self, tokens: Tensor, graph: Tensor) -> Tensor:
            return self.mix(tokens)

    with pytest.raises(ModelError, match=r"cannot be called with tokens alone.*'graph'.*attention_mask or valid"):
        wrap(Odd())


def test_a_module_that_cannot_do_without_a_mask_is_given_one_of_ones() -> None:
    class Strict(Placed):
        def forward(self, tokens: Tensor, valid: Tensor) -> Tensor:  # type: ignore[override]
            return super().forward(tokens, valid)

    prompts = [[3, 4, 5], [6]]
    strict, lenient = (
        DiffusionLM.from_module(kind(), vocab_size=VOCABULARY, mask_token_id=MASK) for kind in (Strict, Placed)
    )
    assert strict.denoiser.masks_padding  # type: ignore[attr-defined]
    for given in (prompts, prompts[:1]):
        assert strict.generate(given, gen_length=6).tokens.equal(lenient.generate(given, gen_length=6).tokens)


@pytest.mark.parametrize("end", [VOCABULARY, -1, MASK])
@pytest.mark.parametrize("field", ["eos_token_id", "eot_token_id"])
def test_an_end_that_is_no_token_of_the_module_is_refused(field: str, end: int) -> None:
    ids: dict[str, Any] = {"vocab_size": VOCABULARY, "mask_token_id": MASK, field: end}
    with pytest.raises(ModelError, match=f"other than the mask token's {MASK}, got {end}"):
        DiffusionLM.from_module(Mixer(), **ids)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"vocab_size": "x"}, "vocab_size should be a whole number above 0, got 'x'"),
        ({"vocab_size": 0}, "vocab_size should be a whole number above 0, got 0"),
        ({"max_length": -1}, "max_length should be a whole number above 0, got -1"),
        ({"max_length": "a"}, "max_length should be a whole number above 0, got 'a'"),
        ({"mask_token_id": 3.5}, "mask_token_id should be whole numbers, got 3.5"),
        ({"eos_token_id": "a"}, "eos_token_id and eot_token_id should be whole numbers, got 'a'"),
        ({"eos_token_id": 2.5}, "eos_token_id and eot_token_id should be whole numbers, got 2.5"),
        ({"eot_token_id": True}, "eos_token_id and eot_token_id should be whole numbers, got True"),
    ],
)
def test_sizes_and_ids_of_a_module_are_whole_numbers(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        DiffusionLM.from_module(Mixer(), **{"vocab_size": VOCABULARY, "mask_token_id": MASK, **changes})


def test_what_is_no_module_is_refused() -> None:
    with pytest.raises(ModelError, match="wraps a torch.nn.Module, got function"):
        wrap(lambda tokens: tokens)  # type: ignore[arg-type]


def test_an_encoder_of_two_outputs_may_hold_its_logits_by_name() -> None:
    class Answer:
        def __init__(self, logits: Tensor) -> None:
            self.logits = logits

    class Named(Mixer):
        def forward(self, tokens: Tensor) -> Any:
            return Answer(self.mix(tokens))

    assert wrap(Named()).generate([[1]], gen_length=2).tokens.shape == (1, 2)


class Written(Mixer):
    """Writes into the tokens it is given."""

    def forward(self, tokens: Tensor) -> Tensor:
        logits = super().forward(tokens)
        tokens.fill_(7)
        return logits


@pytest.mark.parametrize("prompts", [[[1, 2, 3], [4, 5, 6]], [[1, 2, 3], [4]]])
def test_a_module_that_writes_into_its_tokens_changes_nothing(prompts: list[list[int]]) -> None:
    clean, written = (wrap(kind()).generate(prompts, gen_length=4) for kind in (Mixer, Written))
    assert torch.equal(clean.canvas, written.canvas)


def test_a_function_of_time_gets_a_mask_and_may_return_integers() -> None:
    class Stepped(Timed):
        def forward(self, tokens: Tensor, t: Tensor) -> Tensor:
            assert t.dtype == torch.int64
            return self.mix(tokens, extra=t.double()[:, None, None])

    seen: list[Tensor] = []

    def time(tokens: Tensor, valid: Tensor) -> Tensor:
        seen.append(valid)
        return ((tokens == MASK) & valid).sum(1)

    wrap(Stepped(), time=time).generate([[1, 2], [3]], gen_length=4, steps=2)
    assert len(seen) >= 5 and all(valid.dtype == torch.bool for valid in seen)


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        ({"vocab_size": 40, "mask_token_id": MASK}, r"Mixer fails on tokens \[\[19, 0, 39\]\].*IndexError"),
        ({"vocab_size": 40, "mask_token_id": 30}, r"Mixer fails on tokens \[\[30, 0, 39\]\].*vocab_size and the ids fit"),
        ({"vocab_size": 19, "mask_token_id": 3}, r"returned torch.float64 of \(1, 3, 20\) where floating-point logits"),
    ],
)
def test_a_vocabulary_that_is_not_the_module_s_is_said_at_once(ids: dict[str, int], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        DiffusionLM.from_module(Mixer(), **ids)


def test_what_a_module_raises_is_told_with_what_it_was_given() -> None:
    class Broken(Mixer):
        def forward(self, tokens: Tensor) -> Tensor:
            raise ZeroDivisionError("nothing to\nshare")

    class Fragile(Placed):
        def forward(self, tokens: Tensor, valid: Tensor | None = None) -> Tensor:
            assert valid is None or bool(valid.all()), "no padding here"
            return super().forward(tokens, valid)

    with pytest.raises(ModelError, match=r"Broken fails on tokens \[\[19, 0, 19\]\].*ZeroDivisionError: nothing to share"):
        wrap(Broken())
    with pytest.raises(ModelError, match=r"Fragile fails on a padded row, which its argument 'valid' .*no padding here"):
        wrap(Fragile())


@pytest.mark.parametrize("dtype", [torch.complex64, torch.int64])
def test_logits_are_floating_point_numbers(dtype: torch.dtype) -> None:
    class Other(Mixer):
        def forward(self, tokens: Tensor) -> Tensor:
            return super().forward(tokens).to(dtype)

    with pytest.raises(ModelError, match=f"returned {dtype} of .* where floating-point logits"):
        wrap(Other())


def test_texts_need_a_tokenizer_and_tokens_do_not() -> None:
    lm = wrap(Mixer())
    out = lm.generate([[1, 2]], gen_length=4)
    assert lm.special.ends == ()
    with pytest.raises(ModelError, match="without a tokenizer"):
        _ = out.texts
    with pytest.raises(Exception, match="give token ids"):
        lm.generate("hello")


@pytest.mark.parametrize(
    "changes",
    [
        {"stop": [{"name": "eos"}]},
        {"logits": [{"name": "guidance", "weight": 1.0}]},
        {"temperature": 1.0},
    ],
    ids=["eos stop", "guidance", "temperature"],
)
def test_parts_that_know_of_ends_do_without(changes: dict[str, Any]) -> None:
    lm = wrap(Mixer())
    together = lm.generate(prompts(), "llada", gen_length=6, steps=3, **changes)
    assert not (together.tokens == MASK).any()
    for number, prompt in enumerate(prompts()):
        alone = lm.generate([prompt], "llada", gen_length=6, steps=3, row_ids=[number], **changes)
        assert torch.equal(alone.tokens[0], together.tokens[number])


def test_a_part_that_cannot_do_without_an_end_says_so() -> None:
    with pytest.raises(ConfigError, match="'forbid-eos': this model has no EOS token"):
        wrap(Mixer()).generate([[1]], gen_length=2, logits=[{"name": "forbid-eos"}])
