"""A lean bidirectional Llama for training; `export` writes it as a LLaDA checkpoint.

Equal in its numbers to the stock Llama with ``is_causal=False``: rotate-half RoPE, RMSNorm, SwiGLU, no biases.
Matrices of one shape are stacked over the layers so that the optimiser treats them in one batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Shape:
    """The model's size."""

    vocabulary: int
    width: int
    layers: int
    heads: int
    hidden: int
    rope_theta: float = 10_000.0
    epsilon: float = 1e-5
    context: int = 256


class BidirectionalLlama(nn.Module):
    """Predicts every answer position at once from the whole canvas."""

    cosine: Tensor
    sine: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        width, layers, hidden = shape.width, shape.layers, shape.hidden
        self.embedding = nn.Parameter(torch.randn(shape.vocabulary, width) * 0.5)
        self.head = nn.Parameter(torch.randn(shape.vocabulary, width) * 0.02)
        self.attention = nn.Parameter(torch.randn(layers, 4, width, width) * width**-0.5)
        self.gate_up = nn.Parameter(torch.randn(layers, 2, hidden, width) * width**-0.5)
        self.down = nn.Parameter(torch.randn(layers, width, hidden) * hidden**-0.5 * 0.1)
        self.attention_norm = nn.Parameter(torch.ones(layers, width))
        self.feed_norm = nn.Parameter(torch.ones(layers, width))
        self.final_norm = nn.Parameter(torch.ones(width))
        with torch.no_grad():
            self.attention[:, 3] *= 0.1
        size = width // shape.heads
        frequency = shape.rope_theta ** (-torch.arange(0, size, 2).float() / size)
        angle = torch.arange(shape.context).float()[:, None] * frequency
        angle = torch.cat([angle, angle], dim=-1)
        self.register_buffer("cosine", angle.cos(), persistent=False)
        self.register_buffer("sine", angle.sin(), persistent=False)

    def forward(self, tokens: Tensor, valid: Tensor, answer_length: int) -> Tensor:
        """Returns logits ``(B, answer_length, V)`` for the canvas's last columns.

        Args:
            tokens: ``(B, T) int64``.
            valid: ``(B, T) bool``, False on padding.
            answer_length: Columns, counted from the right, that get logits.
        """
        rows, columns = tokens.shape
        heads = self.shape.heads
        bias = torch.zeros(valid.shape).masked_fill(~valid, -1e4)[:, None, None, :].to(torch.bfloat16)
        scale = (self.shape.width // heads) ** -0.5
        attention, gate_up, down = self.attention.unbind(0), self.gate_up.unbind(0), self.down.unbind(0)
        cosine, sine = self.cosine[:columns], self.sine[:columns]
        stream = functional.embedding(tokens, self.embedding)
        for layer in range(self.shape.layers):
            normed = self._norm(stream, self.attention_norm[layer])
            mixed = functional.linear(normed, attention[layer][:3].reshape(-1, self.shape.width))
            query, key, value = mixed.view(rows, columns, 3, heads, -1).permute(2, 0, 3, 1, 4)
            # Written out: the fused kernel's backward pass took half of a CPU step.
            affinity = _rotate(query, cosine, sine) @ _rotate(key, cosine, sine).mT
            attended = (affinity * scale + bias).softmax(-1).to(value.dtype) @ value
            attended = attended.transpose(1, 2).reshape(rows, columns, -1)
            stream = stream + functional.linear(attended, attention[layer][3])
            normed = self._norm(stream, self.feed_norm[layer])
            gate, up = functional.linear(normed, gate_up[layer].reshape(-1, self.shape.width)).chunk(
                2, dim=-1
            )
            stream = stream + functional.linear(functional.silu(gate) * up, down[layer])
        normed = self._norm(stream[:, -answer_length:], self.final_norm)
        return functional.linear(normed, self.head)

    def _norm(self, stream: Tensor, weight: Tensor) -> Tensor:
        exact = stream.float()
        scale = torch.rsqrt(exact.square().mean(-1, keepdim=True) + self.shape.epsilon)
        return (exact * scale * weight).to(stream.dtype)


def _rotate(states: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    left, right = states.chunk(2, dim=-1)
    return (states * cosine + torch.cat([-right, left], dim=-1) * sine).to(states.dtype)
