"""Statistics: mean, variance and running averages, exact also far from zero."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from tinygrad_bn.errors import DTypeError, ShapeError
from tinygrad_bn.graph.composition import composition, public, term
from tinygrad_bn.graph.primitive import axes_of
from tinygrad_bn.graph.tensor import Operand, Tensor, as_constant, leaf
from tinygrad_bn.primitives.elementwise import sqrt, square, stop_gradient, subtract, where
from tinygrad_bn.primitives.indexing import getitem
from tinygrad_bn.primitives.movement import astype, squeeze
from tinygrad_bn.primitives.reduction import sum

Axis: TypeAlias = int | tuple[int, ...] | None


def normalise_axes(x: Tensor, axis: Axis, what: str) -> tuple[int, ...]:
    """Return axes as a tuple of distinct numbers from 0. Raises ShapeError naming the operation."""
    given = range(x.ndim) if axis is None else axis if isinstance(axis, Iterable) else (axis,)
    try:
        axes = tuple(operator.index(a) for a in given)
    except TypeError:
        axes = (x.ndim,)
    if all(-x.ndim <= a < x.ndim for a in axes):
        found = tuple(a % x.ndim for a in axes)
        if len(set(found)) == len(found):
            return found
    raise ShapeError(f"{what} of shape {x.shape} along axis={axis}.", axes_of(x.ndim))


def count_along(x: Tensor, axes: tuple[int, ...]) -> int:
    """Return the number of elements that a reduction over axes takes together."""
    return int(np.prod([x.shape[a] for a in axes], dtype=np.int64))


def floating(x: Operand, what: str) -> Tensor:
    """Return the operand as a floating-point tensor; integers become float64."""
    operand = as_constant(x)
    if operand.dtype.kind in "biu":
        return astype(operand, np.float64)
    if operand.dtype.kind != "f":
        raise DTypeError(f"{what} of dtype {operand.dtype}.", "Pass real numbers.")
    return operand


def widened(x: Tensor) -> Tensor:
    """Return float16 as float32, in which it is accumulated; all else as it is."""
    return astype(x, np.float32) if x.dtype == np.float16 else x


def in_dtype(x: Tensor, dtype: Any) -> Tensor:
    """Return a tensor in a dtype; no node where it has that already."""
    return x if x.dtype == dtype else astype(x, dtype)


@composition
def mean(x: Operand, /, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Arithmetic mean along axes (None: all). float16 is accumulated in float32.

    >>> mean([[1.0, 2.0], [3.0, 6.0]], axis=0)
    Tensor([2., 4.])
    """
    operand = as_constant(x)
    if operand.dtype.kind in "biu":
        operand = astype(operand, np.float64)
    axes = normalise_axes(operand, axis, "mean")
    total = sum(widened(operand), axis=axes, keepdims=keepdims)
    return in_dtype(total / count_along(operand, axes), operand.dtype)


class Moments(NamedTuple):
    """Mean and variance."""

    mean: Tensor
    var: Tensor


class Centred(NamedTuple):
    """What standardising needs: the centred values, their mean (shifted back) and variance."""

    values: Tensor
    mean: Tensor
    var: Tensor


def centre(x: Tensor, axes: tuple[int, ...], correction: float = 0.0) -> Centred:
    """Centre in two passes after subtracting a pilot, one sample value of each group.

    The result does not depend on the pilot in exact arithmetic, so its gradient is stopped; with
    it a constant column is exactly 0, and a large offset costs no digits.
    """
    first = tuple(slice(0, 1) if a in axes else slice(None) for a in range(x.ndim))
    pilot = term("pilot", getitem(stop_gradient(x), first))
    shifted = term("x − pilot", x - pilot)
    n = count_along(x, axes)
    offset = term("μ − pilot", sum(shifted, axis=axes, keepdims=True) / n)
    values = term("x − μ", shifted - offset)
    squares = sum(square(values), axis=axes, keepdims=True)
    variance = term("σ²", squares / _degrees(n, correction))
    return Centred(values, pilot + offset, variance)


