"""Terms: what one element of an array is, as a formula of indices; equal formulas are one object.

A term of two indices, ``x[i, j] - y[j]``, stands for a matrix. So broadcasting, transposes and
inserted axes are no operations at all: they are which indices a term has. What is left of a
reduction is ``sum(i, ...)``, of a one-hot row ``delta(i, label)``, of a matrix product a sum.

Sums and products are kept in a normal form of their own: flat, like terms and powers collected,
in the order in which their parts were first made. That is all the arithmetic there is; every
other law is a rule of the table.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple, TypeAlias

ZERO, ONE, HALF = 0, 1, Fraction(1, 2)
LONGEST = 10**6
"""Numerators and denominators beyond this are of floats: they are no common factor."""
MOST_DIGITS = 64
"""Higher powers of numbers are not multiplied out."""
MOST_CHOICES = 500
"""In so many ways at most are indices tried when one term may be another at other places."""


def magnitude(value: Number) -> Number:
    """Return a number without its sign."""
    return value if value >= 0 else -value


class Index(NamedTuple):
    """An index that runs over an axis of ``size`` elements; ``number`` tells it from others."""

    size: int
    number: int

    def __repr__(self) -> str:
        return f"{'ijklmn'[self.number % 6]}{self.size}"


Number: TypeAlias = "int | Fraction"
"""An exact number. Whole ones are ints where possible: most exponents are, and ints are fast."""

Order: TypeAlias = tuple[Index, ...]
"""The indices of the axes of an array, in their order."""

Place: TypeAlias = "Index | int | Term"
"""Where an array is read along one axis: at an index, at a fixed place, at a computed one."""


class Term:
    """A formula. ``op`` says what it is; ``args`` are the terms in it, ``extra`` what else it has.

    ``free``: the indices on which its value depends. ``positive``: whether it is never below zero,
    so that roots of products are products of roots. ``operations``: how many it adds to those of
    its parts. Terms are made by a ``Terms`` alone, which makes each only once.
    """

    __slots__ = ("args", "extra", "free", "id", "op", "operations", "positive", "terms")

    def __init__(self, terms: Terms, op: str, args: tuple[Term, ...], extra: Any) -> None:
        self.terms, self.op, self.args, self.extra = terms, op, args, extra
        self.id = len(terms.made)
        self.free = _free(op, args, extra)
        self.operations = _operations(op, args, extra)
        self.positive = (
            extra[0] in terms.above_zero if op == "variable" else _positive(op, args, extra)
        )

    def __hash__(self) -> int:
        return self.id

    def __add__(self, other: Term) -> Term:
        return self.terms.add(((self, ONE), (other, ONE)))

    def __sub__(self, other: Term) -> Term:
        return self.terms.add(((self, ONE), (other, -ONE)))

    def __mul__(self, other: Term) -> Term:
        return self.terms.mul(((self, ONE), (other, ONE)))

    def __truediv__(self, other: Term) -> Term:
        return self.terms.mul(((self, ONE), (other, -ONE)))

    def __pow__(self, exponent: Number) -> Term:
        return self.terms.mul(((self, exponent),))

    def __neg__(self) -> Term:
        return self.terms.mul(((self, ONE),), -ONE)

    @property
    def number(self) -> Number | None:
        """The number that it is, if it is one."""
        return self.extra if self.op == "mul" and not self.args else None

    @property
    def factors(self) -> tuple[tuple[Term, Number], ...]:
        """What it is a product of, with exponents; the coefficient is left out."""
        if self.op != "mul":
            return ((self, ONE),)
        return tuple(zip(self.args, self.extra[1:], strict=True)) if self.args else ()

    @property
    def coefficient(self) -> Number:
        """The number in front of a product."""
        if self.op != "mul":
            return ONE
        found: Number = self.extra[0] if self.args else self.extra
        return found

    @property
    def items(self) -> tuple[tuple[Term, Number], ...]:
        """What it is a sum of: terms without a coefficient, each with its coefficient."""
        if self.op == "add":
            return tuple(zip(self.args, self.extra, strict=True))
        if self is self.terms.zero:
            return ()
        if self.op == "mul" and self.coefficient != 1:
            return ((self.terms.mul(self.factors), self.coefficient),)
        return ((self, ONE),)

    def __repr__(self) -> str:
        return plain(self)


class Terms:
    """Makes terms, each once, and numbers them in the order of making.

    ``above_zero``: the names of variables that are known to be positive.
    """

    def __init__(self) -> None:
        self.made: dict[Any, Term] = {}
        self.above_zero: set[str] = set()
        self.costs: dict[Term, int] = {}
        self.naturals: dict[Term, tuple[Index, ...]] = {}
        self._moved: dict[Any, Term] = {}
        self.zero = self.number(0)
        self.one = self.number(1)

    def make(self, op: str, args: tuple[Term, ...] = (), extra: Any = None) -> Term:
        """Return the term of these parts, as they are."""
        key = (op, tuple(a.id for a in args), extra)
        found = self.made.get(key)
        if found is None:
            found = self.made[key] = Term(self, op, args, extra)
        return found

    def number(self, value: float | Fraction) -> Term:
        """Return a finite number: a float is the fraction that it is."""
        exact = value if type(value) is int else Fraction(value)
        return self.make("mul", (), exact.numerator if exact.denominator == 1 else exact)

    def literal(self, value: Any) -> Term:
        """Return what is no finite number: an infinity, NaN, a truth value."""
        return self.make("literal", (), _Literal(value))

    def variable(self, name: str, places: Sequence[Place] = ()) -> Term:
        """Return an element of a named array."""
        terms, at = _split(places)
        return self.make("variable", terms, (name, at))

    def size(self, index: Index) -> Term:
        """Return how many values an index has, as a symbol."""
        return self.make("size", (), index.size)

    def apply(self, name: str, *args: Term) -> Term:
        """Return an elementwise function of terms."""
        return self.make("function", args, name)

    def delta(self, here: Place, there: Place) -> Term:
        """Return one where two places are the same, else zero."""
        if here == there:
            return self.one
        if isinstance(here, int) and isinstance(there, int):
            return self.zero
        return self.make("delta", *_split(sorted((here, there), key=_place_key)))

    def mul(self, factors: Iterable[tuple[Term, Number]], coefficient: Number = ONE) -> Term:
        """Return a product of powers: flat, equal bases collected."""
        powers: dict[Term, Number] = {}
        todo = list(factors)
        while todo:
            base, exponent = todo.pop()
            if base.op == "mul" and (scale := _scaled(base, exponent)) is not None:
                coefficient *= scale
                todo += [(b, e * exponent) for b, e in base.factors]
            elif base.op == "mul" and base.coefficient not in (0, 1) and _splits(base):
                # the root of a number stays one, apart from those of the factors
                todo += [(self.number(base.coefficient), exponent)]
                todo += [(b, e * exponent) for b, e in base.factors]
            else:
                powers[base] = powers.get(base, ZERO) + exponent
        live = [b for b in sorted(powers, key=_by_id) if powers[b]]
        if not live:
            return self.make("mul", (), coefficient)
        if any(b.op == "mul" and _scaled(b, powers[b]) is not None for b in live):
            return self.mul([(b, powers[b]) for b in live], coefficient)
        if coefficient == 0:
            return self.zero
        if len(live) == 1 and powers[live[0]] == 1 and coefficient == 1:
            return live[0]
        return self.make("mul", tuple(live), (coefficient, *(powers[b] for b in live)))

    def power(self, base: Term, exponent: Number) -> Term:
        """Return a power that is in normal form already: a factor of a product."""
        return base if exponent == 1 else self.make("mul", (base,), (1, exponent))

    def add(self, items: Iterable[tuple[Term, Number]]) -> Term:
        """Return a linear combination: flat, like terms collected, in one order and sign."""
        parts: dict[Term, Number] = {}
        todo = list(items)[::-1]
        while todo:
            term, coefficient = todo.pop()
            if term.op == "add":
                todo += [(t, c * coefficient) for t, c in term.items]
                continue
            inner = self._constant_times_sum(term)
            if inner is not None:
                todo += [(t, c * coefficient) for t, c in inner]
                continue
            for part, scale in term.items:
                parts[part] = parts.get(part, ZERO) + coefficient * scale
        live = [t for t in sorted(parts, key=_by_id) if parts[t]]
        if not live:
            return self.zero
        if len(live) == 1:
            return self.mul(live[0].factors, parts[live[0]])
        content = _content([parts[t] for t in live])
        scaled = [parts[t] if content == 1 else Fraction(parts[t]) / content for t in live]
        made = self.make("add", tuple(live), tuple(scaled))
        return made if content == 1 else self.mul(((made, ONE),), content)

    def _constant_times_sum(self, term: Term) -> tuple[tuple[Term, Number], ...] | None:
        """Multiply numbers and sizes into a sum that is an item of another."""
        if term.op != "mul":
            return None
        inner = [b for b, e in term.factors if b.op == "add" and e == 1]
        rest = [(b, e) for b, e in term.factors if not (b.op == "add" and e == 1)]
        if len(inner) != 1 or any(b.op != "size" for b, _ in rest):
            return None
        c = term.coefficient
        return tuple((self.mul([(t, ONE), *rest]), c * k) for t, k in inner[0].items)

    def sum(self, indices: Iterable[Index], body: Term) -> Term:
        """Return the sum of a term over all values of indices; nested sums become one."""
        over = tuple(dict.fromkeys(indices))
        if not over:
            return body
        return self._bound("sum", over, body)

    def reduce(self, name: str, indices: Sequence[Index], body: Term) -> Term:
        """Return a reduction over indices: ``sum``, ``max``, ``min`` or ``prod``."""
        over = tuple(i for i in dict.fromkeys(indices) if i in body.free or name == "sum")
        if name == "prod":  # what an index leaves alone is a factor as often as it has values
            body = body ** math.prod(i.size for i in {*indices} if i not in over)
        return self._bound(name, over, body) if over else body

    def _bound(self, name: str, over: tuple[Index, ...], body: Term) -> Term:
        """Number bound indices from the lowest number that is not taken outside."""
        taken = set(body.free.difference(over))
        renamed = {index: unused(index.size, taken) for index in sorted(over)}
        moved = self.move(body, {k: v for k, v in renamed.items() if k != v})
        return self.make("reduce", (moved,), (name, tuple(sorted(renamed.values()))))

    def move(self, term: Term, places: Mapping[Index, Place]) -> Term:
        """Read a term at other places: each index replaced, bound ones kept apart."""
        needed = {i: p for i, p in places.items() if i in term.free}
        if not needed:
            return term
        key = (term.id, tuple(sorted((i, _place_key(p)) for i, p in needed.items())))
        if key not in self._moved:
            self._moved[key] = self._move(term, needed)
        return self._moved[key]

    def _move(self, term: Term, places: Mapping[Index, Place]) -> Term:
        if term.op == "reduce":
            name, over = term.extra
            return self._move_bound(term.args[0], name, over, places)
        if term.op in ("variable", "delta", "call"):
            return self._read_at(term, [self._moved_place(p, places) for p in places_of(term)])
        return self.rebuild(term, [self.move(a, places) for a in term.args])

    def _moved_place(self, place: Place, places: Mapping[Index, Place]) -> Place:
        if isinstance(place, Term):
            return self.move(place, places)
        return places.get(place, place) if isinstance(place, Index) else place

    def _read_at(self, term: Term, places: Sequence[Place]) -> Term:
        """Return the element of the same array at other places."""
        if term.op == "delta":
            return self.delta(*places)
        if term.op == "variable":
            return self.variable(term.extra[0], places)
        return self.call(term.extra[0], arrays_of(term), places)

    def _move_bound(
        self, body: Term, name: str, over: tuple[Index, ...], places: Mapping[Index, Place]
    ) -> Term:
        """Move inside a reduction: its own indices get numbers that nothing outside has."""
        taken = set(body.free)
        for place in places.values():
            taken |= {place} if isinstance(place, Index) else getattr(place, "free", frozenset())
        apart = {index: unused(index.size, taken) for index in over}
        inner = self.move(self.move(body, apart), places)
        return self._bound(name, tuple(apart.values()), inner)

    def call(self, what: Any, arrays: Sequence[Term], places: Sequence[Place]) -> Term:
        """Return an element of what an operation makes of whole arrays (each an ``array`` term)."""
        terms, at = _split(places)
        return self.make("call", (*arrays, *terms), (what, at))

    def array(self, indices: Sequence[Place], body: Term) -> Term:
        """Return a whole array: its elements by its own indices."""
        return self.make("array", (body,), tuple(indices))

    def rebuild(self, term: Term, args: Sequence[Term]) -> Term:
        """Return the same formula of other parts."""
        if all(a is b for a, b in zip(args, term.args, strict=True)):
            return term
        if term.op == "mul":
            powers = term.extra[1:]
            return self.mul(zip(args, powers, strict=True), term.coefficient)
        if term.op == "add":
            return self.add(zip(args, term.extra, strict=True))
        if term.op == "reduce":
            name, over = term.extra
            return self.reduce(name, over, args[0])
        if term.op == "delta":
            moved = iter(args)
            return self.delta(*(next(moved) if p == "term" else p for p in term.extra))
        return self.make(term.op, tuple(args), term.extra)


class _Literal:
    """A value that is compared as it is written, so that NaN equals NaN and True is not 1."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Literal) and repr(self.value) == repr(other.value)

    def __hash__(self) -> int:
        return hash(repr(self.value))

    def __repr__(self) -> str:
        return repr(self.value)


