"""Wrong engines: reverse walks with one bug each, to take the place of the right one.

``Walk`` is the engine's own walk taken apart into steps; a wrong one overrides one of them. What
it says of itself (its docstring) is the bug and where it was met.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import numpy as np

from tinygrad_bn.graph import sweep as sweeping
from tinygrad_bn.graph.namespaces import arrays, tensors
from tinygrad_bn.graph.state import using
from tinygrad_bn.graph.tensor import Tensor

Pending = dict[Tensor, Any]
Nodes = Collection[Tensor]


class Walk:
    """The right walk, step by step.

    ``xp``: ``arrays`` for the bare sweep, ``tensors`` for the recorded one. ``memory``: what a
    wrong engine keeps from one sweep to the next; this one keeps nothing.
    """

    def __init__(self, xp: Any, memory: Pending) -> None:
        self.xp, self.memory = xp, memory

    def __call__(
        self, order: list[Tensor], pending: Pending, targets: Nodes, useful: Any, *, stop: bool
    ) -> None:
        """Pass the pending cotangents back to the leaves, or to the targets."""
        for node in self.arranged(order, pending):
            if not node.wrt or (g := pending.pop(node, None)) is None:
                continue
            if node._retains or node in targets:
                pending[node] = g
                if stop and node in targets:
                    continue
            self.spread(node, g, pending, useful)

    def arranged(
        self,
        order: list[Tensor],
        pending: Pending,  # noqa: ARG002  (for walks that begin at the results)
    ) -> Iterable[Tensor]:
        """Put the nodes (given in the order of recording) into that of the walk."""
        return reversed(order)

    def spread(self, node: Tensor, g: Any, pending: Pending, useful: Any) -> None:
        """Apply the rules of one node, and give each operand its piece."""
        with self._recording(node):
            for i, parent in parents(node, useful):
                piece = self.rule(node, i, g)
                if piece is not None:
                    self.give(pending, parent, self.fitted(node, i, piece))

    def _recording(self, node: Tensor) -> AbstractContextManager[Any]:
        if self.xp is arrays:
            return nullcontext()
        sweeping._refuse_stale(node)
        return using(scope=node.context.scope, adjoint_of=node)

    def rule(self, node: Tensor, i: int, g: Any) -> Any:
        """Apply the rule of one operand to what the node keeps."""
        xp, operands = self.namespace(node), self.operands(node)
        return node.op.rules[i](xp, g, self.result(node), *operands, **node.params)

    def namespace(self, node: Tensor) -> Any:  # noqa: ARG002  (for an engine that tells them apart)
        """Choose what the rules of a node compute with."""
        return self.xp

    def operands(self, node: Tensor) -> Iterable[Any]:
        """Look up the operands that a node keeps for its rules."""
        return node.values if self.xp is arrays else node.inputs

    def result(self, node: Tensor) -> Any:
        """Look up the result that a node keeps for its rules."""
        return node._data if self.xp is arrays else node

    def fitted(self, node: Tensor, i: int, piece: Any) -> Any:
        """Give a piece the shape and dtype of its operand."""
        value = node.values[i]
        if piece.shape == value.shape and piece.dtype == value.dtype:
            return piece
        return sweeping.fitted(self.xp, node, i, piece)

    def give(self, pending: Pending, parent: Tensor, piece: Any) -> None:
        """Add a piece to what has arrived at an operand."""
        pending[parent] = pending[parent] + piece if parent in pending else piece


def parents(node: Tensor, useful: Nodes | None) -> list[tuple[int, Tensor]]:
    """List the operands of a node through which gradients are wanted, with their positions."""
    found = ((i, node.inputs[i]) for i in node.wrt)
    return [(i, x) for i, x in found if useful is None or x in useful]


def walks(kind: type[Walk]) -> dict[str, Callable[..., None]]:
    """Make both walks of an engine, under the names that they replace; a sweep gets a new one."""
    memory: Pending = {}

    def walk(xp: Any, /, *given: Any, stop: bool) -> None:
        """Walk with nothing left over but the memory."""
        kind(xp, memory)(*given, stop=stop)

    return {"_compute": partial(walk, arrays), "_record": partial(walk, tensors)}


# wrong orders -------------------------------------------------------------------------------------


class Recursion(Walk):
    """A node passes on all that it has whenever something arrives: no topological order.

    What is used twice passes on its first cotangent again with the second: micrograd's most asked
    question. It takes exponential time, too.
    """

    def __call__(
        self, order: list[Tensor], pending: Pending, targets: Nodes, useful: Any, *, stop: bool
    ) -> None:
        """Go down every path by itself."""
        stack = list(pending)
        while stack:
            node = stack.pop()
            if node not in pending or (stop and node in targets):
                continue
            sweeping.scratch.get().clear()  # rules share work for one cotangent; here come more
            self.spread(node, pending[node], pending, useful)
            stack += [parent for _, parent in reversed(parents(node, useful))]
        for node in order:
            if node.wrt and not node._retains and node not in targets:
                pending.pop(node, None)


class BreadthFirst(Walk):
    """Every node once, the nearest to the result first: what a longer path brings is lost.

    A queue in place of a topological order, the usual second attempt after recursion.
    """

    def arranged(self, order: list[Tensor], pending: Pending) -> Iterator[Tensor]:
        """Queue the operands of each node behind those that wait."""
        queue = list(pending)
        unseen = set(order).difference(queue)
        for node in queue:
            yield node
            new = dict.fromkeys(parent for _, parent in parents(node, unseen))
            unseen.difference_update(new)
            queue += new


class Forwards(Walk):
    """The order of recording, not its reverse: nodes come before their cotangents have arrived.

    Only what the result is made of directly gets a gradient.
    """

    def arranged(
        self,
        order: list[Tensor],
        pending: Pending,  # noqa: ARG002  (as above)
    ) -> Iterable[Tensor]:
        """Leave the nodes as they are."""
        return list(order)


# wrong sums ---------------------------------------------------------------------------------------


class Overwriting(Walk):
    """``=`` for ``+=``: of several uses of a value only the last one met counts.

    The first version of nearly every small engine, and right until something is used twice.
    """

    def give(self, pending: Pending, parent: Tensor, piece: Any) -> None:
        """Put a piece in the place of what has arrived."""
        pending[parent] = piece


class Shared(Walk):
    """Pieces are added in place, to an array that another operand holds as well.

    The rule of a sum gives both operands the very same array: ``+=`` on one changes the other.
    """

    def give(self, pending: Pending, parent: Tensor, piece: Any) -> None:
        """Let all who hold the same array see the sum."""
        held = pending.get(parent)
        holders = [parent] if held is None else [t for t, g in pending.items() if g is held]
        total = piece if held is None else held + piece
        pending.update(dict.fromkeys(holders, total))


class Leftovers(Walk):
    """Cotangents stay on the nodes, and nothing clears them: a second sweep begins with them.

    micrograd gives 324 for 216 when ``backward`` is called twice. One sweep of a graph is right;
    a second derivative sweeps it twice.
    """

    def give(self, pending: Pending, parent: Tensor, piece: Any) -> None:
        """Begin with what an earlier sweep has left."""
        if parent not in pending and parent in self.memory:
            piece = piece + self.memory[parent]
        super().give(pending, parent, piece)
        kept = pending[parent]
        self.memory[parent] = kept._data if isinstance(kept, Tensor) else kept


class Unsummed(Walk):
    """The gradient of what was broadcast is not summed: its first entry stands for all.

    Frameworks have lost this sum for broadcast biases and for scalars, without an error.
    """

    def fitted(self, node: Tensor, i: int, piece: Any) -> Any:
        """Cut a piece to the shape of its operand."""
        if node.op.broadcasts:
            piece = first_entries(piece, node.values[i].shape)
        return super().fitted(node, i, piece)


def first_entries(piece: Any, shape: tuple[int, ...]) -> Any:
    """Take the first entry along every axis that was broadcast from ``shape``.

    >>> first_entries(np.arange(6.0).reshape(2, 3), (1,))
    array([0.])
    """
    lead = piece.ndim - len(shape)
    if lead < 0 or piece.shape == shape:
        return piece
    kept = (slice(0, 1) if n == 1 else slice(None) for n in shape)
    return piece[(*(0,) * lead, *kept)]


# wrong values -------------------------------------------------------------------------------------


class LateBinding(Walk):
    """Rules read the operands of the last call of their operation, not those of their own.

    A closure made in a loop sees the loop's variables as they are after it: all layers use the
    last one's weights.
    """

    def __call__(
        self, order: list[Tensor], pending: Pending, targets: Nodes, useful: Any, *, stop: bool
    ) -> None:
        """Note the last call of each operation first."""
        self._last = {_alike(node): node for node in order}
        super().__call__(order, pending, targets, useful, stop=stop)

    def operands(self, node: Tensor) -> Iterable[Any]:
        """Look up the operands of the last call."""
        return super().operands(self._last[_alike(node)])

    def result(self, node: Tensor) -> Any:
        """Look up the result of the last call."""
        return super().result(self._last[_alike(node)])


def _alike(node: Tensor) -> Any:
    """Tell apart the calls that could share one closure: by operation, parameters and shapes."""
    if node.op is None:
        return node
    return node.op, str(node.params), *(getattr(value, "shape", ()) for value in node.values)


class InPlace(Walk):
    """An operation writes its result over its first operand, which the rule then reads.

    ``x *= y``, ``relu_(x)``: what other frameworks count versions of every tensor to find out.
    """

    def operands(self, node: Tensor) -> Iterable[Any]:
        """Find the result where the first operand was."""
        first, *others = super().operands(node)
        out, value = node._data, node.values[0]
        if node.op.family != "elementwise" or getattr(value, "shape", None) != out.shape:
            return [first, *others]
        return [self.result(node), *others]


class Narrow(Walk):
    """Everything on the way back is float32, whatever it was on the way there.

    A buffer of zeros in the default dtype is enough: eight digits of sixteen are lost.
    """

    def fitted(self, node: Tensor, i: int, piece: Any) -> Any:
        """Round a piece to float32."""
        return self.xp.astype(super().fitted(node, i, piece), np.float32)


class Assigned:
    """A namespace that writes where it should add: of repeated indices one counts alone."""

    def __init__(self, xp: Any) -> None:
        self._xp = xp

    def __getattr__(self, name: str) -> Any:
        return getattr(self._xp, name)

    def scatter_add(self, g: Any, key: Any, *, shape: tuple[int, ...]) -> Any:
        """Write a gradient to zeros of ``shape``."""
        value = g if isinstance(g, Tensor) else np.asarray(g)
        return self._xp.index_set(self._xp.zeros(shape, dtype=g.dtype), value, key)

    def scatter_along_axis(self, g: Any, indices: Any, *, shape: tuple[int, ...], axis: int) -> Any:
        """Write a gradient to zeros of ``shape``, for each row along an axis to its own places."""
        place: list[Any] = list(np.ogrid[tuple(slice(n) for n in shape)])
        place[axis] = indices
        return self.scatter_add(g, tuple(place), shape=shape)


class Scattered(Walk):
    """Where an index occurs twice, one occurrence gets the gradient: ``=`` in place of adding.

    The gradient of ``x[[0, 0, 1]].sum()`` is [2, 1, 0]; autograd, too, has had it wrong once.
    """

    def namespace(self, node: Tensor) -> Any:
        """Let the rules of indexing assign."""
        return Assigned(self.xp) if node.op.family == "indexing" else self.xp
