"""From formulas back to a graph: terms computed with the operations of the package.

What a definition names is computed once, softmax and sigmoid by the functions of that name, so that
nothing overflows. A sum of products over one index is a matrix product.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tinygrad_bn.algebra.naming import Definition, needed_by, total_of
from tinygrad_bn.algebra.patterns import name_of
from tinygrad_bn.algebra.reading import Operation
from tinygrad_bn.algebra.structure import Contraction, contracted, stepwise, sum_within, turned
from tinygrad_bn.algebra.terms import (
    HALF,
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
from tinygrad_bn.functions.activations import sigmoid, softplus
from tinygrad_bn.functions.losses import one_hot
from tinygrad_bn.functions.softmax import logsumexp, softmax
from tinygrad_bn.graph.primitive import bind, table
from tinygrad_bn.graph.tensor import Tensor, leaf
from tinygrad_bn.primitives.contraction import matmul
from tinygrad_bn.primitives.elementwise import exp, sqrt, square
from tinygrad_bn.primitives.movement import (
    astype,
    broadcast_to,
    permute_dims,
    reshape,
)


class Laid(NamedTuple):
    """A value with an axis for each of these indices; a number has none."""

    value: Any
    axes: Order


class Lowering:
    """Computes terms as tensors. ``inputs``: what the variables stand for.

    ``roots``: all that will be asked for, to tell what is used once.
    """

    def __init__(
        self, inputs: Mapping[str, Any], definitions: Sequence[Definition], roots: Sequence[Term]
    ) -> None:
        self.inputs = inputs
        self.definitions = {d.symbol: d for d in definitions}
        self._made: dict[Term, Laid] = {}
        self._named: dict[str, Laid] = {}
        parts = dict.fromkeys(part for root in roots for part in walk(root))
        self._uses = Counter(a for part in parts for a in part.args)

    def result(self, term: Term, places: Sequence[Place], dtype: Any) -> Tensor:
        """Return a term as a tensor with an axis for each place, of one element where it is 0."""
        needed = needed_by([term], self.definitions)
        for name in self.definitions:
            if name in needed:
                self._definition(name)
        self._prepare(term)
        axes = tuple(p for p in places if isinstance(p, Index))
        made = self.value(term)
        value = made.value
        shape = tuple(p.size if isinstance(p, Index) else 1 for p in places)
        if not isinstance(value, Tensor):
            value = leaf(np.asarray(value, dtype))
        value = aligned(Laid(value, made.axes), axes)
        if value.shape != shape:
            value = broadcast_to(value, tuple(i.size for i in axes))
            value = value if value.shape == shape else reshape(value, shape)
        return _cast(value, dtype)

    def _prepare(self, term: Term) -> None:
        """Compute the parts of a term first, so that nothing nests deeply."""
        for part in walk(term):
            if part.op in ("add", "call") or (part.op == "function" and part.extra != "exp"):
                self.value(part)

    def value(self, term: Term) -> Laid:
        """Return a term's value; it is computed once, by whatever indices it is written."""
        if term not in self._made:
            own = {old: new for old, new in _renumbered(term).items() if old != new}
            same = term.terms.move(term, own)
            if same.op != term.op:  # a sum whose sign turned: it would turn back for ever
                own, same = {}, term
            if same not in self._made:
                self._made[same] = self._directly(same)
            back = {new: old for old, new in own.items()}
            value, axes = self._made[same]
            self._made[term] = Laid(value, tuple(back.get(i, i) for i in axes))
        return self._made[term]

    def _directly(self, term: Term) -> Laid:
        made: Laid = getattr(self, f"_{term.op}")(term)
        return made

    def together(self, terms: Sequence[Term]) -> tuple[list[Any], Order]:
        """Return values over common axes, ready to be combined elementwise."""
        laid = [self.value(t) for t in terms]
        axes = _common(laid)
        return [aligned(x, axes) for x in laid], axes

    # leaves ------------------------------------------------------------------------------------

    def _literal(self, term: Term) -> Laid:
        return Laid(term.extra.value, ())

    def _size(self, term: Term) -> Laid:
        return Laid(term.extra, ())

    def _null(self, term: Term) -> Laid:
        inner = self.value(term.args[0])
        return Laid(0.0 * inner.value, inner.axes)

    def _variable(self, term: Term) -> Laid:
        name, at = term.extra
        if name in self.definitions:
            whole = self._definition(name)
        else:
            tensor = self.inputs[name]
            own = [p for p in at if isinstance(p, Index)]
            kept = tuple(n for n in tensor.shape if n != 1)
            if tuple(p.size for p in own) == kept and _are_plain(term, own):
                flat = tensor if tensor.shape == kept else reshape(tensor, kept)
                return Laid(flat, tuple(own))
            return self._indexed(tensor, places_of(term))
        own = [p for p in at if isinstance(p, Index)]
        if len(own) == len(set(own)) == len(at):
            return Laid(whole.value, tuple(own))
        return self._indexed(whole.value, places_of(term))

    def _definition(self, name: str) -> Laid:
        """Compute what a name stands for; its axes are those of the definition, in order."""
        if name not in self._named:
            definition = self.definitions[name]
            made = self._defined(definition)
            value = aligned(made, definition.indices)
            full = tuple(i.size for i in definition.indices)
            if tuple(getattr(value, "shape", ())) != full:
                value = broadcast_to(value, full)
            self._named[name] = Laid(value, definition.indices)
        return self._named[name]

    def _defined(self, definition: Definition) -> Laid:
        if definition.kind not in ("softmax", "sigmoid"):
            self._prepare(definition.term)
            return self.value(definition.term)
        self._prepare(definition.argument)
        argument = self.value(definition.argument)
        if definition.kind == "sigmoid":
            return Laid(sigmoid(argument.value), argument.axes)
        rows = total_of(definition).free
        axes = [a for a, i in enumerate(argument.axes) if i not in rows]
        along = axes[0] if len(axes) == 1 else tuple(axes)
        return Laid(softmax(argument.value, axis=along), argument.axes)

    def _indexed(self, tensor: Tensor, places: Sequence[Place]) -> Laid:
        """Read a tensor at computed places."""
        laid = [self.value(p) if isinstance(p, Term) else Laid(p, ()) for p in places]
        own = [(p,) if isinstance(p, Index) else x.axes for p, x in zip(places, laid, strict=True)]
        axes = tuple(dict.fromkeys(i for group in own for i in group))
        key: list[Any] = []
        for place, value in zip(places, laid, strict=True):
            if isinstance(place, Index):
                line = [place.size if i == place else 1 for i in axes]
                key.append(np.arange(place.size).reshape(line))
            else:
                key.append(aligned(value, axes) if isinstance(place, Term) else place)
        return Laid(tensor[tuple(key)], axes)

    def _delta(self, term: Term) -> Laid:
        here, there = sides = places_of(term)
        if isinstance(there, Term):
            label = self.value(there)
            if isinstance(here, Index):
                return Laid(one_hot(label.value, here.size), (*label.axes, here))
        if isinstance(here, Index) and isinstance(there, Index):
            return Laid(leaf(np.eye(here.size)), (here, there))
        values, axes = self._places(sides)
        return Laid(astype(values[0] == values[1], np.float64), axes)

    def _places(self, sides: Sequence[Any]) -> tuple[list[Any], Order]:
        laid = [
            self.value(s)
            if isinstance(s, Term)
            else Laid(leaf(np.arange(s.size)), (s,))
            if isinstance(s, Index)
            else Laid(s, ())
            for s in sides
        ]
        axes = _common(laid)
        return [aligned(x, axes) for x in laid], axes

    # operations --------------------------------------------------------------------------------

    def _add(self, term: Term) -> Laid:
        items = sorted(term.items, key=lambda item: item[1] < 0)
        scaled = [term.terms.mul(t.factors, magnitude(c)) for t, c in items]
        values, axes = self.together(scaled)
        total = values[0] if items[0][1] > 0 else -values[0]
        for value, (_, c) in zip(values[1:], items[1:], strict=True):
            total = total + value if c > 0 else total - value
        return Laid(total, axes)

    def _mul(self, term: Term) -> Laid:
        """Multiply powers: what has few axes first, so that little is computed on many."""
        if term.number is not None:
            return Laid(_plain(term.number), ())
        signs = self._turned(term)
        above, below = self._factors(term, signs)
        number = _plain(-term.coefficient if signs else term.coefficient)
        top = _product(sorted(above, key=_extent)) if above else None
        bottom = _product(sorted(below, key=_extent)) if below else None
        if top is None:
            top, number = Laid(number, ()), 1
        scaled = top if number == 1 else _scaled(top, number)
        if bottom is None:
            return scaled
        axes = _common([scaled, bottom])
        return Laid(_quotient(aligned(scaled, axes), aligned(bottom, axes)), axes)

    def _turned(self, term: Term) -> dict[Term, Term]:
        """Return a factor with a difference, used here alone, that takes in a product's minus."""
        for base, exponent in term.factors if term.coefficient < 0 else ():
            inner = sum_within(base) if exponent == 1 else None
            if inner is None or max(self._uses[base], self._uses[inner]) > 1:
                continue
            if min(inner.extra) < 0:
                flipped = turned(base)
                return {base: flipped} if flipped is not None else {}
        return {}

    def _factors(self, term: Term, signs: Mapping[Term, Term]) -> tuple[list[Laid], list[Laid]]:
        """Compute the factors above and below the line; exponentials become one.

        ``signs``: what is computed with the opposite sign, and as what.
        """
        above: list[Laid] = []
        below: list[Laid] = []
        powers = [(b, e) for b, e in term.factors if b.op == "function" and b.extra == "exp"]
        if powers:
            exponent = self.value(term.terms.add((b.args[0], e) for b, e in powers))
            above.append(Laid(exp(exponent.value), exponent.axes))
        for base, exponent_ in term.factors:
            if (base, exponent_) not in powers:
                made = self._directly(signs[base]) if base in signs else self.value(base)
                side = above if exponent_ > 0 else below
                side.append(Laid(_power(made.value, magnitude(exponent_)), made.axes))
        return above, below

    def _reduce(self, term: Term) -> Laid:
        name, over = term.extra
        if name == "sum":
            product = contracted(term)
            if product is not None:
                return self._matrix_product(product)
            steps = stepwise(term)
            if steps is not None:
                over, term = steps.extra[1], steps
        inner = self.value(term.args[0])
        axis = tuple(inner.axes.index(i) for i in over)
        kept = tuple(i for i in inner.axes if i not in over)
        params = {**table[name].static, "axis": axis}
        return Laid(bind(table[name], (inner.value,), params), kept)

    def _matrix_product(self, found: Contraction) -> Laid:
        """Multiply in the order that needs fewer transposes."""
        k, batch = found.k, tuple(sorted(found.batch))
        sides = [self.value(found.left), self.value(found.right)]
        outer = [tuple(i for i in x.axes if i != k and i not in batch) for x in sides]
        first = 0 if _transposes(sides, outer, k) <= _transposes(sides[::-1], outer[::-1], k) else 1
        (a, b), (rows, columns) = (sides, outer) if first == 0 else (sides[::-1], outer[::-1])
        left, right = aligned(a, (*batch, *rows, k)), aligned(b, (*batch, k, *columns))
        return Laid(matmul(left, right), (*batch, *rows, *columns))

    def _function(self, term: Term) -> Laid:
        name = name_of(term)
        special = self._logarithm(term) if name == "log" else None
        if special is not None:
            return special
        values, axes = self.together(term.args)
        params = dict(term.extra[1]) if isinstance(term.extra, tuple) else {}
        return Laid(bind(table[name], tuple(values), {**table[name].static, **params}), axes)

    def _logarithm(self, term: Term) -> Laid | None:
        """Compute the logarithm of a sum of exponentials without overflow."""
        inner = term.args[0]
        if inner.op == "reduce" and inner.extra[0] == "sum":
            body = inner.args[0]
            if body.op == "function" and body.extra == "exp":
                made = self.value(body.args[0])
                axis = tuple(made.axes.index(i) for i in inner.extra[1])
                kept = tuple(i for i in made.axes if i not in inner.extra[1])
                return Laid(logsumexp(made.value, axis=axis), kept)
        if inner.op == "add" and inner.args[0].number == 1 and inner.extra == (1, 1):
            powers = inner.args[1].factors
            if all(b.op == "function" and b.extra == "exp" for b, _ in powers):
                made = self.value(term.terms.add((b.args[0], e) for b, e in powers))
                return Laid(softplus(made.value), made.axes)
        return None

    def _call(self, term: Term) -> Laid:
        what: Operation
        what, at = term.extra
        operands = what.on([self._array(a) for a in arrays_of(term)], _cast)
        made = bind(what.op, operands, dict(what.params))
        own = [p for p in at if isinstance(p, Index)]
        kept = tuple(n for n in made.shape if n != 1)
        if tuple(p.size for p in own) == kept and _are_plain(term, own):
            return Laid(made if made.shape == kept else reshape(made, kept), tuple(own))
        return self._indexed(made, places_of(term))

    def _array(self, term: Term) -> Tensor:
        """Compute a whole array from its elements."""
        made = self.value(term.args[0])
        axes = tuple(p for p in term.extra if isinstance(p, Index))
        shape = tuple(p.size if isinstance(p, Index) else 1 for p in term.extra)
        value = (
            aligned(made, axes) if isinstance(made.value, Tensor) else leaf(np.array(made.value))
        )
        full = tuple(i.size for i in axes)
        value = value if value.shape == full else broadcast_to(value, full)
        return value if full == shape else reshape(value, shape)


