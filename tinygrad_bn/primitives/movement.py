"""Movements: the same elements in other places. Each rule is the movement back."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from tinygrad_bn.graph.primitive import Array
from tinygrad_bn.graph.sweep import scratch
from tinygrad_bn.primitives.families import Each, movement

Shape: TypeAlias = tuple[int, ...]


def _back(xp: Any, g: Array, out: Array, x: Array, **params: Any) -> Array:
    """Reshape a cotangent to the operand's shape."""
    return xp.reshape(g, shape=x.shape)


@movement(
    np.reshape, vjp=_back, cases=[(((2, 6),), {"shape": (3, 4)}), (((2, 3),), {"shape": (-1,)})]
)
def reshape(x: Array, /, shape: Shape, *, copy: bool | None = None) -> Array:
    """Return the elements, in row-major order, in another shape; one length may be -1.

    >>> reshape([1.0, 2.0, 3.0, 4.0], (2, 2))
    Tensor([[1., 2.],
            [3., 4.]])
    """


@movement(
    np.expand_dims, vjp=_back, cases=[(((2, 3),), {"axis": 1}), (((2, 3),), {"axis": (0, -1)})]
)
def expand_dims(x: Array, /, axis: int | tuple[int, ...] = 0) -> Array:
    """Insert axes of length one at the given positions of the result."""


@movement(
    np.squeeze, vjp=_back, cases=[(((2, 1, 3, 1),), {"axis": (1, -1)}), (((1, 3),), {"axis": 0})]
)
def squeeze(x: Array, /, axis: int | tuple[int, ...]) -> Array:
    """Drop the given axes, which must have length one."""


def _permute_back(xp: Any, g: Array, out: Array, x: Array, axes: Shape) -> Array:
    return xp.permute_dims(g, axes=tuple(int(i) for i in np.argsort([a % x.ndim for a in axes])))


@movement(
    np.permute_dims,
    vjp=_permute_back,
    cases=[(((2, 3, 4),), {"axes": (1, 2, 0)}), (((2, 3, 4),), {"axes": (-1, 0, 1)})],
)
def permute_dims(x: Array, /, axes: Shape) -> Array:
    """Permute the axes: axis ``i`` of the result is axis ``axes[i]`` of ``x``."""


@movement(
    np.matrix_transpose,
    vjp=lambda xp, g, out, x: xp.matrix_transpose(g),
    cases=[(((2, 3, 4),), {}), (((2, 3),), {})],
)
def matrix_transpose(x: Array, /) -> Array:
    """Exchange the last two axes."""


def _move_back(xp: Any, g: Array, out: Array, x: Array, source: Any, destination: Any) -> Array:
    return xp.moveaxis(g, source=destination, destination=source)


@movement(
    np.moveaxis,
    vjp=_move_back,
    cases=[
        (((2, 3, 4),), {"source": 0, "destination": -1}),
        (((2, 3, 4),), {"source": (0, 1), "destination": (-1, 0)}),
    ],
)
def moveaxis(
    x: Array, /, source: int | tuple[int, ...], destination: int | tuple[int, ...]
) -> Array:
    """Move axes to new positions; the others keep their order."""


@movement(
    np.broadcast_to,
    vjp=lambda xp, g, out, x, shape: g,
    broadcasts=True,
    cases=[
        (((3, 1),), {"shape": (2, 3, 4)}),
        (((2, 1, 3),), {"shape": (2, 2, 3)}),
        (((),), {"shape": (2,)}),
    ],
)
def broadcast_to(x: Array, /, shape: Shape) -> Array:
    """Repeat the elements along new axes and axes of length one, without copying."""


@movement(
    np.flip,
    vjp=lambda xp, g, out, x, axis: xp.flip(g, axis=axis),
    cases=[(((2, 3),), {}), (((2, 3),), {"axis": -1}), (((2, 3, 2),), {"axis": (0, 1)})],
)
def flip(x: Array, /, *, axis: int | tuple[int, ...] | None = None) -> Array:
    """Reverse the order along axes (None: all)."""


def _roll_back(xp: Any, g: Array, out: Array, x: Array, shift: Any, axis: Any) -> Array:
    back = tuple(-s for s in shift) if isinstance(shift, tuple) else -shift
    return xp.roll(g, shift=back, axis=axis)


@movement(
    np.roll,
    vjp=_roll_back,
    cases=[
        (((2, 5),), {"shift": 2}),
        (((3, 5),), {"shift": -1, "axis": 1}),
        (((3, 5),), {"shift": (1, 2), "axis": (0, 1)}),
    ],
)
def roll(
    x: Array, /, shift: int | tuple[int, ...], *, axis: int | tuple[int, ...] | None = None
) -> Array:
    """Shift elements along axes; those that leave at the end come in at the start."""


