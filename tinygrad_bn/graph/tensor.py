"""The Tensor: an immutable value, and the operation that made it. A tensor is a graph node.

Operators and methods find the function they stand for by name, when they are called, in the
namespace ``tensors``; so this file imports nothing above it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Container, Iterator
from types import CodeType
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import numpy as np

from tinygrad_bn.errors import DTypeError, GradientError, ShapeError, TinygradError
from tinygrad_bn.graph.namespaces import engine, tensors
from tinygrad_bn.graph.state import Scope, State, current
from tinygrad_bn.source import Location, line_at

if TYPE_CHECKING:
    import numpy.typing as npt  # costs milliseconds, and only annotations need it

Operand: TypeAlias = Any
"""A Tensor, ndarray, NumPy scalar, Python number or nested list of numbers."""

next_index = itertools.count().__next__


class Tensor:
    """An immutable n-dimensional array that remembers how it was computed.

    ``data``: anything NumPy can make an array of real, complex or boolean numbers from; arrays
    are copied, so that nothing done to them later can change a gradient. ``dtype``: a NumPy
    dtype, by default what NumPy infers (float64 for Python floats). ``requires_grad``: whether
    operations on this tensor are recorded for differentiation; floating-point only.
    ``name``: shown in diagrams and programs.

    Raises ``DTypeError`` for foreign objects and for an integer, boolean or complex tensor that
    is to require a gradient.

    >>> x = Tensor([1.0, 2.0], requires_grad=True)
    >>> y = (x * x).sum()
    >>> y.backward()
    >>> x.grad
    Tensor([2., 4.])
    """

    __slots__ = (
        "__weakref__",
        "_code",
        "_data",
        "_instruction",
        "_requires_grad",
        "_retains",
        "context",
        "grad",
        "index",
        "inputs",
        "name",
        "op",
        "params",
        "values",
        "wrt",
    )

    _data: npt.NDArray[Any]
    _requires_grad: bool
    _retains: bool
    _code: CodeType
    _instruction: int
    grad: Tensor | None
    name: str | None
    op: Any
    inputs: tuple[Any, ...]
    values: tuple[Any, ...] | list[Any]
    params: dict[str, Any]
    wrt: tuple[int, ...]
    context: State
    index: int

    def __init__(
        self,
        data: Any,
        *,
        dtype: npt.DTypeLike | None = None,
        requires_grad: bool = False,
        name: str | None = None,
    ) -> None:
        _fill(self, _own(data, dtype))
        self.name = name
        if requires_grad:
            self.requires_grad = True

    # what it is ------------------------------------------------------------------------------

    @property
    def data(self) -> npt.NDArray[Any]:
        """The value as a read-only ndarray, not copied (a view, whose shape can be set)."""
        array = self._data
        array.setflags(write=False)
        if isinstance(array.base, np.ndarray):
            array.base.setflags(write=False)
        return array.view()

    @property
    def shape(self) -> tuple[int, ...]:
        """The length of each axis."""
        return self._data.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The NumPy dtype of the elements."""
        return self._data.dtype

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self._data.ndim

    @property
    def size(self) -> int:
        """The number of elements."""
        return self._data.size

    @property
    def device(self) -> str:
        """Where the data is: always ``"cpu"``."""
        return "cpu"

    def to_device(self, device: str, /, *, stream: None = None) -> Tensor:
        """Return this tensor: the CPU is the only device. Raises ShapeError for another name."""
        if device != "cpu" or stream is not None:
            raise ShapeError(f"There is no device {device!r}.", 'Use device="cpu".')
        return self

    @property
    def T(self) -> Tensor:
        """The transpose of a matrix. Raises ShapeError unless there are two axes."""
        if self.ndim != 2:
            raise ShapeError(
                f".T of a tensor of shape {self.shape}: it is defined for matrices only.",
                "Use .mT for the last two axes, or permute_dims.",
            )
        return self.mT

    @property
    def mT(self) -> Tensor:
        """The transpose of the last two axes."""
        return tensors.matrix_transpose(self)

    # how it came about -----------------------------------------------------------------------

    @property
    def requires_grad(self) -> bool:
        """Whether operations on it are recorded. Settable on leaves of floating-point dtype."""
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        if self.op is not None and bool(wanted) != self._requires_grad:
            raise GradientError(
                f"requires_grad of a result of {self.op.name} cannot be changed.",
                "Use detach() for a tensor outside the graph.",
            )
        if wanted and self.dtype.kind != "f":
            label = f" {self.name!r}" if self.name else ""
            kind = "complex" if self.dtype.kind == "c" else "not floating-point"
            raise DTypeError(
                f"The tensor{label} of dtype {self.dtype} cannot require a gradient: it is {kind}.",
                "Keep real and imaginary parts in two real tensors."
                if kind == "complex"
                else "Convert it first: Tensor(data, dtype=float, requires_grad=True).",
            )
        self._requires_grad = bool(wanted)

    @property
    def scope(self) -> Scope | None:
        """The scope that was open when it was recorded."""
        return self.context.scope

    @property
    def adjoint_of(self) -> Tensor | None:
        """For a node of a gradient graph: the forward node of which it is the adjoint."""
        return self.context.adjoint_of

    @property
    def where(self) -> Location | None:
        """The user's file and line that recorded it."""
        return None if self.op is None else line_at(self._code, self._instruction)

    def backward(self, gradient: Operand | None = None, *, create_graph: bool = False) -> None:
        """Add the gradient of this tensor to ``grad`` of every leaf that it depends on.

        ``gradient``: the cotangent, of this tensor's shape; may be left out for one element.
        ``create_graph``: record the computation, so that the gradients can be differentiated.
        Calling it twice adds twice; the graph stays. Raises GradientError where there is no
        graph, ShapeError for a cotangent of another shape.

        >>> x = Tensor(3.0, requires_grad=True)
        >>> (x * x).backward()
        >>> x.grad.item()
        6.0
        """
        engine.backward(self, gradient, create_graph=create_graph)

    def retain_grad(self) -> Tensor:
        """Let ``backward`` fill ``grad`` of this intermediate result too; returns itself."""
        if not self._requires_grad:
            raise GradientError(
                "retain_grad on a tensor that does not require a gradient.",
                "Compute it from a tensor with requires_grad=True, outside no_grad.",
            )
        self._retains = True
        return self

    def detach(self) -> Tensor:
        """Return the same value outside the graph (the data is shared: it cannot change)."""
        return tensors.stop_gradient(self)

    def assign(self, value: Operand) -> None:  # noqa: ARG002  (a Variable takes it)
        """Refuse: only parameters and buffers can be assigned."""
        raise GradientError(
            f"assign to a {type(self).__name__}: tensors are immutable values.",
            "Make it an nn.Parameter or nn.Buffer, or compute a new tensor.",
        )

    @property
    def at(self) -> At:
        """Functional updates: ``x.at[index].set(value)``, also add, multiply, min and max."""
        return At(self)

    # arithmetic --------------------------------------------------------------------------------

    def __add__(self, other: Operand) -> Tensor:
        return tensors.add(self, other)

    def __radd__(self, other: Operand) -> Tensor:
        return tensors.add(other, self)

    def __sub__(self, other: Operand) -> Tensor:
        return tensors.subtract(self, other)

    def __rsub__(self, other: Operand) -> Tensor:
        return tensors.subtract(other, self)

    def __mul__(self, other: Operand) -> Tensor:
        return tensors.multiply(self, other)

    def __rmul__(self, other: Operand) -> Tensor:
        return tensors.multiply(other, self)

    def __truediv__(self, other: Operand) -> Tensor:
        return tensors.divide(self, other)

    def __rtruediv__(self, other: Operand) -> Tensor:
        return tensors.divide(other, self)

    def __floordiv__(self, other: Operand) -> Tensor:
        return tensors.floor_divide(self, other)

    def __rfloordiv__(self, other: Operand) -> Tensor:
        return tensors.floor_divide(other, self)

    def __mod__(self, other: Operand) -> Tensor:
        return tensors.remainder(self, other)

    def __rmod__(self, other: Operand) -> Tensor:
        return tensors.remainder(other, self)

    def __divmod__(self, other: Operand) -> tuple[Tensor, Tensor]:
        return self // other, self % other

    def __rdivmod__(self, other: Operand) -> tuple[Tensor, Tensor]:
        return other // self, other % self

    def __pow__(self, other: Operand) -> Tensor:
        return tensors.pow(self, other)

    def __rpow__(self, other: Operand) -> Tensor:
        return tensors.pow(other, self)

    def __matmul__(self, other: Operand) -> Tensor:
        return tensors.matmul(self, other)

    def __rmatmul__(self, other: Operand) -> Tensor:
        return tensors.matmul(other, self)

    def __and__(self, other: Operand) -> Tensor:
        return tensors.bitwise_and(self, other)

    def __rand__(self, other: Operand) -> Tensor:
        return tensors.bitwise_and(other, self)

    def __or__(self, other: Operand) -> Tensor:
        return tensors.bitwise_or(self, other)

    def __ror__(self, other: Operand) -> Tensor:
        return tensors.bitwise_or(other, self)

    def __xor__(self, other: Operand) -> Tensor:
        return tensors.bitwise_xor(self, other)

    def __rxor__(self, other: Operand) -> Tensor:
        return tensors.bitwise_xor(other, self)

    def __lshift__(self, other: Operand) -> Tensor:
        return tensors.bitwise_left_shift(self, other)

    def __rlshift__(self, other: Operand) -> Tensor:
        return tensors.bitwise_left_shift(other, self)

    def __rshift__(self, other: Operand) -> Tensor:
        return tensors.bitwise_right_shift(self, other)

    def __rrshift__(self, other: Operand) -> Tensor:
        return tensors.bitwise_right_shift(other, self)

    def __neg__(self) -> Tensor:
        return tensors.negative(self)

    def __pos__(self) -> Tensor:
        return tensors.positive(self)

    def __abs__(self) -> Tensor:
        return tensors.abs(self)

    def __invert__(self) -> Tensor:
        return tensors.bitwise_invert(self)

    def __eq__(self, other: Operand) -> Tensor:  # type: ignore[override]
        return tensors.equal(self, other)

    def __ne__(self, other: Operand) -> Tensor:  # type: ignore[override]
        return tensors.not_equal(self, other)

    def __lt__(self, other: Operand) -> Tensor:
        return tensors.less(self, other)

    def __le__(self, other: Operand) -> Tensor:
        return tensors.less_equal(self, other)

    def __gt__(self, other: Operand) -> Tensor:
        return tensors.greater(self, other)

    def __ge__(self, other: Operand) -> Tensor:
        return tensors.greater_equal(self, other)

    __hash__ = object.__hash__

    # everyday methods, each a thin call of the function of its name ----------------------------

    def sum(self, axis: Any = None, *, dtype: Any = None, keepdims: bool = False) -> Tensor:
        """Sum of the elements; see ``sum``."""
        return tensors.sum(self, axis=axis, dtype=dtype, keepdims=keepdims)

    def prod(self, axis: Any = None, *, dtype: Any = None, keepdims: bool = False) -> Tensor:
        """Product of the elements; see ``prod``."""
        return tensors.prod(self, axis=axis, dtype=dtype, keepdims=keepdims)

    def mean(self, axis: Any = None, *, keepdims: bool = False) -> Tensor:
        """Arithmetic mean; see ``mean``."""
        return tensors.mean(self, axis=axis, keepdims=keepdims)

    def var(self, axis: Any = None, *, correction: float = 0.0, keepdims: bool = False) -> Tensor:
        """Variance; see ``var``."""
        return tensors.var(self, axis=axis, correction=correction, keepdims=keepdims)

    def std(self, axis: Any = None, *, correction: float = 0.0, keepdims: bool = False) -> Tensor:
        """Standard deviation; see ``std``."""
        return tensors.std(self, axis=axis, correction=correction, keepdims=keepdims)

    def min(self, axis: Any = None, *, keepdims: bool = False) -> Tensor:
        """Smallest element; see ``min``."""
        return tensors.min(self, axis=axis, keepdims=keepdims)

    def max(self, axis: Any = None, *, keepdims: bool = False) -> Tensor:
        """Largest element; see ``max``."""
        return tensors.max(self, axis=axis, keepdims=keepdims)

    def argmin(self, axis: int | None = None, *, keepdims: bool = False) -> Tensor:
        """Index of the smallest element; see ``argmin``."""
        return tensors.argmin(self, axis=axis, keepdims=keepdims)

    def argmax(self, axis: int | None = None, *, keepdims: bool = False) -> Tensor:
        """Index of the largest element; see ``argmax``."""
        return tensors.argmax(self, axis=axis, keepdims=keepdims)

    def any(self, axis: Any = None, *, keepdims: bool = False) -> Tensor:
        """Whether any element is true; see ``any``."""
        return tensors.any(self, axis=axis, keepdims=keepdims)

    def all(self, axis: Any = None, *, keepdims: bool = False) -> Tensor:
        """Whether all elements are true; see ``all``."""
        return tensors.all(self, axis=axis, keepdims=keepdims)

    def reshape(self, *shape: Any) -> Tensor:
        """Return the elements in a new shape: ``x.reshape(2, 3)`` or ``x.reshape((2, 3))``."""
        return tensors.reshape(self, shape[0] if _is_one_tuple(shape) else shape)

    def transpose(self, *axes: Any) -> Tensor:
        """Permute the axes; all reversed if none are given."""
        order = axes[0] if _is_one_tuple(axes) else axes or tuple(reversed(range(self.ndim)))
        return tensors.permute_dims(self, order)

    def squeeze(self, axis: Any = None) -> Tensor:
        """Drop axes of length one (all of them by default)."""
        if axis is None:
            axis = tuple(i for i, n in enumerate(self.shape) if n == 1)
        return tensors.squeeze(self, axis)

    def flatten(self) -> Tensor:
        """Return the elements in one axis, in row-major order."""
        return tensors.reshape(self, (-1,))

    def astype(self, dtype: Any) -> Tensor:
        """Convert the elements; see ``astype``."""
        return tensors.astype(self, dtype)

    def clip(self, min: Operand = None, max: Operand = None) -> Tensor:
        """Limit the elements to an interval; see ``clip``."""
        return tensors.clip(self, min, max)

    def copy(self) -> npt.NDArray[Any]:
        """Return the value as a new, writable ndarray."""
        return self._data.copy()

    def tolist(self) -> Any:
        """Return the value as nested lists of Python numbers."""
        return self._data.tolist()

    # Python's protocols ------------------------------------------------------------------------

    def item(self) -> Any:
        """Return the one element as a Python number. Raises ShapeError if there are more."""
        return self._single("item()").item()

    def _single(self, use: str) -> npt.NDArray[Any]:
        if self._data.size != 1:
            raise ShapeError(
                f"{use} of a tensor of shape {self.shape}: it has {self.size} elements, not one.",
                "Reduce it first (any, all, sum, ...) or index one element.",
            )
        return self._data.reshape(())

    def __bool__(self) -> bool:
        return bool(self._single("bool()"))

    def __float__(self) -> float:
        return float(self._single("float()"))

    def __int__(self) -> int:
        return int(self._single("int()"))

    def __complex__(self) -> complex:
        return complex(self._single("complex()"))

    def __index__(self) -> int:
        if self.dtype.kind not in "iu":
            raise DTypeError(
                f"A tensor of dtype {self.dtype} is used as an index.", "Convert it: int(x)."
            )
        return int(self._single("index"))

    def __len__(self) -> int:
        if self.ndim == 0:
            raise DTypeError("len() of a tensor without axes.", "Use size, or reshape it to (1,).")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __contains__(self, value: Operand) -> bool:
        return bool((self == value).any())

    def __getitem__(self, key: Any) -> Tensor:
        return tensors.getitem(self, key)

    def __setitem__(self, key: Any, value: Operand) -> None:
        raise DTypeError(
            "Item assignment to a tensor: tensors are immutable values.",
            "Write x = x.at[index].set(value); it returns a new tensor, with its gradient.",
        )

    def __delitem__(self, key: Any) -> None:
        raise DTypeError(
            "Deletion of items of a tensor: tensors are immutable values.",
            "Index the elements to keep; it returns a new tensor, with its gradient.",
        )

    def __repr__(self) -> str:
        text = np.array2string(self._data, separator=", ", prefix=f"{type(self).__name__}(")
        parts = [text]
        if self.dtype not in (np.float64, np.int64, np.bool_, np.complex128):
            parts.append(f"dtype={self.dtype}")
        if self.op is not None and self._requires_grad:
            parts.append(f"op={self.op.name}")
        elif self._requires_grad:
            parts.append("requires_grad=True")
        if self.name:
            parts.append(f"name={self.name!r}")
        return f"{type(self).__name__}({', '.join(parts)})"

    def _repr_mimebundle_(
        self, include: Container[str] | None = None, exclude: Container[str] | None = None
    ) -> dict[str, str]:
        """Show its text and its graph in a notebook (Jupyter, marimo)."""
        bundle: dict[str, str] = engine.mimebundle(self, include, exclude)
        return bundle

    def __format__(self, spec: str) -> str:
        return format(self._single("format()").item(), spec) if spec else repr(self)

    def __copy__(self) -> Tensor:
        """Return itself: it is an immutable value, and the node is shared."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        """Return a detached leaf of the same value, name and requirement."""
        copy = type(self).__new__(type(self))
        _fill(copy, self._data.copy())
        copy.name, copy._requires_grad = self.name, self._requires_grad
        memo[id(self)] = copy
        return copy

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as a detached leaf."""
        return _restore, (type(self), np.asarray(self._data), self._requires_grad, self.name)

    # NumPy's and other arrays' protocols ---------------------------------------------------------

    def __array__(
        self,
        dtype: npt.DTypeLike | None = None,
        copy: bool | None = None,  # noqa: FBT001  (NumPy's protocol)
    ) -> npt.NDArray[Any]:
        if copy or (dtype is not None and np.dtype(dtype) != self.dtype):
            if copy is False:
                raise ShapeError(
                    f"The tensor of dtype {self.dtype} cannot become {np.dtype(dtype)} uncopied.",
                    "Leave copy out.",
                )
            return np.array(self._data, dtype=dtype)
        return self.data

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return engine.apply_ufunc(ufunc, method, inputs, kwargs)

    def __array_function__(
        self, function: Callable[..., Any], types: Any, args: Any, kwargs: Any
    ) -> Any:
        return engine.apply_function(function, args, kwargs)

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        return engine.namespace(api_version)

    def __dlpack__(self, **keywords: Any) -> Any:
        """Export a copy through DLPack (a copy: the value of a tensor never changes)."""
        return self._data.copy().__dlpack__(**keywords)

    def __dlpack_device__(self) -> tuple[int, int]:
        """Say the DLPack device: the CPU."""
        return self._data.__dlpack_device__()