def _are_plain(term: Term, own: Sequence[Index]) -> bool:
    """Whether an array is read as it lies: at indices of its own, and at no computed place."""
    computed = any(isinstance(p, Term) for p in places_of(term))
    return not computed and len(own) == len(set(own))


def _cast(value: Tensor, dtype: Any) -> Tensor:
    """Return a value in the dtype that it had in the recorded graph."""
    return value if value.dtype == dtype else astype(value, dtype)


def _transposes(sides: Sequence[Laid], outer: Sequence[Order], k: Index) -> int:
    """Count the transposes that a matrix product needs."""
    return (sides[0].axes != (*outer[0], k)) + (sides[1].axes != (k, *outer[1]))


def _renumbered(term: Term) -> dict[Index, Index]:
    """Number the free indices of a term anew, in the order in which its variables have them."""
    counts: dict[int, int] = {}
    found = {}
    for index in natural(term):
        found[index] = Index(index.size, counts.get(index.size, 0))
        counts[index.size] = counts.get(index.size, 0) + 1
    return found


def _extent(laid: Laid) -> int:
    return len(laid.axes)


def _common(laid: Sequence[Laid]) -> Order:
    """Return the axes of all values, in the order of the one that has most."""
    longest = max(laid, key=_extent)
    rest = dict.fromkeys(i for x in laid for i in x.axes if i not in longest.axes)
    return (*rest, *longest.axes) if rest else longest.axes


