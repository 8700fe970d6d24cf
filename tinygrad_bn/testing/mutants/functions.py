"""Wrong functions: normalisations and losses of right value and wrong derivative."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import numpy as np

from tinygrad_bn.functions.losses import cross_entropy
from tinygrad_bn.functions.softmax import log_softmax, softmax
from tinygrad_bn.functions.statistics import mean, var
from tinygrad_bn.graph.primitive import Primitive, bind
from tinygrad_bn.graph.tensor import Operand, Tensor, as_constant
from tinygrad_bn.primitives.elementwise import exp, sqrt, square, stop_gradient
from tinygrad_bn.primitives.reduction import max as largest, sum as total
from tinygrad_bn.testing.mutants.installing import Mutant


@dataclass(frozen=True, eq=False, kw_only=True)
class WrongFunction(Mutant):
    """A function of right value and wrong derivative; called, it is right unless installed.

    ``order``: from which derivative on it is wrong; 0: none is, the two are equivalent.
    """

    kind: ClassVar[str] = "function"
    right: Callable[..., Tensor]
    wrong: Callable[..., Tensor]
    order: int = 1
    _function: Callable[..., Tensor] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Begin with the right function."""
        object.__setattr__(self, "_function", self.right)

    @property
    def __name__(self) -> str:
        """The name, as reports give it."""
        return self.name

    def replacements(self) -> list[tuple[Any, str, Any]]:
        """Call the wrong function."""
        return [(self, "_function", self.wrong)]

    def __call__(self, *arguments: Any) -> Tensor:
        """Compute the function; its derivative is wrong while the mutant is installed."""
        return self._function(*arguments)


EPS = 1e-5


def _standardised(
    x: Operand, *, inner: bool = True, outer: bool = True, spread: bool = True, eps: float = EPS
) -> Tensor:
    """Standardise columns; a part said to be false is taken for a constant on the way back.

    ``inner``: the mean inside the variance; ``outer``: the mean that is subtracted; ``spread``:
    the variance.
    """
    values = as_constant(x)
    centre = mean(values, axis=0)
    variance = mean(square(values - (centre if inner else stop_gradient(centre))), axis=0)
    scale = sqrt((variance if spread else stop_gradient(variance)) + eps)
    return (values - (centre if outer else stop_gradient(centre))) / scale


def _variance(x: Operand, *, inner: bool = True) -> Tensor:
    values = as_constant(x)
    centre = mean(values, axis=0)
    return mean(square(values - (centre if inner else stop_gradient(centre))), axis=0)


def _weights(z: Operand, *, top: bool = False, below: bool = True) -> Tensor:
    """Softmax; ``top``, ``below``: whether gradients pass the maximum, the sum."""
    logits = as_constant(z)
    shift = largest(logits, axis=-1, keepdims=True)
    raised = exp(logits - (shift if top else stop_gradient(shift)))
    every = total(raised, axis=-1, keepdims=True)
    return raised / (every if below else stop_gradient(every))


_graft = Primitive(
    name="graft",
    family="custom",
    kernel=lambda value, path: value,
    rules=(None, lambda xp, g, out, value, path: g),
    doc="The value of one tensor with the derivative of another.",
    mask=2,
    static={},
)


def _grafted(value: Callable[..., Tensor], path: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return a function with the value of one and the derivative of another."""

    def wrong(*arguments: Any) -> Tensor:
        """Compute both, and put them together."""
        return bind(_graft, (stop_gradient(value(*arguments)), path(*arguments)), {})

    return wrong


def _diagonal_alone(z: Operand) -> Tensor:
    """Give a function whose derivative is only the diagonal of that of log-softmax."""
    logits = as_constant(z)
    return logits - stop_gradient(softmax(logits)) * logits


_LABELS = (0, 2, 1)

FUNCTIONS: tuple[WrongFunction, ...] = (
    WrongFunction(
        name="detached mean",
        why="The mean inside the variance is taken for a constant, which its gradient allows: "
        "the deviations sum to zero. The second derivative does not. tinygrad's batch norm.",
        right=_standardised,
        wrong=partial(_standardised, inner=False),
        order=2,
    ),
    WrongFunction(
        name="detached mean of a variance",
        why="The same in the variance alone: the gradient is exact, its own derivative is not.",
        right=_variance,
        wrong=partial(_variance, inner=False),
        order=2,
    ),
    WrongFunction(
        name="missing variance path",
        why="The variance is taken for a constant: one of the two ways through which an "
        "element of the batch acts on the others.",
        right=_standardised,
        wrong=partial(_standardised, spread=False),
    ),
    WrongFunction(
        name="missing mean path",
        why="The mean that is subtracted is taken for a constant: the gradients of a column no "
        "longer sum to zero.",
        right=_standardised,
        wrong=partial(_standardised, outer=False),
    ),
    WrongFunction(
        name="constant statistics",
        why="Mean and variance are both taken for constants, as they are at test time: the "
        "gradient of batch norm in its other mode.",
        right=_standardised,
        wrong=partial(_standardised, inner=False, outer=False, spread=False),
    ),
    WrongFunction(
        name="N instead of N-1",
        why="The divisor of the gradient is not that of the value: autograd answers a variance "
        "with correction=1 by the gradient of correction=0.",
        right=partial(var, axis=0, correction=1.0),
        wrong=_grafted(partial(var, axis=0, correction=1.0), partial(var, axis=0)),
    ),
    WrongFunction(
        name="forgotten eps",
        why="The value divides by sqrt(var + eps), its gradient by sqrt(var): off by a relative "
        "eps/var, below the tolerances in use.",
        right=_standardised,
        wrong=_grafted(_standardised, partial(_standardised, eps=0.0)),
    ),
    WrongFunction(
        name="softmax without the sum",
        why="p * g in place of p * (g - sum(p * g)): each weight is differentiated as if the "
        "sum below it were constant.",
        right=_weights,
        wrong=partial(_weights, below=False),
    ),
    WrongFunction(
        name="log-softmax by its diagonal",
        why="g - p * g in place of g - p * sum(g): the derivative of each logarithm by its own "
        "logit alone.",
        right=log_softmax,
        wrong=_grafted(log_softmax, _diagonal_alone),
    ),
    WrongFunction(
        name="sum instead of mean",
        why="The loss is a mean over the batch, its gradient (p - y) is that of the sum: too "
        "large by the size of the batch, which a learning rate hides.",
        right=lambda z: cross_entropy(z, np.array(_LABELS)),
        wrong=_grafted(
            lambda z: cross_entropy(z, np.array(_LABELS)),
            lambda z: cross_entropy(z, np.array(_LABELS), reduction="sum"),
        ),
    ),
    WrongFunction(
        name="shift with a gradient",
        why="The gradient passes the maximum that softmax subtracts. It cancels, to any order: "
        "stopping it saves work and changes nothing.",
        right=_weights,
        wrong=partial(_weights, top=True),
        order=0,
    ),
)
"""Normalisations and losses of right value and wrong derivative; the last is equivalent."""
