"""The derived tests: facts that hold of every row of the table, and what checks them.

A fact is a function of a ``Sample`` (a row on operands of one of its cases) that returns what is
wrong, in words; an empty list means that it holds. A custom rule or a primitive of one's own is a
row like any other: ``check_row("my_softplus")`` runs every fact on it.

Values are drawn with few bits, so that they are the same number in every dtype, and steps are
powers of two, so that moving an operand is exact. Tolerances are counted: ``ulps`` rounding
errors of the dtype at hand, and for differences the estimated error of the extrapolation.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from tinygrad_bn.errors import ShapeError, TinygradError
from tinygrad_bn.graph.namespaces import arrays, tensors
from tinygrad_bn.graph.primitive import Primitive, bind, describe, table
from tinygrad_bn.graph.sweep import sweep
from tinygrad_bn.graph.tensor import Tensor, leaf
from tinygrad_bn.primitives.families import Case
from tinygrad_bn.testing.checking.differences import central
from tinygrad_bn.transforms.derivatives import jvp, vjp
from tinygrad_bn.transforms.tracing import trace

Array: TypeAlias = np.ndarray[Any, Any]

GRID = 2.0**-8
"""Drawn values are multiples of this: float16 holds them exactly."""

TRIES = 16
LONGEST = 12
WIDEST = 2.0**-3
WIDE = np.longdouble


@dataclass(frozen=True, eq=False)
class Sample:
    """A row on the operands of one case.

    ``wrt``: the operands that have a gradient; ``radius``: how far one of them may move, in any
    direction of elements up to one, without meeting a kink; ``seed``: what directions and
    cotangents are drawn from.
    """

    op: Primitive
    operands: tuple[Any, ...]
    params: dict[str, Any]
    wrt: tuple[int, ...]
    radius: float
    seed: int

    def apply(self, moved: Sequence[Any]) -> Tensor:
        """Apply the row, the operands ``wrt`` replaced."""
        operands = list(self.operands)
        for i, x in zip(self.wrt, moved, strict=True):
            operands[i] = x
        return bind(self.op, tuple(operands), self.params)

    def cast(self, dtype: Any) -> Sample:
        """Return the same sample with its floating-point operands in another dtype."""
        cast = (x.astype(dtype) if _is_float(x) else x for x in self.operands)
        return replace(self, operands=tuple(map(_frozen, cast)))

    @property
    def primals(self) -> list[Array]:
        """The operands that have a gradient."""
        return [self.operands[i] for i in self.wrt]

    @property
    def value(self) -> Array:
        """The result."""
        return self.apply(self.primals)._data

    def directions(self, salt: int) -> list[Array]:
        """Draw a direction of few bits for each operand ``wrt``."""
        rng = np.random.default_rng((self.seed, salt))
        return [_few_bits(rng, x.shape, x.dtype) for x in self.primals]

    def cotangent(self) -> Array:
        """Draw a cotangent of few bits and no sign for the result."""
        value = self.value
        return _few_bits(np.random.default_rng((self.seed, 99)), value.shape, value.dtype)

    @property
    def ulps(self) -> int:
        """How many roundings a gradient may carry: a rule's own, and one for each summed term."""
        return 16 + self.value.size + sum(x.size for x in self.primals)


def operands_for(op: Primitive, case: Case, rng: np.random.Generator) -> tuple[Any, ...]:
    """Draw operands for a case from the row's domain: of several draws that farthest from kinks.

    A shape is filled, an array or number taken as it is. Raises ShapeError if every draw lies
    on a kink.
    """
    given, params = case[0], {**op.static, **case[1]}
    if op.margin is None or not any(isinstance(g, tuple) for g in given):
        return _draw(op, given, rng)
    draws = [_draw(op, given, rng) for _ in range(TRIES)]
    best = max(draws, key=lambda operands: _margin(op, operands, params))
    if _margin(op, best, params) == 0:
        raise ShapeError(
            f"{op.name}: {TRIES} draws of operands {given} all lie on a kink.",
            "Widen the domain of the row, or make the case smaller.",
        )
    return best


