"""Activations as modules, for ``Sequential``; each applies the function of its name."""

from __future__ import annotations

from tinygrad_bn.functions.activations import (
    elu,
    gelu,
    leaky_relu,
    relu,
    sigmoid,
    silu,
    softplus,
)
from tinygrad_bn.functions.softmax import softmax
from tinygrad_bn.graph.tensor import Operand, Tensor
from tinygrad_bn.nn.module import Module
from tinygrad_bn.primitives.elementwise import tanh


class ReLU(Module):
    """``max(x, 0)``; see ``relu``."""

    def forward(self, x: Operand) -> Tensor:
        """Apply it to each element."""
        return relu(x)


class LeakyReLU(Module):
    """``x`` where positive, else ``slope * x``; see ``leaky_relu``."""

    def __init__(self, slope: float = 0.01) -> None:
        self.slope = slope

    def forward(self, x: Operand) -> Tensor:
        """Apply it to each element."""
        return leaky_relu(x, slope=self.slope)

    def details(self) -> str:
        """Say the slope."""
        return f"slope={self.slope}"


class ELU(Module):
    """``x`` where positive, else ``alpha * (exp(x) - 1)``; see ``elu``."""

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha

    def forward(self, x: Operand) -> Tensor:
        """Apply it to each element."""
        return elu(x, alpha=self.alpha)

    def details(self) -> str:
        """Say alpha."""
        return f"alpha={self.alpha}"


class GELU(Module):
    """Gaussian error linear unit; see ``gelu``."""

    def forward(self, x: Operand) -> Tensor:
        """Apply it to each element."""
        return gelu(x)


class SiLU(Module):
    """``x * sigmoid(x)``; see ``silu``."""

    def forward(self, x: Operand) -> Tensor:
        """Apply it to each element."""
        return silu(x)


class Sigmoid(Module):
    """``1 / (1 + exp(-x))``; see ``sigmoid``."""

    def forward(self, x: Operand) -> Tensor:
        """Apply it to each element."""
        return sigmoid(x)


class Tanh(Module):
    """Hyperbolic tangent; see ``tanh``."""

    def forward(self, x: Operand) -> Tensor:
        """Apply it to each element."""
        return tanh(x)


class Softplus(Module):
    """``log(1 + exp(x))``; see ``softplus``."""

    def forward(self, x: Operand) -> Tensor:
        """Apply it to each element."""
        return softplus(x)


class Softmax(Module):
    """Probabilities along an axis; see ``softmax``. Leave it out before ``cross_entropy``."""

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    def forward(self, x: Operand) -> Tensor:
        """Apply it along the axis."""
        return softmax(x, axis=self.axis)

    def details(self) -> str:
        """Say the axis."""
        return f"axis={self.axis}"
