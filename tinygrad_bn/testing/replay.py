"""A recorded graph run again on other values: kernels alone, in any dtype, complex ones too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from tinygrad_bn.graph.program import Trace
from tinygrad_bn.graph.tensor import Tensor
from tinygrad_bn.testing.subjects import Array, Arrays, Kink

COMPARISONS = {"equal", "not_equal", "less", "less_equal", "greater", "greater_equal"}
"""Operations that choose a branch: their operands' gap is a distance to a kink."""

TINY = np.longdouble(2) ** -200
"""The complex step: its square is nothing beside one."""


SMALL = 2.0**-20
STEPS = (0.0, SMALL, -SMALL)
"""Where distances to kinks are looked at, along a direction."""

Margin = tuple[Tensor, Array]
"""An operation, and the distance of each element to its kinks and singularities."""


class Replay:
    """The operations of a trace as a list of steps on numbered places.

    Places are the inputs and then the nodes. What no input leads to is computed once, when the
    trace was made.
    """

    def __init__(self, recorded: Trace) -> None:
        self.trace = recorded
        self.nodes = recorded.nodes
        self._place = {x: i for i, x in enumerate((*recorded.inputs, *self.nodes))}
        self.steps = [
            [(i, self._place.get(x, -1) if isinstance(x, Tensor) else -1) for i, x in enumerate(n.inputs)]
            for n in self.nodes
        ]
        self.outputs = [(self._place.get(r, -1), r) for r in recorded.results]

    def run(self, values: Arrays) -> list[Array]:
        """Compute all places from other values of the inputs."""
        places: list[Any] = list(values)
        with np.errstate(all="ignore"):
            for node, step in zip(self.nodes, self.steps, strict=True):
                given = [node.values[i] if p < 0 else places[p] for i, p in step]
                places.append(np.asarray(node.op.kernel(*given, **node.params)))
        return places

    def run_from(self, place: int, value: Array, places: Sequence[Array]) -> list[Array]:
        """Compute again what depends on one place, from another value there."""
        new, changed = list(places), {place}
        new[place] = value
        first = len(self.trace.inputs)
        with np.errstate(all="ignore"):
            for i, (node, step) in enumerate(zip(self.nodes, self.steps, strict=True), first):
                if i != place and any(p in changed for _, p in step):
                    given = [node.values[j] if p < 0 else new[p] for j, p in step]
                    new[i] = np.asarray(node.op.kernel(*given, **node.params))
                    changed.add(i)
        return new

    def results(self, places: Sequence[Array]) -> list[Array]:
        """Pick the results among the places."""
        return [r.data if p < 0 else places[p] for p, r in self.outputs]

    def margins(self, places: Sequence[Array]) -> Iterator[Margin]:
        """Yield the operations that have kinks or singularities, with the distance to them."""
        with np.errstate(all="ignore"):
            for node, step in zip(self.nodes, self.steps, strict=True):
                if node.op.margin is not None:
                    given = [node.values[i] if p < 0 else places[p] for i, p in step]
                    yield node, np.asarray(node.op.margin(*given, **node.params))
                elif node.op.name in COMPARISONS:
                    x, y = (node.values[i] if p < 0 else places[p] for i, p in step)
                    yield node, np.abs(np.subtract(x, y, dtype=np.longdouble))

    @cached_property
    def smooth(self) -> bool:
        """Whether no operation that the results depend on smoothly has a kink, or chooses."""
        return not any(
            n.op.name in COMPARISONS or not n.op.analytic
            for n in self.nodes
            if n in self._continuous or n.op.name in COMPARISONS
        )

    @cached_property
    def _continuous(self) -> set[Tensor]:
        """The nodes from which a path of floating-point values leads to a result."""
        found = {r for r in self.trace.results if r.dtype.kind == "f"}
        for node in reversed(self.nodes):
            if node in found:
                found |= {x for x in node.inputs if isinstance(x, Tensor) and x.dtype.kind == "f"}
        return found

    def complex_step(self, values: Arrays, direction: Arrays) -> list[Array] | None:
        """Differentiate the results along a direction: one run, no cancellation.

        Source: Squire and Trapp (1998). Every operation on the way must be analytic; those that
        only choose (comparisons, positions) see real parts. None where that is not possible.
        """
        places: list[Any] = [
            np.asarray(x + 1j * (TINY * d)) if d.any() else x for x, d in zip(values, direction, strict=True)
        ]
        try:
            with np.errstate(all="ignore"):
                for node, step in zip(self.nodes, self.steps, strict=True):
                    given = [node.values[i] if p < 0 else places[p] for i, p in step]
                    places.append(self._complex(node, given))
        except (TypeError, ValueError, np.exceptions.ComplexWarning):
            return None
        return [np.imag(y) / TINY for y in self.results(places)]

    def _complex(self, node: Tensor, given: list[Any]) -> Array:
        """Compute one node on operands of which some are complex."""
        if any(getattr(x, "dtype", None) == np.clongdouble for x in given):
            if node not in self._continuous:
                given = [np.real(x) if isinstance(x, np.ndarray) else x for x in given]
            elif not node.op.analytic or _converts(node):
                raise TypeError("An operation that is not analytic.")
        return np.asarray(node.op.kernel(*given, **node.params))

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


def _alike(a: Tensor, b: Tensor) -> bool:
    return a.op is b.op and a.params == b.params and a.shape == b.shape


def _equal(a: Any, b: Any) -> bool:
    return a is b or bool(np.array_equal(a, b))


def _converts(node: Tensor) -> bool:
    """Whether an operation was asked for a dtype, which is not the complex one."""
    return node.params.get("dtype") is not None


def kinks_among(at: Sequence[Sequence[Margin]]) -> list[Kink]:
    """List the steps at which distances to kinks, known at ``STEPS``, reach zero, about.

    How fast a distance shrinks is found by a small step to either side.
    """
    if not all([g.shape for _, g in a] == [g.shape for _, g in b] for a, b in pairwise(at)):
        return [Kink(0.0, "a branch of Python")]
    return [
        Kink(step, nearest(node, here))
        for (node, here), *sides in zip(*at, strict=True)
        for step in _reached(here, [there for _, there in sides])
    ]


def _reached(here: Array, sides: Sequence[Array]) -> list[float]:
    """Say at which steps distances that are ``here`` at the point reach zero."""
    steps: list[float] = []
    with np.errstate(all="ignore"):
        for there in sides:
            when = np.abs(here) / (np.abs(there - here) / SMALL)
            steps += when[np.isfinite(when)].astype(float).tolist()
    return sorted(set(steps))


def nearest(node: Tensor, gap: Array) -> str:
    """Say where an operation is nearest to its kink: name, gap, index and the user's line."""
    gaps = np.where(np.isnan(gap), np.inf, gap)
    index = np.unravel_index(int(np.argmin(gaps)), gaps.shape) if gaps.size else ()
    place = f" at index ({', '.join(str(int(i)) for i in index)})" if index else ""
    return f"{node.op.name}: gap {float(gaps[index]) if gaps.size else 0.0:.3g}{place}, {node.where}"
