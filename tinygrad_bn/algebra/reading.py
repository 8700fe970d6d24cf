"""Read a recorded graph as formulas: what one element of each result is, in terms of indices.

Reading follows demand: an element of a product is a product of elements, an element of a transpose
is the element with its indices exchanged, an element of a sum is a sum over a new index. So
movements vanish. An operation that has no such reading stays a call on whole arrays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from tinygrad_bn.algebra.axes import order, summed
from tinygrad_bn.algebra.terms import HALF, ONE, Index, Place, Term, Terms, magnitude, unused
from tinygrad_bn.graph.primitive import Primitive
from tinygrad_bn.graph.program import Trace
from tinygrad_bn.graph.tensor import Tensor, Variable

Places: TypeAlias = tuple[Place, ...]
Reader: TypeAlias = Generator[tuple[Any, Places], Term, Term]
"""A reader asks for elements (an operand and its places) and is given their terms."""


@dataclass(frozen=True)
class Operation:
    """An operation on whole arrays: ``operands`` holds the fixed ones, and dtypes for arrays.

    ``shape``: of what it makes.
    """

    op: Primitive = field(compare=False)
    name: str
    operands: tuple[Any, ...]
    params: tuple[tuple[str, Any], ...]
    shape: tuple[int, ...]

    @property
    def label(self) -> str:
        """The name of the operation."""
        return self.name

    @property
    def parameters(self) -> tuple[str, ...]:
        """Its static parameters as they are written in a call, without those left at a default."""
        given = [(k, v) for k, v in self.params if v != self.op.static.get(k)]
        return tuple(f"{k}={_written(v)}" for k, v in given if v is not None)

    def on(self, arrays: Sequence[Any], cast: Callable[[Any, Any], Any]) -> tuple[Any, ...]:
        """Return all operands, arrays in their places and dtypes."""
        rest = iter(arrays)
        return tuple(cast(next(rest), o) if isinstance(o, np.dtype) else o for o in self.operands)


class Reading:
    """The formulas of a trace. ``terms`` makes them; elements that were read are kept.

    ``values``: the arrays of inputs and constants by name; ``origins``: which tensor a term was
    first read from.
    """

    def __init__(self, trace: Trace, terms: Terms | None = None) -> None:
        self.terms = Terms() if terms is None else terms
        self.trace = trace
        self.values = {name: np.asarray(v) for name, v in trace.constants.items()}
        self.names = trace.names
        self.values |= {self.names[t]: trace.value_of(t) for t in trace.inputs}
        self._known = set(trace.nodes)
        self._given = set(trace.inputs)
        self.origins: dict[Term, Tensor] = {}
        self._read: dict[Tensor, dict[Places, Term]] = {}

    def indices(self, result: Tensor) -> Places:
        """Return one index for each axis of a result, 0 for an axis of one element."""
        return fresh(result.shape, ())

    def element(self, tensor: Any, places: Places) -> Term:
        """Return the term of an element; a walk without recursion."""
        stack = [self._reader(tensor, places)]
        keys = [(tensor, places)]
        answer: Any = None
        while stack:
            try:
                wanted = stack[-1].send(answer)
            except StopIteration as done:
                stack.pop()
                answer = self._keep(*keys.pop(), done.value)
                continue
            answer = self._kept(*wanted)
            if answer is None:
                stack.append(self._reader(*wanted))
                keys.append(wanted)
        found: Term = answer
        return found

    def _keep(self, operand: Any, places: Places, term: Term) -> Term:
        if isinstance(operand, Tensor):
            self._read.setdefault(operand, {})[places] = term
            self.origins.setdefault(term, operand)
        return term

    def _kept(self, operand: Any, places: Places) -> Term | None:
        known = self._read.get(operand) if isinstance(operand, Tensor) else None
        return None if known is None else known.get(places)

    def _reader(self, operand: Any, places: Places) -> Reader:
        if not isinstance(operand, Tensor):
            return self._scalar(operand)
        if operand in self._known:
            read = READERS.get(operand.op.name)
            if read is None:
                read = _elementwise if operand.op.family == "elementwise" else _whole
            if operand.op.family == "contraction" and operand.dtype.kind not in "fc":
                read = _whole  # integers wrap around
            return (
                self._stopped(read(self, operand, places))
                if _is_frozen(operand)
                else (read(self, operand, places))
            )
        return self._leaf(operand, places)

    def _stopped(self, read: Reader) -> Reader:
        """Keep the gradient out of what was recorded under no_grad."""
        term = yield from read
        return self.terms.apply("stop_gradient", term)

    def _scalar(self, value: Any) -> Reader:
        yield from ()
        return self.constant(value)

    def constant(self, value: Any) -> Term:
        """Return a Python scalar as a term."""
        if isinstance(value, bool) or value is None or not _finite(value):
            return self.terms.literal(value)
        return self.terms.number(value.item() if isinstance(value, np.generic) else value)

    def _leaf(self, tensor: Tensor, places: Places) -> Reader:
        """Return an element of an input, or of a constant: a number where all are one number.

        What has a name, a gradient, or can be assigned is a variable, whatever its values are.
        """
        yield from ()
        name = self.names[tensor]
        variable = tensor.name is not None or isinstance(tensor, Variable) or tensor.requires_grad
        if tensor not in self._given and not variable:
            value = self.values[name]
            if value.dtype.kind == "f" and value.size and (value == value.flat[0]).all():
                return self.constant(value.flat[0].item())
        return self.terms.variable(name, places)

    def place(self, array: Any, places: Places, length: int) -> Place | None:
        """Return the place that positions in an axis of a length are, where they count it off."""
        if not isinstance(array, Tensor) or array in self._known or array in self._given:
            return None
        value = self.values[self.names[array]]
        for axis, n in enumerate(value.shape):
            line = np.arange(n).reshape([n if a == axis else 1 for a in range(value.ndim)])
            if value.size == n == length > 1 and value.dtype.kind in "iu" and (value == line).all():
                return places[axis]
        return int(value.item()) if value.size == 1 and value.dtype.kind in "iu" else None


def _is_frozen(node: Tensor) -> bool:
    """Whether a node was recorded where no gradient may pass, although one could."""
    if node.requires_grad or node.dtype.kind != "f":
        return False
    return any(
        isinstance(x, Tensor) and x.requires_grad and node.op.mask >> i & 1
        for i, x in enumerate(node.inputs)
    )


def _finite(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and math.isfinite(value)


def _written(value: Any) -> str:
    """Write a parameter: the parts of an index as NumPy's slices."""
    if isinstance(value, tuple) and any(isinstance(v, tuple) or v is Ellipsis for v in value):
        return f"[{', '.join(map(_written_place, value))}]"
    return str(value)