def _degrees(n: int, correction: float) -> float:
    """Return the divisor of a variance; NaN where none is left (and so no warning from NumPy)."""
    degrees = n - correction
    return degrees if degrees > 0 else float("nan")


def _accumulated(x: Operand, what: str) -> tuple[Tensor, np.dtype[Any]]:
    """Return a floating-point operand in which to accumulate, and the dtype of the answer."""
    operand = floating(x, what)
    return widened(operand), operand.dtype


def _finish(result: Tensor, axes: tuple[int, ...], dtype: Any, *, keepdims: bool) -> Tensor:
    """Drop reduced axes and return to the operand's dtype."""
    kept = result if keepdims or not axes else squeeze(result, axes)
    return in_dtype(kept, dtype)


@composition
def moments(
    x: Operand, /, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False
) -> Moments:
    """Mean and variance along axes, computed together; see ``var``.

    >>> moments([1.0, 3.0])
    Moments(mean=Tensor(2.), var=Tensor(1.))
    """
    operand, dtype = _accumulated(x, "moments")
    axes = normalise_axes(operand, axis, "moments")
    _refuse_empty(operand, axes, "moments")
    _, average, variance = centre(operand, axes, correction)
    return Moments(
        _finish(average, axes, dtype, keepdims=keepdims),
        _finish(variance, axes, dtype, keepdims=keepdims),
    )


def _refuse_empty(x: Tensor, axes: tuple[int, ...], what: str) -> None:
    if count_along(x, axes) == 0:
        raise ShapeError(
            f"{what} of shape {x.shape} along axes {axes}: there are no elements.",
            "Pass at least one element.",
        )


@composition
def var(
    x: Operand, /, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False
) -> Tensor:
    """Variance along axes: the mean squared distance from the mean, with divisor n - correction.

    Two passes after a pilot shift: exact for constant columns, accurate at large offsets.

    >>> var([1.0, 2.0, 3.0], correction=1)
    Tensor(1.)
    """
    operand, dtype = _accumulated(x, "var")
    axes = normalise_axes(operand, axis, "var")
    _refuse_empty(operand, axes, "var")
    return _finish(centre(operand, axes, correction).var, axes, dtype, keepdims=keepdims)


@composition
def std(
    x: Operand, /, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False
) -> Tensor:
    """Standard deviation along axes; of a constant it is 0, with gradient 0 (as of any norm)."""
    variance = var(x, axis=axis, correction=correction, keepdims=keepdims)
    spread = variance > 0
    return where(spread, sqrt(where(spread, variance, 1.0)), where(variance == 0, 0.0, variance))


# running statistics ------------------------------------------------------------------------------


