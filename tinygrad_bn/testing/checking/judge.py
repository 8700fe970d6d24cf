"""The judgement of one claimed derivative: differences, their error, kinks, a verdict."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from tinygrad_bn.testing.checking.differences import (
    SMALLEST,
    Estimate,
    central,
    noise_of,
    one_sided,
)
from tinygrad_bn.testing.checking.subjects import FAR, Arrays, Kink, Subject, dot
from tinygrad_bn.testing.checking.verdicts import Verdict

UNSEEN = "inconclusive"
"""The kind of a verdict where the differences could not tell."""

EPS = float(np.finfo(np.float64).eps)

ROOM = 2.0**6
"""How much larger than the smallest step the first one is at least."""
CLOSER = 2.0**-20
"""From where a second look starts, before a claim is contradicted."""

DEMANDED = (1e-5, 1e-10)
"""What a tolerance may be: relative to the derivative, or to the function. More is no check.

Where kinks are so close that steps must be tiny, less can be told of a derivative.
A function that casts to a narrower dtype has a derivative of its few digits only.
"""

DROWNED = 1e-3
"""Noise beyond this share of the function is no rounding noise."""


class Asked:
    """A cotangent ``v`` at a point, with the gradients claimed for it: what questions share.

    ``scale``: the size of the function of which this is a gradient; what vanishes beside it is
    the remainder of larger terms, with their rounding errors.
    """

    def __init__(self, subject: Subject, v: Arrays, scale: float = 0.0) -> None:
        self.subject, self.v, self.scale = subject, v, scale

    @cached_property
    def gradient(self) -> Arrays:
        """The claim of the reverse mode."""
        return self.subject.pull(self.subject.values, self.v)

    @cached_property
    def again(self) -> list[Arrays]:
        """The same in long double (else at points a rounding away)."""
        return [self.subject.pull(at, self.v) for at in self.subject.wide]

    @cached_property
    def size(self) -> float:
        """The sum of the magnitudes that the curve adds up, to first order in a step."""
        results = self.subject.results(self.subject.values)
        return float(dot([np.abs(c) for c in self.v], [np.abs(y) for y in results]))

    @cached_property
    def magnitude(self) -> float:
        """The size of what is computed on the way."""
        return self.subject.magnitude(self.v)


@dataclass
class Question:
    """Whether ``<J'v, d>`` as claimed is the derivative of ``<v, f(x + t d)>``."""

    asked: Asked
    direction: Arrays
    _truth: dict[str, Any] = field(default_factory=dict, init=False)

    @property
    def subject(self) -> Subject:
        """The function at its point."""
        return self.asked.subject

    def judge(self, mode: str, **labels: Any) -> Verdict:
        """Compare the claim of one mode with the truth, which differences decide."""
        with np.errstate(all="ignore"):
            claimed, spread = self.claim(mode)
            labels = {
                "mode": mode, "claimed": float(claimed), "rounding": float(spread), **labels
            }  # fmt: skip
            if not np.isfinite(claimed + spread):
                return Verdict("nonfinite", numeric=math.nan, **labels)
            return self._accept(claimed, spread, labels) or self._compare(claimed, spread, labels)

    def claim(self, mode: str) -> tuple[np.longdouble, np.longdouble]:
        """Return the claimed value, and how far rounding may have moved it."""
        if mode not in self._truth:
            self._truth[mode] = self._pushed() if mode == "forward" else self._pulled()
        found: tuple[np.longdouble, np.longdouble] = self._truth[mode]
        return found

    def claimed(self, modes: Iterable[str]) -> bool:
        """Whether all these modes have given a finite value."""
        return all(m in self._truth and np.isfinite(self._truth[m][0]) for m in modes)

    def adjoint(self, **labels: Any) -> Verdict:
        """Compare ``<J'v, d>`` with ``<v, J d>``: equal but for rounding, at kinks too.

        Rounding of what cancels on the way counts, which is of the size of the function.
        """
        (reverse, one), (forward, two) = self.claim("reverse"), self.claim("forward")
        allowed = one + two + 8 * self.subject.unit * max(self.asked.scale, self.asked.size)
        kind = "ok" if abs(reverse - forward) <= allowed else "mismatch"
        return Verdict(
            kind,
            mode="adjoint",
            claimed=float(reverse),
            numeric=float(forward),
            rounding=float(one),
            error=float(two),
            tolerance=float(allowed),
            **labels,
        )

    def _pulled(self) -> tuple[np.longdouble, np.longdouble]:
        claimed = dot(self.asked.gradient, self.direction)
        moved = [abs(dot(g, self.direction) - claimed) for g in self.asked.again]
        return claimed, 4 * max(moved) + self._rounded

    def _pushed(self) -> tuple[np.longdouble, np.longdouble]:
        subject, v = self.subject, self.asked.v
        claimed = dot(v, subject.push(subject.values, self.direction))
        moved = [abs(dot(v, subject.push(at, self.direction)) - claimed) for at in subject.wide]
        return claimed, 4 * max(moved) + self._rounded

    @cached_property
    def _rounded(self) -> np.longdouble:
        """What rounding of each term of the claim can do, down to where numbers underflow."""
        rounded = 8 * EPS * self._terms + 8 * self._underflow
        if self.subject.narrowest == np.float64:
            return rounded
        return rounded + self.subject.narrow_rounding(self.asked.v, self.direction)

    @cached_property
    def _underflow(self) -> np.longdouble:
        """What is lost where terms are as small as the smallest number."""
        factors = dot(map(np.abs, self.direction), map(np.ones_like, self.direction))
        return self.subject.tiny * (
            factors + dot(map(np.abs, self.asked.v), map(np.ones_like, self.asked.v))
        )

    @cached_property
    def _terms(self) -> np.longdouble:
        """The sum of the magnitudes whose signed sum is the claim."""
        return dot(map(np.abs, self.asked.gradient), map(np.abs, self.direction))

    def _accept(self, claimed: Any, spread: Any, labels: dict[str, Any]) -> Verdict | None:
        """Confirm a claim by the kernels alone; what they do not, differences decide."""
        if "exact" not in self._truth:
            self._truth["exact"] = self.subject.exact(self.asked.v, self.direction)
        exact = self._truth["exact"]
        if exact is None or not np.isfinite(exact) or abs(claimed - exact) > spread:
            return None
        if not self._resolves(spread, exact):
            return None
        error = 64 * np.finfo(np.longdouble).eps * (abs(exact) + self._terms)
        return Verdict(
            "ok", numeric=float(exact), error=float(error), tolerance=float(spread), **labels
        )

    def _compare(self, claimed: Any, spread: Any, labels: dict[str, Any]) -> Verdict:
        near, truth = self._differences()
        tolerance = 3 * truth.error + spread
        off = abs(claimed - truth.value)
        labels |= {
            "numeric": float(truth.value),
            "error": float(truth.error),
            "tolerance": float(tolerance),
        }
        if not near and off <= tolerance and self._resolves(tolerance, truth.value):
            seen = not self.subject.blind or self._second_look(claimed, spread, truth) != UNSEEN
            return Verdict("ok" if seen else "inconclusive", **labels)
        kinked = self._at_kink(claimed, spread, labels, known=near)
        if kinked is not None:
            return kinked
        if off <= tolerance:
            fine = self._resolves(tolerance, truth.value)
            note = "" if fine else _loss(spread, truth)
            return Verdict("ok" if fine else "inconclusive", note=note, **labels)
        kind = self._second_look(claimed, spread, truth)
        doubt = self.subject.doubtful(self.subject.narrowest) if kind == "mismatch" else ""
        if doubt:
            note = f"Rounding decides on which side of a kink this is. At {doubt}."
            return Verdict("kink", doubtful=True, note=note, **labels)
        return Verdict(kind, **labels)

    def _second_look(self, claimed: Any, spread: Any, truth: Estimate) -> str:
        """Contradict a claim only if much smaller steps give the same derivative.

        A function that swings many times within the first steps can look flat by accident.
        """
        curve = self.subject.curve(self.asked.v, self.direction)
        closer = central(
            curve, self._truth["noise"], min(self._truth["start"], CLOSER), self.subject.dtype
        )
        if abs(closer.value - truth.value) > 3 * (closer.error + truth.error):
            tolerance = 3 * closer.error + spread
            right = abs(claimed - closer.value) <= tolerance
            return "ok" if right and self._resolves(tolerance, closer.value) else "inconclusive"
        trusted = truth.trusted and closer.trusted and not self._drowned
        return "mismatch" if trusted else "inconclusive"

    def truth(self) -> Estimate:
        """Return the derivative by differences alone."""
        with np.errstate(all="ignore"):
            return self._differences()[1]

    def _differences(self) -> tuple[Kink | None, Estimate]:
        """Differentiate numerically, once for all modes; say which kink is at the point, if any."""
        if "central" not in self._truth:
            kinks, reach = self.subject.kinks(self.direction)
            close = ROOM * SMALLEST[np.dtype(self.subject.dtype)]
            ahead = [k.step / 2 for k in kinks if k.step > 2 * close]
            steps = [FAR, reach, self.subject.smooth_step(self.direction), *ahead]
            start = 2.0 ** math.floor(math.log2(max(close, min(steps))))
            self._truth["crowded"] = reach < close
            curve = self.subject.curve(self.asked.v, self.direction)
            least = self.subject.eps * self._largest
            blind = self.subject.blind
            noise = noise_of(curve, self.subject.dtype, least, start, blind=blind)
            here = sorted((k.lone, k) for k in kinks if k.step <= 2 * close)
            near = here[0][1] if here else None
            self._truth |= {"start": start, "noise": noise}
            self._truth["central"] = near, central(curve, noise, start, self.subject.dtype)
        found: tuple[Kink | None, Estimate] = self._truth["central"]
        return found

    def _sides(self) -> tuple[Estimate, Estimate]:
        if "sides" not in self._truth:
            curve = self.subject.curve(self.asked.v, self.direction)
            start, noise = self._truth["start"], self._truth["noise"]
            self._truth["sides"] = tuple(
                one_sided(curve, noise, start, side, self.subject.dtype) for side in (-1, 1)
            )
        found: tuple[Estimate, Estimate] = self._truth["sides"]
        return found

    @cached_property
    def _largest(self) -> float:
        """The size of what is computed, intermediate values included."""
        return max(self._visible, self.asked.magnitude)

    @cached_property
    def _visible(self) -> float:
        """The size of the function, here or a little aside (here it may vanish)."""
        curve = self.subject.curve(self.asked.v, self.direction)
        aside = [abs(float(curve(t))) for t in (-FAR, FAR)]
        sizes = (self.asked.scale, self.asked.size, *aside)
        return max(size for size in sizes if math.isfinite(size))

    @property
    def _drowned(self) -> bool:
        """Whether noise is all there is: steps too wide for the function's own scale."""
        return bool(self._truth["noise"] > DROWNED * self._visible or self._truth["crowded"])

    def _resolves(self, tolerance: Any, value: Any) -> bool:
        crowd = 2**10 * self.subject.eps / self._truth.get("start", 1.0)
        relative, absolute = max(DEMANDED[0], crowd), DEMANDED[1]
        tolerance = float(tolerance)
        inherent = float(8 * self._rounded)
        seen = max(absolute * self.asked.scale, inherent)
        if tolerance <= max(relative * abs(float(value)), seen):
            return True
        seen = max(absolute, crowd) * max(self.asked.scale, self.asked.size)
        return bool(tolerance <= seen or tolerance <= seen + 64 * EPS * self._largest)

    def _at_kink(
        self, claimed: Any, spread: Any, labels: dict[str, Any], *, known: Kink | None
    ) -> Verdict | None:
        """Judge by the one-sided slopes, if they differ or a kink is known to be here."""
        left, right = self._sides()
        if self._drowned:
            return None
        what = f"At {known.what}." if known else ""
        beyond = known and not (np.isfinite(left.value) and np.isfinite(right.value))
        if left.diverges or right.diverges or beyond:
            note = f"A jump: judged at a nearby point only. {what}".rstrip()
            return Verdict("kink", slopes=(_slope(left), _slope(right)), note=note, **labels)
        if not (left.trusted and right.trusted):
            return None
        error = 3 * (left.error + right.error)
        ends = sorted((_slope(left), _slope(right)))
        tolerance = error + spread
        between = ends[0] - tolerance <= claimed <= ends[1] + tolerance
        if ends[1] - ends[0] <= error and (known is None or known.lone):
            return None
        if ends[1] - ends[0] <= error and between and self._resolves(tolerance, left.value):
            return Verdict("ok", **labels)
        labels |= {"tolerance": float(tolerance), "numeric": _nearest(claimed, ends)}
        kind = "kink" if between else "mismatch" if self._same_closer(error) else "inconclusive"
        return Verdict(kind, slopes=(ends[0], ends[1]), note=what, **labels)

    def _same_closer(self, error: Any) -> bool:
        """Whether much smaller steps give the same one-sided slopes."""
        curve = self.subject.curve(self.asked.v, self.direction)
        noise, start = self._truth["noise"], min(self._truth["start"], CLOSER)
        closer = [one_sided(curve, noise, start, s, self.subject.dtype) for s in (-1, 1)]
        pairs = zip(closer, self._sides(), strict=True)
        return all(
            c.trusted and bool(abs(c.value - s.value) <= 3 * c.error + error) for c, s in pairs
        )


def _slope(side: Estimate) -> float:
    return math.inf if side.diverges else float(side.value)


def _nearest(claimed: Any, ends: list[float]) -> float:
    return float(min(max(claimed, ends[0]), ends[1]))


def _loss(spread: Any, truth: Estimate) -> str:
    if spread > 3 * truth.error:
        return "The gradient itself loses most of its digits to rounding here."
    return "The function is too noisy, or too rough, for differences to tell."
