"""What must hold of a derivative without any differences: form, memory, repetition, linearity."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from tinygrad_bn.testing.checking.directions import alone
from tinygrad_bn.testing.checking.judge import Asked, Question
from tinygrad_bn.testing.checking.subjects import Array, Arrays, Subject, cast
from tinygrad_bn.testing.checking.verdicts import Verdict


def form(subject: Subject, given: Arrays, v: Arrays, names: Sequence[str]) -> Iterator[Verdict]:
    """Say where a gradient has not the dtype of its argument; a wrong shape raises Misfit."""
    for name, x, g in zip(names, given, subject.pull(given, v), strict=True):
        if g.dtype != x.dtype:
            note = f"The gradient of {name} has dtype {g.dtype}, the argument {x.dtype}."
            yield Verdict("mismatch", name, "form", note=note)


def repeated(subject: Subject, given: Arrays, v: Arrays) -> Iterator[Verdict]:
    """Say whether function and gradient give the same bits when they are computed again."""
    if not _same(subject.results(given), subject.results(given)):
        yield Verdict("nondeterministic", note="The function gave two values at one point.")
    elif not _same(subject.pull(given, v), subject.pull(given, v)):
        yield Verdict("nondeterministic", note="The gradient differed at one point.")


def memory(subject: Subject, given: Arrays, v: Arrays, names: Sequence[str]) -> Iterator[Verdict]:
    """Say whether the derivative writes to what it was given, or hands out memory of others.

    To return the cotangent itself is no fault; to return an argument, or one array for two
    arguments, is: who adds to a gradient in place changes the other.
    """
    v = cast(v, np.result_type(*given))
    values, cotangents = [np.array(x) for x in given], [np.array(c) for c in v]
    found = [g for g in subject.observed(values, cotangents) if isinstance(g, np.ndarray)]
    labels = [*names, *(f"the cotangent of result {i}" for i in range(len(v)))]
    for label, before, after in zip(labels, (*given, *v), (*values, *cotangents), strict=True):
        if not np.array_equal(before, after, equal_nan=True):
            yield Verdict("aliased", note=f"Forming the gradient changed {label} in place.")
    own = [g for g in found if g.flags.writeable and not _share(g, cotangents)]
    for name, g in zip(names, found, strict=False):
        if _is_one_of(g, own) and _share(g, values):
            yield Verdict("aliased", name, note=f"The gradient of {name} is memory of an argument.")
    if any(np.shares_memory(a, b) for a, b in itertools.combinations(own, 2)):
        yield Verdict("aliased", note="Two gradients are one memory: return copies.")


def linear(one: Asked, two: Asked, directions: Arrays, names: Sequence[str]) -> Iterator[Verdict]:
    """Compare ``J'(u + v)`` with ``J'u + J'v``, up to the measured rounding of each.

    Where they are not finite there is nothing to compare.
    """
    both = Asked(one.subject, [a + b for a, b in zip(one.v, two.v, strict=True)])
    for position, (name, step) in enumerate(zip(names, directions, strict=True)):
        direction = alone(directions, position, step)
        with np.errstate(all="ignore"):
            parts = [Question(asked, direction).claim("reverse") for asked in (one, two, both)]
            separate, together = parts[0][0] + parts[1][0], parts[2][0]
            tolerance = sum((spread for _, spread in parts), np.longdouble(0))
            tolerance += 8 * one.subject.unit * both.size
        if not np.isfinite(tolerance):
            continue
        yield Verdict(
            "ok" if abs(together - separate) <= tolerance else "mismatch",
            name,
            "linear",
            claimed=float(together),
            numeric=float(separate),
            tolerance=float(tolerance),
        )


def _same(first: Arrays, second: Arrays) -> bool:
    return all(np.array_equal(a, b, equal_nan=True) for a, b in zip(first, second, strict=True))


def _share(g: Array, others: Arrays) -> bool:
    return any(np.shares_memory(g, x) for x in others)


def _is_one_of(g: Array, arrays: Arrays) -> bool:
    return any(g is x for x in arrays)
