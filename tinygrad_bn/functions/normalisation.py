"""Normalisation: batch, layer, group, instance and RMS norm, from primitives.

Each standardises over some axes; they differ in which. Their gradients are nowhere written.
"""

from __future__ import annotations

from tinygrad_bn.errors import ShapeError
from tinygrad_bn.functions.creation import result_type
from tinygrad_bn.functions.statistics import (
    Axis,
    centre,
    count_along,
    floating,
    in_dtype,
    mean,
    normalise_axes,
    widened,
)
from tinygrad_bn.graph.composition import composition, term
from tinygrad_bn.graph.state import composed_scope
from tinygrad_bn.graph.tensor import Operand, Tensor, as_constant
from tinygrad_bn.primitives.elementwise import sqrt, square
from tinygrad_bn.primitives.movement import reshape


def _refuse_single(x: Tensor, axes: tuple[int, ...], what: str) -> None:
    if count_along(x, axes) < 2:
        raise ShapeError(
            f"{what} of shape {x.shape} over axes {axes}: {count_along(x, axes)} value per group, "
            "whose deviation from its own mean is always 0.",
            "Use a batch of at least two, or running statistics (eval mode, stats=).",
        )


@composition
def standardize(x: Operand, /, *, axis: Axis = None, eps: float = 1e-5) -> Tensor:
    """``(x - mean) / sqrt(var + eps)`` over axes (None: all).

    A constant gives exactly 0, with a finite gradient. ``eps`` is added to the variance.

    >>> standardize([1.0, 3.0], eps=0.0)
    Tensor([-1.,  1.])
    """
    operand = floating(x, "standardize")
    axes = normalise_axes(operand, axis, "standardize")
    return _standardised(operand, axes, eps, "standardize")


def _standardised(x: Tensor, axes: tuple[int, ...], eps: float, what: str) -> Tensor:
    eps = float(eps)
    if not eps >= 0:
        raise ShapeError(f"{what}: eps={eps}.", "Use a small number that is not negative.")
    values, _, variance = centre(widened(x), axes)
    result = values / term("σ", sqrt(variance + eps))
    return term("x̂", in_dtype(result, x.dtype))


def _affine(
    x_hat: Tensor, gamma: Operand | None, beta: Operand | None, shape: tuple[int, ...], what: str
) -> Tensor:
    """Scale and shift; gamma and beta have ``shape``, the kept axes, or broadcast to it."""
    y = x_hat
    for name, factor in (("gamma", gamma), ("beta", beta)):
        if factor is None:
            continue
        value = _fitted(as_constant(factor), shape, x_hat.ndim, f"{what}: {name}")
        y = y * value if name == "gamma" else y + value
    return y


def _fitted(value: Tensor, shape: tuple[int, ...], ndim: int, what: str) -> Tensor:
    """Give a parameter of the kept axes its place among all axes."""
    kept = tuple(n for n in shape if n != -1)
    full = tuple(1 if n == -1 else n for n in shape)
    if full == (1,) * (ndim - value.ndim) + value.shape:
        return value
    if value.shape == kept and value.ndim != ndim:
        return reshape(value, full)
    aligned = (1,) * (ndim - value.ndim) + value.shape
    if value.ndim > ndim or any(n not in (1, m) for n, m in zip(aligned, full, strict=True)):
        raise ShapeError(
            f"{what} of shape {value.shape} does not fit the axes that are kept, {kept}.",
            f"Give it shape {kept} or {full}.",
        )
    return value


