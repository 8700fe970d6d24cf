"""Convolution and pooling: windows are views, so all of it is movement and a contraction.

Layouts: (N, C, L) and (N, C, H, W); weights (O, C / groups, *window).
"""

from __future__ import annotations

import numpy as np

from tinygrad_bn.errors import ShapeError
from tinygrad_bn.functions.manipulation import pad
from tinygrad_bn.functions.statistics import floating, mean
from tinygrad_bn.graph.composition import composition
from tinygrad_bn.graph.tensor import Operand, Tensor, as_constant
from tinygrad_bn.primitives.contraction import matmul
from tinygrad_bn.primitives.movement import permute_dims, reshape, sliding_windows
from tinygrad_bn.primitives.reduction import max

Size = int | tuple[int, ...]


def _sizes(value: Size, k: int, what: str, least: int = 1) -> tuple[int, ...]:
    sizes = (value,) * k if isinstance(value, int) else tuple(value)
    if len(sizes) != k or any(n < least for n in sizes):
        raise ShapeError(f"{what}={value}.", f"Give one or {k} integers of at least {least}.")
    return sizes


def _windows(x: Tensor, window: tuple[int, ...], stride: Size, dilation: Size, what: str) -> Tensor:
    """Return the windows (N, C, *positions, *window), or say which does not fit."""
    k = len(window)
    strides = _sizes(stride, k, f"{what}: stride")
    dilations = _sizes(dilation, k, f"{what}: dilation")
    reach = tuple((w - 1) * d + 1 for w, d in zip(window, dilations, strict=True))
    if any(n < r for n, r in zip(x.shape[-k:], reach, strict=True)):
        raise ShapeError(
            f"{what}: a window that reaches {reach} over positions {x.shape[-k:]}.",
            "Use a smaller window or dilation, or more padding.",
        )
    return sliding_windows(x, window=window, stride=strides, dilation=dilations)


def _padded(x: Tensor, padding: Size, k: int, what: str, value: float = 0.0) -> Tensor:
    widths = _sizes(padding, k, f"{what}: padding", least=0)
    if not any(widths):
        return x
    return pad(x, ((0, 0), (0, 0), *((w, w) for w in widths)), value=value)


def _ranked(x: Operand, k: int, what: str) -> Tensor:
    operand = floating(x, what)
    if operand.ndim != k + 2:
        raise ShapeError(
            f"{what} of shape {operand.shape}: {k + 2} axes are needed.",
            f"Pass (N, C, {'L' if k == 1 else 'H, W'}).",
        )
    return operand