def _repeat_back(
    xp: Any, g: Array, out: Array, x: Array, repeats: int | Shape, axis: int | None
) -> Array:
    if axis is None or x.ndim == 0:
        flat_g = _repeat_back(xp, g, out, xp.reshape(x, shape=(-1,)), repeats, 0)
        return xp.reshape(flat_g, shape=x.shape)
    axis %= x.ndim
    if isinstance(repeats, int):
        apart = (*x.shape[: axis + 1], repeats, *x.shape[axis + 1 :])
        return xp.sum(xp.reshape(g, shape=apart), axis=axis + 1)
    origin = np.repeat(np.arange(x.shape[axis]), repeats)
    return xp.scatter_add(g, (*(slice(None),) * axis, origin), shape=x.shape)


@movement(
    np.repeat,
    vjp=_repeat_back,
    cases=[
        (((2, 3),), {"repeats": 2}),
        (((2, 3),), {"repeats": 3, "axis": -1}),
        (((2, 3),), {"repeats": (2, 0, 1), "axis": 1}),
        (((2, 2),), {"repeats": (1, 0, 2, 1)}),
        (((2, 3),), {"repeats": (2,), "axis": 1}),
    ],
)
def repeat(x: Array, /, repeats: int | Shape, *, axis: int | None = None) -> Array:
    """Repeat each element: the same number of times, or as many as ``repeats`` says of each."""


def _tile_back(xp: Any, g: Array, out: Array, x: Array, repetitions: int | Shape) -> Array:
    repetitions = (repetitions,) if isinstance(repetitions, int) else repetitions
    rank = max(x.ndim, len(repetitions))
    shape = (1,) * (rank - x.ndim) + x.shape
    counts = (1,) * (rank - len(repetitions)) + repetitions
    apart = tuple(n for pair in zip(counts, shape, strict=True) for n in pair)
    summed = xp.sum(xp.reshape(g, shape=apart), axis=tuple(range(0, 2 * rank, 2)))
    return xp.reshape(summed, shape=x.shape)


@movement(
    vjp=_tile_back,
    cases=[
        (((2, 3),), {"repetitions": (2, 1, 2)}),
        (((2, 1, 3),), {"repetitions": (2,)}),
        (((2, 3),), {"repetitions": 2}),
        (((2,),), {"repetitions": (2, 0)}),
    ],
)
def tile(x: Array, /, repetitions: int | Shape) -> Array:
    """Repeat the whole array along each axis."""
    return np.tile(x, repetitions)


def _borders(out: Array, xs: Sequence[Array], axis: int | None) -> list[int]:
    """Where the operands begin in the result, and its end; computed once for all of a sweep."""
    shared = scratch.get({})
    if id(out) not in shared:
        lengths = (np.size(x) if axis is None else x.shape[axis] for x in xs)
        shared[id(out)] = out, [0, *itertools.accumulate(lengths)]
    borders: list[int] = shared[id(out)][1]
    return borders


def _concat_part(i: int, xp: Any, g: Array, out: Array, *xs: Array, axis: int | None) -> Array:
    start, stop = _borders(out, xs, axis)[i : i + 2]
    if axis is None:
        return xp.reshape(g[start:stop], shape=np.shape(xs[i]))
    return g[(*(slice(None),) * (axis % g.ndim), slice(start, stop))]


def _sequence(arrays: Sequence[Array], /, *, axis: int | None = 0) -> Any:
    return tuple(arrays), {"axis": axis}


@movement.called(
    _sequence,
    vjp=Each(_concat_part),
    cases=[
        (((2, 3), (2, 1), (2, 2)), {"axis": -1}),
        (((1, 3), (2, 3)), {"axis": 0}),
        (((2,), (), (1, 2)), {"axis": None}),
    ],
)
def concat(*arrays: Array, axis: int = 0) -> Array:
    """Join a sequence of arrays along an existing axis (None: flattened first).

    >>> concat([[1.0], [2.0, 3.0]])
    Tensor([1., 2., 3.])
    """
    return np.concat(arrays, axis=axis)


def _stack_part(i: int, xp: Any, g: Array, out: Array, *xs: Array, axis: int) -> Array:
    return g[(*(slice(None),) * (axis % g.ndim), i)]


@movement.called(
    _sequence,
    vjp=Each(_stack_part),
    cases=[(((2, 3), (2, 3)), {"axis": -1}), (((3,), (3,), (3,)), {"axis": 0})],
)
def stack(*arrays: Array, axis: int = 0) -> Array:
    """Join a sequence of arrays of one shape along a new axis."""
    return np.stack(arrays, axis=axis)


def _triangle_case() -> list[Any]:
    return [
        (((3, 4),), {"k": 0}),
        (((2, 4, 3),), {"k": -1}),
        (((3, 3),), {"k": 1}),
        (((3,),), {"k": 0}),
    ]


