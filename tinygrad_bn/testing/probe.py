"""A function under examination: its arguments flattened, evaluated in extended precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_bn.errors import DTypeError
from tinygrad_bn.graph.containers import flatten
from tinygrad_bn.graph.program import Trace
from tinygrad_bn.graph.state import no_grad
from tinygrad_bn.graph.tensor import Tensor, leaf
from tinygrad_bn.testing.differences import Curve
from tinygrad_bn.transforms.derivatives import jvp, vjp
from tinygrad_bn.transforms.lifting import name_of
from tinygrad_bn.transforms.tracing import trace

Arrays = Sequence[npt.NDArray[Any]]
Flat = Callable[..., list[Tensor]]

COMPARISONS = {"equal", "not_equal", "less", "less_equal", "greater", "greater_equal"}
"""Operations that choose a branch: their operands' gap is a distance to a kink."""


def flatten_function(function: Callable[..., Any], arguments: Sequence[Any]) -> tuple[Flat, Arrays]:
    """Return a function of the floating-point leaves alone, with a list of results, and the leaves.

    Integers and all else that is no floating-point leaf stays as it is.
    """
    leaves, _, rebuild = flatten(tuple(arguments))
    arrays = [x.data if isinstance(x, Tensor) else np.asarray(x) for x in leaves]
    chosen = [i for i, a in enumerate(arrays) if a.dtype.kind == "f"]
    if not chosen:
        raise DTypeError(
            f"check_gradients of {name_of(function)}: no argument has floating-point values.",
            "Pass the point at which to check as floats, float arrays, or containers of them.",
        )

    def flat(*values: Tensor) -> list[Tensor]:
        """Give the results as one list, of the leaves that are moved alone."""
        new = list(leaves)
        for i, value in zip(chosen, values, strict=True):
            new[i] = value
        results = flatten(function(*rebuild(new)))[0]
        live = [r for r in results if isinstance(r, Tensor) and r.dtype.kind == "f"]
        if not live:
            raise DTypeError(
                f"check_gradients: {name_of(function)} returned no floating-point tensor.",
                "Return a tensor or a container of tensors.",
            )
        return live

    return flat, [np.array(arrays[i]) for i in chosen]


@dataclass(frozen=True)
class Probe:
    """A flat function at a point in float64, with ways to evaluate and differentiate it."""

    function: Flat
    values: Arrays

    @cached_property
    def extended(self) -> bool:
        """Whether the whole function runs in long double, and that is more than float64."""
        if np.finfo(np.longdouble).eps == np.finfo(np.float64).eps:
            return False
        try:
            nodes = self.traced(cast(self.values, np.longdouble)).nodes
        except (TypeError, ValueError):
            return False
        return not any(_narrows(node, np.longdouble) for node in nodes)

    @property
    def dtype(self) -> Any:
        """The dtype in which differences are taken."""
        return np.longdouble if self.extended else np.float64

    @cached_property
    def eps(self) -> float:
        """The relative spacing of numbers in the narrowest dtype that values pass through."""
        if self.extended:
            return float(np.finfo(np.longdouble).eps)
        nodes = self.traced(self.values).nodes
        narrow = [node.dtype for node in nodes if _narrows(node, np.float64)]
        return max(float(np.finfo(dtype).eps) for dtype in [np.dtype(np.float64), *narrow])

    def traced(self, values: Arrays) -> Trace:
        """Record the function at other values of its arguments."""
        with np.errstate(all="ignore"):
            return trace(self.function, *values)

    def results(self, values: Arrays) -> list[npt.NDArray[Any]]:
        """Evaluate the function."""
        with no_grad(), np.errstate(all="ignore"):
            return [r.data for r in self.function(*map(leaf, values))]

    def along(self, direction: Arrays, t: float) -> Arrays:
        """Move the point by ``t`` times a direction, in the dtype of the differences."""
        return [
            np.asarray(x.astype(self.dtype) + self.dtype(t) * d.astype(self.dtype))
            for x, d in zip(self.values, direction, strict=True)
        ]

    def curve(self, v: Arrays, direction: Arrays) -> Curve:
        """Return the function of a step whose derivative at 0 is checked."""
        return lambda t: dot(v, self.results(self.along(direction, t)))

    def pull(self, values: Arrays, v: Arrays) -> Arrays:
        """Return the gradients by the reverse sweep."""
        with np.errstate(all="ignore"):
            return [g.data for g in vjp(self.function, *values)[1](list(v))]

    def push(self, values: Arrays, direction: Arrays) -> Arrays:
        """Return the derivative of the results in a direction."""
        with np.errstate(all="ignore"):
            return [y.data for y in jvp(self.function, values, direction)[1]]

    def claim(self, mode: str, values: Arrays, v: Arrays, direction: Arrays) -> np.longdouble:
        """Return what the framework says the derivative of the curve is."""
        if mode == "forward":
            return dot(v, self.push(values, direction))
        return dot(self.pull(values, v), direction)

    def gradient(self, v: Arrays) -> Probe:
        """Return the gradient for a fixed cotangent as a function to examine in its turn."""

        def slopes(*values: Tensor) -> list[Tensor]:
            """Give the gradient in place of the value."""
            return list(vjp(self.function, *values)[1]([leaf(c) for c in v]))

        return Probe(slopes, self.values)

    def kinks(self, direction: Arrays) -> list[float]:
        """List at what steps along a direction the recorded operations come to a kink, about.

        Each operation knows its distance; how fast it shrinks is found by a small step.
        """
        small = 2.0**-20
        here = list(margins(self.traced(self.along(direction, 0.0))))
        steps: list[float] = []
        for side in (small, -small):
            there = list(margins(self.traced(self.along(direction, side))))
            if [m.shape for m in here] != [m.shape for m in there]:
                return [0.0]
            for a, b in zip(here, there, strict=True):
                steps += _reached(a, b, small)
        return steps


def margins(recorded: Trace) -> Iterator[npt.NDArray[Any]]:
    """Yield each operation's distance to its kinks and singularities, element by element."""
    with np.errstate(all="ignore"):
        for node in recorded.nodes:
            if node.op.margin is not None:
                yield np.asarray(node.op.margin(*node.values, **node.params))
            elif node.op.name in COMPARISONS:
                x, y = (np.asarray(v, np.longdouble) for v in node.values)
                yield np.asarray(np.abs(x - y))


def _reached(here: Any, there: Any, step: float) -> list[float]:
    """Say at what steps distances that went from ``here`` to ``there`` reach zero."""
    with np.errstate(all="ignore"):
        rate = np.abs(there - here) / step
        when = np.abs(here) / rate
    found: list[float] = np.unique(when[np.isfinite(when)]).astype(float).tolist()
    return found


def cast(values: Arrays, dtype: Any) -> Arrays:
    """Convert arrays to a dtype."""
    return [x.astype(dtype) for x in values]


def dot(a: Arrays, b: Arrays) -> np.longdouble:
    """Sum the products of all elements, in long double; a zero annihilates an infinity."""
    total = np.longdouble(0)
    for x, y in zip(a, b, strict=True):
        product = x.astype(np.longdouble) * np.where(x == 0, 0, y.astype(np.longdouble))
        total += np.sum(np.where(y == 0, 0, product))
    return total


def _narrows(node: Tensor, dtype: Any) -> bool:
    """Whether an operation takes a float dtype and returns a narrower one."""
    wide = any(getattr(v, "dtype", None) == dtype for v in node.values)
    return bool(wide and node.dtype.kind == "f" and node.dtype.itemsize < np.dtype(dtype).itemsize)
