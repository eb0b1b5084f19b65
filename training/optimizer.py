"""Muon for the stacked matrices and Adam for the rest, with decoupled weight decay.

Muon: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks" (momentum orthogonalised by
a quintic Newton-Schulz iteration).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

_QUINTIC = (3.4445, -4.7750, 2.0315)


class MuonAdam:
    """One optimiser over a `BidirectionalLlama`'s parameters."""

    def __init__(self, model: nn.Module, *, matrix_rate: float, vector_rate: float, decay: float) -> None:
        self.matrix_rate, self.vector_rate, self.decay = matrix_rate, vector_rate, decay
        named = dict(model.named_parameters())
        matrices = ("attention", "gate_up", "down")
        self.matrices = {name: value for name, value in named.items() if name in matrices}
        self.vectors = {name: value for name, value in named.items() if name not in matrices}
        self.state: dict[str, Tensor] = {}
        for name, value in self.matrices.items():
            self.state[f"{name}/momentum"] = torch.zeros_like(value)
        for name, value in self.vectors.items():
            self.state[f"{name}/first"] = torch.zeros_like(value)
            self.state[f"{name}/second"] = torch.zeros_like(value)
        self.steps = 0

    @torch.no_grad()
    def step(self, scale: float, gradients: dict[str, Tensor], own: Callable[[Tensor], Tensor]) -> None:
        """Applies gradients at `scale` times the learning rates.

        Args:
            scale: The schedule's factor.
            gradients: By parameter name, already cut to the share that `own` cuts.
            own: Cuts a tensor to the share that this process updates.
        """
        self.steps += 1
        for name, parameter in self.matrices.items():
            value, gradient, momentum = (
                own(parameter.data),
                gradients[name],
                own(self.state[f"{name}/momentum"]),
            )
            momentum.lerp_(gradient, 0.05)
            update = orthogonalise(torch.lerp(gradient, momentum, 0.95))
            rate = self.matrix_rate * scale
            value.mul_(1 - rate * self.decay)
            value.add_(update, alpha=-rate * max(1.0, value.shape[-2] / value.shape[-1]) ** 0.5)
        for name, parameter in self.vectors.items():
            value, gradient = own(parameter.data), gradients[name]
            first, second = own(self.state[f"{name}/first"]), own(self.state[f"{name}/second"])
            first.lerp_(gradient, 0.1)
            second.lerp_(gradient.square(), 0.02)
            corrected = first / (1 - 0.9**self.steps)
            spread = (second / (1 - 0.98**self.steps)).sqrt_().add_(1e-8)
            value.addcdiv_(corrected, spread, value=-self.vector_rate * scale)

    def state_dict(self) -> dict[str, Any]:
        """Returns what `load_state_dict` restores."""
        return {"state": self.state, "steps": self.steps}

    def load_state_dict(self, stored: dict[str, Any]) -> None:
        """Restores a stored state."""
        for name, value in stored["state"].items():
            self.state[name].copy_(value)
        self.steps = stored["steps"]


def orthogonalise(matrices: Tensor, steps: int = 5) -> Tensor:
    """Brings the singular values of each matrix ``(..., R, C) float32`` near one."""
    flat = matrices.reshape(-1, *matrices.shape[-2:]).bfloat16()
    tall = flat.shape[-2] > flat.shape[-1]
    flat = flat.mT.contiguous() if tall else flat
    flat = flat / (flat.float().norm(dim=(-2, -1), keepdim=True) + 1e-7).bfloat16()
    first, second, third = _QUINTIC
    for _ in range(steps):
        gram = flat @ flat.mT
        flat = first * flat + (second * gram + third * gram @ gram) @ flat
    orthogonal: Tensor = flat.mT if tall else flat
    return orthogonal.reshape(matrices.shape).float()