def _convolve(
    x: Operand,
    weight: Operand,
    bias: Operand | None,
    *,
    k: int,
    stride: Size,
    padding: Size,
    dilation: Size,
    groups: int,
    what: str,
) -> Tensor:
    operand, w = _ranked(x, k, what), as_constant(weight)
    n, c = operand.shape[:2]
    if w.ndim != k + 2 or groups < 1 or c != w.shape[1] * groups or w.shape[0] % groups:
        raise ShapeError(
            f"{what}: weight of shape {w.shape} for {c} channels in {groups} groups.",
            f"Give it shape (out, {c} / groups, *window); groups divides both channel counts.",
        )
    out, window = w.shape[0], w.shape[2:]
    views = _windows(_padded(operand, padding, k, what), window, stride, dilation, what)
    positions = views.shape[2 : 2 + k]
    size = int(np.prod(w.shape[1:], dtype=np.int64))
    apart = reshape(views, (n, groups, c // groups, *positions, *window))
    ahead = permute_dims(apart, (1, 0, *range(3, 3 + k), 2, *range(3 + k, 3 + 2 * k)))
    rows = reshape(ahead, (groups, -1, size))
    columns = permute_dims(reshape(w, (groups, out // groups, size)), (0, 2, 1))
    product = reshape(matmul(rows, columns), (groups, n, *positions, out // groups))
    ordered = permute_dims(product, (1, 0, k + 2, *range(2, 2 + k)))
    y = reshape(ordered, (n, out, *positions))
    return y if bias is None else y + _channel_bias(bias, out, k, what)


def _channel_bias(bias: Operand, out: int, k: int, what: str) -> Tensor:
    b = as_constant(bias)
    if b.shape != (out,):
        raise ShapeError(
            f"{what}: bias of shape {b.shape} for {out} output channels.",
            f"Give it shape ({out},).",
        )
    return reshape(b, (out,) + (1,) * k)


@composition
def conv1d(
    x: Operand,
    weight: Operand,
    /,
    bias: Operand | None = None,
    *,
    stride: Size = 1,
    padding: Size = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlate (N, C, L) with weights (O, C / groups, W); zeros are padded.

    >>> conv1d([[[1.0, 2.0, 4.0]]], [[[1.0, -1.0]]])
    Tensor([[[-1., -2.]]])
    """
    return _convolve(
        x, weight, bias, k=1, stride=stride, padding=padding, dilation=dilation, groups=groups,
        what="conv1d",
    )  # fmt: skip


@composition
def conv2d(
    x: Operand,
    weight: Operand,
    /,
    bias: Operand | None = None,
    *,
    stride: Size = 1,
    padding: Size = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlate (N, C, H, W) with weights (O, C / groups, h, w); zeros are padded."""
    return _convolve(
        x, weight, bias, k=2, stride=stride, padding=padding, dilation=dilation, groups=groups,
        what="conv2d",
    )  # fmt: skip


def _pooled_windows(
    x: Operand,
    window: Size,
    stride: Size | None,
    padding: Size,
    dilation: Size,
    fill: float,
    k: int,
    what: str,
) -> Tensor:
    operand = _ranked(x, k, what)
    sizes = _sizes(window, k, f"{what}: window")
    widths = _sizes(padding, k, f"{what}: padding", least=0)
    if any(2 * p > w for p, w in zip(widths, sizes, strict=True)):
        raise ShapeError(
            f"{what}: padding={padding} for window={window}: a window could lie in padding alone.",
            "Pad by at most half of the window.",
        )
    padded = _padded(operand, widths, k, what, fill)
    return _windows(padded, sizes, sizes if stride is None else stride, dilation, what)


@composition
def max_pool1d(
    x: Operand,
    /,
    window: Size,
    *,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
) -> Tensor:
    """Largest value of each window of (N, C, L); ties share the gradient equally."""
    views = _pooled_windows(x, window, stride, padding, dilation, -np.inf, 1, "max_pool1d")
    return max(views, axis=-1)


@composition
def max_pool2d(
    x: Operand,
    /,
    window: Size,
    *,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
) -> Tensor:
    """Largest value of each window of (N, C, H, W); ties share the gradient equally.

    ``stride`` is the window by default. Padding is -inf: it never wins.

    >>> max_pool2d([[[[1.0, 2.0], [3.0, 4.0]]]], 2)
    Tensor([[[[4.]]]])
    """
    views = _pooled_windows(x, window, stride, padding, dilation, -np.inf, 2, "max_pool2d")
    return max(views, axis=(-2, -1))


@composition
def avg_pool1d(
    x: Operand, /, window: Size, *, stride: Size | None = None, padding: Size = 0
) -> Tensor:
    """Mean of each window of (N, C, L), padding zeros counted."""
    views = _pooled_windows(x, window, stride, padding, 1, 0.0, 1, "avg_pool1d")
    return mean(views, axis=-1)


@composition
def avg_pool2d(
    x: Operand, /, window: Size, *, stride: Size | None = None, padding: Size = 0
) -> Tensor:
    """Mean of each window of (N, C, H, W), padding zeros counted."""
    views = _pooled_windows(x, window, stride, padding, 1, 0.0, 2, "avg_pool2d")
    return mean(views, axis=(-2, -1))
