"""The softmax family: from the hard maximum to its differentiable forms.

All are stable for every finite input and for entries of -inf. The maximum that is subtracted
has its gradient stopped, which changes nothing: softmax is invariant to it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_bn.errors import ShapeError
from tinygrad_bn.functions.statistics import floating, normalise_axes
from tinygrad_bn.graph.composition import composition, term
from tinygrad_bn.graph.state import draw
from tinygrad_bn.graph.tensor import Operand, Tensor, leaf
from tinygrad_bn.primitives.elementwise import (
    clip,
    equal,
    exp,
    isfinite,
    log,
    stop_gradient,
    where as select,
)
from tinygrad_bn.primitives.movement import astype
from tinygrad_bn.primitives.reduction import argmax, cumulative_sum, max, sum
from tinygrad_bn.primitives.sorting import sort

Axis = int | tuple[int, ...]


def _logits(
    z: Operand, axis: Axis, mask: Operand | None, what: str
) -> tuple[Tensor, tuple[int, ...]]:
    """Return floating-point logits with masked entries at -inf, and the axes."""
    logits = floating(z, what)
    axes = normalise_axes(logits, axis, what)
    if any(logits.shape[a] == 0 for a in axes):
        raise ShapeError(
            f"{what} of shape {logits.shape} along axis {axis}: there are no elements.",
            "Pass at least one element along the axis.",
        )
    if mask is not None:
        logits = select(mask, logits, -np.inf)
    return logits, axes


def shifted(z: Tensor, axes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return ``z`` minus its maximum (unshifted where that is infinite), and the maximum."""
    top = stop_gradient(max(z, axis=axes, keepdims=True))
    level = term("max", select(isfinite(top), top, 0.0))
    return term("z − max", z - level), top


