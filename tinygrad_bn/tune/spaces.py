"""Spaces: what values a hyperparameter may take, and on what scale they are drawn.

Each space is a value, and a map between its values and the interval from 0 to 1, on which equal
lengths are equally likely. Random search, grids and the zoom of coarse to fine all work there.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from tinygrad_bn.errors import DTypeError, ShapeError
from tinygrad_bn.tune.needs import optuna

Randomness: TypeAlias = np.random.Generator | int | None
Region: TypeAlias = tuple[float, ...]
"""A part of a scale: from and to, between 0 and 1; or the indices of choices."""
Choice: TypeAlias = str | int | float | bool | None


class Space(ABC):
    """Base of the spaces, which the functions of this module make.

    ``from_unit`` and ``to_unit`` are the map; the other methods say how a study of Optuna keeps the
    values, which may be under another name (``1 - beta``).
    """

    logarithmic: bool = False
    """Whether the parameter of the study is drawn on a logarithmic axis."""
    unordered: bool = False
    """Whether the values are choices without an order."""

    @abstractmethod
    def from_unit(self, u: float) -> Any:
        """Return the value at a place from 0 to 1."""

    @abstractmethod
    def to_unit(self, value: Any) -> float:
        """Return the place of a value, from 0 to 1."""

    @abstractmethod
    def grid(self, points: int | None = None) -> list[Any]:
        """Return values at equal distances on this scale, the bounds among them."""

    @abstractmethod
    def distribution(self) -> Any:
        """Return Optuna's distribution of the parameter."""

    @property
    def ticks(self) -> list[Any]:
        """The values that an axis should name; none if any numbers will do."""
        return []

    def around(
        self,
        value: Any,
        width: float,
        tried: Sequence[Any],  # noqa: ARG002  (choices are ranked by them)
    ) -> Region:
        """Return the part of this scale of a width, from 0 to 1, about a value of it.

        It is shifted to lie between 0 and 1. ``tried``: values from the best to the worst.
        """
        centre = self.to_unit(value)
        low = min(max(centre - width / 2, 0.0), 1 - width, centre)
        return low, max(low + width, centre)

    def whole(self) -> Region:
        """Return the part that is all of it."""
        return 0.0, 1.0

    def within(self, region: Region, u: float) -> Any:
        """Return the value at a place, from 0 to 1, of a part."""
        low, high = region
        return self.from_unit(min(low + u * (high - low), math.nextafter(high, low)))

    def bounds(self, region: Region) -> tuple[Any, ...]:
        """Return the least and the greatest value of a part."""
        low, high = region
        return self.from_unit(low), self.from_unit(high)

    def sample(self, rng: Randomness = None) -> Any:
        """Draw one value; ``rng``: a generator, or a seed."""
        return self.from_unit(float(np.random.default_rng(rng).random()))

    def parameter(self, name: str) -> str:
        """Return the name that the study uses for a hyperparameter."""
        return name

    def to_parameter(self, value: Any) -> Any:
        """Return what the study keeps for a value."""
        return value

    def from_parameter(self, parameter: Any) -> Any:
        """Return the value that the study keeps as a parameter."""
        return parameter


@dataclass(frozen=True, repr=False)
class Continuous(Space):
    """An interval of numbers; subclasses say on what scale."""

    low: float
    high: float
    called = "uniform"

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            object.__setattr__(self, name, _number(self.called, name, getattr(self, name)))
        if not self.low < self.high:
            raise ShapeError(f"{self}: low is not below high.", "Give the smaller bound first.")
        if not math.isfinite(self.high - self.low):
            raise ShapeError(f"{self} is wider than the largest number.", "Give closer bounds.")

    def __repr__(self) -> str:
        return f"{self.called}({self.low!r}, {self.high!r})"

    def forward(self, value: float) -> float:
        """Return the place of a value on this scale, in its own units."""
        return value

    def backward(self, place: float) -> float:
        """Return the value at a place on this scale."""
        return place

    def from_unit(self, u: float) -> float:
        """Return the value at a place; the bounds exactly at 0 and 1."""
        if (u := _unit(self, u)) in (0.0, 1.0):
            return self.high if u else self.low
        start, end = self.forward(self.low), self.forward(self.high)
        return min(max(self.backward(start + u * (end - start)), self.low), self.high)

    def to_unit(self, value: Any) -> float:
        """Return the place of a value; raises ShapeError outside the bounds."""
        _inside(self, value, self.low, self.high)
        start, end = self.forward(self.low), self.forward(self.high)
        return min(max((self.forward(value) - start) / (end - start), 0.0), 1.0)

    def grid(self, points: int | None = None) -> list[float]:
        """Return values at equal distances on this scale; one point lies in the middle."""
        count = _count(self, points)
        places = np.linspace(0, 1, count) if count > 1 else [0.5]
        return [self.from_unit(float(u)) for u in places]

    def distribution(self) -> Any:
        """Return Optuna's distribution of the parameter."""
        bounds = sorted(map(self.to_parameter, (self.low, self.high)))
        return optuna().distributions.FloatDistribution(*bounds, log=self.logarithmic)