def samples(op: Primitive, seed: int = 0) -> list[Sample]:
    """Draw a sample in float64 for each case of a row."""
    found = []
    for number, case in enumerate(op.cases):
        rng = np.random.default_rng((seed, number))
        operands, params = operands_for(op, case, rng), {**op.static, **case[1]}
        wrt = tuple(i for i, x in enumerate(operands) if _is_float(x) and op.rules[i] is not None)
        far = WIDEST if op.margin is None else min(WIDEST, _margin(op, operands, params) / 8)
        radius = 2.0 ** np.floor(np.log2(far)) if far > 0 else WIDEST
        found.append(
            Sample(op, tuple(map(_frozen, operands)), params, wrt, radius, seed + 100 * number)
        )
    return found


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


def untouched(sample: Sample) -> list[str]:
    """Neither the kernel nor a rule writes to operands, result or cotangent."""
    value = _frozen(np.asarray(sample.op.kernel(*sample.operands, **sample.params)).copy())
    if not sample.wrt or value.dtype.kind != "f":
        return []
    g = _frozen(sample.cotangent())
    for i in sample.wrt:
        sample.op.rules[i](arrays, g, value, *sample.operands, **sample.params)
    return []


def dtypes(sample: Sample) -> list[str]:
    """A gradient has its operand's shape and dtype; so has what the bare rule returns."""
    problems = []
    for dtype in (np.float16, np.float32, np.float64, WIDE):
        one = sample.cast(dtype)
        value = one.value
        if not one.wrt or value.dtype.kind != "f":
            continue
        for i, x, found in zip(one.wrt, one.primals, gradients(one, one.cotangent()), strict=True):
            if (found.shape, found.dtype) != (x.shape, x.dtype):
                problems.append(f"operand {i}: {describe(x)}, its gradient {describe(found)}")
            bare = one.op.rules[i](arrays, one.cotangent(), value, *one.operands, **one.params)
            if bare is not None and value.dtype == x.dtype != bare.dtype:
                problems.append(f"operand {i} is {x.dtype}, its rule returns {bare.dtype}")
    return problems


def precision(sample: Sample) -> list[str]:
    """Gradients in float32 and float64 agree with long double within counted roundings."""
    problems = []
    wide = gradients(sample.cast(WIDE), sample.cast(WIDE).cotangent())
    for dtype in (np.float32, np.float64):
        one = sample.cast(dtype)
        v = one.cotangent()
        for i, rough, fine in zip(one.wrt, gradients(one, v), wide, strict=True):
            scale = max(_largest(fine), _largest(v))
            error = _largest(rough - fine)
            if not error <= one.ulps * np.finfo(dtype).eps * scale:
                problems.append(f"operand {i} in {rough.dtype}: off by {error:.2g}")
    return problems


def differences(sample: Sample) -> list[str]:
    """Every operand's rule agrees with differences of the kernel along a random direction."""
    problems = []
    wide = sample.cast(WIDE)
    v, value = wide.cotangent(), wide.value
    found = gradients(wide, v)
    noise = wide.ulps * _epsilon(value) * np.sum(np.abs(v) * (1 + np.abs(value)))
    for k, (i, d) in enumerate(zip(wide.wrt, wide.directions(1), strict=True)):

        def curve(t: float, k: int = k, d: Array = d) -> Any:
            return _dot(v, wide.apply(_moved(wide, k, d, t))._data)

        problems += _compare_slope(wide, i, found[k], d, curve, noise)
    return problems


