"""Compute terms on numbers: the meaning of a term, apart from any graph that it may become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from tinygrad_bn.algebra.reading import Operation
from tinygrad_bn.algebra.terms import (
    HALF,
    Index,
    Number,
    Place,
    Term,
    arrays_of,
    places_of,
    walk,
)
from tinygrad_bn.graph.primitive import table

WIDE = np.longdouble

Values: TypeAlias = Mapping[str, Any]
"""The arrays that the variables stand for."""


class Grid:
    """Values of a term: an array with one axis for each of the indices, in their order."""

    __slots__ = ("indices", "values")

    def __init__(self, indices: tuple[Index, ...], values: Any) -> None:
        self.indices, self.values = indices, values

    def on(self, indices: Sequence[Index]) -> Any:
        """Return the values with axes for these indices: of length one where it has none."""
        shape = [i.size if i in self.indices else 1 for i in indices]
        order = [self.indices.index(i) for i in indices if i in self.indices]
        return np.transpose(self.values, order).reshape(shape)


def evaluate(term: Term, values: Values, indices: Sequence[Index | int] = ()) -> Any:
    """Return a term's values as an array with one axis for each of the indices."""
    found = grids([term], values)[term]
    axes = [i for i in indices if isinstance(i, Index)]
    full = np.broadcast_to(found.on(axes), [i.size for i in axes])
    return full.reshape([i.size if isinstance(i, Index) else 1 for i in indices])


def grids(roots: Sequence[Term], values: Values) -> dict[Term, Grid]:
    """Compute the values of terms and of all their parts."""
    made: dict[Term, Grid] = {}
    with np.errstate(all="ignore"):
        for root in roots:
            for term in walk(root):
                if term not in made:
                    made[term] = _grid(term, made, values)
    return made


def _grid(term: Term, made: Mapping[Term, Grid], values: Values) -> Grid:
    if term.op == "array":
        return made[term.args[0]]
    indices = tuple(sorted(term.free))
    if term.op == "reduce":
        return _reduced(term, made[term.args[0]], indices)
    if term.op in ("variable", "call"):
        return _read(term, made, values, indices)
    parts = [made[a].on(indices) for a in term.args]
    shape = [i.size for i in indices]
    return Grid(indices, np.broadcast_to(_pointwise(term, parts, made, indices), shape))


def _pointwise(
    term: Term, parts: Sequence[Any], made: Mapping[Term, Grid], indices: Sequence[Index]
) -> Any:
    if term.op == "mul":
        total: Any = _float(term.coefficient)
        for part, (_, exponent) in zip(parts, term.factors, strict=True):
            total = total * _power(part, exponent)
        return total
    if term.op == "add":
        return sum(_float(c) * p for p, c in zip(parts, term.extra, strict=True))
    if term.op == "null":
        return 0.0 * parts[0]
    if term.op == "size":
        return WIDE(term.extra)
    if term.op == "literal":
        return term.extra.value
    if term.op == "delta":
        here, there = _sides(places_of(term), made, indices)
        return (here == there).astype(float)
    name, params = term.extra if isinstance(term.extra, tuple) else (term.extra, ())
    if name == "where":
        return np.where(parts[0] != 0, parts[1], parts[2])
    return table[name].kernel(*_operands(term, parts), **dict(params))


def _operands(term: Term, parts: Sequence[Any]) -> list[Any]:
    """Return the operands of a function; among integers a number is one, so that they wrap."""
    arrays = [np.asarray(p) for a, p in zip(term.args, parts, strict=True) if a.number is None]
    whole = bool(arrays) and all(p.dtype.kind in "iub" for p in arrays)
    found: list[Any] = []
    for arg, part in zip(term.args, parts, strict=True):
        if arg.op == "literal" and arg.extra.value is None:
            found.append(None)
        else:
            number = arg.number if whole else None
            found.append(part if number is None or number.denominator != 1 else int(number))
    return found


def _float(value: Number) -> Any:
    """Return a number at the precision of long double, so that it never limits that of values."""
    return WIDE(value.numerator) / WIDE(value.denominator)


def _power(base: Any, exponent: Number) -> Any:
    if exponent == 1:
        return base
    if exponent == HALF:
        return np.sqrt(base)
    return np.power(np.asarray(base, WIDE), _float(exponent))


def _sides(
    places: Sequence[Place], made: Mapping[Term, Grid], indices: Sequence[Index]
) -> list[Any]:
    """Compute places as arrays over the indices."""
    found = []
    for place in places:
        if isinstance(place, Index):
            line = [place.size if i == place else 1 for i in indices]
            found.append(np.arange(place.size).reshape(line))
        elif isinstance(place, Term):
            found.append(np.asarray(made[place].on(indices)).astype(np.int64))
        else:
            found.append(np.asarray(place))
    return found


def _read(
    term: Term, made: Mapping[Term, Grid], values: Values, indices: tuple[Index, ...]
) -> Grid:
    """Read an element of a variable, or of what an operation makes of whole arrays."""
    what, at = term.extra
    if isinstance(what, Operation):
        operands = what.on([_array(a, made) for a in arrays_of(term)], np.asarray)
        array = what.op.kernel(*operands, **dict(what.params))
    else:
        array = np.asarray(values[what])
    if not at:
        return Grid((), array)
    places = _sides(places_of(term), made, indices)
    shape = [i.size for i in indices]
    return Grid(indices, np.broadcast_to(array[tuple(places)], shape))


def _array(term: Term, made: Mapping[Term, Grid]) -> Any:
    """Compute a whole array from its elements."""
    axes = [p for p in term.extra if isinstance(p, Index)]
    values = np.broadcast_to(made[term.args[0]].on(axes), [i.size for i in axes])
    return values.reshape([p.size if isinstance(p, Index) else 1 for p in term.extra])


def _reduced(term: Term, body: Grid, indices: tuple[Index, ...]) -> Grid:
    name, over = term.extra
    order = (*indices, *over)
    full = np.broadcast_to(body.on(order), [i.size for i in order])
    axes = tuple(range(len(indices), len(order)))
    return Grid(indices, getattr(np, name)(full, axis=axes))
