"""Random small networks with an input, to test gradients with respect to parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tinygrad_bn.nn.activations import ELU, GELU, LeakyReLU, ReLU, Sigmoid, SiLU, Softplus, Tanh
from tinygrad_bn.nn.layers import Linear, Sequential
from tinygrad_bn.nn.module import Module
from tinygrad_bn.nn.normalisation import BatchNorm, LayerNorm
from tinygrad_bn.testing.generators.choices import Choices
from tinygrad_bn.testing.generators.values import Kind

SMOOTH: tuple[Callable[[], Module], ...] = (Tanh, Sigmoid, Softplus, GELU, SiLU)
KINKED: tuple[Callable[[], Module], ...] = (ReLU, LeakyReLU, ELU)


class ModelCase(NamedTuple):
    """A model and an input for it.

    >>> from tinygrad_bn.testing.checking.checker import check_gradients
    >>> from tinygrad_bn.testing.generators.choices import Seeded
    >>> model, x = draw_model(Seeded(np.random.default_rng(0)), smooth=True)
    >>> check_gradients(lambda m, x: m(x), model, x, order=1, directions=1).ok
    True
    """

    model: Module
    x: npt.NDArray[Any]


def draw_model(
    choices: Choices,
    *,
    depth: tuple[int, int] = (1, 3),
    kind: Kind = "generic",
    dtype: npt.DTypeLike = np.float64,
    smooth: bool = False,
) -> ModelCase:
    """Draw linear layers, each perhaps followed by a normalisation and an activation.

    ``depth``: the least and the greatest number of linear layers. ``kind``: of the input; the
    parameters are generic. ``smooth``: leave out activations with a kink. Batch norm uses the
    batch's or the running statistics and does not update them, so that the model is a function.

    >>> from tinygrad_bn.testing.generators.choices import Seeded
    >>> model, x = draw_model(Seeded(np.random.default_rng(1)), depth=(2, 2))
    >>> model(x).shape[0] == x.shape[0]
    True
    """
    features = choices.integer(1, 3)
    x = choices.array((choices.integer(3, 5), features), kind=kind, dtype=dtype)
    layers: list[Module] = []
    for _ in range(choices.integer(*depth)):
        outputs = choices.integer(1, 3)
        layers.append(Linear(features, outputs, bias=not choices.chance(1, 3), rng=0, dtype=dtype))
        layers += _between(choices, outputs, dtype, smooth=smooth)
        features = outputs
    model = Sequential(*layers)
    for parameter in model.parameters():
        parameter.assign(choices.array(parameter.shape, dtype=dtype))
    return ModelCase(model, x)


def _between(
    choices: Choices, features: int, dtype: npt.DTypeLike, *, smooth: bool
) -> list[Module]:
    """Draw what follows a linear layer: a normalisation or none, an activation or none."""
    layers: list[Module] = []
    norm = choices.among(("none", "batch", "layer"))
    affine = choices.chance(1, 2)
    if norm == "batch":
        use: Any = choices.among(("batch", "running"))
        layers.append(BatchNorm(features, use=use, update=False, affine=affine, dtype=dtype))
    elif norm == "layer" and features > 1:
        layers.append(LayerNorm(features, affine=affine, dtype=dtype))
    if choices.chance(2, 3):
        layers.append(choices.among(SMOOTH if smooth else (*SMOOTH, *KINKED))())
    return layers
