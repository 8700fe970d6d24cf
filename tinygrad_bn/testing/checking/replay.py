"""A recorded graph run again on other values: kernels alone, in any dtype, complex ones too."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from tinygrad_bn.graph.program import Trace
from tinygrad_bn.graph.tensor import Tensor
from tinygrad_bn.testing.checking.subjects import Array, Arrays, Kink, Kinks

COMPARISONS = {"equal", "not_equal", "less", "less_equal", "greater", "greater_equal"}
"""Operations that choose a branch: their operands' gap is a distance to a kink."""

ROUNDED = 2.0**6
"""How many rounding units of the operands a change must exceed to be one."""

LADDERS = {
    np.dtype(np.longdouble): tuple(2.0**-k for k in (52, 47, 42, 37, 32, 26, 20, 14, 8, 3)),
    np.dtype(np.float64): tuple(2.0**-k for k in (42, 37, 32, 26, 20, 14, 8, 3)),
}
"""The steps at which distances to kinks are looked at, in each dtype that a point moves in.

At the smallest, moving a number by it times a direction of ten bits still keeps all of these.
"""


class Margin(NamedTuple):
    """An operation, the distance of each element to its kinks, and how much is rounding in it."""

    node: Tensor
    gap: Array
    noise: Array


class Replay:
    """The operations of a trace as a list of steps on numbered places.

    Places are the inputs and then the nodes. What no input leads to is computed once, when the
    trace was made.
    """

    def __init__(self, recorded: Trace) -> None:
        self.trace = recorded
        self.nodes = recorded.nodes
        self.places = (*recorded.inputs, *self.nodes)
        self._place = {x: i for i, x in enumerate(self.places)}
        self.steps = [
            [
                (i, self._place.get(x, -1) if isinstance(x, Tensor) else -1)
                for i, x in enumerate(n.inputs)
            ]
            for n in self.nodes
        ]
        self.outputs = [(self._place.get(r, -1), r) for r in recorded.results]
        self._params = [_widened(n) for n in self.nodes]

    def walk(self) -> Iterator[tuple[Tensor, list[tuple[int, int]], dict[str, Any]]]:
        """Yield each node with the places of its operands, and its parameters without narrowing."""
        return zip(self.nodes, self.steps, self._params, strict=True)

    def given(self, node: Tensor, step: list[tuple[int, int]], places: Sequence[Any]) -> list[Any]:
        """Return the operands of a node; its constants as wide as the places."""
        wide = places[0].dtype == np.longdouble
        return [
            (_wide(node.values[i]) if wide else node.values[i]) if p < 0 else places[p]
            for i, p in step
        ]

    def run(self, values: Arrays) -> list[Array]:
        """Compute all places from other values of the inputs, without narrowing any."""
        places: list[Any] = list(values)
        with np.errstate(all="ignore"):
            for node, step, params in self.walk():
                given = self.given(node, step, places)
                places.append(np.asarray(node.op.kernel(*given, **params)))
        return places

    def run_from(self, place: int, value: Array, places: Sequence[Array]) -> list[Array]:
        """Compute again what depends on one place, from another value there."""
        new, changed = list(places), {place}
        new[place] = value
        first = len(self.trace.inputs)
        with np.errstate(all="ignore"):
            for i, (node, step, params) in enumerate(self.walk(), first):
                if i != place and any(p in changed for _, p in step):
                    given = self.given(node, step, new)
                    new[i] = np.asarray(node.op.kernel(*given, **params))
                    changed.add(i)
        return new

    def results(self, places: Sequence[Array]) -> list[Array]:
        """Pick the results among the places."""
        return [r.data if p < 0 else places[p] for p, r in self.outputs]

    def margins(self, places: Sequence[Array]) -> Iterator[Margin]:
        """Yield the operations that have kinks or singularities, with the distance to them."""
        with np.errstate(all="ignore"):
            for node, step in zip(self.nodes, self.steps, strict=True):
                compares = node.op.name in COMPARISONS
                if node.op.margin is None and not compares:
                    continue
                given = self.given(node, step, places)
                gap = _gap(*given) if compares else node.op.margin(*given, **node.params)
                gap = np.asarray(gap)
                yield Margin(node, gap, _rounding(given, gap.shape))

    @cached_property
    def smooth(self) -> bool:
        """Whether no operation that the results depend on has a kink, or chooses."""
        return not any(
            n.op.name in COMPARISONS or (n in self.continuous and not n.op.analytic)
            for n in self.nodes
        )

    @cached_property
    def continuous(self) -> set[Tensor]:
        """The nodes from which a path of floating-point values leads to a result."""
        found = {r for r in self.trace.results if r.dtype.kind == "f"}
        for node in reversed(self.nodes):
            if node in found:
                found |= {x for x in node.inputs if isinstance(x, Tensor) and x.dtype.kind == "f"}
        return found

    def same_as(self, other: Replay) -> bool:
        """Whether another recording did the same operations with the same constants.

        If so at points apart, no value of an argument was read and made a constant or a branch.
        """
        return (
            len(self.nodes) == len(other.nodes)
            and self.steps == other.steps
            and [p for p, _ in self.outputs] == [p for p, _ in other.outputs]
            and all(map(_alike, self.nodes, other.nodes))
            and all(p >= 0 or _equal(a.data, b.data) for (p, a), (_, b) in self._ends(other))
            and all(
                _equal(a.values[i], b.values[i])
                for a, b, step in zip(self.nodes, other.nodes, self.steps, strict=True)
                for i, p in step
                if p < 0
            )
        )

    def _ends(self, other: Replay) -> Iterator[tuple[tuple[int, Tensor], tuple[int, Tensor]]]:
        return zip(self.outputs, other.outputs, strict=True)


