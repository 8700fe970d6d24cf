"""Activations and their relatives, composed of primitives."""

from __future__ import annotations

import math

import numpy as np

from tinygrad_bn.errors import ShapeError
from tinygrad_bn.functions.statistics import floating
from tinygrad_bn.graph.composition import composition
from tinygrad_bn.graph.state import draw
from tinygrad_bn.graph.tensor import Operand, Tensor, leaf
from tinygrad_bn.primitives.elementwise import (
    abs,
    clip,
    exp,
    expm1,
    logaddexp,
    tanh,
    where,
)


@composition
def relu(x: Operand, /) -> Tensor:
    """``max(x, 0)``; the derivative at 0 is 0. NaN stays NaN.

    >>> relu([-1.0, 2.0])
    Tensor([0., 2.])
    """
    return clip(x, 0, None)


@composition
def leaky_relu(x: Operand, /, *, slope: float = 0.01) -> Tensor:
    """``x`` where positive, else ``slope * x``; the derivative at 0 is ``slope``."""
    operand = floating(x, "leaky_relu")
    return where(operand > 0, operand, float(slope) * operand)


@composition
def elu(x: Operand, /, *, alpha: float = 1.0) -> Tensor:
    """``x`` where positive, else ``alpha * (exp(x) - 1)`` (Clevert et al. 2016)."""
    operand = floating(x, "elu")
    return where(operand > 0, operand, alpha * expm1(where(operand > 0, 0.0, operand)))


@composition
def softplus(x: Operand, /) -> Tensor:
    """``log(1 + exp(x))`` without overflow, accurate in both tails.

    >>> softplus(0.0)
    Tensor(0.69314718)
    """
    return logaddexp(floating(x, "softplus"), 0)


@composition
def sigmoid(x: Operand, /) -> Tensor:
    """``1 / (1 + exp(-x))`` without overflow, accurate in both tails.

    >>> sigmoid(0.0)
    Tensor(0.5)
    """
    operand = floating(x, "sigmoid")
    positive = operand >= 0
    small = exp(where(positive, -operand, operand))
    return where(positive, 1.0, small) / (1 + small)


@composition
def log_sigmoid(x: Operand, /) -> Tensor:
    """``log(sigmoid(x))``, accurate in both tails."""
    return -softplus(-floating(x, "log_sigmoid"))


@composition
def softsign(x: Operand, /) -> Tensor:
    """``x / (1 + |x|)``."""
    operand = floating(x, "softsign")
    return operand / (1 + abs(operand))


@composition
def gelu(x: Operand, /) -> Tensor:
    """Gaussian error linear unit in its tanh form (Hendrycks & Gimpel 2016)."""
    operand = floating(x, "gelu")
    near = clip(operand, -10.0, 10.0)  # beyond, tanh is 1 to every digit; a cube might overflow
    inner = math.sqrt(2 / math.pi) * (near + 0.044715 * (near * near * near))
    return 0.5 * operand * (1 + tanh(inner))


@composition
def silu(x: Operand, /) -> Tensor:
    """``x * sigmoid(x)`` (Elfwing et al. 2017)."""
    operand = floating(x, "silu")
    return operand * sigmoid(operand)


@composition
def dropout(x: Operand, /, *, rate: float, rng: np.random.Generator) -> Tensor:
    """Set each element to 0 with probability ``rate``, and scale the others by 1/(1 - rate).

    ``rng``: where the randomness comes from; a checkpoint gets the same mask when it computes
    again. Source: Srivastava et al. (2014), inverted form.
    """
    operand = floating(x, "dropout")
    if not 0 <= rate < 1:
        raise ShapeError(f"dropout: rate={rate}.", "Use a probability from 0 to below 1.")
    if rate == 0:
        return operand
    kept = draw(lambda: leaf(rng.random(operand.shape) >= rate))
    return where(kept, operand / (1 - float(rate)), 0.0)
