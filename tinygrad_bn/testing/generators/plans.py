"""What operands and parameters a call of a row may have, drawn at random: a plan without values.

The rows of the package are planned by name or by family and the names of their parameters. A row
of a user's own is planned so too where its family says enough, else by one of its ``cases``.
"""

from __future__ import annotations

import functools
import string
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from tinygrad_bn.graph.primitive import Primitive
from tinygrad_bn.primitives.indexing import split_index
from tinygrad_bn.testing.generators.choices import Choices
from tinygrad_bn.testing.generators.shapes import (
    Shape,
    draw_axes,
    draw_axis,
    draw_factors,
    draw_larger,
    draw_permutation,
    draw_shape,
    draw_smaller,
    signed,
)

WEAK: Final = "weak"
"""In a plan: a Python number from the domain of the operand."""


class Plan(NamedTuple):
    """The operands and parameters of a call, values left open.

    ``given``: for each operand a shape to be filled, ``WEAK``, or what stands there as it is (an
    index array, a mask, a number, None).
    """

    given: tuple[Any, ...]
    params: dict[str, Any]


Draft: TypeAlias = tuple[Sequence[Any], dict[str, Any]] | None
Planner: TypeAlias = Callable[[Choices, Shape], Draft]


class _Entry(NamedTuple):
    """How to plan a row: from the shape of its first floating operand, and what shapes it takes."""

    planner: Planner
    shape: Callable[[Choices], Shape]
    least: int


_planners: dict[str, _Entry] = {}


def draw_plan(choices: Choices, op: Primitive, shape: Shape | None = None) -> Plan | None:
    """Draw operands and parameters for a row; None if it cannot take the shape that is given.

    ``shape``: what one of the floating-point operands has to have; by default any.
    """
    entry = _entry_of(op)
    if entry is None:
        return _from_cases(choices, op, shape)
    if shape is not None and len(shape) < entry.least:
        return None
    draft = entry.planner(choices, entry.shape(choices) if shape is None else shape)
    return None if draft is None else Plan(tuple(draft[0]), {**op.static, **draft[1]})


@functools.lru_cache(maxsize=1024)
def _entry_of(op: Primitive) -> _Entry | None:
    """Find how a row is planned: by its name, or by its family and parameters."""
    if op.name in _planners and op.origin.startswith("tinygrad_bn."):
        return _planners[op.name]
    known = set(op.static)
    if op.family == "elementwise" and not known and isinstance(op.rules, tuple):
        return _made(functools.partial(_elementwise, op), 0)
    if op.family == "reduction" and known <= {"axis", "keepdims", *_OPTIONS}:
        return _made(functools.partial(_reduction, op), _least(op))
    if op.family == "sorting" and known <= {"axis", "descending", "stable"} and len(op.rules) == 1:
        return _made(functools.partial(_reduction, op), 1)
    return None


def _made(planner: Planner, least: int) -> _Entry:
    return _Entry(planner, functools.partial(draw_shape, least=least, most=max(3, least)), least)


def _plans(
    *names: str, least: int = 1, shape: Callable[[Choices], Shape] | None = None
) -> Callable[[Planner], Planner]:
    """Enter a planner for the package's rows of these names."""

    def enter(planner: Planner) -> Planner:
        """Keep it."""
        entry = _made(planner, least)
        _planners.update(dict.fromkeys(names, entry._replace(shape=shape or entry.shape)))
        return planner

    return enter


def _from_cases(choices: Choices, op: Primitive, shape: Shape | None) -> Plan | None:
    """Take one of a row's own cases, one with an operand of the given shape."""
    fitting = [case for case in op.cases if shape is None or shape in _shapes(case[0])]
    if not fitting:
        return None
    given, params = choices.among(fitting)
    return Plan(tuple(given), {**op.static, **params})


def _shapes(given: Sequence[Any]) -> list[Shape]:
    return [g for g in given if isinstance(g, tuple)]


# what the cases of a row say about it -------------------------------------------------------------


@functools.lru_cache(maxsize=1024)
def _least(op: Primitive) -> int:
    """Find the lowest rank that a row's cases show for its operands."""
    return min((len(s) for given, _ in op.cases for s in _shapes(given)), default=0)


