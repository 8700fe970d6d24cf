"""Indexing: reading, and its adjoints, which write. Repeated indices add up.

An index expression is split into a static template and its index arrays, which are operands. In
the template an int, None and Ellipsis stand for themselves, ``(start, stop, step)`` for a slice
and ``"array"`` for the next index array.
"""

from __future__ import annotations

import operator
from typing import Any, TypeAlias

import numpy as np

from tinygrad_bn.errors import BoundsError, DTypeError, ShapeError
from tinygrad_bn.graph.primitive import Array
from tinygrad_bn.graph.tensor import Tensor, as_constant
from tinygrad_bn.primitives.families import Leading, indexing
from tinygrad_bn.primitives.kernels import add_in_place, spread_to
from tinygrad_bn.primitives.reduction import narrowed

Template: TypeAlias = tuple[Any, ...]
Shape: TypeAlias = tuple[int, ...]

ROWS = np.array([2, 0, 2])
MASK = np.array([True, False, True])
INDEXED: list[Any] = [
    (((3, 4), ROWS), {"index": ("array",)}),
    (((3, 4), ROWS, np.array([1, 1, 1])), {"index": ("array", "array")}),
    (((3, 4), MASK), {"index": ("array", None, (3, None, -2))}),
    (((3, 4),), {"index": (1, Ellipsis, (None, None, 2))}),
    (((3, 4),), {"index": (-1, None, (None, None, -1))}),
    (((2, 3, 2), ROWS - 1, ROWS // 2), {"index": ("array", (None, None, None), "array")}),
    (((3, 2), np.eye(3, 2) > 0), {"index": ("array",)}),
    (((3, 4), np.array(-1)), {"index": (Ellipsis, "array")}),
    (((),), {"index": (None, Ellipsis)}),
]


def split_index(key: Any) -> tuple[tuple[Any, ...], Template]:
    """Split what stands between the brackets into index arrays and a hashable template."""
    arrays: list[Any] = []

    def template(item: Any) -> Any:
        """Give an item's place in the template; keep an index array."""
        if item is None or item is Ellipsis:
            return item
        if isinstance(item, slice):
            return tuple(_step(s) for s in (item.start, item.stop, item.step))
        if isinstance(item, bool | np.bool_):
            arrays.append(as_constant(item))
            return "array"
        if isinstance(item, int | np.integer):
            return int(item)
        array = item if isinstance(item, Tensor | np.ndarray) else as_constant(item)
        if array.size == 0 and not isinstance(item, Tensor | np.ndarray):
            array = array.astype(np.int64)
        if array.dtype.kind not in "biu":
            raise DTypeError(
                f"Index of dtype {array.dtype}.", "Index with integers, booleans, slices or None."
            )
        arrays.append(array)
        return "array"

    items = key if isinstance(key, tuple) else (key,)
    parts = tuple(template(item) for item in items)
    return tuple(arrays), parts


def _step(bound: Any) -> int | None:
    """Return a bound of a slice as an int. Raises DTypeError for what is no integer."""
    try:
        return None if bound is None else operator.index(bound)
    except TypeError:
        raise DTypeError(
            f"A slice with the bound {bound!r}.", "Bounds are integers or None: int(bound)."
        ) from None


def join_index(index: Template, arrays: tuple[Any, ...]) -> tuple[Any, ...]:
    """Put a template and its index arrays together again."""
    rest = iter(arrays)
    return tuple(
        next(rest) if item == "array" else slice(*item) if isinstance(item, tuple) else item
        for item in index
    )


def _reading(x: Array, key: Any, /) -> Any:
    arrays, index = split_index(key)
    return (x, *arrays), {"index": index}


def _scatter(xp: Any, g: Array, out: Array, x: Array, *arrays: Array, index: Template) -> Array:
    return xp.scatter_add(g, join_index(index, arrays), shape=x.shape)


@indexing.called(_reading, vjp=Leading(_scatter), cases=INDEXED, symbol="[ ]")
def getitem(x: Array, *arrays: Array, index: Template) -> Array:
    """Read elements as ``x[key]`` does: NumPy's basic, advanced and boolean indexing.

    >>> getitem([1.0, 2.0, 3.0], [2, 0])
    Tensor([3., 1.])
    """
    return x[join_index(index, arrays)]


def _scattering(g: Array, key: Any, /, *, shape: Shape) -> Any:
    arrays, index = split_index(key)
    return (g, *arrays), {"index": index, "shape": shape}


def _gather(
    xp: Any, g: Array, out: Array, x: Array, *arrays: Array, index: Template, shape: Shape
) -> Array:
    return xp.getitem(g, join_index(index, arrays))


@indexing.called(
    _scattering,
    vjp=Leading(_gather),
    broadcasts=True,
    cases=[
        (((3, 4), ROWS), {"index": ("array",), "shape": (5, 4)}),
        (((3,), ROWS, np.array([1, 1, 1])), {"index": ("array", "array"), "shape": (3, 2)}),
        (((4,), ROWS), {"index": ("array",), "shape": (3, 4)}),
        (((2,),), {"index": (1, (None, None, 2)), "shape": (3, 4)}),
        (((1,),), {"index": (1, (None, None, 2)), "shape": (3, 4)}),
    ],
)
def scatter_add(x: Array, *arrays: Array, index: Template, shape: Shape) -> Array:
    """Zeros of ``shape`` with ``x`` added at a place: the adjoint of reading that place."""
    total = np.zeros(shape, x.dtype)
    if arrays:
        return add_in_place(total, join_index(index, arrays), x)
    total[join_index(index, ())] = x
    return total


# take --------------------------------------------------------------------------------------------


def _take_back(xp: Any, g: Array, out: Array, x: Array, indices: Array, axis: int | None) -> Array:
    if axis is None or x.ndim == 0:
        return xp.reshape(xp.scatter_add(g, indices, shape=(x.size,)), shape=x.shape)
    return xp.scatter_add(g, (*(slice(None),) * (axis % x.ndim), indices), shape=x.shape)


@indexing(
    np.take,
    vjp=(_take_back, None),
    cases=[
        (((3, 4), ROWS), {"axis": 0}),
        (((4, 3), np.array([[1, -1], [0, 1]])), {"axis": -1}),
        (((5,), ROWS), {}),
        (((3, 3), ROWS), {}),
        (((3, 4), np.array(1)), {"axis": 1}),
    ],
)
def take(x: Array, indices: Array, /, *, axis: int | None = None) -> Array:
    """Elements of ``x`` along an axis (may be left out for one-dimensional ``x``)."""


def _along_back(xp: Any, g: Array, out: Array, x: Array, indices: Array, axis: int | None) -> Array:
    if axis is None:
        return _take_back(xp, g, out, x, indices, axis)
    return xp.scatter_along_axis(g, indices, shape=x.shape, axis=axis)


ALONG = np.array([[0, 2], [1, 1]])


@indexing(
    np.take_along_axis,
    vjp=(_along_back, None),
    cases=[
        (((2, 3), ALONG), {"axis": 1}),
        (((3, 2), ALONG), {"axis": 0}),
        (((2, 3), ALONG[:1]), {"axis": -1}),
        (((1, 3), ALONG), {"axis": 1}),
        (((2, 3), ROWS), {"axis": None}),
    ],
)
def take_along_axis(x: Array, indices: Array, /, *, axis: int | None = -1) -> Array:
    """For each row along an axis its own elements: ``indices`` has as many axes as ``x``."""


@indexing(
    vjp=(
        lambda xp, g, out, x, indices, shape, axis: xp.take_along_axis(g, indices, axis=axis),
        None,
    ),
    cases=[(((2, 2), ALONG), {"shape": (2, 3), "axis": 1})],
)
def scatter_along_axis(x: Array, indices: Array, /, *, shape: Shape, axis: int) -> Array:
    """Zeros of ``shape`` with ``x`` added: the adjoint of ``take_along_axis``."""
    total = np.zeros(shape, x.dtype)
    place = list(np.ogrid[tuple(slice(n) for n in shape)])
    place[axis] = indices
    return add_in_place(total, tuple(place), x)


# functional updates ------------------------------------------------------------------------------


def _refuse_loss(x: Array, value: Array) -> None:
    """Raise DTypeError if a value would be cut to the kind of the tensor: it loses its gradient."""
    kind = np.result_type(*(v._data if isinstance(v, Tensor) else v for v in (x, value)))
    if not np.can_cast(kind, x.dtype, "same_kind"):
        raise DTypeError(
            f"A value of dtype {kind} for a place in a tensor of dtype {x.dtype}.",
            f"Convert the tensor first: x.astype({str(kind)!r}).at[index].",
        )


def _updating(x: Array, value: Array, key: Any, /) -> Any:
    x, value = (
        v if isinstance(v, int | float | np.ndarray) else as_constant(v) for v in (x, value)
    )
    _refuse_loss(x, value)
    arrays, index = split_index(key)
    return (x, value, *arrays), {"index": index}


UPDATED: list[Any] = [
    (((3, 4), (3, 4), ROWS), {"index": ("array",)}),
    (((3, 4), (4,), ROWS), {"index": ("array",)}),
    (((3, 4), (), ROWS, np.array([1, 1, 3])), {"index": ("array", "array")}),
    (((3, 4), (2,)), {"index": (1, (None, None, 2))}),
]


def _set_rest(
    xp: Any, g: Array, out: Array, x: Array, v: Array, *arrays: Array, index: Template
) -> Array:
    return xp.index_set(g, 0.0, join_index(index, arrays))


def _set_value(
    xp: Any, g: Array, out: Array, x: Array, v: Array, *arrays: Array, index: Template
) -> Array:
    """Only the last of several values written to one place was kept."""
    key = join_index(index, arrays)
    kept = xp.last_written(key, shape=x.shape)
    return xp.where(kept, xp.getitem(g, key), 0.0)


def _placing(key: Any, /, *, shape: Shape) -> Any:
    arrays, index = split_index(key)
    return arrays, {"index": index, "shape": shape}


@indexing.called(
    _placing,
    vjp=None,
    cases=[((ROWS,), {"index": ("array",), "shape": (3, 2)}), ((), {"index": (1,), "shape": (3,)})],
)
def last_written(*arrays: Array, index: Template, shape: Shape) -> Array:
    """Whether each value written to a place of an array of ``shape`` would be kept."""
    key = join_index(index, arrays)
    written = np.zeros(shape, np.int64)
    order = np.arange(written[key].size).reshape(written[key].shape)
    written[key] = order
    return written[key] == order


@indexing.called(_updating, vjp=Leading(_set_rest, _set_value), broadcasts=True, cases=UPDATED)
def index_set(x: Array, value: Array, *arrays: Array, index: Template) -> Array:
    """``x`` with a place replaced; of repeated indices the last value is kept (``x.at[i].set``)."""
    result = np.array(x)
    result[join_index(index, arrays)] = value
    return result


@indexing.called(
    _updating,
    vjp=Leading(
        lambda xp, g, out, x, v, *arrays, index: g,
        lambda xp, g, out, x, v, *arrays, index: xp.getitem(g, join_index(index, arrays)),
    ),
    broadcasts=True,
    cases=UPDATED,
)
def index_add(x: Array, value: Array, *arrays: Array, index: Template) -> Array:
    """``x`` with a value added at a place; repeated indices add up (``x.at[i].add``)."""
    key = join_index(index, arrays)
    return add_in_place(np.array(x), key, spread_to(value, x[key]))


def _share(
    xp: Any, g: Array, out: Array, x: Array, v: Array, key: tuple[Any, ...]
) -> tuple[Array, Array, Array]:
    """Who attains the extremum: the old elements, the new values, and how many share it."""
    dtype = np.promote_types(g.dtype, np.float32)
    old = xp.astype(x == out, dtype)
    place = xp.getitem(out, key)
    new = xp.astype(xp.broadcast_to(v == place, place.shape), dtype)
    return old, new, xp.index_add(old, new, key)


def _extreme_rest(
    xp: Any, g: Array, out: Array, x: Array, v: Array, *arrays: Array, index: Template
) -> Array:
    old, _, count = _share(xp, g, out, x, v, join_index(index, arrays))
    return narrowed(xp, g * old / count, g)


def _extreme_value(
    xp: Any, g: Array, out: Array, x: Array, v: Array, *arrays: Array, index: Template
) -> Array:
    key = join_index(index, arrays)
    _, new, count = _share(xp, g, out, x, v, key)
    return narrowed(xp, xp.getitem(g / count, key) * new, g)


def _extreme_margin(x: Array, v: Array, *arrays: Array, index: Template) -> Array:
    """Gaps between neighbours in size among the old element and the new ones of each place."""
    places = np.arange(x.size).reshape(x.shape)[join_index(index, arrays)]
    source = np.broadcast_to(np.arange(np.size(v)).reshape(np.shape(v)), places.shape)
    pairs = np.unique(np.stack([places.ravel(), source.ravel()]), axis=1)
    written = np.unique(places)
    where = np.concat([written, pairs[0]])
    values = np.concat([np.ravel(x)[written], np.ravel(v)[pairs[1]]])
    order = np.lexsort((values, where))
    return np.diff(values[order])[np.diff(where[order]) == 0]


_extreme = {
    "vjp": Leading(_extreme_rest, _extreme_value),
    "prepare": _updating,
    "broadcasts": True,
    "cases": UPDATED,
    "margin": _extreme_margin,
    "analytic": False,
}


@indexing(**_extreme)
def index_max(x: Array, value: Array, *arrays: Array, index: Template) -> Array:
    """``x`` with a place raised to at least a value; ties share equally (``x.at[i].max``)."""
    result = np.array(x)
    key = join_index(index, arrays)
    np.maximum.at(result, key, spread_to(value, x[key]))
    return result


@indexing(**_extreme)
def index_min(x: Array, value: Array, *arrays: Array, index: Template) -> Array:
    """``x`` with a place lowered to at most a value; ties share equally (``x.at[i].min``)."""
    result = np.array(x)
    key = join_index(index, arrays)
    np.minimum.at(result, key, spread_to(value, x[key]))
    return result


def _multiply_rest(
    xp: Any, g: Array, out: Array, x: Array, v: Array, *arrays: Array, index: Template
) -> Array:
    return g * xp.index_multiply(xp.ones_like(x), v, join_index(index, arrays))


def _multiply_value(
    xp: Any, g: Array, out: Array, x: Array, v: Array, *arrays: Array, index: Template
) -> Array:
    return xp.getitem(g * x, join_index(index, arrays))


@indexing.called(
    _updating,
    vjp=Leading(_multiply_rest, _multiply_value),
    broadcasts=True,
    cases=[
        (((3, 4), (2, 4), np.array([2, 0])), {"index": ("array",)}),
        (((3, 4), (4,), np.array([2, 0])), {"index": ("array",)}),
        (((3, 4), (2,)), {"index": (1, (None, None, 2))}),
    ],
)
def index_multiply(x: Array, value: Array, *arrays: Array, index: Template) -> Array:
    """``x`` with a place multiplied by a value; no index twice (``x.at[i].multiply``)."""
    key = join_index(index, arrays)
    places = np.arange(x.size).reshape(x.shape)[key]
    if arrays and np.unique(places).size < places.size:
        raise ShapeError(
            "at.multiply with a repeated index: the order of products would matter.",
            "Multiply once for each index, or use at.add of logarithms.",
        )
    result = np.array(x)
    result[key] = result[key] * value
    return result


# one-hot -----------------------------------------------------------------------------------------


@indexing(vjp=None, cases=[((np.array([2, 0, 1]),), {"classes": 3, "dtype": np.dtype(float)})])
def one_hot_rows(labels: Array, /, *, classes: int, dtype: Any) -> Array:
    """For each integer label a row of zeros with a one at the label, on a new last axis."""
    outside = (labels < 0) | (labels >= classes)
    if outside.any():
        where = tuple(int(i) for i in np.argwhere(outside)[0])
        raise BoundsError(
            f"one_hot: label {labels[where]} at index {where} is outside 0..{classes - 1}.",
            "Labels count classes from 0; check the number of classes.",
        )
    return (labels[..., None] == np.arange(classes)).astype(dtype)
