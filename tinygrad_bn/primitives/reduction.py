"""Reductions and cumulative operations along axes.

``axis``: an int, a tuple of ints, negative ones count from the end, None for all axes.
float16 sums are accumulated in float32.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np

from tinygrad_bn.graph.primitive import Array, has_half
from tinygrad_bn.primitives.families import reduction
from tinygrad_bn.primitives.kernels import accurate_sum, sums_in_blocks

Axis: TypeAlias = int | tuple[int, ...] | None

SHAPES = (2, 3, 4)
CASES = [
    ((SHAPES,), {}),
    ((SHAPES,), {"axis": 1}),
    ((SHAPES,), {"axis": (2, 0), "keepdims": True}),
    ((SHAPES,), {"axis": -1}),
    ((SHAPES,), {"axis": (0, -1)}),
    ((SHAPES,), {"axis": ()}),
    ((SHAPES,), {"keepdims": True}),
    (((),), {}),
]
TYPED: list[Any] = [
    ((SHAPES,), {"axis": 1, "dtype": np.dtype("float64")}),
    (((0, 3),), {"axis": 0}),
]
ALONG = [((SHAPES,), {"axis": 1}), ((SHAPES,), {"axis": -1}), (((5,),), {})]
RUNNING: list[Any] = [
    *ALONG,
    (((3, 2),), {"axis": 0, "include_initial": True}),
    (((2, 3),), {"axis": -1, "dtype": np.dtype("float64")}),
    (((2, 0),), {"axis": 1}),
    (((1,),), {}),
]


def restore(xp: Any, reduced: Array, x: Array, axis: Axis, keepdims: bool) -> Array:
    """Give the result of a reduction of ``x`` its reduced axes back, as length one."""
    return (
        reduced if keepdims or axis is None or x.ndim == 0 else xp.expand_dims(reduced, axis=axis)
    )


def spread(xp: Any, g: Array, x: Array, axis: Axis, keepdims: bool) -> Array:
    """Broadcast the result of a reduction over the axes that were reduced."""
    return xp.broadcast_to(restore(xp, g, x, axis, keepdims), x.shape)


def narrowed(xp: Any, piece: Array, g: Array) -> Array:
    """Give what was computed in a wider dtype the dtype of the cotangent."""
    return piece if piece.dtype == g.dtype else xp.astype(piece, g.dtype)


def _in_float32(reduce: Any, x: Array, dtype: Any, **keywords: Any) -> Array:
    """Reduce float16 in float32, unless a dtype is asked for; all else as it is."""
    if dtype is None and getattr(x, "dtype", None) == np.float16:
        return reduce(x, dtype=np.float32, **keywords).astype(np.float16)
    return reduce(x, dtype=dtype, **keywords)


def _sum_rule(
    xp: Any, g: Array, out: Array, x: Array, axis: Axis, dtype: Any, keepdims: bool
) -> Array:
    return spread(xp, g, x, axis, keepdims)


@reduction(
    vjp=_sum_rule,
    cases=[*CASES, *TYPED, (((40, 2, 33),), {"axis": (0, 2)}), (((70, 3),), {"axis": 0})],
    symbol="Σ",
    alike=np.sum,
    unlike=lambda x, **params: has_half(x) or sums_in_blocks(x, **params),
)
def sum(x: Array, /, *, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> Array:
    """Sum of the elements along axes; small integers are summed in the default integer.

    >>> sum([[1.0, 2.0], [3.0, 4.0]], axis=0)
    Tensor([4., 6.])
    """
    return accurate_sum(x, axis, dtype, keepdims)


def _others(xp: Any, y: Array) -> Array:
    """Product of all other elements along the last axis, without a division."""
    ones = xp.ones_like(y[..., :1])
    before = xp.concat((ones, xp.cumulative_prod(y, axis=-1)[..., :-1]), axis=-1)
    flipped = xp.flip(y, axis=-1)
    after = xp.concat((ones, xp.cumulative_prod(flipped, axis=-1)[..., :-1]), axis=-1)
    return before * xp.flip(after, axis=-1)


def _prod_rule(
    xp: Any, g: Array, out: Array, x: Array, axis: Axis, dtype: Any, keepdims: bool
) -> Array:
    if x.ndim == 0:
        return g
    axes = range(x.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    last = [a % x.ndim for a in axes]
    order = (*(a for a in range(x.ndim) if a not in last), *last)
    moved = xp.permute_dims(x, axes=order)
    lead = moved.shape[: x.ndim - len(last)]
    rows = xp.reshape(moved, shape=(*lead, math.prod(moved.shape[len(lead) :])))
    others = xp.reshape(_others(xp, rows), shape=moved.shape)
    inverse = tuple(int(i) for i in np.argsort(order))
    return spread(xp, g, x, axis, keepdims) * xp.permute_dims(others, axes=inverse)


@reduction(
    vjp=_prod_rule,
    cases=[*CASES, *TYPED, ((np.array([[0.0, 2.0], [0.0, 0.0]]),), {"axis": 1})],
    symbol="Π",
    alike=np.prod,
)
def prod(x: Array, /, *, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> Array:
    """Product of the elements along axes; the gradient is exact also where elements are zero."""
    return _in_float32(np.prod, x, dtype, axis=axis, keepdims=keepdims)


def _tied(xp: Any, g: Array, out: Array, x: Array, axis: Axis, keepdims: bool) -> Array:
    """Share a cotangent equally among the elements that attain the extremum.

    float16 could not count them: they are counted at least in float32.
    """
    wide = np.promote_types(g.dtype, np.float32)
    hit = xp.astype(x == restore(xp, out, x, axis, keepdims), wide)
    share = restore(xp, g, x, axis, keepdims) / xp.sum(hit, axis=axis, keepdims=True)
    return narrowed(xp, share * hit, g)


def _top_gap(x: Array, axis: Axis = None, keepdims: bool = False, sign: int = -1) -> Array:
    """Gaps between the extremum and each of the others."""
    axes = tuple(range(x.ndim)) if axis is None else axis
    axes = (axes,) if isinstance(axes, int) else axes
    rows = np.moveaxis(x, axes, range(-len(axes), 0))
    lead = rows.shape[: x.ndim - len(axes)]
    rows = np.sort(sign * rows.reshape(*lead, math.prod(rows.shape[len(lead) :])), axis=-1)
    return rows[..., 1:] - rows[..., :1]


def _bottom_gap(x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
    return _top_gap(x, axis, keepdims, sign=1)


@reduction(np.max, vjp=_tied, cases=CASES, margin=_top_gap, analytic=False)
def max(x: Array, /, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """Largest element along axes; ties share the gradient equally."""


@reduction(np.min, vjp=_tied, cases=CASES, margin=_bottom_gap, analytic=False)
def min(x: Array, /, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """Smallest element along axes; ties share the gradient equally."""


@reduction(np.any, vjp=None, cases=CASES)
def any(x: Array, /, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """Whether any element along axes is true (not zero)."""


@reduction(np.all, vjp=None, cases=CASES)
def all(x: Array, /, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """Whether all elements along axes are true (not zero)."""


@reduction(np.count_nonzero, vjp=None, cases=CASES)
def count_nonzero(x: Array, /, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """Number of elements along axes that are not zero."""


@reduction(np.argmax, vjp=None, cases=ALONG)
def argmax(x: Array, /, *, axis: int | None = None, keepdims: bool = False) -> Array:
    """Index of the first largest element along an axis (None: of the flattened array)."""


@reduction(np.argmin, vjp=None, cases=ALONG)
def argmin(x: Array, /, *, axis: int | None = None, keepdims: bool = False) -> Array:
    """Index of the first smallest element along an axis (None: of the flattened array)."""


# cumulative --------------------------------------------------------------------------------------


def _drop_initial(g: Array, axis: int, include_initial: bool) -> Array:
    """The cotangent without the entry of the initial value."""
    if not include_initial:
        return g
    return g[(*(slice(None),) * (axis % g.ndim), slice(1, None))]


def _cumulative_sum_rule(
    xp: Any, g: Array, out: Array, x: Array, axis: int | None, dtype: Any, include_initial: bool
) -> Array:
    axis = 0 if axis is None else axis
    g = _drop_initial(g, axis, include_initial)
    total = xp.flip(xp.cumulative_sum(xp.flip(g, axis=axis), axis=axis), axis=axis)
    return total if x.ndim else xp.reshape(total, shape=())


@reduction(
    alike=np.cumulative_sum,
    vjp=_cumulative_sum_rule,
    cases=RUNNING,
)
def cumulative_sum(
    x: Array, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> Array:
    """Running sum along an axis (may be left out for one-dimensional operands)."""
    keywords = {"axis": axis, "include_initial": include_initial}
    return _in_float32(np.cumulative_sum, x, dtype, **keywords)


def _cumulative_prod_rule(
    xp: Any, g: Array, out: Array, x: Array, axis: int | None, dtype: Any, include_initial: bool
) -> Array:
    """Each partial product depends on each of its factors through the product of the others.

    Quadratic in the length of the axis, in exchange for exactness where factors are zero.
    """
    if x.ndim == 0:
        return xp.reshape(_drop_initial(g, 0, include_initial), shape=())
    axis = 0 if axis is None else axis % x.ndim
    order = (*(a for a in range(x.ndim) if a != axis), axis)
    inverse = tuple(int(i) for i in np.argsort(order))
    g = xp.permute_dims(_drop_initial(g, axis, include_initial), axes=order)
    y = xp.permute_dims(x, axes=order)
    n = y.shape[-1]
    factor = np.tri(n, dtype=bool)
    rows = xp.where(factor, xp.expand_dims(y, axis=-2), 1.0)
    weighted = xp.where(factor, _others(xp, rows), 0.0) * xp.expand_dims(g, axis=-1)
    return xp.permute_dims(xp.sum(weighted, axis=-2), axes=inverse)


@reduction(
    alike=np.cumulative_prod,
    vjp=_cumulative_prod_rule,
    cases=[*RUNNING, ((np.array([2.0, 0.0, -1.5, 0.0, 3.0]),), {})],
)
def cumulative_prod(
    x: Array, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> Array:
    """Running product along an axis (may be left out for one-dimensional operands)."""
    keywords = {"axis": axis, "include_initial": include_initial}
    return _in_float32(np.cumulative_prod, x, dtype, **keywords)