def aligned(laid: Laid, axes: Order) -> Any:
    """Return a value with its axes in this order, of length one where it lacks them, unless first.

    Order that are missing in front are left to broadcasting.
    """
    value, own = laid
    if not isinstance(value, Tensor) or own == axes:
        return value
    order = [own.index(i) for i in axes if i in own]
    if order != sorted(order):
        value = permute_dims(value, tuple(order))
    present = [i in own for i in axes]
    first = present.index(True) if True in present else len(axes)
    shape = tuple(i.size if i in own else 1 for i in axes[first:])
    return value if value.shape == shape else reshape(value, shape)


def _plain(number: Number) -> int | float:
    """Return a number as Python has it: an int where it is one, infinite where none holds it."""
    try:
        value = float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf
    return int(number) if number.denominator == 1 and magnitude(number) < 2**63 else value


def _quotient(above: Any, below: Any) -> Any:
    """Divide; numbers too as IEEE 754 says."""
    if isinstance(above, Tensor) or isinstance(below, Tensor) or below != 0:
        return above / below
    return math.nan if above == 0 else math.copysign(math.inf, above)


def _power(value: Any, exponent: Number) -> Any:
    if exponent == 1:
        return value
    if not isinstance(value, Tensor):
        return value ** _plain(exponent)
    if exponent == 2:
        return square(value)
    if exponent == HALF:
        return sqrt(value)
    return value ** _plain(exponent)


def _product(factors: Sequence[Laid]) -> Laid:
    total = factors[0]
    for factor in factors[1:]:
        axes = _common([total, factor])
        total = Laid(aligned(total, axes) * aligned(factor, axes), axes)
    return total


def _scaled(laid: Laid, number: float) -> Laid:
    """Multiply by a number; by a fraction of one as a division."""
    if number == -1:
        return Laid(-laid.value, laid.axes)
    return Laid(number * laid.value, laid.axes)