def complex_step(sample: Sample) -> list[str]:
    """Where a row is analytic, its rules agree with the complex step to rounding."""
    wide, h = sample.cast(WIDE), WIDE(2) ** -200
    if not wide.op.analytic or not wide.wrt or wide.value.dtype != WIDE:
        return []
    problems = []
    v, found = wide.cotangent(), gradients(wide, wide.cotangent())
    for k, (i, d) in enumerate(zip(wide.wrt, wide.directions(2), strict=True)):
        operands = [x.astype(np.clongdouble) if _is_float(x) else x for x in wide.operands]
        operands[i] = operands[i] + 1j * h * d
        moved = v * (wide.op.kernel(*operands, **wide.params).imag / h)
        size = np.abs(moved).sum() + np.abs(found[k] * d).sum()
        problems += _compare(wide, i, _dot(found[k], d), moved.sum(), size)
    return problems


def adjoint(sample: Sample) -> list[str]:
    """``<J d, v> = <d, J' v>``: forward and reverse derivative are transposes."""
    if not sample.wrt or sample.value.dtype.kind != "f":
        return []
    v, directions = sample.cotangent(), sample.directions(3)
    _, pull = vjp(_applied(sample), *sample.primals)
    _, pushed = jvp(_applied(sample), sample.primals, directions)
    pulled = [g._data for g in pull(v)]
    terms = np.concat([np.ravel(g * d) for g, d in zip(pulled, directions, strict=True)])
    forth, size = np.ravel(v * pushed._data), np.abs(terms).sum()
    allowed = sample.ulps * _epsilon(v) * (size + np.abs(forth).sum())
    if abs(forth.sum() - terms.sum()) <= allowed:
        return []
    return [f"<J d, v> = {forth.sum():.17g}, <d, J' v> = {terms.sum():.17g}"]


def second_order(sample: Sample) -> list[str]:
    """The recorded sweep, differentiated, agrees with differences of the gradient."""
    problems = []
    wide = sample.cast(WIDE)
    v, weights = wide.cotangent(), wide.directions(4)

    first = zip(gradients(wide, v), weights, strict=True)
    noise = wide.ulps * _epsilon(v) * sum(np.sum(np.abs(w) * (1 + np.abs(g))) for g, w in first)
    found = _second(wide, v, weights)
    for k, (i, d) in enumerate(zip(wide.wrt, wide.directions(5), strict=True)):

        def curve(t: float, k: int = k, d: Array = d) -> Any:
            moved = replace(wide, operands=_placed(wide, _moved(wide, k, d, t)))
            return sum(map(_dot, gradients(moved, v), weights))

        problems += _compare_slope(wide, i, found[k], d, curve, noise)
    return problems


def both_namespaces(sample: Sample) -> list[str]:
    """A rule gives the same bits on arrays and on tensors."""
    problems = []
    for dtype in (np.float32, np.float64):
        one = sample.cast(dtype)
        v = one.cotangent()
        pairs = zip(one.wrt, gradients(one, v), gradients(one, v, record=True), strict=True)
        problems += [
            f"operand {i} in {np.dtype(dtype)}: {bare} on arrays, {recorded} on tensors"
            for i, bare, recorded in pairs
            if not _identical(bare, recorded)
        ]
    return problems


def program(sample: Sample) -> list[str]:
    """The printed programs of value and gradient give the recorded bits, with NumPy alone."""
    problems = []
    for dtype in (np.float16, np.float32, np.float64):
        one = sample.cast(dtype)
        made = [trace(_applied(one), *one.primals)]
        if one.wrt and one.value.dtype.kind == "f":
            made.append(trace(_pulled(one, one.cotangent()), *one.primals))
        for t in made:
            answers = _executed(t, one.op)
            answers = list(answers) if isinstance(answers, tuple) else [answers]
            recorded = [r.data for r in t.results]
            if not all(map(_identical, answers, recorded)):
                problems.append(f"in {np.dtype(dtype)}: {answers}, recorded {recorded}, by\n{t}")
    return problems


FACTS: dict[str, Callable[[Sample], list[str]]] = {
    fact.__name__: fact
    for fact in (
        untouched,
        dtypes,
        precision,
        differences,
        complex_step,
        adjoint,
        second_order,
        both_namespaces,
        program,
    )
}
"""What is checked of every sample, by name."""


