"""Patterns: formulas with letters that stand for any term, written as Python expressions.

``sum(i, c*x)`` matches a sum over any indices ``i`` of a product. Sums and products match in any
order: a letter with a condition of its own takes all the parts that meet it, one without takes
the rest. ``f`` is any function of one operand, ``n`` a number, ``i`` the indices of a sum, ``j``
one index, ``p`` any place.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias, cast

from tinygrad_bn.algebra.terms import ONE, Index, Place, Term, Terms, places_of

Binding: TypeAlias = dict[str, Any]
"""What the letters of a pattern stand for: terms, numbers, indices, places, a function's name."""


@dataclass(frozen=True)
class Condition:
    """A side condition on one letter: ``test(term, binding)``; ``text`` says it in words.

    ``single``: of several parts of a sum or product that meet it, the letter takes the first.
    ``ends``: the rule would hold without it, but rewriting would not end, or differentiate wrongly.
    """

    letter: str
    text: str
    test: Callable[[Any, Binding], bool]
    single: bool = False
    ends: bool = False

    def __str__(self) -> str:
        return f"{self.letter} {self.text}"


Conditions: TypeAlias = Mapping[str, Condition]
Pattern: TypeAlias = ast.expr


def parse(text: str) -> Pattern:
    """Read a pattern."""
    return ast.parse(text, mode="eval").body


def letters(pattern: Pattern) -> set[str]:
    """Return the names of a pattern that stand for something."""
    return {n.id for n in ast.walk(pattern) if isinstance(n, ast.Name) and len(n.id) == 1}


def head(pattern: Pattern) -> str:
    """Return the kind of term that a pattern can match: see ``head_of``."""
    if isinstance(pattern, ast.BinOp):  # a power is a product of one factor
        return "add" if isinstance(pattern.op, ast.Add) else "mul"
    if isinstance(pattern, ast.Call):
        name = ast.unparse(pattern.func)
        return name if len(name) > 1 else "function"
    raise ValueError(f"{ast.unparse(pattern)!r} matches everything.")


def head_of(term: Term) -> tuple[str, ...]:
    """Return under which heads the rules for a term are kept."""
    if term.op == "function":
        return (name_of(term), "function")
    return (term.extra[0] if term.op == "reduce" else term.op,)


def name_of(term: Term) -> str:
    """Return the name of an elementwise function."""
    name: str = term.extra[0] if isinstance(term.extra, tuple) else term.extra
    return name


def matches(
    pattern: Pattern, term: Term, when: Conditions
) -> Iterator[tuple[Binding, Term | None]]:
    """Yield every way in which a pattern matches: what its letters are, and what is left over.

    Of a sum or product a pattern may match a part; the rest is then left over.
    """
    if isinstance(pattern, ast.BinOp) and head(pattern) == term.op:
        parts = _chain(pattern, term.op)
        for found, left in _any_order(term.op, parts, _operands(term, term.op), {}, when):
            yield found, together(left, term.op) if left else None
    else:
        for found in _match(pattern, term, {}, when):
            yield found, None


def _match(pattern: Pattern, value: Any, known: Binding, when: Conditions) -> Iterator[Binding]:
    if isinstance(pattern, ast.Name):
        yield from _name(pattern.id, value, known, when)
    elif isinstance(pattern, ast.Constant | ast.UnaryOp):
        wanted = (
            float(ast.unparse(pattern)) if "inf" in ast.dump(pattern) else ast.literal_eval(pattern)
        )
        same = isinstance(value, Term) and (
            value.op == "literal" and value.extra.value == wanted
            if isinstance(wanted, bool) or math.isinf(wanted)
            else value.number == wanted
        )
        if same or (is_number(value) and value == wanted):
            yield known
    elif isinstance(pattern, ast.Call):
        yield from _call(pattern, value, known, when)
    elif isinstance(pattern, ast.BinOp) and isinstance(pattern.op, ast.Pow):
        yield from _power(pattern, value, known, when)
    elif isinstance(pattern, ast.BinOp) and isinstance(value, Term):
        kind = head(pattern)
        parts = _chain(pattern, kind)
        for found, left in _any_order(kind, parts, _operands(value, kind), known, when):
            if not left:
                yield found


