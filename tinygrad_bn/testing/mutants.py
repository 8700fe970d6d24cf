"""Mutants: rules, functions and engines that are wrong on purpose, each in one way.

A check that lets one pass is no check. ``installed`` puts one in the place of what is right for
the length of a block; ``GALLERY`` shows one of each sort on a small example. A mutant that
changes no derivative at a point is *equivalent* there, and no check can find it.
"""

from __future__ import annotations

import inspect
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar, NamedTuple

import numpy as np

from tinygrad_bn.errors import ShapeError, TinygradError
from tinygrad_bn.functions.losses import cross_entropy
from tinygrad_bn.functions.softmax import log_softmax, softmax
from tinygrad_bn.functions.statistics import mean, var
from tinygrad_bn.graph import sweep as sweeping
from tinygrad_bn.graph.containers import flatten
from tinygrad_bn.graph.namespaces import tensors
from tinygrad_bn.graph.primitive import Primitive, Rule, bind, table
from tinygrad_bn.graph.tensor import Operand, Tensor, as_constant
from tinygrad_bn.primitives.elementwise import cos, exp, sin, sqrt, square, stop_gradient, tanh
from tinygrad_bn.primitives.indexing import getitem
from tinygrad_bn.primitives.reduction import cumulative_sum, max as largest, sum as total
from tinygrad_bn.testing import engines
from tinygrad_bn.testing.rows import Sample, differences, gradients, problems_of, samples
from tinygrad_bn.transforms.derivatives import vjp

REFUSED = (TinygradError, ValueError, TypeError, IndexError, KeyError)
"""What a wrong rule may raise; then it is found out, too."""

CLOSE = 1e-12
"""Up to where two gradients are the same, relative to the largest element."""


# what a mutant is ---------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, kw_only=True)
class Mutant(ABC):
    """Something wrong: its name, why it is wrong and where that was met, and what it replaces.

    ``kind``: ``rule`` (of one row of the table), ``function`` (of right value and wrong
    derivative) or ``engine`` (a reverse walk).
    """

    kind: ClassVar[str]
    name: str
    why: str

    @abstractmethod
    def replacements(self) -> list[tuple[Any, str, Any]]:
        """List what is to be replaced: the owner, the attribute, the wrong value."""

    def __str__(self) -> str:
        return self.name


_one_at_a_time = threading.Lock()


@contextmanager
def installed(mutant: Mutant) -> Iterator[None]:
    """Put a mutant in the place of what is right, in the whole process, for the length of a block.

    Graphs that were recorded outside see it too, and so do other threads. What was there is put
    back at the end, also after an exception. Raises TinygradError while another is installed.

    >>> import tinygrad_bn as tg
    >>> wrong = next(m for m in mutants("exp") if m.name == "negated")
    >>> with installed(wrong):
    ...     tg.grad(tg.exp)(0.0)
    Tensor(-1.)
    """
    if not _one_at_a_time.acquire(blocking=False):
        raise TinygradError(
            f"The mutant {str(mutant)!r} is to be installed while another one is.",
            "One at a time in a process: leave the block of the first before.",
        )
    try:
        wrong = mutant.replacements()
        before = [(owner, name, getattr(owner, name)) for owner, name, _ in wrong]
        try:
            _set(wrong)
            yield
        finally:
            _set(before)
    finally:
        _one_at_a_time.release()


def _set(values: Sequence[tuple[Any, str, Any]]) -> None:
    for owner, name, value in values:
        object.__setattr__(owner, name, value)  # frozen rows too, thawed for the test alone


# wrong rules --------------------------------------------------------------------------------------


class Changed:
    """Rules of which one is replaced."""

    def __init__(self, rules: Any, operand: int, rule: Rule) -> None:
        self.rules, self.operand, self.rule = rules, operand, rule

    def __getitem__(self, position: int) -> Rule | None:
        """Return the rule of one operand."""
        right: Rule | None = self.rules[position]
        return self.rule if position == self.operand else right


@dataclass(frozen=True, eq=False, kw_only=True)
class RuleMutant(Mutant):
    """A row with one wrong rule: ``op`` with that rule, and for which ``operand`` it is."""

    kind: ClassVar[str] = "rule"
    op: Primitive
    operand: int

    def replacements(self) -> list[tuple[Any, str, Any]]:
        """Replace the rules of the row in the table, where it must be still."""
        row = table.get(self.op.name)
        if row is None:
            raise TinygradError(
                f"The mutant {str(self)!r} is of a row that is not in the table.",
                "Make mutants of the rows that are there.",
            )
        return [(row, "rules", self.op.rules)]

    def __str__(self) -> str:
        return f"{self.op.name}, operand {self.operand} {self.name}"


