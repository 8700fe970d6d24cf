"""Manipulation, searching and sets: functions of the array API that are made of other rows."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tinygrad_bn.errors import ShapeError
from tinygrad_bn.graph.composition import public
from tinygrad_bn.graph.tensor import Operand, Tensor, as_constant, leaf
from tinygrad_bn.primitives.elementwise import subtract
from tinygrad_bn.primitives.indexing import getitem, take
from tinygrad_bn.primitives.movement import broadcast_to, concat, pad_constant


@public
def broadcast_shapes(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape to which shapes broadcast. Raises ShapeError if they do not."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError as error:
        raise ShapeError(
            f"The shapes {', '.join(map(str, shapes))} do not broadcast.",
            "Aligned at the right, lengths must be equal or one.",
        ) from error


@public
def broadcast_arrays(*arrays: Operand) -> list[Tensor]:
    """Broadcast arrays against one another."""
    operands = [as_constant(a) for a in arrays]
    shape = broadcast_shapes(*(o.shape for o in operands))
    return [broadcast_to(o, shape) for o in operands]


@public
def unstack(x: Operand, /, *, axis: int = 0) -> tuple[Tensor, ...]:
    """Split into the slices along an axis, which is dropped."""
    operand = as_constant(x)
    if not -operand.ndim <= axis < operand.ndim:
        raise ShapeError(
            f"unstack of shape {operand.shape} along axis {axis}.",
            f"Use an axis from {-operand.ndim} to {operand.ndim - 1}.",
        )
    lead = (slice(None),) * (axis % operand.ndim)
    return tuple(getitem(operand, (*lead, i)) for i in range(operand.shape[axis]))


@public
def diff(
    x: Operand,
    /,
    *,
    axis: int = -1,
    n: int = 1,
    prepend: Operand | None = None,
    append: Operand | None = None,
) -> Tensor:
    """Differences of neighbours along an axis, taken ``n`` times."""
    parts = [as_constant(part) for part in (prepend, x, append) if part is not None]
    result = concat(parts, axis=axis) if len(parts) > 1 else parts[0]
    if not -result.ndim <= axis < result.ndim or n < 0:
        raise ShapeError(
            f"diff of shape {result.shape}: axis={axis}, n={n}.",
            f"Use an axis from {-result.ndim} to {result.ndim - 1}, and n from 0 upwards.",
        )
    lead = (slice(None),) * (axis % result.ndim)
    for _ in range(n):
        later, earlier = (*lead, slice(1, None)), (*lead, slice(None, -1))
        result = subtract(getitem(result, later), getitem(result, earlier))
    return result


@public
def pad(x: Operand, widths: Any, /, *, mode: str = "constant", value: float = 0.0) -> Tensor:
    """Surround with elements: ``widths`` is a number, (before, after), or one such pair an axis.

    ``mode``: "constant" (``value``), or "edge", "reflect", "symmetric", "wrap" as ``numpy.pad``.

    >>> pad([1.0, 2.0], (1, 1), mode="edge")
    Tensor([1., 1., 2., 2.])
    """
    operand = as_constant(x)
    try:
        pairs = np.broadcast_to(np.asarray(widths, dtype=int), (operand.ndim, 2)).tolist()
    except ValueError as error:
        raise ShapeError(
            f"pad: widths={widths!r} for shape {operand.shape}.",
            "Give a number, a pair (before, after), or one pair for each axis.",
        ) from error
    if mode == "constant":
        return pad_constant(operand, widths=pairs, value=value)
    if mode not in ("edge", "reflect", "symmetric", "wrap"):
        raise ShapeError(f"pad: mode={mode!r}.", "Use constant, edge, reflect, symmetric or wrap.")
    for axis, (pair, length) in enumerate(zip(pairs, operand.shape, strict=True)):
        if any(pair):
            places = np.pad(np.arange(length), pair, mode=mode)  # type: ignore[call-overload]
            operand = take(operand, places, axis=axis)
    return operand


@public
def nonzero(x: Operand, /) -> tuple[Tensor, ...]:
    """Indices of the elements that are not zero, one tensor for each axis (no gradient)."""
    operand = as_constant(x)
    if operand.ndim == 0:
        raise ShapeError("nonzero of a tensor without axes.", "Reshape it to (1,) first.")
    return tuple(leaf(i) for i in np.nonzero(operand.data))


class UniqueAll(NamedTuple):
    """Result of ``unique_all``."""

    values: Tensor
    indices: Tensor
    inverse_indices: Tensor
    counts: Tensor


class UniqueCounts(NamedTuple):
    """Result of ``unique_counts``."""

    values: Tensor
    counts: Tensor


class UniqueInverse(NamedTuple):
    """Result of ``unique_inverse``."""

    values: Tensor
    inverse_indices: Tensor


@public
def unique_all(x: Operand, /) -> UniqueAll:
    """Sorted unique elements, first indices, inverse and counts (no gradient)."""
    return UniqueAll(*(leaf(np.asarray(part)) for part in np.unique_all(as_constant(x).data)))


@public
def unique_counts(x: Operand, /) -> UniqueCounts:
    """Sorted unique elements and how often each occurs (no gradient)."""
    return UniqueCounts(*(leaf(np.asarray(part)) for part in np.unique_counts(as_constant(x).data)))


@public
def unique_inverse(x: Operand, /) -> UniqueInverse:
    """Sorted unique elements and the indices that rebuild ``x`` from them (no gradient)."""
    parts = np.unique_inverse(as_constant(x).data)
    return UniqueInverse(*(leaf(np.asarray(part)) for part in parts))


@public
def unique_values(x: Operand, /) -> Tensor:
    """Sorted unique elements (no gradient)."""
    return leaf(np.unique_values(as_constant(x).data))
