"""One random call of one row of the table: operands of a kind, parameters of every form."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_bn.errors import ShapeError
from tinygrad_bn.graph.primitive import Primitive, bind, table
from tinygrad_bn.graph.tensor import Tensor
from tinygrad_bn.primitives.families import Case
from tinygrad_bn.testing.checking.directions import cotangents
from tinygrad_bn.testing.generators.choices import Choices
from tinygrad_bn.testing.generators.plans import WEAK, Plan, draw_plan
from tinygrad_bn.testing.generators.python_text import call_text, constant_text
from tinygrad_bn.testing.generators.values import Domain, Kind, palette
from tinygrad_bn.transforms.derivatives import vjp


@dataclass(frozen=True, eq=False)
class Call:
    """A row on operands, with its parameters. It is a function of its differentiable operands.

    It is a container for the transforms, too, with those operands as leaves.

    >>> from tinygrad_bn.testing.checking.checker import check_gradients
    >>> call = Call(table["take"], (np.array([1.0, 2.0]), np.array([1, 1])), {"axis": 0})
    >>> call
    tg.take(np.array([1.0, 2.0]), np.array([1, 1]), axis=0)
    >>> check_gradients(call, *call.primals, order=1, directions=1).ok
    True
    >>> call.gradients(np.array([1.0, 10.0]))
    [array([ 0., 11.])]
    """

    op: Primitive
    operands: tuple[Any, ...]
    params: dict[str, Any]

    @cached_property
    def wrt(self) -> tuple[int, ...]:
        """The positions of the operands that have a gradient."""
        return tuple(
            i for i, x in enumerate(self.operands) if _is_float(x) and self.op.rules[i] is not None
        )

    @property
    def primals(self) -> list[npt.NDArray[Any]]:
        """The operands that have a gradient."""
        return [self.operands[i] for i in self.wrt]

    @property
    def differentiable(self) -> bool:
        """Whether there is a gradient: of a floating-point result, for one operand at least."""
        return bool(self.wrt) and self.value.dtype.kind == "f"

    def __call__(self, *primals: Any) -> Tensor:
        """Apply the row, to other differentiable operands if they are given."""
        operands = list(self.operands)
        for i, x in zip(self.wrt, primals or self.primals, strict=True):
            operands[i] = x
        return bind(self.op, tuple(operands), self.params)

    @cached_property
    def value(self) -> npt.NDArray[Any]:
        """The result."""
        with np.errstate(all="ignore"):
            return np.asarray(self.op.kernel(*self.operands, **self.params))

    @cached_property
    def margin(self) -> float:
        """How far the operands are from kinks and singularities; NaN if a value is not finite."""
        return margin_of(self.op, self.operands, self.params, self.value)

    def cast(self, dtype: npt.DTypeLike) -> Call:
        """Return the same call with its floating-point operands in another dtype."""
        operands = (x.astype(dtype) if _is_float(x) else x for x in self.operands)
        return replace(self, operands=tuple(operands))

    def map_tensors(self, function: Callable[[str, Any], Any]) -> Call:
        """Return a like call with ``function(name, operand)`` for each that has a gradient."""
        operands = list(self.operands)
        for i in self.wrt:
            operands[i] = function(f"operands[{i}]", operands[i])
        return replace(self, operands=tuple(operands))

    def cotangent(self, seed: int = 0) -> npt.NDArray[Any]:
        """Draw a cotangent for a floating-point result: the same numbers in every dtype."""
        (v,) = cotangents([self.value], np.random.default_rng(seed))
        return v.astype(self.value.dtype)

    def gradients(self, v: npt.ArrayLike) -> list[npt.NDArray[Any]]:
        """Sweep a cotangent of the result back to the differentiable operands."""
        with np.errstate(all="ignore"):
            return [g.data for g in vjp(self, *self.primals)[1](v)]

    def __repr__(self) -> str:
        """Write the call as Python, ``tg`` being the package."""
        return call_text(self.op, [constant_text(x) for x in self.operands], self.params)

    def _repr_pretty_(self, printer: Any, cycle: object) -> None:  # noqa: ARG002  (a protocol)
        """Print like ``repr`` in the reports of Hypothesis, which know dataclasses by fields."""
        printer.text(repr(self))


def _is_float(x: Any) -> bool:
    return isinstance(x, np.ndarray) and x.dtype.kind == "f"


def margin_of(
    op: Primitive, operands: Sequence[Any], params: dict[str, Any], value: npt.NDArray[Any]
) -> float:
    """Return the distance of a row's operands to its kinks; NaN where the value is not finite."""
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        return float("nan")
    if op.margin is None or not value.size:
        return float("inf")
    with np.errstate(all="ignore"):
        return float(np.min(op.margin(*operands, **params), initial=np.inf))


def find_row(op: Primitive | str) -> Primitive:
    """Return a row of the table by its name. Raises ShapeError if there is none."""
    if isinstance(op, Primitive):
        return op
    if op not in table:
        raise ShapeError(f"There is no primitive {op!r}.", "Use a name in the table.")
    return table[op]


