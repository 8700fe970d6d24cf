"""Optimisers, each its printed equation; schedules of the learning rate; gradient clipping."""

from tinygrad_bn.optim.clipping import clip_grad_norm
from tinygrad_bn.optim.optimisers import SGD, Adam, AdamW, Optimiser, RMSprop
from tinygrad_bn.optim.schedules import cosine, exponential, inverse_time, staircase, warmup

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Optimiser",
    "RMSprop",
    "clip_grad_norm",
    "cosine",
    "exponential",
    "inverse_time",
    "staircase",
    "warmup",
]
