"""Rewriting: rules applied from the parts to the whole until none applies, each use kept.

Rules are oriented: exponentials of sums become products, logarithms of products sums, constants
leave sums, cases leave functions. Laws that could be used in both directions are used where they
make a formula cheaper. That it ends, and soon, is certain all the same: every use spends one of a
number that is fixed by the size of the formula, every product that is multiplied out on trial one
of another, and with none left a formula stays as it is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

from tinygrad_bn.algebra.patterns import build, head_of, matches, together
from tinygrad_bn.algebra.rules import RULES, Rule
from tinygrad_bn.algebra.terms import ONE, ZERO, Number, Term, bound_in, cost, replace, walk

MOST_ITEMS = 64
"""Products are multiplied out only up to this many items."""


USES = 60
"""So many uses of laws are allowed for each part of a formula, and this many times ten at least."""

TRIALS = 30
"""So many products may be multiplied out on trial for each part; textbooks' formulas need 6."""


class Step(NamedTuple):
    """One use of a law: ``before`` equals ``after``."""

    rule: str
    before: Term
    after: Term


class Rewriter:
    """Normal forms of terms by a table of rules; remembers why each is what it is."""

    def __init__(self, rules: Sequence[Rule] = RULES) -> None:
        self._by_head: dict[str, list[Rule]] = defaultdict(list)
        for rule in rules:
            self._by_head[rule.head].append(rule)
        self._done: dict[Term, Term] = {}
        self._next: dict[Term, tuple[str, Term]] = {}
        self.uses_left = self.trials_left = 0
        self._largest = 0
        self._nested = False

    def normal(self, root: Term) -> Term:
        """Return the normal form of a term."""
        if root in self._done:
            return self._done[root]
        if self._nested:
            return self._normal(root)
        size = 10 + sum(1 for _ in walk(root))
        self.uses_left = USES * size
        self.trials_left += TRIALS * max(0, size - self._largest)
        self._largest = max(size, self._largest)
        self._nested = True
        try:
            return self._normal(root)
        finally:
            self._nested = False

    def _normal(self, root: Term) -> Term:
        done = self._done
        stack = [root]
        waiting: set[Term] = set()
        while stack:
            term = stack[-1]
            if term in done:
                stack.pop()
                continue
            missing = [a for a in term.args if a not in done]
            if missing:
                stack += missing
                continue
            after = self._after(term)
            if after is term or after in waiting:
                done[term] = term
                waiting.discard(term)
            elif after in done:
                done[term] = done[after]
                waiting.discard(term)
            else:
                waiting.add(term)
                stack.append(after)
        return done[root]

    def _after(self, term: Term) -> Term:
        """Return the next form of a term whose parts are normal."""
        if term in self._next:
            return self._next[term][1]
        rebuilt = term.terms.rebuild(term, [self._done[a] for a in term.args])
        if rebuilt is not term:
            self._next[term] = ("", rebuilt)
            return rebuilt
        for name, after in self._candidates(term) if self.uses_left > 0 else ():
            if after is not term:
                self.uses_left -= 1
                self._next[term] = (name, after)
                return after
        return term

    def _candidates(self, term: Term) -> Iterator[tuple[str, Term]]:
        near = _near(term)
        for kind in head_of(term):
            for rule in self._by_head.get(kind, ()):
                if not rule.needs <= near:
                    continue
                for binding, left in matches(rule.pattern, term, rule.conditions):
                    made = build(rule.replacement, binding, term.terms)
                    yield rule.name, made if left is None else together([made, left], term.op)
        for name, law in LAWS.get(head_of(term)[0], {}).items():
            found = law(self, term)
            if found is not None:
                yield name, found

    def spread(self, origins: dict[Term, Any]) -> None:
        """Let what a term became come from where the term came from."""
        for term, (_, after) in self._next.items():
            if term in origins:
                origins.setdefault(after, origins[term])

    def steps(self, root: Term) -> list[Step]:
        """List the uses of laws that lead from a term to its normal form, in their order."""
        found: list[Step] = []
        seen: set[Term] = set()
        stack: list[tuple[Term, bool]] = [(root, False)]
        while stack:
            term, parts_done = stack.pop()
            if term in seen and not parts_done:
                continue
            seen.add(term)
            if not parts_done:
                stack.append((term, True))
                stack += [(a, False) for a in reversed(term.args)]
            elif term in self._next:
                name, after = self._next[term]
                if name:
                    found.append(Step(name, term, after))
                stack.append((after, False))
        return found


