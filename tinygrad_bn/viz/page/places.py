"""Where the cards of a diagram stand: in which scopes and beside which others, in one walk."""

from __future__ import annotations

import functools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from tinygrad_bn.graph.state import Scope
from tinygrad_bn.graph.tensor import Tensor
from tinygrad_bn.viz.model import Cluster, Diagram


class Places:
    """The clusters around the cards of a diagram, and the scopes that they frame.

    Clusters are known by their parents and by what stretch of the walk is theirs, so that also
    thousands that stand in one another cost no more than they are.
    """

    def __init__(self, drawn: Diagram) -> None:
        self.drawn = drawn
        self.parents: dict[Cluster, Cluster] = {}
        self.scopes: dict[Cluster, Scope] = {}
        self._order: list[int] = []
        self._homes: dict[int, Cluster] = {}
        self._stretches: dict[Cluster, tuple[int, int]] = {}
        self._walk()

    def _walk(self) -> None:
        opened = [(self.drawn.root, 0)]
        for member in self.drawn.walk():
            if isinstance(member, Cluster):
                self.parents[member] = opened[-1][0]
                opened.append((member, len(self._order)))
            elif member is None:
                closed, start = opened.pop()
                self._stretches[closed] = start, len(self._order)
            else:
                self._homes[member] = opened[-1][0]
                self._order.append(member)
                self._recognise(member)

    def _recognise(self, number: int) -> None:
        """Say which scopes the clusters around a card frame, unless that is known."""
        home = self._homes[number]
        if home is self.drawn.root or home in self.scopes:
            return
        path = self._path(number)
        while path and home is not self.drawn.root and home not in self.scopes:
            self.scopes[home] = path[home.depth - 1]
            home = self.parents[home]

    def _path(self, number: int) -> tuple[Scope, ...]:
        """Return the scopes of the first operation that a card stands for."""
        scope = next((t.scope for t in self.drawn.tensors[number] if t.op is not None), None)
        return () if scope is None else scope.path

    @functools.cached_property
    def collapsed(self) -> dict[int, Scope]:
        """The scope that each collapsed card stands for."""
        scopes = (card.number for card in self.drawn.cards if card.kind == "scope")
        return {number: self._path(number)[self._homes[number].depth] for number in scopes}

    @functools.cached_property
    def framed(self) -> dict[Scope, list[Cluster]]:
        """The clusters of each scope, the outer scopes first: one in each direction."""
        found: dict[Scope, list[Cluster]] = {}
        for cluster in sorted(self.parents, key=lambda cluster: cluster.depth):
            if cluster in self.scopes:
                found.setdefault(self.scopes[cluster], []).append(cluster)
        return found

    def members(self, scope: Scope) -> list[int]:
        """List the cards inside a scope."""
        stretches = (self._stretches[cluster] for cluster in self.framed[scope])
        return [number for start, end in stretches for number in self._order[start:end]]

    def sizes(
        self, depths: Sequence[int], gradients: Mapping[Tensor, Tensor]
    ) -> dict[Cluster, list[int]]:
        """Count the cards in each cluster, and in the root, where deeper scopes are collapsed.

        ``gradients``: what has a card for its gradient too; a collapsed scope has one for all.
        """
        reached = (n for n in self._order if not gradients.keys().isdisjoint(self.drawn.tensors[n]))
        kinds = [Counter(self._homes.values()), Counter(self._homes[n] for n in reached)]
        found = {
            c: [[count[c]] * len(depths) for count in kinds]
            for c in (self.drawn.root, *self.parents)
        }
        for cluster, parent in reversed(self.parents.items()):
            for own, around in zip(found[cluster], found[parent], strict=True):
                for i, depth in enumerate(depths):
                    around[i] += own[i] if cluster.depth <= depth else min(own[i], 1)
        return {c: [sum(both) for both in zip(*counts, strict=True)] for c, counts in found.items()}

    # a part of the diagram -----------------------------------------------------------------------

    @functools.cached_property
    def _touching(self) -> dict[int, list[int]]:
        """The edges at each card, by their positions."""
        found: dict[int, list[int]] = defaultdict(list)
        for i, edge in enumerate(self.drawn.edges):
            found[edge.source].append(i)
            found[edge.target].append(i)
        return found

    @functools.cached_property
    def _images(self) -> dict[int, int]:
        return dict(self.drawn.beside)

    @functools.cached_property
    def owners(self) -> dict[int, int]:
        """The card that each image stands beside."""
        return {image: number for number, image in self.drawn.beside}

    @functools.cached_property
    def _positions(self) -> dict[int, int]:
        return {number: i for i, number in enumerate(self._order)}

    def around(self, members: Iterable[int]) -> set[int]:
        """Find the cards that edges join to some."""
        edges = self.drawn.edges
        touching = {i for number in members for i in self._touching[number] if not edges[i].saved}
        return {number for i in touching for number in (edges[i].source, edges[i].target)}

    def part(self, kept: Sequence[int], framed: Iterable[int], *, above: int = 0) -> Diagram:
        """Keep some cards, numbered anew; around the framed ones, their clusters but the outer."""
        drawn, new = self.drawn, {number: i for i, number in enumerate(kept)}
        cards = [replace(drawn.cards[number], number=i) for number, i in new.items()]
        touching = sorted({i for number in kept for i in self._touching[number]})
        edges = [
            edge._replace(source=new[edge.source], target=new[edge.target])
            for edge in (drawn.edges[i] for i in touching)
            if edge.source in new and edge.target in new
        ]
        pairs = [(number, self._images[number]) for number in kept if number in self._images]
        beside = [(new[number], new[image]) for number, image in pairs if image in new]
        tensors = [drawn.tensors[number] for number in kept]
        return Diagram(cards, edges, self._nested(new, set(framed), above), beside, tensors)

    def _nested(self, new: Mapping[int, int], framed: set[int], above: int) -> Cluster:
        """Nest the kept cards; the others stand outside every frame."""
        root = Cluster("", 0, 0)
        copies: dict[Cluster, Cluster] = {}
        for number in sorted(new, key=self._positions.__getitem__):
            frame = self._copied(number, copies, root, above) if number in framed else root
            frame.members.append(new[number])
        return root

    def _copied(
        self, number: int, copies: dict[Cluster, Cluster], root: Cluster, above: int
    ) -> Cluster:
        """Copy the clusters around a card, but the outer ones; return the innermost."""
        home, missing = self._homes[number], []
        while home.depth > above and home not in copies:
            missing.append(home)
            home = self.parents[home]
        inner = copies.get(home, root)
        for cluster in reversed(missing):
            copy = copies[cluster] = Cluster(cluster.name, cluster.level, cluster.depth)
            inner.members.append(copy)
            inner = copy
        return inner


def forward_of(drawn: Diagram) -> tuple[Diagram, list[int]]:
    """Return what a mirrored diagram mirrors, and the numbers that its cards had."""
    kept = [card.number for card in drawn.cards if card.level == 0]
    return Places(drawn).part(kept, kept), kept
