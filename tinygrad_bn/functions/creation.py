"""Creation functions of the array API standard, and what it says of dtypes and the namespace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_bn.errors import DTypeError, ShapeError
from tinygrad_bn.graph.composition import public
from tinygrad_bn.graph.namespaces import engine, tensors
from tinygrad_bn.graph.tensor import Operand, Tensor, as_constant, leaf

if TYPE_CHECKING:
    import numpy.typing as npt

    DType = npt.DTypeLike | None

Shape = int | tuple[int, ...]

API_VERSION = "2024.12"


def _on_cpu(device: str | None) -> None:
    if device not in (None, "cpu"):
        raise ShapeError(f"There is no device {device!r}.", 'Use device="cpu" or leave it out.')


@public
def asarray(
    obj: Operand, /, *, dtype: DType = None, device: str | None = None, copy: bool | None = None
) -> Tensor:
    """Turn numbers, nested lists or arrays into a tensor; a tensor stays itself.

    ``copy``: tensors never change, so a copy is made of foreign arrays always, of tensors never
    (but for a change of ``dtype``). Raises DTypeError for foreign objects.

    >>> asarray([1, 2], dtype="float32")
    Tensor([1., 2.], dtype=float32)
    """
    _on_cpu(device)
    if isinstance(obj, Tensor):
        return obj if dtype is None else tensors.astype(obj, dtype)
    if copy is False and not isinstance(obj, Tensor):
        raise ShapeError(
            f"asarray of a {type(obj).__name__} with copy=False: tensors own their data.",
            "Leave copy out.",
        )
    return Tensor(obj, dtype=dtype)


@public
def from_dlpack(x: Any, /, *, device: str | None = None, copy: bool | None = None) -> Tensor:
    """Import an array of another library through DLPack, copied. Raises DTypeError."""
    _on_cpu(device)
    return asarray(x.data if isinstance(x, Tensor) else np.from_dlpack(x))


def _full(value: Any, shape: Shape, dtype: DType, device: str | None) -> Tensor:
    _on_cpu(device)
    if isinstance(value, Tensor):
        return tensors.broadcast_to(asarray(value, dtype=dtype), shape)
    return leaf(np.full(shape, value, dtype=dtype))


@public
def full(
    shape: Shape, fill_value: Any, *, dtype: DType = None, device: str | None = None
) -> Tensor:
    """Return a tensor of ``shape`` filled with one value."""
    return _full(fill_value, shape, dtype, device)


@public
def zeros(shape: Shape, *, dtype: DType = None, device: str | None = None) -> Tensor:
    """Return zeros of ``shape``; float64 by default."""
    return _full(0.0, shape, dtype or np.float64, device)


@public
def ones(shape: Shape, *, dtype: DType = None, device: str | None = None) -> Tensor:
    """Return ones of ``shape``; float64 by default."""
    return _full(1.0, shape, dtype or np.float64, device)


@public
def empty(shape: Shape, *, dtype: DType = None, device: str | None = None) -> Tensor:
    """Return a tensor of ``shape``; of zeros, since a tensor could not be filled later."""
    return zeros(shape, dtype=dtype, device=device)


def _like(x: Operand) -> Tensor:
    return as_constant(x)


@public
def full_like(
    x: Operand, /, fill_value: Any, *, dtype: DType = None, device: str | None = None
) -> Tensor:
    """Return a tensor of the shape and dtype of ``x`` filled with one value."""
    like = _like(x)
    return _full(fill_value, like.shape, dtype or like.dtype, device)


@public
def zeros_like(x: Operand, /, *, dtype: DType = None, device: str | None = None) -> Tensor:
    """Return zeros of the shape and dtype of ``x``."""
    return full_like(x, 0, dtype=dtype, device=device)


@public
def ones_like(x: Operand, /, *, dtype: DType = None, device: str | None = None) -> Tensor:
    """Return ones of the shape and dtype of ``x``."""
    return full_like(x, 1, dtype=dtype, device=device)


@public
def empty_like(x: Operand, /, *, dtype: DType = None, device: str | None = None) -> Tensor:
    """Return zeros of the shape and dtype of ``x`` (see ``empty``)."""
    return zeros_like(x, dtype=dtype, device=device)


@public
def arange(
    start: float,
    /,
    stop: float | None = None,
    step: float = 1,
    *,
    dtype: DType = None,
    device: str | None = None,
) -> Tensor:
    """Evenly spaced values in ``[start, stop)``; with one argument ``[0, start)``."""
    _on_cpu(device)
    if stop is None:
        start, stop = 0, start
    return leaf(np.arange(start, stop, step, dtype=dtype))


@public
def linspace(
    start: float,
    stop: float,
    /,
    num: int,
    *,
    dtype: DType = None,
    device: str | None = None,
    endpoint: bool = True,
) -> Tensor:
    """``num`` evenly spaced values from ``start`` to ``stop``, which is included by default."""
    _on_cpu(device)
    return leaf(np.linspace(start, stop, num, dtype=dtype, endpoint=endpoint))


@public
def eye(
    n_rows: int,
    n_cols: int | None = None,
    /,
    *,
    k: int = 0,
    dtype: DType = None,
    device: str | None = None,
) -> Tensor:
    """Return a matrix with ones on diagonal ``k`` and zeros elsewhere; float64 by default."""
    _on_cpu(device)
    return leaf(np.eye(n_rows, n_cols, k=k, dtype=dtype or np.float64))


@public
def meshgrid(*arrays: Operand, indexing: str = "xy") -> list[Tensor]:
    """Coordinate grids of one-dimensional arrays; ``indexing``: "xy" (Cartesian) or "ij"."""
    if indexing not in ("xy", "ij"):
        raise ShapeError(f"meshgrid: indexing={indexing!r}.", 'Use "xy" or "ij".')
    lines = [as_constant(a) for a in arrays]
    order = list(range(len(lines)))
    if indexing == "xy" and len(lines) > 1:
        order[:2] = [1, 0]
    shape = tuple(lines[i].size for i in order)
    grids = []
    for i, line in enumerate(lines):
        along = tuple(line.size if order[a] == i else 1 for a in range(len(lines)))
        grids.append(tensors.broadcast_to(tensors.reshape(line, along), shape))
    return grids


# dtypes -------------------------------------------------------------------------------------------

DTYPES = {
    "bool": np.dtype(np.bool_),
    **{
        np.dtype(kind).name: np.dtype(kind)
        for kind in (
            np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64,
            np.float32, np.float64, np.complex64, np.complex128,
        )
    },
}  # fmt: skip


def _dtype_of(x: Any) -> np.dtype[Any]:
    """Return an array's dtype, or the dtype that is given itself."""
    return np.dtype(x.dtype if isinstance(x, Tensor | np.ndarray) else x)


