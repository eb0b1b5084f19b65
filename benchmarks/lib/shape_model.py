"""Models of a given shape with random weights, made on the device in their own dtype: no checkpoint, no second copy.

Knows the shapes, what is measured on each, and how to build them; measuring is the benchmarks' business.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.lib.bare import DenoiserForward, Forward, StockForward
from benchmarks.lib.measuring import prompts_of
from benchmarks.lib.roofline import Sizes
from dllm_decode import DiffusionLM
from dllm_decode.data.inputs import SpecialTokens
from dllm_decode.errors import ModelError
from dllm_decode.models.llama.llama import BidirectionalLlama


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured on a shape. Lengths are in tokens; budgets are those of strategies' papers, or small ones."""

    prompt_length: int = 256
    gen_lengths: tuple[int, ...] = (256, 512, 1024)
    batches: tuple[int, ...] = (1, 4, 16, 64)
    block_length: int = 32
    tokens_a_step: int = 4
    """Of decodes with a cache."""
    uncached_steps: int = 32
    cached_batches: tuple[int, ...] = (1, 4, 16)
    """Batches of the cached step, at the first generation length; the other lengths take the first batch."""
    memory: tuple[int, int] = (64, 1024)
    """Rows and columns of the memory target."""
    said_prompt_length: int = 128
    said: tuple[tuple[str, int, int], ...] = (("GSM8K", 512, 256), ("ARC-C", 512, 86), ("GPQA", 64, 4))
    """Name, generation length and scaffold steps."""
    said_block: tuple[int, int, int] = (512, 32, 128)
    """Generation length, block length and steps."""
    said_block_batches: tuple[int, ...] = (1, 16)
    copy_bytes: int = 2**30
    matmul_rows: tuple[int, ...] = (512, 1280, 8192)

    def one_of_each(self) -> Plan:
        """Return the plan with the first of every list: compiling each further shape takes longer than timing it."""
        return replace(
            self,
            gen_lengths=self.gen_lengths[:1],
            batches=self.batches[:1],
            cached_batches=self.cached_batches[:1],
            said=self.said[:1],
            said_block_batches=self.said_block_batches[:1],
        )


SMALL_PLAN = Plan(
    prompt_length=16,
    gen_lengths=(16, 32),
    batches=(1, 2),
    block_length=8,
    tokens_a_step=2,
    uncached_steps=4,
    cached_batches=(1, 2),
    memory=(2, 32),
    said_prompt_length=8,
    said=(("GSM8K", 32, 16), ("ARC-C", 32, 6), ("GPQA", 16, 2)),
    said_block=(32, 8, 16),
    said_block_batches=(1,),
    copy_bytes=2**22,
    matmul_rows=(32,),
)


@dataclass(frozen=True, slots=True)
class Shape:
    """A model's dimensions and tokens."""

    name: str
    sizes: Sizes
    dtype: torch.dtype
    max_length: int
    special: SpecialTokens
    plan: Plan
    rope_theta: float = 500_000.0
    rms_norm_eps: float = 1e-5


SHAPES = {
    "llada-8b": Shape(
        "llada-8b",
        Sizes(hidden=4096, layers=32, heads=32, kv_heads=32, mlp=12288, vocabulary=126464, itemsize=2),
        torch.bfloat16,
        max_length=4096,
        special=SpecialTokens(mask=126336, eos=126081, eot=126348),
        plan=Plan(),
    ),
    # For tests on a CPU.
    "small": Shape(
        "small",
        Sizes(hidden=64, layers=2, heads=4, kv_heads=4, mlp=192, vocabulary=512, itemsize=4),
        torch.float32,
        max_length=256,
        special=SpecialTokens(mask=511, eos=509, eot=510),
        plan=SMALL_PLAN,
    ),
}


@dataclass(frozen=True)
class Subject:
    """A model that is measured."""

    shape: Shape
    lm: DiffusionLM
    device: torch.device
    compiled: bool = False

    @property
    def model(self) -> Any:
        """The stock `LlamaForCausalLM`."""
        return self.lm.denoiser.model  # type: ignore[attr-defined]

    def bare(self, keeps: bool) -> Forward:
        """Return the forward that decodes are set beside; `keeps` says whether it keeps keys and values."""
        if self.compiled:
            return DenoiserForward(self.lm.denoiser, keeps)
        return StockForward(self.model, keeps)

    @cached_property
    def weight_bytes(self) -> int:
        """Bytes of the weights as they lie on the device."""
        return sum(each.numel() * each.element_size() for each in self.model.parameters())

    def prompt(self, rows: int, length: int) -> Tensor:
        """Return (rows, length) int64 ordinary tokens, the same in every run, on the host as a tokenizer's are."""
        return prompts_of(self.lm, rows, length)

    def canvas(self, rows: int, prompt_length: int, gen_length: int) -> Tensor:
        """Return (rows, prompt_length + gen_length) int64: a prompt and masks, on the device."""
        tail = torch.full((rows, gen_length), self.shape.special.mask)
        return torch.cat([self.prompt(rows, prompt_length), tail], dim=1).to(self.device)


def build(shape: Shape, device: torch.device) -> Subject:
    """Return a model of the shape with random weights, created on the device in the shape's dtype."""
    sizes = shape.sizes
    config = LlamaConfig(
        vocab_size=sizes.vocabulary,
        hidden_size=sizes.hidden,
        intermediate_size=sizes.mlp,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        num_key_value_heads=sizes.kv_heads,
        max_position_embeddings=shape.max_length,
        rms_norm_eps=shape.rms_norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_theta},
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
    )
    config.is_causal = False
    config.use_cache = False
    config._attn_implementation = "sdpa"
    with torch.device("meta"):
        model: Any = LlamaForCausalLM(config)
    model = model.to(dtype=shape.dtype).to_empty(device=device)
    # Rotary frequencies are computed, not drawn, and stay float32 in every dtype.
    rotary: Any = type(model.model.rotary_emb)
    model.model.rotary_emb = rotary(config=config).to(device)
    model.requires_grad_(False)
    model.train(False)
    fill(model, sizes)
    denoiser = BidirectionalLlama(model, shape.special, shape.max_length, device)
    return Subject(shape, DiffusionLM(denoiser, name=shape.name), device)


def fill(model: Any, sizes: Sizes) -> None:
    """Draw the weights so that activations, scores and logits are about as large as 1 at any depth.

    A matrix's entries have a variance of 1 / inputs; those that add to the residual stream are smaller by the root of
    the 2 layers that add.
    """
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            parameter.fill_(1)
        elif "embed_tokens" in name:
            parameter.normal_()
        else:
            adds = "o_proj" in name or "down_proj" in name
            parameter.normal_(std=(parameter.shape[1] * (2 * sizes.layers if adds else 1)) ** -0.5)


def compiled(subject: Subject) -> Subject:
    """Return the subject with its denoiser compiled.

    Raises:
        ModelError: This version of the package cannot compile a model.
    """
    compile_ = getattr(subject.lm.denoiser, "compile", None)
    if not callable(compile_):
        raise ModelError(
            f"{type(subject.lm.denoiser).__name__} has no compile() in this version of dllm_decode; "
            "leave --compile out."
        )
    compile_()
    return replace(subject, compiled=True)