class _LogUniform(Continuous):
    called = "log_uniform"
    logarithmic = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low <= 0:
            raise ShapeError(
                f"{self}: a logarithm needs positive bounds.", "Begin at a small positive number."
            )

    def forward(self, value: float) -> float:
        return math.log(value)

    def backward(self, place: float) -> float:
        return math.exp(place)


class _OneMinusLogUniform(Continuous):
    called = "one_minus_log_uniform"
    logarithmic = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.low < self.high < 1:
            raise ShapeError(
                f"{self}: the bounds must lie between 0 and 1, and 1 is never reached.",
                "Give (0.9, 0.999), say.",
            )

    def forward(self, value: float) -> float:
        return -math.log(1 - value)

    def backward(self, place: float) -> float:
        return 1 - math.exp(-place)

    def parameter(self, name: str) -> str:
        return f"1 - {name}"

    def to_parameter(self, value: Any) -> float:
        return 1 - float(value)

    def from_parameter(self, parameter: Any) -> float:
        return min(max(1 - float(parameter), self.low), self.high)


@dataclass(frozen=True)
class _Integer(Space):
    low: int
    high: int
    log: bool = False

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer):
                raise DTypeError(f"integer: {name}={value!r} is no integer.", "Give an int.")
            object.__setattr__(self, name, int(value))
        if not self.low < self.high:
            raise ShapeError(f"{self}: low is not below high.", "Give the smaller bound first.")
        if self.log and self.low < 1:
            raise ShapeError(f"{self}: a logarithm needs positive bounds.", "Begin at 1.")
        object.__setattr__(self, "logarithmic", bool(self.log))

    def __repr__(self) -> str:
        return f"integer({self.low}, {self.high}{', log=True' if self.log else ''})"

    def _edges(self) -> tuple[float, float]:
        """Return the ends of the scale: each integer owns half a step on both of its sides."""
        return self._forward(self.low - 0.5), self._forward(self.high + 0.5)

    def _forward(self, value: float) -> float:
        return math.log(value) if self.log else value

    def from_unit(self, u: float) -> int:
        start, end = self._edges()
        place = start + _unit(self, u) * (end - start)
        value = math.floor((math.exp(place) if self.log else place) + 0.5)
        return min(max(value, self.low), self.high)

    def to_unit(self, value: Any) -> float:
        _inside(self, value, self.low, self.high)
        start, end = self._edges()
        return (self._forward(value) - start) / (end - start)

    @property
    def ticks(self) -> list[int]:
        return self.grid(min(5, self.high - self.low + 1))

    def bounds(self, region: Region) -> tuple[int, int]:
        return self.within(region, 0.0), self.within(region, 1.0)

    def grid(self, points: int | None = None) -> list[int]:
        count, values = _count(self, points), self.high - self.low + 1
        if count > values:
            raise ShapeError(f"{self}: {count} points of {values} values.", f"Ask for {values}.")
        if count == 1:
            return [self.from_unit(0.5)]
        spread = np.geomspace if self.log else np.linspace
        return list(dict.fromkeys(round(v) for v in spread(self.low, self.high, count).tolist()))

    def distribution(self) -> Any:
        return optuna().distributions.IntDistribution(self.low, self.high, log=self.log)


@dataclass(frozen=True)
class _Categorical(Space):
    choices: tuple[Choice, ...]
    unordered = True

    def __repr__(self) -> str:
        return f"categorical({list(self.choices)!r})"

    def from_unit(self, u: float) -> Choice:
        return self.choices[min(int(_unit(self, u) * len(self.choices)), len(self.choices) - 1)]

    def to_unit(self, value: Any) -> float:
        return (self._index(value) + 0.5) / len(self.choices)

    def _index(self, value: Any) -> int:
        if value not in self.choices:
            raise ShapeError(f"{value!r} is not in {self}.", "Take one of the choices.")
        return self.choices.index(value)

    def around(self, value: Any, width: float, tried: Sequence[Any]) -> Region:
        """Return the indices of that share of the choices, rounded up, that did best."""
        order = dict.fromkeys(map(self._index, [value, *tried]))
        order |= dict.fromkeys(range(len(self.choices)))
        return tuple(sorted(list(order)[: math.ceil(width * len(self.choices) - 1e-9)]))

    @property
    def ticks(self) -> list[Choice]:
        return list(self.choices)

    def whole(self) -> Region:
        return tuple(range(len(self.choices)))

    def within(self, region: Region, u: float) -> Choice:
        return self.choices[int(region[min(int(u * len(region)), len(region) - 1)])]

    def bounds(self, region: Region) -> tuple[Choice, ...]:
        return tuple(self.choices[int(i)] for i in region)

    def grid(self, points: int | None = None) -> list[Choice]:
        if points not in (None, len(self.choices)):
            raise ShapeError(
                f"{self}: {points} points; choices have no scale to space them on.",
                f"Leave it out of points: all {len(self.choices)} choices are taken.",
            )
        return list(self.choices)

    def distribution(self) -> Any:
        return optuna().distributions.CategoricalDistribution(self.choices)


