"""Calls of rows and arrays as Python text, in the words in which a user would write them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from tinygrad_bn.graph.namespaces import arrays
from tinygrad_bn.graph.primitive import Primitive
from tinygrad_bn.graph.program import literal

Params: TypeAlias = Mapping[str, Any]

WIDTH = 90


def array_text(x: npt.NDArray[Any]) -> str:
    """Write an array so that executing the text gives its very bits.

    >>> print(array_text(np.array([[1.0, -0.5]], np.float32)))
    np.array([[1.0, -0.5]], dtype=np.float32)
    """
    dtype = f", dtype={_dtype_text(x.dtype)}" if x.dtype.str[1:] not in ("f8", "i8", "b1") else ""
    if not x.size:
        return f"np.zeros({x.shape}{dtype})"
    text = _nested(x.tolist())
    if len(text) > WIDTH:
        text = text.replace("], [", "],\n    [")
    return f"np.array({text}{dtype})"


def _dtype_text(dtype: np.dtype[Any]) -> str:
    return "np.longdouble" if dtype == np.longdouble else f"np.{dtype.name}"


def _nested(value: Any) -> str:
    """Write nested lists of numbers; long doubles as text, which NumPy reads in full."""
    if isinstance(value, list):
        return f"[{', '.join(map(_nested, value))}]"
    if isinstance(value, np.longdouble):
        return repr(str(value)) if np.longdouble(float(value)) != value else literal(float(value))
    return literal(value)


def constant_text(value: Any) -> str:
    """Write a constant operand: an array, a number, or None."""
    return array_text(value) if isinstance(value, np.ndarray) else literal(value)


def call_text(op: Primitive, operands: Sequence[str], params: Params) -> str:
    """Write the call of a row's public function, ``tg`` being the package.

    Parameters at their defaults are left out. Where users call a row of their own in a way that
    is not known here, ``bind`` is called.

    >>> from tinygrad_bn.graph.primitive import table
    >>> call_text(table["sum"], ["x"], {"axis": 0, "dtype": None, "keepdims": False})
    'tg.sum(x, axis=0)'
    """
    chosen = {k: v for k, v in params.items() if not _is_default(op.static.get(k, ...), v)}
    if op.name in _written and op.origin.startswith("tinygrad_bn."):
        return f"tg.{op.name}({', '.join(_written[op.name](list(operands), params))})"
    if _is_plain(op):
        return f"tg.{op.name}({', '.join([*operands, *_keywords(chosen)])})"
    given = f"({', '.join(operands)}{',' * (len(operands) == 1)})"
    named = ", ".join(f"{k!r}: {literal(v)}" for k, v in params.items())
    primitive = "tg.graph.primitive"
    return f"{primitive}.bind({primitive}.table[{op.name!r}], {given}, {{{named}}})"


def _is_default(default: Any, value: Any) -> bool:
    return default is value or (type(default) is type(value) is int and default == value)


def _is_plain(op: Primitive) -> bool:
    """Whether the public function takes operands and parameters as the kernel does."""
    return getattr(arrays, op.name, None) is op.kernel


def _keywords(params: Params) -> list[str]:
    return [f"{k}={literal(v)}" for k, v in params.items()]


def _key(template: Sequence[Any], indices: Sequence[str]) -> str:
    """Write an index expression from its template and the texts of its arrays."""
    rest = iter(indices)
    items = [next(rest) if item == "array" else _item(item) for item in template]
    return f"np.s_[{', '.join(items)}]" if items else "()"


def _item(item: Any) -> str:
    if item is Ellipsis:
        return "..."
    if isinstance(item, tuple):
        start, stop, step = ("" if bound is None else str(bound) for bound in item)
        return f"{start}:{stop}" + (f":{step}" if step else "")
    return repr(item)


def _indexed(operands: list[str], params: Params, lead: int) -> list[str]:
    """Write the operands before an index expression, the expression, perhaps a shape."""
    key = _key(params["index"], operands[lead:])
    shape = [f"shape={params['shape']}"] if "shape" in params else []
    return [*operands[:lead], key, *shape]


_Writer: TypeAlias = Callable[[list[str], Params], list[str]]

_written: dict[str, _Writer] = {
    "concat": lambda xs, p: [f"[{', '.join(xs)}]", f"axis={p['axis']}"],
    "stack": lambda xs, p: [f"[{', '.join(xs)}]", f"axis={p['axis']}"],
    "einsum": lambda xs, p: [repr(p["subscripts"]), *xs],
    "searchsorted": lambda xs, p: [
        *xs[:2],
        *(f"sorter={x}" for x in xs[2:]),
        f"side={p['side']!r}",
    ],
    "last_written": lambda xs, p: _indexed(xs, p, 0),
    "getitem": lambda xs, p: _indexed(xs, p, 1),
    "scatter_add": lambda xs, p: _indexed(xs, p, 1),
    **{
        f"index_{how}": lambda xs, p: _indexed(xs, p, 2)
        for how in ("set", "add", "multiply", "min", "max")
    },
}
"""The arguments of rows that users call in another form than the kernel."""
