"""`DiffusionLM`: a loaded model that generates and fills in text with any strategy, in batches.

Knows the way from prompts to canvases and back to texts; the decoding itself is the engine's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from dllm_decode.data.inputs import SpecialTokens
from dllm_decode.decoding.commit import OnStep
from dllm_decode.errors import ConfigError, ModelError
from dllm_decode.fingerprints import fingerprint as named
from dllm_decode.fingerprints import folder_fingerprint
from dllm_decode.forward.denoiser import Denoiser
from dllm_decode.generation.about import tell_about
from dllm_decode.generation.answers import Generation, answer_texts, infilled_texts
from dllm_decode.generation.batches import OnRows, Options, decode_parts, decode_table
from dllm_decode.generation.chat import Chat, has_template
from dllm_decode.generation.context import over_long, refuse_over_long
from dllm_decode.generation.prompts import read_prompts
from dllm_decode.generation.streaming import stream_prefixes
from dllm_decode.generation.table import Table, region_starts
from dllm_decode.models.load import FACTORY, call_factory, load_model
from dllm_decode.models.others.module import ModuleDenoiser, TimeOf
from dllm_decode.models.placement import Placement
from dllm_decode.models.probe import refuse_causal
from dllm_decode.models.tokenizer import Tokenizer, line_breaks
from dllm_decode.strategy.resolve import StrategySource, resolve
from dllm_decode.strategy.strategy import Strategy


class DiffusionLM:
    """A masked diffusion language model with its tokenizer."""

    def __init__(
        self,
        denoiser: Denoiser,
        tokenizer: Tokenizer | None = None,
        *,
        name: str = "custom",
        folder: Path | None = None,
        fingerprint: str | None = None,
    ) -> None:
        """Take a denoiser that is ready to use; `from_pretrained` and `from_module` make one.

        Args:
            denoiser: Answers with logits. It should be bidirectional, which is not looked into here.
            tokenizer: None to work with token ids only: prompts are then tensors, and there are no texts.
            name: What records and presets call the model.
            folder: The checkpoint's files, which outcomes and presets are kept by; None for a model that lies on no
                disk, whose outcomes are not kept unless it has a fingerprint of its own.
            fingerprint: Your own name for exactly these weights and this code, which outcomes and presets are kept by
                instead; change it when they change.
        """
        self.denoiser = denoiser
        self.tokenizer = tokenizer
        self.name = name
        self.folder = folder
        self._named = fingerprint

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path,
        *,
        dtype: str | torch.dtype | None = None,
        device: str | torch.device | None = None,
        device_map: str | dict[str, Any] | None = None,
        eot_token_id: int | None = None,
        mask_token_id: int | None = None,
        tokenizer: Tokenizer | None = None,
        compile: bool = False,
    ) -> Self:
        """Load an embedded model, a checkpoint folder or a model of the hub, or let a function of yours make one.

        Args:
            name_or_path: "tiny", a folder, a hub id such as "GSAI-ML/LLaDA-8B-Instruct", or "package.module:function",
                which is called without arguments and returns a `DiffusionLM`.
            dtype: Of the weights; None or "auto" is the checkpoint's on CUDA and float32 on the CPU.
            device: None is CUDA where there is one, else the CPU.
            device_map: As in accelerate; instead of `device`.
            eot_token_id: The end-of-turn token where neither tokenizer nor format tells.
            mask_token_id: The mask token where neither config nor tokenizer tells.
            tokenizer: Used instead of the checkpoint's.
            compile: Whether to `compile` the model.

        Raises:
            ModelError: There is no such model, or it cannot be used; the message says what to do.
        """
        if isinstance(name_or_path, str) and FACTORY.fullmatch(name_or_path):
            asked = (dtype, device, device_map, eot_token_id, mask_token_id, tokenizer)
            if any(each is not None for each in asked):
                raise ModelError(f"{name_or_path}: dtype, device, ids and tokenizer are the function's; leave them out.")
            lm = call_factory(name_or_path)
            if not isinstance(lm, cls):
                raise ModelError(f"{name_or_path} should return a {cls.__name__}, got {type(lm).__name__}.")
            if compile:
                lm.compile()
            return lm
        loaded = load_model(
            name_or_path,
            placement=Placement(dtype, device, device_map),
            mask_token_id=mask_token_id,
            eot_token_id=eot_token_id,
            tokenizer=tokenizer,
        )
        lm = cls(loaded.denoiser, loaded.tokenizer, name=str(name_or_path), folder=loaded.folder)
        if compile:
            lm.compile()
        return lm

    @classmethod
    def from_module(
        cls,
        module: nn.Module,
        *,
        vocab_size: int,
        mask_token_id: int,
        eos_token_id: int | Sequence[int] | None = None,
        eot_token_id: int | None = None,
        max_length: int | None = None,
        tokenizer: Tokenizer | None = None,
        time: Literal["mask-ratio"] | TimeOf | None = None,
        name: str | None = None,
        fingerprint: str | None = None,
    ) -> Self:
        """Wrap your own module from (B, L) int64 tokens to (B, L, V) logits; see `ModuleDenoiser`.

        Args:
            module: Takes tokens, and may take a mask of padding (`attention_mask` or `valid`) and a time.
            vocab_size: V, the logits of a column.
            mask_token_id: The token of undecided positions.
            eos_token_id: Ends an answer, as do all of several; None where the model has no such token.
            eot_token_id: Ends a turn; None where the model has no such token.
            max_length: The longest canvas the module takes, in tokens; None if any.
            tokenizer: None to work with token ids only.
            time: "mask-ratio" for a module that is told the share of masked tokens, a function from tokens and mask
                to (B,) float for one that is told something else, None for one that is told nothing.
            name: What records and presets call the model; its class if not given.
            fingerprint: Your own name for exactly these weights and this code; with one, outcomes are kept by it.

        Raises:
            ModelError: The module is causal, takes other arguments, or gives something else than logits.
        """
        # What is no number is refused by the denoiser, in words.
        given: Any = eos_token_id if isinstance(eos_token_id, list | tuple) else [eos_token_id]
        every_eos: list[int] = [one for one in given if one is not None]
        eos, more = next(iter(every_eos), None), tuple(every_eos[1:])
        special = SpecialTokens(mask_token_id, eos, eot_token_id, line_breaks(tokenizer), more)
        denoiser = ModuleDenoiser(module, special, vocab_size, max_length, time=time)
        refuse_causal(denoiser, denoiser.device, type(module).__name__)
        return cls(denoiser, tokenizer, name=name or type(module).__name__, fingerprint=fingerprint)

    def __repr__(self) -> str:
        """Say the name, the kind of denoiser, and where it lies."""
        dtype = str(self.dtype).removeprefix("torch.")
        return f"<DiffusionLM {self.name}: {type(self.denoiser).__name__} on {self.device}, {dtype}>"

    @property
    def special(self) -> SpecialTokens:
        """Ids of mask, EOS and EOT."""
        return self.denoiser.special

    @property
    def device(self) -> torch.device:
        """The device of the model's inputs."""
        return getattr(self.denoiser, "device", torch.device("cpu"))

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the model's weights; float32 where the denoiser does not say."""
        return getattr(self.denoiser, "dtype", torch.float32)

    def compile(self) -> None:
        """Run the model through `torch.compile` from now on, on a GPU with CUDA graphs.

        The first calls with each shape of batch take long (see `warm_up_seconds`), the others less than before.
        Batches and canvases are rounded up to a grid of shapes, so a forward may run more rows than it was given; logits
        may differ from those before by rounding. It takes no arguments, cannot be undone, and a second call changes
        nothing.

        Raises:
            ModelError: The model is of a kind that cannot be compiled here, or lies on several devices; it runs on
                as before.
        """
        compile_it = getattr(self.denoiser, "compile", None)
        if compile_it is None:
            raise ModelError(
                f"compile: {self.name} is not a Llama-shaped model (LLaDA, Dream); give your own module to "
                "torch.compile before from_module(), or leave compile out."
            )
        compile_it()

    @property
    def warm_up_seconds(self) -> float:
        """What compiling has cost so far, in seconds."""
        return getattr(self.denoiser, "warm_up_seconds", 0.0)

    @cached_property
    def hidden_tokens(self) -> tuple[int, ...]:
        """Ids that are never shown: EOS, EOT, mask and the tokenizer's other special tokens."""
        named = getattr(self.tokenizer, "all_special_ids", ())
        return tuple(dict.fromkeys((*self.special.ends, self.special.mask, *named)))

    @cached_property
    def has_chat_template(self) -> bool:
        """Whether the tokenizer has a chat template that does anything to a text."""
        return has_template(self.tokenizer)

    @cached_property
    def fingerprint(self) -> str:
        """A name for exactly this model, for records: its own, that of the checkpoint's files, or else of the object."""
        if self._named is not None:
            return named(f"given {self._named}".encode())
        return f"object-{id(self.denoiser):x}" if self.folder is None else folder_fingerprint(self.folder)

    @property
    def lasting(self) -> bool:
        """Whether the fingerprint means the same model in another process, so that outcomes may be kept by it."""
        return self._named is not None or self.folder is not None

    def generate(
        self,
        prompts: str | Sequence[Any] | Tensor,
        strategy: StrategySource = "llada",
        *,
        gen_length: int | None = None,
        steps: int | None = None,
        temperature: float | None = None,
        seed: int = 0,
        batch_size: int | None = None,
        row_ids: Sequence[int] | Tensor | None = None,
        attention_mask: Tensor | None = None,
        chat: Chat = "auto",
        on_step: OnStep | None = None,
        trace: bool = False,
        progress: OnRows | None = None,
        **overrides: Any,
    ) -> Generation:
        """Append `gen_length` positions to every prompt and decode them.

        Args:
            prompts: A text, texts, messages (a list of `{"role", "content"}`, or a list of such lists), token ids, lists
                of them, a (B, P) int64 tensor or array, padded on the left, or what a tokenizer returns. Where the model
                has a chat template, a text is a user's message to it (see `chat`).
            strategy: A recipe's name, a YAML file, a mapping or a `Strategy`; "tuned" is the preset of this model that
                fits best.
            gen_length: Tokens to generate; the strategy's if not given.
            steps: Denoising steps; the strategy's if not given.
            temperature: Gumbel temperature; the strategy's if not given.
            seed: Seed of all randomness.
            batch_size: Rows of a forward, at most; 16 if not given. Of more prompts, those of similar length run
                together, and where rows end early the next prompts take their place; results come in the order of the
                prompts and are those of each prompt alone.
            row_ids: (B,) identities of the rows for noise; their index in `prompts` if not given.
            attention_mask: (B, P), 0 on padding; for a tensor of prompts only.
            chat: "auto" gives a text to the model's chat template, as a user's message, if it has one and the text holds
                none of the template's special tokens yet; "on" does in any case; "off" takes texts as they are, and joins
                the texts of messages. Messages that end with the assistant's are continued there.
            on_step: Called after every commit; its columns are those of `Generation.canvas`.
            trace: Whether to keep every commit in `Generation.trace`. Rows that are watched, by either, are decoded in
                batches in the order of the prompts.
            progress: Called with how many rows are finished, and of how many, whenever some are.
            **overrides: Fields of the strategy by dotted path, e.g. `**{"scheduler.threshold": 0.8}`.

        Raises:
            ConfigError: The strategy, the budget or a prompt is wrong; nothing has been decoded.
            ContractError: A part of the strategy, or the model, broke its contract while decoding.
        """
        changes = _given(gen_length=gen_length, steps=steps, temperature=temperature) | overrides
        resolved, table = self._tail(prompts, strategy, attention_mask, chat, changes)
        options = Options(seed, batch_size, row_ids, on_step, trace, progress)
        decoded = decode_table(self.denoiser, self.device, table, resolved, options)
        tell_about(decoded, table, self.tokenizer, self.special, model=self.name, seed=seed)
        return self._with_texts(decoded)

    def stream(
        self,
        prompts: str | Sequence[Any] | Tensor,
        strategy: StrategySource = "llada",
        *,
        gen_length: int | None = None,
        steps: int | None = None,
        temperature: float | None = None,
        seed: int = 0,
        batch_size: int | None = None,
        row_ids: Sequence[int] | Tensor | None = None,
        attention_mask: Tensor | None = None,
        chat: Chat = "auto",
        **overrides: Any,
    ) -> Iterator[tuple[list[int], Generation]]:
        """Decode as `generate` does, and yield answers as soon as they are finished.

        Args:
            prompts: A text, texts, messages (a list of `{"role", "content"}`, or a list of such lists), token ids, lists
                of them, a (B, P) int64 tensor or array, padded on the left, or what a tokenizer returns. Where the model
                has a chat template, a text is a user's message to it (see `chat`).
            strategy: A recipe's name, a YAML file, a mapping or a `Strategy`; "tuned" is the preset of this model that
                fits best.
            gen_length: Tokens to generate; the strategy's if not given.
            steps: Denoising steps; the strategy's if not given.
            temperature: Gumbel temperature; the strategy's if not given.
            seed: Seed of all randomness.
            batch_size: Rows of a forward, at most; 16 if not given. Answers are those of each prompt alone, whatever the
                size.
            row_ids: (B,) identities of the rows for noise; their index in `prompts` if not given.
            attention_mask: (B, P), 0 on padding; for a tensor of prompts only.
            chat: "auto" gives a text to the model's chat template, as a user's message, if it has one and the text holds
                none of the template's special tokens yet; "on" does in any case; "off" takes texts as they are, and joins
                the texts of messages. Messages that end with the assistant's are continued there.
            **overrides: Fields of the strategy by dotted path, e.g. `**{"scheduler.threshold": 0.8}`.

        Yields:
            The places of some prompts among `prompts`, and their answers in that order; each place comes once, those
            of long prompts among the first. Calls of the model and seconds are those since the answers before.

        Raises:
            ConfigError: The strategy, the budget or a prompt is wrong; said by the call itself, before anything is
                decoded.
            ContractError: A part of the strategy, or the model, broke its contract; said between two yields.
        """
        changes = _given(gen_length=gen_length, steps=steps, temperature=temperature) | overrides
        resolved, table = self._tail(prompts, strategy, attention_mask, chat, changes)
        parts = decode_parts(self.denoiser, self.device, table, resolved, Options(seed, batch_size, row_ids))
        return ((rows.tolist(), self._with_texts(part)) for rows, part in parts)

    def stream_tokens(
        self,
        prompts: str | Sequence[Any] | Tensor,
        strategy: StrategySource = "llada",
        *,
        gen_length: int | None = None,
        steps: int | None = None,
        temperature: float | None = None,
        seed: int = 0,
        batch_size: int | None = None,
        row_ids: Sequence[int] | Tensor | None = None,
        attention_mask: Tensor | None = None,
        chat: Chat = "auto",
        **overrides: Any,
    ) -> Iterator[tuple[int, str]]:
        """Decode as `generate` does, and yield each answer's text as it grows from its left end.

        What is yielded is the text of the committed prefix: the positions before the first undecided one, up to the first
        EOS or EOT. A schedule that decides the end first keeps its texts for late; one that decides blocks from left to
        right streams them block by block. Where a reviser may change what was decided, nothing is certain before the
        last forward, and each answer comes once, whole. Asks the device once a forward.

        Args:
            prompts: A text, texts, messages (a list of `{"role", "content"}`, or a list of such lists), token ids, lists
                of them, a (B, P) int64 tensor or array, padded on the left, or what a tokenizer returns. Where the model
                has a chat template, a text is a user's message to it (see `chat`).
            strategy: A recipe's name, a YAML file, a mapping or a `Strategy`; "tuned" is the preset of this model that
                fits best.
            gen_length: Tokens to generate; the strategy's if not given.
            steps: Denoising steps; the strategy's if not given.
            temperature: Gumbel temperature; the strategy's if not given.
            seed: Seed of all randomness.
            batch_size: Rows of a forward, at most; 16 if not given. Answers are those of each prompt alone, whatever the
                size.
            row_ids: (B,) identities of the rows for noise; their index in `prompts` if not given.
            attention_mask: (B, P), 0 on padding; for a tensor of prompts only.
            chat: "auto" gives a text to the model's chat template, as a user's message, if it has one and the text holds
                none of the template's special tokens yet; "on" does in any case; "off" takes texts as they are, and joins
                the texts of messages. Messages that end with the assistant's are continued there.
            **overrides: Fields of the strategy by dotted path, e.g. `**{"scheduler.threshold": 0.8}`.

        Yields:
            A prompt's place among `prompts` and its answer's text so far, which begins with the text yielded for it
            before. The last of each place is the text that `generate` gives.

        Raises:
            ConfigError: The strategy, the budget or a prompt is wrong; said by the call itself, before anything is
                decoded.
            ContractError: A part of the strategy, or the model, broke its contract; said between two yields.
            ModelError: The model came without a tokenizer.
        """
        if self.tokenizer is None:
            raise ModelError("stream_tokens: this model came without a tokenizer, so there are no texts; use stream().")
        changes = _given(gen_length=gen_length, steps=steps, temperature=temperature) | overrides
        resolved, table = self._tail(prompts, strategy, attention_mask, chat, changes)
        options = Options(seed, batch_size, row_ids)
        return stream_prefixes(self.denoiser, self.device, table, resolved, options, self.tokenizer)

    def _tail(
        self,
        prompts: Any,
        strategy: StrategySource,
        attention_mask: Tensor | None,
        chat: Chat,
        changes: dict[str, Any],
    ) -> tuple[Strategy, Table]:
        """Return the strategy with its changes, and every prompt with its generation region behind it."""
        found = resolve(
            strategy, self, changes=changes, gen_length=changes.get("gen_length"), prompts=prompts
        )
        resolved = found.strategy.check()
        table = read_prompts(prompts, attention_mask, self.tokenizer, self.denoiser, infill=False, chat=chat)
        refuse_over_long(table, resolved.gen_length, self.denoiser.max_length)
        return resolved, table.extended(resolved.gen_length, self.special.mask)

    def _with_texts(self, decoded: Generation) -> Generation:
        """Add the texts of the answers, cut where they end."""
        if self.tokenizer is None:
            return decoded
        return replace(decoded, _texts=answer_texts(self.tokenizer, decoded.tokens, self.special))

    def infill(
        self,
        texts: str | Sequence[Any] | Tensor,
        strategy: StrategySource = "llada",
        *,
        steps: int | None = None,
        temperature: float | None = None,
        seed: int = 0,
        batch_size: int | None = None,
        row_ids: Sequence[int] | Tensor | None = None,
        attention_mask: Tensor | None = None,
        on_step: OnStep | None = None,
        trace: bool = False,
        **overrides: Any,
    ) -> Generation:
        """Decode the masked positions of texts, wherever they stand; one `[MASK]` is one token.

        Block policies and stages count columns from a row's first masked one to its end; rows in which that is the
        same number of columns are decoded together. `Generation.tokens` and `.canvas` are both the whole rows,
        (B, L).

        Args:
            texts: A text, texts, messages, lists of token ids, or a (B, L) int64 tensor, padded on the left; each with
                at least one mask.
            strategy: A recipe's name, a YAML file, a mapping or a `Strategy`; "tuned" is the preset of this model that
                fits best. Its `gen_length` gives way to the columns from a row's first mask to its end.
            steps: Denoising steps; the strategy's if not given.
            temperature: Gumbel temperature; the strategy's if not given.
            seed: Seed of all randomness.
            batch_size: Rows of a forward, at most; 16 if not given. Results come in the order of the texts and are those
                of each text alone.
            row_ids: (B,) identities of the rows for noise; their index in `texts` if not given.
            attention_mask: (B, L), 0 on padding; for a tensor of texts only.
            on_step: Called after every commit; its columns are those of `Generation.canvas`.
            trace: Whether to keep every commit in `Generation.trace`. Rows that are watched, by either, are decoded in
                batches in the order of the texts.
            **overrides: Fields of the strategy by dotted path, e.g. `**{"scheduler.threshold": 0.8}`; `gen_length` is
                none of them.

        Raises:
            ConfigError: The strategy or a text is wrong, e.g. holds no mask; nothing has been decoded.
            ContractError: A part of the strategy, or the model, broke its contract while decoding.
        """
        if "gen_length" in overrides:
            raise ConfigError("gen_length: infill() decides the masks that stand in a text; add masks to it.")
        table = read_prompts(texts, attention_mask, self.tokenizer, self.denoiser, infill=True)
        refuse_over_long(table, 0, self.denoiser.max_length)
        table = replace(table, tokens=table.tokens.clone())  # it is decoded in place, and may be the caller's
        changes = _given(steps=steps, temperature=temperature) | overrides
        regions = (table.tokens.shape[1] - region_starts(table.undecided)).tolist()
        found = resolve(strategy, self, changes=changes, gen_length=max(regions), prompts=texts).strategy
        for region in sorted(set(regions)):
            resolved = found.override({"gen_length": region}).check()
        options = Options(seed, batch_size, row_ids, on_step, trace)
        decoded = decode_table(self.denoiser, self.device, table, resolved, options)
        tell_about(decoded, table, self.tokenizer, self.special, model=self.name, seed=seed)
        if self.tokenizer is None:
            return decoded
        return replace(decoded, _texts=infilled_texts(self.tokenizer, table.tokens, table.valid))

    def over_long(self, prompts: Sequence[Any], gen_length: int, *, chat: Chat = "auto", infill: bool = False) -> list[int]:
        """Return the places of the prompts that do not fit the model's context together with their answers.

        Args:
            prompts: As `generate` takes them, or `infill`.
            gen_length: Tokens to generate; of no meaning for `infill`.
            chat: As in `generate`.
            infill: Whether these are texts for `infill`.

        Raises:
            ConfigError: A prompt is wrong.
        """
        limit = self.denoiser.max_length
        if limit is None:
            return []
        table = read_prompts(prompts, None, self.tokenizer, self.denoiser, infill=infill, chat=chat)
        return over_long(table, 0 if infill else gen_length, limit)


def generate(
    model: str | Path | DiffusionLM, prompts: Any, strategy: StrategySource = "llada", **options: Any
) -> Generation:
    """Load a model, unless it is loaded, and generate; options are those of `DiffusionLM.generate`."""
    lm = model if isinstance(model, DiffusionLM) else DiffusionLM.from_pretrained(model)
    return lm.generate(prompts, strategy, **options)


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
