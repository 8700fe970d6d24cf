"""The primitive: one row of the table. ``bind`` applies one to operands and records it.

Both namespaces hold every row under its name. A derivative rule gets one of them as ``xp``:
with ``arrays`` the reverse sweep is plain NumPy, with ``tensors`` it is itself recorded.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

import numpy as np

from tinygrad_bn.errors import BoundsError, DTypeError, ShapeError, TinygradError
from tinygrad_bn.graph.namespaces import arrays, tensors
from tinygrad_bn.graph.state import current
from tinygrad_bn.graph.tensor import Tensor, as_constant, blank_tensor, leaf, next_index
from tinygrad_bn.source import internal

Array: TypeAlias = Any
"""An operand inside a row: an ndarray in the eager sweep, a Tensor in a recorded one."""

Rule: TypeAlias = Callable[..., Any]
"""``rule(xp, g, out, *operands, **params)``: the cotangent of one operand."""


def has_half(*operands: Any, **params: Any) -> bool:
    """Whether an operand is float16 (such are accumulated in float32)."""
    return any(getattr(operand, "dtype", None) == np.float16 for operand in operands)


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Primitive:
    """One row: everything that is known of an operation.

    ``kernel`` computes on ndarrays. ``rules`` has one entry per operand (None: no gradient), and
    ``mask`` a bit for each operand with a rule. ``margin`` gives the distance of the operands to
    the nearest kink or singularity; ``analytic`` says whether the operation is a complex-analytic
    function, so that the complex step applies. ``cases`` and ``domain`` say on what the derived
    tests run. ``text`` is the function whose source a printed program needs where the kernel is
    not NumPy's own; ``alike`` the function of NumPy that gives the same bits, but where
    ``unlike(*operands, **params)`` holds. ``static``: the defaults of the static parameters.
    ``origin``: the module and name of the definition.
    """

    name: str
    family: str
    kernel: Callable[..., Any]
    rules: Any
    doc: str = ""
    broadcasts: bool = False
    margin: Callable[..., Any] | None = None
    analytic: bool = True
    cases: tuple[Any, ...] = ()
    domain: Any = (-2.0, 2.0)
    symbol: str | None = None
    mask: int = -1
    text: Callable[..., Any] | None = None
    alike: Callable[..., Any] | None = None
    unlike: Callable[..., bool] = has_half
    static: Mapping[str, Any]
    origin: str = ""

    @property
    def differentiable(self) -> bool:
        """Whether any operand has a rule."""
        return not isinstance(self.rules, tuple) or any(r is not None for r in self.rules)

    def __repr__(self) -> str:
        """Show the name."""
        return f"<primitive {self.name}>"


table: dict[str, Primitive] = {}
"""Every registered primitive by name: the built-in rows, custom rules and users' own."""

ufuncs: dict[np.ufunc, str] = {}
"""Which row a NumPy ufunc applied to a Tensor stands for."""


def register(op: Primitive, function: Callable[..., Any], bare: Callable[..., Any]) -> None:
    """Enter a row into the table and both namespaces; a name can be taken once.

    ``function`` is what users call on tensors, ``bare`` the same on ndarrays. The same definition
    may be run again, as a notebook's cell is: the new row then takes the place of the old one.
    """
    known = table.get(op.name)
    again = known is not None and known.origin == op.origin
    if hasattr(tensors, op.name) and not again:
        what = "primitive" if known else "function"
        raise TinygradError(
            f"The {what} {op.name!r} exists already.", "Choose another name for the new row."
        )
    table[op.name] = op
    setattr(arrays, op.name, bare)
    setattr(tensors, op.name, function)
    for theirs in (op.kernel, getattr(np, op.name, None)):
        if isinstance(theirs, np.ufunc):
            ufuncs.setdefault(theirs, op.name)


class _Positions(dict[int, tuple[int, ...]]):
    """The bits of a mask as a tuple of positions, each made once (few objects, less collecting)."""

    def __missing__(self, mask: int) -> tuple[int, ...]:
        bits = tuple(i for i in range(mask.bit_length()) if mask >> i & 1)
        if mask < 1024:
            self[mask] = bits
        return bits


_positions = _Positions()
_weak = {bool, int, float, complex, type(None)}
_real = frozenset("efdg")
_complex = frozenset("FDG")
_ndarray = np.ndarray
_getframe = sys._getframe


