"""Proof of a derivation: every step on random numbers, the whole against finite differences.

Steps are computed in long double. Two sides count as equal if they differ by less than what one
rounding of the inputs in double precision changes, and one rounding of the largest value met on
the way: long double has 11 bits more, so its own roundings stay 2,000 times below that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_bn.algebra.evaluating import WIDE, evaluate, grids
from tinygrad_bn.algebra.rewriting import Step
from tinygrad_bn.algebra.terms import Term
from tinygrad_bn.errors import OptionalDependencyError
from tinygrad_bn.graph.containers import flatten
from tinygrad_bn.graph.tensor import Tensor

if TYPE_CHECKING:
    from tinygrad_bn.algebra.deriving import Derivation

DOUBLE = float(np.finfo(np.float64).eps)
NUDGE = 2.0**-30
"""Inputs are changed by this share of themselves to see how much a value depends on them."""


@dataclass(frozen=True)
class Proof:
    """What was checked of a derivation, and how it went.

    ``steps``: how many steps were checked on ``examples`` random inputs each; ``wrong``: the first
    that failed, if one did; ``differences``: the largest error of the result against finite
    differences in units of their own estimated error (at most 1 is agreement); ``given``: what the
    derivation takes to hold.
    """

    steps: int
    examples: int
    wrong: str
    differences: float
    given: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return not self.wrong and self.differences <= 1

    @property
    def verdict(self) -> str:
        """Say "proved by rules", "tested only" or "wrong".

        Proved: every step is a law of real arithmetic. Tested: it rests on facts that hold of the
        example alone.
        """
        if not self.ok:
            return "wrong"
        return "tested only" if self.given else "proved by rules"

    def __str__(self) -> str:
        lines = [f"{self.verdict}: {self.steps} steps, each on {self.examples} random inputs"]
        lines += [f"given: {fact}" for fact in self.given]
        if self.wrong:
            lines.append(f"fails: {self.wrong}")
        lines.append(f"against finite differences: {self.differences:.2g} of their estimated error")
        return "\n  ".join(lines)


def prove(derivation: Derivation, laws: Sequence[Step], examples: int) -> Proof:
    """Check a derivation; see ``Derivation.proof``."""
    hypothesis = _hypothesis()
    failed: list[str] = []
    worst = [0.0]
    checked = [0]

    def run(seed: int) -> None:
        """Draw inputs, and check every step and the whole on them."""
        rng = np.random.default_rng(seed)
        values = drawn(derivation, rng)
        checked[0] += 1
        wrong = next((s for s in laws if not holds(s, values, rng, derivation)), None)
        if wrong is not None and not failed:
            failed.append(f"{wrong.rule}: {wrong.before!r} = {wrong.after!r}")
        worst[0] = max(worst[0], against_differences(derivation, values, rng))

    settings = hypothesis.settings(
        max_examples=examples,
        database=None,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate],
    )
    settings(hypothesis.given(hypothesis.strategies.integers(0, 2**32 - 1))(run))()
    wrong = failed[0] if failed else ""
    return Proof(len(laws), checked[0], wrong, worst[0], derivation.given)


def _hypothesis() -> Any:
    try:
        import hypothesis  # noqa: PLC0415  (optional)
    except ImportError as error:
        raise OptionalDependencyError(
            "A proof draws its inputs with Hypothesis.",
            'Install the extra "test": pip install "tinygrad_bn[test]".',
        ) from error
    return hypothesis


def drawn(derivation: Derivation, rng: np.random.Generator) -> dict[str, Any]:
    """Draw random values for the inputs of a derivation: like the example in sign and kind.

    What is positive everywhere stays positive, what lies in [0, 1] stays there, probabilities stay
    probabilities, and integers and closed-over values stay as they are.
    """
    recorded = derivation.recorded
    values: dict[str, Any] = dict(derivation.values)
    for tensor in recorded.inputs:
        name = recorded.names[tensor]
        example = np.asarray(values[name])
        if example.dtype.kind != "f":
            continue
        new = rng.normal(size=example.shape)
        if example.size and ((example >= 0) & (example <= 1)).all():
            new = rng.uniform(size=example.shape)
        elif example.size and (example > 0).all():
            new = np.exp(0.5 * new)
        elif example.size and (example >= 0).all():
            new = np.abs(new)
        for axis in derivation.summing_to_one.get(name, ()):
            new = new / new.sum(axis=axis, keepdims=True)
        values[name] = new.astype(WIDE)
    return values


def holds(
    step: Step, values: Mapping[str, Any], rng: np.random.Generator, derivation: Derivation
) -> bool:
    """Whether both sides of a step agree on these values."""
    full = named(derivation, values)
    nudged = named(derivation, nudge(values, rng))
    return agree(step.before, step.after, full, nudged)


def named(derivation: Derivation, values: Mapping[str, Any]) -> dict[str, Any]:
    """Add the values of the definitions."""
    full = dict(values)
    for definition in derivation.definitions:
        full[definition.symbol] = evaluate(definition.term, full, definition.indices)
    return full


def nudge(values: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """Change every floating-point value by a small share of itself."""

    def moved(value: Any) -> Any:
        """Change one array."""
        if np.asarray(value).dtype.kind != "f":
            return value
        return value * (1 + NUDGE * rng.uniform(-1, 1, np.shape(value)).astype(WIDE))

    return {name: moved(value) for name, value in values.items()}


def agree(before: Term, after: Term, values: Mapping[str, Any], nudged: Mapping[str, Any]) -> bool:
    """Whether two terms are equal on values, up to what rounding would change in double."""
    indices = sorted(before.free | after.free)
    computed = grids([before, after], values)
    left, right = (np.asarray(computed[t].on(indices), WIDE) for t in (before, after))
    moved = np.asarray(grids([before], nudged)[before].on(indices), WIDE)
    left, right, moved = np.broadcast_arrays(left, right, moved)
    defined = np.isfinite(left)
    if not defined.any():
        return True
    left, right, moved = left[defined], right[defined], moved[defined]
    change = np.max(np.abs(moved - left), initial=0.0, where=np.isfinite(moved)) / NUDGE
    scale = max(_largest(grid.values) for grid in computed.values())
    return bool(np.max(np.abs(left - right)) <= DOUBLE * (scale + change))


def _largest(values: Any) -> Any:
    """Return the largest finite value that was met."""
    array = np.asarray(values)
    if array.dtype.kind not in "fiu":
        return WIDE(0)
    return np.max(np.abs(array), initial=0.0, where=np.isfinite(array))


def against_differences(
    derivation: Derivation, values: Mapping[str, Any], rng: np.random.Generator
) -> float:
    """Compare the result with central differences along a random direction.

    Returns the error in units of the error that two step widths and the rounding of the function
    let expect. Of a whole Jacobian one random combination of rows is compared.
    """
    given = [values[derivation.recorded.names[t]] for t in derivation.recorded.inputs]
    weight = given[-1]
    if derivation.upstream != "symbolic":
        free = derivation.upstream == "identity"
        weight = rng.normal(size=derivation.shape) if free else np.ones(derivation.shape)
    directions = {t: rng.normal(size=np.shape(given[t])).astype(WIDE) for t in derivation.targets}
    slope = _slope(derivation, given, directions, weight)

    def along(step: Any) -> Any:
        """Evaluate the weighted sum of the function's values at a distance."""
        moved = [
            Tensor(np.asarray(v + step * directions[i], WIDE)) if i in directions else v
            for i, v in enumerate(given)
        ]
        value = derivation.called(*derivation.arguments(moved))
        return np.sum(np.asarray(value.data, WIDE) * weight), np.finfo(value.dtype).eps

    step = WIDE(2.0**-14)
    (plus, eps), (minus, _) = along(step), along(-step)
    near = (plus - minus) / (2 * step)
    wide = (along(2 * step)[0] - along(-2 * step)[0]) / (4 * step)
    better = near + (near - wide) / 3
    size = max(abs(plus), abs(minus), WIDE(1))
    expected = abs(near - wide) / 16 + 64 * eps * size * np.sqrt(np.size(weight)) / step
    return float(abs(better - slope) / expected) if np.isfinite(slope) else float("inf")


def _slope(
    derivation: Derivation, given: Sequence[Any], directions: Mapping[int, Any], weight: Any
) -> Any:
    """Return the slope along directions that the result says, weighted like the function."""
    total = WIDE(0)
    found = flatten(derivation.result.run(*given))[0]
    for gradient, direction in zip(found, directions.values(), strict=True):
        whole = derivation.upstream == "identity"
        row = np.tensordot(weight, gradient, np.ndim(weight)) if whole else gradient
        total += np.sum(np.asarray(row, WIDE) * direction)
    return total
