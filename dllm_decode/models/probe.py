"""Finds out whether a model sees to the right. Knows only the `Denoiser` protocol."""

from __future__ import annotations

import torch

from dllm_decode.data.inputs import ModelInputs
from dllm_decode.errors import ModelError
from dllm_decode.forward.denoiser import Denoiser

_COLUMNS = 8
_ROWS = 4


@torch.inference_mode()
def is_bidirectional(denoiser: Denoiser, device: torch.device) -> bool:
    """Return whether the last token of a short canvas changes the logits of its first position.

    A causal model run as a denoiser gives plausible logits and nonsense text, so it has to be asked. Costs one
    forward of 4 rows of 8 columns.
    """
    length = min(_COLUMNS, denoiser.max_length or _COLUMNS)
    tokens = torch.full((_ROWS, length), denoiser.special.mask, dtype=torch.int64, device=device)
    tokens[:, -1] = torch.linspace(0, denoiser.vocab_size - 1, _ROWS, device=device).long()
    first = denoiser.logits(ModelInputs(tokens, None, slice(0, 1)))  # (4, 1, V)
    return not bool((first == first[:1]).all())


def refuse_causal(denoiser: Denoiser, device: torch.device, name: str) -> None:
    """Refuse a model that cannot see to the right.

    Raises:
        ModelError: It is causal; the message says what to change.
    """
    if is_bidirectional(denoiser, device):
        return
    import transformers

    raise ModelError(
        f"{name} is causal: its last token does not change the logits of its first position, so it cannot fill masks. "
        "Masked diffusion needs a bidirectional model; stock Llama code runs as one only in transformers >= 5.6 "
        f"(here: {transformers.__version__})."
    )