def _by_id(term: Term) -> int:
    return term.id


def _place_key(place: Place) -> tuple[int, int, int]:
    if isinstance(place, Index):
        return (0, *place)
    return (1, place, 0) if isinstance(place, int) else (2, place.id, 0)


def unused(size: int, taken: set[Index]) -> Index:
    """Return the index of a size with the lowest number that is not taken, and take it."""
    found = next(i for k in itertools.count() if (i := Index(size, k)) not in taken)
    taken.add(found)
    return found


def _split(places: Sequence[Place]) -> tuple[tuple[Term, ...], tuple[Any, ...]]:
    """Split places into the computed ones and a template, in which "term" stands for each."""
    terms = tuple(p for p in places if isinstance(p, Term))
    return terms, tuple("term" if isinstance(p, Term) else p for p in places)


def places_of(term: Term) -> tuple[Place, ...]:
    """Return the places of a one-hot, or of an element of an array."""
    at = term.extra if term.op == "delta" else term.extra[1]
    rest = iter(term.args[len(term.args) - at.count("term") :])
    return tuple(next(rest) if p == "term" else p for p in at)


def arrays_of(term: Term) -> tuple[Term, ...]:
    """Return the whole arrays that an operation acts on, of one element of what it makes."""
    return term.args[: len(term.args) - term.extra[1].count("term")]


