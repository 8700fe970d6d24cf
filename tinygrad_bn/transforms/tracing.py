"""trace: record every operation of a function, whether or not it needs a gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinygrad_bn.errors import DTypeError
from tinygrad_bn.graph.containers import flatten, map_leaves
from tinygrad_bn.graph.program import Trace
from tinygrad_bn.graph.state import using
from tinygrad_bn.graph.tensor import Tensor, as_constant, leaf
from tinygrad_bn.transforms.lifting import argument_names, name_of


def trace(function: Callable[..., Any], *arguments: Any) -> Trace:
    """Run a function once and return the graph of all that it did.

    ``arguments``: tensors, arrays, floats or containers of them; what else there is stays as it
    is. Values steer Python's ``if`` and ``for`` as they do in this run. The trace prints as a
    NumPy program, draws with ``viz.graph``, and gradients trace like any function.

    >>> print(trace(lambda x: 2 * x, 3.0))
    import numpy as np
    <BLANKLINE>
    def f(x):
        v1 = np.multiply(2, x)
        return v1
    <BLANKLINE>
    """
    if not callable(function):
        raise DTypeError(
            f"trace of a {type(function).__name__}, which is no function.",
            "Pass the function and its arguments: trace(f, x), not trace(f(x)).",
        )
    labels = argument_names(function, len(arguments))
    inputs: list[Tensor] = []
    lifted = []
    for label, argument in zip(labels, arguments, strict=True):
        leaves, paths, rebuild = flatten(argument)
        new = [_input(value, label + path) for value, path in zip(leaves, paths, strict=True)]
        inputs += new
        lifted.append(rebuild(new))
    with using(tracing=True):
        outputs = map_leaves(_output, function(*lifted))
    name = name_of(function)
    return Trace(name if name.isidentifier() else "f", tuple(inputs), outputs)


def _input(value: Any, label: str) -> Tensor:
    """Make a traced input: a leaf of its own identity, named like the argument."""
    origin = as_constant(value)
    new = leaf(origin._data, requires_grad=origin._requires_grad)
    new.name = origin.name or label
    return new


def _output(path: str, value: Any) -> Any:
    """Let an array among the outputs be a constant of the program."""
    return value if isinstance(value, float | complex) else as_constant(value)