def _written_place(place: Any) -> str:
    if place is Ellipsis:
        return "..."
    if not isinstance(place, tuple):
        return str(place)
    start, stop, step = ("" if v is None else str(v) for v in place)
    return f"{start}:{stop}" + (f":{step}" if step else "")


def fresh(shape: Sequence[int], taken: Sequence[Place]) -> Places:
    """Return new indices for axes, none of them among the taken."""
    used = {p for p in taken if isinstance(p, Index)}
    used |= {i for p in taken if isinstance(p, Term) for i in p.free}
    return tuple(0 if n == 1 else unused(n, used) for n in shape)


def shape_of(operand: Any) -> tuple[int, ...]:
    """Return the shape of a tensor or of a scalar."""
    return operand.shape if isinstance(operand, Tensor) else ()


def aligned(places: Places, shape: Sequence[int]) -> Places:
    """Return where a broadcast operand is read: aligned at the right, 0 along lengths of one."""
    own = places[len(places) - len(shape) :]
    return tuple(0 if n == 1 else p for n, p in zip(shape, own, strict=True))


# elementwise -------------------------------------------------------------------------------------


def _product(x: Term, y: Term) -> Term:
    """Return a product; by a written zero it is kept, since NaN and infinity times 0 are NaN."""
    for zero, other in ((x, y), (y, x)):
        if zero.number == 0 and other.number is None:
            return x.terms.make("null", (other,))
    return x * y


