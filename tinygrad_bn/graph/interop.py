"""NumPy's protocols on Tensors: a ufunc or function of NumPy records, or refuses by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_bn.errors import DTypeError
from tinygrad_bn.graph.namespaces import engine, tensors
from tinygrad_bn.graph.primitive import ufuncs
from tinygrad_bn.graph.tensor import Tensor

RENAMED = {"concatenate": "concat", "transpose": "permute_dims", "amax": "max", "amin": "min"}
"""Functions whose NumPy name is not the array API's."""

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
        call = f"numpy.{ufunc.__name__}" + (f".{method}" if method != "__call__" else "")
        given = f" with {', '.join(keywords)}" if keywords else ""
        raise DTypeError(
            f"{call}{given} cannot be applied to a Tensor: it would lose the gradient.",
            f"Use tinygrad_bn.{name}." if name else "Use functions of tinygrad_bn, or np.asarray.",
        )
    function: Callable[..., Tensor] = getattr(tensors, name)
    return function(*inputs)


def apply_function(function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Apply our function of the same name, recorded. Raises DTypeError if there is none."""
    if function in QUERIES:
        return function(*map(_bare, args), **{k: _bare(v) for k, v in kwargs.items()})
    name = RENAMED.get(function.__name__, function.__name__)
    ours = getattr(tensors, name, None)
    if ours is None:
        raise DTypeError(
            f"numpy.{function.__name__} cannot be applied to a Tensor: it has no recorded form.",
            "Use functions of tinygrad_bn, or np.asarray(x) for values without a gradient.",
        )
    return ours(*args, **kwargs)


def _bare(value: Any) -> Any:
    return value.data if isinstance(value, Tensor) else value


engine.apply_ufunc = apply_ufunc
engine.apply_function = apply_function
