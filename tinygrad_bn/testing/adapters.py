"""Functions of other frameworks as Pairs on plain arrays, so that one checker serves all.

Each adapter imports its package when it is called, and raises OptionalDependencyError without it.
The function takes and returns the framework's own tensors. Floating-point arrays and Python
floats become such tensors of the same dtype, and have gradients; integer and boolean arrays
become tensors where the framework has them. All else is passed on as it is, and so is every
keyword: a number that is no argument (a rate, an eps) is given by keyword or closed over.
Results that are not floating-point (indices) are left out. No memory is shared: the function gets
copies, and so does the caller.
"""

from __future__ import annotations

import abc
import importlib
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeAlias

import numpy as np

from tinygrad_bn.errors import DTypeError, OptionalDependencyError
from tinygrad_bn.testing.pairs import (
    Array,
    Pair,
    Pull,
    as_pair,
    is_float,
    listed,
    paired,
    replaced,
)

Moved: TypeAlias = Callable[..., list[Any]]
"""A user's function with all but its floating-point arguments filled in; lists its results."""

Swept: TypeAlias = tuple[list[Any], Callable[[list[Array]], Sequence[Any]]]
"""A framework's results, and its way back from cotangents to gradients (None: zero)."""


def from_tinygrad_bn(function: Callable[..., Any]) -> Pair:
    """Make a Pair of a function of this package's tensors: ``as_pair``, for symmetry.

    >>> import tinygrad_bn as tg
    >>> from_tinygrad_bn(tg.exp).vjp(3.0, 0.0)
    array(3.)
    """
    return as_pair(function)


def from_torch(function: Callable[..., Any]) -> Pair:
    """Make a Pair of a function of PyTorch tensors, ``torch.autograd.Function.apply`` included.

    The function may write to its arguments. The Pair raises DTypeError for long double and
    complex arrays. Raises OptionalDependencyError without PyTorch. Example:
    ``from_torch(torch.nn.functional.gelu)``.
    """
    return _adapted(function, _Torch(_package("torch")))


def from_jax(function: Callable[..., Any]) -> Pair:
    """Make a Pair of a function of JAX arrays.

    If an argument is float64 it runs in JAX's 64-bit mode, entered for the call alone; else in
    the mode that is set. The Pair raises DTypeError for long double and complex arrays. Raises
    OptionalDependencyError without JAX. Example: ``from_jax(jax.nn.softmax)``.
    """
    return _adapted(function, _Jax(_package("jax")))


def from_autograd(function: Callable[..., Any]) -> Pair:
    """Make a Pair of a function written with ``autograd.numpy``.

    Long double is kept, as NumPy keeps it; the Pair raises DTypeError for complex arrays. Raises
    OptionalDependencyError without autograd. Example: ``from_autograd(autograd.numpy.sinc)``.
    """
    return _adapted(function, _Autograd(_package("autograd")))


def from_mygrad(function: Callable[..., Any]) -> Pair:
    """Make a Pair of a function of MyGrad tensors.

    Integer arrays stay arrays, as MyGrad takes labels. The function may write to its arguments.
    Long double is kept; the Pair raises DTypeError for complex arrays. Raises
    OptionalDependencyError without MyGrad. Example: ``from_mygrad(mygrad.nnet.softmax)``.
    """
    return _adapted(function, _MyGrad(_package("mygrad")))


