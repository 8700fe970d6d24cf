"""From formulas of indices to formulas of arrays, as they stand in a textbook.

``sum(k, x[i, k] * w[k, j])`` is ``x @ w``, ``sum(i, x[i, j]) / size(i)`` is ``mean(x)``, and a
factor that lacks an index broadcasts. What could be read in another way than it is meant is
refused with ``Unsayable``: such a formula keeps its indices (see ``indexed``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, TypeAlias

from tinygrad_bn.algebra.naming import Definition
from tinygrad_bn.algebra.patterns import name_of
from tinygrad_bn.algebra.shown import (
    Call,
    Element,
    Matrix,
    Power,
    Product,
    Shown,
    Sign,
    Sum,
    number,
    product,
    transposed,
    transposes,
    weight,
)
from tinygrad_bn.algebra.structure import (
    centred_square,
    contracted,
    one_exponential,
    stepwise,
    sum_within,
    turned,
)
from tinygrad_bn.algebra.terms import (
    ONE,
    Index,
    Number,
    Order,
    Place,
    Term,
    arrays_of,
    magnitude,
    natural,
    places_of,
    walk,
)

Positions: TypeAlias = tuple[int, ...]
Along: TypeAlias = "defaultdict[str, set[tuple[Positions, int]]]"


class Unsayable(Exception):  # noqa: N818  (no error: it chooses the other notation)
    """A formula has no unambiguous form in the notation of arrays."""


@dataclass
class Letters:
    """The names that formulas of one page share.

    ``names``: what variables are called, if otherwise; ``shapes``: of the arrays that they are;
    ``frames``: where the axes that a definition leaves of larger arrays are, from the last;
    ``taken``: letters that have a meaning; ``sizes``, ``one_hots``, ``deltas``: the letters found
    for numbers of elements, one-hot rows and Kronecker's delta; ``joined``: whether a product of
    exponentials is written as one; ``squeezed``: whether axes of length one were left out.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    frames: dict[str, Positions] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    sizes: dict[tuple[int, ...], str] = field(default_factory=dict)
    one_hots: dict[str, str] = field(default_factory=dict)
    delta: str = ""
    joined: bool = True
    squeezed: bool = False

    def define(self, definitions: Sequence[Definition]) -> None:
        """Take the names of definitions, and where the axes of what they stand for are."""
        self.names = {**self.names, **{d.symbol: d.name for d in definitions}}
        self.taken |= set(self.names.values())
        for definition in definitions:
            axes = natural(definition.argument)
            if set(definition.indices) < set(axes):
                places = tuple(axes.index(i) - len(axes) for i in definition.indices)
                self.frames[definition.symbol] = places

    def name(self, variable: str) -> str:
        """Return what a variable is called."""
        return self.names.get(variable, variable)

    def size(self, sizes: tuple[int, ...]) -> Sign:
        """Return the letter for a number of elements."""
        if sizes not in self.sizes:
            self.sizes[sizes] = self.free("N", "M", "K", "L", "P", "Q")
        return Sign(self.sizes[sizes], scalar=True)

    def one_hot(self, label: str) -> Shown:
        """Return what the one-hot rows of labels are called: ``y``, if that is free."""
        if label not in self.one_hots and "y" not in self.taken:
            self.one_hots[label] = self.free("y")
        name = self.one_hots.get(label)
        return Call("one_hot", (Sign(label),)) if name is None else Sign(name)

    def kronecker(self) -> Sign:
        """Return the letter of what is one where two indices are equal."""
        self.delta = self.delta or self.free("delta", "kronecker")
        return Sign(self.delta)

    def free(self, *wishes: str) -> str:
        """Take the first letter that is free, or number the first."""
        numbered = (f"{wishes[0]}_{k}" for k in range(2, 2 + len(self.taken) + 1))
        found = next(n for n in (*wishes, *numbered) if n not in self.taken)
        self.taken.add(found)
        return found


