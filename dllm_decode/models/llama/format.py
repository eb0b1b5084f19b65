"""What the Llama-shaped formats share: a table of fields, a table of names, and the stock architecture. Imports no torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from dllm_decode.models.llama.fields import Fields

if TYPE_CHECKING:
    from dllm_decode.data.inputs import SpecialTokens
    from dllm_decode.forward.denoiser import Denoiser
    from dllm_decode.models.placement import Placement


class LlamaFormat(ABC):
    """A family whose checkpoints are a stock architecture under other names; a subclass is tables and `stock`."""

    name: ClassVar[str]
    model_type: ClassVar[str]
    """In `config.json`."""
    fields: ClassVar[Fields]
    names: ClassVar[Mapping[str, str]] = {}
    """From the checkpoint's module names to stock ones, `*` for the layer; empty where they are the same."""
    architecture: ClassVar[str] = "LlamaForCausalLM"
    """A class of `transformers` built like Llama."""
    shifted: ClassVar[bool] = False
    """Whether a column is predicted one to its left."""

    @classmethod
    def matches(cls, config: Mapping[str, Any]) -> bool:
        """Return whether a folder's `config.json` describes a model of this family."""
        return config.get("model_type") == cls.model_type

    @classmethod
    @abstractmethod
    def stock(cls, config: Mapping[str, Any], origin: str) -> dict[str, Any]:
        """Return the fields of the stock architecture's config, of a checked one that messages call `origin`.

        Raises:
            ModelError: The fields contradict each other.
        """
        ...

    @classmethod
    def load(
        cls, folder: Path, config: Mapping[str, Any], *, special: SpecialTokens, placement: Placement
    ) -> Denoiser:
        """Load a checkpoint.

        Raises:
            ModelError: A setting that is not served, or weights that cannot be read or do not fit.
        """
        from dllm_decode.models.llama.llama_checkpoint import load_llama

        origin = str(folder / "config.json")
        cls.fields.check(config, origin)
        return load_llama(folder, cls, cls.stock(config, origin), special=special, placement=placement)
