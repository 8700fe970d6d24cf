"""custom_rule: give a function a derivative of your own. checkpoint: compute again, not keep."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_bn.errors import DTypeError, GradientError, TinygradError
from tinygrad_bn.graph.containers import flatten, is_weak
from tinygrad_bn.graph.namespaces import tensors
from tinygrad_bn.graph.primitive import Primitive, Rule, bind
from tinygrad_bn.graph.state import Replay, current, using
from tinygrad_bn.graph.sweep import scratch, sweep, tracked
from tinygrad_bn.graph.tensor import Tensor, as_constant, leaf
from tinygrad_bn.primitives.families import Case, Each, Row, primitive
from tinygrad_bn.transforms.lifting import call, name_of


def custom_rule(
    *,
    vjp: Rule | Sequence[Rule | None],
    cases: Sequence[Case] = (),
    domain: Any = (-2.0, 2.0),
    margin: Callable[..., Any] | None = None,
    analytic: bool = False,
    broadcasts: bool = False,
) -> Row:
    """Decorate a function of tensors to use the given derivative instead of the derived one.

    ``vjp``: one rule per operand (None: no gradient), ``rule(xp, g, out, *operands, **params)``
    with operations of ``xp``, so that it can be differentiated again. Operands are the parameters
    annotated ``Array`` (if none is: the positional ones without default), the others are static.
    What needs a gradient must be an operand: a function that closes over a tensor with one raises
    GradientError. It becomes a row of the table: the derived tests run it on ``cases`` (by
    default on operands of shape (2, 3)) as they run the built-in ones.

    >>> @custom_rule(vjp=lambda xp, g, out, x: g * (1 - xp.exp(-out)))
    ... def my_softplus(x):
    ...     return tensors.log(1 + tensors.exp(x))
    >>> x = Tensor(0.0, requires_grad=True)
    >>> my_softplus(x).backward()
    >>> x.grad
    Tensor(0.5)
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Tensor]:
        """Make the function a row with the given rules."""
        _refuse_row(function)

        @functools.wraps(function)
        def kernel(*values: Any, **params: Any) -> Any:
            """Compute on ndarrays what the function computes on tensors."""
            operands = _as_tensors(values)
            with using(recording=True, tracing=False):
                result = function(*operands, **params)
            return _checked(function, result)._data

        row: Row = primitive(
            "custom",
            vjp=(vjp,) if callable(vjp) else vjp,
            cases=cases,
            domain=domain,
            margin=margin,
            analytic=analytic,
            broadcasts=broadcasts,
            opaque=True,
        )
        return row(kernel)

    return decorate


def _refuse_row(function: Callable[..., Any]) -> None:
    """Raise for a function that is public already: wrapping it would replace it."""
    name = name_of(function)
    if getattr(tensors, name, None) is function:
        raise TinygradError(
            f"The function {name!r} exists already.", "Define a function of another name."
        )


def _checked(function: Callable[..., Any], result: Any) -> Tensor:
    """Return what a custom rule's function gave, if it is one tensor of the operands alone."""
    if not isinstance(result, Tensor):
        raise DTypeError(
            f"{name_of(function)} returned a {type(result).__name__}.",
            "A function with a custom rule returns one tensor.",
        )
    if result._requires_grad:
        closed = [x for x in tracked([result]) if x.op is None]
        named = next((x.name for x in closed if x.name), "a tensor")
        raise GradientError(
            f"{name_of(function)} closes over {named} that requires a gradient, which its custom "
            "rule does not give.",
            "Pass it as an operand with a rule of its own, or close over its detach().",
        )
    return result


def _as_tensors(values: Sequence[Any]) -> list[Any]:
    """Make tensors of arrays and of Python scalars, which take the dtype that arrays give them."""
    kinds = [v.dtype for v in values if isinstance(v, np.ndarray)]
    return [
        leaf(v)
        if isinstance(v, np.ndarray)
        else leaf(np.asarray(v, np.result_type(v, *kinds)))
        if type(v) in (int, float, complex)
        else v
        for v in values
    ]