Change = Callable[[Primitive, int], Rule]
"""Makes a wrong rule for one operand of a row."""


class Sort(NamedTuple):
    """A sort of wrong rule: how it is made, and why it is wrong."""

    change: Change
    why: str


def _after(change: Callable[[Any, Any], Any]) -> Change:
    """Change the gradient that the right rule gives, summed to its operand's shape."""

    def make(op: Primitive, operand: int) -> Rule:
        """Wrap the rule of one operand."""
        rule = op.rules[operand]

        def wrong(xp: Any, g: Any, out: Any, *operands: Any, **params: Any) -> Any:
            """Apply the rule, then the change."""
            piece = rule(xp, g, out, *operands, **params)
            if piece is not None and op.broadcasts:
                piece = sweeping.unbroadcast(xp, piece, operands[operand].shape)
            return None if piece is None else change(xp, piece)

        return wrong

    return make


def scaled(relative: float) -> Change:
    """Make rules too large by a factor ``1 + relative``.

    >>> x = np.zeros(2)
    >>> scaled(0.5)(table["exp"], 0)(np, np.ones(2), np.exp(x), x)
    array([1.5, 1.5])
    """
    return _after(lambda xp, piece: piece * (1.0 + relative))


def one_element(relative: float) -> Change:
    """Make rules whose last element alone is off, by a factor ``1 + relative``."""

    def change(xp: Any, piece: Any) -> Any:
        """Multiply by ones, but for the last element."""
        factor = np.ones(piece.shape, piece.dtype)
        factor.reshape(-1)[-1:] += relative
        return piece * factor

    return _after(change)


def _dropped(op: Primitive, operand: int) -> Rule:
    return lambda *given, **params: None


def _unsummed(op: Primitive, operand: int) -> Rule:
    rule = op.rules[operand]

    def wrong(xp: Any, g: Any, out: Any, *operands: Any, **params: Any) -> Any:
        """Apply the rule and cut its result to the operand's shape."""
        piece = rule(xp, g, out, *operands, **params)
        return engines.first_entries(piece, np.shape(operands[operand]))

    return wrong


def _transposed(xp: Any, piece: Any) -> Any:
    """Read the elements in the order of the transpose; backwards where one axis is all."""
    if sum(n > 1 for n in piece.shape) < 2:
        return xp.flip(piece)
    turned = xp.permute_dims(piece, axes=tuple(reversed(range(piece.ndim))))
    return xp.reshape(turned, shape=piece.shape)


def _stale(op: Primitive, operand: int) -> Rule:
    """Hand the rule another call: operands moved on by one element, and their result."""
    rule = op.rules[operand]

    def wrong(xp: Any, g: Any, out: Any, *operands: Any, **params: Any) -> Any:
        """Apply the rule to other operands."""
        others = tuple(xp.roll(x, shift=1) if getattr(x, "ndim", 0) else x for x in operands)
        recorded = xp is tensors
        result = bind(op, others, params) if recorded else _computed(op, others, params)
        return rule(xp, g, result, *others, **params)

    return wrong


def _computed(op: Primitive, operands: Sequence[Any], params: dict[str, Any]) -> Any:
    return np.asarray(op.kernel(*operands, **params))


def _without_cotangent(op: Primitive, operand: int) -> Rule:
    rule = op.rules[operand]
    return lambda xp, g, *given, **params: rule(xp, xp.ones_like(g), *given, **params)


def _assigned(op: Primitive, operand: int) -> Rule:
    rule = op.rules[operand]
    return lambda xp, *given, **params: rule(engines.Assigned(xp), *given, **params)


def _swapped(other: int) -> Change:
    return lambda op, operand: op.rules[other]


SWAPPED = "The rules of two operands are exchanged: right only where the operation is symmetric."


