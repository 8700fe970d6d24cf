"""Which node of one graph is which node of another.

Nodes that compute the same are the same. Among the rest pairs grow along the edges, from pairs
that are known to their users and operands (as in GumTree: Falleri et al. 2014, for trees), the
surest first. Every pair is looked at once for each degree of sureness, so the time is linear.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import pairwise, product
from typing import Any, NamedTuple

from tinygrad_bn.viz.hashing import Recorded
from tinygrad_bn.viz.ordering import untangled


class _Tier(NamedTuple):
    """How sure a pair is.

    ``labels``: both compute the same (keys), do the same by themselves (own), or are of one
    operation (loose); ``unique``: nothing else in their place does; ``agreeing``: they have an
    operand in common, and none is known to be another.
    """

    labels: str
    unique: bool
    agreeing: bool = False


_EQUAL = (_Tier("keys", unique=True), _Tier("keys", unique=False))
_SURE = (_Tier("own", unique=True, agreeing=True), _Tier("own", unique=True))
_ANY = (*_SURE, _Tier("own", unique=False), _Tier("loose", unique=False))
_NEXT = {tier: after for chain in (_EQUAL, _ANY) for tier, after in pairwise(chain)}


def matched(a: Recorded, b: Recorded) -> dict[int, int]:
    """Match two graphs: the number in the new one, by that in the old one.

    Pairs are looked for from the same side, whichever graph is called the old one: so the
    difference of ``b`` and ``a`` is that of ``a`` and ``b`` the other way round.
    """
    turned = (len(b.keys), b.keys) < (len(a.keys), a.keys)
    one, other = (b, a) if turned else (a, b)
    matching = _Matching(one, other)
    matching.run()
    pairs = {i: j for i, j in enumerate(matching.partner) if j is not None}
    pairs = untangled(one, other, pairs)
    return {j: i for i, j in pairs.items()} if turned else pairs


class _Matching:
    """The pairs found so far, and those whose surroundings are still to be looked at."""

    def __init__(self, a: Recorded, b: Recorded) -> None:
        self.a, self.b = a, b
        self.partner: list[int | None] = [None] * len(a.nodes)
        self.inverse: list[int | None] = [None] * len(b.nodes)
        here, there = set(a.keys), set(b.keys)
        self.free_a = [key in there for key in a.keys]
        self.free_b = [key in here for key in b.keys]
        self.stacks: dict[_Tier, deque[tuple[int, int]]] = {t: deque() for t in (*_EQUAL, *_ANY)}
        self.refused: set[tuple[int, int]] = set()

    def run(self) -> None:
        """Pair what is equal; then the rest, from there, from results, names and rare labels."""
        self.equal()
        self.open_rest()
        self.named()
        self.grow(_SURE)
        for sure in (self.ends_that_agree, self.ends, self.unique):
            sure()
            self.grow(_SURE)
        self.grow(_ANY)
        for found in (self.replaced, self.unique, self.replaced, self.titled):
            found()
            self.grow(_ANY)
        self.in_order(lambda side, i: None if side.anonymous[i] else side.keys[i])

    # where pairs begin -------------------------------------------------------------------------

    def equal(self) -> None:
        """Pair what computes the same; of copies, those of the same users, then by their order."""
        self._once(lambda side, i: side.keys[i])
        for i, j in zip(self.a.results, self.b.results, strict=False):
            if self.a.keys[i] == self.b.keys[j]:
                self._try(i, j)
        self.grow(_EQUAL)
        self.in_order(lambda side, i: (side.keys[i], side.where[i]) if _made(side, i) else None)
        self.in_order(lambda side, i: side.keys[i] if _made(side, i) else None)
        self.grow(_EQUAL)

    def open_rest(self) -> None:
        """Open what is not in the other graph, and leaves; a copy too many of a result is alone.

        So no edge leads from the rest to what is equal, unless it begins at a leaf. The latest of
        the pairs will be looked at first: it has the fewest users.
        """
        self.stacks[_SURE[0]] = deque(sorted(self.stacks[_SURE[0]]))
        here, there = set(self.a.keys), set(self.b.keys)
        for side, free, partner, other in (
            (self.a, self.free_a, self.partner, there),
            (self.b, self.free_b, self.inverse, here),
        ):
            for i, key in enumerate(side.keys):
                free[i] = partner[i] is None and (key not in other or not _made(side, i))

    def ends_that_agree(self) -> None:
        """Pair results of one place that do the same to an operand in common."""
        for i, j in zip(self.a.results, self.b.results, strict=False):
            if self.a.own[i] == self.b.own[j] and self._agree(i, j):
                self._try(i, j)

    def ends(self) -> None:
        """Pair results of one place that are of one operation."""
        for i, j in zip(self.a.results, self.b.results, strict=False):
            if self.a.loose[i] == self.b.loose[j]:
                self._try(i, j)

    def named(self) -> None:
        """Pair what has the same name, also in a formula, and is of one operation, or a leaf."""
        self._once(_named)

    def titled(self) -> None:
        """Pair operations of one name given by the user, whatever they are."""
        self._once(lambda side, i: side.nodes[i].name if _made(side, i) else None)

    def unique(self) -> None:
        """Pair what alone does what it does, by itself, in scopes of the same names."""
        self._once(lambda side, i: (side.own[i], side.where[i]))

    def replaced(self) -> None:
        """Pair operations on the same operands with a user, or a result, in common."""
        waiting: dict[tuple[Any, ...], deque[int]] = defaultdict(deque)
        for i in self._open(self.a, self.free_a):
            waiting[tuple(_tensors(self.a, i))].append(i)
        for j in self._open(self.b, self.free_b):
            known = tuple(self.inverse[x] for x in _tensors(self.b, j))
            candidates = waiting.get(known) if known else None
            while candidates and not self.free_a[candidates[0]]:
                candidates.popleft()
            if candidates and self._serve_alike(candidates[0], j):
                self._try(candidates.popleft(), j)
                self.grow(_ANY)

    # how they grow -----------------------------------------------------------------------------

    def grow(self, tiers: Sequence[_Tier]) -> None:
        """Pair the users and operands of pairs, the surest first, until no more are found."""
        while (tier := next((t for t in tiers if self.stacks[t]), None)) is not None:
            i, j = self.stacks[tier].pop()
            if self._neighbours(i, j, tier) and tier in _NEXT:
                self.stacks[_NEXT[tier]].appendleft((i, j))

    def _neighbours(self, i: int, j: int, tier: _Tier) -> bool:
        """Pair what is around a pair; returns whether there is anything to pair on both sides."""
        mine = self._around(self.a, self.free_a, i, tier)
        theirs = self._around(self.b, self.free_b, j, tier) if mine else {}
        for place, ours in mine.items():
            known = [x for x in ours if self.free_a[x]]
            new = [y for y in theirs.get(place, ()) if self.free_b[y]]
            if tier.unique and not len(known) == len(new) == 1:
                continue
            for x, y in zip(known, new, strict=False):
                if not tier.agreeing or self._agree(x, y):
                    self._try(x, y)
        return bool(theirs)

    def _around(
        self, side: Recorded, free: list[bool], i: int, tier: _Tier
    ) -> dict[tuple[str, int, Hashable], dict[int, None]]:
        """Collect the open users and operands of a node by place and by what they do.

        Where order does not matter any place will do, but the same place is surer.
        """
        labels: Sequence[Hashable] = getattr(side, tier.labels)
        found: dict[tuple[str, int, Hashable], dict[int, None]] = defaultdict(dict)
        for position, user in side.users[i]:
            if free[user]:
                place = -1 if side.commutes[user] and not tier.unique else position
                found["user", place, labels[user]][user] = None
        for position, operand in enumerate(side.operands[i]):
            if isinstance(operand, int) and free[operand]:
                place = -1 if side.commutes[i] and not tier.unique else position
                found["operand", place, labels[operand]][operand] = None
        return found

    def _agree(self, i: int, j: int) -> bool:
        """Whether no operand is known to be another, and one is in common or may be, or none is."""
        if (i, j) in self.refused:
            return False
        ours, theirs = _tensors(self.a, i), _tensors(self.b, j)
        if self.a.commutes[i]:
            pairs = [(x, y) for x, y in product(ours, theirs) if self.partner[x] in (y, None)]
            pairs = pairs or list(product(ours, theirs))
        else:
            pairs = list(zip(ours, theirs, strict=False))
        if any(self.partner[x] != y for x, y in pairs if self._known(x, y)):
            self.refused.add((i, j))
            return False
        may_be = (self._known(x, y) or self.a.own[x] == self.b.own[y] for x, y in pairs)
        return not pairs or any(may_be)

    def _known(self, x: int, y: int) -> bool:
        return self.partner[x] is not None or self.inverse[y] is not None

    def _serve_alike(self, i: int, j: int) -> bool:
        """Whether two nodes are used alike: as the same operand of a pair, or as a result."""
        used = {(p, self.partner[u]) for p, u in self.a.users[i]}
        return self.a.ends[i] == self.b.ends[j] != [] or any(u in used for u in self.b.users[j])

    # pairs -------------------------------------------------------------------------------------

    def _try(self, i: int, j: int) -> None:
        if self.free_a[i] and self.free_b[j]:
            self._pair(i, j)

    def _pair(self, i: int, j: int) -> None:
        self.partner[i], self.inverse[j] = j, i
        self.free_a[i] = self.free_b[j] = False
        self.stacks[_EQUAL[0]].append((i, j))
        self.stacks[_SURE[0]].append((i, j))

    def _open(self, side: Recorded, free: list[bool]) -> Iterator[int]:
        return (i for i in range(len(side.nodes)) if free[i])

    def _once(self, label: Callable[[Recorded, int], Hashable]) -> None:
        """Pair what no other open node of either graph has the label of."""
        a, b = self.a, self.b
        mine = [(label(a, i), i) for i in self._open(a, self.free_a) if not a.anonymous[i]]
        theirs = [(label(b, j), j) for j in self._open(b, self.free_b) if not b.anonymous[j]]
        times = (Counter(key for key, _ in mine), Counter(key for key, _ in theirs))
        known = {key: i for key, i in mine if key is not None and times[0][key] == 1}
        for key, j in theirs:
            if key in known and times[1][key] == 1:
                self._try(known[key], j)

    def in_order(self, label: Callable[[Recorded, int], Hashable]) -> None:
        """Pair the first open node of a label with the first, the second with the second."""
        a, b = self.a, self.b
        waiting: dict[Hashable, deque[int]] = defaultdict(deque)
        for i in self._open(a, self.free_a):
            waiting[label(a, i)].append(i)
        for j in list(self._open(b, self.free_b)):
            candidates = waiting.get(key := label(b, j))
            if key is not None and candidates:
                self._try(candidates.popleft(), j)


def _named(side: Recorded, i: int) -> Hashable:
    """Return what a node is known by, if it has a name."""
    what = side.loose[i] if _made(side, i) else "leaf"
    return (side.names[i], what) if side.names[i] else None


def _made(side: Recorded, i: int) -> bool:
    return side.nodes[i].op is not None


def _tensors(side: Recorded, i: int) -> list[int]:
    return [x for x in side.operands[i] if isinstance(x, int)]