def checkpoint(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that keeps only its inputs for the backward pass, and computes again.

    Memory for time. What the function draws at random is drawn once; running statistics are
    updated once, however often it is computed again. The function takes and returns tensors or
    containers of them, by position or keyword, and may close over parameters; Python numbers
    stay numbers, without a gradient. Works at every order.

    >>> from tinygrad_bn.transforms.derivatives import grad
    >>> grad(checkpoint(lambda x: (x * x).sum()))(np.array([1.0, 2.0]))
    Tensor([2., 4.])
    """

    @functools.wraps(function)
    def checkpointed(*arguments: Any, **keywords: Any) -> Any:
        """Run now, keep the inputs, and run again when swept."""
        state = current()
        if state.tracing or not state.recording:
            return function(*arguments, **keywords)
        return _Checkpoint(function, arguments, keywords).run()

    return checkpointed


class _Checkpoint:
    """One call of a checkpointed function: run, forget the graph, run again when swept."""

    def __init__(
        self, function: Callable[..., Any], arguments: Sequence[Any], keywords: dict[str, Any]
    ) -> None:
        self._leaves, _, self._rebuild = flatten((tuple(arguments), keywords))
        self._function = function
        self._operands = [as_constant(v) for v in self._leaves if not is_weak(v)]
        self._outer: list[Tensor] = []
        self._draws: list[Any] = []
        self._values: list[Any] = []
        self._swept_last = 0

    def run(self) -> Any:
        """Run once; record one node for each tensor of the result that has a gradient."""
        begin = leaf(np.empty(0)).index
        own = [leaf(x._data, requires_grad=x._requires_grad) for x in self._operands]
        leaves, _, rebuild = flatten(self._call(own, again=False))
        live = [x for x in leaves if _has_gradient(x)]
        self._outer = _reached_before(live, begin)
        self._values = [x._data if isinstance(x, Tensor) else x for x in leaves]
        self._swept_last = next((i for i, x in enumerate(leaves) if _has_gradient(x)), 0)
        inputs = (*self._operands, *self._outer)
        nodes = [
            bind(self._primitive(i, x._data), inputs, {}) if _has_gradient(x) else x
            for i, x in enumerate(leaves)
        ]
        return rebuild(nodes)

    def _call(self, own: Sequence[Tensor], *, again: bool) -> Any:
        replay = Replay(draws=self._draws, again=again, parent=current().replay)
        given = iter(own)
        arguments, keywords = self._rebuild(
            [v if is_weak(v) else next(given) for v in self._leaves]
        )
        with using(replay=replay):
            return call(functools.partial(self._function, **keywords), arguments)

    def _primitive(self, output: int, value: Any) -> Primitive:
        @functools.wraps(self._function)
        def kernel(*_: Any) -> Any:
            """Give what was computed when the function ran."""
            return value

        return Primitive(
            name="checkpoint",
            family="custom",
            kernel=kernel,
            rules=Each(functools.partial(self._rule, output)),
            static={},
        )

    def _rule(self, output: int, position: int, xp: Any, g: Any, _: Any, *operands: Any) -> Any:
        """Give the cotangent of one input; all are computed together, when the first is asked."""
        shared = scratch.get()
        node, pieces = shared.pop("pieces", (None, {}))
        if node != (self, output):
            pieces = self._pieces(output, g, operands, record=xp is tensors)
        piece = pieces.pop(position)
        shared["pieces"] = (self, output), pieces
        return piece

    def _pieces(
        self, output: int, g: Any, operands: Sequence[Any], *, record: bool
    ) -> dict[int, Any]:
        """Sweep one tensor of the result, computed again, back to the inputs."""
        own, results = self._again(output, operands, record=record)
        self._compare(results[output], output)
        targets = [*own, *self._outer]
        found = sweep({results[output]: g}, record=record, wanted=set(targets), stop=True)
        return {i: found.get(x) for i, x in enumerate(targets)}

    def _again(
        self, output: int, operands: Sequence[Any], *, record: bool
    ) -> tuple[list[Tensor], list[Any]]:
        """Compute again, once for all results: their nodes are swept one after the other.

        One checkpoint at a time is kept so: more would take the memory that was to be saved.
        """
        shared = scratch.get()
        last, kept = shared.pop("again", (None, None))
        again: tuple[list[Tensor], list[Any]]
        if last is self:
            again = kept
        else:
            del kept
            again = self._recompute(operands, record=record)
        if output != self._swept_last:
            shared["again"] = self, again
        return again

    def _recompute(
        self, operands: Sequence[Any], *, record: bool
    ) -> tuple[list[Tensor], list[Any]]:
        count = len(self._operands)
        for outer, operand in zip(self._outer, operands[count:], strict=True):
            if not record and outer._data is not operand:
                raise GradientError(
                    f"checkpoint: {outer.name or 'a closed-over parameter'} was assigned between "
                    "the forward and the backward pass.",
                    "Sweep before assigning.",
                )
        own = [
            _linked(v) if record else leaf(v, requires_grad=x._requires_grad)
            for x, v in zip(self._operands, operands[:count], strict=True)
        ]
        return own, flatten(self._call(own, again=True))[0]

    def _compare(self, result: Tensor, output: int) -> None:
        """Refuse a gradient of other values than those of the forward pass."""
        before, now = self._values[output], result._data
        same = now.shape == before.shape and now.dtype == before.dtype
        # Another order of sums (another alignment in memory) may move the last bits.
        rtol = float(np.finfo(now.dtype).eps) ** 0.5 if now.dtype.kind == "f" else 0.0
        if not (same and np.allclose(now, before, rtol, atol=0.0, equal_nan=True)):
            raise GradientError(
                f"checkpoint of {name_of(self._function)}: computed again, it gave other values.",
                "Let it depend on its arguments alone: pass arrays and parameters that change as "
                "arguments, and sweep before changing them.",
            )


def _has_gradient(value: Any) -> bool:
    return isinstance(value, Tensor) and value._requires_grad


def _linked(x: Tensor) -> Tensor:
    """Copy a tensor within the graph, so that a recorded sweep goes on through it."""
    return tensors.positive(x) if x._requires_grad else x


def _reached_before(results: Sequence[Tensor], begin: int) -> list[Tensor]:
    """Find the tensors of before a moment that results depend on directly, or that are results."""
    seen = set(results)
    outer = [x for x in seen if x.index < begin]
    stack = [x for x in seen if x.index >= begin]
    while stack:
        node = stack.pop()
        for i in node.wrt:
            parent = node.inputs[i]
            if parent not in seen:
                seen.add(parent)
                (outer if parent.index < begin else stack).append(parent)
    return sorted(outer, key=lambda x: x.index)
