"""What the parameters of reductions and permutations say of axes, as numbers from 0."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def summed(ndim: int, axis: Any) -> tuple[int, ...]:
    """Return the axes of a reduction (None: all; a scalar has none)."""
    axes = range(ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    return tuple(a % ndim for a in axes) if ndim else ()


def order(name: str, params: Mapping[str, Any], ndim: int) -> tuple[int, ...]:
    """Return which axis of its operand each axis of a permuted array is."""
    if name == "matrix_transpose":
        return (*range(ndim - 2), ndim - 1, ndim - 2)
    if name == "permute_dims":
        return tuple(a % ndim for a in params["axes"])
    lengths = np.broadcast_to(np.False_, tuple(range(1, ndim + 1)))
    return tuple(n - 1 for n in np.moveaxis(lengths, **params).shape)
