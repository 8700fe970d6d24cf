"""Sorting and searching. Sorting moves elements; searching has no gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_bn.graph.primitive import Array
from tinygrad_bn.primitives.families import sorting

CASES: list[Any] = [
    (((3, 4),), {}),
    (((3, 4),), {"axis": 0, "descending": True}),
    (((2, 3, 4),), {"axis": 1}),
    (((5,),), {"stable": False}),
    (((2, 3),), {"axis": None}),
    (((2, 3),), {"axis": None, "descending": True}),
]


def _neighbour_gap(
    x: Array, axis: int | None = -1, descending: bool = False, stable: bool = True
) -> Array:
    return np.diff(np.sort(x, axis=axis), axis=-1 if axis is None else axis)


def _unsort(
    xp: Any, g: Array, out: Array, x: Array, axis: int | None, descending: bool, stable: bool
) -> Array:
    order = xp.argsort(x, axis=axis, descending=descending, stable=True)
    back = xp.take_along_axis(g, xp.argsort(order, axis=axis), axis=axis)
    return xp.reshape(back, shape=x.shape)


@sorting(vjp=_unsort, cases=CASES, margin=_neighbour_gap, analytic=False)
def sort(
    x: Array, /, *, axis: int | None = -1, descending: bool = False, stable: bool = True
) -> Array:
    """Elements in order along an axis; of equal elements each keeps its own gradient.

    >>> sort([3.0, 1.0, 2.0], descending=True)
    Tensor([3., 2., 1.])
    """
    ordered = np.sort(x, axis=axis, stable=stable)
    return np.flip(ordered, axis=axis) if descending else ordered


@sorting(vjp=None, cases=CASES)
def argsort(
    x: Array, /, *, axis: int | None = -1, descending: bool = False, stable: bool = True
) -> Array:
    """Indices that sort along an axis; equal elements stay in their order."""
    if not descending:
        return np.argsort(x, axis=axis, stable=stable)
    backwards = np.argsort(np.flip(x, axis=axis), axis=axis, stable=stable)
    return backwards.shape[0 if axis is None else axis] - 1 - np.flip(backwards, axis=axis)


def _ordering(x1: Array, x2: Array, /, *, side: str = "left", sorter: Array | None = None) -> Any:
    operands = (x1, x2) if sorter is None else (x1, x2, sorter)
    return operands, {"side": side}


@sorting.called(
    _ordering,
    vjp=(None, None, None),
    cases=[((np.array([1.0, 2.0, 3.0]), np.array([0.5, 2.0])), {"side": "right"})],
)
def searchsorted(x1: Array, x2: Array, sorter: Array = None, *, side: Any = "left") -> Array:
    """Where elements of ``x2`` would go in the sorted, one-dimensional ``x1``."""
    return np.searchsorted(x1, x2, side=side, sorter=sorter)
