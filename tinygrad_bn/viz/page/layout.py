"""Where things stand: cards of a fixed size, laid out by the engine, the gradient beside them."""

from __future__ import annotations

import functools
import json
import time
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from tinygrad_bn.errors import OptionalDependencyError
from tinygrad_bn.viz.engines import RenderError, picture
from tinygrad_bn.viz.model import Card, Cluster, Diagram, Edge
from tinygrad_bn.viz.page.places import forward_of
from tinygrad_bn.viz.page.views import View
from tinygrad_bn.viz.ranks import ALIGNED, ranks_of

Point: TypeAlias = tuple[float, float]
Box: TypeAlias = tuple[float, float, float, float]
"""Left, top, width, height; all lengths are in pixels of the page at zoom 1."""

HEIGHT = 44
_NARROWEST, _WIDEST = 132, 300
_THUMBNAIL = 38
_BESIDE = 84
"""Between the forward graph and its mirror image."""

SCREEN = (1150, 820)
"""The space that a common screen has for a graph."""


class Frame(NamedTuple):
    """A cluster where it stands."""

    cluster: Cluster
    box: Box


@dataclass(slots=True)
class Layout:
    """Boxes of cards by number, frames of clusters (outer ones first), paths of edges.

    All cards are ``card`` wide. A path is the control points of cubic curves, from the source to
    the tip of the arrow.
    """

    width: float
    height: float
    card: int
    cards: dict[int, Box] = field(default_factory=dict)
    frames: list[Frame] = field(default_factory=list)
    paths: dict[int, list[Point]] = field(default_factory=dict)

    @property
    def scale(self) -> float:
        """How large all of it can be drawn on a common screen."""
        return min(SCREEN[0] / max(self.width, 1.0), SCREEN[1] / max(self.height, 1.0))


class Manner(NamedTuple):
    """How the engine is asked to lay out: the direction, and how straight the main lines are."""

    direction: str
    weight: int


_MANNERS = Manner("TB", 12), Manner("TB", 1), Manner("LR", 1)


class Engine:
    """The engine of one page: asked once for each DOT text, and in all no longer than allowed."""

    def __init__(self, name: str = "auto", timeout: float = 30.0) -> None:
        self._draw = functools.partial(picture, form="json0", dpi=72, engine=name)
        self._timeout, self._left = timeout, timeout
        self._known: dict[str, Any] = {}

    def answer(self, source: str) -> Any:
        """Return the layout of a DOT text, as read from JSON.

        Raises OptionalDependencyError where there is no engine, RenderError where it fails or the
        page takes too long.
        """
        if source not in self._known:
            self._known[source] = json.loads(self._asked(source))
        return self._known[source]

    def _asked(self, source: str) -> bytes:
        if self._left <= 0:
            raise self._late()
        start = time.monotonic()
        try:
            found = self._draw(source, timeout=self._left)
        except RenderError:
            if time.monotonic() - start < self._left:
                raise
            raise self._late() from None
        self._left -= time.monotonic() - start
        if found is None:
            raise OptionalDependencyError(
                "No layout engine was found for the page.",
                "Run pip install graphviz-pure, or install Graphviz so that dot is on PATH.",
            )
        return found

    def _late(self) -> RenderError:
        return RenderError(
            f"The views of the page were not laid out within {self._timeout:g} seconds.",
            "Allow more time with timeout=, or explore a smaller part of the graph.",
        )


def layout_of(view: View, engine: Engine) -> Layout:
    """Lay out a view in straight lines from top to bottom.

    Where that is too wide for a screen, the manner in which it can be drawn largest is taken.
    """
    first, *others = _MANNERS
    found = _laid_out(view, first, engine)
    if found.scale >= 1 or found.width * SCREEN[1] <= found.height * SCREEN[0]:
        return found
    return max([found, *(_laid_out(view, m, engine) for m in others)], key=lambda laid: laid.scale)


def _laid_out(view: View, manner: Manner, engine: Engine) -> Layout:
    card = width_of(view.drawn.cards)
    if not view.mirror:
        return _by_engine(view.drawn, card, manner, engine)
    forward, numbers = forward_of(view.drawn)
    below = _by_engine(forward, card, manner, engine)
    return _Mirroring(view.drawn, forward, numbers, below).read(sideways=manner.direction == "TB")


# the engine's part ----------------------------------------------------------------------------


def _by_engine(drawn: Diagram, card: int, manner: Manner, engine: Engine) -> Layout:
    return _read(engine.answer(_dot(drawn, card, manner)), drawn, card)


