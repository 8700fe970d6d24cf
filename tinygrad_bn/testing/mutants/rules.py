"""Wrong rules of a row, of every sort that can apply to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np

from tinygrad_bn.errors import TinygradError
from tinygrad_bn.graph import sweep as sweeping
from tinygrad_bn.graph.namespaces import tensors
from tinygrad_bn.graph.primitive import Primitive, Rule, bind, table
from tinygrad_bn.testing import engines
from tinygrad_bn.testing.generators.calls import find_row
from tinygrad_bn.testing.mutants.installing import Mutant
from tinygrad_bn.testing.rows import samples


class Changed:
    """Rules of which one is replaced."""

    def __init__(self, rules: Any, operand: int, rule: Rule) -> None:
        self.rules, self.operand, self.rule = rules, operand, rule

    def __getitem__(self, position: int) -> Rule | None:
        """Return the rule of one operand."""
        right: Rule | None = self.rules[position]
        return self.rule if position == self.operand else right


@dataclass(frozen=True, eq=False, kw_only=True)
class RuleMutant(Mutant):
    """A row with one wrong rule: ``op`` with that rule, and for which ``operand`` it is."""

    kind: ClassVar[str] = "rule"
    op: Primitive
    operand: int

    def replacements(self) -> list[tuple[Any, str, Any]]:
        """Replace the rules of the row in the table, where it must be still."""
        row = table.get(self.op.name)
        if row is None:
            raise TinygradError(
                f"The mutant {str(self)!r} is of a row that is not in the table.",
                "Make mutants of the rows that are there.",
            )
        return [(row, "rules", self.op.rules)]

    def __str__(self) -> str:
        return f"{self.op.name}, operand {self.operand} {self.name}"


Change = Callable[[Primitive, int], Rule]
"""Makes a wrong rule for one operand of a row."""


class Sort(NamedTuple):
    """A sort of wrong rule: how it is made, and why it is wrong."""

    change: Change
    why: str


def _after(change: Callable[[Any, Any], Any]) -> Change:
    """Change the gradient that the right rule gives, summed to its operand's shape."""

    def make(op: Primitive, operand: int) -> Rule:
        """Wrap the rule of one operand."""
        rule = op.rules[operand]

        def wrong(xp: Any, g: Any, out: Any, *operands: Any, **params: Any) -> Any:
            """Apply the rule, then the change."""
            piece = rule(xp, g, out, *operands, **params)
            if piece is not None and op.broadcasts:
                piece = sweeping.unbroadcast(xp, piece, operands[operand].shape)
            return None if piece is None else change(xp, piece)

        return wrong

    return make


def scaled(relative: float) -> Change:
    """Make rules too large by a factor ``1 + relative``.

    >>> x = np.zeros(2)
    >>> scaled(0.5)(table["exp"], 0)(np, np.ones(2), np.exp(x), x)
    array([1.5, 1.5])
    """
    return _after(lambda xp, piece: piece * (1.0 + relative))


def one_element(relative: float) -> Change:
    """Make rules whose last element alone is off, by a factor ``1 + relative``."""

    def change(xp: Any, piece: Any) -> Any:
        """Multiply by ones, but for the last element."""
        factor = np.ones(piece.shape, piece.dtype)
        factor.reshape(-1)[-1:] += relative
        return piece * factor

    return _after(change)


def _dropped(op: Primitive, operand: int) -> Rule:
    return lambda *given, **params: None


def _unsummed(op: Primitive, operand: int) -> Rule:
    rule = op.rules[operand]

    def wrong(xp: Any, g: Any, out: Any, *operands: Any, **params: Any) -> Any:
        """Apply the rule and cut its result to the operand's shape."""
        piece = rule(xp, g, out, *operands, **params)
        return engines.first_entries(piece, np.shape(operands[operand]))

    return wrong


def _transposed(xp: Any, piece: Any) -> Any:
    """Read the elements in the order of the transpose; backwards where one axis is all."""
    if sum(n > 1 for n in piece.shape) < 2:
        return xp.flip(piece)
    turned = xp.permute_dims(piece, axes=tuple(reversed(range(piece.ndim))))
    return xp.reshape(turned, shape=piece.shape)


def _stale(op: Primitive, operand: int) -> Rule:
    """Hand the rule another call: operands moved on by one element, and their result."""
    rule = op.rules[operand]

    def wrong(xp: Any, g: Any, out: Any, *operands: Any, **params: Any) -> Any:
        """Apply the rule to other operands."""
        others = tuple(xp.roll(x, shift=1) if getattr(x, "ndim", 0) else x for x in operands)
        recorded = xp is tensors
        result = bind(op, others, params) if recorded else _computed(op, others, params)
        return rule(xp, g, result, *others, **params)

    return wrong


def _computed(op: Primitive, operands: Sequence[Any], params: dict[str, Any]) -> Any:
    return np.asarray(op.kernel(*operands, **params))


