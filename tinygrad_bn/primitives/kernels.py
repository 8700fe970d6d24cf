"""Kernels that NumPy has not, or has with less accuracy: plain functions on ndarrays.

A printed program carries their source, so they use NumPy and one another only.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

Array = Any
Axis = int | tuple[int, ...] | None
Shape = tuple[int, ...]
Run = tuple[int, int, int]


@functools.lru_cache(maxsize=1024)
def plan_sum(shape: Shape, axis: Axis, keepdims: bool) -> tuple[list[Run], Shape, bool]:
    """Plan a sum: its runs of neighbouring axes, the last first, and the shape of the result.

    A run has sizes (outer, n, inner); ``inner`` counts what is still there behind it when the
    later runs have been summed. The last answer: whether NumPy would add many rows one by one.
    """
    ndim = len(shape)
    axes = tuple(range(ndim)) if axis is None else axis
    summed = set(np.lib.array_utils.normalize_axis_tuple(axes, ndim))
    runs, inner, end = [], 1, ndim
    while end > 0:
        start = end - 1
        while start > 0 and (start - 1 in summed) == (end - 1 in summed):
            start -= 1
        size = int(np.prod(shape[start:end]))
        if end - 1 in summed:
            runs.append((int(np.prod(shape[:start])), size, inner))
        else:
            inner *= size
        end = start
    kept = [1 if a in summed else n for a, n in enumerate(shape) if keepdims or a not in summed]
    return runs, tuple(kept), any(n > 32 and inner > 1 for _, n, inner in runs)


def sum_rows(x: Array, block: int = 16, wide: int = 1024) -> Array:
    """Sum the middle one of three axes, nearly as accurately as NumPy sums a contiguous one.

    NumPy adds rows one after the other, and the error grows with their number. Here sixteen are
    added, then their sums by sixteen; narrow rows are joined, so that inner loops stay long.
    """
    outer, n, inner = x.shape
    if n <= block:
        return np.add.reduce(x, axis=1)
    joined = 1 if outer > 1 else max(1, min(wide // inner, n // block))
    count = n // (block * joined)
    cut = count * block * joined
    blocks = np.add.reduce(x[:, :cut].reshape(outer, count, block, joined * inner), axis=2)
    total = sum_rows(blocks.reshape(outer, count * joined, inner))
    return total if cut == n else total + sum_rows(x[:, cut:])


def sums_in_blocks(x: Array, axis: Axis = None, keepdims: bool = False, **others: Any) -> bool:
    """Whether ``accurate_sum`` goes by blocks, so that its bits are not those of NumPy."""
    if not isinstance(x, np.ndarray) or x.dtype.kind != "f" or not x.size:
        return False
    return plan_sum(x.shape, axis, keepdims)[2]


def accurate_sum(x: Array, axis: Axis, dtype: Any, keepdims: bool) -> Array:
    """Sum along axes; float16 in float32, and by blocks where NumPy's order would lose digits."""
    if dtype is None and getattr(x, "dtype", None) == np.float16:
        return accurate_sum(x, axis, np.float32, keepdims).astype(np.float16)
    if not sums_in_blocks(x, axis, keepdims):
        return np.sum(x, axis=axis, dtype=dtype, keepdims=keepdims)
    runs, shape, _ = plan_sum(x.shape, axis, keepdims)
    total = np.ascontiguousarray(x, dtype=dtype)
    for outer, n, inner in runs:
        rows = total.reshape(outer, n, inner)
        total = sum_rows(rows) if inner > 1 else np.add.reduce(rows, axis=1)
    return total.reshape(shape)
