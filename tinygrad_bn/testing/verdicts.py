"""What a check of gradients says: a verdict for each comparison, and the report of all."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from tinygrad_bn.errors import GradientError

GOOD = ("ok", "kink")


@dataclass(frozen=True, slots=True)
class Verdict:
    """One comparison of a claimed directional derivative with the truth.

    ``kind``: ``ok``; ``mismatch``; ``kink`` (the one-sided slopes differ and the claim lies
    between them, or the point is a jump: fine); ``inconclusive`` (the differences cannot tell:
    not a pass); ``nonfinite``; ``nondeterministic``. ``argument``: its path; ``mode``: reverse,
    forward, or the dtype whose gradient was compared with that of float64; ``claimed`` and
    ``numeric``: the two values; ``error``: the error bar of the second; ``tolerance``: what was
    allowed; ``slopes``: the one-sided derivatives at a kink; ``nearby``: whether it was checked
    beside the given point, off its kinks; ``note``: what else is to say.
    """

    kind: str
    argument: str = ""
    mode: str = ""
    order: int = 1
    direction: int = 0
    claimed: float = 0.0
    numeric: float = 0.0
    error: float = 0.0
    tolerance: float = 0.0
    slopes: tuple[float, float] | None = None
    nearby: bool = False
    note: str = ""

    @property
    def relative(self) -> float:
        """The difference of the two values, relative to the larger one.

        0 where both are zero as far as can be told.
        """
        larger = max(abs(self.claimed), abs(self.numeric))
        off = abs(self.claimed - self.numeric)
        return off / larger if off > self.tolerance or larger > self.tolerance else 0.0

    def __str__(self) -> str:
        """Say the verdict in one or two lines."""
        lines = [f"{self.kind}: {self._what()}" if self.mode else self.kind]
        lines += [f"    claimed {self.claimed:.17g}{self._truth()}"] if self.mode else []
        return "\n".join(lines + ([f"    {self.note}"] if self.note else []))

    def _what(self) -> str:
        where = ", at a nearby point" if self.nearby else ""
        which = f"order {self.order}, direction {self.direction}"
        return f"{self.argument}, {self.mode}, {which}{where}"

    def _truth(self) -> str:
        if self.kind == "nonfinite":
            return ""
        found = (
            f"one-sided slopes {self.slopes[0]:.17g} and {self.slopes[1]:.17g}"
            if self.slopes
            else f"differences give {self.numeric:.17g} ± {self.error:.1e}"
        )
        return f", {found} (tolerance {self.tolerance:.1e})"


@dataclass(frozen=True, slots=True)
class Report:
    """All verdicts of a check of gradients. Prints what is wrong, and where.

    ``worst_coordinate``: of the first mismatch, the element of the argument whose derivative is
    furthest off; ``culprit``: the first recorded operation whose own rule disagrees with
    differences at its operands, with the user's line; ``seed``: gives the same directions again.
    """

    name: str
    seed: int
    verdicts: list[Verdict] = field(default_factory=list)
    worst_coordinate: str = ""
    culprit: str = ""

    @property
    def ok(self) -> bool:
        """Whether every verdict is ``ok`` or ``kink``."""
        return bool(self.verdicts) and all(v.kind in GOOD for v in self.verdicts)

    @property
    def worst(self) -> float:
        """The largest relative error among the smooth comparisons."""
        smooth = (v for v in self.verdicts if v.kind in ("ok", "mismatch") and v.slopes is None)
        return max((v.relative for v in smooth), default=0.0)

    def raise_if_wrong(self) -> Report:
        """Return the report itself, or raise GradientError with its text unless it is ``ok``."""
        if not self.ok:
            raise GradientError(
                str(self),
                "Correct the rule or operation named; where the verdict is inconclusive, "
                "nonfinite or nondeterministic, check at another point or fix what is random.",
            )
        return self

    def __str__(self) -> str:
        """Tell how many checks passed; then each kind of failure, its place and its culprit."""
        counts = Counter(v.kind for v in self.verdicts)
        tally = ", ".join(f"{n} {kind}" for kind, n in counts.items())
        result = "right" if self.ok else "WRONG" if counts["mismatch"] else "NOT SHOWN RIGHT"
        lines = [f"gradients of {self.name}: {result} ({tally}; seed {self.seed})"]
        shown = set(GOOD)
        for verdict in self.verdicts:
            if verdict.kind not in shown:
                shown.add(verdict.kind)
                lines.append(f"  {verdict}")
        lines += [f"  worst element: {self.worst_coordinate}"] if self.worst_coordinate else []
        lines += [f"  {self.culprit}"] if self.culprit else []
        return "\n".join([*lines, f"  worst relative error {self.worst:.1e}"])