def _free(op: str, args: tuple[Term, ...], extra: Any) -> frozenset[Index]:
    found: frozenset[Index] = frozenset().union(*(a.free for a in args))
    if op == "reduce":
        return found.difference(extra[1])
    if op == "array":
        return found.difference(extra)
    places = extra[1] if op in ("variable", "call") else extra if op == "delta" else ()
    own = [p for p in places if isinstance(p, Index)]
    return found.union(own) if own else found


def _positive(op: str, args: tuple[Term, ...], extra: Any) -> bool:
    if op == "size":
        return True
    if op == "function":
        return bool(extra == "exp")
    if op == "mul":
        coefficient, *exponents = extra if args else (extra,)
        powers = zip(args, exponents, strict=True)
        return coefficient > 0 and all(a.positive or e % 2 == 0 for a, e in powers if e)
    if op == "add":
        signs = zip(args, extra, strict=True)
        return all(a.positive and c > 0 for a, c in signs)
    return op == "reduce" and extra[0] in ("sum", "prod", "max", "min") and args[0].positive


def _scaled(base: Term, exponent: Number) -> Number | None:
    """The power of a product's coefficient, if the product may be raised factor by factor."""
    coefficient = base.coefficient
    if exponent.denominator != 1:
        if not (coefficient > 0 and all(b.positive for b, _ in base.factors)):
            return None
        return _root(coefficient, exponent)
    if coefficient == 0 and exponent < 0:
        return None
    if magnitude(exponent) > MOST_DIGITS and magnitude(coefficient) != 1:
        return None
    return Fraction(coefficient) ** exponent.numerator if exponent != 1 else coefficient