@functools.lru_cache(maxsize=1024)
def _axis_forms(op: Primitive) -> tuple[bool, bool]:
    """Say whether a row's cases show tuples of axes, and no axis for more than one dimension."""
    axes = [(params.get("axis", op.static["axis"]), _shapes(given)) for given, params in op.cases]
    tuples = any(isinstance(a, tuple) for a, _ in axes)
    return tuples, any(a is None and any(len(s) > 1 for s in shapes) for a, shapes in axes)


@functools.lru_cache(maxsize=1024)
def _kinds(op: Primitive) -> tuple[str, ...]:
    """Say for each operand whether it is floating-point, or integer or boolean in all cases."""
    found = []
    for i in range(len(op.rules)):
        kinds = {getattr(given[i], "dtype", np.dtype(float)).kind for given, _ in op.cases}
        found.append(kinds.pop() if len(kinds) == 1 else "f")
    return tuple(found)


# elementwise --------------------------------------------------------------------------------------


def _elementwise(op: Primitive, choices: Choices, shape: Shape) -> Draft:
    """Give one operand the shape, the others shapes that broadcast with it, or a number."""
    kinds = _kinds(op)
    floats = [i for i, kind in enumerate(kinds) if kind == "f"]
    own = choices.among(floats or range(len(kinds)))
    common = draw_larger(choices, shape) if op.broadcasts and len(kinds) > 1 else shape
    given: list[Any] = [
        draw_smaller(choices, common) if op.broadcasts and i != own else shape
        for i in range(len(kinds))
    ]
    if len(floats) > 1 and op.broadcasts and choices.chance(1, 6):
        given[choices.among([i for i in floats if i != own])] = WEAK
    for i, kind in enumerate(kinds):
        if kind != "f":
            given[i] = _whole(choices, given[i], kind)
    return given, {}


def _whole(choices: Choices, shape: Shape, kind: str) -> npt.NDArray[Any]:
    """Draw small integers, or booleans."""
    return (
        choices.integers(shape, 0, 1).astype(bool) if kind == "b" else choices.integers(shape, 0, 7)
    )


@_plans("pow", least=0)
def _pow(choices: Choices, shape: Shape) -> Draft:
    """Powers: of arrays and numbers, integers too."""
    other = draw_smaller(choices, draw_larger(choices, shape))
    whole = choices.integers(draw_smaller(choices, shape), -1, 3)
    exponents = (other, other, WEAK, choices.among((2, 3, -1, 0, 1)), whole)
    way = choices.integer(0, len(exponents))
    return ((WEAK, shape) if way == len(exponents) else (shape, exponents[way])), {}


@_plans("clip", least=0)
def _clip(choices: Choices, shape: Shape) -> Draft:
    """Bounds: arrays, numbers, none."""
    common = draw_larger(choices, shape)
    bounds = [choices.among((draw_smaller(choices, common), WEAK, None)) for _ in range(2)]
    return (shape, *bounds), {}


# reductions ---------------------------------------------------------------------------------------

_OPTIONS: dict[str, tuple[Any, ...]] = {
    "dtype": (None, None, None, None, None, np.dtype(np.float64)),
    "include_initial": (False, True),
    "descending": (False, True),
    "stable": (True, False),
    "correction": (0, 1),
}


def _reduction(op: Primitive, choices: Choices, shape: Shape) -> Draft:
    """Reduce, accumulate or sort along what axes the row's cases allow."""
    params = {name: choices.among(_OPTIONS[name]) for name in op.static if name in _OPTIONS}
    if "axis" in op.static:
        params["axis"] = _reduced_axes(op, choices, len(shape))
    if "keepdims" in op.static:
        params["keepdims"] = choices.chance(1, 2)
    return (shape,), params


def _reduced_axes(op: Primitive, choices: Choices, ndim: int) -> Any:
    tuples, none = _axis_forms(op)
    none = none or ndim == 0 or (op.static["axis"] is None and ndim == 1)
    forms: list[Any] = [None] if none else []
    if ndim:
        forms += [draw_axis(choices, ndim)] * 2
    if tuples:
        forms += [draw_axes(choices, ndim, least=0)] * 2
    return choices.among(forms)


# movements ----------------------------------------------------------------------------------------


