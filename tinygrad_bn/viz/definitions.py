"""What an operation of the user's own is defined by: its function and its rules, as a text.

Two definitions of one name have the same text where their code is the same, with the values that
it closes over. It is the same in every process.
"""

from __future__ import annotations

import functools
import inspect
from hashlib import blake2b
from types import CodeType, FunctionType
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_bn.graph.primitive import Primitive
from tinygrad_bn.graph.tensor import Tensor
from tinygrad_bn.viz.labels import plain


def definition(op: Primitive) -> str:
    """Write what defines an operation; nothing for one of the package, known by its name.

    >>> from tinygrad_bn.graph.primitive import table
    >>> definition(table["exp"])
    ''
    """
    if op.origin.startswith("tinygrad_bn."):
        return ""
    rules = op.rules if isinstance(op.rules, tuple) else (op.rules[0],)
    return repr([_written(part, ()) for part in (op.kernel, *rules)])


def _written(value: Any, within: tuple[Any, ...]) -> Any:
    """Write a function, or what one closes over; ``within``: the functions around it."""
    if isinstance(value, functools.partial):
        given = (*value.args, *value.keywords.items())
        return [_written(part, within) for part in (value.func, *given)]
    function = inspect.unwrap(getattr(value, "__func__", value)) if callable(value) else value
    if isinstance(function, FunctionType):
        return _function(function, within)
    if isinstance(function, CodeType):
        return _code(function)
    array = function.data if isinstance(function, Tensor) else function
    return digest(array) if isinstance(array, np.ndarray) else plain(function)


def _function(function: FunctionType, within: tuple[Any, ...]) -> Any:
    if function in within:
        return "itself"
    cells = (_content(cell) for cell in function.__closure__ or ())
    parts = (*cells, *(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).items())
    return [_code(function.__code__), *(_written(part, (*within, function)) for part in parts)]


def _content(cell: Any) -> Any:
    """Return what a cell holds, if it holds anything yet."""
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _code(code: CodeType) -> Any:
    """Write code without its lines; of what it calls by name, the name."""
    constants = [_code(c) if isinstance(c, CodeType) else _constant(c) for c in code.co_consts]
    return [code.co_code.hex(), code.co_names, code.co_varnames, constants]


def _constant(value: Any) -> str:
    return repr(sorted(map(repr, value)) if isinstance(value, frozenset) else value)


def digest(values: npt.NDArray[Any]) -> str:
    """Return the dtype and shape of an array, with a digest of its values."""
    found = blake2b(np.ascontiguousarray(values).tobytes(), digest_size=16).hexdigest()
    return f"{values.dtype.str} {values.shape} {found}"