class Layout:
    """Writes terms as formulas of arrays.

    ``along``: for each variable that is not aligned with the last axes of what it stands beside,
    where its axes are and among how many. ``matrices``: whether there are products of matrices.
    """

    matrices = True

    def __init__(self, letters: Letters) -> None:
        self.letters = letters
        self.along: Along = defaultdict(set)
        self._made: dict[tuple[Term, Order], tuple[Shown, Along] | None] = {}

    def aligned(self, *terms: Term, order: Order) -> list[Shown] | None:
        """Return terms as formulas if they can be read without a word on axes, else None."""
        try:
            shown = [self.shown(t, order) for t in terms]
        except Unsayable:
            return None
        return shown if all(is_last(f) for found in self.along.values() for f in found) else None

    def shown(self, term: Term, order: Order) -> Shown:
        """Return a term as a formula of arrays whose axes are in this order."""
        return self._chosen(self._considered(term, order))

    def _chosen(self, made: tuple[Shown, Along]) -> Shown:
        """Return a formula, and note where the axes in it are."""
        shown, along = made
        for variable, found in along.items():
            self.along[variable] |= found
        return shown

    def _considered(self, term: Term, order: Order) -> tuple[Shown, Along]:
        """Return a formula and where the axes of its arrays are."""
        if (term, order) not in self._made:
            outside, self.along = self.along, defaultdict(set)
            self._made[term, order] = None
            handler = self._number if term.number is not None else getattr(self, f"_{term.op}")
            try:
                self._made[term, order] = handler(term, order), self.along
            finally:
                self.along = outside
        made = self._made[term, order]
        if made is None:
            raise Unsayable
        return made

    # leaves ------------------------------------------------------------------------------------

    def _number(self, term: Term, _: Order) -> Shown:
        return number(term.coefficient)

    def _literal(self, term: Term, _: Order) -> Shown:
        return Sign(term.extra.value, scalar=True)

    def _null(self, term: Term, order: Order) -> Shown:
        return Product((number(0), self.shown(term.args[0], order)), ())

    def _size(self, term: Term, _: Order) -> Shown:
        return self.letters.size((term.extra,))

    def _variable(self, term: Term, order: Order) -> Shown:
        variable, name = term.extra[0], self.letters.name(term.extra[0])
        places, sizes = places_of(term), self.letters.shapes.get(term.extra[0], ())
        whole = all(isinstance(p, Index) or n == 1 for p, n in zip(places, sizes, strict=False))
        axes = tuple(p for p in places if isinstance(p, Index))
        if len(axes) == 2 == len(places) and axes[0] == axes[1]:
            return self._placed(Call("diag", (Sign(name),)), axes[:1], order)
        if whole and all(isinstance(p, Index | int) for p in places):
            if _from_the_last(term.extra[1], order):
                self._note(axes, order, variable)
                return Sign(name, scalar=not places)
            self.letters.squeezed |= len(axes) < len(places)
            return self._placed(Sign(name, scalar=not places), axes, order, variable)
        sliced, axes = self._sliced(places)
        return self._placed(Element(Sign(name), sliced), axes, order)

    def _sliced(self, places: Sequence[Place]) -> tuple[tuple[Shown, ...], Order]:
        """Show the places at which an array is read as NumPy's indexing, and the axes that stay."""
        computed = [p for p in places if isinstance(p, Term)]
        if computed and len(computed) < sum(not isinstance(p, Index) for p in places):
            raise Unsayable
        axes: list[Index] = []
        if len(computed) == len(places):
            if len({natural(p) for p in computed}) > 1:
                raise Unsayable
            axes = [*natural(computed[0])]
        elif len(computed) > 1:
            raise Unsayable
        else:
            for place in places:
                axes += natural(place) if isinstance(place, Term) else ()
                axes += [place] if isinstance(place, Index) else []
        shown = (
            self.shown(p, natural(p)) if isinstance(p, Term) else Sign(":" if p in axes else str(p))
            for p in places
        )
        return tuple(shown), tuple(axes)

    def _placed(self, shown: Shown, axes: Order, order: Order, variable: str = "") -> Shown:
        """Return an array with these axes where it is combined with others, if that can be said."""
        wanted = tuple(i for i in order if i in axes)
        if len(wanted) != len(axes):
            raise Unsayable
        self._fits(wanted, order, variable)
        if axes == wanted:
            return shown
        if wanted == (*axes[:-2], *axes[:-3:-1]):
            return transposed(shown, several=len(axes) > 2)
        permutation = ", ".join(str(axes.index(i)) for i in wanted)
        return Call("permute_dims", (shown,), parameters=(f"axes=({permutation})",))

    def _fits(self, axes: Order, order: Order, variable: str) -> None:
        """Note where the axes of a variable are; refuse others that are not at the end."""
        if variable:
            self._note(axes, order, variable)
        elif axes and axes != order[-len(axes) :]:
            raise Unsayable

    def _note(self, axes: Order, order: Order, variable: str) -> None:
        """Note where the axes of a variable are; those of a reduction stay where they were."""
        positions = tuple(order.index(i) for i in axes)
        frame = self.letters.frames.get(variable)
        if frame is not None:
            if positions != tuple(len(order) + k for k in frame):
                raise Unsayable
        elif 0 < len(axes) < len(order):
            self.along[variable].add((positions, len(order)))

    def _delta(self, term: Term, order: Order) -> Shown:
        """Show a one-hot row by the name of its labels; of two indices it is the identity."""
        here, there = places_of(term)
        if isinstance(here, Index) and isinstance(there, Index):
            return self._placed(Sign("I"), tuple(i for i in order if i in (here, there)), order)
        if not isinstance(here, Index):
            here, there = there, here
        if not isinstance(here, Index):
            raise Unsayable
        if not isinstance(there, Term):
            return self._placed(Call("one_hot", (number(there),)), (here,), order)
        rows = natural(there)
        if there.op == "variable" and there.extra[1] == rows:
            named = self.letters.one_hot(self.letters.name(there.extra[0]))
            return self._placed(named, (*rows, here), order)
        labels = Call("one_hot", (self._labels(there, rows),))
        return self._placed(labels, (*rows, here), order)

    def _labels(self, term: Term, rows: Order) -> Shown:
        """Show an array of labels by the axes of its rows alone."""
        if term.op == "variable" and term.extra[1] != rows:
            places, _ = self._sliced(places_of(term))
            return Element(Sign(self.letters.name(term.extra[0])), places)
        return self.shown(term, rows)

    # operations --------------------------------------------------------------------------------

    def _add(self, term: Term, order: Order) -> Shown:
        items = [self._item(t, c, order) for t, c in term.items]
        items.sort(key=lambda item: (item[0], weight(item[1])))
        return Sum(tuple(items))

    def _item(self, term: Term, coefficient: Number, order: Order) -> tuple[bool, Shown]:
        """Show an item of a sum, and whether it is subtracted: not if a difference can turn."""
        factors = list(term.factors)
        for position, (base, exponent) in enumerate(factors):
            if coefficient < 0 and exponent == 1 and _turns_freely(base):
                factors[position] = (turned(base) or base, ONE)
                coefficient = -coefficient
        return coefficient < 0, self.shown(term.terms.mul(factors, magnitude(coefficient)), order)

    def _mul(self, term: Term, order: Order) -> Shown:
        coefficient = term.coefficient
        factors = one_exponential(term) if self.letters.joined else list(term.factors)
        for position in _to_turn(coefficient, factors):
            flipped = turned(factors[position][0])
            factors[position] = (flipped or factors[position][0], ONE)
            coefficient = -coefficient if flipped else coefficient
        if coefficient < 0:
            return Sum(((True, self.shown(term.terms.mul(factors, -coefficient), order)),))
        if self.matrices:
            special = self._as_matrices(term, coefficient, factors, order)
            if special is not None:
                return special
        return self._fraction(coefficient, factors, order)

    def _as_matrices(
        self, term: Term, c: Number, factors: Sequence[tuple[Term, Number]], order: Order
    ) -> Shown | None:
        """Show what only the algebra of matrices has a name for: a diagonal, an outer product."""
        spread = self._identity(term, order)
        if spread is not None:
            return spread
        special = self._outer(factors, order)
        return None if special is None else product([*_numbers(c), special], [])

    def _fraction(
        self, coefficient: Number, factors: Sequence[tuple[Term, Number]], order: Order
    ) -> Shown:
        above: list[Shown] = _numbers(coefficient.numerator)
        below: list[Shown] = _numbers(coefficient.denominator)
        if coefficient.denominator > 1000:
            above, below = [number(coefficient)], []
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
            below.insert(0, self.letters.size(tuple(sorted(sizes))))
        return product(above, below)

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
        matrices = self.matrices and (contracted(base) or stepwise(base))
        if matrices and not set(base.extra[1]) <= set(order):
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
        deltas = [b for b, _ in factors if _is_kronecker(b)]
        terms = factors[0][0].terms
        if len(deltas) == 1 and len(factors) > 1:
            rest = terms.mul([(b, e) for b, e in factors if b is not deltas[0]])
            axes = natural(rest)
            return Call("diag", (self.shown(rest, axes),)) if len(axes) == 1 else None
        sides = [[(b, e) for b, e in factors if i in b.free] for i in order]
        shared = [b for b, _ in factors if len(b.free.intersection(order)) != 1]
        if shared or not all(sides):
            return None
        column, row = (self._vector(terms.mul(side)) for side in sides)
        return Matrix(column, transposed(row))

    def _vector(self, term: Term) -> Shown:
        """Show an array of one axis, not one that has others of length one."""
        _without_short_axes(term, 1)
        return self.shown(term, natural(term))

    def _reduce(self, term: Term, order: Order) -> Shown:
        name = term.extra[0]
        if name == "sum":
            matrices = self._contraction(term, order)
            if matrices is not None:
                return matrices
            steps = stepwise(term)
            if steps is not None:
                return self._reduced(name, steps, order)
        return self._reduced(name, term, order)

    def _reduced(self, name: str, term: Term, order: Order) -> Shown:
        """Show a reduction; its axes are said only where the formula needs it."""
        over = term.extra[1]
        inner = self._inner_order(term, order)
        body = self.shown(term.args[0], inner)
        if name == "mean":
            centred = centred_square(term.args[0], over)
            if centred is not None:
                return Call("var", (self.shown(centred, inner),), _axes(inner, over))
        return Call(name, (body,), _axes(inner, over))

    def _inner_order(self, term: Term, order: Order) -> Order:
        """Return the axes of what is reduced: as its variables have them, if that can be read.

        The axes that stay are read as kept with length one beside larger arrays.
        """
        over, axes = term.extra[1], natural(term.args[0])
        if not set(over) <= set(axes):
            raise Unsayable
        outer = [i for i in order if i in term.free]
        for inner in (axes, (*outer, *over)):
            left = [i for i in inner if i not in over]
            kept = all(len(order) - order.index(i) == len(inner) - inner.index(i) for i in left)
            if left == outer and (kept or left == [*order]):
                return inner
        raise Unsayable

    def _contraction(self, term: Term, order: Order) -> Shown | None:
        """Show a sum over one index of two groups of factors as a matrix product."""
        found = contracted(term)
        if found is None:
            return None
        k, common = found.k, found.batch | {found.k}
        batch = tuple(i for i in order if i in found.batch)
        left, right = sorted((found.left, found.right), key=lambda t: _at(order, t.free - common))
        rows, columns = (tuple(t.free - common) for t in (left, right))
        if not rows:
            rows, columns, left, right = columns, rows, right, left
        sides = (
            self._as_matrix(left, (*batch, *rows, k)),
            self._as_matrix(right, (*batch, k, *columns)),
        )
        return self._placed(Matrix(*sides), (*batch, *rows, *columns), order)

    def _as_matrix(self, term: Term, order: Order) -> Shown:
        """Show a factor of a matrix product, or its transpose if that takes fewer of them."""
        _without_short_axes(term, len(order))
        if len(order) < 2 or natural(term) != (*order[:-2], *order[:-3:-1]):
            return self.shown(term, order)
        flipped = self._considered(term, natural(term))
        try:
            direct = self._considered(term, order)
        except Unsayable:
            direct = None
        if direct and transposes(direct[0]) < transposes(transposed(flipped[0])):
            return self._chosen(direct)
        return transposed(self._chosen(flipped), several=len(order) > 2)

    def _function(self, term: Term, order: Order) -> Shown:
        name = name_of(term)
        if name == "log" and term.args[0].op == "reduce" and term.args[0].extra[0] == "sum":
            inner = term.args[0].args[0]
            if inner.op == "function" and inner.extra == "exp":
                axes = self._inner_order(term.args[0], order)
                shown = self.shown(inner.args[0], axes)
                return Call("logsumexp", (shown,), _axes(axes, term.args[0].extra[1]))
        return Call(name, tuple(self.shown(a, order) for a in term.args))

    def _call(self, term: Term, order: Order) -> Shown:
        what, shape = term.extra[0], term.extra[0].shape
        shown = tuple(
            self.shown(a.args[0], tuple(p for p in a.extra if isinstance(p, Index)))
            for a in arrays_of(term)
        )
        whole: Shown = Call(what.name, shown, parameters=what.parameters)
        places = places_of(term)
        axes = tuple(p for p in places if isinstance(p, Index))
        if any(not isinstance(p, Index) and n != 1 for p, n in zip(places, shape, strict=True)):
            sliced, axes = self._sliced(places)
            whole = Element(whole, sliced)
        return self._placed(whole, axes, order)


