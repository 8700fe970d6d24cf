"""From formulas of indices to formulas of arrays, as they stand in a textbook.

``sum(k, x[i, k] * w[k, j])`` is ``x @ w``, ``sum(i, x[i, j]) / size(i)`` is ``mean(x)``, and a
factor that lacks an index broadcasts. What no notation of arrays can say keeps its indices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, TypeAlias

from tinygrad_bn.algebra.patterns import name_of
from tinygrad_bn.algebra.terms import (
    ONE,
    Index,
    Number,
    Place,
    Term,
    arrays_of,
    magnitude,
    natural,
    places_of,
)

Order: TypeAlias = tuple[Index, ...]


@dataclass(frozen=True)
class Sign:
    """A symbol: a name, a number (a fraction), or a truth value."""

    value: Any


@dataclass(frozen=True)
class Sum:
    """Items, each with whether it is subtracted."""

    items: tuple[tuple[bool, Shown], ...]


@dataclass(frozen=True)
class Product:
    """Factors above and below the line; ``last`` comes after the fraction."""

    above: tuple[Shown, ...]
    below: tuple[Shown, ...]
    last: tuple[Shown, ...] = ()


@dataclass(frozen=True)
class Power:
    """A base with a number as exponent."""

    base: Shown
    exponent: Fraction


@dataclass(frozen=True)
class Call:
    """A named function of operands: ``mean``, ``softmax``, ``where``."""

    name: str
    operands: tuple[Shown, ...]
    axes: str = ""


@dataclass(frozen=True)
class Matrix:
    """A matrix product."""

    left: Shown
    right: Shown


@dataclass(frozen=True)
class Transposed:
    """A transpose."""

    of: Shown


@dataclass(frozen=True)
class Element:
    """An array with its indices written out."""

    name: str
    places: tuple[Shown, ...]


Shown: TypeAlias = "Sign | Sum | Product | Power | Call | Matrix | Transposed | Element"


@dataclass
class Layout:
    """Writes terms as formulas of arrays. ``names``: what its variables are called, if otherwise.

    ``sizes`` and ``one_hots`` collect the letters for numbers of elements and for one-hot rows;
    ``taken`` are letters that have a meaning already.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    sizes: dict[tuple[int, ...], str] = field(default_factory=dict)
    one_hots: dict[str, str] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    _shown: dict[tuple[Term, Order], Shown] = field(default_factory=dict, repr=False)

    def shown(self, term: Term, order: Order) -> Shown:
        """Return a term as a formula of arrays whose axes are in this order."""
        if (term, order) not in self._shown:
            handler = self._number if term.number is not None else getattr(self, f"_{term.op}")
            self._shown[term, order] = handler(term, order)
        return self._shown[term, order]

    # leaves ------------------------------------------------------------------------------------

    def _number(self, term: Term, _: Order) -> Shown:
        return Sign(Fraction(term.coefficient))

    def _literal(self, term: Term, _: Order) -> Shown:
        return Sign(term.extra.value)

    def _null(self, term: Term, order: Order) -> Shown:
        return Product((Sign(Fraction(0)), self.shown(term.args[0], order)), ())

    def _size(self, term: Term, _: Order) -> Shown:
        return Sign(self.size_name((term.extra,)))

    def size_name(self, sizes: tuple[int, ...]) -> str:
        """Return the letter for a number of elements."""
        if sizes not in self.sizes:
            free = (n for n in ("N", "M", "K", "L", "P", "Q") if n not in self.taken)
            self.sizes[sizes] = next(free, f"N_{len(self.sizes)}")
            self.taken.add(self.sizes[sizes])
        return self.sizes[sizes]

    def _variable(self, term: Term, order: Order) -> Shown:
        name, at = self.names.get(term.extra[0], term.extra[0]), term.extra[1]
        axes = [p for p in at if isinstance(p, Index)]
        if any(not isinstance(p, Index) and p != 0 for p in at) or len(set(axes)) < len(axes):
            return self._element(term)
        if axes == [i for i in order if i in axes] or len(axes) < 2:
            return Sign(name)
        if len(axes) == 2:
            return Transposed(Sign(name))
        return self._element(term)

    def _element(self, term: Term) -> Shown:
        name = self.names.get(term.extra[0], term.extra[0])
        places = tuple(self._place(p, natural(term)) for p in places_of(term))
        return Element(str(name), places)

    def _place(self, place: Place, order: Order) -> Shown:
        if isinstance(place, Term):
            return self.shown(place, order)
        return Sign(letter(place) if isinstance(place, Index) else str(place))

    def _delta(self, term: Term, order: Order) -> Shown:
        """Show a one-hot row by the name of its labels; of two indices it is the identity."""
        if term.args:
            label = term.args[-1]
            if label.op == "variable":
                known = label.extra[0]
                name = self.one_hot_name(self.names.get(known, known))
                axes = [*natural(label), *(p for p in term.extra if isinstance(p, Index))]
                ordered = axes == [i for i in order if i in axes]
                return Sign(name) if ordered else Transposed(Sign(name))
            return Call("one_hot", (self.shown(label, order),))
        return Sign("I")

    def one_hot_name(self, label: str) -> str:
        """Return what the one-hot rows of labels are called: ``y``, if that is free."""
        if label not in self.one_hots:
            name = "y" if "y" not in self.taken else f"one_hot({label})"
            self.one_hots[label] = name
            self.taken.add(name)
        return self.one_hots[label]

    # operations --------------------------------------------------------------------------------

    def _add(self, term: Term, order: Order) -> Shown:
        items = [self._item(t, c, order) for t, c in term.items]
        items.sort(key=lambda item: (item[0], _weight(item[1])))
        return Sum(tuple(items))

    def _item(self, term: Term, coefficient: Number, order: Order) -> tuple[bool, Shown]:
        scaled = term.terms.mul(term.factors, magnitude(coefficient))
        return coefficient < 0, self.shown(scaled, order)

    def _mul(self, term: Term, order: Order) -> Shown:
        coefficient, factors = term.coefficient, _one_exponential(term)
        for position, (base, exponent) in enumerate(factors):
            flipped = turned(base) if coefficient < 0 and exponent == 1 else None
            if flipped is not None:
                factors[position] = (flipped, ONE)
                coefficient = -coefficient
        if coefficient < 0:
            return Sum(((True, self.shown(term.terms.mul(factors, -coefficient), order)),))
        spread = self._identity(term, order)
        if spread is not None:
            return spread
        special = self._outer(factors, order)
        if special is not None:
            return _product([*_numbers(coefficient), special], [])
        return self._fraction(coefficient, factors, order)

    def _fraction(
        self, coefficient: Number, factors: Sequence[tuple[Term, Number]], order: Order
    ) -> Shown:
        above: list[Shown] = _numbers(coefficient.numerator)
        below: list[Shown] = _numbers(coefficient.denominator)
        if coefficient.denominator > 1000:
            above, below = [Sign(Fraction(coefficient))], []
        sizes = [b.extra for b, e in factors if b.op == "size" and e == -1]
        rest = [(b, e) for b, e in factors if b.op != "size" or e != -1]
        for base, exponent in rest:
            if exponent > 0:
                shown, sizes = (
                    self._averaged(base, sizes, order) if exponent == 1 else (None, sizes)
                )
                shown = shown or self.shown(base, order)
                above.append(shown if exponent == 1 else Power(shown, Fraction(exponent)))
            else:
                shown = self.shown(base, order)
                below.append(shown if exponent == -1 else Power(shown, Fraction(-exponent)))
        if sizes:
            below.insert(0, Sign(self.size_name(tuple(sorted(sizes)))))
        return _product(above, below)

    def _averaged(
        self, base: Term, sizes: list[int], order: Order
    ) -> tuple[Shown | None, list[int]]:
        """Show a sum that is divided by the number of its terms as a mean."""
        if base.op != "reduce" or base.extra[0] != "sum":
            return None, sizes
        left = list(sizes)
        for index in base.extra[1]:
            if index.size not in left:
                return None, sizes
            left.remove(index.size)
        if contracted(base) is not None and not set(base.extra[1]) <= set(order):
            return None, sizes
        return self._reduced("mean", base, order), left

    def _identity(self, term: Term, order: Order) -> Shown | None:
        """Show a product with the identity matrix in a sum item by item: ``diag(s) - s s'``."""
        for base, exponent in term.factors:
            if base.op == "add" and exponent == 1 and any(_is_identity(t) for t, _ in base.items):
                terms = term.terms
                rest = terms.mul([(b, e) for b, e in term.factors if b is not base])
                scaled = [(terms.mul([(rest, ONE), (t, ONE)]), c) for t, c in base.items]
                items = [self._item(t, c * term.coefficient, order) for t, c in scaled]
                return Sum(tuple(sorted(items, key=lambda item: item[0])))
        return None

    def _outer(self, factors: Sequence[tuple[Term, Number]], order: Order) -> Shown | None:
        """Show a diagonal matrix, or the product of a column and a row."""
        if len(order) != 2:
            return None
        deltas = [b for b, _ in factors if b.op == "delta" and not b.args]
        terms = factors[0][0].terms
        if len(deltas) == 1 and len(factors) > 1:
            rest = terms.mul([(b, e) for b, e in factors if b is not deltas[0]])
            axes = natural(rest)
            return Call("diag", (self.shown(rest, axes),)) if len(axes) == 1 else None
        sides = [[(b, e) for b, e in factors if i in b.free] for i in order]
        shared = [b for b, _ in factors if len(b.free.intersection(order)) != 1]
        if shared or not all(sides):
            return None
        column, row = (terms.mul(side) for side in sides)
        shown = self.shown(column, order[:1]), self.shown(row, order[1:])
        return Matrix(shown[0], Transposed(shown[1]))

    def _reduce(self, term: Term, order: Order) -> Shown:
        name = term.extra[0]
        if name == "sum":
            product = self._contraction(term, order)
            if product is not None:
                return product
        return self._reduced(name, term, order)

    def _reduced(self, name: str, term: Term, order: Order) -> Shown:
        """Show a reduction; its axes are said only where the formula needs it."""
        over = term.extra[1]
        inner = self._inner_order(term, order)
        body = self.shown(term.args[0], inner)
        if name == "mean":
            centred = _centred_square(term.args[0], over)
            if centred is not None:
                return Call("var", (self.shown(centred, inner),), _axes(inner, over))
        return Call(name, (body,), _axes(inner, over))

    def _inner_order(self, term: Term, order: Order) -> Order:
        """Return the axes of what is reduced: as its variables have them."""
        body = term.args[0]
        axes = natural(body)
        outer = [i for i in order if i in body.free]
        return axes if [i for i in axes if i in outer] == outer else (*outer, *term.extra[1])

    def _contraction(self, term: Term, order: Order) -> Shown | None:
        """Show a sum over one index of two groups of factors as a matrix product."""
        pair = contracted(term)
        if pair is None:
            return None
        (k,) = term.extra[1]
        left, right = sorted(pair, key=lambda t: _place_in(order, t.free - {k}))
        rows, columns = (tuple(t.free - {k}) for t in (left, right))
        if not rows:
            rows, columns, left, right = columns, rows, right, left
        return Matrix(self._as_matrix(left, (*rows, k)), self._as_matrix(right, (k, *columns)))

    def _as_matrix(self, term: Term, order: Order) -> Shown:
        axes = natural(term)
        if len(order) == 2 and axes == order[::-1]:
            return _transposed(self.shown(term, axes))
        return self.shown(term, order)

    def _function(self, term: Term, order: Order) -> Shown:
        name = name_of(term)
        operands = tuple(self.shown(a, order) for a in term.args)
        if name == "log" and term.args[0].op == "reduce" and term.args[0].extra[0] == "sum":
            inner = term.args[0].args[0]
            if inner.op == "function" and inner.extra == "exp":
                axes = self._inner_order(term.args[0], order)
                shown = self.shown(inner.args[0], axes)
                return Call("logsumexp", (shown,), _axes(axes, term.args[0].extra[1]))
        return Call(name, operands)

    def _call(self, term: Term, order: Order) -> Shown:
        what, at = term.extra
        shown = tuple(
            self.shown(a.args[0], tuple(p for p in a.extra if isinstance(p, Index)))
            for a in arrays_of(term)
        )
        whole = Call(what.name, shown)
        axes = [p for p in at if isinstance(p, Index)]
        if axes == [i for i in order if i in axes]:
            return whole
        return Transposed(whole) if len(axes) == 2 else whole


