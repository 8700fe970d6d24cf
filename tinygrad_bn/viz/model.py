"""The diagram: cards, edges and nested clusters, between a recorded graph and any output.

Cards are numbered in recording order, so that the same program gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tinygrad_bn.graph.tensor import Tensor

SIGNS = {"added": "+", "removed": "−", "changed": "~", "affected": "↓"}
"""What became of a card in the diagram of a difference, by its sign."""


class Line(NamedTuple):
    """What a card says of an array; ``alarm`` marks NaN and infinities."""

    text: str
    alarm: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One drawn node.

    ``kind``: op, scope (a collapsed scope), parameter, input, constant, gradient (of one tensor)
    or seed. ``level``: 0 in the forward graph, 1 in its gradient, 2 in the gradient of that.
    ``image``: whether it is the mirror image of a card.
    ``badge``: what it does; ``call``: the same as text, with operands. ``note``: what a collapsed
    scope holds, or how many contributions a gradient sums; ``holds``: the names of what is inside
    a collapsed scope and has a gradient. In the diagram of a difference, ``change``: added,
    removed, changed, or affected (the same operation on changed operands); ``changes``: what
    changed.
    """

    number: int
    kind: str
    badge: str
    family: str = ""
    level: int = 0
    image: bool = False
    name: str = ""
    shape: str = ""
    dtype: str = ""
    call: str = ""
    note: str = ""
    holds: tuple[str, ...] = ()
    result: bool = False
    value: Line | None = None
    gradient: Line | None = None
    change: str = ""
    changes: tuple[str, ...] = ()

    @property
    def backward(self) -> bool:
        """Whether it and the arrows that lead to it are red: a gradient is passed back to it."""
        return self.image or self.level % 2 == 1


class Edge(NamedTuple):
    """From the card of an operand to the card that uses it.

    ``operand``: its position; ``mark``: a letter where the order matters; ``saved``: a value of
    the forward graph used in its gradient; ``flows``: whether a gradient passes back along it;
    ``change``: added or removed, in a difference.
    """

    source: int
    target: int
    operand: int
    mark: str = ""
    saved: bool = False
    flows: bool = False
    change: str = ""


@dataclass(slots=True, eq=False)
class Cluster:
    """A scope that is drawn as a frame; ``members`` are numbers of cards, and inner clusters."""

    name: str
    level: int
    depth: int
    members: list[int | Cluster] = field(default_factory=list)
    image: bool = False

    @property
    def backward(self) -> bool:
        """Whether it is red, as the cards inside are."""
        return self.image or self.level % 2 == 1


def shared(one: Sequence[Cluster], other: Sequence[Cluster]) -> int:
    """Count the outermost clusters that two cards have in common."""
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a is not b), min(len(one), len(other)))


class Comparison(NamedTuple):
    """What a diagram compares: the names of two graphs, and how many nodes are what."""

    title: str
    counts: dict[str, int]


@dataclass(frozen=True, slots=True, eq=False)
class Diagram:
    """Everything that is drawn.

    ``beside`` pairs a forward card with a card of its gradient; ``tensors`` has those that each
    card stands for, in recording order: one, or all that a collapsed scope holds. ``comparison``:
    for a difference of two graphs, whose union is then drawn.
    """

    cards: list[Card]
    edges: list[Edge]
    root: Cluster
    beside: list[tuple[int, int]]
    tensors: list[list[Tensor]]
    comparison: Comparison | None = None
    _frames: dict[int, tuple[Cluster, ...]] = field(default_factory=dict, init=False, repr=False)

    def walk(self, level: int | None = None) -> Iterator[Cluster | int | None]:
        """Visit clusters and cards in order, all or of one level; None closes a cluster.

        No recursion: scopes may nest as deeply as they like.
        """
        stack = [iter([m for m in self.root.members if level is None or self._level(m) == level])]
        while stack:
            member = next(stack[-1], None)
            if member is None:
                stack.pop()
                if not stack:
                    return
            elif isinstance(member, Cluster):
                stack.append(iter(member.members))
            yield member

    def frames(self) -> dict[int, tuple[Cluster, ...]]:
        """Return the clusters around each card, from the outermost; they are found once."""
        found = self._frames
        if found:
            return found
        stack: list[tuple[Cluster, ...]] = [()]
        for member in self.walk():
            if isinstance(member, Cluster):
                stack.append((*stack[-1], member))
            elif member is None:
                stack.pop()
            else:
                found[member] = stack[-1]
        return found

    @property
    def levels(self) -> list[int]:
        """The levels there are: 0 forward, 1 its gradient, and so on."""
        return sorted({card.level for card in self.cards})

    def _level(self, member: Cluster | int) -> int:
        return member.level if isinstance(member, Cluster) else self.cards[member].level
