"""The arguments of ``fit``: what does not fit is refused before anything changes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tinygrad_bn.errors import DTypeError, ShapeError, TinygradError
from tinygrad_bn.nn.evaluating import Metric
from tinygrad_bn.nn.module import Module
from tinygrad_bn.nn.stopping import EarlyStop
from tinygrad_bn.optim.optimisers import Optimiser


def check_callable(**given: Iterable[Any]) -> None:
    """Refuse what cannot be called."""
    for name, functions in given.items():
        for function in functions:
            if not callable(function):
                raise DTypeError(f"fit: {name} has {function!r}.", "Give something to call.")


def count(name: str, value: Any, least: int) -> int:
    """Return an integer that is not below the least."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise DTypeError(f"fit: {name}={value!r}.", "Give an integer.")
    if value < least:
        raise ShapeError(f"fit: {name}={value}.", f"Give an integer from {least}.")
    return int(value)


def check_kinds(metrics: Any, stop: Any, every: Any, checkpoint: Any) -> None:
    """Refuse arguments of another kind, and one that would do nothing."""
    if metrics is not None and not isinstance(metrics, Mapping):
        raise DTypeError(
            f"fit: the metrics are a {type(metrics).__name__}.",
            'Pass a dict of functions by name: {"accuracy": tg.nn.accuracy}.',
        )
    if stop is not None and not isinstance(stop, EarlyStop):
        raise DTypeError(
            f"fit: stop is a {type(stop).__name__}.", 'Pass tg.nn.EarlyStop("validation loss").'
        )
    if every is not None and checkpoint is None:
        raise ShapeError(
            f"fit: every={every} without a checkpoint.", "Give checkpoint=, a path, as well."
        )


def positive(name: str, value: float | None) -> float | None:
    """Return a positive, finite number, or None."""
    if value is not None and not 0 < value < math.inf:
        raise ShapeError(f"fit: {name}={value}.", "Give a positive, finite number, or None.")
    return None if value is None else float(value)


def of_the_model(optimizer: Any, model: Any) -> Optimiser:
    """Return the optimiser, if it trains parameters of the model."""
    if not isinstance(model, Module):
        raise DTypeError(f"fit: the model is a {type(model).__name__}.", "Pass a tg.nn.Module.")
    if not isinstance(optimizer, Optimiser):
        raise DTypeError(
            f"fit: the optimizer is a {type(optimizer).__name__}.",
            "Pass one, such as tg.optim.Adam(model.parameters(), lr).",
        )
    own = {id(parameter) for parameter in model.parameters()}
    if strange := [p for p in optimizer.parameters if id(p) not in own]:
        raise TinygradError(
            f"fit: {len(strange)} of the optimizer's {len(optimizer.parameters)} parameters are "
            "not in the model.",
            "Make the optimizer for model.parameters(), after the last layer was set.",
        )
    return optimizer


def named_otherwise(metrics: Mapping[str, Metric]) -> Mapping[str, Metric]:
    """Return the metrics, whose names must not be those of what a step has anyway."""
    if taken := {"loss", "lr"} & set(metrics):
        raise ShapeError(
            f"fit: a metric is called {taken.pop()!r}, as a number that every step has.",
            "Give it another name.",
        )
    return metrics