def _name(name: str, value: Any, known: Binding, when: Conditions) -> Iterator[Binding]:
    if name == "inf":
        if isinstance(value, Term) and value.op == "literal" and value.extra.value == math.inf:
            yield known
    elif name in known:
        if known[name] is value or (not isinstance(value, Term) and known[name] == value):
            yield known
    elif _fits(name, value):
        found = {**known, name: value}
        if name not in when or when[name].test(value, found):
            yield found


def _fits(name: str, value: Any) -> bool:
    """Whether a letter may stand for this: ``n`` and ``m`` for numbers, ``j`` for an index."""
    if name in "nm":
        return is_number(value)
    if name == "j":
        return isinstance(value, Index)
    if name == "i":
        return isinstance(value, tuple) and not isinstance(value, Index)
    return True


def is_number(value: Any) -> bool:
    """Whether something is a number, as exponents and coefficients are."""
    return type(value) is int or isinstance(value, Fraction)


def _call(pattern: ast.Call, term: Any, known: Binding, when: Conditions) -> Iterator[Binding]:
    name = ast.unparse(pattern.func)
    if not isinstance(term, Term):
        return
    if name == "number":
        if term.number is not None:
            yield from _match(pattern.args[0], term.number, known, when)
        return
    if name in ("sum", "max"):
        if term.op == "reduce" and term.extra[0] == name:
            for found in _match(pattern.args[0], term.extra[1], known, when):
                yield from _match(pattern.args[1], term.args[0], found, when)
        return
    if name == "delta":
        if term.op == "delta":
            for sides in (places_of(term), places_of(term)[::-1]):
                for found in _match(pattern.args[0], sides[0], known, when):
                    yield from _match(pattern.args[1], sides[1], found, when)
        return
    if term.op != "function" or len(term.args) != len(pattern.args):
        return
    found = known
    if len(name) == 1:
        found = {**known, name: term.extra}
        if name in when and not when[name].test(name_of(term), found):
            return
    elif name_of(term) != name:
        return
    yield from _all(list(zip(pattern.args, term.args, strict=True)), found, when)


def _all(pairs: list[tuple[Pattern, Any]], known: Binding, when: Conditions) -> Iterator[Binding]:
    if not pairs:
        yield known
        return
    (pattern, value), *rest = pairs
    for found in _match(pattern, value, known, when):
        yield from _all(rest, found, when)


def _power(pattern: ast.BinOp, term: Any, known: Binding, when: Conditions) -> Iterator[Binding]:
    """Match a power; a letter as exponent stands for any number but one."""
    if not isinstance(term, Term) or term.op != "mul" or len(term.args) != 1:
        return
    ((base, exponent),) = term.factors
    if term.coefficient == 1 and exponent != 1:
        for found in _match(pattern.right, exponent, known, when):
            yield from _match(pattern.left, base, found, when)


def _chain(pattern: Pattern, kind: str) -> list[Pattern]:
    """List what a pattern adds or multiplies."""
    wanted = ast.Add if kind == "add" else ast.Mult
    if isinstance(pattern, ast.BinOp) and isinstance(pattern.op, wanted):
        return [*_chain(pattern.left, kind), *_chain(pattern.right, kind)]
    return [pattern]


def _operands(term: Term, kind: str) -> list[Term]:
    """List what a term adds or multiplies; the coefficient of a product is a factor of its own."""
    terms = term.terms
    if kind == "add" and term.op != "add":
        return [term]
    if kind == "add":
        return [t if c == 1 else terms.mul(t.factors, c) for t, c in term.items]
    factors = [terms.power(b, e) for b, e in term.factors]
    number = term.coefficient
    return factors if number == 1 and factors else [terms.number(number), *factors]


def _any_order(
    kind: str,
    patterns: Sequence[Pattern],
    operands: Sequence[Term],
    known: Binding,
    when: Conditions,
) -> Iterator[tuple[Binding, list[Term]]]:
    """Match patterns to operands: formulas one each, then letters that choose, then the rest."""
    formulas = [p for p in patterns if not isinstance(p, ast.Name) or p.id == "inf"]
    names = [p.id for p in patterns if isinstance(p, ast.Name) and p.id != "inf"]
    for found, left in _picked(formulas, list(operands), known, when):
        yield from _shared(kind, names, left, found, when, operands[0].terms.one)


