"""Finite differences with an error bar: a measured noise floor and a Richardson tableau.

Ridders' own error estimate (the distance of neighbours in the tableau) is often far too small by
accident; so the noise of the function is measured and propagated, and the error is enlarged to the
disagreement with the best entries of two other rows.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

Curve = Callable[[float], np.longdouble]
"""A function of one step along a direction."""

COLUMNS = 7
SMALLEST = {np.dtype(np.longdouble): 2.0**-52, np.dtype(np.float64): 2.0**-36}
"""The smallest step in each dtype: in long double, moving a float64 by it times a direction of
ten bits is exact, and in float64 a number of half as many bits. Where the two are one dtype, the
last entry counts."""

WIDER = (2.0**-32, 2.0**-26, 2.0**-20)
"""Spacings at which a staircase of float32 or float16 shows."""

STEADY = 5
"""So many equal ratios of quotients are no accident."""

RESOLVED = 1e-9
"""A relative error after which a worse row ends the search."""


class Estimate(NamedTuple):
    """A derivative found by differences: its value, its error bar, and how far to trust them.

    ``limited``: whether the error is that of the function's own rounding, and cannot be less.
    ``diverges``: whether the quotients grow without bound as the step shrinks (a jump).
    """

    value: np.longdouble
    error: np.longdouble
    limited: bool = False
    diverges: bool = False

    @property
    def trusted(self) -> bool:
        """Whether the value may contradict a claim."""
        resolved = self.limited or self.error <= 0.05 * abs(self.value)
        return bool(resolved and not self.diverges)


class _Entry(NamedTuple):
    error: np.longdouble
    value: np.longdouble
    floor: np.longdouble


def noise_of(
    curve: Curve, dtype: Any, least: float, reach: float = 1.0, *, blind: bool = False
) -> np.longdouble:
    """Measure the rounding noise of a function near 0, on one side (a kink is not noise).

    A difference table over seven points 2^24 rounding units apart: in the high orders nothing is
    left of a smooth function but its noise (Moré and Wild 2011); where they still decay, the
    points are too far apart. ``dtype``: in which it computes; ``least``: its noise at any rate;
    ``reach``: up to which step there is no kink. ``blind``: nothing is known of what the function
    does inside. It may round to few digits, and be a staircase: flat over the points of the
    table, noisy over those of wider ones, which are looked at, too.
    """
    finest = 2.0**24 * float(np.finfo(dtype).eps)
    noise = np.longdouble(0)
    for step in (finest, finest / 2**8):
        spreads = _spreads(curve, min(step, reach / 8))
        noise = max(spreads)
        if not _decays(spreads):
            break
    for step in WIDER if blind else ():
        spreads = _spreads(curve, step)
        noise = noise if _decays(spreads) else max(noise, *spreads)
    return max(2 * noise, np.longdouble(least)) if np.isfinite(noise) else np.longdouble(least)


def _spreads(curve: Curve, step: float) -> list[np.longdouble]:
    """Estimate the noise of a function tabulated at a step, from differences of three orders."""
    table = _table(curve, step)
    return [_spread(table, order) for order in (4, 5, 6)]


def _decays(spreads: list[np.longdouble]) -> bool:
    return all(a > 4 * b for a, b in itertools.pairwise(spreads))


def _table(curve: Curve, step: float) -> Any:
    """Tabulate a function on one side of 0; on the other if it is not defined there."""
    right = np.array([curve(j * step) for j in range(1, 8)])
    if np.all(np.isfinite(right)):
        return right
    return np.array([curve(-j * step) for j in range(1, 8)])


def _spread(table: Any, order: int) -> np.longdouble:
    """Estimate the noise of tabulated values from their differences of one order."""
    differences = np.diff(table, order)
    return np.longdouble(np.sqrt(np.mean(differences**2) / math.comb(2 * order, order)))


def central(curve: Curve, noise: Any, start: float, dtype: Any = np.longdouble) -> Estimate:
    """Differentiate at 0 by central differences, from the step ``start`` downwards.

    ``dtype``: in which the curve moves its point, which limits how small steps can be.
    """
    steps = _halvings(start, dtype)
    return _extrapolate(lambda h: (curve(h) - curve(-h)) / (2 * h), noise, steps, power=4)


def one_sided(
    curve: Curve, noise: Any, start: float, side: int, dtype: Any = np.longdouble
) -> Estimate:
    """Differentiate at 0 towards one side (1 or -1)."""
    here, steps = curve(0.0), _halvings(start, dtype)
    return _extrapolate(lambda h: (curve(side * h) - here) / (side * h), 2 * noise, steps, power=2)


def _halvings(start: float, dtype: Any) -> Iterator[float]:
    smallest = SMALLEST[np.dtype(dtype)]
    return itertools.takewhile(smallest.__le__, (start / 2**k for k in itertools.count()))


def _extrapolate(slope: Curve, noise: Any, steps: Iterator[float], power: int) -> Estimate:
    """Halve the step and extrapolate until the error is well resolved and grows again."""
    best: list[_Entry] = []
    raw: list[Any] = []
    row: list[_Entry] = []
    worse = 0
    for h in steps:
        quotient = slope(h)
        if not np.isfinite(quotient):
            row = []
            continue
        raw.append(abs(quotient))
        row = _next_row(row, quotient, noise / h, power)
        if len(row) > 1:
            entry = min(row[1:])
            worse = worse + 1 if best and entry.error > 4 * min(best).error else 0
            best.append(entry)
        if worse >= 3 and _resolved(_choose(best, diverges=False)):
            break
    return _choose(best, diverges=_grows(raw))


def _next_row(above: list[_Entry], first: Any, floor: Any, power: int) -> list[_Entry]:
    """Extrapolate one row of the tableau from the one above (Neville)."""
    row = [_Entry(np.longdouble(np.inf), first, floor)]
    for j, upper in enumerate(above[:COLUMNS], 1):
        left, weight = row[-1], np.longdouble(1) / (power**j - 1)
        value = left.value + (left.value - upper.value) * weight
        floor = left.floor + (left.floor + upper.floor) * weight
        error = max(abs(value - left.value), abs(value - upper.value)) + floor
        row.append(_Entry(error, value, floor))
    return row


def _resolved(found: Estimate) -> bool:
    return bool(found.limited or found.error <= RESOLVED * abs(found.value))


def _choose(best: list[_Entry], *, diverges: bool) -> Estimate:
    """Take the entry of least error, enlarged to its distance from two other rows' best."""
    if len(best) < 3:
        return Estimate(np.longdouble(np.nan), np.longdouble(np.inf), diverges=diverges)
    first, second, third = sorted(best)[:3]
    error = max(first.error, abs(first.value - second.value), abs(first.value - third.value))
    return Estimate(first.value, error, bool(error <= 8 * first.floor), diverges)


def _grows(quotients: list[Any]) -> bool:
    """Whether quotients grow by one and the same factor at many halvings of the step, and stay so.

    By 2 at a jump, by less where the slope is infinite. Rounding may end it, but where quotients
    settle afterwards the slope is finite: the first steps were too long.
    """
    with np.errstate(all="ignore"):
        ratios = [b / a if a else 0.0 for a, b in itertools.pairwise(quotients)]
    run, grows = 0, False
    for a, b in itertools.pairwise(ratios):
        run = run + 1 if 1.3 < a < 2.1 and abs(b - a) < 0.1 * a else 0
        settles = abs(a - 1) < 0.1 and abs(b - 1) < 0.1
        grows = run >= STEADY or (grows and not settles)
    return grows
