"""A diagram as plain text: one line for each card in recording order, indented by scope."""

from __future__ import annotations

from collections import Counter
from itertools import groupby

from tinygrad_bn.viz.labels import counted
from tinygrad_bn.viz.model import SIGNS, Card, Cluster, Comparison, Diagram, shared

_DEEPEST = 16
"""Indentation stops here, so that a deep nesting stays readable and linear in size."""

_SIGNS = {**SIGNS, "removed": "-"}
"""As in a unified diff, so that what colours those colours these."""

_QUIET = ("", "affected")


def listing(diagram: Diagram, *, folded: bool = False) -> str:
    """Write every card on a line of its own under the headings of its scopes.

    In a difference each line begins with its sign, and ``folded`` puts a count in the place of
    unchanged cards that follow one another.
    """
    compared = diagram.comparison
    margin = "" if compared is None else "  "
    lines = [] if compared is None else [_legend(compared)]
    frames = diagram.frames()
    here: tuple[Cluster, ...] = ()
    for quiet, run in groupby(diagram.cards, lambda card: folded and card.change in _QUIET):
        cards = list(run)
        if quiet and len(cards) > 1:
            counts = Counter(card.change for card in cards)
            lines.append(f"{margin}... {', '.join(counted(counts, _SIGNS).values())}")
            continue
        for card in cards:
            scopes = frames[card.number]
            open_ = shared(here, scopes)
            headings = enumerate(scopes[open_:], start=open_)
            lines += [f"{margin}{_indent(i)}{s.name}:" for i, s in headings]
            sign = margin and f"{_SIGNS.get(card.change, ' ')} "
            lines.append(sign + _indent(len(scopes)) + _line(card))
            here = scopes
    return "\n".join(lines) + "\n" * bool(lines)


def _legend(comparison: Comparison) -> str:
    title = f"{comparison.title}: " if comparison.title else ""
    return title + ", ".join(counted(comparison.counts, _SIGNS).values())


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
    told = f"  [{'; '.join(card.changes)}]" if card.changes else ""
    return "  | ".join(parts) + ("  -> result" if card.result else "") + told