def _package(name: str) -> Any:
    """Import a package that is no dependency of this one."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise OptionalDependencyError(
            f"from_{name} needs {name}, which is not installed.", f"pip install {name}", where=None
        ) from error


class _Framework(abc.ABC):
    """What an adapter must know of a framework."""

    label: str
    extended = False

    def __init__(self, package: Any) -> None:
        self.package = package

    @abc.abstractmethod
    def sweep(self, moved: Moved, floats: list[Array]) -> Swept:
        """Run a function on floating-point arrays, so that it can be swept back."""

    @abc.abstractmethod
    def tensor(self, x: Any) -> Any:
        """Make a constant of an array, or of whatever a function returned."""

    def evaluate(self, moved: Moved, floats: list[Array]) -> list[Any]:
        """Run a function on floating-point arrays."""
        return self.sweep(moved, floats)[0]

    def parts(self, found: Any) -> list[Any]:
        """List what a function returned."""
        return [self.tensor(y) for y in listed(found)]

    def floating(self, y: Any) -> bool:
        """Whether a result is floating-point."""
        return bool(y.dtype.kind == "f")

    def array(self, y: Any) -> Array:
        """Copy a result or gradient into an array."""
        return np.array(y, order="C")

    def mode(self, given: Sequence[Any]) -> AbstractContextManager[Any]:  # noqa: ARG002  (JAX has one)
        """Return the context in which arguments are computed with."""
        return nullcontext()


def _adapted(function: Callable[..., Any], framework: _Framework) -> Pair:
    """Make a Pair of a function by what is known of its framework."""

    def prepared(arguments: list[Any], static: dict[str, Any]) -> tuple[Moved, list[Any]]:
        """Leave the floating-point arguments open; also list what is given."""
        given = [_own(x, framework) for x in arguments]
        others = [framework.tensor(x) if _is_other(x) else x for x in given]

        def moved(*floats: Any) -> list[Any]:
            """Call the function, keep its floating-point results."""
            parts = framework.parts(function(*replaced(others, floats), **static))
            return [y for y in parts if framework.floating(y)]

        return moved, given

    def evaluate(arguments: list[Any], static: dict[str, Any]) -> list[Array]:
        """Run forwards."""
        moved, given = prepared(arguments, static)
        with framework.mode(given):
            results = framework.evaluate(moved, [x for x in given if is_float(x)])
            return [framework.array(y) for y in results]

    def run(arguments: list[Any], static: dict[str, Any]) -> tuple[list[Array], Pull]:
        """Run forwards, to go back."""
        moved, given = prepared(arguments, static)
        with framework.mode(given):
            results, back = framework.sweep(moved, [x for x in given if is_float(x)])

        def pull(cotangents: list[Array]) -> Sequence[Any]:
            """Go back."""
            with framework.mode(given):
                return [None if g is None else framework.array(g) for g in back(cotangents)]

        return [framework.array(y) for y in results], pull

    return paired(run, function, evaluate)


def _own(x: Any, framework: _Framework) -> Any:
    """Copy an array or float for a framework: contiguous, writable, of native byte order."""
    if not isinstance(x, np.ndarray | np.generic | float):
        return x
    array = np.array(x, order="C")
    if array.dtype.kind == "c" or (array.dtype.char == "g" and not framework.extended):
        raise DTypeError(
            f"{framework.label} is given an argument of dtype {array.dtype}.",
            "Pass real arrays of float64 or narrower.",
        )
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _is_other(x: Any) -> bool:
    return isinstance(x, np.ndarray) and not is_float(x)


class _Torch(_Framework):
    label = "PyTorch"

    def tensor(self, x: Any) -> Any:
        return self.package.as_tensor(x)

    def floating(self, y: Any) -> bool:
        return bool(y.is_floating_point())

    def array(self, y: Any) -> Array:
        return np.array(y.numpy(force=True), order="C")

    def sweep(self, moved: Moved, floats: list[Array]) -> Swept:
        """Run on copies of leaves, so that the function may write to them."""
        leaves = [self.tensor(x).requires_grad_() for x in floats]
        with self.package.enable_grad():
            results = moved(*(x.clone() for x in leaves))

        def back(cotangents: list[Array]) -> Sequence[Any]:
            """Sweep from those results that depend on an argument."""
            pairs = zip(results, map(self.tensor, cotangents), strict=True)
            live = [(y, c) for y, c in pairs if y.requires_grad]
            if not live:
                return [None] * len(leaves)
            ends, starts = zip(*live, strict=True)
            found: Sequence[Any]
            found = self.package.autograd.grad(ends, leaves, starts, allow_unused=True)
            return found

        return results, back


class _Jax(_Framework):
    label = "JAX"

    def tensor(self, x: Any) -> Any:
        return self.package.numpy.asarray(x)

    def evaluate(self, moved: Moved, floats: list[Array]) -> list[Any]:
        """Run without differentiating: a custom_vjp has a value of its own."""
        return moved(*map(self.tensor, floats))

    def sweep(self, moved: Moved, floats: list[Array]) -> Swept:
        results, back = self.package.vjp(moved, *map(self.tensor, floats))
        return results, lambda cotangents: back([self.tensor(c) for c in cotangents])

    def mode(self, given: Sequence[Any]) -> AbstractContextManager[Any]:
        """Return the 64-bit mode if an argument is float64."""
        if not any(isinstance(x, np.ndarray) and x.dtype == np.float64 for x in given):
            return nullcontext()
        enable = getattr(self.package, "enable_x64", None)
        if enable is None:  # JAX before 0.8
            enable = importlib.import_module("jax.experimental").enable_x64
        mode: AbstractContextManager[Any] = enable(True)
        return mode


class _Autograd(_Framework):
    label, extended = "autograd", True

    def tensor(self, x: Any) -> Any:
        return x

    def floating(self, y: Any) -> bool:
        return is_float(self._value(y))

    def parts(self, found: Any) -> list[Any]:
        """List what a function returned, a boxed tuple too."""
        several = isinstance(self._value(found), tuple | list)
        return [found[i] for i in range(len(found))] if several else listed(found)

    def evaluate(self, moved: Moved, floats: list[Array]) -> list[Any]:
        """Run on arrays."""
        return moved(*floats)

    def sweep(self, moved: Moved, floats: list[Array]) -> Swept:
        boxed = importlib.import_module("autograd.builtins").tuple
        with warnings.catch_warnings():
            # of a constant the gradient is zero, and that is what comes
            warnings.filterwarnings("ignore", message="Output seems independent of input")
            make = self.package.make_vjp(lambda *xs: boxed(moved(*xs)), tuple(range(len(floats))))
            back, results = make(*floats)
        return list(results), lambda cotangents: back(tuple(cotangents))

    def _value(self, y: Any) -> Any:
        return importlib.import_module("autograd.tracer").getval(y)


class _MyGrad(_Framework):
    label, extended = "MyGrad", True

    def tensor(self, x: Any) -> Any:
        return x

    def parts(self, found: Any) -> list[Any]:
        return [self.package.astensor(y) for y in listed(found)]

    def array(self, y: Any) -> Array:
        return np.array(y.data if isinstance(y, self.package.Tensor) else y, order="C")

    def sweep(self, moved: Moved, floats: list[Array]) -> Swept:
        """Run on copies of leaves, so that the function may write to them."""
        leaves = [self.package.tensor(x) for x in floats]
        results = moved(*(+x for x in leaves))

        def back(cotangents: list[Array]) -> Sequence[Any]:
            """Sweep from ``<g, y>``: the gradient for each result is its cotangent."""
            terms = [(y * c).sum() for y, c in zip(results, cotangents, strict=True)]
            sum(terms[1:], terms[0]).backward()
            return [x.grad for x in leaves]

        return results, back
