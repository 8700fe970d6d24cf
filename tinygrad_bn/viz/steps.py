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
from tinygrad_bn.graph.sweep import ancestors, fitted, scratch, seed, tracked
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
        parts = []
        for i in node.wrt:
            operand, rule = node.inputs[i], node.op.rules[i]
            raw = rule(arrays, totals[node], node._data, *node.values, **node.params)
            if raw is None:
                continue
            piece = fitted(arrays, node, i, raw)
            seen[operand] += 1
            totals[operand] = totals[operand] + piece if operand in totals else piece
            read = _read(node, i, totals[node])
            parts.append(Part(i, operand, raw.shape, piece, seen[operand], totals[operand], read))
        yield Application(node, totals[node], parts)


def _read(node: Tensor, i: int, g: _Array) -> frozenset[int]:
    """Apply a rule to tensors that stand for its own, and see which of them it uses."""
    out = leaf(node._data)
    operands = [leaf(v) if isinstance(v, np.ndarray) else v for v in node.values]
    token = scratch.set({})
    try:
        with using(recording=True, tracing=True, scope=None, adjoint_of=None, replay=None):
            piece = node.op.rules[i](tensors, leaf(g), out, *operands, **node.params)
    finally:
        scratch.reset(token)
    used = {x for n in ancestors([piece]) for x in n.inputs if isinstance(x, Tensor)}
    places = enumerate([out, *operands], start=RESULT)
    return frozenset(i for i, x in places if isinstance(x, Tensor) and (x in used or x is piece))
