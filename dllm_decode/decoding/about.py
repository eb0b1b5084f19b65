"""What a trace is of: prompts, strategy, model, cost and the texts of its tokens, so that it can be read alone.

Plain data that goes into the trace's file and comes back from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from dllm_decode.data.inputs import SpecialTokens


@dataclass(frozen=True, slots=True)
class About:
    """What a call of `generate` or `infill` was given, and what it took."""

    strategy: str
    """The strategy's name."""
    digest: str
    yaml: str
    """The strategy, overrides included."""
    model: str
    seed: int
    seconds: float
    """Wall time of the decoding."""
    model_calls: int
    forward_passes: tuple[int, ...]
    """(N,) what each row costs alone."""
    prompts: tuple[str, ...]
    """(N,) texts as the model read them; token ids where there is no tokenizer."""
    starts: tuple[tuple[int, ...], ...]
    """(N,) the tokens of each row before the first step, without padding; the canvas holds them on its right."""
    columns: int
    """Columns of the canvas."""
    answer: int | None
    """The last so many columns are the answer; None of `infill`, where all of a row is."""
    special: SpecialTokens
    texts: Mapping[int, str]
    """The text of every token that was written or proposed, or stood there before."""

    def shown(self, place: int) -> tuple[int, ...]:
        """Return the tokens of the positions to look at in a row, before the first step."""
        start = self.starts[place]
        return start if self.answer is None else start[-self.answer :]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that `from_dict` takes."""
        return asdict(self) | {"texts": {str(token): text for token, text in self.texts.items()}}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_dict` returned, from JSON or not.

        Raises:
            KeyError, TypeError, ValueError: It is something else.
        """
        own = dict(data)
        own["special"] = SpecialTokens(**{**own["special"], "newlines": tuple(own["special"]["newlines"])})
        own["texts"] = {int(token): str(text) for token, text in own["texts"].items()}
        own["starts"] = tuple(tuple(map(int, start)) for start in own["starts"])
        own["prompts"], own["forward_passes"] = tuple(own["prompts"]), tuple(own["forward_passes"])
        about = cls(**own)
        if not len(about.starts) == len(about.prompts) == len(about.forward_passes):
            raise ValueError("rows, prompts and costs are not of one number")
        return about