@_plans("reshape", least=0)
def _reshape(choices: Choices, shape: Shape) -> Draft:
    return (shape,), {"shape": draw_factors(choices, int(np.prod(shape)))}


@_plans("expand_dims", least=0)
def _expand_dims(choices: Choices, shape: Shape) -> Draft:
    count = choices.integer(1, 2)
    rank = len(shape) + count
    axes = tuple(signed(choices, a, rank) for a in choices.order(rank)[:count])
    return (shape,), {"axis": axes[0] if count == 1 and choices.chance(1, 2) else axes}


def _with_ones(choices: Choices) -> Shape:
    """Draw a shape that has a side of one."""
    sides = list(draw_shape(choices, most=2))
    for _ in range(choices.integer(1, 2)):
        sides.insert(choices.integer(0, len(sides)), 1)
    return tuple(sides)


@_plans("squeeze", shape=_with_ones)
def _squeeze(choices: Choices, shape: Shape) -> Draft:
    ones = [a for a, n in enumerate(shape) if n == 1]
    if not ones:
        return None
    count = choices.integer(1, len(ones))
    axes = tuple(signed(choices, ones[i], len(shape)) for i in choices.order(len(ones))[:count])
    return (shape,), {"axis": axes[0] if count == 1 and choices.chance(1, 2) else axes}


def _many_axes(choices: Choices) -> Shape:
    """Draw a shape of two to four axes, mostly more than two."""
    return draw_shape(choices, least=choices.among((2, 3, 3)), most=4, sides=(1, 2, 3))


@_plans("permute_dims", least=2, shape=_many_axes)
def _permute_dims(choices: Choices, shape: Shape) -> Draft:
    return (shape,), {"axes": draw_permutation(choices, len(shape))}


@_plans("matrix_transpose", least=2)
def _matrix_transpose(choices: Choices, shape: Shape) -> Draft:
    return (shape,), {}


@_plans("moveaxis", least=2, shape=_many_axes)
def _moveaxis(choices: Choices, shape: Shape) -> Draft:
    count = choices.integer(1, len(shape))
    source, target = (
        tuple(signed(choices, a, len(shape)) for a in choices.order(len(shape))[:count])
        for _ in range(2)
    )
    if count == 1 and choices.chance(1, 2):
        return (shape,), {"source": source[0], "destination": target[0]}
    return (shape,), {"source": source, "destination": target}


@_plans("broadcast_to", least=0)
def _broadcast_to(choices: Choices, shape: Shape) -> Draft:
    wide = tuple(choices.integer(1, 3) if n == 1 else n for n in shape)
    front = draw_shape(choices, most=max(0, 3 - len(shape)))
    return (shape,), {"shape": (*front, *wide)}


@_plans("flip")
def _flip(choices: Choices, shape: Shape) -> Draft:
    ndim = len(shape)
    axis = choices.among((None, draw_axis(choices, ndim), draw_axes(choices, ndim)))
    return (shape,), {"axis": axis}


@_plans("roll")
def _roll(choices: Choices, shape: Shape) -> Draft:
    axis = choices.among((draw_axis(choices, len(shape)), draw_axes(choices, len(shape)), None))
    count = len(axis) if isinstance(axis, tuple) else 1
    shift = tuple(choices.among((1, -1, 2, -2, 5)) for _ in range(count))
    return (shape,), {"shift": shift if isinstance(axis, tuple) else shift[0], "axis": axis}


@_plans("repeat")
def _repeat(choices: Choices, shape: Shape) -> Draft:
    axis = choices.among((draw_axis(choices, len(shape)), None))
    length = int(np.prod(shape)) if axis is None else shape[axis]
    if choices.chance(1, 2):
        return (shape,), {"repeats": choices.integer(1, 3), "axis": axis}
    each = choices.integers((length,), 0, 2).tolist()
    each[choices.integer(0, length - 1)] = 2
    return (shape,), {"repeats": tuple(each), "axis": axis}


@_plans("tile", least=0)
def _tile(choices: Choices, shape: Shape) -> Draft:
    counts = draw_shape(choices, least=1, most=2, sides=(1, 2))
    return (shape,), {"repetitions": choices.among((choices.integer(1, 3), counts))}


