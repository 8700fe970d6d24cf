"""Layers with weights, and the plain ones between them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from tinygrad_bn.errors import ShapeError
from tinygrad_bn.functions.activations import dropout
from tinygrad_bn.functions.convolution import conv2d
from tinygrad_bn.graph.tensor import Operand, Tensor, as_constant
from tinygrad_bn.nn.module import Module, Parameter
from tinygrad_bn.primitives.contraction import matmul
from tinygrad_bn.primitives.movement import reshape

Randomness: TypeAlias = np.random.Generator | int | None
"""A generator (layers that share one draw different numbers), a seed, or None for fresh ones."""

Initial: TypeAlias = Literal["he", "glorot"]


def initial_weights(
    shape: tuple[int, ...], initial: Initial, rng: Randomness, dtype: npt.DTypeLike
) -> npt.NDArray[Any]:
    """Draw weights (out, in, *window) from a normal distribution of mean 0.

    ``"he"``: variance 2 / fan_in, which keeps the scale of activations through ReLUs (He et al.
    2015, equation 10). ``"glorot"``: 2 / (fan_in + fan_out), for symmetric activations (Glorot &
    Bengio 2010, equation 16). The fans count the window's positions.
    """
    if initial not in ("he", "glorot"):
        raise ShapeError(f"initial={initial!r}.", 'Use "he" or "glorot".')
    window = math.prod(shape[2:])
    fans = shape[1] * window + (shape[0] * window if initial == "glorot" else 0)
    return np.random.default_rng(rng).normal(0.0, math.sqrt(2 / fans), shape).astype(dtype)


def sizes(what: str, **given: Any) -> None:
    """Check that sizes are positive integers. Raises ShapeError naming the one that is not."""
    for name, size in given.items():
        if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
            raise ShapeError(f"{what}: {name}={size!r}.", "Give a positive integer.")


class Sequential(Module):
    """Modules (or functions of one tensor) applied one after another.

    >>> Sequential(Linear(2, 3, rng=0), Flatten())
    Sequential()
      layers.0: Linear(2, 3)
      layers.1: Flatten()
    """

    def __init__(self, *layers: Callable[[Any], Any]) -> None:
        for position, layer in enumerate(layers):
            if not callable(layer):
                raise ShapeError(
                    f"Sequential: layer {position} is a {type(layer).__name__}.",
                    "Pass modules or functions, one argument each.",
                )
        self.layers = list(layers)

    def forward(self, x: Any) -> Any:
        """Apply the layers in their order."""
        for layer in self.layers:
            x = layer(x)
        return x

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Callable[[Any], Any]]:
        return iter(self.layers)

    def __getitem__(self, index: int) -> Any:
        return self.layers[index]


class Linear(Module):
    """``x @ weight.T + bias`` along the last axis.

    ``weight`` has shape (outputs, inputs), ``bias`` (outputs,) or is None. ``initial`` and ``rng``:
    see ``initial_weights``; biases start at 0. Raises ShapeError for another number of inputs.

    >>> Linear(3, 2, rng=0)([[1.0, 2.0, 3.0]]).shape
    (1, 2)
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        bias: bool = True,
        initial: Initial = "he",
        rng: Randomness = None,
        dtype: npt.DTypeLike = np.float64,
    ) -> None:
        sizes("Linear", inputs=inputs, outputs=outputs)
        weight = initial_weights((outputs, inputs), initial, rng, dtype)
        self.weight = Parameter(weight, name="weight")
        self.bias = Parameter(np.zeros(outputs, dtype), name="bias") if bias else None

    def forward(self, x: Operand) -> Tensor:
        """Map (..., inputs) to (..., outputs)."""
        operand = as_constant(x)
        if operand.ndim == 0 or operand.shape[-1] != self.weight.shape[1]:
            raise ShapeError(
                f"{self!r} of an input of shape {operand.shape}.",
                f"Pass (..., {self.weight.shape[1]}): the last axis holds the inputs.",
            )
        product = matmul(operand, self.weight.mT)
        return product if self.bias is None else product + self.bias

    def details(self) -> str:
        """Say the numbers of inputs and outputs."""
        outputs, inputs = self.weight.shape
        return f"{inputs}, {outputs}" + (", bias=False" if self.bias is None else "")


class Conv2d(Module):
    """Cross-correlation of images (N, C, H, W); see ``conv2d``.

    ``weight`` has shape (outputs, inputs / groups, h, w), ``bias`` (outputs,) or is None.
    ``window``: its height and width, or one number for both. ``initial`` and ``rng``: see
    ``initial_weights``.

    >>> Conv2d(1, 4, 3, padding=1, rng=0)(np.zeros((2, 1, 8, 8))).shape
    (2, 4, 8, 8)
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        window: int | tuple[int, int],
        *,
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        initial: Initial = "he",
        rng: Randomness = None,
        dtype: npt.DTypeLike = np.float64,
    ) -> None:
        height, width = (window, window) if isinstance(window, int) else window
        sizes("Conv2d", inputs=inputs, outputs=outputs, height=height, width=width, groups=groups)
        if inputs % groups or outputs % groups:
            raise ShapeError(
                f"Conv2d: groups={groups} with {inputs} inputs and {outputs} outputs.",
                "Use a number of groups that divides both.",
            )
        shape = (outputs, inputs // groups, height, width)
        self.weight = Parameter(initial_weights(shape, initial, rng, dtype), name="weight")
        self.bias = Parameter(np.zeros(outputs, dtype), name="bias") if bias else None
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups

    def forward(self, x: Operand) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H', W')."""
        return conv2d(
            x,
            self.weight,
            self.bias,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )

    def details(self) -> str:
        """Say the channels, the window and what is not the default."""
        outputs, inputs, *window = self.weight.shape
        defaults = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
        changed = [f"{k}={getattr(self, k)}" for k, v in defaults.items() if getattr(self, k) != v]
        bias = ["bias=False"] if self.bias is None else []
        parts = [inputs * self.groups, outputs, tuple(window), *changed, *bias]
        return ", ".join(map(str, parts))


class Dropout(Module):
    """Set elements to 0 with probability ``rate`` and scale the others; see ``dropout``.

    In training mode only; else the identity. ``rng``: a generator, a seed, or None for fresh
    randomness.
    """

    def __init__(self, rate: float = 0.5, rng: Randomness = None) -> None:
        if not 0 <= rate < 1:
            raise ShapeError(f"Dropout: rate={rate}.", "Use a probability from 0 to below 1.")
        self.rate = rate
        self.rng = np.random.default_rng(rng)

    def forward(self, x: Operand) -> Tensor:
        """Drop elements if this layer is in training mode."""
        return dropout(x, rate=self.rate, rng=self.rng) if self.training else as_constant(x)

    def details(self) -> str:
        """Say the rate."""
        return f"rate={self.rate}"


class Flatten(Module):
    """Join all axes but the first: (N, C, H, W) to (N, C * H * W)."""

    def forward(self, x: Operand) -> Tensor:
        """Reshape; the order of elements stays."""
        operand = as_constant(x)
        if operand.ndim == 0:
            raise ShapeError("Flatten of a tensor without axes.", "Pass (N, ...).")
        return reshape(operand, (operand.shape[0], math.prod(operand.shape[1:])))
