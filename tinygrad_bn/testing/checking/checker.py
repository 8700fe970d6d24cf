"""check_gradients and check_rule: whether derivatives are right, to any order, at a point."""

from __future__ import annotations

import contextlib
import functools
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from tinygrad_bn.errors import ShapeError, TinygradError
from tinygrad_bn.graph.containers import flatten
from tinygrad_bn.graph.tensor import as_constant
from tinygrad_bn.source import internal
from tinygrad_bn.testing.checking.culprit import (
    find_culprit,
    first_wrong,
    worst_element,
    wrong_at_kinks,
)
from tinygrad_bn.testing.checking.directions import (
    alone,
    beside,
    cotangents,
    direction_for,
    of_order_one,
)
from tinygrad_bn.testing.checking.foreign import Foreign
from tinygrad_bn.testing.checking.judge import Asked, Question
from tinygrad_bn.testing.checking.precision import experienced_bound
from tinygrad_bn.testing.checking.recorded import Recorded, flatten_function
from tinygrad_bn.testing.checking.reproduction import reproduce_recorded, reproduce_rule
from tinygrad_bn.testing.checking.structure import form, linear, memory, repeated
from tinygrad_bn.testing.checking.subjects import REFUSED, Arrays, Misfit, Subject, cast, dot
from tinygrad_bn.testing.checking.verdicts import GOOD, Details, Report, Verdict
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
    for every argument. Differences decide, in long double where the function allows it, and
    where they cannot tell, nothing is claimed; the tolerance follows from their
    estimated error and the measured rounding of the gradient. Arguments narrower than float64
    are checked in float64, and then that their own gradient agrees with it as far as their dtype
    allows. Besides: whether forward and reverse mode agree, whether the gradient is linear in the
    cotangent, comes out twice the same, has the form of its argument and memory of its own.

    What the function draws at random through this package is drawn once; running statistics stay
    as they are. Raises DTypeError where there is nothing to differentiate, ShapeError for unknown
    modes.

    >>> from tinygrad_bn import sin
    >>> report = check_gradients(lambda x: sin(x) * x, 2.0)
    >>> report.ok, report.worst < 1e-14
    (True, True)
    """
    _refuse("check_gradients", modes, order, directions)
    flat, values = flatten_function(function, arguments)
    subject = Recorded(flat, cast(values, np.float64))
    names = _names(function, arguments)
    plan = Plan(name_of(function), names, tuple(modes), order, directions, seed)
    return _Check(subject, values, plan).report()


def check_rule(
    value: Callable[..., Any],
    vjp: Callable[..., Any],
    *arguments: Any,
    directions: int = 3,
    seed: int = 0,
) -> Report:
    """Check a derivative written by hand, of a function of plain arrays, in any framework.

    ``value(*arguments)`` returns an array, or a tuple of arrays; ``vjp(g, *arguments)`` the
    gradients of ``sum(g * value)``, one for each floating-point argument (one array where there
    is one; None for zero), ``g`` being a tuple where the value is one. Long double is used where
    both functions take it. Without a graph a kink is known by its one-sided slopes alone.
    ``adapters`` make such a pair of a function of PyTorch, JAX, autograd or MyGrad:
    ``check_rule(*adapters.from_torch(f), x)``.

    Raises DTypeError where there is nothing to differentiate.

    >>> report = check_rule(np.sin, lambda g, x: g * np.cos(x), np.array([0.5, 2.0]))
    >>> report.ok
    True
    >>> check_rule(np.sin, lambda g, x: g * x, np.array([0.5, 2.0])).ok
    False
    """
    _refuse("check_rule", ("reverse",), 1, directions)
    subject = Foreign(value, vjp, arguments)
    plan = Plan(name_of(value), subject.names, ("reverse",), 1, directions, seed)
    return _Check(subject, subject.given, plan).report()


def _refuse(name: str, modes: Sequence[str], order: int, directions: int) -> None:
    if not modes or set(modes) - set(MODES) or order < 1 or directions < 1:
        raise ShapeError(
            f"{name} with modes={modes!r}, order={order}, directions={directions}.",
            f"Modes are among {MODES}; order and directions are at least 1.",
        )


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


class Plan(NamedTuple):
    """What is to be asked."""

    name: str
    names: Sequence[str]
    modes: tuple[str, ...]
    order: int
    directions: int
    seed: int


class _Answer(NamedTuple):
    """A verdict with what was asked."""

    verdict: Verdict
    question: Question
    position: int


@dataclass(frozen=True)
class _Check:
    """One check of a function at a point; ``given``: the point in the arguments' own dtypes."""

    subject: Subject
    given: Arrays
    plan: Plan

    def report(self) -> Report:
        """Ask everything; where something is wrong, find where."""
        hopeless = self._hopeless()
        if hopeless:
            formless = any(v.kind == "mismatch" for v in hopeless)
            look = (lambda: Details(culprit=self._suspected())) if formless else Details
            return self._told(hopeless, look)
        answers = list(self._answers(self.subject, self.plan.directions))
        if any(a.verdict.slopes is not None or a.verdict.doubtful for a in answers):
            answers += self._nearby()
        if any(a.verdict.doubtful for a in answers) and self._suspected():
            answers = [_contradicted(a) for a in answers]
        if not isinstance(self.subject, Recorded):
            answers += self._apart(answers)
        wrong = _worst(answers)
        if wrong and _only_kinks(answers) and self._coincide(wrong):
            answers, wrong = [_forgiven(a) for a in answers], None
        verdicts = [a.verdict for a in answers]
        if wrong is None:
            return self._told([*verdicts, *self._laws(), *self._agreement()], Details)
        return self._told(verdicts, functools.partial(self._details, wrong))

    def _apart(self, answers: Sequence[_Answer]) -> Iterator[_Answer]:
        """Look at the elements of a result one by one where only their sum passed a kink."""
        passed = (a for a in answers if a.verdict.kind == "kink" and a.verdict.slopes)
        for position, answer in {a.position: a for a in passed if not a.verdict.nearby}.items():
            question = answer.question
            found = wrong_at_kinks(question.subject, question.direction, self._rng())
            if found is not None:
                named = replace(found, argument=self.plan.names[position], nearby=True)
                yield answer._replace(verdict=named)

    def _told(self, verdicts: list[Verdict], look: Callable[[], Details]) -> Report:
        return Report(self.plan.name, self.plan.seed, verdicts, look)

    def _coincide(self, wrong: _Answer) -> bool:
        """Whether several kinks lie at the point, and nothing is wrong with any of them."""
        if isinstance(self.subject, Recorded):
            return not self._culprit(wrong)
        question = wrong.question
        return wrong_at_kinks(question.subject, question.direction, self._rng()) is None

    def _details(self, wrong: _Answer) -> Details:
        """Look into what is wrong: the element, the operation, the program."""
        element, culprit = _found(self._element, wrong), _found(self._culprit, wrong)
        try:
            return Details(element, culprit, *self._reproduction(wrong))
        except REFUSED as error:
            return Details(element, culprit, reproduction=f"# {error}")

    def _hopeless(self) -> list[Verdict]:
        """Say why differences make no sense: results not finite or not repeated, no gradient."""
        subject, given, names = self.subject, self.given, self.plan.names
        results = subject.results(given)
        v = cotangents(results, self._rng())
        if not all(np.all(np.isfinite(y)) for y in (*results, *subject.results(subject.values))):
            return [Verdict("nonfinite", note=_first_nonfinite(subject, given))]
        try:
            return [
                *repeated(subject, given, v),
                *memory(subject, given, v, names),
                *form(subject, given, v, names),
            ]
        except REFUSED as error:
            return [Verdict("mismatch", mode="form", note=_said(error))]

    def _suspected(self) -> str:
        """Name an operation whose rule is wrong at its own operands, if the graph shows one."""
        if not isinstance(self.subject, Recorded):
            return ""
        return first_wrong(self.subject.graph.nodes, self._rng())

    def _rng(self, *salt: int) -> np.random.Generator:
        return np.random.default_rng([self.plan.seed, *salt] if salt else self.plan.seed)

    def _answers(self, start: Subject, directions: int) -> Iterator[_Answer]:
        """Ask about each order, argument and mode; a wrong order makes the next pointless."""
        for k in range(directions):
            rng = self._rng(k)
            subject, scale = start, 0.0
            v = cotangents(start.results(start.values), rng)
            for order in range(1, self.plan.order + 1):
                asked = Asked(subject, v, scale)
                answers = list(self._one_order(asked, rng, order=order, direction=k))
                yield from answers
                if order == self.plan.order or any(a.verdict.kind not in GOOD for a in answers):
                    break
                scale = max(scale, asked.size)
                subject, v = self._derived(subject, v, rng)

    def _derived(self, subject: Subject, v: Arrays, rng: np.random.Generator) -> Any:
        """Return the gradient as a subject, with a cotangent for it."""
        return subject.gradient(v), [direction_for(x, rng) for x in subject.values]

    def _one_order(
        self, asked: Asked, rng: np.random.Generator, *, order: int, direction: int
    ) -> Iterator[_Answer]:
        values = asked.subject.values
        for position, name in enumerate(self.plan.names):
            step = direction_for(values[position], rng)
            question = Question(asked, alone(values, position, step))
            labels: dict[str, Any] = {"argument": name, "order": order, "direction": direction}
            for mode in self.plan.modes:
                yield _Answer(_asked(question, mode, labels), question, position)
            if set(MODES) <= set(self.plan.modes) and question.claimed(MODES):
                yield _Answer(question.adjoint(**labels), question, position)

    def _nearby(self) -> Iterator[_Answer]:
        """Ask the same beside the point, where its kinks are not: to both sides."""
        for side in (1, -1):
            moved = self._beside(side)
            for answer in self._answers(moved, 1) if moved else ():
                if answer.verdict.kind in ("ok", "kink", "mismatch"):
                    yield answer._replace(verdict=replace(answer.verdict, nearby=True))

    def _beside(self, side: int) -> Subject | None:
        """Move the point a little, less where the function is not finite there."""
        for share in (1.0, 2.0**-7, 2.0**-14):
            rng = self._rng(self.plan.directions)
            moved = self.subject.at([beside(x, rng, side * share) for x in self.subject.values])
            with contextlib.suppress(Exception):
                if all(np.all(np.isfinite(y)) for y in moved.results(moved.values)):
                    return moved
        return None

    def _laws(self) -> Iterator[Verdict]:
        """Whether the gradient is linear in its cotangent."""
        subject, rng = self.subject, self._rng(self.plan.directions + 1)
        results = subject.results(subject.values)
        one, two = (Asked(subject, cotangents(results, rng)) for _ in range(2))
        steps = [direction_for(x, rng) for x in subject.values]
        return linear(one, two, steps, self.plan.names)

    def _culprit(self, wrong: _Answer) -> str:
        subject = wrong.question.subject
        if not isinstance(subject, Recorded):
            return ""
        return find_culprit(subject, wrong.question.asked.v, self._rng())

    def _element(self, wrong: _Answer) -> str:
        place = worst_element(wrong.question, wrong.position)
        return f"{self.plan.names[wrong.position]}{place}" if place else ""

    def _reproduction(self, wrong: _Answer) -> tuple[str, str]:
        subject, names, seed = self.subject, self.plan.names, self.plan.seed
        if isinstance(subject, Recorded):
            return reproduce_recorded(wrong.question, wrong.position, names)
        return "", reproduce_rule(self.plan.name, subject, seed)

    def _agreement(self) -> Iterator[Verdict]:
        """Compare the gradient in the arguments' own dtype with that in float64.

        Where rounding decides on the side of a kink, at points beside.
        """
        narrow = min((x.dtype for x in self.given), key=lambda d: d.itemsize)
        if narrow.itemsize >= 8:
            return
        first = list(self._compared(self.subject, self.given, narrow))
        yield from first
        if not any(v.doubtful for v in first):
            return
        for salt in range(3):
            rng = self._rng(self.plan.directions, salt)
            given = [beside(x.astype(np.float64), rng).astype(x.dtype) for x in self.given]
            subject = self.subject.at(cast(given, np.float64))
            found = list(self._compared(subject, given, narrow))
            if not any(v.doubtful for v in found):
                yield from (replace(v, nearby=True) for v in found)
                return
        yield Verdict("inconclusive", mode=str(narrow), note="No point without a doubt was found.")

    def _compared(self, subject: Subject, given: Arrays, narrow: Any) -> Iterator[Verdict]:
        rng = self._rng()
        v = cotangents(subject.results(subject.values), rng)
        own, reference = subject.pull(given, v), subject.pull(subject.values, v)
        for position, name in enumerate(self.plan.names):
            step = of_order_one(direction_for(subject.values[position], rng))
            direction = alone(subject.values, position, step)
            claimed, numeric = float(dot(own, direction)), float(dot(reference, direction))
            bound = self._bound(subject, given, v, direction, narrow)
            kind = _agrees(subject, direction, claimed - numeric, bound, narrow)
            terms = float(dot(map(np.abs, reference), map(np.abs, direction)))
            least = 64 * float(np.finfo(narrow).smallest_subnormal) * (1 + np.abs(step).sum())
            blunt = subject.blind or narrow == np.float16
            if kind == "ok" and blunt and bound > max(0.5 * terms, least):
                kind = "inconclusive"
            yield Verdict(
                kind,
                name,
                str(narrow),
                claimed=claimed,
                numeric=numeric,
                tolerance=bound,
                doubtful=kind == "kink",
            )

    def _bound(
        self, subject: Subject, given: Arrays, v: Arrays, direction: Arrays, dtype: Any
    ) -> float:
        """Bound the rounding error of a gradient in a narrow dtype, at the point and as given."""
        if not isinstance(subject, Recorded):
            return experienced_bound(subject, v, direction, dtype)
        both = (subject, subject.at(given))
        return max(s.narrow_rounding(v, direction, dtype) for s in both)


