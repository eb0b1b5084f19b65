"""A denoiser around any `nn.Module` from tokens to logits, for models that have no family.

Knows how the module is called: with which arguments, and what is done where it cannot see padding.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from numbers import Integral
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dllm_decode.data.inputs import ModelInputs, SpecialTokens
from dllm_decode.errors import ModelError
from dllm_decode.models.others.padding import RowsByLength, padding_error

TimeOf = Callable[[Tensor, Tensor], Tensor]
"""From (B, L) int64 tokens and (B, L) bool valid to (B,): the time a module is told; integers stay integers."""

_MASK_NAMES = ("attention_mask", "valid")
_TIME_NAMES = ("t", "time", "timestep", "timesteps", "sigma")


class ModuleDenoiser:
    """Calls `module(tokens)`, with its time and its mask where it takes them, and keeps the window's logits.

    The module maps (B, L) int64 tokens to (B, L, V) logits, or to an object that holds them as `.logits`.

    *Mask.* Where `forward` has an argument `attention_mask` or `valid`, it is given (B, L) bool, False on padding, in
    batches whose rows differ in length, and in all others too if it has no default. That is kept only if a padded row
    then has the logits of the row alone, which is measured here; otherwise, and without such an argument, rows of one
    length are run together, without padding. The tokens are the module's own: it may write into them.

    *Time.* With `time="mask-ratio"` the module is given (B,) of its own dtype: the share of a row's tokens that are
    masks; with a function, what that returns, integers as they are. It goes to the argument `t`, `time`, `timestep`,
    `timesteps` or `sigma`, or, if `forward` has none of them, to the second one.
    """

    def __init__(
        self,
        module: nn.Module,
        special: SpecialTokens,
        vocab_size: int,
        max_length: int | None = None,
        *,
        time: Literal["mask-ratio"] | TimeOf | None = None,
    ) -> None:
        """Put the module into evaluation mode and find out how it treats padding.

        Raises:
            ModelError: It is no module, it wants arguments that it would not get, or it does not give logits.
        """
        if not isinstance(module, nn.Module):
            raise ModelError(f"from_module() wraps a torch.nn.Module, got {type(module).__name__}.")
        for name, size in (("vocab_size", vocab_size), ("max_length", max_length)):
            if (name, size) != ("max_length", None) and (size is None or not _is_whole(size) or size < 1):
                raise ModelError(f"{name} should be a whole number above 0, got {size!r}.")
        for name, one in (("mask_token_id", special.mask), *(("eos_token_id and eot_token_id", end) for end in special.ends)):
            if not _is_whole(one):
                raise ModelError(f"{name} should be whole numbers, got {one!r}.")
        if not 0 <= special.mask < vocab_size:
            raise ModelError(
                f"mask_token_id {special.mask} is no id of a vocabulary of {vocab_size} entries."
            )
        if outside := [end for end in special.ends if not 0 <= end < vocab_size or end == special.mask]:
            raise ModelError(
                f"eos_token_id and eot_token_id should be ids of the vocabulary of {vocab_size} entries other than the "
                f"mask token's {special.mask}, got {outside[0]}; leave out what the model does not have."
            )
        if not (time is None or time == "mask-ratio" or callable(time)):
            raise ModelError(
                f"time should be 'mask-ratio' or a function of (tokens, valid), got {time!r}; leave it out for a "
                "module that takes no time."
            )
        self.module = module.eval()
        self.special = special
        self.vocab_size = vocab_size
        self.max_length = max_length
        parameter = next(module.parameters(), None)
        self.device = torch.device("cpu") if parameter is None else parameter.device
        self.dtype = torch.float32 if parameter is None else parameter.dtype
        self._time_of: TimeOf | None = self._mask_ratio if time == "mask-ratio" else time
        self._mask_name, self._time_name, self._wants_mask = _arguments(module, time is not None)
        self._by_length = RowsByLength()
        self._try_every_kind_of_row()
        self.masks_padding = self._mask_name is not None and self._padding_error() <= 1
        """Whether padded rows go through the module together; else rows of one length do."""

    @torch.inference_mode()
    def logits(self, inputs: ModelInputs) -> Tensor:
        """Return (B, W, V) logits, a copy that the caller may change."""
        if self.masks_padding:
            return self._call(inputs.tokens, inputs.valid)[:, inputs.window].clone()
        return self._by_length.run(
            inputs.tokens,
            inputs.valid,
            inputs.window,
            lambda tokens, window: self._call(tokens, None)[:, window].clone(),
        )

    def _call(self, tokens: Tensor, valid: Tensor | None) -> Tensor:
        """Return (B, L, V) logits of (B, L) int64 tokens."""
        positional, named = [tokens.clone()], {}
        everywhere = torch.ones_like(tokens, dtype=torch.bool) if valid is None else valid.clone()
        if self._time_of is not None:
            time = self._time_of(tokens, everywhere)
            if not isinstance(time, Tensor) or tuple(time.shape) != tokens.shape[:1]:
                given = str(tuple(time.shape)) if isinstance(time, Tensor) else type(time).__name__
                raise ModelError(f"time= returned {given} where ({tokens.shape[0]},) was expected, one a row.")
            time = time.to(self.dtype) if time.is_floating_point() else time
            if self._time_name is None:
                positional.append(time)
            else:
                named[self._time_name] = time
        if self._mask_name is not None and (valid is not None or self._wants_mask):
            named[self._mask_name] = everywhere
        answer = self.module(*positional, **named)
        logits = getattr(answer, "logits", answer)
        expected = (*tokens.shape, self.vocab_size)
        if not isinstance(logits, Tensor) or tuple(logits.shape) != expected or not logits.is_floating_point():
            shown = f"{logits.dtype} of {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
            raise ModelError(
                f"{type(self.module).__name__} returned {shown} where floating-point logits {expected} were expected."
            )
        return logits

    def _mask_ratio(self, tokens: Tensor, valid: Tensor) -> Tensor:
        """Return (B,) float32, the share of a row's tokens that are masks."""
        return ((tokens == self.special.mask) & valid).sum(1) / valid.sum(1).clamp_min(1)

    @torch.inference_mode()
    def _try_every_kind_of_row(self) -> None:
        """Run the module on its mask, its ends, and the first and the last id of the vocabulary.

        Raises:
            ModelError: It cannot: what it was given, and what it raised.
        """
        ids = (self.special.mask, *self.special.ends, 0, self.vocab_size - 1)
        tokens = torch.tensor([ids[: self.max_length]], device=self.device)
        try:
            self._call(tokens, None)
        except ModelError:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise ModelError(
                f"{type(self.module).__name__} fails on tokens {tokens.tolist()}, its mask, its ends and both ends of a "
                f"vocabulary of {self.vocab_size} entries: {reason.rstrip('.')}. Do vocab_size and the ids fit the module?"
            ) from None

    def _padding_error(self) -> float:
        """Return how far padding moves a row's logits; a module that raises on padded rows does not mask them."""
        try:
            with torch.inference_mode():
                return padding_error(
                    self._call,
                    lambda tokens: self._call(tokens, None),
                    vocab_size=self.vocab_size,
                    filler=self.special.mask,
                    avoid=None,
                    max_length=self.max_length,
                    device=self.device,
                )
        except ModelError:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise ModelError(
                f"{type(self.module).__name__} fails on a padded row, which its argument {self._mask_name!r} masks with a "
                f"(2, L) bool tensor: {reason}"
            ) from None


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _arguments(module: nn.Module, timed: bool) -> tuple[str | None, str | None, bool]:
    """Return the names of `forward`'s arguments for mask and time, and whether the mask has no default.

    A name is None where `forward` has no argument of a known one.

    Raises:
        ModelError: `forward` cannot be called with what it would be given.
    """
    try:
        signature = inspect.signature(module.forward)
    except (TypeError, ValueError):
        return None, None, False
    names = signature.parameters
    mask = next((name for name in _MASK_NAMES if name in names), None)
    time = next((name for name in _TIME_NAMES if name in names), None)
    kind = type(module).__name__
    if time is not None and not timed and names[time].default is inspect.Parameter.empty:
        raise ModelError(
            f"{kind}.forward takes {time!r}: say what it is. from_module(..., time='mask-ratio') gives it the share of "
            "a row's tokens that are masks; a function of (tokens, valid) gives it what that returns."
        )
    given: dict[str, Any] = {time: None} if timed and time is not None else {}
    try:
        signature.bind(
            *[None] * (2 if timed and time is None else 1), **given, **({mask: None} if mask else {})
        )
    except TypeError as error:
        raise ModelError(
            f"{kind}.forward{signature} cannot be called with tokens{' and a time' if timed else ''} alone: {error}. "
            f"It may take (B, L) int64 tokens, a mask named {' or '.join(_MASK_NAMES)}, and with time= a (B,) time."
        ) from None
    return mask, time, mask is not None and names[mask].default is inspect.Parameter.empty