@movement(
    np.tril,
    vjp=lambda xp, g, out, x, k: xp.tril(g, k=k),
    cases=_triangle_case(),
    broadcasts=True,  # NumPy repeats a vector as the rows of a matrix
)
def tril(x: Array, /, *, k: int = 0) -> Array:
    """Lower triangle of the last two axes; the rest is zero."""


@movement(
    np.triu,
    vjp=lambda xp, g, out, x, k: xp.triu(g, k=k),
    cases=_triangle_case(),
    broadcasts=True,
)
def triu(x: Array, /, *, k: int = 0) -> Array:
    """Upper triangle of the last two axes; the rest is zero."""


@movement(
    vjp=lambda xp, g, out, x, dtype, copy, device: g,
    cases=[
        (((2, 3),), {"dtype": np.dtype("float64")}),
        (((2, 3),), {"dtype": np.dtype("float32")}),
        (((2, 3),), {"dtype": np.dtype("int64")}),
    ],
    analytic=False,
)
def astype(x: Array, /, dtype: Any, *, copy: bool = True, device: Any = None) -> Array:
    """Convert the elements to another dtype; the gradient is converted back.

    >>> astype([1.5, 2.5], "int64")
    Tensor([1, 2])
    """
    return np.astype(np.asarray(x), np.dtype(dtype), copy=copy, device=device)


def _pad_back(xp: Any, g: Array, out: Array, x: Array, widths: Any, value: float) -> Array:
    return g[tuple(slice(b, b + n) for (b, _), n in zip(widths, x.shape, strict=True))]


@movement(
    vjp=_pad_back,
    cases=[
        (((2, 3),), {"widths": ((1, 0), (2, 1)), "value": 0.5}),
        (((3,),), {"widths": ((0, 2),)}),
    ],
)
def pad_constant(x: Array, /, *, widths: tuple[Shape, ...], value: float = 0.0) -> Array:
    """Surround with a constant: ``widths`` has (before, after) for each axis."""
    return np.pad(x, widths, constant_values=value)


# sliding windows ---------------------------------------------------------------------------------


def _windows_back(
    xp: Any, g: Array, out: Array, x: Array, window: Shape, stride: Shape, dilation: Shape
) -> Array:
    return xp.overlap_add(
        g, shape=x.shape[x.ndim - len(window) :], stride=stride, dilation=dilation
    )


@movement(
    vjp=_windows_back,
    cases=[
        (((2, 7),), {"window": (3,), "stride": (2,), "dilation": (1,)}),
        (((5, 6),), {"window": (2, 3), "stride": (1, 2), "dilation": (2, 1)}),
    ],
)
def sliding_windows(x: Array, /, *, window: Shape, stride: Shape, dilation: Shape) -> Array:
    """All windows over the last ``len(window)`` axes, as a view: (..., *positions, *window).

    ``stride``: steps between windows; ``dilation``: steps between elements of one window.
    """
    k = len(window)
    reach = tuple((w - 1) * d + 1 for w, d in zip(window, dilation, strict=True))
    views = np.lib.stride_tricks.sliding_window_view(x, reach, axis=tuple(range(-k, 0)))
    steps = (*(slice(None, None, s) for s in stride), *(slice(None, None, d) for d in dilation))
    key: Any = (..., *steps)
    return views[key]


def _overlap_back(
    xp: Any, g: Array, out: Array, x: Array, shape: Shape, stride: Shape, dilation: Shape
) -> Array:
    window = x.shape[x.ndim - len(shape) :]
    return xp.sliding_windows(g, window=window, stride=stride, dilation=dilation)


@movement(
    vjp=_overlap_back,
    cases=[
        (((2, 3, 3),), {"shape": (7,), "stride": (2,), "dilation": (1,)}),
        (((3, 2, 2, 3),), {"shape": (5, 6), "stride": (1, 2), "dilation": (2, 1)}),
    ],
)
def overlap_add(x: Array, /, *, shape: Shape, stride: Shape, dilation: Shape) -> Array:
    """Add windows (..., *positions, *window) up in place: the adjoint of ``sliding_windows``."""
    k = len(shape)
    positions, window = x.shape[-2 * k : -k], x.shape[-k:]
    wide = np.float32 if x.dtype == np.float16 else x.dtype
    total = np.zeros((*x.shape[: -2 * k], *shape), wide)
    for offset in np.ndindex(*window):
        place = tuple(
            slice(o * d, o * d + (n - 1) * s + 1, s)
            for o, d, n, s in zip(offset, dilation, positions, stride, strict=True)
        )
        key: Any = (..., *place)
        total[key] += x[(..., *offset)]
    return total.astype(x.dtype, copy=False)