def _near(term: Term) -> set[str]:
    """Return the kinds of terms near the top of a term that a rule may need."""
    found = set()
    below = [b for a in term.args for b in a.args]
    for part in (term, *term.args, *below, *(c for b in below for c in b.args)):
        if part.op == "delta":
            found.add("delta")
        elif part.op == "function" and part.extra == "where":
            found.add("where")
    return found


# laws that choose -------------------------------------------------------------------------------


def split_sum(rewriter: Rewriter, term: Term) -> Term | None:
    """Split a sum of sums where a part leaves it, or where it gets shorter."""
    name, over = term.extra
    body = term.args[0]
    if name != "sum":
        return None
    terms = term.terms
    for plainly in (True, False):
        items = body.items if plainly else expanded(rewriter, body)
        if items is None or len(items) < 2:
            continue
        parts = [(terms.sum(over, t), c) for t, c in items]
        normal = [(rewriter.normal(p), c) for p, c in parts]
        left = [p for p, _ in normal if _has_sum(p, over)]
        joined = terms.add(normal)
        if (plainly and len(left) < len(parts)) or cost(joined) < cost(term):
            return terms.add(parts)
    return None


def _has_sum(term: Term, over: tuple[object, ...]) -> bool:
    """Whether a sum over these indices is a factor of a term or of one of its items."""
    return any(
        b.op == "reduce" and len(b.extra[1]) == len(over)
        for t, _ in term.items
        for b, _ in t.factors
    )


def merge_cases(rewriter: Rewriter, term: Term) -> Term | None:
    """Add cases with one condition case by case."""
    items = term.items
    conditions = dict.fromkeys(c for t, _ in items for c in _conditions(t))
    terms = term.terms
    for condition in conditions:
        ours = [(t, c) for t, c in items if condition in _conditions(t)]
        rest = [(t, c) for t, c in items if condition not in _conditions(t)]
        sides = [
            rewriter.normal(terms.add((assumed(t, condition, holds=h), c) for t, c in ours))
            for h in (True, False)
        ]
        whole = sides[0] if sides[0] is sides[1] else terms.apply("where", condition, *sides)
        best = terms.add([(whole, ONE), *rest])
        if cost(best) < cost(term):
            return best
    return None


def within_case(rewriter: Rewriter, term: Term) -> Term | None:
    """Choose the case of a condition inside its own cases."""
    condition, *sides = term.args
    known = [
        rewriter.normal(assumed(side, condition, holds=holds))
        for side, holds in zip(sides, (True, False), strict=True)
    ]
    return term.terms.rebuild(term, [condition, *known])


def _conditions(item: Term) -> list[Term]:
    """List the conditions of the cases that are factors of an item."""
    return [b.args[0] for b, _ in item.factors if b.op == "function" and b.extra == "where"]


def assumed(term: Term, condition: Term, *, holds: bool) -> Term:
    """Return what a term is where a condition holds, or where it does not."""

    def swap(part: Term) -> Term | None:
        """Choose the case."""
        if part.op == "function" and part.extra == "where" and part.args[0] is condition:
            return assumed(part.args[1 if holds else 2], condition, holds=holds)
        return None if condition.free.isdisjoint(bound_in(part)) else part

    return replace(term, swap)


def common_factor(rewriter: Rewriter, term: Term) -> Term | None:
    """Take a common factor out of a sum."""
    found = factored(term)
    return None if found is term else found


def factored(term: Term) -> Term:
    """Return a sum with its common factor outside."""
    content = _content([dict(t.factors) for t, _ in term.items])
    return _divided(term, content) if content else term


def _content(items: Sequence[dict[Term, Number]]) -> dict[Term, Number]:
    """Return the powers that all items have; of exponentials the lowest, absent ones count as 0."""
    found: dict[Term, Number] = {}
    for base in dict.fromkeys(b for item in items for b in item):
        powers = [item.get(base, ZERO) for item in items]
        if min(powers) > 0 or (base.op == "function" and base.extra == "exp" and min(powers) < 0):
            found[base] = min(powers)
        elif max(powers) < 0:
            found[base] = max(powers)
    return found


def _divided(term: Term, content: dict[Term, Number]) -> Term:
    terms = term.terms
    over = [(b, -e) for b, e in content.items()]
    rest = terms.add((terms.mul([*t.factors, *over]), c) for t, c in term.items)
    return terms.mul([*content.items(), (rest, ONE)])


def multiply_out(rewriter: Rewriter, term: Term) -> Term | None:
    """Multiply the items of a sum out, if that makes it shorter."""
    items = expanded(rewriter, term)
    return None if items is None else _if_cheaper(_factored(term.terms.add(items)), term)


