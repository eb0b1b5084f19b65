"""Two layers of a Llama on one vector at a time: the slow truth that every model family's plain forward is made of."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def rms_norm(vector: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """(D,) of (D,): the vector over its root mean square, times the weight."""
    return vector / torch.sqrt((vector * vector).mean() + epsilon) * weight


def rotate(vector: Tensor, position: int, theta: float) -> Tensor:
    """(H,) of (H,), one head's query or key: rotary embedding, pair by pair, the halves being the pairs."""
    size = vector.shape[0]
    rotated = vector.clone()
    for pair in range(size // 2):
        angle = position / theta ** (2 * pair / size)
        left, right = vector[pair], vector[pair + size // 2]
        rotated[pair] = left * math.cos(angle) - right * math.sin(angle)
        rotated[pair + size // 2] = right * math.cos(angle) + left * math.sin(angle)
    return rotated