def _one_exponential(term: Term) -> list[tuple[Term, Number]]:
    """Return the factors of a product, all its exponentials as one."""
    powers = [(b, e) for b, e in term.factors if b.op == "function" and b.extra == "exp"]
    if all(e == 1 for _, e in powers) and len(powers) < 2:
        return list(term.factors)
    terms = term.terms
    whole = terms.apply("exp", terms.add((b.args[0], e) for b, e in powers))
    return [(whole, ONE), *(f for f in term.factors if f not in powers)]


def sum_within(term: Term) -> Term | None:
    """Return the sum that takes in a sign: the term, or a factor of what it sums up."""
    if term.op == "add":
        return term
    if term.op != "reduce" or term.extra[0] != "sum" or term.args[0].op != "mul":
        return None
    return next((b for b, e in term.args[0].factors if b.op == "add" and e == 1), None)


def turned(term: Term) -> Term | None:
    """Return minus a term, with the signs of the items of the sum within it turned.

    The normal form would not keep it so: it is for showing and computing alone.
    """
    inner, make = sum_within(term), term.terms.make
    if inner is None:
        return None
    flipped = make("add", inner.args, tuple(-c for c in inner.extra))
    if inner is term:
        return flipped
    body = term.args[0]
    args = tuple(flipped if b is inner else b for b in body.args)
    return make("reduce", (make("mul", args, body.extra),), term.extra)