def sorts(relative: float = 1e-4, element: float = 1e-5) -> dict[str, Sort]:
    """Return the sorts of wrong rule by name; ``relative`` and ``element`` say how wrong two are.

    >>> list(sorts())[:3]
    ['negated', 'scaled', 'dropped']
    """
    return {
        "negated": Sort(
            _after(lambda xp, piece: -piece),
            "A sign is lost, as in the derivative of a cosine or of the second term of a "
            "difference.",
        ),
        "scaled": Sort(
            scaled(relative),
            f"A constant is wrong by {relative:g} of itself: less than a check with a fixed "
            "tolerance of a thousandth can see.",
        ),
        "dropped": Sort(
            _dropped,
            "Nothing arrives at the operand: an operation that left the graph without a word.",
        ),
        "zero": Sort(
            _after(lambda xp, piece: xp.zeros_like(piece)),
            "Zeros of the right shape: they pass wherever the true gradient is below a fixed "
            "tolerance.",
        ),
        "unsummed": Sort(
            _unsummed,
            "The gradient of a broadcast operand is not summed back; its first entry has the "
            "right shape, so nothing complains.",
        ),
        "transposed": Sort(
            _after(_transposed),
            "The elements come in the order of the transpose: reshape was written for a "
            "transposition, or an axis is counted from the wrong end.",
        ),
        "rolled": Sort(
            _after(lambda xp, piece: xp.roll(piece, shift=1)),
            "Every element gets its neighbour's gradient, an index off by one: hidden from "
            "everybody who checks the gradient of a sum, where all are alike.",
        ),
        "stale": Sort(
            _stale,
            "The rule reads values that were changed after the call, as a closure in a loop "
            "does; here those of the call with all operands moved on by one element.",
        ),
        "without cotangent": Sort(
            _without_cotangent,
            "The rule gives the derivative and forgets to multiply by what arrives: right for "
            "the last operation before ``sum().backward()``, and nowhere else.",
        ),
        "one element": Sort(
            one_element(element),
            f"Only the last element is off, by {element:g} of itself: a border that is treated "
            "on its own.",
        ),
        "one occurrence": Sort(
            _assigned,
            "Of an index that occurs twice one occurrence counts: the gradient is assigned "
            "where it should be added.",
        ),
    }


def mutants(
    row: Primitive | str, relative: float = 1e-4, element: float = 1e-5
) -> Iterator[RuleMutant]:
    """Make every wrong rule of a row, for each operand that has one.

    ``relative`` and ``element`` say how far the sorts ``scaled`` and ``one element`` are off. A
    sort that cannot apply is left out: no broadcasting, one operand, one element, no scattering.

    >>> [m.name for m in mutants("exp")][:4]
    ['negated', 'scaled', 'dropped', 'zero']
    """
    op = table[row] if isinstance(row, str) else row
    drawn = samples(op)
    positions = sorted({i for sample in drawn for i in sample.wrt})
    for i in positions:
        longest = max(s.operands[i].size for s in drawn if i in s.wrt)
        left_out = {
            "unsummed": not _broadcasts(op, len(positions)),
            "one occurrence": not _scatters(op.rules[i]),
            **dict.fromkeys(("transposed", "rolled", "stale"), longest < 2),
        }
        for name, sort in sorts(relative, element).items():
            if not left_out.get(name):
                yield _mutant(op, i, name, sort)
        if len(positions) > 1:
            other = positions[positions.index(i) - 1]
            yield _mutant(op, i, "swapped", Sort(_swapped(other), SWAPPED))


def _mutant(op: Primitive, operand: int, name: str, sort: Sort) -> RuleMutant:
    wrong = replace(op, rules=Changed(op.rules, operand, sort.change(op, operand)))
    return RuleMutant(name=name, why=sort.why, op=wrong, operand=operand)


def _broadcasts(op: Primitive, operands: int) -> bool:
    """Whether an operand may be smaller than the result: not the only one of an elementwise row."""
    return op.broadcasts and (operands > 1 or op.family != "elementwise")


def _scatters(rule: Rule) -> bool:
    """Whether a rule adds at places that indices name."""
    code = getattr(rule, "__code__", None)
    return code is not None and bool({"scatter_add", "scatter_along_axis"} & set(code.co_names))


def caught(mutant: RuleMutant, drawn: Sequence[Sample]) -> bool:
    """Whether differences of the kernel give a wrong rule away on any sample of its row."""
    return any(problems_of(differences, replace(s, op=mutant.op)) for s in drawn)


def equivalent(mutant: RuleMutant, drawn: Sequence[Sample]) -> bool:
    """Whether a wrong rule gives the right gradients on all samples: no check could catch it."""
    return all(_agree(s, replace(s, op=mutant.op)) for s in drawn)


