"""A diagram as plain text: one line for each card in recording order, indented by scope."""

from __future__ import annotations

from tinygrad_bn.viz.model import Card, Cluster, Diagram

_DEEPEST = 16
"""Indentation stops here, so that a deep nesting stays readable and linear in size."""


def listing(diagram: Diagram) -> str:
    """Write every card on a line of its own under the headings of its scopes."""
    headings = _headings(diagram)
    lines: list[str] = []
    here: list[Cluster] = []
    for card in diagram.cards:
        scopes = headings[card.number]
        shared = 0
        while shared < min(len(here), len(scopes)) and here[shared] is scopes[shared]:
            shared += 1
        lines += [
            f"{_indent(i)}{scope.name}:" for i, scope in enumerate(scopes[shared:], start=shared)
        ]
        lines.append(_indent(len(scopes)) + _line(card))
        here = scopes
    return "\n".join(lines) + "\n" * bool(lines)


def _headings(diagram: Diagram) -> dict[int, list[Cluster]]:
    """Find the clusters around each card; cards of one cluster share the list."""
    found: dict[int, list[Cluster]] = {}
    stack: list[list[Cluster]] = [[]]
    for member in diagram.walk():
        if isinstance(member, Cluster):
            stack.append([*stack[-1], member])
        elif member is None:
            stack.pop()
        else:
            found[member] = stack[-1]
    return found


def _indent(depth: int) -> str:
    return "  " * min(depth, _DEEPEST)


def _line(card: Card) -> str:
    what = f"{card.name}: {card.call}" if card.kind == "scope" else card.call
    name = f" {card.name} =" if card.name and card.kind != "scope" else ""
    parts = [f"n{card.number}{name} {what}  {card.shape} {card.dtype}".rstrip()]
    if card.value is not None:
        parts.append(card.value.text)
    if card.gradient is not None:
        parts.append(f"∂ {card.gradient.text}")
    return "  | ".join(parts) + ("  -> result" if card.result else "")
