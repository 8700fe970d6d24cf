"""Whether a mutant shows in derivatives, and whether the checker sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tinygrad_bn.errors import ShapeError
from tinygrad_bn.graph.containers import flatten
from tinygrad_bn.testing.checking.checker import check_gradients
from tinygrad_bn.testing.checking.subjects import REFUSED
from tinygrad_bn.testing.generators.calls import Call
from tinygrad_bn.testing.mutants.installing import Mutant, installed
from tinygrad_bn.testing.mutants.rules import RuleMutant
from tinygrad_bn.transforms.derivatives import vjp

CLOSE = 1e-12
"""Up to where two gradients are the same, relative to the largest element."""


LOOKS = 3
"""How many directions a wrong rule is looked at along, one after the other."""


def caught(mutant: RuleMutant, calls: Sequence[Call]) -> bool:
    """Whether the checker contradicts a wrong rule on any of some calls of its row.

    >>> from tinygrad_bn.testing.mutants import mutants
    >>> from tinygrad_bn.testing.rows import samples
    >>> all(caught(mutant, samples("exp")) for mutant in mutants("exp"))
    True
    """
    shown = (call for call in calls if not equivalent(mutant, [call]))
    return any(_contradicted(replace(call, op=mutant.op)) for call in shown)


def _contradicted(call: Call) -> bool:
    """Whether a claimed gradient differs from the truth, along the first direction that tells."""
    ask: dict[str, Any] = {"order": 1, "directions": 1, "modes": ("reverse",)}
    for seed in range(LOOKS):
        try:
            report = check_gradients(call, *call.primals, seed=seed, **ask)
        except REFUSED:
            return True
        if any(verdict.kind == "mismatch" for verdict in report.verdicts):
            return True
    return False


def equivalent(mutant: RuleMutant, calls: Sequence[Call]) -> bool:
    """Whether a wrong rule gives the right gradients on all calls: no check could catch it.

    ``calls``: of the right row.
    """
    return all(_agree(call, replace(call, op=mutant.op)) for call in calls)


def _agree(right: Call, wrong: Call) -> bool:
    if not right.differentiable:
        return True
    v = right.cotangent()
    try:
        found = wrong.gradients(v)
    except REFUSED:
        return False
    return _same(right.gradients(v), found)


def _same(right: Sequence[Any], found: Sequence[Any]) -> bool:
    """Whether gradients are equal, but for the rounding of the largest element."""
    for x, y in zip(right, found, strict=True):
        size = float(np.max(np.abs(x), initial=0.0, where=np.isfinite(x)))
        if not np.allclose(x, y, rtol=0.0, atol=CLOSE * size, equal_nan=True):
            return False
    return True


def exposed(
    mutant: Mutant, function: Callable[..., Any], *arguments: Any, order: int = 1, seed: int = 0
) -> bool:
    """Whether a mutant changes the derivatives of a function at a point, for a random cotangent.

    ``arguments``: floats, or arrays or tensors of them, or containers of these; ``order=2`` looks
    at the second derivatives too. Where the answer is no, the mutant is equivalent, and no check
    can find it. Raises ShapeError for an order below 1, DTypeError for integer arguments, and
    TinygradError while a mutant is installed.

    >>> import tinygrad_bn as tg
    >>> from tinygrad_bn.testing.mutants import mutants
    >>> wrong = next(m for m in mutants("exp") if m.name == "negated")
    >>> exposed(wrong, tg.exp, 1.0), exposed(wrong, tg.sin, 1.0)
    (True, False)
    """
    if order < 1:
        raise ShapeError(f"exposed with order={order}.", "The order is at least 1.")
    right = _derivatives(function, arguments, order, seed)
    with installed(mutant):
        try:
            found = _derivatives(function, arguments, order, seed)
        except REFUSED:
            return True
    return not _same(right, found)


def _derivatives(function: Any, arguments: Sequence[Any], order: int, seed: int) -> list[Any]:
    """Pull a random cotangent back; for a higher order, do so with the gradient in its turn."""
    rng = np.random.default_rng((seed, order))
    value, pull = vjp(function, *arguments)
    leaves, _, rebuild = flatten(value)
    v = rebuild([rng.uniform(-1.0, 1.0, np.shape(y)) for y in leaves])
    first = [g.data for g in flatten(pull(v))[0]]
    if order == 1:
        return first
    return first + _derivatives(lambda *x: vjp(function, *x)[1](v), arguments, order - 1, seed)
