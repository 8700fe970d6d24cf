"""Fresh leaves for a transform: what a function is differentiated with respect to.

A transform gives its function new tensors in place of the arguments. Where an argument already
belongs to an outer graph, the new tensor is recorded as a copy of it; so an outer transform sees
through, while the inner one stops at its own tensors: nesting cannot confuse the two.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from tinygrad_bn.errors import DTypeError, GradientError, ShapeError
from tinygrad_bn.graph.containers import Rebuild, find_integer, flatten
from tinygrad_bn.graph.namespaces import tensors
from tinygrad_bn.graph.state import current, using
from tinygrad_bn.graph.sweep import sweep, tracked
from tinygrad_bn.graph.tensor import Tensor, as_constant, leaf


class Lifted(NamedTuple):
    """An argument or a result whose leaves became tensors: fresh ones for an argument."""

    tree: Any
    leaves: list[Tensor]
    paths: list[str]
    rebuild: Rebuild


def fresh(value: Any, label: str) -> Tensor:
    """Make a tensor of its own identity with this value, which requires a gradient."""
    if isinstance(value, int) and not isinstance(value, bool):
        raise DTypeError(
            f"{label} is the int {value}: gradients exist for floating-point values only.",
            f"Pass {float(value)}.",
        )
    origin = as_constant(value)
    if origin.dtype.kind != "f":
        raise DTypeError(
            f"{label} has dtype {origin.dtype}: gradients exist for floating-point values only.",
            "Convert it with astype(float), or differentiate another argument (argnums=).",
        )
    state = current()
    joined = (origin._requires_grad and state.recording) or state.tracing
    new = tensors.positive(origin) if joined else leaf(origin._data)
    new._requires_grad = True
    new.name = origin.name
    return new


def lift(argument: Any, label: str) -> Lifted:
    """Replace every leaf of an argument (a tensor, array, number or container) by a fresh tensor.

    Raises DTypeError for an integer argument, and for a container without floating-point leaves.
    """
    if (integer := find_integer(argument)) is not None:
        fresh(integer[1], label + integer[0])
    leaves, paths, rebuild = flatten(argument)
    if not leaves:
        raise DTypeError(
            f"{label} is a {type(argument).__name__} without tensors.",
            "Pass a tensor, an array, a float, or a dict, list, tuple or module of them.",
        )
    new = [fresh(value, label + path) for value, path in zip(leaves, paths, strict=True)]
    return Lifted(rebuild(new), new, paths, rebuild)


def call(function: Callable[..., Any], arguments: Sequence[Any]) -> Any:
    """Call a function with recording on, whatever surrounds the transform."""
    with using(recording=True):
        return function(*arguments)


def call_for_tensors(function: Callable[..., Any], arguments: Sequence[Any]) -> Lifted:
    """Call a function; constants in its result (arrays, floats) become tensors."""
    leaves, paths, rebuild = flatten(call(function, arguments))
    results = [as_constant(x) for x in leaves]
    return Lifted(rebuild(results), results, paths, rebuild)


def scalar(result: Any, function: Callable[..., Any]) -> Tensor:
    """Return a result that has one element, or say why it cannot be differentiated."""
    if not isinstance(result, Tensor) or result.size != 1:
        tensor = isinstance(result, Tensor)
        got = f"a tensor of shape {result.shape}" if tensor else f"a {type(result).__name__}"
        raise GradientError(
            f"grad of {name_of(function)}: the result must be a tensor of one element, not {got}.",
            "Reduce it (sum, mean), or use jacobian or vjp."
            if tensor
            else "Return a tensor: float(), item() and np.asarray leave the graph.",
        )
    return result


def name_of(function: Callable[..., Any]) -> str:
    """Return a function's name for messages and programs."""
    return getattr(function, "__name__", type(function).__name__)


def argument_names(function: Callable[..., Any], count: int) -> list[str]:
    """Name arguments as the function does, else by position."""
    try:
        names = [
            p.name
            for p in inspect.signature(function).parameters.values()
            if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
    except (TypeError, ValueError):
        names = []
    return [names[i] if i < len(names) else f"x{i + 1}" for i in range(count)]


def labelled(function: Callable[..., Any], name: str, arguments: Sequence[str]) -> None:
    """Give a function of any arguments a name, and names of its arguments, for traces of it."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(argument, kind) for argument in arguments]
    vars(function)["__signature__"] = inspect.Signature(parameters)
    function.__name__ = name


def outside(results: Iterable[Tensor], leaves: Sequence[Tensor]) -> bool:
    """Whether results depend on anything differentiable besides the fresh leaves.

    If so, or while tracing, a gradient must itself be recorded: somebody may differentiate it.
    Under ``no_grad`` nobody will.
    """
    state = current()
    if state.tracing or not state.recording:
        return state.tracing
    own = set(leaves)
    if any(x.wrt for x in leaves):
        return True
    return any(n.op is None and n not in own for n in tracked(results))


def pull(
    cotangents: dict[Tensor, Tensor], leaves: Sequence[Tensor], *, record: bool
) -> list[Tensor]:
    """Sweep cotangents of results back to fresh leaves; zeros where no path leads."""
    start = {t: g if record else g._data for t, g in cotangents.items() if t._requires_grad}
    with using(recording=True):
        found = sweep(start, record=record, wanted=set(leaves))
        return [_gradient(found.get(x), x) for x in leaves]


def _gradient(g: Any, x: Tensor) -> Tensor:
    if g is None:
        return tensors.zeros_like(x.detach())
    return g if isinstance(g, Tensor) else leaf(tensors.asarray(g)._data)


def cotangent_for(result: Tensor, value: Any) -> Tensor:
    """Check a cotangent against its result: same shape, cast to the same dtype."""
    g = as_constant(value)
    if g.shape != result.shape:
        raise ShapeError(
            f"The cotangent has shape {g.shape}, the result {result.shape}.",
            "Pass a cotangent of the result's own shape.",
        )
    return g if g.dtype == result.dtype else tensors.astype(g, result.dtype)


def settle(tree: Any, *, recorded: bool) -> Any:
    """Return a result as it leaves a transform: outside the graph unless an outer one sees it."""
    if recorded:
        return tree
    leaves, _, rebuild = flatten(tree)
    return rebuild([x.detach() if isinstance(x, Tensor) else x for x in leaves])
