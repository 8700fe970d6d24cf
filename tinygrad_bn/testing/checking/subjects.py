"""What is examined: a function of arrays at a point, with the derivative that it claims."""

from __future__ import annotations

import abc
import math
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tinygrad_bn.errors import TinygradError
from tinygrad_bn.graph.tensor import Tensor
from tinygrad_bn.testing.checking.differences import Curve

FAR = 0.125
"""The largest step: directions are scaled so that a step of 1 doubles each element, about."""

Array = npt.NDArray[Any]
Arrays = Sequence[Array]

EXTENDED = bool(np.finfo(np.longdouble).eps < np.finfo(np.float64).eps)
"""Whether long double is more than float64 on this machine."""


class Kink(NamedTuple):
    """Where a step along a direction comes to a kink: at which step, of which operation.

    ``lone``: a branch that a single point takes (``x == 0``), beside which there may be no kink.
    """

    step: float
    what: str
    lone: bool = False


class Kinks(NamedTuple):
    """The kinks along a direction, and up to which step distances to them change evenly.

    Beyond ``reach`` there are kinks that nobody has counted (a staircase of many).
    """

    found: Sequence[Kink]
    reach: float


class Misfit(Exception):  # noqa: N818  (caught by the checker; it is a finding, not a failure)
    """A claimed gradient that has not the shape or dtype of its argument."""


REFUSED = (
    *(Misfit, TinygradError, ValueError, TypeError, LookupError, AttributeError),
    *(ArithmeticError, RuntimeError),
)
"""What a wrong derivative may raise when it is formed; then it is found out, too."""


