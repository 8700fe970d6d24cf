"""A trial as the objective sees it, and as it is kept."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np

from tinygrad_bn.errors import DTypeError, ShapeError

Direction: TypeAlias = Literal["maximize", "minimize"]
Objective: TypeAlias = Callable[["Trial"], Any]


class Pruned(Exception):  # noqa: N818  (an answer, not an error)
    """Raised by ``trial.report`` in a trial that should stop; let it pass."""


class Trial(Mapping[str, Any]):
    """The values of one trial by name, its number, and a seed for what it draws.

    ``index`` counts the trials of a search from 0. ``seed`` follows from it and from the seed of
    the search alone: give it to ``numpy.random.default_rng``, so that the trial's value does not
    depend on who runs it, or after what.
    """

    def __init__(
        self,
        index: int,
        seed: int,
        values: Mapping[str, Any],
        reported: Callable[[int, float], bool] = lambda step, value: False,
    ) -> None:
        self.index, self.seed = index, seed
        self._values, self._reported = dict(values), reported

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Trial({self.index}: {told(self._values)})"

    def report(self, value: float, step: int) -> None:
        """Keep how good the trial is after a step; raises ``Pruned`` if it should end here.

        Raises ShapeError for a negative step, DTypeError for what is no number. In a journal a
        report takes milliseconds: report each epoch, not each batch.
        """
        if isinstance(step, bool) or not isinstance(step, int | np.integer) or step < 0:
            raise ShapeError(f"report: step={step!r}.", "Count steps from 0 or 1, in ints.")
        number = as_number(value, "report")
        if self._reported(int(step), number):
            raise Pruned(f"{self} stops after step {step} at {number:.6g}.")


@dataclass(frozen=True)
class Row:
    """A finished trial. ``value`` is what the objective returned, or the last report if pruned."""

    index: int
    values: dict[str, Any]
    value: float
    state: Literal["complete", "pruned"]
    reports: dict[int, float]
    duration: float = field(compare=False)
    """Seconds."""


def told(values: Mapping[str, Any]) -> str:
    """Write values as text.

    >>> told({"lr": 0.123456789, "units": 16})
    'lr=0.1235, units=16'
    """
    return ", ".join(f"{name}={cell(value)}" for name, value in values.items())


def cell(value: Any) -> str:
    """Write one value, a float to four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def as_number(value: Any, source: str) -> float:
    """Return a float, or raise DTypeError; nan and infinities are numbers."""
    with contextlib.suppress(TypeError, ValueError):
        if not isinstance(value, str | bytes):
            return float(value)
    raise DTypeError(
        f"{source}: {value!r} of type {type(value).__name__} is no number.",
        "Give a float: the accuracy, say, or loss.item().",
    )
