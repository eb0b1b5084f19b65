"""Models for tests of the engine: a random bidirectional Llama in float64, and one whose logits are a function.

Both obey the denoiser protocol and count their calls; neither uses the package's own model adapters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from dllm_decode.data.canvas import Canvas
from dllm_decode.data.inputs import ModelInputs, SpecialTokens

VOCABULARY = 24
SPECIAL = SpecialTokens(mask=23, eos=1, eot=2, newlines=(3, 4, 5))


class FunctionModel:
    """A denoiser whose logits are a function of (B, L) tokens and (B, L) bool valid, or None."""

    special = SPECIAL
    max_length: int | None = None

    def __init__(self, logits_of: Callable[[Tensor, Tensor | None], Tensor], vocabulary: int = VOCABULARY) -> None:
        self.logits_of, self.vocab_size, self.calls = logits_of, vocabulary, 0

    def logits(self, inputs: ModelInputs) -> Tensor:
        """Return (B, W, V) logits of the window."""
        self.calls += 1
        return self.logits_of(inputs.tokens, inputs.valid)[:, inputs.window].clone()


class RandomModel(FunctionModel):
    """The random Llama of `random_logits`, which also takes extra columns with attention and positions of their own."""

    plans_inputs = True

    def __init__(self, seed: int = 0) -> None:
        super().__init__(lambda tokens, valid: random_logits(tokens, valid, seed))
        self.seed = seed

    def logits(self, inputs: ModelInputs) -> Tensor:
        """Return (B, W + E, V) logits of the window and of the extra columns."""
        if inputs.attention is None:
            return super().logits(inputs)
        self.calls += 1
        assert inputs.positions is not None
        logits = _logits(inputs.tokens, inputs.attention, inputs.positions, self.seed)
        return torch.cat([logits[:, inputs.window], logits[:, logits.shape[1] - inputs.extra :]], dim=1)


@lru_cache(maxsize=4)
def random_llama(seed: int = 0) -> LlamaForCausalLM:
    """Make a bidirectional Llama of two layers in float64 whose predictions differ by position and context.

    Sharp attention and a small embedding of the mask see to that; with equal scales every position says the same.
    """
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.7,
        tie_word_embeddings=False,
    )
    config.is_causal = False
    model = LlamaForCausalLM(config).double().eval()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(False)
        if "q_proj" in name or "k_proj" in name:
            parameter *= 3
    model.get_input_embeddings().weight[SPECIAL.mask] *= 0.02
    model.get_output_embeddings().weight[[1, 2, SPECIAL.mask]] *= 1.6  # ends and the mask are often favoured
    return model


def random_logits(tokens: Tensor, valid: Tensor | None, seed: int = 0) -> Tensor:
    """Return (B, L, V) float64 logits; positions count from each row's first valid column, so padding moves nothing.

    A wave over positions and tokens is added: far from the prompt, masks see much the same and would nearly tie.
    """
    mask = None
    positions = torch.arange(tokens.shape[1]).expand_as(tokens)
    if valid is not None:
        mask = valid[:, None, None, :].expand(-1, 1, tokens.shape[1], -1)
        positions = (valid.cumsum(1) - 1).clamp_min(0)
    return _logits(tokens, mask, positions, seed)


def _logits(tokens: Tensor, attention: Tensor | None, positions: Tensor, seed: int) -> Tensor:
    model = random_llama(seed)
    with torch.no_grad():
        logits = model(input_ids=tokens, attention_mask=attention, position_ids=positions, use_cache=False).logits
    return logits + torch.sin(positions[..., None] * 1.7 + torch.arange(VOCABULARY) * 2.3)  # type: ignore[no-any-return]


def canvas_of(prompts: Sequence[Sequence[int]], gen_length: int, pad: int = SPECIAL.eos or 0) -> Canvas:
    """Return a canvas with the prompts left-padded to one length and `gen_length` undecided columns."""
    width = max(len(prompt) for prompt in prompts)
    rows = [[pad] * (width - len(prompt)) + list(prompt) + [SPECIAL.mask] * gen_length for prompt in prompts]
    tokens = torch.tensor(rows)
    valid = torch.ones_like(tokens, dtype=torch.bool)
    for row, prompt in enumerate(prompts):
        valid[row, : width - len(prompt)] = False
    undecided = torch.zeros_like(valid)
    undecided[:, width:] = True
    return Canvas(
        tokens, undecided, valid, prompt_length=width, mask_id=SPECIAL.mask, padded=not bool(valid.all()), uniform=True
    )