def _asked(question: Question, mode: str, labels: dict[str, Any]) -> Verdict:
    """Judge; a derivative that cannot be formed is a mismatch."""
    try:
        return question.judge(mode, **labels)
    except REFUSED as error:
        return Verdict("mismatch", mode=mode, note=_said(error), **labels)


def _found(look: Callable[[_Answer], str], wrong: _Answer) -> str:
    """Look for something; a derivative that cannot be formed keeps it from being found."""
    try:
        return look(wrong)
    except REFUSED:
        return ""


def _said(error: Exception) -> str:
    """Say what kept a derivative from being formed, and where in the user's code."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if not internal[f.filename] and "site-packages" not in f.filename]
    at = f", at {own[-1].filename}:{own[-1].lineno}" if own else ""
    kind = "" if isinstance(error, Misfit | TinygradError) else f"{type(error).__name__}: "
    return f"The gradient could not be formed: {kind}{error}{at}"


def _agrees(subject: Subject, direction: Arrays, off: float, bound: float, dtype: Any) -> str:
    """Judge a gradient in a narrow dtype; near a kink, rounding may choose the other side."""
    if not np.isfinite(off):
        return "nonfinite"
    if abs(off) <= bound:
        return "ok"
    if subject.doubtful(dtype):
        return "kink"
    close = 64 * float(np.finfo(dtype).eps)
    found, reach = subject.kinks(direction)
    return (
        "kink" if any(step <= close for step in (reach, *(k.step for k in found))) else "mismatch"
    )


def _worst(answers: Sequence[_Answer]) -> _Answer | None:
    """Find the mismatch that exceeds what is allowed the most."""
    wrong = [a for a in answers if a.verdict.kind == "mismatch"]
    return max(wrong, key=lambda a: a.verdict.excess, default=None)


def _only_kinks(answers: Sequence[_Answer]) -> bool:
    """Whether all that mismatches does so at kinks of the given point, and nothing does beside."""
    wrong = [a.verdict for a in answers if a.verdict.kind == "mismatch"]
    beside_it = any(a.verdict.nearby and a.verdict.kind == "ok" for a in answers)
    return beside_it and all(v.slopes is not None and not v.nearby for v in wrong)


def _contradicted(answer: _Answer) -> _Answer:
    """Take a doubt for what it is where a rule is wrong anyway."""
    if not answer.verdict.doubtful:
        return answer
    return answer._replace(verdict=replace(answer.verdict, kind="mismatch"))


def _forgiven(answer: _Answer) -> _Answer:
    if answer.verdict.kind != "mismatch":
        return answer
    note = (
        "Outside the one-sided slopes, yet right for each operation or element by itself, and "
        "beside the point: several kinks coincide here."
    )
    return answer._replace(verdict=replace(answer.verdict, kind="kink", note=note))


def _first_nonfinite(subject: Subject, given: Arrays) -> str:
    if not isinstance(subject, Recorded):
        return "The value is not finite at this point."
    for node in subject.traced(given).nodes:
        if node.dtype.kind == "f" and not np.all(np.isfinite(node.data)):
            return f"The first value that is not finite comes from {node.op.name} at {node.where}."
    return "An argument is not finite."
