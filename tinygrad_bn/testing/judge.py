"""The judgement of one claimed derivative: differences, their error, kinks, a verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from tinygrad_bn.testing.differences import Estimate, central, noise_of, one_sided
from tinygrad_bn.testing.precision import magnitude
from tinygrad_bn.testing.probe import Arrays, Probe, dot
from tinygrad_bn.testing.verdicts import Verdict

FAR = 0.125
"""The largest step: directions are scaled so that a step of 1 doubles each element, about."""
NEAR = 2.0**-24
"""A kink closer than this is at the point, for differences."""
CLOSER = 2.0**-20
"""From where a second look starts, before a claim is contradicted."""

DEMANDED = (1e-5, 1e-10)
"""What a tolerance may be: relative to the derivative, or to the function. More is no check."""

DROWNED = 1e-3
"""Noise beyond this share of the function is no rounding noise."""

EPS = float(np.finfo(np.float64).eps)


@dataclass
class Question:
    """Whether ``<J'v, d>`` as the framework gives it is the derivative of ``<v, f(x + t d)>``.

    ``scale``: the size of the function of which this is a gradient; what vanishes beside it is
    the remainder of larger terms, with their rounding errors.
    """

    probe: Probe
    v: Arrays
    direction: Arrays
    scale: float = 0.0
    _truth: dict[str, Any] = field(default_factory=dict, init=False)

    def judge(self, mode: str, **labels: Any) -> Verdict:
        """Compare the claim of one mode with the differences."""
        with np.errstate(all="ignore"):
            claimed, spread = self._claim(mode)
            labels = {"mode": mode, "claimed": float(claimed), **labels}
            if not np.isfinite(claimed):
                return Verdict("nonfinite", numeric=math.nan, **labels)
            return self._compare(claimed, spread, labels)

    def _compare(self, claimed: Any, spread: Any, labels: dict[str, Any]) -> Verdict:
        near, truth = self._differences()
        tolerance = 3 * truth.error + spread
        off = abs(claimed - truth.value)
        labels |= {
            "numeric": float(truth.value),
            "error": float(truth.error),
            "tolerance": float(tolerance),
        }
        if not near and off <= tolerance and self._resolves(tolerance, truth):
            return Verdict("ok", **labels)
        kinked = self._at_kink(claimed, spread, labels, known=near)
        if kinked is not None:
            return kinked
        if off <= tolerance:
            fine = self._resolves(tolerance, truth)
            note = "" if fine else _loss(spread, truth)
            return Verdict("ok" if fine else "inconclusive", note=note, **labels)
        return Verdict(self._second_look(claimed, spread, truth), **labels)

    def _second_look(self, claimed: Any, spread: Any, truth: Estimate) -> str:
        """Contradict a claim only if much smaller steps give the same derivative.

        A function that swings many times within the first steps can look flat by accident.
        """
        curve = self.probe.curve(self.v, self.direction)
        closer = central(curve, self._truth["noise"], min(self._truth["start"], CLOSER))
        if abs(closer.value - truth.value) > 3 * (closer.error + truth.error):
            tolerance = 3 * closer.error + spread
            right = abs(claimed - closer.value) <= tolerance
            return "ok" if right and self._resolves(tolerance, closer) else "inconclusive"
        trusted = truth.trusted and closer.trusted and not self._drowned
        return "mismatch" if trusted else "inconclusive"

    def truth(self) -> Estimate:
        """Return the derivative by differences alone."""
        with np.errstate(all="ignore"):
            return self._differences()[1]

    def _claim(self, mode: str) -> tuple[np.longdouble, np.longdouble]:
        """Return the claimed value, and how far rounding may have moved it."""
        probe, at = self.probe, self.probe.values
        gradient = probe.pull(at, self.v)
        claimed = (
            dot(gradient, self.direction)
            if mode == "reverse"
            else probe.claim(mode, at, self.v, self.direction)
        )
        others = (
            [[x.astype(np.longdouble) for x in at]]
            if probe.extended
            else [[np.asarray(x * (1 + k * EPS)) for x in at] for k in (2, -3)]
        )
        moved = max(abs(probe.claim(mode, o, self.v, self.direction) - claimed) for o in others)
        size = dot([np.abs(g) for g in gradient], [np.abs(d) for d in self.direction])
        return claimed, 4 * moved + 8 * EPS * size

    def _differences(self) -> tuple[bool, Estimate]:
        """Differentiate numerically, once for all modes; say whether a kink is at the point."""
        if "central" not in self._truth:
            probe = self.probe
            kinks = probe.kinks(self.direction)
            start = 2.0 ** math.floor(math.log2(min([FAR, *(t / 2 for t in kinks if t > NEAR)])))
            curve = probe.curve(self.v, self.direction)
            noise = noise_of(curve, probe.dtype, probe.eps * self._largest)
            near = any(t <= NEAR for t in kinks)
            self._truth |= {"start": start, "noise": noise}
            self._truth["central"] = near, central(curve, noise, start)
        found: tuple[bool, Estimate] = self._truth["central"]
        return found

    def _sides(self) -> tuple[Estimate, Estimate]:
        if "sides" not in self._truth:
            curve = self.probe.curve(self.v, self.direction)
            start, noise = self._truth["start"], self._truth["noise"]
            self._truth["sides"] = tuple(one_sided(curve, noise, start, side) for side in (-1, 1))
        found: tuple[Estimate, Estimate] = self._truth["sides"]
        return found

    @cached_property
    def size(self) -> float:
        """The sum of the magnitudes that the curve adds up, to first order in a step."""
        probe = self.probe
        results = probe.results(probe.values)
        return float(dot([np.abs(c) for c in self.v], [np.abs(y) for y in results]))

    @cached_property
    def _largest(self) -> float:
        """The size of what is computed, intermediate values included."""
        return max(self._visible, magnitude(self.probe, self.v))

    @cached_property
    def _visible(self) -> float:
        """The size of the function, here or a little aside (here it may vanish)."""
        curve = self.probe.curve(self.v, self.direction)
        aside = [abs(float(curve(t))) for t in (-FAR, FAR)]
        return max(size for size in (self.scale, self.size, *aside) if math.isfinite(size))

    @property
    def _drowned(self) -> bool:
        """Whether noise is all there is: steps too wide for the function's own scale."""
        return bool(self._truth["noise"] > DROWNED * self._visible)

    def _resolves(self, tolerance: Any, truth: Estimate) -> bool:
        relative, absolute = DEMANDED
        seen = absolute * max(self.scale, self.size) + 64 * EPS * self._largest
        return float(tolerance) <= max(relative * abs(float(truth.value)), seen)

    def _at_kink(
        self, claimed: Any, spread: Any, labels: dict[str, Any], *, known: bool
    ) -> Verdict | None:
        """Judge by the one-sided slopes, if they differ or a kink is known to be here."""
        left, right = self._sides()
        if self._drowned:
            return None
        if left.diverges or right.diverges:
            note = "A jump: judged at a nearby point only."
            return Verdict("kink", slopes=(_slope(left), _slope(right)), note=note, **labels)
        if not (left.trusted and right.trusted):
            return None
        error = 3 * (left.error + right.error)
        ends = sorted((_slope(left), _slope(right)))
        tolerance = error + spread
        between = ends[0] - tolerance <= claimed <= ends[1] + tolerance
        if ends[1] - ends[0] <= error and not known:
            return None
        if ends[1] - ends[0] <= error and between and self._resolves(tolerance, left):
            return Verdict("ok", **labels)
        labels |= {"tolerance": float(tolerance), "numeric": _nearest(claimed, ends)}
        return Verdict("kink" if between else "mismatch", slopes=(ends[0], ends[1]), **labels)


def _slope(side: Estimate) -> float:
    return math.inf if side.diverges else float(side.value)


def _nearest(claimed: Any, ends: list[float]) -> float:
    return float(min(max(claimed, ends[0]), ends[1]))


def _loss(spread: Any, truth: Estimate) -> str:
    if spread > 3 * truth.error:
        return "The gradient itself loses most of its digits to rounding here."
    return "The function is too noisy, or too rough, for differences to tell."
