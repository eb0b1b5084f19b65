"""A masked language model of `transformers` as a denoiser, whatever its architecture.

Knows no architecture: how padding, positions and the head are to be handled is measured when the model is loaded.
"""

from __future__ import annotations

import inspect
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers.utils.generic import ModelOutput

from dllm_decode.data.inputs import ModelInputs, SpecialTokens
from dllm_decode.errors import ModelError
from dllm_decode.models.others.padding import RowsByLength, comparable, padding_error
from dllm_decode.models.placement import Placement
from dllm_decode.models.probe import refuse_causal
from dllm_decode.models.weights import read_model


class EncoderLM:
    """Logits of the window from a masked language model.

    Positions count from a row's first valid column. Architectures differ in where they start (RoBERTa: behind the
    padding token's id) and in whether they can be told, so the ways of calling the model are tried on a padded batch,
    and the first that gives each row the logits it has alone is kept; if none does, rows of one length run together.
    """

    def __init__(self, model: Any, special: SpecialTokens, device: torch.device) -> None:
        """Take a model with a masked-LM head, in evaluation mode; `device` is that of its inputs."""
        self.model = model
        self.special = special
        self.device = device
        self.dtype: torch.dtype = model.dtype
        self.vocab_size: int = model.config.vocab_size
        self._by_length = RowsByLength()
        names = inspect.signature(model.forward).parameters
        self._takes_mask, self._takes_positions = "attention_mask" in names, "position_ids" in names
        self._first_position: int | None = None
        longest = getattr(model.config, "max_position_embeddings", None)
        self.max_length: int | None = longest if isinstance(longest, int) and longest > 0 else None
        self.masks_padding = self._settle_padding()
        """Whether padded rows go through the model together; else rows of one length do."""
        if self.max_length is not None:
            self.max_length -= self._first_position or 0
        self._windowed_head = self._settle_head()

    @torch.inference_mode()
    def logits(self, inputs: ModelInputs) -> Tensor:
        """Return (B, W, V) logits in the model's dtype, a copy that the caller may change."""
        if self.masks_padding:
            logits = self._window_logits(inputs.tokens, inputs.valid, inputs.window)
        else:
            logits = self._by_length.run(
                inputs.tokens,
                inputs.valid,
                inputs.window,
                lambda tokens, window: self._window_logits(tokens, None, window),
            )
        return logits.to(inputs.tokens.device)

    def _window_logits(self, tokens: Tensor, valid: Tensor | None, window: slice) -> Tensor:
        """Return (B, W, V) logits of (B, L) int64 tokens; (B, L) bool `valid` is False on padding."""
        if not self._windowed_head:
            return self._call(tokens, valid)[:, window].clone()
        return self._call(tokens, valid, window)

    def _call(self, tokens: Tensor, valid: Tensor | None, window: slice | None = None) -> Tensor:
        """Return (B, L, V) logits, or (B, W, V) where the body's states are cut to a window."""
        named: dict[str, Tensor] = {}
        if self._takes_mask:
            # Without one, the library looks for padding tokens in the row and warns of those that are content.
            named["attention_mask"] = (torch.ones_like(tokens) if valid is None else valid).long()
        if self._first_position is not None:
            columns = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
            begins = 0 if valid is None else valid.int().argmax(1, keepdim=True)
            named["position_ids"] = (columns - begins).clamp_min(0) + self._first_position
        token = _WINDOW.set(window)
        try:
            logits: Tensor = self.model(input_ids=tokens, **named).logits
        finally:
            _WINDOW.reset(token)
        return logits

    @torch.inference_mode()
    def _settle_padding(self) -> bool:
        """Choose the first position to pass, or none; return whether padding is then masked out."""
        pad = self.model.config.pad_token_id
        choices: list[int | None] = [None]
        if self._takes_positions:
            choices = [0, *([] if pad is None else [pad + 1]), None]
        for choice in choices if self._takes_mask else ():
            self._first_position = choice
            try:
                error = padding_error(
                    self._call,
                    lambda tokens: (
                        self.model(input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits
                    ),
                    vocab_size=self.vocab_size,
                    filler=self.special.mask,
                    avoid=pad,
                    max_length=(self.max_length or 512) - (choice or 0),
                    device=self.device,
                )
            except (IndexError, RuntimeError, TypeError, ValueError):
                continue  # the architecture does not serve positions from there
            if error <= 1:
                return True
        self._first_position = None
        return False

    @torch.inference_mode()
    def _settle_head(self) -> bool:
        """Let the head see the window's hidden states alone, if the model then gives the same logits."""
        body = getattr(self.model, "base_model", self.model)
        if body is self.model:
            return False
        handle = body.register_forward_hook(_cut)
        tokens = torch.full((1, min(8, self.max_length or 8)), self.special.mask, device=self.device)
        tokens[0, 0] = 0 if self.special.mask else 1
        window = slice(tokens.shape[1] // 4, tokens.shape[1] // 2 + 1)
        try:
            expected = comparable(self._call(tokens, None)[:, window])
            found = comparable(self._call(tokens, None, window))
            if found.shape == expected.shape:
                near = 1e-3 if self.dtype in (torch.float32, torch.float64) else 0.05
                if float((found - expected).abs().max()) <= near * float(expected.abs().max()):
                    return True
        except (IndexError, RuntimeError, TypeError, ValueError):
            pass  # the head needs the whole row
        handle.remove()
        return False


_WINDOW: ContextVar[slice | None] = ContextVar("window", default=None)
"""The columns that the head shall see, in a call of this thread's; None is all of them."""


def _cut(module: Any, given: Any, output: Any) -> Any:
    """Leave the window's (B, W, D) in what the body returns; a forward hook."""
    window = _WINDOW.get()
    if window is not None and isinstance(output, ModelOutput):
        output["last_hidden_state"] = output["last_hidden_state"][:, window]
    return output


def load_encoder(folder: Path, *, special: SpecialTokens, placement: Placement) -> EncoderLM:
    """Load a masked language model with stock `transformers` code.

    Args:
        folder: Holds the config and the weights, as safetensors or `pytorch_model.bin`.
        special: Ids of mask, EOS and EOT.
        placement: The dtype, device and device map asked for.

    Raises:
        ModelError: The weights cannot be read, do not fit or lack the head, or the model turns out causal.
    """
    try:
        config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:
        raise ModelError(f"the checkpoint {folder} cannot be read: {' '.join(str(error).split())}") from None
    model, device, report = read_model(
        transformers.AutoModelForMaskedLM,
        folder,
        config,
        config.dtype or torch.float32,
        placement,
        trust_remote_code=False,
    )
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(
            f"the checkpoint {folder} lacks {len(missing)} tensors ({', '.join(missing[:3])}): it was saved without "
            "its masked-LM head, or for another architecture."
        )
    denoiser = EncoderLM(model, special, device)
    refuse_causal(denoiser, device, str(folder))
    return denoiser