def _if_cheaper(made: Term, term: Term) -> Term | None:
    return made if cost(made) < cost(term) else None


def multiply_out_sums(rewriter: Rewriter, term: Term) -> Term | None:
    """Multiply out below sums too, if that makes it shorter."""
    items: list[tuple[Term, Number]] = []
    changed = False
    for item, coefficient in term.items:
        opened = term.terms.mul(
            [(_opened(rewriter, b) if e == 1 else b, e) for b, e in item.factors]
        )
        changed |= opened is not item
        items += [(t, c * coefficient) for t, c in _products(rewriter, opened)]
    if not changed or len(items) > MOST_ITEMS:
        return None
    return _if_cheaper(term.terms.add((rewriter.normal(t), c) for t, c in items), term)


def _opened(rewriter: Rewriter, term: Term) -> Term:
    """Return a sum of products as a sum of the sums of its items."""
    if term.op != "reduce" or term.extra[0] != "sum":
        return term
    items = expanded(rewriter, term.args[0])
    if items is None:
        return term
    terms = term.terms
    return terms.add((rewriter.normal(terms.sum(term.extra[1], t)), c) for t, c in items)


def distribute(rewriter: Rewriter, term: Term) -> Term | None:
    """Multiply a product out, if that makes it shorter."""
    parts = _products(rewriter, term)
    if len(parts) < 2:
        return None
    whole = term.terms.add((rewriter.normal(t), c) for t, c in parts)
    return _if_cheaper(_factored(whole), term)


def common_denominator(rewriter: Rewriter, term: Term) -> Term | None:
    """Bring a sum to a common denominator, if that makes it shorter."""
    content: dict[Term, Number] = {}
    for t, _ in term.items:
        for base, exponent in t.factors:
            if exponent < 0 and base.op == "add":
                content[base] = min(content.get(base, ZERO), exponent)
    if not content:
        return None
    terms = term.terms
    over = [(b, -e) for b, e in content.items()]
    top = terms.add((terms.mul([*t.factors, *over]), c) for t, c in term.items)
    items = expanded(rewriter, top) if top.op == "add" else None
    if items is not None:
        top = _factored(terms.add(items))
    return _if_cheaper(terms.mul([*content.items(), (top, ONE)]), term)


def expanded(rewriter: Rewriter, term: Term) -> list[tuple[Term, Number]] | None:
    """Return the items of a sum with products of sums multiplied out; None if none is there."""
    found: list[tuple[Term, Number]] = []
    changed = False
    for item, coefficient in term.items:
        parts = _products(rewriter, item)
        changed |= len(parts) > 1
        found += [(t, c * coefficient) for t, c in parts]
        if len(found) > MOST_ITEMS:
            return None
    if not changed:
        return None
    return [(rewriter.normal(t), c) for t, c in found]


def _products(rewriter: Rewriter, item: Term) -> list[tuple[Term, Number]]:
    """Multiply a product of sums out, as long as trials are left."""
    terms = item.terms
    parts: list[tuple[list[tuple[Term, Number]], Number]] = [([], item.coefficient)]
    for base, exponent in item.factors:
        if base.op == "add" and exponent in (1, 2):
            for _ in range(int(exponent)):
                parts = [([*t.factors, *left], c * k) for left, c in parts for t, k in base.items]
                if len(parts) > min(MOST_ITEMS, rewriter.trials_left):
                    return [(item, ONE)]
        else:
            parts = [([*left, (base, exponent)], c) for left, c in parts]
    rewriter.trials_left -= len(parts) - 1
    return [(terms.mul(factors), c) for factors, c in parts]


def _factored(term: Term) -> Term:
    """Return a sum, or the one sum in a product, with its common factor outside."""
    if term.op == "add":
        return factored(term)
    return term.terms.mul(
        [(factored(b) if b.op == "add" else b, e) for b, e in term.factors],
        term.coefficient,
    )


Law: TypeAlias = Callable[[Rewriter, Term], Term | None]

LAWS: dict[str, dict[str, Law]] = {
    "sum": {"a sum of sums is split": split_sum},
    "where": {"within a case its condition holds": within_case},
    "add": {
        "cases are added case by case": merge_cases,
        "a common factor leaves the items": common_factor,
        "multiplied out and collected": multiply_out,
        "a common denominator": common_denominator,
        "sums are multiplied out and collected": multiply_out_sums,
    },
    "mul": {"a product is multiplied out": distribute},
}
"""Laws that are used where they make a formula shorter: distribution, in both directions."""