def check_row(row: Primitive | str, *, seed: int = 0) -> list[str]:
    """Check every fact on every case of a row; returns what is wrong, empty if nothing is.

    ``row``: a primitive or its name in the table. An exception counts as wrong.

    >>> check_row("tanh")
    []
    """
    op = table[row] if isinstance(row, str) else row
    found = [f"documentation: {p}" for p in documentation(op)]
    for case, sample in zip(op.cases, samples(op, seed), strict=True):
        for name, fact in FACTS.items():
            found += [f"{name}, {label(case)}: {p}" for p in problems_of(fact, sample)]
    return found


def problems_of(fact: Callable[[Sample], list[str]], sample: Sample) -> list[str]:
    """Run one fact; an exception that a rule raises is a problem like another."""
    try:
        return fact(sample)
    except (TinygradError, ValueError, TypeError, IndexError, KeyError) as error:
        return [f"{type(error).__name__}: {error}"]


def documentation(op: Primitive) -> list[str]:
    """Every row has a docstring whose first line is a sentence, and is short."""
    first = op.doc.split("\n", maxsplit=1)[0]
    problems = []
    if not first.endswith("."):
        problems.append(f"the first line of the docstring is no sentence: {first!r}")
    if op.text is not None:
        lines = _body_length(op.text)
        if lines > LONGEST:
            problems.append(f"the kernel has {lines} lines")
    return problems


# gradients ----------------------------------------------------------------------------------------


def gradients(sample: Sample, v: Array, *, record: bool = False) -> list[Array]:
    """Sweep a cotangent back to the operands; zeros where nothing arrives."""
    leaves = [leaf(x, requires_grad=True) for x in sample.primals]
    found = _swept(sample.apply(leaves), leaf(v) if record else v, leaves, record=record)
    return [np.asarray(found.get(x, np.zeros_like(x._data))) for x in leaves]


def _swept(result: Tensor, v: Any, leaves: Sequence[Tensor], *, record: bool) -> dict[Tensor, Any]:
    if not result._requires_grad:
        return {}
    return sweep({result: v}, record=record, wanted=set(leaves))


def _second(sample: Sample, v: Array, weights: Sequence[Array]) -> list[Array]:
    """Differentiate ``sum <g_i, w_i>`` of the recorded gradients ``g``."""
    leaves = [leaf(x, requires_grad=True) for x in sample.primals]
    found = _swept(sample.apply(leaves), leaf(v), leaves, record=True)
    total: Any = 0.0
    for x, w in zip(leaves, weights, strict=True):
        if x in found:
            total = total + tensors.sum(found[x] * leaf(w))
    again = {}
    if isinstance(total, Tensor):
        again = _swept(total, np.ones((), total.dtype), leaves, record=False)
    return [np.asarray(again.get(x, np.zeros_like(x._data))) for x in leaves]


def _applied(sample: Sample) -> Callable[..., Any]:
    return lambda *xs: sample.apply(xs)


def _pulled(sample: Sample, v: Array) -> Callable[..., Any]:
    return lambda *xs: vjp(_applied(sample), *xs)[1](v)


def _compare(
    sample: Sample, i: int, found: Any, expected: Any, size: Any, error: Any = 0.0
) -> list[str]:
    """Say so if a gradient differs from a reference by more than both their errors."""
    allowed = 3 * error + sample.ulps * np.finfo(WIDE).eps * size
    if abs(found - expected) <= allowed:
        return []
    return [
        f"operand {i}: {found:.15g} by the rule, {expected:.15g} by the kernel (± {allowed:.1g})"
    ]