class Variable(Tensor):
    """A tensor whose value can be assigned: the base of parameters and buffers.

    A graph recorded before an assignment keeps the old value for its gradients.
    """

    __slots__ = ()

    def assign(self, value: Operand) -> None:
        """Replace the value by another of the same shape, cast to this dtype.

        Raises ShapeError for another shape, DTypeError for a cast that is not of the same kind;
        the value is then unchanged.

        >>> v = Variable([1.0, 2.0])
        >>> v.assign([3.0, 4.0])
        >>> v
        Variable([3., 4.])
        """
        array = value._data if isinstance(value, Tensor) else _own(value, None)
        label = self.name or type(self).__name__
        if array.shape != self.shape:
            raise ShapeError(
                f"assign to {label} of shape {self.shape}: the value has shape {array.shape}.",
                "Assign a value of the same shape.",
            )
        if not np.can_cast(array.dtype, self.dtype, casting="same_kind"):
            raise DTypeError(
                f"assign to {label} of dtype {self.dtype}: the value is {array.dtype}.",
                "Convert the value with astype first.",
            )
        self._data = array.astype(self.dtype, copy=False)


class At:
    """``x.at[index]``: where a functional update applies. Each method returns a new tensor.

    >>> Tensor([1.0, 2.0, 3.0]).at[1].set(9.0)
    Tensor([1., 9., 3.])
    >>> Tensor([0.0, 0.0]).at[[1, 1]].add(1.0)
    Tensor([0., 2.])
    """

    __slots__ = ("_key", "_tensor")

    def __init__(self, tensor: Tensor, key: Any = None) -> None:
        self._tensor, self._key = tensor, key

    def __getitem__(self, key: Any) -> At:
        """Choose the place: anything that indexes an array."""
        return At(self._tensor, (key,))

    def _update(self, how: str, value: Operand) -> Tensor:
        if self._key is None:
            raise ShapeError(f"at.{how} without an index.", f"Write x.at[index].{how}(value).")
        function: Callable[..., Tensor] = getattr(tensors, f"index_{how}")
        return function(self._tensor, value, self._key[0])

    def set(self, value: Operand) -> Tensor:
        """Replace; of repeated indices the last one wins, and gets the gradient."""
        return self._update("set", value)

    def add(self, value: Operand) -> Tensor:
        """Add; repeated indices add up."""
        return self._update("add", value)

    def multiply(self, value: Operand) -> Tensor:
        """Multiply; an index may occur once only."""
        return self._update("multiply", value)

    def min(self, value: Operand) -> Tensor:
        """Take the smaller; ties share the gradient equally."""
        return self._update("min", value)

    def max(self, value: Operand) -> Tensor:
        """Take the larger; ties share the gradient equally."""
        return self._update("max", value)


