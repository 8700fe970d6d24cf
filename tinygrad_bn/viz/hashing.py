"""What each node of a graph computes, as a digest: equal digests, the same computation.

A digest is made of the operation, its static parameters, its shape and dtype, and the digests of
its operands, so that it is made once for each node, however often the node is used. It is the
same in every process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, TypeAlias

import numpy as np

from tinygrad_bn.graph.tensor import Tensor, Variable
from tinygrad_bn.viz.definitions import definition, digest
from tinygrad_bn.viz.labels import plain
from tinygrad_bn.viz.reading import COMMUTING, Reader
from tinygrad_bn.viz.subject import Subject

Operand: TypeAlias = int | str
"""The number of a node, or the text of a scalar."""

_LARGEST = 2**53
"""Up to here an integer and the float of its value are the same scalar."""


class Recorded:
    """One graph, numbered as it is listed, with tables by number.

    ``own`` says what a node does by itself, its scalars included; ``loose`` the same without
    scalars and parameters; ``keys`` what it computes. ``users`` gives (operand, user);
    ``anonymous`` leaves have no role, no name, and are in one graph: alone they are not paired.
    """

    def __init__(self, subject: Subject, roles: Sequence[str], known: Mapping[Tensor, str]) -> None:
        reader = Reader(subject)
        self.nodes = list(reader.place)
        self.number = {node: i for i, node in enumerate(self.nodes)}
        self.role = dict(zip(subject.inputs, roles, strict=True))
        self.ends: list[list[int]] = [[] for _ in self.nodes]
        for place, result in enumerate(subject.results):
            self.ends[self.number[result]].append(place)
        self.results = [self.number[result] for result in subject.results]
        names = {path: tuple(s.name for s in path) for path in set(reader.path.values())}
        self.where = [(reader.level[n], names[reader.path[n]]) for n in self.nodes]
        self.commutes = [n.op is not None and n.op.symbol in COMMUTING for n in self.nodes]
        self.operands: list[list[Operand]] = [
            [
                self.number[x] if isinstance(x, Tensor) and x in self.number else scalar(x)
                for x in n.inputs
            ]
            for n in self.nodes
        ]
        self.users: list[list[tuple[int, int]]] = [[] for _ in self.nodes]
        for user, operands in enumerate(self.operands):
            for position, operand in enumerate(operands):
                if isinstance(operand, int):
                    self.users[operand].append((position, user))
        self.names = [n.name or reader.titles.get(n, "") for n in self.nodes]
        self.known = {n: told for n, told in known.items() if self.kind(n) != "constant"}
        told = self.role.keys() | self.known.keys()
        self.anonymous = [n.op is None and not n.name and n not in told for n in self.nodes]
        self.loose = [self.kind(n) if n.op is None else f"op {n.op.name}" for n in self.nodes]
        self.definitions = {op: definition(op) for op in {n.op for n in self.nodes if n.op}}
        self.own = [self._own(i) for i in range(len(self.nodes))]
        self.keys: list[bytes] = []
        for i in range(len(self.nodes)):
            self.keys.append(self._key(i))

    def kind(self, leaf: Tensor) -> str:
        """Say what a leaf is: an input, a parameter, or a constant."""
        if leaf in self.role:
            return "input"
        if leaf.requires_grad or isinstance(leaf, Variable):
            return "parameter"
        return "input" if leaf.name else "constant"

    def _is_constant(self, i: int) -> bool:
        return self.anonymous[i] and self.kind(self.nodes[i]) == "constant"

    def _own(self, i: int) -> str:
        """Say what a node does by itself: the operation and all of it that is no tensor."""
        node = self.nodes[i]
        if node.op is None:
            told = self.role.get(node) or node.name or ""
            itself = self.known.get(node, "")
            return repr((self.loose[i], told, itself, () if told else facts(node)))
        scalars = ["·" if isinstance(x, int) else x for x in self.operands[i]]
        given = sorted(scalars) if self.commutes[i] else scalars
        return repr((self.loose[i], self.definitions[node.op], parameters(node), given))

    def _key(self, i: int) -> bytes:
        """Make the digest of a node from those of its operands.

        A leaf is known by its role or name, shape and dtype (its values are data), and one that is
        in both graphs by itself. One without a name is a constant, and known by its values. Scalars
        are part of what a node does by itself.
        """
        told = [self.keys[x].hex() for x in self.operands[i] if isinstance(x, int)]
        given = sorted(told) if self.commutes[i] else told
        given += [digest(self.nodes[i].data)] if self._is_constant(i) else []
        text = repr((self.own[i], facts(self.nodes[i]), given))
        return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def roles(a: Sequence[Tensor], b: Sequence[Tensor]) -> list[list[str]]:
    """Name the inputs of two traces so that the same input has the same name in both.

    Where they agree in number, shapes and dtypes, the same place makes the same input, whatever
    it is called. Otherwise the same name does, and for those left over their order. Where one
    graph is no trace, inputs are known by their names, as its leaves are.
    """
    if not a or not b:
        return [[x.name or f"input {i}" for i, x in enumerate(inputs)] for inputs in (a, b)]
    if [facts(x) for x in a] == [facts(x) for x in b]:
        places = [f"input {i}" for i in range(len(a))]
        return [places, places]
    common = {x.name for x in a} & {x.name for x in b}
    return [_by_name(inputs, common) for inputs in (a, b)]


def _by_name(inputs: Sequence[Tensor], common: set[str | None]) -> list[str]:
    rest = [x for x in inputs if x.name not in common]
    order = {x: f"input {i}" for i, x in enumerate(rest)}
    return [order.get(x) or f"input named {x.name}" for x in inputs]


def known(one: Subject, other: Subject) -> dict[Tensor, str]:
    """Number the leaves that are in both graphs: each is itself there, whatever it is called."""
    both = set(other.nodes())
    leaves = (x for x in one.nodes() if x.op is None and x in both)
    return {x: f"leaf {i}" for i, x in enumerate(leaves)}


def facts(node: Tensor) -> tuple[tuple[int, ...], str]:
    """Return the shape and a code of the dtype."""
    return node.shape, node.dtype.str


def parameters(node: Tensor) -> dict[str, str]:
    """Write the static parameters, those at their defaults too, in the order of their names.

    Axes are counted from the front.
    """
    static = {**node.op.static, **node.params}
    if "axis" in static:
        static["axis"] = _from_the_front(static["axis"], node)
    return {key: _written(static[key]) for key in sorted(static)}


def _from_the_front(axis: Any, node: Tensor) -> Any:
    """Count axes from the front: of the operand, or of the result if that has more."""
    if isinstance(axis, tuple):
        return tuple(_from_the_front(a, node) for a in axis)
    first = node.values[0] if node.values else node.data
    ndim = max(np.ndim(first), node.ndim)
    return axis + ndim if isinstance(axis, int) and -ndim <= axis < 0 else axis


def scalar(value: Any) -> str:
    """Write a scalar in full; 2 and 2.0 are the same, since the result's dtype tells the rest.

    >>> scalar(2), scalar(np.float32(0.5)), scalar(True)
    ('2.0', '0.5', 'True')
    """
    if isinstance(value, Tensor):
        value = value.data
    bare = value.item() if isinstance(value, np.ndarray | np.generic) else value
    small = type(bare) is int and abs(bare) < _LARGEST
    return repr(float(bare) if small else bare)


def _written(value: Any) -> str:
    known: tuple[tuple[Any, Callable[[Any], str]], ...] = (
        (tuple | list, lambda v: f"({', '.join(map(_written, v))})"),
        (int | float | complex | np.generic, scalar),
        (str, repr),
    )
    return next((write(value) for kind, write in known if isinstance(value, kind)), plain(value))
