"""A diagram as a Mermaid flowchart, which GitHub, GitLab and notebooks draw from its text."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

from tinygrad_bn.viz.engines import RenderError
from tinygrad_bn.viz.model import SIGNS, Card, Cluster, Diagram, Edge
from tinygrad_bn.viz.style import (
    BACKWARD,
    CHANGES,
    FAMILIES,
    FORWARD,
    FRAMES,
    INK,
    LEAVES,
    SAVED,
    TINTS,
    colours,
)

EDGES, CHARACTERS = 500, 50_000
"""Mermaid draws no more unless whoever shows the page configures it so."""

_SET = '%%{init: {"flowchart": {"wrappingWidth": 320}}}%%'
"""A line of values is longer than what Mermaid takes for a line."""

_SHAPES = {
    "parameter": ("[", "]"),
    "input": ("[/", "/]"),
    "constant": ("{{", "}}"),
    "seed": ("([", "])"),
    "scope": ("[[", "]]"),
}
"""The brackets of each kind, in order square, slanted, six-sided, oval, double; else rounded."""

_DASHES = ",stroke-dasharray:5 3"

_MARKUP = re.compile(r"(?<![^\W_])[-+._]|[-+._](?![^\W_])|[!-&*:-<>@\[-^`{-~ﬂ¶]")
"""What Mermaid may take for syntax, Markdown, an icon, a formula, or (ﬂ, ¶) for its own escape."""


def mermaid(diagram: Diagram) -> str:
    """Write a diagram as a flowchart: cards as nodes whose shape is their kind, nested frames.

    Saved values are dotted. A gradient has dashed borders and a ∂ before its name. Raises
    RenderError for more than Mermaid draws.
    """
    lines = [_SET, "flowchart TB", *_nodes(diagram), *map(_edge, diagram.edges)]
    lines += [*_classes(diagram), *_frames(diagram), *_links(diagram)]
    text = "\n".join(lines) + "\n"
    if len(diagram.edges) > EDGES or len(text) > CHARACTERS:
        raise RenderError(
            f"The flowchart has {len(diagram.edges)} edges and {len(text)} characters; Mermaid "
            f"draws at most {EDGES} and {CHARACTERS}.",
            'Draw fewer nodes with depth=, or render with the suffix ".svg".',
        )
    return text


def _nodes(diagram: Diagram) -> list[str]:
    """Write the cards inside their frames, each with an end."""
    lines: list[str] = []
    opened = depth = 0
    for member in diagram.walk():
        if isinstance(member, Cluster):
            lines.append(f'{_indent(depth)}subgraph s{opened}["{_escaped(member.name)}"]')
            opened, depth = opened + 1, depth + 1
        elif member is not None:
            lines.append(_indent(depth) + _node(diagram.cards[member]))
        elif depth:
            depth -= 1
            lines.append(f"{_indent(depth)}end")
    return lines


def _indent(depth: int) -> str:
    """Indent up to a depth, so that a deep nesting stays linear in size."""
    return "  " * min(depth + 1, 16)


def _node(card: Card) -> str:
    joint = " → " if card.kind in ("op", "gradient") else " "
    name = joint.join(part for part in (card.badge, card.name) if part)
    if card.backward and "∂" not in name:
        name = f"∂ {name}"
    if card.change:
        name = f"{SIGNS[card.change]} {card.change}: {name}"
    told = [f"{name} ({card.shape})" if card.shape else name, *card.changes, card.note]
    told += [card.value.text] if card.value is not None else []
    told += [f"∂ {card.gradient.text}"] if card.gradient is not None else []
    opening, closing = _SHAPES.get(card.kind, ("(", ")"))
    label = "<br/>".join(_escaped(text) for text in told if text)
    return f'{_id(card)}{opening}"{label}"{closing}'


def _id(card: Card) -> str:
    return f"n{card.number}"


def _escaped(text: str) -> str:
    return _MARKUP.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    """Write a character by its number; what is read once more after that is kept apart."""
    return f"#{ord(found[0])};" + "#8203;" * (found[0] in "\\:$ﬂ¶")


def _edge(edge: Edge) -> str:
    arrow = "-.->" if edge.saved else "-->"
    mark = f'|"{edge.mark}"|' if edge.mark else ""
    return f"  n{edge.source} {arrow}{mark} n{edge.target}"


# colours -----------------------------------------------------------------------------------------


def _classes(diagram: Diagram) -> list[str]:
    """Write the classes of cards, in their order of appearance, and who is of which."""
    members: dict[str, list[Card]] = defaultdict(list)
    for card in diagram.cards:
        members[_class(card)].append(card)
    lines = []
    for name, cards in members.items():
        changed = cards[0].change
        fill, border = (CHANGES[changed] if changed else colours(cards[0]))[:2]
        style = f"fill:{fill},stroke:{border},color:{INK}{_DASHES * cards[0].backward}"
        lines += _class_of(map(_id, cards), name, style)
    return [*lines, *_marks(diagram.cards)]


def _marks(cards: list[Card]) -> list[str]:
    """Write the classes of results, and of what holds NaN or infinities."""
    results = [_id(card) for card in cards if card.result]
    alarmed = [_id(card) for card in cards if _alarmed(card)]
    lines = _class_of(results, "result", "stroke-width:3px") if results else []
    style = f"fill:#fdecea,stroke:{BACKWARD},stroke-width:2px"
    return lines + (_class_of(alarmed, "alarm", style) if alarmed else [])


def _alarmed(card: Card) -> bool:
    return any(line is not None and line.alarm for line in (card.value, card.gradient))


def _class(card: Card) -> str:
    """Name what a card is coloured by: what became of it, its kind, side or family."""
    if card.change:
        return card.change
    side = "gradient_" if card.backward else ""
    if card.kind in LEAVES or card.kind == "scope":
        return side + card.kind
    return side + ("op" if side else card.family if card.family in FAMILIES else "other")


def _frames(diagram: Diagram) -> list[str]:
    """Write the classes of frames: a tint for each side and depth."""
    members: dict[tuple[bool, int], list[str]] = defaultdict(list)
    clusters = [member for member in diagram.walk() if isinstance(member, Cluster)]
    for number, cluster in enumerate(clusters):
        members[cluster.backward, min(cluster.depth, 3)].append(f"s{number}")
    lines = []
    for (side, depth), names in members.items():
        title = "gradient_frame" if side else "frame"
        colour = BACKWARD if side else FORWARD
        style = f"fill:{TINTS[side][depth - 1]},stroke:{FRAMES[side]},color:{colour}"
        lines += _class_of(names, f"{title}{depth}", style + _DASHES * side)
    return lines


def _class_of(names: Iterable[str], title: str, style: str) -> list[str]:
    return [f"  classDef {title} {style}", f"  class {','.join(names)} {title}"]


def _links(diagram: Diagram) -> list[str]:
    """Write the colours of edges, which Mermaid knows by their places in the text."""
    places: dict[str, list[int]] = {FORWARD: [], BACKWARD: [], SAVED: []}
    for place, edge in enumerate(diagram.edges):
        side = BACKWARD if diagram.cards[edge.target].backward else FORWARD
        places[SAVED if edge.saved else side].append(place)
    return [
        f"  linkStyle {','.join(map(str, found))} stroke:{colour}"
        for colour, found in places.items()
        if found
    ]
