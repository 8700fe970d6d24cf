"""What a check of gradients says: a verdict for each comparison, and the report of all."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from tinygrad_bn.errors import GradientError
from tinygrad_bn.source import Location

GOOD = ("ok", "kink")

STRUCTURE = ("adjoint", "linear", "form")
"""Modes in which a claim is compared with other claims, not with differences."""

LONGEST = 80
"""How many lines of a reproduction a report prints."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One comparison of a claimed directional derivative with the truth.

    ``kind``: ``ok``; ``mismatch``; ``kink`` (the one-sided slopes differ and the claim lies
    between them, or the point is a jump: fine); ``inconclusive`` (the differences cannot tell:
    not a pass); ``nonfinite``; ``nondeterministic``; ``aliased`` (the derivative changed what it
    was given, or handed out the same memory twice). ``argument``: its path; ``mode``: reverse,
    forward, the dtype whose gradient was compared with that of float64, or the structure that
    was tested (adjoint, linear, form); ``claimed`` and ``numeric``: the two values;
    ``rounding`` and ``error``: their error bars; ``tolerance``: what was allowed; ``slopes``: the
    one-sided derivatives at a kink; ``nearby``: whether it was checked beside the given point,
    off its kinks; ``doubtful``: whether rounding decides on which side of a kink the point is;
    ``note``: what else is to say.
    """

    kind: str
    argument: str = ""
    mode: str = ""
    order: int = 1
    direction: int = 0
    claimed: float = 0.0
    numeric: float = 0.0
    rounding: float = 0.0
    error: float = 0.0
    tolerance: float = 0.0
    slopes: tuple[float, float] | None = None
    nearby: bool = False
    doubtful: bool = False
    note: str = ""

    @property
    def off(self) -> float:
        """The distance between the two values."""
        return abs(self.claimed - self.numeric)

    @property
    def smooth(self) -> bool:
        """Whether there is one slope: none of two sides, or two that agree."""
        return self.slopes is None or self.slopes[1] - self.slopes[0] <= self.tolerance

    @property
    def relative(self) -> float:
        """The difference of the two values, relative to the larger one.

        0 where both are zero as far as can be told.
        """
        larger = max(abs(self.claimed), abs(self.numeric))
        return self.off / larger if self.off > self.tolerance or larger > self.tolerance else 0.0

    @property
    def excess(self) -> float:
        """The distance of the two values in units of what is allowed; above 1 it is wrong."""
        if math.isnan(self.off):
            return math.inf
        return self.off / self.tolerance if self.tolerance else math.inf if self.off else 0.0

    def __str__(self) -> str:
        """Say the verdict in a few lines."""
        lines = [f"{self.kind}: {self._what()}" if self.mode else self.kind]
        if self.mode and self.kind != "aliased" and (self.off or self.tolerance):
            lines += [f"    claimed          {_with_error(self.claimed, self.rounding)}"]
            lines += [f"    {self._truth()}"] if self.kind != "nonfinite" else []
        return "\n".join(lines + ([f"    {self.note}"] if self.note else []))

    def _what(self) -> str:
        where = ", at a nearby point" if self.nearby else ""
        which = f"order {self.order}, direction {self.direction}"
        parts = [self.argument, self.mode, "" if self.mode in ("form", "linear") else which]
        return ", ".join(p for p in parts if p) + where

    def _truth(self) -> str:
        if self.slopes and not self.smooth:
            return f"one-sided slopes {self.slopes[0]:.17g} and {self.slopes[1]:.17g}"
        others = {"adjoint": "forward mode", "linear": "term by term"}
        found = others.get(self.mode, "differences give")
        allowed = f"(allowed: {self.tolerance:.1e})"
        return f"{found:16} {_with_error(self.numeric, self.error)}  {allowed}"


def _with_error(value: float, error: float) -> str:
    return f"{value:.17g}" + (f" ± {error:.1e}" if error else "")


class WrongGradientError(GradientError):
    """Gradients that were checked and are not right; ``report`` tells all."""

    def __init__(self, report: Report, where: Location | str | None = "here") -> None:
        self.report = report
        super().__init__(f"Gradients of {report.name} are not right.", where=where)

    def __str__(self) -> str:
        """Give the report's summary, which takes some time to make, when it is asked for."""
        at = f"\n  at {self.where}" if self.where else ""
        return (
            f"{self.report.summary()}{at}\n  fix: Correct the rule or operation named; where the "
            "verdict is inconclusive, nonfinite or nondeterministic, check at another point or "
            "fix what is random."
        )


