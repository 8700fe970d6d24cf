"""What textbooks see in terms: matrix products, centred squares, a sum that takes in a sign."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tinygrad_bn.algebra.terms import ONE, Index, Number, Term

Factors = list[tuple[Term, Number]]


class Contraction(NamedTuple):
    """A matrix product, or one for each value of ``batch``: a sum over ``k`` of two factors."""

    k: Index
    batch: frozenset[Index]
    left: Term
    right: Term


def contracted(term: Term) -> Contraction | None:
    """Return the two factors of a matrix product, if a sum over one index is one.

    Besides the index and those of the batch they have one more at most each, one of them at
    least; with a batch, both.
    """
    (name, over), body = term.extra, term.args[0]
    if name != "sum" or len(over) != 1 or body.op != "mul":
        return None
    (k,) = over
    for batch in _batches(body, k):
        groups = _groups(body, batch | {k})
        own = [indices for indices, _ in groups]
        if len(groups) == 2 and all(len(i) <= 1 for i in own) and (all(own) or not batch):
            terms = term.terms
            left, right = (terms.mul(factors) for _, factors in groups)
            if k in left.free & right.free:
                return Contraction(k, batch, terms.mul(left.factors, body.coefficient), right)
    return None


def _batches(body: Term, k: Index) -> list[frozenset[Index]]:
    """List what may be the batch: nothing, or the indices of all factors that have k."""
    along = [b.free - {k} for b, _ in body.factors if k in b.free]
    shared = frozenset.intersection(*along) if len(along) > 1 else frozenset()
    return [frozenset(), shared] if shared else [frozenset()]


def _groups(body: Term, common: frozenset[Index]) -> list[tuple[frozenset[Index], Factors]]:
    """Group factors that share an index; those with common ones alone join the largest group."""
    groups: list[tuple[frozenset[Index], Factors]] = []
    loose: Factors = []
    for base, exponent in body.factors:
        own = base.free - common
        joined = [(base, exponent)]
        if not own:
            loose += joined
            continue
        for group in [g for g in groups if g[0] & own]:
            groups.remove(group)
            own |= group[0]
            joined = group[1] + joined
        groups.append((own, joined))
    if loose and len(groups) == 2:
        largest = max(groups, key=lambda g: len(g[1]))
        largest[1].extend(loose)
    elif loose:
        groups.append((frozenset(), loose))
    return groups


def stepwise(term: Term) -> Term | None:
    """Return a sum over several indices as a sum of matrix products, if it is one."""
    name, over = term.extra
    if name != "sum" or len(over) < 2:
        return None
    terms = term.terms
    for k in over:
        inner = terms.sum((k,), term.args[0])
        found = contracted(inner)
        if found is not None and found.batch:
            return terms.sum([i for i in over if i != k], inner)
    return None


def sum_within(term: Term) -> Term | None:
    """Return the sum that takes in a sign: the term, what it sums up, or a factor of that."""
    if term.op == "add":
        return term
    if term.op != "reduce" or term.extra[0] != "sum":
        return None
    factors = term.args[0].factors if term.args[0].op == "mul" else ((term.args[0], ONE),)
    return next((b for b, e in factors if b.op == "add" and e == 1), None)


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
    return make(
        "reduce", (flipped if body is inner else make("mul", args, body.extra),), term.extra
    )


def centred_square(body: Term, over: Sequence[Index]) -> Term | None:
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


def one_exponential(term: Term) -> list[tuple[Term, Number]]:
    """Return the factors of a product, all its exponentials as one."""
    powers = [(b, e) for b, e in term.factors if b.op == "function" and b.extra == "exp"]
    if all(e == 1 for _, e in powers) and len(powers) < 2:
        return list(term.factors)
    terms = term.terms
    whole = terms.apply("exp", terms.add((b.args[0], e) for b, e in powers))
    return [(whole, ONE), *(f for f in term.factors if f not in powers)]