class Subject(abc.ABC):
    """A function at a point in float64, its value and derivative; what a check asks questions of.

    ``values``: the point, one array for each floating-point argument.
    """

    values: Arrays

    @abc.abstractmethod
    def results(self, values: Arrays) -> list[Array]:
        """Evaluate the function."""

    @abc.abstractmethod
    def pull(self, values: Arrays, v: Arrays) -> Arrays:
        """Return the claimed gradient of ``<v, f(x)>`` at other values."""

    @abc.abstractmethod
    def observed(self, values: Arrays, v: Arrays) -> list[Any]:
        """Return the gradient as it is handed out, of these very arrays (``pull`` copies them)."""

    @abc.abstractmethod
    def at(self, values: Arrays) -> Subject:
        """Return the same function at another point."""

    @property
    @abc.abstractmethod
    def extended(self) -> bool:
        """Whether function and derivative run in long double, and that is more than float64."""

    @property
    def eps(self) -> float:
        """The relative spacing of numbers in the narrowest dtype that values pass through."""
        return float(np.finfo(self.dtype).eps)

    def gradient(self, v: Arrays) -> Subject:  # noqa: ARG002  (only a graph has one)
        """Return the gradient for a fixed cotangent as a function to examine in its turn."""
        raise TypeError("This derivative is no function that can be differentiated again.")

    @property
    def dtype(self) -> Any:
        """The dtype in which differences are taken."""
        return np.longdouble if self.extended else np.float64

    @property
    def blind(self) -> bool:
        """Whether nothing is known of what the function does inside."""
        return True

    @property
    def narrowest(self) -> Any:
        """The narrowest dtype that the claimed gradient passes through."""
        return np.dtype(np.float64)

    @property
    def unit(self) -> float:
        """The relative rounding unit of the claimed gradient."""
        return float(np.finfo(self.narrowest).eps)

    @property
    def tiny(self) -> float:
        """The smallest number that the claimed gradient can be told from zero by."""
        return float(np.finfo(self.narrowest).smallest_subnormal)

    def push(self, values: Arrays, direction: Arrays) -> Arrays:  # noqa: ARG002  (a graph's)
        """Return the claimed derivative of the results in a direction."""
        raise TypeError("This derivative has no forward mode.")

    def kinks(self, direction: Arrays) -> Kinks:  # noqa: ARG002  (a graph knows them)
        """Find the steps along a direction at which an operation comes to a kink, about."""
        return Kinks((), math.inf)

    def exact(self, v: Arrays, direction: Arrays) -> np.longdouble | None:  # noqa: ARG002  (as above)
        """Return the derivative without differences of the whole, where that is possible."""
        return None

    def smooth_step(self, direction: Arrays) -> float:  # noqa: ARG002  (a graph knows it)
        """Up to which step along a direction no value on the way changes by more than its size."""
        return math.inf

    def doubtful(self, dtype: Any) -> str:  # noqa: ARG002  (as above)
        """Say which kink, if any, is so near that rounding in a dtype decides the side."""
        return ""

    def narrow_rounding(self, v: Arrays, direction: Arrays, dtype: Any = None) -> float:  # noqa: ARG002  (as above)
        """Bound what rounding in a narrow dtype does to a gradient along a direction."""
        return 0.0

    def curve(self, v: Arrays, direction: Arrays) -> Curve:
        """Return the function of a step whose derivative at 0 is checked."""

        def at_step(t: float) -> np.longdouble:
            """Evaluate; where the function refuses the point, it has no value."""
            try:
                return dot(v, self.results(self.along(direction, t)))
            except Exception:  # noqa: BLE001  (a guard of the user's own)
                return np.longdouble(np.nan)

        return at_step

    def along(self, direction: Arrays, t: float) -> Arrays:
        """Move the point by ``t`` times a direction, in the dtype of the differences."""
        dtype = self.dtype
        step = dtype(t)
        return [
            np.asarray(x.astype(dtype) + step * d) if d.any() else x.astype(dtype)
            for x, d in zip(self.values, direction, strict=True)
        ]

    def magnitude(self, v: Arrays) -> float:
        """Estimate the sum of the magnitudes that make up ``<v, f(x)>``, for its rounding noise."""
        results = self.results(self.values)
        return float(dot([np.abs(c) for c in v], [np.abs(y) for y in results]))

    @cached_property
    def wide(self) -> list[Arrays]:
        """The points at which a gradient is formed again to see how far rounding moved it."""
        return [cast(self.values, np.longdouble)] if self.extended else self.shaken

    @property
    def shaken(self) -> list[Arrays]:
        """The point moved by a few rounding units, where there is no long double."""
        eps = float(np.finfo(np.float64).eps)
        return [[np.asarray(x * (1 + k * eps)) for x in self.values] for k in (2, -3)]


def cast(values: Iterable[Array], dtype: Any) -> list[Array]:
    """Convert arrays to a dtype."""
    return [x.astype(dtype) for x in values]


def dot(a: Iterable[Array], b: Iterable[Array]) -> np.longdouble:
    """Sum the products of all elements, in long double; a zero annihilates an infinity."""
    total = np.longdouble(0)
    with np.errstate(all="ignore"):
        for x, y in zip(a, b, strict=True):
            if x is not y and not x.any():
                continue
            product = x.astype(np.longdouble) * y
            if not np.isfinite(part := product.sum()):
                part = np.sum(product, where=(x != 0) & (y != 0))
            total += part
    return total


def chosen_floats(leaves: Sequence[Any]) -> tuple[list[int], list[Array]]:
    """Find the floating-point leaves: their positions, and their values as arrays of their own."""
    arrays = [x.data if isinstance(x, Tensor) else np.asarray(x) for x in leaves]
    chosen = [i for i, a in enumerate(arrays) if a.dtype.kind == "f"]
    return chosen, [np.array(arrays[i]) for i in chosen]


def replaced(leaves: Sequence[Any], chosen: Sequence[int], values: Iterable[Any]) -> list[Any]:
    """Put other values in the place of the chosen leaves."""
    new = list(leaves)
    for i, value in zip(chosen, values, strict=True):
        new[i] = value
    return new