# making tensors --------------------------------------------------------------------------------

_root = State()
_nothing: dict[str, Any] = {}
blank_tensor = object.__new__


def _fill(tensor: Tensor, value: npt.NDArray[Any]) -> None:
    """Make a blank tensor a leaf with this value."""
    tensor._data = value
    tensor._requires_grad = tensor._retains = False
    tensor.grad = tensor.name = tensor.op = None
    tensor.inputs = tensor.values = tensor.wrt = ()
    tensor.params = _nothing
    tensor.context = _root
    tensor.index = next_index()


def leaf(value: npt.NDArray[Any], *, requires_grad: bool = False) -> Tensor:
    """Wrap an array that nobody else will write to, without copying or checking it."""
    tensor = blank_tensor(Tensor)
    _fill(tensor, value)
    tensor._requires_grad = requires_grad
    return tensor


def as_constant(data: Any) -> Tensor:
    """Turn any operand into a Tensor: itself, or a leaf that owns a copy."""
    return data if isinstance(data, Tensor) else leaf(_own(data, None))


def _restore(
    kind: type[Tensor],
    data: npt.NDArray[Any],
    requires_grad: bool,  # noqa: FBT001  (pickle passes it by position)
    name: str | None,
) -> Tensor:
    tensor = kind.__new__(kind)
    _fill(tensor, data if data.flags.owndata else data.copy())
    tensor._requires_grad, tensor.name = requires_grad, name
    return tensor


