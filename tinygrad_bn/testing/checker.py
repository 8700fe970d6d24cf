"""check_gradients: whether the derivatives of a function are right, to any order, at a point."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from tinygrad_bn.errors import ShapeError
from tinygrad_bn.graph.containers import flatten
from tinygrad_bn.graph.tensor import as_constant
from tinygrad_bn.testing.culprit import first_wrong, worst_element
from tinygrad_bn.testing.directions import beside, cotangents, direction_for
from tinygrad_bn.testing.judge import Question
from tinygrad_bn.testing.precision import rounding_bound
from tinygrad_bn.testing.probe import Arrays, Flat, Probe, cast, dot, flatten_function
from tinygrad_bn.testing.verdicts import GOOD, Report, Verdict
from tinygrad_bn.transforms.lifting import argument_names, name_of

MODES = ("reverse", "forward")


def check_gradients(
    function: Callable[..., Any],
    *arguments: Any,
    order: int = 2,
    modes: Sequence[str] = MODES,
    directions: int = 3,
    seed: int = 0,
) -> Report:
    """Compare the derivatives of ``function`` at ``arguments`` with finite differences.

    ``arguments``: tensors, arrays, floats or containers of them; integers and the like are passed
    on as they are. The function returns a tensor or a container. ``order=2`` checks the gradient
    as a function, too. ``directions``: how many random directions, each with a random cotangent,
    for every argument. The differences are taken in long double where the function allows it;
    the tolerance follows from their estimated error and the measured rounding of the gradient.
    Arguments narrower than float64 are checked in float64, and then that their own gradient
    agrees with it as far as their dtype allows.

    Raises DTypeError where there is nothing to differentiate, ShapeError for unknown modes.

    >>> from tinygrad_bn import sin
    >>> report = check_gradients(lambda x: sin(x) * x, 2.0)
    >>> report.ok, report.worst < 1e-14
    (True, True)
    """
    if not modes or set(modes) - set(MODES) or order < 1 or directions < 1:
        raise ShapeError(
            f"check_gradients with modes={modes!r}, order={order}, directions={directions}.",
            f"Modes are among {MODES}; order and directions are at least 1.",
        )
    flat, values = flatten_function(function, arguments)
    names = _names(function, arguments)
    check = _Check(flat, values, names, tuple(modes), order, directions, seed)
    return check.report(name_of(function))


def _names(function: Callable[..., Any], arguments: Sequence[Any]) -> list[str]:
    """Name the floating-point leaves: the argument, and the path inside it."""
    named = zip(argument_names(function, len(arguments)), arguments, strict=True)
    found = []
    for label, argument in named:
        leaves, paths, _ = flatten(argument)
        found += [
            label + path
            for value, path in zip(leaves, paths, strict=True)
            if as_constant(value).dtype.kind == "f"
        ]
    return found


class _Answer(NamedTuple):
    """A verdict with what was asked."""

    verdict: Verdict
    question: Question
    position: int


@dataclass(frozen=True)
class _Check:
    """One check of a flat function at a point."""

    flat: Flat
    given: Arrays
    names: Sequence[str]
    modes: tuple[str, ...]
    order: int
    directions: int
    seed: int

    def report(self, name: str) -> Report:
        """Ask everything; where something is wrong, find where."""
        hopeless = self._hopeless()
        if hopeless is not None:
            return Report(name, self.seed, [hopeless])
        answers = list(self._answers(self._probe, self.directions))
        if any(a.verdict.slopes is not None for a in answers):
            answers += self._nearby()
        wrong = next((a for a in answers if a.verdict.kind == "mismatch"), None)
        culprit = self._culprit(wrong.question.probe) if wrong else ""
        if wrong and not culprit and _only_kinks(answers):
            answers, wrong = [_forgiven(a) for a in answers], None
        verdicts = [a.verdict for a in answers]
        if wrong is None:
            return Report(name, self.seed, [*verdicts, *self._agreement()])
        return Report(name, self.seed, verdicts, self._element(wrong), culprit or _cut(wrong))

    @functools.cached_property
    def _probe(self) -> Probe:
        return Probe(self.flat, cast(self.given, np.float64))

    def _hopeless(self) -> Verdict | None:
        """Say why differences make no sense: results that are not finite, or not repeated."""
        given = Probe(self.flat, self.given)
        first, second = given.results(self.given), given.results(self.given)
        v = cotangents(first, np.random.default_rng(self.seed))
        if not _same(first, second):
            return Verdict("nondeterministic", note="The function gave two values at one point.")
        if not all(np.all(np.isfinite(y)) for y in (*first, *given.results(self._probe.values))):
            return Verdict("nonfinite", note=_first_nonfinite(given))
        if not _same(given.pull(self.given, v), given.pull(self.given, v)):
            return Verdict("nondeterministic", note="The gradient differed at one point.")
        return None

    def _answers(self, start: Probe, directions: int) -> Iterator[_Answer]:
        """Ask about each order, argument and mode; a wrong order makes the next pointless."""
        for k in range(directions):
            rng = np.random.default_rng([self.seed, k])
            probe, scale = start, 0.0
            v = cotangents(start.results(start.values), rng)
            for order in range(1, self.order + 1):
                asked = list(self._one_order(probe, v, rng, scale, order=order, direction=k))
                yield from asked
                if any(a.verdict.kind not in GOOD for a in asked):
                    break
                scale = max(scale, asked[0].question.size)
                probe = probe.gradient(v)
                v = [direction_for(x, rng) for x in start.values]

    def _one_order(
        self, probe: Probe, v: Arrays, rng: np.random.Generator, scale: float, **labels: Any
    ) -> Iterator[_Answer]:
        for position, name in enumerate(self.names):
            direction = [np.zeros_like(x) for x in probe.values]
            direction[position] = direction_for(probe.values[position], rng)
            question = Question(probe, v, direction, scale)
            for mode in self.modes:
                yield _Answer(question.judge(mode, argument=name, **labels), question, position)

    def _nearby(self) -> Iterator[_Answer]:
        """Ask the same beside the point, where its kinks are not."""
        rng = np.random.default_rng([self.seed, self.directions])
        moved = Probe(self.flat, [beside(x, rng) for x in self._probe.values])
        if not all(np.all(np.isfinite(y)) for y in moved.results(moved.values)):
            return
        for answer in self._answers(moved, 1):
            if answer.verdict.kind in ("ok", "kink", "mismatch"):
                yield answer._replace(verdict=replace(answer.verdict, nearby=True))

    def _culprit(self, probe: Probe) -> str:
        return first_wrong(probe.traced(probe.values).nodes, np.random.default_rng(self.seed))

    def _element(self, wrong: _Answer) -> str:
        place = worst_element(wrong.question, wrong.position)
        return f"{self.names[wrong.position]}{place}" if place else ""

    def _agreement(self) -> Iterator[Verdict]:
        """Compare the gradient in the arguments' own dtype with that in float64."""
        dtype = np.result_type(*self.given)
        narrow = min((x.dtype for x in self.given), key=lambda d: d.itemsize)
        if narrow.itemsize >= dtype.type(0).itemsize == 8:
            return
        rng = np.random.default_rng(self.seed)
        probe = self._probe
        v = cotangents(probe.results(probe.values), rng)
        both = (probe, Probe(self.flat, self.given))
        own, wide = probe.pull(self.given, v), probe.pull(probe.values, v)
        for position, name in enumerate(self.names):
            direction = [np.zeros_like(x) for x in probe.values]
            direction[position] = direction_for(probe.values[position], rng)
            claimed, numeric = float(dot(own, direction)), float(dot(wide, direction))
            bound = max(rounding_bound(p, v, direction, narrow) for p in both)
            kind = _agrees(probe, direction, claimed - numeric, bound, narrow)
            yield Verdict(
                kind, name, str(narrow), claimed=claimed, numeric=numeric, tolerance=bound
            )


