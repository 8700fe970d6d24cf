"""A function of plain arrays with its derivative: what any framework can be turned into."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from tinygrad_bn.errors import DTypeError, ShapeError
from tinygrad_bn.graph.containers import flatten
from tinygrad_bn.graph.tensor import Tensor, as_constant
from tinygrad_bn.transforms.derivatives import vjp as tensor_vjp
from tinygrad_bn.transforms.lifting import name_of

Array: TypeAlias = np.ndarray[Any, Any]

Pull: TypeAlias = Callable[[list[Array]], Sequence[Any]]
"""Turns one cotangent for each result into one gradient (or None) for each float argument."""

Run: TypeAlias = Callable[[list[Any], dict[str, Any]], tuple[list[Array], Pull]]
"""Runs a function on arguments and keywords: its floating-point results, and how to go back."""


class Pair(NamedTuple):
    """A function of ndarrays and its derivative.

    ``value(*arrays, **static)`` returns an array, or a tuple or list of arrays.
    ``vjp(g, *arrays, **static)`` returns the gradient of ``<g, value(*arrays)>``: one array if
    one argument is floating-point, else a tuple with one for each that is (None: zero). ``g`` has
    the shape of the value; a tuple if there are several. Keywords are no arguments: no gradient.

    >>> square = Pair(lambda x: x**2, lambda g, x: 2 * x * g)
    >>> square.results(3.0), square.gradients([1.0], 3.0)
    ([array(9.)], [array(6.)])
    """

    value: Callable[..., Any]
    vjp: Callable[..., Any]

    def results(self, *arrays: Any, **static: Any) -> list[Array]:
        """Evaluate, and list the results."""
        with np.errstate(all="ignore"):
            return [np.asarray(y) for y in listed(self.value(*arrays, **static))]

    def gradients(self, cotangents: Sequence[Any], *arrays: Any, **static: Any) -> list[Array]:
        """List the gradient of each floating-point argument, zeros for None.

        ``cotangents``: one for each result. Raises ShapeError where the derivative does not give
        one gradient for each floating-point argument, of its shape.
        """
        with np.errstate(all="ignore"):
            given = self.vjp(packed(cotangents), *arrays, **static)
        found, floats = listed(given), [np.asarray(x) for x in arrays if is_float(x)]
        if len(found) != len(floats):
            raise ShapeError(
                f"vjp returned {len(found)} gradients for {len(floats)} floating-point arguments.",
                "Return one for each, in their order; None for zero.",
            )
        return [_fitting(g, x) for g, x in zip(found, floats, strict=True)]


def _fitting(gradient: Any, x: Array) -> Array:
    g = np.zeros_like(x) if gradient is None else np.asarray(gradient)
    if g.shape != x.shape:
        raise ShapeError(
            f"vjp returned a gradient of shape {g.shape} for an argument of shape {x.shape}.",
            "Sum it over the axes along which the argument was broadcast.",
        )
    return g


def as_pair(function: Any) -> Pair:
    """Return a function of tensors of this package as a Pair, and a Pair as it is.

    Of what the function returns (a tensor, or a container of them) the floating-point tensors
    are the results. Arrays of every floating-point dtype keep it, long double too.

    Raises DTypeError for what is neither a function nor a pair of functions.

    >>> import tinygrad_bn as tg
    >>> sine = as_pair(tg.sin)
    >>> sine.value(0.0), sine.vjp(2.0, 0.0)
    (array(0.), array(2.))
    """
    if isinstance(function, tuple) and len(function) == 2:
        return function if isinstance(function, Pair) else Pair(*function)
    if not callable(function):
        raise DTypeError(
            f"A {type(function).__name__} stands where a function should.",
            "Pass a function of tensors, or a Pair(value, vjp) of functions of arrays.",
        )

    def run(arguments: list[Any], static: dict[str, Any]) -> tuple[list[Array], Pull]:
        """Call the function on fresh tensors."""
        flat = of_floats(function, arguments, static)
        results, pull = tensor_vjp(flat, *filter(is_float, arguments))
        return [y.data for y in results], lambda cotangents: [g.data for g in pull(cotangents)]

    return paired(run, function)


def of_floats(
    function: Callable[..., Any], arguments: Sequence[Any], static: dict[str, Any]
) -> Callable[..., list[Tensor]]:
    """Return a function of tensors with all but its floating-point arguments filled in.

    It lists those results that are floating-point tensors.
    """

    def flat(*floats: Any) -> list[Tensor]:
        """Call it, with these in place of the floating-point arguments."""
        leaves = flatten(function(*replaced(arguments, floats), **static))[0]
        return [t for t in map(as_constant, leaves) if t.dtype.kind == "f"]

    return flat


def paired(
    run: Run, function: Callable[..., Any], evaluate: Callable[..., list[Array]] | None = None
) -> Pair:
    """Make a Pair of a way to run a function forwards and back, with its conventions checked.

    The value has the function's name and argument names, for reports. ``evaluate``: how to get
    the results alone, if otherwise than by ``run``.
    """
    name = name_of(function)

    def value(*arrays: Any, **static: Any) -> Any:
        """Evaluate."""
        results = evaluate(list(arrays), static) if evaluate else run(list(arrays), static)[0]
        return packed(_some(results, name, "result"))

    def vjp(g: Any, *arrays: Any, **static: Any) -> Any:
        """Evaluate, and pull the cotangent back."""
        floats = _some([x for x in arrays if is_float(x)], name, "argument")
        results, pull = run(list(arrays), static)
        found = pull(_cotangents(g, _some(results, name, "result"), name))
        pairs = zip(found, floats, strict=True)
        return packed([np.zeros_like(x) if one is None else one for one, x in pairs])

    return Pair(functools.update_wrapper(value, function, updated=()), vjp)


def _some(found: list[Any], name: str, what: str) -> list[Any]:
    if not found:
        raise DTypeError(
            f"{name}: no {what} is floating-point, so there is no derivative.",
            f"Convert the {what} with astype(float).",
        )
    return found


def _cotangents(g: Any, results: Sequence[Array], name: str) -> list[Array]:
    """Give each result its cotangent, in its own dtype and memory."""
    given = listed(g)
    shapes = [y.shape for y in results]
    if [np.shape(c) for c in given] != shapes:
        raise ShapeError(
            f"{name}: cotangents of shapes {[np.shape(c) for c in given]} for results of shapes "
            f"{shapes}.",
            "Pass one cotangent for each floating-point result, of its shape.",
        )
    return [np.array(c, dtype=y.dtype, order="C") for c, y in zip(given, results, strict=True)]


def is_float(x: Any) -> bool:
    """Whether an argument is a floating-point array or number, which has a gradient."""
    return isinstance(x, float) or (
        isinstance(x, np.ndarray | np.generic) and np.asarray(x).dtype.kind == "f"
    )


def replaced(arguments: Sequence[Any], floats: Sequence[Any]) -> list[Any]:
    """Put other values in the place of the floating-point arguments.

    >>> replaced([1.0, 2, 3.0], [10.0, 30.0])
    [10.0, 2, 30.0]
    """
    rest = iter(floats)
    return [next(rest) if is_float(x) else x for x in arguments]


def listed(values: Any) -> list[Any]:
    """List several values, or the one. Raises DTypeError for a dict, whose order is unclear."""
    if isinstance(values, dict):
        raise DTypeError("A dict stands where arrays should.", "Use an array or a tuple of arrays.")
    return list(values) if isinstance(values, tuple | list) else [values]


def packed(values: Sequence[Any]) -> Any:
    """Return the only value bare, several as a tuple."""
    return values[0] if len(values) == 1 else tuple(values)