@_plans("concat", least=0)
def _concat(choices: Choices, shape: Shape) -> Draft:
    others = choices.integer(0, 2)
    if not shape or choices.chance(1, 6):
        return (shape, *(draw_shape(choices, most=2) for _ in range(others))), {"axis": None}
    axis = draw_axis(choices, len(shape))
    sides = [list(shape) for _ in range(others)]
    for side in sides:
        side[axis] = choices.integer(1, 3)
    return (shape, *map(tuple, sides)), {"axis": axis}


@_plans("stack", least=0)
def _stack(choices: Choices, shape: Shape) -> Draft:
    return (shape,) * choices.integer(1, 3), {"axis": draw_axis(choices, len(shape) + 1)}


@_plans("tril", "triu")
def _triangle(choices: Choices, shape: Shape) -> Draft:
    return (shape,), {"k": choices.among((0, 1, -1, 2, -2))}


@_plans("astype", least=0)
def _astype(choices: Choices, shape: Shape) -> Draft:
    return (shape,), {"dtype": np.dtype(choices.among((np.float64, np.float32)))}


@_plans("pad_constant")
def _pad_constant(choices: Choices, shape: Shape) -> Draft:
    widths = choices.integers((len(shape), 2), 0, 2).tolist()
    return (shape,), {"widths": tuple(map(tuple, widths)), "value": choices.among((0.0, 0.5))}


