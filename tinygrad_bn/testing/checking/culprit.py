"""Where a wrong gradient comes from: the first wrong rule, else the first wrong cotangent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from tinygrad_bn.graph.primitive import bind, describe
from tinygrad_bn.graph.program import Trace
from tinygrad_bn.graph.state import using
from tinygrad_bn.graph.sweep import sweep, tracked
from tinygrad_bn.graph.tensor import Tensor
from tinygrad_bn.testing.checking.directions import beside, cotangents, direction_for, in_order
from tinygrad_bn.testing.checking.judge import Asked, Question
from tinygrad_bn.testing.checking.precision import leaves_of
from tinygrad_bn.testing.checking.recorded import Recorded
from tinygrad_bn.testing.checking.replay import Margin, Replay, kinks_along
from tinygrad_bn.testing.checking.subjects import REFUSED, Array, Arrays, Kinks, Subject, cast
from tinygrad_bn.testing.checking.verdicts import Verdict

ELEMENTS = 64
"""How many elements are differentiated one by one to find the worst."""

FEW = 4
"""To how many elements a larger argument is narrowed down by halving."""

SAMPLES = 48
"""At how many points around a kink the slopes of an operation are looked at."""


def find_culprit(subject: Recorded, v: Arrays, rng: np.random.Generator) -> str:
    """Say what makes a gradient wrong: a rule, a cut or a sweep, or a value that was read."""
    found = first_wrong(subject.graph.nodes, rng)
    if found:
        return found
    if not subject.faithful:
        return (
            "every rule is right at its own operands; but at another point the function records "
            "another graph: a value is read (item(), float(), np.asarray) and became a constant"
        )
    found = _first_wrong_cotangent(subject, v, rng)
    cuts = _listed(n for n in subject.graph.nodes if n.op.name == "stop_gradient")
    cuts = f" ({cuts})" if cuts and cuts not in found else ""
    return f"every rule is right at its own operands; {found}{cuts}" if found else ""


# rules ------------------------------------------------------------------------------------------


def first_wrong(nodes: Iterable[Tensor], rng: np.random.Generator) -> str:
    """Name the first operation whose rule disagrees with differences at its own operands."""
    for node in nodes:
        for operand, subject in _operands(node):
            given = f"{node.op.name}({', '.join(map(describe, node.values))}) at {node.where}"
            try:
                verdict = _check_node(subject, rng)
            except REFUSED as error:
                return f"first wrong rule: {given}, for operand {operand}: {error}"
            if _is_wrong(verdict):
                return (
                    f"first wrong rule: {given}, for operand {operand}: claimed "
                    f"{verdict.claimed:.12g}, differences give {verdict.numeric:.12g}"
                )
    return ""


def _operands(node: Tensor) -> Iterable[tuple[int, Recorded]]:
    """Yield each differentiable operand of a node with the operation as a function of it."""
    if not node.op.differentiable or node.dtype.kind != "f":
        return
    for i, value in enumerate(node.values):
        if getattr(value, "dtype", np.dtype(int)).kind == "f" and node.op.rules[i] is not None:
            yield i, Recorded(_operation(node, i), [np.asarray(value)])


def _operation(node: Tensor, position: int) -> Any:
    def operation(x: Tensor) -> list[Tensor]:
        """Apply the node's operation to other operands."""
        operands = [x if i == position else v for i, v in enumerate(node.values)]
        return [bind(node.op, tuple(operands), node.params)]

    return operation


def _check_node(subject: Recorded, rng: np.random.Generator) -> Verdict:
    """Check one rule; where kinks coincide, element by element of the result."""
    results = subject.results(subject.values)
    for _ in range(2):
        direction = [direction_for(x, rng) for x in subject.values]
        question = Question(Asked(subject, cotangents(results, rng)), direction)
        verdict = question.judge("reverse")
        if _is_wrong(verdict):
            break
    if not _is_wrong(verdict) or verdict.slopes is None:
        return verdict
    return wrong_at_kinks(subject, direction, rng) or Verdict("kink")


