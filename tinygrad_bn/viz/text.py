"""A diagram as plain text: one line for each card in recording order, indented by scope."""

from __future__ import annotations

from tinygrad_bn.viz.model import Card, Cluster, Diagram, shared

_DEEPEST = 16
"""Indentation stops here, so that a deep nesting stays readable and linear in size."""


def listing(diagram: Diagram) -> str:
    """Write every card on a line of its own under the headings of its scopes."""
    frames = diagram.frames()
    lines: list[str] = []
    here: tuple[Cluster, ...] = ()
    for card in diagram.cards:
        scopes = frames[card.number]
        open_ = shared(here, scopes)
        lines += [f"{_indent(i)}{s.name}:" for i, s in enumerate(scopes[open_:], start=open_)]
        lines.append(_indent(len(scopes)) + _line(card))
        here = scopes
    return "\n".join(lines) + "\n" * bool(lines)


def _indent(depth: int) -> str:
    return "  " * min(depth, _DEEPEST)


def _line(card: Card) -> str:
    what = f"{card.name}: {card.call}" if card.kind == "scope" else card.call
    joint = " =" if card.kind == "op" else ":"
    name = f" {card.name}{joint}" if card.name and card.kind != "scope" else ""
    parts = [f"n{card.number}{name} {what}  {card.shape} {card.dtype}".rstrip()]
    if card.value is not None:
        parts.append(card.value.text)
    if card.gradient is not None:
        parts.append(f"∂ {card.gradient.text}")
    return "  | ".join(parts) + ("  -> result" if card.result else "")
