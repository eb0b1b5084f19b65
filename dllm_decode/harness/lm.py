"""The model "dllm-decode" of lm-evaluation-harness; importing this registers it. Needs the extra `[lm-eval]`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model

from dllm_decode.errors import ConfigError
from dllm_decode.generation.chat import message_rule, render
from dllm_decode.generation.prompts import read_prompts
from dllm_decode.harness.answers import (
    Decoder,
    Request,
    asked_length,
    read_stops,
    row_ids,
    tell_of_sampling,
    usual_length,
)
from dllm_decode.harness.arguments import Arguments
from dllm_decode.harness.likelihood import Pair
from dllm_decode.harness.scores import pair_of, scores
from dllm_decode.model import DiffusionLM

_IDENTITY = "dllm-decode"
"""The key under which a cache of answers says whose they are; no request's, which are hashes."""


@register_model("dllm-decode")
class HarnessLM(TemplateLM):  # type: ignore[misc]
    """A masked diffusion language model with a strategy, as lm-evaluation-harness asks it."""

    def __init__(self, **given: Any) -> None:
        """Load the model; what may be given is `Arguments`, and fields of the strategy by dotted path.

        Raises:
            DecodeError: An argument is unknown, or there is no such model or strategy.
        """
        super().__init__()
        self.arguments, changes = Arguments.read(given)
        arguments = self.arguments
        self.lm = DiffusionLM.from_pretrained(
            arguments.pretrained, device=arguments.device, dtype=arguments.dtype, compile=arguments.compile
        )
        if self.lm.tokenizer is None:
            raise ConfigError(f"{arguments.pretrained} has no tokenizer, and lm-eval asks for texts")
        self.tokenizer: Any = self.lm.tokenizer
        self._device = self.lm.device
        self._is_plain = message_rule("auto", self.tokenizer)
        self.decoder = Decoder(self.lm, arguments, changes)
        # A strategy that cannot be had is told before prompts are made.
        self._given = self.decoder.given

    @classmethod
    def create_from_arg_obj(cls, arg_dict: Mapping[str, Any], additional_config: Any = None) -> Self:
        """Make the model of `--model_args`, which come before lm-eval's own options of the same name."""
        more = {name: value for name, value in (additional_config or {}).items() if value is not None}
        if str(more.get("device")).startswith("cuda") and not torch.cuda.is_available():
            # lm-eval says so where the user has said nothing.
            del more["device"]
        return cls(**{**more, **arg_dict})

    @property
    def max_length(self) -> int | None:
        """The longest canvas, prompt included, in tokens; None if any."""
        return self.lm.denoiser.max_length

    @property
    def eot_token_id(self) -> int | None:
        """The token that ends an answer."""
        return next(iter(self.lm.special.ends), None)

    @property
    def tokenizer_name(self) -> str:
        """What lm-eval names its cache of prompts by."""
        return self.lm.fingerprint

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Return the ids of a text; one that the chat template has written gets no further special tokens."""
        if add_special_tokens is False or (self.lm.has_chat_template and not self._is_plain(string)):
            return list(self.tokenizer(string, add_special_tokens=False)["input_ids"])
        rows = read_prompts([string], None, self.tokenizer, self.lm.denoiser, infill=False, chat="off")
        ids: list[int] = rows.tokens[0].tolist()
        return ids

    def apply_chat_template(self, chat_history: list[Any], add_generation_prompt: bool = True) -> str:
        """Return a conversation as the model's template writes it.

        Raises:
            ConfigError: The model has no template, or it refuses the conversation.
        """
        begun = not add_generation_prompt and chat_history[-1]["role"] == "assistant"
        return render(self.tokenizer, chat_history, 0, whole=not (add_generation_prompt or begun))

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Return the answers to requests; each is kept in lm-eval's cache as soon as it is there."""
        tell_of_sampling([one.args[1] for one in requests])
        ids = row_ids([number if one.doc_id is None else one.doc_id for number, one in enumerate(requests)])
        wanted = [self._request(one.args[0], one.args[1], row) for one, row in zip(requests, ids, strict=True)]
        answers = [""] * len(wanted)
        for number, text in self.decoder.decode(wanted):
            answers[number] = text
            self.cache_hook.add_partial("generate_until", requests[number].args, text)
        return answers

    def _request(self, context: str, options: Mapping[str, Any], row: int) -> Request:
        own = self.arguments
        length = own.gen_length or asked_length(options) or own.max_gen_toks or usual_length(self.max_length)
        return Request(tuple(self.tok_encode(context)), context, length, read_stops(options), row)

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Return of every continuation its estimated log-likelihood, and whether it is decoded greedily."""
        pairs = [self._pair(*one.args[:2]) for one in requests]
        found = [(0.0, False)] * len(pairs)
        for number, log, greedy in scores(self.lm, pairs, self.arguments):
            found[number] = (log, greedy)
            self.cache_hook.add_partial("loglikelihood", requests[number].args, found[number])
        return found

    def _loglikelihood_tokens(self, requests: Sequence[Any], **_: Any) -> list[tuple[float, bool]]:
        raise AssertionError("loglikelihood() does not come here")

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """Refuse.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(
            "loglikelihood_rolling: a masked diffusion model reads no text from left to right, so it has no perplexity "
            "that could stand beside those of other models; leave tasks out that ask for one (wikitext, pile)"
        )

    def set_cache_hook(self, cache_hook: Any) -> None:
        """Take lm-eval's cache of answers, `--use_cache`, if the answers in it are this model's and strategy's.

        Raises:
            ConfigError: They are another's.
        """
        kept = cache_hook.dbdict
        if kept is not None:
            mine = self._identity()
            if len(kept) and kept.get(_IDENTITY) != mine:
                raise ConfigError("--use_cache: answers of another model, strategy or seed lie there; name another file")
            kept[_IDENTITY] = mine
        super().set_cache_hook(cache_hook)

    def get_model_info(self) -> dict[str, Any]:
        """Return what lm-eval's results say of model, strategy and cost."""
        return {"model_fingerprint": self.lm.fingerprint, "mc_num": self.arguments.mc_num} | self.decoder.cost()

    def _identity(self) -> str:
        """Return all that decides an answer besides the request."""
        own, lm = self.arguments, self.lm
        lengths = (own.gen_length, own.max_gen_toks)
        decides = (lm.fingerprint, lm.dtype, self._given.digest(), own.seed, lengths, own.mc_num, own.greedy)
        return "|".join(map(str, decides))

    def _pair(self, context: str, continuation: str) -> Pair:
        if context:
            prompt, answer = self._encode_pair(context, continuation)
        else:
            # Nothing need stand before an answer that is read from both sides.
            prompt, answer = [], self.tok_encode(continuation, add_special_tokens=False)
        if not answer:
            raise ConfigError(f"loglikelihood: the continuation {continuation!r} has no tokens")
        limit = self.max_length
        if limit is not None and len(prompt) + len(answer) > limit:
            raise ConfigError(
                f"loglikelihood: a context of {len(prompt)} tokens and a continuation of {len(answer)} are over the model's "
                f"context of {limit} tokens; take fewer worked examples (--num_fewshot)"
            )
        return pair_of(prompt, answer, self.arguments.seed)
