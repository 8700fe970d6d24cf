"""Mutants: rows whose rule is wrong on purpose. A check that lets one pass is no check."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tinygrad_bn.errors import TinygradError
from tinygrad_bn.graph.primitive import Primitive, Rule, table
from tinygrad_bn.testing.rows import Sample, differences, gradients, problems_of, samples

Change = Callable[[Rule, int], Rule]
"""Makes a wrong rule of a right one; also told which operand it is for."""


class Changed:
    """Rules of which one is replaced."""

    def __init__(self, rules: Any, operand: int, rule: Rule) -> None:
        self.rules, self.operand, self.rule = rules, operand, rule

    def __getitem__(self, position: int) -> Rule | None:
        """Return the rule of one operand."""
        right: Rule | None = self.rules[position]
        return self.rule if position == self.operand else right


@dataclass(frozen=True)
class Mutant:
    """A wrong row: what was done to which operand's rule."""

    kind: str
    operand: int
    op: Primitive

    def __str__(self) -> str:
        """Say what it is."""
        return f"{self.op.name}, operand {self.operand} {self.kind}"


def scaled(rule: Rule, operand: int) -> Rule:
    """Too large by a ten-thousandth."""
    return lambda *given, **params: rule(*given, **params) * 1.0001


def negated(rule: Rule, operand: int) -> Rule:
    """Of the wrong sign."""
    return lambda *given, **params: -rule(*given, **params)


def dropped(rule: Rule, operand: int) -> Rule:
    """Not there: nothing arrives."""
    return lambda *given, **params: None


def unsummed(rule: Rule, operand: int) -> Rule:
    """Not summed over the axes that were broadcast: their first entry instead."""

    def wrong(xp: Any, g: Any, out: Any, *operands: Any, **params: Any) -> Any:
        """Apply the mutated rule."""
        piece, shape = rule(xp, g, out, *operands, **params), np.shape(operands[operand])
        lead = piece.ndim - len(shape)
        if lead < 0:
            return piece
        kept = (slice(0, 1) if n == 1 else slice(None) for n in shape)
        return piece[(*(0,) * lead, *kept)]

    return wrong


KINDS: dict[str, Change] = {
    "scaled": scaled,
    "negated": negated,
    "dropped": dropped,
    "unsummed": unsummed,
}


def mutants(row: Primitive | str) -> Iterator[Mutant]:
    """Make every mutant of a row: each rule scaled, negated, dropped, swapped, not summed back.

    >>> [str(m) for m in mutants("exp")]
    ['exp, operand 0 scaled', 'exp, operand 0 negated', 'exp, operand 0 dropped']
    """
    op = table[row] if isinstance(row, str) else row
    positions = sorted({i for sample in samples(op) for i in sample.wrt})
    for i in positions:
        for kind, change in KINDS.items():
            if kind != "unsummed" or _broadcasts(op, len(positions)):
                yield _mutant(op, kind, i, change(op.rules[i], i))
        if len(positions) > 1:
            other = positions[positions.index(i) - 1]
            yield _mutant(op, "swapped", i, op.rules[other])


def _broadcasts(op: Primitive, operands: int) -> bool:
    """Whether an operand may be smaller than the result: not the only one of an elementwise row."""
    return op.broadcasts and (operands > 1 or op.family != "elementwise")


def _mutant(op: Primitive, kind: str, operand: int, rule: Rule) -> Mutant:
    return Mutant(kind, operand, replace(op, rules=Changed(op.rules, operand, rule)))


def caught(mutant: Mutant, drawn: Sequence[Sample]) -> bool:
    """Whether differences of the kernel give a mutant away on any sample of its row."""
    return any(problems_of(differences, replace(s, op=mutant.op)) for s in drawn)


def equivalent(mutant: Mutant, drawn: Sequence[Sample]) -> bool:
    """Whether a mutant gives the right gradients on all samples: no check could catch it."""
    return all(_agree(s, replace(s, op=mutant.op)) for s in drawn)


def _agree(right: Sample, wrong: Sample) -> bool:
    v = right.cotangent()
    if v.dtype.kind != "f":
        return True
    try:
        found = gradients(wrong, v)
    except (TinygradError, ValueError, TypeError, IndexError):
        return False
    pairs = zip(gradients(right, v), found, strict=True)
    return all(np.allclose(x, y, rtol=1e-9, atol=1e-12) for x, y in pairs)


@contextmanager
def installed(mutant: Mutant) -> Iterator[Primitive]:
    """Put a mutant in the place of its row, in the whole process, for the length of a block.

    To test that a check of composed functions catches it; graphs recorded outside see it too.

    >>> import tinygrad_bn as tg
    >>> wrong = next(m for m in mutants("exp") if m.kind == "negated")
    >>> with installed(wrong):
    ...     tg.grad(tg.exp)(0.0)
    Tensor(-1.)
    """
    op = table[mutant.op.name]
    right = op.rules
    object.__setattr__(op, "rules", mutant.op.rules)  # a frozen row, thawed for the test alone
    try:
        yield op
    finally:
        object.__setattr__(op, "rules", right)
