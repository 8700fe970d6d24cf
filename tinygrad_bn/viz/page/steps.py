"""The reverse sweep in slow motion: one rule applied at a time, with what it contributes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tinygrad_bn.graph.namespaces import arrays
from tinygrad_bn.graph.sweep import fitted, scratch, seed, tracked
from tinygrad_bn.graph.tensor import Tensor

_Array = npt.NDArray[Any]


class Part(NamedTuple):
    """What the rule of one operand gave.

    ``shape``: before it was summed to the operand's shape; ``piece``: the contribution;
    ``nth`` of ``of``; ``total``: the sum of those so far.
    """

    position: int
    operand: Tensor
    shape: tuple[int, ...]
    piece: _Array
    nth: int
    of: int
    total: _Array


class Application(NamedTuple):
    """The rules of one operation, applied to the cotangent ``g`` of its result."""

    node: Tensor
    g: _Array
    parts: Sequence[Part]


def applications(root: Tensor) -> list[Application]:
    """Sweep from a result of one element; the same numbers, in the same order, as ``backward``.

    >>> x = Tensor(3.0, requires_grad=True)
    >>> [step] = applications(x * x)
    >>> [(part.nth, part.of, part.total.item()) for part in step.parts]
    [(1, 2, 3.0), (2, 2, 6.0)]
    """
    token = scratch.set({})
    try:
        with np.errstate(all="ignore"):
            found = list(_sweep(root))
    finally:
        scratch.reset(token)
    counts = Counter(part.operand for step in found for part in step.parts)
    return [
        step._replace(parts=[part._replace(of=counts[part.operand]) for part in step.parts])
        for step in found
    ]


def _sweep(root: Tensor) -> Iterator[Application]:
    """Apply the rules, the last recorded operation first; how many meet is not known yet."""
    totals: dict[Tensor, _Array] = {root: seed(root, None)._data}
    seen: Counter[Tensor] = Counter()
    for node in sorted(tracked([root]), key=attrgetter("index"), reverse=True):
        if not node.wrt or node not in totals:
            continue
        parts = []
        for i in node.wrt:
            operand = node.inputs[i]
            raw = node.op.rules[i](arrays, totals[node], node._data, *node.values, **node.params)
            if raw is None:
                continue
            value = node.values[i]
            fits = raw.shape == value.shape and raw.dtype == value.dtype
            piece = raw if fits else fitted(arrays, node, i, raw)
            seen[operand] += 1
            totals[operand] = totals[operand] + piece if operand in totals else piece
            nth, total = seen[operand], totals[operand]
            parts.append(Part(i, operand, raw.shape, piece, nth, 0, total))
        yield Application(node, totals[node], parts)