@public
@dataclass(frozen=True, eq=False)
class RunningStats:
    """Running mean and variance over batches: an immutable value.

    ``decay``: the share of the old value that an update keeps (0.9); None averages all samples
    exactly. ``debias``: divide by the weight seen so far, as Adam does, so that the first update
    already gives the batch's own statistics. ``correction``: 0 or 1 is subtracted from the
    number of samples in each variance (1 is the unbiased one of Ioffe & Szegedy 2015, algorithm 2).
    ``axis``: the axes averaged over. The statistics have those axes as length one.

    >>> stats = RunningStats.over((0,), shape=(1, 1), decay=None)
    >>> stats = stats.updated([[1.0], [3.0]]).updated([[5.0], [7.0]])
    >>> stats.mean, stats.var
    (Tensor([[4.]]), Tensor([[5.]]))
    """

    average: Tensor
    spread: Tensor
    weight: float
    samples: int
    axis: tuple[int, ...]
    decay: float | None = 0.9
    debias: bool = False
    correction: float = 0.0

    @classmethod
    def over(
        cls,
        axis: int | tuple[int, ...],
        *,
        shape: tuple[int, ...],
        decay: float | None = 0.9,
        debias: bool = False,
        correction: float = 0.0,
        dtype: Any = np.float64,
    ) -> RunningStats:
        """Return statistics before any sample: mean 0 and variance 1 of the given shape."""
        if decay is not None and not 0 <= decay < 1:
            raise ShapeError(f"RunningStats: decay={decay}.", "Use 0 to below 1, or None.")
        if correction not in (0, 1):
            raise ShapeError(f"RunningStats: correction={correction}.", "Use 0 or 1.")
        axes = (axis,) if isinstance(axis, int) else tuple(axis)
        start = (np.zeros(shape, dtype), np.zeros(shape, dtype))
        if decay is not None and not debias:
            start = (start[0], np.ones(shape, dtype))
        return cls(leaf(start[0]), leaf(start[1]), 0.0, 0, axes, decay, debias, correction)

    @property
    def mean(self) -> Tensor:
        """The running mean; 0 before any sample."""
        return self._unbiased(self.average)

    @property
    def var(self) -> Tensor:
        """The running variance; 1 before any sample."""
        if self.samples == 0 and (self.decay is None or self.debias):
            return leaf(np.ones(self.spread.shape, self.spread.dtype))
        if self.decay is None:
            return self.spread / _degrees(self.samples, self.correction)
        return self._unbiased(self.spread)

    def _unbiased(self, value: Tensor) -> Tensor:
        debias = self.decay is not None and self.debias and self.samples
        return value / self.weight if debias else value

    def updated(self, x: Operand) -> RunningStats:
        """Return the statistics after one more batch (no gradient is recorded).

        Raises ShapeError if the batch does not reduce to the shape of the statistics, or is of one
        sample where ``correction`` is 1.
        """
        batch = stop_gradient(as_constant(x))
        axes = normalise_axes(batch, self.axis, "RunningStats.updated")
        _refuse_empty(batch, axes, "RunningStats.updated")
        work, _ = _accumulated(batch, "RunningStats.updated")
        _, average, variance = centre(work, axes)
        if average.shape != self.average.shape:
            raise ShapeError(
                f"RunningStats of shape {self.average.shape}: a batch of shape {batch.shape} "
                f"reduces to {average.shape}.",
                "Pass batches with the features that the statistics were made for.",
            )
        n = count_along(batch, axes)
        dtype = self.average.dtype
        average, variance = astype(average, dtype), astype(variance, dtype)
        if self.decay is None:
            one = replace(self, average=average, spread=variance * n, weight=1.0, samples=n)
            return self.merged(one)
        keep = self.decay
        if n <= self.correction:
            raise ShapeError(
                f"RunningStats with correction={self.correction:g}: a batch of {n} per feature has "
                "no variance.",
                "Use a batch of at least two, or correction=0.",
            )
        variance = variance * (n / _degrees(n, self.correction))
        return replace(
            self,
            average=keep * self.average + (1 - keep) * average,
            spread=keep * self.spread + (1 - keep) * variance,
            weight=keep * self.weight + (1 - keep),
            samples=self.samples + n,
        )

    def merged(self, other: RunningStats) -> RunningStats:
        """Return the statistics of both sets of samples together, exactly.

        Chan, Golub & LeVeque (1979): any partition of the data gives the same. For cumulative
        statistics (``decay=None``) only: raises ShapeError otherwise.
        """
        if self.decay is not None or other.decay is not None:
            raise ShapeError(
                "merged: exponential averages of two streams have no common average.",
                "Use decay=None (cumulative statistics).",
            )
        n = self.samples + other.samples
        if n == 0:
            return self
        share = other.samples / n
        gap = subtract(other.average, self.average)
        return replace(
            self,
            average=self.average + gap * share,
            spread=self.spread + other.spread + square(gap) * (self.samples * share),
            weight=1.0,
            samples=n,
        )