ARITHMETIC: dict[str, Callable[..., Term]] = {
    "add": lambda x, y: x + y,
    "subtract": lambda x, y: x - y,
    "multiply": _product,
    "divide": lambda x, y: x / y,
    "negative": lambda x: -x,
    "positive": lambda x: x,
    "square": lambda x: x**2,
    "sqrt": lambda x: x**HALF,
    "reciprocal": lambda x: x**-1,
}
"""What is arithmetic of real numbers: sums, products and powers. Integers may wrap around."""


def _elementwise(reading: Reading, node: Tensor, places: Places) -> Reader:
    """Read an elementwise operation: of elements."""
    name = node.op.name
    args = []
    for operand in node.inputs:
        element = yield operand, aligned(places, shape_of(operand))
        args.append(element)
    if name == "divide" and (sizes := _count(node)):
        sign = 1 if node.inputs[1] > 0 else -1  # a rewritten adjoint may divide by minus the count
        return args[0] / reading.terms.mul(((reading.terms.size(i), ONE) for i in sizes), sign)
    if node.dtype.kind in "fc" and not any(_odd(a) for a in args):
        if name in ARITHMETIC:
            return ARITHMETIC[name](*args)
        if (
            name == "pow"
            and args[1].number is not None
            and magnitude(args[1].number) <= LARGEST_POWER
        ):
            return args[0] ** args[1].number
        if name == "astype" and _widens(node):
            return args[0]
    params = tuple(sorted((k, v) for k, v in node.params.items()))
    return reading.terms.make("function", tuple(args), (name, params) if params else name)


LARGEST_POWER = 1000
"""Higher powers stay calls: of a number they would have thousands of digits."""


def _widens(node: Tensor) -> bool:
    """Whether a conversion keeps every value: to a dtype with no fewer digits."""
    return bool(np.finfo(node.dtype).eps <= np.finfo(_floating(node.inputs[0])).eps)


def _floating(tensor: Tensor) -> Any:
    return tensor.dtype if tensor.dtype.kind == "f" else np.float64


def unrounded(result: Any) -> Any:
    """Return what a result was rounded from, if it is the end of a conversion to fewer digits."""
    while isinstance(result, Tensor) and result.op is not None and result.op.name == "astype":
        operand = result.inputs[0]
        if {operand.dtype.kind, result.dtype.kind} != {"f"} or not operand.op:
            break
        result = operand
    return result


def _odd(term: Term) -> bool:
    """Whether a term is a literal: infinities and truth values take no part in arithmetic."""
    return term.op == "literal"


def _count(node: Tensor) -> list[Index]:
    """Return the indices whose number of values a division divides by: that of a mean.

    The adjoint of a mean divides by the same number.
    """
    forward = node
    while forward.adjoint_of is not None and forward.op.name == "divide":
        if not isinstance(forward.inputs[1], int | float):
            return []
        forward = forward.adjoint_of
    if forward.op is None or forward.op.name != "divide":
        return []
    total, divisor = forward.inputs
    while isinstance(total, Tensor) and total.op is not None and total.op.name in UNITS:
        total = total.inputs[0]
    if not isinstance(total, Tensor) or total.op is None or total.op.name != "sum":
        return []
    shape = total.inputs[0].shape
    axes = summed(len(shape), total.params["axis"])
    count = math.prod(shape[a] for a in axes)
    if not isinstance(divisor, int | float) or divisor != count or abs(node.inputs[1]) != count:
        return []
    return [Index(shape[a], 0) for a in axes if shape[a] > 1]


UNITS = {"squeeze", "expand_dims", "astype"}


# reductions and movements ------------------------------------------------------------------------


def _reduction(reading: Reading, node: Tensor, places: Places) -> Reader:
    """Read a reduction: over new indices."""
    operand = node.inputs[0]
    axes = summed(operand.ndim, node.params["axis"])
    if 0 in operand.shape:
        return (yield from _whole(reading, node, places))
    over = fresh([operand.shape[a] for a in axes], places)
    kept = iter(places)
    inner: list[Place] = []
    for a in range(operand.ndim):
        reduced = a in axes
        if not reduced or node.params.get("keepdims"):
            outer = next(kept)
        inner.append(over[axes.index(a)] if reduced else outer)
    body = yield operand, tuple(inner)
    indices = [i for i in over if isinstance(i, Index)]
    return reading.terms.reduce(node.op.name, indices, body)


