"""What the colours, badges and lines of a diagram mean: those that occur in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tinygrad_bn.viz.model import Card, Diagram
from tinygrad_bn.viz.style import BACKWARD, FORWARD, QUIET, colours

_LEAVES = {
    "parameter": "requires a gradient",
    "input": "input",
    "constant": "constant",
    "seed": "the gradient starts here",
    "scope": "several operations",
}


class Entry(NamedTuple):
    """A sign as it looks in the diagram (its colour and text), and what it means.

    ``badge``: whether it is the badge of a card, white on its colour; else a line or a text.
    """

    colour: str
    sign: str
    meaning: str
    badge: bool = False


def legend(diagram: Diagram) -> list[Entry]:
    """Explain every kind of card and line that the diagram has, each once."""
    found: dict[str, Entry] = {}
    for card in diagram.cards:
        sign, what = _sign(card), _meaning(card)
        found.setdefault(what, Entry(colours(card)[2], sign, what, badge=True))
    return [*found.values(), *_lines(diagram)]


def _lines(diagram: Diagram) -> Iterator[Entry]:
    """Explain the arrows, and the line in red."""
    backward = {diagram.cards[e.target].backward for e in diagram.edges if not e.saved}
    if False in backward:
        yield Entry(FORWARD, "→", "a value is used")
    if True in backward:
        yield Entry(BACKWARD, "→", "a gradient is passed back")
    if any(e.saved for e in diagram.edges):
        yield Entry(QUIET, "- - →", "a rule reads a value")
    if any(e.mark for e in diagram.edges):
        yield Entry(QUIET, "a b", "operands in their order")
    if any(card.kind == "gradient" and card.note for card in diagram.cards):
        yield Entry(QUIET, "sum of 2", "so many gradients meet")
    if any(card.gradient is not None for card in diagram.cards):
        yield Entry(BACKWARD, "∂ …", "derivative of the result by this value")


def _sign(card: Card) -> str:
    """Return a badge without its parameters."""
    words = card.badge.split()
    return " ".join(words[: 2 if words[0] == "∂" else 1]) if words else "…"


def _meaning(card: Card) -> str:
    if card.kind in _LEAVES:
        return _LEAVES[card.kind]
    return "gradient" if card.backward else card.family
