"""Measures of a loss around a point of training, as Santurkar et al. (2018) take them.

Parameters are a list of layers, each a dict of arrays: ``w`` (inputs, units) and others. A loss is
a function of them that returns a scalar tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from scipy.sparse.linalg import LinearOperator, eigsh

import tinygrad_bn as tg

Params: TypeAlias = "list[dict[str, np.ndarray]]"
Loss: TypeAlias = Callable[[Any], Any]
Slope: TypeAlias = "Callable[[Params], tuple[float, Params]]"

STEPS = (0.5, 1.0, 2.0, 4.0)
"""Steps along the gradient, in learning rates."""
RELATIVE = (0.01, 0.03, 0.1, 0.2)
"""Steps along the gradient, in lengths of each unit's weights (root mean square over units)."""
SHIFT = ("shift", "relative shift")
SMOOTH = ("loss range", "gradient change", "beta", "top eigenvalue")


def slope(loss: Loss) -> Slope:
    """Return a function that gives a loss and its gradient as numbers."""

    def at(params: Params) -> tuple[float, Params]:
        with tg.no_grad():
            value, gradient = tg.value_and_grad(loss)(params)
        return value.item(), numbers_of(gradient)

    return at


def numbers_of(tensors: Any) -> Params:
    """Return tensors in the structure of parameters as arrays."""
    return [{name: value.data for name, value in layer.items()} for layer in tensors]


def flat(params: Params) -> np.ndarray:
    """Return all parameters as one vector."""
    return np.concatenate([value.ravel() for layer in params for value in layer.values()])


def shaped(vector: np.ndarray, like: Params) -> Params:
    """Return a vector as parameters again."""
    sizes = [value.size for layer in like for value in layer.values()]
    parts = iter(np.split(vector, np.cumsum(sizes)[:-1]))
    return [{name: next(parts).reshape(v.shape) for name, v in layer.items()} for layer in like]


def covariate_shift(slope_at: Slope, before: Params, after: Params) -> dict[str, float]:
    """Measure internal covariate shift, Santurkar et al. (2018), definition 2.1.

    Of each layer but the first: G, its gradient, and G', its gradient once the layers before it
    have been updated. Returns means over layers: |G - G'|, that over |G|, the cosine of both.
    """
    gradient, found = slope_at(before)[1], []
    for i in range(1, len(before)):
        old, new = flat([gradient[i]]), flat([slope_at(after[:i] + before[i:])[1][i]])
        length, change = np.linalg.norm(old), np.linalg.norm(new - old)
        found.append((change, change / length, new @ old / (length * np.linalg.norm(new))))
    return dict(zip((*SHIFT, "cosine"), np.mean(found, axis=0).tolist(), strict=True))


def lengths(params: Params) -> np.ndarray:
    """Return for each weight the length of its unit's weights, and 0 for gammas and betas.

    Divided by these, weights have no scale any more; directions are treated like this by the
    filter normalisation of Li et al. (2018, section 4).
    """
    ones = [{name: np.zeros_like(value) for name, value in layer.items()} for layer in params]
    for layer, new in zip(params, ones, strict=True):
        new["w"] += np.linalg.norm(layer["w"], axis=0)
    return flat(ones)


def along(slope_at: Slope, params: Params, scale: np.ndarray, ways: np.ndarray) -> dict[str, Any]:
    """Go along the gradient, in parameters divided by ``scale``, for each of some distances.

    ``losses`` and ``changes``: least and largest loss, and distance of the gradient from the one
    at the start; ``beta``: largest ratio of such a distance to the way gone.
    """
    start, gradient = flat(params), scale * flat(slope_at(params)[1])
    losses, changes = [], []
    for way in ways:
        moved = start - way * scale * gradient / np.linalg.norm(gradient)
        loss, there = slope_at(shaped(moved, params))
        losses.append(loss)
        changes.append(float(np.linalg.norm(scale * flat(there) - gradient)))
    return {
        "losses": (min(losses), max(losses)),
        "changes": (min(changes), max(changes)),
        "loss range": max(losses) - min(losses),
        "gradient change": max(changes),
        "beta": float(np.max(np.array(changes) / ways)),
    }


def top_eigenvalue(loss: Loss, params: Params, scale: np.ndarray) -> float:
    """Return the largest eigenvalue of the Hessian in parameters divided by ``scale``."""

    def multiply(vector: np.ndarray) -> np.ndarray:
        direction = shaped(scale * vector.ravel(), params)
        return scale * flat(numbers_of(tg.hvp(loss, (params,), (direction,))))

    hessian = LinearOperator((scale.size, scale.size), matvec=multiply, dtype=float)
    start = scale * np.random.default_rng(0).normal(size=scale.size)
    return float(eigsh(hessian, k=1, which="LA", v0=start, tol=0.05, ncv=8)[0][0])


def landscape(loss: Loss, params: Params, rate: float, *, hessian: bool) -> dict[str, Any]:
    """Measure the loss around a point, in raw parameters and relative to the weights' lengths."""
    slope_at, own = slope(loss), lengths(params)
    step = rate * np.linalg.norm(flat(slope_at(params)[1]))
    units = sum(layer["w"].shape[1] for layer in params)
    found: dict[str, Any] = {}
    for name, scale, ways in (
        ("", np.ones_like(own), step * np.array(STEPS)),
        (", relative", own, np.sqrt(units) * np.array(RELATIVE)),
    ):
        here = along(slope_at, params, scale, ways)
        if hessian:
            here["top eigenvalue"] = top_eigenvalue(loss, params, scale)
        found |= {f"{key}{name}": value for key, value in here.items()}
    return found


def movement(before: Sequence[np.ndarray], after: Sequence[np.ndarray]) -> float:
    """Say by how much the mean of what a unit receives moved, in standard deviations."""
    pairs = zip(before, after, strict=True)
    return float(np.mean([np.mean(abs(b.mean(0) - a.mean(0)) / a.std(0)) for a, b in pairs]))


def sides(y: np.ndarray, g: np.ndarray, gamma: float, eps: float) -> tuple[float, float]:
    """Return both sides of theorem 4.1 for a feature y (m, 1) and a gradient g behind batch norm.

    Sigma is the square root of the variance plus eps. Source: Santurkar et al. (2018).
    """
    back = tg.grad(lambda y: (g * tg.batch_norm(y, [gamma], eps=eps)).sum())(y).data
    sigma, m = np.sqrt(y.var() + eps), len(y)
    normalised = (y - y.mean()) / sigma
    rest = (g**2).sum() - g.sum() ** 2 / m - (g * normalised).sum() ** 2 / m
    return float((back**2).sum()), float(gamma**2 / sigma**2 * rest)
