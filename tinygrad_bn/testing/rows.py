"""The derived tests: facts that hold of every row of the table, and what checks them.

A fact is a function of a call of a row that returns what is wrong, in words; an empty list means
that it holds. A custom rule or a primitive of one's own is a row like any other:
``check_row("my_softplus")`` checks the facts on a call for each of its cases, and on random calls.

The derivatives are the business of ``check_gradients``; the other facts ask for the very bits, or
count what rounding may do.
"""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from tinygrad_bn.errors import ShapeError
from tinygrad_bn.graph.namespaces import arrays
from tinygrad_bn.graph.primitive import Primitive, describe
from tinygrad_bn.graph.program import Trace
from tinygrad_bn.primitives.families import Case
from tinygrad_bn.testing.checking.checker import check_gradients
from tinygrad_bn.testing.checking.directions import few_bits
from tinygrad_bn.testing.checking.subjects import REFUSED
from tinygrad_bn.testing.generators.calls import Call, draw_call, find_row
from tinygrad_bn.testing.generators.choices import Seeded
from tinygrad_bn.testing.generators.values import Kind
from tinygrad_bn.transforms.derivatives import vjp
from tinygrad_bn.transforms.tracing import trace

Array: TypeAlias = npt.NDArray[Any]
Fact: TypeAlias = Callable[[Call, int], list[str]]


WITHIN: tuple[Kind, ...] = ("generic", "ties", "constant")
"""The kinds of values that keep to a row's domain."""

LONGEST = 12
WIDE = np.longdouble


def samples(row: Primitive | str, seed: int = 0) -> list[Call]:
    """Draw a call in float64 for each case of a row: of several, that farthest from kinks.

    Raises ShapeError where every draw of a case lies on a kink, or gives what is not finite.

    >>> [call.value.shape for call in samples("exp")]
    [(3, 4), ()]
    """
    op, found = find_row(row), []
    for number, case in enumerate(op.cases):
        choices = Seeded(np.random.default_rng((seed, number)))
        call = draw_call(choices, op, margin=math.inf, case=case)
        if call.margin == 0:
            raise ShapeError(
                f"{op.name}: all draws of operands {case[0]} lie on a kink.",
                "Widen the domain of the row, or make the case smaller.",
            )
        found.append(call)
    return found


def random_calls(row: Primitive | str, seed: int = 0) -> Iterator[Call]:
    """Draw random calls of a row: one of each kind of values in its domain, in two dtypes.

    Values that tie may lie on kinks. Raises ShapeError where no draw gives a finite result.

    >>> [call.value.dtype.name for call in random_calls("exp")][:2]
    ['float64', 'float32']
    """
    for number, (kind, dtype) in enumerate(itertools.product(WITHIN, (np.float64, np.float32))):
        choices = Seeded(np.random.default_rng((seed, number)))
        yield draw_call(choices, row, kind=kind, dtype=dtype)


def label(case: Case) -> str:
    """Name a case readably: ``(2,3) (3,) axis=1``."""
    operands = (
        str(g).replace(" ", "")
        if not isinstance(g, np.ndarray)
        else f"{g.dtype}{g.shape}".replace(" ", "")
        for g in case[0]
    )
    return " ".join([*operands, *(f"{k}={v}".replace(" ", "") for k, v in case[1].items())])


# the facts ----------------------------------------------------------------------------------------


def derivatives(call: Call, seed: int = 0) -> list[str]:
    """The gradient is right as far as ``check_gradients`` can tell, and so is its own."""
    if not call.differentiable:
        return []
    report = check_gradients(call, *call.primals, order=2, directions=1, seed=seed)
    return [str(verdict) for verdict in report.failures()]


