"""What a model has of what parts may need: end and line-break tokens, a cache, planned inputs."""

from __future__ import annotations

from dllm_decode.forward.denoiser import CachingDenoiser, Denoiser


def abilities(denoiser: Denoiser) -> frozenset[str]:
    """Return the words of `PartConfig.model_needs` that hold for a model."""
    has = {
        "eos": denoiser.special.eos is not None,
        "newlines": bool(denoiser.special.newlines),
        "cache": isinstance(denoiser, CachingDenoiser),
        "plan": bool(getattr(denoiser, "plans_inputs", False)),
    }
    return frozenset(word for word, there in has.items() if there)