def _compare_slope(
    sample: Sample, i: int, g: Array, d: Array, curve: Callable[[float], Any], noise: Any
) -> list[str]:
    """Compare a gradient in a direction with differences, which must resolve it to 1e-5.

    Unless the rounding of the values themselves (a conversion to float32) hides more.
    """
    slope = central(curve, noise, sample.radius)
    found = _compare(sample, i, _dot(g, d), slope.value, np.abs(g * d).sum(), slope.error)
    if slope.limited or slope.error <= 1e-5 * (1.0 + abs(slope.value)):
        return found
    return [f"operand {i}: differences leave {slope.value:.5g} ± {slope.error:.1g}", *found]


# small parts --------------------------------------------------------------------------------------


def _draw(op: Primitive, given: Sequence[Any], rng: np.random.Generator) -> tuple[Any, ...]:
    each = isinstance(op.domain[0], tuple)
    domains = (*op.domain, *itertools.repeat(op.domain[-1], len(given))) if each else ()
    return tuple(
        _on_grid(rng.uniform(low, high, g)) if isinstance(g, tuple) else g
        for g, (low, high) in zip(given, domains or [op.domain] * len(given), strict=False)
    )


def _on_grid(x: Any) -> Array:
    return np.asarray(np.round(x / GRID) * GRID)


def _margin(op: Primitive, operands: tuple[Any, ...], params: dict[str, Any]) -> float:
    if op.margin is None:
        return np.inf
    return float(np.min(op.margin(*operands, **params), initial=np.inf))


def _few_bits(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> Array:
    """Draw numbers of both signs and eight bits, from a quarter to one in magnitude."""
    signs = np.asarray(rng.choice([-1.0, 1.0], size=shape))
    return np.asarray(signs * rng.integers(64, 257, size=shape) * GRID).astype(dtype)


def _is_float(x: Any) -> bool:
    return isinstance(x, np.ndarray) and x.dtype.kind == "f"


def _frozen(x: Any) -> Any:
    if isinstance(x, np.float64 | WIDE):
        x = np.asarray(x)
    if isinstance(x, np.ndarray):
        x.setflags(write=False)
    return x


def _moved(sample: Sample, k: int, d: Array, t: Any) -> list[Array]:
    """Move the ``k``-th operand that has a gradient."""
    return [x + t * d if j == k else x for j, x in enumerate(sample.primals)]


def _placed(sample: Sample, moved: Sequence[Array]) -> tuple[Any, ...]:
    replaced = dict(zip(sample.wrt, moved, strict=True))
    return tuple(replaced.get(i, x) for i, x in enumerate(sample.operands))


def _dot(x: Array, y: Array) -> Any:
    return np.sum(x * y)


def _largest(x: Array) -> float:
    return float(np.max(np.abs(x), initial=0.0))


def _epsilon(x: Array) -> float:
    return float(np.finfo(x.dtype).eps) if x.dtype.kind == "f" else 0.0


def _identical(x: Any, y: Any) -> bool:
    """Whether two arrays have the same dtype, shape and bits (any NaN is like another)."""
    x, y = np.asarray(x), np.asarray(y)
    same = x.dtype == y.dtype and np.array_equal(x, y, equal_nan=x.dtype.kind in "fc")
    return bool(same) and (x.dtype.kind != "f" or bool(np.all(np.signbit(x) == np.signbit(y))))


def _executed(made: Any, op: Primitive) -> Any:
    """Execute a trace's program with nothing but NumPy in scope (a custom rule needs itself)."""
    if op.family == "custom":
        return made.run()
    scope: dict[str, Any] = {}
    exec(made.program(), scope)  # noqa: S102  (our own text is what is executed)
    return scope[made.name](*(x.data for x in made.inputs), **made.constants)


def _body_length(function: Callable[..., Any]) -> int:
    """Count the lines of a function below its signature and docstring."""
    lines = inspect.getsource(function).splitlines()
    start = next(i for i, line in enumerate(lines) if line.lstrip().startswith("def "))
    doc = len((function.__doc__ or "").splitlines())
    return len(lines) - start - 1 - doc
