"""The judgement of one claimed derivative: differences, their error, kinks, a verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from tinygrad_bn.testing.differences import Estimate, central, noise_of, one_sided
from tinygrad_bn.testing.probe import Arrays, Probe, dot
from tinygrad_bn.testing.verdicts import Verdict

FAR = 0.125
"""The largest step: directions are scaled so that a step of 1 doubles each element, about."""
NEAR = 2.0**-24
"""A kink closer than this is at the point, for differences."""
DEMANDED = (1e-5, 1e-10)
"""What a tolerance may be: relative to the derivative, or to the function. More is no check."""

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
        return Verdict("mismatch" if truth.trusted else "inconclusive", **labels)

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
            start = min([FAR, *(t / 2 for t in kinks if t > NEAR)])
            curve = probe.curve(self.v, self.direction)
            noise = noise_of(curve, probe.dtype, probe.eps * max(self.scale, self.size))
            self._truth["start"], self._truth["noise"] = 2.0 ** math.floor(math.log2(start)), noise
            near = any(t <= NEAR for t in kinks)
            self._truth["central"] = near, central(curve, noise, self._truth["start"])
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

    def _resolves(self, tolerance: Any, truth: Estimate) -> bool:
        relative, absolute = DEMANDED
        scale = max(self.scale, self.size)
        return bool(tolerance <= max(relative * abs(truth.value), absolute * scale))

    def _at_kink(
        self, claimed: Any, spread: Any, labels: dict[str, Any], *, known: bool
    ) -> Verdict | None:
        """Judge by the one-sided slopes, if they differ or a kink is known to be here."""
        left, right = self._sides()
        if left.diverges and right.diverges:
            note = "A jump: judged at a nearby point only."
            return Verdict("kink", slopes=(_slope(left), _slope(right)), note=note, **labels)
        if not all(side.trusted or side.diverges for side in (left, right)):
            return None
        error = sum(3 * side.error for side in (left, right) if not side.diverges)
        ends = sorted((_slope(left), _slope(right)))
        tolerance = error + spread
        between = ends[0] - tolerance <= claimed <= ends[1] + tolerance
        if ends[1] - ends[0] <= error and (between or not known):
            return None
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