@public
def result_type(*arrays_and_dtypes: Any) -> np.dtype[Any]:
    """Return the dtype that operations on the arguments would give (NumPy's promotion)."""
    plain = [a.data if isinstance(a, Tensor) else a for a in arrays_and_dtypes]
    return np.result_type(*plain)


@public
def can_cast(from_: Any, to: npt.DTypeLike, /) -> bool:
    """Whether a dtype (or an array's dtype) converts to another without losing information."""
    return bool(np.can_cast(_dtype_of(from_), np.dtype(to)))


@public
def finfo(type: Any, /) -> np.finfo[Any]:
    """Return the limits of a floating-point dtype (or of an array's)."""
    return np.finfo(_dtype_of(type))


@public
def iinfo(type: Any, /) -> np.iinfo[Any]:
    """Return the limits of an integer dtype (or of an array's)."""
    return np.iinfo(_dtype_of(type))


@public
def isdtype(dtype: npt.DTypeLike, kind: Any) -> bool:
    """Whether a dtype is of a kind: a dtype, a name ("real floating", ...), or a tuple of them."""
    return bool(np.isdtype(np.dtype(dtype), kind))


class NamespaceInfo:
    """What the namespace says about itself (array API: inspection)."""

    def capabilities(self) -> dict[str, Any]:
        """Say what is supported: boolean indexing, data-dependent shapes, any number of axes."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}

    def default_device(self) -> str:
        """Return the only device."""
        return "cpu"

    def devices(self) -> list[str]:
        """List the devices."""
        return ["cpu"]

    def default_dtypes(self, *, device: str | None = None) -> dict[str, np.dtype[Any]]:
        """Return the dtype given to Python floats, complex numbers, ints and index arrays."""
        _on_cpu(device)
        names = {
            "real floating": "float64",
            "complex floating": "complex128",
            "integral": "int64",
            "indexing": "int64",
        }
        return {kind: DTYPES[name] for kind, name in names.items()}

    def dtypes(
        self, *, device: str | None = None, kind: str | Sequence[str] | None = None
    ) -> dict[str, np.dtype[Any]]:
        """Return the supported dtypes by name, of one kind or several if asked."""
        _on_cpu(device)
        if kind is None:
            return dict(DTYPES)
        wanted = kind if isinstance(kind, str) else tuple(kind)
        return {name: d for name, d in DTYPES.items() if np.isdtype(d, wanted)}


@public
def __array_namespace_info__() -> NamespaceInfo:  # noqa: N807  (the standard's name)
    """Return the inspection object of the array API standard."""
    return NamespaceInfo()


def namespace(api_version: str | None) -> Any:
    """Return the array API namespace of tensors. Raises DTypeError for an unknown version."""
    if api_version not in (None, "2021.12", "2022.12", "2023.12", API_VERSION):
        raise DTypeError(
            f"Array API version {api_version!r} is not supported.", f"Use {API_VERSION!r}."
        )
    return engine.package()


engine.namespace = namespace
