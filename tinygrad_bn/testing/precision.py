"""Rounding errors derived from the graph: of a value, and of a gradient in a narrow dtype."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_bn.graph.namespaces import arrays, tensors
from tinygrad_bn.graph.state import using
from tinygrad_bn.graph.sweep import sweep, tracked
from tinygrad_bn.graph.tensor import Tensor, leaf
from tinygrad_bn.testing.probe import Arrays, Probe
from tinygrad_bn.transforms.derivatives import vjp


def magnitude(probe: Probe, v: Arrays) -> float:
    """Sum what all intermediate values contribute to ``<v, f(x)>``, in absolute value.

    Times a rounding unit this is the noise of the function, also where the result is small
    because large values cancel in it.
    """
    with using(recording=True), np.errstate(all="ignore"):
        results = probe.function(*_leaves(probe.values))
        seeds = [(r, np.asarray(c, r.dtype)) for r, c in zip(results, v, strict=True)]
        nodes = tracked(results)
        found = sweep({r: c for r, c in seeds if r in nodes}, record=False, wanted=nodes)
        return sum(_total(g * node._data) for node, g in found.items())


def _total(x: Any) -> float:
    """Sum absolute values; entries such as 0 times infinity (masked ones) carry no rounding."""
    size = np.abs(x)
    return float(np.sum(size, where=np.isfinite(size)))


def rounding_bound(probe: Probe, v: Arrays, direction: Arrays, dtype: Any) -> float:
    """Bound, to first order, the error of ``<J'v, d>`` when it is computed in ``dtype``.

    The computation of the gradient is itself recorded and swept: what a relative error of one
    rounding unit in every operand and result would move the answer, all in the same direction.
    A sum of n terms may lose as a random walk of n steps does.
    """
    points = _leaves(probe.values)
    with using(recording=True), np.errstate(all="ignore"):
        gradients = vjp(probe.function, *points)[1](_leaves(v))
        pieces = [tensors.sum(g * leaf(d)) for g, d in zip(gradients, direction, strict=True)]
        answer = pieces[0]
        for piece in pieces[1:]:
            answer = answer + piece
        if not answer.requires_grad:
            return 0.0
        nodes = tracked([answer])
        found = sweep({answer: np.ones(answer.shape)}, record=False, wanted=nodes)
        moved = sum(_moved(node, g, dtype) for node, g in found.items())
    return float(moved)


def _leaves(values: Arrays) -> list[Tensor]:
    return [leaf(x, requires_grad=True) for x in values]


def _moved(node: Tensor, g: Any, dtype: Any) -> float:
    """Say how far rounding in one operation moves the answer, ``g`` being its adjoint."""
    limits = np.finfo(dtype)
    units = float(limits.eps) * _total(g * node._data)
    units += float(limits.smallest_subnormal) * _total(g)
    for i in node.wrt:
        value = node.values[i]
        piece = node.op.rules[i](arrays, g, node._data, *node.values, **node.params)
        if piece is not None:
            walk = 1 + math.sqrt(max(1, value.size / max(1, node.size)))
            units += walk * float(limits.eps) * _total(piece * value)
    return units