def _kept(x: Tensor, axes: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape with -1 for the axes that are averaged over."""
    return tuple(-1 if a in axes else n for a, n in enumerate(x.shape))


@composition
def batch_norm(
    x: Operand,
    /,
    gamma: Operand | None = None,
    beta: Operand | None = None,
    *,
    axis: int | tuple[int, ...] = 0,
    eps: float = 1e-5,
    stats: tuple[Operand, Operand] | None = None,
) -> Tensor:
    """Standardise each feature over the batch, then scale by gamma and shift by beta.

    ``axis``: the axes averaged over: 0 for (N, C), (0, 2, 3) for (N, C, H, W). ``gamma``,
    ``beta``: of the shape of the axes kept, or one that broadcasts to it. ``stats``: a pair
    (mean, var) to use instead of the batch's own, as at test time. Pure: running statistics are
    ``RunningStats``. Source: Ioffe & Szegedy (2015), algorithm 1.

    Raises ShapeError for one value per feature without ``stats``, and for parameters that do
    not fit.

    >>> batch_norm([[1.0], [3.0]], gamma=[2.0], beta=[10.0], eps=0.0)
    Tensor([[ 8.],
            [12.]])
    """
    operand = floating(x, "batch_norm")
    axes = normalise_axes(operand, axis, "batch_norm")
    kept = _kept(operand, axes)
    if stats is None:
        _refuse_single(operand, axes, "batch_norm")
        with composed_scope("standardize"):
            x_hat = _standardised(operand, axes, eps, "batch_norm")
    else:
        average, variance = (
            _fitted(as_constant(s), kept, operand.ndim, f"batch_norm: {name}")
            for name, s in zip(("mean", "var"), stats, strict=True)
        )
        values = term("x − μ", widened(operand) - widened(average))
        scaled = values / term("σ", sqrt(widened(variance) + float(eps)))
        x_hat = term("x̂", in_dtype(scaled, result_type(operand, average, variance)))
    return _affine(x_hat, gamma, beta, kept, "batch_norm")


def _per_sample(
    x: Operand,
    gamma: Operand | None,
    beta: Operand | None,
    axes: tuple[int, ...],
    eps: float,
    what: str,
) -> Tensor:
    operand = floating(x, what)
    x_hat = _standardised(operand, axes, eps, what)
    shape = tuple(n if a in axes else -1 for a, n in enumerate(operand.shape))
    return _affine(x_hat, gamma, beta, shape, what)


@composition
def layer_norm(
    x: Operand,
    /,
    gamma: Operand | None = None,
    beta: Operand | None = None,
    *,
    axis: int | tuple[int, ...] = -1,
    eps: float = 1e-5,
) -> Tensor:
    """Standardise each sample over its features (``axis``), then scale and shift.

    ``gamma`` and ``beta`` have the shape of the averaged axes. Source: Ba, Kiros & Hinton (2016).
    """
    axes = normalise_axes(floating(x, "layer_norm"), axis, "layer_norm")
    return _per_sample(x, gamma, beta, axes, eps, "layer_norm")


@composition
def rms_norm(
    x: Operand,
    /,
    gamma: Operand | None = None,
    *,
    axis: int | tuple[int, ...] = -1,
    eps: float = 1e-5,
) -> Tensor:
    """Divide by the root of the mean square over ``axis`` (Zhang & Sennrich 2019)."""
    operand = floating(x, "rms_norm")
    axes = normalise_axes(operand, axis, "rms_norm")
    wide = widened(operand)
    scaled = wide / sqrt(mean(square(wide), axis=axes, keepdims=True) + float(eps))
    scaled = in_dtype(scaled, operand.dtype)
    shape = tuple(n if a in axes else -1 for a, n in enumerate(operand.shape))
    return _affine(scaled, gamma, None, shape, "rms_norm")


@composition
def group_norm(
    x: Operand,
    /,
    gamma: Operand | None = None,
    beta: Operand | None = None,
    *,
    groups: int,
    eps: float = 1e-5,
) -> Tensor:
    """Standardise groups of channels of each sample; ``x`` is (N, C, ...) (Wu & He 2018)."""
    operand = floating(x, "group_norm")
    if operand.ndim < 2 or groups < 1 or operand.shape[1] % groups:
        raise ShapeError(
            f"group_norm of shape {operand.shape} with groups={groups}.",
            "Pass (N, C, ...) and a number of groups that divides C.",
        )
    n, c, *rest = operand.shape
    apart = reshape(operand, (n, groups, c // groups, *rest))
    axes = tuple(range(2, apart.ndim))
    x_hat = reshape(_standardised(apart, axes, eps, "group_norm"), operand.shape)
    shape = tuple(c if a == 1 else -1 for a in range(operand.ndim))
    return _affine(x_hat, gamma, beta, shape, "group_norm")


@composition
def instance_norm(
    x: Operand,
    /,
    gamma: Operand | None = None,
    beta: Operand | None = None,
    *,
    eps: float = 1e-5,
) -> Tensor:
    """Standardise each channel of each sample over its positions; ``x`` is (N, C, ...)."""
    operand = floating(x, "instance_norm")
    axes = tuple(range(2, operand.ndim))
    if not axes:
        raise ShapeError(
            f"instance_norm of shape {operand.shape}: there are no positions.", "Pass (N, C, ...)."
        )
    x_hat = _standardised(operand, axes, eps, "instance_norm")
    shape = tuple(n if a == 1 else -1 for a, n in enumerate(operand.shape))
    return _affine(x_hat, gamma, beta, shape, "instance_norm")