def _splits(base: Term) -> bool:
    """Whether a root of a product is the product of the roots of its number and its factors."""
    return base.coefficient > 0 and bool(base.args) and all(b.positive for b, _ in base.factors)


def _root(value: Number, exponent: Number) -> Number | None:
    """A fractional power of a fraction, if it is a fraction."""
    parts = []
    for part in (value.numerator, value.denominator):
        root = round(part ** (1 / exponent.denominator)) if part < 2**52 else 0
        if root**exponent.denominator != part:
            return None
        parts.append(root)
    return Fraction(parts[0], parts[1]) ** exponent.numerator


def _content(coefficients: Sequence[Number]) -> Number:
    """The number to take out of a sum: its common measure, and the sign of its first item."""
    sign = -1 if coefficients[0] < 0 else 1
    if all(abs(c) == abs(coefficients[0]) for c in coefficients):
        return coefficients[0]
    if any(c.denominator > LONGEST or abs(c.numerator) > LONGEST for c in coefficients):
        return sign
    above = math.gcd(*(c.numerator for c in coefficients))
    return Fraction(sign * above, math.lcm(*(c.denominator for c in coefficients)))


def natural(term: Term) -> tuple[Index, ...]:
    """Return the free indices of a term in the order in which its largest variables have them."""
    if term not in term.terms.naturals:
        term.terms.naturals[term] = _natural(term)
    return term.terms.naturals[term]


