"""What must hold of a derivative without any differences: form, memory, repetition, linearity."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tinygrad_bn.testing.checking.directions import alone
from tinygrad_bn.testing.checking.judge import Asked, Question
from tinygrad_bn.testing.checking.subjects import Array, Arrays, Subject, cast
from tinygrad_bn.testing.checking.verdicts import Verdict

SCALE = 2.0**20
"""What a cotangent is multiplied by: rules that clip it are not linear."""


def form(subject: Subject, given: Arrays, v: Arrays, names: Sequence[str]) -> Iterator[Verdict]:
    """Say where a gradient has not the dtype of its argument; a wrong shape raises Misfit."""
    for name, x, g in zip(names, given, subject.pull(given, v), strict=True):
        if g.dtype != x.dtype.newbyteorder("="):
            note = f"The gradient of {name} has dtype {g.dtype}, the argument {x.dtype}."
            yield Verdict("mismatch", name, "form", note=note)


def repeated(subject: Subject, given: Arrays, v: Arrays) -> Iterator[Verdict]:
    """Say whether function and gradient give the same bits again, also after one another."""
    first = subject.results(given)
    if not _same(first, subject.results(given)):
        yield Verdict("nondeterministic", note="The function gave two values at one point.")
    elif not _same(subject.pull(given, v), subject.pull(given, v)):
        yield Verdict("nondeterministic", note="The gradient differed at one point.")
    elif not _same(first, subject.results(given)):
        note = "The function gave another value after its gradient was formed: it changes a state."
        yield Verdict("aliased", note=note)


def memory(subject: Subject, given: Arrays, v: Arrays, names: Sequence[str]) -> Iterator[Verdict]:
    """Say whether the derivative writes to what it was given, or hands out memory of others.

    To return the cotangent itself is no fault; to return an argument, or one array for two
    arguments, is: who adds to a gradient in place changes the other.
    """
    v = cast(v, np.result_type(*given))
    values, cotangents = [np.array(x) for x in given], [np.array(c) for c in v]
    found = subject.observed(values, cotangents)
    labels = [*names, *(f"the cotangent of result {i}" for i in range(len(v)))]
    for label, before, after in zip(labels, (*given, *v), (*values, *cotangents), strict=True):
        if not np.array_equal(before, after, equal_nan=True):
            yield Verdict("aliased", note=f"{label} was changed in place.")
    named = [(n, g) for n, g in zip(names, found, strict=True) if isinstance(g, np.ndarray)]
    own = [(n, g) for n, g in named if g.flags.writeable and not _share(g, cotangents)]
    for name, g in own:
        if _share(g, values):
            yield Verdict("aliased", name, note=f"The gradient of {name} is memory of an argument.")
    if any(np.shares_memory(a, b) for a, b in itertools.combinations([g for _, g in own], 2)):
        yield Verdict("aliased", note="Two gradients are one memory: return copies.")


def linear(one: Asked, two: Asked, directions: Arrays, names: Sequence[str]) -> Iterator[Verdict]:
    """Compare ``J'(u + v)`` with ``J'u + J'v``, up to the measured rounding of each.

    And ``J'(k u)`` with ``k J'u``, for a large and a small k.
    """
    both = Asked(one.subject, [a + b for a, b in zip(one.v, two.v, strict=True)])
    large, small = (Asked(one.subject, [k * c for c in one.v]) for k in (SCALE, 1 / SCALE))
    for position, (name, step) in enumerate(zip(names, directions, strict=True)):
        direction = alone(directions, position, step)
        asked = (one, two, both, large, small)
        with np.errstate(all="ignore"):
            claims = [Question(a, direction).claim("reverse") for a in asked]
        first, second, summed, enlarged, shrunk = claims
        room = 8 * one.subject.unit * both.size
        yield from _equal(name, summed, _added(first, second), room)
        yield from _equal(name, enlarged, _times(first, SCALE), room * SCALE)
        yield from _equal(name, shrunk, _times(first, 1 / SCALE), room / SCALE)


Claim = tuple[Any, Any]
"""A value, and how far rounding may have moved it."""


def _added(a: Claim, b: Claim) -> Claim:
    with np.errstate(all="ignore"):
        return a[0] + b[0], a[1] + b[1]


def _times(a: Claim, k: float) -> Claim:
    return a[0] * k, a[1] * k


def _equal(name: str, one: Claim, other: Claim, room: float) -> Iterator[Verdict]:
    """Compare two claims; where they are not finite there is nothing to compare."""
    with np.errstate(all="ignore"):
        allowed, off = one[1] + other[1] + room, abs(one[0] - other[0])
    if np.isfinite(allowed):
        yield Verdict(
            "ok" if off <= allowed else "mismatch",
            name,
            "linear",
            claimed=float(one[0]),
            numeric=float(other[0]),
            tolerance=float(allowed),
        )


def _same(first: Arrays, second: Arrays) -> bool:
    return all(np.array_equal(a, b, equal_nan=True) for a, b in zip(first, second, strict=True))


def _share(g: Array, others: Arrays) -> bool:
    return any(np.shares_memory(g, x) for x in others)
