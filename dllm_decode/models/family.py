"""What a model family is: the protocol that `dllm_denoiser` registers classes of. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from dllm_decode.data.inputs import SpecialTokens
    from dllm_decode.forward.denoiser import Denoiser
    from dllm_decode.models.placement import Placement


class Family(Protocol):
    """A format of checkpoints: knows which folders are its own, and makes a denoiser of one.

    Two attributes may be left out: `fallback: bool`, True for a family that reads only what no other does, and
    `load_tokenizer(folder) -> Tokenizer | None`, where no `tokenizer.json` is to be read. A whole family:

        class MineFamily:
            name = "mine"

            @staticmethod
            def matches(config):
                return config.get("model_type") == "mine"

            @staticmethod
            def load(folder, config, *, special, placement):
                return MineDenoiser(folder, special, placement.resolve_device())
    """

    name: ClassVar[str]
    """Kebab-case; no other family has it."""

    @staticmethod
    def matches(config: Mapping[str, Any]) -> bool:
        """Return whether a folder's `config.json` describes a model of this family."""
        ...

    @staticmethod
    def load(
        folder: Path, config: Mapping[str, Any], *, special: SpecialTokens, placement: Placement
    ) -> Denoiser:
        """Load a checkpoint.

        Args:
            folder: Holds `config.json` and the weights.
            config: The content of `config.json`.
            special: Ids of mask, EOS and EOT.
            placement: The dtype, device and device map asked for.

        Raises:
            ModelError: It cannot be loaded; the message says why, and what to do.
        """
        ...
