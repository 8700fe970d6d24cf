"""Two graphs as one diagram: what is in both once, what was added and removed beside it."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from typing import TypeAlias, TypeVar

from tinygrad_bn.graph.tensor import Tensor
from tinygrad_bn.viz.model import SIGNS, Card, Cluster, Comparison, Diagram, Edge
from tinygrad_bn.viz.reading import COMMUTING, Place, Reader
from tinygrad_bn.viz.telling import Mark

Pair: TypeAlias = tuple[Place | None, Place | None]
"""What a card of the union stands for in the old graph and in the new one."""

One = TypeVar("One", bound=Hashable)
Other = TypeVar("Other", bound=Hashable)


def union(a: Reader, b: Reader, marks: Sequence[Mark], comparison: Comparison) -> Diagram:
    """Lay out two graphs as one. Cards are numbered in the order of the marks.

    A collapsed scope of one graph is the one of the other that has most nodes in common with it.
    """
    return _Union(a, b, marks).read(comparison)


class _Union:
    """One union of two readings."""

    def __init__(self, a: Reader, b: Reader, marks: Sequence[Mark]) -> None:
        self.a, self.b = a, b
        old = [None if mark.old is None else a.place[mark.old] for mark in marks]
        new = [None if mark.new is None else b.place[mark.new] for mark in marks]
        both = [(p, q) for p, q in zip(old, new, strict=True) if p is not None and q is not None]
        self.partner = one_to_one((p, q) for p, q in both if _alike(p, q))
        self.inverse = {q: p for p, q in self.partner.items()}
        self.pairs = set(self.partner.items())
        self.inside: dict[Pair, list[Mark]] = defaultdict(list)
        for mark, p, q in zip(marks, old, new, strict=True):
            self._put(mark, p, q)
        self.numbers = {pair: number for number, pair in enumerate(self.inside)}
        a.number = {p: n for (p, _), n in self.numbers.items() if p is not None}
        b.number = {q: n for (_, q), n in self.numbers.items() if q is not None}
        self.old, self.new = a.read(), b.read()

    def _put(self, mark: Mark, p: Place | None, q: Place | None) -> None:
        """Put a node on its card; where it moved to another, it left one and came to the other."""
        if p is not None and q is not None and (p, q) in self.pairs:
            self.inside[p, q].append(mark)
            return
        if p is not None:
            self.inside[p, self.partner.get(p)].append(mark._replace(change="removed"))
        if q is not None:
            self.inside[self.inverse.get(q), q].append(mark._replace(change="added"))

    def read(self, comparison: Comparison) -> Diagram:
        """Make the diagram."""
        cards_a = {card.number: card for card in self.old.cards}
        cards_b = {card.number: card for card in self.new.cards}
        cards = [
            _card(cards_a.get(n), cards_b.get(n), self.inside[pair])
            for pair, n in self.numbers.items()
        ]
        gone = {card.number for card in cards if card.change == "removed"}
        beside = [*self.new.beside, *(pair for pair in self.old.beside if pair[1] in gone)]
        edges, clusters = self._edges(cards), self._clusters(len(cards))
        return Diagram(cards, edges, clusters, beside, self._tensors(), comparison)

    def _tensors(self) -> list[list[Tensor]]:
        """List what each card stands for: in the new graph, or in the old one alone."""
        found = {
            card.number: tensors
            for drawn in (self.old, self.new)
            for card, tensors in zip(drawn.cards, drawn.tensors, strict=True)
        }
        return [found[number] for number in self.numbers.values()]

    # edges ---------------------------------------------------------------------------------------

    def _edges(self, cards: Sequence[Card]) -> list[Edge]:
        """Merge the edges: those of both once, the others as added and removed.

        Where a node is the same, another edge into it comes from a further copy of its operand,
        or from the other side of a sum, and is not told. What became of the operands of a changed
        node is written on its card: a letter on an old edge would stand upon that of a new one.
        """
        ordered = {n for pair, n in self.numbers.items() if _ordered(pair, cards[n])}
        old: dict[tuple[int, ...], deque[Edge]] = defaultdict(deque)
        for edge in self.old.edges:
            old[_ends(edge, ordered)].append(edge)
        merged = []
        for edge in self.new.edges:
            known = old[_ends(edge, ordered)]
            added = not known and _told(edge, cards)
            if known:
                known.popleft()
            merged.append(edge._replace(change="added" if added else ""))
        gone = [edge for rest in old.values() for edge in rest if _told(edge, cards)]
        single = [cards[edge.target].change == "removed" for edge in gone]
        merged += [
            edge._replace(change="removed", mark=edge.mark if alone else "")
            for edge, alone in zip(gone, single, strict=True)
        ]
        return sorted(merged, key=lambda edge: (edge.target, edge.operand))

    # clusters --------------------------------------------------------------------------------

    def _clusters(self, count: int) -> Cluster:
        """Nest the cards as in the new graph, and what is of the old one alone as there."""
        frames_a, frames_b = self.old.frames(), self.new.frames()
        partner = one_to_one(
            pair
            for n in frames_a.keys() & frames_b.keys()
            for pair in zip(frames_a[n], frames_b[n], strict=False)
            if pair[0].level == pair[1].level
        )
        names = {b: _name(a.name, b.name) for a, b in partner.items()}
        around = {c: frames[:k] for frames in frames_b.values() for k, c in enumerate(frames)}
        root = Cluster("", 0, 0)
        made: dict[Cluster, Cluster] = {}
        for number in range(count):
            inside = root
            frames = frames_b.get(number) or _moved(frames_a.get(number, ()), partner, around)
            for source in frames:
                if source not in made:
                    name = names.get(source, source.name)
                    made[source] = Cluster(name, source.level, inside.depth + 1)
                    inside.members.append(made[source])
                inside = made[source]
            inside.members.append(number)
        return root


def one_to_one(votes: Iterable[tuple[One, Other]]) -> dict[One, Other]:
    """Pair each with the one it is named with most often; at a tie, with the earlier.

    >>> one_to_one([("a", 1), ("a", 2), ("b", 1), ("b", 1)])
    {'b': 1, 'a': 2}
    """
    chosen: dict[One, Other] = {}
    taken: set[Other] = set()
    for (one, other), _ in Counter(votes).most_common():
        if one not in chosen and other not in taken:
            chosen[one] = other
            taken.add(other)
    return chosen


def _alike(p: Place, q: Place) -> bool:
    return isinstance(p, tuple) == isinstance(q, tuple)


def _card(old: Card | None, new: Card | None, inside: Sequence[Mark]) -> Card:
    """Mark a card with what became of it; a collapsed scope with what became of its nodes."""
    if new is None or old is None:
        change = "added" if old is None else "removed"
        return next(replace(card, change=change) for card in (old, new) if card is not None)
    if new.kind != "scope":
        (mark,) = inside
        return replace(new, change=mark.change, changes=mark.changes)
    counts = Counter(mark.change for mark in inside if mark.change)
    told = [f"{SIGNS[c]} {counts[c]}" for c in ("added", "removed", "changed") if counts[c]]
    change = "changed" if told else "affected" if counts else ""
    name = _name(old.name, new.name)
    return replace(new, name=name, change=change, changes=("  ".join(told),) if told else ())


def _name(old: str, new: str) -> str:
    return new if old == new else f"{old} → {new}"


def _ordered(pair: Pair, card: Card) -> bool:
    """Whether it matters on a changed card which operand an edge leads to."""
    node = pair[1]
    if card.change != "changed" or not isinstance(node, Tensor) or node.op is None:
        return False
    return node.op.symbol not in COMMUTING


def _ends(edge: Edge, ordered: set[int]) -> tuple[int, ...]:
    operand = edge.operand if edge.target in ordered else -1
    return edge.source, edge.target, operand


def _told(edge: Edge, cards: Sequence[Card]) -> bool:
    single = cards[edge.source].change in ("added", "removed")
    return single or cards[edge.target].change not in ("", "affected")


def _moved(
    frames: Sequence[Cluster],
    partner: dict[Cluster, Cluster],
    around: dict[Cluster, tuple[Cluster, ...]],
) -> list[Cluster]:
    """Return the clusters around a card of the old graph: of the new one as far as they pair."""
    moved: list[Cluster] = []
    for depth, cluster in enumerate(frames):
        other = partner.get(cluster)
        if other is None or around[other] != tuple(moved):
            return [*moved, *frames[depth:]]
        moved.append(other)
    return moved
