"""How far rounding may move a gradient in a narrow dtype: from the graph, or by experience."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tinygrad_bn.graph.namespaces import arrays, tensors
from tinygrad_bn.graph.state import using
from tinygrad_bn.graph.sweep import sweep, tracked
from tinygrad_bn.graph.tensor import Tensor, leaf
from tinygrad_bn.testing.checking.subjects import Array, Arrays, Subject, dot
from tinygrad_bn.transforms.derivatives import vjp


def rounding_bound(
    function: Callable[..., list[Tensor]], values: Arrays, v: Arrays, direction: Arrays, dtype: Any
) -> float:
    """Bound, to first order, the error of ``<J'v, d>`` when it is computed in ``dtype``.

    Without one, each operation counts in its own dtype.

    The computation of the gradient is itself recorded and swept: what a relative error of one
    rounding unit in every operand and result would move the answer, all in the same direction.
    A sum of n terms may lose as a random walk of n steps does.
    """
    points = leaves_of(values)
    with using(recording=True), np.errstate(all="ignore"):
        gradients = vjp(function, *points)[1](leaves_of(v))
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


def _moved(node: Tensor, g: Any, dtype: Any) -> float:
    """Say how far rounding in one operation moves the answer, ``g`` being its adjoint.

    What no operation made is exact, and so is a copy. One that adds up many terms rounds each.
    """
    if node.op is None or any(_same(node.data, x) for x in node.values):
        return 0.0
    limits = np.finfo(dtype or node.dtype)
    units = 2 * float(limits.eps) * total(g * node.data)
    units += float(limits.smallest_subnormal) * total(g)
    for i in node.wrt if node.op.family != "elementwise" else ():
        value = node.values[i]
        piece = node.op.rules[i](arrays, g, node.data, *node.values, **node.params)
        if piece is not None:
            walk = 1 + math.sqrt(max(1, value.size / max(1, node.size)))
            units += walk * float(limits.eps) * total(piece * value)
    return units


def _same(result: Array, operand: Any) -> bool:
    return getattr(operand, "dtype", None) == result.dtype and np.array_equal(result, operand)


def experienced_bound(subject: Subject, v: Arrays, direction: Arrays, dtype: Any) -> float:
    """Estimate the same without a graph: by gradients in float64 at points that ``dtype`` rounds.

    What a rounding of the arguments does to the gradient, and a rounding of each of its terms.
    """
    eps = float(np.finfo(dtype).eps)
    here = subject.pull(subject.values, v)
    value = dot(here, direction)
    moved = []
    for k in (1, -1, 2, -3):
        signs = [np.where(np.arange(x.size) % 2, k, -k).reshape(x.shape) for x in subject.values]
        near = [x * (1 + s * eps) for x, s in zip(subject.values, signs, strict=True)]
        moved.append(abs(float(dot(subject.pull(near, v), direction) - value)))
    terms = float(dot(map(np.abs, here), map(np.abs, direction)))
    count = sum(x.size for x in subject.values)
    return 8 * max(moved) + (16 + math.sqrt(count)) * eps * terms


def leaves_of(values: Iterable[Array]) -> list[Tensor]:
    """Make a leaf that requires a gradient of each array."""
    return [leaf(x, requires_grad=True) for x in values]


def total(x: Any) -> float:
    """Sum absolute values; entries such as 0 times infinity (masked ones) carry no rounding."""
    size = np.abs(x)
    return float(np.sum(size, where=np.isfinite(size)))
