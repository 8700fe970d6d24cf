"""Schedules of the learning rate: functions that return ``step -> lr``, steps counted from 0.

An optimiser takes one in place of a number. ``every`` is how many steps make the unit of time, for
instance the number of batches in an epoch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

from tinygrad_bn.errors import ShapeError

Schedule: TypeAlias = Callable[[int], float]


def _positive(what: str, **given: Any) -> None:
    for name, value in given.items():
        if not (value > 0 and math.isfinite(value)):
            raise ShapeError(f"{what}: {name}={value}.", "Use a positive, finite number.")


def exponential(lr: float, *, decay: float = 0.95, every: int = 1) -> Schedule:
    """``lr * decay ** (step / every)``.

    >>> exponential(1.0, decay=0.5)(3)
    0.125
    """
    _positive("exponential", lr=lr, decay=decay, every=every)
    return lambda step: lr * decay ** (step / every)


def inverse_time(lr: float, *, rate: float = 1.0, every: int = 1) -> Schedule:
    """``lr / (1 + rate * step / every)``.

    >>> inverse_time(0.2, rate=1.0)(3)
    0.05
    """
    _positive("inverse_time", lr=lr, rate=rate, every=every)
    return lambda step: lr / (1 + rate * step / every)


def staircase(lr: float, *, factor: float = 0.5, every: int) -> Schedule:
    """``lr * factor ** floor(step / every)``: constant, then lower, in stairs.

    >>> [staircase(1.0, every=2)(step) for step in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """
    _positive("staircase", lr=lr, factor=factor, every=every)
    return lambda step: lr * factor ** (step // every)


def cosine(lr: float, *, steps: int, final: float = 0.0) -> Schedule:
    """``final + (lr - final) * (1 + cos(pi * min(step / steps, 1))) / 2``.

    Half a wave from ``lr`` to ``final`` over ``steps`` steps, then constant. Source: Loshchilov &
    Hutter (2017, equation 5), without restarts.

    >>> schedule = cosine(1.0, steps=10)
    >>> schedule(0), round(schedule(5), 15), schedule(10), schedule(99)
    (1.0, 0.5, 0.0, 0.0)
    """
    _positive("cosine", lr=lr, steps=steps)
    if not 0 <= final <= lr:
        raise ShapeError(f"cosine: final={final} with lr={lr}.", "Use a rate from 0 to lr.")
    return lambda step: final + (lr - final) * (1 + math.cos(math.pi * min(step / steps, 1))) / 2


def warmup(then: float | Schedule, *, steps: int) -> Schedule:
    """``then(0) * (step + 1) / steps`` for ``steps`` steps, after them ``then(step - steps)``.

    ``then``: a rate or a schedule, which begins when the warm-up is over. Source: Goyal et al.
    (2017, section 2.2).

    >>> [warmup(1.0, steps=4)(step) for step in range(6)]
    [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    """
    _positive("warmup", steps=steps)
    if not callable(then):
        _positive("warmup", then=then)
    after = as_schedule(then)
    return lambda step: after(0) * (step + 1) / steps if step < steps else after(step - steps)


class Constant:
    """The schedule of a rate that never changes (a class, so that optimisers pickle)."""

    def __init__(self, lr: float) -> None:
        self.lr = lr

    def __call__(self, step: int) -> float:  # noqa: ARG002  (it never changes)
        """Return the rate, whatever the step."""
        return self.lr


def as_schedule(lr: float | Schedule) -> Schedule:
    """Return a schedule: the given one, or a constant."""
    return lr if callable(lr) else Constant(lr)