def complex_step(call: Call, seed: int = 0) -> list[str]:
    """A row that is said to be analytic is: its complex step agrees with its rules to rounding."""
    wide, h = call.cast(WIDE), WIDE(2) ** -200
    if not wide.op.analytic or not wide.differentiable or wide.value.dtype != WIDE:
        return []
    problems = []
    v, rng = wide.cotangent(seed), np.random.default_rng(seed)
    for i, g in zip(wide.wrt, wide.gradients(v), strict=True):
        d = few_bits(g.shape, rng)
        operands = list(wide.cast(np.clongdouble).operands)
        operands[i] = operands[i] + 1j * h * d
        stepped = v * (wide.op.kernel(*operands, **wide.params).imag / h)
        size = np.abs(stepped).sum() + np.abs(g * d).sum()
        found, expected = np.sum(g * d), np.sum(stepped)
        if not abs(found - expected) <= _roundings(wide) * np.finfo(WIDE).eps * size:
            problems.append(f"operand {i}: {found:.17g} by the rule, {expected:.17g} by the step")
    return problems


def precision(call: Call, seed: int = 0) -> list[str]:
    """Gradients in float32 and float64 agree with long double within counted roundings."""
    if not call.differentiable:
        return []
    problems = []
    fine = call.cast(WIDE).gradients(call.cotangent(seed))
    for dtype in (np.float32, np.float64):
        one = call.cast(dtype)
        v = one.cotangent(seed)
        for i, g, right in zip(one.wrt, one.gradients(v), fine, strict=True):
            scale, error = max(_largest(right), _largest(v)), _largest(g - right)
            if not error <= _roundings(one) * np.finfo(dtype).eps * scale:
                problems.append(f"operand {i} in {g.dtype}: off by {error:.2g}")
    return problems


def dtypes(call: Call, seed: int = 0) -> list[str]:
    """A gradient has its operand's shape and dtype; so has what the bare rule returns."""
    problems = []
    for dtype in (np.float16, np.float32, np.float64, WIDE):
        one = call.cast(dtype)
        if not one.differentiable:
            continue
        v = one.cotangent(seed)
        for i, x, g in zip(one.wrt, one.primals, one.gradients(v), strict=True):
            if (g.shape, g.dtype) != (x.shape, x.dtype):
                problems.append(f"operand {i}: {describe(x)}, its gradient {describe(g)}")
            bare = one.op.rules[i](arrays, v, one.value, *one.operands, **one.params)
            if bare is not None and one.value.dtype == x.dtype != bare.dtype:
                problems.append(f"operand {i} is {x.dtype}, its rule returns {bare.dtype}")
    return problems


def untouched(call: Call, seed: int = 0) -> list[str]:
    """Neither the kernel nor a rule writes to operands, result or cotangent (it would raise)."""
    operands = tuple(map(_frozen, call.operands))
    value = _frozen(np.asarray(call.op.kernel(*operands, **call.params)))
    v = _frozen(call.cotangent(seed)) if call.differentiable else None
    for i in call.wrt if v is not None else ():
        call.op.rules[i](arrays, v, value, *operands, **call.params)
    return []


def both_namespaces(call: Call, seed: int = 0) -> list[str]:
    """A rule gives the same bits on arrays and on tensors."""
    problems = []
    for dtype in (np.float32, np.float64):
        one = call.cast(dtype)
        if not one.differentiable:
            continue
        bare, recorded = one.gradients(one.cotangent(seed)), _traced_gradient(one, seed).results
        problems += [
            f"operand {i} in {np.dtype(dtype)}: {g} on arrays, {r.data} on tensors"
            for i, g, r in zip(one.wrt, bare, recorded, strict=True)
            if not _identical(g, r.data)
        ]
    return problems


def program(call: Call, seed: int = 0) -> list[str]:
    """The printed programs of value and gradient give the recorded bits, with NumPy alone."""
    problems = []
    for dtype in (np.float16, np.float32, np.float64):
        one = call.cast(dtype)
        made = [trace(lambda *xs, one=one: one(*xs), *one.primals)]
        made += [_traced_gradient(one, seed)] if one.differentiable else []
        for t in made:
            answers = _executed(t, one.op)
            recorded = [r.data for r in t.results]
            if not all(map(_identical, answers, recorded)):
                problems.append(f"in {np.dtype(dtype)}: {answers}, recorded {recorded}, by\n{t}")
    return problems


EXACT: dict[str, Fact] = {f.__name__: f for f in (dtypes, untouched, both_namespaces, program)}
"""Facts of every bit and dtype, whatever the values."""

FACTS: dict[str, Fact] = {f.__name__: f for f in (derivatives, complex_step, precision)} | EXACT
"""What is checked of every case of a row, by name."""