def _moved(where: Callable[[Tensor, Places], Places | None]) -> Callable[..., Reader]:
    """Make the reader of a movement: ``where`` gives the place of an element in the operand."""

    def read(reading: Reading, node: Tensor, places: Places) -> Reader:
        """Read the operand there; what has no such place is an operation on the whole."""
        inner = where(node, places)
        if inner is None:
            return (yield from _whole(reading, node, places))
        return (yield node.inputs[0], inner)

    return read


def _reshaped(node: Tensor, places: Places) -> Places | None:
    """Where only axes of length one come or go."""
    shape = node.inputs[0].shape
    kept = [p for p, n in zip(places, node.shape, strict=True) if n != 1]
    if [n for n in shape if n != 1] != [n for n in node.shape if n != 1]:
        return None
    rest = iter(kept)
    return tuple(0 if n == 1 else next(rest) for n in shape)


def _permuted(node: Tensor, places: Places) -> Places:
    inner: list[Place] = [0] * node.ndim
    for place, axis in zip(places, order(node.op.name, node.params, node.ndim), strict=True):
        inner[axis] = place
    return tuple(inner)


# contractions ------------------------------------------------------------------------------------


def _matmul(reading: Reading, node: Tensor, places: Places) -> Reader:
    """Read a matrix product: a sum of products over a new index."""
    x, y = node.inputs
    (k,) = fresh([shape_of(x)[-1]], places)
    lead = places
    row: Places = ()
    column: Places = ()
    if y.ndim > 1:
        lead, column = lead[:-1], lead[-1:]
    if x.ndim > 1:
        lead, row = lead[:-1], lead[-1:]
    a = yield x, (*aligned(lead, x.shape[:-2]), *_unit(row, x.shape[-2:-1]), k)[-x.ndim :]
    at = (*aligned(lead, y.shape[:-2]), k, *_unit(column, y.shape[-1:]))
    b = yield y, at if y.ndim > 1 else (k,)
    return reading.terms.sum([k] if isinstance(k, Index) else [], _product(a, b))


def _unit(places: Places, shape: Sequence[int]) -> Places:
    return tuple(0 if n == 1 else p for n, p in zip(shape, places, strict=False))


def _vecdot(reading: Reading, node: Tensor, places: Places) -> Reader:
    """Read dot products: sums of products over a new index."""
    x, y = node.inputs
    axis = node.params["axis"]
    ndim = max(x.ndim, y.ndim)
    where = axis % ndim
    length = max(x.shape[axis], y.shape[axis])
    (k,) = fresh([length], places)
    full = (*places[:where], k, *places[where:])
    a = yield x, aligned(full, x.shape)
    b = yield y, aligned(full, y.shape)
    return reading.terms.sum([k] if isinstance(k, Index) else [], _product(a, b))


def _einsum(reading: Reading, node: Tensor, places: Places) -> Reader:
    """Read an einsum: its letters are indices."""
    inputs, output = node.params["subscripts"].split("->")
    at: dict[str, Place] = dict(zip(output, places, strict=True))
    sizes: dict[str, int] = {}
    for letters, operand in zip(inputs.split(","), node.inputs, strict=True):
        sizes |= {c: n for c, n in zip(letters, operand.shape, strict=True) if n > 1}
    over = [c for c in sizes if c not in at]
    at |= dict(zip(over, fresh([sizes[c] for c in over], places), strict=True))
    product = reading.terms.one
    for letters, operand in zip(inputs.split(","), node.inputs, strict=True):
        inner = [0 if n == 1 else at[c] for c, n in zip(letters, operand.shape, strict=True)]
        product = _product(product, (yield operand, tuple(inner)))
    return reading.terms.sum([i for c in over if isinstance(i := at[c], Index)], product)


# indexing ----------------------------------------------------------------------------------------