def bind(op: Primitive, operands: tuple[Any, ...], params: dict[str, Any]) -> Tensor:
    """Apply a primitive to tensors, arrays and Python scalars; record it if a gradient may pass.

    Python scalars stay scalars (NumPy's weak promotion); arrays are copied into constants. Every
    operation passes here, so it is one long function: a call costs as much as a small product.
    """
    values: list[Any] = []
    mask = 0
    for operand in operands:
        if isinstance(operand, Tensor):
            if operand._requires_grad:
                mask |= 1 << len(values)
            values.append(operand._data)
        elif type(operand) in _weak:
            values.append(operand)
        else:
            return bind(op, adopt(op, operands), params)
    try:
        value = op.kernel(*values, **params)
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        _refuse(op, values, params, error)
    if type(value) is not _ndarray:
        value = np.asarray(value)
    state = current()
    mask = mask & op.mask if state.recording else 0
    if mask and (kind := value.dtype.char) not in _real:
        if kind in _complex:
            _refuse_complex(op)
        mask = 0
    if not mask and not state.tracing:
        return leaf(value)
    frame = _getframe(2)
    while internal[(code := frame.f_code).co_filename] and frame.f_back is not None:
        frame = frame.f_back
    node = blank_tensor(Tensor)
    node._data = value
    node._requires_grad = mask != 0
    node._retains = False
    node.grad = node.name = None
    node.op = op
    node.inputs = operands
    node.values = values
    node.params = params
    node.wrt = _positions[mask]
    node.context = state
    node._code = code
    node._instruction = frame.f_lasti
    node.index = next_index()
    return node


def adopt(op: Primitive, operands: Sequence[Any]) -> tuple[Any, ...]:
    """Turn foreign operands (arrays, NumPy scalars, nested lists) into constants."""
    adopted = []
    for position, operand in enumerate(operands):
        if isinstance(operand, Tensor) or type(operand) in _weak:
            adopted.append(operand)
            continue
        try:
            adopted.append(as_constant(operand))
        except TinygradError as error:
            what = error.what[0].lower() + error.what[1:]
            raise type(error)(f"{op.name}, operand {position}: {what}", error.fix) from None
    return tuple(adopted)


def describe(value: Any) -> str:
    """Say the dtype and shape of an operand, or the scalar itself."""
    if isinstance(value, np.ndarray | np.generic):
        return f"{value.dtype} {value.shape}"
    return repr(value)


def _refuse(
    op: Primitive, values: Sequence[Any], params: Mapping[str, Any], error: Exception
) -> NoReturn:
    """Raise what a kernel refused in our words: the operation, its operands, the reason."""
    if isinstance(error, TinygradError):
        raise error
    chosen = (f"{k}={v!r}" for k, v in params.items() if op.static.get(k, params) is not v)
    given = ", ".join([*map(describe, values), *chosen])
    kind = next(
        ours
        for theirs, ours in (
            ((TypeError, OverflowError), DTypeError),
            (np.exceptions.AxisError, ShapeError),
            (IndexError, BoundsError),
            (ValueError, ShapeError),
        )
        if isinstance(error, theirs)
    )
    reason = str(error).split("\n")[0].rstrip(". ")
    lengths = re.search(r"core dimension.*size (\d+) is different from (\d+)", reason)
    if lengths:
        reason = "the axes that are summed over have {1} and {0} elements".format(*lengths.groups())
    raise kind(f"{op.name}({given}): {reason}.", _mend(op, reason, values, error)) from error


def axes_of(ndim: int) -> str:
    """Say which axes there are."""
    if not ndim:
        return "A scalar has no axes; give it one with x[None]."
    return f"Use different axes from {-ndim} to {ndim - 1}."


def _mend(op: Primitive, reason: str, values: Sequence[Any], error: Exception) -> str:
    """Say what the user can do about a kernel's refusal."""
    if isinstance(error, np.exceptions.AxisError) and error.ndim is not None:
        return axes_of(error.ndim)
    if isinstance(error, IndexError):
        mask = "boolean index" in reason
        return "Give the mask the shape that it indexes." if mask else "Index within the shape."
    if any(value is None for value in values) and isinstance(error, TypeError):
        return "Pass a tensor, an array or a number for None; does a function lack its return?"
    if any(word in reason for word in ("not supported for", "integer powers", "Cannot cast")):
        return "Convert the operands with astype."
    if "reshape" in reason:
        return "Keep the number of elements; one length may be -1."
    if "summed over" in reason:
        return "Transpose (.mT) or reshape an operand so that these lengths are equal."
    if op.name.startswith("index_"):
        return "Give a value whose shape broadcasts to that of x[index]."
    if any(word in reason for word in ("broadcast", "shape", "dimensions")):
        return "Aligned at the right, lengths must be equal or 1; insert axes with x[:, None]."
    return f"Check the operands and keywords; see help(tinygrad_bn.{op.name})."


def _refuse_complex(op: Primitive) -> NoReturn:
    raise DTypeError(
        f"{op.name} of a tensor that requires grad gave a complex result.",
        "Gradients exist for real tensors only: keep real and imaginary parts in two tensors.",
    )