def _picked(
    formulas: Sequence[Pattern], operands: list[Term], known: Binding, when: Conditions
) -> Iterator[tuple[Binding, list[Term]]]:
    """Give each formula an operand, in every way."""
    if not formulas:
        yield known, operands
        return
    for position, operand in enumerate(operands):
        for found in _match(formulas[0], operand, known, when):
            left = operands[:position] + operands[position + 1 :]
            yield from _picked(formulas[1:], left, found, when)


def _shared(
    kind: str,
    names: Sequence[str],
    left: list[Term],
    known: Binding,
    when: Conditions,
    one: Term,
) -> Iterator[tuple[Binding, list[Term]]]:
    """Share the other operands among letters: those with a condition choose first."""
    found = dict(known)
    for name in (n for n in names if n in when):
        chosen = [o for o in left if when[name].test(o, found)]
        if not chosen:
            return
        chosen = chosen[:1] if when[name].single else chosen
        found[name] = together(chosen, kind)
        left = [o for o in left if o not in chosen]
    bare = [n for n in names if n not in when]
    if len(left) < len(bare) - (kind == "mul"):
        return
    for name in bare[:-1]:
        found[name], left = left[0], left[1:]
    if bare:
        found[bare[-1]] = together(left, kind) if left else one
        left = []
    yield found, left


def together(operands: Sequence[Term], kind: str) -> Term:
    """Return the sum or the product of terms."""
    terms = operands[0].terms
    pairs = [(o, ONE) for o in operands]
    return terms.add(pairs) if kind == "add" else terms.mul(pairs)


# replacing ---------------------------------------------------------------------------------------


def build(pattern: Pattern, binding: Binding, terms: Terms) -> Any:
    """Return what a replacement becomes for the letters of a match."""
    if isinstance(pattern, ast.Constant):
        value: Any = pattern.value
        return terms.literal(value) if isinstance(value, bool) else terms.number(value)
    if isinstance(pattern, ast.Name) and pattern.id == "inf":
        return terms.literal(math.inf)
    if isinstance(pattern, ast.Name):
        value = binding[pattern.id]
        return terms.number(value) if is_number(value) else value
    if isinstance(pattern, ast.UnaryOp):
        operand = build(pattern.operand, binding, terms)
        return terms.literal(-math.inf) if operand.op == "literal" else -operand
    if isinstance(pattern, ast.BinOp):
        return _built_arithmetic(pattern, binding, terms)
    call = cast("ast.Call", pattern)
    name = ast.unparse(call.func)
    args = [build(a, binding, terms) for a in call.args]
    if name in BUILDERS:
        return BUILDERS[name](terms, *args)
    return terms.make("function", tuple(args), binding.get(name, name))


def _built_arithmetic(pattern: ast.BinOp, binding: Binding, terms: Terms) -> Term:
    left = build(pattern.left, binding, terms)
    right = build(pattern.right, binding, terms)
    made: Term
    if isinstance(pattern.op, ast.Pow):
        made = left**right.number
    else:
        made = ARITHMETIC[type(pattern.op)](left, right)
    return made


ARITHMETIC: dict[type, Callable[[Term, Term], Term]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
}


def _without(terms: Terms, over: tuple[Index, ...], gone: Any) -> tuple[Index, ...]:
    lost = (gone,) if isinstance(gone, Index) else gone
    return tuple(i for i in over if i not in lost)


def _moved(terms: Terms, body: Term, index: Index, place: Place) -> Term:
    return terms.move(body, {index: place})


def _size(terms: Terms, over: Any) -> Term:
    indices = (over,) if isinstance(over, Index) else over
    return terms.mul((terms.size(i), ONE) for i in indices)


BUILDERS: dict[str, Callable[..., Any]] = {
    "number": lambda terms, value: value,
    "sum": lambda terms, over, body: terms.sum(over, body),
    "delta": lambda terms, here, there: terms.delta(here, there),
    "at": _moved,
    "size": _size,
    "without": _without,
    "within": lambda terms, over, body: tuple(i for i in over if i in body.free),
    "outside": lambda terms, over, body: tuple(i for i in over if i not in body.free),
}
"""What a replacement may call besides functions of terms."""