def _layout(index: Sequence[Any], shape: Sequence[int], arrays: Sequence[Any]) -> Any:
    """Split an index expression into one item for each axis; None if it is not a simple one.

    Simple: whole slices, slices of one element, integers, index arrays side by side.
    """
    used = sum(item is not None and item is not Ellipsis for item in index)
    items: list[Any] = []
    for item in index:
        if item is Ellipsis:
            items += [(None, None, None)] * (len(shape) - used)
        else:
            items.append(item)
    items += [(None, None, None)] * (len(shape) - sum(i is not None for i in items))
    rest = iter(shape)
    for item in items:
        n = None if item is None else next(rest)
        if isinstance(item, tuple):
            length = len(range(*slice(*item).indices(n)))  # type: ignore[arg-type]
            if length != 1 and (length != n or item[2] not in (None, 1)):
                return None
    positions = [a for a, item in enumerate(items) if item == "array"]
    if any(_counts_back(a) for a in arrays) or (arrays and None in items):
        return None
    if arrays and any(isinstance(i, int) for i in items):
        return None
    side_by_side = positions == list(range(positions[0], positions[-1] + 1)) if positions else True
    return items if side_by_side else None


def _counts_back(places: Any) -> bool:
    """Whether an index array is a mask, or counts from the end: then it names no places."""
    return places.dtype.kind == "b" or bool((places.data < 0).any())


def _reach(
    reading: Reading,
    items: Sequence[Any],
    shape: Sequence[int],
    arrays: Sequence[Any],
    outer: Places,
) -> Generator[tuple[Any, Places], Term, list[Place]]:
    """Return the place in the array of what an index expression reads at ``outer``."""
    common = np.broadcast_shapes(*(a.shape for a in arrays)) if arrays else ()
    inner: list[Place] = []
    queue = list(outer)
    picked: Places | None = None
    waiting = iter(arrays)
    rest = iter(shape)
    for item in items:
        if item is None:
            queue.pop(0)
            continue
        n = next(rest)
        if isinstance(item, int):
            inner.append(item % n)
        elif item == "array":
            if picked is None:
                picked, queue = tuple(queue[: len(common)]), queue[len(common) :]
            array = next(waiting)
            at = aligned(picked, array.shape)
            known = reading.place(array, at, n)
            inner.append((yield array, at) if known is None else known)
        else:
            place = queue.pop(0)
            span = range(*slice(*item).indices(n))
            inner.append(place if len(span) == n and n > 1 else span[0])
    return inner


def _getitem(reading: Reading, node: Tensor, places: Places) -> Reader:
    """Read an element at the place that the index expression gives."""
    x, *arrays = node.inputs
    items = _layout(node.params["index"], x.shape, arrays)
    if items is None:
        return (yield from _whole(reading, node, places))
    inner = yield from _reach(reading, items, x.shape, arrays, places)
    return (yield x, tuple(inner))


def _spread(
    reading: Reading, items: Sequence[Any], shape: Sequence[int], arrays: Sequence[Any], at: Places
) -> Generator[tuple[Any, Places], Term, tuple[Places, Term]]:
    """Return fresh places of what is written, and a term that is one where it is written to ``at``.

    Summed over the fresh places it says how often an element is written to.
    """
    common = np.broadcast_shapes(*(a.shape for a in arrays)) if arrays else ()
    source: list[int] = []
    lengths = iter(shape)
    for item in items:
        n = 1 if item is None else next(lengths)
        if item == "array":
            source += common
            common = ()
        elif not isinstance(item, int):
            source.append(1 if item is None else len(range(*slice(*item).indices(n))))
    places = fresh(source, at)
    reached = yield from _reach(reading, items, shape, arrays, places)
    hit = reading.terms.one
    for here, there in zip(at, reached, strict=True):
        hit = hit * reading.terms.delta(here, there)
    return places, hit


def _over(places: Places) -> list[Index]:
    return [p for p in places if isinstance(p, Index)]


def _scatter_add(reading: Reading, node: Tensor, places: Places) -> Reader:
    """Read a scatter: the sum of all that is written to a place."""
    x, *arrays = node.inputs
    index = node.params["index"]
    items = _layout(index, node.shape, arrays)
    if items is None:
        return (yield from _whole(reading, node, places))
    source, hit = yield from _spread(reading, items, node.shape, arrays, places)
    value = yield x, aligned(source, x.shape)
    return reading.terms.sum(_over(source), hit * value)


