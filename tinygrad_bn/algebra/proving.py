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
from tinygrad_bn.algebra.terms import Index, Term
from tinygrad_bn.errors import OptionalDependencyError, TinygradError
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

    ``steps``: how many steps were checked on ``examples`` random inputs; ``unchecked``: how many of
    them met no input for which both sides are finite; ``wrong``: the first that failed, if one
    did; ``differences``: the largest error of the result against finite differences in units of
    their own estimated error (at most 1 is agreement, NaN if none was finite); ``given``: what the
    derivation takes to hold.
    """

    steps: int
    examples: int
    unchecked: int
    wrong: str
    differences: float
    given: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether something was compared, and nothing failed."""
        return not self.wrong and self.differences <= 1

    @property
    def verdict(self) -> str:
        """Say "proved by rules", "tested only", "untested" or "wrong".

        Proved: every step is a law of real arithmetic, and held wherever it was tried. Tested: it
        rests on facts that hold of the example alone, or a step could not be tried. Untested: no
        input was found for which the function is finite.
        """
        if self.wrong or self.differences > 1:
            return "wrong"
        if not self.ok:
            return "untested"
        return "tested only" if self.given or self.unchecked else "proved by rules"

    def __str__(self) -> str:
        lines = [f"{self.verdict}: {self.steps} steps, each on {self.examples} random inputs"]
        if self.unchecked:
            lines.append(f"never finite, so not checked: {self.unchecked} steps")
        lines += [f"given: {fact}" for fact in self.given]
        if self.wrong:
            lines.append(f"fails: {self.wrong}")
        lines.append(f"against finite differences: {self.differences:.2g} of their estimated error")
        return "\n  ".join(lines)


