"""Families of primitives: what rows share, so that a row states only what is its own.

A row is a function with a docstring, under a family's decorator. Its body computes on ndarrays;
where NumPy has the very function, the decorator gets that instead and the body is left empty.
``vjp`` has one rule per operand, ``rule(xp, g, out, *operands, **params)``, written once against
the array API: ``xp`` is a namespace of arrays or of tensors. None states: no gradient.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, ParamSpec, Protocol, TypeAlias

import numpy as np

from tinygrad_bn.errors import DTypeError, GradientError, TinygradError
from tinygrad_bn.graph.primitive import Array, Primitive, Rule, bind, has_half, register
from tinygrad_bn.graph.state import current
from tinygrad_bn.graph.tensor import Tensor

P = ParamSpec("P")
Q = ParamSpec("Q")


class Row(Protocol):
    """The decorator of a row: of a function on ndarrays it makes one on tensors."""

    def __call__(self, function: Callable[P, Any], /) -> Callable[P, Tensor]:
        """Register the row and return its public function."""


Case: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]
"""Operands and parameters of one derived test. An operand is a shape (filled at random within
the row's domain), or an ndarray or number taken as it is."""


_missing = inspect.Parameter.empty
_none: dict[str, Any] = {}
_settled = frozenset({int, bool, float, str, type(None)})


class Each:
    """The rules of an operation with any number of operands: one rule that gets the position."""

    def __init__(self, rule: Callable[..., Any]) -> None:
        self.rule = rule

    def __getitem__(self, position: int) -> Rule:
        """Return the rule of one operand."""
        return functools.partial(self.rule, position)

    def __len__(self) -> int:
        """Count as one rule: the number of operands is not known here."""
        return 1


class Leading:
    """The rules of an operation of which only the leading operands have gradients."""

    def __init__(self, *rules: Any) -> None:
        self.rules = rules

    def __getitem__(self, position: int) -> Any:
        """Return a leading operand's rule, None for an index array."""
        return self.rules[position] if position < len(self.rules) else None

    def __len__(self) -> int:
        """Count the operands with rules."""
        return len(self.rules)


def primitive(
    family: str,
    kernel: Callable[..., Any] | None = None,
    *,
    vjp: Rule | Sequence[Rule | None] | None,
    cases: Sequence[Case] = (),
    domain: Any = (-2.0, 2.0),
    broadcasts: bool = False,
    margin: Callable[..., Any] | None = None,
    analytic: bool = True,
    symbol: str | None = None,
    alike: Callable[..., Any] | None = None,
    unlike: Callable[..., bool] = has_half,
    opaque: bool = False,
    prepare: Callable[..., tuple[tuple[Any, ...], dict[str, Any]]] | None = None,
) -> Any:
    """Make the decorator of a row; families call this with what their members share.

    ``domain``: the interval (or one per operand) from which the derived tests draw operands.
    ``margin(*operands, **params)``: elementwise distance to the nearest kink or singularity.
    ``alike``: NumPy's function that gives the same bits, but where ``unlike(*operands,
    **params)`` holds (for float16); printed programs then use it. ``opaque``: the body has no
    text of its own in a printed program. ``prepare``: where users call it otherwise than the
    kernel is called (sequences, index expressions), turns the user's arguments into operands and
    static parameters.
    """

    def decorate(function: Callable[P, Any]) -> Callable[P, Tensor]:
        """Enter the row into the table; return its public function."""
        call = _Call.of(function)
        rules: Any = vjp if isinstance(vjp, Each | Leading) else _as_tuple(vjp, call)
        _check_rules(function.__name__, rules, call)
        op = Primitive(
            name=function.__name__,
            family=family,
            kernel=kernel or function,
            rules=rules,
            doc=inspect.getdoc(function) or "",
            broadcasts=broadcasts,
            margin=margin,
            analytic=analytic,
            cases=tuple(cases) or default_cases(family, len(call.operands)),
            domain=domain,
            symbol=symbol,
            text=None if kernel or opaque else function,
            alike=alike or kernel,
            unlike=unlike,
            static=call.static,
            origin=f"{function.__module__}.{function.__qualname__}",
            mask=_mask(rules),
        )
        if prepare is None:
            public = _public(op, function, call)
            register(op, public, op.kernel)
        else:
            public = _prepared(op, prepare)
            register(op, public, _bare(op.kernel, prepare))
        return public

    return decorate


def _as_tuple(vjp: Any, call: _Call) -> tuple[Rule | None, ...]:
    """Give one rule for each operand; a single one serves them all."""
    return (vjp,) * len(call.operands) if vjp is None or callable(vjp) else tuple(vjp)


def _check_rules(name: str, rules: Any, call: _Call) -> None:
    """Raise if there is not one rule for each operand, called as the sweep calls it."""
    if not isinstance(rules, tuple):
        return
    count = "any number of" if call.variadic and any(rules) else len(call.operands)
    if len(rules) != count:
        raise DTypeError(
            f"{name} has {count} operands, and vjp has {len(rules)} rules.",
            "Give one rule for each operand, None for one without a gradient.",
        )
    operands = ", ".join(call.operands)
    for rule in rules:
        try:
            if rule is not None:
                filled = (None,) * (3 + len(call.operands))
                inspect.signature(rule).bind(*filled, **dict.fromkeys(call.static))
        except TypeError as error:
            raise DTypeError(
                f"{name}: a rule cannot be called with (xp, g, out, {operands}): {error}.",
                f"Write each rule as lambda xp, g, out, {', '.join([*call.operands, *call.static])}"
                ": ...",
            ) from error


def _mask(rules: Any) -> int:
    """Set a bit for each operand that has a rule; all bits where any number of operands has."""
    if isinstance(rules, Each):
        return -1
    listed = rules.rules if isinstance(rules, Leading) else rules
    return sum(1 << i for i, rule in enumerate(listed) if rule is not None)


class _Call(NamedTuple):
    """The parts of a row's signature: operands (annotated ``Array``) and static parameters.

    If nothing is annotated so, the positional parameters without default are the operands.
    """

    operands: tuple[str, ...]
    variadic: bool
    defaults: dict[str, Any]
    static: dict[str, Any]

    @classmethod
    def of(cls, function: Callable[..., Any]) -> _Call:
        """Read the signature of a row."""
        parameters = inspect.signature(function).parameters.values()
        arrays = [p for p in parameters if p.annotation in ("Array", "tg.Array", Array)]
        kinds = inspect.Parameter
        positional = (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD, kinds.VAR_POSITIONAL)
        arrays = arrays or [p for p in parameters if p.kind in positional and p.default is p.empty]
        variadic = any(p.kind is p.VAR_POSITIONAL for p in arrays)
        return cls(
            tuple(p.name for p in arrays),
            variadic,
            {p.name: p.default for p in arrays if p.default is not p.empty},
            {p.name: p.default for p in parameters if p not in arrays},
        )


def _public(op: Primitive, function: Callable[P, Any], call: _Call) -> Callable[P, Tensor]:
    """Make the public function of a row: same name, signature and docstring, on tensors."""
    public: Any
    if not call.static and not call.variadic and len(call.operands) == 1:

        @functools.wraps(function)
        def public(x: Any, /) -> Tensor:
            return bind(op, (x,), _none)
    elif not call.static and not call.variadic and len(call.operands) == 2:

        @functools.wraps(function)
        def public(x: Any, y: Any, /) -> Tensor:
            return bind(op, (x, y), _none)
    else:

        @functools.wraps(function)
        def public(*operands: Any, **keywords: Any) -> Tensor:
            return bind(op, *_arrange(op, call, operands, keywords))

    made: Callable[P, Tensor] = public
    return made


def _prepared(op: Primitive, prepare: Callable[..., Any]) -> Callable[..., Tensor]:
    """Make the public function of a row that users call in another way than its kernel."""

    @functools.wraps(prepare)
    def public(*arguments: Any, **keywords: Any) -> Tensor:
        try:
            operands, params = prepare(*arguments, **keywords)
        except TinygradError:
            raise
        except TypeError as error:
            said = str(error).replace(f"{prepare.__name__}()", "it")
            raise DTypeError(
                f"{op.name}: {said}.", f"It is called as {op.name}{inspect.signature(prepare)}."
            ) from error
        return bind(op, operands, {k: static_value(v) for k, v in params.items()})

    public.__name__ = public.__qualname__ = op.name
    public.__doc__ = op.doc
    return public


def _bare(kernel: Callable[..., Any], prepare: Callable[..., Any]) -> Callable[..., Any]:
    """Call a kernel on ndarrays as users call its row on tensors."""

    def bare(*arguments: Any, **keywords: Any) -> Any:
        """Prepare, then compute on ndarrays."""
        operands, params = prepare(*arguments, **keywords)
        return kernel(*operands, **params)

    return bare


def _arrange(
    op: Primitive, call: _Call, arguments: tuple[Any, ...], keywords: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Sort the arguments of a call into operands and static parameters, defaults filled in."""
    if call.variadic or len(arguments) == len(call.operands):
        operands, given = arguments, keywords
    else:
        names = (*call.operands, *call.static)
        given = {**dict(zip(names, arguments, strict=False)), **keywords}
        if len(arguments) > len(names) or len(given) < len(arguments) + len(keywords):
            raise _misfit(op, call, f"{len(arguments)} positional arguments do not fit")
        chosen = [given.pop(n, call.defaults.get(n, _missing)) for n in call.operands]
        if any(operand is _missing for operand in chosen):
            raise _misfit(op, call, f"{len(call.operands)} operands are needed")
        operands = tuple(chosen)
    params = {**call.static, **{k: static_value(v) for k, v in given.items()}}
    if len(params) > len(call.static):
        unknown = next(n for n in params if n not in call.static)
        raise _misfit(op, call, f"there is no parameter {unknown!r}")
    if any(value is _missing for value in params.values()):
        raise _misfit(op, call, "a parameter is missing")
    return operands, params


def static_value(value: Any) -> Any:
    """Normalise a static parameter to something hashable: ints, tuples, dtypes."""
    if type(value) in _settled:
        return value
    if isinstance(value, list | tuple):
        return tuple(static_value(v) for v in value)
    if isinstance(value, Tensor) and value.requires_grad and current().recording:
        raise GradientError(
            "A tensor that requires a gradient is given as a static parameter, which gets none.",
            "Pass a number (item()), or use an operation that takes it as an operand.",
        )
    if isinstance(value, Tensor | np.ndarray | np.generic):
        return static_value(value.tolist())
    return value


def _misfit(op: Primitive, call: _Call, what: str) -> DTypeError:
    known = ", ".join((*call.operands, *call.static))
    return DTypeError(f"{op.name}: {what}.", f"Its arguments are: {known}.")


def default_cases(family: str, arity: int) -> tuple[Case, ...]:
    """Operand shapes for the derived tests of a row that states none."""
    if family != "elementwise":
        return (((((2, 3),) * arity), {}),)
    if arity == 1:
        return ((((3, 4),), {}), (((),), {}))
    pairs: list[tuple[Any, Any]] = [((3, 4), (3, 4)), ((2, 1, 3), (4, 1)), ((), (3,)), ((3,), ())]
    return tuple((pair, {}) for pair in [*pairs, ((3,), 0.75), (0.75, (3,))])


class Family:
    """A family of rows: the decorator ``primitive`` with what its members share filled in."""

    def __init__(self, name: str, **shared: Any) -> None:
        self.name, self.shared = name, shared

    def __call__(
        self, kernel: Callable[..., Any] | None = None, /, *, vjp: Any, **options: Any
    ) -> Row:
        """Make the decorator of a row; the options are those of ``primitive``."""
        row: Row = primitive(self.name, kernel, vjp=vjp, **{**self.shared, **options})
        return row

    def called(
        self, prepare: Callable[Q, Any], /, *, vjp: Any, **options: Any
    ) -> Callable[[Callable[..., Any]], Callable[Q, Tensor]]:
        """Make the decorator of a row that users call with the signature of ``prepare``."""
        options = {**self.shared, **options, "prepare": prepare}
        row: Callable[[Callable[..., Any]], Callable[Q, Tensor]]
        row = primitive(self.name, vjp=vjp, **options)
        return row


elementwise = Family("elementwise", broadcasts=True)
reduction = Family("reduction")
movement = Family("movement")
contraction = Family("contraction", broadcasts=True)
indexing = Family("indexing")
sorting = Family("sorting")


def flat(xp: Any, g: Array, out: Array, *operands: Array, **params: Any) -> Array:
    """The rule of a piecewise constant function: its derivative is zero."""
    return xp.zeros_like(g)