@_plans("sliding_windows", shape=lambda choices: draw_shape(choices, least=1, sides=(3, 4, 5)))
def _sliding_windows(choices: Choices, shape: Shape) -> Draft:
    k = choices.integer(1, min(2, len(shape)))
    window, stride, dilation = [], [], []
    for n in shape[-k:]:
        dilation.append(choices.integer(1, 2))
        window.append(choices.integer(1, (n - 1) // dilation[-1] + 1))
        stride.append(choices.integer(1, 2))
    steps = {"stride": tuple(stride), "dilation": tuple(dilation)}
    return (shape,), {"window": tuple(window), **steps}


@_plans("overlap_add", least=2)
def _overlap_add(choices: Choices, shape: Shape) -> Draft:
    k = choices.integer(1, len(shape) // 2)
    sides, stride, dilation = [], [], []
    for positions, window in zip(shape[-2 * k : -k], shape[-k:], strict=True):
        stride.append(choices.integer(1, 2))
        dilation.append(choices.integer(1, 2))
        reach = (positions - 1) * stride[-1] + (window - 1) * dilation[-1] + 1
        sides.append(reach + choices.integer(0, stride[-1] - 1))
    steps = {"stride": tuple(stride), "dilation": tuple(dilation)}
    return (shape,), {"shape": tuple(sides), **steps}


# contractions -------------------------------------------------------------------------------------


@_plans("matmul")
def _matmul(choices: Choices, shape: Shape) -> Draft:
    """Give the shape to the left operand or the right one; vectors and batches that broadcast."""
    side = choices.integer(1, 3)
    if choices.chance(1, 3):
        inner = shape[-2] if len(shape) > 1 else shape[0]
        left = (inner,) if choices.chance(1, 4) else (side, inner)
        return ((*_batch(choices, shape, left), *left), shape), {}
    right = (shape[-1],) if choices.chance(1, 4) else (shape[-1], side)
    return (shape, (*_batch(choices, shape, right), *right)), {}


def _batch(choices: Choices, shape: Shape, other: Shape) -> Shape:
    """Draw leading axes for a matrix that is multiplied with operands of a shape."""
    if len(other) < 2:
        return ()
    return draw_smaller(choices, draw_larger(choices, shape[:-2], most=1))


@_plans("vecdot")
def _vecdot(choices: Choices, shape: Shape) -> Draft:
    """Dot products along an axis; the others broadcast."""
    ndim = len(shape)
    axis = choices.integer(-ndim, -1)
    other = [n if a == axis + ndim or not choices.chance(1, 3) else 1 for a, n in enumerate(shape)]
    if choices.chance(1, 3):
        return (shape, tuple(other)), {"axis": axis + ndim}
    return (shape, tuple(other[choices.integer(0, axis + ndim) :])), {"axis": axis}


@_plans("tensordot")
def _tensordot(choices: Choices, shape: Shape) -> Draft:
    """Sum over several axes: a number of them, or two lists."""
    count = choices.integer(0, min(2, len(shape)))
    free = draw_shape(choices, most=2, sides=(2, 1, 3))
    if choices.chance(1, 2):
        return (shape, (*shape[len(shape) - count :], *free)), {"axes": count}
    ours = choices.order(len(shape))[:count]
    theirs = choices.order(count + len(free))[:count]
    sides = dict(zip(theirs, (shape[a] for a in ours), strict=True))
    rest = iter(free)
    other = tuple(sides[a] if a in sides else next(rest) for a in range(count + len(free)))
    first, second = (
        tuple(signed(choices, a, ndim) for a in axes)
        for axes, ndim in ((ours, len(shape)), (theirs, len(other)))
    )
    return (shape, other), {"axes": (first, second)}


@_plans("einsum")
def _einsum(choices: Choices, shape: Shape) -> Draft:
    """Draw up to three terms that share letters, diagonals among them, and any output."""
    own = list(string.ascii_lowercase[: len(shape)])
    if len(shape) > 1 and shape[0] == shape[1] and choices.chance(1, 3):
        own[1] = own[0]
    sides = dict(zip(own, shape, strict=True))
    terms, given = ["".join(own)], [shape]
    for _ in range(choices.integer(0, 2)):
        fresh = string.ascii_lowercase[len(shape) + len(terms)]
        sides[fresh] = choices.integer(1, 3)
        letters = [sorted(sides)[i] for i in choices.order(len(sides))[: choices.integer(1, 3)]]
        terms.append("".join(letters))
        given.append(tuple(1 if choices.chance(1, 8) else sides[c] for c in letters))
    used = sorted(set("".join(terms)))
    kept = [c for c in (used[i] for i in choices.order(len(used))) if choices.chance(1, 2)]
    return given, {"subscripts": f"{','.join(terms)}->{''.join(kept[:3])}"}


# indexing -----------------------------------------------------------------------------------------


def draw_key(choices: Choices, shape: Shape, *, repeats: bool = True) -> tuple[Any, ...]:
    """Draw an index expression that picks at least one element: what stands between brackets.

    Integers, slices with steps, None, an ellipsis, arrays with repeated and negative indices,
    masks. ``repeats=False``: no element twice.
    """
    if not shape:
        return (Ellipsis,)
    ways = (
        (_basic_key, _array_key, _mask_key) if repeats else (_basic_key, _distinct_key, _mask_key)
    )
    return choices.among(ways)(choices, shape)


def _basic_key(choices: Choices, shape: Shape) -> tuple[Any, ...]:
    key: list[Any] = [_basic_item(choices, n) for n in shape]
    while key and key[-1] == slice(None) and choices.chance(1, 2):
        key.pop()
    if choices.chance(1, 4):
        key.insert(choices.integer(0, len(key)), None)
    elif choices.chance(1, 4):
        key.append(Ellipsis)
    return tuple(key) or (Ellipsis,)


def _basic_item(choices: Choices, length: int) -> Any:
    start = choices.integer(0, length - 1)
    step = choices.among((1, -1, 2, -2))
    items = (
        slice(None),
        signed(choices, start, length),
        slice(start, None, step),
        slice(start + 1),
    )
    return choices.among(items)


def _array_key(choices: Choices, shape: Shape) -> tuple[Any, ...]:
    """One or two index arrays of one shape, at any axes."""
    key: list[Any] = [slice(None)] * len(shape)
    common = choices.among(((2,), (3,), (), (2, 2)))
    axes = choices.order(len(shape))[: choices.integer(1, min(2, len(shape)))]
    for axis in axes:
        key[axis] = choices.integers(common, -shape[axis], shape[axis] - 1)
    for axis in set(range(len(shape))) - set(axes):
        key[axis] = _basic_item(choices, shape[axis]) if choices.chance(1, 3) else slice(None)
    return tuple(key)


def _distinct_key(choices: Choices, shape: Shape) -> tuple[Any, ...]:
    axis = choices.integer(0, len(shape) - 1)
    places = choices.order(shape[axis])[: choices.integer(1, shape[axis])]
    return (*(slice(None),) * axis, np.array(places))


def _mask_key(choices: Choices, shape: Shape) -> tuple[Any, ...]:
    """A mask over the leading axes; at least one element is true."""
    masked = shape[: choices.integer(1, len(shape))]
    mask = choices.integers(masked, 0, 1).astype(bool)
    mask.reshape(-1)[choices.integer(0, mask.size - 1)] = True
    return (mask,)


@_plans("getitem", least=0)
def _getitem(choices: Choices, shape: Shape) -> Draft:
    arrays, index = split_index(draw_key(choices, shape))
    return (shape, *arrays), {"index": index}


def _update(choices: Choices, shape: Shape, *, repeats: bool = True) -> Draft:
    """Update a place of ``x`` by values that broadcast to it, or by a number."""
    key = draw_key(choices, shape, repeats=repeats)
    arrays, index = split_index(key)
    place = np.broadcast_to(np.float64(0), shape)[key].shape
    value = WEAK if choices.chance(1, 6) else draw_smaller(choices, place)
    return (shape, value, *arrays), {"index": index}


for _name in ("index_set", "index_add", "index_max", "index_min"):
    _plans(_name)(_update)
_plans("index_multiply")(functools.partial(_update, repeats=False))


@_plans("scatter_add")
def _scatter_add(choices: Choices, shape: Shape) -> Draft:
    """Write to the rows of an axis, to every second row, or to one row of a new axis."""
    axis, length = choices.integer(0, len(shape) - 1), choices.integer(1, 4)
    lead: Any = (slice(None),) * axis
    target = list(shape)
    key = choices.among(("rows", "steps", "one"))
    if key == "rows":
        target[axis] = length
        item: Any = choices.integers((shape[axis],), -length, length - 1)
    elif key == "steps":
        target[axis] = 2 * shape[axis]
        item = slice(choices.integer(0, 1), None, 2)
    else:
        target.insert(axis, length)
        item = signed(choices, choices.integer(0, length - 1), length)
    arrays, index = split_index((*lead, item))
    return (shape, *arrays), {"index": index, "shape": tuple(target)}


@_plans("last_written")
def _last_written(choices: Choices, shape: Shape) -> Draft:
    arrays, index = split_index(draw_key(choices, shape))
    return arrays, {"index": index, "shape": shape}


@_plans("take")
def _take(choices: Choices, shape: Shape) -> Draft:
    axis = choices.among((draw_axis(choices, len(shape)), None))
    length = int(np.prod(shape)) if axis is None else shape[axis]
    many = choices.among(((2,), (3,), (), (2, 2)))
    return (shape, choices.integers(many, -length, length - 1)), {"axis": axis}


@_plans("take_along_axis")
def _take_along_axis(choices: Choices, shape: Shape) -> Draft:
    """Give each row its own elements; the other axes broadcast either way."""
    if choices.chance(1, 6):
        length = int(np.prod(shape))
        return (shape, choices.integers((3,), -length, length - 1)), {"axis": None}
    axis = draw_axis(choices, len(shape))
    many = [1 if choices.chance(1, 4) else n for n in draw_larger(choices, shape, most=0)]
    many[axis] = choices.integer(1, 3)
    return (shape, choices.integers(tuple(many), -shape[axis], shape[axis] - 1)), {"axis": axis}


@_plans("scatter_along_axis")
def _scatter_along_axis(choices: Choices, shape: Shape) -> Draft:
    axis = draw_axis(choices, len(shape))
    target = list(shape)
    target[axis] = choices.integer(1, 4)
    places = choices.integers(shape, -target[axis], target[axis] - 1)
    return (shape, places), {"shape": tuple(target), "axis": axis}


@_plans("one_hot_rows", least=0)
def _one_hot_rows(choices: Choices, shape: Shape) -> Draft:
    classes = choices.integer(1, 4)
    dtype = np.dtype(np.float64)
    return (choices.integers(shape, 0, classes - 1),), {"classes": classes, "dtype": dtype}


@_plans("searchsorted", least=0)
def _searchsorted(choices: Choices, shape: Shape) -> Draft:
    ordered = np.sort(choices.array((choices.integer(1, 4),), kind="ties"))
    return (ordered, shape), {"side": choices.among(("left", "right"))}
