"""Names: what a textbook calls the parts of a formula, found by what they are.

A definition such as ``s = exp(z) / sum(exp(z))`` is solved for one of its parts, here the
exponential, and put in; the rest then cancels. A name is given only where the formula gets
shorter by it, its definition not counted.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

from tinygrad_bn.algebra.rewriting import Rewriter, Step
from tinygrad_bn.algebra.terms import (
    HALF,
    ONE,
    Index,
    Number,
    Place,
    Term,
    cost,
    instance,
    natural,
    replace,
    variables,
    walk,
)

Swap = Callable[[Term], Term | None]


class Definition(NamedTuple):
    """A name: ``symbol[indices]`` equals ``term``, and is written ``name``.

    ``kind`` says what it is in textbooks.
    """

    symbol: str
    name: str
    kind: str
    indices: tuple[Index, ...]
    term: Term
    argument: Term

    def at(self, places: Sequence[Place]) -> Term:
        """Return the name at other places."""
        return self.term.terms.variable(self.symbol, places)


class Naming:
    """Definitions of the parts of formulas, in the order in which they were found."""

    def __init__(self, rewriter: Rewriter, taken: set[str]) -> None:
        self.rewriter, self.taken = rewriter, set(taken)
        self.definitions: list[Definition] = []
        self._tried = 0
        self._replaced: dict[tuple[str, ...], dict[Term, Term]] = {}
        self.steps: list[Step] = []

    def named(self, root: Term) -> Term:
        """Return a formula with names for its parts, as short as it gets."""
        root = self._known(root)
        while True:
            found = next(self._shorter(root), None)
            if found is None:
                return root
            definitions, after = found
            kept = [d._replace(name=self._free(d.name)) for d in definitions]
            self.definitions += kept
            label = " and ".join(d.name for d in kept)
            self.steps.append(Step(f"definition of {label}", root, after))
            root = after

    def _known(self, root: Term) -> Term:
        """Use the names that another result has already: all at once, then each that helps."""
        while (after := self._with_known(root, self.definitions)) is not root:
            root = after
        for definition in self.definitions:
            root = self._with_known(root, [definition])
        return root

    def _with_known(self, root: Term, definitions: Sequence[Definition]) -> Term:
        """Use names where the formula gets shorter by them."""
        key = tuple(d.symbol for d in definitions)
        kept = self._replaced.setdefault(key, {})
        after = self.rewriter.normal(replace(root, _all_solved(definitions), kept))
        if cost(after) >= cost(root):
            return root
        new = variables(after) - variables(root)
        label = " and ".join(d.name for d in definitions if d.symbol in new)
        self.steps.append(Step(f"definition of {label or 'a name'}", root, after))
        return after

    def _shorter(self, root: Term) -> Iterator[tuple[list[Definition], Term]]:
        for find in FINDERS:
            for definitions in find(self, root):
                after = self._put_in(root, definitions)
                if after is not None and cost(after) < cost(root):
                    yield definitions, after

    def _put_in(self, root: Term, definitions: Sequence[Definition]) -> Term | None:
        """Solve definitions for their pivots and put those in; None if nothing changes."""
        after = root
        for definition in definitions:
            after = self.rewriter.normal(replace(after, SOLVED[definition.kind](definition)))
        return None if after is root else after

    def finished(self) -> list[Definition]:
        """Return the definitions in the order in which they need each other, with names in them."""
        found = {d.symbol: d for d in self.definitions}
        for own, other in itertools.permutations(self.definitions, 2):
            needed = needed_by(_terms_of(found[other.symbol]), found)
            if other.kind != "part" and own.symbol not in needed:
                found[own.symbol] = self._shortened(found[own.symbol], other)
        return [
            found[s]
            for s in sorted(found, key=lambda s: len(needed_by(_terms_of(found[s]), found)))
        ]

    def _shortened(self, definition: Definition, other: Definition) -> Definition:
        """Put the name of another into a definition, where it then gets shorter."""
        by_argument = definition.kind in ("softmax", "sigmoid")
        before = definition.argument if by_argument else definition.term
        after = self._put_in(before, [other])
        if after is None or cost(after) >= cost(before):
            return definition
        self.steps.append(Step(f"definition of {other.name}", before, after))
        return (
            definition._replace(argument=after) if by_argument else definition._replace(term=after)
        )

    def _free(self, wish: str) -> str:
        """Take a name that is free."""
        name, count = wish, 2
        while name in self.taken:
            name, count = f"{wish}_{count}", count + 1
        self.taken.add(name)
        return name

    def define(self, wish: str, kind: str, term: Term, argument: Term) -> Definition:
        """Make a definition; its name is settled when it is kept."""
        self._tried += 1
        symbol = f"{wish}?{self._tried}"
        if term.positive or kind == "root":
            term.terms.above_zero.add(symbol)
        indices = natural(argument if kind == "softmax" else term)
        return Definition(symbol, wish, kind, indices, term, argument)


def _all_solved(definitions: Sequence[Definition]) -> Swap:
    """Solve definitions for their pivots."""
    swaps = [SOLVED[d.kind](d) for d in definitions]

    def swap(term: Term) -> Term | None:
        """Put in the first that is there."""
        return next((s for solve in swaps if (s := solve(term)) is not None), None)

    return swap


def needed_by(terms: Sequence[Term], definitions: Mapping[str, Definition]) -> set[str]:
    """Return the names that formulas use, and those that these stand for."""
    found: set[str] = set()
    todo = [*terms]
    while todo:
        new = (variables(todo.pop()) & definitions.keys()) - found
        found |= new
        todo += [t for n in new for t in _terms_of(definitions[n])]
    return found


def _terms_of(definition: Definition) -> tuple[Term, ...]:
    """Return the formulas that say what a name stands for: of a softmax its argument does."""
    if definition.kind in ("softmax", "sigmoid"):
        return (definition.argument,)
    return (definition.term,)


def _exponentials(term: Term) -> list[tuple[Term, Number]] | None:
    """Return the powers of exponentials of which a term is the product, if it is one."""
    factors = list(term.factors)
    plain = term.coefficient == 1 and factors and all(_is_exp(b) for b, _ in factors)
    return factors if plain else None


def _is_exp(term: Term) -> bool:
    return term.op == "function" and term.extra == "exp"


def _exponent(factors: Sequence[tuple[Term, Number]]) -> Term:
    """Return the sum in the exponent of a product of exponentials."""
    return factors[0][0].terms.add((b.args[0], e) for b, e in factors)


# softmax -----------------------------------------------------------------------------------------


def softmaxes(naming: Naming, root: Term) -> Iterator[list[Definition]]:
    """Find what is an exponential over a sum of the same exponentials."""
    for total in walk(root):
        if total.op == "reduce" and total.extra[0] == "sum":
            body = total.args[0]
            factors = _exponentials(body)
            if factors:
                z = _exponent(factors)
                yield [naming.define("s", "softmax", body / total, z)]


def _solve_softmax(definition: Definition) -> Swap:
    """Solve ``s = e**k * rest / total`` for an exponential e of all its indices."""
    total = total_of(definition)
    pivot, power = max(
        ((b, e) for b, e in definition.term.factors if b is not total),
        key=lambda factor: len(factor[0].free),
    )
    others = definition.term / pivot**power

    def swap(term: Term) -> Term | None:
        """Put in the solution; the total itself stays."""
        if term.op == "reduce" and instance(total, term) is not None:
            return term
        at = instance(pivot, term) if _is_exp(term) else None
        if at is None or set(at) != set(definition.indices):
            return None
        s = definition.at([at[i] for i in definition.indices])
        solved: Term = (s / term.terms.move(others, at)) ** (1 / Fraction(power))
        return solved

    return swap


def total_of(definition: Definition) -> Term:
    """Return the sum that a softmax divides by."""
    return next(b for b, e in definition.term.factors if b.op == "reduce" and e == -1)


# sigmoid -----------------------------------------------------------------------------------------


def sigmoids(naming: Naming, root: Term) -> Iterator[list[Definition]]:
    """Find what is an exponential over one plus the same."""
    for whole in walk(root):
        if whole.op == "add" and len(whole.args) == 2 and whole.args[0] is whole.terms.one:
            factors = _exponentials(whole.args[1])
            if factors and whole.extra == (1, 1):
                z = _exponent(factors)
                yield [naming.define("s", "sigmoid", whole.args[1] / whole, z)]


def _solve_sigmoid(definition: Definition) -> Swap:
    """Solve ``s = e / (1 + e)``: one plus e is 1/(1 - s), e is s/(1 - s)."""
    one = definition.term.terms.one
    (whole,) = (b for b, e in definition.term.factors if b.op == "add")
    pivot, power = whole.args[1].factors[0]
    others = whole.args[1] / pivot**power

    def swap(term: Term) -> Term | None:
        """Put in the solution."""
        for part in (whole, pivot):
            at = instance(part, term)
            if at is not None and set(at) >= set(definition.indices):
                s = definition.at([at[i] for i in definition.indices])
                if part is whole:
                    return (one - s) ** -1
                rest = term.terms.move(others, at)
                solved: Term = (s / (one - s) / rest) ** (1 / Fraction(power))
                return solved
        return None

    return swap


# standardised values -----------------------------------------------------------------------------


def deviations(naming: Naming, root: Term) -> Iterator[list[Definition]]:
    """Find roots of mean squares, and what is divided by them."""
    for term in walk(root):
        for base, exponent in term.factors if term.op == "mul" else ():
            if exponent.denominator != 2:
                continue
            squares = _squares(base)
            if squares is None:
                continue
            values = squares.args[0].factors[0][0]
            centred, symbol = _origin(values)
            wish = "sigma" if centred else "norm" if _is_plain(base) else "rms"
            mean = base if base.op == "add" else squares / _sizes(squares)
            root = (squares if wish == "norm" else mean) ** HALF
            sigma = naming.define(wish, "root", root, values)
            hat = naming.define(f"{symbol}_hat", "ratio", values / sigma.at(sigma.indices), values)
            yield [sigma, hat]
            yield [sigma]


def _squares(base: Term) -> Term | None:
    """Return the sum of squares in a variance: alone, or beside a number."""
    parts = [t for t, _ in base.items if t.number is None]
    if len(parts) != 1:
        return None
    sums = [b for b, e in parts[0].factors if b.op == "reduce" and b.extra[0] == "sum" and e == 1]
    if len(sums) != 1 or any(b.op != "size" for b, _ in parts[0].factors if b is not sums[0]):
        return None
    factors = sums[0].args[0].factors
    return sums[0] if len(factors) == 1 and factors[0][1] == 2 else None


def _is_plain(base: Term) -> bool:
    """Whether a sum of squares is no mean, and nothing is added to it."""
    return base.op != "add" and all(b.op != "size" for b, _ in base.factors)


def _sizes(total: Term) -> Term:
    return total.terms.mul((total.terms.size(i), ONE) for i in total.extra[1])


def _origin(values: Term) -> tuple[bool, str]:
    """Say whether values are centred, and the name of the variable that they are."""
    items = values.items
    centred = len(items) == 2 and any(t.op in ("mul", "reduce") for t, _ in items)
    names = [t.extra[0] for t, _ in items if t.op == "variable"]
    return centred, names[0] if len(names) == 1 else "x"


def _solve_root(definition: Definition) -> Swap:
    """Solve ``sigma = sqrt(v)``: v is the square of sigma."""
    ((base, _),) = [(b, e) for b, e in definition.term.factors if b.op in ("add", "reduce")]
    scale = (definition.term / base**HALF) ** 2

    def swap(term: Term) -> Term | None:
        """Put in the solution."""
        at = instance(base, term)
        if at is None:
            return None
        sigma = definition.at([at[i] for i in definition.indices])
        return sigma**2 / term.terms.move(scale, at)

    return swap


def _solve_ratio(definition: Definition) -> Swap:
    """Solve ``x_hat = c / sigma``: c is x_hat times sigma."""
    values = definition.argument
    sigma = values / definition.term

    def swap(term: Term) -> Term | None:
        """Put in the solution."""
        at = instance(values, term)
        if at is None:
            return None
        return definition.at([at[i] for i in definition.indices]) * term.terms.move(sigma, at)

    return swap


# what occurs often -------------------------------------------------------------------------------


def repeated(naming: Naming, root: Term) -> Iterator[list[Definition]]:
    """Find functions and long parts that occur more than once."""
    uses: dict[Term, int] = {}
    for term in walk(root):
        for part in term.args:
            uses[part] = uses.get(part, 0) + 1
    for term, count in uses.items():
        known = term.op == "function" and isinstance(term.extra, str) and term.extra in CUSTOMARY
        if (
            count > 1
            and not _is_exp(term)
            and (known or cost(term) > LONG)
            and term.op in ("function", "add", "mul")
        ):
            wish = CUSTOMARY.get(term.extra, "u") if known else "u"
            yield [naming.define(wish, "part", term, term)]


CUSTOMARY = {"tanh": "t"}
LONG = 4


def _solve_part(definition: Definition) -> Swap:
    """Put in a name for what it names."""

    def swap(term: Term) -> Term | None:
        """Put in the name."""
        at = instance(definition.term, term)
        return None if at is None else definition.at([at[i] for i in definition.indices])

    return swap


FINDERS = (softmaxes, sigmoids, deviations, repeated)
SOLVED: dict[str, Callable[[Definition], Swap]] = {
    "softmax": _solve_softmax,
    "sigmoid": _solve_sigmoid,
    "root": _solve_root,
    "ratio": _solve_ratio,
    "part": _solve_part,
}