def _dot(drawn: Diagram, card: int, manner: Manner) -> str:
    """Write boxes, frames and edges as DOT; no text of the user's is in it."""
    lines = [
        f"digraph {{ rankdir={manner.direction}; newrank=true; nodesep=0.2; ranksep=0.3;",
        "node [shape=box, fixedsize=true, margin=0]; edge [arrowsize=0.6];",
    ]
    size = card / 72, HEIGHT / 72
    opened = 0
    for level in drawn.levels:
        lines.append(f"subgraph cluster_level{level} {{ peripheries=0; margin=4;")
        for member in drawn.walk(level):
            if isinstance(member, Cluster):
                lines.append(f"subgraph cluster_{opened} {{ {_title(member)}")
                opened += 1
            else:
                lines.append("}" if member is None else _node(member, size))
        lines.append("}")
    lines += _edges(drawn, manner.weight)
    return "\n".join([*lines, "}"])


def _node(number: int, size: tuple[float, float]) -> str:
    return f"n{number} [width={size[0]:.4f}, height={size[1]:.4f}];"


def _title(cluster: Cluster) -> str:
    """Keep room for the title of a frame: an empty table of its size."""
    cell = f'<TD FIXEDSIZE="TRUE" WIDTH="{text_width(cluster.name, 12) + 12:.0f}" HEIGHT="13"></TD>'
    table = f'<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0" CELLPADDING="0"><TR>{cell}</TR>'
    return f"margin=11; labeljust=l; label=<{table}</TABLE>>;"


def _edges(drawn: Diagram, heaviest: int) -> Iterable[str]:
    """Write the edges but those of saved values; those of a gradient backwards: it flows up."""
    ranks, straight = ranks_of(drawn), _longest(drawn)
    for i, edge in enumerate(drawn.edges):
        if not edge.saved:
            ends, weight = _ends(edge, drawn.cards), heaviest if i in straight else 1
            length = ranks.get(edge, 1)
            yield f"n{ends[0]} -> n{ends[1]} [id=e{i}, minlen={length}, weight={weight}];"
    if len(drawn.cards) <= ALIGNED:
        for one, other in drawn.beside:
            yield f"n{one} -> n{other} [style=invis, minlen=0];"


def _longest(drawn: Diagram) -> set[int]:
    """Choose for each card the edge on the longest way to it: these are drawn straight."""
    heights = [0] * len(drawn.cards)
    chosen: dict[int, int] = {}
    for i, edge in sorted(enumerate(drawn.edges), key=lambda pair: pair[1].target):
        if not edge.saved and heights[edge.source] + 1 > heights[edge.target]:
            heights[edge.target] = heights[edge.source] + 1
            chosen[edge.target] = i
    return set(chosen.values())


def _ends(edge: Edge, cards: Sequence[Card]) -> tuple[int, int]:
    back = cards[edge.target].level % 2
    return (edge.target, edge.source) if back else (edge.source, edge.target)


def _read(answer: dict[str, Any], drawn: Diagram, card: int) -> Layout:
    """Read positions, with the origin at the top left."""
    _, _, width, height = map(float, answer["bb"].split(","))
    laid = Layout(width, height, card)
    clusters = [m for level in drawn.levels for m in drawn.walk(level) if isinstance(m, Cluster)]
    for thing in answer["objects"]:
        name = thing["name"]
        if "pos" in thing and name.startswith("n"):
            x, y = map(float, thing["pos"].split(","))
            w, h = float(thing["width"]) * 72, float(thing["height"]) * 72
            laid.cards[int(name[1:])] = (x - w / 2, height - y - h / 2, w, h)
        elif "bb" in thing and not name.startswith("cluster_level"):
            left, low, right, high = map(float, thing["bb"].split(","))
            box = (left, height - high, right - left, high - low)
            laid.frames.append(Frame(clusters[int(name.removeprefix("cluster_"))], box))
    for found in answer.get("edges", ()):
        if "id" in found:
            i = int(found["id"][1:])
            path = _path(found["pos"], height)
            back = drawn.cards[drawn.edges[i].target].level % 2
            laid.paths[i] = path[::-1] if back else path
    laid.frames.sort(key=lambda frame: frame.cluster.depth)
    return laid


def _path(text: str, height: float) -> list[Point]:
    """Read a spline; the arrow's tip, given apart, takes the place of the last point."""
    points: list[Point] = []
    tip: Point | None = None
    for word in text.split():
        *mark, x, y = word.split(",")
        point = (float(x), height - float(y))
        if mark:
            tip = point
        else:
            points.append(point)
    return [*points[:-1], tip] if tip else points


# the mirror image -----------------------------------------------------------------------------


