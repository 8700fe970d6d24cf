"""NumPy's protocols on Tensors: a ufunc or function of NumPy records, or refuses by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from tinygrad_bn.errors import DTypeError
from tinygrad_bn.graph.namespaces import engine, tensors
from tinygrad_bn.graph.primitive import ufuncs
from tinygrad_bn.graph.tensor import Tensor

RENAMED = {"concatenate": "concat", "amax": "max", "amin": "min"}
"""Functions whose NumPy name is not the array API's."""

METHODS = {"transpose": "transpose", "squeeze": "squeeze", "ravel": "flatten"}
"""Functions that have NumPy's defaults as methods of Tensor."""

INSTEAD = {
    "add.reduce": "sum", "multiply.reduce": "prod", "maximum.reduce": "max",
    "minimum.reduce": "min", "add.accumulate": "cumulative_sum",
    "multiply.accumulate": "cumulative_prod",
}  # fmt: skip
"""What to call instead of a ufunc's method."""

ELSE = "Use functions of tinygrad_bn,"
"""How a fix begins where no single function can be named."""

QUERIES = {
    np.allclose, np.array_equal, np.array_repr, np.array_str, np.array2string, np.isclose,
    np.ndim, np.shape, np.size, np.result_type, np.can_cast, np.shares_memory, np.may_share_memory,
    np.array_equiv, np.iscomplexobj, np.isrealobj, np.save, np.savetxt, np.savez,
}  # fmt: skip
"""Functions that ask about values and return no array to differentiate."""


def apply_ufunc(
    ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], keywords: dict[str, Any]
) -> Tensor:
    """Apply the row that a ufunc stands for, recorded. Raises DTypeError if there is none."""
    name = ufuncs.get(ufunc)
    if name is None or method != "__call__" or keywords:
        _refuse_ufunc(ufunc.__name__, method, name, keywords)
    function: Callable[..., Tensor] = getattr(tensors, name)
    return function(*inputs)


def _refuse_ufunc(called: str, method: str, name: str | None, keywords: dict[str, Any]) -> NoReturn:
    plain = method == "__call__"
    call = called if plain else f"{called}.{method}"
    given = f" with {', '.join(keywords)}=" if keywords else ""
    instead = name if plain else INSTEAD.get(call)
    fix = f"Use tinygrad_bn.{instead}." if instead else f"{ELSE} or np.asarray(x) without gradient."
    if "out" in keywords and plain:
        fix = "Write y = y + x for y += x: an array cannot hold a recorded result."
    raise DTypeError(
        f"numpy.{call}{given} cannot be applied to a Tensor: it would lose the gradient.", fix
    )


def apply_function(function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Apply our function of the same name, recorded. Raises DTypeError if there is none."""
    if function in QUERIES:
        return function(*map(_bare, args), **{k: _bare(v) for k, v in kwargs.items()})
    called = f"{function.__module__}.{function.__name__}"
    ours = _recorded_form(called)
    if ours is None:
        raise DTypeError(
            f"{called} cannot be applied to a Tensor: it has no recorded form.",
            f"{ELSE} or np.asarray(x) without gradient.",
        )
    try:
        inspect.signature(ours).bind(*args, **kwargs)
    except TypeError as error:
        raise DTypeError(
            f"{called} of a Tensor: {error}.", f"See help(tinygrad_bn.{ours.__name__})."
        ) from None
    return ours(*args, **kwargs)


def _recorded_form(called: str) -> Callable[..., Any] | None:
    """Find our function for NumPy's; a name of one of its sub-modules stands for no other."""
    module, name = called.rsplit(".", 1)
    if module != "numpy":
        return None
    ours: Callable[..., Any] | None = (
        getattr(Tensor, METHODS[name])
        if name in METHODS
        else getattr(tensors, RENAMED.get(name, name), None)
    )
    return ours


def _bare(value: Any) -> Any:
    return value.data if isinstance(value, Tensor) else value


engine.apply_ufunc = apply_ufunc
engine.apply_function = apply_function