def draw_call(
    choices: Choices,
    op: Primitive | str,
    *,
    kind: Kind = "generic",
    dtype: npt.DTypeLike = np.float64,
    margin: float = 0.0,
    case: Case | None = None,
) -> Call:
    """Draw a call of a row: shapes, parameters, and operands within the row's domain.

    ``op``: the row or its name, built in or not. ``kind``: what the values are like; where those
    give no finite result (exp of huge numbers), one operand alone is of this kind, or none.
    ``margin``: the distance to keep from kinks and singularities, as far as they say it (of
    several draws, the first that does, else the best). ``case``: shapes and parameters that are
    given, such as one of the row's ``cases``. A differentiable row of the package gets
    at least one operand with a gradient and gives a floating-point result; so does one of a user's
    own if its cases do. Raises ShapeError where every draw gives values that are not finite: the
    row's domain is wrong.

    >>> from tinygrad_bn.testing.generators.choices import Seeded
    >>> call = draw_call(Seeded(np.random.default_rng(0)), "max", margin=0.01)
    >>> call.margin >= 0.01, call.value.dtype
    (True, dtype('float64'))
    """
    row = find_row(op)
    plan = _plan_of(choices, row, case)
    best: Call | None = None
    for operands in _operands(choices, row, plan, kind, np.dtype(dtype)):
        call = Call(row, operands, plan.params)
        if call.margin >= margin:
            return call
        if not np.isnan(call.margin) and (best is None or call.margin > best.margin):
            best = call
    if best is None:
        raise ShapeError(
            f"{row.name}: every draw of operands {plan.given} gives values that are not finite.",
            "Give the row a domain in which it is defined.",
        )
    return best


def _plan_of(choices: Choices, op: Primitive, case: Case | None) -> Plan:
    if case is None:
        return draw_plan(choices, op) or Plan((), {})
    return Plan(tuple(case[0]), {**op.static, **case[1]})


def domain_of(op: Primitive, position: int) -> Domain:
    """Return the interval from which an operand is drawn."""
    domain: Any = op.domain
    if isinstance(domain[0], tuple):
        domain = domain[min(position, len(domain) - 1)]
    return (float(domain[0]), float(domain[1]))


def _operands(
    choices: Choices, op: Primitive, plan: Plan, kind: Kind, dtype: np.dtype[Any]
) -> Iterator[tuple[Any, ...]]:
    """Draw operands of a kind; if those do not do, of less and less of it; at last far apart."""
    count = len(plan.given)
    for _ in range(3):
        yield fill(choices, op, plan.given, [kind] * count, dtype)
    if kind != "generic":
        for _ in range(2 if count > 1 else 0):
            kinds: list[Kind] = ["generic"] * count
            kinds[choices.integer(0, count - 1)] = kind
            yield fill(choices, op, plan.given, kinds, dtype)
        yield fill(choices, op, plan.given, ["generic"] * count, dtype)
    for _ in range(8):
        yield _far_apart(choices, op, plan.given, dtype)


def fill(
    choices: Choices,
    op: Primitive,
    given: Sequence[Any],
    kinds: Sequence[Kind],
    dtype: np.dtype[Any],
) -> tuple[Any, ...]:
    """Draw values for the shapes in a plan, each of its kind and in the domain of its operand."""
    return tuple(
        draw_operand(choices, op, i, spec, kind, dtype)
        for i, (spec, kind) in enumerate(zip(given, kinds, strict=True))
    )


def draw_operand(
    choices: Choices, op: Primitive, position: int, spec: Any, kind: Kind, dtype: np.dtype[Any]
) -> Any:
    """Draw the value of one operand of a plan; what is a value already stays as it is."""
    if isinstance(spec, tuple):
        return choices.array(spec, kind=kind, dtype=dtype, domain=domain_of(op, position))
    if spec is WEAK:
        return choices.array((), domain=domain_of(op, position)).item()
    return spec.astype(dtype) if _is_float(spec) else spec


def _far_apart(
    choices: Choices, op: Primitive, given: Sequence[Any], dtype: np.dtype[Any]
) -> tuple[Any, ...]:
    """Draw operands of which no two elements are close: each from a cell of its own."""
    shapes = [spec for spec in given if isinstance(spec, tuple)]
    total = sum(int(np.prod(s)) for s in shapes)
    cells = iter(choices.order(total))
    operands = []
    for i, spec in enumerate(given):
        if not isinstance(spec, tuple):
            operands.append(draw_operand(choices, op, i, spec, "generic", dtype))
            continue
        numbers = np.sort(palette("generic", dtype, domain_of(op, i)))
        width = max(1, numbers.size // max(1, total))
        own = np.array([next(cells) for _ in range(int(np.prod(spec)))], np.int64).reshape(spec)
        places = (own * width + choices.integers(spec, 0, width // 2)) % numbers.size
        operands.append(np.asarray(numbers[places]))
    return tuple(operands)