def _gap(x: Any, y: Any) -> Array:
    return np.asarray(np.abs(np.subtract(x, y, dtype=np.longdouble)))


def _rounding(values: Sequence[Any], shape: tuple[int, ...]) -> Array:
    """What rounding of the operands can do to a distance: element by element where they fit."""
    sizes = [
        np.where(np.isfinite(x), np.abs(x), 0) * np.finfo(x.dtype).eps
        for x in values
        if getattr(x, "dtype", np.dtype(int)).kind == "f" and x.size
    ]
    if not sizes:
        return np.zeros(())
    try:
        each = functools.reduce(np.maximum, sizes)
        fits = np.broadcast_shapes(each.shape, shape) == shape
    except ValueError:
        fits = False
    return ROUNDED * (each if fits else np.asarray(max(np.max(x) for x in sizes)))


def _alike(a: Tensor, b: Tensor) -> bool:
    alike = a.shape == b.shape and a.dtype == b.dtype
    return a.op is b.op and a.params == b.params and alike


def _equal(a: Any, b: Any) -> bool:
    if a is b:
        return True
    floats = np.asarray(a).dtype.kind in "fc"
    return type(a) is type(b) and bool(np.array_equal(a, b, equal_nan=floats))


def _wide(x: Any) -> Any:
    """Return a floating-point array in long double (places are set in arrays of one dtype)."""
    is_float = isinstance(x, np.ndarray) and x.dtype.kind == "f"
    return x.astype(np.longdouble, copy=False) if is_float else x


def _widened(node: Tensor) -> dict[str, Any]:
    """Return a node's parameters with long double in place of a floating-point dtype asked for.

    A cast has the derivative of the identity; its rounding would only hide it from differences.
    """
    dtype = node.params.get("dtype")
    if dtype is None or np.dtype(dtype).kind != "f":
        return node.params
    return {**node.params, "dtype": np.dtype(np.longdouble)}


def kinks_along(margins: Callable[[float], Sequence[Margin]], dtype: Any) -> Kinks:
    """Find the steps at which distances to kinks reach zero, about.

    ``margins(t)``: the distances at a step, with the point moved in ``dtype``. How fast a distance
    changes is found by small steps, to either side. One that does not go on changing so fast has
    met another kink: that is beyond the reach.
    """
    ladder = LADDERS[np.dtype(dtype)]
    at = [margins(t) for t in (0.0, *(side * h for h in ladder for side in (1, -1)))]
    if not all([m.gap.shape for m in a] == [m.gap.shape for m in b] for a, b in pairwise(at)):
        return Kinks([Kink(0.0, "a branch of Python")], math.inf)
    found: list[Kink] = []
    reach = math.inf
    for here, *there in zip(*at, strict=True):
        with np.errstate(all="ignore"):
            sides = [_side([m.gap for m in there[i::2]], ladder, here.noise) for i in (0, 1)]
        steps = {step for steps, _ in sides for step in steps}
        if _leaves_zero(here, there):
            steps.add(0.0)
        what = nearest(here) if steps else ""
        lone = here.node.op.name in ("equal", "not_equal")
        found += [Kink(step, what, lone) for step in sorted(steps)]
        reach = min(reach, *(even for _, even in sides))
    return Kinks(found, reach)


def _leaves_zero(here: Margin, there: Sequence[Margin]) -> bool:
    """Whether the point is at a kink that the direction leads away from, or through."""
    return bool(np.any((here.gap == 0) & np.logical_or.reduce([m.gap != 0 for m in there])))


def _side(
    gaps: Sequence[Array], ladder: Sequence[float], noise: Array
) -> tuple[list[float], float]:
    """Say at which steps to one side distances reach zero, and up to which they change evenly.

    A distance that is NaN is lost in rounding.
    """
    first, *rest = gaps
    if np.any(np.isnan(first)):
        return [], 0.0
    changes = [np.abs(gap - first) for gap in rest]
    most = np.maximum.reduce(changes)
    lost = (most > 0) & (np.maximum(first, most) <= ROUNDED * noise)
    if np.any(lost & (changes[-1] < 8 * changes[-3])):
        return [], 0.0
    rate, reach = np.zeros(np.shape(first), np.longdouble), math.inf
    for change, step, before in zip(changes, ladder[1:], ladder[:-1], strict=True):
        speed = np.where(change > noise, change / step, 0)
        if np.any(speed < rate / 4):
            reach = before
            break
        rate = np.fmax(rate, speed)
    when = np.where(rate > 0, np.abs(first) / rate, np.inf)
    return np.unique(when[np.isfinite(when) & (when > 2 * ladder[0])]).astype(float).tolist(), reach


def nearest(margin: Margin) -> str:
    """Say where an operation is nearest to its kink: name, gap, index and the user's line."""
    gaps = np.where(np.isnan(margin.gap), np.inf, margin.gap)
    index = np.unravel_index(int(np.argmin(gaps)), gaps.shape) if gaps.size else ()
    place = f" at index ({', '.join(str(int(i)) for i in index)})" if index else ""
    gap = float(gaps[index]) if gaps.size else 0.0
    return f"{margin.node.op.name}: gap {gap:.3g}{place}, {margin.node.where}"
