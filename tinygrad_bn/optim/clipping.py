"""Clipping: bound the length of all gradients together."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tinygrad_bn.errors import GradientError, ShapeError
from tinygrad_bn.graph.tensor import Tensor, leaf


def clip_grad_norm(parameters: Iterable[Tensor], max_norm: float) -> float:
    """Scale all gradients so that their joint Euclidean norm is at most ``max_norm``.

    Returns the norm before clipping, computed in float64. Directions and dtypes stay. Parameters
    without a gradient are passed over. Raises GradientError if the norm is not finite, ShapeError
    unless ``max_norm`` is positive; no gradient is then changed. Source: Pascanu et al. (2013).

    >>> w = Tensor([0.0, 0.0], requires_grad=True)
    >>> w.grad = Tensor([3.0, 4.0])
    >>> clip_grad_norm([w], 1.0)
    5.0
    >>> w.grad
    Tensor([0.6, 0.8])
    """
    if not max_norm > 0:
        raise ShapeError(f"clip_grad_norm: max_norm={max_norm}.", "Use a positive number.")
    with_gradient = [(p, p.grad) for p in parameters if p.grad is not None]
    norm = float(np.hypot.reduce([_length(g) for _, g in with_gradient], initial=0.0))
    if not np.isfinite(norm):
        names = [p.name or f"number {i}" for i, (p, g) in enumerate(with_gradient) if _infinite(g)]
        raise GradientError(
            f"clip_grad_norm: the norm of the gradients is {norm}"
            + (f"; not finite: {', '.join(names)}." if names else "."),
            "Find where it was born before clipping: a division by 0, a log of 0, an overflow.",
        )
    if norm > max_norm:
        for parameter, g in with_gradient:
            parameter.grad = leaf((g._data * (max_norm / norm)).astype(g.dtype, copy=False))
    return norm


def _length(g: Tensor) -> float:
    return float(np.linalg.norm(g._data.astype(np.float64, copy=False)))


def _infinite(g: Tensor) -> bool:
    return not np.isfinite(g._data).all()
