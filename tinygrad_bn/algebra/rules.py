"""The laws of the real level: one rule, one or two lines.

A rule says: what matches the pattern equals the replacement, wherever the condition holds. Letters
are explained in ``patterns``. Sums and products are collected by the normal form itself.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from tinygrad_bn.algebra.patterns import Binding, Condition, Pattern, head, parse
from tinygrad_bn.algebra.terms import Index, Term


class Exactness(Enum):
    """How much of a value a rule keeps."""

    BITWISE = "bitwise"
    ROUNDING = "rounding"
    REAL = "real arithmetic only"


@dataclass(frozen=True, eq=False)
class Rule:
    """An equation, used from left to right."""

    name: str
    left: str
    right: str
    when: tuple[Condition, ...]
    exactness: Exactness

    @functools.cached_property
    def pattern(self) -> Pattern:
        """The left side, read."""
        return parse(self.left)

    @functools.cached_property
    def replacement(self) -> Pattern:
        """The right side, read."""
        return parse(self.right)

    @functools.cached_property
    def conditions(self) -> dict[str, Condition]:
        """The side conditions by letter."""
        return {c.letter: c for c in self.when}

    @functools.cached_property
    def head(self) -> str:
        """The kind of term that it can match."""
        return head(self.pattern)

    @functools.cached_property
    def needs(self) -> frozenset[str]:
        """What must occur near the top of a term, so that a match is worth trying."""
        return frozenset(name for name in ("delta", "where") if f"{name}(" in self.left)

    def __str__(self) -> str:
        given = f"  where {' and '.join(map(str, self.when))}" if self.when else ""
        return f"{self.name}: {self.left} = {self.right}{given}"


def real(name: str, left: str, right: str, *when: Condition) -> Rule:
    """Make a rule that holds for real numbers; rounding, overflow and NaN may differ."""
    return Rule(name, left, right, when, Exactness.REAL)


# conditions --------------------------------------------------------------------------------------


def constant(letter: str, index: str = "i") -> Condition:
    """Require a term that no index of a sum changes."""
    return Condition(letter, f"does not depend on {index}", lambda c, b: not _meets(c, b[index]))


def varies(letter: str, index: str) -> Condition:
    """Require a term that an index changes."""

    def test(x: Any, b: Binding) -> bool:
        return _meets(x, b[index])

    return Condition(letter, f"depends on {index}", test, ends=True)


def _meets(place: Any, index: Any) -> bool:
    """Whether a term or place depends on an index, or on any of several."""
    over = (index,) if isinstance(index, Index) else index
    if isinstance(place, Term):
        return not place.free.isdisjoint(over)
    return place in over


def positive(letter: str) -> Condition:
    """Require one term that is above zero for all real operands."""
    return Condition(letter, "is positive", lambda a, b: a.positive, single=True)


def another(letter: str) -> Condition:
    """Require that something is left."""
    return Condition(letter, "is the rest", lambda a, b: a.number != 1, ends=True)


def finite(*letters: str) -> tuple[Condition, ...]:
    """Require terms without a written infinity."""
    return tuple(Condition(x, "is finite", lambda a, b: _is_finite(a)) for x in letters)


def _is_finite(term: Term) -> bool:
    """Whether no infinity is written in a term, but below a maximum, which has another operand."""
    stack = [term]
    while stack:
        part = stack.pop()
        if part.op == "literal" and isinstance(part.extra.value, float):
            return False
        if not (part.op == "reduce" and part.extra[0] == "max"):
            stack += part.args
    return True


def among(letter: str, indices: str) -> Condition:
    """Require one of the indices of a sum."""
    return Condition(letter, f"is one of {indices}", lambda j, b: j in b[indices])


def within(letter: str, indices: str) -> Condition:
    """Require one of the indices of a sum, since only there something is gained."""
    return replace(among(letter, indices), ends=True)


def apart(letter: str, index: str) -> Condition:
    """Require a place that is not an index itself and does not depend on it."""
    return Condition(letter, f"does not depend on {index}", lambda p, b: not _meets(p, b[index]))


def before(letter: str, index: str) -> Condition:
    """Require a place that does not depend on an index; another index must come before it."""
    return Condition(
        letter,
        f"comes before {index}",
        lambda p, b: not _meets(p, b[index]) and (not isinstance(p, Index) or p < b[index]),
        ends=True,
    )


def spare(letter: str, indices: str = "i") -> Condition:
    """Require a term that some, but not all, of several indices leave as it is."""

    def test(x: Term, b: Binding) -> bool:
        over = b[indices]
        return any(i not in x.free for i in over)

    return Condition(letter, f"does not depend on all of {indices}", test, ends=True)


def above(letter: str, bound: int) -> Condition:
    """Require a number above a bound."""
    return Condition(letter, f"> {bound}", lambda n, b: n > bound)


def plain_function(letter: str) -> Condition:
    """Require a function whose value at a point depends on its operand there alone."""
    barred = {"stop_gradient", "where"}
    return Condition(letter, "is no stop_gradient", lambda name, b: name not in barred, ends=True)


def one_hot(letter: str) -> Condition:
    """Require a term whose only values are 0 and 1 because it compares places."""
    return Condition(letter, "is a one-hot", lambda c, b: _is_one_hot(c))


def _is_one_hot(term: Term) -> bool:
    return term.op == "delta" or (
        term.op == "mul"
        and term.number is None
        and term.coefficient == 1
        and all(b.op == "delta" for b, _ in term.factors)
    )


# the table ---------------------------------------------------------------------------------------

RULES: tuple[Rule, ...] = (
    # exponentials and logarithms
    real("exponential of a sum", "exp(a + b)", "exp(a) * exp(b)"),
    real("exponential of a multiple", "exp(number(n) * a)", "exp(a) ** n"),
    real("exponential of a number", "exp(0)", "1"),
    real("exponential of a logarithm", "exp(log(a))", "a"),
    real("logarithm of an exponential", "log(exp(a))", "a"),
    real("logarithm of a power", "log(a ** n)", "n * log(a)", positive("a")),
    real("logarithm of a product", "log(a * b)", "log(a) + log(b)", positive("a"), another("b")),
    real("logarithm of one", "log(1)", "0"),
    real("definition of expm1", "expm1(a)", "exp(a) - 1"),
    real("definition of log1p", "log1p(a)", "log(1 + a)"),
    real("definition of logaddexp", "logaddexp(a, b)", "log(exp(a) + exp(b))"),
    # sums
    real("a constant factor leaves a sum", "sum(i, c * x)", "c * sum(i, x)", constant("c")),
    real("a sum of what is constant", "sum(i, x)",
         "size(outside(i, x)) * sum(within(i, x), x)", spare("x")),
    # one-hot rows
    real("a one-hot picks its class", "sum(i, delta(j, p) * x)",
         "sum(without(i, j), at(x, j, p))", among("j", "i"), apart("p", "j")),
    real("beside a one-hot", "delta(j, p) * x",
         "delta(j, p) * at(x, j, p)", before("p", "j"), varies("x", "j")),
    real("power of a one-hot", "delta(p, q) ** n", "delta(p, q)", above("n", 0)),
    real("power of all but a one-hot", "(1 + -1 * delta(p, q)) ** n",
         "1 - delta(p, q)", above("n", 0)),
    real("all but one class", "sum(i, (1 + -1 * delta(j, p)) * x)",
         "sum(i, x) - sum(i, delta(j, p) * x)", within("j", "i")),
    # cases
    real("equal cases", "where(c, a, a)", "a"),
    real("true case", "where(True, a, b)", "a"),
    real("false case", "where(False, a, b)", "b"),
    real("case within a case", "where(c, where(c, a, b), d)", "where(c, a, d)"),
    real("case beside a case", "where(c, a, where(c, b, d))", "where(c, a, d)"),
    real("function of cases", "f(where(c, a, b))", "where(c, f(a), f(b))", plain_function("f")),
    real("power of cases", "where(c, a, b) ** n", "where(c, a ** n, b ** n)"),
    real("product of cases", "where(c, a, b) * where(c, d, e)", "where(c, a * d, b * e)"),
    real("sum of cases", "where(c, a, b) + where(c, d, e)", "where(c, a + d, b + e)"),
    real("number beside cases", "number(n) + where(c, a, b)", "where(c, n + a, n + b)"),
    real("zero at a one-hot", "where(c, 0, b)", "(1 - c) * b", one_hot("c"), *finite("b")),
    real("zero beside a one-hot", "where(c, a, 0)", "c * a", one_hot("c"), *finite("a")),
    real("cases of a one-hot", "where(c, a, b)",
         "c * a + (1 - c) * b", one_hot("c"), *finite("a", "b")),
    real("exponential of minus infinity", "exp(-inf)", "0"),
    # what holds of every real number
    real("real numbers are finite", "isfinite(a)", "True", *finite("a")),
    real("real numbers are not infinite", "isinf(a)", "False", *finite("a")),
    real("real numbers are numbers", "isnan(a)", "False", *finite("a")),
    real("real numbers are above minus infinity", "equal(a, -inf)", "False", *finite("a")),
    real("false and", "bitwise_and(a, False)", "False"),
    real("false or", "bitwise_or(False, a)", "a"),
    real("or false", "bitwise_or(a, False)", "a"),
    real("true and", "bitwise_and(True, a)", "a"),
    real("and true", "bitwise_and(a, True)", "a"),
    real("and false", "bitwise_and(False, a)", "False"),
)  # fmt: skip