def _turns_freely(base: Term) -> bool:
    """Whether a factor has a difference of terms that are no numbers."""
    inner = sum_within(base)
    return inner is not None and _is_mixed(inner) and all(t.number is None for t in inner.args)


def _is_mixed(total: Term) -> bool:
    """Whether some items of a sum are added, and some subtracted."""
    return bool(min(total.extra) < 0 < max(total.extra))


def is_last(found: tuple[Positions, int]) -> bool:
    """Whether axes are the last ones of so many."""
    axes, count = found
    return axes == tuple(range(count - len(axes), count))


def _to_turn(coefficient: Number, factors: Sequence[tuple[Term, Number]]) -> list[int]:
    """Choose differences whose signs are turned, so that no minus is left, and no 1 subtracted."""
    sums = [(p, sum_within(b)) for p, (b, e) in enumerate(factors) if e == 1]
    mixed = [(p, s) for p, s in sums if s is not None and _is_mixed(s)]
    chosen = [p for p, s in mixed if any(t.number and c < 0 for t, c in s.items)]
    if coefficient * (-1) ** len(chosen) < 0:
        others = [p for p, _ in mixed if p not in chosen]
        return [*chosen, others[0]] if others else chosen[:-1]
    return chosen


def _from_the_last(at: Sequence[Any], order: Order) -> bool:
    """Whether the axes of an array, short ones too, are the last of an order."""
    last = order[len(order) - len(at) :]
    return len(at) <= len(order) and all(p in (i, 0) for p, i in zip(at, last, strict=True))


def _without_short_axes(term: Term, count: int) -> None:
    """Refuse a factor of a matrix product with more axes, some of length one, than it shows.

    Leading ones of a matrix are a stack of one.
    """
    arrays = [t.extra[1] for t in walk(term) if t.op in ("variable", "call")]
    for at in arrays:
        if 0 in at and len(at) > count and (count == 1 or 0 in at[-count:]):
            raise Unsayable


def _is_identity(term: Term) -> bool:
    """Whether a factor of a product compares two indices."""
    return any(_is_kronecker(b) for b, _ in term.factors)


def _is_kronecker(term: Term) -> bool:
    return term.op == "delta" and len(term.free) == 2 and not term.args


def _at(order: Order, own: frozenset[Index]) -> int:
    return min((order.index(i) for i in own if i in order), default=len(order))


def _numbers(value: Number) -> list[Shown]:
    return [] if value == 1 else [number(value)]


def _axes(order: Order, over: Sequence[Index]) -> str:
    """Say which axes are reduced."""
    if len(over) == len(order):
        return ""
    return ", ".join(str(order.index(i)) for i in over)