def _is_identity(term: Term) -> bool:
    """Whether a one-hot compares two indices."""
    return any(b.op == "delta" and not b.args for b, _ in term.factors)


def contracted(term: Term) -> tuple[Term, Term] | None:
    """Return the two factors of a matrix product, if a sum over one index is one.

    They share no other index, and have one more at most each, one of them at least.
    """
    (name, over), body = term.extra, term.args[0]
    if name != "sum" or len(over) != 1 or body.op != "mul":
        return None
    (k,) = over
    groups: list[tuple[frozenset[Index], list[tuple[Term, Number]]]] = []
    for base, exponent in body.factors:
        own = base.free - {k}
        joined = [(base, exponent)]
        for group in [g for g in groups if g[0] & own]:
            groups.remove(group)
            own |= group[0]
            joined = group[1] + joined
        groups.append((own, joined))
    if len(groups) != 2 or any(len(own) > 1 for own, _ in groups) or not body.free - {k}:
        return None
    (_, left), (_, right) = groups
    terms = term.terms
    return terms.mul(left, body.coefficient), terms.mul(right)


def _place_in(order: Order, own: frozenset[Index]) -> int:
    return min((order.index(i) for i in own if i in order), default=len(order))


def _centred_square(body: Term, over: Sequence[Index]) -> Term | None:
    """Return x if a term is the square of x minus its own mean."""
    if len(body.factors) != 1 or body.factors[0][1] != 2 or body.coefficient != 1:
        return None
    centred = body.factors[0][0]
    for item, c in centred.items if centred.op == "add" else ():
        terms = body.terms
        mean = terms.sum(over, item) / terms.mul((terms.size(i), ONE) for i in over)
        if c == 1 and centred is item - mean:
            return item
    return None