class Details(NamedTuple):
    """What is found out about a wrong gradient, once somebody asks."""

    worst_coordinate: str = ""
    culprit: str = ""
    program: str = ""
    reproduction: str = ""


@dataclass(frozen=True)
class Report:
    """All verdicts of a check of gradients. Prints what is wrong, and where.

    ``seed``: gives the same directions again. What is wrong is looked into when it is asked for:
    see the properties.
    """

    name: str
    seed: int
    verdicts: list[Verdict] = field(default_factory=list)
    look: Callable[[], Details] = field(default=Details, compare=False, repr=False)

    @cached_property
    def details(self) -> Details:
        """What was found out about what is wrong."""
        return self.look()

    @property
    def worst_coordinate(self) -> str:
        """The element of the argument whose derivative is furthest off, of the worst mismatch."""
        return self.details.worst_coordinate

    @property
    def culprit(self) -> str:
        """The first recorded operation whose own rule disagrees with differences at its operands.

        With the user's line. Where every rule is right, the first value whose cotangent is wrong.
        """
        return self.details.culprit

    @property
    def program(self) -> str:
        """The function as it was recorded, a NumPy program."""
        return self.details.program

    @property
    def reproduction(self) -> str:
        """Python that shows the worst mismatch again, with NumPy alone where there is a graph."""
        return self.details.reproduction

    @property
    def ok(self) -> bool:
        """Whether every verdict is ``ok`` or ``kink``."""
        return bool(self.verdicts) and all(v.kind in GOOD for v in self.verdicts)

    def __bool__(self) -> bool:
        """Be true where ``ok``: ``assert check_rule(...)`` does what it says."""
        return self.ok

    @property
    def worst(self) -> float:
        """The largest relative error among the smooth comparisons with differences."""
        asked = (v for v in self.verdicts if v.kind in ("ok", "mismatch") and v.slopes is None)
        return max((v.relative for v in asked if v.mode not in STRUCTURE), default=0.0)

    @property
    def excess(self) -> float:
        """The largest distance of two values in units of what is allowed, kinks left out."""
        smooth = (v for v in self.verdicts if v.kind in ("ok", "mismatch"))
        return max((v.excess for v in smooth), default=0.0)

    def raise_if_wrong(self) -> Report:
        """Return the report itself, or raise WrongGradientError with it unless it is ``ok``."""
        __tracebackhide__ = True
        if not self.ok:
            raise WrongGradientError(self)
        return self

    def failures(self) -> list[Verdict]:
        """The worst verdict of each kind that is no pass, the mismatches first."""
        wrong: dict[str, Verdict] = {}
        for verdict in self.verdicts:
            kind = verdict.kind
            if kind not in GOOD and (kind not in wrong or verdict.excess > wrong[kind].excess):
                wrong[kind] = verdict
        return sorted(wrong.values(), key=lambda v: v.kind != "mismatch")

    def summary(self) -> str:
        """Tell how many checks passed; then each kind of failure, its place and its culprit."""
        counts = Counter(v.kind for v in self.verdicts)
        tally = ", ".join(f"{n} {kind}" for kind, n in counts.items())
        result = "right" if self.ok else "WRONG" if counts["mismatch"] else "NOT SHOWN RIGHT"
        lines = [f"gradients of {self.name}: {result} ({tally}; seed {self.seed})"]
        lines += [f"  {verdict}" for verdict in self.failures()]
        lines += [f"  worst element: {self.worst_coordinate}"] if self.worst_coordinate else []
        lines += [f"  {self.culprit}"] if self.culprit else []
        compared = any(v.mode and v.mode not in STRUCTURE for v in self.verdicts)
        return "\n".join(lines + [f"  worst relative error {self.worst:.1e}"] * compared)

    def __str__(self) -> str:
        """Tell the summary; where something is wrong also the program, and how to see it again."""
        if not self.reproduction:
            return self.summary()
        title = "the recorded program, and the failure again:" if self.program else "again:"
        lines = self.reproduction.rstrip().splitlines()
        if len(lines) > LONGEST:
            left = len(lines) - LONGEST
            lines = [*lines[:LONGEST], f"... {left} more lines: print(report.reproduction)"]
        return "\n".join([self.summary(), f"  {title}", *("    " + line for line in lines)])