class _Mirroring:
    """Repeats a layout beside itself for the gradients: each beside its card, arrows turned."""

    def __init__(
        self, drawn: Diagram, forward: Diagram, numbers: Sequence[int], below: Layout
    ) -> None:
        self.drawn, self.forward, self.numbers, self.below = drawn, forward, numbers, below
        self.images = dict(drawn.beside)
        self.cards = {numbers[i]: box for i, box in below.cards.items()}

    def read(self, *, sideways: bool) -> Layout:
        """Make the whole layout; the mirror image stands at the side, or below."""
        shift = self._shift(0 if sideways else 1)
        cards = dict(self.cards)
        for number, image in self.images.items():
            cards[image] = _moved(self.cards[number], shift)
        frames = sorted(self._frames(shift), key=lambda frame: frame.cluster.depth)
        boxes = [*cards.values(), *(frame.box for frame in frames)]
        width = max((x + w for x, _, w, _ in boxes), default=0.0) + 8
        height = max((y + h for _, y, _, h in boxes), default=0.0) + 8
        return Layout(width, height, self.below.card, cards, frames, self._paths(shift))

    def _shift(self, axis: int) -> Point:
        """Say how far the image stands away; what has no image at its near side leaves no gap."""
        size = (self.below.width, self.below.height)[axis]
        first = min((self.cards[number][axis] for number in self.images), default=0.0)
        distance = size + _BESIDE - max(first - 24, 0.0)
        return (0.0, distance) if axis else (distance, 0.0)

    def _frames(self, shift: Point) -> Iterable[Frame]:
        """Put the frames of the image where those of the graph are."""
        around, own = self.drawn.frames(), self.forward.frames()
        boxes = {frame.cluster: frame.box for frame in self.below.frames}
        placed: dict[Cluster, Box] = {}
        for i, number in enumerate(self.numbers):
            known = [boxes[cluster] for cluster in own[i]]
            placed.update(zip(around[number], known, strict=True))
            if number in self.images:
                moved = [_moved(box, shift) for box in known]
                placed.update(zip(around[self.images[number]], moved, strict=True))
        return [Frame(cluster, box) for cluster, box in placed.items()]

    def _paths(self, shift: Point) -> dict[int, list[Point]]:
        """Give each edge its path; one of the image has that of its forward edge, turned."""
        known: dict[Point, list[tuple[int, list[Point]]]] = {}
        for i, path in self.below.paths.items():
            edge = self.forward.edges[i]
            ends = self.numbers[edge.source], self.numbers[edge.target]
            known.setdefault(ends, []).append((edge.operand, path))
        back = {image: number for number, image in self.images.items()}
        paths: dict[int, list[Point]] = {}
        for i, edge in enumerate(self.drawn.edges):
            if edge.saved:
                continue
            if edge.target in back:
                path = _of(known[back[edge.target], back[edge.source]], edge.operand)
                paths[i] = [(x + shift[0], y + shift[1]) for x, y in reversed(path)]
            else:
                paths[i] = _of(known[edge.source, edge.target], edge.operand)
        return paths


def _of(paths: Sequence[tuple[int, list[Point]]], operand: int) -> list[Point]:
    return next((path for i, path in paths if i == operand), paths[-1][1])


def _moved(box: Box, shift: Point) -> Box:
    return (box[0] + shift[0], box[1] + shift[1], box[2], box[3])


# text -----------------------------------------------------------------------------------------

_EAST_ASIAN = 0x2E80
_BOLD = 1.08
"""Bold text, against text that is not."""

_WIDTHS = {
    0.23: "ijl'|",
    0.28: "ftI .,:;!/[]",
    0.34: "()-r·²³",
    0.5: "Jckszvxy∂",
    0.67: "ABEKPSVXY&ΓΔΣ",
    0.73: "CDHNRUw∞",
    0.78: "GOQmΩω",
    0.84: "M",
    0.9: "%@W—",
    1.0: "…→←",
}
_WIDTH_OF = {c: width for width, characters in _WIDTHS.items() for c in characters}


def text_width(text: str, size: float) -> float:
    """Estimate how wide a text is in the page's font, Helvetica or one of its widths."""
    return size * sum(map(_character_width, text))


def _character_width(c: str) -> float:
    if unicodedata.combining(c):
        return 0.0
    return _WIDTH_OF.get(c, 1.0 if ord(c) >= _EAST_ASIAN else 0.59)


_LONG = 74
"""A badge whose text is wider is written smaller."""


def badge_width(badge: str) -> float:
    """Say how wide a badge is drawn."""
    wide = text_width(badge, 13) * _BOLD
    return min(max(30.0, (wide if wide <= _LONG else wide * 11.5 / 13) + 14), 112.0)


def width_of(cards: Sequence[Card]) -> int:
    """Choose one width for all cards of a view: so they stand in columns."""
    needed = max(map(_needed, cards), default=0.0)
    return round(min(max(needed, _NARROWEST), _WIDEST))


def _needed(card: Card) -> float:
    badge = badge_width(card.badge) + 8 if card.badge else 0.0
    collapsed = card.kind == "scope"
    beside = " · ".join(filter(None, (card.shape, "" if collapsed else card.note)))
    head = text_width(card.name, 14) * _BOLD + 8 + len(beside) * 7.0
    value = card.value.text if card.value else ""
    widest = max(head, text_width(card.note if collapsed else value, 11.5))
    return 8 + badge + widest + _THUMBNAIL + 10