# the functions that make them ---------------------------------------------------------------------


def uniform(low: float, high: float) -> Space:
    """Numbers from low to high, all equally likely.

    Raises ShapeError unless both are finite and low is below high.

    >>> uniform(0.0, 0.5).from_unit(0.5)
    0.25
    """
    return Continuous(low, high)


def log_uniform(low: float, high: float) -> Space:
    """Positive numbers whose logarithm is uniform: every decade gets the same share.

    The scale of learning rates. Raises ShapeError unless 0 < low < high.

    >>> [float(f"{v:.3g}") for v in log_uniform(0.0001, 1.0).grid(5)]
    [0.0001, 0.001, 0.01, 0.1, 1.0]
    """
    return _LogUniform(low, high)


def one_minus_log_uniform(low: float, high: float) -> Space:
    """Numbers below 1 whose distance from 1 is log-uniform.

    The scale of the decay of running means, such as momentum's beta: from 0.9 to 0.999 as much is
    drawn below 0.99 as above it, since 1 / (1 - beta) is over how many steps they average. A study
    keeps ``1 - beta``, on a logarithmic axis. Raises ShapeError unless 0 <= low < high < 1.

    >>> round(one_minus_log_uniform(0.9, 0.999).from_unit(0.5), 6)
    0.99
    """
    return _OneMinusLogUniform(low, high)


def integer(low: int, high: int, *, log: bool = False) -> Space:
    """Integers from low to high, both included; with ``log``, on a logarithmic scale.

    Raises DTypeError for other numbers, ShapeError unless low < high (and 1 <= low with ``log``).

    >>> integer(16, 256, log=True).grid(5)
    [16, 32, 64, 128, 256]
    """
    return _Integer(low, high, log)


def categorical(choices: Iterable[Choice]) -> Space:
    """One of some choices, all equally likely: strings, numbers, booleans or None.

    Raises DTypeError for other objects, ShapeError for fewer than two or for one that is there
    twice.

    >>> categorical(["relu", "tanh"]).from_unit(0.7)
    'tanh'
    """
    given = tuple(c.item() if isinstance(c, np.generic) else c for c in choices)
    for choice in given:
        if choice is not None and not isinstance(choice, str | int | float | bool):
            raise DTypeError(
                f"categorical: {choice!r} cannot be kept in a journal of trials.",
                "Use names, and look the objects up in the objective.",
            )
    if len(given) < 2 or len(set(given)) < len(given):
        raise ShapeError(
            f"categorical({list(given)!r}): two choices at least, each once.",
            "Leave a constant out of the space.",
        )
    return _Categorical(given)


# checks -------------------------------------------------------------------------------------------


def checked_space(space: Any) -> dict[str, Space]:
    """Return a space of several dimensions as a dict, or raise DTypeError or ShapeError."""
    if not isinstance(space, Mapping) or not space:
        raise DTypeError(
            f"The space is {space!r}.", 'Give a dict: {"lr": tune.log_uniform(1e-4, 1.0)}, say.'
        )
    for name, dimension in space.items():
        if not isinstance(name, str) or not isinstance(dimension, Space):
            raise DTypeError(
                f"The space has {name!r}: {dimension!r}.",
                "Each name is a string, each value a space such as tune.uniform(0.0, 1.0).",
            )
    parameters = [dimension.parameter(name) for name, dimension in space.items()]
    if twice := {p for p in parameters if parameters.count(p) > 1}:
        raise ShapeError(
            f"Two dimensions are {twice.pop()!r} in the study.", "Give one of them another name."
        )
    return dict(space)


def _number(called: str, name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise DTypeError(f"{called}: {name}={value!r} is no number.", "Give a float.")
    if not math.isfinite(value):
        raise ShapeError(f"{called}: {name}={value}.", "Give a finite bound.")
    return float(value)


def _unit(space: Space, u: float) -> float:
    if not 0 <= u <= 1:
        raise ShapeError(f"{space}: there is nothing at {u}.", "Places run from 0 to 1.")
    return u


def _inside(space: Space, value: Any, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ShapeError(f"{value!r} is not in {space}.", f"Its values run from {low} to {high}.")


def _count(space: Space, points: int | None) -> int:
    if points is None or isinstance(points, bool) or not isinstance(points, int) or points < 1:
        raise ShapeError(f"{space}: a grid of {points} points.", "Say how many, 1 or more.")
    return points