def _agrees(probe: Probe, direction: Arrays, off: float, bound: float, dtype: Any) -> str:
    """Judge a gradient in a narrow dtype; near a kink, rounding may choose the other side."""
    if not np.isfinite(off):
        return "nonfinite"
    if abs(off) <= bound:
        return "ok"
    close = 64 * float(np.finfo(dtype).eps)
    return "kink" if any(t <= close for t in probe.kinks(direction)) else "mismatch"


def _same(first: Arrays, second: Arrays) -> bool:
    return all(np.array_equal(a, b, equal_nan=True) for a, b in zip(first, second, strict=True))


def _only_kinks(answers: Sequence[_Answer]) -> bool:
    """Whether all that mismatches does so at kinks of the given point."""
    wrong = [a.verdict for a in answers if a.verdict.kind == "mismatch"]
    return all(v.slopes is not None and not v.nearby for v in wrong)


def _forgiven(answer: _Answer) -> _Answer:
    if answer.verdict.kind != "mismatch":
        return answer
    note = (
        "Outside the one-sided slopes, yet every rule is right at its own operands and so is the "
        "gradient nearby: kinks coincide here, where no chain rule holds."
    )
    return answer._replace(verdict=replace(answer.verdict, kind="kink", note=note))


def _cut(wrong: _Answer) -> str:
    """Say what else can be wrong where every rule is right."""
    probe = wrong.question.probe
    nodes = probe.traced(probe.values).nodes
    stops = [str(n.where) for n in nodes if n.op.name == "stop_gradient"]
    said = "every rule is right at its own operands: the path of the gradient is cut or changed"
    return said + (f"; stop_gradient at {', '.join(dict.fromkeys(stops))}" if stops else "")


def _first_nonfinite(probe: Probe) -> str:
    for node in probe.traced(probe.values).nodes:
        if node.dtype.kind == "f" and not np.all(np.isfinite(node.data)):
            return f"The first value that is not finite comes from {node.op.name} at {node.where}."
    return "An argument is not finite."