def prove(derivation: Derivation, laws: Sequence[Step], examples: int) -> Proof:
    """Check a derivation; see ``Derivation.proof``.

    Besides the steps it is checked that the first formula is what was recorded, and that the
    closed form computes the last.
    """
    hypothesis = _hypothesis()
    programs = derivation.recorded.compile(), derivation.result.compile()
    failed: list[str] = []
    errors: list[float] = []
    tried: set[Step] = set()
    checked = [0]

    def run(seed: int) -> None:
        """Draw inputs, and check every step and the whole on them."""
        rng = np.random.default_rng(seed)
        values = drawn(derivation, rng)
        checked[0] += 1
        full, nudged = (named(derivation, v) for v in (values, nudge(values, rng)))
        for step in laws:
            agreed = agree(step.before, step.after, full, nudged)
            tried.update([step] if agreed is not None else [])
            if agreed is False:
                failed.append(f"{step.rule}: {step.before!r} = {step.after!r}")
        given = [values[derivation.recorded.names[t]] for t in derivation.recorded.inputs]
        gradients = [flatten(program(*given))[0] for program in programs]
        failed.extend(ends(derivation, gradients, full, nudged))
        errors.append(against_differences(derivation, given, gradients[1], rng))

    settings = hypothesis.settings(
        max_examples=examples,
        database=None,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate],
    )
    with np.errstate(all="ignore"):
        settings(hypothesis.given(hypothesis.strategies.integers(0, 2**32 - 1))(run))()
    known = [e for e in errors if not np.isnan(e)]
    return Proof(
        steps=len(laws),
        examples=checked[0],
        unchecked=len(laws) - len(tried),
        wrong=failed[0] if failed else "",
        differences=max(known, default=float("nan")),
        given=derivation.given,
    )


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

    What is positive everywhere stays positive, what lies in [-1, 1] stays there, probabilities stay
    probabilities, and integers and closed-over values stay as they are. Where the function is then
    not finite, values nearer to the example are taken.
    """
    recorded = derivation.recorded
    values: dict[str, Any] = dict(derivation.values)
    names = [recorded.names[t] for t in recorded.inputs]
    free = [n for n in names if np.asarray(values[n]).dtype.kind == "f"]
    new = {n: _like(np.asarray(values[n], WIDE), rng) for n in free}
    for share in (1, 0.5, 0.25, 0.1, 0.01, 0):
        mixed = {n: values[n] + share * (new[n] - values[n]) for n in free}
        for name, axes in derivation.summing_to_one.items():
            for axis in axes * (1 if len(axes) == 1 else BALANCING) if name in mixed else ():
                mixed[name] = mixed[name] / mixed[name].sum(axis=axis, keepdims=True)
        if _is_defined(derivation, [{**values, **mixed}[n] for n in names]):
            break
    return {**values, **{n: np.asarray(v, WIDE) for n, v in mixed.items()}} if free else values


BALANCING = 200
"""So often rows and columns are scaled in turn until both sum to one (Sinkhorn and Knopp)."""


def _like(example: Any, rng: np.random.Generator) -> Any:
    """Draw an array in the range and of the signs of an example."""
    new = rng.normal(size=example.shape)
    if not example.any():
        return new
    low, high = example.min(), example.max()
    if low >= -1 and high <= 1:
        return rng.uniform(0 if low >= 0 else -1, 0 if high <= 0 else 1, example.shape)
    if low > 0 or high < 0:
        return np.sign(low) * np.exp(0.5 * new)
    if low >= 0 or high <= 0:
        return np.abs(new) * (1 if low >= 0 else -1)
    return new


def _value(derivation: Derivation, given: Sequence[Any]) -> Any:
    """Return the value of the function."""
    found = derivation.called(*derivation.arguments(list(map(_tensor, given))))
    return np.asarray(found.data)


def _is_defined(derivation: Derivation, given: Sequence[Any]) -> bool:
    """Whether the function has a finite value there, of the shape that it has in the example."""
    try:
        value = _value(derivation, given)
    except (TinygradError, ValueError, IndexError):
        return False
    return value.shape == derivation.shape and bool(np.isfinite(value).all())


def _tensor(value: Any) -> Any:
    return Tensor(value) if np.asarray(value).dtype.kind == "f" else value


def ends(
    derivation: Derivation,
    gradients: Sequence[Sequence[Any]],
    full: Mapping[str, Any],
    nudged: Mapping[str, Any],
) -> list[str]:
    """Compare the first formulas with what was recorded, and the last with the closed form.

    ``gradients``: the values of both.
    """
    found, unit = [], max(DOUBLE, float(_precision(derivation)))
    scale = max(_largest(v) for v in full.values())
    recorded, closed = gradients
    rows = list(zip(derivation.results, derivation.first, recorded, closed, strict=True))
    pairs = [(r, r.term, right, "the closed form") for r, _, _, right in rows]
    if derivation.upstream != "identity":  # what was recorded has no row for each element
        pairs += [(r, term, right, "the recorded gradient") for r, term, right, _ in rows]
    for result, term, right, what in pairs:
        axes = [p for p in result.places if isinstance(p, Index)]
        if equal(term, np.asarray(right, WIDE), axes, full, nudged, scale, unit) is False:
            found.append(f"{what} is not {term!r}")
    return found


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


def agree(
    before: Term, after: Term, values: Mapping[str, Any], nudged: Mapping[str, Any]
) -> bool | None:
    """Whether two terms are equal on values, up to what rounding would change in double.

    None if nowhere both are finite.
    """
    axes = sorted(before.free | after.free)
    computed = grids([after], values)
    full = [i.size for i in axes]
    right = np.broadcast_to(np.asarray(computed[after].on(axes), WIDE), full)
    scale = max(_largest(grid.values) for grid in computed.values())
    return equal(before, right, axes, values, nudged, scale)


def equal(
    term: Term,
    right: Any,
    axes: Sequence[Index],
    values: Mapping[str, Any],
    nudged: Mapping[str, Any],
    scale: Any = 0,
    unit: float = DOUBLE,
) -> bool | None:
    """Whether a term is an array, up to what a rounding unit changes; None if nowhere finite."""
    computed = grids([term], values)
    left = np.asarray(computed[term].on(axes), WIDE)
    moved = np.asarray(grids([term], nudged)[term].on(axes), WIDE)
    shape = [i.size for i in axes]
    left, moved = np.broadcast_to(left, shape), np.broadcast_to(moved, shape)
    right = np.reshape(right, shape)
    defined = np.isfinite(left) & np.isfinite(right)
    if not defined.any():
        return None
    left, right, moved = left[defined], right[defined], moved[defined]
    change = np.max(np.abs(moved - left), initial=0.0, where=np.isfinite(moved)) / NUDGE
    scale = max(scale, *(_largest(grid.values) for grid in computed.values()))
    return bool(np.max(np.abs(left - right)) <= unit * (scale + change))


def _largest(values: Any) -> Any:
    """Return the largest finite value that was met."""
    array = np.asarray(values)
    if array.dtype.kind not in "fiu":
        return WIDE(0)
    return np.max(np.abs(array), initial=0.0, where=np.isfinite(array))


ROUNDINGS = 64
"""So many roundings of its largest value a function is allowed; programs here take fewer."""


def against_differences(
    derivation: Derivation,
    given: Sequence[Any],
    gradients: Sequence[Any],
    rng: np.random.Generator,
) -> float:
    """Compare the result with central differences along a random direction.

    Returns the error in units of the error that two step widths and the rounding of the function
    let expect, NaN where the function is not finite. Of a whole Jacobian one random combination of
    rows is compared.
    """
    weight = given[-1]
    if derivation.upstream != "symbolic":
        free = derivation.upstream == "identity"
        weight = rng.normal(size=derivation.shape) if free else np.ones(derivation.shape)
    directions = {t: rng.normal(size=np.shape(given[t])).astype(WIDE) for t in derivation.targets}
    slope = _slope(derivation, gradients, directions, weight)
    eps = _precision(derivation)

    def along(step: Any) -> Any:
        """Evaluate the weighted sum of the function's values at a distance."""
        moved = [v + step * directions[i] if i in directions else v for i, v in enumerate(given)]
        return np.sum(np.asarray(_value(derivation, moved), WIDE) * weight)

    step = eps ** (WIDE(1) / 3) / 8  # balances the quotient's error, of fast functions too
    plus, minus = along(step), along(-step)
    near = (plus - minus) / (2 * step)
    wide = (along(2 * step) - along(-2 * step)) / (4 * step)
    size = max(abs(plus), abs(minus), WIDE(1))
    close = np.array([along(step * k / 1000) for k in range(-3, 4)])
    noise = np.max(np.abs(np.diff(close, 4)))  # what a smooth function has none of, so close by
    noise += ROUNDINGS * eps * size * np.sqrt(np.size(weight))
    expected = abs(near - wide) / 16 + noise / step
    quotient = near + (near - wide) / 3
    if not np.isfinite(quotient):
        return float("nan")
    return float(abs(quotient - slope) / expected) if np.isfinite(slope) else float("inf")


def _precision(derivation: Derivation) -> Any:
    """Return the rounding unit of the function in long double: that of the coarsest conversion."""
    nodes = [*derivation.recorded.nodes, *derivation.result.nodes]
    casts = [n.dtype for n in nodes if n.op.name == "astype" and n.dtype.kind == "f"]
    coarse = [np.finfo(dtype).eps for dtype in casts]
    return max([np.finfo(WIDE).eps, *map(WIDE, coarse)])


def _slope(
    derivation: Derivation, gradients: Sequence[Any], directions: Mapping[int, Any], weight: Any
) -> Any:
    """Return the slope along directions that gradients say, weighted like the function."""
    total = WIDE(0)
    whole = derivation.upstream == "identity"
    for gradient, direction in zip(gradients, directions.values(), strict=True):
        row = np.tensordot(weight, gradient, np.ndim(weight)) if whole else gradient
        total += np.sum(np.asarray(row, WIDE) * direction)
    return total
