"""The colours of the visual language, which every coloured output shares.

Never colour alone: a gradient also has its side, its arrows and a ∂, a family its symbol.
"""

from __future__ import annotations

from tinygrad_bn.viz.model import Card

FAMILIES = {
    "elementwise": "#2f6fc4",
    "unary": "#6f50bd",
    "reduction": "#b8660b",
    "contraction": "#28804a",
    "movement": "#66717d",
    "indexing": "#0d7c7e",
    "sorting": "#9c4a76",
    "random": "#8a6a1f",
}
"""Badge colours by family; each carries white text with a contrast of at least 4 to 1."""

OTHER = "#555f69"
INK, QUIET, FORWARD, BACKWARD, SAVED = "#1f2933", "#5b6672", "#3d5a80", "#c0392b", "#b4bdc7"
LEAVES = {
    "parameter": ("#fff8d6", "#c9a92c", "#8d6b00"),
    "input": ("#e7f6f3", "#79b8ab", "#1f7a6b"),
    "constant": ("#f1f3f5", "#aab4be", "#66717d"),
    "seed": ("#fbdad6", "#d98880", "#a93226"),
}
"""Fill, border and badge of square cards."""

TINTS = (("#f3f6fa", "#e9eef6", "#dfe7f1"), ("#fdf4f2", "#fae9e6", "#f6ded9"))
FRAMES = ("#b3c0d1", "#e0b4ae")

CHANGES = {
    "added": ("#eaf7ee", "#28804a", "#28804a", INK),
    "removed": ("#faf4f4", "#b5837f", "#9c5c57", "#8a6a68"),
    "changed": ("#fff7e0", "#b7791f", "#9a6200", INK),
    "affected": ("#ffffff", "#d3c29a", "#857a60", QUIET),
    "": ("#ffffff", "#d5dbe1", "#7c8792", QUIET),
}
"""Fill, border, badge and text of cards in a difference, where colour means nothing else."""


def colours(card: Card) -> tuple[str, str, str]:
    """Return fill, border and badge of a card."""
    if card.kind in LEAVES:
        return LEAVES[card.kind]
    if card.backward:
        return "#fae9e6" if card.kind == "scope" else "#ffffff", "#d08b83", BACKWARD
    colour = FAMILIES.get(card.family, OTHER)
    return ("#ffffff", colour, colour) if card.kind == "op" else ("#e9eef6", "#7d93b2", FORWARD)