def _without_cotangent(op: Primitive, operand: int) -> Rule:
    rule = op.rules[operand]
    return lambda xp, g, *given, **params: rule(xp, xp.ones_like(g), *given, **params)


def _assigned(op: Primitive, operand: int) -> Rule:
    rule = op.rules[operand]
    return lambda xp, *given, **params: rule(engines.Assigned(xp), *given, **params)


def _swapped(other: int) -> Change:
    return lambda op, operand: op.rules[other]


SWAPPED = "The rules of two operands are exchanged: right only where the operation is symmetric."


def sorts(relative: float = 1e-4, element: float = 1e-5) -> dict[str, Sort]:
    """Return the sorts of wrong rule by name; ``relative`` and ``element`` say how wrong two are.

    >>> list(sorts())[:3]
    ['negated', 'scaled', 'dropped']
    """
    return {
        "negated": Sort(
            _after(lambda xp, piece: -piece),
            "A sign is lost, as in the derivative of a cosine or of the second term of a "
            "difference.",
        ),
        "scaled": Sort(
            scaled(relative),
            f"A constant is wrong by {relative:g} of itself: less than a check with a fixed "
            "tolerance of a thousandth can see.",
        ),
        "dropped": Sort(
            _dropped,
            "Nothing arrives at the operand: an operation that left the graph without a word.",
        ),
        "zero": Sort(
            _after(lambda xp, piece: xp.zeros_like(piece)),
            "Zeros of the right shape: they pass wherever the true gradient is below a fixed "
            "tolerance.",
        ),
        "unsummed": Sort(
            _unsummed,
            "The gradient of a broadcast operand is not summed back; its first entry has the "
            "right shape, so nothing complains.",
        ),
        "transposed": Sort(
            _after(_transposed),
            "The elements come in the order of the transpose: reshape was written for a "
            "transposition, or an axis is counted from the wrong end.",
        ),
        "rolled": Sort(
            _after(lambda xp, piece: xp.roll(piece, shift=1)),
            "Every element gets its neighbour's gradient, an index off by one: hidden from "
            "everybody who checks the gradient of a sum, where all are alike.",
        ),
        "stale": Sort(
            _stale,
            "The rule reads values that were changed after the call, as a closure in a loop "
            "does; here those of the call with all operands moved on by one element.",
        ),
        "without cotangent": Sort(
            _without_cotangent,
            "The rule gives the derivative and forgets to multiply by what arrives: right for "
            "the last operation before ``sum().backward()``, and nowhere else.",
        ),
        "one element": Sort(
            one_element(element),
            f"Only the last element is off, by {element:g} of itself: a border that is treated "
            "on its own.",
        ),
        "one occurrence": Sort(
            _assigned,
            "Of an index that occurs twice one occurrence counts: the gradient is assigned "
            "where it should be added.",
        ),
    }


def mutants(
    row: Primitive | str, relative: float = 1e-4, element: float = 1e-5
) -> Iterator[RuleMutant]:
    """Make every wrong rule of a row, for each operand that has one.

    ``relative`` and ``element`` say how far the sorts ``scaled`` and ``one element`` are off. A
    sort that cannot apply is left out: no broadcasting, one operand, one element, no scattering.

    >>> [m.name for m in mutants("exp")][:4]
    ['negated', 'scaled', 'dropped', 'zero']
    """
    op = find_row(row)
    drawn = samples(op)
    positions = sorted({i for call in drawn for i in call.wrt})
    for i in positions:
        longest = max(call.operands[i].size for call in drawn if i in call.wrt)
        left_out = {
            "unsummed": not _broadcasts(op, len(positions)),
            "one occurrence": not _scatters(op.rules[i]),
            **dict.fromkeys(("transposed", "rolled", "stale"), longest < 2),
        }
        for name, sort in sorts(relative, element).items():
            if not left_out.get(name):
                yield _mutant(op, i, name, sort)
        if len(positions) > 1:
            other = positions[positions.index(i) - 1]
            yield _mutant(op, i, "swapped", Sort(_swapped(other), SWAPPED))


def _mutant(op: Primitive, operand: int, name: str, sort: Sort) -> RuleMutant:
    wrong = replace(op, rules=Changed(op.rules, operand, sort.change(op, operand)))
    return RuleMutant(name=name, why=sort.why, op=wrong, operand=operand)


def _broadcasts(op: Primitive, operands: int) -> bool:
    """Whether an operand may be smaller than the result: not the only one of an elementwise row."""
    return op.broadcasts and (operands > 1 or op.family != "elementwise")


def _scatters(rule: Rule) -> bool:
    """Whether a rule adds at places that indices name."""
    code = getattr(rule, "__code__", None)
    return code is not None and bool({"scatter_add", "scatter_along_axis"} & set(code.co_names))
