"""check_gradients: are the derivatives of a function right, to any order, at a point?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tinygrad_bn.errors import ShapeError
from tinygrad_bn.graph.tensor import Tensor
from tinygrad_bn.testing.culprit import first_wrong, worst_element
from tinygrad_bn.testing.directions import cotangents, direction_for
from tinygrad_bn.testing.judge import Question
from tinygrad_bn.testing.precision import rounding_bound
from tinygrad_bn.testing.probe import Arrays, Flat, Probe, cast, dot, flatten_function, margins
from tinygrad_bn.testing.verdicts import Report, Verdict
from tinygrad_bn.transforms.lifting import name_of
from tinygrad_bn.transforms.tracing import trace

MODES = ("reverse", "forward")


def check_gradients(
    function: Callable[..., Any],
    *arguments: Any,
    order: int = 2,
    modes: Sequence[str] = MODES,
    directions: int = 3,
    seed: int = 0,
) -> Report:
    """Compare the derivatives of ``function`` at ``arguments`` with finite differences.

    ``arguments``: tensors, arrays, floats or containers of them; integers and the like are passed
    on as they are. The function returns a tensor or a container. ``order=2`` checks the gradient
    as a function, too. ``directions``: how many random directions, each with a random cotangent,
    for every argument. The differences are taken in long double where the function allows it;
    the tolerance follows from their estimated error and the measured rounding of the gradient.
    Arguments narrower than float64 are checked in float64, and then that their own gradient
    agrees with it as far as their dtype allows.

    Raises DTypeError where there is nothing to differentiate, ShapeError for unknown modes.

    >>> from tinygrad_bn import sin
    >>> report = check_gradients(lambda x: sin(x) * x, [0.5, 2.0])
    >>> report.ok, report.worst < 1e-14
    (True, True)
    """
    if not modes or set(modes) - set(MODES) or order < 1 or directions < 1:
        raise ShapeError(
            f"check_gradients with modes={modes!r}, order={order}, directions={directions}.",
            f"Modes are among {MODES}; order and directions are at least 1.",
        )
    flat, values = flatten_function(function, arguments)
    report = Report(name_of(function), seed)
    return _Check(flat, values, _names(function, arguments), tuple(modes), directions, seed).fill(
        report, order
    )


def _names(function: Callable[..., Any], arguments: Sequence[Any]) -> list[str]:
    """Name the floating-point leaves as the function's signature does."""
    inputs = trace(lambda *parts: None, *arguments).inputs
    del function
    return [str(x.name) for x in inputs if x.dtype.kind == "f"]


@dataclass(frozen=True)
class _Check:
    """One check of a flat function at a point."""

    flat: Flat
    given: Arrays
    names: Sequence[str]
    modes: tuple[str, ...]
    directions: int
    seed: int

    def fill(self, report: Report, order: int) -> Report:
        probe = Probe(self.flat, cast(self.given, np.float64))
        return report