def _natural(term: Term) -> tuple[Index, ...]:
    first: dict[Index, int] = {}
    for part in sorted(_arrays_in(term), key=lambda t: -len(t.extra[1])):
        for axis, place in enumerate(part.extra[1]):
            if isinstance(place, Index) and place in term.free:
                first.setdefault(place, axis)
    ordered = sorted(first, key=first.__getitem__)
    return (*ordered, *sorted(term.free.difference(ordered)))


def _arrays_in(root: Term) -> Iterator[Term]:
    """Yield what is read at indices: variables and calls, not what a call is made of."""
    seen: set[Term] = set()
    stack = [root]
    while stack:
        term = stack.pop()
        if term in seen or term.op == "array":
            continue
        seen.add(term)
        stack += reversed(term.args)
        if term.op in ("variable", "call"):
            yield term


def walk(root: Term) -> Iterator[Term]:
    """Yield every term in a term once, parts before wholes."""
    seen: set[Term] = set()
    stack: list[tuple[Term, bool]] = [(root, False)]
    while stack:
        term, ready = stack.pop()
        if ready:
            yield term
        elif term not in seen:
            seen.add(term)
            stack.append((term, True))
            stack += [(a, False) for a in reversed(term.args)]


def indices_in(root: Term) -> set[Index]:
    """Return every index in a term, those of its sums too."""
    return {i for part in walk(root) for i in (*part.free, *bound_in(part))}


def bound_in(term: Term) -> tuple[Index, ...]:
    """Return the indices that have a meaning inside a term alone: those of a sum, of an array."""
    bound = term.extra[1] if term.op == "reduce" else term.extra if term.op == "array" else ()
    return tuple(i for i in bound if isinstance(i, Index))


def variables(root: Term) -> set[str]:
    """Return the names of the variables in a term."""
    return {part.extra[0] for part in walk(root) if part.op == "variable"}


