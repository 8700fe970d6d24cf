"""The reverse sweep in slow motion: one rule at a time, what it reads, what it passes on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tinygrad_bn.graph.namespaces import arrays, tensors
from tinygrad_bn.graph.state import using
from tinygrad_bn.graph.sweep import fitted, scratch, seed, tracked
from tinygrad_bn.graph.tensor import Tensor, leaf

_Array = npt.NDArray[Any]

RESULT = -1
"""The position under which a rule reads the result of its operation."""


class Part(NamedTuple):
    """What the rule of one operand gave.

    ``shape``: before it was summed to the operand's shape; ``piece``: the contribution; ``nth``
    of those to this operand; ``total``: the sum of those so far; ``reads``: the positions of the
    operands whose values the rule used, RESULT for the result.
    """

    position: int
    operand: Tensor
    shape: tuple[int, ...]
    piece: _Array
    nth: int
    total: _Array
    reads: frozenset[int]


class Application(NamedTuple):
    """The rules of one operation, applied to the cotangent ``g`` of its result."""

    node: Tensor
    g: _Array
    parts: Sequence[Part]


def applications(root: Tensor) -> list[Application]:
    """Sweep from a result of one element; the same numbers, in the same order, as ``backward``.

    >>> x = Tensor(3.0, requires_grad=True)
    >>> (step,) = applications(x * x)
    >>> [(part.nth, part.total.item(), sorted(part.reads)) for part in step.parts]
    [(1, 3.0, [1]), (2, 6.0, [0])]
    """
    token = scratch.set({})
    try:
        with np.errstate(all="ignore"):
            return list(_sweep(root))
    finally:
        scratch.reset(token)


def _sweep(root: Tensor) -> Iterator[Application]:
    """Apply the rules, the last recorded operation first."""
    totals: dict[Tensor, _Array] = {root: seed(root, None)._data}
    seen: Counter[Tensor] = Counter()
    for node in sorted(tracked([root]), key=attrgetter("index"), reverse=True):
        if not node.wrt or node not in totals:
            continue
        parts, rules = [], _Watched(node, totals[node])
        for i in node.wrt:
            operand, rule = node.inputs[i], node.op.rules[i]
            raw = rule(arrays, totals[node], node._data, *node.values, **node.params)
            if raw is None:
                continue
            piece = fitted(arrays, node, i, raw)
            seen[operand] += 1
            totals[operand] = totals[operand] + piece if operand in totals else piece
            told = raw.shape, piece, seen[operand], totals[operand], rules.read(i)
            parts.append(Part(i, operand, *told))
        yield Application(node, totals[node], parts)


class _Watched:
    """The rules of one operation, applied to tensors that stand for its own.

    A rule shares with the others of its operation what it computes.
    """

    def __init__(self, node: Tensor, g: _Array) -> None:
        self.node, self.g, self.out = node, leaf(g), leaf(node._data)
        self.operands = [
            leaf(value, requires_grad=i in node.wrt) if isinstance(value, np.ndarray) else value
            for i, value in enumerate(node.values)
        ]
        self.begin = leaf(np.empty(0)).index
        self.shared: dict[Any, Any] = {}

    def read(self, i: int) -> frozenset[int]:
        """See which operands the rule of one uses, or the tensors that they stand for."""
        node = self.node
        token = scratch.set(self.shared)
        try:
            with using(recording=True, tracing=True, scope=None, adjoint_of=None, replay=None):
                piece = node.op.rules[i](tensors, self.g, self.out, *self.operands, **node.params)
        finally:
            scratch.reset(token)
        used = _used(piece, self.begin)
        places = zip((self.out, *self.operands), (self.out, *node.inputs), strict=True)
        return frozenset(
            position
            for position, either in enumerate(places, start=RESULT)
            if any(isinstance(x, Tensor) and x in used for x in either)
        )


def _used(result: Tensor, begin: int) -> set[Tensor]:
    """Collect what was recorded since a moment, and what that was computed from."""
    found = {result}
    stack = [result]
    while stack:
        node = stack.pop()
        fresh = [x for x in node.inputs if isinstance(x, Tensor) and x not in found]
        if node.index > begin:
            found.update(fresh)
            stack += fresh
    return found