def _own(data: Any, dtype: npt.DTypeLike | None) -> npt.NDArray[Any]:
    """Copy data into an array of numbers or booleans, or say why that cannot be."""
    if isinstance(data, Tensor):
        if data._requires_grad and current().recording:
            raise GradientError(
                "A tensor made of a tensor that requires a gradient would lose it.",
                "Use the tensor itself; or detach() it, which says so.",
            )
        return data._data if dtype is None else data._data.astype(dtype)
    if isinstance(data, np.ndarray) and hasattr(data, "mask"):
        _refuse_data(data, "its mask would be lost (fill it first: data.filled(value))")
    try:
        array = np.array(_plain(data), dtype=_numeric(dtype))
    except TinygradError:
        raise
    except Exception as error:  # noqa: BLE001  (a foreign object's protocol may raise anything)
        reason = str(error).split("\n")[0].rstrip(".")
        uneven = "inhomogeneous" in reason
        _refuse_data(data, "its nested lists have unequal lengths" if uneven else reason)
    if array.dtype.kind not in "biufc":
        held = {"U": "text", "S": "text", "O": "objects that are not numbers"}
        _refuse_data(data, f"it holds {held.get(array.dtype.kind, array.dtype)}")
    return array


def _numeric(dtype: npt.DTypeLike | None) -> np.dtype[Any] | None:
    """Check a dtype that the user chose: one of booleans or numbers."""
    if dtype is None:
        return None
    try:
        chosen = np.dtype(dtype)
    except TypeError:
        chosen = None
    if chosen is None or chosen.kind not in "biufc":
        raise DTypeError(
            f"dtype={dtype!r} is no type of numbers.", "Use float32, float64, int64, bool, ..."
        )
    return chosen


def _plain(data: Any) -> Any:
    """Let foreign arrays speak DLPack, and lists hold tensors."""
    if isinstance(data, list | tuple):
        return [_plain(item) for item in data]
    if isinstance(data, Tensor):
        if data._requires_grad and current().recording:
            raise GradientError(
                "A list that holds a tensor which requires a gradient would lose the gradient.",
                "Join tensors with stack or concat; detach() those whose gradient is not wanted.",
            )
        return data._data
    if isinstance(data, np.ndarray | np.generic) or hasattr(data, "__array__"):
        return data
    return np.from_dlpack(data) if hasattr(data, "__dlpack__") else data


def _refuse_data(data: Any, reason: str) -> NoReturn:
    kind = type(data)
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
    raise DTypeError(
        f"A {name} cannot become a tensor: {reason}.",
        "Pass numbers, nested lists of equal lengths, or an array (numpy.asarray(x)).",
    )


def _is_one_tuple(arguments: tuple[Any, ...]) -> bool:
    return len(arguments) == 1 and isinstance(arguments[0], tuple | list)