def _weights(
    z: Tensor, axes: tuple[int, ...], empty: str, what: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Return z - max, exp(z - max) and its sum; a row without entries is an error or zeros."""
    moved, top = shifted(z, axes)
    raised = exp(moved)
    total = sum(raised, axis=axes, keepdims=True)
    if empty == "zero":
        return moved, raised, select(top == -np.inf, 1.0, total)
    hollow = np.isneginf(top.data)
    if hollow.any():
        row = tuple(int(i) for i in np.argwhere(hollow)[0])
        raise ShapeError(
            f"{what} of shape {z.shape}: the row at {row} has no finite entry (all masked).",
            'Unmask an entry, or pass empty="zero" for zeros with zero gradient.',
        )
    return moved, raised, total


def _check_empty(empty: str, what: str) -> None:
    if empty not in ("error", "zero"):
        raise ShapeError(f"{what}: empty={empty!r}.", 'Use "error" or "zero".')


@composition
def softmax(
    z: Operand,
    /,
    *,
    axis: Axis = -1,
    temperature: float = 1.0,
    where: Operand | None = None,
    empty: str = "error",
) -> Tensor:
    """``exp(z) / sum(exp(z))`` along axes: positive weights that sum to one.

    ``temperature``: divides the logits; towards 0 the hard maximum, towards infinity the uniform
    distribution. ``where``: a mask, true for entries that take part; masked ones give exactly 0
    and gradient 0. ``empty``: what a row without entries gives, "error" (ShapeError) or "zero".
    Source: Bridle (1990), "Probabilistic interpretation of feedforward classification network
    outputs".

    >>> softmax([0.0, 0.0])
    Tensor([0.5, 0.5])
    """
    _check_empty(empty, "softmax")
    logits, axes = _logits(z, axis, where, "softmax")
    if temperature != 1.0:
        logits = logits / _positive(temperature, "softmax")
    _, raised, total = _weights(logits, axes, empty, "softmax")
    return raised / total


def _positive(temperature: Any, what: str) -> Any:
    if not temperature > 0:
        raise ShapeError(
            f"{what}: temperature={temperature}.",
            "Use a positive temperature; the limit 0 is hardmax.",
        )
    return temperature if isinstance(temperature, Tensor) else float(temperature)


@composition
def softmin(z: Operand, /, *, axis: Axis = -1) -> Tensor:
    """Softmax of ``-z``: the largest weight on the smallest entry."""
    return softmax(-floating(z, "softmin"), axis=axis)


@composition
def log_softmax(
    z: Operand,
    /,
    *,
    axis: Axis = -1,
    where: Operand | None = None,
    empty: str = "error",
) -> Tensor:
    """Logarithm of softmax, computed as ``(z - max) - log(sum(exp(z - max)))``.

    Masked entries (and entries of -inf) give -inf, with gradient 0 through finite use.

    >>> log_softmax([0.0, 0.0])
    Tensor([-0.69314718, -0.69314718])
    """
    _check_empty(empty, "log_softmax")
    logits, axes = _logits(z, axis, where, "log_softmax")
    moved, _, total = _weights(logits, axes, empty, "log_softmax")
    return moved - log(total)


@composition
def logsumexp(
    z: Operand, /, *, axis: Axis | None = None, where: Operand | None = None, keepdims: bool = False
) -> Tensor:
    """``log(sum(exp(z)))`` along axes (None: all), without overflow.

    All entries -inf give -inf with gradient 0. The gradient is softmax with its own shift.

    >>> logsumexp([1000.0, 1000.0])
    Tensor(1000.69314718)
    """
    operand = floating(z, "logsumexp")
    axes = normalise_axes(operand, axis, "logsumexp")
    logits, _ = _logits(operand, axes, where, "logsumexp")
    moved, top = shifted(logits, axes)
    hollow = top == -np.inf
    total = sum(exp(moved), axis=axes, keepdims=True)
    result = log(select(hollow, 1.0, total)) + top
    return result if keepdims else _dropped(result, axes)


def _dropped(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    return x.squeeze(axes) if axes else x


@composition
def hardmax(z: Operand, /, *, axis: int = -1) -> Tensor:
    """One at the first largest entry along an axis, zero elsewhere; the gradient is zero.

    The function that softmax makes differentiable.

    >>> hardmax([1.0, 3.0, 2.0])
    Tensor([0., 1., 0.])
    """
    logits, (along,) = _logits(z, axis, None, "hardmax")
    shape = tuple(-1 if a == along else 1 for a in range(logits.ndim))
    places = leaf(np.arange(logits.shape[along]).reshape(shape))
    return astype(equal(argmax(logits, axis=along, keepdims=True), places), logits.dtype)


@composition
def sparsemax(z: Operand, /, *, axis: int = -1) -> Tensor:
    """Euclidean projection of ``z`` onto the probability simplex: many weights are exactly 0.

    Source: Martins & Astudillo (2016), "From softmax to sparsemax".

    >>> sparsemax([2.0, 1.5, -1.0])
    Tensor([0.75, 0.25, 0.  ])
    """
    logits, (along,) = _logits(z, axis, None, "sparsemax")
    moved = logits - stop_gradient(max(logits, axis=along, keepdims=True))
    ordered = sort(moved, axis=along, descending=True)
    shape = tuple(-1 if a == along else 1 for a in range(logits.ndim))
    rank = np.arange(1, logits.shape[along] + 1, dtype=logits.dtype).reshape(shape)
    inside = stop_gradient(1 + rank * ordered > cumulative_sum(ordered, axis=along))
    count = sum(astype(inside, logits.dtype), axis=along, keepdims=True)
    threshold = (sum(select(inside, ordered, 0.0), axis=along, keepdims=True) - 1) / count
    return clip(moved - threshold, 0.0, None)


@composition
def gumbel_softmax(
    z: Operand,
    /,
    *,
    rng: np.random.Generator,
    axis: int = -1,
    temperature: float = 1.0,
    hard: bool = False,
) -> Tensor:
    """Sample from the categorical distribution of logits ``z``, differentiably.

    ``rng``: where the Gumbel noise comes from. ``hard``: return one-hot samples, with the
    gradient of the soft ones (straight-through). Source: Jang, Gu & Poole (2017).
    """
    logits, _ = _logits(z, axis, None, "gumbel_softmax")
    noise = draw(lambda: _gumbel(rng, logits.shape, logits.dtype))
    soft = softmax(logits + noise, axis=axis, temperature=temperature)
    if not hard:
        return soft
    return soft + stop_gradient(hardmax(soft, axis=axis) - soft)


def _gumbel(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> Tensor:
    """Draw Gumbel noise from uniforms in the open interval (0, 1), so that it is finite."""
    uniform = (rng.integers(1, 2**53, size=shape) / 2**53).astype(np.float64)
    return leaf(np.asarray(-np.log(-np.log(uniform)), dtype=dtype))
