"""The reverse sweep: one walk from results to leaves, one rule per node and operand.

Nodes are numbered as they are recorded, so the order of recording is a topological order and no
walk needs recursion. Cotangents live in the sweep, never on nodes: sweeping twice is exact.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextvars import ContextVar
from operator import attrgetter
from typing import Any

import numpy as np

from tinygrad_bn.errors import GradientError, ShapeError
from tinygrad_bn.graph.namespaces import arrays, engine, tensors
from tinygrad_bn.graph.primitive import Array, describe
from tinygrad_bn.graph.state import State, current, using
from tinygrad_bn.graph.tensor import Operand, Tensor, as_constant, leaf

_by_index = attrgetter("index")

scratch: ContextVar[dict[Any, Any]] = ContextVar("tinygrad_bn.scratch")
"""What the rules of one sweep share among themselves; it is forgotten with the sweep."""


def tracked(roots: Iterable[Tensor], ends: Collection[Tensor] = ()) -> set[Tensor]:
    """Collect every tensor through which a gradient of the roots can pass, roots included.

    The walk takes in the tensors ``ends`` and does not go past them.
    """
    seen = {root for root in roots if root._requires_grad}
    stack = list(seen)
    while stack:
        node = stack.pop()
        if node in ends:
            continue
        inputs = node.inputs
        for i in node.wrt:
            parent = inputs[i]
            if parent not in seen:
                seen.add(parent)
                stack.append(parent)
    return seen


def ancestors(roots: Iterable[Tensor]) -> list[Tensor]:
    """List all recorded tensors that the roots were computed from, in recording order."""
    seen = set(roots)
    stack = list(seen)
    while stack:
        for parent in stack.pop().inputs:
            if isinstance(parent, Tensor) and parent not in seen:
                seen.add(parent)
                stack.append(parent)
    return sorted(seen, key=_by_index)


def leading_to(nodes: Iterable[Tensor], wanted: Collection[Tensor]) -> set[Tensor]:
    """Keep the nodes (given in recording order) on a path to one of the wanted tensors."""
    useful = set(wanted)
    for node in nodes:
        inputs = node.inputs
        for i in node.wrt:
            if inputs[i] in useful:
                useful.add(node)
                break
    return useful


def sweep(
    cotangents: Mapping[Tensor, Array],
    *,
    record: bool,
    wanted: Collection[Tensor] | None = None,
    stop: bool = False,
) -> dict[Tensor, Array]:
    """Propagate cotangents of results to the leaves (or to the wanted tensors) and return them.

    With ``record`` the cotangents are Tensors and the sweep is recorded; else ndarrays. With
    ``stop`` it ends at each wanted tensor: what passes through one to another is not counted.
    Leaves that no path reaches are absent from the answer.
    """
    targets: Collection[Tensor] = wanted or ()
    order = sorted(tracked(cotangents, targets if stop else ()), key=_by_index)
    useful = None if wanted is None else leading_to(order, wanted)
    pending = dict(cotangents)
    token = scratch.set({})
    try:
        with np.errstate(all="ignore"):
            walk = _record if record else _compute
            walk(order, pending, targets, useful, stop=stop)
    finally:
        scratch.reset(token)
    return pending


def _compute(
    order: list[Tensor],
    pending: dict[Tensor, Array],
    targets: Collection[Tensor],
    useful: Collection[Tensor] | None,
    *,
    stop: bool,
) -> None:
    """Apply the rules of all nodes, the last recorded first, on bare arrays."""
    while order:
        node = order.pop()
        wrt = node.wrt
        if not wrt or (g := pending.pop(node, None)) is None:
            continue
        if node._retains or node in targets:
            pending[node] = g
            if stop and node in targets:
                continue
        rules, inputs, values, params = node.op.rules, node.inputs, node.values, node.params
        for i in wrt:
            parent = inputs[i]
            if useful is not None and parent not in useful:
                continue
            piece = rules[i](arrays, g, node._data, *values, **params)
            if piece is None:
                continue
            value = values[i]
            if piece.shape != value.shape or piece.dtype is not value.dtype:
                piece = fitted(arrays, node, i, piece)
            if parent in pending:
                pending[parent] = pending[parent] + piece
            else:
                pending[parent] = piece


def _record(
    order: list[Tensor],
    pending: dict[Tensor, Tensor],
    targets: Collection[Tensor],
    useful: Collection[Tensor] | None,
    *,
    stop: bool,
) -> None:
    """Apply the rules of all nodes on tensors, recording them as adjoints of their nodes."""
    while order:
        node = order.pop()
        if not node.wrt or (g := pending.pop(node, None)) is None:
            continue
        if node._retains or node in targets:
            pending[node] = g
            if stop and node in targets:
                continue
        _refuse_stale(node)
        with using(scope=node.context.scope, adjoint_of=node):
            for i in node.wrt:
                parent = node.inputs[i]
                if useful is not None and parent not in useful:
                    continue
                piece = node.op.rules[i](tensors, g, node, *node.inputs, **node.params)
                if piece is None:
                    continue
                if piece.shape != parent.shape or piece.dtype != parent.dtype:
                    piece = fitted(tensors, node, i, piece)
                pending[parent] = pending[parent] + piece if parent in pending else piece


def _refuse_stale(node: Tensor) -> None:
    """Raise if an operand was assigned since: a recorded gradient would mix two values."""
    for operand, value in zip(node.inputs, node.values, strict=True):
        if isinstance(operand, Tensor) and operand._data is not value:
            raise GradientError(
                f"A recorded gradient passes {node.op.name} at {node.where}, whose operand "
                f"{operand.name or operand.op or 'parameter'} was assigned after the recording.",
                "Form the gradient before assigning, or run the forward pass again.",
            )


def fitted(xp: Any, node: Tensor, i: int, piece: Array) -> Array:
    """Give a cotangent its operand's shape (summing what was broadcast) and dtype."""
    shape, dtype = node.values[i].shape, node.values[i].dtype
    if piece.shape != shape:
        if not node.op.broadcasts:
            raise GradientError(
                f"The rule of {node.op.name} for operand {i} gave a gradient of shape "
                f"{piece.shape}; the operand is {describe(node.values[i])}.",
                "Correct the rule: a gradient has the shape of its operand.",
            )
        piece = unbroadcast(xp, piece, shape)
    return piece if piece.dtype == dtype else xp.astype(piece, dtype)