def _index_set(reading: Reading, node: Tensor, places: Places) -> Reader:
    """Read a replaced place: cases, the value where it was written, else what was there."""
    x, value, *arrays = node.inputs
    items = _layout(node.params["index"], node.shape, arrays)
    if items is None or None in items or shape_of(value) != ():
        return (yield from _whole(reading, node, places))
    source, hit = yield from _spread(reading, items, node.shape, arrays, places)
    there = reading.terms.sum(_over(source), hit)
    new = yield value, ()
    old = yield x, aligned(places, shape_of(x))
    return reading.terms.apply("where", there, new, old)


def _take(reading: Reading, node: Tensor, places: Places) -> Reader:
    x, indices = node.inputs
    axis = node.params["axis"]
    if (axis is None and x.ndim != 1) or _counts_back(indices):
        return (yield from _whole(reading, node, places))
    axis = 0 if axis is None else axis % x.ndim
    at = places[axis : axis + indices.ndim]
    known = reading.place(indices, at, x.shape[axis])
    place = (yield indices, aligned(at, indices.shape)) if known is None else known
    rest = aligned((*places[:axis], 0, *places[axis + indices.ndim :]), x.shape)
    return (yield x, (*rest[:axis], place, *rest[axis + 1 :]))


def _take_along_axis(reading: Reading, node: Tensor, places: Places) -> Reader:
    x, indices = node.inputs
    axis = node.params["axis"]
    if axis is None or _counts_back(indices):
        return (yield from _whole(reading, node, places))
    at = aligned(places, indices.shape)
    known = reading.place(indices, at, x.shape[axis])
    place = (yield indices, at) if known is None else known
    inner = [0 if n == 1 else p for n, p in zip(x.shape, places, strict=True)]
    inner[axis] = place
    return (yield x, tuple(inner))


def _scatter_along_axis(reading: Reading, node: Tensor, places: Places) -> Reader:
    x, indices = node.inputs
    axis = node.params["axis"] % node.ndim
    if _counts_back(indices):
        return (yield from _whole(reading, node, places))
    (k,) = fresh([indices.shape[axis]], places)
    at = aligned((*places[:axis], k, *places[axis + 1 :]), indices.shape)
    known = reading.place(indices, at, node.shape[axis])
    place = (yield indices, at) if known is None else known
    value = yield x, aligned((*places[:axis], k, *places[axis + 1 :]), x.shape)
    hit = reading.terms.delta(places[axis], place)
    return reading.terms.sum(_over((k,)), hit * value)


def _one_hot_rows(reading: Reading, node: Tensor, places: Places) -> Reader:
    label = yield node.inputs[0], places[:-1]
    return reading.terms.delta(places[-1], label)


# the rest ----------------------------------------------------------------------------------------


def _whole(reading: Reading, node: Tensor, places: Places) -> Reader:
    """Read an operation as a call on whole arrays."""
    arrays = []
    for operand in node.inputs:
        if isinstance(operand, Tensor):
            own = fresh(operand.shape, ())
            body = yield operand, own
            arrays.append(reading.terms.array(own, body))
    fixed = tuple(o.dtype if isinstance(o, Tensor) else o for o in node.inputs)
    params = tuple(sorted(node.params.items()))
    what = Operation(node.op, node.op.name, fixed, params, node.shape)
    return reading.terms.call(what, arrays, places)


READERS: dict[str, Callable[..., Reader]] = {
    **dict.fromkeys(("sum", "max", "min", "prod"), _reduction),
    "broadcast_to": _moved(lambda node, at: aligned(at, node.inputs[0].shape)),
    **dict.fromkeys(("reshape", "expand_dims", "squeeze"), _moved(_reshaped)),
    **dict.fromkeys(("permute_dims", "matrix_transpose", "moveaxis"), _moved(_permuted)),
    "astype": _elementwise,
    "matmul": _matmul,
    "vecdot": _vecdot,
    "einsum": _einsum,
    "getitem": _getitem,
    "scatter_add": _scatter_add,
    "index_set": _index_set,
    "take": _take,
    "take_along_axis": _take_along_axis,
    "scatter_along_axis": _scatter_along_axis,
    "one_hot_rows": _one_hot_rows,
}
"""The operations whose elements are formulas of elements; all others act on whole arrays."""
