"""The derivative of a recorded graph along a direction, from its kernels alone.

A tangent is carried through the graph, node by node: by a complex step where the kernel is
analytic, else by differences of that kernel alone, with steps of its own. So it does not matter
how unlike the scales of a composed function are, and no rule is used.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_bn.graph.tensor import Tensor
from tinygrad_bn.testing.checking.replay import Replay
from tinygrad_bn.testing.checking.subjects import Array, Arrays

TINY = np.longdouble(2) ** -200
"""The complex step: its square is nothing beside one. Source: Squire and Trapp (1998)."""

ROWS = 6
"""Rows of the tableau of a kernel's differences: from a step of 2**-6 they reach 1e-18."""

FIRST = 2.0**-6

OURS = "tinygrad_bn.primitives."

FAST = 8.0
"""Values that change no faster, in units of their size per step, need no smaller steps."""


def tangents(
    graph: Replay, values: Arrays, direction: Arrays, reach: float
) -> list[Array | None] | None:
    """Differentiate every place along a direction. None where a kernel does not allow it.

    A place that does not move has None. ``reach``: up to which step along the direction no
    operation comes to a kink.
    """
    places: list[Any] = graph.run(values)
    moved: list[Any] = [d if d.any() else None for d in direction]
    try:
        with np.errstate(all="ignore"):
            for node, step, params in graph.walk():
                given = graph.given(node, step, places)
                along = [None if p < 0 else moved[p] for _, p in step]
                live = node in graph.continuous and any(t is not None for t in along)
                moved.append(_through(node, given, along, params, reach) if live else None)
    except (TypeError, ValueError, np.exceptions.ComplexWarning):
        return None
    return moved


def of_results(graph: Replay, moved: list[Array | None]) -> list[Array]:
    """Pick the tangents of the results."""
    found = ((r, None if p < 0 else moved[p]) for p, r in graph.outputs)
    return [np.zeros(r.shape) if t is None else t for r, t in found]


def smooth_step(places: list[Array], moved: list[Array | None]) -> float:
    """Return the step at which the first of the places changes by its own size (a sine turns)."""
    fastest = 0.0
    with np.errstate(all="ignore"):
        for value, tangent in zip(places, moved, strict=True):
            if tangent is not None and value.size:
                size = np.max(np.abs(value), initial=0.0, where=np.isfinite(value))
                speed = np.max(np.abs(tangent), initial=0.0, where=np.isfinite(tangent))
                fastest = max(fastest, float(speed / size) if size else 0.0)
    return 1 / fastest if fastest > FAST else np.inf


def _through(
    node: Tensor, given: list[Any], along: list[Any], params: dict[str, Any], reach: float
) -> Array:
    """Carry tangents through one node.

    Rows of the package are analytic where they say so, which their tests make sure of. Of others
    only differences are believed.
    """
    if node.op.analytic and node.op.origin.startswith(OURS):
        operands = [
            x.astype(np.clongdouble) if t is None and _is_float(x) else x if t is None
            else np.asarray(x + 1j * (TINY * t))
            for x, t in zip(given, along, strict=True)
        ]  # fmt: skip
        if params is not node.params:
            params = {**params, "dtype": np.dtype(np.clongdouble)}
        return np.asarray(np.imag(node.op.kernel(*operands, **params)) / TINY)

    def moved(h: Any) -> Array:
        """Apply the kernel with its operands moved."""
        operands = [
            x if t is None else np.asarray(x + h * t) for x, t in zip(given, along, strict=True)
        ]
        return np.asarray(node.op.kernel(*operands, **params))

    return _extrapolated(moved, _steps(node, given, along, reach))


def _is_float(x: Any) -> bool:
    return isinstance(x, np.ndarray) and x.dtype.kind == "f"


def _steps(node: Tensor, given: list[Any], along: list[Any], reach: float) -> Array:
    """Choose the first step: small beside the operands, element by element where that fits."""
    ratios = [
        np.where((t != 0) & (x != 0), np.abs(x) / np.abs(t), np.inf)
        for x, t in zip(given, along, strict=True)
        if t is not None
    ]
    if node.op.family != "elementwise":
        ratios = [np.min(r, initial=np.inf) for r in ratios]
    least = ratios[0]
    for ratio in ratios[1:]:
        least = np.minimum(least, ratio)
    within = np.minimum(np.where(np.isfinite(least), least, 1.0), reach / 2)
    return np.exp2(np.floor(np.log2(FIRST * np.maximum(within, np.longdouble(2) ** -4000))))


def _extrapolated(moved: Any, step: Array) -> Array:
    """Extrapolate central differences from ``step`` downwards (Neville), element by element."""
    row: list[Array] = []
    for _ in range(ROWS):
        new = [(moved(step) - moved(-step)) / (2 * step)]
        for j, upper in enumerate(row, 1):
            new.append(new[-1] + (new[-1] - upper) / (4**j - 1))
        row, step = new, step / 2
    return row[-1]