def documentation(op: Primitive) -> list[str]:
    """Every row has a docstring whose first line is a sentence, and is short."""
    first = op.doc.split("\n", maxsplit=1)[0]
    problems = []
    if not first.endswith("."):
        problems.append(f"the first line of the docstring is no sentence: {first!r}")
    lines = _body_length(op)
    if lines > LONGEST:
        problems.append(f"the kernel has {lines} lines")
    return problems


# all of them --------------------------------------------------------------------------------------


def check_row(row: Primitive | str, *, seed: int = 0) -> list[str]:
    """Check every fact on a call for each case of a row, and derivatives and bits on random calls.

    ``row``: a primitive or its name in the table. Returns what is wrong, empty if nothing is: the
    fact, the case or call, and what was found. An exception counts as wrong. Raises ShapeError
    for an unknown name.

    >>> check_row("tanh")
    []
    """
    op = find_row(row)
    found = [f"documentation: {p}" for p in documentation(op)]
    try:
        for case, call in zip(op.cases, samples(op, seed), strict=True):
            found += _problems(FACTS, call, seed, label(case))
        for call in random_calls(op, seed):
            found += _problems({"derivatives": derivatives, **EXACT}, call, seed, repr(call))
    except ShapeError as error:
        found.append(f"domain: {error}")
    return found


def _problems(facts: dict[str, Fact], call: Call, seed: int, where: str) -> list[str]:
    return [
        f"{name}, {where}: {problem}"
        for name, fact in facts.items()
        for problem in problems_of(fact, call, seed)
    ]


def problems_of(fact: Fact, call: Call, seed: int = 0) -> list[str]:
    """Check one fact of a call; an exception that a rule raises is a problem like another."""
    try:
        return fact(call, seed)
    except REFUSED as error:
        return [f"{type(error).__name__}: {error}"]


# small parts --------------------------------------------------------------------------------------


def _roundings(call: Call) -> int:
    """How many roundings a gradient may carry: a rule's own, and one for each summed term."""
    return 16 + call.value.size + sum(x.size for x in call.primals)


def _traced_gradient(call: Call, seed: int) -> Trace:
    v = call.cotangent(seed)
    return trace(lambda *xs: vjp(call, *xs)[1](v), *call.primals)


def _frozen(x: Any) -> Any:
    """Return an array that cannot be written to."""
    if isinstance(x, np.ndarray):
        x = x.copy()
        x.setflags(write=False)
    return x


def _largest(x: Array) -> float:
    return float(np.max(np.abs(x), initial=0.0))


def _identical(x: Any, y: Any) -> bool:
    """Whether two arrays have the same dtype, shape and bits (any NaN is like another)."""
    x, y = np.asarray(x), np.asarray(y)
    same = x.dtype == y.dtype and np.array_equal(x, y, equal_nan=x.dtype.kind in "fc")
    return bool(same) and (x.dtype.kind != "f" or bool(np.all(np.signbit(x) == np.signbit(y))))


def _executed(made: Trace, op: Primitive) -> list[Any]:
    """Execute a trace's program with nothing but NumPy in scope.

    A row whose kernel has no source (a custom rule, one typed at a prompt) is handed to it.
    """
    if op.family == "custom" or (op.text is not None and not _source(op)):
        answers = made.run()
    else:
        scope: dict[str, Any] = {}
        exec(made.program(), scope)  # noqa: S102  (our own text is what is executed)
        answers = scope[made.name](*(x.data for x in made.inputs), **made.constants)
    return list(answers) if isinstance(answers, tuple) else [answers]


def _body_length(op: Primitive) -> int:
    """Count the lines of a kernel below its signature and docstring; 0 where it has no source."""
    lines = _source(op)
    if not lines:
        return 0
    start = next(i for i, line in enumerate(lines) if line.lstrip().startswith("def "))
    doc = len((getattr(op.text, "__doc__", None) or "").splitlines())
    return len(lines) - start - 1 - doc


def _source(op: Primitive) -> list[str]:
    """List the lines of a row's own kernel; none where NumPy has it, or at a prompt."""
    try:
        return inspect.getsource(op.text).splitlines() if op.text is not None else []
    except OSError:
        return []