def _agree(right: Sample, wrong: Sample) -> bool:
    v = right.cotangent()
    if v.dtype.kind != "f":
        return True
    try:
        found = gradients(wrong, v)
    except REFUSED:
        return False
    return _same(gradients(right, v), found)


def _same(right: Sequence[Any], found: Sequence[Any]) -> bool:
    """Whether gradients are equal, but for the rounding of the largest element."""
    for x, y in zip(right, found, strict=True):
        size = float(np.max(np.abs(x), initial=0.0, where=np.isfinite(x)))
        if not np.allclose(x, y, rtol=0.0, atol=CLOSE * size, equal_nan=True):
            return False
    return True


# wrong functions ----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, kw_only=True)
class WrongFunction(Mutant):
    """A function of right value and wrong derivative; called, it is right unless installed.

    ``order``: from which derivative on it is wrong; 0: none is, the two are equivalent.
    """

    kind: ClassVar[str] = "function"
    right: Callable[..., Tensor]
    wrong: Callable[..., Tensor]
    order: int = 1
    _function: Callable[..., Tensor] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Begin with the right function."""
        object.__setattr__(self, "_function", self.right)

    @property
    def __name__(self) -> str:
        """The name, as reports give it."""
        return self.name

    def replacements(self) -> list[tuple[Any, str, Any]]:
        """Call the wrong function."""
        return [(self, "_function", self.wrong)]

    def __call__(self, *arguments: Any) -> Tensor:
        """Compute the function; its derivative is wrong while the mutant is installed."""
        return self._function(*arguments)


EPS = 1e-5


def _standardised(
    x: Operand, *, inner: bool = True, outer: bool = True, spread: bool = True, eps: float = EPS
) -> Tensor:
    """Standardise columns; a part said to be false is taken for a constant on the way back.

    ``inner``: the mean inside the variance; ``outer``: the mean that is subtracted; ``spread``:
    the variance.
    """
    values = as_constant(x)
    centre = mean(values, axis=0)
    variance = mean(square(values - (centre if inner else stop_gradient(centre))), axis=0)
    scale = sqrt((variance if spread else stop_gradient(variance)) + eps)
    return (values - (centre if outer else stop_gradient(centre))) / scale


def _variance(x: Operand, *, inner: bool = True) -> Tensor:
    values = as_constant(x)
    centre = mean(values, axis=0)
    return mean(square(values - (centre if inner else stop_gradient(centre))), axis=0)


def _weights(z: Operand, *, top: bool = False, below: bool = True) -> Tensor:
    """Softmax; ``top``, ``below``: whether gradients pass the maximum, the sum."""
    logits = as_constant(z)
    shift = largest(logits, axis=-1, keepdims=True)
    raised = exp(logits - (shift if top else stop_gradient(shift)))
    every = total(raised, axis=-1, keepdims=True)
    return raised / (every if below else stop_gradient(every))


_graft = Primitive(
    name="graft",
    family="custom",
    kernel=lambda value, path: value,
    rules=(None, lambda xp, g, out, value, path: g),
    doc="The value of one tensor with the derivative of another.",
    mask=2,
    static={},
)


def _grafted(value: Callable[..., Tensor], path: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return a function with the value of one and the derivative of another."""

    def wrong(*arguments: Any) -> Tensor:
        """Compute both, and put them together."""
        return bind(_graft, (stop_gradient(value(*arguments)), path(*arguments)), {})

    return wrong


def _diagonal_alone(z: Operand) -> Tensor:
    """Give a function whose derivative is only the diagonal of that of log-softmax."""
    logits = as_constant(z)
    return logits - stop_gradient(softmax(logits)) * logits


_LABELS = (0, 2, 1)

