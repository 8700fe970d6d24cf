"""A function of plain arrays and its derivative written by hand, under examination."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from tinygrad_bn.errors import DTypeError
from tinygrad_bn.testing.checking.subjects import (
    EXTENDED,
    REFUSED,
    Array,
    Arrays,
    Misfit,
    Subject,
    cast,
    chosen_floats,
    replaced,
)
from tinygrad_bn.transforms.lifting import argument_names, name_of


class Foreign(Subject):
    """``value(*arguments)`` and ``vjp(g, *arguments)`` at a point; nothing is recorded.

    Only floating-point arguments are moved; the others are passed on as they are.
    """

    def __init__(
        self, value: Callable[..., Any], vjp: Callable[..., Any], arguments: Sequence[Any]
    ) -> None:
        self.function, self.derivative = value, vjp
        self.arguments = [np.array(a) if _is_array(a) else a for a in arguments]
        self.chosen, self.given = chosen_floats(self.arguments)
        labels = argument_names(value, len(arguments))
        self.names = [labels[i] for i in self.chosen]
        if not self.chosen:
            raise DTypeError(
                f"check_rule of {name_of(value)}: no argument has floating-point values.",
                "Pass the point at which to check as floats or float arrays.",
            )
        self.values = cast(self.given, np.float64)

    def at(self, values: Arrays) -> Foreign:
        """Return the same function at another point."""
        moved = Foreign(self.function, self.derivative, self.arguments)
        moved.values = list(values)
        return moved

    @cached_property
    def extended(self) -> bool:
        """Whether both functions answer in long double."""
        if not EXTENDED:
            return False
        wide = cast(self.values, np.longdouble)
        try:
            results = self.results(wide)
            gradients = self.pull(wide, [np.ones_like(y) for y in results])
        except REFUSED:
            return False
        return all(y.dtype == np.longdouble for y in (*results, *gradients))

    def results(self, values: Arrays) -> list[Array]:
        """Evaluate the function."""
        with np.errstate(all="ignore"):
            return _listed(self.function(*self._arguments(values)))

    def pull(self, values: Arrays, v: Arrays) -> Arrays:
        """Return the gradients that the derivative gives. Raises Misfit for a wrong form."""
        found = self._raw(self._arguments(values), v)
        gradients = [np.zeros_like(x) if g is None else np.array(g) for g, x in found]
        for position, (g, (_, x)) in enumerate(zip(gradients, found, strict=True)):
            if g.shape != x.shape:
                raise Misfit(
                    f"The gradient of {self.names[position]} has shape {g.shape}, the argument "
                    f"{x.shape}."
                )
        return gradients

    def observed(self, values: Arrays, v: Arrays) -> list[Any]:
        """Evaluate and differentiate at arrays that the caller keeps an eye on."""
        arguments = replaced(self.arguments, self.chosen, values)
        with np.errstate(all="ignore"):
            self.function(*arguments)
        return [g for g, _ in self._raw(arguments, v)]

    def _raw(self, arguments: list[Any], v: Arrays) -> list[tuple[Any, Array]]:
        """Return what the derivative gives, beside the argument that each gradient is for."""
        floats = [arguments[i] for i in self.chosen]
        kind = np.result_type(*floats)
        cotangents = tuple(c.astype(kind, copy=False) for c in v)
        g = cotangents[0] if len(v) == 1 else cotangents
        with np.errstate(all="ignore"):
            answer = self.derivative(g, *arguments)
        found = list(answer) if isinstance(answer, tuple | list) else [answer]
        if len(found) == len(arguments) != len(floats):
            found = [found[i] for i in self.chosen]
        if len(found) != len(floats):
            raise Misfit(
                f"The derivative returned {len(found)} gradients for {len(floats)} floating-point "
                "arguments."
            )
        return list(zip(found, floats, strict=True))

    def _arguments(self, values: Arrays) -> list[Any]:
        return replaced(self.arguments, self.chosen, [np.array(x) for x in values])


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray | np.generic)


def _listed(results: Any) -> list[Array]:
    """Give the floating-point results as a list of arrays."""
    listed = results if isinstance(results, tuple | list) else [results]
    found = [np.asarray(y) for y in listed]
    if any(y.dtype.kind != "f" for y in found):
        kinds = ", ".join(str(y.dtype) for y in found)
        raise DTypeError(
            f"check_rule: the value has dtype {kinds}.", "Return floating-point arrays."
        )
    return found