def wrong_at_kinks(subject: Subject, direction: Arrays, rng: np.random.Generator) -> Verdict | None:
    """Judge a claim at a kink element by element of the result; return what is wrong, if anything.

    Elements that have kinks at one point have slopes of their own: a claim between them for each
    is right, and need not be between the slopes of a sum.
    """
    for v in _units(subject.results(subject.values)):
        question = Question(Asked(subject, v), direction)
        verdict = question.judge("reverse")
        if _is_wrong(verdict) and (verdict.slopes is None or _excludes(question, verdict, rng)):
            return verdict
    return None


def _units(results: Arrays) -> Iterator[Arrays]:
    """Yield cotangents that pick single elements of the results, the first ones of each."""
    for i, y in enumerate(results):
        for place in list(np.ndindex(y.shape))[:ELEMENTS]:
            units = [np.zeros(r.shape) for r in results]
            units[i][place] = 1.0
            yield units


def _excludes(question: Question, verdict: Verdict, rng: np.random.Generator) -> bool:
    """Whether a claim at a kink is outside all slopes that the operation has around it.

    Where three or more elements tie, the pieces that meet there have other slopes than the two
    along one line; a claim among those of any piece is right (Clarke's generalised gradient).
    """
    subject, v = question.subject, question.asked.v
    near = [subject.at([beside(x, rng) for x in subject.values]) for _ in range(SAMPLES)]
    near += [subject.at([in_order(x, side) for x in subject.values]) for side in (1, -1)]
    slopes = [float(Question(Asked(s, v), question.direction).truth().value) for s in near]
    sides = verdict.slopes or (verdict.numeric, verdict.numeric)
    low, high = np.nanmin([*slopes, *sides]), np.nanmax([*slopes, *sides])
    # where more than two pieces meet, a sample of their slopes does not quite reach the ends
    many = low < sides[0] - verdict.tolerance or high > sides[1] + verdict.tolerance
    slack = verdict.tolerance + (0.02 * (high - low) if many else 0.0)
    return not low - slack <= verdict.claimed <= high + slack


# cotangents -------------------------------------------------------------------------------------


class _Tail(Subject):
    """What follows one place of a recorded graph, as a function of the value there.

    Its claimed derivative is the cotangent with which the sweep arrives at that place.
    """

    def __init__(self, swept: _Swept, place: int, values: Arrays) -> None:
        self.swept, self.place, self.values = swept, place, values

    def at(self, values: Arrays) -> _Tail:
        """Return the same function at another point."""
        return _Tail(self.swept, self.place, values)

    @cached_property
    def extended(self) -> bool:
        """Whether the same graph is recorded in long double."""
        return self.swept.extended

    def results(self, values: Arrays) -> list[Array]:
        """Run what follows the place, from another value there."""
        return self.swept.after(self.place, values[0], self.dtype)

    def pull(self, values: Arrays, v: Arrays) -> Arrays:  # noqa: ARG002  (that of the sweep)
        """Return the cotangent of the sweep (of the recorded values: there are no others)."""
        return [self.swept.cotangent(self.place, values[0].dtype)]

    def kinks(self, direction: Arrays) -> Kinks:
        """Find the steps at which an operation behind the place comes to a kink."""
        graph, places, _ = self.swept.graph(self.dtype)

        def margins(t: float) -> list[Margin]:
            """Give the distances to kinks with the place moved."""
            moved = self.along(direction, t)[0]
            return list(graph.margins(graph.run_from(self.place, moved, places)))

        return kinks_along(margins, self.dtype)

    def observed(self, values: Arrays, v: Arrays) -> list[Any]:
        """Return the same."""
        return list(self.pull(values, v))


