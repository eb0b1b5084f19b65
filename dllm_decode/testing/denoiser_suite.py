"""The conformance suite for models: windows, padding, batches, caches and planned inputs of one denoiser.

Knows the `Denoiser` protocol only; how a checkpoint is loaded is the author's fixture.
"""

from __future__ import annotations

from typing import Any, ClassVar, cast

import pytest
import torch
from torch import Tensor

from dllm_decode.data.inputs import ModelInputs
from dllm_decode.forward.denoiser import CachingDenoiser, HeadedDenoiser
from dllm_decode.models.probe import is_bidirectional
from dllm_decode.testing.config_suite import fail

_LENGTH = 12
_ROWS = 3


class DenoiserSuite:
    """Conformance of a model: subclass and give a fixture `denoiser` that returns a loaded one, better a small one."""

    tolerance: ClassVar[float] = 1e-4
    """How far two ways to compute one logit may differ, relative to the largest logit."""

    @pytest.fixture
    def denoiser(self) -> Any:
        """Return the model under test."""
        raise pytest.UsageError(
            f"{type(self).__name__} needs a fixture `denoiser` that returns a loaded model."
        )

    def test_it_says_what_it_is(self, denoiser: Any) -> None:
        """Vocabulary, special tokens and the longest canvas are attributes."""
        name, vocabulary = type(denoiser).__name__, denoiser.vocab_size
        ids = [denoiser.special.mask, *denoiser.special.ends]
        if any(not 0 <= token < vocabulary for token in ids):
            fail(f"{name}: special ids {ids} should lie in its vocabulary of {vocabulary} entries.")
        if denoiser.max_length is not None and denoiser.max_length < 1:
            fail(f"{name}.max_length is {denoiser.max_length}; give the longest canvas in tokens, or None.")

    def test_logits_have_the_windows_shape(self, denoiser: Any) -> None:
        """(B, W, V) and floating, for the window that was asked for."""
        for window in (slice(0, _LENGTH), slice(4, 7), slice(_LENGTH - 1, _LENGTH)):
            logits = _ask(denoiser, _tokens(denoiser), None, window)
            expected = (_ROWS, window.stop - window.start, denoiser.vocab_size)
            if tuple(logits.shape) != expected or not logits.is_floating_point():
                fail(
                    f"{_name(denoiser)} returned {tuple(logits.shape)} {logits.dtype} for the window "
                    f"{window.start}:{window.stop}; (B, W, V) = {expected} floating was expected."
                )

    def test_a_window_is_a_part_of_the_whole(self, denoiser: Any) -> None:
        """Which columns are asked for does not change what they say."""
        whole = _ask(denoiser, _tokens(denoiser), None, slice(0, _LENGTH))
        part = _ask(denoiser, _tokens(denoiser), None, slice(4, 7))
        self._assert_equal(
            denoiser, part, whole[:, 4:7], "the window 4:7 and the same columns of a full forward"
        )

    def test_it_sees_to_the_right(self, denoiser: Any) -> None:
        """A causal model gives plausible logits and nonsense text."""
        if not is_bidirectional(denoiser, _device(denoiser)):
            fail(
                f"{_name(denoiser)} is causal: the last token does not change the logits of the first position."
            )

    def test_tokens_stay_as_they_were_and_logits_are_a_copy(self, denoiser: Any) -> None:
        """The caller works on the logits in place; the next call must not see that."""
        tokens = _tokens(denoiser)
        before = tokens.clone()
        first = _ask(denoiser, tokens, None, slice(0, _LENGTH))
        kept = first.clone()
        with torch.inference_mode():
            first.fill_(torch.nan)
        second = _ask(denoiser, tokens, None, slice(0, _LENGTH))
        if not torch.equal(tokens, before):
            fail(f"{_name(denoiser)}.logits() changed inputs.tokens, which belong to the canvas.")
        if not torch.equal(second, kept):
            fail(
                f"{_name(denoiser)}.logits() gave other logits the second time; return a fresh tensor (.clone())."
            )

    def test_a_padded_row_says_what_it_says_alone(self, denoiser: Any) -> None:
        """Left padding is seen by nobody and moves no position."""
        tokens = _tokens(denoiser)
        padding = 3
        padded = torch.cat([tokens[:, :padding], tokens], dim=1)
        valid = torch.ones_like(padded, dtype=torch.bool)
        valid[:, :padding] = False
        window = slice(padding, padding + _LENGTH)
        self._assert_equal(
            denoiser,
            _ask(denoiser, padded, valid, window),
            _ask(denoiser, tokens, None, slice(0, _LENGTH)),
            "a row behind padding and the row alone",
        )

    def test_a_row_does_not_see_its_batch_mates(self, denoiser: Any) -> None:
        """Row 0 in a batch of three and row 0 alone."""
        tokens, window = _tokens(denoiser), slice(0, _LENGTH)
        together = _ask(denoiser, tokens, None, window)[:1]
        self._assert_equal(
            denoiser, together, _ask(denoiser, tokens[:1], None, window), "a row in a batch and the row alone"
        )

    def test_columns_of_each_rows_own_say_what_the_window_says(self, denoiser: Any) -> None:
        """A model with `hidden` and `head` may be asked for some columns of each row."""
        if not isinstance(denoiser, HeadedDenoiser):
            pytest.skip(f"{_name(denoiser)} has no head of its own")
        tokens, window = _tokens(denoiser), slice(4, 10)
        columns = torch.tensor([[9, 4, 6], [5, 5, 8], [4, 7, 9]], device=tokens.device)
        whole = _ask(denoiser, tokens, None, window)
        expected = whole.gather(1, (columns - window.start)[..., None].expand(-1, -1, whole.shape[2]))
        found = _logits(denoiser, ModelInputs(tokens, None, window, columns=columns))
        self._assert_equal(denoiser, found, expected, "columns of each row's own and the same ones of a window")
        with torch.inference_mode():
            apart = denoiser.head(denoiser.hidden(ModelInputs(tokens, None, window)))
        self._assert_equal(denoiser, apart, whole, "head(hidden(inputs)) and logits(inputs)")

    def test_a_cached_forward_equals_a_full_one_where_nothing_changed(self, denoiser: Any) -> None:
        """Reused keys and values are those that a full forward would compute."""
        if not isinstance(denoiser, CachingDenoiser):
            pytest.skip(f"{_name(denoiser)} caches nothing")
        tokens, window = _tokens(denoiser), slice(4, 7)
        cache = denoiser.new_cache()
        full = _logits(denoiser, ModelInputs(tokens, None, window, cache, None))
        for columns in (slice(4, _LENGTH), slice(4, 7)):
            again = _logits(denoiser, ModelInputs(tokens, None, window, cache, columns))
            self._assert_equal(
                denoiser, again, full, f"columns {columns.start}:{columns.stop} from the cache"
            )
        # A cache of one decode must know nothing of another's.
        other = _logits(denoiser, ModelInputs(tokens.flip(0), None, window, denoiser.new_cache(), None))
        self._assert_equal(denoiser, other, full.flip(0), "a second cache and the first")

    def test_planned_inputs_mean_what_they_say(self, denoiser: Any) -> None:
        """A model with `plans_inputs` takes an attention mask, positions and columns after the canvas."""
        if not getattr(denoiser, "plans_inputs", False):
            pytest.skip(f"{_name(denoiser)} plans no inputs")
        tokens, window, extra = _tokens(denoiser), slice(4, 7), 2
        plain = _ask(denoiser, tokens, None, window)
        length, total = _LENGTH, _LENGTH + extra
        columns = torch.arange(length, device=tokens.device)
        # The extra columns repeat columns 4 and 5 and see what those see; the canvas does not see them.
        repeated = slice(4, 4 + extra)
        attention = torch.zeros(_ROWS, 1, total, total, dtype=torch.bool, device=tokens.device)
        attention[..., :length] = True
        logits = _logits(
            denoiser,
            ModelInputs(
                torch.cat([tokens, tokens[:, repeated]], dim=1),
                None,
                window,
                attention=attention,
                positions=torch.cat([columns, columns[repeated]]).expand(_ROWS, -1),
                extra=extra,
            ),
        )
        if logits.shape[1] != 3 + extra:
            fail(
                f"{_name(denoiser)} returned {logits.shape[1]} columns; the window's 3 and {extra} extra were expected."
            )
        self._assert_equal(denoiser, logits[:, :3], plain, "the window beside columns it cannot see")
        self._assert_equal(denoiser, logits[:, 3:], plain[:, :extra], "extra columns and those they repeat")

    def _assert_equal(self, denoiser: Any, one: Tensor, other: Tensor, what: str) -> None:
        difference = float(
            (one.double() - other.double()).abs().max() / other.double().abs().max().clamp_min(1e-9)
        )
        if not difference <= self.tolerance:
            fail(
                f"{_name(denoiser)}: {what} differ by {difference:.2g} of the largest logit; {self.tolerance:g} is "
                "allowed (`tolerance`)."
            )


def _ask(denoiser: Any, tokens: Tensor, valid: Tensor | None, window: slice) -> Tensor:
    return _logits(denoiser, ModelInputs(tokens, valid, window))


def _logits(denoiser: Any, inputs: ModelInputs) -> Tensor:
    with torch.inference_mode():
        return cast(Tensor, denoiser.logits(inputs))


def _tokens(denoiser: Any) -> Tensor:
    """(3, 12) int64: ordinary tokens spread over the vocabulary, and masks."""
    spread: Tensor = torch.arange(_ROWS * _LENGTH).reshape(_ROWS, _LENGTH) * 7919 % denoiser.vocab_size
    spread[:, 5:9] = denoiser.special.mask
    return spread.to(_device(denoiser))


def _device(denoiser: Any) -> torch.device:
    return torch.device(getattr(denoiser, "device", "cpu"))


def _name(denoiser: Any) -> str:
    return type(denoiser).__name__
