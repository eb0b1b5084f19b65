"""A search with a model that has no end token, no cache and no room for a plan: nothing is tried that it cannot do."""

from __future__ import annotations

from typing import Any

import torch
from optuna.trial import TrialState
from torch import Tensor, nn

from dllm_decode import DiffusionLM
from dllm_search import tune

LETTERS = " abcdefghijklmnopqrstuvwxyz"
MASK = len(LETTERS)


class Letters:
    """A tokenizer of single letters."""

    chat_template = None
    mask_token_id = MASK

    def __call__(self, text: str, **options: Any) -> dict[str, list[int]]:
        return {"input_ids": [LETTERS.index(letter) for letter in text]}

    def get_vocab(self) -> dict[str, int]:
        return {letter: number for number, letter in enumerate([*LETTERS, "[MASK]"])}

    def decode(self, token_ids: Any, **options: Any) -> str:
        return "".join(LETTERS[int(token)] for token in token_ids if int(token) < MASK)

    def apply_chat_template(self, conversation: Any, **options: Any) -> str:
        raise ValueError("no template")


class Bag(nn.Module):
    """Sees every token, and nothing of where it stands."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inside, self.out = nn.Embedding(MASK + 1, 8), nn.Linear(8, MASK + 1)

    def forward(self, tokens: Tensor) -> Tensor:
        states = self.inside(tokens)
        return self.out(states + states.mean(1, keepdim=True))  # type: ignore[no-any-return]


def test_no_trial_of_a_search_over_everything_is_refused() -> None:
    lm = DiffusionLM.from_module(Bag(), vocab_size=MASK + 1, mask_token_id=MASK, tokenizer=Letters())
    sizes = {"examples": 3, "verify_examples": 3, "test_examples": 3}
    result = tune(
        lm, lambda prompt, answer: "e" in answer, prompts=["one", "two", "six", "ten", "add", "odd"], gen_length=8,
        trials=24, cache=False, **sizes,  # type: ignore[arg-type]
    )  # fmt: skip
    trials = result.study.get_trials(deepcopy=False)
    assert [trial.user_attrs["reason"] for trial in trials if trial.state == TrialState.PRUNED] == []
    tried = {part.name for candidate in result.report.tried for _, part in candidate.strategy.parts()}
    assert not tried & {"forbid-eos", "shadow", "narrow-out", "adaptive", "prefix", "dual", "delayed"}
