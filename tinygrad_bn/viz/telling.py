"""What became of each node: added, removed, changed (and what), affected, or the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

from tinygrad_bn.graph.tensor import Tensor
from tinygrad_bn.viz.hashing import Operand, Recorded, parameters
from tinygrad_bn.viz.labels import clean, constant, index_text, letter, plain, shape_text
from tinygrad_bn.viz.ordering import Entry

_MANY = 4
"""Of more changes of one node than this, the rest are counted."""

_WIDEST = 24


class Mark(NamedTuple):
    """A node of the union of two graphs. ``change``: as on a card; ``changes``: what changed."""

    old: Tensor | None
    new: Tensor | None
    change: str
    changes: tuple[str, ...] = ()


def marks(a: Recorded, b: Recorded, entries: Sequence[Entry]) -> list[Mark]:
    """Say of every node of the union what became of it."""
    teller = _Teller(a, b, entries)
    return [teller.mark(i, j) for i, j in entries]


class _Teller:
    """Compares the nodes of each pair."""

    def __init__(self, a: Recorded, b: Recorded, entries: Sequence[Entry]) -> None:
        self.a, self.b = a, b
        self.partner = {i: j for i, j in entries if i is not None}
        common = set(a.role.values()) & set(b.role.values())
        self.ranks = [_ranks(side, common) for side in (a, b)]

    def mark(self, i: int | None, j: int | None) -> Mark:
        """Compare a node of the old graph with its partner in the new one."""
        old = None if i is None else self.a.nodes[i]
        new = None if j is None else self.b.nodes[j]
        if i is None or j is None:
            return Mark(old, new, "added" if i is None else "removed")
        equal = self.a.keys[i] == self.b.keys[j]
        told = [*(self._operands(i, j) if equal else self._computed(i, j)), *self._places(i, j)]
        if len(told) > _MANY:
            told[_MANY - 1 :] = [f"{len(told) - _MANY + 1} more"]
        return Mark(old, new, "changed" if told else "" if equal else "affected", tuple(told))

    def _computed(self, i: int, j: int) -> list[str]:
        """Say why two nodes do not compute the same; nothing where only their operands differ."""
        old, new = self.a.nodes[i], self.b.nodes[j]
        if old.op is None:
            return self._leaf(old, new)
        told = self._operands(i, j)
        if old.op.name != new.op.name:
            return [f"op {clean(old.op.name)} → {clean(new.op.name)}", *told]
        if self.a.own[i] != self.b.own[j]:
            told = [*self._definition(old, new), *_parameters(old, new), *told]
        return told or ([] if self._affected(i) else _facts(old, new))

    def _definition(self, old: Tensor, new: Tensor) -> list[str]:
        same = self.a.definitions[old.op] == self.b.definitions[new.op]
        return [] if same else [f"another {clean(new.op.name)}"]

    def _affected(self, i: int) -> bool:
        """Whether an operand of a node does not compute what its partner does."""
        pairs = ((x, self.partner[x]) for x in self.a.operands[i] if isinstance(x, int))
        return any(y is not None and self.a.keys[x] != self.b.keys[y] for x, y in pairs)

    def _leaf(self, old: Tensor, new: Tensor) -> list[str]:
        kinds = self.a.kind(old), self.b.kind(new)
        told = [] if kinds[0] == kinds[1] else [f"{kinds[0]} → {kinds[1]}"]
        if old.name != new.name and not (old in self.a.role or new in self.b.role):
            names = (clean(x.name or "", _WIDEST) or "none" for x in (old, new))
            told.append(_became("name", *names))
        told += _facts(old, new)
        return told or ["other values" if kinds[1] == "constant" else f"another {kinds[1]}"]

    def _places(self, i: int, j: int) -> list[str]:
        """Say where a node moved among the inputs or the results."""
        ranks = self.ranks[0].get(i), self.ranks[1].get(j)
        moved = None not in ranks and ranks[0] != ranks[1]
        told = [f"input {ranks[0]} → {ranks[1]}"] if moved else []
        if self.a.ends[i] != self.b.ends[j]:
            told.append(f"{_result(self.a, i)} → {_result(self.b, j)}")
        return told

    def _operands(self, i: int, j: int) -> list[str]:
        """Say which operands are others; where order does not matter, those not in common."""
        seen = [self.partner[x] if isinstance(x, int) else x for x in self.a.operands[i]]
        theirs = self.b.operands[j]
        if seen == theirs:
            return []
        ordered = not (self.a.commutes[i] and self.b.commutes[j])
        before, after = list(range(len(seen))), list(range(len(theirs)))
        if not ordered:
            before, after = _without(seen, theirs), _without(theirs, seen)
        return [
            self._operand(i, j, p, q, lettered=ordered)
            for p, q in zip_longest(before, after)
            if self._differs(i, j, p, q)
        ]

    def _differs(self, i: int, j: int, p: int | None, q: int | None) -> bool:
        """Whether an operand is another; of another operation, scalars may just be others."""
        if p is None or q is None:
            other = self.a.loose[i] != self.b.loose[j]
            return not (other and _is_scalar(*((self.a, i, p) if q is None else (self.b, j, q))))
        x = self.a.operands[i][p]
        return (self.partner[x] if isinstance(x, int) else x) != self.b.operands[j][q]

    def _operand(self, i: int, j: int, p: int | None, q: int | None, *, lettered: bool) -> str:
        """Tell one operand, at ``p`` in the old node and ``q`` in the new: "b: sqrt → var"."""
        scalars = _is_scalar(self.a, i, p) and _is_scalar(self.b, j, q)
        text = self._became(i, j, p, q)
        if lettered and max(_tensors(self.a, i), _tensors(self.b, j)) > 1:
            return f"{letter(max(x for x in (p, q) if x is not None))}: {text}"
        return text if scalars else f"operand: {text}"

    def _became(self, i: int, j: int, p: int | None, q: int | None) -> str:
        old, new = _word(self.a, i, p), _word(self.b, j, q)
        if p is None or q is None:
            return f"{new} added" if p is None else f"{old} removed"
        if old == new:
            old, new = (_word(self.a, i, p, named=False), _word(self.b, j, q, named=False))
        before, after = self.a.operands[i][p], self.b.operands[j][q]
        if old == new and isinstance(before, str) and isinstance(after, str):
            old, new = before, after
        return f"{old} → {new}" if old != new else f"another {new}"


def _word(side: Recorded, node: int, position: int | None, *, named: bool = True) -> str:
    """Name an operand: as the user did, else by its operation; a scalar by its value."""
    if position is None:
        return ""
    x = side.nodes[node].inputs[position]
    if _is_scalar(side, node, position):
        return constant(x.data[()] if isinstance(x, Tensor) else x)
    known = side.names[side.number[x]] if named else x.name or ""
    return clean(known, _WIDEST) or (side.kind(x) if x.op is None else clean(x.op.name))


def _is_scalar(side: Recorded, node: int, position: int | None) -> bool:
    return position is not None and isinstance(side.operands[node][position], str)


def _tensors(side: Recorded, node: int) -> int:
    return sum(isinstance(x, int) for x in side.operands[node])


def _without(some: Sequence[Operand | None], others: Sequence[Operand | None]) -> list[int]:
    """Return the places of those that are not among the others, each of which stands for one."""
    rest = Counter(others)
    left = []
    for place, x in enumerate(some):
        if rest[x]:
            rest[x] -= 1
        else:
            left.append(place)
    return left


def _parameters(old: Tensor, new: Tensor) -> list[str]:
    before, after = parameters(old), parameters(new)
    keys = [k for k in before.keys() | after.keys() if before.get(k) != after.get(k)]
    return [
        _parameter(key, old, new, before.get(key, ""), after.get(key, "")) for key in sorted(keys)
    ]


def _parameter(key: str, old: Tensor, new: Tensor, before: str, after: str) -> str:
    """Tell one static parameter, in full where in few digits both look the same."""
    values = [{**node.op.static, **node.params}.get(key) for node in (old, new)]
    short = [_value(key, value) for value in values]
    if short[0] == short[1]:
        short = [clean(before, _WIDEST), clean(after, _WIDEST)]
    return _became("" if key in ("index", "dtype") else clean(key), *short)


def _value(key: str, value: Any) -> str:
    if key == "index":
        return index_text(value)
    if key == "shape" and isinstance(value, tuple):
        return shape_text(value)
    return clean(plain(value), _WIDEST)


def _facts(old: Tensor, new: Tensor) -> list[str]:
    """Say how shape and dtype differ."""
    told = []
    if old.shape != new.shape:
        told.append(_became("shape", shape_text(old.shape), shape_text(new.shape)))
    if old.dtype != new.dtype:
        told.append(_became("", str(old.dtype), str(new.dtype)))
    return told


def _became(what: str, old: str, new: str) -> str:
    """Write what was and what is; "another" where that looks the same."""
    text = f"{old} → {new}" if old != new else "another"
    return f"{what} {text}".strip()


def _ranks(side: Recorded, common: set[str]) -> dict[int, int]:
    """Number the inputs that both graphs have."""
    shared = [side.number[x] for x in side.role if side.role[x] in common]
    return {i: rank for rank, i in enumerate(shared, 1)}


def _result(side: Recorded, node: int) -> str:
    """Say which results a node is."""
    if not side.ends[node]:
        return "no result"
    which = ", ".join(str(place + 1) for place in side.ends[node])
    return "result" if len(side.results) == 1 else f"result {which}"
