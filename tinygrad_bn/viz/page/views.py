"""The views of a page: levels of detail, the content of each scope, the recorded gradient."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tinygrad_bn.errors import GradientError
from tinygrad_bn.graph.state import Scope
from tinygrad_bn.viz.drawing import MAX_NODES
from tinygrad_bn.viz.engines import RenderError
from tinygrad_bn.viz.model import Diagram
from tinygrad_bn.viz.page.places import Places
from tinygrad_bn.viz.reading import diagram
from tinygrad_bn.viz.subject import Subject, has_gradient, subject_of

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


@dataclass(frozen=True, slots=True)
class Large:
    """A level of too many cards to lay out."""

    label: str
    count: int


@dataclass(frozen=True, slots=True, eq=False)
class Views:
    """All views, those of the detail selector first.

    ``forward`` has every card of the graph; ``small``: which levels are good to open with.
    """

    subject: Subject
    forward: Diagram
    shown: Sequence[View | Large]
    small: Sequence[int]

    @property
    def opening(self) -> int:
        """The view to open with: the deepest small one, else the first that can be drawn."""
        drawn = (i for i, view in enumerate(self.shown) if isinstance(view, View))
        return self.small[-1] if self.small else next(drawn)


def views_of(obj: Any) -> Views:
    """Choose the views of something that holds a graph.

    Raises DTypeError where there is no tensor, RenderError where every level is too large.
    """
    bare = subject_of(obj, "none")
    forward = diagram(bare)
    outline = Places(forward)
    _refuse_large(outline)
    levels = _mirrored(obj, outline) if _has_mirror(bare) else None
    levels = levels or Levels(outline, subject_of(obj, "annotate"))
    small = [i for i, count in enumerate(levels.counts) if count <= OPENING]
    recorded = _operations(obj) if levels.mirror and levels.counts[-1] <= MAX_NODES else []
    shown = [*map(levels.view, range(len(levels.counts))), *recorded, *_focused(levels)]
    return Views(levels.subject, forward, shown, small)


def _has_mirror(bare: Subject) -> bool:
    """Whether the gradient can stand beside the graph: of one element, and of a forward graph."""
    return has_gradient(bare.results) and all(n.adjoint_of is None for n in bare.nodes())


def _mirrored(obj: Any, outline: Places) -> Levels | None:
    """Put the gradient beside the graph, if that is not too large at every level."""
    levels = Levels(outline, subject_of(obj, "rules"))
    return levels if levels.counts[0] <= MAX_NODES else None


def _refuse_large(outline: Places) -> None:
    """Refuse a graph that has no level to open with, before anything is computed for it."""
    ((least,), *_) = outline.sizes([0], {}).values()
    if least > MAX_NODES:
        raise RenderError(
            f"The graph has {least:,} cards even with every scope collapsed; a page lays out at "
            f"most {MAX_NODES}.",
            'Open scopes (with tinygrad_bn.scope("name"):) around its parts, or list all with '
            'render and the suffix ".txt".',
        )


def _operations(obj: Any) -> list[View]:
    """Show the gradient as every operation that computes it; none where it is too large.

    Nor where an operand was assigned since: the numbers are known, the graph is not.
    """
    try:
        found = diagram(subject_of(obj, "ops"), values=True)
    except GradientError:
        return []
    if len(found.cards) > MAX_NODES:
        return []
    return [View("operations", "every operation of the gradient", found, False, {})]


class Levels:
    """The levels of detail, of which all are counted and only those read that are drawn.

    ``depths``: to which depth each opens scopes, the last all; ``sizes``: for each scope how many
    cards it has at each level; ``counts``: how many there are in all.
    """

    def __init__(self, outline: Places, subject: Subject) -> None:
        self.subject, self.mirror = subject, subject.backward == "rules"
        deepest = max((cluster.depth for cluster in outline.parents), default=0)
        self.depths = [*range(min(deepest, _LEVELS)), deepest]
        sizes = outline.sizes(self.depths, subject.gradients if self.mirror else {})
        self.counts = sizes[outline.drawn.root]
        self.sizes = {
            scope: [sum(size) for size in zip(*(sizes[c] for c in clusters), strict=True)]
            for scope, clusters in outline.framed.items()
        }
        self._places: dict[int, Places] = {}

    def places(self, level: int) -> Places:
        """Read a level, if it is not known."""
        if level not in self._places:
            drawn = diagram(self.subject, depth=self.depths[level], values=True)
            self._places[level] = Places(drawn)
        return self._places[level]

    def view(self, level: int) -> View | Large:
        """Show a level, or say that it is too large."""
        label = "outermost scopes" if level == 0 else f"scopes opened to depth {level}"
        label = label if level < len(self.depths) - 1 else "all operations"
        if self.counts[level] > MAX_NODES:
            return Large(label, self.counts[level])
        places = self.places(level)
        return View("level", label, places.drawn, self.mirror, places.collapsed)


def _focused(levels: Levels) -> list[View]:
    """Show the content of each scope, at the deepest level at which it is readable."""
    chosen: list[View] = []
    budget = _FOCUSED
    for scope, sizes in itertools.islice(levels.sizes.items(), _SCOPES):
        level = _readable(levels.depths, sizes, len(scope.path))
        most = min(budget, MAX_NODES)
        if sizes[level] <= most:
            focus = _focus(levels, level, scope)
            if len(focus.drawn.cards) <= most:
                budget -= len(focus.drawn.cards)
                chosen.append(focus)
    return chosen


def _readable(depths: Sequence[int], sizes: Sequence[int], depth: int) -> int:
    """Choose the deepest level at which the content of a scope is readable, else the first."""
    holding = [level for level, opened in enumerate(depths) if opened >= depth]
    return next((level for level in reversed(holding) if sizes[level] <= OPENING), holding[0])


def _focus(levels: Levels, level: int, scope: Scope) -> View:
    """Keep the cards of one scope, and as stubs those from which and to which edges lead."""
    places = levels.places(level)
    members = places.members(scope)
    inside = set(members)
    around = places.around(members)
    if levels.mirror:
        around |= {places.owners[number] for number in around if number in places.owners}
    kept = sorted(inside | around)
    drawn = places.part(kept, members, above=len(scope.path) - 1)
    stubs = frozenset(i for i, number in enumerate(kept) if number not in inside)
    known = places.collapsed
    collapsed = {i: known[number] for i, number in enumerate(kept) if number in known}
    return View("focus", scope.name, drawn, levels.mirror, collapsed, scope, stubs)
