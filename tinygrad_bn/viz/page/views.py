"""The views of a page: levels of detail, the content of each scope, the recorded gradient."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tinygrad_bn.errors import GradientError
from tinygrad_bn.graph.state import Scope
from tinygrad_bn.viz.drawing import MAX_NODES
from tinygrad_bn.viz.engines import RenderError
from tinygrad_bn.viz.model import Cluster, Diagram
from tinygrad_bn.viz.reading import diagram, nesting
from tinygrad_bn.viz.subject import Subject, subject_of

OPENING = 40
"""A page opens with the deepest level that has no more cards."""

_FOCUSED = 2000
"""Cards that all views of single scopes may have together."""


_SCOPES = 120
"""Scopes that have a view of their own, the outermost first."""

_LEVELS = 8
"""Levels of detail that the selector offers at most, besides all operations."""


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """One picture of the page.

    ``kind``: "level", "focus" or "operations"; ``mirror``: whether the gradient is a mirror image;
    ``collapsed``: the scopes that cards stand for; ``scope``: whose content a focus shows;
    ``stubs``: cards of what enters and leaves it.
    """

    kind: str
    label: str
    drawn: Diagram
    mirror: bool
    collapsed: Mapping[int, Scope]
    scope: Scope | None = None
    stubs: frozenset[int] = frozenset()

    @property
    def fits(self) -> bool:
        """Whether it is small enough to be laid out."""
        return len(self.drawn.cards) <= MAX_NODES


@dataclass(frozen=True, slots=True, eq=False)
class Views:
    """All views, those of the detail selector first.

    ``forward`` has every card of the graph; ``small``: which levels are good to open with.
    """

    subject: Subject
    forward: Diagram
    shown: Sequence[View]
    small: Sequence[int]

    @property
    def opening(self) -> int:
        """The view to open with: the deepest small one, else the first that can be drawn."""
        fitting = (i for i, view in enumerate(self.shown) if view.fits)
        return self.small[-1] if self.small else next(fitting)


def views_of(obj: Any) -> Views:
    """Choose the views of something that holds a graph.

    Raises DTypeError where there is no tensor, RenderError where every level is too large.
    """
    bare = subject_of(obj, "none")
    _refuse_large(bare)
    mirror = _has_mirror(bare)
    subject = subject_of(obj, "rules" if mirror else "annotate")
    read = functools.partial(diagram, subject, values=True)
    full = read()
    drawn = [*(read(depth=d) for d in range(min(nesting(full), _LEVELS))), full]
    levels = [
        View("level", _label(depth, found, full), found, mirror, _collapsed(found))
        for depth, found in enumerate(drawn)
    ]
    small = [i for i, view in enumerate(levels) if len(view.drawn.cards) <= OPENING]
    recorded = _operations(obj) if mirror and levels[-1].fits else []
    shown = [*levels, *(view for view in recorded if view.fits), *_focused(levels)]
    return Views(subject, forward_of(full)[0] if mirror else full, shown, small)


def _has_mirror(bare: Subject) -> bool:
    """Whether the gradient can stand beside the graph: of one element, and of a forward graph."""
    single = len(bare.results) == 1 and bare.results[0].size == 1 and bare.results[0].requires_grad
    return single and not any(node.adjoint_of is not None for node in bare.nodes())


def _refuse_large(bare: Subject) -> None:
    """Refuse a graph that has no level to open with, before anything is computed for it."""
    least = len(diagram(bare, depth=0).cards)
    if least > MAX_NODES:
        raise RenderError(
            f"The graph has {least:,} cards even with every scope collapsed; a page lays out at "
            f"most {MAX_NODES}.",
            'Open scopes (with tinygrad_bn.scope("name"):) around its parts, or list all with '
            'render and the suffix ".txt".',
        )


def _label(depth: int, drawn: Diagram, full: Diagram) -> str:
    if drawn is full:
        return "all operations"
    return "outermost scopes" if depth == 0 else f"scopes opened to depth {depth}"


def _operations(obj: Any) -> list[View]:
    """Show the gradient as every operation that computes it; none where it cannot be recorded.

    That is where an operand was assigned since: the numbers are known, the graph is not.
    """
    try:
        found = diagram(subject_of(obj, "ops"), values=True)
    except GradientError:
        return []
    return [View("operations", "every operation of the gradient", found, False, {})]


def framed(drawn: Diagram) -> dict[Cluster, Scope]:
    """Say which scope each cluster frames."""
    found: dict[Cluster, Scope] = {}
    for number, frames in drawn.frames().items():
        path = _path(drawn, number)
        found |= {cluster: path[cluster.depth - 1] for cluster in frames if path}
    return found


def _collapsed(drawn: Diagram) -> dict[int, Scope]:
    """Say which scope each collapsed card stands for."""
    around = drawn.frames()
    scopes = (card.number for card in drawn.cards if card.kind == "scope")
    return {number: _path(drawn, number)[len(around[number])] for number in scopes}


def _path(drawn: Diagram, number: int) -> tuple[Scope, ...]:
    """Return the scopes of the first operation that a card stands for."""
    scope = next((t.scope for t in drawn.tensors[number] if t.op is not None), None)
    return () if scope is None else scope.path


def _focused(levels: Sequence[View]) -> list[View]:
    """Show the content of each scope, at the deepest level at which it is readable."""
    inside = [_contents(view.drawn) for view in levels]
    scopes = list(dict.fromkeys(scope for found in inside for scope in found))
    chosen: list[View] = []
    budget = _FOCUSED
    for scope in scopes[:_SCOPES]:
        holding = [i for i, found in enumerate(inside) if scope in found]
        readable = [i for i in holding if len(inside[i][scope]) <= OPENING]
        i = readable[-1] if readable else holding[0]
        if len(inside[i][scope]) > MAX_NODES:
            continue
        focus = _focus(levels[i], scope, inside[i][scope])
        if focus.fits and len(focus.drawn.cards) <= budget:
            budget -= len(focus.drawn.cards)
            chosen.append(focus)
    return chosen


def _contents(drawn: Diagram) -> dict[Scope, list[int]]:
    """List the cards inside each scope that is open."""
    scopes = framed(drawn)
    found: dict[Scope, list[int]] = {}
    for number, frames in drawn.frames().items():
        for cluster in frames:
            if cluster in scopes:
                found.setdefault(scopes[cluster], []).append(number)
    return found


def _focus(view: View, scope: Scope, members: list[int]) -> View:
    """Keep the cards of one scope, and as stubs those from which and to which edges lead."""
    inside = set(members)
    edges = [e for e in view.drawn.edges if not e.saved]
    around = {e.source for e in edges if e.target in inside}
    around |= {e.target for e in edges if e.source in inside}
    images = {image: card for card, image in view.drawn.beside} if view.mirror else {}
    around |= {images[number] for number in around if number in images}
    kept = sorted(inside | around)
    drawn = restricted(view.drawn, kept, members, above=len(scope.path) - 1)
    stubs = frozenset(i for i, number in enumerate(kept) if number not in inside)
    known = view.collapsed
    collapsed = {i: known[number] for i, number in enumerate(kept) if number in known}
    return View("focus", scope.name, drawn, view.mirror, collapsed, scope, stubs)


def restricted(
    drawn: Diagram, kept: Sequence[int], framed: Iterable[int], *, above: int = 0
) -> Diagram:
    """Keep some cards, numbered anew, and around the framed ones their clusters but the outer."""
    new = {number: i for i, number in enumerate(kept)}
    cards = [replace(drawn.cards[number], number=i) for number, i in new.items()]
    edges = [
        e._replace(source=new[e.source], target=new[e.target])
        for e in drawn.edges
        if e.source in new and e.target in new
    ]
    beside = [(new[a], new[b]) for a, b in drawn.beside if a in new and b in new]
    tensors = [drawn.tensors[number] for number in kept]
    root = _root(drawn, new, set(framed), above)
    return Diagram(cards, edges, root, beside, tensors)


def _root(drawn: Diagram, new: dict[int, int], framed: set[int], above: int) -> Cluster:
    """Nest the kept cards; stubs stand outside every frame."""
    root = Cluster("", 0, 0)
    copies: dict[Cluster, Cluster] = {}
    around = drawn.frames()
    for number, i in new.items():
        parent = root
        for cluster in around[number][above:] if number in framed else ():
            if cluster not in copies:
                copies[cluster] = Cluster(cluster.name, cluster.level, cluster.depth)
                parent.members.append(copies[cluster])
            parent = copies[cluster]
        parent.members.append(i)
    return root


def forward_of(drawn: Diagram) -> tuple[Diagram, list[int]]:
    """Return what a mirrored diagram mirrors, and the numbers that its cards had."""
    kept = [card.number for card in drawn.cards if card.level == 0]
    return restricted(drawn, kept, kept), kept