def _numbers(value: Number) -> list[Shown]:
    return [] if value == 1 else [Sign(Fraction(value))]


def _product(above: list[Shown], below: list[Shown]) -> Shown:
    """Arrange factors: symbols in a fraction, sums after it."""
    flat: list[Shown] = []
    for part in above:
        plain = isinstance(part, Product) and not part.below and not part.last
        flat += part.above if plain else [part]  # type: ignore[union-attr]
    sums: list[Shown] = [p for p in flat if isinstance(p, Sum)]
    first: list[Shown] = sorted((p for p in flat if not isinstance(p, Sum)), key=_weight)
    if not first and len(sums) == 1:
        first, sums = sums, []
    if not below and len(first) + len(sums) == 1:
        return (first + sums)[0]
    several = len(first) > 1 or below
    matrices = [p for p in first if isinstance(p, Matrix)] if several else []
    if matrices and (below or len(first) > len(matrices)):
        first = [p for p in first if p not in matrices]
        sums = [*matrices, *sums]
    if not first and not sums:
        return Product((Sign(Fraction(1)),), tuple(below))
    return Product(tuple(first), tuple(sorted(below, key=_weight)), tuple(sums))


def _transposed(shown: Shown) -> Shown:
    return shown.of if isinstance(shown, Transposed) else Transposed(shown)


def _weight(shown: Shown) -> tuple[int, int]:
    """Say how late a factor or item stands: numbers, letters, then what is longer."""
    if isinstance(shown, Sign):
        return (0 if isinstance(shown.value, Fraction) else 1, 0)
    return (2, _length(shown))


def _length(shown: Any) -> int:
    if isinstance(shown, tuple):
        return sum(map(_length, shown))
    parts = getattr(shown, "__dict__", {}) if not isinstance(shown, Sign) else {}
    return 1 + sum(_length(v) for v in parts.values() if not isinstance(v, str | Fraction))


LETTERS = "ijklmnpqr"


def letter(index: Index) -> str:
    """Return the letter of an index."""
    return LETTERS[index.number % len(LETTERS)] + (f"_{index.size}" if index.number < 0 else "")


def _axes(order: Order, over: Sequence[Index]) -> str:
    """Say which axes are reduced."""
    if len(over) == len(order):
        return ""
    return ", ".join(str(order.index(i)) if i in order else "?" for i in over)
