"""The least time a device needs for one forward of a Llama: floating-point operations and bytes over measured rates.

Pure functions of sizes; knows nothing of tensors, devices or strategies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Sizes:
    """A Llama's dimensions; the width of its heads is hidden / heads, and its head is not tied to the embedding."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    mlp: int
    vocabulary: int
    itemsize: int
    """Bytes of a number: 2 in bfloat16, 4 in float32."""

    @property
    def kv_width(self) -> int:
        """Numbers of one column's keys, and of its values, in one layer."""
        return self.hidden // self.heads * self.kv_heads


@dataclass(frozen=True, slots=True)
class Work:
    """The shape of one forward."""

    rows: int
    columns: int
    """Columns of a row that go through the body."""
    attended: int
    """Columns of a row that each of them attends to: the canvas."""
    read: int
    """Columns of a row whose logits are made: the window."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What the device does by its own measure."""

    bandwidth: float
    """Bytes a second, read and written, of a copy."""
    matmul: float
    """Floating-point operations a second of a matrix product in the model's dtype."""


@dataclass(frozen=True, slots=True)
class Floor:
    """The least seconds a forward can take."""

    compute: float
    """Seconds of its operations at the matmul rate."""
    memory: float
    """Seconds of its bytes at the bandwidth."""

    @property
    def seconds(self) -> float:
        """The larger of the two: at best they overlap."""
        return max(self.compute, self.memory)

    @property
    def bound(self) -> Literal["compute", "memory"]:
        """Which of the two it is."""
        return "compute" if self.compute >= self.memory else "memory"


def body_weights(sizes: Sizes) -> int:
    """Return the numbers in the layers' matrices: layers x (2 h h + 2 h kv + 3 h m); norms are left out.

    Query and output are h x h, key and value h x kv, gate, up and down h x m.
    """
    attention = 2 * sizes.hidden * sizes.hidden + 2 * sizes.hidden * sizes.kv_width
    return sizes.layers * (attention + 3 * sizes.hidden * sizes.mlp)


def head_weights(sizes: Sizes) -> int:
    """Return the numbers in the head's matrix, h x V; the embedding holds as many."""
    return sizes.hidden * sizes.vocabulary


def model_bytes(sizes: Sizes) -> int:
    """Return the bytes of all weights: body, embedding, head, and 2 layers + 1 norms of h numbers."""
    norms = (2 * sizes.layers + 1) * sizes.hidden
    return sizes.itemsize * (body_weights(sizes) + 2 * head_weights(sizes) + norms)


def kv_bytes(sizes: Sizes, rows: int, columns: int) -> int:
    """Return the bytes of keys and values: rows x columns x 2 x layers x kv x itemsize."""
    return rows * columns * 2 * sizes.layers * sizes.kv_width * sizes.itemsize


def step_flops(sizes: Sizes, work: Work) -> int:
    """Return the floating-point operations of one forward, a multiplication and an addition being two.

    rows x (2 C body + 4 layers C L h + 2 W head) with C computed, L attended and W read columns: every weight of the
    body meets every column once; scores (C x L) and their sum of values cost 2 h each in every layer.
    """
    body = 2 * work.columns * body_weights(sizes)
    attention = 4 * sizes.layers * work.columns * work.attended * sizes.hidden
    head = 2 * work.read * head_weights(sizes)
    return work.rows * (body + attention + head)


def step_bytes(sizes: Sizes, work: Work) -> int:
    """Return the bytes one forward cannot help moving.

    Weights of body and head once, for all rows; for each row keys and values of the L attended columns once, those of
    the C computed ones written, the embedding of these, and the logits of W columns written and read once. What the
    layers hand to each other is not counted: for a block it stays in the device's caches.
    """
    weights = sizes.itemsize * (body_weights(sizes) + head_weights(sizes))
    cache = kv_bytes(sizes, work.rows, work.attended) + kv_bytes(sizes, work.rows, work.columns)
    embedding = work.rows * work.columns * sizes.hidden * sizes.itemsize
    logits = 2 * work.rows * work.read * sizes.vocabulary * sizes.itemsize
    return weights + cache + embedding + logits


def step_floor(sizes: Sizes, work: Work, rates: Rates) -> Floor:
    """Return the least seconds of one forward."""
    return Floor(step_flops(sizes, work) / rates.matmul, step_bytes(sizes, work) / rates.bandwidth)
