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
Plan = tuple[list[int], list[Run], Shape, list[int], Shape, bool]


def memory_order(shape: Shape, strides: Shape) -> list[int]:
    """Order the axes longer than one as NumPy's loops do: the densest in memory last.

    Repeated axes (stride 0) stay behind their neighbour.
    """
    keys, key = [], float("inf")
    for stride in strides:
        key = abs(stride) or key
        keys.append(-key)
    return sorted((a for a, n in enumerate(shape) if n != 1), key=keys.__getitem__)


@functools.lru_cache(maxsize=1024, typed=True)
def plan_sum(shape: Shape, strides: Shape, axis: Axis, keepdims: bool) -> Plan:
    """Plan a sum: the axes in memory order, its runs of neighbouring axes, the densest first.

    A run has sizes (outer, n, inner); ``inner`` counts what is still there behind it when the
    denser runs have been summed. Then the lengths of the kept axes, how to put these back in
    their own order, the shape of the result, and whether NumPy would add many rows, or many
    pieces of a row, one by one.
    """
    axes = tuple(range(len(shape))) if axis is None else axis
    summed = set(np.lib.array_utils.normalize_axis_tuple(axes, len(shape) or 1))
    order = memory_order(shape, strides)
    runs, inner, end, pieces = [], 1, len(order), 1
    while end > 0:
        start = end - 1
        while start > 0 and (order[start - 1] in summed) == (order[end - 1] in summed):
            start -= 1
        size = int(np.prod([shape[a] for a in order[start:end]]))
        if order[end - 1] in summed:
            runs.append((int(np.prod([shape[a] for a in order[:start]])), size, inner))
        else:
            inner *= size
        if end == len(order) and runs:
            pieces = count_pieces([(shape[a], strides[a]) for a in order[start:end]])
        end = start
    kept = [a for a in order if a not in summed]
    left = [1 if a in summed else n for a, n in enumerate(shape) if keepdims or a not in summed]
    by_blocks = pieces > 32 or any(n > 32 and inner > 1 for _, n, inner in runs)
    order = [a for a, n in enumerate(shape) if n == 1] + order
    back = np.argsort(kept).tolist()
    return order, runs, tuple(shape[a] for a in kept), back, tuple(left), by_blocks


def count_pieces(axes: list[tuple[int, int]]) -> int:
    """Count the pieces, each evenly spaced in memory, of axes given by (length, stride)."""
    while len(axes) > 1 and axes[-2][1] == axes[-1][0] * axes[-1][1]:
        axes = [*axes[:-2], (axes[-2][0] * axes[-1][0], axes[-1][1])]
    return int(np.prod([n for n, _ in axes[:-1]]))


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


def sums_in_blocks(x: Array, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> bool:
    """Whether ``accurate_sum`` goes by blocks, so that its bits are not those of NumPy."""
    if not isinstance(x, np.ndarray) or x.dtype.kind != "f" or not x.size:
        return False
    if dtype is not None and np.dtype(dtype).kind != "f":
        return False
    return plan_sum(x.shape, x.strides, axis, keepdims)[-1]


def add_in_place(total: Array, key: Any, values: Array) -> Array:
    """Add values at places, repeated ones too, as ``np.add.at``; float16 in float32."""
    wide = total.astype(np.float32) if total.dtype == np.float16 else total
    np.add.at(wide, key, values)
    return wide.astype(total.dtype, copy=False)


def spread_to(values: Array, place: Array) -> Array:
    """Broadcast values to a place (``ufunc.at`` reads beyond a one-dimensional value's end)."""
    return np.broadcast_to(values, place.shape)


def accurate_sum(x: Array, axis: Axis, dtype: Any, keepdims: bool) -> Array:
    """Sum along axes; float16 in float32, and by blocks where NumPy's order would lose digits."""
    if dtype is None and getattr(x, "dtype", None) == np.float16:
        return accurate_sum(x, axis, np.float32, keepdims).astype(np.float16)
    if not sums_in_blocks(x, axis, dtype, keepdims):
        return np.sum(x, axis=axis, dtype=dtype, keepdims=keepdims)
    order, runs, kept, back, shape, _ = plan_sum(x.shape, x.strides, axis, keepdims)
    total = np.ascontiguousarray(x.transpose(order), dtype=dtype)
    for outer, n, inner in runs:
        rows = total.reshape(outer, n, inner)
        total = sum_rows(rows) if inner > 1 else np.add.reduce(rows, axis=1)
    return total.reshape(kept).transpose(back).reshape(shape)
