"""Registers the model families of the package through the same hook as a third party's. Imports no torch."""

from __future__ import annotations

from typing import Any

from dllm_decode.models.llama.dream import DreamFamily
from dllm_decode.models.llama.llada import LladaFamily
from dllm_decode.models.llama.stock import LlamaFamily
from dllm_decode.models.others.masked_lm import MaskedLMFamily
from dllm_decode.plugins.hookspecs import hookimpl


@hookimpl
def dllm_denoiser() -> list[type[Any]]:
    """Return the families that come with the package."""
    return [DreamFamily, LladaFamily, LlamaFamily, MaskedLMFamily]
