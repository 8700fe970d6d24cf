"""Layers: modules that hold parameters and buffers, and compositions as modules."""

from tinygrad_bn.nn.activations import (
    ELU,
    GELU,
    LeakyReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from tinygrad_bn.nn.layers import Conv2d, Dropout, Flatten, Linear, Sequential
from tinygrad_bn.nn.module import Buffer, Module, Parameter
from tinygrad_bn.nn.normalisation import BatchNorm, LayerNorm

__all__ = [
    "ELU",
    "GELU",
    "BatchNorm",
    "Buffer",
    "Conv2d",
    "Dropout",
    "Flatten",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "Module",
    "Parameter",
    "ReLU",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
]
