"""Strategies of Hypothesis: random inputs, calls, programs and models whose examples shrink.

Arrays are drawn without Hypothesis' fill trick, which would make most of their elements equal:
columns without variance and ties everywhere. Needs the extra ``testing``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from tinygrad_bn.errors import OptionalDependencyError
from tinygrad_bn.graph.primitive import Primitive, table
from tinygrad_bn.graph.tensor import Tensor
from tinygrad_bn.testing.generators.calls import Call, draw_call
from tinygrad_bn.testing.generators.choices import Choices
from tinygrad_bn.testing.generators.compositions import NAMES, CompositionCase, draw_composition
from tinygrad_bn.testing.generators.models import ModelCase, draw_model
from tinygrad_bn.testing.generators.programs import Program, draw_program
from tinygrad_bn.testing.generators.shapes import Shape, draw_axes, draw_axis, draw_smaller
from tinygrad_bn.testing.generators.values import DOMAIN, KINDS, Domain, Kind

try:
    from hypothesis import strategies as st
except ImportError as error:
    raise OptionalDependencyError(
        "tinygrad_bn.testing.strategies needs Hypothesis.",
        'Install the extra "testing": pip install "tinygrad_bn[testing]".',
    ) from error

T = TypeVar("T")
Array: TypeAlias = npt.NDArray[Any]
Draw: TypeAlias = Callable[[st.SearchStrategy[Any]], Any]

SINGLY = 24
"""Up to so many elements are drawn one by one; NumPy makes larger arrays from a drawn seed."""


class Drawn(Choices):
    """Choices made by Hypothesis: ``draw`` is what a composite strategy gets."""

    def __init__(self, draw: Draw) -> None:
        self._draw = draw

    def integer(self, low: int, high: int) -> int:
        """Choose an integer; shrinks towards ``low``."""
        return low + int(self._draw(st.integers(0, high - low))) if high > low else low

    def integers(self, shape: Shape, low: int, high: int) -> npt.NDArray[np.int64]:
        """Choose integers one by one; of many, choose the seed.

        The seed is of as many choices as the largest array of the other sort has, and one more:
        a shrinker goes for fewer choices, and is to go for smaller arrays.
        """
        size = int(np.prod(shape))
        if size > SINGLY:
            words = [self.integer(0, 255) for _ in range(SINGLY + 1)]
            rng = np.random.default_rng(words)
            return np.asarray(rng.integers(low, high, shape, endpoint=True))
        drawn = [self.integer(low, high) for _ in range(size)]
        return np.array(drawn, np.int64).reshape(shape)

    def part(self, make: Callable[[Choices], T]) -> T:
        """Make it in a span of its own, which the shrinker can delete."""
        made: T = self._draw(_part(make))
        return made


@st.composite
def _part(draw: Draw, make: Callable[[Choices], T]) -> T:
    return make(Drawn(draw))


def _resolved(draw: Draw, value: Any) -> Any:
    """Return a value, or draw it if it is a strategy."""
    return draw(value) if isinstance(value, st.SearchStrategy) else value


def _shaped(draw: Draw, shape: Any) -> Shape:
    """Return a shape: given, drawn, or of one axis where it is a number."""
    chosen = _resolved(draw, shape)
    return (chosen,) if isinstance(chosen, int) else tuple(chosen)


def kinds() -> st.SearchStrategy[Kind]:
    """Strategy for kinds of values: each of ``values.KINDS``; shrinks towards ``generic``."""
    return st.sampled_from(KINDS)


def dtypes(*, half: bool = True, extended: bool = False) -> st.SearchStrategy[np.dtype[Any]]:
    """Strategy for floating-point dtypes: float64, float32; float16 and long double if wanted.

    >>> from hypothesis import find
    >>> find(dtypes(), lambda dtype: True)
    dtype('float64')
    """
    chosen = [np.float64, np.float32] + [np.float16] * half + [np.longdouble] * extended
    return st.sampled_from([np.dtype(t) for t in chosen])


@st.composite
def shapes(
    draw: Draw, *, min_dims: int = 0, max_dims: int = 3, min_side: int = 1, max_side: int = 4
) -> Shape:
    """Strategy for shapes: tuples of sides; shrinks towards few and short ones."""
    choices = Drawn(draw)
    ndim = choices.integer(min_dims, max_dims)
    return tuple(choices.integer(min_side, max_side) for _ in range(ndim))


@st.composite
def broadcastable_shapes(
    draw: Draw,
    count: int = 2,
    *,
    min_dims: int = 0,
    max_dims: int = 3,
    min_side: int = 1,
    max_side: int = 4,
) -> tuple[Shape, ...]:
    """Strategy for ``count`` shapes that broadcast: equal ones, sides of one, axes left out.

    >>> from hypothesis import given
    >>> @given(broadcastable_shapes(3))
    ... def check(shapes):
    ...     np.broadcast_shapes(*shapes)
    >>> check()
    """
    limits = {"min_dims": min_dims, "max_dims": max_dims, "max_side": max_side}
    common = draw(shapes(min_side=min_side, **limits))
    return tuple(draw_smaller(Drawn(draw), common) for _ in range(count))


@st.composite
def arrays(
    draw: Draw,
    shape: int | Shape | st.SearchStrategy[Shape] | None = None,
    *,
    dtype: npt.DTypeLike | st.SearchStrategy[Any] = np.float64,
    kind: Kind | st.SearchStrategy[Kind] = "generic",
    domain: Domain = DOMAIN,
) -> Array:
    """Strategy for arrays of a kind (one of ``values.KINDS``) with values exact in few bits.

    ``shape``: by default one of up to three axes; a number stands for one axis. ``shape``,
    ``dtype`` and ``kind`` may be strategies themselves. ``domain``: the interval of the values;
    ``huge``, ``tiny`` and ``subnormal`` keep to its signs only. Raises ShapeError for an unknown
    kind or an empty domain, DTypeError for a dtype that has no such values.

    >>> from hypothesis import given
    >>> @given(arrays((2, 3), kind="huge", domain=(0.1, 3.0)))
    ... def check(x):
    ...     assert x.shape == (2, 3) and (x >= 2.0**10).all()
    >>> check()
    """
    chosen = _shaped(draw, shapes() if shape is None else shape)
    values = {"dtype": _resolved(draw, dtype), "kind": _resolved(draw, kind), "domain": domain}
    return Drawn(draw).array(chosen, **values)


def tensors(
    shape: int | Shape | st.SearchStrategy[Shape] | None = None,
    *,
    dtype: npt.DTypeLike | st.SearchStrategy[Any] = np.float64,
    kind: Kind | st.SearchStrategy[Kind] = "generic",
    domain: Domain = DOMAIN,
    requires_grad: bool = True,
) -> st.SearchStrategy[Tensor]:
    """Strategy for tensors; see ``arrays``. ``requires_grad``: whether they are differentiated.

    >>> from hypothesis import given
    >>> @given(tensors((3,), dtype=np.float32))
    ... def check(x):
    ...     assert x.requires_grad and x.dtype == np.float32
    >>> check()
    """

    def tensor(x: Array) -> Tensor:
        """Make a tensor of it."""
        return Tensor(x, requires_grad=requires_grad)

    return arrays(shape, dtype=dtype, kind=kind, domain=domain).map(tensor)


@st.composite
def axes(draw: Draw, ndim: int, *, none: bool = True, several: bool = True, least: int = 1) -> Any:
    """Strategy for the parameter ``axis`` of an operand of ``ndim`` axes.

    Integers, negative ones too; None if ``none``; if ``several``, tuples of at least ``least``
    different axes in any order. Of an operand without axes: None, or the empty tuple.
    """
    choices = Drawn(draw)
    forms: list[Callable[[], Any]] = [lambda: draw_axis(choices, ndim)] if ndim else []
    forms += [lambda: draw_axes(choices, ndim, least=min(least, ndim))] if several else []
    forms += [lambda: None] if none or not forms else []
    return choices.among(forms)()


@st.composite
def labels(draw: Draw, shape: int | Shape | st.SearchStrategy[Shape], classes: int) -> Array:
    """Strategy for integer labels of ``classes`` classes, for ``cross_entropy`` and ``one_hot``.

    >>> from hypothesis import find
    >>> find(labels(2, 3), lambda drawn: drawn[0] != drawn[1])
    array([0, 1])
    """
    return Drawn(draw).integers(_shaped(draw, shape), 0, classes - 1)


@st.composite
def calls(
    draw: Draw,
    op: Primitive | str | Sequence[Primitive | str] | None = None,
    *,
    kind: Kind | st.SearchStrategy[Kind] = "generic",
    dtype: npt.DTypeLike | st.SearchStrategy[Any] = np.float64,
    margin: float = 0.0,
) -> Call:
    """Strategy for calls of a row, of one of several, or of any differentiable one.

    See ``calls.draw_call`` for the parameters.

    >>> from hypothesis import given, settings
    >>> from tinygrad_bn.testing.checking.checker import check_gradients
    >>> @settings(max_examples=10)
    ... @given(calls("max", margin=0.01))
    ... def check(call):
    ...     assert check_gradients(call, *call.primals, order=1, directions=1).ok
    >>> check()
    """
    rows: Any = [row for row in table.values() if row.differentiable] if op is None else op
    if not isinstance(rows, str | Primitive):
        rows = Drawn(draw).among(rows)
    values = {"kind": _resolved(draw, kind), "dtype": _resolved(draw, dtype)}
    return draw_call(Drawn(draw), rows, margin=margin, **values)


@st.composite
def programs(
    draw: Draw,
    *,
    ops: Sequence[Primitive | str] | None = None,
    including: Sequence[Primitive | str] = (),
    length: tuple[int, int] = (1, 8),
    kind: Kind | st.SearchStrategy[Kind] = "generic",
    dtype: npt.DTypeLike | st.SearchStrategy[Any] = np.float64,
    margin: float = 0.0,
) -> Program:
    """Strategy for random programs, which shrink to few instructions.

    See ``programs.draw_program`` for the parameters.

    >>> from hypothesis import given, settings
    >>> from tinygrad_bn.testing.checking.checker import check_gradients
    >>> @settings(max_examples=10)
    ... @given(programs(ops=["add", "sin", "matmul"], length=(1, 4)))
    ... def check(program):
    ...     assert check_gradients(lambda p: p(), program, order=1, directions=1).ok
    >>> check()
    """
    return draw_program(
        Drawn(draw),
        ops=ops,
        including=including,
        length=length,
        kind=_resolved(draw, kind),
        dtype=_resolved(draw, dtype),
        margin=margin,
    )


@st.composite
def compositions(
    draw: Draw,
    name: str | Sequence[str] | None = None,
    *,
    kind: Kind | st.SearchStrategy[Kind] = "generic",
    dtype: npt.DTypeLike | st.SearchStrategy[Any] = np.float64,
) -> CompositionCase:
    """Strategy for composed functions with arguments: one, one of several, or any.

    See ``compositions.draw_composition``.

    >>> from hypothesis import given, settings
    >>> from tinygrad_bn.testing.checking.checker import check_gradients
    >>> @settings(max_examples=10)
    ... @given(compositions(["softmax", "batch_norm"]))
    ... def check(case):
    ...     assert check_gradients(case.function, *case.arguments, order=1, directions=1).ok
    >>> check()
    """
    names = NAMES if name is None else (name,) if isinstance(name, str) else tuple(name)
    values = {"kind": _resolved(draw, kind), "dtype": _resolved(draw, dtype)}
    return draw_composition(Drawn(draw), Drawn(draw).among(names), **values)


@st.composite
def models(
    draw: Draw,
    *,
    depth: tuple[int, int] = (1, 3),
    kind: Kind | st.SearchStrategy[Kind] = "generic",
    dtype: npt.DTypeLike | st.SearchStrategy[Any] = np.float64,
    smooth: bool = False,
) -> ModelCase:
    """Strategy for small networks with an input; see ``models.draw_model``.

    >>> from hypothesis import given, settings
    >>> from tinygrad_bn.testing.checking.checker import check_gradients
    >>> @settings(max_examples=10)
    ... @given(models(smooth=True, depth=(1, 1)))
    ... def check(drawn):
    ...     assert check_gradients(lambda m, x: m(x), *drawn, order=1, directions=1).ok
    >>> check()
    """
    values = {"kind": _resolved(draw, kind), "dtype": _resolved(draw, dtype)}
    return draw_model(Drawn(draw), depth=depth, smooth=smooth, **values)