class _Swept:
    """A recorded graph with the cotangents of all its places, in any dtype."""

    def __init__(self, subject: Recorded, v: Arrays) -> None:
        self.subject, self.v = subject, v
        self._graphs: dict[Any, tuple[Replay, list[Array], dict[Tensor, Any]]] = {}

    @cached_property
    def extended(self) -> bool:
        """Whether the function runs in long double, and does the same operations there."""
        if not self.subject.extended:
            return False
        return self.graph(np.float64)[0].steps == self.graph(np.longdouble)[0].steps

    def graph(self, dtype: Any) -> tuple[Replay, list[Array], dict[Tensor, Any]]:
        """Record and sweep in a dtype: the graph, the value of each place, the cotangents."""
        key = np.dtype(dtype)
        if key not in self._graphs:
            inputs = leaves_of(cast(self.subject.values, key))
            with using(recording=True, tracing=True):
                results = self.subject.function(*inputs)
            seeds = {r: np.asarray(c, r.dtype) for r, c in zip(results, self.v, strict=True)}
            nodes = tracked(results)
            start = {r: c for r, c in seeds.items() if r in nodes}
            found = sweep(start, record=False, wanted=nodes)
            found = {x: found.get(x, np.zeros_like(x.data)) for x in (*inputs, *nodes)}
            graph = Replay(Trace("f", tuple(inputs), list(results)))
            places = [x.data for x in (*inputs, *graph.nodes)]
            self._graphs[key] = graph, places, found
        return self._graphs[key]

    def after(self, place: int, value: Array, dtype: Any) -> list[Array]:
        """Return the results if a place had another value."""
        graph, places, _ = self.graph(dtype)
        return graph.results(graph.run_from(place, value, places))

    def cotangent(self, place: int, dtype: Any) -> Array:
        """Return the cotangent of a place; zeros where none arrives."""
        graph, _, found = self.graph(dtype)
        return np.asarray(found[graph.places[place]])


def _first_wrong_cotangent(subject: Recorded, v: Arrays, rng: np.random.Generator) -> str:
    """Follow the sweep from the results to the arguments, to its first wrong cotangent."""
    swept = _Swept(subject, v)
    graph, places, found = swept.graph(np.float64)
    everything = graph.places
    for place in reversed(range(len(everything))):
        if everything[place] not in found:
            continue
        tail = _Tail(swept, place, [places[place]])
        direction = [direction_for(places[place], rng)]
        verdict = Question(Asked(tail, v), direction).judge("reverse")
        if _is_wrong(verdict) and verdict.slopes is None:
            return _say(subject.graph.places, place, verdict)
    return ""


def _say(everything: Sequence[Tensor], place: int, verdict: Verdict) -> str:
    """Name the place, and all that uses its value."""
    node = everything[place]
    uses = [n for n in everything if n.op is not None and any(x is node for x in n.inputs)]
    argument = f"the argument {node.name or ''}".rstrip()
    what = argument if node.op is None else f"{node.op.name} at {node.where}"
    cut = _listed(n for n in uses if not n.op.differentiable)
    back = _listed(n for n in uses if n.op.differentiable)
    said = [f"the sweep loses or miscounts what comes back from {back}"] if back else []
    said += [f"nothing comes back from {cut}"] if cut else []
    return (
        f"the first wrong cotangent is that of {what} (claimed {verdict.claimed:.12g}, differences "
        f"give {verdict.numeric:.12g}): {', or '.join(said)}"
    )


def _listed(nodes: Iterable[Tensor]) -> str:
    return ", ".join(dict.fromkeys(f"{n.op.name} at {n.where}" for n in nodes))


# elements ---------------------------------------------------------------------------------------


def worst_element(question: Question, position: int) -> str:
    """Find the element of one argument whose derivative is furthest off, one by one."""
    places = list(np.ndindex(question.direction[position].shape))
    few = ELEMENTS if len(places) <= ELEMENTS else FEW
    while len(places) > few:
        half, rest = places[: len(places) // 2], places[len(places) // 2 :]
        places = half if _is_wrong(_judge_at(question, position, half)) else rest
    judged = [(_judge_at(question, position, [place]), place) for place in places]
    wrong = [(verdict.relative, place, verdict) for verdict, place in judged if _is_wrong(verdict)]
    if not wrong:
        return ""
    _, place, verdict = max(wrong, key=lambda entry: entry[0])
    step = float(question.direction[position][place])
    claimed, numeric = verdict.claimed / step + 0.0, verdict.numeric / step + 0.0
    index = f"[{', '.join(map(str, place))}]" if place else ""
    return f"{index}: claimed {claimed:.17g}, differences give {numeric:.17g}" + (
        f" ± {verdict.error / abs(step):.1e}" if verdict.smooth else " at the nearest side"
    )


def _is_wrong(verdict: Verdict) -> bool:
    return verdict.kind == "mismatch"


def _judge_at(question: Question, position: int, places: Sequence[tuple[int, ...]]) -> Verdict:
    """Judge the derivative along some elements of one argument."""
    part = [np.zeros_like(d) for d in question.direction]
    for place in places:
        part[position][place] = question.direction[position][place]
    return replace(question, direction=part).judge("reverse")