def cost(root: Term) -> int:
    """Count the operations that a formula takes, shared parts once: what makes it short."""
    known = root.terms.costs
    if root not in known:
        total, seen, stack = 0, {root}, [root]
        while stack:
            term = stack.pop()
            total += term.operations
            new = set(term.args) - seen
            seen |= new
            stack += new
        known[root] = total
    return known[root]


def _operations(op: str, args: tuple[Term, ...], extra: Any) -> int:
    """Count the operations that a term adds to those of its parts."""
    if op == "mul" and args:
        coefficient, *powers = extra
        counted: int = sum(abs(e) != 1 for e in (coefficient, *powers))
        return len(args) - 1 + counted
    if op == "add":
        scaled: int = sum(abs(c) != 1 for c in extra)
        return len(args) - 1 + scaled
    return int(op in ("function", "reduce", "delta", "call", "null"))


def replace(
    root: Term, swap: Callable[[Term], Term | None], made: dict[Term, Term] | None = None
) -> Term:
    """Rebuild a term with its parts swapped: from the whole down, below a swapped part no more.

    ``made``: what parts have become already by the same swap.
    """
    made = {} if made is None else made
    stack = [root]
    while stack:
        term = stack[-1]
        if term not in made and (swapped := swap(term)) is not None:
            made[term] = swapped
        if term in made:
            stack.pop()
            continue
        missing = [a for a in term.args if a not in made]
        if missing:
            stack += missing
            continue
        made[term] = root.terms.rebuild(term, [made[a] for a in term.args])
        stack.pop()
    return made[root]


def instance(template: Term, term: Term) -> dict[Index, Place] | None:
    """Return at which places of its free indices a template is the term, if it is."""
    if template.op != term.op or len(template.args) != len(term.args):
        return None
    wanted = sorted(template.free)
    offered: list[Place] = [*sorted(term.free)]
    offered += [a for part in walk(term) if part.op == "variable" for a in part.args]
    choices = [[p for p in offered if not isinstance(p, Index) or p.size == i.size] for i in wanted]
    if math.prod(map(len, choices)) > MOST_CHOICES:
        return None
    for places in itertools.product(*choices):
        found = dict(zip(wanted, places, strict=True))
        if term.terms.move(template, {i: p for i, p in found.items() if i != p}) is term:
            return found
    return None


def plain(term: Term) -> str:
    """Write a term with its indices, for developers and for steps that have no array form."""
    if term.number is not None:
        return decimal(term.number)
    if term.op == "mul":
        shown = [plain(b) + ("" if e == 1 else f"^{e}") for b, e in term.factors]
        c = term.coefficient
        return "·".join([*([] if c == 1 else [decimal(c)]), *shown])
    if term.op == "add":
        shown = [("" if c == 1 else f"{decimal(c)}·") + plain(t) for t, c in term.items]
        return f"({' + '.join(shown)})"
    if term.op == "literal":
        return repr(term.extra)
    if term.op == "null":
        return f"0·{plain(term.args[0])}"
    if term.op == "size":
        return f"#{term.extra}"
    if term.op in ("variable", "delta", "call"):
        name = "δ" if term.op == "delta" else term.extra[0]
        inside = ", ".join(map(repr, places_of(term)))
        whole = ", ".join(map(plain, arrays_of(term))) if term.op == "call" else ""
        label = getattr(name, "label", name)
        return f"{label}{f'({whole})' if whole else ''}[{inside}]"
    if term.op == "reduce":
        return f"{term.extra[0]}({', '.join(map(repr, term.extra[1]))}: {plain(term.args[0])})"
    return f"{term.extra}({', '.join(map(plain, term.args))})"


def decimal(value: Number) -> str:
    """Write a number: as a fraction, or with the digits of a float if that would be long."""
    if value.denominator <= LONGEST and magnitude(value.numerator) < LONG_INTEGER:
        return str(value)
    with contextlib.suppress(OverflowError):
        return repr(float(value))
    return f"{Decimal(value.numerator) / Decimal(value.denominator):.17g}"


LONG_INTEGER = 10**16
