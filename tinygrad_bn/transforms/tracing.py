"""trace: record every operation of a function, whether or not it needs a gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from tinygrad_bn.errors import DTypeError
from tinygrad_bn.graph.containers import flatten, is_weak, map_leaves
from tinygrad_bn.graph.program import Trace
from tinygrad_bn.graph.state import using
from tinygrad_bn.graph.tensor import Tensor, as_constant, leaf
from tinygrad_bn.source import Site, user_frame
from tinygrad_bn.transforms.lifting import argument_names, name_of


def trace(function: Callable[..., Any], *arguments: Any) -> Trace:
    """Run a function once and return the graph of all that it did.

    ``arguments``: tensors, arrays, floats or containers of them; what else there is stays as it
    is. A Python float becomes an input of the dtype that it takes on among the floating-point
    arguments, so that it does not change theirs. The trace keeps the values that the function
    closed over, whatever is assigned later. Values steer Python's ``if`` and ``for`` as they do
    in this run. The trace prints as a NumPy program, draws with ``viz.graph``, and gradients
    trace like any function.

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
    parts = [flatten(argument) for argument in arguments]
    kinds = _dtypes(leaf for leaves, _, _ in parts for leaf in leaves)
    inputs: list[Tensor] = []
    lifted = []
    for label, (leaves, paths, rebuild) in zip(labels, parts, strict=True):
        new = [_input(v, label + path, kinds) for v, path in zip(leaves, paths, strict=True)]
        inputs += new
        lifted.append(rebuild(new))
    with using(tracing=True):
        outputs = map_leaves(_output, function(*lifted))
    name = name_of(function)
    frame = user_frame(2)
    site = None if frame is None else Site(frame.f_code, frame.f_lasti)
    return Trace(name if name.isidentifier() else "f", tuple(inputs), outputs, site)


def _dtypes(leaves: Iterable[Any]) -> list[np.dtype[Any]]:
    """List the floating-point dtypes of the arrays and tensors among leaves."""
    found = [leaf.dtype for leaf in leaves if not is_weak(leaf)]
    return [dtype for dtype in found if dtype.kind in "fc"]


def _input(value: Any, label: str, kinds: Sequence[np.dtype[Any]]) -> Tensor:
    """Make a traced input: a leaf of its own identity, named like the argument."""
    if is_weak(value) and kinds:
        value = np.asarray(value, np.result_type(value, *kinds))
    origin = as_constant(value)
    new = leaf(origin._data, requires_grad=origin._requires_grad)
    new.name = origin.name or label
    return new


def _output(path: str, value: Any) -> Any:
    """Let an array among the outputs be a constant of the program."""
    return value if isinstance(value, float | complex) else as_constant(value)