def unbroadcast(xp: Any, g: Array, shape: tuple[int, ...]) -> Array:
    """Sum ``g`` over the axes along which ``shape`` was broadcast (the adjoint of broadcasting).

    >>> unbroadcast(arrays, np.ones((4, 2, 3)), (2, 1)).tolist()
    [[12.0], [12.0]]
    """
    if g.shape == shape:
        return g
    lead = g.ndim - len(shape)
    if lead < 0:
        return xp.broadcast_to(g, shape)
    if lead:
        g = xp.sum(g, axis=tuple(range(lead)))
    axes = tuple(i for i, n in enumerate(shape) if n == 1 and g.shape[i] != 1)
    if axes:
        g = xp.sum(g, axis=axes, keepdims=True)
    return g if g.shape == shape else xp.broadcast_to(g, shape)


def seed(root: Tensor, gradient: Operand | None) -> Tensor:
    """Return the cotangent to start from: the given one, checked, or one for a single element."""
    if not root._requires_grad:
        raise GradientError(
            f"backward of a tensor of shape {root.shape} that does not require a gradient.",
            "Compute it from a tensor with requires_grad=True, outside no_grad, and through "
            "differentiable operations.",
        )
    if gradient is None:
        if root.size != 1:
            raise GradientError(
                f"backward of a tensor of shape {root.shape} without a cotangent.",
                "Reduce it to one element (loss.mean()), or pass gradient= of its shape.",
            )
        return start(root)
    cotangent = as_constant(gradient)
    if cotangent.shape != root.shape:
        raise ShapeError(
            f"backward of a tensor of shape {root.shape}: gradient has shape {cotangent.shape}.",
            "Pass a cotangent of the tensor's own shape.",
        )
    return cotangent if cotangent.dtype == root.dtype else tensors.astype(cotangent, root.dtype)


def start(root: Tensor) -> Tensor:
    """Return the one that a sweep of a single element begins with: the first adjoint of its root.

    >>> start(Tensor([2.0])).tolist()
    [1.0]
    """
    one = leaf(np.ones(root.shape, root.dtype))
    one.context = State(adjoint_of=root)
    return one


def backward(root: Tensor, gradient: Operand | None, *, create_graph: bool) -> None:
    """Add gradients to ``grad`` of leaves and retained tensors (the method ``Tensor.backward``)."""
    one = seed(root, gradient)
    record = create_graph or current().tracing
    if create_graph:
        with using(recording=True):
            found = sweep({root: one}, record=True)
    else:
        found = sweep({root: one if record else one._data}, record=record)
    for target, g in found.items():
        if target.op is None or target._retains:
            new = g if record else leaf(np.asarray(g))
            target.grad = new if target.grad is None else target.grad + new


engine.backward = backward
