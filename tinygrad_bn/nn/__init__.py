"""Layers: modules that hold parameters and buffers; the loop that trains them, and its pieces."""

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
from tinygrad_bn.nn.checkpoints import load_checkpoint, save_checkpoint
from tinygrad_bn.nn.control import Control
from tinygrad_bn.nn.evaluating import accuracy, evaluate, predict
from tinygrad_bn.nn.fitting import fit
from tinygrad_bn.nn.history import History
from tinygrad_bn.nn.layers import Conv2d, Dropout, Flatten, Linear, Sequential
from tinygrad_bn.nn.logging import CSVLog, JSONLinesLog
from tinygrad_bn.nn.module import Buffer, Module, Parameter
from tinygrad_bn.nn.normalisation import BatchNorm, LayerNorm
from tinygrad_bn.nn.stopping import EarlyStop

__all__ = [
    "ELU",
    "GELU",
    "BatchNorm",
    "Buffer",
    "CSVLog",
    "Control",
    "Conv2d",
    "Dropout",
    "EarlyStop",
    "Flatten",
    "History",
    "JSONLinesLog",
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
    "accuracy",
    "evaluate",
    "fit",
    "load_checkpoint",
    "predict",
    "save_checkpoint",
]
