"""A function of tensors under examination: its graph tells kinks, noise and complex steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from tinygrad_bn.errors import DTypeError
from tinygrad_bn.graph.containers import flatten
from tinygrad_bn.graph.program import Trace
from tinygrad_bn.graph.state import Replay as Draws, no_grad, using
from tinygrad_bn.graph.sweep import sweep, tracked
from tinygrad_bn.graph.tensor import Tensor, leaf
from tinygrad_bn.testing.checking.differences import Curve
from tinygrad_bn.testing.checking.precision import leaves_of, rounding_bound, total
from tinygrad_bn.testing.checking.replay import Margin, Replay, kinks_along, nearest
from tinygrad_bn.testing.checking.subjects import (
    EXTENDED,
    FAR,
    Array,
    Arrays,
    Kinks,
    Subject,
    cast,
    chosen_floats,
    dot,
    replaced,
)
from tinygrad_bn.testing.checking.tangents import of_results, smooth_step, tangents
from tinygrad_bn.transforms.derivatives import jvp, vjp
from tinygrad_bn.transforms.lifting import name_of
from tinygrad_bn.transforms.tracing import trace

Flat = Callable[..., list[Tensor]]
"""A function of floating-point tensors that returns a list of them."""

ASIDE = (2.0**-3, -(2.0**-20))
"""How far along a random direction the graph is recorded again, to see that it is the same."""

NEAR = 2.0**-50
"""Between these steps a kink may be for the derivative beside it to be told."""


GUARDED = 2.0**-14
"""From where a function is looked at that refuses some points nearby."""


def flatten_function(function: Callable[..., Any], arguments: Sequence[Any]) -> tuple[Flat, Arrays]:
    """Return a function of the floating-point leaves alone, with a list of results, and the leaves.

    Integers and all else that is no floating-point leaf stays as it is. What the function draws
    at random through the package (dropout) is drawn once; running statistics are not updated.
    """
    leaves, _, rebuild = flatten(tuple(arguments))
    chosen, values = chosen_floats(leaves)
    if not chosen:
        raise DTypeError(
            f"check_gradients of {name_of(function)}: no argument has floating-point values.",
            "Pass the point at which to check as floats, float arrays, or containers of them.",
        )
    draws: list[Any] = []
    with using(tracing=True, replay=Draws(draws, again=False, parent=None)), _quiet():
        function(*rebuild(replaced(leaves, chosen, map(leaf, values))))

    def flat(*given: Tensor) -> list[Tensor]:
        """Give the results as one list, of the leaves that are moved alone."""
        with using(replay=Draws(draws, again=True, parent=None)):
            results = flatten(function(*rebuild(replaced(leaves, chosen, given))))[0]
        _refuse_detached(function, results)
        live = [r for r in results if isinstance(r, Tensor) and r.dtype.kind == "f"]
        if not live:
            raise DTypeError(
                f"check_gradients: {name_of(function)} returned no floating-point tensor.",
                "Return a tensor or a container of tensors.",
            )
        return live

    flat.__name__ = name_of(function)
    return flat, values


def _refuse_detached(function: Callable[..., Any], results: Sequence[Any]) -> None:
    """Raise where a result has left the graph: its gradient would not be checked."""
    for result in results:
        if not isinstance(result, Tensor) and np.asarray(result).dtype.kind == "f":
            raise DTypeError(
                f"check_gradients: {name_of(function)} returned a {type(result).__name__}, which "
                "is outside the graph.",
                "Return tensors alone; stop_gradient marks what is meant to have no gradient.",
            )


def _quiet() -> Any:
    return np.errstate(all="ignore")


class Recorded(Subject):
    """A flat function of tensors at a point.

    Where the same graph is recorded at points apart, the function is its graph, and the graph is
    evaluated in place of the function.
    """

    def __init__(self, function: Flat, values: Arrays) -> None:
        self.function = function
        self.values = values
        self._size: tuple[Arrays, float] | None = None

    def at(self, values: Arrays) -> Recorded:
        """Return the same function at another point."""
        return Recorded(self.function, values)

    @cached_property
    def graph(self) -> Replay:
        """What was recorded at the point."""
        return Replay(self.traced(self.values))

    @cached_property
    def faithful(self) -> bool:
        """Whether the function does the same operations, with the same constants, elsewhere."""
        rng = np.random.default_rng(len(self.graph.nodes))
        for t in ASIDE:
            moved = [
                np.where(np.isfinite(x), x + t * np.abs(x) * rng.uniform(0.5, 1, x.shape) + t, x)
                for x in self.values
            ]
            try:
                again = Replay(self.traced(moved))
            except Exception:  # noqa: BLE001  (a guard of the user's own)
                return False
            if not self.graph.same_as(again):
                return False
        return True

    @property
    def blind(self) -> bool:
        """Whether the graph does not tell all: values were read, or a kernel is a closed box."""
        return not self.faithful or any(n.op.family == "custom" for n in self.graph.nodes)

    @cached_property
    def extended(self) -> bool:
        """Whether the function can be evaluated in long double, and that is more than float64."""
        return self._runs_wide and (self.faithful or not self._narrow(np.longdouble))

    @cached_property
    def _runs_wide(self) -> bool:
        """Whether the function takes long double."""
        if not EXTENDED:
            return False
        try:
            self.traced(cast(self.values, np.longdouble))
        except (TypeError, ValueError):
            return False
        return True

    def _narrow(self, dtype: Any) -> list[np.dtype[Any]]:
        """List the dtypes that values of a dtype are narrowed to."""
        nodes = self.traced(cast(self.values, dtype)).nodes
        return [node.dtype for node in nodes if _narrows(node, dtype)]

    @cached_property
    def wide(self) -> list[Arrays]:
        """The points at which a gradient is formed again to see how far rounding moved it."""
        return [cast(self.values, np.longdouble)] if self._runs_wide else self.shaken

    @cached_property
    def narrowest(self) -> Any:
        """The narrowest dtype that the claimed gradient passes through."""
        kinds = [np.dtype(np.float64), *self._narrow(np.float64)]
        return min(kinds, key=lambda dtype: dtype.itemsize)

    @property
    def eps(self) -> float:
        """The relative spacing of numbers in the narrowest dtype that values pass through."""
        return float(np.finfo(np.longdouble).eps) if self.extended else self.unit

    def traced(self, values: Arrays) -> Trace:
        """Record the function at other values of its arguments."""
        with _quiet():
            return trace(self.function, *values)

    def results(self, values: Arrays) -> list[Array]:
        """Evaluate the function."""
        with no_grad(), _quiet():
            return [r.data for r in self.function(*map(leaf, values))]

    def curve(self, v: Arrays, direction: Arrays) -> Curve:
        """Return the function of a step whose derivative at 0 is checked."""
        if not self.faithful:
            return super().curve(v, direction)
        graph = self.graph
        return lambda t: dot(v, graph.results(graph.run(self.along(direction, t))))

    def pull(self, values: Arrays, v: Arrays) -> Arrays:
        """Return the gradients by the reverse sweep."""
        with _quiet():
            return [g.data for g in vjp(self.function, *values)[1](list(v))]

    def observed(self, values: Arrays, v: Arrays) -> list[Array]:
        """Form the gradient of arrays that the caller keeps an eye on."""
        with _quiet():
            pulled = vjp(self.function, *map(leaf, values))[1](list(map(leaf, v)))
        return [g.data for g in pulled]

    def push(self, values: Arrays, direction: Arrays) -> Arrays:
        """Return the derivative of the results in a direction."""
        with _quiet():
            return [y.data for y in jvp(self.function, values, direction)[1]]

    def gradient(self, v: Arrays) -> Recorded:
        """Return the gradient for a fixed cotangent as a function to examine in its turn."""

        def slopes(*values: Tensor) -> list[Tensor]:
            """Give the gradient in place of the value."""
            kind = np.result_type(*(x.dtype for x in values))
            return list(vjp(self.function, *values)[1]([leaf(c.astype(kind)) for c in v]))

        return Recorded(slopes, self.values)

    def exact(self, v: Arrays, direction: Arrays) -> np.longdouble | None:
        """Return the derivative from the graph's kernels alone, where no kink is at hand."""
        if not self.faithful:
            return None
        reach = FAR if self.graph.smooth else self._reach(direction)
        if reach < NEAR:
            return None
        moved = tangents(self.graph, self._finest, direction, reach)
        return None if moved is None else dot(v, of_results(self.graph, moved))

    def smooth_step(self, direction: Arrays) -> float:
        """Up to which step along a direction no value on the way changes by more than its size."""
        if not self.faithful:
            return math.inf
        moved = tangents(self.graph, self._finest, direction, FAR)
        return math.inf if moved is None else smooth_step(self.graph.run(self._finest), moved)

    @cached_property
    def _finest(self) -> Arrays:
        """The point in the dtype of the differences."""
        return cast(self.values, self.dtype)

    def doubtful(self, dtype: Any) -> str:
        """Say which kink, if any, is so near that rounding in a dtype decides the side."""
        for margin in self._margins(self._finest):
            wide = float(np.finfo(self.dtype).eps)
            limits = np.finfo(dtype)
            near = margin.noise * (float(limits.eps) / wide) + float(limits.smallest_subnormal)
            if np.any((margin.gap > 0) & (margin.gap <= near)):
                return nearest(margin)
        return ""

    def _reach(self, direction: Arrays) -> float:
        found, reach = self.kinks(direction)
        return min([FAR, reach, *(k.step for k in found)])

    def kinks(self, direction: Arrays) -> Kinks:
        """Find at what steps along a direction the recorded operations come to a kink, about."""
        try:
            return kinks_along(lambda t: self._margins(self.along(direction, t)), self.dtype)
        except Exception:
            if self.faithful:
                raise
            return Kinks((), GUARDED)  # the function refuses points at some distance

    def _margins(self, values: Arrays) -> list[Margin]:
        graph = self.graph if self.faithful else Replay(self.traced(values))
        return list(graph.margins(graph.run(values)))

    def narrow_rounding(self, v: Arrays, direction: Arrays, dtype: Any = None) -> float:
        """Bound what rounding does to a gradient: in a dtype, or in those of its operations."""
        return rounding_bound(self.function, self.values, v, direction, dtype)

    def magnitude(self, v: Arrays) -> float:
        """Sum what all intermediate values contribute to ``<v, f(x)>``, in absolute value.

        Times a rounding unit this is the noise of the function, also where the result is small
        because large values cancel in it.
        """
        if self._size is None or self._size[0] is not v:
            self._size = v, self._magnitude(v)
        return self._size[1]

    def _magnitude(self, v: Arrays) -> float:
        with using(recording=True), _quiet():
            results = self.function(*leaves_of(self.values))
            seeds = [(r, np.asarray(c, r.dtype)) for r, c in zip(results, v, strict=True)]
            nodes = tracked(results)
            found = sweep({r: c for r, c in seeds if r in nodes}, record=False, wanted=nodes)
            return sum(total(g * node.data) for node, g in found.items())


def _narrows(node: Tensor, dtype: Any) -> bool:
    """Whether an operation takes a float dtype and returns a narrower one."""
    wide = any(getattr(v, "dtype", None) == dtype for v in node.values)
    return bool(wide and node.dtype.kind == "f" and node.dtype.itemsize < np.dtype(dtype).itemsize)
