"""The statistics of a vocabulary in one pass over the logits, as a Triton kernel with one program a position.

Knows only the proposal at temperature 0; the definitions, and all that is not served here, are those of
`vocabulary_statistics`. Imports where Triton is missing, and then serves nothing.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection
from functools import lru_cache
from importlib import import_module
from typing import Any, no_type_check

import torch
from torch import Tensor

from dllm_decode.data.inputs import SpecialTokens
from dllm_decode.data.stats import VocabStats

triton: Any
tl: Any  # by this name: Triton looks for its language among the globals of the kernel's module
try:
    triton, tl = import_module("triton"), import_module("triton.language")
except ImportError:  # Windows, and the CPU builds of torch
    triton = tl = None

SERVED = frozenset({"content", "second", "entropy", "undecided", "decided"})
"""The needs this pass can answer; the last two are about positions and ask nothing of it."""

_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_BLOCK = 4096  # logits a step of the loop: 16 a thread, whose running values still fit its registers
_WARPS = 8


@no_type_check  # Triton reads annotations too, and knows only its own
def _scan(
    logits,
    tokens,
    values,
    width,
    vocabulary,
    row_stride,
    column_stride,
    token_stride,
    mask,
    eos,
    eot,
    CONTENT: tl.constexpr,
    SECOND: tl.constexpr,
    ENTROPY: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Read one position's logits once, from left to right, and write its token and what else is wanted of it.

    Each of the BLOCK lanes keeps running values of the tokens that are congruent to it; only the largest logit so far
    is shared, and what was summed is scaled down whenever it grows (Milakov and Gimelshein 2018). The lanes meet
    after the loop.

    Args:
        logits: (B, W, V) floating, by strides; a position's row and column follow from the program's number.
        tokens: (B * W,) int64, written.
        values: (4, B * W) float32, written: probability, content probability, second probability, entropy.
        width: W.
        vocabulary: V.
        row_stride: Elements from a row to the next.
        column_stride: Elements from a column to the next.
        token_stride: Elements from a token's logit to the next token's.
        mask: The id that is never proposed.
        eos: An id that ends an answer, or -1.
        eot: Another, or -1.
        CONTENT: Whether to write the content probability.
        SECOND: Whether to write the second probability.
        ENTROPY: Whether to write the entropy.
        BLOCK: Logits a step, a power of two.
    """
    position = tl.program_id(0).to(tl.int64)  # 64 bits: a batch of long canvases has more than 2**31 logits
    first = logits + (position // width) * row_stride + (position % width) * column_stride
    lanes = tl.arange(0, BLOCK)
    # The smallest float32 and not -inf, so that a block of impossible tokens does not subtract -inf from -inf.
    largest = -3.4028234663852886e38
    total = tl.zeros([BLOCK], tl.float32)  # of exp(logit - largest)
    content = tl.zeros([BLOCK], tl.float32)  # the same without the ends
    energy = tl.zeros([BLOCK], tl.float32)  # of exp(logit - largest) * (logit - largest)
    best = tl.full([BLOCK], -float("inf"), tl.float32)
    second = tl.full([BLOCK], -float("inf"), tl.float32)
    token = lanes
    for start in range(0, vocabulary, BLOCK):
        columns = start + lanes
        places = first + columns.to(tl.int64) * token_stride
        logit = tl.load(places, mask=columns < vocabulary, other=-float("inf")).to(tl.float32)
        larger = tl.maximum(largest, tl.max(logit, axis=0))
        growth = largest - larger
        shrink = tl.exp(growth)
        shifted = logit - larger
        weight = tl.exp(shifted)
        if ENTROPY:
            # Neither an infinite growth nor an infinite logit may meet the zero that it is multiplied by.
            energy = (energy + tl.maximum(growth, -1e30) * total) * shrink
            energy += weight * tl.maximum(shifted, -1e30)
        total = total * shrink + weight
        if CONTENT:
            content = content * shrink + tl.where((columns == eos) | (columns == eot), 0.0, weight)
        largest = larger
        candidate = tl.where(columns == mask, -float("inf"), logit)
        if SECOND:
            second = tl.maximum(second, tl.minimum(best, candidate))
        better = candidate > best  # strictly, so that of equal logits a lane keeps the smallest id
        best = tl.where(better, candidate, best)
        token = tl.where(better, columns, token)
    top = tl.max(best, axis=0)
    chosen = tl.min(tl.where(best == top, token, vocabulary), axis=0)
    everything = tl.sum(total, axis=0)
    own = tl.exp(top - largest)
    probability = own / everything  # a NaN logit is in the sum, and where nothing is possible this is 0 / 0
    tl.store(tokens + position, chosen.to(tl.int64))
    tl.store(values + position, probability)
    count = tl.num_programs(0).to(tl.int64)
    if CONTENT:
        rest = tl.sum(content, axis=0)
        # At least the smallest normal float32.
        rest = tl.where(rest < 1.1754943508222875e-38, 1.1754943508222875e-38, rest)
        share = tl.where(probability == probability, own / rest, probability)
        tl.store(values + count + position, tl.where((chosen == eos) | (chosen == eot), 0.0, share))
    if SECOND:
        rival = tl.max(tl.where(token == chosen, second, best), axis=0)  # of its own lane, the runner-up
        tl.store(values + 2 * count + position, tl.exp(rival - largest) / everything)
    if ENTROPY:
        tl.store(values + 3 * count + position, tl.log(everything) - tl.sum(energy, axis=0) / everything)


# Not specialized: the width and the ids differ from call to call and from model to model, and gain nothing.
_kernel: Any = triton and triton.jit(_scan, do_not_specialize=["width", "mask", "eos", "eot"])
# Triton asked for TRITON_INTERPRET just now and will not ask again.
_interpreted = triton is not None and not isinstance(_kernel, triton.JITFunction)


@lru_cache
def _works(device: torch.device, dtype: torch.dtype) -> bool:
    """Try the kernel: Triton also wants a C compiler, Python's headers, and a GPU that it knows the dtype on."""
    try:
        fused_statistics(torch.zeros(1, 1, 16, dtype=dtype, device=device), SpecialTokens(mask=0), ())
    except Exception as error:
        warnings.warn(
            f"Triton fails for {dtype} on {device}, so statistics of the vocabulary are read by PyTorch's own "
            f"operations: the results are the same, the time is longer. {type(error).__name__}: {error}",
            RuntimeWarning,
            stacklevel=3,
        )
        return False
    return True


def serves(logits: Tensor, needs: Collection[str], temperature: float) -> bool:
    """Return whether `fused_statistics` can answer, without waiting for the device.

    The first question about a device and a dtype compiles the kernel; where that fails, a warning says why.

    Args:
        logits: (..., V); served are float32, bfloat16 and float16 on a GPU, or anywhere under Triton's interpreter.
        needs: Names of statistics; "distribution" is not served.
        temperature: Gumbel temperature; only 0 is served.
    """
    return (
        triton is not None
        and temperature == 0
        and logits.dtype in _DTYPES
        and logits.dim() <= 3
        and SERVED.issuperset(needs)
        and (_interpreted or (logits.is_cuda and _works(logits.device, logits.dtype)))
    )


def fused_statistics(logits: Tensor, special: SpecialTokens, needs: Collection[str]) -> VocabStats:
    """Read from the logits what `vocabulary_statistics` reads at temperature 0, without writing anything of size V.

    Args:
        logits: (V,), (N, V) or (B, W, V), float32, bfloat16 or float16, with any strides; left unchanged.
        special: Mask, EOS and EOT ids.
        needs: Names of statistics beyond token and probability, from `SERVED`.

    Returns:
        Fields of the logits' leading shape. The best token's probability is `probability` itself. Where a logit is NaN
        or none is possible, the probability is NaN and the token any id.
    """
    leading, vocabulary = logits.shape[:-1], logits.shape[-1]
    tokens = torch.empty(leading, dtype=torch.int64, device=logits.device)
    values = torch.empty(4, *leading, dtype=torch.float32, device=logits.device)
    content, second, entropy = "content" in needs, "second" in needs, "entropy" in needs
    eos, eot = (*special.ends, -1, -1)[:2]
    while logits.dim() < 3:
        logits = logits[None]
    # A lone row's stride means nothing and differs between windows; as 0 it does not make Triton compile again.
    strides = [0 if size == 1 else stride for size, stride in zip(logits.shape, logits.stride(), strict=True)]
    given = (logits, tokens, values, logits.shape[1], vocabulary, *strides, special.mask, eos, eot)
    flags = {"CONTENT": content, "SECOND": second, "ENTROPY": entropy}
    if tokens.numel():
        with torch.cuda.device(logits.get_device()):  # the current device is where Triton launches
            _kernel[(tokens.numel(),)](*given, **flags, BLOCK=_BLOCK, num_warps=_WARPS)
    return VocabStats(
        tokens,
        values[0],
        content_probability=values[1] if content else None,
        top_probability=values[0] if second else None,
        second_probability=values[2] if second else None,
        entropy=values[3] if entropy else None,
    )