FUNCTIONS: tuple[WrongFunction, ...] = (
    WrongFunction(
        name="detached mean",
        why="The mean inside the variance is taken for a constant, which its gradient allows: "
        "the deviations sum to zero. The second derivative does not. tinygrad's batch norm.",
        right=_standardised,
        wrong=partial(_standardised, inner=False),
        order=2,
    ),
    WrongFunction(
        name="detached mean of a variance",
        why="The same in the variance alone: the gradient is exact, its own derivative is not.",
        right=_variance,
        wrong=partial(_variance, inner=False),
        order=2,
    ),
    WrongFunction(
        name="missing variance path",
        why="The variance is taken for a constant: one of the two ways through which an "
        "element of the batch acts on the others.",
        right=_standardised,
        wrong=partial(_standardised, spread=False),
    ),
    WrongFunction(
        name="missing mean path",
        why="The mean that is subtracted is taken for a constant: the gradients of a column no "
        "longer sum to zero.",
        right=_standardised,
        wrong=partial(_standardised, outer=False),
    ),
    WrongFunction(
        name="constant statistics",
        why="Mean and variance are both taken for constants, as they are at test time: the "
        "gradient of batch norm in its other mode.",
        right=_standardised,
        wrong=partial(_standardised, inner=False, outer=False, spread=False),
    ),
    WrongFunction(
        name="N instead of N-1",
        why="The divisor of the gradient is not that of the value: autograd answers a variance "
        "with correction=1 by the gradient of correction=0.",
        right=partial(var, axis=0, correction=1.0),
        wrong=_grafted(partial(var, axis=0, correction=1.0), partial(var, axis=0)),
    ),
    WrongFunction(
        name="forgotten eps",
        why="The value divides by sqrt(var + eps), its gradient by sqrt(var): off by a relative "
        "eps/var, below the tolerances in use.",
        right=_standardised,
        wrong=_grafted(_standardised, partial(_standardised, eps=0.0)),
    ),
    WrongFunction(
        name="softmax without the sum",
        why="p * g in place of p * (g - sum(p * g)): each weight is differentiated as if the "
        "sum below it were constant.",
        right=_weights,
        wrong=partial(_weights, below=False),
    ),
    WrongFunction(
        name="log-softmax by its diagonal",
        why="g - p * g in place of g - p * sum(g): the derivative of each logarithm by its own "
        "logit alone.",
        right=log_softmax,
        wrong=_grafted(log_softmax, _diagonal_alone),
    ),
    WrongFunction(
        name="sum instead of mean",
        why="The loss is a mean over the batch, its gradient (p - y) is that of the sum: too "
        "large by the size of the batch, which a learning rate hides.",
        right=lambda z: cross_entropy(z, np.array(_LABELS)),
        wrong=_grafted(
            lambda z: cross_entropy(z, np.array(_LABELS)),
            lambda z: cross_entropy(z, np.array(_LABELS), reduction="sum"),
        ),
    ),
    WrongFunction(
        name="shift with a gradient",
        why="The gradient passes the maximum that softmax subtracts. It cancels, to any order: "
        "stopping it saves work and changes nothing.",
        right=_weights,
        wrong=partial(_weights, top=True),
        order=0,
    ),
)
"""Normalisations and losses of right value and wrong derivative; the last is equivalent."""


# wrong engines ------------------------------------------------------------------------------------


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


def exposed(
    mutant: Mutant, function: Callable[..., Any], *arguments: Any, order: int = 1, seed: int = 0
) -> bool:
    """Whether a mutant changes the derivatives of a function at a point, for a random cotangent.

    ``arguments``: floats, or arrays or tensors of them, or containers of these; ``order=2`` looks
    at the second derivatives too. Where the answer is no, the mutant is equivalent, and no check
    can find it. Raises ShapeError for an order below 1, DTypeError for integer arguments, and
    TinygradError while a mutant is installed.

    >>> import tinygrad_bn as tg
    >>> wrong = next(m for m in mutants("exp") if m.name == "negated")
    >>> exposed(wrong, tg.exp, 1.0), exposed(wrong, tg.sin, 1.0)
    (True, False)
    """
    if order < 1:
        raise ShapeError(f"exposed with order={order}.", "The order is at least 1.")
    right = _derivatives(function, arguments, order, seed)
    with installed(mutant):
        try:
            found = _derivatives(function, arguments, order, seed)
        except REFUSED:
            return True
    return not _same(right, found)


def _derivatives(function: Any, arguments: Sequence[Any], order: int, seed: int) -> list[Any]:
    """Pull a random cotangent back; for a higher order, do so with the gradient in its turn."""
    rng = np.random.default_rng((seed, order))
    value, pull = vjp(function, *arguments)
    leaves, _, rebuild = flatten(value)
    v = rebuild([rng.uniform(-1.0, 1.0, np.shape(y)) for y in leaves])
    first = [g.data for g in flatten(pull(v))[0]]
    if order == 1:
        return first
    return first + _derivatives(lambda *x: vjp(function, *x)[1](v), arguments, order - 1, seed)


# the gallery --------------------------------------------------------------------------------------


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
