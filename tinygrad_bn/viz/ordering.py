"""Two graphs whose nodes are matched, merged into one order: operands before users."""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from tinygrad_bn.viz.hashing import Recorded

Entry: TypeAlias = tuple[int | None, int | None]
"""A node of the union: its number in the old graph and in the new one."""


def untangled(a: Recorded, b: Recorded, pairs: Mapping[int, int]) -> dict[int, int]:
    """Take pairs apart until the union of the graphs has no cycle.

    A cycle needs two pairs that stand in one order here and in the other there, neither of them
    equal. Of those that are in or behind a cycle the longest run in one order can close none.
    """
    stuck = _sorted(a, b, pairs)[1]
    crossing = [(i, j) for i, j in stuck if i is not None and j is not None]
    crossing = sorted((i, j) for i, j in crossing if a.keys[i] != b.keys[j])
    apart = dict(set(crossing) - set(increasing(crossing)))
    return {i: j for i, j in pairs.items() if i not in apart}


def merged(a: Recorded, b: Recorded, pairs: Mapping[int, int]) -> list[Entry]:
    """List every node of both graphs once, operands before users.

    What was removed stands where it stood, before what was added there.
    """
    return _sorted(a, b, pairs)[0]


def _sorted(a: Recorded, b: Recorded, pairs: Mapping[int, int]) -> tuple[list[Entry], list[Entry]]:
    """Sort the union topologically; returns what was sorted, and what is stuck in cycles."""
    entries = _listed(a, b, pairs)
    places = (
        {i: n for n, (i, _) in enumerate(entries)},
        {j: n for n, (_, j) in enumerate(entries)},
    )
    later: list[list[int]] = [[] for _ in entries]
    needs = [0] * len(entries)
    for side, place in zip((a, b), places, strict=True):
        for node, users in enumerate(side.users):
            for _, user in users:
                later[place[node]].append(place[user])
                needs[place[user]] += 1
    ready = [n for n, count in enumerate(needs) if not count]
    order = []
    while ready:
        n = heapq.heappop(ready)
        order.append(n)
        for user in later[n]:
            needs[user] -= 1
            if not needs[user]:
                heapq.heappush(ready, user)
    stuck = [entry for entry, count in zip(entries, needs, strict=True) if count]
    return [entries[n] for n in order], stuck


def _listed(a: Recorded, b: Recorded, pairs: Mapping[int, int]) -> list[Entry]:
    """List the new graph; what was removed stands after what stood before it."""
    after: dict[int, list[Entry]] = defaultdict(list)
    last = -1
    for i in range(len(a.nodes)):
        if i in pairs:
            last = pairs[i]
        else:
            after[last].append((i, None))
    inverse = {j: i for i, j in pairs.items()}
    entries = after[-1]
    for j in range(len(b.nodes)):
        entries += [(inverse.get(j), j), *after[j]]
    return entries


def increasing(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the longest run of pairs (sorted by the first) in which the second increases too.

    >>> increasing([(0, 2), (1, 0), (2, 1)])
    [(1, 0), (2, 1)]
    """
    ends: list[int] = []
    places: list[int] = []
    before: list[int] = []
    for n, (_, j) in enumerate(pairs):
        place = bisect_left(ends, j)
        before.append(places[place - 1] if place else -1)
        ends[place : place + 1], places[place : place + 1] = [j], [n]
    run: list[tuple[int, int]] = []
    n = places[-1] if places else -1
    while n >= 0:
        run.append(pairs[n])
        n = before[n]
    return run[::-1]
