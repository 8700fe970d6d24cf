"""How far down each card stands: what comes after a frame comes after all of it."""

from __future__ import annotations

from collections import defaultdict

from tinygrad_bn.viz.model import Cluster, Diagram, Edge, shared

ALIGNED = 300
"""Pairs of a card and its gradient are aligned up to this many cards: it costs time."""


def ranks_of(diagram: Diagram) -> dict[Edge, int]:
    """Say how many ranks the edges between sibling clusters span.

    All of the later cluster comes after the earlier one. Where ranks overlap, the engine puts
    the clusters side by side, and a chain of layers runs off along the diagonal.
    """
    frames = diagram.frames()
    heights = {n: [0] * (len(inside) + 1) for n, inside in frames.items()}
    edges = sorted((e for e in diagram.edges if not e.saved), key=lambda e: e.target)
    for edge in edges:
        above, height = heights[edge.source], heights[edge.target]
        for depth in range(shared(frames[edge.source], frames[edge.target]) + 1):
            height[depth] = max(height[depth], above[depth] + 1)
    extents: dict[Cluster, int] = defaultdict(int)
    for number, inside in frames.items():
        for cluster, height_inside in zip(inside, heights[number][1:], strict=True):
            extents[cluster] = max(extents[cluster], height_inside)
    ranks: dict[Edge, int] = {}
    for edge in edges:
        source, target = frames[edge.source], frames[edge.target]
        common = shared(source, target)
        if min(len(source), len(target)) > common:
            below = extents[source[common]] - heights[edge.source][common + 1]
            ranks[edge] = 1 + below + heights[edge.target][common + 1]
    return ranks
