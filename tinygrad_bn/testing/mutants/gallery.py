"""The wrong engines, every mutant there is, and one of each sort where it shows."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from tinygrad_bn.graph import sweep as sweeping
from tinygrad_bn.graph.primitive import table
from tinygrad_bn.graph.tensor import Tensor
from tinygrad_bn.primitives.elementwise import cos, exp, sin, sqrt, square, tanh
from tinygrad_bn.primitives.indexing import getitem
from tinygrad_bn.primitives.reduction import cumulative_sum
from tinygrad_bn.testing import engines
from tinygrad_bn.testing.mutants.functions import FUNCTIONS
from tinygrad_bn.testing.mutants.installing import Mutant
from tinygrad_bn.testing.mutants.rules import RuleMutant, mutants


@dataclass(frozen=True, eq=False, kw_only=True)
class WrongEngine(Mutant):
    """A wrong reverse walk, for sweeps on arrays and for recorded ones."""

    kind: ClassVar[str] = "engine"
    walk: type[engines.Walk]

    def replacements(self) -> list[tuple[Any, str, Any]]:
        """Replace both walks of the engine."""
        return [(sweeping, name, walk) for name, walk in engines.walks(self.walk).items()]


def _engine(name: str, walk: type[engines.Walk]) -> WrongEngine:
    said = (inspect.getdoc(walk) or "").split()
    return WrongEngine(name=name, why=" ".join(said), walk=walk)


ENGINES: tuple[WrongEngine, ...] = (
    _engine("recursion without order", engines.Recursion),
    _engine("breadth first", engines.BreadthFirst),
    _engine("order not reversed", engines.Forwards),
    _engine("= for +=", engines.Overwriting),
    _engine("shared arrays", engines.Shared),
    _engine("leftovers", engines.Leftovers),
    _engine("no unbroadcasting", engines.Unsummed),
    _engine("late binding", engines.LateBinding),
    _engine("in place", engines.InPlace),
    _engine("float32 throughout", engines.Narrow),
    _engine("assigned scatter", engines.Scattered),
)
"""The wrong engines."""


def all_mutants(relative: float = 1e-4, element: float = 1e-5) -> Iterator[Mutant]:
    """Make every mutant: the rules of all rows, the functions (but equivalent ones), the engines.

    >>> sorted({m.kind for m in all_mutants()})
    ['engine', 'function', 'rule']
    """
    for op in list(table.values()):
        if op.differentiable:
            yield from mutants(op, relative, element)
    yield from (f for f in FUNCTIONS if f.order)
    yield from ENGINES


# the gallery ------------------------------------------------------------------------------------


class Exhibit(NamedTuple):
    """A mutant, with a small function and a point at which it shows.

    ``check_gradients(function, *arguments, order=order)`` catches it.
    """

    mutant: Mutant
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    order: int = 1


def small_root(x: Tensor) -> Tensor:
    """Square roots, made small: their slopes are below fixed tolerances."""
    return 1e-6 * sqrt(x)


def product(x: Tensor, y: Tensor) -> Tensor:
    """The product of two operands."""
    return x * y


def difference(x: Tensor, y: Tensor) -> Tensor:
    """The difference of two operands."""
    return x - y


def matrix_product(x: Tensor, y: Tensor) -> Tensor:
    """The product of two matrices."""
    return x @ y


def biased(x: Tensor, b: Tensor) -> Tensor:
    """A layer: a bias, broadcast, and tanh."""
    return tanh(x + b)


def picked(x: Tensor) -> Tensor:
    """Squares of elements, of which one is picked twice."""
    return square(getitem(x, [0, 0, 2]))


def reused(x: Tensor) -> Tensor:
    """A value that is used twice, at different depths."""
    inner = sin(x)
    return inner * exp(inner)


def joined(x: Tensor, y: Tensor) -> Tensor:
    """A value that is used in a sum and, earlier, elsewhere."""
    inner = sin(x)
    raised = exp(inner)
    return raised * (inner + y)


def layers(x: Tensor) -> Tensor:
    """The same operation at two depths."""
    return sin(3.0 * sin(x))


_X = np.array([0.75, 1.5, -0.5])
_Y = np.array([1.25, -0.25, 2.0])
_ROOTED = np.array([0.25, 1.5, 4.0])
_WIDE = np.array([[0.5, -1.25, 2.0], [1.0, 0.25, -0.75]])
_TALL = np.array([[1.5, 0.5], [-0.5, 1.25], [2.0, -1.0]])
_BATCH = np.array([[1.0, 0.5], [2.5, -1.5], [-0.5, 2.0], [0.25, 1.25]])
_LOGITS = np.array([[1.0, 0.5, -0.5], [0.25, 2.0, 1.0], [-1.0, 0.0, 0.5]])


def _rule(row: str, operand: int, name: str) -> RuleMutant:
    return next(m for m in mutants(row) if (m.operand, m.name) == (operand, name))


_RULES = (
    Exhibit(_rule("cos", 0, "negated"), cos, (_X,)),
    Exhibit(_rule("tanh", 0, "scaled"), tanh, (_X,)),
    Exhibit(_rule("multiply", 1, "dropped"), product, (_X, _Y)),
    Exhibit(_rule("sqrt", 0, "zero"), small_root, (_ROOTED,)),
    Exhibit(_rule("add", 1, "unsummed"), biased, (_WIDE, _X)),
    Exhibit(_rule("matmul", 0, "transposed"), matrix_product, (_WIDE, _TALL)),
    Exhibit(_rule("subtract", 1, "swapped"), difference, (_X, _Y)),
    Exhibit(_rule("cumulative_sum", 0, "rolled"), cumulative_sum, (_X,)),
    Exhibit(_rule("sin", 0, "stale"), sin, (_X,)),
    Exhibit(_rule("exp", 0, "without cotangent"), exp, (_X,)),
    Exhibit(_rule("tanh", 0, "one element"), tanh, (_X,)),
    Exhibit(_rule("getitem", 0, "one occurrence"), picked, (_X,)),
)

_FED = {
    "softmax without the sum": _LOGITS,
    "log-softmax by its diagonal": _LOGITS,
    "sum instead of mean": _LOGITS,
}
"""What functions are shown on, if not on a batch."""

_WALKS: dict[str, tuple[Any, ...]] = {
    "shared arrays": (joined, (_X, _Y)),
    "leftovers": (reused, (_X,), 2),
    "no unbroadcasting": (biased, (_WIDE, _X)),
    "late binding": (layers, (_X,)),
    "in place": (layers, (_X,)),
    "float32 throughout": (sin, (_X,)),
    "assigned scatter": (picked, (_X,)),
}
"""What engines are shown on, if not on a value that is used twice."""

GALLERY: dict[str, Exhibit] = {
    exhibit.mutant.name: exhibit
    for exhibit in (
        *_RULES,
        *(Exhibit(f, f, (_FED.get(f.name, _BATCH),), f.order) for f in FUNCTIONS if f.order),
        *(Exhibit(e, *_WALKS.get(e.name, (reused, (_X,)))) for e in ENGINES),
    )
}
"""One mutant of each sort, by name, each where it shows."""
